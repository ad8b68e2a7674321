//! A change of a template goes out in batches.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::config_template::{RolloutPhase, RolloutStatus};
use fleetform_crds::{ConfigTemplate, DeviceInstance, Site};
use fleetform_domain::wire::DeviceText;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::Device;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::devices::{activated, checking_in};
use super::project::{LIMIT, Project, TEMPLATE, condition, reader, site, template};
use super::stage::Stage;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A project whose template goes out as `rollout` says, with three active devices that run version 1.
async fn fleet(stage: &Arc<Stage>, prefix: &str, rollout: Value) -> Result<(Project, Vec<Device>)> {
    let project = Project::new(stage, prefix).await?;
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": { "rollout": rollout } })).await?;
    let installer = project.installer().await?;
    let mut devices = Vec::new();
    for name in NAMES {
        project.ready_device(name).await?;
        let mut device = activated(&project, &installer, name).await?;
        checking_in(&project, &mut device, name, "in force", |instance| runs(instance, 1)).await?;
        devices.push(device);
    }
    Ok((project, devices))
}

fn versions(instance: &DeviceInstance) -> (u32, Option<u32>) {
    let configuration = instance.status.as_ref().and_then(|status| status.configuration.clone()).unwrap_or_default();
    (configuration.desired, configuration.applied)
}

fn runs(instance: &DeviceInstance, version: u32) -> bool {
    versions(instance) == (version, Some(version)) && condition(instance, ConditionType::Connected)
}

fn rollout(template: &ConfigTemplate) -> Option<RolloutStatus> {
    template.status.as_ref()?.rollout.clone()
}

fn is(phase: RolloutPhase, revision: u32) -> impl Fn(&ConfigTemplate) -> bool {
    move |template| rollout(template).is_some_and(|rollout| rollout.phase == phase && rollout.revision == revision)
}

/// Names of the devices that are told of the change and those that are not.
async fn told(project: &Project) -> Result<Vec<String>> {
    let devices = project.devices().await?;
    Ok(devices.iter().filter(|device| versions(device).0 > 1).map(ResourceExt::name_any).collect())
}

/// How often the template's Events say this.
async fn events(project: &Project, reason: &str) -> Result<usize> {
    let events = project.api::<Event>().list(&ListParams::default()).await?.items;
    Ok(events.iter().filter(|event| event.reason.as_deref() == Some(reason)).count())
}

pub(crate) async fn a_change_goes_out_one_device_at_a_time(stage: Arc<Stage>) -> Result<()> {
    let (project, mut devices) = fleet(&stage, "batches", json!({ "maxUnavailable": "1" })).await?;
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    for (n, (name, device)) in NAMES.into_iter().zip(&mut devices).enumerate() {
        project.until(name, "told", |instance| versions(instance).0 == 2).await?;
        ensure!(told(&project).await? == NAMES[..=n], "batch {n}: {:?}", told(&project).await?);
        checking_in(&project, device, name, "in force", |instance| runs(instance, 2)).await?;
    }
    let done = project.until_any(TEMPLATE, "complete", is(RolloutPhase::Complete, 2)).await?;
    let (rollout, counted) = (rollout(&done).context("it has one")?, done.status.unwrap_or_default().devices);
    ensure!(rollout.batch == 3, "{rollout:?}");
    ensure!((counted.total, counted.updated, counted.applied) == (3, 3, 3), "{counted:?}");
    wait::until("an Event for each batch and for the end", LIMIT, async || {
        let told = (events(&project, "RolloutBatch").await?, events(&project, "RolloutComplete").await?);
        Ok(if told == (3, 1) { Look::Done(()) } else { Look::NotYet(format!("{told:?}")) })
    })
    .await?;

    // One that joins has the change at once: nobody uses it yet.
    project.ready_device("d").await?;
    let installer = project.installer().await?;
    let device = activated(&project, &installer, "d").await?;
    let osdp = device.configuration().await?.and_then(|configuration| configuration.control_panel?.osdp);
    ensure!(osdp.is_some_and(|osdp| osdp.address == 7));
    Ok(())
}

pub(crate) async fn a_device_that_turns_critical_holds_the_rest(stage: Arc<Stage>) -> Result<()> {
    let rules = json!({ "maxUnavailable": "1", "pauseOnCritical": true });
    let (project, mut devices) = fleet(&stage, "held", rules).await?;
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    project.until("a", "told", |instance| versions(instance).0 == 2).await?;
    devices[0].set_failed_health_checks(vec![DeviceText::try_from("panel")?]);
    checking_in(&project, &mut devices[0], "a", "critical", |instance| {
        versions(instance) == (2, Some(2)) && !condition(instance, ConditionType::Healthy)
    })
    .await?;
    let held = project.until_any(TEMPLATE, "held", is(RolloutPhase::Paused, 2)).await?;
    let conditions = held.status.clone().unwrap_or_default().conditions;
    let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled").context("tools are told")?;
    ensure!(stalled.reason == "RolloutPaused" && stalled.message.contains("device instance a turned Critical"));
    ensure!(told(&project).await? == ["a"], "{:?}", told(&project).await?);

    // What only this device is to have reaches it, on top of the revision that it keeps.
    let own = json!({ "spec": { "configuration": { "maximumOfflineMinutes": 600 } } });
    project.patch::<DeviceInstance>("c", own).await?;
    checking_in(&project, &mut devices[2], "c", "in force", |instance| runs(instance, 2)).await?;
    let osdp = devices[2].configuration().await?.and_then(|configuration| configuration.control_panel?.osdp);
    ensure!(osdp.is_some_and(|osdp| osdp.address == 0), "it was given the change");

    // Somebody has looked: the answer names the pause.
    let pause = rollout(&held).context("it has one")?.pauses;
    let answer = json!({ "metadata": { "annotations": { "fleetform.dev/resume-rollout": format!("2-{pause}") } } });
    project.patch::<ConfigTemplate>(TEMPLATE, answer).await?;
    project.until("b", "told", |instance| versions(instance).0 == 2).await?;

    // Edited back, the change is taken back where it was made, and nothing happens where it was not.
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(0) })).await?;
    for (name, device, version) in [("a", 0, 3), ("b", 1, 3)] {
        checking_in(&project, &mut devices[device], name, "back", |instance| runs(instance, version)).await?;
    }
    project.until_any(TEMPLATE, "complete", is(RolloutPhase::Complete, 3)).await?;
    let untouched = project.api::<DeviceInstance>().get("c").await?;
    ensure!(versions(&untouched) == (2, Some(2)), "{:?}", versions(&untouched));
    Ok(())
}

