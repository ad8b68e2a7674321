//! Pure: what to do about somebody who has, or is to have, a role.

use fleetform_crds::AdminUser;
use fleetform_crds::admin_user::{Invitation, LAST_ADMIN_FINALIZER};
use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::project::DirectoryProvider;
use fleetform_domain::admin::Role;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::grant::{Grant, grant, project_admin};
use super::invite::{self, Invited, Post, invite};
use crate::controllers::{Obstacle, grace_left};
use crate::directory::person::new_person;
use crate::directory::subject::outside_user;
use crate::directory::{DirectoryTrouble, Lookup, NewPerson, Principal};
use crate::reconcile::plan::{Action, Plan};
use crate::reconcile::status;

/// A RoleBinding that somebody has.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What they are bound to.
    pub role_ref: RoleRef,
    /// Who is bound.
    pub subjects: Vec<Subject>,
}

/// A Role that somebody has of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRole {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What it lets them do.
    pub rules: Vec<PolicyRule>,
}

/// What the plan depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the names of the installation's `ClusterRoles` begin with.
    pub prefix: String,
    /// What is in the way of giving or taking any role here: there is no Project, or a policy that guards roles is not in place.
    pub obstacle: Option<Obstacle>,
    /// Why they have no role, whoever they are: the site is not there, enough others have one there, or nothing narrows what they write to it.
    pub barred: Option<Obstacle>,
    /// Whether the namespace or its Project is going, so that no Admin has to stay.
    pub ends: bool,
    /// Whose directory it is.
    pub provider: DirectoryProvider,
    /// What the directory lacks: nobody gets a first role then.
    pub lacking: Option<Obstacle>,
    /// What the directory says.
    pub lookup: Lookup,
    /// The `RoleBindings` that it has.
    pub bound: Vec<Bound>,
    /// The Roles that it has.
    pub roles: Vec<OwnRole>,
    /// Whether somebody else is an Admin, and stays one.
    pub another_admin: bool,
    /// What a letter to them depends on; none while nothing is known of the project.
    pub post: Option<Post>,
    /// Now.
    pub now: Timestamp,
}

/// The plan for an `AdminUser`.
pub fn plan(user: &AdminUser, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    let held = user.metadata.finalizers.iter().flatten().any(|found| found == LAST_ADMIN_FINALIZER);
    let was_admin = facts.bound.iter().any(|bound| bound.role_ref == project_admin(&facts.prefix));
    let is_needed = was_admin && !facts.another_admin && !facts.ends;
    if user.metadata.deletion_timestamp.is_some() {
        if held && is_needed {
            say(&mut plan, user, facts, None, &last_admin("is deleted").statements());
        } else if held {
            take_all(&mut plan, facts);
            plan.actions.push(Action::Release { finalizer: LAST_ADMIN_FINALIZER });
        }
        return plan;
    }
    if let Some(obstacle) = &facts.obstacle {
        say(&mut plan, user, facts, None, &obstacle.statements());
        return plan;
    }
    if let Some(obstacle) = &facts.barred {
        let was_seen = user.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
        if let Some(left) = grace_left(user, facts.now).filter(|_| obstacle.waits && !was_seen) {
            plan.look_again_in(left);
            return plan;
        }
        take_all(&mut plan, facts);
        say(&mut plan, user, facts, Some(&Standing::default()), &obstacle.statements());
        return plan;
    }
    if let Some(lacking) = facts.lacking.as_ref().filter(|_| known(user, facts).is_none()) {
        say(&mut plan, user, facts, Some(&Standing::default()), &lacking.statements());
        return plan;
    }
    let (principal, trouble) = match find(user, facts) {
        Ok(Sought::Here(principal)) => (principal, None),
        Ok(Sought::Asked) => return plan,
        Ok(Sought::Unanswered(trouble)) => {
            // Who has a role is known by that, and may get another one.
            let Some(principal) = known(user, facts) else {
                say(&mut plan, user, facts, None, &trouble.obstacle(false).statements());
                return plan;
            };
            (principal, Some(trouble.obstacle(true)))
        }
        Ok(Sought::Created(person)) => {
            // The directory tells of it, and this is looked at again.
            plan.actions.push(Action::CreatePerson(person));
            return plan;
        }
        Err(obstacle) => {
            // Whoever takes the name next must not find a role waiting for them.
            take_all(&mut plan, facts);
            let standing = Standing { left: was_known(user, facts), ..Standing::default() };
            say(&mut plan, user, facts, Some(&standing), &obstacle.statements());
            return plan;
        }
    };
    let role = user.spec.role;
    if user.is_project_admin() && !held {
        // Before the role, so that no Admin goes unseen; the change brings us back.
        plan.actions.push(Action::Hold { finalizer: LAST_ADMIN_FINALIZER });
        return plan;
    }
    let demotes = role != Role::Admin && is_needed;
    if demotes {
        let standing = Standing { principal: Some(&principal), role: Some(Role::Admin), ..Standing::default() };
        say(&mut plan, user, facts, Some(&standing), &last_admin("is to get another role").statements());
        return plan;
    }
    give(&mut plan, facts, grant(user, &facts.prefix, &principal.subjects));
    let who = if user.spec.group.is_some() { "the group" } else { "the person" };
    let place = user.site().map(|site| format!(" at Site {site}")).unwrap_or_default();
    let message = format!("{who} has the role {}{place}", role.as_str());
    let ready = Statement::new(ConditionType::Ready, Status::True, Reason::RoleGiven, message);
    let mut statements = trouble.map_or_else(|| vec![ready], |trouble| trouble.statements());
    let invited = facts.post.as_ref().map(|post| invite(user, principal.contact.as_ref(), post, facts.now));
    let Invited { actions, statement, invitation } = invited.unwrap_or_default();
    plan.actions.extend(actions);
    statements.extend(statement);
    let standing = Standing { principal: Some(&principal), role: Some(role), invitation, ..Standing::default() };
    say(&mut plan, user, facts, Some(&standing), &statements);
    if held && role != Role::Admin {
        plan.actions.push(Action::Release { finalizer: LAST_ADMIN_FINALIZER });
    }
    plan
}

