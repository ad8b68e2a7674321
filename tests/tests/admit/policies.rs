//! The policies, each as a story: what it refuses, what remedies that, and what it must not stand in the way of.

use anyhow::{Result, ensure};
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::cases::example;
use super::refusals::Refusals;
use super::{Cluster, Kind, LIMIT, admins, departure, let_through, owned_by, refusal, refused, sites, tags};
use crate::render;

const CODE_TYPE: &str = "fleetform.dev/activation-qr";
const REVISION_TYPE: &str = "fleetform.dev/configuration-revision";
const INVITATION_TYPE: &str = "fleetform.dev/invitation";

pub(crate) async fn each_refuses_what_it_is_for_and_no_more(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    tokio::try_join!(
        their_expressions_are_well_typed(cluster),
        a_project_with_active_devices_stays(cluster, refusals),
        a_namespace_whose_project_has_active_devices_stays(cluster, refusals),
        namespaces_without_a_project_are_left_alone(cluster),
        a_site_with_devices_stays(cluster, refusals),
        a_template_with_devices_stays(cluster, refusals),
        an_asset_with_sensors_stays(cluster, refusals),
        alerts_are_raised_by_the_operator_alone(cluster, refusals),
        the_garbage_collector_goes_on(cluster),
        simulation_takes_a_label_on_the_namespace(cluster, refusals),
        secrets_of_the_operator_are_its_own(cluster, refusals),
        the_operator_makes_no_other_secrets(cluster, refusals),
        the_operator_deletes_no_other_config_maps(cluster, refusals),
        the_operator_leaves_instances_as_people_wrote_them(cluster, refusals),
        an_address_in_a_secret_stays(cluster, refusals),
        what_is_done_to_a_device_takes_a_right_of_its_own(cluster, refusals),
        departure::a_door_that_holds_a_list_is_given_up_by_right(cluster, refusals),
        people_are_enrolled_and_released_by_the_operator_alone(cluster, refusals),
        admins::roles_are_given_by_who_may_bind_them(cluster, refusals),
        admins::an_admin_stays(cluster, refusals),
        admins::the_operator_gives_no_other_roles(cluster, refusals),
        tags::who_is_meant_touches_only_what_carries_the_tag(cluster, refusals),
        sites::who_has_a_site_writes_there_and_nowhere_else(cluster, refusals),
        sites::rights_do_not_add_up_to_more(cluster),
        sites::who_may_patch_may_read(cluster),
        admins::the_operator_makes_no_other_roles(cluster, refusals),
    )?;
    Ok(())
}

async fn their_expressions_are_well_typed(cluster: &Cluster) -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    wait::until("every policy to be checked", LIMIT, async || {
        for policy in policies.list(&ListParams::default()).await? {
            let status = policy.status.clone().unwrap_or_default();
            let Some(checked) = status.type_checking.filter(|_| status.observed_generation == policy.meta().generation)
            else {
                return Ok(Look::NotYet(format!("{} is not", policy.name_any())));
            };
            let warnings = checked.expression_warnings.unwrap_or_default();
            ensure!(warnings.is_empty(), "{}: {warnings:#?}", policy.name_any());
        }
        Ok(Look::Done(()))
    })
    .await
}

async fn a_project_with_active_devices_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("project", json!({})).await?;
    let project = stored(cluster, Kind::Project, &ns, json!({ "activatedCount": 3 })).await?;
    let delete = deletion(cluster, Kind::Project, &ns, &project);
    refusals.by_policy("delete a Project with active devices", &refused("deletion of the project", &delete).await?);
    cluster.set_status(Kind::Project, &ns, &project, &json!({ "activatedCount": 1 })).await?;
    let status = refusal("deletion of the project", delete(false).await)?;
    refusals.by_policy("delete a Project with one active device", &status);
    for (count, what) in [(2, "people"), (1, "one person")] {
        let counts = json!({ "activatedCount": 0, "enrolledUserCount": count });
        cluster.set_status(Kind::Project, &ns, &project, &counts).await?;
        let status = refusal("deletion of the project", delete(false).await)?;
        refusals.by_policy(&format!("delete a Project with {what}"), &status);
    }
    cluster.set_status(Kind::Project, &ns, &project, &json!({ "enrolledUserCount": 0 })).await?;
    let status = refusal("unconfirmed deletion of the project", delete(false).await)?;
    refusals.by_policy("delete a Project without deletionConfirmation", &status);
    merge(cluster, Kind::Project, &ns, &project, json!({ "spec": { "deletionConfirmation": "Delete" } })).await?;
    delete(false).await?;
    Ok(())
}

