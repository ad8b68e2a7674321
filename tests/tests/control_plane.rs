//! The control plane is a real one: what it stores outlives its API server, its controllers work, and RBAC and policies bite.
//!
//! One control plane for all of it, as starting one takes seconds.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_e2e::control_plane::{Options, client_of};
use fleetform_e2e::wait::{self, Look};
use fleetform_e2e::{Component, ControlPlane, namespace};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_is_a_real_one() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.kube_client();
    it_says_which_kubernetes_it_is(&client).await?;
    a_service_account_is_who_its_token_says_and_may_what_rbac_says(&plane).await?;
    a_token_for_an_audience_is_good_for_it_alone(&plane).await?;
    cluster_roles_are_aggregated(&client).await?;
    what_is_owned_goes_with_its_owner(&client).await?;
    a_policy_bites_and_has_a_status(&client).await?;
    what_is_stored_outlives_each_component(&plane).await?;
    a_deleted_namespace_goes_with_what_is_in_it(&client).await?;
    the_audit_log_has_who_did_what(&plane).await?;
    nothing_of_it_is_left(plane)
}

async fn it_says_which_kubernetes_it_is(client: &Client) -> Result<()> {
    let version = client.apiserver_version().await?;
    ensure!(version.major == "1" && !version.minor.is_empty(), "helm and others read this: {version:?}");
    ensure!(version.git_version.starts_with("v1."), "helm and others read this: {version:?}");
    Ok(())
}

async fn a_service_account_is_who_its_token_says_and_may_what_rbac_says(plane: &ControlPlane) -> Result<()> {
    let admin = plane.kube_client();
    let ns = new_namespace(&admin, "rbac").await?;
    create::<ServiceAccount>(&admin, &ns, json!({"metadata": {"name": "reader"}})).await?;
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    create::<Role>(&admin, &ns, json!({"metadata": {"name": "reader"}, "rules": rules})).await?;
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": ns}],
    });
    create::<RoleBinding>(&admin, &ns, binding).await?;

    let reader = client_of(&plane.kubeconfig_for_service_account(&ns, "reader").await?).await?;
    let me: SelfSubjectReview =
        Api::all(reader.clone()).create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = me.status.and_then(|status| status.user_info).and_then(|user| user.username);
    ensure!(user == Some(format!("system:serviceaccount:{ns}:reader")), "it is {user:?}");

    let config_maps: Api<ConfigMap> = Api::namespaced(reader.clone(), &ns);
    wait::until("the role to be in force", LIMIT, async || {
        Ok(match config_maps.list(&ListParams::default()).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    let secrets: Api<Secret> = Api::namespaced(reader.clone(), &ns);
    ensure!(status_code(secrets.list(&ListParams::default()).await) == 403, "it reads Secrets without a right to");
    let elsewhere: Api<ConfigMap> = Api::namespaced(reader, "kube-system");
    ensure!(status_code(elsewhere.list(&ListParams::default()).await) == 403, "it reads outside its namespace");
    Ok(())
}

async fn a_token_for_an_audience_is_good_for_it_alone(plane: &ControlPlane) -> Result<()> {
    let token = plane.audience_token("default", "default", "fleetform.dev/portal").await?;
    let review = async |audiences: Option<Vec<String>>| -> Result<bool> {
        let spec = TokenReviewSpec { token: token.clone(), audiences };
        let request = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::<TokenReview>::all(plane.kube_client()).create(&PostParams::default(), &request).await?;
        Ok(answer.status.and_then(|status| status.authenticated).unwrap_or(false))
    };
    ensure!(review(Some(vec!["fleetform.dev/portal".to_owned()])).await?, "its own audience refuses it");
    ensure!(!review(None).await?, "the API server's audience takes it");
    Ok(())
}

async fn cluster_roles_are_aggregated(client: &Client) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let name = namespace::unique("aggregated");
    let rights = json!([{"apiGroups": ["example.org"], "resources": [name], "verbs": ["get"]}]);
    let labels = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let role = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "rules": rights}))?;
    roles.create(&PostParams::default(), &role).await?;
    wait::until("the role to be part of `view`", LIMIT, async || {
        let view = serde_json::to_string(&roles.get("view").await?.rules)?;
        Ok(if view.contains(&name) { Look::Done(()) } else { Look::NotYet("it is not".to_owned()) })
    })
    .await
}

async fn what_is_owned_goes_with_its_owner(client: &Client) -> Result<()> {
    let ns = new_namespace(client, "garbage").await?;
    let owner = create::<ConfigMap>(client, &ns, json!({"metadata": {"name": "owner"}})).await?;
    let reference = owner.controller_owner_ref(&()).context("a stored object can own")?;
    let dependent = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}});
    create::<ConfigMap>(client, &ns, dependent).await?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &ns);
    api.delete("owner", &DeleteParams::background()).await?;
    gone("the owned ConfigMap", &api, "owned").await
}

