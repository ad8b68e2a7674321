//! Projects: they own what the operator makes in their namespace, and count what is there.

pub mod directory;
pub mod encryption;
pub mod plan;
mod reseal;

use std::collections::HashSet;
use std::time::Duration;

use fleetform_crds::device_instance::TemplateRevision;

use crate::cache::{Kind, Name};
use crate::context::Context;
use crate::controllers::admin;
use crate::controllers::quota::Quotas;
use crate::error::Result;
use crate::queue::Key;
use crate::reconcile::names;
use crate::reconcile::plan::Action;
use directory::DirectoryFacts;
use plan::{Facts, StoredRevision};

/// Brings the project of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(project) = world.projects.get(name) else { return Ok(None) };
    let devices = world.devices.in_namespace(&name.namespace);
    let mut referenced: HashSet<TemplateRevision> = HashSet::new();
    for device in &devices {
        let configuration = device.status.as_ref().and_then(|status| status.configuration.as_ref());
        let revisions =
            configuration.into_iter().flat_map(|c| &c.history).filter_map(|version| version.template.as_ref());
        for revision in revisions {
            if !referenced.contains(revision) {
                referenced.insert(revision.clone());
            }
        }
    }
    for template in world.templates.in_namespace(&name.namespace) {
        let revision = template.status.as_ref().and_then(|status| status.revision);
        if let (Some(uid), Some(name), Some(revision)) = (&template.metadata.uid, &template.metadata.name, revision) {
            referenced.insert(TemplateRevision { uid: uid.clone(), name: name.clone(), revision });
        }
    }
    let now = context.clock.now();
    let keys = reseal::facts(context, &project).await;
    let quotas = Quotas::of(context);
    let facts = Facts {
        installation: &context.settings.installation,
        sites: world.sites.in_namespace(&name.namespace).len(),
        devices: devices.len(),
        active: devices.iter().filter(|device| device.is_active()).count(),
        admins: world.admins.in_namespace(&name.namespace).iter().filter(|user| user.is_lasting_admin()).count(),
        users: world.users.in_namespace(&name.namespace).len() + world.users.unreadable_in(&name.namespace),
        unreadable: world.devices.unreadable_in(&name.namespace) > 0,
        connectivity_known: context.table.settled(now),
        over_quota: quotas.project(name),
        exceeded_sites: quotas.exceeded_sites(&project),
        referenced: referenced.iter().map(|revision| (revision.uid.as_str(), revision.revision)).collect(),
        stored: world.secrets.in_namespace(&name.namespace).iter().filter_map(|s| StoredRevision::read(s)).collect(),
        orphans: admin::orphans(world, &name.namespace),
        keys,
        directory: match (project.identity_store(), context.directories.lacking(&project)) {
            (None, _) => DirectoryFacts::Native,
            (Some(_), None) => DirectoryFacts::Unknown,
            (Some(_), Some(lacking)) => DirectoryFacts::Outside(lacking),
        },
        now,
    };
    let plan = plan::plan(&project, &facts);
    for action in &plan.actions {
        match action {
            Action::DeleteSecret { name: secret, uid } => {
                context.executor.delete_secret(&Name::new(&name.namespace, secret), uid).await?;
            }
            Action::DeleteBinding { name: binding, uid } => {
                context.executor.delete_binding(&Name::new(&name.namespace, binding), uid).await?;
                tracing::info!(project = %name.namespace, binding, "a role that is nobody's any more is taken");
            }
            Action::DeleteRole { name: role, uid } => {
                context.executor.delete_role(&Name::new(&name.namespace, role), uid).await?;
            }
            Action::Reseal(stale) => reseal::reseal(context, &name.namespace, stale).await?,
            Action::PatchStatus(patch) => {
                world.own_project(context.executor.patch_status(&*project, patch).await?);
            }
            other => unreachable!("a project's plan has no {other:?}"),
        }
    }
    // Room was made, or taken: whoever that concerns looks for itself.
    for site in quotas.sites_that_say_otherwise(&project) {
        context.queue.add(Key::new(Kind::Site, site));
    }
    Ok(plan.look_again)
}

impl StoredRevision {
    fn read(secret: &crate::cache::SecretMeta) -> Option<Self> {
        let labels = secret.metadata.labels.as_ref()?;
        if labels.get(names::SECRET_LABEL)? != names::REVISION {
            return None;
        }
        Some(Self {
            name: secret.metadata.name.clone()?,
            uid: secret.metadata.uid.clone()?,
            template_uid: labels.get(names::TEMPLATE_LABEL)?.clone(),
            revision: labels.get(names::REVISION_LABEL)?.parse().ok()?,
            created: secret.metadata.creation_timestamp.as_ref()?.0,
        })
    }
}
