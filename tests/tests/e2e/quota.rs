//! More than there may be: who is over quota waits and says so, and goes on by itself.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use super::devices::{activated, checking_in};
use super::project::{Project, SITE, reader, reason, site};
use super::stage::Stage;

async fn set_quotas(project: &Project, quotas: Value) -> Result<()> {
    project.patch::<ProjectObject>("project", json!({ "spec": { "quotas": quotas } })).await.map(drop)
}

async fn gateway(project: &Project, name: &str) -> Result<()> {
    let spec = json!({ "siteRef": { "name": SITE }, "displayName": name, "deviceType": "Gateway" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": spec })).await.map(drop)
}

/// Whether the object says, as its state of being ready and within quota, this status, reason and part of the message.
fn says(conditions: Option<&Vec<Condition>>, condition: ConditionType, status: &str, part: &str) -> bool {
    conditions.into_iter().flatten().any(|found| {
        let exceeded = (status == "False") == (found.reason == "QuotaExceeded");
        found.type_ == condition.as_str() && found.status == status && exceeded && found.message.contains(part)
    })
}

async fn until_over(project: &Project, name: &str, part: &str) -> Result<DeviceInstance> {
    let over = |device: &DeviceInstance| {
        reason(device, ConditionType::Ready, "False")
            .is_some_and(|(reason, message)| reason == "QuotaExceeded" && message.contains(part))
    };
    project.until(name, "over quota", over).await
}

async fn until_site(project: &Project, name: &str, condition: ConditionType, status: &str, part: &str) -> Result<()> {
    let holds = |site: &Site| says(site.status.as_ref().map(|s| &s.conditions), condition, status, part);
    project.until_any(name, &format!("{} {status}: {part}", condition.as_str()), holds).await.map(drop)
}

async fn until_project(project: &Project, condition: ConditionType, status: &str, part: &str) -> Result<()> {
    let holds = |object: &ProjectObject| says(object.status.as_ref().map(|s| &s.conditions), condition, status, part);
    project.until_any("project", &format!("{} {status}: {part}", condition.as_str()), holds).await.map(drop)
}

pub(crate) async fn gateways_over_quota_wait_and_what_is_active_is_served_on(stage: Arc<Stage>) -> Result<()> {
    use ConditionType::{Ready, Stalled, WithinQuota};
    let project = Project::new(&stage, "gateways").await?;
    let installer = project.installer().await?;
    set_quotas(&project, json!({ "gatewaysPerSite": 1 })).await?;
    gateway(&project, "first").await?;
    project.until_ready_for_activation("first").await?;
    gateway(&project, "second").await?;
    let over = until_over(&project, "second", "this gateway is over the quota of 1 gateway at a site").await?;
    ensure!(over.phase() == Phase::NeedsConfiguration && reason(&over, Stalled, "True").is_some(), "{over:#?}");
    until_site(&project, SITE, WithinQuota, "False", "there are 2 gateways of 1: second is over quota").await?;
    until_site(&project, SITE, Ready, "True", "").await?;
    // Readers are no gateways.
    project.ready_device("door").await?;
    project.until_codes_are(&["door-activation-qr", "first-activation-qr"]).await?;
    let mut device = activated(&project, &installer, "first").await?;

    set_quotas(&project, json!({ "gatewaysPerSite": 2 })).await?;
    project.until_ready_for_activation("second").await?;
    until_site(&project, SITE, WithinQuota, "True", "").await?;

    set_quotas(&project, json!({ "gatewaysPerSite": 0 })).await?;
    until_over(&project, "second", "the quota of 0 gateways").await?;
    let held = until_over(&project, "first", "the quota of 0 gateways").await?;
    ensure!(held.phase() == Phase::Active, "an active gateway was taken down");
    project.until_codes_are(&["door-activation-qr"]).await?;
    // It is served as before: what is declared still reaches it.
    project
        .patch::<DeviceInstance>("first", json!({ "spec": { "configuration": { "maximumOfflineMinutes": 90 } } }))
        .await?;
    checking_in(&project, &mut device, "first", "configured on", |device| {
        device.status.as_ref().and_then(|s| s.configuration.as_ref()).is_some_and(|c| c.applied == Some(2))
    })
    .await?;

    set_quotas(&project, json!({ "gatewaysPerSite": 1 })).await?;
    project.until("first", "ready", |device| reason(device, Ready, "True").is_some()).await?;
    until_over(&project, "second", "the quota of 1 gateway").await?;
    project.api::<DeviceInstance>().delete("first", &DeleteParams::default()).await?;
    project.until_ready_for_activation("second").await.map(drop)
}

pub(crate) async fn sites_over_quota_wait_and_so_does_what_stands_there(stage: Arc<Stage>) -> Result<()> {
    use ConditionType::{Ready, WithinQuota};
    let project = Project::new(&stage, "sites").await?;
    set_quotas(&project, json!({ "sites": 1 })).await?;
    // Of one second the name decides: these come after `central` in any case.
    for name in ["depot", "east"] {
        project.create::<Site>(json!({ "metadata": { "name": name }, "spec": site() })).await?;
        until_site(&project, name, Ready, "False", "this site is over the quota of 1 site in a project").await?;
    }
    until_project(&project, WithinQuota, "False", "there are 3 sites of 1: depot and east are over quota").await?;
    until_project(&project, Ready, "True", "").await?;
    let mut spec = reader("East door");
    spec["siteRef"]["name"] = "east".into();
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "east-door" }, "spec": spec })).await?;
    until_over(&project, "east-door", "spec.siteRef: Site east is over the quota of 1 site").await?;
    project.ready_device("door").await?;

    set_quotas(&project, json!({ "sites": 2 })).await?;
    until_site(&project, "depot", Ready, "True", "").await?;
    until_site(&project, "east", Ready, "False", "the quota of 2 sites").await?;
    until_over(&project, "east-door", "the quota of 2 sites").await?;
    project.api::<Site>().delete("depot", &DeleteParams::default()).await?;
    until_site(&project, "east", Ready, "True", "").await?;
    project.until_ready_for_activation("east-door").await?;
    until_project(&project, WithinQuota, "True", "").await
}

