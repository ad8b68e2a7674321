//! What refers to something that is missing waits, says so, and goes on by itself.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::project::{LIMIT, Project, SITE, TEMPLATE, condition, reader, reason, site, template};
use super::stage::Stage;

pub(crate) async fn what_is_missing_is_named_and_awaited(stage: Arc<Stage>) -> Result<()> {
    let project = Project::empty(&stage, "waiting").await?;
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "door" }, "spec": reader("Door") })).await?;
    let namespace = project.namespace.clone();
    waits(&project, "ProjectNotFound", &format!("namespace {namespace} has no Project")).await?;

    project
        .create::<ProjectObject>(json!({ "metadata": { "name": "project" }, "spec": { "displayName": "P" } }))
        .await?;
    waits(&project, "SiteNotFound", &format!("spec.siteRef: there is no Site {SITE}")).await?;

    project.create::<Site>(json!({ "metadata": { "name": SITE }, "spec": site() })).await?;
    waits(&project, "TemplateNotFound", &format!("templateRef: there is no ConfigTemplate {TEMPLATE}")).await?;

    let mut bare = template(0);
    bare["configuration"] = json!({});
    project.create::<ConfigTemplate>(json!({ "metadata": { "name": TEMPLATE }, "spec": bare })).await?;
    let stalled = project.until("door", "stalled", |device| condition(device, ConditionType::Stalled)).await?;
    let (why, message) = reason(&stalled, ConditionType::Ready, "False").unwrap_or_default();
    ensure!(
        why == "ConfigurationIncomplete" && message.contains("spec.configuration.operationMode"),
        "{why}: {message}"
    );

    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": template(0) })).await?;
    project.until_ready_for_activation("door").await.map(drop)
}

pub(crate) async fn a_name_that_somebody_else_has_is_named_and_awaited(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "taken").await?;
    let theirs = json!({ "metadata": { "name": "door-activation-qr" }, "stringData": { "note": "mine" } });
    project.create::<Secret>(theirs).await?;
    project.device("door").await?;
    let waiting = project
        .until("door", "waiting for its name", |device| {
            reason(device, ConditionType::Ready, "False").is_some_and(|(reason, _)| reason == "NameTaken")
        })
        .await?;
    let (_, message) = reason(&waiting, ConditionType::Ready, "False").unwrap_or_default();
    ensure!(message.contains("door-activation-qr") && message.contains("delete it"), "{message}");
    let secrets = project.api::<Secret>();
    ensure!(secrets.get("door-activation-qr").await?.type_.as_deref() == Some("Opaque"), "it is left alone");
    secrets.delete("door-activation-qr", &DeleteParams::default()).await?;
    project.until_ready_for_activation("door").await.map(drop)
}

/// What takes a person to put right is an Event too, once.
pub(crate) async fn a_person_is_told_by_an_event(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "event").await?;
    let mut bare = reader("Door");
    bare["configuration"] = json!({ "operationMode": "Entry" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "door" }, "spec": bare })).await?;
    let events = project.api::<Event>();
    let told = wait::until("an Event about the door", LIMIT, async || {
        let events = events.list(&ListParams::default()).await?.items;
        let about = events
            .into_iter()
            .find(|event| event.regarding.as_ref().and_then(|object| object.name.as_deref()) == Some("door"));
        Ok(about.map_or_else(|| Look::NotYet("there is none".into()), Look::Done))
    })
    .await?;
    ensure!(told.reason.as_deref() == Some("ConfigurationIncomplete"), "{told:#?}");
    ensure!(told.type_.as_deref() == Some("Warning"), "{told:#?}");
    ensure!(told.note.as_deref().is_some_and(|note| note.contains("spec.configuration.controlPanel")), "{told:#?}");
    Ok(())
}

async fn waits(project: &Project, why: &str, words: &str) -> Result<()> {
    let waiting = project
        .until("door", &format!("waiting ({why})"), |device| {
            reason(device, ConditionType::Ready, "False").is_some_and(|(reason, _)| reason == why)
        })
        .await?;
    let (_, message) = reason(&waiting, ConditionType::Ready, "False").unwrap_or_default();
    ensure!(message.contains(words), "`{message}` does not say `{words}`");
    ensure!(condition(&waiting, ConditionType::Reconciling), "tools are told to wait: {waiting:#?}");
    ensure!(waiting.phase() == Phase::NeedsConfiguration, "{:?}", waiting.phase());
    Ok(())
}