pub(crate) async fn a_rollout_outlives_the_operator(stage: Arc<Stage>) -> Result<()> {
    let (project, mut devices) = fleet(&stage, "outlived", json!({ "maxUnavailable": "1", "canary": ["1"] })).await?;
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    project.until("a", "told", |instance| versions(instance).0 == 2).await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    for (name, device) in NAMES.into_iter().zip(&mut devices) {
        project.until(name, "told", |instance| versions(instance).0 == 2).await?;
        let last = NAMES.iter().position(|known| *known == name).context("it is one of them")?;
        ensure!(told(&project).await? == NAMES[..=last], "{:?}", told(&project).await?);
        checking_in(&project, device, name, "in force", |instance| runs(instance, 2)).await?;
    }
    project.until_any(TEMPLATE, "complete", is(RolloutPhase::Complete, 2)).await.map(drop)
}

/// A canary that the change kills is not taken for one that was offline anyway.
pub(crate) async fn a_device_that_falls_silent_with_the_change_holds_the_rest(stage: Arc<Stage>) -> Result<()> {
    let (project, mut devices) = fleet(&stage, "silent", json!({ "maxUnavailable": "1" })).await?;
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    project.until("a", "told", |instance| versions(instance).0 == 2).await?;
    // It is never heard of again; the others go on.
    let [dead, alive @ ..] = &mut devices[..] else { anyhow::bail!("three devices") };
    let held = loop {
        for (name, device) in ["b", "c"].into_iter().zip(alive.iter_mut()) {
            checking_in(&project, device, name, "there", |instance| condition(instance, ConditionType::Connected))
                .await?;
        }
        let template = project.api::<ConfigTemplate>().get(TEMPLATE).await?;
        if is(RolloutPhase::Paused, 2)(&template) {
            break template;
        }
        ensure!(told(&project).await? == ["a"], "the others are told: {:?}", told(&project).await?);
    };
    let conditions = held.status.unwrap_or_default().conditions;
    let message = conditions.iter().find(|c| c.type_ == "Stalled").map(|c| c.message.clone()).unwrap_or_default();
    ensure!(message.contains("device instance a has fallen silent since it got the change"), "{message}");
    // It was only slow, and nobody has to do anything.
    checking_in(&project, dead, "a", "in force", |instance| runs(instance, 2)).await?;
    project.until("b", "told", |instance| versions(instance).0 == 2).await.map(drop)
}

/// One site after the other, with time to look at each; devices come and go in the middle.
pub(crate) async fn a_rollout_by_sites_takes_who_joins_and_who_leaves(stage: Arc<Stage>) -> Result<()> {
    let strategy = json!({ "groupBy": "Site", "soakSeconds": 5 });
    let (project, mut devices) = fleet(&stage, "sites", strategy).await?;
    project.create::<Site>(json!({ "metadata": { "name": "west" }, "spec": site() })).await?;
    let installer = project.installer().await?;
    for name in ["w1", "w2"] {
        let mut spec = reader(name);
        spec["siteRef"] = json!({ "name": "west" });
        project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": spec })).await?;
        project.until_ready_for_activation(name).await?;
        let mut device = activated(&project, &installer, name).await?;
        checking_in(&project, &mut device, name, "in force", |instance| runs(instance, 1)).await?;
        devices.push(device);
    }
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    project.until("c", "told", |instance| versions(instance).0 == 2).await?;
    ensure!(told(&project).await? == NAMES, "the first site is told, and no other: {:?}", told(&project).await?);
    // One of the next site leaves, and one joins: nobody uses it, so it has the change at once.
    project.api::<DeviceInstance>().delete("w1", &DeleteParams::default()).await?;
    project.ready_device("new").await?;
    for (name, device) in NAMES.into_iter().zip(&mut devices) {
        checking_in(&project, device, name, "in force", |instance| runs(instance, 2)).await?;
    }
    project.until_any(TEMPLATE, "soaking", is(RolloutPhase::Soaking, 2)).await?;
    ensure!(versions(&project.api::<DeviceInstance>().get("w2").await?).0 == 1, "the first site is still watched");
    let w2 = devices.last_mut().context("it is the last")?;
    checking_in(&project, w2, "w2", "in force", |instance| runs(instance, 2)).await?;
    let done = project.until_any(TEMPLATE, "complete", is(RolloutPhase::Complete, 2)).await?;
    ensure!(rollout(&done).is_some_and(|rollout| rollout.batch == 2), "{:?}", rollout(&done));
    Ok(())
}
