//! Pure: the sensors of a gateway: what it says of them, and which it is to be paired with.

use std::collections::HashMap;
use std::sync::Arc;

use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::hex;
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::MAX_SENSORS_PER_GATEWAY;
use fleetform_domain::wire::{
    DeviceText, MAX_SENSOR_HEALTH_CHECKS, SensorReport, SensorsReport, WantedSensor, WantedSensors,
};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::cache::{Name, World};
use crate::measurements::Place;
use crate::server::Refusal;

/// Most changes that are taken of one sensor in an hour: each may be a write. A gateway with many sensors has many changes, so
/// they are not counted together with its own.
const CHANGES_PER_HOUR: u32 = 30;

/// A gateway's clock is off when it shows a time that is further than this from ours: more than an answer may take on its way.
const CLOCK_IS_OFF: SignedDuration = SignedDuration::from_secs(60);

/// A clock that was off is right again when it is no further from ours than this: so one at the limit is said once.
const CLOCK_IS_RIGHT: SignedDuration = SignedDuration::from_secs(30);

/// Whether the clock of a gateway is off that shows this time at `now`, when it `was_off` so far.
pub(super) fn clock_is_off(shows: Timestamp, now: Timestamp, was_off: bool) -> bool {
    now.duration_since(shows).abs() > if was_off { CLOCK_IS_RIGHT } else { CLOCK_IS_OFF }
}

/// What is known of a sensor by its gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The gateway is paired with it, and says this.
    Paired(Box<SensorReport>),
    /// The gateway is not paired with it.
    NotPaired,
    /// The gateway has not said yet, or is silent: what is stored stays.
    Unknown,
}

/// What a gateway said of its sensors.
#[derive(Debug, Default)]
pub(super) struct SensorsHeard {
    sensors: HashMap<ResourceId, SensorReport>,
    /// Changes of each sensor in this hour.
    changes: HashMap<ResourceId, u32>,
    hour: Timestamp,
}

impl SensorsHeard {
    /// Takes what the gateway says, all of it. Answers of which sensors that is news. Of a sensor that changes too often what was taken
    /// last counts, until the hour is over.
    pub(super) fn take(&mut self, reports: &[SensorReport], now: Timestamp) -> Vec<ResourceId> {
        if now.duration_since(self.hour) >= SignedDuration::from_hours(1) {
            self.hour = now;
            self.changes.clear();
        }
        let said: HashMap<&ResourceId, &SensorReport> =
            reports.iter().map(|report| (&report.device_instance_id, report)).collect();
        let changed = said.iter().filter(|(id, report)| self.sensors.get(**id) != Some(**report)).map(|(id, _)| *id);
        let gone = self.sensors.keys().filter(|id| !said.contains_key(id));
        let mut news: Vec<ResourceId> = changed.chain(gone).cloned().collect();
        // What was heard of at some time in this hour is bounded too: a gateway that makes ids up learns nothing by it.
        news.retain(|id| {
            let room = self.changes.len() < 4 * MAX_SENSORS_PER_GATEWAY;
            let count = match self.changes.get_mut(id) {
                Some(count) => count,
                None if room => self.changes.entry(id.clone()).or_default(),
                None => return false,
            };
            *count += 1;
            *count <= CHANGES_PER_HOUR
        });
        for id in &news {
            match said.get(id) {
                Some(report) => self.sensors.insert(id.clone(), (*report).clone()),
                None => self.sensors.remove(id),
            };
        }
        news
    }

    /// What the gateway says of a sensor.
    pub(super) fn of(&self, id: &ResourceId) -> Heard {
        self.sensors.get(id).map_or(Heard::NotPaired, |report| Heard::Paired(Box::new(report.clone())))
    }
}

