//! The rotation of the authority: looks at what is stored and at what devices report, and goes on to the next stage when it is
//! time. What a stage means is `crypto::ring`'s to say, when it ends `crypto::succession`'s.

use std::time::Duration;

use fleetform_crds::DeviceInstance;
use jiff::{SignedDuration, Timestamp};

use crate::cache::{Name, World};
use crate::context::Context;
use crate::crypto::succession::{Decision, Facts, Pace, Stage, Step, decide};
use crate::crypto::{Holder, Ring, authority_secret};
use crate::error::{Error, Result};
use crate::gateway::table::Trust;
use crate::telemetry::Succession;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(500);

/// How often it is said again what a rotation waits for, or why it cannot go on.
const REMINDER: SignedDuration = SignedDuration::from_hours(1);

/// Devices that are named in a line of the log.
const NAMED: usize = 3;

/// Devices that count on the authority. One that does not read may be active.
pub fn associated(world: &World) -> usize {
    let active = |device: &DeviceInstance| {
        device.association().is_some_and(|association| association.epoch == device.spec.activation.epoch)
    };
    world.devices.all().iter().filter(|device| active(device)).count() + world.devices.unreadable_count()
}

/// Rotates until it is dropped.
pub async fn rotate(context: Context) {
    let hearing = Duration::try_from(context.table.silent_after()).unwrap_or_default();
    let pause = (hearing / 4).max(SHORTEST);
    let mut reminded = None;
    loop {
        let looked = look(&context).await;
        let now = context.clock.now();
        let due = reminded.is_none_or(|at: Timestamp| now.duration_since(at) >= REMINDER);
        match looked {
            Ok(Decision::Devices) if due => {
                reminded = Some(now);
                tell_who_is_waited_for(&context, now);
            }
            Err(error) if due => {
                reminded = Some(now);
                tracing::warn!(%error, "the authority's rotation cannot go on just now; what was read last counts");
            }
            Ok(Decision::Devices) | Err(_) => {}
            Ok(_) => reminded = None,
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether there is nothing to come: nobody would notice if it were not looked at again.
fn is_at_rest(ring: &Ring, wanted: u32) -> bool {
    ring.stage() == Stage::Settled && ring.newest().number >= wanted && ring.earlier().next().is_none()
}

async fn look(context: &Context) -> Result<Decision> {
    let wanted = context.settings.authority.generation;
    if !context.leadership.is_leading() {
        return Ok(Decision::Rest);
    }
    if !is_at_rest(&context.authorities.ring(), wanted) {
        refresh(context).await?;
    }
    let (ring, now) = (context.authorities.ring(), context.clock.now());
    let pending = context.table.reporting_that(now, |trust| !is_ready(&ring, trust)).len();
    context.metrics.succession(Succession { generation: ring.signing().number, stage: ring.stage(), pending });
    let facts =
        Facts { now, listening_since: context.table.serving_since(), pending, alone: ring.earlier().next().is_none() };
    let pace = Pace { hearing: context.table.silent_after(), overlap: context.settings.authority.overlap };
    let decision = decide(&ring.newest().times, &facts, &pace);
    if let Decision::Go(step) = decision {
        go(context, &ring, step, now).await?;
    }
    Ok(decision)
}

/// Whether a device has done what the stage waits for.
fn is_ready(ring: &Ring, trust: Trust) -> bool {
    let trusts = trust.authorities == Some(ring.digest());
    match ring.stage() {
        Stage::Announced => trusts,
        Stage::Serving => trusts && trust.issuer == Some(ring.signing().number),
        Stage::Settled => true,
    }
}

async fn go(context: &Context, ring: &Ring, step: Step, now: Timestamp) -> Result<()> {
    let not_leading = || Error::NotLeading { what: "go on with the authority's rotation".to_owned() };
    let left = context.leadership.time_left().ok_or_else(not_leading)?;
    let newest = ring.newest();
    let (holder, times) = (holder(context), newest.times.after(step, now));
    tokio::time::timeout(left, holder.record(newest, times)).await.map_err(|_| not_leading())??;
    refresh(context).await
}

fn holder(context: &Context) -> Holder<'_> {
    Holder {
        client: &context.client,
        namespace: &context.settings.namespace,
        wanted: context.settings.authority.generation,
        associated: associated(&context.world),
    }
}

/// Reads the authority anew: somebody else may have gone on with its rotation, or ended it.
pub async fn refresh(context: &Context) -> Result<()> {
    let before = context.authorities.ring();
    let ring = holder(context).ring(&*context.clock).await?;
    if ring.is_same(&before) {
        return Ok(());
    }
    tell(&before, &ring);
    context.authorities.replace(ring);
    Ok(())
}

fn tell(before: &Ring, ring: &Ring) {
    let newest = ring.newest().number;
    let earlier: Vec<String> = ring.earlier().map(authority_secret).collect();
    if (before.newest().number, before.stage()) != (newest, ring.stage()) {
        match ring.stage() {
            Stage::Announced => announce(ring, newest),
            Stage::Serving => tracing::info!(
                generation = newest,
                "the new authority signs and serves from now on; devices renew their certificates, and both are trusted"
            ),
            Stage::Settled if earlier.is_empty() => {
                tracing::info!(generation = newest, "the authority's rotation has ended");
            }
            Stage::Settled => tracing::info!(
                generation = newest,
                "the old authority is retired: devices that were off all the time still come back by it. Delete the Secret {} when \
                 there are none left",
                earlier.join(" and the Secret ")
            ),
        }
    }
    for gone in
        before.earlier().filter(|number| ring.signing().number != *number && ring.earlier().all(|it| it != *number))
    {
        tracing::info!(
            generation = gone,
            "the Secret of an earlier authority was deleted: a device that trusts no other one has to be activated again"
        );
    }
}

/// Says at the start how far a rotation is, if there is one.
pub fn announce(ring: &Ring, wanted: u32) {
    let newest = ring.newest().number;
    match ring.stage() {
        Stage::Announced => tracing::info!(
            generation = newest,
            "a new authority is announced: devices are told to trust it beside the one that signs, generation {}",
            ring.signing().number
        ),
        Stage::Serving => {
            tracing::info!(generation = newest, "the authority's rotation goes on: the new one signs and serves");
        }
        Stage::Settled => {}
    }
    if newest < wanted {
        tracing::info!(
            "generation {wanted} of the authority waits until the rotation to generation {newest} has ended"
        );
    }
}

fn tell_who_is_waited_for(context: &Context, now: Timestamp) {
    let ring = context.authorities.ring();
    let waited = context.table.reporting_that(now, |trust| !is_ready(&ring, trust));
    let named = waited.iter().filter_map(|association| context.world.device_by_association(association)).take(NAMED);
    let named: Vec<String> = named.map(|device| Name::of(&*device).to_string()).collect();
    let what = if ring.stage() == Stage::Announced {
        "have yet to confirm that they trust the new authority"
    } else {
        "have yet to show a certificate of the new authority"
    };
    tracing::warn!(
        stage = ring.stage().as_str(),
        devices = waited.len(),
        "the authority's rotation waits for devices that report and {what}, such as {}: restart or update them, or switch them off",
        named.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::succession::Times;
    use crate::crypto::{Authority, Generation};
    use crate::gateway::report::Report;
    use crate::gateway::table::DeviceTable;
    use fleetform_domain::wire::{AuthoritiesDigest, CheckInRequest};
    use std::sync::Arc;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn ring(newest: Times) -> Ring {
        let generation = |number, times| {
            let pem = Authority::generate(number, now()).unwrap();
            let authority = Arc::new(Authority::from_pem(&pem.certificate, &pem.key).unwrap());
            Generation { number, authority, times }
        };
        Ring::new(vec![generation(1, Times::settled(now())), generation(2, newest)], now()).unwrap()
    }

    fn trust(authorities: Option<AuthoritiesDigest>, issuer: u32) -> Trust {
        Trust { authorities, issuer: Some(issuer) }
    }

    #[test]
    fn a_device_is_ready_for_the_switch_when_it_trusts_both_and_for_the_end_when_it_shows_the_new_one() {
        let announced = ring(Times::announced(now()));
        let both = Some(announced.digest());
        assert!(is_ready(&announced, trust(both, 1)));
        assert!(!is_ready(&announced, trust(Some(AuthoritiesDigest::of(["other"])), 1)));
        assert!(!is_ready(&announced, trust(None, 1)), "one that does not say");
        let serving = ring(Times::serving(now()));
        let both = Some(serving.digest());
        assert!(is_ready(&serving, trust(both, 2)));
        assert!(!is_ready(&serving, trust(both, 1)) && !is_ready(&serving, trust(None, 2)));
        assert!(is_ready(&ring(Times::settled(now())), Trust::default()));
    }

    #[test]
    fn whom_a_device_trusts_counts_while_it_reports() {
        let table = DeviceTable::new(10);
        let seen = |second: i64| {
            let counter = u64::try_from(second).unwrap() + 1;
            let check_in = CheckInRequest::new("b".try_into().unwrap(), counter, "1".try_into().unwrap());
            Report::new(check_in, 0, now() + SignedDuration::from_secs(second))
        };
        let both = trust(Some(AuthoritiesDigest::of(["old", "new"])), 1);
        let heard = |second, wanted| {
            table.reporting_that(now() + SignedDuration::from_secs(second), |trust| trust == wanted).len()
        };
        table.trusts("a", both);
        assert_eq!(heard(0, both), 0, "it has not reported");
        table.take("a", seen(0));
        assert_eq!((heard(0, both), heard(0, Trust::default())), (0, 1));
        table.trusts("a", both);
        assert!(!table.take("a", seen(1)), "nothing of it is a change of its state");
        assert_eq!((heard(1, both), heard(30, both), heard(31, both)), (1, 1, 0));
    }

    #[test]
    fn only_an_authority_that_is_alone_and_wanted_is_at_rest() {
        let settled = ring(Times::settled(now()));
        assert!(!is_at_rest(&settled, 2), "the Secret of the old one may be deleted at any time");
        let alone = Ring::new(vec![settled.newest().clone()], now()).unwrap();
        assert!(is_at_rest(&alone, 2) && !is_at_rest(&alone, 3));
        assert!(!is_at_rest(&ring(Times::serving(now())), 2));
    }
}
