//! What is wrong with a device, or around it: what scenarios and tests make go wrong on purpose.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use fleetform_domain::configuration::RefusalReason;

use crate::machine::Floor;
use crate::panel::PanelQuirks;
use crate::panel::scanner::ScannerQuirks;
use crate::transport::Clock;

/// What is wrong with a device, or around it. Nothing is, unless it is said here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quirks {
    /// There is no network at all: no cable, and no Wi-Fi.
    pub no_network: bool,
    /// The wireless networks that are there, with their passphrases; any, when this is none.
    pub wifi: Option<BTreeMap<String, String>>,
    /// Its disk is full: nothing can be saved.
    pub disk_full: bool,
    /// Why it refuses every configuration that it does not run.
    pub refuses: Option<RefusalReason>,
    /// How fast it downloads, in bytes a second; at once, when this is none.
    pub download_rate: Option<NonZeroU64>,
    /// So many downloads from now on arrive damaged.
    pub damaged_downloads: u32,
    /// Its clock.
    pub clock: Clock,
    /// What is wrong with its badge scanner; nothing, when this is none. Of Enrollment devices.
    pub badge_scanner: Option<Box<ScannerQuirks>>,
    /// What is wrong with the control panel that it is wired to; it fits, when this is none. Of Entry devices.
    pub panel: Option<Box<PanelQuirks>>,
    /// The machines and sensors around a gateway; nothing is wrong with them, when this is none.
    pub floor: Option<Box<Floor>>,
}
