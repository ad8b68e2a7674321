//! A device played by hand, step by step.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_domain::activation::{ActivationFailure, Phase};
use fleetform_domain::configuration::OperationMode;
use fleetform_domain::wire::DeviceText;
use fleetform_simulator::device::Screen;
use fleetform_simulator::storage::{MemoryStorage, Record, Storage, StorageError};
use serde_json::json;

use super::devices::{checking_in, code_picture, code_text, device_with, expect, new_device};
use super::project::{Project, SITE_NAME, ZIP, condition, reader};
use super::stage::Stage;

pub(crate) async fn a_device_is_activated_by_its_picture(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "activation").await?;
    let installer = project.installer().await?;
    let ready = project.ready_device("front-door").await?;
    ensure!(!condition(&ready, ConditionType::Active), "nobody is associated yet");
    ensure!(project.code_secrets().await? == ["front-door-activation-qr"]);

    let mut device = new_device().await?;
    device.scan(&code_picture(&project, &installer, "front-door").await?)?;
    ensure!(device.screen() == Screen::Zip, "it asks for the ZIP code");
    // As people write it.
    let site = device.look_up(" 98104-1193 ").await?;
    ensure!(site.site_name == SITE_NAME && site.city == "Seattle", "{site:?}");
    ensure!(site.device_instance_name == "front-door" && device.screen() == Screen::Confirm, "{site:?}");
    let looked_up = project.api::<fleetform_crds::DeviceInstance>().get("front-door").await?;
    ensure!(looked_up.phase() == Phase::ReadyForActivation, "to look a code up commits to nothing");
    device.confirm().await?;
    ensure!(device.screen() == Screen::Active);
    let committed = project.until("front-door", "Active", |device| device.phase() == Phase::Active).await?;
    ensure!(!condition(&committed, ConditionType::Ready), "it has yet to confirm its configuration");
    device.synchronise().await?;

    let done = checking_in(&project, &mut device, "front-door", "Ready", |instance| {
        [ConditionType::Ready, ConditionType::Active, ConditionType::Connected, ConditionType::Healthy]
            .into_iter()
            .all(|wanted| condition(instance, wanted))
    })
    .await?;
    let status = done.status.context("it has a status")?;
    let hardware = status.device.context("it has a device")?;
    ensure!(
        hardware.asset_tag_id == device.asset_tag().as_str() && hardware.software_version.as_deref() == Some("1.0.0")
    );
    let association = status.activation.and_then(|activation| activation.association).context("they are associated")?;
    ensure!(Some(association.id.as_str()) == device.association_id(), "both know the association by the same id");
    let configuration = device.configuration().await?.context("it is configured")?;
    ensure!(configuration.operation_mode == Some(OperationMode::Entry) && configuration.version == 1);
    ensure!(configuration.arn.ends_with("/configuration/1"), "{}", configuration.arn);
    ensure!(configuration.badge_format.is_some_and(|format| format.name == "H10301"));
    project.until_codes_are(&[]).await
}

/// A disk that fails at the save of this number, once.
#[derive(Debug)]
struct FailsOnce {
    disk: MemoryStorage,
    saves_left: Mutex<Option<u32>>,
}

impl Storage for FailsOnce {
    fn load(&self, asset_tag: &DeviceText) -> Result<Option<Record>, StorageError> {
        self.disk.load(asset_tag)
    }

    fn save(&self, asset_tag: &DeviceText, record: &Record) -> Result<(), StorageError> {
        let mut left = self.saves_left.lock().expect("nobody panics here");
        match *left {
            Some(0) => {
                *left = None;
                let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
                Err(StorageError::Io { asset_tag: asset_tag.to_string(), source })
            }
            other => {
                *left = other.map(|left| left - 1);
                self.disk.save(asset_tag, record)
            }
        }
    }

    fn remove(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.disk.remove(asset_tag)
    }

    fn load_users(&self, asset_tag: &DeviceText) -> Result<Option<Vec<u8>>, StorageError> {
        self.disk.load_users(asset_tag)
    }

    fn save_users(&self, asset_tag: &DeviceText, sealed: &[u8]) -> Result<(), StorageError> {
        self.disk.save_users(asset_tag, sealed)
    }

    fn remove_users(&self, asset_tag: &DeviceText) -> Result<(), StorageError> {
        self.disk.remove_users(asset_tag)
    }

    fn list(&self) -> Result<Vec<DeviceText>, StorageError> {
        self.disk.list()
    }
}

/// The gateway has committed and the device could not keep the answer: started again, it asks again and gets it again.
pub(crate) async fn a_device_that_lost_the_answer_gets_it_again(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "repeat").await?;
    let installer = project.installer().await?;
    project.ready_device("side-door").await?;
    let text = code_text(&project, &installer, "side-door").await?;
    let disk = Arc::new(FailsOnce { disk: MemoryStorage::default(), saves_left: Mutex::new(Some(1)) });
    let mut device = device_with(disk).await?;
    device.scan_text(&text)?;
    device.look_up(ZIP).await?;
    let failed = device.confirm().await;
    let failure = ActivationFailure::UnableToConfigureDevice;
    expect(&device, failed, failure, Screen::Halted(failure))?;
    let committed = project.until("side-door", "Active", |device| device.phase() == Phase::Active).await?;

    ensure!(device.power_on().await? == Screen::Pending, "the key was on its disk before the gateway heard of it");
    device.resume().await?;
    ensure!(device.association_id() == committed.association().map(|association| association.id.as_str()));
    device.synchronise().await?;

    let mut other = new_device().await?;
    other.scan_text(&text)?;
    let refused = other.look_up(ZIP).await;
    expect(&other, refused, ActivationFailure::QrNotRecognized, Screen::Scan)
}

pub(crate) async fn an_expected_asset_tag_keeps_other_hardware_out(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "expected").await?;
    let installer = project.installer().await?;
    let mut spec = reader("vault");
    let mut ours = new_device().await?;
    spec["activation"] = json!({ "expectedAssetTagId": ours.asset_tag().as_str() });
    project.create::<fleetform_crds::DeviceInstance>(json!({ "metadata": { "name": "vault" }, "spec": spec })).await?;
    project.until_ready_for_activation("vault").await?;
    let text = code_text(&project, &installer, "vault").await?;
    let mut theirs = new_device().await?;
    theirs.scan_text(&text)?;
    theirs.look_up(ZIP).await?;
    let refused = theirs.confirm().await;
    expect(&theirs, refused, ActivationFailure::QrNotRecognized, Screen::Scan)?;
    ours.scan_text(&text)?;
    ours.activate(ZIP).await?;
    Ok(())
}
