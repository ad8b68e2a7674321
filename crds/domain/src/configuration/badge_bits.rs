//! Pure: badges as bits: what a reader sends to its door controller, and what the controller reads of it.

use std::fmt;

use super::{BadgeField, BadgeFieldKind, BadgeFormat, BadgeParity, ParityKind};
use crate::people::BadgeNumber;

/// Longest frame of a badge, in bits.
pub const MAX_BADGE_BITS: u16 = 255;

/// The bits of a badge, in the order in which they are sent. Its `Debug` shows how many: they are the badge's number.
#[derive(Clone, PartialEq, Eq)]
pub struct BadgeBits(Vec<bool>);

/// Why a number cannot be written in a format. Names no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadgeNotWritten {
    /// The card number's field is too short for it.
    #[error("the badge number does not fit into the {0} bits of badgeFormat.fields CardNumber: lengthen the field")]
    NumberTooLarge(u16),
    /// The value that all badges carry does not fit into its field.
    #[error("badgeFormat.fields {0:?}: value does not fit into lengthBits: lengthen the field")]
    ValueTooLarge(BadgeFieldKind),
    /// The format contradicts itself.
    #[error(transparent)]
    Format(#[from] UnusableFormat),
}

/// Why bits are no badge of a format. Names no bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadgeNotRead {
    /// There are too few or too many.
    #[error("the badge has {found} bits, and the format {expected}")]
    Length {
        /// By the format.
        expected: u16,
        /// Those that came.
        found: usize,
    },
    /// A parity bit is wrong: a bit was lost or turned on the way, or the badge is of another format.
    #[error("the parity bit {0} is wrong")]
    Parity(u16),
    /// A field has another value than all badges of the format carry there.
    #[error("the badge is of another organisation: its {0:?} differs")]
    Value(BadgeFieldKind),
    /// The format contradicts itself.
    #[error(transparent)]
    Format(#[from] UnusableFormat),
}

/// What the API server would not store: a format with a part outside of its frame, or without a card number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("badgeFormat: a part lies outside of lengthBits, no field is the CardNumber, or parity bits cover each other")]
pub struct UnusableFormat;

impl BadgeBits {
    /// These bits, at most [`MAX_BADGE_BITS`].
    pub fn new(bits: Vec<bool>) -> Option<Self> {
        (bits.len() <= MAX_BADGE_BITS.into()).then_some(Self(bits))
    }

    /// The first `length` bits of these bytes, the most significant of each byte first. None when they are fewer.
    pub fn from_bytes(bytes: &[u8], length: usize) -> Option<Self> {
        let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        let bits: Vec<bool> = bits.take(length).collect();
        if bits.len() == length { Self::new(bits) } else { None }
    }

    /// The bits, the first one first.
    pub fn bits(&self) -> &[bool] {
        &self.0
    }

    /// The bits in bytes, the most significant of each byte first; zeros fill the last one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().zip((0..8).rev()).fold(0, |byte, (bit, at)| byte | u8::from(*bit) << at);
        self.0.chunks(8).map(byte).collect()
    }
}

impl fmt::Debug for BadgeBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BadgeBits({} bits)", self.0.len())
    }
}

impl BadgeFormat {
    /// The bits of the badge with this number: fields with a value carry it, all other bits are zero, and the parity bits are right.
    pub fn encode(&self, number: &BadgeNumber) -> Result<BadgeBits, BadgeNotWritten> {
        self.check()?;
        let mut bits = vec![false; self.length_bits.into()];
        for field in &self.fields {
            let (value, too_large) = match field.kind {
                BadgeFieldKind::CardNumber => (number.value(), BadgeNotWritten::NumberTooLarge(field.length_bits)),
                kind => (field.value.unwrap_or_default().into(), BadgeNotWritten::ValueTooLarge(kind)),
            };
            if field.length_bits < 64 && value >> field.length_bits != 0 {
                return Err(too_large);
            }
            for (place, bit) in field.range().rev().enumerate() {
                bits[bit] = place < 64 && value >> place & 1 == 1;
            }
        }
        for parity in self.parity_in_order()? {
            let bit = usize::from(parity.bit);
            bits[bit] = false;
            bits[bit] = !parity.is_right(&bits);
        }
        Ok(BadgeBits(bits))
    }

