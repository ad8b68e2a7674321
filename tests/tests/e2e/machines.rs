//! Machines: sensors at their positions, what they measure, and the alerts that follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{Alert, Asset, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::event::{Event, MachineChange};
use fleetform_domain::machines::{AlertPhase, MachineState};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::transition::Connectivity;
use fleetform_domain::wire::{MeasurementRefusal, MeasurementSeries, asset_measurements_path};
use fleetform_e2e::installation::AUDIENCE;
use fleetform_e2e::wait::{self, Look};
use jiff::SignedDuration;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, ListParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::deletion::is_refused;
use super::gateway::{Gateway, id_of};
use super::project::{LIMIT, Project, SITE, condition, reason, site};
use super::raw::{Answer, exchange, request};
use super::stage::Stage;

/// Normal for the machines here, and what is not: zones B, C and D of Class II.
const NORMAL: f64 = 1.5;
const HIGH: f64 = 3.3;
const SEVERE: f64 = 8.1;

/// Time between two measurements of the sensors here: long enough that none is silent while a test is busy.
const INTERVAL: u32 = 600;

fn asset(positions: usize) -> Value {
    let positions: Vec<_> = (0..positions).map(|number| json!({ "name": format!("p{number}") })).collect();
    json!({
        "siteRef": { "name": SITE }, "displayName": "Circulation pump", "machineClass": "ClassII", "positions": positions,
    })
}

fn sensor(number: usize, gateway: &str) -> Value {
    json!({
        "siteRef": { "name": SITE },
        "displayName": format!("Sensor {number}"),
        "deviceType": "Sensor",
        "configuration": { "sensor": {
            "assetRef": { "name": "pump" },
            "position": format!("p{number}"),
            "gatewayRef": { "name": gateway },
            "measurementIntervalSeconds": INTERVAL,
        } },
        "activation": { "expectedAssetTagId": tag(number) },
    })
}

fn tag(number: usize) -> String {
    format!("VT-{number:04}")
}

/// Longer than it takes until all that sums others up has followed.
const SUMS_FOLLOW: Duration = Duration::from_secs(5);

/// A machine room: a pump with so many sensors, and the gateway that they report through, which is paired with all of them.
struct Room {
    project: Project,
    gateway: Gateway,
}

impl Room {
    async fn new(stage: &Arc<Stage>, prefix: &str, sensors: usize) -> Result<Self> {
        let project = Project::new(stage, prefix).await?;
        let installer = project.installer().await?;
        make_gateway(&project, "hall").await?;
        project.create::<Asset>(json!({ "metadata": { "name": "pump" }, "spec": asset(sensors) })).await?;
        for number in 0..sensors {
            let spec = sensor(number, "hall");
            project.create::<DeviceInstance>(json!({ "metadata": { "name": name(number) }, "spec": spec })).await?;
        }
        project.until_ready_for_activation("hall").await?;
        let tags: Vec<String> = (0..sensors).map(tag).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let gateway = Gateway::activate(&project, &installer, "hall", &tags).await?;
        for number in 0..sensors {
            project.until(&name(number), "paired", is_heard).await?;
        }
        Ok(Self { project, gateway })
    }

    async fn sensor(&self, number: usize) -> Result<DeviceInstance> {
        Ok(self.project.api::<DeviceInstance>().get(&name(number)).await?)
    }

    async fn measures(&self, number: usize, velocity: f64) -> Result<()> {
        self.gateway.measures(&self.sensor(number).await?, &[velocity; 3]).await
    }

    /// Waits until the first position is in this state.
    async fn until_state(&self, state: MachineState) -> Result<Asset> {
        self.project.until_any("pump", &state.to_string(), |asset: &Asset| state_of(asset) == state).await
    }

    /// Waits until the alert of this number about the first position is as `holds` says.
    async fn until_alert(&self, number: u32, what: &str, holds: impl Fn(&Alert) -> bool) -> Result<Alert> {
        let name = format!("pump.p0.{number}");
        let api = self.project.api::<Alert>();
        wait::until(&format!("{name} to be {what}"), LIMIT, async || {
            Ok(match api.get_opt(&name).await? {
                Some(alert) if holds(&alert) => Look::Done(alert),
                other => Look::NotYet(format!("{other:#?}")),
            })
        })
        .await
    }

