//! A project of a test's own: a namespace with a Project, a site with a true address, and a template.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fleetform_crds::condition::{ConditionType, is_true};
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::event::Event;
use fleetform_domain::wire::DeviceName;
use fleetform_e2e::namespace;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::installer::Installer;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::stage::Stage;

/// How long anything may take that should take moments.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// The site of every project here, and its ZIP code.
pub(crate) const SITE: &str = "central";
pub(crate) const SITE_NAME: &str = "Central Library";
pub(crate) const ZIP: &str = "98104";

/// The template of every project here.
pub(crate) const TEMPLATE: &str = "door";

/// The `ServiceAccount` that may fetch codes.
pub(crate) const INSTALLER: &str = "installer";

/// A project of a test's own.
pub(crate) struct Project {
    pub(crate) stage: Arc<Stage>,
    pub(crate) namespace: String,
}

impl Project {
    /// A namespace that may be simulated, with a Project, a site, a template and an installer.
    pub(crate) async fn new(stage: &Arc<Stage>, prefix: &str) -> Result<Self> {
        let project = Self::empty(stage, prefix).await?;
        project
            .create::<ProjectObject>(json!({ "metadata": { "name": "project" }, "spec": { "displayName": prefix } }))
            .await?;
        project.create::<Site>(json!({ "metadata": { "name": SITE }, "spec": site() })).await?;
        project.create::<ConfigTemplate>(json!({ "metadata": { "name": TEMPLATE }, "spec": template(0) })).await?;
        project.appoint(INSTALLER, "fleetform-installer").await?;
        Ok(project)
    }

