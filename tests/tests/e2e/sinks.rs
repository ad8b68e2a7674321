//! Several event sinks at once: Amazon EventBridge with a rule to a queue, a receiver of `CloudEvents`, and the file.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::event::Event;
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::installation::{ACCOUNT, REGION};
use fleetform_e2e::stand_ins::StandIn;
use fleetform_e2e::wait::{self, Look};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::devices::{activated, checking_in};
use super::presence::checks;
use super::project::{LIMIT, Project, SITE_NAME, condition};
use super::receiver::Receiver;
use super::stage::Stage;

/// The type of the event that tells of a device with failed health checks.
pub(crate) const CRITICAL: &str = "Device Health Status Changed To Critical";

/// EventBridge as a customer has it: a bus, and a rule that routes some of its events to a queue.
pub(crate) struct Bus {
    _service: StandIn,
    url: String,
    queue: String,
}

impl Bus {
    /// In this service; events that fit the pattern go to the queue.
    pub(crate) async fn open(service: StandIn, pattern: &Value) -> Result<Self> {
        let mut this = Self { url: service.url().to_owned(), _service: service, queue: String::new() };
        this.events("CreateEventBus", json!({ "Name": "fleet" })).await?;
        let queue = this.sqs("CreateQueue", json!({ "QueueName": "told" })).await?;
        this.queue = queue["QueueUrl"].as_str().context("a queue")?.to_owned();
        let rule = json!({ "Name": "told", "EventBusName": "fleet", "EventPattern": pattern.to_string() });
        this.events("PutRule", rule).await?;
        let target = json!({ "Id": "queue", "Arn": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:told") });
        this.events("PutTargets", json!({ "Rule": "told", "EventBusName": "fleet", "Targets": [target] })).await?;
        Ok(this)
    }

    async fn events(&self, action: &str, body: Value) -> Result<Value> {
        self.call("events", &format!("AWSEvents.{action}"), "application/x-amz-json-1.1", body).await
    }

    async fn sqs(&self, action: &str, body: Value) -> Result<Value> {
        self.call("sqs", &format!("AmazonSQS.{action}"), "application/x-amz-json-1.0", body).await
    }

    async fn call(&self, service: &str, target: &str, media_type: &str, body: Value) -> Result<Value> {
        let scope = format!("{ACCOUNT}/20260101/{REGION}/{service}/aws4_request");
        let request = Request::post(format!("{}/", self.url))
            .header("x-amz-target", target)
            .header("content-type", media_type)
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .body(Full::new(Bytes::from(body.to_string())))?;
        let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = client.request(request).await.with_context(|| format!("call {target}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{target}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Waits until the queue has a message, and takes it.
    pub(crate) async fn next(&self) -> Result<Value> {
        wait::until("a message in the queue", LIMIT, async || {
            let asked = json!({ "QueueUrl": self.queue, "MaxNumberOfMessages": 1 });
            let got = self.sqs("ReceiveMessage", asked).await?;
            let Some(message) = got["Messages"].get(0) else { return Ok(Look::NotYet(got.to_string())) };
            let handle = &message["ReceiptHandle"];
            self.sqs("DeleteMessage", json!({ "QueueUrl": self.queue, "ReceiptHandle": handle })).await?;
            Ok(Look::Done(serde_json::from_str(message["Body"].as_str().unwrap_or_default())?))
        })
        .await
    }

    /// The id, as we gave it, of the next event in the queue.
    pub(crate) async fn next_id(&self) -> Result<Uuid> {
        let message = self.next().await?;
        Ok(message["detail"]["id"].as_str().with_context(|| format!("{message} has no id"))?.parse()?)
    }
}

/// The way to EventBridge, which can be shut: then it is away, and remembers what it had.
#[derive(Clone)]
pub(crate) struct Way {
    behind: u16,
    is_open: Arc<AtomicBool>,
    lines: Arc<Mutex<JoinSet<()>>>,
}

impl Way {
    /// From this port to that one, for as long as the test lasts.
    pub(crate) async fn open(port: u16, behind: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let way = Self { behind, is_open: Arc::new(AtomicBool::new(true)), lines: Arc::default() };
        let this = way.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                if this.is_open.load(Ordering::SeqCst) {
                    let behind = this.behind;
                    this.lines.lock().spawn(async move {
                        if let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await {
                            let _ = copy_bidirectional(&mut from, &mut to).await;
                        }
                    });
                }
            }
        });
        Ok(way)
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.is_open.store(open, Ordering::SeqCst);
        if !open {
            self.lines.lock().abort_all();
        }
    }
}

/// Waits until the last event is of this type and the receiver has all that the file has, in the order of the file.
async fn until_received(stage: &Stage, hook: &Receiver, last: &str) -> Result<Vec<Event>> {
    wait::until(&format!("CloudEvents up to {last}"), LIMIT, async || {
        let events = stage.installation.events()?;
        let ids: Vec<Value> = events.iter().map(|event| json!(event.id)).collect();
        let received: Vec<Value> = hook.stored().iter().map(|document| document["id"].clone()).collect();
        let is_there = ids == received && events.last().is_some_and(|event| event.detail_type == last);
        Ok(if is_there { Look::Done(events) } else { Look::NotYet(format!("{ids:?} and {received:?}")) })
    })
    .await
}

pub(crate) async fn events_go_to_several_sinks_and_one_that_is_away_delays_no_other(_: Arc<Stage>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [bus_port, way_port, hook_port] = free_ports()?;
    // As a user would write it.
    let pattern = json!({
        "source": ["fleetform.one"],
        "detail-type": [{ "prefix": "Device Health Status Changed" }],
        "detail": { "metadata": { "siteName": [SITE_NAME] } },
    });
    let bus = Bus::open(StandIn::ministack(bus_port, dir.path()).await?, &pattern).await?;
    let way = Way::open(way_port, bus_port).await?;
    let hook = Receiver::open(hook_port).await?;
    let sinks = vec![
        json!({ "name": "bus", "required": false, "eventBridge": { "bus": "fleet" } }),
        json!({ "name": "hook", "cloudEvents": { "url": format!("http://127.0.0.1:{hook_port}/"), "mode": "Batched" } }),
    ];
    let stage = Arc::new(Stage::with_event_sinks(sinks, way_port).await?);
    let project = Project::new(&stage, "sinks").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    let connected = |instance: &DeviceInstance| condition(instance, ConditionType::Connected);
    checking_in(&project, &mut device, "door", "online", connected).await?;
    let healthy = |instance: &DeviceInstance| condition(instance, ConditionType::Healthy);
    device.set_failed_health_checks(checks(&["camera"]));
    checking_in(&project, &mut device, "door", "critical", |instance| !healthy(instance)).await?;

    // All of them go to the receiver, and by the rule that of the health to the queue.
    let events = until_received(&stage, &hook, CRITICAL).await?;
    let known = events.len();
    let told = hook.stored().last().cloned().context("an event")?;
    let last = events.last().context("an event")?;
    ensure!(told["specversion"] == "1.0" && told["source"] == "aws.one", "{told}");
    ensure!(told["type"] == CRITICAL && told["data"] == json!(last.detail), "{told}");
    let message = bus.next().await?;
    ensure!(
        message["account"] == ACCOUNT && message["region"] == REGION && message["source"] == "fleetform.one",
        "{message}"
    );
    ensure!(message["detail"]["id"] == json!(last.id), "{message}");
    ensure!(message["detail"]["data"]["deviceInstanceName"] == "door", "{message}");

    // EventBridge is away: the others hear at once, and the operator starts without it.
    way.set_open(false);
    device.set_failed_health_checks(Vec::new());
    checking_in(&project, &mut device, "door", "healthy", healthy).await?;
    until_received(&stage, &hook, "Device Health Status Changed To Healthy").await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    device.set_failed_health_checks(checks(&["camera"]));
    checking_in(&project, &mut device, "door", "critical", |instance| !healthy(instance)).await?;
    let missed: BTreeSet<Uuid> = wait::until("both changes in the file", LIMIT, async || {
        let events = stage.installation.events()?;
        let ids: BTreeSet<Uuid> = events.iter().skip(known).map(|event| event.id).collect();
        Ok(if ids.len() == 2 { Look::Done(ids) } else { Look::NotYet(format!("{ids:?}")) })
    })
    .await?;
    until_metric(&stage, "fleetform_events_failed_total", |failed| failed > 0.0).await?;
    // Longer than between two tries.
    until_metric(&stage, "fleetform_events_lag_seconds", |lag| lag > 12.0).await?;
    // It is back, and gets both: what happened before the operator was killed, and what happened after.
    way.set_open(true);
    let mut got = BTreeSet::new();
    while !got.is_superset(&missed) {
        got.insert(bus.next_id().await.with_context(|| format!("of {missed:?} came {got:?}"))?);
    }
    until_metric(&stage, "fleetform_events_lag_seconds", |lag| lag == 0.0).await
}

/// Waits until what this metric says of the bus is as it should.
async fn until_metric(stage: &Stage, name: &str, is_right: impl Fn(f64) -> bool) -> Result<()> {
    let of_bus = format!("{name}{{sink=\"bus\"}} ");
    wait::until(&of_bus, LIMIT, async || {
        let metrics = stage.installation.metrics().await?;
        let value =
            metrics.lines().find_map(|line| line.strip_prefix(of_bus.as_str())).context("the metric is there")?;
        Ok(if is_right(value.parse()?) { Look::Done(()) } else { Look::NotYet(value.to_owned()) })
    })
    .await
}
