//! What event sinks lack for long, and what they never take.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::event::Event;
use fleetform_domain::transition::{Change, Connectivity, KEPT_TRANSITIONS, Transition};
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::installation::NAMESPACE;
use fleetform_e2e::stand_ins::StandIn;
use fleetform_e2e::wait::{self, Look};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event as Announcement;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::devices::{activated, checking_in};
use super::presence::checks;
use super::project::{LIMIT, Project, condition};
use super::serving::serve;
use super::sinks::{Bus, CRITICAL, Way};
use super::stage::Stage;

/// Waits until the operator keeps events in so many `ConfigMap`s.
pub(crate) async fn until_kept(stage: &Stage, count: usize) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(stage.client(), NAMESPACE);
    let ours = ListParams::default().labels("fleetform.dev/events=undelivered");
    wait::until(&format!("{count} ConfigMaps with undelivered events"), LIMIT, async || {
        let names: Vec<String> = maps.list_metadata(&ours).await?.iter().map(ResourceExt::name_any).collect();
        Ok(if names.len() == count { Look::Done(()) } else { Look::NotYet(format!("{names:?}")) })
    })
    .await
    .with_context(|| stage.installation.operator_log_end())
}

/// Waits until the file has so many.
async fn until_told(stage: &Stage, count: usize) -> Result<BTreeSet<Uuid>> {
    wait::until(&format!("{count} events in the file"), LIMIT, async || {
        let ids: BTreeSet<Uuid> = stage.installation.events()?.iter().map(|event| event.id).collect();
        Ok(if ids.len() == count { Look::Done(ids) } else { Look::NotYet(format!("{}", ids.len())) })
    })
    .await
}

/// As many changes as an instance keeps, one after the other: nobody waits for hours.
pub(crate) async fn change_often(project: &Project, name: &str) -> Result<()> {
    let api: Api<DeviceInstance> = project.api();
    let mut transitions = api.get_status(name).await?.status.unwrap_or_default().transitions;
    let first = transitions.first().context("a change")?.clone();
    // At one time, so that the device does not count as flapping.
    let time = Timestamp::now();
    for sequence in 2..=i64::try_from(KEPT_TRANSITIONS)? {
        let states = [Connectivity::Connected, Connectivity::Disconnected];
        let (previous, current) =
            (states[usize::try_from(sequence % 2)?], states[usize::try_from((sequence + 1) % 2)?]);
        let change = Change::Connectivity { previous, current };
        transitions.push(Transition { sequence, time, change, ..first.clone() });
    }
    let patch = Patch::Merge(json!({ "status": { "transitions": transitions } }));
    api.patch_status(name, &PatchParams::default(), &patch).await.context("record many changes").map(drop)
}

pub(crate) async fn what_a_sink_lacks_outlives_the_object_and_the_operator(_: Arc<Stage>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [bus_port, way_port] = free_ports()?;
    let all = json!({ "source": [{ "prefix": "fleetform." }] });
    let bus = Bus::open(StandIn::ministack(bus_port, dir.path()).await?, &all).await?;
    let way = Way::open(way_port, bus_port).await?;
    let sinks = vec![
        json!({ "name": "bus", "eventBridge": { "bus": "fleet" } }),
        json!({ "name": "kubectl", "required": false, "kubernetesEvents": {} }),
    ];
    let stage = Arc::new(Stage::with_event_sinks(sinks, way_port).await?);
    let project = Project::new(&stage, "backlog").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    let connected = |instance: &DeviceInstance| condition(instance, ConditionType::Connected);
    checking_in(&project, &mut device, "door", "online", connected).await?;
    let mut got = BTreeSet::from([bus.next_id().await?]);

    // EventBridge is away, for longer than the instance takes to make as many changes as it keeps.
    way.set_open(false);
    change_often(&project, "door").await?;
    until_told(&stage, KEPT_TRANSITIONS).await?;
    device.set_failed_health_checks(checks(&["camera"]));
    let healthy = |instance: &DeviceInstance| condition(instance, ConditionType::Healthy);
    let instance = checking_in(&project, &mut device, "door", "critical", |instance| !healthy(instance)).await?;
    let status = instance.status.unwrap_or_default();
    ensure!(status.transitions.len() == KEPT_TRANSITIONS / 2, "it keeps {}", status.transitions.len());
    until_kept(&stage, 1).await?;
    let metrics = stage.installation.metrics().await?;
    ensure!(metrics.contains("fleetform_events_kept 1\n"), "{metrics}");

    // What it had not told when it is deleted outlives it, and the operator.
    project.api::<DeviceInstance>().delete("door", &DeleteParams::default()).await?;
    until_kept(&stage, 2).await?;
    let ids = until_told(&stage, KEPT_TRANSITIONS + 1).await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    way.set_open(true);
    while got != ids {
        let id = bus.next_id().await.with_context(|| {
            format!("{} of {} are there; {}", got.len(), ids.len(), stage.installation.operator_log_end())
        })?;
        ensure!(ids.contains(&id), "{id} was never told of");
        got.insert(id);
    }
    until_kept(&stage, 0).await?;

    // People who look with kubectl see it, too.
    let announced: Api<Announcement> = project.api();
    let announced = announced.list(&ListParams::default()).await?.items;
    let critical: Vec<_> =
        announced.iter().filter(|event| event.reason.as_deref() == Some(&CRITICAL.replace(' ', ""))).collect();
    ensure!(critical.len() == 1, "{announced:#?}");
    let regarding = critical[0].regarding.clone().unwrap_or_default();
    ensure!(
        regarding.name.as_deref() == Some("door") && critical[0].type_.as_deref() == Some("Warning"),
        "{critical:?}"
    );
    Ok(())
}

