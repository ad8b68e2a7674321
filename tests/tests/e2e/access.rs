//! Who sees what.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{ActivationCodeList, DeviceListQuery, DeviceName, activation_code_path};
use fleetform_e2e::installation::{AUDIENCE, NAMESPACE, OPERATOR_ACCOUNT, SIMULATOR_ACCOUNT};
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::installer::{BearerToken, Installer, InstallerError, PortalAuthorities};
use fleetform_simulator::transport::{Network, Timeouts};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::devices::activated;
use super::project::{INSTALLER, LIMIT, Project, SITE, SITE_NAME, reader, site};
use super::stage::Stage;

/// The HTTP status of an answer; 0 when it was none.
fn status<T>(answer: kube::Result<T>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(_) => 0,
    }
}

async fn reads_nothing(stage: &Stage, project: &Project, namespace: &str, account: &str) -> Result<()> {
    let client = stage.plane.client_for_service_account(namespace, account).await?;
    let all = ListParams::default();
    for place in [project.namespace.as_str(), NAMESPACE] {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), place);
        let devices: Api<DeviceInstance> = Api::namespaced(client.clone(), place);
        ensure!(status(secrets.list(&all).await) == 403, "{account} lists Secrets in {place}");
        ensure!(status(secrets.get("door-activation-qr").await) == 403, "{account} reads a code in {place}");
        ensure!(status(devices.list(&all).await) == 403, "{account} lists device instances in {place}");
        ensure!(status(devices.get("door").await) == 403, "{account} reads a device instance in {place}");
    }
    Ok(())
}

pub(crate) async fn the_simulator_sees_what_an_installer_sees(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "simulator-access").await?;
    project.ready_device("door").await?;
    reads_nothing(&stage, &project, NAMESPACE, SIMULATOR_ACCOUNT).await?;
    // The one token that it holds is good for the portal alone.
    let token = stage.cluster().audience_token(NAMESPACE, SIMULATOR_ACCOUNT, AUDIENCE).await?;
    let request = http::Request::get("/api").header("Authorization", format!("Bearer {token}")).body(Vec::new())?;
    let mut config = kube::Config::new(stage.plane.server().parse()?);
    config.root_cert = Some(vec![der(stage.plane.ca_pem())?]);
    let answer = kube::Client::try_from(config)?.request_text(request).await;
    ensure!(status(answer) == 401, "the API server takes the portal's token");

    // The operator, too, may do its work and no more.
    let operator = stage.plane.client_for_service_account(NAMESPACE, OPERATOR_ACCOUNT).await?;
    let devices: Api<DeviceInstance> = Api::namespaced(operator.clone(), &project.namespace);
    ensure!(status(devices.get("door").await) == 200);
    ensure!(status(devices.delete("door", &DeleteParams::default()).await) == 403, "it deletes what people wrote");
    let rename = Patch::Merge(json!({ "spec": { "displayName": "X" } }));
    ensure!(status(devices.patch("door", &PatchParams::default(), &rename).await) == 403, "it edits what people wrote");
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "mine" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
    }))?;
    let bindings: Api<ClusterRoleBinding> = Api::all(operator);
    ensure!(status(bindings.create(&PostParams::default(), &binding).await) == 403, "it makes itself more than it is");
    Ok(())
}

/// A certificate without its armour.
pub(crate) fn der(pem: &str) -> Result<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}

fn code<T>(answer: Result<T, InstallerError>) -> Option<ProblemCode> {
    answer.err().and_then(|error| error.code())
}

pub(crate) async fn an_installer_sees_one_project_and_no_configuration(stage: Arc<Stage>) -> Result<()> {
    let ours = Project::new(&stage, "ours").await?;
    let theirs = Project::new(&stage, "theirs").await?;
    ours.ready_device("door").await?;
    theirs.ready_device("door").await?;
    reads_nothing(&stage, &ours, &ours.namespace, INSTALLER).await?;

    let installer = ours.installer().await?;
    let all = DeviceListQuery::default();
    let list = installer.project_devices(&ours.namespace, &all).await?;
    let names: Vec<_> = list.items.iter().map(|device| device.id.clone()).collect();
    ensure!(names == [ours.name("door")], "{list:?}");
    ensure!(list.items[0].site == SITE && !list.items[0].simulated, "{list:?}");
    installer.activation_text(&ours.name("door")).await?;

    // What is forbidden and what is not there look alike.
    let absent = |name: &str| DeviceName { project: theirs.namespace.clone(), name: name.to_owned() };
    for name in ["door", "no-such-door"] {
        ensure!(code(installer.activation_text(&absent(name)).await) == Some(ProblemCode::NotFound), "{name}");
    }
    ensure!(code(installer.project_devices(&theirs.namespace, &all).await) == Some(ProblemCode::NotFound));
    ensure!(code(installer.devices(&all).await) == Some(ProblemCode::NotFound), "all projects are not theirs to list");
    ensure!(code(installer.site_address(&theirs.namespace, SITE).await) == Some(ProblemCode::NotFound));

    // Nobody, and somebody with a token that was made for something else.
    let wrong = stage.cluster().audience_token(&ours.namespace, INSTALLER, "something-else").await?;
    for token in [wrong, "eyJhbGciOiJub25lIn0.e30.".to_owned()] {
        let authorities = PortalAuthorities::File(stage.installation.portal_ca());
        let network = Network::new(Timeouts::default());
        let portal = stage.installation.portal_url().parse()?;
        let stranger = Installer::new(network, portal, authorities, BearerToken::Text(token));
        let answer = code(stranger.activation_text(&ours.name("door")).await);
        ensure!(answer == Some(ProblemCode::NotAuthenticated), "{answer:?}");
    }
    Ok(())
}

