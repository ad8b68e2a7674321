//! Exactly one process serves: the holder of a Lease (`coordination.k8s.io/v1`). A pure decision and a thin shell.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Class, Error, Result};

/// Name of the Lease.
pub const LEASE: &str = "fleetform-operator";

/// A lease that was not renewed for so long may be taken.
pub const DURATION: Duration = Duration::from_secs(15);

/// The holder counts on the lease for so long after it renewed it: less than anybody else has to wait for it, so that a write
/// that is on its way arrives before.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Time between two tries.
pub const RETRY: Duration = Duration::from_secs(2);

/// Whether this process holds the lease: until when it may count on that.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// For how long nobody else can hold the lease; `None` when this process does not hold it.
    pub fn time_left(&self) -> Option<Duration> {
        let until = (*self.0.borrow())?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Whether this process holds the lease now.
    pub fn is_leading(&self) -> bool {
        self.time_left().is_some()
    }

    /// Waits until it does.
    pub async fn leading(&mut self) {
        while !self.is_leading() {
            // The sender lives as long as the process; an error here means that it ends.
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until it does no longer.
    pub async fn lost(&mut self) {
        while let Some(left) = self.time_left() {
            tokio::select! {
                changed = self.0.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

/// What to do about the lease.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none: make it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is free, or its holder is gone: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// What to do about `lease`. `unchanged_for` is how long it has looked the same to this process: the holder's clock is
/// not trusted.
pub fn decide(lease: Option<&Lease>, me: &str, unchanged_for: Duration) -> Decision {
    let Some(spec) = lease.map(|lease| lease.spec.clone().unwrap_or_default()) else { return Decision::Create };
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == me => Decision::Renew,
        None | Some("") => Decision::Take,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(DURATION.as_secs());
            if unchanged_for >= Duration::from_secs(seconds) { Decision::Take } else { Decision::Wait }
        }
    }
}

/// The lease after `decision`, as this process writes it.
pub fn claim(lease: Option<Lease>, me: &str, decision: &Decision, now: Timestamp) -> Lease {
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
        spec: None,
    });
    let before = lease.spec.unwrap_or_default();
    let taken = *decision != Decision::Renew;
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(me.into()),
        lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).expect("a few seconds")),
        acquire_time: if taken { Some(MicroTime(now)) } else { before.acquire_time.clone() },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(taken)),
        ..before
    });
    lease
}

/// Keeps trying to hold the lease.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    me: String,
    until: watch::Sender<Option<Instant>>,
    seen: Option<(String, Instant)>,
}

impl Elector {
    /// An elector, and what others ask.
    pub fn new(client: Client, namespace: &str, me: String) -> (Self, Leadership) {
        let (until, receiver) = watch::channel(None);
        let api = Api::namespaced(client, namespace);
        (Self { api, me, until, seen: None }, Leadership(receiver))
    }

    /// Holds the lease as long as it can, until it is dropped. A lost API server is waited for.
    pub async fn run(&mut self) {
        loop {
            // Counted from before the request: whoever waits for the lease to end counts from when it was stored.
            let tried = Instant::now();
            match tokio::time::timeout(RENEW_DEADLINE / 2, self.try_once()).await {
                Ok(Ok(true)) => self.set(Some(tried + RENEW_DEADLINE)),
                Ok(Ok(false)) => self.set(None),
                Ok(Err(error)) if error.class() == Class::Conflict => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be renewed just now"),
                Err(_) => tracing::warn!("the lease cannot be renewed just now: the API server does not answer"),
            }
            let ended = (*self.until.borrow()).is_some_and(|until| until <= Instant::now());
            if ended {
                self.set(None);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Gives the lease up, so that the next process need not wait for its end.
    pub async fn release(&mut self) {
        let led = self.until.send_replace(None);
        if led.is_none() {
            return;
        }
        let release = async {
            let mut lease = self.api.get(LEASE).await?;
            if let Some(spec) = &mut lease.spec
                && spec.holder_identity.as_deref() == Some(&self.me)
            {
                spec.holder_identity = Some(String::new());
                self.api.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(Duration::from_secs(3), release).await {
            Ok(Ok(())) => tracing::info!("the lease is released"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not released; it ends by itself"),
            Err(_) => tracing::warn!("the lease was not released in time; it ends by itself"),
        }
    }

    fn set(&self, until: Option<Instant>) {
        let before = self.until.send_replace(until);
        if before.is_some() != until.is_some() {
            tracing::info!(leading = until.is_some(), identity = self.me, "leadership changed");
        }
    }

    async fn try_once(&mut self) -> Result<bool> {
        let failed = |error| Error::kube(format!("hold the Lease {LEASE}"), error);
        let lease = self.api.get_opt(LEASE).await.map_err(failed)?;
        let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone()).unwrap_or_default();
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                self.seen = Some((version, now));
                now
            }
        };
        let decision = decide(lease.as_ref(), &self.me, now - since);
        if decision == Decision::Wait {
            return Ok(false);
        }
        let params = PostParams::default();
        let claimed = claim(lease, &self.me, &decision, Timestamp::now());
        if decision == Decision::Create {
            self.api.create(&params, &claimed).await.map_err(failed)?;
        } else {
            self.api.replace(LEASE, &params, &claimed).await.map_err(failed)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> Lease {
        let lease = claim(None, holder, &Decision::Create, Timestamp::UNIX_EPOCH);
        assert_eq!(lease.spec.as_ref().unwrap().lease_transitions, Some(1));
        lease
    }

    #[test]
    fn a_lease_is_taken_only_when_nobody_can_hold_it() {
        let long = DURATION + Duration::from_secs(1);
        assert_eq!(decide(None, "me", Duration::ZERO), Decision::Create);
        assert_eq!(decide(Some(&held_by("me")), "me", long), Decision::Renew);
        assert_eq!(decide(Some(&held_by("")), "me", Duration::ZERO), Decision::Take);
        assert_eq!(decide(Some(&held_by("you")), "me", Duration::from_secs(14)), Decision::Wait);
        assert_eq!(decide(Some(&held_by("you")), "me", DURATION), Decision::Take);
    }

    #[test]
    fn the_holder_gives_up_before_others_may_take() {
        assert!(RENEW_DEADLINE + RETRY < DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_ends_by_itself_when_nobody_renews_it() {
        let (until, receiver) = watch::channel(None);
        let mut leadership = Leadership(receiver);
        assert!(!leadership.is_leading());
        until.send_replace(Some(Instant::now() + RENEW_DEADLINE));
        leadership.leading().await;
        assert_eq!(leadership.time_left(), Some(RENEW_DEADLINE));
        let began = Instant::now();
        leadership.lost().await;
        assert!(began.elapsed() >= RENEW_DEADLINE && !leadership.is_leading());
        until.send_replace(Some(Instant::now() + RENEW_DEADLINE));
        until.send_replace(None);
        assert_eq!(leadership.time_left(), None);
    }

    #[test]
    fn renewing_keeps_the_count_and_taking_raises_it() {
        let later = Timestamp::from_second(60).unwrap();
        let renewed = claim(Some(held_by("me")), "me", &Decision::Renew, later).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(1));
        assert_eq!(renewed.acquire_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
        let taken = claim(Some(held_by("you")), "me", &Decision::Take, later).spec.unwrap();
        assert_eq!(taken.lease_transitions, Some(2));
        assert_eq!(taken.acquire_time, Some(MicroTime(later)));
    }
}
