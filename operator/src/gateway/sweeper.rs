//! Finds devices that have become silent, and tells when the gateway knows enough to call them so.

use std::time::Duration;

use fleetform_crds::DeviceInstance;
use fleetform_domain::transition::Connectivity;
use jiff::Timestamp;

use super::table::Liveness;
use crate::cache::{Kind, Name};
use crate::context::Context;
use crate::queue::Key;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(500);

/// Looks until it is dropped.
pub(super) async fn sweep(context: Context) {
    let silent_after = Duration::try_from(context.table.silent_after()).unwrap_or_default();
    let pause = (silent_after / 4).max(SHORTEST);
    let mut settled = false;
    loop {
        tokio::time::sleep(pause).await;
        let now = context.clock.now();
        let (before, after) = (settled, context.table.settled(now).is_ok());
        settled = after;
        context.metrics.devices_reporting(context.table.reporting(now));
        look(&context, now, !before && after);
    }
}

fn look(context: &Context, now: Timestamp, just_settled: bool) {
    let add = |device: &DeviceInstance| context.queue.add(Key::new(Kind::DeviceInstance, Name::of(device)));
    for association in context.table.newly_silent(now) {
        match context.world.device_by_association(&association) {
            Some(device) => add(&device),
            // It has ended, so nobody waits for it.
            None => context.table.forget(&association),
        }
    }
    let templates = context.world.templates.all();
    context.rollouts.retain(&templates.iter().filter_map(|template| template.metadata.uid.clone()).collect());
    context.table.retain(|association| context.world.device_by_association(association).is_some());
    context.measurements.retain(|sensor| context.world.machines.sensor(sensor).is_some());
    if !just_settled {
        return;
    }
    // Those that were connected when a gateway was there last, and that this one has not heard of.
    for device in context.world.devices.all() {
        let stored = device.status.as_ref().and_then(|status| status.connectivity);
        let silent = |id: &str| context.table.liveness(id, now) == Liveness::Silent;
        if stored == Some(Connectivity::Connected) && device.association().is_some_and(|a| silent(&a.id)) {
            add(&device);
        }
    }
    for project in context.world.projects.all() {
        context.queue.add(Key::new(Kind::Project, Name::of(&*project)));
    }
}
