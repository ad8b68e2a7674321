//! What devices report, and what becomes of it when they do not.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_domain::transition::{Connectivity, Health};
use fleetform_domain::wire::DeviceText;

use super::devices::{activated, checking_in};
use super::project::{Project, SITE_NAME, condition, reason};
use super::stage::Stage;

pub(crate) fn checks(names: &[&str]) -> Vec<DeviceText> {
    names.iter().map(|name| DeviceText::try_from(*name).expect("a text of devices")).collect()
}

pub(crate) async fn health_and_silence_become_conditions_and_events(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "presence").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    let connected = |instance: &_| condition(instance, ConditionType::Connected);
    checking_in(&project, &mut device, "door", "Connected", connected).await?;

    device.set_failed_health_checks(checks(&["storage", "camera"]));
    let sick = checking_in(&project, &mut device, "door", "critical", |instance| {
        instance.status.as_ref().and_then(|status| status.health) == Some(Health::Critical)
    })
    .await?;
    let (why, _) = reason(&sick, ConditionType::Healthy, "False").unwrap_or_default();
    ensure!(why == "ChecksFailed", "{sick:#?}");
    ensure!(condition(&sick, ConditionType::Ready), "nothing is left for the operator to do");
    device.set_failed_health_checks(Vec::new());
    checking_in(&project, &mut device, "door", "healthy", |instance| condition(instance, ConditionType::Healthy))
        .await?;

    let silent = project
        .until("door", "disconnected", |instance| {
            instance.status.as_ref().and_then(|status| status.connectivity) == Some(Connectivity::Disconnected)
        })
        .await?;
    let (why, message) = reason(&silent, ConditionType::Connected, "False").unwrap_or_default();
    ensure!(why == "Silent" && message.contains("check its power"), "{why}: {message}");
    ensure!(condition(&silent, ConditionType::Ready) && condition(&silent, ConditionType::Active), "{silent:#?}");
    checking_in(&project, &mut device, "door", "connected again", connected).await?;

    let events = project.events(&silent, 5).await?;
    let types: Vec<_> = events.iter().map(|event| event.detail_type.as_str()).collect();
    let expected = [
        "Device Connectivity Changed To Online",
        "Device Health Status Changed To Critical",
        "Device Health Status Changed To Healthy",
        "Device Connectivity Changed To Offline",
        "Device Connectivity Changed To Online",
    ];
    ensure!(types == expected, "{types:#?}");
    for event in &events {
        let detail = event.device().context("an event about a device")?;
        ensure!(detail.metadata.site_name == SITE_NAME, "{event:?}");
        ensure!(detail.data.asset_tag_id == device.asset_tag().as_str(), "{event:?}");
    }
    Ok(())
}

pub(crate) async fn a_device_that_flaps_is_held_back(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "flapping").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    // The first of six is that it came online; written together with the second it would count as one.
    let connected = |instance: &_| condition(instance, ConditionType::Connected);
    checking_in(&project, &mut device, "door", "online", connected).await?;
    let mut sick = false;
    for _ in 0..5 {
        sick = !sick;
        device.set_failed_health_checks(if sick { checks(&["camera"]) } else { Vec::new() });
        checking_in(&project, &mut device, "door", "as it reports", |instance| {
            condition(instance, ConditionType::Healthy) != sick
        })
        .await?;
    }
    device.set_failed_health_checks(Vec::new());
    let held = checking_in(&project, &mut device, "door", "held back", |instance| {
        condition(instance, ConditionType::Flapping)
    })
    .await?;
    ensure!(!condition(&held, ConditionType::Healthy), "its change is not written");
    let version = held.metadata.resource_version.clone();
    for _ in 0..6 {
        sick = !sick;
        device.set_failed_health_checks(if sick { checks(&["camera"]) } else { Vec::new() });
        checking_in(&project, &mut device, "door", "there", |_| true).await?;
    }
    let after = project.until("door", "there", |_| true).await?;
    ensure!(after.metadata.resource_version == version, "a device that flaps costs writes");
    ensure!(project.events(&after, 6).await?.len() == 6, "six changes, six events");
    Ok(())
}
