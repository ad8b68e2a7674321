//! The fleet: operator and simulator run as in production, and devices are declared until all run their configuration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use fleetform_crds::DeviceInstance;
use fleetform_e2e::Installation;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval};

use super::audit_log::AuditLog;
use super::bed::Bed;
use super::convergence::converge;
use super::stages::{Latency, Stage};
use super::steady::{self, Steady};
use super::usage::{Cpu, Memory, Sizes, metric, size_of};
use super::{Settings, objects, raw_bodies};

/// Between two looks at how many connections are open.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// How many Secrets are looked for to find the size of one: some are gone before they are seen.
const SAMPLES: usize = 20;

/// What the fleet's half found.
pub(super) struct Fleet {
    /// From the first request to the last confirmation.
    pub(super) wall: Duration,
    pub(super) cpu: Cpu,
    pub(super) ready: Latency,
    pub(super) active: Latency,
    pub(super) confirmed: Latency,
    pub(super) sizes: Sizes,
    pub(super) memory: Memory,
    pub(super) steady: Steady,
    pub(super) audit: AuditLog,
}

pub(super) async fn measure(settings: &Settings) -> Result<Fleet> {
    eprintln!("the fleet: starting a control plane …");
    let start = Instant::now();
    let bed = Bed::start(settings, true).await?;
    let (admin, installation) = (bed.admin(), &bed.installation);
    objects::make_surroundings(&admin, settings.sites()).await?;
    surroundings_are_ready(installation).await?;
    bed.calm_down().await?;
    let at_zero_kib = installation.operator_rss_kib()?;

    let connections = Connections::watch(installation);
    let before = bed.cpu()?;
    eprintln!("the fleet: declaring {} devices …", settings.devices());
    let mut secret = SecretSize::new(&admin);
    let converged = converge(settings, installation, |number| secret.look(number)).await?;
    let cpu = bed.cpu()?.since(&before);

    let mut audit = AuditLog::open(&bed.plane.audit_log())?;
    let steady = steady::measure(settings, &bed, &mut audit, start).await?;
    let memory = Memory {
        at_zero_kib,
        at_rest_kib: installation.operator_rss_kib()?,
        peak_kib: installation.operator_peak_rss_kib()?,
        simulator_peak_kib: installation.simulator_peak_rss_kib()?,
        most_connections: connections.most(),
        connections_at_rest: open_connections(installation).await?,
    };
    let api: Api<DeviceInstance> = Api::namespaced(admin, objects::NAMESPACE);
    let device = api.get(&objects::device_name(0)).await.context("look at a device instance")?;
    let sizes = Sizes { secret_bytes: secret.found(), device_bytes: size_of(&device)? };
    let latency = |stage| converged.stages.latency(stage);
    Ok(Fleet {
        wall: converged.wall,
        cpu,
        ready: latency(Stage::Ready),
        active: latency(Stage::Active),
        confirmed: latency(Stage::Confirmed),
        sizes,
        memory,
        steady,
        audit,
    })
}

/// The operator has seen everything that device instances refer to.
pub(super) async fn surroundings_are_ready(installation: &Installation) -> Result<()> {
    let namespace = format!("--namespace={}", objects::NAMESPACE);
    let what = "projects,sites,configtemplates";
    let args = ["wait", &namespace, "--for=condition=Ready", "--timeout=60s", "--all", what];
    let waited = installation.cluster().kubectl(&args, None).await;
    waited.with_context(|| format!("wait for project, sites and template; {}", installation.operator_log_end()))?;
    Ok(())
}

/// Finds out how large the Secret of a code is, while there is one.
struct SecretSize {
    api: Api<Secret>,
    size: Arc<OnceLock<usize>>,
    looks: usize,
}

impl SecretSize {
    fn new(admin: &Client) -> Self {
        Self { api: Api::namespaced(admin.clone(), objects::NAMESPACE), size: Arc::default(), looks: 0 }
    }

    fn look(&mut self, number: usize) {
        if self.looks == SAMPLES || self.size.get().is_some() {
            return;
        }
        self.looks += 1;
        let (api, size) = (self.api.clone(), Arc::clone(&self.size));
        tokio::spawn(async move {
            if let Ok(Some(secret)) = api.get_opt(&raw_bodies::secret_name(&objects::device_name(number))).await
                && let Ok(found) = size_of(&secret)
            {
                let _ = size.set(found);
            }
        });
    }

    /// The size; 0 when every one that was looked for was gone already.
    fn found(&self) -> usize {
        self.size.get().copied().unwrap_or_default()
    }
}

/// How many devices are connected to the gateway, and the most there were at once, looked at now and then.
struct Connections {
    most: Arc<AtomicU64>,
    task: AbortHandle,
}

const METRIC: &str = "fleetform_connections{listener=\"gateway\"}";

impl Connections {
    fn watch(installation: &Installation) -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let (address, seen) = (installation.metrics_address(), Arc::clone(&most));
        let task = tokio::spawn(async move {
            let mut look = interval(SAMPLE_INTERVAL);
            loop {
                look.tick().await;
                if let Ok((200, metrics)) = fleetform_e2e::http::get(address, "/metrics").await {
                    let open = metric(&metrics, METRIC).unwrap_or_default();
                    seen.fetch_max(open, Ordering::Relaxed);
                }
            }
        });
        Self { most, task: task.abort_handle() }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn open_connections(installation: &Installation) -> Result<u64> {
    // A listener that nobody ever connected to is not listed.
    Ok(metric(&installation.metrics().await?, METRIC).unwrap_or_default())
}
