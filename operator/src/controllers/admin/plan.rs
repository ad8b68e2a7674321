//! Pure: what to do about somebody who has, or is to have, a role.

use fleetform_crds::AdminUser;
use fleetform_crds::admin_user::LAST_ADMIN_FINALIZER;
use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_domain::admin::Role;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::Subject;

use crate::controllers::Obstacle;
use crate::directory::{Lookup, NewPerson, Principal, native};
use crate::reconcile::names;
use crate::reconcile::plan::{Action, BindingDraft, Plan};
use crate::reconcile::status;

/// A RoleBinding that somebody has.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The role; none when it refers to something else than a role of ours.
    pub role: Option<Role>,
    /// Who is bound.
    pub subjects: Vec<Subject>,
}

/// What the plan depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What is in the way of giving anybody any role here: there is no Project, or the policy that guards roles is not in place.
    pub obstacle: Option<Obstacle>,
    /// Whether the namespace or its Project is going, so that no Admin has to stay.
    pub ends: bool,
    /// What the directory says.
    pub lookup: Lookup,
    /// The `RoleBindings` that it has.
    pub bound: Vec<Bound>,
    /// Whether somebody else is an Admin, and stays one.
    pub another_admin: bool,
    /// Now.
    pub now: Timestamp,
}

/// The plan for an `AdminUser`.
pub fn plan(user: &AdminUser, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    let held = user.metadata.finalizers.iter().flatten().any(|found| found == LAST_ADMIN_FINALIZER);
    let was_admin = facts.bound.iter().any(|bound| bound.role == Some(Role::Admin));
    let is_needed = was_admin && !facts.another_admin && !facts.ends;
    if user.metadata.deletion_timestamp.is_some() {
        if held && is_needed {
            say(&mut plan, user, facts, None, &last_admin("is deleted").statements());
        } else if held {
            plan.actions.extend(facts.bound.iter().map(unbind));
            plan.actions.push(Action::Release { finalizer: LAST_ADMIN_FINALIZER });
        }
        return plan;
    }
    if let Some(obstacle) = &facts.obstacle {
        say(&mut plan, user, facts, None, &obstacle.statements());
        return plan;
    }
    let principal = match find(user, facts) {
        Ok(Sought::Here(principal)) => principal,
        Ok(Sought::Created(person)) => {
            // The directory tells of it, and this is looked at again.
            plan.actions.push(Action::CreatePerson(person));
            return plan;
        }
        Err(obstacle) => {
            // Whoever takes the name next must not find a role waiting for them.
            plan.actions.extend(facts.bound.iter().map(unbind));
            say(&mut plan, user, facts, Some(&Standing::default()), &obstacle.statements());
            return plan;
        }
    };
    let role = user.spec.role;
    if role == Role::Admin && !held {
        // Before the role, so that no Admin goes unseen; the change brings us back.
        plan.actions.push(Action::Hold { finalizer: LAST_ADMIN_FINALIZER });
        return plan;
    }
    let wanted = BindingDraft {
        name: names::role_binding(user.metadata.name.as_deref().unwrap_or_default(), role),
        role,
        subjects: principal.subjects.clone(),
    };
    let demotes = role != Role::Admin && is_needed;
    if demotes {
        let standing = Standing { principal: Some(&principal), role: Some(Role::Admin) };
        say(&mut plan, user, facts, Some(&standing), &last_admin("is to get another role").statements());
        return plan;
    }
    let (kept, others): (Vec<&Bound>, Vec<&Bound>) =
        facts.bound.iter().partition(|bound| bound.name == wanted.name && bound.role == Some(role));
    plan.actions.extend(others.into_iter().map(unbind));
    match kept.first() {
        None => plan.actions.push(Action::Bind(wanted)),
        Some(bound) if bound.subjects != wanted.subjects => {
            let (name, uid) = (bound.name.clone(), bound.uid.clone());
            plan.actions.push(Action::BindTo { name, uid, subjects: wanted.subjects });
        }
        Some(_) => {}
    }
    let who = if user.spec.group.is_some() { "the group" } else { "the person" };
    let message = format!("{who} has the role {}", role.as_str());
    let ready = Statement::new(ConditionType::Ready, Status::True, Reason::RoleGiven, message);
    say(&mut plan, user, facts, Some(&Standing { principal: Some(&principal), role: Some(role) }), &[ready]);
    if held && role != Role::Admin {
        plan.actions.push(Action::Release { finalizer: LAST_ADMIN_FINALIZER });
    }
    plan
}

fn unbind(bound: &Bound) -> Action {
    Action::DeleteBinding { name: bound.name.clone(), uid: bound.uid.clone() }
}

enum Sought {
    Here(Principal),
    Created(NewPerson),
}

fn find(user: &AdminUser, facts: &Facts) -> Result<Sought, Obstacle> {
    match (&facts.lookup, &user.spec.person) {
        (Lookup::Here(principal), _) => Ok(Sought::Here(principal.clone())),
        (Lookup::Impossible(why), _) => Err(Obstacle::stalls(Reason::DirectoryRefused, why.clone())),
        (Lookup::Absent, Some(person)) if person.create => native::new_person(person)
            .map(Sought::Created)
            .map_err(|why| Obstacle::stalls(Reason::DirectoryRefused, why)),
        (Lookup::Absent, Some(_)) => Err(Obstacle::stalls(
            Reason::PersonNotFound,
            "spec.person: nobody of that name and address is in the project's directory: correct it, or set spec.person.create with \
             email, firstName and lastName",
        )),
        (Lookup::Absent, None) => Err(Obstacle::waits(
            Reason::GroupNotFound,
            "spec.group: nobody is in that group of the project's directory: add somebody to it, or correct its name",
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
}

/// Writes down how they stand, if that is not there already.
fn say(plan: &mut Plan, user: &AdminUser, facts: &Facts, standing: Option<&Standing<'_>>, statements: &[Statement]) {
    let current = user.status.as_ref();
    let conditions = current.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let mut desired = current.cloned().unwrap_or_default();
    desired.observed_generation = user.metadata.generation;
    desired.conditions = condition::merge(conditions, statements, user.metadata.generation, facts.now);
    if let Some(Standing { principal, role }) = standing {
        desired.directory_id = principal.and_then(|principal| principal.directory_id.clone());
        desired.kubernetes_user = principal.and_then(|principal| principal.kubernetes_user.clone());
        desired.role = *role;
    }
    plan.actions.extend(status::patch(current, &desired).map(Action::PatchStatus));
}