async fn a_namespace_whose_project_has_active_devices_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("namespace", json!({ "fleetform.dev/project": "true" })).await?;
    let project = stored(cluster, Kind::Project, &ns, json!({ "activatedCount": 2 })).await?;
    // Each of these would be refused on its own; a namespace that goes takes them along.
    stored(cluster, Kind::Site, &ns, json!({ "deviceInstanceCount": 2 })).await?;
    stored(cluster, Kind::ConfigTemplate, &ns, json!({ "devices": { "total": 2 } })).await?;
    stored(cluster, Kind::Asset, &ns, json!({ "sensorCount": 2 })).await?;
    cluster.set_status(Kind::Project, &ns, &project, &json!({ "enrolledUserCount": 2 })).await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let delete = async |dry_run| namespaces.delete(&ns, &DeleteParams { dry_run, ..DeleteParams::default() }).await;
    let mut status = refused("deletion of the namespace", delete).await?;
    status.message = status.message.replace(&ns, "<namespace>");
    refusals.by_policy("delete a namespace whose Project has active devices", &status);
    cluster.set_status(Kind::Project, &ns, &project, &json!({ "activatedCount": 0 })).await?;
    let_through("deletion of the namespace", delete).await?;
    cluster.gone("the namespace with all that is in it", &namespaces, &ns).await
}

async fn namespaces_without_a_project_are_left_alone(cluster: &Cluster) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let other = cluster.namespace("unlabelled", json!({})).await?;
    let empty = cluster.namespace("without-project", json!({ "fleetform.dev/project": "true" })).await?;
    for ns in [&other, &empty] {
        namespaces.delete(ns, &DeleteParams::default()).await?;
    }
    cluster.gone("a namespace without our label", &namespaces, &other).await?;
    cluster.gone("a namespace without a project", &namespaces, &empty).await
}

async fn a_site_with_devices_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("site", json!({})).await?;
    let site = stored(cluster, Kind::Site, &ns, json!({ "deviceInstanceCount": 2 })).await?;
    let delete = deletion(cluster, Kind::Site, &ns, &site);
    refusals.by_policy("delete a Site with devices", &refused("deletion of the site", &delete).await?);
    cluster.set_status(Kind::Site, &ns, &site, &json!({ "deviceInstanceCount": 0, "assetCount": 2 })).await?;
    refusals.by_policy("delete a Site with assets", &refusal("deletion of the site", delete(false).await)?);
    cluster.set_status(Kind::Site, &ns, &site, &json!({ "assetCount": 0 })).await?;
    delete(false).await?;
    Ok(())
}

async fn an_asset_with_sensors_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("asset", json!({})).await?;
    let asset = stored(cluster, Kind::Asset, &ns, json!({ "sensorCount": 2 })).await?;
    let delete = deletion(cluster, Kind::Asset, &ns, &asset);
    refusals.by_policy("delete an Asset with sensors", &refused("deletion of the asset", &delete).await?);
    cluster.set_status(Kind::Asset, &ns, &asset, &json!({ "sensorCount": 1 })).await?;
    refusals.by_policy("delete an Asset with one sensor", &refusal("deletion of the asset", delete(false).await)?);
    cluster.set_status(Kind::Asset, &ns, &asset, &json!({ "sensorCount": 0 })).await?;
    delete(false).await?;
    Ok(())
}

