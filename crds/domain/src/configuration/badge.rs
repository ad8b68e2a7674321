//! Pure: bit layouts of badges. Bit 0 is the first bit that the reader sends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// The bit layout of a badge, as the door controller expects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.fields.all(f, f.startBit + f.lengthBits <= self.lengthBits)",
         "badgeFormat.fields: every field must end within badgeFormat.lengthBits: shorten or move the field, or lengthen the format"),
    rule("self.fields.all(a, self.fields.all(b, a.kind == b.kind || a.startBit + a.lengthBits <= b.startBit || b.startBit + b.lengthBits <= a.startBit))",
         "badgeFormat.fields must not overlap: change startBit or lengthBits of one of them"),
    rule("self.fields.exists(f, f.kind == 'CardNumber')",
         "badgeFormat.fields must have a field of kind CardNumber, which carries the badge id: add one"),
    rule("!has(self.parity) || self.parity.all(p, p.bit < self.lengthBits && p.startBit + p.lengthBits <= self.lengthBits)",
         "badgeFormat.parity: every parity bit and the range it covers must lie within badgeFormat.lengthBits: move the bit or shorten its range, or lengthen the format"),
    rule("!has(self.parity) || self.parity.all(p, self.fields.all(f, p.bit < f.startBit || p.bit >= f.startBit + f.lengthBits))",
         "badgeFormat.parity: a parity bit must not lie inside one of badgeFormat.fields: change bit, or startBit or lengthBits of the field"),
]))]
pub struct BadgeFormat {
    /// What the format is called, such as `H10301`. 1 to 60 characters.
    #[schemars(length(min = 1, max = 60))]
    pub name: String,
    /// Length of the whole frame in bits, 1 to 255.
    #[schemars(range(min = 1, max = 255))]
    pub length_bits: u16,
    /// What the bits mean; no two fields overlap, and bits in no field are sent as zero.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind"]))]
    pub fields: Vec<BadgeField>,
    /// Parity bits, at most eight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["bit"]))]
    pub parity: Vec<BadgeParity>,
}

/// One field of a badge's bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadgeField {
    /// What the field holds; each kind stands at most once.
    pub kind: BadgeFieldKind,
    /// First bit, counted from 0.
    #[schemars(range(min = 0, max = 254))]
    pub start_bit: u16,
    /// Length in bits, 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    pub length_bits: u16,
    /// The value that every badge of this format carries here, such as the organisation's facility code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub value: Option<u32>,
}

/// What a field of a badge holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BadgeFieldKind {
    /// The number of the person's badge.
    CardNumber,
    /// The site or facility code that all badges of one organisation share.
    FacilityCode,
    /// A code of the company that issued the badge.
    CompanyCode,
    /// How often the badge was re-issued.
    IssueLevel,
}

/// One parity bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadgeParity {
    /// Position of the parity bit, counted from 0.
    #[schemars(range(min = 0, max = 254))]
    pub bit: u16,
    /// `Even` or `Odd`: the number of ones in the range together with the parity bit.
    pub kind: ParityKind,
    /// First bit of the range that is covered.
    #[schemars(range(min = 0, max = 254))]
    pub start_bit: u16,
    /// Length of the range in bits.
    #[schemars(range(min = 1, max = 255))]
    pub length_bits: u16,
}

/// Which parity a parity bit makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParityKind {
    /// An even number of ones.
    Even,
    /// An odd number of ones.
    Odd,
}

impl BadgeFormat {
    /// The open 26-bit format (H10301): even parity, 8 bits of facility code, 16 bits of card number, odd parity.
    pub fn standard_26_bit() -> Self {
        let field = |kind, start_bit, length_bits| BadgeField { kind, start_bit, length_bits, value: None };
        let parity = |bit, kind, start_bit| BadgeParity { bit, kind, start_bit, length_bits: 12 };
        Self {
            name: "H10301".into(),
            length_bits: 26,
            fields: vec![field(BadgeFieldKind::FacilityCode, 1, 8), field(BadgeFieldKind::CardNumber, 9, 16)],
            parity: vec![parity(0, ParityKind::Even, 1), parity(25, ParityKind::Odd, 13)],
        }
    }
}
