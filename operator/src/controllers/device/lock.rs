//! Pure: locks. A device locks itself when it is tampered with or was without its gateway for too long; the gateway has it
//! locked when two devices report with one key. Only an answer that names the lock takes it off.

use std::collections::BTreeMap;

use fleetform_crds::condition::{ConditionType, Reason, Statement, Status, whole_second};
use fleetform_crds::device_instance::LockStatus;
use fleetform_crds::{DeviceInstance, DeviceInstanceStatus};
use fleetform_domain::operation::{
    CommandKind, LockReason, REMEDIATE_ANNOTATION, Remediation, UNLOCK_ANNOTATION, parse_remediation,
    parse_site_remediation,
};
use fleetform_domain::transition::{self, Connectivity};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::commands;
use crate::gateway::report::Report;
use crate::gateway::table::Liveness;

/// How far the clock of who answers may be ahead.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);

/// What a lock depends on beside the status.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// How long the device may be without its gateway.
    pub maximum_offline: SignedDuration,
    /// Since when the gateway serves: before that, an absence is not the device's.
    pub serving_since: Option<Timestamp>,
    /// 16 random bytes, for the id of a lock.
    pub nonce: &'a [u8; 16],
    /// Now.
    pub now: Timestamp,
}

type Annotations = BTreeMap<String, String>;

/// Whether people said that the device is elsewhere: then its association ends.
pub fn is_elsewhere(device: &DeviceInstance) -> bool {
    let lock = device.status.as_ref().and_then(|status| status.lock.as_ref());
    let lock = lock.filter(|lock| !lock.reason.takes_inspection());
    let text = device.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REMEDIATE_ANNOTATION));
    let answer = text.and_then(|text| parse_remediation(text));
    matches!((lock, answer), (Some(lock), Some((Remediation::DifferentSite, id))) if lock.id == id)
}

/// Lays over `status` what the device reports of its lock, what the gateway knows of it, and what people answered.
pub fn observe(
    status: &mut DeviceInstanceStatus,
    liveness: &Liveness,
    own: Option<&Annotations>,
    site: Option<&Annotations>,
    circumstances: &Circumstances<'_>,
) {
    let now = whole_second(circumstances.now);
    let report = match liveness {
        Liveness::Reporting(report) => Some(report),
        Liveness::Silent | Liveness::Unknown => None,
    };
    if let Some(report) = report {
        take_report(status, report, circumstances, &now);
    }
    let Some(lock) = status.lock.clone() else { return };
    if let Some(kind) = answered(&lock, own, site, circumstances.now) {
        commands::request(status, kind, &lock.id, &now);
    }
    // A device that reports no lock has taken it off as it was told, or was never under it.
    if report.is_some_and(|report| report.lock.is_none())
        && let Some(answer) = commands::pending_answer(status, &lock.id)
    {
        commands::done(status, answer, &lock.id, &now);
        status.lock = None;
    }
}

fn take_report(status: &mut DeviceInstanceStatus, report: &Report, circumstances: &Circumstances<'_>, now: &Time) {
    match (&report.lock, &status.lock) {
        (Some(reported), known) => {
            let same = known.as_ref().is_some_and(|known| known.id == reported.id.as_str());
            // What takes an inspection is not forgotten for another lock.
            let keeps = known.as_ref().is_some_and(|known| known.reason.takes_inspection());
            if !same && (!keeps || reported.reason.takes_inspection()) {
                let id = reported.id.as_str().to_owned();
                status.lock = Some(LockStatus { id, reason: reported.reason, since: now.clone() });
            }
        }
        // Its lock was taken off; or it has yet to be told of it, or has lost it, and the next answer tells it.
        (None, Some(_)) => {}
        (None, None) => {
            let reason = if report.interleaved {
                Some(LockReason::Cloned)
            } else {
                let absent = absence(status, circumstances);
                absent.filter(|absent| *absent >= circumstances.maximum_offline).map(|_| LockReason::MaximumOfflineTime)
            };
            status.lock =
                reason.map(|reason| LockStatus { id: id_of(circumstances.nonce), reason, since: now.clone() });
        }
    }
}

/// For how long a device that was missed until now was away, counting only time in which the gateway was there.
fn absence(status: &DeviceInstanceStatus, circumstances: &Circumstances<'_>) -> Option<SignedDuration> {
    if status.connectivity != Some(Connectivity::Disconnected) {
        return None;
    }
    let lost = transition::disconnected_since(&status.transitions)?;
    // One that was activated since was not away.
    let activated = status.device.as_ref().and_then(|device| device.activated_at.as_ref()).map(|time| time.0);
    let since = lost.max(circumstances.serving_since?).max(activated?);
    Some(circumstances.now.duration_since(since))
}

fn answered(
    lock: &LockStatus,
    own: Option<&Annotations>,
    site: Option<&Annotations>,
    now: Timestamp,
) -> Option<CommandKind> {
    let own_says = |name: &str| own.and_then(|annotations| annotations.get(name)).map(String::as_str);
    if own_says(UNLOCK_ANNOTATION) == Some(lock.id.as_str()) {
        return Some(CommandKind::Unlock);
    }
    if lock.reason.takes_inspection() {
        return None;
    }
    let by_name = own_says(REMEDIATE_ANNOTATION).and_then(parse_remediation);
    let by_name = by_name.is_some_and(|(answer, id)| answer == Remediation::SameSite && id == lock.id);
    let by_site = site.and_then(|annotations| annotations.get(REMEDIATE_ANNOTATION));
    // A time that has yet to come would answer locks that nobody knows of.
    let until = by_site.and_then(|text| parse_site_remediation(text)).filter(|until| *until <= now + CLOCKS_DIFFER);
    let by_site = until.is_some_and(|until| lock.since.0 <= until);
    (by_name || by_site).then_some(CommandKind::Remediate)
}

fn id_of(nonce: &[u8; 16]) -> String {
    fleetform_domain::hex(&nonce[..6])
}

/// What the conditions say of the lock, with the very commands that answer it.
pub fn statement(status: &DeviceInstanceStatus, name: &str, namespace: &str) -> Option<Statement> {
    let lock = status.lock.as_ref()?;
    let annotate =
        |what: &str| format!("kubectl annotate --overwrite --namespace {namespace} deviceinstance {name} {what}");
    let since = lock.since.0;
    let unlock = annotate(&format!("{UNLOCK_ANNOTATION}={}", lock.id));
    let (reason, message) = match lock.reason {
        LockReason::Tamper => (
            Reason::TamperDetected,
            format!("locked since {since}, as it was opened or taken off: inspect it, then run: {unlock}"),
        ),
        LockReason::Cloned => (
            Reason::CloneSuspected,
            format!(
                "locked since {since}, as two devices report with its key: find the copy; then deactivate it (raise \
                 spec.activation.epoch) and activate it again, or, if there is no copy, run: {unlock}"
            ),
        ),
        LockReason::MaximumOfflineTime => (
            Reason::OfflineTooLong,
            format!(
                "locked since {since}, as it was without its gateway for too long and may have been moved. If it is still at \
                 its site, run: {}. If not, this deactivates it: {}",
                annotate(&format!("{REMEDIATE_ANNOTATION}=SameSite@{}", lock.id)),
                annotate(&format!("{REMEDIATE_ANNOTATION}=DifferentSite@{}", lock.id)),
            ),
        ),
    };
    Some(Statement::new(ConditionType::Locked, Status::True, reason, message))
}
