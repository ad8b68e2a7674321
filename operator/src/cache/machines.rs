//! Who is where among sensors, gateways, assets and alerts. Kept as objects come and go.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fleetform_crds::device_instance::SensorConfiguration;
use fleetform_crds::{Alert, Asset, DeviceInstance};
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::MAX_SENSORS_PER_GATEWAY;
use parking_lot::RwLock;

use super::{Found, KindCache, Name, Observed, Ranks};

/// Sensors by what they refer to, assets by their site, and alerts by their asset; each the oldest first.
#[derive(Debug, Default)]
pub struct Machines {
    /// Assets by the time they came, by their site.
    pub assets: Ranks,
    /// Alerts by the time they came, by their asset.
    pub alerts: Ranks,
    by_gateway: Ranks,
    by_asset: Ranks,
    by_position: Ranks,
    ids: RwLock<HashMap<ResourceId, Name>>,
}

/// Whom the change of a device instance concerns.
#[derive(Debug, Default)]
pub(super) struct Concerned {
    /// Device instances that have to look.
    pub(super) devices: BTreeSet<Name>,
    /// Assets that have to look.
    pub(super) assets: BTreeSet<String>,
    /// Gateways whose list of sensors may be another one now.
    pub(super) gateways: BTreeSet<Name>,
}

/// Where the spec of a sensor says that it is.
fn place(device: &DeviceInstance) -> Option<&SensorConfiguration> {
    device.spec.configuration.as_ref()?.sensor.as_ref().filter(|_| device.spec.device_type == DeviceType::Sensor)
}

fn gateway_of(device: &DeviceInstance) -> Option<Name> {
    Some(Name::new(Name::of(device).namespace, &place(device)?.gateway_ref.name))
}

fn asset_of(device: &DeviceInstance) -> Option<Name> {
    Some(Name::new(Name::of(device).namespace, &place(device)?.asset_ref.name))
}

/// A slash stands in no name.
fn position_name(asset: &Name, position: &str) -> Name {
    Name::new(&asset.namespace, format!("{}/{position}", asset.name))
}

fn position_of(device: &DeviceInstance) -> Option<Name> {
    Some(position_name(&asset_of(device)?, &place(device)?.position))
}

/// What sensors have to know of their gateway.
fn gateway_facts(device: &DeviceInstance) -> impl PartialEq {
    let connectivity = device.status.as_ref().and_then(|status| status.connectivity);
    let association = device.association().map(|association| association.id.clone());
    (device.metadata.uid.clone(), device.spec.site_ref.name.clone(), connectivity, association)
}

impl Machines {
    /// Takes what was observed of a device instance.
    pub(super) fn take_device(
        &self,
        cache: &KindCache<DeviceInstance>,
        observed: &Observed<DeviceInstance>,
    ) -> Concerned {
        let (name, old, new) = match observed {
            Observed::Changed { old, new } => (Name::of(&**new), old.as_ref(), Some(new)),
            Observed::Gone { name, old } => (name.clone(), old.as_ref(), None),
            Observed::Known => return Concerned::default(),
        };
        let either = || old.into_iter().chain(new);
        if either().any(|device| device.spec.device_type == DeviceType::Sensor) {
            self.by_gateway.take(cache, observed, gateway_of);
            self.by_asset.take(cache, observed, asset_of);
            self.by_position.take(cache, observed, position_of);
            let id = |device: &Arc<DeviceInstance>| device.metadata.uid.as_deref().map(ResourceId::of);
            // One that no longer reads is not gone.
            let stays = new.or_else(|| old.filter(|_| matches!(cache.find(&name), Found::Unreadable(_))));
            let (was, is) = (old.and_then(id), stays.and_then(id));
            let mut ids = self.ids.write();
            was.filter(|was| is.as_ref() != Some(was)).map(|was| ids.remove(&was));
            is.map(|is| ids.insert(is, name.clone()));
            drop(ids);
            return self.concerned_by_sensor(&name, old, new);
        }
        let is_gateway = either().any(|device| device.spec.device_type == DeviceType::Gateway);
        let same = matches!((old, new), (Some(old), Some(new)) if gateway_facts(old) == gateway_facts(new));
        let sensors = if is_gateway && !same { self.by_gateway.members(&name) } else { Vec::new() };
        Concerned { devices: sensors.into_iter().collect(), ..Concerned::default() }
    }

    fn concerned_by_sensor(
        &self,
        name: &Name,
        old: Option<&Arc<DeviceInstance>>,
        new: Option<&Arc<DeviceInstance>>,
    ) -> Concerned {
        let either = || old.into_iter().chain(new);
        let mut concerned = Concerned {
            devices: BTreeSet::new(),
            assets: either().filter_map(|device| Some(asset_of(device)?.name)).collect(),
            gateways: either().filter_map(|device| gateway_of(device)).collect(),
        };
        let place = |device: &Arc<DeviceInstance>| place(device).cloned();
        if old.and_then(place) != new.and_then(place) {
            // Room was made, or taken.
            let positions = either().filter_map(|device| position_of(device));
            concerned.devices.extend(positions.flat_map(|position| self.by_position.members(&position)));
            let full = concerned.gateways.iter().flat_map(|gateway| self.by_gateway.members(gateway));
            concerned.devices.extend(full.skip(MAX_SENSORS_PER_GATEWAY - 1));
            concerned.devices.remove(name);
        }
        concerned
    }

    pub(super) fn take_asset(&self, cache: &KindCache<Asset>, observed: &Observed<Asset>) {
        self.assets
            .take(cache, observed, |asset| Some(Name::new(Name::of(asset).namespace, &asset.spec.site_ref.name)));
    }

