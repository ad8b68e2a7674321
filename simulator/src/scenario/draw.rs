//! Pure: who is chosen, by name or by lot.

use sha2::{Digest as _, Sha256};

/// 0 to 99, the same for the same act and the same one each time.
pub(crate) fn lot(seed: u64, act: usize, whom: &[&str]) -> u8 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update((act as u64).to_be_bytes());
    for (number, part) in whom.iter().enumerate() {
        if number > 0 {
            hash.update([0]);
        }
        hash.update(part.as_bytes());
    }
    let drawn = u64::from_be_bytes(hash.finalize()[..8].try_into().expect("a SHA-256 has 32 bytes"));
    u8::try_from(drawn % 100).expect("less than a hundred")
}

/// Whether a name is as the pattern says; `*` stands for any characters.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_with_stars() {
        for (pattern, name, expected) in [
            ("door", "door", true),
            ("door", "door-1", false),
            ("door-*", "door-1", true),
            ("*-door", "side-door", true),
            ("*oo*", "door", true),
            ("d*r", "d", false),
            ("d*d", "d", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
