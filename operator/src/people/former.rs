//! Pure: devices whose association has ended and that may still hold a list of the enrolled users. One that hears that it has ended
//! forgets the list and says so; one that does not goes by its list until it has been without its gateway for too long.

use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::whole_second;
use fleetform_crds::device_instance::{ConfigurationStatus, FormerDevice, KEPT_FORMER_DEVICES};
use fleetform_domain::operation::{DEFAULT_MAXIMUM_OFFLINE_MINUTES, MOST_OFFLINE_MINUTES};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::holders::may_hold_list;

/// The device may have heard its last answer so much later, and its clock may run so much slower.
const SLACK: SignedDuration = SignedDuration::from_mins(15);

/// The longest that a device may go by what it has without its gateway, by any configuration that it was given as far as they are
/// remembered: one that it says it runs may be on trial, and the one before may come back.
fn longest_offline(configuration: &ConfigurationStatus) -> SignedDuration {
    let history = &configuration.history;
    let given = history.iter().map(|one| one.maximum_offline_minutes.unwrap_or(DEFAULT_MAXIMUM_OFFLINE_MINUTES));
    let minutes = given.max().filter(|_| history.first().is_some_and(|first| first.version == 1));
    SignedDuration::from_mins(minutes.unwrap_or(MOST_OFFLINE_MINUTES).into())
}

/// The device of an instance whose association ends at `ended`, if it may hold a list. It was heard last at `last_heard`, at the latest.
pub fn of_association(
    device: &DeviceInstance,
    last_heard: Option<Timestamp>,
    ended: Timestamp,
) -> Option<FormerDevice> {
    let configuration = device.status.as_ref()?.configuration.as_ref().filter(|_| may_hold_list(device))?;
    let last_there = last_heard.unwrap_or(ended).min(ended);
    Some(FormerDevice {
        association_id: Some(device.association()?.id.clone()),
        ended_at: whole_second(ended),
        until: whole_second(last_there + longest_offline(configuration) + SLACK),
    })
}

/// All former devices of an instance. When it was deleted, its device is one of them.
pub fn all(device: &DeviceInstance) -> Vec<FormerDevice> {
    let stored = device.status.iter().flat_map(|status| &status.former_devices).cloned();
    let last =
        device.metadata.deletion_timestamp.as_ref().and_then(|Time(deleted)| of_association(device, None, *deleted));
    stored.chain(last).collect()
}

