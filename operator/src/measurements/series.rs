//! Pure: the measurements of one sensor for as long as it is paired.

use fleetform_domain::hex;
use fleetform_domain::machines::{Reading, Taken, Window};
use fleetform_domain::wire::DeviceText;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Tells the places where one sensor may be mounted from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(DeviceText);

impl Place {
    /// This position of the asset of this name, in the sensor's project.
    pub fn new(asset: &str, position: &str) -> Self {
        // A slash stands in no name.
        let digest = Sha256::digest(format!("{asset}/{position}"));
        Self(hex(&digest[..8]).try_into().expect("hexadecimal digits are a text of devices"))
    }

    /// As gateways name it.
    pub const fn as_text(&self) -> &DeviceText {
        &self.0
    }
}

/// What tells one pairing of a sensor from another, and where it is mounted. What was measured in another one says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Id of the association of the gateway's hardware.
    pub association: String,
    /// What is printed on the sensor.
    pub asset_tag: String,
    /// The epoch for which they are paired.
    pub epoch: i64,
    /// Where.
    pub place: Place,
}

/// The measurements of one sensor.
#[derive(Debug)]
pub(super) struct Series {
    pairing: Pairing,
    window: Window,
    heard: Timestamp,
    /// Only what has a greater sequence number than this is judged.
    judged_after: u64,
}

impl Series {
    pub(super) fn new(pairing: Pairing) -> Self {
        Self { pairing, window: Window::default(), heard: Timestamp::UNIX_EPOCH, judged_after: 0 }
    }

    pub(super) fn take(&mut self, pairing: &Pairing, readings: &[Reading], now: Timestamp) -> Vec<Taken> {
        if self.pairing != *pairing {
            *self = Self::new(pairing.clone());
        }
        let taken: Vec<Taken> = readings.iter().map(|reading| self.window.take(*reading)).collect();
        // What it said before, said again, is no sign of life.
        if taken.contains(&Taken::New) {
            self.heard = now;
        }
        taken
    }

    pub(super) fn is_of(&self, place: &Place) -> bool {
        self.pairing.place == *place
    }

    /// What it has measured so far is not judged any more.
    pub(super) fn judge_anew(&mut self) {
        self.judged_after = self.window.latest().map_or(self.judged_after, |latest| latest.sequence);
    }

    /// What is judged.
    pub(super) fn judged(&self) -> impl DoubleEndedIterator<Item = &Reading> {
        self.readings().filter(|reading| reading.sequence > self.judged_after)
    }

    pub(super) fn readings(&self) -> impl DoubleEndedIterator<Item = &Reading> {
        self.window.readings()
    }

    pub(super) fn heard(&self) -> Timestamp {
        self.heard
    }
}