    async fn alerts(&self) -> Result<Vec<Alert>> {
        Ok(self.project.api::<Alert>().list(&ListParams::default()).await?.items)
    }

    async fn resolve(&self, number: u32, was_right: bool) -> Result<()> {
        let resolution = json!({
            "failureMode": "BearingDamage", "failureCause": "Wear", "action": "Replace", "alertWasRight": was_right,
        });
        let resolve = json!({ "spec": { "resolution": resolution } });
        self.project.patch::<Alert>(&format!("pump.p0.{number}"), resolve).await.map(drop)
    }

    /// The events about the pump, once there are so many.
    async fn events(&self, count: usize) -> Result<Vec<Event>> {
        let asset = self.project.api::<Asset>().get("pump").await?;
        let arn = asset.status.and_then(|status| status.arn).context("the asset has an ARN")?;
        wait::until(&format!("{count} events"), LIMIT, async || {
            let events = self.project.stage.installation.events()?;
            let ours: Vec<_> = events.into_iter().filter(|event| event.resources.contains(&arn)).collect();
            Ok(if ours.len() >= count { Look::Done(ours) } else { Look::NotYet(format!("{ours:#?}")) })
        })
        .await
    }
}

fn name(number: usize) -> String {
    format!("sensor-{number}")
}

async fn make_gateway(project: &Project, name: &str) -> Result<()> {
    let spec = json!({ "siteRef": { "name": SITE }, "displayName": name, "deviceType": "Gateway" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": spec })).await.map(drop)
}

fn is_heard(sensor: &DeviceInstance) -> bool {
    sensor.phase() == Phase::Active
        && condition(sensor, ConditionType::Ready)
        && condition(sensor, ConditionType::Connected)
}

fn state_of(asset: &Asset) -> MachineState {
    asset.position("p0").map(|position| position.state).unwrap_or_default()
}

fn phase(alert: &Alert) -> AlertPhase {
    alert.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.detail_type.as_str()).collect()
}

pub(crate) async fn sensors_are_commissioned_through_their_gateway(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "commissioning", 20).await?;
    let project = &room.project;
    ensure!(room.gateway.paired().await.len() == 20, "a gateway carries twenty");
    let asset = project.until_any("pump", "summed up", |asset: &Asset| {
        let status = asset.status.as_ref();
        status.is_some_and(|status| status.sensor_count == 20 && status.positions.iter().all(|p| p.sensor.is_some()))
    });
    asset.await?;
    project.until_codes_are(&[]).await?;
    let sensor = room.sensor(0).await?;
    let status = sensor.status.clone().context("it has a status")?;
    let hardware = status.device.context("it has hardware")?;
    ensure!(hardware.asset_tag_id == tag(0) && hardware.software_version.as_deref() == Some("2.0.1"), "{hardware:?}");
    ensure!(types(&project.events(&sensor, 1).await?) == ["Device Connectivity Changed To Online"]);

    // One for each position, and the older one has it.
    let mut second = self::sensor(0, "hall");
    second["activation"]["expectedAssetTagId"] = "VT-9999".into();
    project.create::<DeviceInstance>(json!({ "metadata": { "name": "second" }, "spec": second })).await?;
    let waits = |device: &DeviceInstance| {
        reason(device, ConditionType::Ready, "False").is_some_and(|(reason, _)| reason == "PositionTaken")
    };
    project.until("second", "waiting", waits).await?;
    room.gateway.finds("VT-9999").await;
    project.api::<DeviceInstance>().delete(&name(0), &DeleteParams::default()).await?;
    project.until("second", "paired", is_heard).await?;
    ensure!(!room.gateway.paired().await.contains(&id_of(&sensor)), "what is deleted is let go");

    // What is worn out is replaced by what is printed on the new one, and paired anew by its epoch.
    room.gateway.finds("VT-1001").await;
    let swap = json!({ "spec": { "activation": { "expectedAssetTagId": "VT-1001" } } });
    project.patch::<DeviceInstance>(&name(1), swap).await?;
    let is_new = |device: &DeviceInstance| {
        let hardware = device.status.as_ref().and_then(|status| status.device.as_ref());
        is_heard(device) && hardware.is_some_and(|hardware| hardware.asset_tag_id == "VT-1001")
    };
    project.until(&name(1), "replaced", is_new).await?;
    let raise = json!({ "spec": { "activation": { "epoch": 1 } } });
    project.patch::<DeviceInstance>(&name(1), raise).await?;
    let paired_anew = |device: &DeviceInstance| {
        let paired = device.status.as_ref().and_then(|status| status.sensor.as_ref());
        is_heard(device) && paired.is_some_and(|paired| paired.epoch == 1)
    };
    project.until(&name(1), "paired anew", paired_anew).await?;
    // The sensor itself came and went: online, offline and online, and both once more.
    let events = project.events(&room.sensor(1).await?, 5).await?;
    ensure!(events.len() == 5, "{:?}", types(&events));
    // A site with devices is refused for them first.
    project.create::<Site>(json!({ "metadata": { "name": "depot" }, "spec": site() })).await?;
    let mut spare = self::asset(1);
    spare["siteRef"]["name"] = "depot".into();
    project.create::<Asset>(json!({ "metadata": { "name": "spare" }, "spec": spare })).await?;
    is_refused::<Site>(project, "depot", "This site still has 1 asset associated to it and cannot be deleted.").await?;
    is_refused::<Site>(project, SITE, "This site still has 21 device instances associated to it").await?;
    is_refused::<Asset>(project, "pump", "This asset still has 20 sensors associated to it and cannot be deleted.")
        .await
}