/// The quota of the installation is an argument of the operator, so it starts again here.
pub(crate) async fn projects_over_quota_wait_until_one_is_deleted(stage: Arc<Stage>) -> Result<()> {
    let older = Project::new(&stage, "quota-a").await?;
    let all: Api<ProjectObject> = Api::all(stage.client());
    let there = all.list(&ListParams::default()).await?.items.len();
    stage.installation.terminate_operator().await?;
    let outcome = over_quota_of(&stage, &older, there).await;
    stage.installation.terminate_operator().await?;
    stage.installation.start_operator().await?;
    outcome
}

async fn over_quota_of(stage: &Arc<Stage>, older: &Project, allowed: usize) -> Result<()> {
    use ConditionType::{Ready, WithinQuota};
    stage.installation.start_operator_with(&[&format!("--max-projects={allowed}")]).await?;
    let project = Project::new(stage, "quota-b").await?;
    project.device("door").await?;
    let part = format!("this project is over the quota of {allowed} project");
    until_project(&project, Ready, "False", &part).await?;
    until_project(&project, WithinQuota, "False", &part).await?;
    until_site(&project, SITE, Ready, "False", "the Project of this namespace is over the quota").await?;
    until_over(&project, "door", "the Project of this namespace is over the quota").await?;
    until_project(older, Ready, "True", "").await?;

    older.patch::<ProjectObject>("project", json!({ "spec": { "deletionConfirmation": "Delete" } })).await?;
    older.api::<ProjectObject>().delete("project", &DeleteParams::default()).await.context("delete a project")?;
    project.until_ready_for_activation("door").await?;
    until_project(&project, WithinQuota, "True", "").await
}
