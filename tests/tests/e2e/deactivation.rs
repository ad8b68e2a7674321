//! The end of an association.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::activation::{ActivationFailure, Phase};
use fleetform_simulator::device::Screen;
use fleetform_simulator::storage::{MemoryStorage, Storage};
use serde_json::json;

use super::devices::{activated, checking_in, code_text, device_with, expect, new_device, until_wiped};
use super::project::{Project, ZIP, condition};
use super::stage::Stage;

fn sequence(instance: &DeviceInstance) -> Option<i64> {
    Some(instance.status.as_ref()?.activation.as_ref()?.sequence)
}

pub(crate) async fn a_raised_epoch_ends_the_association_and_the_instance_can_be_activated_again(
    stage: Arc<Stage>,
) -> Result<()> {
    let project = Project::new(&stage, "deactivation").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let first_code = code_text(&project, &installer, "door").await?;
    let disk: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let mut device = device_with(Arc::clone(&disk)).await?;
    device.scan_text(&first_code)?;
    device.activate(ZIP).await?;

    project.patch::<DeviceInstance>("door", json!({ "spec": { "activation": { "epoch": 1 } } })).await?;
    let ready = project
        .until("door", "ready for activation again", |instance| {
            instance.phase() == Phase::ReadyForActivation && sequence(instance) == Some(2)
        })
        .await?;
    let status = ready.status.clone().context("it has a status")?;
    ensure!(status.device.is_none() && ready.association().is_none(), "nothing of the device is left: {status:#?}");
    ensure!(status.configuration.is_some_and(|c| c.applied.is_none()), "its configuration is kept");
    until_wiped(&mut device, &*disk).await?;

    let second_code = code_text(&project, &installer, "door").await?;
    ensure!(second_code != first_code);
    let mut other = new_device().await?;
    other.scan_text(&first_code)?;
    let old = other.look_up(ZIP).await;
    expect(&other, old, ActivationFailure::QrNotRecognized, Screen::Scan)?;
    other.scan_text(&second_code)?;
    other.activate(ZIP).await?;
    let active = checking_in(&project, &mut other, "door", "Active", |instance| {
        condition(instance, ConditionType::Active) && condition(instance, ConditionType::Ready)
    })
    .await?;
    let hardware = active.status.and_then(|status| status.device).context("it has a device")?;
    ensure!(hardware.asset_tag_id == other.asset_tag().as_str(), "another device, the same instance: {hardware:?}");
    Ok(())
}

pub(crate) async fn a_mode_changes_after_deactivation_only(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "mode").await?;
    let installer = project.installer().await?;
    let spec = json!({
        "siteRef": { "name": super::project::SITE },
        "displayName": "Desk",
        "deviceType": "Reader",
        "configuration": { "operationMode": "Enrollment" },
    });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "desk" }, "spec": spec })).await?;
    project.until_ready_for_activation("desk").await?;
    let mut device = activated(&project, &installer, "desk").await?;
    checking_in(&project, &mut device, "desk", "Ready", |instance| condition(instance, ConditionType::Ready)).await?;

    let from_template = json!({ "operationMode": null, "templateRef": { "name": super::project::TEMPLATE } });
    let refused = project
        .patch::<DeviceInstance>("desk", json!({ "spec": { "configuration": { "operationMode": "Entry" } } }))
        .await;
    let refused = format!("{:#}", refused.err().context("a mode changed while active")?);
    ensure!(refused.contains("deactivate it first") && refused.contains("operationMode"), "{refused}");
    // What one object alone does not show, a condition tells.
    project.patch::<DeviceInstance>("desk", json!({ "spec": { "configuration": from_template } })).await?;
    let stalled = project.until("desk", "stalled", |instance| condition(instance, ConditionType::Stalled)).await?;
    let (why, message) = super::project::reason(&stalled, ConditionType::Ready, "False").unwrap_or_default();
    ensure!(why == "OperationModeFixed" && message.contains("deactivate it first"), "{why}: {message}");
    project.patch::<DeviceInstance>("desk", json!({ "spec": { "activation": { "epoch": 1 } } })).await?;
    let ready = project.until_ready_for_activation("desk").await?;
    let mode =
        ready.status.and_then(|status| status.configuration).and_then(|configuration| configuration.operation_mode);
    ensure!(mode.is_some_and(|mode| mode.to_string() == "Entry"), "{mode:?}");
    Ok(())
}
