//! The operator process: what it starts, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::authority;
use crate::backoff;
use crate::cache::{Kind, Scope, World, watch_all};
use crate::clock::{Clock, SystemClock};
use crate::context::Context;
use crate::crypto::{Authorities, Holder, Keys};
use crate::directory::identity_center::IdentityCenter;
use crate::directory::{Directories, follow};
use crate::events::{self, Submissions};
use crate::gateway::table::DeviceTable;
use crate::invitation::post;
use crate::jsonl::JsonLines;
use crate::leader::{Elector, Leadership};
use crate::measurements::Measurements;
use crate::people::{self, Directory};
use crate::queue::Queue;
use crate::reconcile::{self, execute::Executor};
use crate::settings::{DirectorySettings, LineSink, Settings};
use crate::telemetry::{self, Gauges, Metrics};
use crate::vault::kms::Kms;
use crate::vault::{Vault, keeper};
use crate::{gateway, portal};

/// How long running requests may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(12);

/// Longer than any look at an object can take.
const STUCK_AFTER: Duration = Duration::from_mins(2);

/// Runs until SIGTERM or SIGINT. An API server that is away, at the start or later, is waited for.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    // An error means that there is one already; one is enough.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = kube::Config::infer()
        .await
        .context("no way to the API server: set KUBECONFIG, or run in a Pod with a ServiceAccount")?;
    let client = Client::try_from(config.clone()).context("no way to the API server")?;
    let listeners = Listeners {
        gateway: bind("--gateway-listen", settings.gateway.listen).await?,
        portal: bind("--portal-listen", settings.portal.listen).await?,
    };
    let metrics_listener = bind("--metrics-listen", settings.metrics_listen).await?;
    for sink in &settings.events.sinks {
        events::check(sink, &settings.installation)
            .await
            .with_context(|| format!("--event-sinks: the sink {} cannot be used", sink.name))?;
    }
    if let Some(path) = &settings.events.dead_letters {
        let file = LineSink::File(path.clone());
        JsonLines::check(&file).await.context("--event-sinks: the file deadLetters cannot be opened")?;
    }
    JsonLines::check(&settings.audit).await.context("--audit: the file cannot be opened")?;

    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    tokio::spawn(async move {
        signal().await;
        tracing::info!("asked to end: running requests are finished first");
        ending.cancel();
    });
    let metrics = Arc::new(Metrics::new());
    for sink in &settings.events.sinks {
        metrics.has_sink(&sink.name);
    }
    let world = Arc::new(World::new(Scope::of(&settings.watch_namespaces)));
    let (queue, measurements) = (Arc::new(Queue::default()), Arc::new(Measurements::default()));
    let keys = Obstruction::default();
    let (elector, leadership) = Elector::new(client.clone(), &settings.namespace, settings.identity.clone());
    let health = tokio::spawn(telemetry::serve(
        metrics_listener,
        Arc::clone(&metrics),
        latest(Arc::clone(&world), Arc::clone(&measurements), settings.gateway.check_in_seconds),
        readiness(Arc::clone(&world), Arc::clone(&keys), shutdown.clone()),
        liveness(Arc::clone(&queue), leadership.clone()),
        shutdown.clone(),
    ));
    metrics.on_read(gauges(Arc::clone(&world), leadership.clone()));
    let mut watches = watch_all(config, &world, &metrics).context("start the watches")?;
    // The lease is kept until what runs has ended: whoever takes it next must not meet our last writes.
    let drained = CancellationToken::new();
    let election = tokio::spawn(elect(elector, drained.clone()));

    let settings = Arc::new(settings);
    let parts = Parts { settings, client, world, metrics, leadership, queue, measurements, keys };
    let outcome = tokio::select! {
        outcome = serve(parts, listeners, &shutdown) => outcome,
        ended = watches.ended() => Err(ended_early("a watch of the API server", ended)),
    };
    shutdown.cancel();
    drained.cancel();
    election.await.context("the election ended by itself")?.release().await;
    let _ = tokio::time::timeout(Duration::from_secs(1), health).await;
    outcome
}

