//! Software: downloaded beside the check-ins, checked, and started with.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use fleetform_domain::configuration::{MAX_RELEASE_BYTES, RefusalReason, Software, UpdateState};
use fleetform_domain::wire::{DeviceText, SoftwareUpdate};
use sha2::{Digest as _, Sha256};

use super::{Device, DeviceError};
use crate::backoff::Backoff;
use crate::storage::Installed;
use crate::transport::{Download, Downloaded};

/// How long a device waits for a download that it has just begun: a small release is installed in the same visit.
const MOMENT: Duration = Duration::from_millis(500);

/// When it fetches again what did not arrive as it should.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(10));

/// A release that is wanted, and how far the device is with it.
#[derive(Debug)]
pub(super) struct Update {
    software: Software,
    /// Downloads in vain, in a row.
    failures: u32,
    step: Step,
    /// When the download, or the wait for the next one, began.
    since: Instant,
    /// For its clock alone.
    passed: Duration,
}

#[derive(Debug)]
enum Step {
    /// The release is on its way.
    Arriving(Download),
    /// It has arrived, and comes through as fast as the device's line lets it.
    Arrived(Downloaded),
    /// It is the right one. The device says so before it starts anew.
    Checked,
    /// What came was not the release. The device fetches it again after this long.
    Waiting(RefusalReason, Duration),
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

/// How much is there, of a hundred: the smaller of what has arrived and what the line has let through.
fn percent(arrived: u64, total: Option<u64>, let_through: Option<u128>) -> u8 {
    let Some(total) = total else { return 0 };
    let there = let_through.unwrap_or(u128::MAX).min(arrived.into());
    let share = (there * 100).checked_div(total.into()).unwrap_or(100);
    u8::try_from(share).unwrap_or(u8::MAX).min(100)
}

impl Update {
    fn elapsed(&self) -> Duration {
        self.since.elapsed().saturating_add(self.passed)
    }

    fn percent(&self, rate: Option<NonZeroU64>) -> u8 {
        let let_through = rate.map(|rate| self.elapsed().as_millis().saturating_mul(rate.get().into()) / 1000);
        match &self.step {
            Step::Arriving(download) => {
                let (arrived, total) = download.progress();
                percent(arrived, total, let_through)
            }
            Step::Arrived(downloaded) => percent(downloaded.bytes, Some(downloaded.bytes), let_through),
            Step::Checked => 100,
            Step::Waiting(..) => 0,
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.step, Step::Waiting(..))
    }

    fn is_to_begin_again(&self) -> bool {
        matches!(self.step, Step::Waiting(_, wait) if self.elapsed() >= wait)
    }

    /// It was not the release: the device lets the server be for a while, longer each time.
    fn fail(&mut self, reason: RefusalReason, luck: f64) {
        self.failures = self.failures.saturating_add(1);
        self.step = Step::Waiting(reason, AGAIN.delay(self.failures, luck));
        (self.since, self.passed) = (Instant::now(), Duration::ZERO);
    }
}

impl Device {
    /// How far it is with the software that is wanted.
    pub fn software_update(&self) -> Option<SoftwareUpdate> {
        let update = self.update.as_ref().filter(|update| !update.is_waiting())?;
        let installs = matches!(update.step, Step::Checked) && self.lock().is_none();
        Some(SoftwareUpdate {
            version: DeviceText::try_from(update.software.version.as_str()).ok()?,
            state: if installs { UpdateState::Installing } else { UpdateState::Downloading },
            percent: update.percent(self.quirks.download_rate),
        })
    }

    /// Whether software is on its way to it.
    pub fn is_downloading(&self) -> bool {
        self.update.as_ref().is_some_and(|update| matches!(update.step, Step::Arriving(_) | Step::Arrived(_)))
    }

    /// Whether there is nothing to do about its software before more time has passed.
    pub(super) fn awaits_software(&self) -> bool {
        self.update.as_ref().is_some_and(|update| !matches!(update.step, Step::Checked))
    }

