//! Roles given and taken, and an Admin who always stays.

use std::collections::BTreeMap;

use fleetform_crds::admin_user::LAST_ADMIN_FINALIZER;
use k8s_openapi::api::rbac::v1::Subject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::plan;
use super::*;
use crate::controllers::fixtures;
use crate::directory::Principal;
use crate::reconcile::plan::Plan;

fn user(spec: &Value) -> AdminUser {
    serde_json::from_value(json!({
        "apiVersion": "fleetform.dev/v1alpha1",
        "kind": "AdminUser",
        "metadata": { "name": "mary", "namespace": "library", "uid": "uid-mary", "generation": 1 },
        "spec": spec,
    }))
    .unwrap()
}

fn mary(role: Role) -> AdminUser {
    user(&json!({ "role": role, "person": { "userName": "mary" } }))
}

fn principal(name: &str) -> Principal {
    Principal {
        directory_id: Some(format!("id-{name}")),
        kubernetes_user: Some(format!("system:serviceaccount:library:{name}")),
        subjects: vec![Subject {
            kind: "ServiceAccount".into(),
            name: name.into(),
            namespace: Some("library".into()),
            api_group: None,
        }],
    }
}

fn given() -> Facts {
    Facts {
        obstacle: None,
        ends: false,
        lookup: Lookup::Here(principal("mary")),
        bound: Vec::new(),
        another_admin: false,
        now: fixtures::noon(),
    }
}

fn bound(role: Role) -> Bound {
    let name = names::role_binding("mary", role);
    Bound { uid: format!("uid-{name}"), name, role: Some(role), subjects: principal("mary").subjects }
}

fn held(mut user: AdminUser) -> AdminUser {
    user.metadata.finalizers = Some(vec![LAST_ADMIN_FINALIZER.to_owned()]);
    user
}

#[test]
fn a_role_is_given_and_said() {
    insta::assert_json_snapshot!("viewer", plan(&mary(Role::Viewer), &given()));
    insta::assert_json_snapshot!("an_admin_is_held_first", plan(&mary(Role::Admin), &given()));
    let changed = Facts { bound: vec![bound(Role::Installer)], ..given() };
    insta::assert_json_snapshot!("another_role", plan(&mary(Role::Technician), &changed));
}

#[test]
fn who_is_not_there_has_no_role_and_hears_why() {
    let had = Facts { lookup: Lookup::Absent, bound: vec![bound(Role::Viewer)], ..given() };
    insta::assert_json_snapshot!("nobody", plan(&mary(Role::Viewer), &had));
    let group = user(&json!({ "role": "Installer", "group": { "name": "night-shift" } }));
    insta::assert_json_snapshot!("no_group", plan(&group, &Facts { lookup: Lookup::Absent, ..given() }));
    let new = json!({ "email": "mary@example.com", "firstName": "Mary", "lastName": "Major", "create": true });
    let new = user(&json!({ "role": "Viewer", "person": new }));
    insta::assert_json_snapshot!("created", plan(&new, &Facts { lookup: Lookup::Absent, ..given() }));
}

#[test]
fn the_last_admin_stays() {
    let last = Facts { bound: vec![bound(Role::Admin)], ..given() };
    let mut removed = held(mary(Role::Admin));
    removed.metadata.deletion_timestamp = Some(Time(fixtures::noon()));
    insta::assert_json_snapshot!("removed", plan(&removed, &last));
    insta::assert_json_snapshot!("demoted", plan(&held(mary(Role::Viewer)), &last));
    let another = Facts { another_admin: true, ..last.clone() };
    insta::assert_json_snapshot!("removed_with_another", plan(&removed, &another));
    insta::assert_json_snapshot!("demoted_with_another", plan(&held(mary(Role::Viewer)), &another));
    let ends = Facts { ends: true, ..last };
    assert!(matches!(plan(&removed, &ends).actions.last(), Some(Action::Release { .. })));
}

/// What happens to the people of a project.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(usize, Role),
    Edit(usize, Role),
    Remove(usize),
    /// The operator looks at one of them.
    Look(usize),
}

#[derive(Clone, Debug, Default)]
struct Project {
    users: BTreeMap<usize, AdminUser>,
    bound: BTreeMap<usize, Vec<Bound>>,
}

impl Project {
    fn admins(&self) -> usize {
        self.bound.values().flatten().filter(|bound| bound.role == Some(Role::Admin)).count()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Add(who, role) => {
                self.users.entry(who).or_insert_with(|| {
                    let mut user = mary(role);
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
        }
    }

    fn look(&mut self, who: usize) {
        let Some(user) = self.users.get(&who).cloned() else { return };
        let another_admin = self.users.iter().any(|(other, user)| *other != who && user.is_lasting_admin());
        let bound = self.bound.get(&who).cloned().unwrap_or_default();
        let plan = plan(&user, &Facts { bound, another_admin, ..given() });
        self.execute(who, &plan);
        self.collect(who);
    }

    fn execute(&mut self, who: usize, plan: &Plan) {
        for action in &plan.actions {
            let user = self.users.get_mut(&who).unwrap();
            let bound = self.bound.entry(who).or_default();
            match action {
                Action::Hold { finalizer } => user.metadata.finalizers = Some(vec![(*finalizer).to_owned()]),
                Action::Release { .. } => user.metadata.finalizers = None,
                Action::Bind(draft) => bound.push(Bound {
                    name: draft.name.clone(),
                    uid: draft.name.clone(),
                    role: Some(draft.role),
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
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..3_usize;
    let role = prop::sample::select(Role::ALL.to_vec());
    prop_oneof![
        (who.clone(), role.clone()).prop_map(|(who, role)| Step::Add(who, role)),
        (who.clone(), role).prop_map(|(who, role)| Step::Edit(who, role)),
        who.clone().prop_map(Step::Remove),
        who.prop_map(Step::Look),
    ]
}

proptest! {
    /// However people are added, changed and removed, and in whatever order the operator looks at them: who has an Admin keeps one, and in
    /// the end everybody has the role that they should, but for the last Admin.
    #[test]
    fn a_project_that_has_an_admin_keeps_one(steps in prop::collection::vec(step(), 1..60)) {
        let mut project = Project::default();
        let mut had = false;
        for step in steps {
            project.take(step);
            had |= project.admins() > 0;
            prop_assert!(!had || project.admins() > 0, "after {step:?}: {project:#?}");
        }
        for _ in 0..4 {
            for who in 0..3 {
                project.look(who);
            }
        }
        let lasting = project.users.values().filter(|user| user.is_lasting_admin()).count();
        for (who, user) in &project.users {
            let bound: Vec<_> = project.bound[who].iter().filter_map(|bound| bound.role).collect();
            prop_assert_eq!(&bound, &[user.status.as_ref().unwrap().role.unwrap()]);
            let is_kept = lasting == 0 && bound == [Role::Admin];
            let is_gone = user.metadata.deletion_timestamp.is_some();
            prop_assert!(is_kept || (!is_gone && bound == [user.spec.role]), "{user:#?}");
        }
    }
}