/// Before EventBridge: spoils the detail of each entry of this type, as nothing that the operator sends is ever refused.
async fn spoil(port: u16, behind: u16, detail_type: &'static str) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let pass = service_fn(move |request: Request<Incoming>| {
        let client = client.clone();
        async move {
            let (mut head, body) = request.into_parts();
            let body = spoiled(&body.collect().await?.to_bytes(), detail_type);
            let path = head.uri.path_and_query().context("a path")?;
            let behind = format!("127.0.0.1:{behind}");
            head.uri = Uri::builder().scheme("http").authority(behind).path_and_query(path.clone()).build()?;
            head.headers.remove("content-length");
            let answer = client.request(Request::from_parts(head, Full::new(body))).await?;
            let (head, body) = answer.into_parts();
            anyhow::Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
        }
    });
    tokio::spawn(serve(listener, pass));
    Ok(())
}

fn spoiled(body: &Bytes, detail_type: &str) -> Bytes {
    let Ok(mut call) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    for entry in call["Entries"].as_array_mut().into_iter().flatten() {
        if entry["DetailType"] == detail_type {
            entry["Detail"] = "{".into();
        }
    }
    call.to_string().into()
}

pub(crate) async fn what_event_bridge_refuses_is_a_dead_letter_and_the_rest_arrives(_: Arc<Stage>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [bus_port, way_port] = free_ports()?;
    let all = json!({ "source": [{ "prefix": "example.fleet." }] });
    let bus = Bus::open(StandIn::moto(bus_port, dir.path()).await?, &all).await?;
    spoil(way_port, bus_port, CRITICAL).await?;
    let sink = json!({ "name": "bus", "source": "example.fleet", "eventBridge": { "bus": "fleet" } });
    let stage = Arc::new(Stage::with_event_sinks(vec![sink], way_port).await?);
    let project = Project::new(&stage, "refused").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    // One delivery, or several: the one in the middle is refused.
    let healthy = |instance: &DeviceInstance| condition(instance, ConditionType::Healthy);
    device.set_failed_health_checks(checks(&["camera"]));
    checking_in(&project, &mut device, "door", "critical", |instance| {
        condition(instance, ConditionType::Connected) && !healthy(instance)
    })
    .await?;
    device.set_failed_health_checks(Vec::new());
    checking_in(&project, &mut device, "door", "healthy", healthy).await?;
    let arrived = [bus.next().await?, bus.next().await?];
    let types: BTreeSet<&str> = arrived.iter().filter_map(|message| message["detail-type"].as_str()).collect();
    ensure!(
        types == BTreeSet::from(["Device Connectivity Changed To Online", "Device Health Status Changed To Healthy"]),
        "{arrived:?}"
    );
    let events = stage.installation.events()?;
    let critical = events.iter().find(|event| event.detail_type == CRITICAL).context("it is in the file")?;
    let letters = wait::until("a dead letter", LIMIT, async || {
        let letters = stage.installation.dead_letters()?;
        Ok(if letters.is_empty() { Look::NotYet("none".to_owned()) } else { Look::Done(letters) })
    })
    .await?;
    ensure!(letters.len() == 1 && letters[0]["sink"] == "bus", "{letters:?}");
    ensure!(letters[0]["reason"] == "EventBridge finds it wrong (MalformedDetail)", "{letters:?}");
    let kept: Event = serde_json::from_value(letters[0]["event"].clone())?;
    ensure!(kept == Event { source: "example.fleet.one".into(), ..critical.clone() }, "{kept:?}");
    let metrics = stage.installation.metrics().await?;
    ensure!(metrics.contains("fleetform_events_refused_total{sink=\"bus\"} 1"), "{metrics}");
    Ok(())
}