    /// The number of the badge with these bits.
    pub fn decode(&self, badge: &BadgeBits) -> Result<BadgeNumber, BadgeNotRead> {
        self.check()?;
        let bits = badge.bits();
        if bits.len() != usize::from(self.length_bits) {
            return Err(BadgeNotRead::Length { expected: self.length_bits, found: bits.len() });
        }
        if let Some(wrong) = self.parity.iter().find(|parity| !parity.is_right(bits)) {
            return Err(BadgeNotRead::Parity(wrong.bit));
        }
        let value = |field: &BadgeField| bits[field.range()].iter().fold(0, |value, bit| value << 1 | u64::from(*bit));
        let mut number = 0;
        for field in &self.fields {
            match (field.kind, field.value) {
                (BadgeFieldKind::CardNumber, _) => number = value(field),
                (kind, Some(fixed)) if value(field) != u64::from(fixed) => return Err(BadgeNotRead::Value(kind)),
                _ => {}
            }
        }
        Ok(BadgeNumber::from(number))
    }

    /// What the rules of the CRD say, for formats that came another way.
    fn check(&self) -> Result<(), UnusableFormat> {
        let length = usize::from(self.length_bits);
        let fields_fit = self.fields.iter().all(|field| field.range().end <= length && field.length_bits <= 64);
        let parity_fits = self.parity.iter().all(|p| usize::from(p.bit) < length && p.range().end <= length);
        let has_number = self.fields.iter().any(|field| field.kind == BadgeFieldKind::CardNumber);
        let is_short = self.length_bits <= MAX_BADGE_BITS;
        if fields_fit && parity_fits && has_number && is_short { Ok(()) } else { Err(UnusableFormat) }
    }

    /// The parity bits in an order in which each comes after those that it covers, as in formats whose last bit is over the whole
    /// frame.
    fn parity_in_order(&self) -> Result<Vec<&BadgeParity>, UnusableFormat> {
        let mut left: Vec<&BadgeParity> = self.parity.iter().collect();
        let mut ordered = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let covers = |parity: &BadgeParity| {
                left.iter().any(|other| other.bit != parity.bit && parity.range().contains(&other.bit.into()))
            };
            let next = left.iter().position(|parity| !covers(parity)).ok_or(UnusableFormat)?;
            ordered.push(left.remove(next));
        }
        Ok(ordered)
    }
}

impl BadgeField {
    fn range(&self) -> std::ops::Range<usize> {
        let start = usize::from(self.start_bit);
        start..start + usize::from(self.length_bits)
    }
}

impl BadgeParity {
    fn range(&self) -> std::ops::Range<usize> {
        let start = usize::from(self.start_bit);
        start..start + usize::from(self.length_bits)
    }

