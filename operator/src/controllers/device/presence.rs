//! Pure: what a device's reports change in its status, and what its conditions say of it.

use std::time::Duration;

use fleetform_crds::DeviceInstanceStatus;
use fleetform_crds::condition::{ConditionType, Reason, Statement, Status, has_reason, whole_second};
use fleetform_crds::device_instance::{ConfigurationStatus, RefusedVersion, SoftwareUpdateStatus};
use fleetform_domain::configuration::RefusalReason;
use fleetform_domain::transition::{self, Allowance, Change, Connectivity, Health};
use fleetform_domain::wire::DeviceText;
use jiff::Timestamp;

use crate::events::History;
use crate::gateway::report::Report;
use crate::gateway::table::Liveness;
use crate::reconcile::plan::Plan;

/// Time between two looks at a device whose changes have no room.
const NO_ROOM_RETRY: Duration = Duration::from_secs(30);

/// Why changes of a device are not recorded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// As many transitions as an hour may have are recorded.
    Flapping {
        /// When the next may be.
        until: Timestamp,
    },
    /// Event sinks lack so many of its transitions that another one would have no room.
    NoRoom,
}

/// Lays what is known of the device's presence over `status`, but for changes that are held back.
pub fn observe(
    status: &mut DeviceInstanceStatus,
    liveness: &Liveness,
    history: &History,
    now: Timestamp,
) -> Option<HeldBack> {
    if let Liveness::Reporting(report) = liveness {
        note_report(status, report, now);
    }
    let connectivity = match liveness {
        Liveness::Reporting(_) => Some(Connectivity::Connected),
        Liveness::Silent => Some(Connectivity::Disconnected),
        Liveness::Unknown => status.connectivity,
    };
    let health = match liveness {
        Liveness::Reporting(report) if report.failed_health_checks.is_empty() => Some(Health::Healthy),
        Liveness::Reporting(_) => Some(Health::Critical),
        Liveness::Silent | Liveness::Unknown => status.health,
    };
    let failed = match liveness {
        Liveness::Reporting(report) => Some(names_of(&report.failed_health_checks)),
        Liveness::Silent | Liveness::Unknown => None,
    };
    note_changes(status, connectivity, health, failed, history, now)
}

/// Lays connectivity, health and the health checks that fail, as far as they are known, over `status`; see [`observe`].
pub fn note_changes(
    status: &mut DeviceInstanceStatus,
    connectivity: Option<Connectivity>,
    health: Option<Health>,
    failed: Option<Vec<String>>,
    history: &History,
    now: Timestamp,
) -> Option<HeldBack> {
    let mut changes = Vec::new();
    let previous = status.connectivity.unwrap_or(Connectivity::Disconnected);
    if let Some(current) = connectivity.filter(|current| *current != previous) {
        changes.push(Change::Connectivity { previous, current });
    }
    // A device counts as healthy until its first report says otherwise.
    let previous = status.health.unwrap_or(Health::Healthy);
    if let Some(current) = health.filter(|current| *current != previous) {
        changes.push(Change::Health { previous, current });
    }
    if !changes.is_empty() && !history.takes(&status.transitions, changes.len()) {
        return Some(HeldBack::NoRoom);
    }
    if changes.is_empty() || transition::allowance(&status.transitions, now) == Allowance::Granted {
        let asset_tag = status.device.as_ref().map(|device| device.asset_tag_id.as_str()).unwrap_or_default();
        transition::record(&mut status.transitions, changes, asset_tag, now);
        status.connectivity = connectivity;
        status.health = health;
        if let Some(failed) = failed {
            status.failed_health_checks = failed;
        }
    }
    match transition::allowance(&status.transitions, now) {
        Allowance::Granted => None,
        Allowance::Flapping { until } => Some(HeldBack::Flapping { until }),
    }
}

/// Names of health checks, in their order.
pub fn names_of(checks: &[DeviceText]) -> Vec<String> {
    let mut names: Vec<String> = checks.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}

/// The device is no longer associated: what was known of it goes, and who counted on it hears that it is gone.
pub fn leave(status: &mut DeviceInstanceStatus, now: Timestamp) {
    if let (Some(device), Some(Connectivity::Connected)) = (&status.device, status.connectivity) {
        let (previous, current) = (Connectivity::Connected, Connectivity::Disconnected);
        let change = Change::Connectivity { previous, current };
        transition::record(&mut status.transitions, [change], &device.asset_tag_id, now);
    }
    status.device = None;
    status.lock = None;
    status.connectivity = None;
    status.health = None;
    status.failed_health_checks.clear();
    if let Some(configuration) = &mut status.configuration {
        configuration.applied = None;
        configuration.refused = None;
    }
}

/// The version that a device runs, as far as there is such a version: what it made up is no answer.
pub fn applied(configuration: &ConfigurationStatus, reported: Option<u32>) -> Option<u32> {
    reported.filter(|reported| configuration.version(*reported).is_some())
}

