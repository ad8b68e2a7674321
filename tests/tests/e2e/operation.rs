//! What people ask of devices, and locks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::device_instance::CommandStatus;
use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::operation::{CommandKind, LockReason};
use fleetform_simulator::device::{Device, Screen};
use fleetform_simulator::storage::MemoryStorage;
use jiff::Timestamp;
use serde_json::json;

use super::devices::{activated, checking_in, code_picture, device_with, until_wiped};
use super::project::{Project, SITE, ZIP, condition, reason};
use super::stage::Stage;

/// Longer than the seven days that a device may be without its gateway.
const TOO_LONG: Duration = Duration::from_hours(8 * 24);

async fn annotate(project: &Project, name: &str, annotation: &str, value: &str) -> Result<()> {
    let patch = json!({ "metadata": { "annotations": { annotation: value } } });
    project.patch::<DeviceInstance>(name, patch).await.map(drop)
}

fn command(instance: &DeviceInstance, kind: CommandKind) -> Option<CommandStatus> {
    instance.status.as_ref()?.commands.iter().find(|command| command.kind == kind).cloned()
}

fn lock_id(instance: &DeviceInstance) -> String {
    let lock = instance.status.as_ref().and_then(|status| status.lock.as_ref());
    lock.map(|lock| lock.id.clone()).unwrap_or_default()
}

fn locked(instance: &DeviceInstance) -> bool {
    condition(instance, ConditionType::Locked)
}

async fn operating(project: &Project, name: &str) -> Result<Device> {
    let installer = project.installer().await?;
    project.ready_device(name).await?;
    let mut device = activated(project, &installer, name).await?;
    checking_in(project, &mut device, name, "Ready", |instance| {
        condition(instance, ConditionType::Ready) && condition(instance, ConditionType::Connected)
    })
    .await?;
    Ok(device)
}

/// A device that is activated as this instance, and the disk that it keeps everything on.
async fn with_its_disk(project: &Project, name: &str) -> Result<(Device, Arc<MemoryStorage>)> {
    let disk = Arc::new(MemoryStorage::default());
    let installer = project.installer().await?;
    project.ready_device(name).await?;
    let mut device = device_with(disk.clone()).await?;
    device.scan(&code_picture(project, &installer, name).await?)?;
    device.activate(ZIP).await?;
    Ok((device, disk))
}

pub(crate) async fn a_reboot_is_done_once_and_its_course_is_shown(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "reboot").await?;
    let mut device = operating(&project, "door").await?;
    let before = device.boot_id();
    annotate(&project, "door", "fleetform.dev/reboot", "after-the-storm").await?;
    let done = |instance: &DeviceInstance| {
        command(instance, CommandKind::Reboot).is_some_and(|command| command.done_at.is_some())
    };
    let instance = checking_in(&project, &mut device, "door", "rebooted", done).await?;
    let reboot = command(&instance, CommandKind::Reboot).context("there is one")?;
    ensure!(reboot.id == "after-the-storm" && reboot.delivered_at.is_some() && !reboot.abandoned, "{reboot:?}");
    let after = device.boot_id();
    ensure!(before != after, "it did not start anew");
    for _ in 0..3 {
        device.synchronise().await?;
    }
    ensure!(device.boot_id() == after, "an annotation that is left asks nothing again");
    Ok(())
}

pub(crate) async fn a_tampered_device_obeys_nothing_until_it_is_unlocked(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "tamper").await?;
    let mut device = operating(&project, "door").await?;
    device.tamper().await?;
    ensure!(device.screen() == Screen::Locked(LockReason::Tamper), "{:?}", device.screen());
    let instance = checking_in(&project, &mut device, "door", "locked", locked).await?;
    let (why, message) = reason(&instance, ConditionType::Locked, "True").unwrap_or_default();
    ensure!(why == "TamperDetected" && message.contains("fleetform.dev/unlock="), "{why}: {message}");
    // No power cut takes a lock off.
    device.power_on().await?;
    ensure!(device.screen() == Screen::Locked(LockReason::Tamper), "{:?}", device.screen());

    let id = lock_id(&instance);
    annotate(&project, "door", "fleetform.dev/remediate", &format!("SameSite@{id}")).await?;
    let osdp = json!({ "osdp": { "version": "V2", "address": 9, "baudRate": 9600 } });
    let edit = json!({ "spec": { "configuration": { "controlPanel": osdp } } });
    project.patch::<DeviceInstance>("door", edit).await?;
    checking_in(&project, &mut device, "door", "behind", |instance| !condition(instance, ConditionType::Ready)).await?;
    ensure!(device.applied_configuration_version() == Some(1), "it applied a configuration");
    ensure!(device.lock().is_some(), "an absence's answer took a tamper lock off");

    annotate(&project, "door", "fleetform.dev/unlock", &id).await?;
    let free = |instance: &DeviceInstance| !locked(instance) && condition(instance, ConditionType::Ready);
    let instance = checking_in(&project, &mut device, "door", "unlocked and up to date", free).await?;
    ensure!(device.screen() == Screen::Active && device.applied_configuration_version() == Some(2));
    let unlock = command(&instance, CommandKind::Unlock).context("it is on record")?;
    ensure!(unlock.id == id && unlock.done_at.is_some(), "{unlock:?}");

    device.tamper().await?;
    let again = checking_in(&project, &mut device, "door", "locked again", locked).await?;
    ensure!(lock_id(&again) != id && device.lock().is_some(), "the answer that was left unlocks no other lock");
    Ok(())
}