    /// Whether the range and the parity bit, which may lie in it, have together as many ones as they should.
    fn is_right(&self, bits: &[bool]) -> bool {
        let own = usize::from(self.bit);
        let ones = self.range().filter(|bit| *bit != own && bits[*bit]).count() + usize::from(bits[own]);
        ones.is_multiple_of(2) == (self.kind == ParityKind::Even)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(value: u64) -> BadgeNumber {
        BadgeNumber::from(value)
    }

    fn text(badge: &BadgeBits) -> String {
        badge.bits().iter().map(|bit| if *bit { '1' } else { '0' }).collect()
    }

    fn field(kind: BadgeFieldKind, start_bit: u16, length_bits: u16, value: Option<u32>) -> BadgeField {
        BadgeField { kind, start_bit, length_bits, value }
    }

    /// The open 26-bit format with a facility code.
    fn of_facility(code: u32) -> BadgeFormat {
        let mut format = BadgeFormat::standard_26_bit();
        format.fields[0].value = Some(code);
        format
    }

    #[test]
    fn a_badge_is_written_as_it_is_known() {
        // Facility 159, card 4711: 10011111 0001001001100111, seven and six ones in its halves.
        let badge = of_facility(159).encode(&number(4711)).unwrap();
        assert_eq!(text(&badge), "11001111100010010011001111");
        assert_eq!(badge.to_bytes().len(), 4);
        assert_eq!(BadgeBits::from_bytes(&badge.to_bytes(), 26), Some(badge));
        assert_eq!(BadgeBits::from_bytes(&[0; 3], 26), None);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let format = BadgeFormat::standard_26_bit();
        assert!(format.encode(&number(65_535)).is_ok());
        assert_eq!(format.encode(&number(65_536)), Err(BadgeNotWritten::NumberTooLarge(16)));
        let facility = BadgeFieldKind::FacilityCode;
        assert_eq!(of_facility(256).encode(&number(1)), Err(BadgeNotWritten::ValueTooLarge(facility)));
    }

    #[test]
    fn what_is_of_another_format_is_not_read() {
        let badge = of_facility(159).encode(&number(4711)).unwrap();
        assert_eq!(of_facility(159).decode(&badge), Ok(number(4711)));
        assert_eq!(BadgeFormat::standard_26_bit().decode(&badge), Ok(number(4711)));
        let facility = BadgeFieldKind::FacilityCode;
        assert_eq!(of_facility(158).decode(&badge), Err(BadgeNotRead::Value(facility)));
        let long = BadgeFormat { length_bits: 37, ..of_facility(159) };
        assert_eq!(long.decode(&badge), Err(BadgeNotRead::Length { expected: 37, found: 26 }));
        let mut odd = of_facility(159);
        odd.parity[0].kind = ParityKind::Odd;
        assert_eq!(odd.decode(&badge), Err(BadgeNotRead::Parity(0)));
    }

    #[test]
    fn a_parity_bit_over_others_comes_last_wherever_it_stands() {
        let parity = |bit, start_bit, length_bits| BadgeParity { bit, kind: ParityKind::Odd, start_bit, length_bits };
        let format = BadgeFormat {
            name: "Whole".into(),
            length_bits: 12,
            fields: vec![field(BadgeFieldKind::CardNumber, 2, 10, None)],
            // The first is over the whole frame, itself included.
            parity: vec![parity(0, 0, 12), parity(1, 2, 10)],
        };
        for value in 0..1024 {
            assert_eq!(format.decode(&format.encode(&number(value)).unwrap()), Ok(number(value)));
        }
        let circular = BadgeFormat { parity: vec![parity(0, 1, 11), parity(1, 0, 12)], ..format };
        assert_eq!(circular.encode(&number(1)), Err(UnusableFormat.into()));
    }

    #[test]
    fn a_format_that_contradicts_itself_is_of_no_use() {
        let good = BadgeFormat::standard_26_bit();
        let without = BadgeFormat { fields: vec![field(BadgeFieldKind::FacilityCode, 1, 8, None)], ..good.clone() };
        let outside = BadgeFormat { length_bits: 24, ..good.clone() };
        let endless = BadgeFormat { fields: vec![field(BadgeFieldKind::CardNumber, 65_535, 65_535, None)], ..good };
        for format in [without, outside, endless] {
            assert_eq!(format.encode(&number(1)), Err(UnusableFormat.into()));
            assert_eq!(format.decode(&BadgeBits(vec![false; 26])), Err(UnusableFormat.into()));
        }
    }

    #[test]
    fn bits_do_not_show_in_debug_output() {
        let badge = BadgeFormat::standard_26_bit().encode(&number(4711)).unwrap();
        assert_eq!(format!("{badge:?}"), "BadgeBits(26 bits)");
    }

    /// A format of up to three fields one after the other and a parity bit at each end.
    fn formats() -> impl Strategy<Value = BadgeFormat> {
        let lengths = (1_u16..=64, 1_u16..=32, 0_u16..=20);
        (lengths, any::<u32>(), any::<bool>(), 0_u16..=20).prop_map(
            |((card, facility, gap), value, is_fixed, shift)| {
                let value = is_fixed.then_some(value >> (32 - facility));
                let length_bits = 1 + facility + gap + card + 1;
                let whole = length_bits - 2;
                let first = whole.min(1 + shift);
                let parity = |bit, kind, start_bit, length_bits| BadgeParity { bit, kind, start_bit, length_bits };
                BadgeFormat {
                    name: "Any".into(),
                    length_bits,
                    fields: vec![
                        field(BadgeFieldKind::FacilityCode, 1, facility, value),
                        field(BadgeFieldKind::CardNumber, 1 + facility + gap, card, None),
                    ],
                    parity: vec![
                        parity(0, ParityKind::Even, 1, first),
                        parity(length_bits - 1, ParityKind::Odd, 1 + whole - first, first),
                    ],
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again((format, value) in (formats(), any::<u64>())) {
            let bits = u32::from(format.fields[1].length_bits);
            let number = number(value >> (64 - bits));
            let badge = format.encode(&number).unwrap();
            prop_assert_eq!(badge.bits().len(), usize::from(format.length_bits));
            prop_assert_eq!(format.decode(&badge), Ok(number.clone()));
            let sent = BadgeBits::from_bytes(&badge.to_bytes(), badge.bits().len());
            prop_assert_eq!(sent, Some(badge));
        }

        #[test]
        fn a_bit_that_turns_on_the_way_is_noticed_where_a_parity_bit_covers_it(
            (format, value, at) in (formats(), any::<u64>(), any::<prop::sample::Index>())
        ) {
            let bits = u32::from(format.fields[1].length_bits);
            let badge = format.encode(&number(value >> (64 - bits))).unwrap();
            let at = at.index(badge.bits().len());
            let mut turned = badge.bits().to_vec();
            turned[at] = !turned[at];
            let covered = |p: &BadgeParity| usize::from(p.bit) == at || p.range().contains(&at);
            let Some(parity) = format.parity.iter().find(|parity| covered(parity)) else { return Ok(()) };
            let read = format.decode(&BadgeBits::new(turned).unwrap());
            prop_assert_eq!(read, Err(BadgeNotRead::Parity(parity.bit)));
        }
    }
}
