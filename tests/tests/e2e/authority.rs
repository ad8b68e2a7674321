//! One authority follows another, while devices are on and off.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_e2e::installation::NAMESPACE;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::Device;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;

use super::devices::{activated, checking_in, code_text, new_device};
use super::project::{LIMIT, Project, ZIP, condition};
use super::stage::Stage;

/// The second generation is wanted, and both are trusted for a moment where it would be a month.
const ROTATE: [&str; 2] = ["--authority-generation=2", "--authority-overlap-seconds=8"];

/// The names of the two authorities.
const OLD: &str = "Fleetform authority";
const NEW: &str = "Fleetform authority 2";

/// Time between two check-ins of a device that is on.
const BETWEEN: Duration = Duration::from_millis(700);

pub(crate) async fn devices_follow_a_rotation_whether_they_are_on_or_off(_: Arc<Stage>) -> Result<()> {
    // What follows cannot be undone, so it has an installation of its own.
    let stage = Arc::new(Stage::without_simulator().await?);
    rotation(&stage).await.map_err(|error| error.context(stage.installation.operator_log_end()))
}

async fn rotation(stage: &Arc<Stage>) -> Result<()> {
    let project = Project::new(stage, "rotation").await?;
    let installer = project.installer().await?;
    for name in ["on", "off", "late", "last"] {
        project.ready_device(name).await?;
    }
    let mut on = activated(&project, &installer, "on").await?;
    let mut off = activated(&project, &installer, "off").await?;
    for (name, device) in [("on", &mut on), ("off", &mut off)] {
        let settled = |instance: &_| condition(instance, ConditionType::Connected);
        checking_in(&project, device, name, "connected", settled).await?;
        ensure!(device.certificate_issuer().as_deref() == Some(OLD), "{:?}", device.certificate_issuer());
    }
    off.power_off();
    let codes = [code_text(&project, &installer, "late").await?, code_text(&project, &installer, "last").await?];
    let before = version(&project, "on").await?;
    ensure!(certificates(stage).await? == 1, "one is published");

    restart(stage).await?;
    ensure!(certificates(stage).await? == 2, "both are published as soon as there are two");
    let first = on.trusted_authorities();
    until_stage(stage, &mut [&mut on], "serving").await?;
    ensure!(on.trusted_authorities() != first, "it trusts both");

    // Codes that were handed out before the switch pin the old one.
    let mut late = activated_by(&codes[0]).await?;
    project.ready_device("new").await?;
    let mut new = activated(&project, &installer, "new").await?;
    for device in [&mut on, &mut late, &mut new] {
        device.synchronise().await?;
        ensure!(device.certificate_issuer().as_deref() == Some(NEW), "{:?}", device.certificate_issuer());
        ensure!(certificates(stage).await? == 2);
    }

    // How far it is is not forgotten.
    stage.installation.kill_operator()?;
    stage.installation.start_operator_with(&ROTATE).await?;
    until_stage(stage, &mut [&mut on, &mut late, &mut new], "serving").await?;
    let both = on.trusted_authorities();
    until_stage(stage, &mut [&mut on, &mut late, &mut new], "settled").await?;
    on.synchronise().await?;
    ensure!(on.trusted_authorities() != both && certificates(stage).await? == 1, "the old one is retired");
    ensure!(version(&project, "on").await? == before, "a rotation writes nothing to device instances");

    // One that knows nothing of all this comes back by the old one, which vouches for the new one; so does a code.
    off.power_on().await?;
    ensure!(off.certificate_issuer().as_deref() == Some(OLD) && off.trusted_authorities() == first);
    checking_in(&project, &mut off, "off", "back", |instance| condition(instance, ConditionType::Connected)).await?;
    ensure!(off.certificate_issuer().as_deref() == Some(NEW), "{:?}", off.certificate_issuer());
    ensure!(off.trusted_authorities() == on.trusted_authorities(), "it trusts the new one alone");
    let last = activated_by(&codes[1]).await?;
    ensure!(last.trusted_authorities() == on.trusted_authorities());

    it_does_not_go_back(stage).await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client(), NAMESPACE);
    secrets.delete("fleetform-authority", &DeleteParams::default()).await.context("finish")?;
    until_logged(stage, "the Secret of an earlier authority was deleted").await?;
    stage.installation.terminate_operator().await?;
    stage.installation.start_operator_with(&ROTATE).await?;
    for device in [&mut on, &mut off] {
        device.synchronise().await?;
    }
    Ok(())
}

/// A device of its own for a code that was handed out some time ago.
async fn activated_by(code: &str) -> Result<Device> {
    let mut device = new_device().await?;
    device.scan_text(code)?;
    device.activate(ZIP).await?;
    Ok(device)
}

async fn restart(stage: &Stage) -> Result<()> {
    stage.installation.terminate_operator().await?;
    stage.installation.start_operator_with(&ROTATE).await
}

/// A setting that fell is named, and nothing is served until it is put right.
async fn it_does_not_go_back(stage: &Stage) -> Result<()> {
    stage.installation.terminate_operator().await?;
    stage.installation.spawn_operator()?;
    until_logged(stage, "the installation is at generation 2 already, and the number only rises").await?;
    restart(stage).await
}

async fn until_logged(stage: &Stage, text: &str) -> Result<()> {
    wait::until(&format!("`{text}` in the log"), LIMIT, async || {
        stage.installation.ensure_running()?;
        let log = stage.installation.operator_log_end();
        Ok(if log.contains(text) { Look::Done(()) } else { Look::NotYet(log) })
    })
    .await
}

/// Has devices check in until the rotation is at this stage.
async fn until_stage(stage: &Stage, devices: &mut [&mut Device], wanted: &str) -> Result<()> {
    let line = format!("fleetform_authority_stage{{stage=\"{wanted}\"}} 1");
    wait::until(&format!("`{line}` in the metrics"), LIMIT, async || {
        for device in &mut *devices {
            device.synchronise().await?;
        }
        tokio::time::sleep(BETWEEN).await;
        let metrics = stage.installation.metrics().await?;
        let of_it: Vec<_> = metrics.lines().filter(|line| line.starts_with("fleetform_authority")).collect();
        Ok(if of_it.contains(&line.as_str()) { Look::Done(()) } else { Look::NotYet(of_it.join("\n")) })
    })
    .await
}

/// How many certificates are published.
async fn certificates(stage: &Stage) -> Result<usize> {
    Ok(stage.installation.authority().await?.matches("BEGIN CERTIFICATE").count())
}

async fn version(project: &Project, name: &str) -> Result<Option<String>> {
    Ok(project.api::<DeviceInstance>().get(name).await?.metadata.resource_version)
}
