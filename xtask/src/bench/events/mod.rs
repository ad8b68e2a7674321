//! `bench events`: how many events in a second the operator brings to a sink, and what each costs it, held against a
//! raw sink.
//!
//! The events wait already: a bare client has recorded 32 changes of each device, as many as an instance keeps, in the
//! instances' statuses. There is no Project in their namespace, so the operator has nothing to do for them but to bring
//! their events to a sink. One start after the other does the same again, as the sink's mark is set back to before the
//! first change. What a sink got then goes to another one of its kind, from a bare client in the same portions.
//!
//! Sinks over HTTP are away until the operator has started, seen everything and tried in vain. So nothing of its start
//! is in the time that is taken, and it can be seen what it keeps in memory of what waits.

mod backlog;
mod figures;
mod pace;
mod raw;
mod stub;
mod wire;

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_domain::transition::KEPT_TRANSITIONS;
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::stand_ins::{CREDENTIALS, StandIn};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::bed::Bed;
use super::profile::Profile;
use super::usage::sum;
pub(super) use figures::Figures;
use figures::{Memory, Reached, Resident};
use pace::watch;
use stub::{Sent, Stub};

/// The bus that both stand-ins have.
const BUS: &str = "fleet";

/// Between two looks at a receiver of our own.
const INTERVAL: Duration = Duration::from_millis(2);

/// Between two looks at the operator's own count: each costs it something.
const METRICS_INTERVAL: Duration = Duration::from_millis(100);

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Settings {
    /// How many device instances there are; 32 events of each wait. Eight or fewer are one delivery, and are for trying
    /// the benchmark.
    #[arg(long, value_name = "N", default_value = "3000", value_parser = at_most)]
    pub(super) devices: NonZeroUsize,
}

/// More would take the benchmark itself gigabytes: it keeps what the sinks got.
const MOST_DEVICES: usize = 10_000;

fn at_most(text: &str) -> Result<NonZeroUsize, String> {
    let devices = text.parse().map_err(|error| format!("{error}"))?;
    NonZeroUsize::new(devices).filter(|n| n.get() <= MOST_DEVICES).ok_or_else(|| format!("must be 1 to {MOST_DEVICES}"))
}

/// Measures every sink.
pub(super) async fn measure(settings: &Settings) -> Result<Figures> {
    let devices = settings.devices.get();
    eprintln!("starting a control plane …");
    let bed = Bed::start_alone().await?;
    bed.installation.terminate_operator().await?;
    eprintln!("recording {KEPT_TRANSITIONS} changes of each of {devices} devices …");
    backlog::make(&bed.admin(), devices).await?;
    // It says of each device once that there is no Project. After that it has nothing to write.
    bed.installation.start_operator().await?;
    bed.operator_rests().await?;
    bed.installation.terminate_operator().await?;
    bed.calm_down().await?;

    let [bus, hook, ministack, ministack_again] = free_ports()?;
    let bench = Bench { bed, events: devices * KEPT_TRANSITIONS };
    let nothing_waits = bench.nothing_waits(bus).await?;
    let lines = bench.json_lines().await?;
    let to_bus = bench.over_http("EventBridge, a stub", event_bridge(), bus).await?;
    let to_hook = bench.over_http("CloudEvents, batched, a stub", cloud_events(hook), hook).await?;
    let to_ministack = bench.to_ministack(to_bus.sent, [ministack, ministack_again]).await?;
    Ok(Figures {
        devices,
        events: bench.events,
        optimised: Profile::own() == Profile::Release,
        hours: backlog::hours(),
        sinks: vec![lines, to_bus.reached, to_hook.reached, to_ministack],
        memory: Memory { nothing_waits, all_wait: to_bus.all_wait, all_delivered: to_bus.all_delivered },
    })
}

fn event_bridge() -> Value {
    json!({ "name": "bus", "eventBridge": { "bus": BUS } })
}

/// Where the operator finds EventBridge.
fn event_bridge_at(port: u16) -> Vec<(String, String)> {
    let endpoint = ("AWS_ENDPOINT_URL_EVENTBRIDGE".to_owned(), format!("http://{}", local(port)));
    let credentials = CREDENTIALS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    credentials.into_iter().chain([endpoint]).collect()
}

