//! The nine ways in which an activation fails, each as the device shows it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::activation::{ActivationCode, ActivationFailure, ActivationKey, Phase, Token};
use fleetform_e2e::installation::NAMESPACE;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::{Device, Screen};
use fleetform_simulator::faults::{covered, side_by_side};
use fleetform_simulator::storage::MemoryStorage;
use fleetform_simulator::transport::{Network, Timeouts};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::net::TcpListener;

use super::devices::{activated, code_picture, code_text, expect, new_device};
use super::project::{LIMIT, Project, SITE, ZIP, reader};
use super::stage::Stage;

pub(crate) async fn what_the_device_decides_itself(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "own-failures").await?;
    let installer = project.installer().await?;
    project.ready_device("one").await?;
    project.ready_device("two").await?;
    let one = code_picture(&project, &installer, "one").await?;
    let two = code_picture(&project, &installer, "two").await?;
    let mut device = new_device().await?;

    let unreadable = device.scan(&covered(&one).context("cover the picture")?);
    expect(&device, unreadable, ActivationFailure::UnableToReadQr, Screen::Scan)?;
    let both = device.scan(&side_by_side(&one, &two).context("put both beside each other")?);
    expect(&device, both, ActivationFailure::MultipleQrCodes, Screen::Scan)?;

    device.scan(&one)?;
    device.look_up(ZIP).await?;
    device.quirks().disk_full = true;
    let unsaved = device.confirm().await;
    let failed = ActivationFailure::UnableToConfigureDevice;
    expect(&device, unsaved, failed, Screen::Halted(failed))?;
    let untouched = project.api::<DeviceInstance>().get("one").await?;
    ensure!(untouched.phase() == Phase::ReadyForActivation, "the gateway never heard of it");
    device.quirks().disk_full = false;
    ensure!(device.power_on().await? == Screen::Scan);
    device.scan(&one)?;
    device.activate(ZIP).await?;

    a_silent_gateway_times_out(&project).await
}

async fn a_silent_gateway_times_out(project: &Project) -> Result<()> {
    let installer = project.installer().await?;
    let mut code = ActivationCode::parse(&code_text(project, &installer, "two").await?)?;
    let good = code.to_text();
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    code.gateway = format!("https://{}", silent.local_addr()?);
    let hasty = Duration::from_secs(2);
    let network = Network::new(Timeouts { handshake: hasty, ..Timeouts::default() });
    let mut device = Device::new("0000000001".try_into()?, Arc::new(MemoryStorage::default()), network, 1);
    device.power_on().await?;
    device.scan_text(&code.to_text())?;
    let unanswered = device.look_up(ZIP).await;
    let failed = ActivationFailure::GatewayTimedOut;
    expect(&device, unanswered, failed, Screen::Halted(failed))?;
    device.power_on().await?;
    device.scan_text(&good)?;
    device.activate(ZIP).await?;
    Ok(())
}

pub(crate) async fn codes_that_are_not_recognized(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "not-recognized").await?;
    let installer = project.installer().await?;
    let instance = project.ready_device("door").await?;
    let text = code_text(&project, &installer, "door").await?;
    let mut device = new_device().await?;

    for nonsense in ["", "hello", "https://example.org/", "WIFI:S:library;T:WPA;P:not-a-code;;"] {
        let refused = device.scan_text(nonsense);
        expect(&device, refused, ActivationFailure::QrNotRecognized, Screen::Scan)
            .with_context(|| nonsense.to_owned())?;
    }
    // What only looks right: another nonce, another instance, an earlier day.
    let forged = text.split_at(text.len() - 5);
    let flipped = if forged.1.starts_with('A') { "B" } else { "A" };
    let forged = format!("{}{flipped}{}", forged.0, &forged.1[1..]);
    let expired = expired(&project, &instance, &text).await?;
    for code in [forged, expired] {
        device.scan_text(&code)?;
        let refused = device.look_up(ZIP).await;
        expect(&device, refused, ActivationFailure::QrNotRecognized, Screen::Scan)?;
    }
    // What was right once.
    let first = activated(&project, &installer, "door").await?;
    device.scan_text(&text)?;
    let used = device.look_up(ZIP).await;
    expect(&device, used, ActivationFailure::QrNotRecognized, Screen::Scan)?;
    ensure!(first.screen() == Screen::Active);
    Ok(())
}

/// A code as the operator would have made it, whose time has passed.
async fn expired(project: &Project, instance: &DeviceInstance, good: &str) -> Result<String> {
    let stage = &project.stage;
    let secret: Secret = Api::namespaced(stage.client(), NAMESPACE).get("fleetform-activation-key").await?;
    let key = secret.data.and_then(|mut data| data.remove("key")).context("there is a key")?.0;
    let key: [u8; 32] = key.as_slice().try_into().context("a key has 32 bytes")?;
    let uid = project.api::<fleetform_crds::Project>().get("project").await?.metadata.uid.unwrap_or_default();
    let token = Token {
        project: uid.parse()?,
        instance: instance.metadata.uid.as_deref().unwrap_or_default().parse()?,
        sequence: 1,
        expires: Timestamp::now() - SignedDuration::from_mins(1),
        nonce: [7; 16],
    };
    let mut code = ActivationCode::parse(good)?;
    code.token = token.seal(&ActivationKey::derive(&key, token.project));
    Ok(code.to_text())
}

