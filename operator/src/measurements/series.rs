//! Pure: the measurements of one sensor for as long as it is paired.

use std::collections::VecDeque;

use fleetform_domain::hex;
use fleetform_domain::machines::{KEPT_READINGS, Reading, Taken, Window};
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

/// How far somebody has read: which series, and how many of its measurements had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    series: u64,
    arrived: u64,
}

impl Cursor {
    /// As it is told.
    pub fn to_text(self) -> DeviceText {
        format!("{:x}-{:x}", self.series, self.arrived).try_into().expect("digits and a hyphen are a text of devices")
    }

    /// The cursor that was told so, if any was.
    pub fn read(text: &DeviceText) -> Option<Self> {
        let (series, arrived) = text.as_str().split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { series: number(series)?, arrived: number(arrived)? })
    }
}

/// The measurements of one sensor.
#[derive(Debug)]
pub(super) struct Series {
    /// Tells it from all others.
    id: u64,
    pairing: Pairing,
    window: Window,
    heard: Timestamp,
    /// The sequence numbers of the last measurements, as they came.
    arrivals: VecDeque<u64>,
    /// How many have come.
    arrived: u64,
    /// Only what has a greater sequence number than this is judged.
    judged_after: u64,
}

impl Series {
    pub(super) fn new(id: u64, pairing: Pairing) -> Self {
        let (window, arrivals) = (Window::default(), VecDeque::new());
        Self { id, pairing, window, heard: Timestamp::UNIX_EPOCH, arrivals, arrived: 0, judged_after: 0 }
    }

    pub(super) fn is_paired_so(&self, pairing: &Pairing) -> bool {
        self.pairing == *pairing
    }

    pub(super) fn take(&mut self, readings: &[Reading], now: Timestamp) -> Vec<Taken> {
        let taken: Vec<Taken> = readings.iter().map(|reading| self.window.take(*reading)).collect();
        for (reading, _) in readings.iter().zip(&taken).filter(|(_, taken)| **taken == Taken::New) {
            if self.arrivals.len() == KEPT_READINGS {
                self.arrivals.pop_front();
            }
            self.arrivals.push_back(reading.sequence);
            self.arrived += 1;
        }
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

    /// At most `limit` measurements by their sequence numbers, and how far that is read: the last ones, or those that came first after a
    /// cursor. One that is of another series has read nothing of this one.
    pub(super) fn recent(&self, after: Option<Cursor>, limit: usize) -> (Vec<Reading>, Cursor) {
        let end = Cursor { series: self.id, arrived: self.arrived };
        let Some(after) = after else {
            let skipped = self.window.readings().len().saturating_sub(limit);
            return (self.readings().skip(skipped).copied().collect(), end);
        };
        let read = if after.series == self.id { after.arrived.min(self.arrived) } else { 0 };
        let unread = usize::try_from(self.arrived - read).unwrap_or(usize::MAX);
        let forgotten = unread.saturating_sub(self.arrivals.len());
        let came = self.arrivals.iter().skip(self.arrivals.len().saturating_sub(unread)).take(limit);
        let mut came: Vec<u64> = came.copied().collect();
        let arrived = self.arrived - (unread - forgotten - came.len()) as u64;
        came.sort_unstable();
        let readings = self.readings().filter(|reading| came.binary_search(&reading.sequence).is_ok());
        (readings.copied().collect(), Cursor { arrived, ..end })
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
