//! A fleet is declared, and watched until every device of it runs its configuration.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fleetform_crds::DeviceInstance;
use fleetform_e2e::Installation;
use futures::{StreamExt, TryStreamExt};
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout_at};

use super::device::{Device, watch};
use super::stages::{Stage, Stages};
use super::work::each;
use super::{Settings, objects};

/// Between two looks at whether operator and simulator still run.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Between two lines about how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// What the declaration of a fleet led to.
pub(super) struct Converged {
    /// From the first request to the last confirmation.
    pub(super) wall: Duration,
    pub(super) stages: Stages,
}

/// Declares the fleet and waits until it is active and runs its configuration.
///
/// # Errors
///
/// When that takes longer than the limit, or operator or simulator end; with how many devices got how far.
pub(super) async fn converge(
    settings: &Settings,
    installation: &Installation,
    on_ready: impl FnMut(usize),
) -> Result<Converged> {
    let mut stages = Stages::new(settings.devices());
    match follow(settings, installation, &mut stages, on_ready).await {
        Ok(wall) => Ok(Converged { wall, stages }),
        Err(error) => Err(anyhow!(
            "the fleet did not come up: {error:#}\n{stages}\n{}\n{}",
            installation.operator_log_end(),
            installation.simulator_log_end()
        )),
    }
}

async fn follow(
    settings: &Settings,
    installation: &Installation,
    stages: &mut Stages,
    mut on_ready: impl FnMut(usize),
) -> Result<Duration> {
    let admin = installation.cluster().client();
    let mut events = Box::pin(watch(&admin));
    while !matches!(events.try_next().await.context("watch the device instances")?, Some(watcher::Event::InitDone)) {}

    let start = Instant::now();
    let deadline = start + settings.limit();
    let (sender, mut created) = mpsc::unbounded_channel();
    let mut declaring = tokio::spawn(declare(admin, settings.clone(), sender));
    let (mut look, mut progress) = (interval(WATCH_INTERVAL), interval(PROGRESS_INTERVAL));
    progress.tick().await;
    let mut is_declared = false;
    loop {
        if let Some(end) = stages.end() {
            return Ok(end - start);
        }
        let next = async {
            tokio::select! {
                Some((number, at)) = created.recv() => stages.reach(number, Stage::Created, at),
                Some(event) = events.next() => note(stages, event, &mut on_ready),
                done = &mut declaring, if !is_declared => {
                    is_declared = true;
                    done.context("declaring panicked")??;
                }
                _ = look.tick() => installation.ensure_running()?,
                _ = progress.tick() => eprintln!("the fleet: {stages}"),
            }
            anyhow::Ok(())
        };
        timeout_at(deadline.into(), next)
            .await
            .map_err(|_| anyhow!("it was given {} s", settings.limit().as_secs()))??;
    }
}

fn note(stages: &mut Stages, event: watcher::Result<watcher::Event<Device>>, on_ready: &mut impl FnMut(usize)) {
    let at = Instant::now();
    match event {
        Ok(watcher::Event::Apply(device) | watcher::Event::InitApply(device)) => {
            if let (Some(number), Some(stage)) = (device.number(), device.stage()) {
                stages.reach(number, stage, at);
                if stage == Stage::Ready {
                    on_ready(number);
                }
            }
        }
        Ok(_) => {}
        // It starts again by itself; what was missed is seen then.
        Err(error) => eprintln!("the watch was interrupted: {error}"),
    }
}

/// Creates the device instances as a user would with a fast client, and tells when each was accepted.
async fn declare(admin: Client, settings: Settings, created: mpsc::UnboundedSender<(usize, Instant)>) -> Result<()> {
    let api: Api<DeviceInstance> = Api::namespaced(admin, objects::NAMESPACE);
    let sites = settings.sites();
    each(settings.concurrency.get(), settings.devices(), move |number| {
        let (api, created) = (api.clone(), created.clone());
        async move {
            let device = objects::device(number, sites);
            api.create(&PostParams::default(), &device).await.context("create a device instance")?;
            // Nobody listens any more when it has been given up.
            let _ = created.send((number, Instant::now()));
            Ok(())
        }
    })
    .await
}