fn cloud_events(port: u16) -> Value {
    json!({ "name": "hook", "cloudEvents": { "url": format!("http://{}/", local(port)), "mode": "Batched" } })
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Where everything waits.
struct Bench {
    bed: Bed,
    events: usize,
}

/// What came of a sink that was away first.
struct Returned {
    reached: Reached,
    all_wait: Resident,
    all_delivered: Resident,
    sent: Arc<Vec<Sent>>,
}

impl Bench {
    /// Starts the operator with this sink alone, which has everything that was recorded before `mark`. EventBridge is
    /// at this port, if it is asked for.
    async fn start(&self, sink: Value, mark: Timestamp, port: Option<u16>) -> Result<String> {
        let name = sink["name"].as_str().context("a sink has a name")?;
        backlog::set_mark(&self.bed.admin(), name, mark).await?;
        let environment = port.map(event_bridge_at).unwrap_or_default();
        self.bed.installation.spawn_operator_for(&[sink], &environment)
    }

    /// The same, and waits until it has looked at everything.
    async fn start_and_rest(&self, sink: Value, mark: Timestamp, port: u16) -> Result<Resident> {
        let identity = self.start(sink, mark, Some(port)).await?;
        self.bed.installation.operator_serves(&identity).await?;
        self.rest().await
    }

    async fn rest(&self) -> Result<Resident> {
        self.bed.operator_rests().await?;
        let installation = &self.bed.installation;
        Ok(Resident { now_kib: installation.operator_rss_kib()?, peak_kib: installation.operator_peak_rss_kib()? })
    }

    /// The operator's memory when everything is with its sink at the start.
    async fn nothing_waits(&self, port: u16) -> Result<Resident> {
        eprintln!("nothing waits …");
        let resident = self.start_and_rest(event_bridge(), Timestamp::now(), port).await?;
        self.bed.installation.terminate_operator().await?;
        Ok(resident)
    }

    /// The time begins with the operator's first delivery: by then its start is over.
    async fn json_lines(&self) -> Result<Reached> {
        eprintln!("JSON lines …");
        let path = self.bed.installation.events_path();
        remove(&path)?;
        // Larger than it gets, so that all of it is in one file.
        let sink = json!({ "name": "file", "jsonLines": { "path": path, "rotateMiB": 1 << 20 } });
        self.start(sink, Timestamp::UNIX_EPOCH, None).await?;
        let mut lines = pace::Lines::of(&path);
        let pace = watch(&self.bed.installation, self.events, INTERVAL, async || lines.count()).await?;
        self.bed.installation.terminate_operator().await?;
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let twice = self.check(wire::ids_of_lines(&text)?)?;
        let bare = path.with_extension("bare");
        let raw = tokio::task::spawn_blocking(move || raw::append(&text, &bare)).await.context("append lines")??;
        Ok(Reached::new("JSON lines in a file", pace, raw, Some(twice)))
    }

    /// A receiver at this port, which is away until the operator rests.
    async fn over_http(&self, what: &'static str, sink: Value, port: u16) -> Result<Returned> {
        eprintln!("{what} …");
        let failures = format!("fleetform_events_failed_total{{sink={}}}", sink["name"]);
        let all_wait = self.start_and_rest(sink, Timestamp::UNIX_EPOCH, port).await?;
        let metrics = self.bed.installation.metrics().await?;
        ensure!(sum(&metrics, &failures).is_some_and(|failures| failures > 0), "{what}: nobody has tried to deliver");
        let stub = Stub::open(port)?;
        let pace = watch(&self.bed.installation, self.events, INTERVAL, async || Ok(stub.events())).await?;
        let all_delivered = self.rest().await?;
        self.bed.installation.terminate_operator().await?;
        let sent = Arc::new(stub.close());
        let twice = self.check(stub::ids(&sent)?)?;
        let bare = Stub::open(0)?;
        let raw = raw::post_all(bare.address(), &sent, self.events).await?;
        Ok(Returned { reached: Reached::new(what, pace, raw, Some(twice)), all_wait, all_delivered, sent })
    }

    /// ministack, of which there are two, as it keeps what it got. It is there from the start: it is so slow that the
    /// operator's start does not matter.
    async fn to_ministack(&self, sent: Arc<Vec<Sent>>, [first, second]: [u16; 2]) -> Result<Reached> {
        eprintln!("ministack …");
        let service = self.ministack(first).await?;
        self.start(event_bridge(), Timestamp::UNIX_EPOCH, Some(first)).await?;
        let pace = watch(&self.bed.installation, self.events, METRICS_INTERVAL, async || {
            // There are none before it listens.
            let metrics = self.bed.installation.metrics().await.unwrap_or_default();
            let delivered = sum(&metrics, "fleetform_events_delivered_total{sink=\"bus\"").context("a counter")?;
            Ok(usize::try_from(delivered)?)
        })
        .await?;
        self.bed.installation.terminate_operator().await?;
        drop(service);
        let _service = self.ministack(second).await?;
        let raw = raw::post_all(local(second), &sent, self.events).await?;
        Ok(Reached::new("EventBridge, ministack", pace, raw, None))
    }

    async fn ministack(&self, port: u16) -> Result<StandIn> {
        let service = StandIn::ministack(port, self.bed.plane.dir()).await?;
        raw::create_bus(local(port), BUS).await?;
        Ok(service)
    }

    /// How many of these came more than once. An error when one that waited did not come at all.
    fn check(&self, ids: Vec<String>) -> Result<usize> {
        let came = ids.len();
        let distinct = ids.into_iter().collect::<HashSet<_>>().len();
        ensure!(distinct == self.events, "of {} events {distinct} came", self.events);
        Ok(came - distinct)
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
