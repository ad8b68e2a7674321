//! Pure: the number of a badge.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of a badge: 1 to 20 decimal digits that fit into 64 bits, such as `1111358294500`. Its `Debug` and `Display` show the
/// last four digits only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BadgeNumber(String);

/// A text that is no number of a badge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a badge number has 1 to 20 decimal digits and is at most 18446744073709551615")]
pub struct InvalidBadgeNumber;

impl BadgeNumber {
    /// All of its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last four digits, or all of a shorter one's but its first half.
    pub fn last_four(&self) -> &str {
        let shown = (self.0.len() / 2).min(4);
        &self.0[self.0.len() - shown..]
    }

    /// The number itself.
    pub fn value(&self) -> u64 {
        self.0.parse().expect("a badge number fits into 64 bits")
    }
}

impl fmt::Debug for BadgeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BadgeNumber(…{})", self.last_four())
    }
}

impl fmt::Display for BadgeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", self.last_four())
    }
}

impl From<u64> for BadgeNumber {
    fn from(value: u64) -> Self {
        Self(value.to_string())
    }
}

impl From<BadgeNumber> for String {
    fn from(number: BadgeNumber) -> Self {
        number.0
    }
}

impl TryFrom<String> for BadgeNumber {
    type Error = InvalidBadgeNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits && text.parse::<u64>().is_ok() { Ok(Self(text)) } else { Err(InvalidBadgeNumber) }
    }
}

impl TryFrom<&str> for BadgeNumber {
    type Error = InvalidBadgeNumber;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::try_from(text.to_owned())
    }
}

impl JsonSchema for BadgeNumber {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BadgeNumber".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The number of a badge.",
            "pattern": "^[0-9]{1,20}$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_number_does_not_give_it_away() {
        let number = BadgeNumber::try_from("1111358294500").unwrap();
        assert_eq!(number.last_four(), "4500");
        assert_eq!(format!("{number:?} {number}"), "BadgeNumber(…4500) …4500");
        assert_eq!(BadgeNumber::try_from("1234").unwrap().last_four(), "34");
        assert_eq!(BadgeNumber::try_from("7").unwrap().last_four(), "");
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        for bad in ["", "12a", "-1", "18446744073709551616", "000000000000000000001"] {
            assert_eq!(BadgeNumber::try_from(bad), Err(InvalidBadgeNumber), "{bad}");
        }
        assert_eq!(BadgeNumber::try_from("18446744073709551615").unwrap().value(), u64::MAX);
    }
}