pub(crate) async fn a_sensor_is_moved_to_another_gateway_and_off_the_machine(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "moving", 2).await?;
    let project = &room.project;
    let installer = project.installer().await?;
    make_gateway(project, "cellar").await?;
    project.until_ready_for_activation("cellar").await?;
    let cellar = Gateway::activate(project, &installer, "cellar", &[&tag(0)]).await?;
    room.measures(0, SEVERE).await?;
    room.until_state(MachineState::Alarm).await?;
    let sensor = room.sensor(0).await?;
    let place =
        |gateway: &str| json!({ "spec": { "configuration": { "sensor": { "gatewayRef": { "name": gateway } } } } });
    project.patch::<DeviceInstance>(&name(0), place("cellar")).await?;
    let carried_by_cellar = |device: &DeviceInstance| {
        let paired = device.status.as_ref().and_then(|status| status.sensor.as_ref());
        is_heard(device) && paired.is_some_and(|paired| paired.gateway == "cellar")
    };
    project.until(&name(0), "carried by the other gateway", carried_by_cellar).await?;
    wait::until("the first gateway to have let go", LIMIT, async || {
        let paired = room.gateway.paired().await;
        Ok(if paired.contains(&id_of(&sensor)) { Look::NotYet(format!("{paired:?}")) } else { Look::Done(()) })
    })
    .await?;
    // What it says there counts from the beginning, and the alert is the same.
    cellar.measures(&sensor, &[NORMAL; 3]).await?;
    room.until_state(MachineState::Healthy).await?;
    ensure!(room.alerts().await?.len() == 1);
    // A gateway has no say about what another one carries.
    let stolen = cellar.measure(&sensor, &[SEVERE]).await?;
    let answer = room.gateway.send(stolen).await?;
    ensure!(answer.taken == 0 && answer.refused[0].reason == MeasurementRefusal::NotPaired, "{answer:?}");

    project.patch::<DeviceInstance>(&name(0), json!({ "spec": { "configuration": null } })).await?;
    let unplaced = |device: &DeviceInstance| {
        device.phase() == Phase::NeedsConfiguration
            && reason(device, ConditionType::Ready, "False")
                .is_some_and(|(_, said)| said.contains("spec.configuration.sensor"))
    };
    project.until(&name(0), "taken off", unplaced).await?;
    room.until_state(MachineState::Unknown).await?;
    wait::until("the other gateway to have let go", LIMIT, async || {
        let paired = cellar.paired().await;
        Ok(if paired.is_empty() { Look::Done(()) } else { Look::NotYet(format!("{paired:?}")) })
    })
    .await
}

