//! Scenarios at machines: a gateway named like the scenario's file, and behind it a sensor at a machine of the same name.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType as C;
use fleetform_crds::{Alert, Asset, DeviceInstance};
use fleetform_domain::machines::MachineState;
use fleetform_domain::wire::MeasurementSeries;
use fleetform_e2e::wait::{self, Look};
use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::machines::ask;
use super::project::{LIMIT, Project, SITE, condition};

/// The scenarios at machines, how many alerts come of each in the end and at most, and in how many states each machine was at most, one
/// after the other, beside `Unknown`.
const SCENARIOS: [(&str, usize, usize, usize); 9] = [
    ("machine-wear", 1, 1, 3),
    ("bearing-fault", 1, 1, 3),
    ("machine-repair", 1, 1, 3),
    ("zone-edge", 0, 1, 2),
    ("sensor-drift", 1, 1, 2),
    ("sensor-sticks", 0, 0, 1),
    ("sensor-dies", 0, 0, 1),
    ("sensor-repeats", 1, 1, 3),
    ("sensor-out-of-order", 1, 1, 3),
];

/// Who looks at charts.
const TECHNICIAN: &str = "technician";

pub(crate) fn is_at_machine(scenario: &str) -> bool {
    SCENARIOS.iter().any(|(name, ..)| *name == scenario)
}

/// A machine, its sensor and its alerts.
#[derive(Debug)]
struct Machine {
    asset: Asset,
    sensor: DeviceInstance,
    alerts: Vec<Alert>,
}

impl Machine {
    fn state(&self) -> MachineState {
        self.asset.status.as_ref().map(|status| status.state).unwrap_or_default()
    }

    /// Whether there is one alert, and this is the worst that it was: that stays when it is over.
    fn is_alerted(&self, state: MachineState) -> bool {
        matches!(&self.alerts[..], [alert] if alert.worst() == state)
    }
}

