//! `bench rollout`: a template is changed under an active fleet; how long until every device runs the change, held against the
//! writes that this takes.
//!
//! Each device takes two: what it should run, and that it runs it. The bare client makes these two for as many devices as the
//! fleet has, which it has made active before with the writes that the fleet takes; that is not timed. The fleet's devices wait
//! in their check-ins, so that nobody waits for the next one to be due.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fleetform_crds::ConfigTemplate;
use futures::StreamExt;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use serde::Serialize;
use serde_json::json;
use tokio::time::{interval, timeout, timeout_at};

use super::audit::{Counts, Kind, count};
use super::audit_log::AuditLog;
use super::bed::Bed;
use super::convergence::converge;
use super::device::{Device, watch};
use super::profile::Profile;
use super::raw::Writer;
use super::report::{RATIO_TARGET, float, per, total};
use super::steady::come_to_rest;
use super::usage::Cpu;
use super::work::each;
use super::{Order, Settings, fleet, objects};

/// Writes of the operator for each device.
pub(super) const WRITES_TARGET: f64 = 2.1;

/// The version that every device runs in the end.
const CHANGED: u32 = 2;

/// Between two looks at whether operator and simulator still run.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What was measured. Written as JSON with these names.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) devices: usize,
    pub(super) concurrency: usize,
    pub(super) optimised: bool,
    pub(super) raw_seconds: f64,
    pub(super) rollout_seconds: f64,
    pub(super) ratio: f64,
    /// How long half of the devices, and all but one in a hundred, took.
    pub(super) applied_p50_ms: u64,
    pub(super) applied_p99_ms: u64,
    pub(super) operator_writes_per_device: f64,
    /// By verb and resource.
    pub(super) operator_writes: Counts,
    pub(super) refused_writes: Counts,
    pub(super) cpu_ratio: f64,
}

struct Half {
    wall: Duration,
    cpu: Cpu,
}

struct Changed {
    half: Half,
    /// How long each device took, in order.
    took: Vec<Duration>,
    writes: Counts,
    refused: Counts,
}

/// Measures both halves.
pub(super) async fn measure(settings: &Settings) -> Result<Figures> {
    let (raw, fleet) = match settings.order {
        Order::RawFirst => {
            let raw = raw(settings).await?;
            (raw, changed_fleet(settings).await?)
        }
        Order::FleetFirst => {
            let fleet = changed_fleet(settings).await?;
            (raw(settings).await?, fleet)
        }
    };
    let (raw_seconds, rollout_seconds) = (raw.wall.as_secs_f64(), fleet.half.wall.as_secs_f64());
    let percentile = |of_hundred: usize| {
        let at = fleet.took.len().saturating_sub(1) * of_hundred / 100;
        fleet.took.get(at).map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    };
    Ok(Figures {
        devices: settings.devices(),
        concurrency: settings.concurrency.get(),
        optimised: Profile::own() == Profile::Release,
        raw_seconds,
        rollout_seconds,
        ratio: rollout_seconds / raw_seconds,
        applied_p50_ms: percentile(50),
        applied_p99_ms: percentile(99),
        operator_writes_per_device: per(total(&fleet.writes), settings.devices()),
        operator_writes: fleet.writes,
        refused_writes: fleet.refused,
        cpu_ratio: fleet.half.cpu.total() / raw.cpu.total(),
    })
}

impl Figures {
    /// As a JSON document.
    pub(super) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("figures are plain data");
        text.push('\n');
        text
    }

    /// What people look at.
    pub(super) fn rows(&self) -> Vec<[String; 3]> {
        let rate = float(self.devices) * 2.0 / self.raw_seconds;
        let plain = |name: &str, measured: String| [name.to_owned(), measured, String::new()];
        let mut rows = vec![
            plain("devices", self.devices.to_string()),
            plain(
                &format!("a: raw writes, {} in flight", self.concurrency),
                format!("{:.1} s ({rate:.0} writes/s)", self.raw_seconds),
            ),
            plain("b: template changed to applied by all", format!("{:.1} s", self.rollout_seconds)),
            ["ratio b/a".into(), format!("{:.2}", self.ratio), format!("≤ {RATIO_TARGET}")],
            plain("changed → applied, p50 / p99", format!("{} / {} ms", self.applied_p50_ms, self.applied_p99_ms)),
            plain("processor time of all processes, b/a", format!("{:.2}", self.cpu_ratio)),
            [
                "operator writes per device".into(),
                format!("{:.2}", self.operator_writes_per_device),
                format!("≤ {WRITES_TARGET}"),
            ],
        ];
        for (of, counts) in [("", &self.operator_writes), ("refused: ", &self.refused_writes)] {
            rows.extend(counts.iter().map(|(what, count)| plain(&format!("  {of}{what}"), count.to_string())));
        }
        rows
    }
}

