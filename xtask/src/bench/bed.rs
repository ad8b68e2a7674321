//! What one half of the benchmark runs on: a new control plane with Fleetform installed.

use std::time::Duration;

use anyhow::{Context, Result};
use fleetform_domain::wire::MAX_WAIT_SECONDS;
use fleetform_e2e::control_plane::{self, ControlPlane, client_of};
use fleetform_e2e::installation::{self, Installation, SimulatorOptions};
use fleetform_e2e::wait::{self, Look};
use fleetform_e2e::{Cluster, Component};
use kube::Client;
use tokio::time::{Instant, sleep};

use super::Settings;
use super::usage::{Cpu, sum};

/// Time between two check-ins where nothing else is said, in seconds: longer than a benchmark takes.
const CHECK_IN_SECONDS: u32 = 1_200;

/// The operator is at rest when it has written nothing for so long: sums follow within two seconds.
const AT_REST: Duration = Duration::from_secs(5);

/// How long it may take to come to rest.
const REST_LIMIT: Duration = Duration::from_mins(3);

/// Between two looks at what the API server uses.
const CALM_INTERVAL: Duration = Duration::from_secs(1);

/// The API server is calm when it uses no more than this of a processor.
const CALM: f64 = 0.1;

/// How long to wait for that. After that it is measured as it is.
const CALM_LIMIT: Duration = Duration::from_mins(1);

pub(super) struct Bed {
    // First, so that it ends before its API server does.
    pub(super) installation: Installation,
    pub(super) plane: ControlPlane,
}

impl Bed {
    /// Starts one, with the operator and, if it is asked for, the simulator.
    pub(super) async fn start(settings: &Settings, simulator: bool) -> Result<Self> {
        let options = SimulatorOptions { picture_every: settings.picture_every.get(), ..SimulatorOptions::default() };
        Self::start_with(settings, simulator.then_some(options)).await
    }

    /// Starts one without a simulator.
    pub(super) async fn start_alone() -> Result<Self> {
        Self::start_in(None, CHECK_IN_SECONDS).await
    }

    /// Starts one whose devices wait in their check-ins for something to do.
    pub(super) async fn start_waiting(settings: &Settings) -> Result<Self> {
        let args = vec![format!("--check-in-wait-seconds={}", MAX_WAIT_SECONDS.min(settings.check_in_seconds))];
        let options = SimulatorOptions { picture_every: settings.picture_every.get(), args };
        Self::start_with(settings, Some(options)).await
    }

    async fn start_with(settings: &Settings, simulator: Option<SimulatorOptions>) -> Result<Self> {
        Self::start_in(simulator, settings.check_in_seconds).await
    }

    async fn start_in(simulator: Option<SimulatorOptions>, check_in_seconds: u32) -> Result<Self> {
        let plane = ControlPlane::start(control_plane::Options::default()).await?;
        let mut options = installation::Options::in_dir(plane.dir().join("fleetform"));
        options.check_in_seconds = check_in_seconds;
        options.simulator = simulator;
        let installation = Installation::start(Cluster::of(&plane)?, options).await?;
        Ok(Self { installation, plane })
    }

    /// A client of the administrator.
    pub(super) fn admin(&self) -> Client {
        self.plane.kube_client()
    }

    /// A client that speaks for the operator.
    pub(super) async fn operator(&self) -> Result<Client> {
        client_of(&self.installation.operator_kubeconfig()).await
    }

    /// Waits until the API server has done with its start: after definitions are installed it publishes them anew, which
    /// takes seconds of processor time that would be the first half's alone if it were measured at once.
    pub(super) async fn calm_down(&self) -> Result<()> {
        let used = || anyhow::Ok(self.cpu()?.0.get(Component::ApiServer.name()).copied().unwrap_or_default());
        let end = Instant::now() + CALM_LIMIT;
        let mut before = used()?;
        while Instant::now() < end {
            sleep(CALM_INTERVAL).await;
            let now = used()?;
            if now - before <= CALM * CALM_INTERVAL.as_secs_f64() {
                break;
            }
            before = now;
        }
        Ok(())
    }

    /// Writes that the operator has made since it was started, by its own count.
    pub(super) async fn operator_writes(&self) -> Result<u64> {
        sum(&self.installation.metrics().await?, "fleetform_writes_total{").context("a counter of writes is no number")
    }

    /// Waits until the operator, which serves, writes nothing any more.
    pub(super) async fn operator_rests(&self) -> Result<()> {
        wait::until("the operator to be at rest", REST_LIMIT, async || {
            let before = self.operator_writes().await?;
            sleep(AT_REST).await;
            let after = self.operator_writes().await?;
            Ok(if before == after { Look::Done(()) } else { Look::NotYet(format!("{} writes", after - before)) })
        })
        .await
    }

    /// Processor time that every process has used so far; of those that do not run, none.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let mut processes = vec![("benchmark", std::process::id())];
        for component in Component::ALL {
            processes.push((component.name(), self.plane.pid(component).context("a component has ended")?));
        }
        processes.extend(self.installation.operator_pid().ok().map(|pid| ("operator", pid)));
        processes.extend(self.installation.simulator_pid().ok().map(|pid| ("simulator", pid)));
        Ok(Cpu::of(&processes))
    }
}
