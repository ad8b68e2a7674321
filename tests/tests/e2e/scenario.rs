//! Every scenario of `examples/scenarios`, played by a fleet: one device for each, named like its file, or as many as it names, each after
//! its file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType as C;
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::RefusalReason;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::people::{BADGE_FORMAT_CHECK, BADGE_SCANNER_CHECK, CONTROL_PANEL_CHECK};
use fleetform_simulator::fleet::{Fleet, FleetOptions};
use fleetform_simulator::scenario::Scenario;
use fleetform_simulator::storage::MemoryStorage;
use fleetform_simulator::telemetry::Telemetry;
use fleetform_simulator::transport::{Network, Timeouts};
use futures::future::try_join_all;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::floor;
use super::project::{LIMIT, Project, condition, reader, reason};
use super::releases::{Releases, wanted};
use super::software::refused;
use super::stage::Stage;

/// All scenarios in one, each with the devices that are its own; and these.
fn together() -> Result<(Vec<String>, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?.join("examples/scenarios");
    let mut whole = Scenario { description: "All of them".into(), seed: 0, acts: Vec::new() };
    let mut names = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".yaml")) else { continue };
        let scenario = Scenario::read(&path)?;
        whole.acts.extend(scenario.acts.into_iter().map(|mut act| {
            act.devices.names = match &act.devices.names[..] {
                [] => vec![name.to_owned()],
                own => own.iter().map(|device| format!("{name}-{device}")).collect(),
            };
            names.extend(act.devices.names.iter().cloned());
            act
        }));
    }
    names.sort();
    names.dedup();
    Ok((names, whole))
}