/// Not even the administrator says what a sensor measured; whoever may write alerts says what it was.
async fn alerts_are_raised_by_the_operator_alone(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("alert", json!({})).await?;
    let api = cluster.api(Kind::Alert, &ns);
    let alert = super::dynamic(&example(Kind::Alert)?);
    let create = async |dry_run| api.create(&PostParams { dry_run, ..PostParams::default() }, &alert).await;
    refusals.by_policy("raise an Alert", &refused("an alert that a person makes", create).await?);
    cluster.store(Kind::Alert, &ns, &example(Kind::Alert)?).await?;
    merge(cluster, Kind::Alert, &ns, "example", json!({ "spec": { "acknowledged": true } })).await?;
    Ok(())
}

async fn a_template_with_devices_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("template", json!({})).await?;
    let template = stored(cluster, Kind::ConfigTemplate, &ns, json!({ "devices": { "total": 1 } })).await?;
    let delete = deletion(cluster, Kind::ConfigTemplate, &ns, &template);
    refusals.by_policy("delete a ConfigTemplate with devices", &refused("deletion of the template", &delete).await?);
    cluster.set_status(Kind::ConfigTemplate, &ns, &template, &json!({ "devices": { "total": 0 } })).await?;
    delete(false).await?;
    Ok(())
}

/// Who makes something the owner of a site means the site to go with it; if the collector were refused, it would try for ever.
async fn the_garbage_collector_goes_on(cluster: &Cluster) -> Result<()> {
    let ns = cluster.namespace("garbage", json!({})).await?;
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &ns);
    let owner = serde_json::from_value(json!({ "metadata": { "name": "owner" } }))?;
    let uid = config_maps.create(&PostParams::default(), &owner).await?.metadata.uid;
    let mut site = example(Kind::Site)?;
    site["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid }]);
    site["status"] = json!({ "deviceInstanceCount": 2 });
    cluster.store(Kind::Site, &ns, &site).await?;
    let api = cluster.api(Kind::Site, &ns);
    refused("deletion of the owned site by a person", deletion(cluster, Kind::Site, &ns, "example")).await?;
    config_maps.delete("owner", &DeleteParams::background()).await?;
    cluster.gone("the owned site", &api, "example").await
}

async fn simulation_takes_a_label_on_the_namespace(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("simulation", json!({})).await?;
    let api = cluster.api(Kind::Site, &ns);
    let mut site = example(Kind::Site)?;
    site["spec"]["simulation"] = json!({ "enabled": true });
    let create =
        async |dry_run| api.create(&PostParams { dry_run, ..PostParams::default() }, &super::dynamic(&site)).await;
    refusals.by_policy("create a simulated Site", &refused("a simulated site", create).await?);
    let name = stored(cluster, Kind::Site, &ns, json!({ "activatedCount": 0 })).await?;
    merge(cluster, Kind::Site, &ns, &name, json!({ "spec": { "simulation": { "enabled": false } } })).await?;
    let turn_on = json!({ "spec": { "simulation": { "enabled": true } } });
    let status = refusal("turning simulation on", merge(cluster, Kind::Site, &ns, &name, turn_on.clone()).await)?;
    refusals.by_policy("turn simulation on", &status);
    label_simulation(cluster, &ns, "denied").await?;
    refused("turning simulation on with another value of the label", async |dry_run| {
        api.patch(&name, &PatchParams { dry_run, ..PatchParams::default() }, &Patch::Merge(&turn_on)).await
    })
    .await?;
    label_simulation(cluster, &ns, "allowed").await?;
    let_through("turning simulation on where it is allowed", async |dry_run| {
        api.patch(&name, &PatchParams { dry_run, ..PatchParams::default() }, &Patch::Merge(&turn_on)).await
    })
    .await?;
    // The label is taken away again: simulation can be turned off, and the operator goes on writing what it sees.
    label_simulation(cluster, &ns, "denied").await?;
    refused("an edit of a simulated site", async |dry_run| {
        let edit = Patch::Merge(json!({ "spec": { "description": "still simulated" } }));
        api.patch(&name, &PatchParams { dry_run, ..PatchParams::default() }, &edit).await
    })
    .await?;
    cluster.set_status(Kind::Site, &ns, &name, &json!({ "activatedCount": 0 })).await?;
    merge(cluster, Kind::Site, &ns, &name, json!({ "spec": { "simulation": null } })).await?;
    Ok(())
}