pub(crate) async fn what_was_measured_elsewhere_is_not_brought_along(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "carried", 1).await?;
    let (project, sensor) = (&room.project, room.sensor(0).await?);
    let fan = json!({ "metadata": { "name": "fan" }, "spec": asset(1) });
    project.create::<Asset>(fan).await?;
    project.patch::<Asset>("pump", json!({ "spec": asset(2) })).await?;
    room.measures(0, NORMAL).await?;
    room.until_state(MachineState::Healthy).await?;
    for (machine, position) in [("pump", "p1"), ("fan", "p0")] {
        let (unsent, place) = (room.gateway.measure(&sensor, &[SEVERE; 3]).await?, room.gateway.place(&sensor).await);
        let moved = json!({ "assetRef": { "name": machine }, "position": position });
        project.patch::<DeviceInstance>(&name(0), json!({ "spec": { "configuration": { "sensor": moved } } })).await?;
        wait::until("the gateway to have heard of the move", LIMIT, async || {
            let now = room.gateway.place(&sensor).await;
            Ok(if now.is_some() && now != place { Look::Done(()) } else { Look::NotYet(format!("{now:?}")) })
        })
        .await?;
        let answer = room.gateway.send(unsent).await?;
        let dropped = answer.refused.iter().filter(|one| one.reason == MeasurementRefusal::AtAnotherPlace).count();
        ensure!((answer.taken, dropped, answer.refused.len()) == (0, 3, 3), "{answer:?}");
        room.measures(0, NORMAL).await?;
        let is_healthy = |asset: &Asset| {
            let known = |name: &str| asset.position(name).map(|position| position.state);
            let elsewhere = asset.spec.positions.iter().filter(|other| other.name != position);
            let mut elsewhere = elsewhere.map(|other| known(&other.name));
            known(position) == Some(MachineState::Healthy)
                && elsewhere.all(|other| other == Some(MachineState::Unknown))
        };
        project.until_any(machine, "healthy where the sensor is now", is_healthy).await?;
    }
    room.project
        .until_any("pump", "unknown", |pump: &Asset| {
            pump.status.as_ref().is_some_and(|status| status.state == MachineState::Unknown)
        })
        .await?;
    let alerts = room.alerts().await?;
    ensure!(alerts.is_empty(), "what was measured elsewhere is said of a machine: {alerts:#?}");
    let sensor = room.sensor(0).await?;
    let changes = sensor.status.map(|status| status.transitions).unwrap_or_default();
    ensure!(changes.len() == 1, "it was paired all the time: {changes:?}");
    let metrics = stage.installation.metrics().await?;
    ensure!(metrics.contains("fleetform_measurements_total{outcome=\"at-another-place\"}"), "they are not counted");
    Ok(())
}

