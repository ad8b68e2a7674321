//! Keeps data keys open as long as their providers let it, and has everybody look again when a project opens or closes.

use std::time::Duration;

use fleetform_crds::Project;
use fleetform_crds::project::KeyProvider;
use futures::StreamExt as _;

use super::Turn;
use crate::cache::{Kind, Name};
use crate::context::Context;
use crate::queue::Key;
use crate::reconcile::fan_out;

/// Longest time between two looks at which keys are due. Where keys are open for a shorter time it is a twentieth of that.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Projects whose keys are asked for at once.
const AT_ONCE: usize = 8;

/// Keeps keys until it is dropped.
pub async fn keep(context: Context) {
    let open_for = Duration::try_from(context.settings.data_keys_open_for).unwrap_or(INTERVAL);
    let interval = INTERVAL.min(open_for / 20);
    loop {
        let _ = tokio::time::timeout(interval, context.vault.asked.notified()).await;
        context.vault.sweep(&context.world);
        let projects = context.world.projects.all();
        let foreign = projects.iter().filter(|project| takes_a_provider(project));
        futures::stream::iter(foreign)
            .for_each_concurrent(AT_ONCE, |project| async {
                let turn = context.vault.renew(project).await;
                if turn != Turn::Same {
                    tell(&context, project, turn);
                }
            })
            .await;
        tokio::time::sleep(PAUSE).await;
    }
}

fn takes_a_provider(project: &Project) -> bool {
    project.data_keys().iter().any(|key| key.provider != KeyProvider::Local)
}

/// What was sealed can be read now, or no longer.
fn tell(context: &Context, project: &Project, turn: Turn) {
    let name = Name::of(project);
    match (turn, context.vault.keys(project)) {
        (Turn::Opened, _) => tracing::info!(project = %name.namespace, "the project's data keys are open"),
        (_, Err(trouble)) => {
            context.revisions.forget(&name.namespace);
            tracing::warn!(project = %name.namespace, reason = trouble.reason().as_str(), "the project is closed: {trouble}");
        }
        (_, Ok(_)) => {}
    }
    look(context, &name);
}

/// Has everything looked at that depends on whether a project can be read.
fn look(context: &Context, name: &Name) {
    context.people.retake(&context.world, &name.namespace);
    context.queue.add(Key::new(Kind::Project, name.clone()));
    fan_out::sealed(&context.world, &context.queue, &name.namespace);
}
