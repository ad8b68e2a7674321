//! What refers to something that is missing waits, says so, and goes on by itself.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use serde_json::json;

use super::project::{Project, SITE, TEMPLATE, condition, reader, reason, site, template};
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
