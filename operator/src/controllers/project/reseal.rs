//! What is sealed with another data key than the one in force: found, and sealed again, one write each.

use fleetform_crds::Project;

use super::encryption::{self, BATCH, KeyFacts, Stale};
use crate::cache::Name;
use crate::context::Context;
use crate::crypto::SealingKey;
use crate::error::{Class, Error, Result};
use crate::gateway::live;
use crate::people::Profile;
use crate::reconcile::names;
use crate::revisions;

/// What is known of the keys of a project; one that it lacks is made.
pub(super) async fn facts(context: &Context, project: &Project) -> KeyFacts {
    let in_force = project.data_keys().first().map(|key| key.id.as_str());
    let open = context.vault.keys(project).map(|keys| Some(keys.current().to_string().as_str()) == in_force);
    let made = match encryption::wants(project, &open) {
        Some(wanted) if project.metadata.deletion_timestamp.is_none() => {
            Some(context.vault.make(project, &wanted).await)
        }
        _ => None,
    };
    let namespace = Name::of(project).namespace;
    KeyFacts {
        open,
        made,
        stale: if project.data_keys().len() > 1 && open == Ok(true) {
            stale(context, &namespace, in_force)
        } else {
            Vec::new()
        },
        unreadable: context.world.users.unreadable_in(&namespace) > 0,
        now: context.clock.now(),
    }
}

fn stale(context: &Context, namespace: &str, in_force: Option<&str>) -> Vec<Stale> {
    let (users, secrets) = (context.world.users.in_namespace(namespace), context.world.secrets.in_namespace(namespace));
    let users = users.iter().filter(|user| {
        let id = SealingKey::id_on(&user.spec.sealed_profile).map(|id| id.to_string());
        id.as_deref() != in_force
    });
    let revisions = secrets.iter().filter(|secret| {
        let labels = secret.metadata.labels.as_ref();
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
        label(names::SECRET_LABEL) == Some(names::REVISION) && label(names::SEALING_KEY_LABEL) != in_force
    });
    let users = users.map(|user| Stale::User(Name::of(&**user).name));
    users.chain(revisions.map(|secret| Stale::Revision(Name::of(&**secret).name))).take(BATCH).collect()
}

/// Seals one thing again. What does not open stays as it is, and holds the keys before where they are.
pub(super) async fn reseal(context: &Context, namespace: &str, stale: &Stale) -> Result<()> {
    let (keys, random) = (context.keys(namespace)?, context.clock.random());
    let outcome = match stale {
        Stale::User(name) => {
            let name = Name::new(namespace, name);
            let Some(user) = context.world.users.get(&name) else { return Ok(()) };
            let unreadable = |why: crate::people::Unreadable| Error::Unreadable {
                what: format!("EnrolledUser {name}"),
                why: why.to_string(),
            };
            let profile = Profile::open(&keys, &user).map_err(unreadable)?;
            let sealed = profile.seal(&keys, &name.name, random);
            context.executor.reseal_user(&user, &sealed).await
        }
        Stale::Revision(name) => {
            let name = Name::new(namespace, name);
            let Some(secret) = live::secret(&context.client, &name).await? else { return Ok(()) };
            let configuration = revisions::open(&keys, &secret)
                .map_err(|why| Error::Unreadable { what: format!("Secret {name}"), why })?;
            let sealed = revisions::seal(&keys, &name.name, &configuration, random);
            context.executor.reseal_revision(&secret, keys.current(), &sealed).await
        }
    };
    match outcome {
        // Gone, or changed: whoever is still there is found next time.
        Err(error) if matches!(error.class(), Class::Gone | Class::Conflict) => Ok(()),
        outcome => outcome,
    }
}
