//! Pure: palms as devices see them.
//!
//! A palm code is what a device makes of a picture of a palm: one bit for each of 2,048 places of its texture, in the manner of
//! `PalmCode` (Zhang, Kong, You, Wong: Online Palmprint Identification, IEEE PAMI 25(9), 2003: 32 × 32 places, two bits each). Two
//! codes are compared by the share of bits in which they differ: two looks at one palm differ in few, two palms in about half.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length of a palm code in bytes.
pub const PALM_CODE_BYTES: usize = 256;

/// Which hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Hand {
    /// The left one.
    Left,
    /// The right one.
    Right,
}

/// What a device makes of a picture of a palm: 2,048 bits, as Base64 in JSON. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct PalmCode(Box<[u8; PALM_CODE_BYTES]>);

/// Bytes that are no palm code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a palm code is {PALM_CODE_BYTES} bytes, in Base64")]
pub struct InvalidPalmCode;

/// A palm: which hand, and its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Palm {
    /// Which hand.
    pub hand: Hand,
    /// Its code.
    pub code: PalmCode,
}

impl PalmCode {
    /// A code of these bytes.
    pub fn new(bytes: [u8; PALM_CODE_BYTES]) -> Self {
        Self(Box::new(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; PALM_CODE_BYTES] {
        &self.0
    }

    /// In how many of the 2,048 bits the codes differ.
    pub fn distance(&self, other: &Self) -> u32 {
        // Eight bytes at a time: every palm at a door is compared with every enrolled one.
        let (ours, theirs) = (self.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
        let differ = |(a, b): (&[u8; 8], &[u8; 8])| (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)).count_ones();
        ours.iter().zip(theirs).map(differ).sum()
    }
}

impl fmt::Debug for PalmCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PalmCode(…)")
    }
}

impl Serialize for PalmCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(*self.0))
    }
}

impl<'de> Deserialize<'de> for PalmCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self::new).ok_or_else(|| serde::de::Error::custom(InvalidPalmCode))
    }
}

impl JsonSchema for PalmCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PalmCode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "What a device makes of a picture of a palm: 256 bytes, in Base64.",
            "contentEncoding": "base64",
            "minLength": 344,
            "maxLength": 344,
        })
    }
}
