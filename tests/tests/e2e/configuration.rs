//! Configurations on their way to devices.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject};
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::devices::{activated, checking_in};
use super::project::{LIMIT, Project, TEMPLATE, condition, reason, template};
use super::stage::Stage;

fn runs(version: u32) -> impl Fn(&DeviceInstance) -> bool {
    move |instance| {
        let configuration = instance.status.as_ref().and_then(|status| status.configuration.as_ref());
        configuration.is_some_and(|c| c.desired == version && c.applied == Some(version))
            && condition(instance, ConditionType::Ready)
    }
}

pub(crate) async fn a_changed_template_reaches_the_device(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "template").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    checking_in(&project, &mut device, "door", "in force", runs(1)).await?;

    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    let waits = project.until("door", "behind", |instance| !condition(instance, ConditionType::Ready)).await?;
    ensure!(condition(&waits, ConditionType::Reconciling), "tools are told to wait: {waits:#?}");
    checking_in(&project, &mut device, "door", "in force", runs(2)).await?;
    let configuration = device.configuration().await?.context("it is configured")?;
    let osdp = configuration.control_panel.and_then(|panel| panel.osdp).context("it speaks OSDP")?;
    ensure!(configuration.version == 2 && osdp.address == 7, "{osdp:?}");
    project
        .until_any(TEMPLATE, "applied", |template: &ConfigTemplate| {
            let status = template.status.clone().unwrap_or_default();
            (status.revision, status.devices.total, status.devices.updated, status.devices.applied)
                == (Some(2), 1, 1, 1)
        })
        .await?;

    // A name is no configuration: no revision, nothing for devices to do.
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": { "displayName": "Doors" } })).await?;
    project
        .until_any(TEMPLATE, "seen", |template: &ConfigTemplate| {
            template.status.as_ref().and_then(|status| status.observed_generation) == template.metadata.generation
        })
        .await?;
    checking_in(&project, &mut device, "door", "as before", runs(2)).await.map(drop)
}

/// Somebody deletes what devices are to fetch: the revision, and the Project that owns it.
pub(crate) async fn a_revision_that_is_gone_is_made_anew(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "revision").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let first = revision(&project).await?;
    project.api::<Secret>().delete(&first.0, &DeleteParams::default()).await?;
    let second = wait_for_another(&project, &first).await?;
    project.patch::<ProjectObject>("project", json!({ "spec": { "deletionConfirmation": "Delete" } })).await?;
    project.api::<ProjectObject>().delete("project", &DeleteParams::default()).await?;
    project
        .create::<ProjectObject>(json!({ "metadata": { "name": "project" }, "spec": { "displayName": "again" } }))
        .await?;
    let third = wait_for_another(&project, &second).await?;
    ensure!(first.0 == third.0, "it is the same revision: {} and {}", first.0, third.0);
    // The code names the Project, so the new one has new codes.
    project.until_ready_for_activation("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    checking_in(&project, &mut device, "door", "in force", runs(1)).await.map(drop)
}

/// Name and UID of the Secret with the template's revision.
async fn revision(project: &Project) -> Result<(String, String)> {
    let selected = ListParams::default().fields("type=fleetform.dev/configuration-revision");
    wait::until("a revision", LIMIT, async || {
        let stored = project.api::<Secret>().list_metadata(&selected).await?.items;
        let alive = stored.into_iter().find(|secret| secret.metadata.deletion_timestamp.is_none());
        Ok(match alive {
            Some(secret) => Look::Done((secret.name_any(), secret.uid().unwrap_or_default())),
            None => Look::NotYet("there is none".into()),
        })
    })
    .await
}

async fn wait_for_another(project: &Project, before: &(String, String)) -> Result<(String, String)> {
    wait::until("the revision to be made anew", LIMIT, async || {
        let now = revision(project).await?;
        Ok(if now.1 == before.1 { Look::NotYet(format!("{now:?}")) } else { Look::Done(now) })
    })
    .await
}

pub(crate) async fn a_changed_override_reaches_the_device(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "override").await?;
    let installer = project.installer().await?;
    let secret = json!({
        "metadata": { "name": "network" },
        "type": "fleetform.dev/wifi",
        "stringData": { "passphrase": "not-a-real-passphrase" },
    });
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    checking_in(&project, &mut device, "door", "in force", runs(1)).await?;

    let wifi = json!({ "ssid": "doors", "credentialsSecretRef": { "name": "network" } });
    project.patch::<DeviceInstance>("door", json!({ "spec": { "configuration": { "wifi": wifi } } })).await?;
    let waiting = project
        .until("door", "waiting for the Secret", |instance| {
            reason(instance, ConditionType::Ready, "False").is_some_and(|(reason, _)| reason == "SecretUnusable")
        })
        .await?;
    let (_, message) = reason(&waiting, ConditionType::Ready, "False").unwrap_or_default();
    ensure!(message.contains("no Secret network of type fleetform.dev/wifi"), "{message}");
    project.create::<Secret>(secret).await?;
    checking_in(&project, &mut device, "door", "in force", runs(2)).await?;
    let wifi =
        device.configuration().await?.and_then(|configuration| configuration.wifi).context("it joins a network")?;
    ensure!((wifi.ssid.as_str(), wifi.passphrase.as_str()) == ("doors", "not-a-real-passphrase"));
    let stored = serde_json::to_string(&project.api::<DeviceInstance>().get("door").await?)?;
    ensure!(!stored.contains("not-a-real-passphrase"), "the passphrase stays in its Secret");
    Ok(())
}
