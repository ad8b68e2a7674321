//! What sensors measured last, in the text format of `OpenMetrics`: for a metrics store, which keeps the history.

use std::sync::atomic::AtomicU64;

use fleetform_domain::id::ResourceId;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cache::{Name, World};
use crate::controllers::asset::silent_after;
use crate::measurements::{self, Measurements};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    project: String,
    site: String,
    asset: String,
    position: String,
    sensor: String,
}

type Series = Family<Place, Gauge<f64, AtomicU64>>;

/// The last measurement of every sensor that is not silent at `now`, where gateways may be silent for so long. One that is silent is
/// left out, so that a chart shows a gap and not a value that nobody measured.
pub fn latest_measurements(
    world: &World,
    measurements: &Measurements,
    gateway_silent_after: SignedDuration,
    now: Timestamp,
) -> String {
    let (velocity, temperature) = (Series::default(), Series::default());
    for asset in world.assets.all() {
        let name = Name::of(&*asset);
        for position in asset.status.iter().flat_map(|status| &status.positions) {
            let sensor = position.sensor.as_ref().map(|sensor| Name::new(&name.namespace, sensor));
            let Some(sensor) = sensor.and_then(|sensor| world.devices.get(&sensor)) else { continue };
            let Some(id) = sensor.metadata.uid.as_deref().map(ResourceId::of) else { continue };
            let mounted = measurements::Place::new(&name.name, &position.name);
            let (Some(latest), Some(heard)) = (measurements.latest(&id, &mounted), measurements.heard(&id)) else {
                continue;
            };
            if heard + silent_after(&sensor, gateway_silent_after) <= now {
                continue;
            }
            let place = Place {
                project: name.namespace.clone(),
                site: asset.spec.site_ref.name.clone(),
                asset: name.name.clone(),
                position: position.name.clone(),
                sensor: Name::of(&*sensor).name,
            };
            velocity.get_or_create(&place).set(as_written(latest.velocity));
            temperature.get_or_create(&place).set(as_written(latest.temperature));
        }
    }
    let mut registry = Registry::with_prefix("fleetform_asset");
    registry.register("vibration_velocity_mm_per_s", "Vibration velocity, RMS, in mm/s, as measured last", velocity);
    registry.register("temperature_celsius", "Temperature of the housing in °C, as measured last", temperature);
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

/// The number that reads as `value` does: 7.1 and not 7.099999904632568.
fn as_written(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;
    use crate::controllers::fixtures;
    use crate::measurements::Pairing;
    use fleetform_domain::machines::Reading;
    use serde_json::json;

    #[test]
    fn what_was_measured_last_reads_as_open_metrics_and_the_silent_are_left_out() {
        let (world, measured) = (World::new(vec![Scope::All]), Measurements::default());
        let mut asset = fixtures::asset();
        let position = |name: &str, sensor: &str| json!({ "name": name, "sensor": sensor });
        let positions = [position("drive-end", "pump-drive-end"), position("fan-end", "gone")];
        asset.status = Some(serde_json::from_value(json!({ "positions": positions })).unwrap());
        world.own_asset(asset);
        let sensor = fixtures::sensor("drive-end", "hall");
        let id = ResourceId::of(sensor.metadata.uid.as_deref().unwrap());
        world.own_device(sensor);
        let millisecond = fixtures::noon().as_millisecond();
        let reading = Reading { sequence: 1, millisecond, velocity: 7.1, temperature: 61.5 };
        let place = measurements::Place::new("pump", "drive-end");
        let pairing = Pairing { association: "a".into(), asset_tag: "VT-0001".into(), epoch: 0, place };
        measured.take(&id, &pairing, &[reading], fixtures::noon());
        let after = SignedDuration::from_secs(180);
        let at = |seconds| {
            latest_measurements(&world, &measured, after, fixtures::noon() + SignedDuration::from_secs(seconds))
        };
        insta::assert_snapshot!("latest", at(3 * 3_600 + 179));
        assert!(!at(3 * 3_600 + 180).contains("pump"), "nothing came of it for three intervals");
    }
}
