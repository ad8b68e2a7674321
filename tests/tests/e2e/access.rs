//! Who sees what.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{DeviceListQuery, DeviceName};
use fleetform_e2e::installation::{AUDIENCE, NAMESPACE, OPERATOR_ACCOUNT, SIMULATOR_ACCOUNT};
use fleetform_simulator::installer::{BearerToken, Installer, InstallerError, PortalAuthorities};
use fleetform_simulator::transport::{Network, Timeouts};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::project::{INSTALLER, Project, SITE};
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

fn der(pem: &str) -> Result<Vec<u8>> {
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
