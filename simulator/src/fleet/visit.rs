//! What an installer and a device do in one go: activate the device, or let it check in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fleetform_domain::activation::{ActivationFailure, Phase};
use fleetform_domain::problem::ProblemCode;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::order::{Done, Order, Outcome};
use crate::device::{ActivationError, Device, DeviceError, Screen};
use crate::installer::{Installer, InstallerError};
use crate::picture;
use crate::storage::StorageError;
use crate::telemetry::Telemetry;

/// What installers share.
pub(super) struct Tools {
    pub(super) installer: Arc<Installer>,
    pub(super) telemetry: Arc<Telemetry>,
    addresses: Addresses,
    picture_every: NonZeroU32,
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
    pub(super) fn new(installer: Arc<Installer>, telemetry: Arc<Telemetry>, picture_every: NonZeroU32) -> Self {
        let eyes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            installer,
            telemetry,
            addresses: Addresses::default(),
            picture_every,
            codes: AtomicU32::new(0),
            eyes: Arc::new(Semaphore::new(eyes)),
        }
    }

    /// Carries out an order.
    pub(super) async fn visit(&self, mut order: Order) -> Done {
        let outcome = self.play(&mut order).await;
        let Order { name, entry, device, work, .. } = order;
        Done { name, device, outcome, work, entry }
    }

    async fn play(&self, order: &mut Order) -> Outcome {
        if !order.device.is_associated() {
            match self.bring_up(order).await {
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
        match order.device.synchronise().await {
            Ok(answer) => {
                self.telemetry.check_in("ok");
                Outcome::CheckedIn { next_seconds: answer.next_check_in_seconds }
            }
            Err(DeviceError::AssociationEnded) => {
                self.telemetry.check_in("association-ended");
                tracing::debug!(device = ?order.name, "the association has ended: the device has wiped itself");
                Outcome::Wiped
            }
            Err(error) => {
                self.telemetry.check_in(error.kind());
                self.telemetry.trouble("a device cannot check in", error.kind(), &error);
                Outcome::Failed
            }
        }
    }

    /// Powers the device on as far as needed and sees that it is associated. False when there is nothing to activate.
    async fn bring_up(&self, order: &mut Order) -> Result<bool, Trouble> {
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
        self.activate(order).await?;
        self.telemetry.activation("activated");
        Ok(true)
    }

    async fn activate(&self, order: &mut Order) -> Result<(), Trouble> {
        let text = self.code(order).await?;
        order.device.scan_text(&text)?;
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
