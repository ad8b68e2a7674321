//! Roles given and taken, and an Admin who always stays.

mod property;

use fleetform_crds::admin_user::LAST_ADMIN_FINALIZER;
use fleetform_domain::admin::Role;
use k8s_openapi::api::rbac::v1::Subject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::grant::grant;
use super::plan::{OwnRole, plan};
use super::*;
use crate::controllers::fixtures;
use crate::directory::trouble::Call;
use crate::directory::{Contact, DirectoryTrouble, Principal};
use crate::invitation::Delivery;
use crate::invitation::drafted::{By, Drafted, Edition};
use crate::invitation::letter::Stationery;
use crate::invitation::server::MailTrouble;

/// What the names of the installation's `ClusterRoles` begin with.
const PREFIX: &str = "fleetform";

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
        contact: Some(Contact { user_name: name.into(), email: Some(format!("{name}@example.com")) }),
    }
}

fn given() -> Facts {
    Facts {
        prefix: PREFIX.to_owned(),
        obstacle: None,
        barred: None,
        ends: false,
        provider: DirectoryProvider::Native,
        lacking: None,
        lookup: Lookup::Here(principal("mary")),
        bound: Vec::new(),
        roles: Vec::new(),
        another_admin: false,
        post: None,
        now: fixtures::noon(),
    }
}

/// The facts about somebody who has what they were to have.
fn given_to(user: &AdminUser) -> Facts {
    let grant = grant(user, PREFIX, &principal("mary").subjects);
    let bound = grant.bindings.into_iter().map(|one| Bound {
        uid: format!("uid-{}", one.name),
        name: one.name,
        role_ref: one.role_ref,
        subjects: one.subjects,
    });
    let roles = grant.role.into_iter().map(|own| OwnRole {
        uid: format!("uid-{}", own.name),
        name: own.name,
        rules: own.rules,
    });
    Facts { bound: bound.collect(), roles: roles.collect(), ..given() }
}

fn at_central(role: Role) -> AdminUser {
    user(&json!({ "role": role, "siteRef": { "name": "central" }, "person": { "userName": "mary" } }))
}

fn held(mut user: AdminUser) -> AdminUser {
    user.metadata.finalizers = Some(vec![LAST_ADMIN_FINALIZER.to_owned()]);
    user
}

#[test]
fn a_role_is_given_and_said() {
    insta::assert_json_snapshot!("viewer", plan(&mary(Role::Viewer), &given()));
    insta::assert_json_snapshot!("an_admin_is_held_first", plan(&mary(Role::Admin), &given()));
    insta::assert_json_snapshot!("another_role", plan(&mary(Role::Technician), &given_to(&mary(Role::Installer))));
}

#[test]
fn who_is_not_there_has_no_role_and_hears_why() {
    let had = Facts { lookup: Lookup::Absent, ..given_to(&mary(Role::Viewer)) };
    insta::assert_json_snapshot!("nobody", plan(&mary(Role::Viewer), &had));
    let group = user(&json!({ "role": "Installer", "group": { "name": "night-shift" } }));
    insta::assert_json_snapshot!("no_group", plan(&group, &Facts { lookup: Lookup::Absent, ..given() }));
    let new = json!({ "email": "mary@example.com", "firstName": "Mary", "lastName": "Major", "create": true });
    let new = user(&json!({ "role": "Viewer", "person": new }));
    insta::assert_json_snapshot!("created", plan(&new, &Facts { lookup: Lookup::Absent, ..given() }));
}