async fn raw(settings: &Settings) -> Result<Half> {
    eprintln!("the raw limit: starting a control plane …");
    let bed = Bed::start(settings, false).await?;
    bed.installation.terminate_operator().await?;
    objects::make_surroundings(&bed.admin(), settings.sites()).await?;
    let writer = Arc::new(Writer::new(&bed.admin(), &bed.operator().await?, settings.sites()));
    let (concurrency, devices) = (settings.concurrency.get(), settings.devices());
    let active: Arc<Vec<OnceLock<Device>>> = Arc::new((0..devices).map(|_| OnceLock::new()).collect());
    eprintln!("the raw limit: making {devices} devices active …");
    let (maker, all) = (Arc::clone(&writer), Arc::clone(&active));
    let make = each(concurrency, devices, move |number| {
        let (maker, all) = (Arc::clone(&maker), Arc::clone(&all));
        async move {
            let (device, secret) = maker.make_ready(&maker.create(number).await?).await?;
            let _ = all[number].set(maker.activate(&device, &secret).await?);
            Ok(())
        }
    });
    let limit = settings.limit();
    timeout(limit, make).await.map_err(|_| anyhow!("they were not after {} s", limit.as_secs()))??;
    bed.calm_down().await?;
    let watching = tokio::spawn(watch(&bed.admin()).for_each(async |_| {}));
    let before = bed.cpu()?;
    eprintln!("the raw limit: writing for {devices} devices …");
    let start = Instant::now();
    let write = each(concurrency, devices, move |number| {
        let (writer, active) = (Arc::clone(&writer), Arc::clone(&active));
        async move { writer.change(active[number].get().context("a device is not active")?).await }
    });
    timeout(limit, write).await.map_err(|_| anyhow!("it was not done after {} s", limit.as_secs()))??;
    let half = Half { wall: start.elapsed(), cpu: bed.cpu()?.since(&before) };
    watching.abort();
    Ok(half)
}

async fn changed_fleet(settings: &Settings) -> Result<Changed> {
    eprintln!("the fleet: starting a control plane …");
    let bed = Bed::start_waiting(settings).await?;
    let (admin, installation) = (bed.admin(), &bed.installation);
    objects::make_surroundings(&admin, settings.sites()).await?;
    fleet::surroundings_are_ready(installation).await?;
    eprintln!("the fleet: declaring {} devices …", settings.devices());
    converge(settings, installation, |_| {}).await?;
    let mut audit = AuditLog::open(&bed.plane.audit_log())?;
    come_to_rest(&bed, &mut audit).await?;
    bed.calm_down().await?;

    let mut events = Box::pin(watch(&admin));
    while !matches!(events.next().await, Some(Ok(watcher::Event::InitDone)) | None) {}
    let requests = audit.requests.len();
    let before = bed.cpu()?;
    eprintln!("the fleet: changing the template …");
    let start = Instant::now();
    let deadline = start + settings.limit();
    let api: Api<ConfigTemplate> = Api::namespaced(admin.clone(), objects::NAMESPACE);
    let change = json!({ "spec": { "configuration": { "maximumOfflineMinutes": 1440 } } });
    let changed = api.patch(objects::TEMPLATE, &PatchParams::default(), &Patch::Merge(&change)).await;
    changed.context("change the template")?;
    let (mut done, mut took) = (HashSet::new(), Vec::new());
    let mut look = interval(WATCH_INTERVAL);
    while done.len() < settings.devices() {
        let next = async {
            tokio::select! {
                Some(event) = events.next() => if let Ok(watcher::Event::Apply(device) | watcher::Event::InitApply(device)) = event
                    && device.runs(CHANGED)
                    && let Some(number) = device.number()
                    && done.insert(number)
                {
                    took.push(start.elapsed());
                },
                _ = look.tick() => installation.ensure_running()?,
            }
            anyhow::Ok(())
        };
        timeout_at(deadline.into(), next).await.map_err(|_| {
            anyhow!("{} of {} devices run it after {} s", done.len(), settings.devices(), settings.limit().as_secs())
        })??;
    }
    let half = Half { wall: start.elapsed(), cpu: bed.cpu()?.since(&before) };
    come_to_rest(&bed, &mut audit).await?;
    let during = || audit.requests[requests..].iter();
    let (writes, refused) = (count(during(), Kind::Write), count(during(), Kind::Refused));
    Ok(Changed { half, took, writes, refused })
}
