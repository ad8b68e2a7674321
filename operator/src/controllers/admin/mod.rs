//! People and groups that have roles in a project or at a site: who they are, by its directory, and the Roles and `RoleBindings` that let
//! them do what they may.

pub mod grant;
pub mod invite;
pub mod plan;

use std::time::Duration;

use fleetform_crds::condition::Reason;
use fleetform_crds::project::DirectoryProvider;
use fleetform_crds::{AdminUser, Project};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{Resource, ResourceExt as _};

use super::quota::Quotas;
use super::{Obstacle, Unmet, no_project, stands};
use crate::cache::{Found, Name, World, grant_owner};
use crate::context::Context;
use crate::directory::trouble::lacks;
use crate::directory::{Lookup, NewPerson};
use crate::error::{Error, Result};
use crate::guard::Policy;
use crate::invitation::drafted::{By, Drafted};
use crate::reconcile::execute::Released;
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};
use invite::Post;
use plan::{Bound, Facts, OwnRole};

/// How long until it is looked again whether the policy is there, or a name is free: neither is watched.
const BLOCKED: Duration = Duration::from_secs(10);

/// How long until it is tried again to store a letter that was refused.
const LETTER_AGAIN: Duration = Duration::from_mins(1);

/// Brings the admin user of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let Some(user) = context.world.admins.get(name) else { return Ok(None) };
    let mut facts = facts(context, &user, name).await?;
    let mut plan = plan::plan(&user, &facts);
    match execute(context, &user, name, &plan).await {
        Ok(None) => {}
        // The role does not wait for the letter.
        Ok(Some(why)) => {
            facts.post = facts.post.map(|post| Post { not_stored: Some(why), ..post });
            plan = plan::plan(&user, &facts);
            plan.look_again_in(LETTER_AGAIN);
            execute(context, &user, name, &plan).await?;
        }
        Err(Error::NameTaken { what }) => {
            let message =
                format!("cannot {what}, as somebody else's is called so: delete it, or give it or this another name");
            facts.obstacle = Some(Obstacle::stalls(Reason::NameTaken, message));
            plan = plan::plan(&user, &facts);
            execute(context, &user, name, &plan).await?;
        }
        Err(error) => return Err(error),
    }
    let is_looked_at = |reason| matches!(reason, Reason::PolicyMissing | Reason::NameTaken);
    let blocked = facts.obstacle.iter().chain(&facts.barred).any(|obstacle| is_looked_at(obstacle.reason));
    Ok(plan.look_again.or(blocked.then_some(BLOCKED)))
}