/// What no schema says of the sensors in a check-in.
pub(super) fn checked(device_type: DeviceType, sensors: Option<&SensorsReport>) -> Result<(), Refusal> {
    let Some(report) = sensors else { return Ok(()) };
    if device_type != DeviceType::Gateway {
        return Err(Refusal::malformed("sensors: only gateways have sensors; leave it out"));
    }
    if report.sensors.len() > MAX_SENSORS_PER_GATEWAY {
        return Err(Refusal::malformed(format!("sensors.sensors: at most {MAX_SENSORS_PER_GATEWAY}")));
    }
    if report.sensors.iter().any(|sensor| sensor.failed_health_checks.len() > MAX_SENSOR_HEALTH_CHECKS) {
        let detail = format!("sensors.sensors: failedHealthChecks: at most {MAX_SENSOR_HEALTH_CHECKS}");
        return Err(Refusal::malformed(detail));
    }
    Ok(())
}

/// The sensors that `gateway` is to be paired with.
pub(super) fn wanted(world: &World, gateway: &DeviceInstance) -> WantedSensors {
    let sensors = world.machines.sensors_of_gateway(&Name::of(gateway));
    list(sensors.iter().filter_map(|sensor| world.devices.get(sensor)))
}

/// Those of `sensors` that nothing stands in the way of, by their ids.
fn list(sensors: impl Iterator<Item = Arc<DeviceInstance>>) -> WantedSensors {
    let mut sensors: Vec<WantedSensor> = sensors
        .filter(|sensor| matches!(sensor.phase(), Phase::ReadyForActivation | Phase::Active))
        .filter_map(|sensor| wanted_sensor(&sensor))
        .take(MAX_SENSORS_PER_GATEWAY)
        .collect();
    sensors.sort_by(|one, other| one.device_instance_id.cmp(&other.device_instance_id));
    let json = serde_json::to_vec(&sensors).expect("sensors are plain data");
    let revision = DeviceText::try_from(hex(&Sha256::digest(json)[..16])).ok();
    WantedSensors { revision, sensors }
}

fn wanted_sensor(sensor: &DeviceInstance) -> Option<WantedSensor> {
    let place = sensor.spec.configuration.as_ref()?.sensor.as_ref()?;
    Some(WantedSensor {
        device_instance_id: ResourceId::of(sensor.metadata.uid.as_deref()?),
        asset_tag_id: sensor.spec.activation.expected_asset_tag_id.as_deref()?.try_into().ok()?,
        epoch: sensor.spec.activation.epoch,
        place: Place::new(&place.asset_ref.name, &place.position).as_text().clone(),
        measurement_interval_seconds: place.measurement_interval_seconds,
    })
}