/// What is to be said when a part of the process has ended that should not have: half an operator is worse than one that is
/// started again.
fn ended_early<T>(what: &str, ended: Option<Result<T, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Err(error)) if error.is_panic() => {
            anyhow::anyhow!(
                "{what} ended by a mistake in Fleetform itself, so the process ends: please report what stands above"
            )
        }
        _ => anyhow::anyhow!("{what} ended by itself, so the process ends"),
    }
}

struct Listeners {
    gateway: TcpListener,
    portal: TcpListener,
}

struct Parts {
    settings: Arc<Settings>,
    client: Client,
    world: Arc<World>,
    metrics: Arc<Metrics>,
    leadership: Leadership,
    queue: Arc<Queue>,
    measurements: Arc<Measurements>,
    keys: Obstruction,
}

/// Why the keys could not be loaded when that was tried last, if they could not.
type Obstruction = Arc<Mutex<Option<String>>>;

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address}: cannot listen there"))
}

fn readiness(
    world: Arc<World>,
    keys: Obstruction,
    shutdown: CancellationToken,
) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    move || {
        if shutdown.is_cancelled() {
            Err("shutting down".to_owned())
        } else if let Some(why) = &*keys.lock() {
            Err(format!("the keys cannot be loaded: {why}"))
        } else if world.is_synced() {
            Ok(())
        } else {
            Err("the API server has not been read yet".to_owned())
        }
    }
}

/// Alive is who works off what is to be done. Every step of a look is bounded in time, so workers that take nothing for so
/// long never will again.
fn liveness(queue: Arc<Queue>, leadership: Leadership) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    move || {
        let untouched = queue.untouched_for();
        if leadership.is_leading() && untouched > STUCK_AFTER {
            return Err(format!("objects have waited for {} s and no worker took one", untouched.as_secs()));
        }
        Ok(())
    }
}

fn gauges(world: Arc<World>, leadership: Leadership) -> impl Fn() -> Gauges + Send + Sync + 'static {
    move || Gauges {
        leading: leadership.is_leading(),
        synced: world.is_synced(),
        unreadable: vec![
            (Kind::Project.plural(), world.projects.unreadable_count()),
            (Kind::Site.plural(), world.sites.unreadable_count()),
            (Kind::ConfigTemplate.plural(), world.templates.unreadable_count()),
            (Kind::DeviceInstance.plural(), world.devices.unreadable_count()),
            (Kind::Asset.plural(), world.assets.unreadable_count()),
            (Kind::Alert.plural(), world.alerts.unreadable_count()),
            (Kind::EnrolledUser.plural(), world.users.unreadable_count()),
        ],
    }
}

/// What the sensors of all machines measured last.
fn latest(
    world: Arc<World>,
    measurements: Arc<Measurements>,
    check_in_seconds: u32,
) -> impl Fn() -> String + Send + Sync + 'static {
    let gateway_silent_after = DeviceTable::new(check_in_seconds).silent_after();
    move || telemetry::latest_measurements(&world, &measurements, gateway_silent_after, SystemClock.now())
}

async fn elect(mut elector: Elector, drained: CancellationToken) -> Elector {
    tokio::select! {
        () = elector.run() => {}
        () = drained.cancelled() => {}
    }
    elector
}

