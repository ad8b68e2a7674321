//! What an installer and a device do in one go: activate the device, or let it check in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fleetform_domain::activation::{ActivationFailure, Phase};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{DeviceText, MAX_WAIT_SECONDS};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::FleetOptions;
use super::addresses::Addresses;
use super::director::{Director, Role};
use super::order::{Done, Order, Outcome, Work};
use crate::device::{ActivationError, Device, DeviceError, Screen};
use crate::installer::{Installer, InstallerError};
use crate::scenario::Once;
use crate::storage::StorageError;
use crate::telemetry::Telemetry;
use crate::{faults, picture};

/// A ZIP code that no site has.
const WRONG_ZIP: &str = "00000";

/// Longest that a device which has its gateway wait keeps silent while it is busy with something else, in seconds.
const BUSY: u32 = 5;

/// Within how many seconds a device checks in again that was told `named`. One that has its gateway wait calls again at once; but
/// not while it has to wait for something itself, or it would call without a pause.
fn next_seconds(named: u32, waits: bool, is_busy: bool, has_tried: bool) -> u32 {
    match (waits, is_busy, has_tried) {
        (false, ..) | (true, false, true) => named,
        (true, true, _) => named.min(BUSY),
        (true, false, false) => 0,
    }
}

/// What installers share.
pub(super) struct Tools {
    pub(super) installer: Arc<Installer>,
    pub(super) telemetry: Arc<Telemetry>,
    addresses: Addresses,
    director: Option<Director>,
    picture_every: NonZeroU32,
    check_in_wait_seconds: u32,
    codes: AtomicU32,
    /// As many pictures are looked at at once as there are processors.
    eyes: Arc<Semaphore>,
}

/// Why an activation did not come about.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Portal(#[from] InstallerError),
    #[error(transparent)]
    Device(#[from] ActivationError),
}

impl Trouble {
    fn kind(&self) -> &'static str {
        match self {
            Self::Portal(error) => error.kind(),
            Self::Device(error) => error.kind(),
        }
    }
}