/// Something that an instance shows, and how that is called.
type Shown = (&'static str, fn(&DeviceInstance) -> bool);

/// Creates the instance of a scenario: a door, or a desk.
async fn create(project: &Project, name: &str) -> Result<()> {
    let mut spec = reader(name);
    if matches!(name, "enrollment-desk" | "failed-enrollments") {
        spec["configuration"]["operationMode"] = "Enrollment".into();
    }
    project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": spec })).await.map(drop)
}

/// What the instance of a scenario shows one after the other.
fn shows(name: &str) -> Vec<Shown> {
    let active: Shown = ("active", |door| door.phase() == Phase::Active);
    let lost: Shown =
        ("lost", |door| reason(door, C::Connected, "False").is_some_and(|(reason, _)| reason == "Silent"));
    let back: Shown = ("back", |door| condition(door, C::Connected));
    let critical: Shown =
        ("critical", |door| reason(door, C::Healthy, "False").is_some_and(|(reason, _)| reason == "ChecksFailed"));
    let healthy: Shown = ("healthy", |door| condition(door, C::Healthy));
    match name {
        "network-loss" | "power-loss" | "clock-skew" => vec![active, back, lost, back],
        "flapping-network" => vec![active, ("flapping", |door| condition(door, C::Flapping))],
        "hardware-faults" => {
            let names: [Shown; 3] = [
                ("loose", |door| fails(door, "usb-link")),
                ("broken inside", |door| fails(door, "internal-error")),
                ("damaged", |door| fails(door, "physical-damage") && !fails(door, "usb-link")),
            ];
            [&[active][..], &names].concat()
        }
        "restart" => vec![active, critical, healthy],
        "tamper" => vec![active, ("locked", |door| is_locked(door, "TamperDetected"))],
        "absence" => vec![active, ("locked", |door| is_locked(door, "OfflineTooLong"))],
        "clone" => vec![active, ("locked", |door| is_locked(door, "CloneSuspected"))],
        "refused-configuration" => vec![active, ("refused", |door| refused(RefusalReason::NotSupported)(door))],
        "slow-update" => vec![active, ("half way", half_way), ("done", runs_software)],
        "corrupt-download" => {
            vec![active, ("refused", |door| refused(RefusalReason::DigestMismatch)(door)), ("done", runs_software)]
        }
        "panel-lost" | "panel-address" => {
            vec![active, ("lost its panel", |door| fails(door, CONTROL_PANEL_CHECK)), healthy]
        }
        "panel-badge-format" => vec![active, ("not understood", |door| fails(door, BADGE_FORMAT_CHECK)), healthy],
        "failed-enrollments" => {
            let other: Shown = ("another format", |desk| fails(desk, BADGE_FORMAT_CHECK));
            vec![active, ("without a scanner", |desk| fails(desk, BADGE_SCANNER_CHECK)), other, healthy]
        }
        _ => vec![active],
    }
}

fn fails(door: &DeviceInstance, check: &str) -> bool {
    door.status.as_ref().is_some_and(|status| status.failed_health_checks.iter().any(|failed| failed == check))
}

fn is_locked(door: &DeviceInstance, why: &str) -> bool {
    reason(door, C::Locked, "True").is_some_and(|(reason, _)| reason == why)
}

fn half_way(door: &DeviceInstance) -> bool {
    let device = door.status.as_ref().and_then(|status| status.device.as_ref());
    device.and_then(|device| device.software_update.as_ref()).is_some_and(|update| update.percent >= 25)
}

fn runs_software(door: &DeviceInstance) -> bool {
    let device = door.status.as_ref().and_then(|status| status.device.as_ref());
    let version = device.and_then(|device| device.software_version.as_deref());
    matches!(version, Some("1.1.0" | "1.2.0")) && condition(door, C::Ready)
}

/// What is changed about the instance of a scenario while it is played.
async fn change(project: &Project, releases: &Releases, name: &str) -> Result<()> {
    let edit: Value = match name {
        // While its installer is on the way.
        "slow-installer" => {
            project.api::<DeviceInstance>().delete(name, &DeleteParams::default()).await?;
            return Ok(());
        }
        "slow-update" => wanted(&releases.publish("1.1.0", &[7; 2_000])),
        "corrupt-download" => wanted(&releases.publish("1.2.0", b"the release")),
        "panel-address" => json!({ "spec": { "configuration": { "controlPanel": { "osdp": { "address": 5 } } } } }),
        "refused-configuration" => json!({ "spec": { "configuration": { "maximumOfflineMinutes": 600 } } }),
        _ => return Ok(()),
    };
    project.patch::<DeviceInstance>(name, edit).await.map(drop)
}

/// Watches the instance of a scenario until it has shown all that it should.
async fn play(project: &Project, releases: &Releases, name: &str) -> Result<()> {
    if floor::is_at_machine(name) {
        return floor::play(project, name).await;
    }
    if name == "slow-installer" {
        project.until_ready_for_activation(name).await?;
        sleep(Duration::from_secs(5)).await;
        return change(project, releases, name).await;
    }
    // What repairs something comes once it is seen to be broken.
    let changes = usize::from(name == "panel-address");
    for (number, (what, holds)) in shows(name).into_iter().enumerate() {
        project.until(name, what, holds).await.with_context(|| format!("scenario {name}"))?;
        if number == changes {
            if name == "refused-configuration" {
                // What is refused is the next one.
                project.until(name, "set", |door| condition(door, C::Ready)).await?;
                sleep(Duration::from_secs(6)).await;
            }
            change(project, releases, name).await?;
        }
    }
    Ok(())
}

pub(crate) async fn every_scenario_shows_what_it_says(stage: Arc<Stage>) -> Result<()> {
    let (names, scenario) = together()?;
    let (project, releases) = (Project::new(&stage, "scenarios").await?, Releases::open().await?);
    let network = Network::new(Timeouts::default());
    let telemetry = Telemetry::new(network.clone());
    let installer = Arc::new(project.installer().await?);
    let states = floor::States::follow(&project).await?;
    let options = FleetOptions {
        scenario: Some(Arc::new(scenario)),
        project: Some(project.namespace.clone()),
        ..FleetOptions::default()
    };
    let fleet = Fleet::new(installer, network, Arc::new(MemoryStorage::default()), Arc::clone(&telemetry), options);
    let stop = CancellationToken::new();
    let played = tokio::spawn(fleet.run(stop.clone()));
    for name in &names {
        if floor::is_at_machine(name) {
            floor::build(&project, name).await?;
        } else {
            create(&project, name).await?;
        }
    }
    try_join_all(names.iter().map(|name| play(&project, &releases, name))).await?;
    let counted = [
        ("activations", "zip-code-does-not-match", 2),
        ("activations", "unable-to-read-qr", 1),
        ("activations", "multiple-qr-codes", 1),
        ("activations", "qr-not-recognized", 1),
        ("activations", "unable-to-configure-device", 1),
        ("activations", "gateway-timed-out", 1),
        ("activations", "system-error", 2),
        ("activations", "device-instance-does-not-exist", 1),
        ("enrollments", "enrolled", 4),
        ("enrollments", "badge-not-readable", 2),
        ("enrollments", "terms-declined", 1),
        ("enrollments", "consent-declined", 1),
        ("enrollments", "palm-not-readable", 1),
        ("enrollments", "palms-differ", 1),
        ("enrollments", "timed-out", 1),
        ("entries", "granted", 3),
        ("entries", "palm-not-readable", 1),
        ("entries", "palm-not-recognized", 1),
    ];
    wait::until("each failure to be counted", LIMIT, async || {
        let metrics = telemetry.metrics();
        let missing: Vec<_> = counted
            .iter()
            .filter(|(what, outcome, times)| {
                let line = format!("fleetform_simulator_{what}_total{{outcome=\"{outcome}\"}} ");
                let count = metrics.lines().find_map(|text| text.strip_prefix(line.as_str())?.parse::<u32>().ok());
                count.unwrap_or_default() < *times
            })
            .collect();
        Ok(if missing.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{missing:?} of {metrics}")) })
    })
    .await?;
    let replayed = project.api::<DeviceInstance>().get("replay").await?;
    ensure!(condition(&replayed, C::Ready) && condition(&replayed, C::Connected), "{replayed:#?}");
    ensure!(!condition(&replayed, C::Locked), "what is said twice makes no copy: {replayed:#?}");
    floor::ensure_each_fault_is_one_alert(&project, &states).await?;
    stop.cancel();
    played.await??;
    Ok(())
}
