//! A site of a size that people have: 2,000 sensors, behind 100 gateways that the simulator plays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::{Asset, DeviceInstance};
use fleetform_domain::machines::MachineState;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::fleet::{Fleet, FleetOptions};
use fleetform_simulator::storage::MemoryStorage;
use fleetform_simulator::telemetry::Telemetry;
use fleetform_simulator::transport::{Network, Timeouts};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit;
use super::project::{Project, SITE};
use super::stage::Stage;

const GATEWAYS: usize = 100;
const SENSORS_EACH: usize = 20;

/// How long all of it may take to be heard.
const LIMIT: Duration = Duration::from_mins(4);

/// Objects that are made at a time.
const AT_ONCE: usize = 16;

/// A gateway, the machine that it is at, and a sensor at each of the machine's positions.
async fn build(project: &Project, number: usize) -> Result<()> {
    let name = format!("hall-{number}");
    let gateway = json!({ "siteRef": { "name": SITE }, "displayName": name, "deviceType": "Gateway" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": gateway })).await?;
    let positions: Vec<Value> = (0..SENSORS_EACH).map(|at| json!({ "name": format!("p{at}") })).collect();
    let asset = json!({
        "siteRef": { "name": SITE }, "displayName": name, "machineClass": "ClassII", "positions": positions,
    });
    project.create::<Asset>(json!({ "metadata": { "name": name }, "spec": asset })).await?;
    for at in 0..SENSORS_EACH {
        let sensor = json!({
            "assetRef": { "name": name },
            "position": format!("p{at}"),
            "gatewayRef": { "name": name },
            "measurementIntervalSeconds": 10,
        });
        let spec = json!({
            "siteRef": { "name": SITE },
            "displayName": format!("{name}, {at}"),
            "deviceType": "Sensor",
            "configuration": { "sensor": sensor },
            "activation": { "expectedAssetTagId": format!("SIM-{name}-{at}") },
        });
        let name = format!("{name}-p{at}");
        project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": spec })).await?;
    }
    Ok(())
}

/// Whether all positions of a machine are known, and well.
fn is_well(asset: &Asset) -> bool {
    asset.status.as_ref().is_some_and(|status| {
        status.positions.len() == SENSORS_EACH
            && status.positions.iter().all(|position| position.state == MachineState::Healthy)
    })
}

/// How many measurements the operator has taken, of all projects.
async fn taken(stage: &Stage) -> Result<u64> {
    let metrics = stage.installation.metrics().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("fleetform_measurements_total{outcome=\"taken\"} "));
    Ok(line.context("measurements are counted")?.trim().parse()?)
}

pub(crate) async fn two_thousand_sensors_are_heard_and_write_nothing(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "works").await?;
    let network = Network::new(Timeouts::default());
    let telemetry = Telemetry::new(network.clone());
    let installer = Arc::new(project.installer().await?);
    let options = FleetOptions { project: Some(project.namespace.clone()), ..FleetOptions::default() };
    let fleet = Fleet::new(installer, network, Arc::new(MemoryStorage::default()), telemetry, options);
    let stop = CancellationToken::new();
    let played = tokio::spawn(fleet.run(stop.clone()));
    let begun = Instant::now();
    stream::iter(0..GATEWAYS)
        .map(|number| build(&project, number))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    wait::until("every position of every machine to be well", LIMIT, async || {
        let assets = project.api::<Asset>().list(&ListParams::default()).await?.items;
        let well = assets.iter().filter(|asset| is_well(asset)).count();
        Ok(if well == GATEWAYS { Look::Done(()) } else { Look::NotYet(format!("{well} machines of {GATEWAYS} are")) })
    })
    .await?;

    // All that there was to be noted down is.
    let before = audit::at_rest(&project, LIMIT.saturating_sub(begun.elapsed()), async || {
        sleep(Duration::from_secs(4)).await;
        Ok(())
    })
    .await?;
    let first = taken(&stage).await?;
    wait::until("each sensor to be heard twice more", LIMIT, async || {
        let more = taken(&stage).await? - first;
        let enough = 2 * (GATEWAYS * SENSORS_EACH) as u64;
        Ok(if more >= enough { Look::Done(()) } else { Look::NotYet(format!("{more} measurements")) })
    })
    .await?;
    let after = audit::writes(&project).await?;
    ensure!(after == before, "measurements were written down: {:?}", &after[before.len()..]);
    let assets = project.api::<Asset>().list(&ListParams::default()).await?.items;
    let not_well: Vec<_> = assets.iter().filter(|asset| !is_well(asset)).map(Asset::name_any).collect();
    ensure!(not_well.is_empty(), "{not_well:?} are no longer well");
    // A chart and a metrics store have all of them.
    let (_, measured) = fleetform_e2e::http::get(stage.installation.metrics_address(), "/metrics/measurements").await?;
    let lines = measured.lines().filter(|line| line.contains(&format!("project=\"{}\"", project.namespace))).count();
    ensure!(lines == 2 * GATEWAYS * SENSORS_EACH, "velocity and temperature of {lines} sensors are there");
    stop.cancel();
    played.await??;
    Ok(())
}
