//! Releases of software on their way to devices.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{ConfigTemplate, DeviceInstance};
use fleetform_domain::configuration::{RefusalReason, Software};
use fleetform_simulator::device::{Device, Screen};
use fleetform_simulator::release::ReleaseKey;
use serde_json::json;

use super::devices::{activated, checking_in};
use super::project::{Project, TEMPLATE, condition, reason};
use super::releases::{Releases, wanted};
use super::stage::Stage;

fn software_version(instance: &DeviceInstance) -> Option<&str> {
    instance.status.as_ref()?.device.as_ref()?.software_version.as_deref()
}

fn percent(instance: &DeviceInstance) -> Option<u8> {
    Some(instance.status.as_ref()?.device.as_ref()?.software_update.as_ref()?.percent)
}

/// Whether the device runs what is wanted, with this software.
fn runs(version: &str) -> impl Fn(&DeviceInstance) -> bool {
    move |instance| software_version(instance) == Some(version) && condition(instance, ConditionType::Ready)
}

pub(crate) fn refused(reason: RefusalReason) -> impl Fn(&DeviceInstance) -> bool {
    move |instance| {
        let configuration = instance.status.as_ref().and_then(|status| status.configuration.as_ref());
        configuration.and_then(|c| c.refused.as_ref()).is_some_and(|refused| refused.reason == reason)
    }
}

async fn operating(project: &Project) -> Result<Device> {
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(project, &installer, "door").await?;
    checking_in(project, &mut device, "door", "Ready", |instance| condition(instance, ConditionType::Ready)).await?;
    Ok(device)
}

pub(crate) async fn a_release_is_installed_at_activation_and_while_active(stage: Arc<Stage>) -> Result<()> {
    let (project, releases) = (Project::new(&stage, "release").await?, Releases::open().await?);
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&releases.publish("1.1.0", b"the first"))).await?;
    let mut device = operating(&project).await?;
    let instance = project.until("door", "running 1.1.0", runs("1.1.0")).await?;
    ensure!(device.screen() == Screen::Active && percent(&instance).is_none());

    let before = device.boot_id();
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&releases.publish("1.2.0", b"the second"))).await?;
    project.until("door", "behind", |instance| !condition(instance, ConditionType::Ready)).await?;
    checking_in(&project, &mut device, "door", "running 1.2.0", runs("1.2.0")).await?;
    ensure!(device.boot_id() != before, "it starts anew with it");
    device.power_on().await?;
    ensure!(device.software_version().as_str() == "1.2.0", "it is on its disk");
    Ok(())
}

pub(crate) async fn a_slow_download_shows_how_far_it_is(stage: Arc<Stage>) -> Result<()> {
    let (project, releases) = (Project::new(&stage, "slow").await?, Releases::open().await?);
    let mut device = operating(&project).await?;
    // Ten thousand seconds long: only the device's clock brings it forward.
    device.quirks().download_rate = NonZeroU64::new(1);
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&releases.publish("1.1.0", &[7; 10_000]))).await?;
    let begun = checking_in(&project, &mut device, "door", "downloading", |door| percent(door) == Some(0)).await?;
    let (_, message) = reason(&begun, ConditionType::Ready, "False").context("it is not there yet")?;
    ensure!(message == "the device downloads software 1.1.0: 0 % or more is there", "{message}");
    device.pass(Duration::from_mins(100));
    checking_in(&project, &mut device, "door", "half way", |door| percent(door) == Some(50)).await?;
    // What is not finished when the power goes begins again.
    device.power_on().await?;
    checking_in(&project, &mut device, "door", "downloading again", |door| percent(door) == Some(0)).await?;
    device.pass(Duration::from_secs(10_001));
    let done = checking_in(&project, &mut device, "door", "running 1.1.0", runs("1.1.0")).await?;
    ensure!(percent(&done).is_none(), "{done:#?}");
    Ok(())
}