async fn secrets_of_the_operator_are_its_own(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("secrets", json!({})).await?;
    let device = cluster.store(Kind::DeviceInstance, &ns, &example(Kind::DeviceInstance)?).await?;
    let operator = cluster.operator().await?;
    let secrets = |client: &Client| Api::<Secret>::namespaced(client.clone(), &ns);
    let (mine, its) = (secrets(&cluster.client), secrets(operator));
    for (name, type_) in [("code", CODE_TYPE), ("revision", REVISION_TYPE), ("letter", INVITATION_TYPE)] {
        let owner = owned_by(&device);
        let secret = secret(name, type_, &owner)?;
        let status = refused("a Secret of the operator's type", async |dry_run| {
            mine.create(&PostParams { dry_run, ..PostParams::default() }, &secret).await
        })
        .await?;
        refusals.by_policy(&format!("create a Secret of type {type_}"), &status);
        its.create(&PostParams::default(), &secret).await?;
        its.patch(name, &PatchParams::default(), &Patch::Merge(json!({ "stringData": { "content": "2" } }))).await?;
        // Neither its content nor what stands on it; and no Secret becomes one.
        for change in [
            json!({ "stringData": { "content": "forged" } }),
            json!({ "metadata": { "annotations": { "fleetform.dev/expires-at": "2999-01-01T00:00:00Z" } } }),
            json!({ "metadata": { "ownerReferences": null } }),
        ] {
            let outcome = mine.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await;
            let status = refusal(&format!("{change} on {name}"), outcome)?;
            refusals.by_policy(&format!("change a Secret of type {type_}"), &status);
        }
        // As everybody does who has Secrets encrypted anew in storage.
        mine.replace(name, &PostParams::default(), &mine.get(name).await?).await?;
    }
    let mut labelled = secret("labelled", "Opaque", &Value::Null)?;
    labelled.labels_mut().insert("fleetform.dev/secret".into(), "activation-qr".into());
    let outcome = mine.create(&PostParams::default(), &labelled).await.map(drop);
    refusals.by_policy("create a Secret with the operator's label", &refusal("a labelled Secret", outcome)?);
    mine.create(&PostParams::default(), &secret("wifi", "fleetform.dev/wifi", &Value::Null)?).await?;
    let retype = Patch::Merge(json!({ "type": CODE_TYPE }));
    let status = refusal("a change of type", mine.patch("wifi", &PatchParams::default(), &retype).await)?;
    ensure!(status.message.contains("denied") || status.message.contains("immutable"), "{}", status.message);
    // Who deletes a code has another one made.
    mine.delete("revision", &DeleteParams::default()).await?;
    // The collector takes an owner off what is orphaned, and what is owned away.
    let devices = cluster.api(Kind::DeviceInstance, &ns);
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    devices.delete("example", &orphan).await?;
    cluster.gone("the device that leaves its code behind", &devices, "example").await?;
    ensure!(mine.get("code").await?.owner_references().is_empty(), "the code still names the device that left it");
    let device = cluster.store(Kind::DeviceInstance, &ns, &example(Kind::DeviceInstance)?).await?;
    its.create(&PostParams::default(), &secret("owned", CODE_TYPE, &owned_by(&device))?).await?;
    devices.delete("example", &DeleteParams::background()).await?;
    cluster.gone("the code of the deleted device", &mine, "owned").await
}

