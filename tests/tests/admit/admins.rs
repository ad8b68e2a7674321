//! The policies about who may do what: roles are given by who may bind them, an Admin stays, and the operator gives no others.

use anyhow::{Result, ensure};
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::cases::example;
use super::refusals::Refusals;
use super::{Cluster, Kind, LIMIT, dynamic, let_through, refusal, refused};

/// Who may write `AdminUsers` and not `bind` gives nobody a role, takes none, and becomes nothing.
pub(crate) async fn roles_are_given_by_who_may_bind_them(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("roles", json!({})).await?;
    let kind = Kind::AdminUser;
    let editor = cluster.editor(&ns).await?;
    cluster.grant(&ns, &["adminusers"]).await?;
    let api = kind.api(&editor, &ns);
    let mut somebody = example(kind)?;
    somebody["metadata"]["name"] = "somebody".into();
    let somebody = dynamic(&somebody);
    let mut status = refused("a role given without the right to", async |dry_run| {
        match api.create(&PostParams { dry_run, ..PostParams::default() }, &somebody).await {
            // The right to create is not in force yet.
            Err(kube::Error::Api(status)) if !status.message.contains("AssociateProjectAdminUser") => Ok(()),
            created => created.map(drop),
        }
    })
    .await?;
    status.message = status.message.replace(&ns, "<namespace>");
    refusals.by_policy("give a role without `bind` on it", &status);

    cluster.store(kind, &ns, &example(kind)?).await?;
    let promote = Patch::Merge(json!({ "spec": { "role": "Admin" } }));
    let outcome = api.patch("example", &PatchParams::default(), &promote).await;
    refusal("somebody who makes a Viewer an Admin", outcome)?;
    // Who may bind one role may not therefore take another.
    let bind = json!({ "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
        "resourceNames": ["fleetform-technician"], "verbs": ["bind"] });
    let rule = Patch::Json::<()>(serde_json::from_value(json!([{ "op": "add", "path": "/rules/-", "value": bind }]))?);
    Api::<Role>::namespaced(cluster.client.clone(), &ns).patch("editor", &PatchParams::default(), &rule).await?;
    let change = Patch::Merge(json!({ "spec": { "role": "Technician" } }));
    let mut status = refused("a role taken without the right to", async |dry_run| {
        match api.patch("example", &PatchParams { dry_run, ..PatchParams::default() }, &change).await {
            // The right to bind is not in force yet.
            Err(kube::Error::Api(status)) if !status.message.contains("DisassociateProjectAdminUser") => Ok(()),
            patched => patched.map(drop),
        }
    })
    .await?;
    status.message = status.message.replace(&ns, "<namespace>");
    refusals.by_policy("take a role without `bind` on it", &status);
    // What is no change of a role is anybody's who may write.
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "library" } } }));
    api.patch("example", &PatchParams::default(), &label).await?;
    Ok(())
}

/// The only Admin of a project is neither removed nor given another role, and nobody takes the finalizer off that holds an Admin.
pub(crate) async fn an_admin_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("admins", json!({})).await?;
    let kind = Kind::AdminUser;
    let api = cluster.api(kind, &ns);
    let mut project = example(Kind::Project)?;
    project["status"] = json!({ "adminCount": 1 });
    cluster.store(Kind::Project, &ns, &project).await?;
    let mut admin = example(kind)?;
    json_patch::merge(
        &mut admin,
        &json!({
            "metadata": { "finalizers": ["fleetform.dev/last-admin"] },
            "spec": { "role": "Admin" },
            "status": { "role": "Admin" },
        }),
    );
    cluster.store(kind, &ns, &admin).await?;
    let delete =
        async |dry_run| api.delete("example", &DeleteParams { dry_run, ..DeleteParams::default() }).await.map(drop);
    refusals.by_policy("delete the last Admin", &refused("deletion of the last Admin", delete).await?);
    // An Admin of a site is not held, nor counted.
    let mut of_site = admin.clone();
    json_patch::merge(
        &mut of_site,
        &json!({ "metadata": { "name": "of-site", "finalizers": null }, "spec": { "siteRef": { "name": "central" } } }),
    );
    cluster.store(kind, &ns, &of_site).await?;
    api.delete("of-site", &DeleteParams::default()).await?;
    let merge = async |change: Value| api.patch("example", &PatchParams::default(), &Patch::Merge(&change)).await;
    refusal("another role for the last Admin", merge(json!({ "spec": { "role": "Viewer" } })).await)?;
    let outcome = merge(json!({ "metadata": { "finalizers": null } })).await;
    refusals.by_policy("take the finalizer off an Admin", &refusal("a finalizer taken off", outcome)?);
    cluster.set_status(Kind::Project, &ns, "project", &json!({ "adminCount": 2 })).await?;
    let_through("deletion of an Admin beside another", delete).await?;
    let release = json!([{ "op": "remove", "path": "/metadata/finalizers/0" }]);
    let operator = kind.api(cluster.operator().await?, &ns);
    operator.patch("example", &PatchParams::default(), &Patch::Json::<()>(serde_json::from_value(release)?)).await?;
    cluster.gone("the Admin who was released", &api, "example").await
}

