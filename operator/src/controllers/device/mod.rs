//! Device instances: configuration versions, activation codes, and what devices report.

pub mod configuration;
pub mod plan;
pub mod presence;
pub mod redeem;

use std::time::Duration;

use fleetform_crds::DeviceInstance;

use crate::activation::code::CodeSecretMeta;
use crate::cache::Name;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};
use plan::Facts;

/// Brings the device instance of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(device) = world.devices.get(name) else { return Ok(None) };
    let in_namespace = |other: &str| Name::new(&name.namespace, other);
    let site = in_namespace(&device.spec.site_ref.name);
    let template = device.template_name().map(in_namespace);
    let now = context.clock.now();
    let code = world.secrets.get(&in_namespace(&names::code_secret(&name.name)));
    let mut facts = Facts {
        installation: &context.settings.installation,
        mint: &context.mint,
        project: world.project(&name.namespace),
        site: world.sites.find(&site),
        template: template.as_ref().map(|name| world.templates.find(name)),
        code: code.as_deref().and_then(CodeSecretMeta::read),
        name_taken: false,
        liveness: device.association().map(|association| context.table.liveness(&association.id, now)),
        nonce: context.clock.random(),
        now,
    };
    match execute(context, &device, plan::plan(&device, &facts)).await {
        // Only trying tells: Secrets of others are not watched.
        Err(Error::NameTaken { .. }) => {
            facts.name_taken = true;
            execute(context, &device, plan::plan(&device, &facts)).await
        }
        executed => executed,
    }
}

async fn execute(context: &Context, device: &DeviceInstance, plan: Plan) -> Result<Option<Duration>> {
    let namespace = Name::of(device).namespace;
    for action in &plan.actions {
        match action {
            Action::StoreCode(code) => context.executor.store_code(device, code).await?,
            Action::DeleteSecret { name: secret, uid } => {
                context.executor.delete_secret(&Name::new(&namespace, secret), uid).await?;
            }
            Action::PatchStatus(patch) => {
                context.world.own_device(context.executor.patch_status(device, patch).await?);
            }
            Action::Publish { reason, note } => context.executor.publish(device, reason.as_str(), note).await,
            other @ Action::CreateRevision(_) => unreachable!("a device instance's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}

#[cfg(test)]
mod tests;