/// Or who takes the operator over could be anybody.
async fn the_operator_makes_no_other_secrets(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("confinement", json!({})).await?;
    let operator = cluster.operator().await?;
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), &ns);
    let mut token = secret("token", "kubernetes.io/service-account-token", &Value::Null)?;
    token.annotations_mut().insert("kubernetes.io/service-account.name".into(), "default".into());
    let status = refused("a token made by the operator", async |dry_run| {
        secrets.create(&PostParams { dry_run, ..PostParams::default() }, &token).await
    })
    .await?;
    refusals.by_policy("create a token of a ServiceAccount, as the operator", &status);
    let theirs: Api<Secret> = Api::namespaced(cluster.client.clone(), &ns);
    theirs.create(&PostParams::default(), &secret("theirs", "Opaque", &Value::Null)?).await?;
    let outcome = secrets.delete("theirs", &DeleteParams::default()).await.map(drop);
    refusals.by_policy("delete somebody's Secret, as the operator", &refusal("a deletion", outcome)?);
    let key = secret("fleetform-activation-key", "Opaque", &Value::Null)?;
    refusal("a key in another namespace", secrets.create(&PostParams::default(), &key).await)?;
    let own: Api<Secret> = Api::namespaced(operator.clone(), render::NAMESPACE);
    own.create(&PostParams { dry_run: true, ..PostParams::default() }, &key).await?;
    let next = secret("fleetform-authority-2", "Opaque", &Value::Null)?;
    own.create(&PostParams { dry_run: true, ..PostParams::default() }, &next).await?;
    let strange = secret("fleetform-authority-x", "Opaque", &Value::Null)?;
    refusal("a key of another name", own.create(&PostParams::default(), &strange).await)?;
    Ok(())
}

/// It deletes what it kept of events, and nothing else that lies beside it.
async fn the_operator_deletes_no_other_config_maps(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), render::NAMESPACE);
    let its: Api<ConfigMap> = Api::namespaced(cluster.operator().await?.clone(), render::NAMESPACE);
    for name in ["theirs", "fleetform-events-a-1-1"] {
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        maps.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await?;
    }
    let outcome = its.delete("theirs", &DeleteParams::default()).await.map(drop);
    refusals.by_policy("delete somebody's ConfigMap, as the operator", &refusal("a deletion", outcome)?);
    its.delete("fleetform-events-a-1-1", &DeleteParams::default()).await?;
    maps.delete("theirs", &DeleteParams::default()).await?;
    Ok(())
}

/// It puts finalizers on them and takes them off, and that is all.
async fn the_operator_leaves_instances_as_people_wrote_them(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("instances", json!({})).await?;
    let kind = Kind::DeviceInstance;
    cluster.store(kind, &ns, &example(kind)?).await?;
    let operator = kind.api(cluster.operator().await?, &ns);
    let change =
        async |change: Value| operator.patch("example", &PatchParams::default(), &Patch::Merge(change)).await.map(drop);
    for (number, other) in [
        json!({ "spec": { "displayName": "Another door" } }),
        json!({ "metadata": { "labels": { "team": "operator" } } }),
        json!({ "metadata": { "annotations": { "fleetform.dev/reboot": "now" } } }),
    ]
    .into_iter()
    .enumerate()
    {
        let status = refusal(&format!("change {number} of an instance"), change(other).await)?;
        if number == 0 {
            refusals.by_policy("change the spec of a DeviceInstance, as the operator", &status);
        }
    }
    change(json!({ "metadata": { "finalizers": ["fleetform.dev/enrolled-users"] } })).await?;
    change(json!({ "metadata": { "finalizers": null } })).await?;
    Ok(())
}

async fn an_address_in_a_secret_stays(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("address", json!({})).await?;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &ns);
    secrets.create(&PostParams::default(), &secret("address", "fleetform.dev/address", &Value::Null)?).await?;
    let status = refused("another address in the Secret", async |dry_run| {
        let change = Patch::Merge(json!({ "stringData": { "content": "2" } }));
        secrets.patch("address", &PatchParams { dry_run, ..PatchParams::default() }, &change).await
    })
    .await?;
    refusals.by_policy("change a Secret of type fleetform.dev/address", &status);
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "facilities" } } }));
    secrets.patch("address", &PatchParams::default(), &label).await?;
    Ok(())
}