/// Does what is planned, up to a letter that cannot be stored: then it gives why.
async fn execute(context: &Context, user: &AdminUser, name: &Name, plan: &Plan) -> Result<Option<(Reason, String)>> {
    let (world, executor) = (&context.world, &context.executor);
    for action in &plan.actions {
        match action {
            Action::CreatePerson(person) => create(context, user, name, person).await?,
            Action::Hold { finalizer } => world.own_admin(executor.hold(user, finalizer).await?),
            Action::CreateRole(draft) => executor.create_role(user, draft).await?,
            Action::DeleteRole { name: role, uid } => {
                executor.delete_role(&Name::new(&name.namespace, role), uid).await?;
            }
            Action::Bind(draft) => {
                executor.bind(user, draft).await?;
                let role = draft.role_ref.name.as_str();
                tracing::info!(admin = %name, role, site = user.site(), "a role is given");
            }
            Action::BindTo { name: binding, uid, subjects } => {
                executor.bind_to(&Name::new(&name.namespace, binding), uid, subjects).await?;
            }
            Action::DeleteBinding { name: binding, uid } => {
                executor.delete_binding(&Name::new(&name.namespace, binding), uid).await?;
                tracing::info!(admin = %name, binding, "a role is taken");
            }
            Action::DraftLetter(draft) => {
                if let Err(error) = executor.draft_letter(user, draft).await {
                    return invite::not_stored(&error).map(Some).ok_or(error);
                }
            }
            Action::DeleteSecret { name: secret, uid } => {
                executor.delete_secret(&Name::new(&name.namespace, secret), uid).await?;
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
    Ok(None)
}

/// Creates somebody in the directory of the project.
async fn create(context: &Context, user: &AdminUser, name: &Name, person: &NewPerson) -> Result<()> {
    let project = match context.world.project(&name.namespace) {
        Found::Here(project) => project,
        Found::Unreadable(_) | Found::Absent => return Ok(()),
    };
    let Some(store) = project.identity_store() else {
        return context.executor.create_person(&name.namespace, person).await;
    };
    context.directories.want(store, user, person);
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
    let (mut obstacle, mut barred) = in_the_way(context, user, name, &project);
    if obstacle.is_none() {
        let needed = Policy::of(user.site().is_some());
        match context.guard.missing(&context.client, prefix, needed, now).await? {
            None => {}
            Some(policy @ Policy::AdminUsers) => obstacle = Some(not_guarded(&policy.name(prefix))),
            // What they may write is narrowed by nothing else: it is taken, too.
            Some(policy @ Policy::SiteScope) => barred = Some(not_guarded(&policy.name(prefix))),
        }
    }
    let Asked { provider, lacking, lookup } = match &project {
        Found::Here(project) => ask(context, project, user),
        Found::Unreadable(_) | Found::Absent => Asked::default(),
    };
    let admins = world.admins.in_namespace(&name.namespace);
    let another_admin = admins.iter().any(|other| other.metadata.uid != user.metadata.uid && other.is_lasting_admin());
    let bindings = world.bindings.in_namespace(&name.namespace);
    let bound = bindings.iter().filter(|binding| is_of(&***binding, user)).map(|binding| bound(binding)).collect();
    let roles = world.roles.in_namespace(&name.namespace);
    let roles = roles.iter().filter(|role| is_of(&***role, user)).map(|role| own(role)).collect();
    let post = match &project {
        Found::Here(project) => Some(post(context, project, user)),
        Found::Unreadable(_) | Found::Absent => None,
    };
    let prefix = prefix.clone();
    Ok(Facts { prefix, obstacle, barred, ends, provider, lacking, lookup, bound, roles, another_admin, post, now })
}

/// What a letter to somebody depends on. Who is written to for the first time wakes the post.
fn post(context: &Context, project: &Project, user: &AdminUser) -> Post {
    let settings = &context.settings.invitations;
    let (sends, drafted) = (settings.mail.is_some(), Drafted::to(user, &context.world));
    let awaited =
        drafted.as_ref().filter(|drafted| sends && drafted.by == By::Server && user.awaits_letter(&drafted.uid));
    Post {
        project: project.spec.display_name.clone(),
        directory: project.identity_store().map(ToOwned::to_owned),
        stationery: settings.stationery.clone(),
        sends,
        delivery: awaited.and_then(|drafted| context.deliveries.of(&drafted.uid)),
        not_stored: None,
        drafted,
    }
}

/// What comes of asking the directory.
struct Asked {
    provider: DirectoryProvider,
    lacking: Option<Obstacle>,
    lookup: Lookup,
}

impl Default for Asked {
    fn default() -> Self {
        Self { provider: DirectoryProvider::default(), lacking: None, lookup: Lookup::Asked }
    }
}

fn ask(context: &Context, project: &Project, user: &AdminUser) -> Asked {
    let provider = project.directory_provider();
    let Some(lacking) = context.directories.lacking(project) else { return Asked { provider, ..Asked::default() } };
    let lacking = lacks(&lacking).map(|(reason, message)| {
        Obstacle::waits(reason, format!("nobody is added until the project's directory is ready: {message}"))
    });
    Asked { provider, lacking, lookup: context.directories.find(&context.world, project, user) }
}

/// What keeps their role as it is, and what takes it.
fn in_the_way(
    context: &Context,
    user: &AdminUser,
    name: &Name,
    project: &Found<Project>,
) -> (Option<Obstacle>, Option<Obstacle>) {
    let Found::Here(here) = project else {
        let obstacle = match project {
            Found::Unreadable(why) => {
                let message = format!("the Project of this namespace cannot be read: {why}");
                Obstacle::waits(Reason::ProjectUnreadable, message)
            }
            // Where there is no project nobody has a role.
            _ => return (None, Some(no_project(&name.namespace))),
        };
        return (Some(obstacle), None);
    };
    let Some(site) = user.site() else { return (None, None) };
    let found = context.world.sites.find(&Name::new(&name.namespace, site));
    match stands(Some(&name.namespace), project, site, &found, "delete this AdminUser") {
        Err(Unmet::Unreadable(obstacle)) => (Some(obstacle), None),
        Err(Unmet::Absent(obstacle)) => (None, Some(obstacle)),
        Ok(()) => (None, Quotas::of(context).admin(here, user)),
    }
}

fn not_guarded(policy: &str) -> Obstacle {
    let message = format!(
        "no roles are given without the ValidatingAdmissionPolicy {policy} and a binding of its name that denies: install the chart with \
         policies.install"
    );
    Obstacle::waits(Reason::PolicyMissing, message)
}

/// Whether a Role or RoleBinding is somebody's: they own it, or nobody does and it is called as one of theirs. An `AdminUser` that is deleted
/// without its dependents leaves such ones.
fn is_of<K: Resource<DynamicType = ()>>(grant: &K, user: &AdminUser) -> bool {
    match grant_owner(grant) {
        Some(owner) => Some(&owner.uid) == user.metadata.uid.as_ref(),
        None => names::is_grant_of(&user.name_any(), &grant.name_any()),
    }
}

/// A Role or RoleBinding that is nobody's: nobody gives it, and nobody would take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Whether it is a Role.
    pub is_role: bool,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Roles and `RoleBindings` of a namespace that are nobody's.
pub fn orphans(world: &World, namespace: &str) -> Vec<Orphan> {
    let users = world.admins.in_namespace(namespace);
    // An AdminUser that does not read may be whose they are.
    if world.admins.unreadable_in(namespace) > 0 {
        return Vec::new();
    }
    let (bindings, roles) = (world.bindings.in_namespace(namespace), world.roles.in_namespace(namespace));
    let bindings = bindings
        .iter()
        .filter(|binding| grant_owner(&***binding).is_none() && !users.iter().any(|user| is_of(&***binding, user)))
        .map(|binding| Orphan { is_role: false, name: binding.name_any(), uid: binding.uid().unwrap_or_default() });
    let roles = roles
        .iter()
        .filter(|role| grant_owner(&***role).is_none() && !users.iter().any(|user| is_of(&***role, user)))
        .map(|role| Orphan { is_role: true, name: role.name_any(), uid: role.uid().unwrap_or_default() });
    bindings.chain(roles).collect()
}

fn bound(binding: &RoleBinding) -> Bound {
    Bound {
        name: binding.name_any(),
        uid: binding.uid().unwrap_or_default(),
        role_ref: binding.role_ref.clone(),
        subjects: binding.subjects.clone().unwrap_or_default(),
    }
}

fn own(role: &Role) -> OwnRole {
    OwnRole {
        name: role.name_any(),
        uid: role.uid().unwrap_or_default(),
        rules: role.rules.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
