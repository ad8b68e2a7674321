//! Networks that change under devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::configuration::RefusalReason;
use fleetform_domain::wire::WifiCredentials;
use fleetform_simulator::device::{Device, DeviceError};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::devices::{activated, checking_in};
use super::project::{Project, condition, reason};
use super::software::refused;
use super::stage::Stage;

const NETWORK: &str = "lobby";

fn credentials(ssid: &str, passphrase: &str) -> Value {
    json!({ "stringData": { "ssid": ssid, "passphrase": passphrase } })
}

fn runs(version: u32) -> impl Fn(&DeviceInstance) -> bool {
    move |instance| {
        let configuration = instance.status.as_ref().and_then(|status| status.configuration.as_ref());
        configuration.is_some_and(|c| c.applied == Some(version)) && condition(instance, ConditionType::Ready)
    }
}

/// A project with a Secret of Wi-Fi credentials, and an active device that joins its network; the only one that is there.
async fn joined(stage: &Arc<Stage>, prefix: &str) -> Result<(Project, Device)> {
    let project = Project::new(stage, prefix).await?;
    let mut secret = credentials("doors", "the first passphrase");
    secret["metadata"] = json!({ "name": NETWORK });
    secret["type"] = json!("fleetform.dev/wifi");
    project.create::<Secret>(secret).await?;
    project.ready_device("door").await?;
    let wifi = json!({ "credentialsSecretRef": { "name": NETWORK } });
    project.patch::<DeviceInstance>("door", json!({ "spec": { "configuration": { "wifi": wifi } } })).await?;
    project
        .until("door", "to join the network", |door| {
            door.status.as_ref().and_then(|s| s.configuration.as_ref()).is_some_and(|c| c.desired == 2)
        })
        .await?;
    let installer = project.installer().await?;
    let mut device = activated(&project, &installer, "door").await?;
    device.quirks().wifi = Some(there(&[("doors", "the first passphrase")]));
    checking_in(&project, &mut device, "door", "in the network", runs(2)).await?;
    Ok((project, device))
}

fn there(networks: &[(&str, &str)]) -> BTreeMap<String, String> {
    networks.iter().map(|(ssid, passphrase)| ((*ssid).to_owned(), (*passphrase).to_owned())).collect()
}

async fn network(device: &Device) -> Result<Option<WifiCredentials>> {
    Ok(device.configuration().await?.and_then(|configuration| configuration.wifi))
}

/// Who may change the Secret changes the network of its devices: nothing else is edited.
pub(crate) async fn new_credentials_reach_the_device_by_their_secret_alone(stage: Arc<Stage>) -> Result<()> {
    let (project, mut device) = joined(&stage, "wifi").await?;
    // Both are there while the network changes over.
    device.quirks().wifi = Some(there(&[("doors", "the first passphrase"), ("gates", "the second passphrase")]));
    project.patch::<Secret>(NETWORK, credentials("gates", "the second passphrase")).await?;
    let instance = checking_in(&project, &mut device, "door", "in the new network", runs(3)).await?;
    let wifi = network(&device).await?.context("it is in a network")?;
    ensure!((wifi.ssid.as_str(), wifi.passphrase.as_str()) == ("gates", "the second passphrase"));
    ensure!(!device.is_on_trial(), "the gateway answered in it");
    let stored = serde_json::to_string(&instance)?;
    ensure!(!stored.contains("passphrase\":") && !stored.contains("second"), "nothing of it is in the instance");
    // What is no credential is said, and the device keeps what it has.
    project.patch::<Secret>(NETWORK, credentials("gates", "short")).await?;
    let instance = project
        .until("door", "told that the Secret is of no use", |door| {
            reason(door, ConditionType::Ready, "False").is_some_and(|(reason, _)| reason == "SecretUnusable")
        })
        .await?;
    let (_, message) = reason(&instance, ConditionType::Ready, "False").unwrap_or_default();
    ensure!(message.contains("8 to 63") && !message.contains("short"), "{message}");
    ensure!(device.synchronise().await?.desired_configuration_version == 3);
    Ok(())
}

pub(crate) async fn a_change_that_cuts_the_device_off_is_undone_by_the_device(stage: Arc<Stage>) -> Result<()> {
    let (project, mut device) = joined(&stage, "cutoff").await?;
    project.patch::<Secret>(NETWORK, credentials("doors", "a passphrase with a typo")).await?;
    project.until("door", "behind", |door| !condition(door, ConditionType::Ready)).await?;
    // It leaves its network for one that does not let it in, and calls in vain.
    let mut in_vain = 0;
    while let Err(error) = device.synchronise().await {
        ensure!(matches!(&error, DeviceError::Transport(error) if error.is_no_answer()), "{error}");
        ensure!(device.is_on_trial(), "it has gone back too early");
        in_vain += 1;
        if in_vain == 1 {
            // The power goes in the middle of it.
            device.power_on().await?;
        }
        ensure!(in_vain < 10, "it never goes back");
    }
    ensure!(in_vain > 0, "it was never cut off");
    let unreachable = refused(RefusalReason::GatewayUnreachable);
    let instance = checking_in(&project, &mut device, "door", "back", unreachable).await?;
    ensure!(device.applied_configuration_version() == Some(2), "{device:?}");
    let (why, message) = reason(&instance, ConditionType::Ready, "False").context("it is not ready")?;
    ensure!(why == "ConfigurationRefused", "{why}");
    ensure!(message.contains("could not reach its gateway") && message.contains("runs version 2"), "{message}");
    ensure!(condition(&instance, ConditionType::Stalled) && condition(&instance, ConditionType::Connected));
    // It does not try the same again, and takes what is right.
    device.power_on().await?;
    device.synchronise().await?;
    ensure!(device.applied_configuration_version() == Some(2), "it tried again");
    project.patch::<Secret>(NETWORK, credentials("doors", "the first passphrase")).await?;
    checking_in(&project, &mut device, "door", "as it was", runs(4)).await.map(drop)
}

/// A gateway that is away while the network changes is no reason to refuse the network.
pub(crate) async fn a_gateway_that_is_away_makes_no_network_wrong(stage: Arc<Stage>) -> Result<()> {
    let (project, mut device) = joined(&stage, "away").await?;
    project.patch::<Secret>(NETWORK, credentials("gates", "the second passphrase")).await?;
    project.until("door", "behind", |door| !condition(door, ConditionType::Ready)).await?;
    device.quirks().wifi = Some(there(&[("gates", "the second passphrase")]));
    // It hears of the new network in its old one, and then nothing is there for a while.
    device.quirks().wifi = None;
    let wanted = device.check_in().await?.desired_configuration_version;
    let configuration = device.fetch_configuration(wanted).await?;
    device.apply(configuration).await?;
    device.quirks().no_network = true;
    for _ in 0..8 {
        ensure!(device.synchronise().await.is_err(), "there is no network");
    }
    device.quirks().no_network = false;
    checking_in(&project, &mut device, "door", "in the new network", runs(3)).await?;
    ensure!(device.refused_configuration().is_none(), "{:?}", device.refused_configuration());
    Ok(())
}