/// Who may write instances and sites, and nothing of the rest, is refused each of them; the administrator is not.
async fn what_is_done_to_a_device_takes_a_right_of_its_own(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("commands", json!({})).await?;
    let editor = cluster.editor(&ns).await?;
    for kind in [Kind::DeviceInstance, Kind::Site] {
        cluster.store(kind, &ns, &example(kind)?).await?;
    }
    let annotate = |name: &str, value: &str| json!({ "metadata": { "annotations": { name: value } } });
    let device = Kind::DeviceInstance;
    for (what, kind, change) in [
        ("reboot a device", device, annotate("fleetform.dev/reboot", "now")),
        ("answer a lock", device, annotate("fleetform.dev/remediate", "SameSite@l1")),
        ("say that a device is elsewhere", device, annotate("fleetform.dev/remediate", "DifferentSite@l1")),
        ("unlock a device", device, annotate("fleetform.dev/unlock", "l1")),
        ("deactivate a device", device, json!({ "spec": { "activation": { "epoch": 1 } } })),
        (
            "answer the locks of a site",
            Kind::Site,
            annotate("fleetform.dev/remediate", "SameSite@2026-01-01T12:00:00Z"),
        ),
    ] {
        let api = kind.api(&editor, &ns);
        let mut status = refused(what, async |dry_run| {
            api.patch("example", &PatchParams { dry_run, ..PatchParams::default() }, &Patch::Merge(&change)).await
        })
        .await?;
        status.message = status.message.replace(&ns, "<namespace>");
        refusals.by_policy(&format!("{what} without the right to"), &status);
        merge(cluster, kind, &ns, "example", change).await?;
    }
    who_may_deactivate_does_not_therefore_unlock(cluster, refusals, &ns, &editor).await?;
    for (what, kind, change) in [
        ("a reboot without a name", device, annotate("fleetform.dev/reboot", "now, please")),
        ("an answer to nothing", device, annotate("fleetform.dev/remediate", "SameSite")),
        ("a lock's id that is none", device, annotate("fleetform.dev/unlock", "the red one")),
        ("a site's answer without a time", Kind::Site, annotate("fleetform.dev/remediate", "SameSite@yesterday")),
    ] {
        let status = refusal(what, merge(cluster, kind, &ns, "example", change).await)?;
        refusals.by_policy(what, &status);
    }
    // What is left standing is nobody's business: an edit of something else goes through.
    let api = device.api(&editor, &ns);
    let edit = Patch::Merge(json!({ "spec": { "displayName": "Renamed" } }));
    api.patch("example", &PatchParams::default(), &edit).await?;
    Ok(())
}

/// A device that is locked until it was inspected is not let go by who may not unlock it.
async fn who_may_deactivate_does_not_therefore_unlock(
    cluster: &Cluster,
    refusals: &Refusals,
    ns: &str,
    editor: &Client,
) -> Result<()> {
    cluster.grant(ns, &["deviceinstances/deactivate"]).await?;
    let device = Kind::DeviceInstance;
    let lock = json!({ "id": "l1", "reason": "Tamper", "since": "2026-01-01T12:00:00Z" });
    cluster.set_status(device, ns, "example", &json!({ "lock": lock })).await?;
    let api = device.api(editor, ns);
    let deactivate = Patch::Merge(json!({ "spec": { "activation": { "epoch": 2 } } }));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let mut status = wait::until("the right to deactivate to be in force", LIMIT, async || {
        let status = refusal("deactivate a locked device", api.patch("example", &dry, &deactivate).await.map(drop))?;
        let about_the_lock = status.message.contains("UnlockDevice");
        Ok(if about_the_lock { Look::Done(status) } else { Look::NotYet(status.message) })
    })
    .await?;
    status.message = status.message.replace(ns, "<namespace>");
    refusals
        .by_policy("deactivate a device that is locked until it was inspected, without the right to unlock", &status);
    cluster.set_status(device, ns, "example", &json!({ "lock": null })).await?;
    api.patch("example", &PatchParams::default(), &deactivate).await?;
    Ok(())
}

