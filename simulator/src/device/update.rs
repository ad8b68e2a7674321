//! Software: downloaded, checked, and started with.

use std::time::{Duration, Instant};

use fleetform_domain::configuration::{MAX_RELEASE_BYTES, RefusalReason, Software, UpdateState};
use fleetform_domain::wire::{DeviceText, SoftwareUpdate};

use super::{Device, DeviceError};
use crate::release;

/// A release on its way.
#[derive(Debug)]
pub(super) struct Download {
    software: Software,
    content: Vec<u8>,
    begun: Instant,
    /// For its clock alone.
    passed: Duration,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The device runs it.
    Installed,
    /// It is on its way.
    Under,
    /// It is not taken.
    Refused(RefusalReason),
}

impl Download {
    /// How much of it is there, of a hundred.
    fn percent(&self, rate: Option<std::num::NonZeroU64>) -> u8 {
        let Some(rate) = rate else { return 100 };
        let arrived = (self.begun.elapsed() + self.passed).as_millis() * u128::from(rate.get()) / 1000;
        let share = arrived * 100 / (self.content.len().max(1) as u128);
        u8::try_from(share).unwrap_or(u8::MAX).min(100)
    }
}

impl Device {
    /// How far it is with the software that is wanted.
    pub fn software_update(&self) -> Option<SoftwareUpdate> {
        let download = self.download.as_ref()?;
        Some(SoftwareUpdate {
            version: DeviceText::try_from(download.software.version.as_str()).ok()?,
            state: UpdateState::Downloading,
            percent: download.percent(self.quirks.download_rate),
        })
    }

    /// Sees to it that the device runs this software.
    pub(super) async fn take_software(&mut self, software: &Software) -> Result<Arrival, DeviceError> {
        let running = self.software_version();
        if running.as_str() == software.version {
            self.download = None;
            return Ok(Arrival::Installed);
        }
        if let Err(reason) = self.network.factory_key().permits(software, running.as_str()) {
            return Ok(Arrival::Refused(reason));
        }
        let download = match self.download.take().filter(|download| download.software == *software) {
            Some(download) => download,
            None => match self.download(software).await {
                Ok(download) => download,
                Err(error) => {
                    tracing::debug!(device = %self.asset_tag, %error, "software was not downloaded");
                    return Ok(Arrival::Refused(RefusalReason::DownloadFailed));
                }
            },
        };
        if download.percent(self.quirks.download_rate) < 100 {
            self.download = Some(Box::new(*download));
            return Ok(Arrival::Under);
        }
        if !release::is_release(software, &download.content) {
            return Ok(Arrival::Refused(RefusalReason::DigestMismatch));
        }
        self.install(software).await?;
        Ok(Arrival::Installed)
    }

    async fn download(&mut self, software: &Software) -> Result<Box<Download>, DeviceError> {
        let mut content = self.network.download(&software.url, MAX_RELEASE_BYTES).await?;
        if self.quirks.damaged_downloads > 0 {
            self.quirks.damaged_downloads -= 1;
            content.push(0);
        }
        Ok(Box::new(Download { software: software.clone(), content, begun: Instant::now(), passed: Duration::ZERO }))
    }

    /// Starts anew with the software, once it is on the disk.
    async fn install(&mut self, software: &Software) -> Result<(), DeviceError> {
        let version = DeviceText::try_from(software.version.as_str())
            .map_err(|_| DeviceError::Crypto("the version of the software"))?;
        let stored = version.clone();
        self.rewrite(move |committed| committed.software = Some(stored)).await?;
        self.restart().await?;
        self.software = Some(Box::new(version));
        Ok(())
    }

    /// Lets the download go on for its clock.
    pub(super) fn pass_download(&mut self, time: Duration) {
        if let Some(download) = &mut self.download {
            download.passed += time;
        }
    }
}
