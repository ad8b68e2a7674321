//! Pure: people who come to devices, made of a seed: the same seed makes the same people, with the same badges and the same palms.

use fleetform_domain::people::{BadgeNumber, Hand, PALM_CODE_BYTES, Palm, PalmCode};
use sha2::{Digest as _, Sha256};

/// Badges are numbered within so many bits: what the open 26-bit format (H10301) holds, and every longer one.
pub const CARD_NUMBER_BITS: u32 = 16;

/// Bits of a palm code that a look gets wrong, at most: three in a hundred. Two looks at one palm differ in twice as many.
const NOISE: usize = 60;

/// Somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Person {
    seed: u64,
    number: u64,
}

impl Person {
    /// The person with this number of this seed.
    pub const fn new(seed: u64, number: u64) -> Self {
        Self { seed, number }
    }

    /// The person with this name.
    pub fn named(name: &str) -> Self {
        Self { seed: word(&hash("name", &[], name.as_bytes())), number: 0 }
    }

    /// Somebody else, whom nobody has enrolled.
    #[must_use]
    pub fn stranger(&self) -> Self {
        Self { seed: !self.seed, ..*self }
    }

    /// The number of the person's badge. The first 65,535 people of a seed have different ones.
    pub fn badge(&self) -> BadgeNumber {
        let first = word(&hash("badge", &[self.seed], &[]));
        let most = (1 << CARD_NUMBER_BITS) - 1;
        BadgeNumber::from(1 + (first % most + self.number % most) % most)
    }

    /// How a device sees the palm at the person's `look`-th look: never twice quite the same.
    pub fn look(&self, hand: Hand, look: u64) -> Palm {
        let side = match hand {
            Hand::Left => 0,
            Hand::Right => 1,
        };
        let mut code: [u8; PALM_CODE_BYTES] = bytes("palm", &[self.seed, self.number, side]);
        let places: [u8; 2 * NOISE] = bytes("look", &[self.seed, self.number, side, look]);
        for place in places.chunks(2) {
            let place = usize::from(place[0]) << 8 | usize::from(place[1]);
            code[place / 8 % PALM_CODE_BYTES] ^= 1 << (place % 8);
        }
        Palm { hand, code: PalmCode::new(code) }
    }
}

fn hash(what: &str, numbers: &[u64], text: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(what);
    hash.update([0]);
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    hash.update(text);
    hash.finalize().into()
}

fn word(hash: &[u8; 32]) -> u64 {
    u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

/// As many bytes as are asked for.
fn bytes<const N: usize>(what: &str, numbers: &[u64]) -> [u8; N] {
    let mut made = [0; N];
    for (block, chunk) in (0..).zip(made.chunks_mut(32)) {
        let hash = hash(what, &[numbers, &[block]].concat(), &[]);
        chunk.copy_from_slice(&hash[..chunk.len()]);
    }
    made
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_people_and_another_one_others() {
        let (one, same, other) = (Person::new(1, 5), Person::new(1, 5), Person::new(2, 5));
        assert_eq!((one.badge(), one.look(Hand::Left, 0)), (same.badge(), same.look(Hand::Left, 0)));
        assert_ne!(one.look(Hand::Left, 0), other.look(Hand::Left, 0));
        assert_eq!(Person::named("ada").badge(), Person::named("ada").badge());
        assert_ne!(Person::named("ada"), Person::named("grace"));
        assert_ne!(one.stranger().look(Hand::Left, 0), one.look(Hand::Left, 0));
    }

    #[test]
    fn badges_differ_and_fit_the_open_format() {
        let badges: HashSet<u64> = (0..65_535).map(|number| Person::new(7, number).badge().value()).collect();
        assert_eq!(badges.len(), 65_535);
        assert!(badges.iter().all(|badge| (1..1 << CARD_NUMBER_BITS).contains(badge)));
    }

    #[test]
    fn looks_at_one_palm_are_near_and_palms_are_far_apart() {
        for number in 0..50 {
            let person = Person::new(3, number);
            let near = person.look(Hand::Right, 0).code.distance(&person.look(Hand::Right, 1).code);
            assert!((1..=120).contains(&near), "person {number}: {near}");
            for other in [person.look(Hand::Left, 0), Person::new(3, number + 1).look(Hand::Right, 0)] {
                let far = person.look(Hand::Right, 0).code.distance(&other.code);
                assert!((850..1200).contains(&far), "person {number}: {far}");
            }
        }
    }
}
