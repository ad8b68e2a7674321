//! After convergence: the operator comes to rest, and then it is counted what it still writes.

use std::time::Duration;

use anyhow::{Context, Result};
use fleetform_crds::Project;
use fleetform_e2e::wait::{self, Look};
use jiff::Timestamp;
use kube::Api;
use tokio::time::{Instant, sleep};

use super::audit::{Kind, Request};
use super::audit_log::{AuditLog, nothing_was_lost};
use super::bed::Bed;
use super::{Settings, objects};

/// Sites, templates and the project count their devices at most every 2 s: when nothing was written for longer than that,
/// the counting is done.
const REST: Duration = Duration::from_secs(5);

/// How long the operator may take to come to rest. After that it is measured as it is.
const REST_LIMIT: Duration = Duration::from_mins(1);

/// Between two looks at whether it has come to rest.
const INTERVAL: Duration = Duration::from_secs(1);

/// A device that misses three check-ins is silent; the gateway says so no earlier than that after its start.
const MISSED_CHECK_INS: u32 = 3;

/// The time in which nothing should be written.
pub(super) struct Steady {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Steady {
    /// Requests up to this time, and those in it.
    pub(super) fn divide<'a>(&self, requests: &'a [Request]) -> (Vec<&'a Request>, Vec<&'a Request>) {
        let before = requests.iter().filter(|request| request.at < self.from).collect();
        let during = requests.iter().filter(|request| request.at >= self.from && request.at <= self.to).collect();
        (before, during)
    }
}

/// Waits for rest, lets the steady time pass, and has `audit` hold all of it. `start` is before the operator's start.
pub(super) async fn measure(settings: &Settings, bed: &Bed, audit: &mut AuditLog, start: Instant) -> Result<Steady> {
    eprintln!("the fleet: waiting for the operator to come to rest …");
    come_to_rest(bed, audit).await?;
    let steady = Duration::from_secs(settings.steady_seconds);
    let known = start + Duration::from_secs(settings.check_in_seconds.into()) * MISSED_CHECK_INS;
    // Some time after its start the operator notes once, in the project, that it now knows who is connected. That is part
    // of its start and not of the steady state, wherever it falls.
    if Instant::now() + steady + REST >= known {
        connectivity_is_known(bed, known.saturating_duration_since(Instant::now())).await?;
        come_to_rest(bed, audit).await?;
    }
    eprintln!("the fleet: counting writes for {} s …", settings.steady_seconds);
    let from = Timestamp::now();
    sleep(steady).await;
    let to = Timestamp::now();
    bed.installation.ensure_running()?;
    audit.catch_up(&bed.admin()).await?;
    nothing_was_lost(&bed.admin()).await?;
    Ok(Steady { from, to })
}

/// Waits until the operator writes nothing any more, and has `audit` hold what it wrote.
pub(super) async fn come_to_rest(bed: &Bed, audit: &mut AuditLog) -> Result<()> {
    let end = Instant::now() + REST_LIMIT;
    loop {
        audit.catch_up(&bed.admin()).await?;
        let last = audit.requests.iter().filter(|request| request.kind == Kind::Write).map(|request| request.at).max();
        let since = last.map(|last| Timestamp::now().duration_since(last));
        let rests = since.is_none_or(|since| since.unsigned_abs() >= REST);
        if rests || Instant::now() > end {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
}

async fn connectivity_is_known(bed: &Bed, expected_in: Duration) -> Result<()> {
    let api: Api<Project> = Api::namespaced(bed.admin(), objects::NAMESPACE);
    let limit = expected_in + REST_LIMIT;
    wait::until("the gateway to know which devices are connected", limit, async || {
        let project = api.get(fleetform_crds::project::NAME).await.context("look at the project")?;
        let conditions = project.status.map(|status| status.conditions).unwrap_or_default();
        let known = conditions.iter().any(|c| c.type_ == "ConnectivityKnown" && c.status == "True");
        Ok(if known { Look::Done(()) } else { Look::NotYet(format!("{conditions:?}")) })
    })
    .await
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::Steady;
    use crate::bench::audit::{Kind, Request};

    #[test]
    fn what_comes_after_the_steady_time_counts_in_neither() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let steady = Steady { from: at(10), to: at(20) };
        let request = |second| Request { at: at(second), kind: Kind::Write, what: String::new() };
        let requests = [1, 9, 10, 20, 21].map(request);
        let (before, during) = steady.divide(&requests);
        assert_eq!((before.len(), during.len()), (2, 2));
    }
}