/// Why the device does not run the version that is desired, as far as it says so of that version.
pub fn refused(configuration: &ConfigurationStatus, report: &Report) -> Option<RefusalReason> {
    let refused = report.refused.filter(|refused| refused.version == configuration.desired)?;
    (report.applied != Some(configuration.desired)).then_some(refused.reason)
}

/// How far the device is with a release of its software.
pub fn software_update(report: &Report) -> Option<SoftwareUpdateStatus> {
    let update = report.update.as_ref()?;
    Some(SoftwareUpdateStatus {
        version: update.version.as_str().to_owned(),
        state: update.state,
        percent: update.percent,
    })
}

fn note_report(status: &mut DeviceInstanceStatus, report: &Report, now: Timestamp) {
    if let Some(configuration) = &mut status.configuration {
        configuration.applied = applied(configuration, report.applied);
        let reason = refused(configuration, report);
        if reason != configuration.refused.as_ref().map(|refused| refused.reason) {
            let (version, since) = (configuration.desired, whole_second(now));
            configuration.refused = reason.map(|reason| RefusedVersion { version, reason, since });
        }
    }
    if let Some(device) = &mut status.device {
        device.software_version = Some(report.software_version.as_str().to_owned());
        device.software_update = software_update(report);
    }
}

fn failed(checks: &[String]) -> String {
    match checks {
        [] => "one or more health checks failed when the device checked in last".to_owned(),
        [check] => format!("a health check failed when the device checked in last: {check}"),
        checks => format!("health checks failed when the device checked in last: {}", checks.join(", ")),
    }
}

/// What the conditions of an active instance say of the device.
pub fn statements(status: &DeviceInstanceStatus, held_back: Option<HeldBack>) -> Vec<Statement> {
    let mut statements = vec![
        Statement::new(ConditionType::Active, Status::True, Reason::Activated, "a device is associated"),
        match (status.connectivity, status.health) {
            (Some(Connectivity::Connected), _) => Statement::new(
                ConditionType::Connected,
                Status::True,
                Reason::CheckedIn,
                "the device checks in when it is due",
            ),
            (_, None) => Statement::new(
                ConditionType::Connected,
                Status::False,
                Reason::NotReported,
                "the device has yet to check in for the first time",
            ),
            _ if held_back.is_some() => Statement::new(
                ConditionType::Connected,
                Status::False,
                Reason::HeldBack,
                "the device was silent when its changes began to be held back; it may be there again",
            ),
            _ => Statement::new(
                ConditionType::Connected,
                Status::False,
                Reason::Silent,
                "the device is silent: check its power and its network; it reconnects by itself",
            ),
        },
        match status.health {
            Some(Health::Healthy) => Statement::new(
                ConditionType::Healthy,
                Status::True,
                Reason::ChecksPassed,
                "all health checks passed when the device checked in last",
            ),
            Some(Health::Critical) => Statement::new(
                ConditionType::Healthy,
                Status::False,
                Reason::ChecksFailed,
                failed(&status.failed_health_checks),
            ),
            None => Statement::new(
                ConditionType::Healthy,
                Status::Unknown,
                Reason::NotReported,
                "the device has yet to check in for the first time",
            ),
        },
    ];
    statements.extend(held_back.map(self::held_back));
    statements
}

/// Whether it is said of a gateway that its clock is off.
pub fn clock_is_off(status: &DeviceInstanceStatus) -> bool {
    has_reason(&status.conditions, ConditionType::ClockSkewed, Reason::ClockAheadOrBehind)
}

/// What is said of a gateway's clock, if it is off. Of one that is silent what was said stays.
pub fn clock(status: &DeviceInstanceStatus, liveness: &Liveness) -> Option<Statement> {
    let is_off = match liveness {
        Liveness::Reporting(report) => report.clock_is_off,
        Liveness::Silent | Liveness::Unknown => clock_is_off(status),
    };
    is_off.then(|| {
        let message = "the clock of the gateway is more than a minute ahead or behind: set it, or its time server; until then charts \
                       show what its sensors measure at a wrong time, and machines are judged as ever";
        Statement::new(ConditionType::ClockSkewed, Status::True, Reason::ClockAheadOrBehind, message)
    })
}

/// When to look again at a device whose changes are held back.
pub fn look_again(plan: &mut Plan, held_back: Option<HeldBack>, now: Timestamp) {
    match held_back {
        Some(HeldBack::Flapping { until }) => plan.look_again_at(until, now),
        Some(HeldBack::NoRoom) => plan.look_again_in(NO_ROOM_RETRY),
        None => {}
    }
}

/// What is said of a device whose changes are held back.
pub fn held_back(why: HeldBack) -> Statement {
    let (reason, message) = match why {
        HeldBack::Flapping { .. } => (
            Reason::TooManyTransitions,
            "the device changed six times in an hour: further changes are held back; check its power and its network",
        ),
        HeldBack::NoRoom => (
            Reason::EventsNotDelivered,
            "a required event sink lacks so many changes that no more are kept for it: further changes are held back; bring the \
             sink back, or take it off the list of sinks",
        ),
    };
    Statement::new(ConditionType::Flapping, Status::True, reason, message)
}
