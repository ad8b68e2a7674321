//! Pure: work for one device, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::wire::DeviceName;

use super::decide::{Entry, Hardware};
use crate::device::Device;

/// What a device goes to do. Each kind has its own bound on how many do it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// To be activated, or to learn what its disk says.
    Activation,
    /// To check in.
    CheckIn,
    /// To hear what its sensors have measured, before the next check-in is due.
    Measurement,
}

impl Work {
    pub(super) fn of(hardware: Hardware) -> Self {
        match hardware {
            Hardware::Blank | Hardware::Pending => Self::Activation,
            Hardware::Associated(_) => Self::CheckIn,
        }
    }
}

/// A device that goes to work.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) name: Arc<DeviceName>,
    pub(super) site: Arc<str>,
    pub(super) entry: Entry,
    pub(super) device: Box<Device>,
    pub(super) work: Work,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The device is active, and its gateway knows its state.
    CheckedIn {
        /// The next check-in is due within so many seconds.
        next_seconds: u32,
    },
    /// It heard its sensors. Its check-in comes when it is due.
    Measured,
    /// The association was over; the device is blank.
    Wiped,
    /// There was nothing to do.
    Nothing,
    /// It is to be tried again.
    Failed,
}

/// A device that comes back from work.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) name: Arc<DeviceName>,
    pub(super) device: Box<Device>,
    pub(super) outcome: Outcome,
    pub(super) work: Work,
    /// Something about the device changes in so much time: it is to be looked at then.
    pub(super) cue: Option<Duration>,
    /// One of its sensors measures in so much time.
    pub(super) measures: Option<Duration>,
    /// As it was when the work was begun.
    pub(super) entry: Entry,
}