/// Everything that only the holder of the lease does, until `shutdown`; then running requests are finished. An error when a
/// part of it could not begin or ended early.
async fn serve(parts: Parts, listeners: Listeners, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let Some(context) = shutdown.run_until_cancelled(prepare(parts)).await else { return Ok(()) };
    let changes = people::begin(&context);
    let mut reconciling = reconcile::start(&context);
    context.table.serve_from(context.clock.now());
    let mut listening = JoinSet::new();
    listening.spawn(gateway::serve(context.clone(), listeners.gateway, shutdown.clone()));
    listening.spawn(portal::serve(context.clone(), listeners.portal, shutdown.clone()));
    let mut following = JoinSet::new();
    events::deliver(&context, &mut following);
    following.spawn(audit::keep(
        Arc::clone(&context.trail),
        context.settings.audit.clone(),
        Arc::clone(&context.metrics),
    ));
    following.spawn(authority::rotate(context.clone()));
    following.spawn(people::follow(context.clone(), changes));
    following.spawn(keeper::keep(context.clone()));
    following.spawn(follow::follow(context.clone()));
    following.spawn(post::follow(context.clone()));
    following.spawn(follow_leadership(context));
    tracing::info!("serving");
    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = listening.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            // A listener that sees the signal first is no surprise.
            Some(Ok(Ok(()))) if shutdown.is_cancelled() => Ok(()),
            ended => Err(ended_early("a listener", ended)),
        },
        ended = reconciling.join_next() => Err(ended_early("a worker", ended)),
        ended = following.join_next() => Err(ended_early("the delivery of events, the audit trail, the post, the watch over people, directories, the authority or over the lease", ended)),
    };
    shutdown.cancel();
    let drained = async { while listening.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
    outcome
}

/// Waits for the lease and for the first full read of the API server, and loads the keys.
async fn prepare(parts: Parts) -> Context {
    let Parts { settings, client, world, metrics, mut leadership, queue, measurements, keys } = parts;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    leadership.leading().await;
    while !world.is_synced() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut failures = 0;
    let Keys { ring, activation_key } = loop {
        let holder = Holder {
            client: &client,
            namespace: &settings.namespace,
            wanted: settings.authority.generation,
            associated: authority::associated(&world),
        };
        match holder.load_or_create(&*clock).await {
            Ok(loaded) => {
                *keys.lock() = None;
                break loaded;
            }
            Err(error) => {
                failures += 1;
                let delay = backoff::delay(failures);
                tracing::warn!(%error, "the keys cannot be loaded yet; tried again in {delay:?}");
                *keys.lock() = Some(error.to_string());
                tokio::time::sleep(delay).await;
            }
        }
    };
    authority::announce(&ring, settings.authority.generation);
    let kms = Arc::new(Kms::new(settings.installation.region()));
    let here = settings.installation.clone();
    let vault = Arc::new(Vault::new(&activation_key, here, kms, Arc::clone(&clock), settings.data_keys_open_for));
    let identity_center = Arc::new(IdentityCenter::new(&settings.directory.region));
    let DirectorySettings { prefix, interval, .. } = settings.directory.clone();
    let directories = Arc::new(Directories::new(identity_center, prefix, interval, Arc::clone(&clock)));
    let executor = Executor::new(client.clone(), Arc::clone(&world), leadership.clone(), Arc::clone(&metrics));
    Context {
        table: Arc::new(DeviceTable::new(settings.gateway.check_in_seconds)),
        submissions: Arc::new(Submissions::new(&settings.events.sinks)),
        marks: Arc::default(),
        backlog: Arc::default(),
        client,
        settings,
        clock,
        world,
        executor,
        leadership,
        metrics,
        people: Arc::new(Directory::new(Arc::clone(&vault))),
        vault,
        trail: Arc::default(),
        activation_key,
        authorities: Arc::new(Authorities::new(ring)),
        queue,
        measurements,
        guard: Arc::default(),
        directories,
        deliveries: Arc::default(),
        site_locks: Arc::default(),
        revisions: Arc::default(),
        credentials: Arc::default(),
        rollouts: Arc::default(),
    }
}

/// Whoever led meanwhile heard what devices reported; we did not. So the table starts over with each term.
async fn follow_leadership(context: Context) {
    let mut leadership = context.leadership.clone();
    loop {
        leadership.lost().await;
        tracing::warn!("the lease is lost: nothing is written until it is regained");
        context.table.stop_serving();
        context.measurements.clear();
        leadership.leading().await;
        if let Err(error) = authority::refresh(&context).await {
            tracing::warn!(%error, "the authority cannot be read anew; what was read last counts");
        }
        context.table.serve_from(context.clock.now());
        reconcile::enqueue_everything(&context);
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