/// Makes what they have what they are to have: nothing more at any time than before and after.
fn give(plan: &mut Plan, facts: &Facts, grant: Grant) {
    let is_wanted =
        |bound: &&Bound| grant.bindings.iter().any(|one| one.name == bound.name && one.role_ref == bound.role_ref);
    plan.actions.extend(facts.bound.iter().filter(|bound| !is_wanted(bound)).map(unbind));
    let is_own =
        |own: &&OwnRole| grant.role.as_ref().is_some_and(|role| role.name == own.name && role.rules == own.rules);
    plan.actions.extend(facts.roles.iter().filter(|own| !is_own(own)).map(delete));
    if let Some(role) = grant.role.clone().filter(|_| !facts.roles.iter().any(|own| is_own(&own))) {
        plan.actions.push(Action::CreateRole(role));
    }
    for wanted in grant.bindings {
        match facts.bound.iter().find(|bound| bound.name == wanted.name && bound.role_ref == wanted.role_ref) {
            None => plan.actions.push(Action::Bind(wanted)),
            Some(bound) if bound.subjects != wanted.subjects => {
                let (name, uid) = (bound.name.clone(), bound.uid.clone());
                plan.actions.push(Action::BindTo { name, uid, subjects: wanted.subjects });
            }
            Some(_) => {}
        }
    }
}

/// Takes all that they have.
fn take_all(plan: &mut Plan, facts: &Facts) {
    plan.actions.extend(facts.bound.iter().map(unbind));
    plan.actions.extend(facts.roles.iter().map(delete));
}

fn unbind(bound: &Bound) -> Action {
    Action::DeleteBinding { name: bound.name.clone(), uid: bound.uid.clone() }
}

fn delete(role: &OwnRole) -> Action {
    Action::DeleteRole { name: role.name.clone(), uid: role.uid.clone() }
}

enum Sought {
    Here(Principal),
    Created(NewPerson),
    Asked,
    Unanswered(DirectoryTrouble),
}

/// Who has a role now, by what they are bound with. Or by the status, if that was as far as one came with giving them another role.
fn known(user: &AdminUser, facts: &Facts) -> Option<Principal> {
    let status = user.status.as_ref();
    let directory_id = status.and_then(|status| status.directory_id.clone());
    let kubernetes_user = status.and_then(|status| status.kubernetes_user.clone());
    let bound = facts.bound.iter().map(|bound| &bound.subjects).find(|subjects| !subjects.is_empty()).cloned();
    let has_role = status.is_some_and(|status| status.role.is_some());
    let is_outside = |name: &String| has_role && !name.starts_with("system:");
    let subjects = bound.or_else(|| kubernetes_user.clone().filter(is_outside).map(|name| vec![outside_user(name)]))?;
    Some(Principal { directory_id, kubernetes_user, subjects, contact: None })
}