    /// A namespace that may be simulated, and nothing in it.
    pub(crate) async fn empty(stage: &Arc<Stage>, prefix: &str) -> Result<Self> {
        let name = namespace::unique(prefix);
        let labels = json!({ "fleetform.dev/project": "true", "fleetform.dev/simulation": "allowed" });
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }))?;
        Api::all(stage.client()).create(&PostParams::default(), &namespace).await.context("make a namespace")?;
        Ok(Self { stage: Arc::clone(stage), namespace: name })
    }

    /// Makes a `ServiceAccount` of this name, and gives it a `ClusterRole` of the chart in the project.
    pub(crate) async fn appoint(&self, account: &str, role: &str) -> Result<()> {
        self.create::<ServiceAccount>(json!({ "metadata": { "name": account } })).await?;
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role });
        let subject = json!({ "kind": "ServiceAccount", "name": account, "namespace": self.namespace });
        let binding = json!({ "metadata": { "name": account }, "roleRef": role, "subjects": [subject] });
        self.create::<RoleBinding>(binding).await.map(drop)
    }

    /// Objects of this kind in the project.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.stage.client(), &self.namespace)
    }

    /// Creates an object.
    pub(crate) async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let object = with_type::<K>(object);
        let object: K = serde_json::from_value(object).with_context(|| format!("a {kind}"))?;
        self.api().create(&PostParams::default(), &object).await.with_context(|| format!("create the {kind}"))
    }

    /// Merges `patch` into an object.
    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let patched = self.api().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.with_context(|| format!("change {name} by {patch}"))
    }

    /// Makes a reader of the site, from the template, that nobody simulates.
    pub(crate) async fn device(&self, name: &str) -> Result<DeviceInstance> {
        self.create(json!({ "metadata": { "name": name }, "spec": reader(name) })).await
    }

    /// A reader that is ready for activation.
    pub(crate) async fn ready_device(&self, name: &str) -> Result<DeviceInstance> {
        self.device(name).await?;
        self.until_ready_for_activation(name).await
    }

    /// Waits until there is a code.
    pub(crate) async fn until_ready_for_activation(&self, name: &str) -> Result<DeviceInstance> {
        self.until(name, "ready for activation", |device| {
            device.phase() == Phase::ReadyForActivation && condition(device, ConditionType::Ready)
        })
        .await
    }

    /// Waits until the device instance is as `holds` says.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&DeviceInstance) -> bool,
    ) -> Result<DeviceInstance> {
        let api: Api<DeviceInstance> = self.api();
        wait::until(&format!("{name} to be {what}"), LIMIT, async || {
            let device = api.get(name).await?;
            Ok(if holds(&device) { Look::Done(device) } else { Look::NotYet(format!("{:#?}", device.status)) })
        })
        .await
    }

    /// Waits until an object of any kind is as `holds` says.
    pub(crate) async fn until_any<K>(&self, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        wait::until(&format!("{name} to be {what}"), LIMIT, async || {
            let object = api.get(name).await?;
            Ok(if holds(&object) { Look::Done(object) } else { Look::NotYet(format!("{object:#?}")) })
        })
        .await
    }

    /// All device instances.
    pub(crate) async fn devices(&self) -> Result<Vec<DeviceInstance>> {
        Ok(self.api::<DeviceInstance>().list(&ListParams::default()).await?.items)
    }

    /// Names of the Secrets that hold an activation code.
    pub(crate) async fn code_secrets(&self) -> Result<Vec<String>> {
        let selected = ListParams::default().fields("type=fleetform.dev/activation-qr");
        Ok(self.api::<Secret>().list_metadata(&selected).await?.iter().map(ResourceExt::name_any).collect())
    }

    /// Waits until these are the Secrets that hold an activation code, and no other.
    pub(crate) async fn until_codes_are(&self, names: &[&str]) -> Result<()> {
        wait::until(&format!("the codes to be {names:?}"), LIMIT, async || {
            let stored = self.code_secrets().await?;
            Ok(if stored == names { Look::Done(()) } else { Look::NotYet(format!("{stored:?}")) })
        })
        .await
    }

    /// Somebody who may fetch codes of this project and nothing more.
    pub(crate) async fn installer(&self) -> Result<Installer> {
        let installer = self.stage.installation.installer(&self.namespace, INSTALLER).await?;
        wait::until("the installer's rights to be in force", LIMIT, async || {
            Ok(match installer.site_address(&self.namespace, SITE).await {
                Ok(_) => Look::Done(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        Ok(installer)
    }

    /// How the portal knows a device.
    pub(crate) fn name(&self, device: &str) -> DeviceName {
        DeviceName { project: self.namespace.clone(), name: device.to_owned() }
    }

    /// Waits until the events of a device are so many, and gives their types and the events.
    pub(crate) async fn events(&self, device: &DeviceInstance, count: usize) -> Result<Vec<Event>> {
        let arn = device.status.as_ref().and_then(|status| status.arn.clone()).context("the instance has no ARN")?;
        wait::until(&format!("{count} events"), LIMIT, async || {
            let events = self.stage.installation.events()?;
            let of_device: Vec<_> = events.into_iter().filter(|event| event.resources.contains(&arn)).collect();
            Ok(if of_device.len() >= count { Look::Done(of_device) } else { Look::NotYet(format!("{of_device:#?}")) })
        })
        .await
    }
}

/// Whether a condition of a device instance is true.
pub(crate) fn condition(device: &DeviceInstance, condition: ConditionType) -> bool {
    device.status.as_ref().is_some_and(|status| is_true(&status.conditions, condition))
}

/// Reason and message of a condition, if it has this status.
pub(crate) fn reason(device: &DeviceInstance, condition: ConditionType, status: &str) -> Option<(String, String)> {
    let conditions = &device.status.as_ref()?.conditions;
    let found = conditions.iter().find(|found| found.type_ == condition.as_str() && found.status == status)?;
    Some((found.reason.clone(), found.message.clone()))
}

fn with_type<K>(mut object: Value) -> Value
where
    K: Resource,
    K::DynamicType: Default,
{
    let kind = K::DynamicType::default();
    object["apiVersion"] = K::api_version(&kind).into();
    object["kind"] = K::kind(&kind).into();
    object
}

/// The spec of a site that nobody simulates.
pub(crate) fn site() -> Value {
    let address = json!({
        "addressLine1": "1000 Fourth Avenue", "city": "Seattle", "stateOrRegion": "WA", "postalCode": ZIP, "countryCode": "US",
    });
    json!({ "displayName": SITE_NAME, "address": address })
}

/// The spec of a template for doors, with this OSDP address.
pub(crate) fn template(osdp_address: u8) -> Value {
    let osdp = json!({ "version": "V2", "address": osdp_address, "baudRate": 9600 });
    let configuration = json!({
        "operationMode": "Entry", "controlPanel": { "osdp": osdp }, "badgeFormat": badge_format(),
    });
    json!({ "displayName": "Door", "configuration": configuration })
}

fn badge_format() -> Value {
    json!({
        "name": "H10301",
        "lengthBits": 26,
        "fields": [
            { "kind": "FacilityCode", "startBit": 1, "lengthBits": 8, "value": 114 },
            { "kind": "CardNumber", "startBit": 9, "lengthBits": 16 },
        ],
    })
}

/// The spec of a reader at the site, from the template.
pub(crate) fn reader(display_name: &str) -> Value {
    json!({
        "siteRef": { "name": SITE },
        "displayName": display_name,
        "deviceType": "Reader",
        "configuration": { "templateRef": { "name": TEMPLATE } },
    })
}
