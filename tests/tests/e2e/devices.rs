//! Devices that a test plays by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::ActivationFailure;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{CheckInResponse, DeviceText};
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::{ActivationError, Device, DeviceError, Screen};
use fleetform_simulator::installer::{Installer, InstallerError};
use fleetform_simulator::storage::{MemoryStorage, Storage};
use fleetform_simulator::transport::{Network, Timeouts};
use kube::Api;
use tokio::time::sleep;

use super::project::{LIMIT, Project, ZIP};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Time between two check-ins of a device that is waited for: well within its interval, and within its rate limit.
const BETWEEN: Duration = Duration::from_millis(700);

/// A new device, powered on.
pub(crate) async fn new_device() -> Result<Device> {
    device_with(Arc::new(MemoryStorage::default())).await
}

/// A device with this disk, powered on.
pub(crate) async fn device_with(disk: Arc<dyn Storage>) -> Result<Device> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let tag: DeviceText = format!("{:010}", 195_000 + number).try_into()?;
    let mut device = Device::new(tag, disk, Network::new(Timeouts::default()), number.into());
    device.power_on().await?;
    Ok(device)
}

/// A new device that is activated as this instance, by its picture, runs its configuration and has checked in.
pub(crate) async fn activated(project: &Project, installer: &Installer, name: &str) -> Result<Device> {
    let mut device = new_device().await?;
    device.scan(&code_picture(project, installer, name).await?)?;
    device.activate(ZIP).await?;
    Ok(device)
}

/// The failure that something ended with.
///
/// # Errors
///
/// When it did not fail.
pub(crate) fn failure<T>(outcome: Result<T, ActivationError>) -> Result<ActivationFailure> {
    match outcome {
        Ok(_) => Err(anyhow!("it did not fail")),
        Err(error) => Ok(error.failure),
    }
}

/// Sees that the device shows this failure's words, and offers what it should.
pub(crate) fn expect<T>(
    device: &Device,
    outcome: Result<T, ActivationError>,
    expected: ActivationFailure,
    screen: Screen,
) -> Result<()> {
    let failure = failure(outcome).with_context(|| format!("instead of {expected:?}"))?;
    ensure!(failure == expected, "the device shows {failure:?} instead of {expected:?}");
    ensure!(device.screen() == screen, "after {failure:?} it shows {:?} instead of {screen:?}", device.screen());
    Ok(())
}

/// Has the device check in, and apply what is wanted, until its instance is as `holds` says.
pub(crate) async fn checking_in(
    project: &Project,
    device: &mut Device,
    name: &str,
    what: &str,
    holds: impl Fn(&DeviceInstance) -> bool,
) -> Result<DeviceInstance> {
    let api: Api<DeviceInstance> = project.api();
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        patient(device).await?;
        let instance = api.get(name).await?;
        if holds(&instance) {
            return Ok(instance);
        }
        ensure!(tokio::time::Instant::now() < end, "{name} is not {what}: {:#?}", instance.status);
        sleep(BETWEEN).await;
    }
}

/// Checks in, and again when the gateway cannot tell yet, as its cache may be a moment late, or was asked too often.
async fn patient(device: &mut Device) -> Result<CheckInResponse> {
    match device.synchronise().await {
        Err(DeviceError::Refused(refusal)) if matches!(refusal.status, 429 | 503) => {
            sleep(BETWEEN * 3).await;
            Ok(device.synchronise().await?)
        }
        answer => Ok(answer?),
    }
}

/// Has the device check in until it hears that its association has ended, and sees that it is as new then.
pub(crate) async fn until_wiped(device: &mut Device, disk: &dyn Storage) -> Result<()> {
    let tag = device.asset_tag().clone();
    wait_for_end(device).await?;
    ensure!(device.screen() == Screen::Scan, "it shows {:?}", device.screen());
    ensure!(disk.load(&tag)?.is_none(), "its disk is not empty");
    Ok(())
}

async fn wait_for_end(device: &mut Device) -> Result<()> {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        match device.check_in().await {
            Err(DeviceError::AssociationEnded) => return Ok(()),
            outcome => ensure!(tokio::time::Instant::now() < end, "it never heard of the end: {outcome:?}"),
        }
        sleep(BETWEEN).await;
    }
}

/// The code of an instance as the portal hands it out, once it does: its cache may be a moment late.
pub(crate) async fn code_text(project: &Project, installer: &Installer, name: &str) -> Result<String> {
    handed_out(name, async || installer.activation_text(&project.name(name)).await).await
}

/// The picture of that code.
pub(crate) async fn code_picture(project: &Project, installer: &Installer, name: &str) -> Result<Vec<u8>> {
    handed_out(name, async || installer.activation_picture(&project.name(name)).await).await.map(Into::into)
}

async fn handed_out<T>(name: &str, ask: impl AsyncFn() -> Result<T, InstallerError>) -> Result<T> {
    wait::until(&format!("a code of {name}"), LIMIT, async || match ask().await {
        Ok(code) => Ok(Look::Done(code)),
        Err(error) if error.code() == Some(ProblemCode::NoCode) => Ok(Look::NotYet(error.to_string())),
        Err(error) => Err(error.into()),
    })
    .await
}
