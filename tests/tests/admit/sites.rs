//! The policies about roles at one site: who has one writes there and nowhere else, makes nobody more than they may, and hears nothing of
//! other sites. The roles are those that the operator makes, made by its account.

use anyhow::{Result, ensure};
use fleetform_crds::AdminUser;
use fleetform_domain::admin::Role as Title;
use fleetform_e2e::wait::{self, Look};
use fleetform_operator::controllers::admin::grant::grant;
use fleetform_operator::reconcile::body;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::cases::example;
use super::refusals::Refusals;
use super::{Cluster, Kind, LIMIT, dynamic, refusal, refused};
use crate::render::text;

/// The site that people here have a role at, and another one.
const SITES: [&str; 2] = ["central", "annex"];

/// Whether Kubernetes lets a user do this.
pub(crate) async fn may(cluster: &Cluster, user: &str, asked: ResourceAttributes) -> Result<bool> {
    let spec = json!({ "user": user, "groups": ["system:authenticated"], "resourceAttributes": asked });
    let review: SubjectAccessReview = serde_json::from_value(json!({ "metadata": {}, "spec": spec }))?;
    let answer =
        Api::<SubjectAccessReview>::all(cluster.client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The right to do something to a resource, or one beneath it (`sites/devices`), of Fleetform.
pub(crate) fn right(verb: &str, resource: &str, namespace: &str, name: &str) -> ResourceAttributes {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(of, sub)| (of, Some(sub)));
    ResourceAttributes {
        group: Some("fleetform.dev".to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(ToOwned::to_owned),
        verb: Some(verb.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        ..ResourceAttributes::default()
    }
}

/// Gives somebody a role, in the project or at a site, as the operator does; the name of the user.
pub(crate) async fn appoint(
    cluster: &Cluster,
    ns: &str,
    person: &str,
    role: Title,
    site: Option<&str>,
) -> Result<String> {
    let name = format!("{person}-{}-{}", role.as_str().to_lowercase(), site.unwrap_or("project"));
    let user: AdminUser = serde_json::from_value(json!({
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "AdminUser",
        "metadata": { "name": name, "namespace": ns },
        "spec": { "role": role, "siteRef": site.map(|name| json!({ "name": name })), "person": { "userName": person } },
    }))?;
    // Whom it is made for is stored, so that what is made has an owner.
    let stored = Api::<AdminUser>::namespaced(cluster.client.clone(), ns).create(&PostParams::default(), &user).await?;
    let subjects =
        serde_json::from_value::<Vec<_>>(json!([{ "kind": "ServiceAccount", "name": person, "namespace": ns }]))?;
    let operator = cluster.operator().await?;
    let given = grant(&stored, "fleetform", &subjects);
    if let Some(draft) = &given.role {
        let roles: Api<Role> = Api::namespaced(operator.clone(), ns);
        roles.create(&PostParams::default(), &body::role(&stored, draft)).await?;
    }
    for draft in &given.bindings {
        let bindings: Api<RoleBinding> = Api::namespaced(operator.clone(), ns);
        bindings.create(&PostParams::default(), &body::role_binding(&stored, draft)).await?;
    }
    let user = format!("system:serviceaccount:{ns}:{person}");
    let mut expected = vec![right("get", "sites/devices", ns, site.unwrap_or_default())];
    match role {
        Title::Admin => expected.push(right("create", "deviceinstances", ns, "")),
        Title::Technician => expected.push(right("update", "alerts", ns, "")),
        Title::Viewer | Title::Installer => {}
    }
    wait::until(&format!("{name} to be in force"), LIMIT, async || {
        for asked in &expected {
            if !may(cluster, &user, asked.clone()).await? {
                return Ok(Look::NotYet(format!("{asked:?}")));
            }
        }
        Ok(Look::Done(()))
    })
    .await?;
    Ok(user)
}

async fn account(cluster: &Cluster, ns: &str, name: &str) -> Result<Client> {
    let account = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    Api::<ServiceAccount>::namespaced(cluster.client.clone(), ns).create(&PostParams::default(), &account).await?;
    cluster.plane.client_for_service_account(ns, name).await
}

/// The example of a kind under this name, at this site.
fn at(kind: Kind, name: &str, site: &str) -> Result<Value> {
    let mut object = example(kind)?;
    object["metadata"]["name"] = name.into();
    if kind != Kind::Site {
        object["spec"]["siteRef"] = json!({ "name": site });
    }
    Ok(object)
}

/// Two sites, and of each kind an object at each, called after the site.
async fn two_sites(cluster: &Cluster, prefix: &str) -> Result<String> {
    let ns = cluster.namespace(prefix, json!({})).await?;
    for site in SITES {
        for kind in [Kind::Site, Kind::DeviceInstance, Kind::Asset, Kind::Alert, Kind::AdminUser] {
            cluster.store(kind, &ns, &at(kind, site, site)?).await?;
        }
    }
    Ok(ns)
}

async fn replace(client: &Client, kind: Kind, ns: &str, object: &DynamicObject, dry_run: bool) -> kube::Result<()> {
    let params = PostParams { dry_run, ..PostParams::default() };
    kind.api(client, ns).replace(object.metadata.name.as_deref().unwrap_or_default(), &params, object).await.map(drop)
}

async fn create(client: &Client, kind: Kind, ns: &str, object: &Value, dry_run: bool) -> kube::Result<()> {
    let params = PostParams { dry_run, ..PostParams::default() };
    kind.api(client, ns).create(&params, &dynamic(object)).await.map(drop)
}

/// An object as it is stored, changed by this.
async fn changed(cluster: &Cluster, kind: Kind, ns: &str, name: &str, change: Value) -> Result<DynamicObject> {
    let mut object = serde_json::to_value(cluster.api(kind, ns).get(name).await?)?;
    json_patch::merge(&mut object, &change);
    Ok(serde_json::from_value(object)?)
}

/// Who is Admin at one site, or answers alerts there, writes nothing elsewhere, and is not shown it by a write that changes nothing.
pub(crate) async fn who_has_a_site_writes_there_and_nowhere_else(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = two_sites(cluster, "site-scope").await?;
    let (ann, tom) = (account(cluster, &ns, "ann").await?, account(cluster, &ns, "tom").await?);
    let names = [
        appoint(cluster, &ns, "ann", Title::Admin, Some("central")).await?,
        appoint(cluster, &ns, "tom", Title::Technician, Some("central")).await?,
    ];
    let kinds = [Kind::DeviceInstance, Kind::Asset, Kind::Alert, Kind::Site, Kind::AdminUser];
    let unnamed = |mut status: kube::core::Status| {
        ensure!(!status.message.contains("annex\'") && !status.message.contains("Site annex"), "{}", status.message);
        for (user, name) in names.iter().zip(["ann", "tom"]) {
            status.message = status.message.replace(user, &format!("system:serviceaccount:<namespace>:{name}"));
        }
        status.message = status.message.replace(&ns, "<namespace>");
        Ok(status)
    };
    for kind in kinds {
        let what = format!("write {} at another site, changing nothing", kind.name());
        let theirs = changed(cluster, kind, &ns, "annex", json!({})).await?;
        let status = refused(&what, async |dry_run| replace(&ann, kind, &ns, &theirs, dry_run).await).await?;
        refusals.by_policy(&what, &unnamed(status)?);
        let ours = changed(cluster, kind, &ns, "central", json!({})).await?;
        replace(&ann, kind, &ns, &ours, false).await?;
        // A patch is refused before anything is looked at.
        let patch = Patch::Merge(json!({}));
        refusal("a patch", kind.api(&ann, &ns).patch("central", &PatchParams::default(), &patch).await)?;
    }
    for kind in [Kind::DeviceInstance, Kind::Asset, Kind::Alert, Kind::AdminUser] {
        let delete = async |name: &str| kind.api(&ann, &ns).delete(name, &DeleteParams::default()).await;
        refusal("deletion at another site", delete("annex").await)?;
        if kind != Kind::Alert {
            refusal("creation at another site", create(&ann, kind, &ns, &at(kind, "new", "annex")?, false).await)?;
            create(&ann, kind, &ns, &at(kind, "new", "central")?, false).await?;
        }
        delete(if kind == Kind::Alert { "central" } else { "new" }).await?;
    }
    let site = json!({ "spec": { "siteRef": { "name": "annex" } } });
    let moved = changed(cluster, Kind::DeviceInstance, &ns, "central", site).await?;
    refusal("an instance moved to another site", replace(&ann, Kind::DeviceInstance, &ns, &moved, false).await)?;
    refusal("a new site", create(&ann, Kind::Site, &ns, &at(Kind::Site, "depot", "")?, false).await)?;
    let from = json!({ "spec": { "address": null, "addressFrom": { "name": "address-of-annex" } } });
    let shows = changed(cluster, Kind::Site, &ns, "central", from).await?;
    let status = refusal("an address of elsewhere", replace(&ann, Kind::Site, &ns, &shows, false).await)?;
    refusals.by_policy("point a site at a Secret with an address, as an Admin of the site", &unnamed(status)?);

    // To answer alerts is a right of its own.
    let alert = |site| changed(cluster, Kind::Alert, &ns, site, json!({ "spec": { "acknowledged": true } }));
    let theirs = alert("annex").await?;
    refusal("an alert of another site", replace(&tom, Kind::Alert, &ns, &theirs, false).await)?;
    cluster.store(Kind::Alert, &ns, &at(Kind::Alert, "central", "central")?).await?;
    replace(&tom, Kind::Alert, &ns, &alert("central").await?, false).await?;
    let ours = changed(cluster, Kind::DeviceInstance, &ns, "central", json!({})).await?;
    refusal("an instance written by a Technician", replace(&tom, Kind::DeviceInstance, &ns, &ours, false).await)?;
    nobody_becomes_more(cluster, refusals, &ns, &ann, &unnamed).await
}

/// An Admin of a site gives and takes roles there, and neither makes themselves or another more, nor touches roles elsewhere.
async fn nobody_becomes_more(
    cluster: &Cluster,
    refusals: &Refusals,
    ns: &str,
    ann: &Client,
    unnamed: &impl Fn(kube::core::Status) -> Result<kube::core::Status>,
) -> Result<()> {
    let kind = Kind::AdminUser;
    for role in Title::ALL {
        let mut given = at(kind, "given", "central")?;
        given["spec"]["role"] = role.as_str().into();
        create(ann, kind, ns, &given, false).await?;
        kind.api(ann, ns).delete("given", &DeleteParams::default()).await?;
    }
    let mut whole = at(kind, "ann", "central")?;
    whole["spec"] = json!({ "role": "Admin", "person": { "userName": "ann" } });
    refusal("an Admin of a site who becomes Admin of the project", create(ann, kind, ns, &whole, false).await)?;
    whole["spec"]["role"] = "Installer".into();
    let mut status = refusal("the least role in the project", create(ann, kind, ns, &whole, false).await)?;
    // Two policies say no; which is told is open.
    status.message = status.message.replace("AssociateProjectAdminUser", "CreateAdminUser");
    ensure!(status.message.contains("CreateAdminUser"), "{}", status.message);
    for change in [json!({ "spec": { "siteRef": null } }), json!({ "spec": { "siteRef": { "name": "annex" } } })] {
        let bent = changed(cluster, kind, ns, "central", change.clone()).await?;
        refusal(&format!("{change}"), replace(ann, kind, ns, &bent, false).await)?;
    }
    // Somebody with the right to write at all sites and none to give roles gives none at a site either.
    let editor = cluster.editor(ns).await?;
    cluster.grant(ns, &["adminusers"]).await?;
    let at_site = at(kind, "somebody", "central")?;
    let status = wait::until("the editor to be refused by the policy", LIMIT, async || {
        let status = refusal("a role at a site", create(&editor, kind, ns, &at_site, false).await)?;
        let by_policy = status.message.contains("AssociateProjectAdminUser");
        Ok(if by_policy { Look::Done(status) } else { Look::NotYet(status.message) })
    })
    .await?;
    refusals.by_policy("give a role at a site without `bind` on it", &unnamed(status)?);
    let promoted = changed(cluster, kind, ns, "central", json!({ "spec": { "role": "Admin" } })).await?;
    refusal("a role at a site that is changed", replace(&editor, kind, ns, &promoted, false).await)?;
    let deleter = cluster.who_may(ns, "deleter", &["delete", "use"]).await?;
    let taken = kind.api(&deleter, ns).delete("central", &DeleteParams::default()).await;
    let mut status = refusal("a role at a site that is taken", taken)?;
    status.message = status.message.replace(":deleter ", ":editor ");
    refusals.by_policy("take a role at a site without `bind` on it", &unnamed(status)?);
    let as_rbac = [
        ("rolebindings", "create"),
        ("rolebindings", "patch"),
        ("roles", "create"),
        ("roles", "escalate"),
        ("roles", "bind"),
        ("clusterroles", "bind"),
        ("clusterroles", "escalate"),
    ];
    let as_core = [
        ("serviceaccounts", "create"),
        ("serviceaccounts", "patch"),
        ("serviceaccounts", "impersonate"),
        ("serviceaccounts/token", "create"),
        ("secrets", "get"),
        ("secrets", "list"),
    ];
    let user = format!("system:serviceaccount:{ns}:ann");
    for (group, rights) in [("rbac.authorization.k8s.io", &as_rbac[..]), ("", &as_core[..])] {
        for (resource, verb) in rights {
            let asked = ResourceAttributes { group: Some(group.to_owned()), ..right(verb, resource, ns, "") };
            ensure!(!may(cluster, &user, asked).await?, "an Admin of a site may {verb} {resource}");
        }
    }
    Ok(())
}

/// Who is Technician of the project, or at one site, and Admin at another one is not Admin where they are Technician.
pub(crate) async fn rights_do_not_add_up_to_more(cluster: &Cluster) -> Result<()> {
    let ns = two_sites(cluster, "adding-up").await?;
    let (bob, cat) = (account(cluster, &ns, "bob").await?, account(cluster, &ns, "cat").await?);
    for (person, elsewhere) in [("bob", None), ("cat", Some("annex"))] {
        appoint(cluster, &ns, person, Title::Admin, Some("central")).await?;
        appoint(cluster, &ns, person, Title::Technician, elsewhere).await?;
    }
    for client in [&bob, &cat] {
        for kind in [Kind::DeviceInstance, Kind::Asset, Kind::Site, Kind::AdminUser] {
            let theirs = changed(cluster, kind, &ns, "annex", json!({})).await?;
            refusal("a write where they are Technician", replace(client, kind, &ns, &theirs, false).await)?;
        }
        let alert = changed(cluster, Kind::Alert, &ns, "annex", json!({ "spec": { "acknowledged": true } })).await?;
        replace(client, Kind::Alert, &ns, &alert, false).await?;
        let delete = Kind::Alert.api(client, &ns).delete("annex", &DeleteParams::default()).await;
        refusal("an alert deleted where they are Technician", delete)?;
    }
    // Who is Admin of two sites moves things from one to the other.
    let dan = account(cluster, &ns, "dan").await?;
    for site in SITES {
        appoint(cluster, &ns, "dan", Title::Admin, Some(site)).await?;
    }
    let change = json!({ "spec": { "siteRef": { "name": "annex" } } });
    let moved = changed(cluster, Kind::DeviceInstance, &ns, "central", change).await?;
    replace(&dan, Kind::DeviceInstance, &ns, &moved, false).await?;
    Ok(())
}

/// Why people at sites do not patch: what a patch makes is checked before a policy is asked, and what is wrong is told with what was there.
pub(crate) async fn who_may_patch_may_read(cluster: &Cluster) -> Result<()> {
    let ns = two_sites(cluster, "patching").await?;
    let eve = account(cluster, &ns, "eve").await?;
    let rules = json!([{ "apiGroups": ["fleetform.dev"], "resources": ["deviceinstances"], "verbs": ["patch"] }]);
    let role = serde_json::from_value(json!({ "metadata": { "name": "patch" }, "rules": rules }))?;
    Api::<Role>::namespaced(cluster.client.clone(), &ns).create(&PostParams::default(), &role).await?;
    let binding = serde_json::from_value(json!({
        "metadata": { "name": "patch" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patch" },
        "subjects": [{ "kind": "ServiceAccount", "name": "eve", "namespace": ns }],
    }))?;
    Api::<RoleBinding>::namespaced(cluster.client.clone(), &ns).create(&PostParams::default(), &binding).await?;
    let api = Kind::DeviceInstance.api(&eve, &ns);
    let copy = json!([{ "op": "copy", "from": "/spec/displayName", "path": "/spec/deviceType" }]);
    let copy = Patch::Json::<()>(serde_json::from_value(copy)?);
    let example = example(Kind::DeviceInstance)?;
    let secret = text(&example, "/spec/displayName");
    wait::until("the right to patch to show what was there", LIMIT, async || {
        let status = refusal("a copy", api.patch("annex", &PatchParams::default(), &copy).await)?;
        Ok(if status.message.contains(secret) { Look::Done(()) } else { Look::NotYet(status.message) })
    })
    .await
}