/// What a gateway has to hear that goes by the list of this revision.
pub(super) fn told(wanted: WantedSensors, revision: Option<&DeviceText>) -> Option<WantedSensors> {
    let has_none = revision.is_none() && wanted.sensors.is_empty();
    (wanted.revision.as_ref() != revision && !has_none).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use serde_json::json;

    fn at(minute: i64) -> Timestamp {
        fixtures::noon() + SignedDuration::from_mins(minute)
    }

    fn id(name: &str) -> ResourceId {
        ResourceId::of(name)
    }

    fn report(name: &str, connected: bool) -> SensorReport {
        SensorReport {
            device_instance_id: id(name),
            asset_tag_id: "VT-0001".try_into().unwrap(),
            epoch: 0,
            connected,
            software_version: None,
            failed_health_checks: Vec::new(),
        }
    }

    #[test]
    fn what_a_gateway_says_is_news_once() {
        let mut heard = SensorsHeard::default();
        let both = [report("a", true), report("b", true)];
        let mut news = heard.take(&both, at(0));
        news.sort();
        let mut expected = [id("a"), id("b")];
        expected.sort();
        assert_eq!(news, expected);
        assert!(heard.take(&[both[1].clone(), both[0].clone()], at(1)).is_empty(), "in another order it is the same");
        assert_eq!(heard.take(&[report("a", false), report("b", true)], at(2)), [id("a")]);
        assert_eq!(heard.take(&[report("a", false)], at(3)), [id("b")]);
        assert_eq!(heard.of(&id("b")), Heard::NotPaired);
        assert!(matches!(heard.of(&id("a")), Heard::Paired(report) if !report.connected));
    }

    #[test]
    fn a_sensor_that_changes_without_end_is_held_back_and_others_are_not() {
        let mut heard = SensorsHeard::default();
        let news = (0..100).filter(|n| !heard.take(&[report("a", n % 2 == 0)], at(0)).is_empty()).count();
        assert_eq!(news, 30);
        assert_eq!(heard.take(&[report("a", true), report("b", true)], at(1)), [id("b")]);
        assert!(matches!(heard.of(&id("a")), Heard::Paired(report) if !report.connected), "the thirtieth counts");
        assert_eq!(heard.take(&[report("a", true), report("b", true)], at(61)), [id("a")], "the hour is over");
        let made_up = |n: i64| {
            let reports: Vec<_> = (0..100).map(|m| report(&format!("{n}/{m}"), true)).collect();
            reports
        };
        for n in 0..50 {
            heard.take(&made_up(n), at(62));
        }
        assert!(heard.changes.len() <= 400 && heard.sensors.len() <= 400);
    }

    #[test]
    fn a_clock_is_off_beyond_a_minute_and_right_again_within_half_of_one() {
        let off = |seconds, was_off| clock_is_off(at(0) + SignedDuration::from_secs(seconds), at(0), was_off);
        for seconds in [-60, -31, 31, 60] {
            assert!(!off(seconds, false) && off(seconds, true), "{seconds} s: as it was");
        }
        assert!(off(-61, false) && off(61, false) && !off(-30, true) && !off(30, true));
    }

    #[test]
    fn only_gateways_have_sensors_and_not_too_many() {
        let many = |count| Some(SensorsReport { time: at(0), revision: None, sensors: vec![report("a", true); count] });
        assert_eq!(checked(DeviceType::Reader, None), Ok(()));
        assert_eq!(checked(DeviceType::Gateway, many(100).as_ref()), Ok(()));
        assert!(checked(DeviceType::Gateway, many(101).as_ref()).unwrap_err().detail.contains("at most 100"));
        assert!(checked(DeviceType::Reader, many(0).as_ref()).unwrap_err().detail.contains("only gateways"));
    }

    fn sensor(phase: &str, uid: &str, epoch: i64) -> Arc<DeviceInstance> {
        let mut sensor = fixtures::sensor("drive-end", "hall");
        sensor.metadata.uid = Some(uid.into());
        sensor.spec.activation.epoch = epoch;
        sensor.status = Some(serde_json::from_value(json!({ "phase": phase })).unwrap());
        Arc::new(sensor)
    }

    #[test]
    fn a_list_holds_what_nothing_stands_in_the_way_of_and_is_told_when_it_is_another_one() {
        let ready = || sensor("ReadyForActivation", "a", 0);
        let one = list([ready(), sensor("NeedsConfiguration", "b", 0)].into_iter());
        assert_eq!(one.sensors.len(), 1);
        assert_eq!(one.sensors[0].measurement_interval_seconds, 3_600);
        let two = list([sensor("Active", "c", 0), ready()].into_iter());
        assert_eq!(
            two,
            list([ready(), sensor("ReadyForActivation", "c", 0)].into_iter()),
            "order and phase do not matter"
        );
        assert_ne!(two.revision, list([ready(), sensor("Active", "c", 1)].into_iter()).revision);
        let mut moved = (*ready()).clone();
        moved.spec.configuration.as_mut().unwrap().sensor.as_mut().unwrap().position = "fan-end".into();
        assert_ne!(one.revision, list([Arc::new(moved)].into_iter()).revision, "a gateway hears that one was moved");
        let revision = two.revision.clone();
        assert_eq!(told(two.clone(), revision.as_ref()), None);
        assert_eq!(told(two.clone(), one.revision.as_ref()), Some(two.clone()));
        assert_eq!(told(two.clone(), None), Some(two));
        let none = list([].into_iter());
        assert_eq!(told(none.clone(), None), None, "who has none need not hear of it");
        assert_eq!(told(none.clone(), revision.as_ref()), Some(none));
    }
}
