//! Measurements: taken, judged, and kept in memory. They write nothing: when they say another thing of a machine than its status shows,
//! its reconciler looks.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::Phase;
use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::{MachineState, Reading, Taken, Verdict};
use fleetform_domain::wire::{
    DeviceText, MAX_MEASUREMENTS, Measurement, MeasurementRefusal, MeasurementsRequest, MeasurementsResponse,
    RefusedMeasurement,
};

use jiff::Timestamp;

use super::Gateway;
use super::sensors::Heard;
use crate::cache::{Found, Kind, Name};
use crate::controllers::sensor::plan::is_paired_as_declared;
use crate::crypto::DeviceIdentity;
use crate::measurements::{Pairing, Place};
use crate::people::holders::is_locked;
use crate::queue::Key;
use crate::server::{Json, Peer, Refusal};

/// `POST /v1/measurements`.
pub(super) async fn measurements(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<MeasurementsRequest>,
) -> Result<Answer<MeasurementsResponse>, Refusal> {
    gateway.measurements(&peer, &request.measurements).await.map(Answer)
}

/// The measurement as it is kept, if there is such a measurement. A time that lies ahead is taken as now.
fn reading(measurement: &Measurement, now: Timestamp) -> Option<Reading> {
    let (velocity, temperature) = (measurement.velocity_rms_mm_per_s, measurement.temperature_celsius);
    let possible = (0.0..=1_000.0).contains(&velocity) && (-100.0..=300.0).contains(&temperature);
    #[expect(clippy::cast_possible_truncation, reason = "no sensor measures as precisely as even an f32 is")]
    possible.then(|| Reading {
        sequence: measurement.sequence,
        millisecond: measurement.time.min(now).as_millisecond(),
        velocity: velocity as f32,
        temperature: temperature as f32,
    })
}

impl Gateway {
    async fn measurements(&self, peer: &Peer, measurements: &[Measurement]) -> Result<MeasurementsResponse, Refusal> {
        let identity = self.identify(peer)?;
        if measurements.len() > MAX_MEASUREMENTS {
            return Err(Refusal::malformed(format!("measurements: at most {MAX_MEASUREMENTS}")));
        }
        let gateway = self.trusted(&identity).await?;
        if is_locked(&gateway) {
            let detail = "the gateway is locked: what it measures is not believed; keep it until the lock is answered";
            return Err(Refusal::unavailable(detail));
        }
        let now = self.context.clock.now();
        let mut outcome = Outcome::default();
        let mut by_sensor: HashMap<&ResourceId, Vec<(u32, &DeviceText, Reading)>> = HashMap::new();
        for (measurement, index) in measurements.iter().zip(0..) {
            match reading(measurement, now) {
                Some(reading) => {
                    let readings = by_sensor.entry(&measurement.device_instance_id).or_default();
                    readings.push((index, &measurement.place, reading));
                }
                None => outcome.refuse(index, MeasurementRefusal::OutOfRange),
            }
        }
        for (id, readings) in by_sensor {
            let Some((sensor, pairing)) = self.sensor(id, &gateway, &identity)? else {
                for (index, ..) in readings {
                    outcome.refuse(index, MeasurementRefusal::NotPaired);
                }
                continue;
            };
            let mut here = Vec::with_capacity(readings.len());
            for (index, place, reading) in readings {
                if place == pairing.place.as_text() {
                    here.push((index, reading));
                } else {
                    outcome.refuse(index, MeasurementRefusal::AtAnotherPlace);
                }
            }
            self.take(&sensor, id, &pairing, &here, &mut outcome);
        }
        outcome.refused.sort_by_key(|refused| refused.index);
        self.context.metrics.measurements("taken", outcome.taken);
        self.context.metrics.measurements("repeated", outcome.repeated);
        for refused in &outcome.refused {
            self.context.metrics.measurements(name_of(refused.reason), 1);
        }
        Ok(MeasurementsResponse { taken: outcome.taken, refused: outcome.refused })
    }