    pub(super) fn take_alert(&self, cache: &KindCache<Alert>, observed: &Observed<Alert>) {
        self.alerts
            .take(cache, observed, |alert| Some(Name::new(Name::of(alert).namespace, &alert.spec.asset_ref.name)));
    }

    /// The sensor whose device instance has this id.
    pub fn sensor(&self, id: &ResourceId) -> Option<Name> {
        self.ids.read().get(id).cloned()
    }

    /// Sensors that are to report through this gateway, the oldest first.
    pub fn sensors_of_gateway(&self, gateway: &Name) -> Vec<Name> {
        self.by_gateway.members(gateway)
    }

    /// Sensors that are to be mounted on this asset, the oldest first.
    pub fn sensors_of_asset(&self, asset: &Name) -> Vec<Name> {
        self.by_asset.members(asset)
    }

    /// The sensor whose place this position of an asset is: the oldest of those that refer to it.
    pub fn holder(&self, asset: &Name, position: &str) -> Option<Name> {
        self.by_position.first(&position_name(asset, position))
    }

    /// Whether older sensors are as many as the gateway of this one carries.
    pub fn is_crowded_out(&self, sensor: &Name) -> bool {
        self.by_gateway.is_over(sensor, u32::try_from(MAX_SENSORS_PER_GATEWAY).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    fn sensor(name: &str, second: i64, position: &str, gateway: &str) -> DeviceInstance {
        let mut sensor = fixtures::sensor(position, gateway);
        sensor.metadata.name = Some(name.into());
        sensor.metadata.uid = Some(format!("uid-{name}"));
        sensor.metadata.creation_timestamp = Some(Time(fixtures::noon() + SignedDuration::from_secs(second)));
        sensor
    }

    struct Scene {
        cache: KindCache<DeviceInstance>,
        machines: Machines,
        version: u32,
    }

    impl Scene {
        fn put(&mut self, mut device: DeviceInstance) -> Concerned {
            self.version += 1;
            device.metadata.resource_version = Some(self.version.to_string());
            let observed = self.cache.take_own(device);
            self.machines.take_device(&self.cache, &observed)
        }
    }

    fn scene() -> Scene {
        Scene { cache: KindCache::default(), machines: Machines::default(), version: 0 }
    }

    fn at(name: &str) -> Name {
        Name::new("library", name)
    }

    fn names(names: &BTreeSet<Name>) -> Vec<&str> {
        names.iter().map(|name| name.name.as_str()).collect()
    }

    #[test]
    fn the_oldest_sensor_holds_a_position_and_others_hear_when_it_goes() {
        let mut scene = scene();
        scene.put(sensor("b", 1, "drive-end", "hall"));
        scene.put(sensor("a", 2, "drive-end", "hall"));
        let pump = at("pump");
        assert_eq!(scene.machines.holder(&pump, "drive-end"), Some(at("b")));
        assert_eq!(scene.machines.holder(&pump, "fan-end"), None);
        let moved = scene.put(sensor("b", 1, "fan-end", "hall"));
        assert_eq!(names(&moved.devices), ["a"]);
        assert_eq!((moved.assets.len(), names(&moved.gateways)), (1, vec!["hall"]));
        assert_eq!(scene.machines.holder(&pump, "drive-end"), Some(at("a")));
        assert_eq!(scene.machines.sensors_of_asset(&pump), [at("b"), at("a")]);
        let id = ResourceId::of("uid-a");
        assert_eq!(scene.machines.sensor(&id), Some(at("a")));
        let observed = scene.cache.forget(&at("a"));
        scene.machines.take_device(&scene.cache, &observed);
        assert_eq!((scene.machines.sensor(&id), scene.machines.holder(&pump, "drive-end")), (None, None));
    }

    #[test]
    fn a_sensor_that_moves_concerns_both_gateways_and_one_that_reports_concerns_its_own() {
        let mut scene = scene();
        scene.put(sensor("a", 1, "drive-end", "hall"));
        let moved = scene.put(sensor("a", 1, "drive-end", "cellar"));
        assert_eq!(names(&moved.gateways), ["cellar", "hall"]);
        assert_eq!(scene.machines.sensors_of_gateway(&at("hall")), []);
        let mut written = sensor("a", 1, "drive-end", "cellar");
        written.status = Some(serde_json::from_value(json!({ "phase": "Active" })).unwrap());
        let written = scene.put(written);
        assert!(written.devices.is_empty() && written.gateways.len() == 1);
    }

    #[test]
    fn sensors_hear_when_their_gateway_falls_silent_and_not_when_it_is_renamed() {
        let mut scene = scene();
        scene.put(sensor("a", 1, "drive-end", "hall"));
        let gateway = |display: &str, connectivity: &str| {
            let mut gateway = fixtures::gateway("hall");
            gateway.spec.display_name = display.into();
            gateway.status = Some(serde_json::from_value(json!({ "connectivity": connectivity })).unwrap());
            gateway
        };
        assert_eq!(names(&scene.put(gateway("Hall", "CONNECTED")).devices), ["a"]);
        assert!(scene.put(gateway("Great hall", "CONNECTED")).devices.is_empty());
        assert_eq!(names(&scene.put(gateway("Great hall", "DISCONNECTED")).devices), ["a"]);
    }

    #[test]
    fn a_gateway_carries_the_hundred_that_came_first() {
        let mut scene = scene();
        for number in 0..101 {
            scene.put(sensor(&format!("s{number:03}"), number, &format!("p{number}"), "hall"));
        }
        assert!(scene.machines.is_crowded_out(&at("s100")) && !scene.machines.is_crowded_out(&at("s099")));
        let moved = scene.put(sensor("s000", 0, "p0", "cellar"));
        assert!(!scene.machines.is_crowded_out(&at("s100")));
        assert!(names(&moved.devices).contains(&"s100"));
    }
}
