//! Pure: sensors and their measurements, as gateways speak of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeviceText;
use crate::id::ResourceId;

/// `POST` [`MeasurementsRequest`] → [`MeasurementsResponse`].
pub const MEASUREMENTS_PATH: &str = "/v1/measurements";

/// Most measurements that one request brings: as many as fit into a body.
pub const MAX_MEASUREMENTS: usize = 300;

/// Most failed health checks that are said of one sensor: so what a gateway says of all its sensors fits into a body.
pub const MAX_SENSOR_HEALTH_CHECKS: usize = 4;

/// What a gateway says of its sensors in a check-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SensorsReport {
    /// What the gateway's clock shows (RFC 3339): charts show the times that it gives to measurements.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The list that the gateway goes by: [`WantedSensors::revision`]; none before it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<DeviceText>,
    /// The sensors that it is paired with, at most [`MAX_SENSORS_PER_GATEWAY`](crate::machines::MAX_SENSORS_PER_GATEWAY).
    #[serde(default)]
    pub sensors: Vec<SensorReport>,
}

/// What a gateway says of one sensor that it is paired with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SensorReport {
    /// Id of the sensor's device instance.
    pub device_instance_id: ResourceId,
    /// What is printed on the sensor, as the gateway read it when they were paired.
    pub asset_tag_id: DeviceText,
    /// The epoch for which they were paired.
    pub epoch: i64,
    /// Whether the gateway hears it when it is due.
    pub connected: bool,
    /// Version of its software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<DeviceText>,
    /// Names of the health checks that fail now, such as `battery`, at most [`MAX_SENSOR_HEALTH_CHECKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_health_checks: Vec<DeviceText>,
}

/// The sensors that a gateway is to be paired with, and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedSensors {
    /// Tells one list from another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<DeviceText>,
    /// The sensors.
    pub sensors: Vec<WantedSensor>,
}

/// A sensor that a gateway is to be paired with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WantedSensor {
    /// Id of the sensor's device instance.
    pub device_instance_id: ResourceId,
    /// What is printed on the sensor: `spec.activation.expectedAssetTagId`.
    pub asset_tag_id: DeviceText,
    /// The epoch to pair it for: one that is paired for another is paired anew.
    pub epoch: i64,
    /// Tells the place where it is mounted from others. That it is another one is no new pairing: from then on its measurements name it.
    pub place: DeviceText,
    /// Time from one measurement to the next, in seconds.
    pub measurement_interval_seconds: u32,
}

/// Measurements of a gateway's sensors. The gateway keeps each until it is taken or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasurementsRequest {
    /// In any order, at most [`MAX_MEASUREMENTS`].
    pub measurements: Vec<Measurement>,
}

/// One measurement of one sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measurement {
    /// Id of the sensor's device instance.
    pub device_instance_id: ResourceId,
    /// Counts the sensor's measurements without a gap, from 1, for as long as it is paired.
    pub sequence: u64,
    /// Where: [`WantedSensor::place`] as the gateway knew it then, however late it is sent.
    pub place: DeviceText,
    /// When, by the gateway's clock (RFC 3339). For charts: what is judged, and in which order, follows from the sequence.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// Vibration velocity, RMS, in mm/s, 0 to 1,000.
    pub velocity_rms_mm_per_s: f64,
    /// Temperature of the housing in °C, -100 to 300.
    pub temperature_celsius: f64,
}

/// What became of the measurements. All that are not named were taken, now or before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasurementsResponse {
    /// How many were new.
    pub taken: u32,
    /// Those that the gateway need not send again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedMeasurement>,
}

/// A measurement that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedMeasurement {
    /// Its place in the request, from 0.
    pub index: u32,
    /// Why.
    pub reason: MeasurementRefusal,
}

/// Why a measurement was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MeasurementRefusal {
    /// The sensor is not paired with this gateway.
    NotPaired,
    /// It was taken where the sensor is no longer mounted, so it says nothing of where it is now.
    AtAnotherPlace,
    /// A value is no number or out of bounds.
    OutOfRange,
    /// It is older than what is kept, so it cannot be told whether it was taken before.
    TooOld,
}
