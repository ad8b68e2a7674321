//! One shape for every kind: observe (IO) → plan (pure) → execute (IO). The kinds are in [`crate::controllers`].

pub mod body;
pub mod debounce;
pub mod execute;
pub mod fan_out;
pub mod names;
pub mod plan;
pub mod status;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::task::JoinSet;

use crate::cache::{Kind, Name};
use crate::context::Context;
use crate::controllers::{admin, alert, asset, device, project, site, template, user};
use crate::error::{Class, Error, Result};
use crate::queue::Key;
use debounce::Debounce;

/// How many objects are reconciled at the same time.
const WORKERS: usize = 48;

/// Reconciles until it is dropped: what changes in the world, and what the gateway asks for.
pub fn start(context: &Context) -> JoinSet<()> {
    let debounce = Arc::new(Debounce::default());
    let mut tasks = JoinSet::new();
    // Subscribed before anything is read, so that no change falls between.
    let mut changes = context.world.subscribe();
    let (ctx, shared) = (context.clone(), Arc::clone(&debounce));
    tasks.spawn(async move {
        enqueue_everything(&ctx);
        while let Some(change) = changes.recv().await {
            fan_out::fan_out(&ctx.world, &ctx.queue, &shared, &change);
        }
    });
    for _ in 0..WORKERS {
        let (ctx, debounce) = (context.clone(), Arc::clone(&debounce));
        tasks.spawn(async move { work(ctx, debounce).await });
    }
    tasks
}

/// Puts every object on the queue.
pub fn enqueue_everything(context: &Context) {
    let world = &context.world;
    let add = |kind, name| context.queue.add(Key::new(kind, name));
    world.projects.all().iter().for_each(|object| add(Kind::Project, Name::of(&**object)));
    world.sites.all().iter().for_each(|object| add(Kind::Site, Name::of(&**object)));
    world.templates.all().iter().for_each(|object| add(Kind::ConfigTemplate, Name::of(&**object)));
    world.devices.all().iter().for_each(|object| add(Kind::DeviceInstance, Name::of(&**object)));
    world.assets.all().iter().for_each(|object| add(Kind::Asset, Name::of(&**object)));
    world.alerts.all().iter().for_each(|object| add(Kind::Alert, Name::of(&**object)));
    world.admins.all().iter().for_each(|object| add(Kind::AdminUser, Name::of(&**object)));
    world.users.all().iter().for_each(|object| add(Kind::EnrolledUser, Name::of(&**object)));
}

async fn work(context: Context, debounce: Arc<Debounce>) {
    let mut leadership = context.leadership.clone();
    loop {
        leadership.leading().await;
        let key = context.queue.next().await;
        context.metrics.queue_depth(context.queue.depth());
        let started = Instant::now();
        let outcome = AssertUnwindSafe(reconcile(&context, &debounce, &key)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|panic| Err(panicked(&key, &*panic)));
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(look_again) => {
                context.metrics.reconciled(key.kind.plural(), "ok", seconds);
                context.queue.done(key, look_again);
            }
            Err(error) => {
                context.metrics.reconciled(key.kind.plural(), error.class().as_str(), seconds);
                let (kind, name) = (key.kind.plural(), key.name.to_string());
                let delay = context.queue.failed(key);
                // A conflict or a lost lease is ordinary: the next look sees what others wrote.
                if matches!(error.class(), Class::Conflict | Class::NotLeading | Class::Gone) {
                    tracing::debug!(kind, name, %error, "looked away for {delay:?}");
                } else {
                    tracing::warn!(kind, name, %error, "not reconciled; tried again in {delay:?}");
                }
            }
        }
    }
}

/// A mistake that one object brings to light must not keep the others from being looked at.
fn panicked(key: &Key, panic: &(dyn Any + Send)) -> Error {
    let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let what = format!("reconcile {} {}", key.kind.plural(), key.name);
    Error::Panicked { what, why: why.unwrap_or("a panic without words").to_owned() }
}

async fn reconcile(context: &Context, debounce: &Debounce, key: &Key) -> Result<Option<Duration>> {
    match key.kind {
        Kind::Project => {
            debounce.looked(key, context.world.projects.get(&key.name).is_some());
            project::reconcile(context, &key.name).await
        }
        Kind::Site => {
            debounce.looked(key, context.world.sites.get(&key.name).is_some());
            site::reconcile(context, &key.name).await
        }
        Kind::ConfigTemplate => {
            debounce.looked(key, context.world.templates.get(&key.name).is_some());
            template::reconcile(context, &key.name).await
        }
        Kind::DeviceInstance => device::reconcile(context, &key.name).await,
        Kind::Asset => {
            debounce.looked(key, context.world.assets.get(&key.name).is_some());
            asset::reconcile(context, &key.name).await
        }
        Kind::Alert => alert::reconcile(context, &key.name).await,
        Kind::AdminUser => admin::reconcile(context, &key.name).await,
        Kind::EnrolledUser => user::reconcile(context, &key.name).await,
        Kind::Secret => Ok(None),
    }
}
