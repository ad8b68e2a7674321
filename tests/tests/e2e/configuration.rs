//! Configurations on their way to devices.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{StoredConfiguration, configuration_version_path};
use fleetform_e2e::installation::AUDIENCE;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::devices::{activated, checking_in};
use super::project::{INSTALLER, LIMIT, Project, TEMPLATE, condition, reader, reason, template};
use super::raw::{Answer, exchange, request};
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

/// What the portal answers this account of the project about a version of the door's configuration.
async fn ask(project: &Project, account: &str, namespace: &str, version: &str) -> Result<Answer> {
    let installation = &project.stage.installation;
    let token = project.stage.cluster().audience_token(&project.namespace, account, AUDIENCE).await?;
    let path = configuration_version_path(namespace, "door", version);
    let question = request("GET", &path, &format!("Authorization: Bearer {token}\r\n"), "");
    exchange(&installation.portal_url(), &installation.authority().await?, &question).await
}

pub(crate) async fn every_version_has_an_address_and_stays_as_it_is(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "versions").await?;
    let elsewhere = Project::new(&stage, "versions-elsewhere").await?;
    project.appoint("auditor", "fleetform-read-only").await?;
    let secret = json!({ "metadata": { "name": "doors" }, "type": "fleetform.dev/wifi",
        "stringData": { "passphrase": "correct horse" } });
    project.create::<Secret>(secret).await?;
    let mut spec = reader("Door");
    spec["configuration"]["wifi"] = json!({ "ssid": "library-doors", "credentialsSecretRef": { "name": "doors" } });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "door" }, "spec": spec })).await?;
    project.until_ready_for_activation("door").await?;
    let read = async |version: &str| {
        let answer = ask(&project, "auditor", &project.namespace, version).await?;
        ensure!(answer.status == 200, "{answer:?}");
        ensure!(!answer.body.contains("horse"), "the portal reads secrets: {}", answer.body);
        serde_json::from_str::<StoredConfiguration>(&answer.body).with_context(|| answer.body.clone())
    };
    let first = wait::until("the auditor's rights to be in force", LIMIT, async || {
        Ok(read("1").await.map_or_else(|error| Look::NotYet(format!("{error:#}")), Look::Done))
    })
    .await?;
    let wifi = first.configuration.wifi.as_ref().context("the override is in it")?;
    let (ssid, secret) = (wifi.ssid.as_deref(), wifi.credentials_secret_ref.name.as_str());
    ensure!((ssid, secret) == (Some("library-doors"), "doors"), "{wifi:?}");
    ensure!(first.configuration.badge_format.is_some(), "the template is in it");
    ensure!(first.arn.as_str().ends_with("/configuration/1") && first.desired && !first.applied, "{first:?}");
    ensure!(first.configuration.digest() == first.digest, "{first:?}");

    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(7) })).await?;
    let desires = |instance: &DeviceInstance| {
        instance.status.as_ref().and_then(|status| status.configuration.as_ref()).is_some_and(|c| c.desired == 2)
    };
    project.until("door", "to get version 2", desires).await?;
    let second = read("2").await?;
    let address =
        |version: &StoredConfiguration| Some(version.configuration.control_panel.as_ref()?.osdp.as_ref()?.address);
    ensure!(second.desired && address(&second) == Some(7), "{second:?}");
    ensure!(second.template.as_ref().is_some_and(|from| from.name == TEMPLATE && from.revision == 2), "{second:?}");
    let again = read("1").await?;
    ensure!(StoredConfiguration { desired: false, ..first.clone() } == again, "{first:?} became {again:?}");

    let unknown = ask(&project, "auditor", &project.namespace, "9").await?.problem()?;
    ensure!(unknown.code() == Some(ProblemCode::NotFound) && unknown.detail.ends_with("kept are: 1, 2"), "{unknown:?}");
    // An installer reads none, and nobody those of another project, whether there are any or not.
    for (account, namespace, version) in [
        (INSTALLER, &project.namespace, "1"),
        (INSTALLER, &project.namespace, "9"),
        ("auditor", &elsewhere.namespace, "1"),
    ] {
        let refused = ask(&project, account, namespace, version).await?.problem()?;
        ensure!(refused.detail == "it does not exist, or you may not see it", "{account}: {refused:?}");
    }
    Ok(())
}