pub(crate) async fn a_device_that_was_away_too_long_is_asked_after(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "absence").await?;
    let (mut device, disk) = with_its_disk(&project, "door").await?;

    device.pass(TOO_LONG);
    let instance = checking_in(&project, &mut device, "door", "locked", locked).await?;
    ensure!(device.screen() == Screen::Locked(LockReason::MaximumOfflineTime), "{:?}", device.screen());
    annotate(&project, "door", "fleetform.dev/remediate", &format!("SameSite@{}", lock_id(&instance))).await?;
    checking_in(&project, &mut device, "door", "unlocked", |instance| !locked(instance)).await?;
    ensure!(device.screen() == Screen::Active);

    device.pass(TOO_LONG);
    let instance = checking_in(&project, &mut device, "door", "locked again", locked).await?;
    annotate(&project, "door", "fleetform.dev/remediate", &format!("DifferentSite@{}", lock_id(&instance))).await?;
    project.until("door", "deactivated", |instance| instance.phase() == Phase::ReadyForActivation).await?;
    until_wiped(&mut device, &*disk).await?;
    project.until_ready_for_activation("door").await.map(drop)
}

pub(crate) async fn the_locks_of_a_site_are_answered_in_one_step(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "outage").await?;
    let names = ["east", "west"];
    let mut devices = Vec::new();
    for name in names {
        let mut device = operating(&project, name).await?;
        device.pass(TOO_LONG);
        checking_in(&project, &mut device, name, "locked", locked).await?;
        devices.push(device);
    }
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let answer = json!({ "metadata": { "annotations": { "fleetform.dev/remediate": format!("SameSite@{now}") } } });
    project.patch::<Site>(SITE, answer).await?;
    for (name, device) in names.into_iter().zip(&mut devices) {
        checking_in(&project, device, name, "unlocked", |instance| !locked(instance)).await?;
        ensure!(device.screen() == Screen::Active, "{name}: {:?}", device.screen());
    }
    // What begins later is asked about again.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    devices[0].pass(TOO_LONG);
    checking_in(&project, &mut devices[0], "east", "locked again", locked).await?;
    devices[0].synchronise().await?;
    ensure!(devices[0].lock().is_some());
    Ok(())
}

pub(crate) async fn a_copied_device_is_locked(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "copy").await?;
    let (mut device, disk) = with_its_disk(&project, "door").await?;
    // Somebody reads its disk out, and makes another one of it.
    let tag = device.asset_tag().clone();
    let copied = MemoryStorage::default();
    let record = fleetform_simulator::storage::Storage::load(&*disk, &tag)?.context("it has a record")?;
    fleetform_simulator::storage::Storage::save(&copied, &tag, &record)?;
    let mut copy = device.twin(Arc::new(copied), 77);
    copy.power_on().await?;
    for _ in 0..3 {
        device.synchronise().await?;
        copy.synchronise().await?;
    }
    let instance = checking_in(&project, &mut device, "door", "locked", locked).await?;
    let (why, message) = reason(&instance, ConditionType::Locked, "True").unwrap_or_default();
    ensure!(why == "CloneSuspected" && message.contains("find the copy"), "{why}: {message}");
    device.synchronise().await?;
    copy.synchronise().await?;
    let cloned = Screen::Locked(LockReason::Cloned);
    ensure!(device.screen() == cloned && copy.screen() == cloned, "{:?} and {:?}", device.screen(), copy.screen());
    Ok(())
}

pub(crate) async fn two_devices_with_one_asset_tag_are_noticed(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "same-tag").await?;
    let installer = project.installer().await?;
    for name in ["front", "back"] {
        project.ready_device(name).await?;
    }
    let mut front = activated(&project, &installer, "front").await?;
    let mut back = front.twin(Arc::new(MemoryStorage::default()), 78);
    back.power_on().await?;
    back.scan(&code_picture(&project, &installer, "back").await?)?;
    back.activate(ZIP).await?;
    let duplicate = |instance: &DeviceInstance| condition(instance, ConditionType::DuplicateAssetTag);
    for name in ["front", "back"] {
        project.until(name, "known to share its tag", duplicate).await?;
    }
    let raise = json!({ "spec": { "activation": { "epoch": 1 } } });
    project.patch::<DeviceInstance>("back", raise).await?;
    checking_in(&project, &mut front, "front", "alone with its tag", |instance| !duplicate(instance)).await.map(drop)
}

pub(crate) async fn a_device_that_is_withdrawn_says_so(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "withdrawn").await?;
    let mut device = operating(&project, "door").await?;
    project.patch::<DeviceInstance>("door", json!({ "spec": { "outOfService": true } })).await?;
    checking_in(&project, &mut device, "door", "withdrawn", |instance| {
        condition(instance, ConditionType::OutOfService)
    })
    .await?;
    device.synchronise().await?;
    ensure!(device.screen() == Screen::OutOfService, "{:?}", device.screen());
    project.patch::<DeviceInstance>("door", json!({ "spec": { "outOfService": false } })).await?;
    checking_in(&project, &mut device, "door", "back", |instance| !condition(instance, ConditionType::OutOfService))
        .await?;
    device.synchronise().await?;
    ensure!(device.screen() == Screen::Active, "{:?}", device.screen());
    Ok(())
}
