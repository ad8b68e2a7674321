//! What the parts of `admit_rules` share: a control plane, the kinds, and waiting for policies.

pub(crate) mod admins;
pub(crate) mod cases;
pub(crate) mod coverage;
pub(crate) mod departure;
pub(crate) mod examples;
pub(crate) mod matrix;
pub(crate) mod policies;
pub(crate) mod refusals;
pub(crate) mod release;
pub(crate) mod rights;
pub(crate) mod sites;
pub(crate) mod tags;
pub(crate) mod workloads;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::{AdminUser, Alert, Asset, ConfigTemplate, DeviceInstance, EnrolledUser, Project, Site};
use fleetform_e2e::control_plane::Options;
use fleetform_e2e::wait::{self, Look};
use fleetform_e2e::{ControlPlane, namespace, tools};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Client, Resource as _};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::render::{self, objects, text};

/// How long anything that has to happen by itself may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// A kind of Fleetform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Project,
    Site,
    ConfigTemplate,
    DeviceInstance,
    Asset,
    Alert,
    EnrolledUser,
    AdminUser,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Project,
        Self::Site,
        Self::ConfigTemplate,
        Self::DeviceInstance,
        Self::Asset,
        Self::Alert,
        Self::EnrolledUser,
        Self::AdminUser,
    ];

    /// Those that people declare, each with a name to read and tags.
    pub(crate) const DECLARED: [Self; 5] =
        [Self::Project, Self::Site, Self::ConfigTemplate, Self::DeviceInstance, Self::Asset];

    /// Its name in the API.
    pub(crate) fn name(self) -> String {
        self.resource().kind
    }

    /// Its objects in a namespace, as this client sees them.
    pub(crate) fn api(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.resource())
    }

    /// Where its definition says how to reach it.
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::Project => ApiResource::erase::<Project>(&()),
            Self::Site => ApiResource::erase::<Site>(&()),
            Self::ConfigTemplate => ApiResource::erase::<ConfigTemplate>(&()),
            Self::DeviceInstance => ApiResource::erase::<DeviceInstance>(&()),
            Self::Asset => ApiResource::erase::<Asset>(&()),
            Self::Alert => ApiResource::erase::<Alert>(&()),
            Self::EnrolledUser => ApiResource::erase::<EnrolledUser>(&()),
            Self::AdminUser => ApiResource::erase::<AdminUser>(&()),
        }
    }
}

/// A control plane, and kubectl for it.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
    kubectl: PathBuf,
    operator: OnceCell<Client>,
}

impl Cluster {
    pub(crate) async fn start() -> Result<Self> {
        let kubectl = tokio::task::spawn_blocking(tools::kubectl).await??;
        let plane = ControlPlane::start(Options::default()).await?;
        Ok(Self { client: plane.kube_client(), plane, kubectl, operator: OnceCell::new() })
    }

    /// Installs what `helm template` renders, simulator included, and waits until the definitions serve.
    pub(crate) async fn install_rendered_chart(&self) -> Result<Vec<Value>> {
        let rendered = render::template(&["simulator.enabled=true"])?;
        let file = self.plane.dir().join("chart.yaml");
        fs::write(&file, &rendered)?;
        self.ensure_namespace(render::NAMESPACE).await?;
        let apply = ["apply", "--server-side", "--force-conflicts", "--filename"].map(OsStr::new);
        self.kubectl(apply.into_iter().chain([file.as_os_str()])).await?;
        self.definitions_serve().await?;
        objects(&rendered)
    }

    /// Waits until the definitions serve.
    pub(crate) async fn definitions_serve(&self) -> Result<()> {
        self.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await.map(drop)
    }

