//! Alerts: what people say of them, and how the machine is meanwhile.

pub mod plan;

use std::time::Duration;

use crate::cache::Name;
use crate::context::Context;
use crate::error::Result;
use crate::events;
use crate::reconcile::plan::Action;
use plan::Facts;

/// Brings the alert of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(alert) = world.alerts.get(name) else { return Ok(None) };
    let asset = world.assets.get(&Name::new(&name.namespace, &alert.spec.asset_ref.name));
    let position = asset.as_ref().and_then(|asset| asset.position(&alert.spec.position));
    let facts = Facts { position, history: context.history(), now: context.clock.now() };
    let plan = plan::plan(&alert, &facts);
    for action in &plan.actions {
        match action {
            Action::KeepEvents { facts } => events::keep_of_alert(context, &alert, facts).await?,
            Action::PatchStatus(patch) => world.own_alert(context.executor.patch_status(&*alert, patch).await?),
            other => unreachable!("an alert's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}
