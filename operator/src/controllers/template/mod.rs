//! Templates: their revisions, and who uses them.

pub mod plan;

use std::time::Duration;

use crate::cache::{Found, Name};
use crate::context::Context;
use crate::error::Result;
use crate::reconcile::names;
use crate::reconcile::plan::Action;
use plan::Facts;

/// Brings the template of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(template) = world.templates.get(name) else { return Ok(None) };
    let project = world.project(&name.namespace);
    let stored = template.status.as_ref().and_then(|status| status.revision).is_some_and(|revision| {
        let uid = template.metadata.uid.as_deref().unwrap_or_default();
        let secret = names::revision_secret(&name.name, uid, revision);
        world.secrets.get(&Name::new(&name.namespace, secret)).is_some()
    });
    let devices = world.devices.in_namespace(&name.namespace);
    let facts = Facts {
        installation: &context.settings.installation,
        project: project.clone(),
        stored,
        devices: devices.iter().filter(|d| d.template_name() == Some(name.name.as_str())).map(|d| &**d).collect(),
        now: context.clock.now(),
    };
    let plan = plan::plan(&template, &facts);
    for action in &plan.actions {
        match (action, &project) {
            (Action::CreateRevision(revision), Found::Here(project)) => {
                context.executor.create_revision(project, revision).await?;
            }
            (Action::PatchStatus(patch), _) => {
                world.own_template(context.executor.patch_status(&*template, patch).await?);
            }
            (other, _) => unreachable!("a template's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}