/// Whether the directory had them once.
fn was_known(user: &AdminUser, facts: &Facts) -> bool {
    !facts.bound.is_empty() || user.status.as_ref().is_some_and(|status| status.directory_id.is_some())
}

fn find(user: &AdminUser, facts: &Facts) -> Result<Sought, Obstacle> {
    match (&facts.lookup, &user.spec.person) {
        (Lookup::Here(principal), _) => Ok(Sought::Here(principal.clone())),
        (Lookup::Asked, _) => Ok(Sought::Asked),
        (Lookup::Unanswered(trouble), _) => Ok(Sought::Unanswered(*trouble)),
        (Lookup::Impossible(why), _) => Err(Obstacle::stalls(Reason::DirectoryRefused, why.clone())),
        // Who was there and left is not to be had back by an AdminUser that stayed.
        (Lookup::Absent, Some(_)) if was_known(user, facts) => Err(Obstacle::stalls(
            Reason::PersonNotFound,
            "spec.person: they have left the project's directory, and the role is taken: delete this AdminUser; to have them created anew, \
             make another one",
        )),
        (Lookup::Absent, Some(person)) if person.create => new_person(facts.provider, person, user.site())
            .map(Sought::Created)
            .map_err(|why| Obstacle::stalls(Reason::DirectoryRefused, why)),
        (Lookup::Absent, Some(_)) => Err(Obstacle::stalls(
            Reason::PersonNotFound,
            "spec.person: nobody of that name and address is in the project's directory: correct it, or set spec.person.create with \
             email, firstName and lastName",
        )),
        (Lookup::Absent, None) => Err(Obstacle::waits(
            Reason::GroupNotFound,
            match facts.provider {
                DirectoryProvider::Native => {
                    "spec.group: nobody is in that group of the project's directory: add somebody to it, or correct its name"
                }
                DirectoryProvider::IamIdentityCenter => {
                    "spec.group: the project's directory has no group of that display name: correct its name, or create it there"
                }
            },
        )),
    }
}

fn last_admin(what: &str) -> Obstacle {
    Obstacle::waits(
        Reason::LastAdmin,
        format!(
            "this is the last Admin of the project, who {what}, and stays Admin until there is another: make another AdminUser with role Admin"
        ),
    )
}

/// What is written down of somebody beside the conditions.
#[derive(Clone, Debug, Default)]
struct Standing<'a> {
    principal: Option<&'a Principal>,
    role: Option<Role>,
    /// They were there and left: which id they had is kept, or they would be created anew.
    left: bool,
    /// The letter, where there is one to speak of.
    invitation: Option<Invitation>,
}

/// Writes down how they stand, if that is not there already.
fn say(plan: &mut Plan, user: &AdminUser, facts: &Facts, standing: Option<&Standing<'_>>, statements: &[Statement]) {
    let current = user.status.as_ref();
    let conditions = current.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut desired = current.cloned().unwrap_or_default();
    desired.observed_generation = user.metadata.generation;
    desired.conditions = condition::merge(conditions, statements, user.metadata.generation, facts.now);
    if let Some(sent) = facts.post.as_ref().and_then(|post| invite::sent(user, post)) {
        desired.invitation = Some(sent);
    }
    // What was said of the letter stays while it is not looked at.
    let is_said = |found: &&Condition| found.type_ == ConditionType::Invited.as_str();
    if user.is_invited() && !desired.conditions.iter().any(|found| is_said(&found)) {
        desired.conditions.extend(conditions.iter().find(is_said).cloned());
    }
    if let Some(Standing { principal, role, left, invitation }) = standing {
        if invitation.is_some() {
            desired.invitation.clone_from(invitation);
        }
        if !user.is_invited() {
            desired.invitation = None;
        }
        if !left {
            desired.directory_id = principal.and_then(|principal| principal.directory_id.clone());
        }
        desired.kubernetes_user = principal.and_then(|principal| principal.kubernetes_user.clone());
        desired.role = *role;
    }
    plan.actions.extend(status::patch(current, &desired).map(Action::PatchStatus));
}