    /// Runs kubectl as the administrator; what it prints, unless it fails.
    pub(crate) async fn kubectl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<String> {
        let arguments: Vec<_> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let Output { status, stdout, stderr } = Command::new(&self.kubectl)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .args(&arguments)
            .output()
            .await
            .context("run kubectl")?;
        ensure!(status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        kind.api(&self.client, namespace)
    }

    /// Somebody who may write the objects of a namespace, at every site, and has none of the rights beside that.
    pub(crate) async fn editor(&self, namespace: &str) -> Result<Client> {
        self.who_may(namespace, "editor", &["get", "update", "patch", "use"]).await
    }

    /// Somebody of this name who may do this to all that is Fleetform's in a namespace, with these rights in force.
    pub(crate) async fn who_may(&self, namespace: &str, name: &str, verbs: &[&str]) -> Result<Client> {
        let rbac = "rbac.authorization.k8s.io";
        let may = json!({ "apiGroups": ["fleetform.dev"], "resources": ["*"], "verbs": verbs });
        let role = serde_json::from_value(json!({ "metadata": { "name": name }, "rules": [may] }))?;
        let binding = serde_json::from_value(json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
        }))?;
        let account = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
        let post = PostParams::default();
        Api::<ServiceAccount>::namespaced(self.client.clone(), namespace).create(&post, &account).await?;
        Api::<Role>::namespaced(self.client.clone(), namespace).create(&post, &role).await?;
        Api::<RoleBinding>::namespaced(self.client.clone(), namespace).create(&post, &binding).await?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        wait::until(&format!("the rights of {user} to be in force"), LIMIT, async || {
            let in_force = sites::may(self, &user, sites::right(verbs[0], "sites", namespace, "")).await?;
            Ok(if in_force { Look::Done(()) } else { Look::NotYet("they are not".to_owned()) })
        })
        .await?;
        self.plane.client_for_service_account(namespace, name).await
    }

    /// Lets the editor of the namespace create these resources too. When that is in force is for the caller to find out.
    pub(crate) async fn grant(&self, namespace: &str, resources: &[&str]) -> Result<()> {
        let may = json!({ "apiGroups": ["fleetform.dev"], "resources": resources, "verbs": ["create"] });
        let roles = Api::<Role>::namespaced(self.client.clone(), namespace);
        let rule = json!([{ "op": "add", "path": "/rules/-", "value": may }]);
        let patch = Patch::Json::<()>(serde_json::from_value(rule)?);
        roles.patch("editor", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// A namespace that no other part has.
    pub(crate) async fn namespace(&self, prefix: &str, labels: Value) -> Result<String> {
        let name = namespace::unique(prefix);
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }))?;
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    pub(crate) async fn ensure_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let parameters = PatchParams::apply("admit-rules");
        Api::<Namespace>::all(self.client.clone()).patch(name, &parameters, &Patch::Apply(namespace)).await?;
        Ok(())
    }

    /// The operator, with its rights in force.
    pub(crate) async fn operator(&self) -> Result<&Client> {
        let connect = async || {
            let operator = self.plane.client_for_service_account(render::NAMESPACE, "fleetform-operator").await?;
            wait::until("the operator's rights to be in force", LIMIT, async || {
                Ok(match Kind::Alert.api(&operator, render::NAMESPACE).get_opt("nothing").await {
                    Ok(_) => Look::Done(()),
                    Err(error) => Look::NotYet(error.to_string()),
                })
            })
            .await?;
            anyhow::Ok(operator)
        };
        self.operator.get_or_try_init(connect).await
    }

    /// Stores an object, then its status, if it has one, as the operator writes it. What the operator alone may make, it makes here
    /// too.
    pub(crate) async fn store(&self, kind: Kind, namespace: &str, object: &Value) -> kube::Result<DynamicObject> {
        let api = match kind {
            Kind::Alert | Kind::EnrolledUser => {
                kind.api(self.operator().await.expect("the operator has an account"), namespace)
            }
            _ => self.api(kind, namespace),
        };
        let stored = api.create(&PostParams::default(), &dynamic(object)).await?;
        match object.get("status") {
            None => Ok(stored),
            Some(status) => self.set_status(kind, namespace, text(object, "/metadata/name"), status).await,
        }
    }

    /// Merges into the status of an object.
    pub(crate) async fn set_status(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> kube::Result<DynamicObject> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api(kind, namespace).patch_status(name, &PatchParams::default(), &patch).await
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone<K>(&self, what: &str, api: &Api<K>, name: &str) -> Result<()>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        wait::until(&format!("{what} to be gone"), LIMIT, async || {
            Ok(match api.get_opt(name).await? {
                None => Look::Done(()),
                Some(object) => Look::NotYet(format!("{object:?}")),
            })
        })
        .await
    }
}

/// An object of no type of ours, as YAML has it.
pub(crate) fn dynamic(object: &Value) -> DynamicObject {
    let mut object = object.clone();
    // The API server ignores a status on creation; it would be refused nowhere, and say nothing.
    object.as_object_mut().map(|members| members.remove("status"));
    serde_json::from_value(object).expect("cases are Kubernetes objects")
}

/// Tries as a dry run until it is refused, as a new policy and what it looks at take a moment to be in force, and then for
/// good; what the API server says.
pub(crate) async fn refused<T>(what: &str, attempt: impl AsyncFn(bool) -> kube::Result<T>) -> Result<Status> {
    wait::until(&format!("{what} to be refused"), LIMIT, async || {
        Ok(match attempt(true).await {
            Err(kube::Error::Api(_)) => Look::Done(()),
            Err(error) => bail!("{what}: {error}"),
            Ok(_) => Look::NotYet("it was let through".to_owned()),
        })
    })
    .await?;
    refusal(what, attempt(false).await)
}

/// Tries as a dry run until it is let through, and then for good.
pub(crate) async fn let_through<T>(what: &str, attempt: impl AsyncFn(bool) -> kube::Result<T>) -> Result<T> {
    wait::until(&format!("{what} to be let through"), LIMIT, async || {
        Ok(match attempt(true).await {
            Ok(_) => Look::Done(()),
            Err(kube::Error::Api(status)) => Look::NotYet(status.message),
            Err(error) => bail!("{what}: {error}"),
        })
    })
    .await?;
    attempt(false).await.with_context(|| what.to_owned())
}

/// What the API server said against it.
pub(crate) fn refusal<T>(what: &str, outcome: kube::Result<T>) -> Result<Status> {
    match outcome {
        Err(kube::Error::Api(status)) => Ok(*status),
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what}: it was let through"),
    }
}

/// A reference by which `owner` owns something.
pub(crate) fn owned_by(owner: &DynamicObject) -> Value {
    let types = owner.types.clone().unwrap_or_default();
    json!([{ "apiVersion": types.api_version, "kind": types.kind, "name": owner.meta().name, "uid": owner.meta().uid }])
}