/// Nobody makes a person up, or ends a removal before devices have forgotten somebody; everybody with the right may delete one.
async fn people_are_enrolled_and_released_by_the_operator_alone(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let ns = cluster.namespace("people", json!({})).await?;
    let (kind, api) = (Kind::EnrolledUser, cluster.api(Kind::EnrolledUser, &ns));
    let person = super::dynamic(&example(kind)?);
    let status = refused("a person whom somebody makes up", async |dry_run| {
        api.create(&PostParams { dry_run, ..PostParams::default() }, &person).await
    })
    .await?;
    refusals.by_policy("create an EnrolledUser", &status);
    cluster.store(kind, &ns, &example(kind)?).await?;
    // Labels and other annotations are anybody's who may write.
    let noted = json!({ "metadata": { "labels": { "team": "library" }, "annotations": { "note": "asked to go" } } });
    merge(cluster, kind, &ns, "example", noted).await?;
    let take_off = json!({ "metadata": { "finalizers": null } });
    let status = refusal("a finalizer taken off", merge(cluster, kind, &ns, "example", take_off.clone()).await)?;
    refusals.by_policy("take the finalizer off an EnrolledUser", &status);
    let reseal = json!({ "spec": { "sealedProfile": "YW5vdGhlcg==" } });
    let status = refusal("another profile for somebody", merge(cluster, kind, &ns, "example", reseal.clone()).await)?;
    refusals.by_policy("seal an EnrolledUser anew", &status);
    let operator = kind.api(cluster.operator().await?, &ns);
    operator.patch("example", &PatchParams::default(), &Patch::Merge(&reseal)).await?;
    let editor = kind.api(&cluster.editor(&ns).await?, &ns);
    let abandon = Patch::Merge(json!({ "metadata": { "annotations": { "fleetform.dev/abandon": "it burned down" } } }));
    let mut status = refused("giving up without the right to", async |dry_run| {
        editor.patch("example", &PatchParams { dry_run, ..PatchParams::default() }, &abandon).await
    })
    .await?;
    status.message = status.message.replace(&ns, "<namespace>");
    refusals.by_policy("give up on an un-enrollment without the right to", &status);
    api.patch("example", &PatchParams::default(), &abandon).await?;
    api.delete("example", &DeleteParams::default()).await?;
    ensure!(api.get("example").await?.metadata.deletion_timestamp.is_some(), "the finalizer holds it");
    refusal("a finalizer taken off what was deleted", merge(cluster, kind, &ns, "example", take_off).await)?;
    let release = json!([{ "op": "remove", "path": "/metadata/finalizers/0" }]);
    operator.patch("example", &PatchParams::default(), &Patch::Json::<()>(serde_json::from_value(release)?)).await?;
    cluster.gone("the released person", &api, "example").await
}

fn secret(name: &str, type_: &str, owners: &Value) -> Result<Secret> {
    let metadata = json!({ "name": name, "ownerReferences": owners });
    Ok(serde_json::from_value(json!({ "metadata": metadata, "type": type_, "stringData": { "content": "1" } }))?)
}

/// Stores the example of the kind with this status; its name.
async fn stored(cluster: &Cluster, kind: Kind, namespace: &str, status: Value) -> Result<String> {
    let mut object = example(kind)?;
    object["status"] = status;
    Ok(cluster.store(kind, namespace, &object).await?.name_any())
}

fn deletion<'a>(
    cluster: &'a Cluster,
    kind: Kind,
    namespace: &'a str,
    name: &'a str,
) -> impl AsyncFn(bool) -> kube::Result<()> + 'a {
    async move |dry_run| {
        let parameters = DeleteParams { dry_run, ..DeleteParams::default() };
        cluster.api(kind, namespace).delete(name, &parameters).await.map(drop)
    }
}

async fn merge(cluster: &Cluster, kind: Kind, namespace: &str, name: &str, change: Value) -> kube::Result<()> {
    let api = cluster.api(kind, namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
}

async fn label_simulation(cluster: &Cluster, namespace: &str, value: &str) -> Result<()> {
    let label = Patch::Merge(json!({ "metadata": { "labels": { "fleetform.dev/simulation": value } } }));
    Api::<Namespace>::all(cluster.client.clone()).patch(namespace, &PatchParams::default(), &label).await?;
    Ok(())
}
