//! Objects that another version stored.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::json;

use super::devices::activated;
use super::project::{LIMIT, Project, reader};
use super::stage::Stage;

/// Where the schema says which types of devices there are.
const TYPES: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/deviceType/enum/-";

/// The instance that does not read.
const UNREADABLE: &str = "turnstile";

/// A definition that is ahead of the operator, for a moment, lets an object in that the operator cannot read.
pub(crate) async fn an_object_that_does_not_read_stops_only_itself(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "unreadable").await?;
    let installer = project.installer().await?;
    project.ready_device("before").await?;
    store_unreadable(&project).await?;
    counts(&stage, 1).await?;
    // All others go on: one that was there, one that comes, and the devices of both.
    let mut device = activated(&project, &installer, "before").await?;
    device.check_in().await?;
    project.ready_device("after").await?;
    activated(&project, &installer, "after").await?;

    delete_unreadable(&project).await?;
    counts(&stage, 0).await
}

/// Stores a device instance that the operator cannot read.
pub(crate) async fn store_unreadable(project: &Project) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(project.stage.client());
    let definition = "deviceinstances.fleetform.dev";
    edit(&definitions, definition, json!([{ "op": "add", "path": TYPES, "value": "Turnstile" }])).await?;
    let stored = store(project).await;
    edit(&definitions, definition, json!([{ "op": "remove", "path": TYPES.replace("/-", "/3") }])).await?;
    stored
}

/// Deletes what [`store_unreadable`] stored.
pub(crate) async fn delete_unreadable(project: &Project) -> Result<()> {
    objects(project).delete(UNREADABLE, &DeleteParams::default()).await.context("delete it").map(drop)
}

async fn edit(api: &Api<CustomResourceDefinition>, name: &str, operations: serde_json::Value) -> Result<()> {
    let patch: json_patch::Patch = serde_json::from_value(operations)?;
    api.patch(name, &PatchParams::default(), &Patch::<()>::Json(patch)).await.context("edit the definition")?;
    Ok(())
}

fn objects(project: &Project) -> Api<DynamicObject> {
    Api::namespaced_with(project.stage.client(), &project.namespace, &ApiResource::erase::<DeviceInstance>(&()))
}

async fn store(project: &Project) -> Result<()> {
    let mut spec = reader("Turnstile");
    spec["deviceType"] = "Turnstile".into();
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "DeviceInstance", "metadata": { "name": UNREADABLE }, "spec": spec,
    }))?;
    let api = objects(project);
    wait::until("the edited definition to be in force", LIMIT, async || {
        Ok(match api.create(&PostParams::default(), &object).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

/// Waits until the operator says how many device instances it cannot read.
pub(crate) async fn counts(stage: &Stage, unreadable: usize) -> Result<()> {
    let line = format!("fleetform_unreadable_objects{{kind=\"deviceinstances\"}} {unreadable}");
    wait::until(&format!("`{line}` in the metrics"), LIMIT, async || {
        let metrics = stage.installation.metrics().await?;
        ensure!(!metrics.is_empty(), "there are metrics");
        let of_it: Vec<_> = metrics.lines().filter(|line| line.starts_with("fleetform_unreadable")).collect();
        Ok(if of_it.contains(&line.as_str()) { Look::Done(()) } else { Look::NotYet(of_it.join("\n")) })
    })
    .await
}
