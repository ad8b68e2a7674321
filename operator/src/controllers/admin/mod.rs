//! People and groups that have roles in a project: who they are, by its directory, and the `RoleBindings` that give them the roles.

pub mod plan;

use std::time::Duration;

use fleetform_crds::AdminUser;
use fleetform_crds::condition::Reason;
use fleetform_domain::admin::Role;
use k8s_openapi::api::rbac::v1::RoleBinding;

use super::{Obstacle, no_project};
use crate::cache::{Found, Name};
use crate::context::Context;
use crate::directory::{Lookup, native};
use crate::error::{Error, Result};
use crate::guard;
use crate::reconcile::execute::Released;
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};
use plan::{Bound, Facts};

/// How long until it is looked again whether the policy is there, or a name is free: neither is watched.
const BLOCKED: Duration = Duration::from_secs(10);

/// Brings the admin user of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let Some(user) = context.world.admins.get(name) else { return Ok(None) };
    let mut facts = facts(context, &user, name).await?;
    let mut plan = plan::plan(&user, &facts);
    if let Err(error) = execute(context, &user, name, &plan).await {
        let Error::NameTaken { what } = error else { return Err(error) };
        let message =
            format!("cannot {what}, as somebody else's is called so: delete it, or give it or this another name");
        facts.obstacle = Some(Obstacle::stalls(Reason::NameTaken, message));
        plan = plan::plan(&user, &facts);
        execute(context, &user, name, &plan).await?;
    }
    let is_looked_at = |reason| matches!(reason, Reason::PolicyMissing | Reason::NameTaken);
    let blocked = facts.obstacle.is_some_and(|obstacle| is_looked_at(obstacle.reason));
    Ok(plan.look_again.or(blocked.then_some(BLOCKED)))
}

async fn execute(context: &Context, user: &AdminUser, name: &Name, plan: &Plan) -> Result<()> {
    let (world, executor) = (&context.world, &context.executor);
    for action in &plan.actions {
        match action {
            Action::CreatePerson(person) => executor.create_person(&name.namespace, person).await?,
            Action::Hold { finalizer } => world.own_admin(executor.hold(user, finalizer).await?),
            Action::Bind(draft) => {
                executor.bind(user, draft, &context.settings.role_prefix).await?;
                tracing::info!(admin = %name, role = draft.role.as_str(), "a role is given");
            }
            Action::BindTo { name: binding, uid, subjects } => {
                executor.bind_to(&Name::new(&name.namespace, binding), uid, subjects).await?;
            }
            Action::DeleteBinding { name: binding, uid } => {
                executor.delete_binding(&Name::new(&name.namespace, binding), uid).await?;
                tracing::info!(admin = %name, binding, "a role is taken");
            }
            Action::PatchStatus(patch) => world.own_admin(executor.patch_status(user, patch).await?),
            Action::Release { finalizer } => match executor.release("adminusers", user, finalizer).await? {
                Released::Not => {}
                Released::Left(left) => world.own_admin(*left),
                Released::Gone => world.forget_admin(name),
            },
            other => unreachable!("an admin user's plan has no {other:?}"),
        }
    }
    Ok(())
}

async fn facts(context: &Context, user: &AdminUser, name: &Name) -> Result<Facts> {
    let (world, now) = (&context.world, context.clock.now());
    let prefix = &context.settings.role_prefix;
    let project = world.project(&name.namespace);
    let ends = match &project {
        Found::Here(project) => project.metadata.deletion_timestamp.is_some(),
        Found::Unreadable(_) => false,
        // A project that is gone has no Admins.
        Found::Absent => true,
    };
    let obstacle = match project {
        Found::Absent => Some(no_project(&name.namespace)),
        Found::Unreadable(why) => {
            let message = format!("the Project of this namespace cannot be read: {why}");
            Some(Obstacle::waits(Reason::ProjectUnreadable, message))
        }
        Found::Here(_) if context.guard.is_in_place(&context.client, prefix, now).await? => None,
        Found::Here(_) => {
            let message = format!(
                "no roles are given without the ValidatingAdmissionPolicy {} and a binding of its name that denies: install the \
                 chart with policies.install",
                guard::policy_name(prefix)
            );
            Some(Obstacle::waits(Reason::PolicyMissing, message))
        }
    };
    let people = world.people.in_namespace(&name.namespace);
    let lookup = match (&user.spec.person, &user.spec.group) {
        (Some(person), _) => native::find_person(&people, person),
        (None, Some(group)) => native::find_group(&people, group),
        (None, None) => Lookup::Impossible("spec: name either a person or a group".to_owned()),
    };
    let admins = world.admins.in_namespace(&name.namespace);
    let another_admin = admins.iter().any(|other| other.metadata.uid != user.metadata.uid && other.is_lasting_admin());
    let bindings = world.bindings.in_namespace(&name.namespace);
    let bound = bindings.iter().filter(|binding| is_of(binding, user)).map(|binding| bound(binding, prefix)).collect();
    Ok(Facts { obstacle, ends, lookup, bound, another_admin, now })
}

fn is_of(binding: &RoleBinding, user: &AdminUser) -> bool {
    binding.metadata.owner_references.iter().flatten().any(|owner| Some(&owner.uid) == user.metadata.uid.as_ref())
}

fn bound(binding: &RoleBinding, prefix: &str) -> Bound {
    let role_of = |role: &Role| binding.role_ref.name == names::cluster_role(prefix, *role);
    Bound {
        name: binding.metadata.name.clone().unwrap_or_default(),
        uid: binding.metadata.uid.clone().unwrap_or_default(),
        role: Role::ALL.into_iter().find(role_of).filter(|_| binding.role_ref.kind == "ClusterRole"),
        subjects: binding.subjects.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