/// Something that a machine shows, and how that is called.
type Shown = (&'static str, fn(&Machine) -> bool);

fn shows(scenario: &str) -> Vec<Shown> {
    let measured: Shown = ("measured", |machine| machine.state() == MachineState::Healthy);
    let warned: Shown = ("warned of", |machine| machine.is_alerted(MachineState::Warning));
    let alarmed: Shown = ("in alarm", |machine| machine.is_alerted(MachineState::Alarm));
    let well: Shown = ("well again", |machine| machine.state() == MachineState::Healthy && machine.alerts.len() == 1);
    match scenario {
        "machine-wear" | "bearing-fault" => vec![alarmed],
        "machine-repair" | "sensor-repeats" | "sensor-out-of-order" => vec![warned, well],
        "sensor-drift" => vec![warned],
        "sensor-dies" => vec![
            measured,
            ("unknown", |machine| {
                machine.state() == MachineState::Unknown && !condition(&machine.sensor, C::Connected)
            }),
            ("back", |machine| machine.state() == MachineState::Healthy && condition(&machine.sensor, C::Connected)),
        ],
        _ => vec![measured],
    }
}

/// What the chart of a machine has to show before it can be told that nothing came of it.
fn charted(scenario: &str) -> Option<fn(&[f32]) -> bool> {
    match scenario {
        "zone-edge" => Some(|velocities| {
            let edge: Vec<f32> = velocities.iter().copied().filter(|velocity| *velocity > 2.5).collect();
            edge.len() >= 40 && edge.windows(2).filter(|pair| (pair[0] > 2.8) != (pair[1] > 2.8)).count() >= 10
        }),
        "sensor-sticks" => Some(|velocities| {
            velocities.last().is_some_and(|last| {
                velocities.iter().rev().take_while(|other| other.to_bits() == last.to_bits()).count() >= 30
            })
        }),
        _ => None,
    }
}

/// The states that machines were in, one after the other, as each was written.
pub(crate) struct States {
    known: Arc<Mutex<BTreeMap<String, Vec<MachineState>>>>,
    following: JoinHandle<()>,
}

impl Drop for States {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl States {
    /// From now on, of all machines of a project whose charts somebody may look at.
    pub(crate) async fn follow(project: &Project) -> Result<Self> {
        project.appoint(TECHNICIAN, "fleetform-read-only").await?;
        let (known, api) = (Arc::<Mutex<BTreeMap<String, Vec<MachineState>>>>::default(), project.api::<Asset>());
        let noted = Arc::clone(&known);
        let following = tokio::spawn(async move {
            let mut changes = pin!(watcher(api, watcher::Config::default()).applied_objects());
            while let Some(change) = changes.next().await {
                // It goes on by itself when it was cut off.
                let Ok(asset) = change else { continue };
                let state = asset.status.as_ref().map(|status| status.state).unwrap_or_default();
                let mut noted = noted.lock().await;
                let states = noted.entry(asset.name_any()).or_default();
                if state != MachineState::Unknown && states.last() != Some(&state) {
                    states.push(state);
                }
            }
        });
        Ok(Self { known, following })
    }

    async fn of(&self, name: &str) -> Vec<MachineState> {
        self.known.lock().await.get(name).cloned().unwrap_or_default()
    }
}

/// Makes a gateway, and a sensor that measures every second at a medium machine of the same name.
pub(crate) async fn build(project: &Project, name: &str) -> Result<()> {
    let spec = json!({ "siteRef": { "name": SITE }, "displayName": name, "deviceType": "Gateway" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": spec })).await?;
    let spec = json!({
        "siteRef": { "name": SITE },
        "displayName": name,
        "machineClass": "ClassII",
        "positions": [{ "name": "drive-end" }],
    });
    project.create::<Asset>(json!({ "metadata": { "name": name }, "spec": spec })).await?;
    let sensor = json!({
        "assetRef": { "name": name },
        "position": "drive-end",
        "gatewayRef": { "name": name },
        "measurementIntervalSeconds": 1,
    });
    let spec = json!({
        "siteRef": { "name": SITE },
        "displayName": "Drive end",
        "deviceType": "Sensor",
        "configuration": { "sensor": sensor },
        "activation": { "expectedAssetTagId": format!("SIM-{name}") },
    });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": sensor_of(name) }, "spec": spec })).await.map(drop)
}

fn sensor_of(name: &str) -> String {
    format!("{name}-drive-end")
}

async fn look(project: &Project, name: &str) -> Result<Machine> {
    let alerts = project.api().list(&ListParams::default().fields(&format!("spec.assetRef.name={name}"))).await?;
    Ok(Machine {
        asset: project.api().get(name).await?,
        sensor: project.api().get(&sensor_of(name)).await?,
        alerts: alerts.items,
    })
}

/// Watches the machine of a scenario until it has shown all that it should.
pub(crate) async fn play(project: &Project, name: &str) -> Result<()> {
    for (what, holds) in shows(name) {
        wait::until(&format!("the machine of {name} to be {what}"), LIMIT, async || {
            let machine = look(project, name).await?;
            Ok(if holds(&machine) { Look::Done(()) } else { Look::NotYet(format!("{machine:#?}")) })
        })
        .await
        .with_context(|| format!("scenario {name}"))?;
    }
    let Some(shows) = charted(name) else { return Ok(()) };
    wait::until(&format!("the chart of {name} to show what is wrong"), LIMIT, async || {
        let answer = ask(project, TECHNICIAN, name, "position=drive-end").await?;
        Ok(match serde_json::from_str::<MeasurementSeries>(&answer.body) {
            Ok(series) if shows(&series.velocity_rms_mm_per_s) => Look::Done(()),
            _ => Look::NotYet(format!("{answer:?}")),
        })
    })
    .await
}

/// One fault is one alert, however its measurements came, and no state is left and entered over and over.
pub(crate) async fn ensure_each_fault_is_one_alert(project: &Project, states: &States) -> Result<()> {
    for (name, least, most, changes) in SCENARIOS {
        let machine = look(project, name).await?;
        ensure!((least..=most).contains(&machine.alerts.len()), "{name}: {least} to {most} alerts: {machine:#?}");
        let states = states.of(name).await;
        ensure!((1..=changes).contains(&states.len()), "{name}: at most {changes} states: {states:?}");
    }
    Ok(())
}
