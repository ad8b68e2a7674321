//! `Alert`: an abnormal state of a machine, from its first sign to what it was. Made by the operator; people acknowledge and resolve
//! it.

use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::{
    AlertPhase, AlertTransition, FailureCause, FailureMode, MachineState, MaintenanceAction,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::condition::{ConditionType, Reason, Status};
use crate::reference::LocalReference;

/// What the conditions of an alert say that was just raised. They are the default, so that raising it is one write.
pub const RAISED: [(ConditionType, Status, Reason, &str); 4] = [
    (ConditionType::Ready, Status::True, Reason::Reconciled, "the alert is recorded"),
    (ConditionType::Active, Status::True, Reason::AboveLimits, "the state of the position is abnormal"),
    (
        ConditionType::Acknowledged,
        Status::False,
        Reason::NotAcknowledged,
        "nobody has taken it on: look at the machine, and set spec.acknowledged to true",
    ),
    (
        ConditionType::Resolved,
        Status::False,
        Reason::NotResolved,
        "nobody has said what it was: set spec.resolution when that is known",
    ),
];

/// An abnormal state of one position of an asset.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "Alert",
    plural = "alerts",
    shortname = "alert",
    category = "fleetform",
    namespaced,
    status = "AlertStatus",
    derive = "PartialEq",
    doc = "An abnormal state of a machine. Made by the operator; acknowledge it with spec.acknowledged, resolve it with spec.resolution.",
    selectable = ".spec.assetRef.name",
    printcolumn(name = "Asset", type_ = "string", json_path = ".spec.assetRef.name"),
    printcolumn(name = "Position", type_ = "string", json_path = ".spec.position"),
    printcolumn(name = "Level", type_ = "string", json_path = ".spec.level"),
    printcolumn(name = "Worst", type_ = "string", json_path = ".status.worst"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.conditions[?(@.type==\"Active\")].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Failure", type_ = "string", json_path = ".spec.resolution.failureMode", priority = 1),
    printcolumn(name = "Raised", type_ = "date", json_path = ".spec.raisedAt"),
    validation = Rule::new(
        "self.spec.assetRef == oldSelf.spec.assetRef && self.spec.position == oldSelf.spec.position && \
         self.spec.raisedAt == oldSelf.spec.raisedAt && self.spec.level == oldSelf.spec.level && \
         has(self.spec.siteRef) == has(oldSelf.spec.siteRef) && \
         (!has(self.spec.siteRef) || self.spec.siteRef == oldSelf.spec.siteRef) && \
         has(self.spec.sensor) == has(oldSelf.spec.sensor) && \
         (!has(self.spec.sensor) || self.spec.sensor == oldSelf.spec.sensor) && \
         self.spec.cause == oldSelf.spec.cause"
    )
    .message("what raised an Alert is fixed: only spec.acknowledged and spec.resolution can be set")
    .field_path(".spec"),
    validation = Rule::new("!has(oldSelf.spec.resolution) || has(self.spec.resolution)")
        .message("spec.resolution stays once it is there: what happens now is another alert")
        .field_path(".spec.resolution")
)]
#[serde(rename_all = "camelCase")]
pub struct AlertSpec {
    /// The `Asset`.
    pub asset_ref: LocalReference,
    /// The Site where the asset is. Alerts from before there were roles at sites name none: those of the whole project answer them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_ref: Option<LocalReference>,
    /// Its position.
    #[schemars(length(max = 63))]
    pub position: String,
    /// The sensor that measured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<AlertSensor>,
    /// `Warning` or `Alarm`: what it was at first.
    pub level: MachineState,
    /// When it was raised (RFC 3339).
    pub raised_at: Time,
    /// What was measured, and what is normal, in words.
    #[schemars(length(max = 500))]
    pub cause: String,
    /// `true` says that somebody has taken it on. It stays so.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self || !oldSelf")
        .message("spec.acknowledged stays true once it is: resolve the alert instead"))]
    pub acknowledged: bool,
    /// What it was and what was done: resolves the alert. It stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("spec.resolution is fixed: what happens now is another alert"))]
    pub resolution: Option<Resolution>,
}

/// The sensor that measured it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertSensor {
    /// Name of its `DeviceInstance`.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its id, 14 letters and digits.
    pub device_instance_id: ResourceId,
}

/// What it was and what was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// How the machine failed.
    pub failure_mode: FailureMode,
    /// Why.
    pub failure_cause: FailureCause,
    /// What was done.
    pub action: MaintenanceAction,
    /// Whether the alert was right: something was wrong with the machine.
    pub alert_was_right: bool,
    /// More about it. At most 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub notes: Option<String>,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Raised`, `Acknowledged` or `Resolved`.
    #[serde(default)]
    pub phase: AlertPhase,
    /// The state of the position as it was known last, until the alert is resolved; left out while it is `spec.level`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MachineState>,
    /// The worst that it was, when that is worse than `spec.level`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<MachineState>,
    /// When the operator saw that it was acknowledged (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Time>,
    /// When the operator saw that it was resolved (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Time>,
    /// What happened to it, oldest first, at most 32. Events are made of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub transitions: Vec<AlertTransition>,
    /// `Ready`, `Active` (the state is still abnormal), `Acknowledged`, `Resolved`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

impl Alert {
    /// The state of its position as it was known last.
    pub fn state(&self) -> MachineState {
        self.status.as_ref().and_then(|status| status.state).unwrap_or(self.spec.level)
    }

    /// The worst that it was.
    pub fn worst(&self) -> MachineState {
        self.status.as_ref().and_then(|status| status.worst).unwrap_or(self.spec.level)
    }

    /// Whether somebody said what it was.
    pub fn is_resolved(&self) -> bool {
        self.spec.resolution.is_some()
    }
}