pub(crate) async fn a_fault_is_one_alert_from_its_first_sign_to_what_it_was(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "fault", 1).await?;
    let sensor = room.sensor(0).await?;
    room.measures(0, NORMAL).await?;
    room.until_state(MachineState::Healthy).await?;

    // Out of order, one by one, twice, and with what cannot be.
    let mut measured = room.gateway.measure(&sensor, &[HIGH, 3.1, HIGH]).await?;
    measured.reverse();
    for measurement in &measured {
        room.gateway.send(vec![measurement.clone()]).await?;
    }
    let mut again = measured.clone();
    again.push(fleetform_domain::wire::Measurement { velocity_rms_mm_per_s: -1.0, ..measured[0].clone() });
    let answer = room.gateway.send(again).await?;
    ensure!(answer.taken == 0 && answer.refused.len() == 1, "{answer:?}");
    ensure!((answer.refused[0].index, answer.refused[0].reason) == (3, MeasurementRefusal::OutOfRange), "{answer:?}");
    let alert = room.until_alert(1, "raised", |alert| phase(alert) == AlertPhase::Raised).await?;
    ensure!(alert.spec.cause.contains("above 2.8 mm/s three times in a row"), "{}", alert.spec.cause);
    ensure!(
        alert.status.as_ref().is_some_and(|status| status.observed_generation.is_none()),
        "raising it was one write"
    );
    it_reads_well(&room).await?;

    // Worse, and normal again: the same alert.
    room.measures(0, SEVERE).await?;
    room.until_alert(1, "worse", |alert| alert.worst() == MachineState::Alarm).await?;
    room.measures(0, NORMAL).await?;
    room.until_alert(1, "normal again", |alert| alert.state() == MachineState::Healthy).await?;
    room.measures(0, HIGH).await?;
    room.until_alert(1, "active again", |alert| alert.state() == MachineState::Warning).await?;
    ensure!(room.alerts().await?.len() == 1, "it was never resolved");

    room.project.patch::<Alert>("pump.p0.1", json!({ "spec": { "acknowledged": true } })).await?;
    room.until_alert(1, "acknowledged", |alert| phase(alert) == AlertPhase::Acknowledged).await?;
    room.resolve(1, true).await?;
    room.until_alert(1, "resolved", |alert| phase(alert) == AlertPhase::Resolved).await?;
    room.until_state(MachineState::Unknown).await?;
    // What is measured after the repair counts, though the gateway's clock says that it was before.
    room.gateway.is_ahead(SignedDuration::from_mins(-10)).await;
    room.measures(0, SEVERE).await?;
    let second = room.until_alert(2, "raised", |alert| phase(alert) == AlertPhase::Raised).await?;
    ensure!(second.spec.level == MachineState::Alarm, "{second:?}");
    let said_of_clock = |device: &DeviceInstance| reason(device, ConditionType::ClockSkewed, "True").is_some();
    room.project.until("hall", "said to have a clock that is behind", said_of_clock).await?;
    room.gateway.is_ahead(SignedDuration::ZERO).await;
    room.project.until("hall", "said to have a clock that is right", |hall| !said_of_clock(hall)).await?;

    // One that was wrong is not said again until it was normal.
    room.resolve(2, false).await?;
    room.until_alert(2, "resolved", |alert| phase(alert) == AlertPhase::Resolved).await?;
    let muted = |asset: &Asset| asset.position("p0").is_some_and(|position| position.muted.is_some());
    room.project.until_any("pump", "muted", muted).await?;
    room.measures(0, SEVERE).await?;
    room.measures(0, NORMAL).await?;
    room.until_state(MachineState::Healthy).await?;
    room.measures(0, HIGH).await?;
    room.until_alert(3, "raised", |alert| phase(alert) == AlertPhase::Raised).await?;
    ensure!(room.alerts().await?.len() == 3);

    let events = room.events(9).await?;
    let expected = [
        "Asset State Changed To Warning",
        "Asset State Changed To Alarm",
        "Asset State Changed To Healthy",
        "Asset State Changed To Warning",
        "Alert Acknowledged",
        "Alert Resolved",
        "Asset State Changed To Alarm",
        "Alert Resolved",
        "Asset State Changed To Warning",
    ];
    ensure!(types(&events) == expected, "{:?}", types(&events));
    let detail = events[5].machine().context("an event about a machine")?;
    let MachineChange::Phase { resolution: Some(codes), .. } = &detail.data.change else { anyhow::bail!("{detail:?}") };
    ensure!(codes.alert_was_right && events[5].source == "aws.monitron", "{events:#?}");
    // Past alerts stay readable.
    let selected = ["get", "alerts", "--selector=fleetform.dev/asset=pump", "--output=name"];
    let namespace = format!("--namespace={}", room.project.namespace);
    let listed = stage.cluster().kubectl(&[&selected[..], &[namespace.as_str()]].concat(), None).await?;
    ensure!(listed.lines().count() == 3, "{listed}");
    Ok(())
}

/// What people see of an alert at once.
async fn it_reads_well(room: &Room) -> Result<()> {
    let namespace = format!("--namespace={}", room.project.namespace);
    let cluster = room.project.stage.cluster();
    let alerts = cluster.kubectl(&["get", "alerts", &namespace], None).await?;
    let row: Vec<&str> = alerts.lines().last().unwrap_or_default().split_whitespace().collect();
    ensure!(row[..6] == ["pump.p0.1", "pump", "p0", "Warning", "True", "Raised"], "{alerts}");
    let assets = cluster.kubectl(&["get", "assets", &namespace], None).await?;
    ensure!(assets.lines().any(|line| line.contains("ClassII") && line.contains("Warning")), "{assets}");
    Ok(())
}

/// Versions of all objects of the project that the operator writes.
async fn versions(project: &Project) -> Result<BTreeMap<String, String>> {
    async fn of<K>(project: &Project, all: &mut BTreeMap<String, String>) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        for object in project.api::<K>().list(&ListParams::default()).await? {
            let key = format!("{}/{}", K::kind(&K::DynamicType::default()), object.name_any());
            all.insert(key, object.resource_version().unwrap_or_default());
        }
        Ok(())
    }
    let mut all = BTreeMap::new();
    of::<ProjectObject>(project, &mut all).await?;
    of::<Site>(project, &mut all).await?;
    of::<DeviceInstance>(project, &mut all).await?;
    of::<Asset>(project, &mut all).await?;
    of::<Alert>(project, &mut all).await?;
    of::<k8s_openapi::api::events::v1::Event>(project, &mut all).await?;
    Ok(all)
}