    /// Sees to it that the device runs this software. What its factory did not sign it does not run, and not even fetch.
    pub(super) async fn take_software(&mut self, software: &Software) -> Result<Arrival, DeviceError> {
        let known = self.update.take().filter(|update| update.software == *software);
        let running = self.installed();
        if let Err(reason) = self.network.factory_key().permits(software, running.version.as_str()) {
            return Ok(Arrival::Refused(reason));
        }
        if running.is(software) {
            return Ok(Arrival::Installed);
        }
        let (mut update, patience) = match known {
            Some(update) if !update.is_to_begin_again() => (update, Duration::ZERO),
            known => (self.begin(software, known.map_or(0, |update| update.failures)), MOMENT),
        };
        if let Step::Arriving(download) = &mut update.step
            && let Some(outcome) = download.outcome(patience).await
        {
            match outcome {
                Ok(downloaded) => update.step = Step::Arrived(downloaded),
                Err(error) => {
                    tracing::debug!(device = %self.asset_tag, %error, "software was not downloaded");
                    update.fail(RefusalReason::DownloadFailed, self.luck(update.failures));
                }
            }
        }
        if self.has_come_through(&update) {
            self.check(&mut update);
            // What took longer than this visit was reported as on its way, so its end is reported too.
            if matches!(update.step, Step::Checked) && patience.is_zero() {
                self.update = Some(update);
                return Ok(Arrival::Under);
            }
        }
        let arrival = match update.step {
            Step::Checked => self.install(software).await.map(|()| Arrival::Installed),
            Step::Waiting(reason, _) => Ok(Arrival::Refused(reason)),
            Step::Arriving(_) | Step::Arrived(_) => Ok(Arrival::Under),
        };
        if !matches!(arrival, Ok(Arrival::Installed)) {
            self.update = Some(update);
        }
        arrival
    }

    fn begin(&self, software: &Software, failures: u32) -> Box<Update> {
        let step = Step::Arriving(self.network.download(&software.url, MAX_RELEASE_BYTES));
        let (since, passed) = (Instant::now(), Duration::ZERO);
        Box::new(Update { software: software.clone(), failures, step, since, passed })
    }

    fn has_come_through(&self, update: &Update) -> bool {
        matches!(update.step, Step::Arrived(_)) && update.percent(self.quirks.download_rate) == 100
    }

    /// Checks what has arrived.
    fn check(&mut self, update: &mut Update) {
        let Step::Arrived(downloaded) = &update.step else { return };
        let is_damaged = self.quirks.damaged_downloads > 0;
        self.quirks.damaged_downloads = self.quirks.damaged_downloads.saturating_sub(1);
        if is_damaged || downloaded.sha256 != update.software.sha256 {
            update.fail(RefusalReason::DigestMismatch, self.luck(update.failures));
        } else {
            update.step = Step::Checked;
        }
    }

    /// The same each time for the same device and as many failures.
    fn luck(&self, failures: u32) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(failures.to_be_bytes());
        hash.update(self.asset_tag.as_str());
        let drawn = u32::from_be_bytes(hash.finalize()[..4].try_into().expect("a SHA-256 has 32 bytes"));
        f64::from(drawn) / f64::from(u32::MAX)
    }

    /// Starts anew with the software, once it is on the disk.
    async fn install(&mut self, software: &Software) -> Result<(), DeviceError> {
        let version = DeviceText::try_from(software.version.as_str())
            .map_err(|_| DeviceError::Crypto("the version of the software"))?;
        let installed = Installed { version, sha256: Some(software.sha256.clone()) };
        let stored = installed.clone();
        self.rewrite(move |committed| committed.software = Some(stored)).await?;
        self.restart().await?;
        self.software = Some(Box::new(installed));
        Ok(())
    }

    /// Lets the download, or the wait for the next one, go on for its clock.
    pub(super) fn pass_update(&mut self, time: Duration) {
        if let Some(update) = &mut self.update {
            update.passed = update.passed.saturating_add(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_has_arrived_and_has_come_through() {
        for (arrived, total, let_through, expected) in [
            (0, None, None, 0),
            (70, None, None, 0),
            (70, Some(200), None, 35),
            (200, Some(200), None, 100),
            (200, Some(200), Some(199), 99),
            (50, Some(200), Some(199), 25),
            (200, Some(200), Some(u128::MAX), 100),
            (0, Some(0), Some(0), 100),
            (u64::MAX, Some(u64::MAX), None, 100),
        ] {
            assert_eq!(percent(arrived, total, let_through), expected, "{arrived} of {total:?} at {let_through:?}");
        }
    }
}
