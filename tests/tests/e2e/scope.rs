//! Roles at one site: they come and go with the site, and whoever has one works there, through the portal and the API server.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use fleetform_crds::condition::{ConditionType, Reason, has_reason};
use fleetform_crds::{AdminUser, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::admin::Role as Title;
use fleetform_domain::wire::{SiteObjects, site_objects_path};
use fleetform_e2e::installation::AUDIENCE;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::admins::{as_person, bindings, person, until_gone, until_has};
use super::project::{LIMIT, Project, SITE, reader, site};
use super::raw::{Answer, exchange, request};
use super::stage::Stage;

/// Somebody with a role at a site, who is created in the directory.
pub(crate) fn person_at(name: &str, role: Title, site: &str) -> Value {
    let mut person = person(name, role);
    person["spec"]["siteRef"] = json!({ "name": site });
    person
}

/// What the portal answers somebody of the project.
pub(crate) async fn ask_portal(project: &Project, account: &str, method: &str, path: &str) -> Result<Answer> {
    let installation = &project.stage.installation;
    let token = project.stage.cluster().audience_token(&project.namespace, account, AUDIENCE).await?;
    let question = request(method, path, &format!("Authorization: Bearer {token}\r\n"), "");
    exchange(&installation.portal_url(), &installation.authority().await?, &question).await
}

async fn until_said(project: &Project, name: &str, reason: Reason) -> Result<AdminUser> {
    project
        .until_any(name, &format!("{reason:?}"), |user: &AdminUser| {
            let status = user.status.as_ref();
            status.is_some_and(|status| has_reason(&status.conditions, ConditionType::Ready, reason))
        })
        .await
}

/// Names of the Roles that people have of their own.
async fn roles(project: &Project) -> Result<Vec<String>> {
    let ours = ListParams::default().labels("fleetform.dev/admin-user");
    Ok(project.api::<Role>().list(&ours).await?.iter().map(Role::name_any).collect())
}

pub(crate) async fn a_role_at_a_site_comes_and_goes_with_the_site(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "site-roles").await?;
    project.create::<AdminUser>(person_at("vic", Title::Technician, "depot")).await?;
    until_said(&project, "vic", Reason::SiteNotFound).await?;
    ensure!(roles(&project).await?.is_empty() && bindings(&project).await?.is_empty());
    let depot = json!({ "metadata": { "name": "depot" }, "spec": site() });
    for _ in 0..2 {
        project.create::<Site>(depot.clone()).await?;
        until_has(&project, "vic", Title::Technician).await?;
        ensure!(roles(&project).await? == ["vic-technician-at-site"], "{:?}", roles(&project).await?);
        let bound = ["vic-technician-at-site", "vic-technician-writes-at-site"];
        ensure!(bindings(&project).await? == bound, "{:?}", bindings(&project).await?);
        project.api::<Site>().delete("depot", &DeleteParams::default()).await?;
        until_said(&project, "vic", Reason::SiteNotFound).await?;
        ensure!(roles(&project).await?.is_empty() && bindings(&project).await?.is_empty(), "a role is left dangling");
    }
    project.create::<Site>(depot).await?;
    until_has(&project, "vic", Title::Technician).await?;
    // A Role that somebody bent is put right.
    let made = project.api::<Role>().get("vic-technician-at-site").await?;
    let all = json!([{ "apiGroups": ["fleetform.dev"], "resources": ["sites/devices"], "verbs": ["get"] }]);
    project.patch::<Role>("vic-technician-at-site", json!({ "rules": all })).await?;
    wait::until("the Role to be put right", LIMIT, async || {
        let role = project.api::<Role>().get_opt("vic-technician-at-site").await?;
        Ok(match role {
            Some(role) if role.rules == made.rules => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    project.patch::<AdminUser>("vic", json!({ "spec": { "role": "Installer" } })).await?;
    until_has(&project, "vic", Title::Installer).await?;
    ensure!(roles(&project).await? == ["vic-installer-at-site"], "{:?}", roles(&project).await?);
    ensure!(bindings(&project).await? == ["vic-installer-at-site"], "{:?}", bindings(&project).await?);
    project.api::<AdminUser>().delete("vic", &DeleteParams::default()).await?;
    until_gone(&project, "vic").await?;
    wait::until("what vic had to be collected", LIMIT, async || {
        let left = [roles(&project).await?, bindings(&project).await?].concat();
        Ok(if left.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{left:?}")) })
    })
    .await
}

pub(crate) async fn so_many_have_a_role_at_a_site_and_no_more(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "site-quota").await?;
    project.patch::<ProjectObject>("project", json!({ "spec": { "quotas": { "usersPerSite": 1 } } })).await?;
    project.create::<AdminUser>(person_at("ann", Title::Viewer, SITE)).await?;
    until_has(&project, "ann", Title::Viewer).await?;
    // Names decide within a second.
    project.create::<AdminUser>(person_at("bob", Title::Viewer, SITE)).await?;
    until_said(&project, "bob", Reason::QuotaExceeded).await?;
    // Who has a role in the project takes nobody's place.
    project.create::<AdminUser>(person("cat", Title::Viewer)).await?;
    until_has(&project, "cat", Title::Viewer).await?;
    project
        .until_any(SITE, "over quota", |site: &Site| {
            let conditions = site.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let said = conditions.iter().find(|one| one.type_ == "WithinQuota" && one.status == "False");
            said.is_some_and(|one| one.message.contains("there are 2 users of 1: bob is over quota"))
        })
        .await?;
    ensure!(roles(&project).await? == ["ann-viewer-at-site"], "{:?}", roles(&project).await?);
    project.api::<AdminUser>().delete("ann", &DeleteParams::default()).await?;
    until_has(&project, "bob", Title::Viewer).await.map(drop)
}

/// An object of the site, as the portal shows it.
async fn fetched(project: &Project, account: &str, kind: &str, name: &str) -> Result<Value> {
    let path = format!("{}?kind={kind}&name={name}", site_objects_path(&project.namespace, SITE));
    wait::until(&format!("the portal to show {name}"), LIMIT, async || {
        let answer = ask_portal(project, account, "GET", &path).await?;
        if answer.status != 200 {
            return Ok(Look::NotYet(format!("{answer:?}")));
        }
        let mut list: SiteObjects = serde_json::from_str(&answer.body)?;
        Ok(list.items.pop().map_or_else(|| Look::NotYet(answer.body), Look::Done))
    })
    .await
}

async fn replaced(client: &Client, project: &Project, object: Value) -> kube::Result<DeviceInstance> {
    let api: Api<DeviceInstance> = Api::namespaced(client.clone(), &project.namespace);
    let object: DeviceInstance = serde_json::from_value(object).expect("the portal shows device instances");
    api.replace(&object.name_any(), &PostParams::default(), &object).await
}

pub(crate) async fn an_admin_of_a_site_works_there_and_becomes_no_more(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "site-admin").await?;
    project.create::<AdminUser>(person_at("ann", Title::Admin, SITE)).await?;
    until_has(&project, "ann", Title::Admin).await?;
    project
        .until_any("project", "without an Admin", |found: &ProjectObject| {
            found.status.as_ref().is_some_and(|status| status.admin_count == 0 && status.observed_generation.is_some())
        })
        .await?;
    let ann = as_person(&project, "ann").await?;
    let devices: Api<DeviceInstance> = Api::namespaced(ann.clone(), &project.namespace);
    let front: DeviceInstance = serde_json::from_value(json!({
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "DeviceInstance",
        "metadata": { "name": "front" }, "spec": reader("Front"),
    }))?;
    wait::until("the rights of ann to be in force", LIMIT, async || {
        Ok(match devices.create(&PostParams::default(), &front).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    project.until_ready_for_activation("front").await?;
    // What is fetched from the portal is changed and put back, unless somebody was faster.
    wait::until("the name to be changed", LIMIT, async || {
        let mut object = fetched(&project, "ann", "DeviceInstance", "front").await?;
        object["spec"]["displayName"] = "Front door".into();
        Ok(match replaced(&ann, &project, object).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    let code = format!("/v1/projects/{}/device-instances/front/activation-qr-code", project.namespace);
    let answer = ask_portal(&project, "ann", "POST", &code).await?;
    ensure!(answer.status == 200, "{answer:?}");

    // Roles at the site are theirs to give. No others are, by any way.
    let users: Api<AdminUser> = Api::namespaced(ann.clone(), &project.namespace);
    let user = |mut body: Value| -> Result<AdminUser> {
        body["apiVersion"] = "fleetform.dev/v1alpha1".into();
        body["kind"] = "AdminUser".into();
        Ok(serde_json::from_value(body)?)
    };
    users.create(&PostParams::default(), &user(person_at("vic", Title::Viewer, SITE))?).await?;
    until_has(&project, "vic", Title::Viewer).await?;
    for body in [
        person("ann2", Title::Admin),
        person("ann3", Title::Installer),
        person_at("ann4", Title::Admin, "annex"),
        json!({ "metadata": { "name": "ann5" }, "spec": { "role": "Admin", "person": { "userName": "ann" } } }),
    ] {
        let refused = users.create(&PostParams::default(), &user(body.clone())?).await;
        let Err(kube::Error::Api(status)) = refused else { bail!("{body}: {refused:?}") };
        ensure!(status.code == 403, "{body}: {status:?}");
    }
    // Nor can they make somebody's address stand for two, and with that take a role that goes by it.
    let boss = json!({ "role": "Viewer", "person": { "email": "boss@example.com", "firstName": "B", "lastName": "B", "create": true } });
    project.create::<AdminUser>(json!({ "metadata": { "name": "boss" }, "spec": boss })).await?;
    until_has(&project, "boss", Title::Viewer).await?;
    let mut twin = person_at("twin", Title::Viewer, SITE);
    twin["spec"]["person"]["email"] = "boss@example.com".into();
    users.create(&PostParams::default(), &user(twin)?).await?;
    until_said(&project, "twin", Reason::DirectoryRefused).await?;
    until_has(&project, "boss", Title::Viewer).await?;
    // Nor make up who somebody is that has yet to come.
    let awaited = json!({ "role": "Technician", "person": { "email": "new@example.com" } });
    project.create::<AdminUser>(json!({ "metadata": { "name": "awaited" }, "spec": awaited })).await?;
    until_said(&project, "awaited", Reason::PersonNotFound).await?;
    let mut made_up = person_at("made-up", Title::Viewer, SITE);
    made_up["spec"]["person"]["email"] = "new@example.com".into();
    users.create(&PostParams::default(), &user(made_up)?).await?;
    until_has(&project, "made-up", Title::Viewer).await?;
    until_said(&project, "awaited", Reason::DirectoryRefused).await?;
    // Their own Role is not theirs to change.
    let own: Api<Role> = Api::namespaced(ann, &project.namespace);
    let widen = Patch::Merge(json!({ "rules": [] }));
    ensure!(own.patch("ann-admin-at-site", &PatchParams::default(), &widen).await.is_err(), "they change their Role");
    ensure!(own.get("ann-admin-at-site").await.is_err(), "they read Roles");
    Ok(())
}

/// The operator starts anew here, so that it knows of no policy.
pub(crate) async fn no_role_is_given_at_a_site_without_the_policy_that_narrows_it(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "no-policy").await?;
    project.create::<AdminUser>(person_at("bob", Title::Admin, SITE)).await?;
    until_has(&project, "bob", Title::Admin).await?;
    let policies: Api<ValidatingAdmissionPolicyBinding> = Api::all(stage.client());
    let mut binding = policies.get("fleetform-site-scope").await?;
    policies.delete("fleetform-site-scope", &DeleteParams::default()).await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    project.create::<AdminUser>(person_at("ann", Title::Admin, SITE)).await?;
    let said = until_said(&project, "ann", Reason::PolicyMissing).await;
    // Who had one has none any more, as nothing narrows it.
    let taken = until_said(&project, "bob", Reason::PolicyMissing).await;
    let left = bindings(&project).await;
    project.create::<AdminUser>(person("vic", Title::Viewer)).await?;
    let whole = until_has(&project, "vic", Title::Viewer).await;
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    policies.create(&PostParams::default(), &binding).await?;
    let conditions = said?.status.context("a status")?.conditions;
    ensure!(conditions.iter().any(|one| one.message.contains("fleetform-site-scope")), "{conditions:?}");
    whole?;
    taken?;
    let left = left?;
    ensure!(!left.iter().any(|name| name.ends_with("-at-site")), "{left:?}");
    until_has(&project, "bob", Title::Admin).await?;
    until_has(&project, "ann", Title::Admin).await.map(drop)
}