pub(crate) async fn measurements_write_nothing(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "at-rest", 2).await?;
    for number in 0..2 {
        room.measures(number, NORMAL).await?;
    }
    let settled = |asset: &Asset| {
        asset.status.as_ref().is_some_and(|status| status.positions.iter().all(|p| p.state == MachineState::Healthy))
    };
    room.project.until_any("pump", "settled", settled).await?;
    let before = wait::until("everything to be at rest", LIMIT, async || {
        let before = versions(&room.project).await?;
        tokio::time::sleep(SUMS_FOLLOW).await;
        let after = versions(&room.project).await?;
        Ok(if before == after { Look::Done(after) } else { Look::NotYet(format!("{before:?} became {after:?}")) })
    })
    .await?;
    for round in 0..20 {
        let sensor = room.sensor(round % 2).await?;
        let velocities: Vec<f64> = (0..50).map(|n| NORMAL + f64::from(n) / 100.0).collect();
        room.gateway.measures(&sensor, &velocities).await?;
    }
    tokio::time::sleep(SUMS_FOLLOW).await;
    let after = versions(&room.project).await?;
    ensure!(before == after, "a thousand measurements were written down: {before:?} became {after:?}");
    let metrics = stage.installation.metrics().await?;
    ensure!(metrics.contains("fleetform_measurements_total{outcome=\"taken\"}"), "they are not counted");
    Ok(())
}

pub(crate) async fn a_silent_gateway_hides_its_sensors(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "hidden", 2).await?;
    let project = &room.project;
    room.measures(0, HIGH).await?;
    room.until_state(MachineState::Warning).await?;
    room.gateway.switch(false).await;
    let hidden = |device: &DeviceInstance| {
        reason(device, ConditionType::Connected, "Unknown").is_some_and(|(reason, _)| reason == "GatewayDisconnected")
    };
    for number in 0..2 {
        let sensor = project.until(&name(number), "hidden", hidden).await?;
        let status = sensor.status.context("it has a status")?;
        ensure!(
            status.connectivity == Some(Connectivity::Connected),
            "what is stored stays: {:?}",
            status.connectivity
        );
        ensure!(status.transitions.len() == 1, "the sensor itself did not change: {:?}", status.transitions);
    }
    let asset = room.until_state(MachineState::Unknown).await?;
    let conditions = asset.status.map(|status| status.conditions).unwrap_or_default();
    ensure!(conditions.iter().any(|c| c.type_ == "Healthy" && c.status == "Unknown"), "{conditions:?}");
    room.until_alert(1, "as it was", |alert| alert.state() == MachineState::Warning).await?;

    room.gateway.switch(true).await;
    project.until(&name(0), "heard again", is_heard).await?;
    room.until_state(MachineState::Warning).await?;
    ensure!(room.alerts().await?.len() == 1, "it is the same fault");
    // A sensor that its gateway does not hear is silent itself, and says so.
    room.gateway.says(&room.sensor(1).await?, false, &["battery"]).await?;
    let silent = |device: &DeviceInstance| {
        reason(device, ConditionType::Connected, "False").is_some_and(|(reason, _)| reason == "Silent")
            && reason(device, ConditionType::Healthy, "False").is_some_and(|(_, said)| said.contains("battery"))
    };
    project.until(&name(1), "silent", silent).await.map(drop)
}

/// What the portal answers this account of the project about the measurements of a machine.
pub(crate) async fn ask(project: &Project, account: &str, asset: &str, query: &str) -> Result<Answer> {
    let installation = &project.stage.installation;
    let token = project.stage.cluster().audience_token(&project.namespace, account, AUDIENCE).await?;
    let path = format!("{}?{query}", asset_measurements_path(&project.namespace, asset));
    let question = request("GET", &path, &format!("Authorization: Bearer {token}\r\n"), "");
    exchange(&installation.portal_url(), &installation.authority().await?, &question).await
}