impl Tools {
    pub(super) fn new(installer: Arc<Installer>, telemetry: Arc<Telemetry>, options: &FleetOptions) -> Self {
        let eyes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            installer,
            telemetry,
            addresses: Addresses::default(),
            director: options.scenario.clone().map(Director::new),
            picture_every: options.picture_every,
            check_in_wait_seconds: options.check_in_wait_seconds.min(MAX_WAIT_SECONDS),
            codes: AtomicU32::new(0),
            eyes: Arc::new(Semaphore::new(eyes)),
        }
    }

    /// Carries out an order.
    pub(super) async fn visit(&self, mut order: Order) -> Done {
        let mut role = self.director.as_ref().and_then(|director| director.take(&order.name, &order.device));
        if let (Some(director), Some(role)) = (&self.director, &mut role) {
            role.enter(&mut order.device, director.people(), &self.telemetry).await;
        }
        let outcome = self.play(&mut order, role.as_deref_mut()).await;
        let mut cue = None;
        if let (Some(director), Some(mut role)) = (&self.director, role) {
            cue = role.leave(&mut order.device).await;
            director.put_back(&order.device, role);
        }
        let measures = order.device.until_measurement();
        let Order { name, entry, device, work, .. } = order;
        Done { name, device, outcome, work, cue, measures, entry }
    }

    async fn play(&self, order: &mut Order, role: Option<&mut Role>) -> Outcome {
        let outcome = match order.work {
            Work::Measurement => Outcome::Measured,
            Work::Activation | Work::CheckIn => self.call(order, role).await,
        };
        match self.hear_sensors(&mut order.device, outcome != Outcome::Failed).await {
            Err(DeviceError::AssociationEnded) => self.wiped(order),
            _ => outcome,
        }
    }

    /// Hears what the device's sensors have measured, if it is a gateway, and sends what waits, also from before.
    async fn hear_sensors(&self, device: &mut Device, is_reachable: bool) -> Result<(), DeviceError> {
        if let Err(error) = device.measure().await {
            self.telemetry.trouble("measurements cannot be saved", error.kind(), &error);
        }
        if !is_reachable || device.unsent_measurements() == 0 {
            return Ok(());
        }
        let sent = device.deliver_measurements().await;
        match &sent {
            Ok(delivered) => self.telemetry.measurements(delivered),
            Err(DeviceError::AssociationEnded) => {}
            Err(error) => self.telemetry.trouble("measurements cannot be sent", error.kind(), error),
        }
        sent.map(drop)
    }

    fn wiped(&self, order: &Order) -> Outcome {
        self.telemetry.check_in("association-ended");
        tracing::debug!(device = ?order.name, "the association has ended: the device has wiped itself");
        Outcome::Wiped
    }

    /// Sees that the device is associated, and lets it check in.
    async fn call(&self, order: &mut Order, role: Option<&mut Role>) -> Outcome {
        if !order.device.is_associated() {
            match self.bring_up(order, role).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Nothing,
                Err(trouble) => {
                    self.telemetry.activation(trouble.kind());
                    self.telemetry.trouble("a device cannot be activated", trouble.kind(), &trouble);
                    tracing::debug!(device = ?order.name, "not activated: {trouble}");
                    return Outcome::Failed;
                }
            }
        }
        // Who activates devices goes on to the next one.
        let wait = if order.work == Work::CheckIn { self.check_in_wait_seconds } else { 0 };
        // Nor does a gateway wait when its sensors measure.
        let free = order.device.until_measurement().map_or(wait, |free| u32::try_from(free.as_secs()).unwrap_or(wait));
        let wait = wait.min(free);
        match order.device.synchronise_waiting(wait).await {
            Ok(answer) => {
                self.telemetry.check_in("ok");
                let waits = self.check_in_wait_seconds > 0;
                let wanted = answer.desired_configuration_version;
                let is_busy = order.device.is_downloading() || (order.work == Work::CheckIn && free == 0);
                // One that is locked hears of its answer when it is due.
                let has_tried = order.device.has_tried(wanted) || order.device.lock().is_some();
                let next_seconds = next_seconds(answer.next_check_in_seconds, waits, is_busy, has_tried);
                Outcome::CheckedIn { next_seconds }
            }
            Err(DeviceError::AssociationEnded) => self.wiped(order),
            Err(error) => {
                self.telemetry.check_in(error.kind());
                self.telemetry.trouble("a device cannot check in", error.kind(), &error);
                Outcome::Failed
            }
        }
    }

    /// Powers the device on as far as needed and sees that it is associated. False when there is nothing to activate.
    async fn bring_up(&self, order: &mut Order, role: Option<&mut Role>) -> Result<bool, Trouble> {
        let device = &mut order.device;
        if matches!(device.screen(), Screen::Off | Screen::Halted(_)) {
            power_on(device).await?;
        }
        if device.screen() == Screen::Pending {
            match device.resume().await {
                Ok(()) => {
                    self.telemetry.activation("activated");
                    return Ok(true);
                }
                // The commit never came through, and its code is of no use any more. The next one may be.
                Err(_) if device.screen() == Screen::Scan => {}
                Err(error) => return Err(error.into()),
            }
        }
        if device.is_associated() {
            return Ok(true);
        }
        if order.entry.phase != Phase::ReadyForActivation {
            return Ok(false);
        }
        self.activate(order, role.map(Role::stumbles).unwrap_or_default()).await?;
        self.telemetry.activation("activated");
        Ok(true)
    }

    async fn activate(&self, order: &mut Order, stumbles: Vec<Once>) -> Result<(), Trouble> {
        for stumble in &stumbles {
            self.stumble(order, *stumble).await?;
        }
        let text = self.code(order).await?;
        for stumble in &stumbles {
            if let Once::SlowInstaller(time) = stumble {
                tokio::time::sleep(*time).await;
            }
        }
        order.device.scan_text(&text)?;
        for _ in stumbles.iter().filter(|stumble| **stumble == Once::WrongZip) {
            self.expect(order.device.look_up(WRONG_ZIP).await);
        }
        self.look_up(order).await?;
        match order.device.confirm().await {
            Err(error) if error.code() == Some(ProblemCode::ConfirmationNotValid) => {
                // The site was edited while it was shown.
                self.look_up(order).await?;
                Ok(order.device.confirm().await?)
            }
            done => Ok(done?),
        }
    }

    /// Shows the device what is no use to it.
    async fn stumble(&self, order: &mut Order, stumble: Once) -> Result<(), Trouble> {
        let picture = || self.installer.activation_picture(&order.name);
        let unreadable = || Trouble::from(ActivationError::from(ActivationFailure::UnableToReadQr));
        match stumble {
            Once::UnreadableQr => {
                let png = faults::covered(&picture().await?).ok_or_else(unreadable)?;
                self.expect(order.device.scan(&png));
            }
            Once::MultipleQrCodes => {
                let png = picture().await?;
                let png = faults::side_by_side(&png, &png).ok_or_else(unreadable)?;
                self.expect(order.device.scan(&png));
            }
            Once::ForgedQr => {
                let mut text = self.installer.activation_text(&order.name).await?;
                // The last characters are of the token's MAC.
                let turned = if text.pop() == Some('A') { 'B' } else { 'A' };
                text.pop();
                text.extend([turned, turned]);
                order.device.scan_text(&text)?;
                self.expect(order.device.look_up(WRONG_ZIP).await);
            }
            Once::BreakDown => {
                self.telemetry.activation(order.device.break_down().kind());
                order.device.power_on().await.map_err(ActivationError::from)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts what the device shows; that it shows something is what the scenario is about.
    fn expect<T>(&self, outcome: Result<T, ActivationError>) {
        if let Err(error) = outcome {
            self.telemetry.activation(error.kind());
        }
    }

    /// Devices that are gone for good.
    pub(super) fn forget(&self, asset_tags: &[DeviceText]) {
        if let Some(director) = &self.director {
            director.forget(asset_tags);
        }
    }

    /// Fetches the code, and of every Nth device its picture.
    async fn code(&self, order: &Order) -> Result<String, Trouble> {
        if !self.codes.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.picture_every.get()) {
            return Ok(self.installer.activation_text(&order.name).await?);
        }
        let png = self.installer.activation_picture(&order.name).await?;
        let _eye = self.eyes.clone().acquire_owned().await.expect("the semaphore is never closed");
        let seen = tokio::task::spawn_blocking(move || picture::read(&png)).await;
        // A picture that makes the reader panic is one that it cannot read.
        let text = seen.unwrap_or(Err(ActivationFailure::UnableToReadQr)).map_err(ActivationError::from)?;
        Ok(text)
    }

    /// Types the ZIP code of the site; and once more as it is now, if the one remembered was wrong.
    async fn look_up(&self, order: &mut Order) -> Result<(), Trouble> {
        let zip = self.postal_code(order, None).await?;
        let device: &mut Device = &mut order.device;
        match device.look_up(&zip).await {
            Ok(_) => Ok(()),
            Err(error) if error.failure == ActivationFailure::ZipCodeDoesNotMatch => {
                let now = self.postal_code(order, Some(Instant::now())).await?;
                if now == zip {
                    return Err(error.into());
                }
                order.device.look_up(&now).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn postal_code(&self, order: &Order, fresh_since: Option<Instant>) -> Result<Arc<str>, InstallerError> {
        self.addresses.postal_code(&self.installer, &order.name.project, &order.site, fresh_since).await
    }
}

/// A disk that cannot be read is of no use: the device is reset, as people would.
async fn power_on(device: &mut Device) -> Result<(), ActivationError> {
    match device.power_on().await {
        Err(DeviceError::Storage(StorageError::Unreadable { .. }) | DeviceError::Transport(_)) => {
            device.wipe().await?;
            Ok(device.power_on().await.map(drop)?)
        }
        done => Ok(done.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_gateway_wait_calls_again_at_once_unless_it_waits_itself() {
        for (named, waits, is_busy, has_tried, expected) in [
            (60, false, false, false, 60),
            (60, false, true, true, 60),
            (60, true, false, false, 0),
            (60, true, true, true, 5),
            (2, true, true, true, 2),
            (60, true, false, true, 60),
        ] {
            assert_eq!(next_seconds(named, waits, is_busy, has_tried), expected);
        }
    }
}
