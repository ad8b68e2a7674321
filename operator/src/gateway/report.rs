//! Pure: what a device reported last.

use fleetform_domain::wire::{CheckInRequest, DeviceLock, DeviceText, RefusedConfiguration, SoftwareUpdate};
use jiff::Timestamp;

/// Progress of a download is told in steps of so many percent: each is a write.
const PROGRESS_STEP: u8 = 25;

/// What a device reported last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// When.
    pub seen: Timestamp,
    /// Its boot.
    pub boot_id: DeviceText,
    /// Its count of check-ins in that boot.
    pub counter: u64,
    /// Version of its software.
    pub software_version: DeviceText,
    /// The configuration it runs.
    pub applied: Option<u32>,
    /// The health checks that fail.
    pub failed_health_checks: Vec<DeviceText>,
    /// The lock it is under.
    pub lock: Option<DeviceLock>,
    /// The command that it has carried out last.
    pub completed: Option<DeviceText>,
    /// The configuration that it does not run, and why.
    pub refused: Option<RefusedConfiguration>,
    /// How far it is with its software; of the percents, whole quarters.
    pub update: Option<Box<SoftwareUpdate>>,
    /// The list of enrolled users that it holds.
    pub users_revision: Option<DeviceText>,
    /// The step that the list itself was at when it said so.
    pub users_step: u64,
    /// Of a gateway: whether its clock shows another time than ours.
    pub clock_is_off: bool,
    /// The step that the list was at when it said last that it keeps no enrollment with palms, this time or before.
    pub keeps_none: Option<u64>,
    /// Whether starts of it come alternately: two devices report with one key.
    pub interleaved: bool,
    /// Commands that it was told of, and when.
    pub told: Vec<(DeviceText, Timestamp)>,
}

impl Report {
    /// The report that a check-in makes; `users_step` is the step that the list of enrolled users is at.
    pub fn new(check_in: CheckInRequest, users_step: u64, seen: Timestamp) -> Self {
        Self {
            seen,
            boot_id: check_in.boot_id,
            counter: check_in.counter,
            software_version: check_in.software_version,
            applied: check_in.applied_configuration_version,
            failed_health_checks: check_in.failed_health_checks,
            lock: check_in.lock,
            completed: check_in.completed_command,
            refused: check_in.refused_configuration,
            update: check_in.software_update.map(|update| {
                let percent = update.percent.min(100) / PROGRESS_STEP * PROGRESS_STEP;
                Box::new(SoftwareUpdate { percent, ..update })
            }),
            users_revision: check_in.enrolled_users_revision,
            users_step,
            keeps_none: (!check_in.keeps_enrollments).then_some(users_step),
            clock_is_off: false,
            interleaved: false,
            told: Vec::new(),
        }
    }

    /// Whether this says the same of the device's state as `other`, whenever it was said.
    pub fn same_state(&self, other: &Self) -> bool {
        self.applied == other.applied
            && self.software_version == other.software_version
            && self.failed_health_checks == other.failed_health_checks
            && self.lock == other.lock
            && self.completed == other.completed
            && self.refused == other.refused
            && self.update == other.update
            && self.clock_is_off == other.clock_is_off
            && self.interleaved == other.interleaved
    }
}