pub(crate) async fn charts_are_for_who_may_see_them(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "charts", 1).await?;
    room.project.appoint("technician", "fleetform-read-only").await?;
    let sensor = room.sensor(0).await?;
    room.gateway.measures(&sensor, &[1.5, 1.6, 7.1, 1.8]).await?;
    room.until_state(MachineState::Healthy).await?;
    let series = wait::until("the technician's rights to be in force", LIMIT, async || {
        let answer = ask(&room.project, "technician", "pump", "position=p0").await?;
        Ok(match serde_json::from_str::<MeasurementSeries>(&answer.body) {
            Ok(series) => Look::Done(series),
            Err(_) => Look::NotYet(format!("{answer:?}")),
        })
    })
    .await?;
    ensure!(series.velocity_rms_mm_per_s == [1.5, 1.6, 7.1, 1.8] && series.times.len() == 4, "{series:?}");
    let boundaries = serde_json::to_value(series.zone_boundaries_mm_per_s)?;
    ensure!(boundaries == json!([1.12, 2.8, 7.1]) && series.state == MachineState::Healthy, "{series:?}");
    ensure!(series.sensor.as_deref() == Some("sensor-0"), "{series:?}");
    let last: MeasurementSeries =
        serde_json::from_str(&ask(&room.project, "technician", "pump", "position=p0&limit=1").await?.body)?;
    ensure!(last.velocity_rms_mm_per_s == [1.8], "{last:?}");
    // Who goes on after an answer misses nothing, however late it comes.
    let (late, soon) = (room.gateway.measure(&sensor, &[1.9]).await?, room.gateway.measure(&sensor, &[2.0]).await?);
    let mut next = series.next;
    for (sent, expected) in [(Vec::new(), None), (soon, Some(2.0)), (late, Some(1.9))] {
        room.gateway.send(sent).await?;
        let after = next.context("an answer says where the next goes on")?;
        let later = format!("position=p0&after={}", after.as_str());
        let later = ask(&room.project, "technician", "pump", &later).await?;
        let later: MeasurementSeries = serde_json::from_str(&later.body)?;
        ensure!(later.velocity_rms_mm_per_s == Vec::from_iter(expected), "{later:?}");
        next = later.next;
    }
    let wrong = ask(&room.project, "technician", "pump", "position=roof").await?.problem()?;
    ensure!(wrong.detail.ends_with("its positions are: p0"), "{wrong:?}");
    // What is forbidden and what is not there look alike.
    let installer = ask(&room.project, "installer", "pump", "position=p0").await?.problem()?;
    ensure!(installer.code() == Some(ProblemCode::NotFound), "{installer:?}");

    let (status, text) =
        fleetform_e2e::http::get(stage.installation.metrics_address(), "/metrics/measurements").await?;
    let line = format!(
        "{{project=\"{}\",site=\"{SITE}\",asset=\"pump\",position=\"p0\",sensor=\"sensor-0\"}} 2",
        room.project.namespace
    );
    ensure!(status == 200 && text.contains(&format!("fleetform_asset_vibration_velocity_mm_per_s{line}")), "{text}");
    Ok(())
}

/// The operator is killed here, so nobody else is.
pub(crate) async fn a_fault_outlives_the_operator(stage: Arc<Stage>) -> Result<()> {
    let room = Room::new(&stage, "restart", 1).await?;
    room.measures(0, HIGH).await?;
    room.until_alert(1, "raised", |_| true).await?;
    room.until_state(MachineState::Warning).await?;
    stage.installation.kill_operator()?;
    room.project.patch::<Alert>("pump.p0.1", json!({ "spec": { "acknowledged": true } })).await?;
    stage.installation.start_operator().await?;
    room.until_alert(1, "acknowledged", |alert| phase(alert) == AlertPhase::Acknowledged).await?;
    // What is stored stays until there are three measurements; then what they say counts, and it is the same fault.
    let sensor = room.sensor(0).await?;
    room.gateway.measures(&sensor, &[NORMAL]).await?;
    ensure!(state_of(&room.project.api::<Asset>().get("pump").await?) == MachineState::Warning);
    room.gateway.measures(&sensor, &[SEVERE; 3]).await?;
    room.until_alert(1, "worse", |alert| alert.worst() == MachineState::Alarm).await?;
    ensure!(room.alerts().await?.len() == 1, "it is the same fault");
    let events = room.events(3).await?;
    let expected = ["Asset State Changed To Warning", "Alert Acknowledged", "Asset State Changed To Alarm"];
    ensure!(types(&events) == expected, "{:?}", types(&events));
    Ok(())
}
