//! People who come, change and go, sites that do, and an operator that looks at them in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use fleetform_crds::reference::LocalReference;
use fleetform_domain::admin::Role;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use proptest::prelude::*;

use super::*;
use crate::controllers::admin::grant::project_admin;
use crate::reconcile::plan::Plan;

/// What happens to the people of a project.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody is to have a role: in the project, or at the site of this number.
    Add(usize, Role, Option<usize>),
    Edit(usize, Role),
    Remove(usize),
    /// A site that is there is deleted, one that is not is made.
    Toggle(usize),
    /// The operator looks at one of them.
    Look(usize),
}

#[derive(Clone, Debug, Default)]
struct Project {
    users: BTreeMap<usize, AdminUser>,
    bound: BTreeMap<usize, Vec<Bound>>,
    roles: BTreeMap<usize, Vec<OwnRole>>,
    sites: BTreeSet<String>,
}

fn site(number: usize) -> String {
    format!("site-{number}")
}

impl Project {
    fn admins(&self) -> usize {
        self.bound.values().flatten().filter(|bound| bound.role_ref == project_admin(PREFIX)).count()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Add(who, role, at) => {
                self.users.entry(who).or_insert_with(|| {
                    let mut user = mary(role);
                    user.spec.site_ref = at.map(|number| LocalReference { name: site(number) });
                    user.metadata.name = Some(format!("mary-{who}"));
                    user.metadata.uid = Some(who.to_string());
                    user
                });
            }
            Step::Edit(who, role) => {
                if let Some(user) = self.users.get_mut(&who) {
                    user.spec.role = role;
                }
            }
            Step::Remove(who) => {
                if let Some(user) = self.users.get_mut(&who) {
                    user.metadata.deletion_timestamp.get_or_insert(Time(fixtures::noon()));
                }
                self.collect(who);
            }
            Step::Toggle(number) => {
                if !self.sites.remove(&site(number)) {
                    self.sites.insert(site(number));
                }
            }
            Step::Look(who) => self.look(who),
        }
    }

    /// Who was deleted and is held by nothing is gone, with what they own.
    fn collect(&mut self, who: usize) {
        let goes = |user: &AdminUser| {
            user.metadata.deletion_timestamp.is_some() && user.metadata.finalizers.iter().flatten().count() == 0
        };
        if self.users.get(&who).is_some_and(goes) {
            self.users.remove(&who);
            self.bound.remove(&who);
            self.roles.remove(&who);
        }
    }

    fn look(&mut self, who: usize) {
        let Some(user) = self.users.get(&who).cloned() else { return };
        let another_admin = self.users.iter().any(|(other, user)| *other != who && user.is_lasting_admin());
        let bound = self.bound.get(&who).cloned().unwrap_or_default();
        let roles = self.roles.get(&who).cloned().unwrap_or_default();
        let is_missing = user.site().is_some_and(|site| !self.sites.contains(site));
        let barred = is_missing.then(|| Obstacle::waits(Reason::SiteNotFound, "there is no such Site"));
        let plan = plan(&user, &Facts { barred, bound, roles, another_admin, ..given() });
        self.execute(who, &plan);
        self.collect(who);
    }

    fn execute(&mut self, who: usize, plan: &Plan) {
        for action in &plan.actions {
            let user = self.users.get_mut(&who).unwrap();
            let (bound, roles) = (self.bound.entry(who).or_default(), self.roles.entry(who).or_default());
            match action {
                Action::Hold { finalizer } => user.metadata.finalizers = Some(vec![(*finalizer).to_owned()]),
                Action::Release { .. } => user.metadata.finalizers = None,
                Action::CreateRole(draft) => roles.push(OwnRole {
                    name: draft.name.clone(),
                    uid: draft.name.clone(),
                    rules: draft.rules.clone(),
                }),
                Action::DeleteRole { name, .. } => roles.retain(|one| one.name != *name),
                Action::Bind(draft) => bound.push(Bound {
                    name: draft.name.clone(),
                    uid: draft.name.clone(),
                    role_ref: draft.role_ref.clone(),
                    subjects: draft.subjects.clone(),
                }),
                Action::DeleteBinding { name, .. } => bound.retain(|one| one.name != *name),
                Action::PatchStatus(patch) => {
                    let mut status = serde_json::to_value(user.status.clone().unwrap_or_default()).unwrap();
                    json_patch::merge(&mut status, patch);
                    user.status = Some(serde_json::from_value(status).unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// What somebody has, as it would be given.
    fn has(&self, who: usize) -> (Option<Vec<PolicyRule>>, Vec<RoleRef>) {
        let rules = self.roles.get(&who).into_iter().flatten().map(|own| own.rules.clone()).next();
        (rules, self.bound.get(&who).into_iter().flatten().map(|bound| bound.role_ref.clone()).collect())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..4_usize;
    let site = 0..2_usize;
    let role = prop::sample::select(Role::ALL.to_vec());
    prop_oneof![
        (who.clone(), role.clone(), prop::option::of(site.clone()))
            .prop_map(|(who, role, at)| Step::Add(who, role, at)),
        (who.clone(), role).prop_map(|(who, role)| Step::Edit(who, role)),
        who.clone().prop_map(Step::Remove),
        site.prop_map(Step::Toggle),
        who.prop_map(Step::Look),
    ]
}

proptest! {
    /// However people are added, changed and removed, and sites come and go, and in whatever order the operator looks at them: who has an
    /// Admin keeps one; nobody has two roles or, at a site, rights to another one; and in the end everybody has the role that they should,
    /// but for the last Admin, and nobody one at a site that is not there.
    #[test]
    fn a_project_that_has_an_admin_keeps_one(steps in prop::collection::vec(step(), 1..80)) {
        let mut project = Project::default();
        let mut had = false;
        for step in steps {
            project.take(step);
            had |= project.admins() > 0;
            prop_assert!(!had || project.admins() > 0, "after {step:?}: {project:#?}");
            for own in project.roles.values() {
                prop_assert!(own.len() <= 1, "after {step:?}: {own:#?}");
            }
        }
        for _ in 0..5 {
            for who in 0..4 {
                project.look(who);
            }
        }
        let lasting = project.users.values().filter(|user| user.is_lasting_admin()).count();
        for (who, user) in &project.users {
            let is_there = user.site().is_none_or(|site| project.sites.contains(site));
            let mut as_is = user.clone();
            let status = user.status.as_ref().unwrap();
            prop_assert_eq!(status.role.is_some(), is_there);
            as_is.spec.role = status.role.unwrap_or(user.spec.role);
            let wanted = grant(&as_is, PREFIX, &principal("mary").subjects);
            let wanted_refs: Vec<RoleRef> = wanted.bindings.into_iter().map(|binding| binding.role_ref).collect();
            let expected = if is_there { (wanted.role.map(|role| role.rules), wanted_refs) } else { (None, Vec::new()) };
            prop_assert_eq!(project.has(*who), expected);
            let is_kept = lasting == 0 && user.site().is_none() && status.role == Some(Role::Admin);
            let is_gone = user.metadata.deletion_timestamp.is_some();
            prop_assert!(is_kept || (!is_gone && (!is_there || status.role == Some(user.spec.role))), "{user:#?}");
        }
    }
}