#[test]
fn the_last_admin_stays() {
    let last = given_to(&mary(Role::Admin));
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

#[test]
fn a_role_at_a_site_is_rights_to_that_site() {
    insta::assert_json_snapshot!("viewer_at_site", plan(&at_central(Role::Viewer), &given()));
    insta::assert_json_snapshot!("admin_at_site", plan(&at_central(Role::Admin), &given()));
    insta::assert_json_snapshot!(
        "another_role_at_site",
        plan(&at_central(Role::Installer), &given_to(&at_central(Role::Technician)))
    );
    // A Role that somebody bent is made anew.
    let mut bent = given_to(&at_central(Role::Viewer));
    bent.roles[0].rules[0].resource_names = None;
    insta::assert_json_snapshot!("bent_at_site", plan(&at_central(Role::Viewer), &bent));
}

#[test]
fn who_has_a_role_at_a_site_loses_it_with_the_site_or_to_those_before() {
    let absent = Obstacle::waits(Reason::SiteNotFound, "spec.siteRef: there is no Site central in this namespace");
    let gone = Facts { barred: Some(absent.clone()), ..given_to(&at_central(Role::Admin)) };
    insta::assert_json_snapshot!("site_gone", plan(&at_central(Role::Admin), &gone));
    let over = Obstacle::stalls(Reason::QuotaExceeded, "this AdminUser is over the quota of 20 users at a site");
    let over = Facts { barred: Some(over), ..given_to(&at_central(Role::Viewer)) };
    insta::assert_json_snapshot!("over_quota_at_site", plan(&at_central(Role::Viewer), &over));
    // What is applied together arrives within moments: nothing is said of a site that is yet to come.
    let mut new = at_central(Role::Viewer);
    new.metadata.creation_timestamp = Some(Time(fixtures::noon()));
    let early = plan(&new, &Facts { barred: Some(absent), ..given() });
    assert!(early.actions.is_empty() && early.look_again.is_some(), "{early:?}");
}

/// Who has a role by an outside directory, with the status that says so.
fn known(role: Role) -> (AdminUser, Facts) {
    let mut user = held(mary(role));
    let facts = Facts { provider: DirectoryProvider::IamIdentityCenter, ..given_to(&user) };
    let plan = plan(&user, &facts);
    note(&mut user, &plan);
    (user, facts)
}

#[test]
fn a_directory_that_does_not_say_takes_no_role_and_gives_none() {
    for trouble in [
        DirectoryTrouble::Unreachable,
        DirectoryTrouble::AccessDenied(Call::GetUserId),
        DirectoryTrouble::Credentials,
        DirectoryTrouble::NotFound,
    ] {
        let away = Lookup::Unanswered(trouble);
        let new = plan(&mary(Role::Viewer), &Facts { lookup: away.clone(), ..given() });
        assert!(matches!(new.actions.as_slice(), [Action::PatchStatus(_)]), "{new:?}");
        let (user, facts) = known(Role::Viewer);
        let kept = plan(&user, &Facts { lookup: away.clone(), ..facts.clone() });
        assert!(kept.actions.iter().all(|action| matches!(action, Action::PatchStatus(_) | Action::Release { .. })));
    }
    let away = Lookup::Unanswered(DirectoryTrouble::Unreachable);
    let (mut user, facts) = known(Role::Viewer);
    insta::assert_json_snapshot!("directory_away", plan(&user, &Facts { lookup: away.clone(), ..facts.clone() }));
    // What an Admin takes is taken all the same, and what is asked is waited for.
    user.spec.role = Role::Installer;
    insta::assert_json_snapshot!(
        "another_role_while_away",
        plan(&user, &Facts { lookup: away.clone(), ..facts.clone() })
    );
    // Also when that failed between the two steps.
    user.status.as_mut().unwrap().kubernetes_user = Some("idc:mary".into());
    let between = Facts { lookup: away, bound: Vec::new(), ..facts.clone() };
    let Some(Action::Bind(again)) = plan(&user, &between).actions.into_iter().next() else {
        panic!("they have a role")
    };
    assert_eq!((again.name.as_str(), again.subjects[0].name.as_str()), ("mary-installer", "idc:mary"));
    let asked = plan(&user, &Facts { lookup: Lookup::Asked, ..facts.clone() });
    assert!(asked.actions.is_empty(), "{asked:?}");
    user.metadata.deletion_timestamp = Some(Time(fixtures::noon()));
    let removed = plan(&user, &Facts { lookup: Lookup::Asked, another_admin: true, ..facts });
    assert!(matches!(removed.actions.last(), Some(Action::Release { .. })), "nobody is asked about who goes");
}

#[test]
fn what_a_directory_lacks_keeps_people_from_being_added_and_nobody_from_working() {
    let lacking = Some(Obstacle::waits(Reason::DirectoryAccessDenied, "nobody is added until the directory is ready"));
    let new = plan(&mary(Role::Viewer), &Facts { lacking: lacking.clone(), ..given() });
    insta::assert_json_snapshot!("directory_lacks", new);
    let (user, facts) = known(Role::Viewer);
    let with = plan(&user, &Facts { lacking, ..facts.clone() });
    assert_eq!(format!("{with:?}"), format!("{:?}", plan(&user, &facts)), "as if it lacked nothing");
}

/// The facts about somebody who has their role, and is written to.
fn written_to(user: &AdminUser, sends: bool, drafted: Option<Drafted>, delivery: Option<Delivery>) -> Facts {
    let stationery = Stationery {
        app: "https://fleet.example.com".into(),
        project: "https://fleet.example.com/{project}".into(),
        from: sends.then(|| "fleet@example.com".parse().unwrap()),
    };
    let project = "Library".to_owned();
    let post = Post { project, directory: None, stationery, sends, drafted, delivery, not_stored: None };
    Facts { post: Some(post), another_admin: true, ..given_to(user) }
}

/// The Secret with a letter about this role.
fn letter(uid: &str, by: By, role: Role) -> Drafted {
    let edition = Edition::of(role, "mary@example.com", None);
    Drafted { name: "mary-invitation".into(), uid: uid.into(), by, edition }
}

/// What a plan does with letters.
fn posts(plan: &Plan) -> Vec<String> {
    let told = |action: &Action| match action {
        Action::DraftLetter(draft) => Some(format!("draft for {}", draft.by.as_str())),
        Action::DeleteSecret { uid, .. } => Some(format!("delete {uid}")),
        _ => None,
    };
    plan.actions.iter().filter_map(told).collect()
}

/// Writes down what a plan says.
fn note(user: &mut AdminUser, plan: &Plan) {
    for action in &plan.actions {
        if let Action::PatchStatus(patch) = action {
            let mut status = serde_json::to_value(user.status.clone().unwrap_or_default()).unwrap();
            json_patch::merge(&mut status, patch);
            user.status = Some(serde_json::from_value(status).unwrap());
        }
    }
}

fn invited(user: &AdminUser) -> String {
    let conditions = &user.status.as_ref().unwrap().conditions;
    let found = conditions.iter().find(|condition| condition.type_ == "Invited");
    found.map(|condition| format!("{} {}", condition.status, condition.reason)).unwrap_or_default()
}

#[test]
fn who_gets_a_role_is_written_to_once() {
    let mut viewer = mary(Role::Viewer);
    let first = plan(&viewer, &written_to(&viewer, false, None, None));
    insta::assert_json_snapshot!("invited", first);
    note(&mut viewer, &first);
    let by_hand = || Some(letter("letter-1", By::Hand, Role::Viewer));
    // Also when the installation gets a mail server later: they may have been written to.
    for sends in [false, true] {
        let rest = plan(&viewer, &written_to(&viewer, sends, by_hand(), None));
        assert!(rest.actions.is_empty(), "{rest:?}");
        assert_eq!(invited(&viewer), "True InvitationDrafted");
    }
    let mut viewer = mary(Role::Viewer);
    let queued = plan(&viewer, &written_to(&viewer, true, None, None));
    assert_eq!(posts(&queued), ["draft for server"]);
    note(&mut viewer, &queued);
    let by_server = || Some(letter("letter-2", By::Server, Role::Viewer));
    for (delivery, expected) in [
        (None, "Unknown InvitationQueued"),
        (Some(Err(MailTrouble::Unreachable)), "False MailServerUnreachable"),
        (Some(Ok(fixtures::noon())), "True InvitationSent"),
        (None, "True InvitationSent"),
    ] {
        let next = plan(&viewer, &written_to(&viewer, true, by_server(), delivery));
        assert!(posts(&next).is_empty(), "{next:?}");
        note(&mut viewer, &next);
        assert_eq!(invited(&viewer), expected);
        let rest = plan(&viewer, &written_to(&viewer, true, by_server(), delivery));
        assert!(rest.actions.is_empty(), "{rest:?}");
    }
    assert!(!viewer.awaits_letter("letter-2") && viewer.awaits_letter("letter-1"));
    // Another role is no reason to write to who was written to.
    viewer.spec.role = Role::Technician;
    let other = plan(&viewer, &written_to(&viewer, true, by_server(), None));
    assert!(posts(&other).is_empty(), "{other:?}");
    // Whoever asks for it is: by taking it back, and by deleting it.
    viewer.spec.person.as_mut().unwrap().invite = false;
    let back = plan(&viewer, &written_to(&viewer, true, by_server(), None));
    assert_eq!(posts(&back), ["delete letter-2"]);
    note(&mut viewer, &back);
    assert_eq!((invited(&viewer).as_str(), &viewer.status.as_ref().unwrap().invitation), ("", &None));
    viewer.spec.person.as_mut().unwrap().invite = true;
    let again = plan(&viewer, &written_to(&viewer, true, None, None));
    assert_eq!(posts(&again), ["draft for server"]);
}

#[test]
fn a_letter_that_is_not_sent_tells_of_the_role_that_they_have() {
    let mut viewer = mary(Role::Viewer);
    let queued = plan(&viewer, &written_to(&viewer, true, None, None));
    note(&mut viewer, &queued);
    viewer.spec.role = Role::Technician;
    for (by, drafts) in [(By::Server, "draft for server"), (By::Hand, "draft for hand")] {
        let anew = plan(&viewer, &written_to(&viewer, true, Some(letter("letter-1", by, Role::Viewer)), None));
        assert_eq!(posts(&anew), ["delete letter-1", drafts]);
    }
    // What was sent is written down also of who has no role any more, or it would be sent again.
    let mut barred =
        written_to(&viewer, true, Some(letter("letter-1", By::Server, Role::Viewer)), Some(Ok(fixtures::noon())));
    barred.barred = Some(Obstacle::stalls(Reason::SiteNotFound, "there is no such Site"));
    let taken = plan(&viewer, &barred);
    note(&mut viewer, &taken);
    assert!(!viewer.awaits_letter("letter-1"));
    assert_eq!(viewer.status.as_ref().unwrap().role, None);
}

#[test]
fn who_cannot_be_written_to_has_the_role_all_the_same() {
    let without = |change: fn(&mut AdminUser), email: Option<&str>| {
        let mut viewer = mary(Role::Viewer);
        change(&mut viewer);
        let mut facts = written_to(&viewer, true, None, None);
        let mut there = principal("mary");
        there.contact.as_mut().unwrap().email = email.map(ToOwned::to_owned);
        facts.lookup = Lookup::Here(there);
        let plan = plan(&viewer, &facts);
        assert!(posts(&plan).is_empty(), "{plan:?}");
        note(&mut viewer, &plan);
        assert_eq!(viewer.status.as_ref().unwrap().role, Some(Role::Viewer));
        invited(&viewer)
    };
    let declines = |user: &mut AdminUser| user.spec.person.as_mut().unwrap().invite = false;
    assert_eq!(without(declines, Some("mary@example.com")), "");
    assert_eq!(without(|_| {}, None), "False NoEmailAddress");
    assert_eq!(without(|_| {}, Some("mary at home")), "False NoEmailAddress");
    // A letter that cannot be stored is said, and nothing else.
    let mut viewer = mary(Role::Viewer);
    let mut facts = written_to(&viewer, true, None, None);
    facts.post.as_mut().unwrap().not_stored = Some((Reason::WriteRefused, "a quota".into()));
    let refused = plan(&viewer, &facts);
    assert!(posts(&refused).is_empty(), "{refused:?}");
    note(&mut viewer, &refused);
    assert_eq!(invited(&viewer), "False WriteRefused");
    assert_eq!(viewer.status.as_ref().unwrap().role, Some(Role::Viewer));
    // A directory that is away does not say where to.
    let (user, facts) = known(Role::Viewer);
    let away = Facts { lookup: Lookup::Unanswered(DirectoryTrouble::Unreachable), ..facts };
    let away = Facts { post: written_to(&user, true, None, None).post, ..away };
    assert!(posts(&plan(&user, &away)).is_empty());
}

#[test]
fn who_left_the_directory_has_no_role_and_is_not_created_anew() {
    let new = json!({ "email": "mary@example.com", "firstName": "Mary", "lastName": "Major", "create": true });
    let mut user = user(&json!({ "role": "Viewer", "person": new }));
    let here = plan(&user, &given());
    note(&mut user, &here);
    let left = Facts { lookup: Lookup::Absent, ..given_to(&user) };
    let taken = plan(&user, &left);
    insta::assert_json_snapshot!("left", taken);
    note(&mut user, &taken);
    // Nor at the next look, when nothing is left of the role.
    let gone = plan(&user, &Facts { lookup: Lookup::Absent, ..given() });
    assert!(gone.actions.is_empty(), "{gone:?}");
    let back = plan(&user, &given());
    assert!(matches!(back.actions.first(), Some(Action::Bind(_))), "{back:?}");
}

#[test]
fn an_admin_of_a_site_is_no_admin_of_the_project() {
    let mut site_admin = at_central(Role::Admin);
    site_admin.status = Some(serde_json::from_value(json!({ "role": "Admin", "conditions": [] })).unwrap());
    assert!(!site_admin.is_lasting_admin());
    let plan = plan(&at_central(Role::Admin), &given());
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::Hold { .. })), "{plan:?}");
}

#[test]
fn what_is_given_leaves_nothing_to_do() {
    for user in Role::ALL.into_iter().flat_map(|role| [held(mary(role)), at_central(role)]) {
        let facts = Facts { another_admin: true, ..given_to(&user) };
        let actions = plan(&user, &facts).actions;
        let is_said = |action: &Action| matches!(action, Action::PatchStatus(_) | Action::Release { .. });
        assert!(actions.iter().all(is_said), "{actions:?}");
    }
}
