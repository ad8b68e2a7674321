//! Check-ins: the device reports its whole state and hears what is wanted. A check-in writes nothing: when the stored status
//! does not show what was reported, the reconciler makes the one write.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use fleetform_crds::device_instance::ConfigurationStatus;
use fleetform_crds::{DeviceInstance, DeviceInstanceStatus};
use fleetform_domain::configuration::{DeviceType, OperationMode};
use fleetform_domain::operation::CommandKind;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::transition::{Connectivity, Health};
use fleetform_domain::wire::{
    CheckInRequest, CheckInResponse, DeviceText, MAX_FAILED_HEALTH_CHECKS, MAX_WAIT_SECONDS, SensorReport,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Gateway;
use super::people::is_reader;
use super::report::Report;
use super::sensors::{self, Heard};
use super::table::Trust;
use super::trust::holds;
use crate::cache::{Kind, Name, World};
use crate::controllers::device::{commands, presence};
use crate::crypto::{DeviceIdentity, Ring};
use crate::people::holders::{is_locked, keeps_list};
use crate::queue::Key;
use crate::server::{Json, Peer, Refusal};

/// `POST /v1/check-in`.
pub(super) async fn check_in(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<CheckInRequest>,
) -> Result<Answer<CheckInResponse>, Refusal> {
    let answer = gateway.check_in(&peer, request).await;
    gateway.context.metrics.check_in(match &answer {
        Ok(_) => "ok",
        Err(refusal) => refusal.code.as_str(),
    });
    answer.map(Answer)
}

/// What no schema says of a check-in.
fn checked(request: &CheckInRequest) -> Result<(), Refusal> {
    if request.failed_health_checks.len() > MAX_FAILED_HEALTH_CHECKS {
        return Err(Refusal::malformed(format!("failedHealthChecks: at most {MAX_FAILED_HEALTH_CHECKS}")));
    }
    if request.wait_seconds > MAX_WAIT_SECONDS {
        return Err(Refusal::malformed(format!("waitSeconds: 0 to {MAX_WAIT_SECONDS}")));
    }
    Ok(())
}

/// Whether the stored status already says what the device reported.
fn shows(status: &DeviceInstanceStatus, report: &Report) -> bool {
    let health = if report.failed_health_checks.is_empty() { Health::Healthy } else { Health::Critical };
    let configuration = status.configuration.as_ref();
    let noted = configuration
        .is_none_or(|configuration| configuration.applied == presence::applied(configuration, report.applied));
    let refused = |configuration: &ConfigurationStatus| configuration.refused.as_ref().map(|refused| refused.reason);
    let refused =
        configuration.is_none_or(|configuration| refused(configuration) == presence::refused(configuration, report));
    let software = status.device.as_ref().and_then(|device| device.software_version.as_deref());
    let update = status.device.as_ref().and_then(|device| device.software_update.clone());
    let checks = status.health != Some(Health::Critical)
        || status.failed_health_checks == presence::names_of(&report.failed_health_checks);
    noted
        && checks
        && presence::clock_is_off(status) == report.clock_is_off
        && refused
        && update == presence::software_update(report)
        && lock_shows(status, report)
        && command_shows(status, report)
        && status.connectivity == Some(Connectivity::Connected)
        && status.health == Some(health)
        && software == Some(report.software_version.as_str())
}

fn lock_shows(status: &DeviceInstanceStatus, report: &Report) -> bool {
    match (&report.lock, &status.lock) {
        (None, None) => !report.interleaved,
        (Some(_), None) => false,
        (Some(reported), Some(known)) => {
            let keeps = known.reason.takes_inspection() && !reported.reason.takes_inspection();
            keeps || reported.id.as_str() == known.id
        }
        (None, Some(known)) => commands::pending_answer(status, &known.id).is_none(),
    }
}

fn command_shows(status: &DeviceInstanceStatus, report: &Report) -> bool {
    let Some(completed) = &report.completed else { return true };
    let mut open = status.commands.iter().filter(|command| command.done_at.is_none());
    !open.any(|command| command.kind == CommandKind::Reboot && command.id == completed.as_str())
}

fn desired(device: &DeviceInstance) -> Result<u32, Refusal> {
    let configuration = device.status.as_ref().and_then(|status| status.configuration.as_ref());
    configuration.map(|configuration| configuration.desired).ok_or_else(|| {
        Refusal::unavailable("the device instance has no configuration just now; keep the one in force and ask again")
    })
}

/// What a device is told that reports this; `list` is the revision of the list of enrolled users.
fn answer(
    device: &DeviceInstance,
    report: &Report,
    list: impl FnOnce() -> Option<DeviceText>,
    interval: u32,
) -> Result<CheckInResponse, Refusal> {
    let (commands, lock) = device.status.as_ref().map(|status| commands::orders(status, report)).unwrap_or_default();
    Ok(CheckInResponse {
        desired_configuration_version: desired(device)?,
        next_check_in_seconds: interval,
        commands,
        lock,
        out_of_service: device.spec.out_of_service,
        authorities: None,
        renew_certificate: false,
        enrolled_users_revision: keeps_list(device).then(list).flatten(),
        sensors: None,
    })
}

/// What a device said in a check-in.
#[derive(Debug)]
struct Said {
    report: Report,
    /// Of a gateway: the list of sensors that it goes by.
    sensors_revision: Option<DeviceText>,
}

/// The same, and which authorities count, told to a device whose certificate is of this generation.
fn with_authorities(answer: CheckInResponse, ring: &Ring, issuer: Option<u32>) -> CheckInResponse {
    let renew_certificate = issuer != Some(ring.signing().number);
    CheckInResponse { authorities: Some(ring.digest()), renew_certificate, ..answer }
}

impl Gateway {
    async fn check_in(&self, peer: &Peer, mut request: CheckInRequest) -> Result<CheckInResponse, Refusal> {
        let identity = self.identify(peer)?;
        checked(&request)?;
        // As it was when the device said so, however long it takes to find out whether it may.
        let users_step = self.name_of(&identity).map_or(0, |name| self.context.people.step(&name.namespace));
        let device = self.trusted(&identity).await.inspect_err(|refusal| {
            let keeps_nobody = request.enrolled_users_revision.is_none() && !request.keeps_enrollments;
            if refusal.code == ProblemCode::AssociationEnded && keeps_nobody {
                self.note_farewell(&identity);
            }
        })?;
        sensors::checked(device.spec.device_type, request.sensors.as_ref())?;
        let interval = self.context.settings.gateway.check_in_seconds;
        // A device that waits is not silent: it gets its answer before it would be missed.
        let wait = Duration::from_secs(request.wait_seconds.min(interval).into());
        let issuer = self.context.authorities.ring().issuer(&identity);
        let trust = Trust { authorities: request.trusted_authorities, issuer };
        let sensors = request.sensors.take();
        let sensors_revision = sensors.as_ref().and_then(|sensors| sensors.revision.clone());
        let namespace = &Name::of(&*device).namespace;
        let now = self.context.clock.now();
        let clock_is_off = sensors.as_ref().is_some_and(|sensors| {
            let was_off = device.status.as_ref().is_some_and(presence::clock_is_off);
            sensors::clock_is_off(sensors.time, now, was_off)
        });
        let report = Report { clock_is_off, ..Report::new(request, users_step, now) };
        let shown = device.status.as_ref().is_some_and(|status| shows(status, &report));
        let held = self.context.table.list_of(&identity.bond.association);
        let kept_before = self.context.table.kept_none_at(&identity.bond.association);
        let news = self.context.table.take(&identity.bond.association, report.clone());
        // A desk that keeps nothing of anybody is news to those who enrolled there since it said so last.
        let is_desk = is_reader(&device, OperationMode::Enrollment) && report.keeps_none > kept_before;
        if is_desk || held.is_none_or(|(held, _)| held != report.users_revision) {
            self.context.people.may_be_forgotten(namespace);
        }
        self.context.table.trusts(&identity.bond.association, trust);
        let look = || self.context.queue.add_urgent(Key::new(Kind::DeviceInstance, Name::of(&*device)));
        if news || !shown {
            look();
        }
        if let Some(sensors) = sensors {
            self.note_sensors(&identity.bond.association, &report, &sensors.sensors);
        }
        let said = Said { report, sensors_revision };
        let answer = if wait.is_zero() {
            self.answer(&device, &said)?
        } else {
            self.wait(&identity, &device, &said, wait).await?
        };
        if self.context.table.tell(&identity.bond.association, &answer.commands, self.context.clock.now()) {
            look();
        }
        Ok(with_authorities(answer, &self.context.authorities.ring(), issuer))
    }

    /// Has the sensors looked at of which a gateway says something new.
    fn note_sensors(&self, association: &str, report: &Report, sensors: &[SensorReport]) {
        let check_in = (&report.boot_id, report.counter);
        for id in self.context.table.take_sensors(association, check_in, sensors, report.seen) {
            if self.context.table.sensor(association, &id, report.seen) == Heard::NotPaired {
                // When it is paired again it counts from 1.
                self.context.measurements.forget(&id);
            }
            if let Some(sensor) = self.context.world.machines.sensor(&id) {
                self.context.queue.add_urgent(Key::new(Kind::DeviceInstance, sensor));
            }
        }
    }

    /// What a device is told that said this.
    fn answer(&self, device: &DeviceInstance, said: &Said) -> Result<CheckInResponse, Refusal> {
        let namespace = Name::of(device).namespace;
        // While the project is closed nobody knows the list, and a device goes by the one that it has.
        let list = || match self.opened(&namespace) {
            Ok(_) => Some(self.context.people.revision(&namespace)),
            Err(_) => said.report.users_revision.clone(),
        };
        let answer = answer(device, &said.report, list, self.context.settings.gateway.check_in_seconds)?;
        // A locked one leaves its list as it is, so it is not told over and over.
        if device.spec.device_type != DeviceType::Gateway || is_locked(device) {
            return Ok(answer);
        }
        let wanted = sensors::wanted(&self.context.world, device);
        Ok(CheckInResponse { sensors: sensors::told(wanted, said.sensors_revision.as_ref()), ..answer })
    }

    /// Waits until there is something to do for the device, or the association ends.
    async fn wait(
        &self,
        identity: &DeviceIdentity,
        device: &DeviceInstance,
        said: &Said,
        wait: Duration,
    ) -> Result<CheckInResponse, Refusal> {
        let report = &said.report;
        let before = device.spec.out_of_service;
        let world = &self.context.world;
        let waiter = Waiter::new(world, Name::of(device));
        let namespace = &waiter.name.namespace;
        let lists = self.context.people.changes(namespace);
        let deadline = Instant::now() + wait;
        loop {
            let mut changed = std::pin::pin!(waiter.notify.notified());
            changed.as_mut().enable();
            let mut relisted = std::pin::pin!(lists.notified());
            relisted.as_mut().enable();
            let cached = world.device_by_association(&identity.bond.association);
            let device = match cached.filter(|device| holds(device, identity)) {
                Some(device) => device,
                None => self.trusted(identity).await?,
            };
            let answer = self.answer(&device, said)?;
            let desired = answer.desired_configuration_version;
            // What it has refused it need not hear of again.
            let refused = report.refused.is_some_and(|refused| refused.version == desired);
            let news = (report.applied != Some(desired) && !refused)
                || !answer.commands.is_empty()
                || answer.lock.is_some()
                || answer.sensors.is_some()
                || list_is_news(&device, report, &answer)
                || answer.out_of_service != before;
            if news {
                return Ok(answer);
            }
            tokio::select! {
                () = changed => {}
                () = relisted, if keeps_list(&device) => {}
                () = sleep_until(deadline) => return Ok(answer),
                () = self.shutdown.cancelled() => return Ok(answer),
            }
        }
    }
}

/// Whether the device is to hold another list of enrolled users than it holds, or none. A locked one that does not let go of its list is
/// not told over and over.
fn list_is_news(device: &DeviceInstance, report: &Report, answer: &CheckInResponse) -> bool {
    answer.enrolled_users_revision != report.users_revision && !is_locked(device)
}

/// Waits for changes of an instance, and is forgotten when the device no longer listens.
struct Waiter<'a> {
    world: &'a World,
    name: Name,
    notify: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(world: &'a World, name: Name) -> Self {
        let notify = world.device_changes(&name);
        Self { world, name, notify }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.world.done_waiting(&self.name, &self.notify);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(applied: Option<u32>, connectivity: &str, health: &str, software: &str) -> DeviceInstanceStatus {
        let version = |version| json!({ "version": version, "digest": "", "createdAt": "2026-01-01T00:00:00Z" });
        serde_json::from_value(json!({
            "connectivity": connectivity,
            "health": health,
            "device": { "assetTagId": "1", "softwareVersion": software },
            "configuration": { "desired": 2, "applied": applied, "history": [version(1), version(2)] },
        }))
        .unwrap()
    }

    fn report(applied: Option<u32>, failed: &[&str]) -> Report {
        let request = CheckInRequest {
            applied_configuration_version: applied,
            failed_health_checks: failed.iter().map(|name| (*name).try_into().unwrap()).collect(),
            ..CheckInRequest::new("b".try_into().unwrap(), 1, "1.0".try_into().unwrap())
        };
        Report::new(request, 0, jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_report_that_is_stored_already_is_no_news() {
        assert!(shows(&status(Some(2), "CONNECTED", "HEALTHY", "1.0"), &report(Some(2), &[])));
        let mut critical = status(Some(2), "CONNECTED", "CRITICAL", "1.0");
        assert!(!shows(&critical, &report(Some(2), &["storage"])), "which check fails is shown");
        critical.failed_health_checks = vec!["storage".into()];
        assert!(shows(&critical, &report(Some(2), &["storage"])));
        assert!(!shows(&critical, &report(Some(2), &["storage", "usb-link"])));
        assert!(
            !shows(&status(Some(2), "CONNECTED", "HEALTHY", "1.0"), &report(Some(9), &[])),
            "there is no version 9"
        );
        assert!(!shows(&status(Some(2), "CONNECTED", "HEALTHY", "1.0"), &report(None, &[])), "it runs none any more");
        assert!(shows(&status(None, "CONNECTED", "HEALTHY", "1.0"), &report(Some(9), &[])), "it never did run one");
        assert!(!shows(&status(Some(1), "CONNECTED", "HEALTHY", "1.0"), &report(Some(2), &[])));
        assert!(!shows(&status(Some(2), "DISCONNECTED", "HEALTHY", "1.0"), &report(Some(2), &[])));
        assert!(!shows(&status(Some(2), "CONNECTED", "HEALTHY", "1.0"), &report(Some(2), &["storage"])));
        assert!(!shows(&status(Some(2), "CONNECTED", "HEALTHY", "0.9"), &report(Some(2), &[])));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        let mut request = CheckInRequest {
            failed_health_checks: vec!["x".try_into().unwrap(); 16],
            wait_seconds: 60,
            ..CheckInRequest::new("b".try_into().unwrap(), 1, "1".try_into().unwrap())
        };
        assert_eq!(checked(&request), Ok(()));
        request.wait_seconds = 61;
        assert!(checked(&request).unwrap_err().detail.starts_with("waitSeconds"));
        request.wait_seconds = 0;
        request.failed_health_checks.push("x".try_into().unwrap());
        assert!(checked(&request).unwrap_err().detail.starts_with("failedHealthChecks"));
    }
}