/// Those that may still go by their lists: the others have said that they keep nobody, or their time is over.
pub fn unresolved(all: Vec<FormerDevice>, has_left: impl Fn(&str) -> bool, now: Timestamp) -> Vec<FormerDevice> {
    let has_left = |former: &FormerDevice| former.association_id.as_deref().is_some_and(&has_left);
    let mut left: Vec<_> = all.into_iter().filter(|former| former.until.0 > now && !has_left(former)).collect();
    while left.len() > KEPT_FORMER_DEVICES {
        // Two become one that is waited for until the time of both is over.
        let (one, other) = (left.remove(0), left.remove(0));
        let (ended_at, until) = (one.ended_at.max(other.ended_at), one.until.max(other.until));
        left.insert(0, FormerDevice { association_id: None, ended_at, until });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures::{self, noon};
    use fleetform_crds::device_instance::ENROLLED_USERS_FINALIZER;
    use serde_json::{Value, json};

    fn door(change: &Value) -> DeviceInstance {
        let mut device = fixtures::device(&json!({}));
        let version = |number: u32, minutes: Option<u32>| {
            json!({
                "version": number, "digest": "", "createdAt": "2026-01-01T00:00:00Z", "offlineRecognition": true,
                "maximumOfflineMinutes": minutes,
            })
        };
        let mut status = json!({
            "phase": "Active",
            "activation": { "sequence": 1, "epoch": 0, "association": {
                "id": "a", "tokenSha256": "t", "deviceKeySha256": "k", "epoch": 0, "sequence": 1, "siteUid": "s",
            } },
            "configuration": {
                "desired": 2, "applied": 2, "operationMode": "Entry", "history": [version(1, None), version(2, Some(60))],
            },
        });
        json_patch::merge(&mut status, change);
        device.status = serde_json::from_value(status).unwrap();
        device.metadata.finalizers = Some(vec![ENROLLED_USERS_FINALIZER.to_owned()]);
        device
    }

    fn minutes_left(device: &DeviceInstance, last_heard: Option<Timestamp>) -> Option<i64> {
        let former = of_association(device, last_heard, noon())?;
        assert_eq!((former.association_id.as_deref(), former.ended_at.0), (Some("a"), noon()));
        Some((former.until.0.duration_since(noon()) - SLACK).as_mins())
    }

    #[test]
    fn a_device_is_waited_for_as_long_as_any_configuration_lets_it_that_it_may_run() {
        let left = |change: Value| minutes_left(&door(&change), None);
        assert_eq!(left(json!({})), Some(7 * 24 * 60), "what it runs may be on trial");
        let history = |first: u32| {
            let version = |number: u32| {
                json!({
                    "version": number, "digest": "", "createdAt": "2026-01-01T00:00:00Z", "offlineRecognition": true,
                    "maximumOfflineMinutes": 60,
                })
            };
            json!({ "configuration": { "history": [version(first), version(first + 1)] } })
        };
        assert_eq!(left(history(1)), Some(60));
        assert_eq!(left(history(2)), Some(30 * 24 * 60), "what is not remembered may be anything");
        assert_eq!(left(json!({ "configuration": { "operationMode": "Enrollment" } })), None);
        let mut unheld = door(&json!({}));
        unheld.metadata.finalizers = None;
        assert_eq!(minutes_left(&unheld, None), None, "it got no list");
    }

    #[test]
    fn who_was_silent_before_is_waited_for_from_then_on() {
        let heard = |minutes: i64| Some(noon() - SignedDuration::from_mins(minutes));
        let whole = 7 * 24 * 60;
        for (last_heard, left) in [(heard(30), whole - 30), (heard(0), whole), (heard(-5), whole), (None, whole)] {
            assert_eq!(minutes_left(&door(&json!({})), last_heard), Some(left), "{last_heard:?}");
        }
    }

    #[test]
    fn the_device_of_a_deleted_instance_is_a_former_one_until_it_has_heard_so_or_its_time_is_over() {
        let mut device = door(&json!({ "formerDevices": [{
            "associationId": "b", "endedAt": "2026-01-01T10:00:00Z", "until": "2026-01-01T12:30:00Z",
        }] }));
        let ids =
            |left: Vec<FormerDevice>| left.into_iter().filter_map(|former| former.association_id).collect::<Vec<_>>();
        assert_eq!(ids(all(&device)), ["b"]);
        device.metadata.deletion_timestamp = Some(Time(noon()));
        assert_eq!(ids(all(&device)), ["b", "a"]);
        let at = |minutes: i64| noon() + SignedDuration::from_mins(minutes);
        assert_eq!(ids(unresolved(all(&device), |_| false, at(29))), ["b", "a"]);
        assert_eq!(ids(unresolved(all(&device), |id| id == "b", at(29))), ["a"]);
        assert_eq!(ids(unresolved(all(&device), |_| false, at(30))), ["a"]);
        assert!(unresolved(all(&device), |_| false, at(7 * 24 * 60 + 15)).is_empty());
    }

    #[test]
    fn too_many_become_one_that_no_answer_resolves() {
        let former = |number: i64| FormerDevice {
            association_id: Some(number.to_string()),
            ended_at: Time(noon() - SignedDuration::from_hours(number)),
            until: Time(noon() + SignedDuration::from_hours(100 - number)),
        };
        let left = unresolved((1..=10).map(former).collect(), |_| false, noon());
        assert_eq!(
            (left.len(), left[0].association_id.as_deref(), left[1].association_id.as_deref()),
            (8, None, Some("4"))
        );
        assert_eq!((&left[0].ended_at, &left[0].until), (&former(1).ended_at, &former(1).until));
        let heard = unresolved(left, |_| true, noon());
        assert_eq!(heard.len(), 1);
    }
}
