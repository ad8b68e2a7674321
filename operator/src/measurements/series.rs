//! Pure: the measurements of one sensor for as long as it is paired.

use fleetform_domain::machines::{Reading, Taken, Window};
use jiff::Timestamp;

/// What tells one pairing of a sensor from another: in each, it counts its measurements from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Id of the association of the gateway's hardware.
    pub association: String,
    /// What is printed on the sensor.
    pub asset_tag: String,
    /// The epoch for which they are paired.
    pub epoch: i64,
}

/// The measurements of one sensor.
#[derive(Debug)]
pub(super) struct Series {
    pairing: Pairing,
    window: Window,
    heard: Timestamp,
    /// Measurements up to this one are not taken.
    floor: u64,
}

impl Series {
    pub(super) fn new(pairing: Pairing) -> Self {
        Self { pairing, window: Window::default(), heard: Timestamp::UNIX_EPOCH, floor: 0 }
    }

    pub(super) fn take(&mut self, pairing: &Pairing, readings: &[Reading], now: Timestamp) -> Vec<Taken> {
        if self.pairing != *pairing {
            *self = Self::new(pairing.clone());
        }
        let take = |reading: &Reading| {
            if reading.sequence <= self.floor { Taken::TooOld } else { self.window.take(*reading) }
        };
        let taken: Vec<Taken> = readings.iter().map(take).collect();
        // What it said before, said again, is no sign of life.
        if taken.contains(&Taken::New) {
            self.heard = now;
        }
        taken
    }

    pub(super) fn start_anew(&mut self) {
        self.floor = self.window.latest().map_or(self.floor, |latest| latest.sequence);
        self.window = Window::default();
    }

    pub(super) fn readings(&self) -> impl DoubleEndedIterator<Item = &Reading> {
        self.window.readings()
    }

    pub(super) fn heard(&self) -> Timestamp {
        self.heard
    }
}
