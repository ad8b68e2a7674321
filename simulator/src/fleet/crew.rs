//! The tasks that carry out orders.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::wire::{DeviceName, DeviceText};
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use super::Maker;
use super::decide::Entry;
use super::order::{Done, Order, Outcome, Work};
use super::visit::Tools;

/// How long devices that are at work when the fleet is stopped may take to finish.
const GRACE: Duration = Duration::from_secs(3);

/// What is known of a task, should it end without bringing its device back.
struct Ticket {
    name: Arc<DeviceName>,
    asset_tag: DeviceText,
    entry: Entry,
    work: Work,
}

#[derive(Default)]
pub(super) struct Crew {
    tasks: JoinSet<Done>,
    tickets: HashMap<Id, Ticket>,
}

impl Crew {
    pub(super) fn send(&mut self, order: Order, tools: &Arc<Tools>) {
        let ticket = Ticket {
            name: order.name.clone(),
            asset_tag: order.device.asset_tag().clone(),
            entry: order.entry,
            work: order.work,
        };
        let tools = tools.clone();
        let id = self.tasks.spawn(async move { tools.visit(order).await }).id();
        self.tickets.insert(id, ticket);
    }

    /// The next device that comes back; none when no device is at work.
    pub(super) async fn next(&mut self, maker: &Maker) -> Option<Done> {
        match self.tasks.join_next_with_id().await? {
            Ok((id, done)) => {
                self.tickets.remove(&id);
                Some(done)
            }
            Err(error) => {
                let Ticket { name, asset_tag, entry, work } = self.tickets.remove(&error.id())?;
                tracing::error!(device = ?name, "the task of a device broke down: the device is started anew");
                let device = Box::new(maker.make(asset_tag, rand::random()));
                Some(Done { name, device, outcome: Outcome::Failed, work, cue: None, measures: None, entry })
            }
        }
    }

    /// Lets devices finish what they are at, for a moment; what is cut off then goes on after the next start.
    pub(super) async fn dismiss(mut self) {
        let _ = timeout(GRACE, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }
}