/// Somebody who may have the code of one device instance, and nothing else.
async fn helper(project: &Project, instance: &str) -> Result<Installer> {
    project.create::<ServiceAccount>(json!({ "metadata": { "name": "helper" } })).await?;
    let rights = json!({
        "apiGroups": ["fleetform.dev"], "resources": ["deviceinstances/activationqrcode"],
        "resourceNames": [instance], "verbs": ["create"],
    });
    project.create::<Role>(json!({ "metadata": { "name": "helper" }, "rules": [rights] })).await?;
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "helper" });
    let subject = json!({ "kind": "ServiceAccount", "name": "helper", "namespace": project.namespace });
    let binding = json!({ "metadata": { "name": "helper" }, "roleRef": role, "subjects": [subject] });
    project.create::<RoleBinding>(binding).await?;
    project.stage.installation.installer(&project.namespace, "helper").await
}

fn listed(list: &ActivationCodeList) -> Vec<&str> {
    list.items.iter().map(|item| item.name.as_str()).collect()
}

pub(crate) async fn an_installer_sees_what_there_is_to_activate_at_a_site(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "codes").await?;
    let elsewhere = Project::new(&stage, "codes-elsewhere").await?;
    project.create::<Site>(json!({ "metadata": { "name": "annex" }, "spec": site() })).await?;
    let mut annex = reader("Annex door");
    annex["siteRef"]["name"] = "annex".into();
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "annex-door" }, "spec": annex })).await?;
    for name in ["back", "front", "side"] {
        project.device(name).await?;
    }
    for name in ["annex-door", "back", "front", "side"] {
        project.until_ready_for_activation(name).await?;
    }
    let installer = project.installer().await?;
    activated(&project, &installer, "side").await?;
    project.until("side", "active", |device| device.association().is_some()).await?;

    let namespace = project.namespace.as_str();
    let list = installer.activation_codes(namespace, SITE).await?;
    ensure!(list.site_name == SITE_NAME && listed(&list) == ["back", "front"], "{list:?}");
    let front = &list.items[1];
    ensure!(front.display_name == "front" && front.path == activation_code_path(namespace, "front"), "{front:?}");
    ensure!(front.operation_mode.is_some() && front.expires_at.is_some(), "{front:?}");
    ensure!(listed(&installer.activation_codes(namespace, "annex").await?) == ["annex-door"]);
    let text = installer.activation_text(&project.name("front")).await?;
    let token = text.rsplit('.').next().unwrap_or_default();
    ensure!(!serde_json::to_string(&list)?.contains(token), "the list holds a code");

    // The right to one instance shows this one alone, and nothing of a site where it is not.
    let helper = helper(&project, "front").await?;
    let seen = wait::until("the helper's right to be in force", LIMIT, async || {
        Ok(match helper.activation_codes(namespace, SITE).await {
            Ok(list) => Look::Done(list),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    ensure!(listed(&seen) == ["front"], "{seen:?}");
    ensure!(code(helper.activation_codes(namespace, "annex").await) == Some(ProblemCode::NotFound));

    // What is forbidden and what is not there look alike.
    for (project, site) in [(elsewhere.namespace.as_str(), SITE), (namespace, "no-such-site"), ("no-such", SITE)] {
        let refused = installer.activation_codes(project, site).await.err();
        let InstallerError::Refused(refusal) = refused.context("it is listed")? else { bail!("no answer") };
        ensure!(refusal.code == Some(ProblemCode::NotFound), "{refusal}");
        ensure!(refusal.to_string().contains("it does not exist, or you may not see it"), "{refusal}");
    }
    Ok(())
}
