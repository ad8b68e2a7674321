//! What waits: devices with as many recorded changes as an instance keeps; and the marks that say what a sink has of
//! them.

use anyhow::{Context, Result};
use fleetform_crds::DeviceInstance;
use fleetform_domain::transition::{Change, Connectivity, Health, KEPT_TRANSITIONS, TRANSITIONS_PER_HOUR, Transition};
use fleetform_e2e::installation;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::super::device::Device;
use super::super::objects;
use super::super::report::float;
use super::super::work::each;

/// How many devices are made at the same time.
const AT_ONCE: usize = 48;

/// How long ago the last change was: longer than any mark falls behind.
const AGO: SignedDuration = SignedDuration::from_hours(1);

/// Health and connectivity that change together are stored together, and count once against what an hour may have.
const TOGETHER: usize = 2;

/// Where the operator writes down how far each sink has come.
const MARKS: &str = "fleetform-event-marks";

/// Within how many hours a device makes so many changes at the soonest.
pub(super) fn hours() -> f64 {
    float(KEPT_TRANSITIONS) / float(TRANSITIONS_PER_HOUR * TOGETHER)
}

/// Makes so many devices and records their changes.
pub(super) async fn make(client: &Client, devices: usize) -> Result<()> {
    let sites = (devices / 1000).max(1);
    objects::make_sites_alone(client, sites).await?;
    let declared: Api<DeviceInstance> = Api::namespaced(client.clone(), objects::NAMESPACE);
    let recorded: Api<Device> = Api::namespaced(client.clone(), objects::NAMESPACE);
    let last = Timestamp::now() - AGO;
    each(AT_ONCE, devices, move |number| {
        let (declared, recorded) = (declared.clone(), recorded.clone());
        async move {
            let device = objects::device(number, sites);
            declared.create(&PostParams::default(), &device).await.context("create a device instance")?;
            let status = json!({ "status": { "transitions": changes(number, last) } });
            let (name, params) = (objects::device_name(number), PatchParams::default());
            recorded.patch_status(&name, &params, &Patch::Merge(status)).await.context("record changes").map(drop)
        }
    })
    .await
}

/// The changes of a device that comes and goes as often as it may, and is never well when it goes.
fn changes(number: usize, last: Timestamp) -> Vec<Transition> {
    let apart = SignedDuration::from_hours(1) / i32::try_from(TRANSITIONS_PER_HOUR).unwrap_or(1);
    let (on, off) = (Connectivity::Connected, Connectivity::Disconnected);
    let (well, ill) = (Health::Healthy, Health::Critical);
    let times = std::iter::successors(Some(last), |time| Some(*time - apart)).take(KEPT_TRANSITIONS / TOGETHER);
    let mut times: Vec<Timestamp> = times.collect();
    times.reverse();
    let changes = times.into_iter().zip([true, false].into_iter().cycle()).flat_map(|(time, goes)| {
        let (line, health) = if goes {
            (Change::Connectivity { previous: on, current: off }, Change::Health { previous: well, current: ill })
        } else {
            (Change::Connectivity { previous: off, current: on }, Change::Health { previous: ill, current: well })
        };
        [(time, line), (time, health)]
    });
    let asset_tag_id = format!("SIM-{number:016x}");
    let record = |((time, change), sequence)| Transition { sequence, time, asset_tag_id: asset_tag_id.clone(), change };
    changes.zip(1..).map(record).collect()
}

/// Writes down, while no operator runs, that this sink has everything that was recorded before `mark`, and nothing
/// since.
pub(super) async fn set_mark(client: &Client, sink: &str, mark: Timestamp) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), installation::NAMESPACE);
    let marks = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": MARKS }, "data": { sink: mark.to_string() },
    });
    let params = PatchParams::apply("fleetform-benchmark").force();
    api.patch(MARKS, &params, &Patch::Apply(marks)).await.context("set the mark of an event sink").map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fleetform_domain::transition::{Allowance, KEPT_TRANSITIONS, allowance};
    use jiff::{SignedDuration, Timestamp};

    use super::{changes, hours};

    #[test]
    fn a_device_has_made_as_many_changes_as_it_may_in_that_time() {
        let last = Timestamp::from_second(1_767_268_800).unwrap();
        let changes = changes(7, last);
        assert_eq!(changes.len(), KEPT_TRANSITIONS);
        assert_eq!(changes.iter().map(|change| change.sequence).collect::<BTreeSet<_>>().len(), KEPT_TRANSITIONS);
        assert!(changes.is_sorted_by_key(|change| (change.time, change.sequence)));
        assert_eq!(changes.last().unwrap().time, last);
        let next = last + SignedDuration::from_mins(10);
        assert_eq!(allowance(&changes, next), Allowance::Granted, "the next may be recorded when it is due");
        assert!(matches!(allowance(&changes, next - SignedDuration::from_secs(1)), Allowance::Flapping { .. }));
        assert!((hours() - 2.67).abs() < 0.01);
    }
}
