//! People who work with a project: who they are, the roles that they are given, and the Admin who stays.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::admin_user::LAST_ADMIN_FINALIZER;
use fleetform_crds::condition::{ConditionType, Reason, has_reason, is_true};
use fleetform_crds::{AdminUser, DeviceInstance, Project as ProjectObject};
use fleetform_domain::admin::Role;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams, PostParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::project::{LIMIT, Project};
use super::stage::Stage;

/// Somebody who is created in the directory.
pub(crate) fn person(name: &str, role: Role) -> Value {
    let person = json!({
        "userName": name, "email": format!("{name}@example.com"), "firstName": name, "lastName": "Major", "create": true,
    });
    json!({ "metadata": { "name": name }, "spec": { "role": role, "person": person } })
}

pub(crate) async fn until_has(project: &Project, name: &str, role: Role) -> Result<AdminUser> {
    project
        .until_any(name, &format!("to be {}", role.as_str()), |user: &AdminUser| {
            user.status
                .as_ref()
                .is_some_and(|status| status.role == Some(role) && is_true(&status.conditions, ConditionType::Ready))
        })
        .await
}

/// The API server as this person sees it.
pub(crate) async fn as_person(project: &Project, name: &str) -> Result<Client> {
    project.stage.plane.client_for_service_account(&project.namespace, name).await
}

pub(crate) async fn until_gone(project: &Project, name: &str) -> Result<()> {
    wait::until(&format!("{name} to be gone"), LIMIT, async || {
        Ok(match project.api::<AdminUser>().get_opt(name).await? {
            None => Look::Done(()),
            Some(user) => Look::NotYet(format!("{:?}", user.status)),
        })
    })
    .await
}

/// Whether somebody is held, as nobody else is an Admin.
fn is_last_admin(user: &AdminUser) -> bool {
    let status = user.status.as_ref();
    status.is_some_and(|status| has_reason(&status.conditions, ConditionType::Ready, Reason::LastAdmin))
}

/// What the operator bound people with.
pub(crate) async fn bindings_of(project: &Project) -> Result<Vec<RoleBinding>> {
    let ours = ListParams::default().labels("fleetform.dev/admin-user");
    Ok(project.api::<RoleBinding>().list(&ours).await?.items)
}

pub(crate) async fn bindings(project: &Project) -> Result<Vec<String>> {
    let mut names: Vec<_> = bindings_of(project).await?.iter().map(RoleBinding::name_any).collect();
    names.sort();
    Ok(names)
}

/// Whether somebody may list the devices now.
async fn until_lists(project: &Project, client: &Client, may: bool) -> Result<()> {
    let devices: Api<DeviceInstance> = Api::namespaced(client.clone(), &project.namespace);
    wait::until("rights to be in force", LIMIT, async || {
        let listed = devices.list(&ListParams::default()).await;
        Ok(if listed.is_ok() == may { Look::Done(()) } else { Look::NotYet(format!("{:?}", listed.err())) })
    })
    .await
}

