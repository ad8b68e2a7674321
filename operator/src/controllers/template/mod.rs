//! Templates: their revisions, and who uses them.

pub mod plan;
pub mod rollout;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleetform_crds::condition::Reason;
use fleetform_crds::{ConfigTemplate, Project};

use crate::cache::{Found, Kind, Name, SecretMeta, World};
use crate::context::Context;
use crate::controllers::Obstacle;
use crate::error::{Class, Error, Result};
use crate::queue::Key;
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};
use crate::vault::KeyTrouble;
use plan::Facts;

/// How long until it is looked again whether the project has a data key, should nobody say so before.
const AWAITED: Duration = Duration::from_secs(2);

/// Brings the template of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(template) = world.templates.get(name) else { return Ok(None) };
    let project = world.project(&name.namespace);
    let stored = template.status.as_ref().and_then(|status| status.revision).is_some_and(|revision| {
        let uid = template.metadata.uid.as_deref().unwrap_or_default();
        let secret = names::revision_secret(&name.name, uid, revision);
        let found = world.secrets.get(&Name::new(&name.namespace, secret));
        found.is_some_and(|secret| is_sealed_for(&secret, &project))
    });
    let devices = world.devices.in_namespace(&name.namespace);
    let mut facts = Facts {
        installation: &context.settings.installation,
        project: project.clone(),
        stored,
        refused: None,
        zones: zones(world, &template, &name.namespace),
        admitted: template.status.as_ref().and_then(|status| status.revision).map_or_else(HashMap::new, |revision| {
            context.rollouts.admitted(template.metadata.uid.as_deref().unwrap_or_default(), revision)
        }),
        unreadable: world.devices.unreadable_in(&name.namespace) > 0,
        devices: devices.iter().filter(|d| d.template_name() == Some(name.name.as_str())).map(|d| &**d).collect(),
        now: context.clock.now(),
    };
    match execute(context, &template, &project, plan::plan(&template, &facts)).await {
        // Only trying tells: Secrets of others are not watched, and rules of others not known.
        Err(error @ Error::NameTaken { .. }) => {
            facts.refused = Some(Obstacle::waits(Reason::NameTaken, format!("{error}: delete it")));
            execute(context, &template, &project, plan::plan(&template, &facts)).await
        }
        // The key is made, or opened, within moments, and then this is looked at again.
        Err(Error::Closed { trouble: KeyTrouble::NotMade | KeyTrouble::Opening, .. }) => Ok(Some(AWAITED)),
        Err(Error::Closed { trouble, .. }) => {
            let message = format!("the revision cannot be sealed: {trouble}");
            facts.refused = Some(Obstacle::waits(trouble.reason(), message));
            execute(context, &template, &project, plan::plan(&template, &facts)).await
        }
        Err(error) if error.class() == Class::Refused => {
            let message = format!("the Secret with the revision is refused by the API server: {}", error.why());
            facts.refused = Some(Obstacle::waits(Reason::WriteRefused, message));
            execute(context, &template, &project, plan::plan(&template, &facts)).await
        }
        executed => executed,
    }
}

/// Whether a revision is sealed with a data key that its project has. One that is not was made before the project lost its status, and opens
/// for nobody.
fn is_sealed_for(secret: &SecretMeta, project: &Found<Project>) -> bool {
    let Found::Here(project) = project else { return true };
    let labels = secret.metadata.labels.as_ref();
    let with = labels.and_then(|labels| labels.get(names::SEALING_KEY_LABEL));
    project.data_keys().iter().any(|key| Some(&key.id) == with)
}

async fn execute(
    context: &Context,
    template: &ConfigTemplate,
    project: &Found<Project>,
    plan: Plan,
) -> Result<Option<Duration>> {
    for action in &plan.actions {
        match (action, project) {
            (Action::CreateRevision(revision), Found::Here(project)) => {
                let keys = context.keys(&Name::of(template).namespace)?;
                context.executor.create_revision(project, revision, &keys, context.clock.random()).await?;
            }
            (Action::PatchStatus(patch), _) => {
                context.world.own_template(context.executor.patch_status(template, patch).await?);
            }
            (Action::Admit { revision, devices }, _) => admit(context, template, *revision, devices),
            (Action::Publish(news), _) => context.executor.publish(template, news).await,
            (other, _) => unreachable!("a template's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}

/// Time zones of the sites, as far as a rollout asks for them.
fn zones(world: &World, template: &ConfigTemplate, namespace: &str) -> BTreeMap<String, String> {
    let asks = template.spec.rollout.as_ref().is_some_and(|strategy| strategy.maintenance_window.is_some());
    let sites = if asks { world.sites.in_namespace(namespace) } else { Vec::new() };
    sites.iter().filter_map(|site| Some((site.metadata.name.clone()?, site.spec.time_zone.clone()?))).collect()
}

/// Has the devices of the next batch looked at, which may take the revision from now on.
fn admit(context: &Context, template: &ConfigTemplate, revision: u32, devices: &[String]) {
    let uid = template.metadata.uid.as_deref().unwrap_or_default();
    context.rollouts.admit(uid, revision, devices, context.clock.now());
    let namespace = Name::of(template).namespace;
    for device in devices {
        context.queue.add(Key::new(Kind::DeviceInstance, Name::new(&namespace, device)));
    }
}
