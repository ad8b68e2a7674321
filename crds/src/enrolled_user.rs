//! `EnrolledUser`: a person who enters by their palm. Made by the gateway; people only delete it.

use fleetform_domain::id::ResourceId;
use fleetform_domain::people::Consent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Finalizer that keeps a person who was deleted until every device has forgotten them.
pub const UN_ENROLLMENT_FINALIZER: &str = "fleetform.dev/un-enrollment";

/// Annotation on a deleted `EnrolledUser` that gives up on the devices that have not confirmed; its value says why.
pub const ABANDON_ANNOTATION: &str = "fleetform.dev/abandon";

/// Most devices that a status names that have yet to forget a person.
pub const MAX_PENDING_DEVICES: usize = 64;

/// A person who is enrolled with palm and badge.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "EnrolledUser",
    plural = "enrolledusers",
    shortname = "eu",
    category = "fleetform",
    namespaced,
    status = "EnrolledUserStatus",
    derive = "PartialEq",
    doc = "A person who is enrolled with palm and badge. Made by the gateway when somebody enrolls at an Enrollment device; delete it to un-enroll the person everywhere.",
    printcolumn(name = "Badge", type_ = "string", json_path = ".spec.badgeLastFour"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source.name"),
    printcolumn(name = "Enrolled", type_ = "date", json_path = ".spec.enrolledAt"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Pending devices", type_ = "integer", json_path = ".status.unEnrollment.pendingDeviceCount"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(FIXED_RULE)
        .message("the spec of an EnrolledUser is fixed: delete it, and let the person enroll again")
        .field_path(".spec")
)]
#[serde(rename_all = "camelCase")]
pub struct EnrolledUserSpec {
    /// The last four digits of the badge's number, fewer of a short one. All of them are shown by the portal to who may `get`
    /// `enrolledusers/profile`.
    #[schemars(length(max = 4))]
    pub badge_last_four: String,
    /// The device that the person enrolled at.
    pub source: EnrollmentSource,
    /// When (RFC 3339).
    pub enrolled_at: Time,
    /// What the person agreed to, and when.
    pub consent: Consent,
    /// Id of the event of the enrollment.
    #[schemars(length(max = 36))]
    pub event_id: String,
    /// Badge number and palms, sealed with a data key of the project: Base64 that says nothing without it. When the key changes, the
    /// operator seals them again.
    #[schemars(length(max = 8192))]
    pub sealed_profile: String,
}

/// All is fixed but how it is sealed, which the operator alone may change.
const FIXED_RULE: &str = "self.spec.badgeLastFour == oldSelf.spec.badgeLastFour && self.spec.source == oldSelf.spec.source && \
    self.spec.enrolledAt == oldSelf.spec.enrolledAt && self.spec.consent == oldSelf.spec.consent && \
    self.spec.eventId == oldSelf.spec.eventId";

/// The device that a person enrolled at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentSource {
    /// Name of its `DeviceInstance` at that time.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its id, 14 letters and digits.
    pub device_instance_id: ResourceId,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrolledUserStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far the removal from devices is, once the person was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub un_enrollment: Option<UnEnrollmentStatus>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// How far the removal of a person from devices is. When it is done, the object is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnEnrollmentStatus {
    /// Devices that have yet to confirm that they have forgotten the person.
    #[serde(default)]
    pub pending_device_count: i64,
    /// Names of these device instances, if there are at most 64; none when there are more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub pending_devices: Vec<String>,
    /// How it ended. The event that tells of it has yet to be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnEnrollmentEnd>,
}

/// How the removal of a person from devices ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnEnrollmentEnd {
    /// When.
    pub at: Time,
    /// Whether devices that may still know the person are no longer waited for.
    pub abandoned: bool,
}
