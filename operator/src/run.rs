//! The operator process: what it starts, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::activation::code::Mint;
use crate::backoff;
use crate::cache::{Kind, Scope, World, watch_all};
use crate::clock::{Clock, SystemClock};
use crate::context::Context;
use crate::crypto::{self, Keys};
use crate::events::{self, JsonLines};
use crate::gateway::table::DeviceTable;
use crate::leader::{Elector, Leadership};
use crate::queue::Queue;
use crate::reconcile::{self, execute::Executor};
use crate::settings::Settings;
use crate::telemetry::{self, Gauges, Metrics};
use crate::{gateway, portal};

/// How long running requests may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(12);

/// Runs until SIGTERM or SIGINT. An API server that is away, at the start or later, is waited for.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    // An error means that there is one already; one is enough.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_default()
        .await
        .context("no way to the API server: set KUBECONFIG, or run in a Pod with a ServiceAccount")?;
    let listeners = Listeners {
        gateway: bind("--gateway-listen", settings.gateway.listen).await?,
        portal: bind("--portal-listen", settings.portal.listen).await?,
    };
    let metrics_listener = bind("--metrics-listen", settings.metrics_listen).await?;
    let sink = JsonLines::open(&settings.events).await.context("--events: the file cannot be opened")?;

    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    tokio::spawn(async move {
        signal().await;
        tracing::info!("asked to end: running requests are finished first");
        ending.cancel();
    });
    let metrics = Arc::new(Metrics::new());
    let world = Arc::new(World::new(Scope::of(&settings.watch_namespaces)));
    let health = tokio::spawn(telemetry::serve(
        metrics_listener,
        Arc::clone(&metrics),
        readiness(Arc::clone(&world), shutdown.clone()),
        || Ok(()),
        shutdown.clone(),
    ));
    let _watches = watch_all(&client, &world, &metrics);
    let (elector, leadership) = Elector::new(client.clone(), &settings.namespace, settings.identity.clone());
    let election = tokio::spawn(elect(elector, shutdown.clone()));

    metrics.on_read(gauges(Arc::clone(&world), leadership.clone()));

    let parts = Parts { settings: Arc::new(settings), client, world, metrics, leadership };
    serve(parts, listeners, sink, &shutdown).await;

    election.await.context("the election ended by itself")?.release().await;
    let _ = tokio::time::timeout(Duration::from_secs(1), health).await;
    Ok(())
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
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address}: cannot listen there"))
}

fn readiness(
    world: Arc<World>,
    shutdown: CancellationToken,
) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    move || {
        if shutdown.is_cancelled() {
            Err("shutting down".to_owned())
        } else if world.is_synced() {
            Ok(())
        } else {
            Err("the API server has not been read yet".to_owned())
        }
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
        ],
    }
}

async fn elect(mut elector: Elector, shutdown: CancellationToken) -> Elector {
    // The lease is kept until what runs has ended: whoever takes it next must not meet our last writes.
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::select! {
        () = elector.run() => {}
        () = drained => {}
    }
    elector
}

/// Everything that only the holder of the lease does, until `shutdown`; then running requests are finished.
async fn serve(parts: Parts, listeners: Listeners, sink: JsonLines, shutdown: &CancellationToken) {
    let Some(context) = shutdown.run_until_cancelled(prepare(parts)).await else { return };
    let _reconciling = reconcile::start(&context);
    context.table.serve_from(context.clock.now());
    let gateway = tokio::spawn(gateway::serve(context.clone(), listeners.gateway, shutdown.clone()));
    let portal = tokio::spawn(portal::serve(context.clone(), listeners.portal, shutdown.clone()));
    let events = tokio::spawn(events::deliver(context.clone(), sink));
    tracing::info!("serving");
    shutdown.run_until_cancelled(follow_leadership(context)).await;
    let drained = async {
        let _ = tokio::join!(gateway, portal);
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
    events.abort();
}

/// Waits for the lease and for the first full read of the API server, and loads the keys.
async fn prepare(parts: Parts) -> Context {
    let Parts { settings, client, world, metrics, mut leadership } = parts;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    leadership.leading().await;
    while !world.is_synced() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut failures = 0;
    let Keys { authority, activation_key } = loop {
        match crypto::load_or_create(&client, &settings.namespace, &*clock).await {
            Ok(keys) => break keys,
            Err(error) => {
                failures += 1;
                let delay = backoff::delay(failures);
                tracing::warn!(%error, "the keys cannot be loaded yet; tried again in {delay:?}");
                tokio::time::sleep(delay).await;
            }
        }
    };
    let mint = Mint {
        installation: activation_key,
        gateway: settings.gateway.url.clone(),
        pin: authority.spki_pin(),
        settings: settings.codes,
    };
    let executor = Executor::new(client.clone(), Arc::clone(&world), leadership.clone(), Arc::clone(&metrics));
    Context {
        table: Arc::new(DeviceTable::new(settings.gateway.check_in_seconds)),
        client,
        settings,
        clock,
        world,
        executor,
        leadership,
        metrics,
        mint: Arc::new(mint),
        authority: Arc::new(authority),
        queue: Arc::new(Queue::default()),
    }
}

/// Whoever led meanwhile heard what devices reported; we did not. So the table starts over with each term.
async fn follow_leadership(context: Context) {
    let mut leadership = context.leadership.clone();
    loop {
        leadership.lost().await;
        tracing::warn!("the lease is lost: nothing is written until it is regained");
        context.table.stop_serving();
        leadership.leading().await;
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
