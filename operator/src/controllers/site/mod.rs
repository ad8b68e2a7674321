//! Sites: ids, and what stands there.

pub mod plan;

use std::time::Duration;

use crate::cache::{Kind, Name};
use crate::context::Context;
use crate::controllers::quota::Quotas;
use crate::error::Result;
use crate::queue::Key;
use crate::reconcile::plan::Action;
use plan::Facts;

/// Brings the site of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    // No code is redeemed between looking at how many devices are active and storing that.
    let _no_redeem = context.site_locks.lock(name).await;
    let Some(site) = world.sites.get(name) else { return Ok(None) };
    let devices = world.devices.in_namespace(&name.namespace);
    let project = world.project(&name.namespace);
    let quotas = Quotas::of(context);
    let now = context.clock.now();
    let facts = Facts {
        installation: &context.settings.installation,
        over_quota: project.here().and_then(|project| quotas.site(project, name)),
        exceeded: project.here().and_then(|project| quotas.exceeded_at(project, name)),
        assets: world.machines.assets.members(name).len(),
        project,
        devices: devices.iter().filter(|device| device.spec.site_ref.name == name.name).map(|d| &**d).collect(),
        missing_address: site
            .spec
            .address_from
            .as_ref()
            .map(|secret| secret.name.clone())
            .filter(|secret| world.address_secrets.get(&Name::new(&name.namespace, secret)).is_none()),
        unreadable: world.devices.unreadable_in(&name.namespace) > 0,
        redeeming: site.metadata.uid.as_deref().is_some_and(|uid| context.table.redeeming(uid, now)),
        now,
    };
    let plan = plan::plan(&site, &facts);
    for action in &plan.actions {
        match action {
            Action::PatchStatus(patch) => world.own_site(context.executor.patch_status(&*site, patch).await?),
            other => unreachable!("a site's plan has no {other:?}"),
        }
    }
    if let Some(project) = facts.project.here() {
        // Room was made, or taken: whoever that concerns looks for itself.
        for device in quotas.devices_that_say_otherwise(project, name, &facts.devices) {
            context.queue.add(Key::new(Kind::DeviceInstance, device));
        }
        for asset in quotas.assets_that_say_otherwise(project, name) {
            context.queue.add(Key::new(Kind::Asset, asset));
        }
    }
    Ok(plan.look_again)
}