async fn a_policy_bites_and_has_a_status(client: &Client) -> Result<()> {
    let ns = new_namespace(client, "policy").await?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policy = json!({
        "metadata": {"name": ns},
        "spec": {
            "matchConstraints": {
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
            },
            "validations": [{"expression": "!object.metadata.name.startsWith('bad')", "message": "call it something better"}],
        },
    });
    policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    let binding = json!({"metadata": {"name": ns}, "spec": {"policyName": ns, "validationActions": ["Deny"]}});
    bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;

    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &ns);
    let bad: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "bad"}}))?;
    let attempt = PostParams { dry_run: true, ..PostParams::default() };
    wait::until("the policy to be in force", LIMIT, async || {
        Ok(match api.create(&attempt, &bad).await {
            Err(kube::Error::Api(status)) if status.message.contains("call it something better") => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    create::<ConfigMap>(client, &ns, json!({"metadata": {"name": "good"}})).await?;
    wait::until("the policy to have a status", LIMIT, async || {
        let status = policies.get_status(&ns).await?.status;
        Ok(if status.is_some_and(|status| status.observed_generation == Some(1)) {
            Look::Done(())
        } else {
            Look::NotYet("it has none".to_owned())
        })
    })
    .await
}

async fn what_is_stored_outlives_each_component(plane: &ControlPlane) -> Result<()> {
    let client = plane.kube_client();
    let ns = new_namespace(&client, "restart").await?;
    let data = json!({"metadata": {"name": "kept"}, "data": {"key": "value"}});
    let before = create::<ConfigMap>(&client, &ns, data).await?;
    let api: Api<ConfigMap> = Api::namespaced(client, &ns);
    for component in Component::ALL {
        let pid = plane.pid(component).with_context(|| format!("{component} runs"))?;
        plane.kill(component)?;
        ensure!(plane.pid(component).is_none(), "{component} is dead");
        for other in Component::ALL.into_iter().filter(|other| *other != component) {
            ensure!(plane.pid(other).is_some(), "{other} died with {component}");
        }
        plane.start_component(component).await?;
        ensure!(plane.pid(component).is_some_and(|new| new != pid), "{component} is a new process");
        ensure!(plane.start_component(component).await.is_err(), "{component} runs already");
        let after = wait::until("the ConfigMap to be readable again", LIMIT, async || {
            Ok(match api.get("kept").await {
                Ok(found) => Look::Done(found),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        ensure!(after == before, "it changed while {component} was away: {after:?}");
    }
    Ok(())
}

async fn a_deleted_namespace_goes_with_what_is_in_it(client: &Client) -> Result<()> {
    let ns = new_namespace(client, "deletion").await?;
    create::<ConfigMap>(client, &ns, json!({"metadata": {"name": "inside"}})).await?;
    let api: Api<Namespace> = Api::all(client.clone());
    api.delete(&ns, &DeleteParams::default()).await?;
    gone("the namespace", &api, &ns).await
}

async fn the_audit_log_has_who_did_what(plane: &ControlPlane) -> Result<()> {
    let ns = new_namespace(&plane.kube_client(), "audited").await?;
    let event = wait::until("the creation to be in the audit log", LIMIT, async || {
        let log = fs::read_to_string(plane.audit_log())?;
        let found = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find(|event| {
            event["verb"] == "create"
                && event["objectRef"]["resource"] == "namespaces"
                && event["objectRef"]["name"] == ns
        });
        Ok(found.map_or_else(|| Look::NotYet(format!("{} bytes without it", log.len())), Look::Done))
    })
    .await?;
    ensure!(event["user"]["username"] == "admin" && event["user"]["groups"][0] == "system:masters", "{event}");
    ensure!(event["responseStatus"]["code"] == 201 && event["stage"] == "ResponseComplete", "{event}");
    ensure!(event.get("requestObject").is_none(), "bodies are where secrets are: {event}");
    Ok(())
}

fn nothing_of_it_is_left(plane: ControlPlane) -> Result<()> {
    let pids: Vec<_> = Component::ALL.into_iter().filter_map(|component| plane.pid(component)).collect();
    let dir = plane.dir().to_owned();
    ensure!(pids.len() == Component::ALL.len(), "all run to the end");
    drop(plane);
    for pid in pids {
        ensure!(!fs::exists(format!("/proc/{pid}"))?, "process {pid} is left");
    }
    ensure!(std::env::var_os("FLEETFORM_KEEP").is_some() || !dir.exists(), "{} is left", dir.display());
    Ok(())
}

async fn new_namespace(client: &Client, prefix: &str) -> Result<String> {
    let name = namespace::unique(prefix);
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.clone());
    namespace.metadata.labels = Some(BTreeMap::from([("fleetform.dev/test".to_owned(), "true".to_owned())]));
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(name)
}

async fn create<K>(client: &Client, namespace: &str, object: serde_json::Value) -> Result<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    K::DynamicType: Default,
{
    let object: K = serde_json::from_value(object)?;
    Ok(Api::<K>::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await?)
}

async fn gone<K>(what: &str, api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    wait::until(&format!("{what} to be gone"), LIMIT, async || {
        Ok(match api.get_opt(name).await? {
            None => Look::Done(()),
            Some(object) => Look::NotYet(format!("{object:?}")),
        })
    })
    .await
}

/// The HTTP status of an answer; 0 when it was none.
fn status_code<T>(answer: kube::Result<T>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(_) => 0,
    }
}