    /// The sensor of this id, if the gateway is paired with it, as it says itself, or as is stored while it has said nothing. What it
    /// says goes ahead of what is stored: a sensor measures from its first moment on.
    fn sensor(
        &self,
        id: &ResourceId,
        gateway: &DeviceInstance,
        identity: &DeviceIdentity,
    ) -> Result<Option<(Arc<DeviceInstance>, Pairing)>, Refusal> {
        let world = &self.context.world;
        let Some(name) = world.machines.sensor(id) else { return Ok(None) };
        let sensor = match world.devices.find(&name) {
            Found::Here(sensor) => sensor,
            // It may read again: until then the gateway keeps what it measured.
            Found::Unreadable(_) => {
                return Err(Refusal::unavailable("a sensor cannot be looked up just now; ask again"));
            }
            Found::Absent => return Ok(None),
        };
        let place = sensor.spec.configuration.as_ref().and_then(|configuration| configuration.sensor.as_ref());
        let (Some(place), Some(asset_tag)) = (place, sensor.spec.activation.expected_asset_tag_id.clone()) else {
            return Ok(None);
        };
        let carrier = Name::new(&name.namespace, &place.gateway_ref.name);
        let epoch = sensor.spec.activation.epoch;
        // One that something stands in the way of is not on the gateway's list.
        let listed = matches!(sensor.phase(), Phase::ReadyForActivation | Phase::Active);
        if !listed || carrier != Name::of(gateway) {
            return Ok(None);
        }
        let place = Place::new(&place.asset_ref.name, &place.position);
        let association = &identity.bond.association;
        let is_paired = match self.context.table.sensor(association, id, self.context.clock.now()) {
            Heard::Paired(report) => report.asset_tag_id.as_str() == asset_tag && report.epoch == epoch,
            Heard::NotPaired => false,
            Heard::Unknown => is_paired_as_declared(&sensor),
        };
        let pairing = Pairing { association: association.clone(), asset_tag, epoch, place };
        Ok(is_paired.then_some((sensor, pairing)))
    }

    fn take(
        &self,
        sensor: &DeviceInstance,
        id: &ResourceId,
        pairing: &Pairing,
        readings: &[(u32, Reading)],
        outcome: &mut Outcome,
    ) {
        let measured: Vec<Reading> = readings.iter().map(|(_, reading)| *reading).collect();
        let taken = self.context.measurements.take(id, pairing, &measured, self.context.clock.now());
        let before = outcome.taken;
        for ((index, _), taken) in readings.iter().zip(taken) {
            match taken {
                Taken::New => outcome.taken += 1,
                Taken::Repeated => outcome.repeated += 1,
                Taken::TooOld => outcome.refuse(*index, MeasurementRefusal::TooOld),
            }
        }
        if outcome.taken > before {
            self.look_at_machine(sensor, id, &pairing.place);
        }
    }

    /// Has the machine looked at when what its sensor measured says another thing of it than its status shows.
    fn look_at_machine(&self, sensor: &DeviceInstance, id: &ResourceId, mounted: &Place) {
        let Some(place) = sensor.spec.configuration.as_ref().and_then(|configuration| configuration.sensor.as_ref())
        else {
            return;
        };
        let name = Name::new(Name::of(sensor).namespace, &place.asset_ref.name);
        let Some(asset) = self.context.world.assets.get(&name) else { return };
        let position = asset.position(&place.position);
        let known = asset.known_of(&place.position, &Name::of(sensor).name);
        let verdict = self.context.measurements.judge(id, mounted, &asset.limits(), known);
        let is_news = |verdict: &Verdict| {
            let Some(position) = position else { return true };
            // Somebody may have deleted the alert that was open.
            let unsaid = verdict.state >= MachineState::Warning && position.alert.is_none() && position.muted.is_none();
            position.state != verdict.state || unsaid
        };
        if verdict.as_ref().is_some_and(is_news) {
            self.context.queue.add(Key::new(Kind::Asset, name));
        }
    }
}

#[derive(Debug, Default)]
struct Outcome {
    taken: u32,
    repeated: u32,
    refused: Vec<RefusedMeasurement>,
}

impl Outcome {
    fn refuse(&mut self, index: u32, reason: MeasurementRefusal) {
        self.refused.push(RefusedMeasurement { index, reason });
    }
}

const fn name_of(reason: MeasurementRefusal) -> &'static str {
    match reason {
        MeasurementRefusal::NotPaired => "not-paired",
        MeasurementRefusal::AtAnotherPlace => "at-another-place",
        MeasurementRefusal::OutOfRange => "out-of-range",
        MeasurementRefusal::TooOld => "too-old",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_no_measurement() {
        let is_one = |velocity: f64, temperature: f64| {
            let measurement = Measurement {
                device_instance_id: "12345678901234".parse().unwrap(),
                sequence: 1,
                place: "a".try_into().unwrap(),
                time: jiff::Timestamp::UNIX_EPOCH,
                velocity_rms_mm_per_s: velocity,
                temperature_celsius: temperature,
            };
            reading(&measurement, jiff::Timestamp::UNIX_EPOCH).is_some()
        };
        assert!(is_one(0.0, -100.0) && is_one(1_000.0, 300.0));
        for (velocity, temperature) in
            [(-0.1, 20.0), (1_000.1, 20.0), (f64::NAN, 20.0), (1.0, f64::INFINITY), (1.0, f64::NAN), (1.0, 300.1)]
        {
            assert!(!is_one(velocity, temperature), "{velocity} {temperature}");
        }
    }
}
