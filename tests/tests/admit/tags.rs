//! Access by tags: who is meant by a binding touches only what carries its tag.

use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::cases::example;
use super::refusals::Refusals;
use super::{Cluster, Kind, dynamic, let_through, refusal, refused};

/// What has the tag may be touched, and nothing else: not before a change, and not after it.
pub(crate) async fn who_is_meant_touches_only_what_carries_the_tag(
    cluster: &Cluster,
    refusals: &Refusals,
) -> Result<()> {
    let ns = cluster.namespace("tags", json!({})).await?;
    let editor = cluster.who_may(&ns, "editor", &["get", "create", "update", "patch", "delete", "use"]).await?;
    let kind = Kind::Site;
    let api = kind.api(&editor, &ns);
    let tagged = |name: &str, tags: Value| -> Result<Value> {
        let mut site = example(kind)?;
        json_patch::merge(&mut site, &json!({ "metadata": { "name": name }, "spec": { "tags": tags } }));
        Ok(site)
    };
    let north = json!([{ "key": "region", "value": "north" }]);
    cluster.store(kind, &ns, &tagged("north", north.clone())?).await?;
    cluster.store(kind, &ns, &tagged("south", json!([{ "key": "region", "value": "south" }]))?).await?;

    // The service accounts of the namespace are a group, the editor among them.
    let group = format!("system:serviceaccounts:{ns}");
    let parameters = json!({
        "metadata": { "name": "north-only" },
        "data": { "group": group, "key": "region", "value": "north" },
    });
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &ns);
    maps.create(&PostParams::default(), &serde_json::from_value(parameters)?).await?;
    let binding = json!({
        "metadata": { "name": ns },
        "spec": {
            "policyName": "fleetform-tag-access",
            "validationActions": ["Deny"],
            "paramRef": { "name": "north-only", "namespace": ns, "parameterNotFoundAction": "Deny" },
            "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": ns } } },
        },
    });
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;

    let describe = Patch::Merge(json!({ "spec": { "description": "Main entrance" } }));
    let patch = async |name: &str, change: &Patch<Value>, dry_run| {
        api.patch(name, &PatchParams { dry_run, ..PatchParams::default() }, change).await
    };
    let mut status =
        refused("a change of what has another tag", async |dry_run| patch("south", &describe, dry_run).await).await?;
    status.message = status.message.replace(&ns, "<namespace>");
    refusals.by_policy("change what has another tag, as a group that may not", &status);
    let_through("a change of what has the tag", async |dry_run| patch("north", &describe, dry_run).await).await?;
    // Neither is a tag put on to reach something, nor taken off to hide it.
    let put_on = patch("south", &Patch::Merge(json!({ "spec": { "tags": north } })), false).await;
    let taken_off = patch("north", &Patch::Merge(json!({ "spec": { "tags": null } })), false).await;
    let new = |name: &str, tags: Value| Ok::<_, anyhow::Error>(dynamic(&tagged(name, tags)?));
    for (what, status) in [
        ("a tag put on", refusal("a tag put on", put_on)?),
        ("a tag taken off", refusal("a tag taken off", taken_off)?),
        ("a deletion", refusal("a deletion", api.delete("south", &DeleteParams::default()).await)?),
        ("a create", refusal("a create", api.create(&PostParams::default(), &new("new", json!([]))?).await)?),
    ] {
        ensure!(status.message.contains("may touch only what has the tag region=north"), "{what}: {}", status.message);
    }
    api.create(&PostParams::default(), &new("new", north)?).await?;
    // Others are not meant.
    cluster.api(kind, &ns).patch("south", &PatchParams::default(), &describe).await?;
    bindings.delete(&ns, &DeleteParams::default()).await?;
    Ok(())
}
