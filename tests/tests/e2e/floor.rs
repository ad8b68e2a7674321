//! Scenarios at machines: a gateway named like the scenario's file, and behind it a sensor at a machine of the same name.

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType as C;
use fleetform_crds::{Alert, Asset, DeviceInstance};
use fleetform_domain::machines::MachineState;
use fleetform_e2e::wait::{self, Look};
use kube::api::ListParams;
use serde_json::json;

use super::project::{LIMIT, Project, SITE, condition};

/// The scenarios at machines, how many alerts come of each in the end, and at most.
const SCENARIOS: [(&str, usize, usize); 9] = [
    ("machine-wear", 1, 1),
    ("bearing-fault", 1, 1),
    ("machine-repair", 1, 1),
    ("zone-edge", 0, 1),
    ("sensor-drift", 1, 1),
    ("sensor-sticks", 0, 0),
    ("sensor-dies", 0, 0),
    ("sensor-repeats", 1, 1),
    ("sensor-out-of-order", 1, 1),
];

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
    Ok(())
}

/// One fault is one alert, however its measurements came.
pub(crate) async fn ensure_each_fault_is_one_alert(project: &Project) -> Result<()> {
    for (name, least, most) in SCENARIOS {
        let machine = look(project, name).await?;
        ensure!((least..=most).contains(&machine.alerts.len()), "{name}: {least} to {most} alerts: {machine:#?}");
    }
    Ok(())
}