pub(crate) async fn what_is_not_the_release_is_refused_and_said_why(stage: Arc<Stage>) -> Result<()> {
    let (project, releases) = (Project::new(&stage, "corrupt").await?, Releases::open().await?);
    let mut device = operating(&project).await?;
    let good = releases.publish("1.1.0", b"the release");

    // Damaged where it lies: the device tries again, and takes it once it is right.
    releases.replace(&good, b"something else");
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&good)).await?;
    let instance =
        checking_in(&project, &mut device, "door", "refused", refused(RefusalReason::DigestMismatch)).await?;
    let (why, message) = reason(&instance, ConditionType::Ready, "False").context("it is not ready")?;
    ensure!(why == "ConfigurationRefused" && message.contains("software.sha256"), "{why}: {message}");
    ensure!(!condition(&instance, ConditionType::Stalled), "it tries again by itself");
    releases.replace(&good, b"the release");
    checking_in(&project, &mut device, "door", "running 1.1.0", runs("1.1.0")).await?;

    // Not there at all.
    let absent = Software { url: format!("{}.gone", good.url), ..releases.publish("1.2.0", b"the next") };
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&absent)).await?;
    checking_in(&project, &mut device, "door", "refused", refused(RefusalReason::DownloadFailed)).await?;

    // Signed by somebody else.
    let forged = ReleaseKey::from_seed(&[7; 32]).sign("1.3.0", &good.url, b"the release");
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&forged)).await?;
    let instance =
        checking_in(&project, &mut device, "door", "refused", refused(RefusalReason::SignatureInvalid)).await?;
    ensure!(condition(&instance, ConditionType::Stalled), "a person has to change something");
    ensure!(software_version(&instance) == Some("1.1.0"), "it goes on with what it had");

    // Older, and then declared.
    let older = releases.publish("1.0.5", b"an older one");
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&older)).await?;
    checking_in(&project, &mut device, "door", "refused", refused(RefusalReason::DowngradeNotAllowed)).await?;
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&Software { allow_downgrade: true, ..older })).await?;
    let instance = checking_in(&project, &mut device, "door", "running 1.0.5", runs("1.0.5")).await?;
    ensure!(!refused(RefusalReason::DowngradeNotAllowed)(&instance), "what it refused is past");
    Ok(())
}

pub(crate) async fn a_refused_change_holds_the_rollout(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "refusal").await?;
    let strategy = json!({ "spec": { "rollout": { "maxUnavailable": "1" } } });
    project.patch::<ConfigTemplate>(TEMPLATE, strategy).await?;
    let mut first = operating(&project).await?;
    let installer = project.installer().await?;
    project.ready_device("other").await?;
    let mut second = activated(&project, &installer, "other").await?;
    checking_in(&project, &mut second, "other", "Ready", |other| condition(other, ConditionType::Ready)).await?;

    let forged = ReleaseKey::from_seed(&[7; 32]).sign("1.1.0", "http://127.0.0.1:9/none", b"the release");
    project.patch::<ConfigTemplate>(TEMPLATE, wanted(&forged)).await?;
    checking_in(&project, &mut first, "door", "refused", refused(RefusalReason::SignatureInvalid)).await?;
    let held = project
        .until_any(TEMPLATE, "held", |template: &ConfigTemplate| {
            let conditions = template.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            conditions.iter().any(|condition| condition.reason == "RolloutPaused" && condition.type_ == "Ready")
        })
        .await?;
    let message = held.status.unwrap_or_default().conditions.iter().map(|c| c.message.clone()).collect::<String>();
    ensure!(message.contains("device instance door does not take the change"), "{message}");
    let other = checking_in(&project, &mut second, "other", "as before", |_| true).await?;
    ensure!(condition(&other, ConditionType::Ready), "the other one was not told: {other:#?}");
    // Edited back, it goes on by itself.
    let back = json!({ "spec": { "configuration": { "software": null } } });
    project.patch::<ConfigTemplate>(TEMPLATE, back).await?;
    checking_in(&project, &mut first, "door", "Ready", |door| condition(door, ConditionType::Ready)).await.map(drop)
}
