//! Makes happen to devices what a scenario has in store for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::wire::{DeviceName, DeviceText};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::people::Attendance;
use crate::device::{Device, DeviceError};
use crate::scenario::{Once, Part, Scenario};
use crate::telemetry::Telemetry;

/// When people who could not come yet try again.
const SOON: Duration = Duration::from_secs(1);

/// The scenario, and how far each device is in it.
#[derive(Debug)]
pub(super) struct Director {
    scenario: Arc<Scenario>,
    people: Attendance,
    roles: Mutex<HashMap<DeviceText, Box<Role>>>,
}

/// What is in store for one device, and what became of it.
#[derive(Debug)]
pub(super) struct Role {
    part: Part,
    begun: Instant,
    powerless: bool,
    copy: Option<Device>,
    /// What is to happen with people as soon as it can.
    people: Vec<Once>,
}

impl Director {
    pub(super) fn new(scenario: Arc<Scenario>) -> Self {
        Self { people: Attendance::of(&scenario), scenario, roles: Mutex::default() }
    }

    /// The role of a device that goes to work; it comes back with the device.
    pub(super) fn take(&self, name: &DeviceName, device: &Device) -> Option<Box<Role>> {
        let known = self.roles.lock().remove(device.asset_tag());
        known.or_else(|| {
            let part = self.scenario.part(name)?;
            Some(Box::new(Role { part, begun: Instant::now(), powerless: false, copy: None, people: Vec::new() }))
        })
    }

    /// Who came where so far.
    pub(super) fn people(&self) -> &Attendance {
        &self.people
    }

    pub(super) fn put_back(&self, device: &Device, role: Box<Role>) {
        self.roles.lock().insert(device.asset_tag().clone(), role);
    }

    /// These devices are gone for good.
    pub(super) fn forget(&self, asset_tags: &[DeviceText]) {
        let mut roles = self.roles.lock();
        for asset_tag in asset_tags {
            roles.remove(asset_tag);
        }
    }
}

impl Role {
    /// Makes the device, and what is around it, as they are to be now.
    pub(super) async fn enter(&mut self, device: &mut Device, people: &Attendance, telemetry: &Telemetry) {
        let elapsed = self.begun.elapsed();
        let setting = self.part.setting(elapsed);
        *device.quirks() = setting.quirks;
        device.set_failed_health_checks(setting.failed_health_checks);
        let has_power_again = std::mem::replace(&mut self.powerless, setting.powerless) && !setting.powerless;
        if !device.is_associated() {
            self.copy = None;
            return;
        }
        if has_power_again {
            let started = device.power_on().await.map(drop);
            note(device, "start", started);
        }
        for once in self.part.take(elapsed, false) {
            let done = match once {
                Once::Tamper => device.tamper().await,
                Once::Restart => device.power_on().await.map(drop),
                Once::Absence(time) => {
                    device.pass(time);
                    Ok(())
                }
                Once::Replay => device.check_in_again().await.map(drop),
                Once::Enroll(_) | Once::Enter(_) => {
                    self.people.push(once);
                    Ok(())
                }
                Once::WrongZip
                | Once::UnreadableQr
                | Once::MultipleQrCodes
                | Once::ForgedQr
                | Once::BreakDown
                | Once::SlowInstaller(_) => Ok(()),
            };
            note(device, "play its part", done);
        }
        for once in std::mem::take(&mut self.people) {
            if !people.come(device, once, telemetry).await {
                self.people.push(once);
            }
        }
        match (setting.copied, &self.copy) {
            (true, None) => match device.copied(rand::random()).await {
                Ok(copy) => self.copy = Some(copy),
                Err(error) => note(device, "be copied", Err(error)),
            },
            (false, Some(_)) => self.copy = None,
            _ => {}
        }
    }

    /// What happens on the way to the device's activation.
    pub(super) fn stumbles(&mut self) -> Vec<Once> {
        self.part.take(self.begun.elapsed(), true)
    }

    /// The device has done its work. Answers when something changes.
    pub(super) async fn leave(&mut self, device: &mut Device) -> Option<Duration> {
        self.part.note_damaged(device.quirks().damaged_downloads);
        if let Some(copy) = &mut self.copy {
            let reported = copy.synchronise().await.map(drop);
            note(copy, "report as a copy", reported);
        }
        // A moment later, so that it has changed by then.
        let next = self.part.setting(self.begun.elapsed()).next.map(|next| next + Duration::from_millis(20));
        // People who wait for their turn look again soon.
        next.into_iter().chain((!self.people.is_empty()).then_some(SOON)).min()
    }
}

fn note(device: &Device, what: &str, done: Result<(), DeviceError>) {
    if let Err(error) = done {
        tracing::debug!(device = %device.asset_tag(), %error, "a device of the scenario could not {what}");
    }
}
