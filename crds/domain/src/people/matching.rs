//! Pure: whose palm it is. The gateway and a device that goes by its own list compare in the same way.

use super::{Palm, RecognitionFailure};

/// Most bits, of 2,048, in which two looks at one palm may differ: 32 %. Two looks at one palm differ in few: light, warmth and how
/// the hand is held change some places. Codes of two palms differ in about half of their bits, as if each was tossed for. Neighbouring
/// places are alike, so the 2,048 count for some hundreds of tosses; with 250 of them, one pair of strangers in a hundred million comes
/// this close (the argument is that of Daugman, How Iris Recognition Works, IEEE CSVT 14(1), 2004, section 4).
pub const MATCH_DISTANCE: u32 = 655;

/// The person whose palm this is: the one with the nearest code of the same hand, if that is near enough. When a second person is
/// near enough too, nobody is, as the wrong one might be let in.
pub fn identify<'a, P>(
    palm: &Palm,
    people: impl IntoIterator<Item = (P, &'a [Palm])>,
) -> Result<P, RecognitionFailure> {
    let mut found = None;
    for (person, palms) in people {
        if is_near(palm, palms) && found.replace(person).is_some() {
            return Err(RecognitionFailure::Ambiguous);
        }
    }
    found.ok_or(RecognitionFailure::PalmNotRecognized)
}

/// Whether one of the palms of one person is this palm.
pub fn is_near(palm: &Palm, palms: &[Palm]) -> bool {
    palms.iter().any(|known| known.hand == palm.hand && known.code.distance(&palm.code) <= MATCH_DISTANCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::{Hand, PALM_CODE_BYTES, PalmCode};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    /// A palm as unlike others as palms are.
    fn palm(person: u8, hand: Hand) -> Palm {
        let mut code = [0; PALM_CODE_BYTES];
        for (part, chunk) in code.chunks_mut(32).enumerate() {
            chunk.copy_from_slice(&Sha256::digest([person, u8::from(hand == Hand::Left), u8::try_from(part).unwrap()]));
        }
        Palm { hand, code: PalmCode::new(code) }
    }

    /// Another look at it, which differs in so many bits.
    fn look(palm: &Palm, bits: usize) -> Palm {
        let mut code = *palm.code.bytes();
        for bit in 0..bits {
            code[bit / 8] ^= 1 << (bit % 8);
        }
        Palm { hand: palm.hand, code: PalmCode::new(code) }
    }

    fn check(asked: &Palm, people: &[(u8, Vec<Palm>)]) -> Result<u8, RecognitionFailure> {
        identify(asked, people.iter().map(|(person, palms)| (*person, palms.as_slice())))
    }

    #[test]
    fn a_person_is_known_by_a_look_at_either_enrolled_palm_and_by_no_other() {
        let people =
            [(1, vec![palm(1, Hand::Left), palm(1, Hand::Right)]), (2, vec![palm(2, Hand::Right)]), (3, Vec::new())];
        for hand in [Hand::Left, Hand::Right] {
            assert_eq!(check(&look(&palm(1, hand), 400), &people), Ok(1));
        }
        assert_eq!(check(&look(&palm(2, Hand::Right), 655), &people), Ok(2));
        let unknown = Err(RecognitionFailure::PalmNotRecognized);
        assert_eq!(check(&look(&palm(2, Hand::Right), 656), &people), unknown);
        assert_eq!(check(&palm(2, Hand::Left), &people), unknown, "it is the other hand");
        assert_eq!(check(&palm(4, Hand::Right), &people), unknown);
        let mirrored = Palm { hand: Hand::Left, ..palm(2, Hand::Right) };
        assert_eq!(check(&mirrored, &people), unknown, "hands are not compared across");
    }

    #[test]
    fn who_is_hard_to_tell_from_another_is_nobody() {
        let twin = look(&palm(1, Hand::Left), 300);
        let people = [(1, vec![palm(1, Hand::Left)]), (2, vec![twin])];
        assert_eq!(check(&palm(1, Hand::Left), &people), Err(RecognitionFailure::Ambiguous));
        let both = [(1, vec![palm(1, Hand::Left), look(&palm(1, Hand::Left), 10)])];
        assert_eq!(check(&palm(1, Hand::Left), &both), Ok(1), "two looks at one person are one person");
    }

    proptest! {
        #[test]
        fn the_order_of_the_list_does_not_matter(asked in 0u8..8, bits in 0usize..700, mut order in Just((0u8..8).collect::<Vec<_>>()).prop_shuffle()) {
            let asked = look(&palm(asked, Hand::Left), bits);
            let people = |order: &[u8]| order.iter().map(|person| (*person, vec![palm(*person, Hand::Left)])).collect::<Vec<_>>();
            let shuffled = check(&asked, &people(&order));
            order.sort_unstable();
            prop_assert_eq!(shuffled, check(&asked, &people(&order)));
        }
    }
}
