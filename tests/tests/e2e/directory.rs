//! Directories of people: both do the same by the same words, and an outside one may be away, refuse and forget somebody.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::condition::{ConditionType, Reason};
use fleetform_crds::{AdminUser, Project as ProjectObject};
use fleetform_domain::admin::Role;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::Subject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::admins::{bindings_of, until_gone, until_has};
use super::identity_center::{Door, Store};
use super::project::{LIMIT, Project};
use super::stage::Stage;

/// Somebody who is looked for, and what comes of it in any directory.
struct Scenario {
    name: &'static str,
    spec: Value,
    expected: Expected,
}

enum Expected {
    /// They have the role, and are this one.
    Is(Who),
    /// They have none, for this reason, in words with these among them.
    Refused(Reason, &'static str),
}

#[derive(Clone, Copy)]
enum Who {
    /// The person of this user name, whom the directory had or was made to have.
    Person(&'static str),
    /// Whoever was created without a user name with the address `cat@example.com`.
    Cat,
    /// The group.
    Nights,
}

/// The group that both directories have, with mary in it.
const GROUP: &str = "night-shift";

fn scenarios() -> Vec<Scenario> {
    use Expected::{Is, Refused};
    let new = |fields: Value| {
        let mut person = json!({ "firstName": "New", "lastName": "Major", "create": true });
        json_patch::merge(&mut person, &fields);
        json!({ "person": person })
    };
    let person = |fields: Value| json!({ "person": fields });
    let mary = || Is(Who::Person("mary"));
    [
        ("by-name", person(json!({ "userName": "mary" })), mary()),
        ("by-address", person(json!({ "email": "mary@example.com" })), mary()),
        ("by-both", person(json!({ "userName": "mary", "email": "Mary@example.com" })), mary()),
        ("there-already", new(json!({ "userName": "mary", "email": "mary@example.com" })), mary()),
        (
            "unknown-name",
            person(json!({ "userName": "nobody" })),
            Refused(Reason::PersonNotFound, "nobody of that name"),
        ),
        (
            "unknown-address",
            person(json!({ "email": "no@example.com" })),
            Refused(Reason::PersonNotFound, "spec.person"),
        ),
        (
            "not-theirs",
            person(json!({ "userName": "john", "email": "mary@example.com" })),
            Refused(Reason::DirectoryRefused, "john has another email address"),
        ),
        (
            "address-taken",
            new(json!({ "userName": "mallory", "email": "mary@example.com" })),
            Refused(Reason::DirectoryRefused, "is that of mary"),
        ),
        (
            "name-taken",
            new(json!({ "userName": "john", "email": "other@example.com" })),
            Refused(Reason::DirectoryRefused, "john has another email address"),
        ),
        ("created", new(json!({ "userName": "ann", "email": "ann@example.com" })), Is(Who::Person("ann"))),
        ("created-again", new(json!({ "userName": "ann", "email": "ann@example.com" })), Is(Who::Person("ann"))),
        ("created-by-address", new(json!({ "email": "cat@example.com" })), Is(Who::Cat)),
        ("group", json!({ "group": { "name": GROUP } }), Is(Who::Nights)),
        ("unknown-group", json!({ "group": { "name": "day-shift" } }), Refused(Reason::GroupNotFound, "spec.group")),
    ]
    .map(|(name, spec, expected)| Scenario { name, spec, expected })
    .into()
}

/// A directory with mary, who is in the group, and john; the built-in one has twins too.
enum Directory<'a> {
    Native,
    Outside(Store<'a>),
}

impl Directory<'_> {
    async fn fill(&self, project: &Project) -> Result<()> {
        let twins = [("twin-1", "twin@example.com"), ("twin-2", "twin@example.com")];
        let twins = twins.into_iter().filter(|_| matches!(self, Self::Native));
        let both = [("mary", "mary@example.com"), ("john", "john@example.com")];
        for (name, email) in both.into_iter().chain(twins) {
            match self {
                Self::Native => {
                    let mut labels = json!({ "fleetform.dev/person": "true" });
                    if name == "mary" {
                        labels[format!("group.fleetform.dev/{GROUP}")] = "".into();
                    }
                    let annotations = json!({ "fleetform.dev/email": email });
                    let metadata = json!({ "name": name, "labels": labels, "annotations": annotations });
                    project.create::<ServiceAccount>(json!({ "metadata": metadata })).await?;
                }
                Self::Outside(store) => {
                    let id = store.add(name, email).await?;
                    if name == "mary" {
                        store.add_group(GROUP, id).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Kind and name of who is to be bound, and their id in the directory if they have one.
    async fn subject(&self, project: &Project, who: Who) -> Result<(&'static str, String, Option<String>)> {
        Ok(match (self, who) {
            (Self::Native, Who::Nights) => ("ServiceAccount", "mary".to_owned(), None),
            (Self::Native, Who::Person(_) | Who::Cat) => {
                let name = if let Who::Person(name) = who { name } else { "cat" };
                ("ServiceAccount", name.to_owned(), project.api::<ServiceAccount>().get(name).await?.uid())
            }
            (Self::Outside(_), Who::Nights) => ("Group", format!("idc:{GROUP}"), None),
            (Self::Outside(store), Who::Person(_) | Who::Cat) => {
                let name = if let Who::Person(name) = who { name } else { "cat@example.com" };
                ("User", format!("idc:{name}"), Some(store.id_of(name).await?))
            }
        })
    }
}

fn ready(user: &AdminUser) -> Option<&Condition> {
    let conditions = user.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().find(|found| found.type_ == ConditionType::Ready.as_str())
}

/// Waits until somebody is `Ready` or not for this reason.
async fn until_says(project: &Project, name: &str, reason: Reason) -> Result<AdminUser> {
    let says = |user: &AdminUser| ready(user).is_some_and(|ready| ready.reason == reason.as_str());
    project.until_any(name, reason.as_str(), says).await
}

/// Waits until the project says so of its directory.
async fn until_directory_is(project: &Project, holds: bool, reason: Reason) -> Result<()> {
    let wanted = (if holds { "True" } else { "False" }, reason.as_str());
    let says = |found: &ProjectObject| {
        let conditions = found.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let is_it = |condition: &&Condition| condition.type_ == ConditionType::DirectoryReady.as_str();
        conditions.iter().find(is_it).is_some_and(|found| (found.status.as_str(), found.reason.as_str()) == wanted)
    };
    project.until_any("project", &format!("its directory {wanted:?}"), says).await.map(drop)
}

/// Who is bound by each RoleBinding.
async fn bound(project: &Project) -> Result<BTreeMap<String, Vec<Subject>>> {
    let found = bindings_of(project).await?;
    Ok(found.into_iter().map(|binding| (binding.name_any(), binding.subjects.unwrap_or_default())).collect())
}

async fn until_bound(project: &Project, expected: &[(&str, &str)]) -> Result<()> {
    wait::until(&format!("{expected:?} to be bound"), LIMIT, async || {
        let found = bound(project).await?;
        let names: Vec<(&str, &str)> = found
            .iter()
            .flat_map(|(binding, all)| all.iter().map(|one| (binding.as_str(), one.name.as_str())))
            .collect();
        Ok(if names == expected { Look::Done(()) } else { Look::NotYet(format!("{found:?}")) })
    })
    .await
}

async fn conforms(project: &Project, directory: &Directory<'_>) -> Result<()> {
    directory.fill(project).await?;
    let mut scenarios = scenarios();
    if let Directory::Native = directory {
        // In Identity Center an address is one person's.
        scenarios.push(Scenario {
            name: "two-of-an-address",
            spec: json!({ "person": { "email": "twin@example.com" } }),
            expected: Expected::Refused(Reason::DirectoryRefused, "2 people of the directory"),
        });
    }
    for Scenario { name, spec, .. } in &scenarios {
        let mut spec = spec.clone();
        spec["role"] = "Viewer".into();
        project.create::<AdminUser>(json!({ "metadata": { "name": name }, "spec": spec })).await?;
        // So that it meets who was created, and is not created beside them.
        if *name == "created" {
            until_has(project, name, Role::Viewer).await?;
        }
    }
    for Scenario { name, expected, .. } in &scenarios {
        match expected {
            Expected::Is(who) => {
                let user = until_has(project, name, Role::Viewer).await.with_context(|| format!("scenario {name}"))?;
                let (kind, subject, id) = directory.subject(project, *who).await?;
                let bound = bound(project).await?;
                let [only] = bound[&format!("{name}-read-only")].as_slice() else { anyhow::bail!("{name}: {bound:?}") };
                ensure!((only.kind.as_str(), only.name.as_str()) == (kind, subject.as_str()), "{name}: {only:?}");
                let status = user.status.context("a status")?;
                ensure!(id.is_none() || status.directory_id == id, "{name}: {status:?} is not {id:?}");
                let user_name = status.kubernetes_user.unwrap_or_default();
                ensure!(kind != "User" || user_name == subject, "{name}: {user_name}");
            }
            Expected::Refused(reason, words) => {
                let user = until_says(project, name, *reason).await.with_context(|| format!("scenario {name}"))?;
                let said = ready(&user).map(|ready| ready.message.clone()).unwrap_or_default();
                ensure!(said.contains(words), "{name}: {said}");
            }
        }
    }
    let with_role = scenarios.iter().filter(|one| matches!(one.expected, Expected::Is(_))).count();
    ensure!(bound(project).await?.len() == with_role, "{:?}", bound(project).await?);
    // What is removed leaves nothing behind, and the directory as it was.
    for Scenario { name, .. } in &scenarios {
        project.api::<AdminUser>().delete(name, &DeleteParams::default()).await?;
    }
    until_bound(project, &[]).await?;
    for name in ["mary", "ann"] {
        directory.subject(project, Who::Person(name)).await.context("people stay in the directory")?;
    }
    Ok(())
}

pub(crate) async fn both_directories_do_the_same(stage: Arc<Stage>) -> Result<()> {
    let native = Project::new(&stage, "native").await?;
    conforms(&native, &Directory::Native).await.context("Native")?;
    until_directory_is(&native, true, Reason::PrerequisitesMet).await?;

    let outside = Project::new(&stage, "outside").await?;
    let store = stage.identity_center().await?.store();
    let directory = json!({ "spec": { "directory": store.directory() } });
    outside.patch::<ProjectObject>("project", directory).await?;
    until_directory_is(&outside, true, Reason::PrerequisitesMet).await?;
    conforms(&outside, &Directory::Outside(store)).await.context("IamIdentityCenter")
}

async fn add(project: &Project, name: &str, role: Role) -> Result<()> {
    let spec = json!({ "role": role, "person": { "userName": name } });
    project.create::<AdminUser>(json!({ "metadata": { "name": name }, "spec": spec })).await.map(drop)
}

/// Whether this user may list the devices of the project, by the API server.
async fn until_lists(project: &Project, user: &str, may: bool) -> Result<()> {
    let api: Api<SubjectAccessReview> = Api::all(project.stage.client());
    let resource = json!({
        "namespace": project.namespace, "verb": "list", "group": "fleetform.dev", "resource": "deviceinstances",
    });
    let review = serde_json::from_value(json!({ "spec": { "user": user, "resourceAttributes": resource } }))?;
    wait::until(&format!("rights of {user} to be in force"), LIMIT, async || {
        let allowed = api.create(&PostParams::default(), &review).await?.status.is_some_and(|status| status.allowed);
        Ok(if allowed == may { Look::Done(()) } else { Look::NotYet(format!("allowed: {allowed}")) })
    })
    .await
}

pub(crate) async fn an_outside_directory_that_is_away_takes_and_gives_nothing(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "away").await?;
    let store = stage.identity_center().await?.store();
    for name in ["mary", "john", "ann"] {
        store.add(name, &format!("{name}@example.com")).await?;
    }
    project.patch::<ProjectObject>("project", json!({ "spec": { "directory": store.directory() } })).await?;
    add(&project, "mary", Role::Viewer).await?;
    add(&project, "john", Role::Viewer).await?;
    until_has(&project, "mary", Role::Viewer).await?;
    until_has(&project, "john", Role::Viewer).await?;
    until_lists(&project, "idc:mary", true).await?;
    until_lists(&project, "mary", false).await?;

    for (door, reason) in [(Door::Away, Reason::DirectoryUnavailable), (Door::Denied, Reason::DirectoryAccessDenied)] {
        store.set(door);
        let mary = until_says(&project, "mary", reason).await?;
        let said = ready(&mary).map(|ready| ready.message.clone()).unwrap_or_default();
        ensure!(said.contains("the role stays as it is"), "{said}");
        until_says(&project, "john", reason).await?;
        until_directory_is(&project, false, reason).await?;
        until_bound(&project, &[("john-read-only", "idc:john"), ("mary-read-only", "idc:mary")]).await?;
        // Nobody is added, until it is back.
        add(&project, "ann", Role::Viewer).await?;
        until_says(&project, "ann", reason).await?;
        // Roles are changed and taken all the same: who has them is known.
        project.patch::<AdminUser>("mary", json!({ "spec": { "role": "Installer" } })).await?;
        until_bound(&project, &[("john-read-only", "idc:john"), ("mary-installer", "idc:mary")]).await?;
        project.api::<AdminUser>().delete("john", &DeleteParams::default()).await?;
        until_gone(&project, "john").await?;
        until_bound(&project, &[("mary-installer", "idc:mary")]).await?;

        store.set(Door::Open);
        until_directory_is(&project, true, Reason::PrerequisitesMet).await?;
        until_has(&project, "ann", Role::Viewer).await?;
        until_has(&project, "mary", Role::Installer).await?;
        project.api::<AdminUser>().delete("ann", &DeleteParams::default()).await?;
        until_gone(&project, "ann").await?;
        add(&project, "john", Role::Viewer).await?;
        until_has(&project, "john", Role::Viewer).await?;
        project.patch::<AdminUser>("mary", json!({ "spec": { "role": "Viewer" } })).await?;
        until_has(&project, "mary", Role::Viewer).await?;
    }
    // Who is gone from the directory has no role any more.
    store.remove("mary").await?;
    until_says(&project, "mary", Reason::PersonNotFound).await?;
    until_bound(&project, &[("john-read-only", "idc:john")]).await?;
    until_lists(&project, "idc:mary", false).await?;

    // With another directory everybody is looked up anew.
    project.patch::<ProjectObject>("project", json!({ "spec": { "directory": null } })).await?;
    until_says(&project, "john", Reason::PersonNotFound).await?;
    until_bound(&project, &[]).await?;
    let person = json!({ "metadata": { "name": "john", "labels": { "fleetform.dev/person": "true" } } });
    project.create::<ServiceAccount>(person).await?;
    until_has(&project, "john", Role::Viewer).await?;
    until_bound(&project, &[("john-read-only", "john")]).await
}

pub(crate) async fn a_project_goes_although_its_directory_is_away(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "leaves").await?;
    let store = stage.identity_center().await?.store();
    store.add("mary", "mary@example.com").await?;
    let change = json!({ "spec": { "directory": store.directory(), "deletionConfirmation": "Delete" } });
    project.patch::<ProjectObject>("project", change).await?;
    add(&project, "mary", Role::Admin).await?;
    until_has(&project, "mary", Role::Admin).await?;
    store.set(Door::Away);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(stage.client());
    namespaces.delete(&project.namespace, &DeleteParams::default()).await?;
    wait::until("the namespace to be gone", LIMIT, async || {
        Ok(match namespaces.get_opt(&project.namespace).await? {
            None => Look::Done(()),
            Some(namespace) => Look::NotYet(format!("{:#?}", namespace.status)),
        })
    })
    .await
}
