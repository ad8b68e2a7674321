//! Follows the cache: who comes and goes, and which devices change. Who waits for that is told at most once a second, so that a
//! morning of enrollments makes no device fetch its list over and over.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::Directory;
use crate::cache::{Change, Kind, Name};
use crate::context::Context;
use crate::queue::{Key, Queue};
use crate::telemetry::Metrics;

/// Shortest time from one telling to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Takes everybody who is there; what changes from now on comes from the receiver.
pub fn begin(context: &Context) -> UnboundedReceiver<Change> {
    // Subscribed before anything is read, so that no change falls between.
    let changes = context.world.subscribe();
    let (users, projects) = (context.world.users.all(), context.world.projects.all());
    let of_users = users.iter().map(|user| Name::of(&**user).namespace);
    let namespaces: BTreeSet<String> =
        of_users.chain(projects.iter().map(|project| Name::of(&**project).namespace)).collect();
    for namespace in &namespaces {
        context.people.retake(&context.world, namespace);
    }
    count(&context.people, &context.metrics);
    changes
}

/// Follows until it is dropped.
pub async fn follow(context: Context, mut changes: UnboundedReceiver<Change>) {
    let (mut told, mut due) = (Instant::now() - INTERVAL, false);
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(change) => take(&context, change),
                None => return,
            },
            () = context.people.stirred.notified() => due = true,
            () = sleep_until(told + INTERVAL), if due => {
                (told, due) = (Instant::now(), false);
                tell(&context.people, &context.queue);
                count(&context.people, &context.metrics);
            }
        }
    }
}

fn take(context: &Context, change: Change) {
    match change {
        Change::EnrolledUser { name } => context.people.take(&context.world, &name),
        // With the Project come the keys that it takes to open a profile.
        Change::Project { name, matters, rekeyed } if matters || rekeyed => {
            context.people.retake(&context.world, &name.namespace);
        }
        Change::DeviceInstance { name, .. } => context.people.may_be_forgotten(&name.namespace),
        _ => {}
    }
}

/// Wakes the devices that wait, and has those who leave looked at.
fn tell(people: &Directory, queue: &Queue) {
    let news = std::mem::take(&mut *people.news.lock());
    for namespace in &news.lists {
        if let Some(waiting) = people.waiting.lock().get(namespace) {
            waiting.notify_waiters();
        }
    }
    for namespace in &news.confirmations {
        for user in people.leaving(namespace) {
            queue.add(Key::new(Kind::EnrolledUser, Name::new(namespace, user)));
        }
    }
}

fn count(people: &Directory, metrics: &Metrics) {
    let (known, unreadable) = people.counts();
    metrics.enrolled_users(known, unreadable);
}
