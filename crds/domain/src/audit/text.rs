//! Pure: what comes from outside, made fit to stand in a record.

/// What stands in place of what is confidential.
pub const REDACTED: &str = "***";

/// Longest text from outside, in characters.
const LONGEST: usize = 256;

/// Longest name of an object in Kubernetes, in characters.
const LONGEST_NAME: usize = 253;

/// The beginning of it, without control characters.
pub(super) fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// A name that an object in Kubernetes can have. Whatever else was asked for is no name, and may be anything.
pub(super) fn object_name(text: &str) -> String {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let is_name = (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits);
    if is_name { text.to_owned() } else { REDACTED.to_owned() }
}

/// An id that somebody else made: letters, digits and a few signs between them.
pub(super) fn id(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '=');
    text.chars().filter(fits).take(LONGEST_ID).collect()
}

/// Longest id that somebody else made, in characters.
const LONGEST_ID: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_and_what_is_no_name_is_not_shown() {
        assert_eq!(bounded(&"é\u{7}".repeat(300)), "é".repeat(256));
        assert_eq!(object_name("front-desk.1"), "front-desk.1");
        for other in ["", "Front desk", "a/b", &"a".repeat(254)] {
            assert_eq!(object_name(other), REDACTED, "{other}");
        }
        assert_eq!(id("JTI=7d3c\n{}"), "JTI=7d3c");
        assert_eq!(id(&"a".repeat(200)).len(), 128);
    }
}
