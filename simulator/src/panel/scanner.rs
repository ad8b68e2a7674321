//! Pure: the badge scanner of an Enrollment device. It reads the bits of a badge in the formats that it was set to, and tells them by
//! their length.

use fleetform_domain::configuration::{
    BadgeBits, BadgeField, BadgeFieldKind, BadgeFormat, BadgeNotRead, UnusableFormat,
};
use fleetform_domain::people::BadgeNumber;

/// A scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    formats: Vec<BadgeFormat>,
}

/// What is wrong with a scanner. Nothing is, unless it is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannerQuirks {
    /// There is none, or none that works.
    pub lost: bool,
    /// It reads badges in this format alone.
    pub badge_format: Option<BadgeFormat>,
}

/// What scanners read as they leave the factory, the shortest first: H10301, and a number of 64 bits without parity.
fn of_factory() -> [BadgeFormat; 2] {
    let number = BadgeField { kind: BadgeFieldKind::CardNumber, start_bit: 0, length_bits: 64, value: None };
    let long = BadgeFormat { name: "64 bits".into(), length_bits: 64, fields: vec![number], parity: Vec::new() };
    [BadgeFormat::standard_26_bit(), long]
}

/// The badge with this number, in the shortest format that holds it of those that scanners read as they leave the factory.
///
/// # Panics
/// Never: every number fits into 64 bits.
pub fn badge(number: &BadgeNumber) -> BadgeBits {
    of_factory().iter().find_map(|format| format.encode(number).ok()).expect("every number fits into 64 bits")
}

impl Scanner {
    /// The scanner of a device, but for what is wrong with it; none when it is lost.
    pub fn of(quirks: &ScannerQuirks) -> Option<Self> {
        let formats = || quirks.badge_format.clone().map_or_else(|| of_factory().into(), |one| vec![one]);
        (!quirks.lost).then(|| Self { formats: formats() })
    }

    /// The number of a badge. The error is that of the format of its length, or of the first.
    pub fn read(&self, badge: &BadgeBits) -> Result<BadgeNumber, BadgeNotRead> {
        let is_as_long = |format: &&BadgeFormat| usize::from(format.length_bits) == badge.bits().len();
        let format = self.formats.iter().find(is_as_long).or(self.formats.first()).ok_or(UnusableFormat)?;
        format.decode(badge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges_of_any_number_are_read_and_those_of_another_format_are_not() {
        let scanner = Scanner::of(&ScannerQuirks::default()).unwrap();
        for (number, bits) in [(0, 26), (65_535, 26), (65_536, 64), (1_111_358_294_500, 64), (u64::MAX, 64)] {
            let badge = badge(&BadgeNumber::from(number));
            assert_eq!((badge.bits().len(), scanner.read(&badge)), (bits, Ok(BadgeNumber::from(number))));
        }
        let other = BadgeFormat { length_bits: 37, ..BadgeFormat::standard_26_bit() };
        let other = Scanner::of(&ScannerQuirks { badge_format: Some(other), ..ScannerQuirks::default() }).unwrap();
        let not_read = BadgeNotRead::Length { expected: 37, found: 26 };
        assert_eq!(other.read(&badge(&BadgeNumber::from(4711))), Err(not_read));
        assert_eq!(Scanner::of(&ScannerQuirks { lost: true, ..ScannerQuirks::default() }), None);
    }
}