pub(crate) async fn roles_are_given_changed_and_taken(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "admins").await?;
    project.create::<AdminUser>(person("mary", Role::Viewer)).await?;
    let mary = until_has(&project, "mary", Role::Viewer).await?;
    let status = mary.status.context("a status")?;
    let account = project.api::<ServiceAccount>().get("mary").await?;
    ensure!(status.directory_id == account.uid(), "{status:?}");
    let user = format!("system:serviceaccount:{}:mary", project.namespace);
    ensure!(status.kubernetes_user.as_deref() == Some(user.as_str()), "{status:?}");
    let email = account.annotations().get("fleetform.dev/email").map(String::as_str);
    ensure!(email == Some("mary@example.com"), "{:?}", account.metadata);
    let client = as_person(&project, "mary").await?;
    until_lists(&project, &client, true).await?;

    // Another role in the place of the first.
    project.patch::<AdminUser>("mary", json!({ "spec": { "role": "Installer" } })).await?;
    until_has(&project, "mary", Role::Installer).await?;
    until_lists(&project, &client, false).await?;
    ensure!(bindings(&project).await? == ["mary-installer"], "{:?}", bindings(&project).await?);
    // A binding that somebody deleted or bent is put right.
    project.api::<RoleBinding>().delete("mary-installer", &DeleteParams::default()).await?;
    wait::until("the binding to be made anew", LIMIT, async || {
        let there = bindings(&project).await?;
        Ok(if there == ["mary-installer"] { Look::Done(()) } else { Look::NotYet(format!("{there:?}")) })
    })
    .await?;
    project.patch::<RoleBinding>("mary-installer", json!({ "subjects": null })).await?;
    wait::until("who is bound to be put right", LIMIT, async || {
        let binding = project.api::<RoleBinding>().get("mary-installer").await?;
        Ok(match binding.subjects.as_deref() {
            Some([subject]) if subject.name == "mary" => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;

    // A group is who carries its label, now and later.
    let group = json!({ "role": "Viewer", "group": { "name": "night-shift" } });
    project.create::<AdminUser>(json!({ "metadata": { "name": "nights" }, "spec": group })).await?;
    project
        .until_any("nights", "without anybody", |user: &AdminUser| {
            let status = user.status.as_ref();
            status.is_some_and(|status| has_reason(&status.conditions, ConditionType::Ready, Reason::GroupNotFound))
        })
        .await?;
    let label = json!({ "metadata": { "labels": { "group.fleetform.dev/night-shift": "" } } });
    project.patch::<ServiceAccount>("mary", label).await?;
    until_has(&project, "nights", Role::Viewer).await?;
    until_lists(&project, &client, true).await?;
    let label = json!({ "metadata": { "labels": { "group.fleetform.dev/night-shift": null } } });
    project.patch::<ServiceAccount>("mary", label).await?;
    until_lists(&project, &client, false).await?;

    // Who leaves the directory has no role any more, and a program that takes the name gets none.
    project.patch::<AdminUser>("mary", json!({ "spec": { "role": "Viewer" } })).await?;
    until_has(&project, "mary", Role::Viewer).await?;
    project.api::<ServiceAccount>().delete("mary", &DeleteParams::default()).await?;
    let program = serde_json::from_value(json!({ "metadata": { "name": "mary" } }))?;
    project.api::<ServiceAccount>().create(&PostParams::default(), &program).await?;
    project
        .until_any("mary", "not found", |user: &AdminUser| {
            let status = user.status.as_ref();
            status.is_some_and(|status| has_reason(&status.conditions, ConditionType::Ready, Reason::PersonNotFound))
        })
        .await?;
    ensure!(bindings(&project).await?.is_empty(), "{:?}", bindings(&project).await?);
    project.api::<AdminUser>().delete("mary", &DeleteParams::default()).await?;
    until_gone(&project, "mary").await?;

    // Who is deleted without what they own leaves no role.
    project.create::<AdminUser>(person("olga", Role::Viewer)).await?;
    until_has(&project, "olga", Role::Viewer).await?;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    project.api::<AdminUser>().delete("olga", &orphan).await?;
    until_gone(&project, "olga").await?;
    wait::until("her role to be taken", LIMIT, async || {
        let there = bindings(&project).await?;
        Ok(if there.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{there:?}")) })
    })
    .await
}

pub(crate) async fn nobody_makes_themselves_more_than_they_are(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "escalation").await?;
    for (name, role) in [("ann", Role::Admin), ("tom", Role::Technician)] {
        project.create::<AdminUser>(person(name, role)).await?;
        until_has(&project, name, role).await?;
    }
    let (ann, tom) = (as_person(&project, "ann").await?, as_person(&project, "tom").await?);
    until_lists(&project, &tom, true).await?;
    until_lists(&project, &ann, true).await?;
    let of = |client: &Client| Api::<AdminUser>::namespaced(client.clone(), &project.namespace);
    let promote = kube::api::Patch::Merge(json!({ "spec": { "role": "Admin" } }));
    let refused = of(&tom).patch("tom", &kube::api::PatchParams::default(), &promote).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("forbidden")), "a Technician becomes an Admin");
    // Nor does an Admin, by anything but what this project's roles are.
    let bindings: Api<RoleBinding> = Api::namespaced(ann.clone(), &project.namespace);
    let binding = serde_json::from_value(json!({
        "metadata": { "name": "more" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": "ann", "namespace": project.namespace }],
    }))?;
    ensure!(bindings.create(&PostParams::default(), &binding).await.is_err(), "an Admin binds what they like");
    // An Admin gives and takes roles.
    let viewer = person("vic", Role::Viewer);
    let mut viewer = viewer.as_object().cloned().context("an object")?;
    viewer.insert("apiVersion".into(), "fleetform.dev/v1alpha1".into());
    viewer.insert("kind".into(), "AdminUser".into());
    of(&ann).create(&PostParams::default(), &serde_json::from_value(viewer.into())?).await?;
    until_has(&project, "vic", Role::Viewer).await?;
    of(&ann).delete("vic", &DeleteParams::default()).await?;
    until_gone(&project, "vic").await
}

pub(crate) async fn a_project_that_has_an_admin_keeps_one(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "last-admin").await?;
    project.create::<AdminUser>(person("ann", Role::Admin)).await?;
    until_has(&project, "ann", Role::Admin).await?;
    project
        .until_any("project", "one Admin", |p: &ProjectObject| {
            p.status.as_ref().is_some_and(|status| status.admin_count == 1)
        })
        .await?;
    let admins = project.api::<AdminUser>();
    wait::until("the last Admin to be kept", LIMIT, async || {
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        Ok(match admins.delete("ann", &dry).await {
            Err(error) if error.to_string().contains("This is the last Admin of the project") => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    // Two who go at once are both let through, and both stay until there is another.
    project.create::<AdminUser>(person("bob", Role::Admin)).await?;
    until_has(&project, "bob", Role::Admin).await?;
    project
        .until_any("project", "two Admins", |p: &ProjectObject| {
            p.status.as_ref().is_some_and(|status| status.admin_count == 2)
        })
        .await?;
    let (ann, bob) = wait::until("both to be let go", LIMIT, async || {
        let params = DeleteParams::default();
        let (ann, bob) = tokio::join!(admins.delete("ann", &params), admins.delete("bob", &params));
        Ok(if ann.is_ok() || bob.is_ok() { Look::Done((ann, bob)) } else { Look::NotYet(format!("{ann:?} {bob:?}")) })
    })
    .await?;
    let going: Vec<&str> =
        [("ann", &ann), ("bob", &bob)].iter().filter(|(_, went)| went.is_ok()).map(|(name, _)| *name).collect();
    // Whoever went second, or was refused, is an Admin still.
    wait::until("one Admin to be left", LIMIT, async || {
        let there = bindings(&project).await?;
        ensure!(!there.is_empty(), "nobody is an Admin any more: {going:?} went");
        let left = admins.list(&ListParams::default()).await?.items;
        let is_settled = left.len() == 1 || left.iter().all(is_last_admin);
        Ok(if is_settled { Look::Done(()) } else { Look::NotYet(format!("{there:?}")) })
    })
    .await?;
    if going.len() == 2 && admins.list(&ListParams::default()).await?.items.len() == 2 {
        for name in ["ann", "bob"] {
            let held = project.until_any(name, "held as the last Admin", is_last_admin).await?;
            ensure!(held.finalizers() == [LAST_ADMIN_FINALIZER], "{:?}", held.metadata);
        }
        project.create::<AdminUser>(person("cat", Role::Admin)).await?;
        until_has(&project, "cat", Role::Admin).await?;
        until_gone(&project, "ann").await?;
        until_gone(&project, "bob").await?;
    }
    // A project takes its Admins along.
    project.patch::<ProjectObject>("project", json!({ "spec": { "deletionConfirmation": "Delete" } })).await?;
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
