//! The watches that feed the cache. They recover by themselves; a lost API server is waited for.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinError, JoinSet};

use super::kind::strip;
use super::{Reference, Scope, World};
use crate::directory::native::PERSON_LABEL;
use crate::error::brief;
use crate::reconcile::names::{self, ADDRESS_TYPE, SECRET_LABEL, WIFI_TYPE};
use crate::telemetry::Metrics;

/// Load balancers drop watches that are idle for longer, silently.
const WATCH_TIMEOUT_SECONDS: u32 = 195;

/// The watches, on a thread and connections of their own: the API server closes a watch that is not read for some hundred
/// milliseconds, and starting it again costs the API server dearly, just when it has most to do.
#[derive(Debug)]
pub struct Watches {
    tasks: JoinSet<()>,
    runtime: Option<Runtime>,
}

impl Watches {
    /// Waits until one of them ends, which none should.
    pub async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        self.tasks.join_next().await
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.tasks.abort_all();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Watches every kind into `world`, in each of its scopes, until it is dropped.
pub fn watch_all(config: kube::Config, world: &Arc<World>, metrics: &Arc<Metrics>) -> anyhow::Result<Watches> {
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("watches").enable_all().build()?;
    // What serves a client's connections runs where the client is made.
    let client = {
        let _here = runtime.enter();
        Client::try_from(config)?
    };
    let mut tasks = JoinSet::new();
    for scope in world.scopes() {
        watch_scope(&mut tasks, runtime.handle(), scope, &client, world, metrics);
    }
    Ok(Watches { tasks, runtime: Some(runtime) })
}

fn watch_scope(
    watches: &mut JoinSet<()>,
    runtime: &Handle,
    scope: &Scope,
    client: &Client,
    world: &Arc<World>,
    metrics: &Arc<Metrics>,
) {
    macro_rules! watch {
        ($take:ident, $plural:literal) => {
            watch!($take, $plural, config())
        };
        ($take:ident, $plural:literal, $config:expr) => {{
            let (world, metrics, scope) = (Arc::clone(world), Arc::clone(metrics), scope.clone());
            let api = within(client, &scope);
            let watch = async move {
                consume(watcher(api, $config), $plural, &metrics, |event| world.$take(&scope, event)).await;
            };
            watches.spawn_on(watch, runtime);
        }};
    }
    watch!(take_project, "projects");
    watch!(take_site, "sites");
    watch!(take_template, "configtemplates");
    watch!(take_device, "deviceinstances");
    watch!(take_asset, "assets");
    watch!(take_alert, "alerts");
    watch!(take_user, "enrolledusers");
    watch!(take_admin, "adminusers");
    watch!(take_role, "roles", config().labels(names::ADMIN_LABEL));
    watch!(take_binding, "rolebindings", config().labels(names::ADMIN_LABEL));

    // Metadata only: what the Secrets say is never in memory longer than one request.
    macro_rules! watch_metadata {
        ($kind:ty, $config:expr, $plural:literal, $take:expr) => {{
            let (world, metrics, scope) = (Arc::clone(world), Arc::clone(metrics), scope.clone());
            let objects: Api<PartialObjectMeta<$kind>> = within(client, &scope);
            let watch = async move {
                let take = $take;
                consume(watcher(objects, $config), $plural, &metrics, |event| take(&*world, &scope, guarded(event)))
                    .await;
            };
            watches.spawn_on(watch, runtime);
        }};
    }
    watch_metadata!(ServiceAccount, config().labels(PERSON_LABEL), "serviceaccounts", World::take_person);
    watch_metadata!(Secret, config().labels(SECRET_LABEL), "secrets", World::take_secret);
    for (what, type_) in [(Reference::Wifi, WIFI_TYPE), (Reference::Address, ADDRESS_TYPE)] {
        watch_metadata!(
            Secret,
            config().fields(&format!("type={type_}")),
            "secrets",
            |world: &World, scope: &Scope, event| {
                world.take_referenced(what, scope, event);
            }
        );
    }
}

fn within<K>(client: &Client, scope: &Scope) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        Scope::All => Api::all(client.clone()),
        Scope::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_TIMEOUT_SECONDS)
}

async fn consume<K>(
    events: impl futures::Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    plural: &'static str,
    metrics: &Metrics,
    mut take: impl FnMut(watcher::Event<K>) + Send,
) where
    K: Resource + Clone + Send,
{
    let mut events = Box::pin(events.default_backoff());
    let mut interrupted = false;
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if std::mem::take(&mut interrupted) {
                    tracing::info!(kind = plural, "the watch goes on");
                }
                metrics.watch_event(plural);
                take(event.modify(strip));
            }
            Ok(None) => return,
            Err(error) => {
                metrics.watch_error(plural);
                // Said once for each interruption, however long it lasts.
                if !std::mem::replace(&mut interrupted, true) {
                    tracing::warn!(
                        kind = plural,
                        error = brief_watch_error(&error),
                        "the watch is interrupted; it is tried again"
                    );
                }
                // The stream backs off by itself; this only keeps a stream that ends at once from spinning.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn brief_watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => brief(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        other @ watcher::Error::NoResourceVersion => other.to_string(),
    }
}

fn guarded<K>(event: watcher::Event<K>) -> watcher::Event<DeserializeGuard<K>> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Apply(object) => Apply(DeserializeGuard(Ok(object))),
        Delete(object) => Delete(DeserializeGuard(Ok(object))),
        Init => Init,
        InitApply(object) => InitApply(DeserializeGuard(Ok(object))),
        InitDone => InitDone,
    }
}
