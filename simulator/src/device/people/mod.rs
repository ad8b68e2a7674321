//! People at a device: who enrolls at a desk, who is recognised at a door, and what the device keeps of that for its gateway.

mod enroll;
mod enrollment;
mod own_list;
mod recognise;
mod surroundings;
mod tell;
mod users;
mod vault;

use std::time::{Duration, Instant};

use fleetform_domain::configuration::OperationMode;
use fleetform_domain::wire::{DeviceConfiguration, DeviceText};
use jiff::Timestamp;

pub use enrollment::{EnrollmentStep, PATIENCE, TRIES};

use super::{Device, DeviceError, Screen};
use crate::storage::PeopleRecord;
use enrollment::Enrollment;
use surroundings::Trouble;
pub use surroundings::{BADGE_FORMAT_CHECK, BADGE_SCANNER_CHECK, CONTROL_PANEL_CHECK};

/// The health check that fails after something that the gateway was to be told was lost, until all else is told.
pub const EVENT_BUFFER_CHECK: &str = "event-buffer";

/// What a device has in mind of people.
#[derive(Debug, Default)]
pub(super) struct People {
    /// The enrollment that goes on, and until when the time that it waited is counted.
    enrollment: Option<Box<(Enrollment, Instant)>>,
    /// How the last enrollment or entry ended, until the next check-in.
    shown: Option<Screen>,
    /// When the gateway was there, as the disk has it.
    contact: Option<u64>,
    kept: Kept,
    gap: Gap,
    trouble: Option<Trouble>,
}

/// What the disk keeps for the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    /// How much the gateway is to be told yet.
    untold: usize,
    /// Whether an enrollment with palms is among it.
    enrollments: bool,
}

impl Kept {
    fn of(record: &PeopleRecord) -> Self {
        Self { untold: record.untold.len(), enrollments: record.keeps_enrollments() }
    }
}

/// Whether something was lost that the gateway was to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gap {
    /// Nothing was.
    #[default]
    None,
    /// It was, and the gateway does not know.
    Unreported,
    /// It was, and a check-in has said so.
    Reported,
}

impl People {
    /// As the disk has it when the device starts. What is wrong around it stays wrong.
    pub(super) fn start(&mut self, record: &PeopleRecord) {
        self.kept = Kept::of(record);
        self.contact = record.contact;
        self.gap = if record.lost > 0 { Gap::Unreported } else { Gap::None };
    }

    /// Whether it keeps an enrollment with palms.
    pub(super) fn keeps_enrollments(&self) -> bool {
        self.kept.enrollments
    }

    /// The power goes.
    pub(super) fn stop(&mut self) {
        self.enrollment = None;
        self.shown = None;
    }

    /// Time passes for its clock.
    pub(super) fn pass(&mut self, time: Duration) {
        if let Some(ongoing) = self.enrollment.as_deref_mut() {
            ongoing.0.wait(time);
        }
    }

    /// How the last enrollment or entry ended has been shown for long enough.
    pub(super) fn clear(&mut self) {
        self.shown = None;
    }

    /// What is shown in place of what a device shows that waits for people.
    pub(super) fn screen(&self) -> Option<Screen> {
        let ongoing = self.enrollment.as_ref().map(|enrollment| Screen::Enrollment(enrollment.0.screen()));
        ongoing.or(self.shown)
    }

    /// The health checks that fail.
    pub(super) fn failed_checks(&self) -> Vec<DeviceText> {
        let gap = (self.gap != Gap::None).then_some(EVENT_BUFFER_CHECK);
        let names = [self.trouble.map(Trouble::check), gap].into_iter().flatten();
        names.map(|name| name.try_into().expect("names of checks are texts of devices")).collect()
    }

    /// The gateway has heard which checks fail.
    pub(super) fn note_reported(&mut self) {
        if self.gap == Gap::Unreported {
            self.gap = Gap::Reported;
        }
    }
}

impl Device {
    /// The configuration in force, when the device is ready for people in this mode.
    async fn ready_for(&mut self, mode: OperationMode, what: &'static str) -> Result<DeviceConfiguration, DeviceError> {
        self.mind_absence().await?;
        if !matches!(self.screen(), Screen::Active | Screen::Enrollment(_) | Screen::Entry(_)) {
            return Err(self.out_of_turn(what));
        }
        let configuration = self.configuration().await?.filter(|one| one.operation_mode == Some(mode));
        configuration.ok_or_else(|| self.out_of_turn(what))
    }

    /// The time by its clock, in whole seconds.
    fn time(&self) -> Timestamp {
        let seconds = i64::try_from(self.quirks.clock.now()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }
}