/// The operator may bind, and make accounts. It binds nothing else, nobody else, and makes no other accounts.
pub(crate) async fn the_operator_gives_no_other_roles(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("given", json!({})).await?;
    let operator = cluster.operator().await?;
    let bindings: Api<RoleBinding> = Api::namespaced(operator.clone(), &ns);
    let binding = |change: Value| {
        let mut body = json!({
            "metadata": { "name": "mary-read-only", "labels": { "fleetform.dev/admin-user": "true" } },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fleetform-read-only" },
            "subjects": [{ "kind": "ServiceAccount", "name": "mary", "namespace": ns }],
        });
        json_patch::merge(&mut body, &change);
        serde_json::from_value::<RoleBinding>(body)
    };
    let rbac = "rbac.authorization.k8s.io";
    for (what, change) in [
        ("bind a role without the label, as the operator", json!({ "metadata": { "labels": null } })),
        (
            "bind somebody else, as the operator",
            json!({ "subjects": [{ "apiGroup": rbac, "kind": "User", "name": "mallory" }] }),
        ),
    ] {
        let binding = binding(change)?;
        let status = refused(what, async |dry_run| {
            bindings.create(&PostParams { dry_run, ..PostParams::default() }, &binding).await
        })
        .await?;
        refusals.by_policy(what, &status);
    }
    // A role that is not its own is refused by RBAC already; one that it may bind by some other grant, by the policy.
    let other = binding(json!({ "roleRef": { "name": "view" } }))?;
    refusal("cluster role view bound by the operator", bindings.create(&PostParams::default(), &other).await)?;
    let may = json!({
        "metadata": { "name": "operator-may-bind-view" },
        "rules": [{ "apiGroups": [rbac], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"] }],
    });
    let grant = json!({
        "metadata": { "name": "operator-may-bind-view" },
        "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "operator-may-bind-view" },
        "subjects": [{ "kind": "ServiceAccount", "name": "fleetform-operator", "namespace": crate::render::NAMESPACE }],
    });
    let mine = cluster.client.clone();
    Api::<Role>::namespaced(mine.clone(), &ns).create(&PostParams::default(), &serde_json::from_value(may)?).await?;
    Api::<RoleBinding>::namespaced(mine.clone(), &ns)
        .create(&PostParams::default(), &serde_json::from_value(grant)?)
        .await?;
    let status = refused("another role bound by the operator", async |dry_run| {
        match bindings.create(&PostParams { dry_run, ..PostParams::default() }, &other).await {
            Err(kube::Error::Api(status)) if !status.message.contains("ValidatingAdmissionPolicy") => Ok(()),
            created => created.map(drop),
        }
    })
    .await?;
    refusals.by_policy("bind another role, as the operator", &status);
    bindings.create(&PostParams::default(), &binding(json!({}))?).await?;
    // People and groups of an outside directory have the prefix of the chart; nobody else is bound.
    for (kind, name, is_theirs) in [
        ("User", "idc:mary", true),
        ("Group", "idc:night shift", true),
        ("User", "xidc:mary", false),
        ("Group", "system:masters", false),
        ("Group", "system:serviceaccounts", false),
    ] {
        let subject = json!({ "subjects": [{ "apiGroup": rbac, "kind": kind, "name": name }] });
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let mut other = binding(subject)?;
        other.metadata.name = Some("mary-again".to_owned());
        let bound = bindings.create(&params, &other).await;
        ensure!(bound.is_ok() == is_theirs, "{kind} {name}: {bound:?}");
    }

    let accounts: Api<ServiceAccount> = Api::namespaced(operator.clone(), &ns);
    let account = |labels: Value| {
        serde_json::from_value::<ServiceAccount>(json!({ "metadata": { "name": "mary", "labels": labels } }))
    };
    let status = refusal("a program", accounts.create(&PostParams::default(), &account(json!({}))?).await)?;
    refusals.by_policy("create a ServiceAccount that is no person, as the operator", &status);
    accounts.create(&PostParams::default(), &account(json!({ "fleetform.dev/person": "true" }))?).await?;
    Ok(())
}

/// The operator makes Roles. It makes none of anything but rights to one site, and binds no others.
pub(crate) async fn the_operator_makes_no_other_roles(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("made", json!({})).await?;
    let operator = cluster.operator().await?;
    let roles: Api<Role> = Api::namespaced(operator.clone(), &ns);
    let role = |change: Value| {
        let rule = json!({
            "apiGroups": ["fleetform.dev"], "resources": ["sites/devices"], "resourceNames": ["central"], "verbs": ["get"],
        });
        let mut body = json!({
            "metadata": { "name": "mary-viewer-at-site", "labels": { "fleetform.dev/admin-user": "true" } },
            "rules": [rule],
        });
        json_patch::merge(&mut body, &change);
        serde_json::from_value::<Role>(body)
    };
    let of = |group: &str, resource: &str, names: &[&str], verb: &str| json!({ "rules": [{ "apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": [verb] }] });
    let ours = "fleetform.dev";
    for (what, change) in [
        ("make a Role without the label, as the operator", json!({ "metadata": { "labels": null } })),
        ("make a Role of another name, as the operator", json!({ "metadata": { "name": "mary" } })),
        ("make a Role for all sites, as the operator", of(ours, "sites/devices", &[], "get")),
        ("make a Role for two sites, as the operator", of(ours, "sites/devices", &["central", "annex"], "get")),
        ("make a Role that reads Sites, as the operator", of(ours, "sites", &["central"], "get")),
        ("make a Role that reads Secrets, as the operator", of("", "secrets", &["central"], "get")),
        ("make a Role that makes accounts, as the operator", of("", "serviceaccounts", &["central"], "create")),
    ] {
        let role = role(change)?;
        let status =
            refused(what, async |dry_run| roles.create(&PostParams { dry_run, ..PostParams::default() }, &role).await)
                .await?;
        ensure!(status.message.contains("ValidatingAdmissionPolicy"), "{what}: {}", status.message);
        refusals.by_policy(what, &status);
    }
    // What the operator may not do itself it cannot give: that is RBAC's.
    for (resource, verb) in
        [("sites", "delete"), ("deviceinstances", "update"), ("enrolledusers/profile", "get"), ("sites", "*")]
    {
        let outcome = roles.create(&PostParams::default(), &role(of(ours, resource, &["central"], verb))?).await;
        let status = refusal(resource, outcome)?;
        ensure!(status.message.contains("attempting to grant"), "{}", status.message);
    }
    roles.create(&PostParams::default(), &role(json!({}))?).await?;
    // Nor does it change what it made.
    let widen = Patch::Merge(of(ours, "sites/devices", &["annex"], "get"));
    refusal(
        "a Role changed by the operator",
        roles.patch("mary-viewer-at-site", &PatchParams::default(), &widen).await,
    )?;

    // A Role of somebody else, though all that is in it is the operator's to do.
    let reads = json!({ "metadata": { "name": "reader" }, "rules": of(ours, "sites", &["central"], "get")["rules"] });
    let mine: Api<Role> = Api::namespaced(cluster.client.clone(), &ns);
    mine.create(&PostParams::default(), &serde_json::from_value(reads)?).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(operator.clone(), &ns);
    let binding = |name: &str, role: &str| {
        serde_json::from_value::<RoleBinding>(json!({
            "metadata": { "name": name, "labels": { "fleetform.dev/admin-user": "true" } },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": "mary", "namespace": ns }],
        }))
    };
    let what = "bind a Role that is not its own, as the operator";
    let other = binding("reader", "reader")?;
    let status = wait::until("the Role to be known", LIMIT, async || {
        let status = refusal(what, bindings.create(&PostParams::default(), &other).await)?;
        let by_policy = status.message.contains("ValidatingAdmissionPolicy");
        Ok(if by_policy { Look::Done(status) } else { Look::NotYet(status.message) })
    })
    .await?;
    refusals.by_policy(what, &status);
    wait::until("the operator's own Role to be bound", LIMIT, async || {
        let own = binding("mary-viewer-at-site", "mary-viewer-at-site")?;
        Ok(match bindings.create(&PostParams::default(), &own).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}