pub(crate) async fn a_deleted_instance_and_a_deleted_site_are_told_apart(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "deleted").await?;
    let installer = project.installer().await?;
    project.ready_device("goes").await?;
    project.ready_device("stays").await?;
    let of_instance = code_text(&project, &installer, "goes").await?;
    let of_site = code_text(&project, &installer, "stays").await?;
    project.api::<DeviceInstance>().delete("goes", &DeleteParams::default()).await?;
    shows(&of_instance, ActivationFailure::DeviceInstanceDoesNotExist).await?;

    // A site with instances is not deleted, but a controller of Kubernetes may all the same.
    let controller = "--as=system:serviceaccount:kube-system:namespace-controller";
    let namespace = format!("--namespace={}", project.namespace);
    stage.cluster().kubectl(&["delete", "site", SITE, controller, namespace.as_str()], None).await?;
    shows(&of_site, ActivationFailure::SiteNotFound).await?;

    // It comes back, and with it a code; the old one stays what it is.
    project.create::<Site>(json!({ "metadata": { "name": SITE }, "spec": super::project::site() })).await?;
    project
        .until("stays", "ready again", |device| {
            device.status.as_ref().and_then(|s| s.activation.as_ref()).is_some_and(|a| a.sequence == 2)
        })
        .await?;
    shows(&of_site, ActivationFailure::QrNotRecognized).await?;
    let mut device = new_device().await?;
    device.scan_text(&code_text(&project, &installer, "stays").await?)?;
    device.activate(ZIP).await?;
    Ok(())
}

/// A new device that scans this code shows this failure, as soon as the gateway has heard of what happened.
async fn shows(text: &str, expected: ActivationFailure) -> Result<()> {
    let mut device = new_device().await?;
    wait::until(&format!("a device to show {expected:?}"), LIMIT, async || {
        device.scan_text(text)?;
        let outcome = device.look_up(ZIP).await;
        Ok(match outcome {
            Err(error) if error.failure == expected => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await
}

pub(crate) async fn a_wrong_zip_is_retried_and_the_fifth_burns_the_code(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "zip").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let text = code_text(&project, &installer, "door").await?;
    let mut device = new_device().await?;
    device.scan_text(&text)?;
    for wrong in ["98107", "98", "", "98104 Seattle"] {
        let refused = device.look_up(wrong).await;
        expect(&device, refused, ActivationFailure::ZipCodeDoesNotMatch, Screen::Zip)?;
    }
    device.look_up(ZIP).await?;
    ensure!(device.screen() == Screen::Confirm, "four wrong ones may be put right");
    let fifth = device.look_up("98107").await;
    expect(&device, fifth, ActivationFailure::QrNotRecognized, Screen::Scan)?;
    device.scan_text(&text)?;
    let burned = device.look_up(ZIP).await;
    expect(&device, burned, ActivationFailure::QrNotRecognized, Screen::Scan)?;

    // The installer gets another code, and all is well.
    let other = wait::until("another code", LIMIT, async || {
        let now = code_text(&project, &installer, "door").await?;
        Ok(if now == text { Look::NotYet("the same".to_owned()) } else { Look::Done(now) })
    })
    .await?;
    device.scan_text(&other)?;
    device.activate(ZIP).await?;
    Ok(())
}

pub(crate) async fn an_address_that_cannot_be_read_is_a_system_error(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "system-error").await?;
    let installer = project.installer().await?;
    let address = json!({
        "addressLine1": "2025 9th Avenue", "city": "Seattle", "stateOrRegion": "WA", "postalCode": "98121",
        "countryCode": "US",
    });
    // Not of the one type that is read: whoever may write a site must not read any Secret by it.
    let secret = json!({ "metadata": { "name": "address" }, "type": "Opaque", "stringData": address });
    project.create::<Secret>(secret).await?;
    let site = json!({ "displayName": "Vault", "addressFrom": { "name": "address" } });
    project.create::<Site>(json!({ "metadata": { "name": "vault" }, "spec": site })).await?;
    let ready = |site: &Site| {
        let conditions = site.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions.into_iter().find(|condition| condition.type_ == "Ready")
    };
    let waiting = |site: &Site| ready(site).is_some_and(|ready| ready.reason == "SecretUnusable");
    let site = project.until_any("vault", "waiting for its address", waiting).await?;
    let message = ready(&site).map(|ready| ready.message).unwrap_or_default();
    ensure!(message.contains("no Secret address of type fleetform.dev/address"), "{message}");
    let mut spec = reader("vault");
    spec["siteRef"] = json!({ "name": "vault" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "vault" }, "spec": spec })).await?;
    project.until_ready_for_activation("vault").await?;
    let text = code_text(&project, &installer, "vault").await?;
    let mut device = new_device().await?;
    device.scan_text(&text)?;
    let failed = device.look_up("98121").await;
    let system_error = ActivationFailure::SystemError;
    expect(&device, failed, system_error, Screen::Halted(system_error))?;

    // Put right, the same code is good.
    project.api::<Secret>().delete("address", &DeleteParams::default()).await?;
    let secret = json!({ "metadata": { "name": "address" }, "type": "fleetform.dev/address", "stringData": address });
    project.create::<Secret>(secret).await?;
    let put_right = |site: &Site| ready(site).is_some_and(|ready| ready.status == "True");
    project.until_any("vault", "put right", put_right).await?;
    device.power_on().await?;
    device.scan_text(&text)?;
    device.activate("98121").await?;
    Ok(())
}
