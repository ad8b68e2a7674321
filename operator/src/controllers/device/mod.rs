//! Device instances: configuration versions, activation codes, and what devices report.

pub mod configuration;
pub mod plan;
pub mod presence;
pub mod redeem;

use std::time::Duration;

use crate::activation::code::StoredCode;
use crate::cache::Name;
use crate::context::Context;
use crate::error::Result;
use crate::reconcile::names;
use crate::reconcile::plan::Action;
use plan::Facts;

/// Brings the device instance of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(device) = world.devices.get(name) else { return Ok(None) };
    let in_namespace = |other: &str| Name::new(&name.namespace, other);
    let project = world.project(&name.namespace);
    let site = in_namespace(&device.spec.site_ref.name);
    let template = device.template_name().map(in_namespace);
    let now = context.clock.now();
    let code = world.secrets.get(&in_namespace(&names::code_secret(&name.name)));
    let facts = Facts {
        installation: &context.settings.installation,
        mint: &context.mint,
        project: project.as_deref(),
        site: world.sites.find(&site),
        template: template.as_ref().map(|name| world.templates.find(name)),
        code: code.as_deref().and_then(StoredCode::read),
        liveness: device.association().map(|association| context.table.liveness(&association.id, now)),
        nonce: context.clock.random(),
        now,
    };
    let plan = plan::plan(&device, &facts);
    for action in &plan.actions {
        match action {
            Action::ApplyCode(code) => context.executor.apply_code(&device, code).await?,
            Action::DeleteSecret { name: secret, uid } => {
                context.executor.delete_secret(&in_namespace(secret), uid).await?;
            }
            Action::PatchStatus(patch) => {
                world.own_device(context.executor.patch_status(&*device, patch).await?);
            }
            Action::Publish { reason, note } => context.executor.publish(&*device, reason.as_str(), note).await,
            other @ Action::CreateRevision(_) => unreachable!("a device instance's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}

#[cfg(test)]
mod tests;
