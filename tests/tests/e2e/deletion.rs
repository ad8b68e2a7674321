//! What may be deleted, what may not, and what goes with it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject, Site};
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::{DeviceError, Screen};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::devices::{activated, checking_in};
use super::project::{LIMIT, Project, SITE, TEMPLATE, condition};
use super::stage::Stage;

pub(crate) async fn an_instance_takes_its_code_along(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "deletion").await?;
    project.ready_device("door").await?;
    project.ready_device("other").await?;
    project.api::<DeviceInstance>().delete("door", &DeleteParams::default()).await?;
    project.until_codes_are(&["other-activation-qr"]).await?;
    // Made again at once, it is another instance with a code of its own.
    project.api::<DeviceInstance>().delete("other", &DeleteParams::default()).await?;
    let again = project.ready_device("other").await?;
    wait::until("a code that the new instance owns", LIMIT, async || {
        let secrets = project.api::<k8s_openapi::api::core::v1::Secret>();
        let owner = secrets.get_metadata_opt("other-activation-qr").await?;
        let owner = owner.and_then(|secret| Some(secret.owner_references().first()?.uid.clone()));
        Ok(if owner == again.uid() { Look::Done(()) } else { Look::NotYet(format!("{owner:?}")) })
    })
    .await
}

pub(crate) async fn what_is_in_use_is_not_deleted(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "in-use").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    is_refused::<Site>(&project, SITE, "This site still has 1 device instance associated to it").await?;
    is_refused::<ConfigTemplate>(&project, TEMPLATE, "This configuration template still has 1 device instance").await?;
    is_refused::<ProjectObject>(&project, "project", "set spec.deletionConfirmation to Delete first").await?;
    let mut device = activated(&project, &installer, "door").await?;
    checking_in(&project, &mut device, "door", "Ready", |instance| condition(instance, ConditionType::Ready)).await?;
    let confirmation = json!({ "spec": { "deletionConfirmation": "Delete" } });
    project.patch::<ProjectObject>("project", confirmation).await?;
    let still = "This project still has 1 device instance associated to it and cannot be deleted.";
    is_refused::<ProjectObject>(&project, "project", still).await?;

    // Nothing of it holds when nothing is in use.
    project.api::<DeviceInstance>().delete("door", &DeleteParams::default()).await?;
    is_deleted::<Site>(&project, SITE).await?;
    is_deleted::<ConfigTemplate>(&project, TEMPLATE).await?;
    is_deleted::<ProjectObject>(&project, "project").await
}

/// Tries, and only tries, to delete an object, until it is refused with these words: counts are a moment late.
pub(crate) async fn is_refused<K>(project: &Project, name: &str, because: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let attempt = DeleteParams { dry_run: true, ..DeleteParams::default() };
    wait::until(&format!("the deletion of {name} to be refused with `{because}`"), LIMIT, async || {
        Ok(match project.api::<K>().delete(name, &attempt).await {
            Err(kube::Error::Api(status)) if status.message.contains(because) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
            Ok(_) => Look::NotYet("it was let through".to_owned()),
        })
    })
    .await
}

/// Deletes an object as soon as it may be.
pub(crate) async fn is_deleted<K>(project: &Project, name: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    wait::until(&format!("{name} to be deleted"), LIMIT, async || {
        Ok(match project.api::<K>().delete(name, &DeleteParams::default()).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}

/// Also when another instance of the name was made since, and nobody remembers the first one.
pub(crate) async fn the_device_of_a_deleted_instance_is_told_and_wipes_itself(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "deleted").await?;
    let installer = project.installer().await?;
    for (name, made_again) in [("door", false), ("other-door", true)] {
        project.ready_device(name).await?;
        let mut device = activated(&project, &installer, name).await?;
        project.api::<DeviceInstance>().delete(name, &DeleteParams::default()).await?;
        if made_again {
            project.ready_device(name).await?;
            stage.installation.kill_operator()?;
            stage.installation.start_operator().await?;
        }
        wait::until("the gateway to know", LIMIT, async || {
            Ok(match device.check_in().await {
                Err(DeviceError::AssociationEnded) => Look::Done(()),
                Err(error) => Look::NotYet(error.to_string()),
                Ok(_) => Look::NotYet("it was served".to_owned()),
            })
        })
        .await?;
        ensure!(device.screen() == Screen::Scan && !device.is_associated(), "it can be activated again");
    }
    Ok(())
}

pub(crate) async fn a_namespace_goes_when_nothing_in_it_is_active(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "namespace").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    project.ready_device("other-door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    checking_in(&project, &mut device, "door", "Ready", |instance| condition(instance, ConditionType::Ready)).await?;
    let namespaces: Api<Namespace> = Api::all(stage.client());
    let name = project.namespace.as_str();
    let because = "The project of this namespace still has 1 device instance associated to it";
    let attempt = DeleteParams { dry_run: true, ..DeleteParams::default() };
    wait::until("the deletion of the namespace to be refused", LIMIT, async || {
        Ok(match namespaces.delete(name, &attempt).await {
            Err(kube::Error::Api(status)) if status.message.contains(because) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
            Ok(_) => Look::NotYet("it was let through".to_owned()),
        })
    })
    .await?;
    let said = stage.cluster().try_kubectl(&["delete", "namespace", name], None).await?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains(because) && said.contains("raise spec.activation.epoch"), "{said}");

    project.patch::<DeviceInstance>("door", json!({ "spec": { "activation": { "epoch": 1 } } })).await?;
    wait::until("the namespace to be let go", LIMIT, async || {
        Ok(match namespaces.delete(name, &DeleteParams::default()).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    wait::until("the namespace to be gone, and all that was in it", LIMIT, async || {
        Ok(match namespaces.get_opt(name).await? {
            None => Look::Done(()),
            Some(namespace) => Look::NotYet(format!("{:#?}", namespace.status.context("a namespace has a status")?)),
        })
    })
    .await
}
