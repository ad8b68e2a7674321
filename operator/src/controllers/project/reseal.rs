//! What is sealed with another data key than the one in force: found, and sealed again, one write each.

use fleetform_crds::Project;
use fleetform_crds::project::DataKey;

use super::encryption::{self, BATCH, KeyFacts, Stale};
use crate::cache::Name;
use crate::context::Context;
use crate::crypto::SealingKey;
use crate::error::{Class, Result};
use crate::gateway::live;
use crate::people::Profile;
use crate::reconcile::names;
use crate::revisions;
use crate::vault::data_keys::DataKeys;

/// What is known of the keys of a project; one that it lacks is made.
pub(super) async fn facts(context: &Context, project: &Project) -> KeyFacts {
    let keys = context.vault.keys(project);
    let open = keys.as_ref().map(|_| context.vault.in_force_since(project)).map_err(|why| *why);
    let made = match encryption::wants(project, &open) {
        Some(wanted) if project.metadata.deletion_timestamp.is_none() => {
            Some(context.vault.make(project, &wanted).await)
        }
        _ => None,
    };
    let stale = match (&keys, project.data_keys()) {
        (Ok(keys), [_, before @ ..]) if matches!(open, Ok(Some(_))) && !before.is_empty() => {
            stale(context, project, keys, before)
        }
        _ => Vec::new(),
    };
    let unreadable = context.world.users.unreadable_in(&Name::of(project).namespace) > 0;
    KeyFacts { open, made, stale, unreadable, now: context.clock.now() }
}

/// What is sealed with one of the keys before. Somebody whom no key opens is nobody's loss: that stays as it is.
fn stale(context: &Context, project: &Project, keys: &DataKeys, before: &[DataKey]) -> Vec<Stale> {
    let namespace = Name::of(project).namespace;
    let (users, secrets) =
        (context.world.users.in_namespace(&namespace), context.world.secrets.in_namespace(&namespace));
    let is_before = |id: &str| before.iter().any(|key| key.id == id);
    let users = users.iter().filter(|user| {
        let id = SealingKey::id_on(&user.spec.sealed_profile).map(|id| id.to_string());
        id.is_some_and(|id| is_before(&id)) && Profile::open(keys, user).is_ok()
    });
    let revisions = secrets.iter().filter(|secret| {
        let labels = secret.metadata.labels.as_ref();
        let label = |name: &str| labels.and_then(|labels| labels.get(name));
        label(names::SECRET_LABEL).is_some_and(|kind| kind == names::REVISION)
            && label(names::SEALING_KEY_LABEL).is_some_and(|id| is_before(id))
    });
    let users = users.map(|user| Stale::User(Name::of(&**user).name));
    users.chain(revisions.map(|secret| Stale::Revision(Name::of(&**secret).name))).take(BATCH).collect()
}

/// Seals one thing again.
pub(super) async fn reseal(context: &Context, namespace: &str, stale: &Stale) -> Result<()> {
    let (keys, random) = (context.keys(namespace)?, context.clock.random());
    let outcome = match stale {
        Stale::User(name) => {
            let name = Name::new(namespace, name);
            let Some(user) = context.world.users.get(&name) else { return Ok(()) };
            let Ok(profile) = Profile::open(&keys, &user) else { return Ok(()) };
            let sealed = profile.seal(&keys, &name.name, random);
            context.executor.reseal_user(&user, &sealed).await
        }
        Stale::Revision(name) => {
            let name = Name::new(namespace, name);
            let Some(secret) = live::secret(&context.client, &name).await? else { return Ok(()) };
            match revisions::open(&keys, &secret) {
                Ok(configuration) => {
                    let sealed = revisions::seal(&keys, &name.name, &configuration, random);
                    context.executor.reseal_revision(&secret, keys.current(), &sealed).await
                }
                Err(why) => {
                    // It is of no use to anybody. The template makes its own anew.
                    tracing::warn!(secret = %name, "a revision that does not open is deleted: {why}");
                    context.executor.delete_secret(&name, secret.metadata.uid.as_deref().unwrap_or_default()).await
                }
            }
        }
    };
    match outcome {
        // Gone, or changed: whoever is still there is found next time.
        Err(error) if matches!(error.class(), Class::Gone | Class::Conflict) => Ok(()),
        outcome => outcome,
    }
}
