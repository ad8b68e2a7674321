//! A door that was deleted while it holds a list of the enrolled users.

use anyhow::Result;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::cases::example;
use super::refusals::Refusals;
use super::{Cluster, Kind, let_through, refused};

/// Who may write instances does not therefore give up on what their devices remember. On one that stays, a finalizer is of no
/// consequence: the operator puts it back.
pub(crate) async fn a_door_that_holds_a_list_is_given_up_by_right(
    cluster: &Cluster,
    refusals: &Refusals,
) -> Result<()> {
    let ns = cluster.namespace("departure", json!({})).await?;
    let editor = cluster.editor(&ns).await?;
    let kind = Kind::DeviceInstance;
    let mut door = example(kind)?;
    door["metadata"]["finalizers"] = json!(["fleetform.dev/enrolled-users"]);
    cluster.store(kind, &ns, &door).await?;
    let api = kind.api(&editor, &ns);
    let patch = async |finalizers: serde_json::Value, dry_run| {
        let change = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        api.patch("example", &PatchParams { dry_run, ..PatchParams::default() }, &change).await
    };
    patch(json!(null), false).await?;
    patch(json!(["fleetform.dev/enrolled-users"]), false).await?;
    cluster.api(kind, &ns).delete("example", &DeleteParams::default()).await?;
    let mut status = refused("a finalizer taken off", async |dry_run| patch(json!(null), dry_run).await).await?;
    status.message = status.message.replace(&ns, "<namespace>");
    refusals.by_policy("take the finalizer off a deleted DeviceInstance without the right to give up", &status);
    cluster.grant(&ns, &["enrolledusers/abandon"]).await?;
    let_through("giving up by right", async |dry_run| patch(json!(null), dry_run).await).await?;
    cluster.gone("the door", &cluster.api(kind, &ns), "example").await
}
