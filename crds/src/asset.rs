//! `Asset`: a machine that sensors watch.

use fleetform_domain::id::{Arn, ResourceId};
use fleetform_domain::machines::{Limits, MachineClass, MachineState};
use fleetform_domain::tag::Tag;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::{DISPLAY_NAME_MESSAGE, DISPLAY_NAME_RULE, LocalReference, is_zero};

/// A machine with up to 20 positions, each watched by a sensor.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "Asset",
    plural = "assets",
    shortname = "asset",
    category = "fleetform",
    namespaced,
    status = "AssetStatus",
    derive = "PartialEq",
    doc = "A machine at a site. Sensors at its positions measure vibration and temperature, which are judged by the zones of ISO 20816.",
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.siteRef.name"),
    printcolumn(name = "Display name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.machineClass"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Sensors", type_ = "integer", json_path = ".status.sensorCount"),
    printcolumn(name = "Open alerts", type_ = "integer", json_path = ".status.openAlertCount"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 200")
        .message("the name of an Asset has at most 200 characters: its alerts are named after it")
)]
#[serde(rename_all = "camelCase")]
pub struct AssetSpec {
    /// The Site where the machine is. Fixed.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.siteRef of an Asset is fixed: make another Asset at the other site, and move the sensors there"))]
    pub site_ref: LocalReference,
    /// Name that people read: 1 to 60 characters, letters, digits, punctuation and spaces.
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = Rule::new(DISPLAY_NAME_RULE).message(DISPLAY_NAME_MESSAGE))]
    pub display_name: String,
    /// What kind of machine it is and how it stands: `ClassI` to `ClassIV` of ISO 10816-1, or `Group1` and `Group2` of ISO 20816-3,
    /// `Rigid` or `Flexible`. The boundaries of its zones follow from it.
    pub machine_class: MachineClass,
    /// Temperatures of the housing that are not normal, in °C. Left out, temperature is not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_limits: Option<TemperatureLimits>,
    /// Where sensors are mounted, 1 to 20.
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub positions: Vec<Position>,
    /// Tags for cost, search and access, at most 50, with unique keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
}

/// Temperatures of the housing that are not normal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.warningCelsius < self.alarmCelsius")
    .message("temperatureLimits.warningCelsius must be below temperatureLimits.alarmCelsius"))]
pub struct TemperatureLimits {
    /// Above it the state is Warning, in °C, -50 to 250.
    #[schemars(range(min = -50, max = 250))]
    pub warning_celsius: i32,
    /// Above it the state is Alarm, in °C, -50 to 250.
    #[schemars(range(min = -50, max = 250))]
    pub alarm_celsius: i32,
}

/// Where a sensor is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// What sensors refer to: 1 to 63 lower case letters, digits and hyphens, such as `drive-end`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')")
        .message("positions: a name may hold lower case letters, digits and hyphens, and begins and ends with a letter or digit"))]
    pub name: String,
    /// What it is, in words. At most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub description: Option<String>,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// 14 letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<ResourceId>,
    /// Amazon Resource Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<Arn>,
    /// The worst state of its positions, as far as it is known: `Healthy`, `Warning`, `Alarm`, or `Unknown` when none is.
    #[serde(default)]
    pub state: MachineState,
    /// Sensors whose `spec.configuration.sensor.assetRef` names it.
    #[serde(default)]
    pub sensor_count: i64,
    /// Alerts that are not resolved.
    #[serde(default)]
    pub open_alert_count: i64,
    /// The greatest number of an alert about a position that is no more: those about positions that come have greater ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub removed_alerts: i64,
    /// Its positions, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub positions: Vec<PositionStatus>,
    /// `Ready`, `Reconciling`, `Stalled`, `Healthy`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// What is known of a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PositionStatus {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Name of the `DeviceInstance` of the sensor that is paired there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub sensor: Option<String>,
    /// `Healthy`, `Warning`, `Alarm`, or `Unknown` while the sensor or its gateway is silent or nothing was measured.
    #[serde(default)]
    pub state: MachineState,
    /// Since when (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Name of the alert that is open for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub alert: Option<String>,
    /// Number of the last of its alerts that is over: the next one has a greater number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed_alerts: i64,
    /// `Warning` or `Alarm`: no alert is raised for this and less until the position was `Healthy`, as the last one was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted: Option<MachineState>,
}

impl Asset {
    /// What its status says of a position, as far as it was said of this sensor; `Unknown` otherwise.
    pub fn known_of(&self, position: &str, sensor: &str) -> MachineState {
        let known = self.position(position).filter(|known| known.sensor.as_deref() == Some(sensor));
        known.map(|known| known.state).unwrap_or_default()
    }

    /// What is normal for it.
    pub fn limits(&self) -> Limits {
        let temperature = self.spec.temperature_limits.as_ref();
        let temperature = temperature.map(|limits| [limits.warning_celsius, limits.alarm_celsius]);
        Limits { class: self.spec.machine_class, temperature }
    }

    /// What is known of the position of this name.
    pub fn position(&self, name: &str) -> Option<&PositionStatus> {
        self.status.as_ref()?.positions.iter().find(|position| position.name == name)
    }
}
