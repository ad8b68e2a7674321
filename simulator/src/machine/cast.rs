//! Pure: which sensors of a gateway something is about.

use fleetform_domain::wire::DeviceText;
use serde::{Deserialize, Serialize};

use crate::scenario::{lot, matches};

/// Which sensors of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SensorCast {
    /// Their asset tags; `*` stands for any characters. All, when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asset_tags: Vec<String>,
    /// How many of these, in percent, 1 to 100, chosen by the seed.
    #[serde(default = "all")]
    pub share_percent: u8,
}

fn all() -> u8 {
    100
}

impl Default for SensorCast {
    fn default() -> Self {
        Self { asset_tags: Vec::new(), share_percent: all() }
    }
}

impl SensorCast {
    /// Whether it is about this one; the same answer each time for the same seed and act.
    pub(super) fn includes(&self, seed: u64, act: usize, asset_tag: &DeviceText) -> bool {
        let tag = asset_tag.as_str();
        let named = self.asset_tags.is_empty() || self.asset_tags.iter().any(|pattern| matches(pattern, tag));
        named && lot(seed, act, &[tag]) < self.share_percent
    }
}
