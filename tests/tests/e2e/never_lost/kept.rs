//! Events that a device instance no longer keeps, while the operator dies of keeping them elsewhere, and of letting them go.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_domain::event::Event;
use fleetform_domain::transition::KEPT_TRANSITIONS;
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::wait::{self, Look};
use kube::Api;
use uuid::Uuid;

use super::{Place, Reader, dying_of, in_file};
use crate::api_proxy::{ApiProxy, Moment};
use crate::backlog::{change_often, until_kept};
use crate::project::LIMIT;
use crate::receiver::Receiver;
use crate::stage::Stage;

pub(crate) async fn no_event_is_lost_when_the_operator_dies_of_what_it_keeps(_: Arc<Stage>) -> Result<()> {
    let [port] = free_ports()?;
    let receiver = Receiver::open(port).await?;
    let (stage, proxy) = Stage::behind_proxy(port).await?;
    let stage = Arc::new(stage);
    let outcome = at_each_write(&stage, &proxy, &receiver).await;
    outcome.with_context(|| stage.installation.operator_log_end())
}

async fn at_each_write(stage: &Arc<Stage>, proxy: &ApiProxy, receiver: &Receiver) -> Result<()> {
    let (place, _desk) = Place::open(stage, "kept").await?;
    let deaths = ["create configmaps", "delete configmaps"];
    let deaths = deaths.into_iter().flat_map(|kind| [Moment::Before, Moment::After].map(|moment| (kind, moment)));
    for (number, (kind, moment)) in deaths.enumerate() {
        let what = || format!("the operator dies {moment:?} `{kind}`");
        let mut door = place.door(number).await?;
        let ids = until_in_file(&place, &door, 1).await.with_context(what)?;
        until_sent(receiver, &ids).await?;
        receiver.die().await?;
        // As many changes as it keeps, none of which the receiver has; one more, and the first of them go.
        change_often(&place.project, door.name()).await?;
        until_in_file(&place, &door, KEPT_TRANSITIONS).await.with_context(what)?;
        let died = if kind.starts_with("create") {
            let died = dying_of(stage, proxy, kind, moment, door.flip(&place)).await.with_context(what)?;
            receiver.rise().await?;
            died
        } else {
            door.flip(&place).await?;
            until_kept(stage, 1).await?;
            let life = async {
                receiver.rise().await?;
                until_kept(stage, 0).await
            };
            dying_of(stage, proxy, kind, moment, life).await.with_context(what)?
        };
        ensure!(died, "`{kind}` was not written");
        let ids = until_in_file(&place, &door, KEPT_TRANSITIONS + 1).await.with_context(what)?;
        until_sent(receiver, &ids).await.with_context(what)?;
        until_kept(stage, 0).await.with_context(what)?;
    }
    Ok(())
}

/// Waits until the file has so many events about the door, each counted once.
async fn until_in_file(place: &Place, door: &Reader, count: usize) -> Result<BTreeSet<Uuid>> {
    let api: Api<DeviceInstance> = place.project.api();
    let arn = api.get(door.name()).await?.status.and_then(|status| status.arn).context("an ARN")?;
    wait::until(&format!("{count} events in the file"), LIMIT, async || {
        let events: Vec<Event> = in_file(&place.project.stage)?;
        let ids: BTreeSet<Uuid> =
            events.iter().filter(|event| event.resources.contains(&arn)).map(|event| event.id).collect();
        ensure!(ids.len() <= count, "{} events, but {count} changes", ids.len());
        Ok(if ids.len() == count { Look::Done(ids) } else { Look::NotYet(format!("{}", ids.len())) })
    })
    .await
}

/// Waits until the receiver has these.
async fn until_sent(receiver: &Receiver, ids: &BTreeSet<Uuid>) -> Result<()> {
    wait::until("all of them at the receiver", LIMIT, async || {
        let sent: BTreeSet<Uuid> = receiver.events()?.iter().map(|event| event.id).collect();
        let missing = ids.difference(&sent).count();
        Ok(if missing == 0 { Look::Done(()) } else { Look::NotYet(format!("{missing} are missing")) })
    })
    .await
}
