//! Pure: enrollments, recognitions and the list of enrolled users, as devices speak of them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeviceText;
use crate::people::{BadgeNumber, Consent, EnrollmentFailure, Palm, RecognitionFailure};

/// `POST` [`EnrollmentRequest`] → [`EnrollmentResponse`].
pub const ENROLLMENT_PATH: &str = "/v1/enrollments";
/// `POST` [`RecognitionRequest`] → [`RecognitionResponse`].
pub const RECOGNITION_PATH: &str = "/v1/recognitions";
/// `GET` with [`UserListQuery`] → [`UserList`].
pub const USER_LIST_PATH: &str = "/v1/users";

/// Most people on one page of a [`UserList`].
pub const MAX_USERS_PER_PAGE: usize = 200;

/// Most palms that one enrollment brings: both hands.
pub const MAX_PALMS: usize = 2;

/// How an enrollment at an Enrollment device ended. The device sends it again, with the same sequence, until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrollmentRequest {
    /// Counts what the device tells of people, enrollments and recognitions together, from 1, in the life of its association.
    pub sequence: u64,
    /// When it ended, by the device's clock (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// How.
    pub outcome: EnrollmentOutcome,
}

/// How an enrollment ended at the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum EnrollmentOutcome {
    /// All steps were taken: the gateway has the last word.
    Completed {
        /// The badge that was scanned.
        badge_number: BadgeNumber,
        /// What the person agreed to.
        consent: Consent,
        /// One or two palms, of different hands.
        palms: Vec<Palm>,
    },
    /// The gateway has enrolled the person already and not acknowledged it: so the palms need not stay with the device until it does.
    Enrolled {
        /// [`EnrollmentResponse::user`].
        user: DeviceText,
        /// The badge that was scanned.
        badge_number: BadgeNumber,
    },
    /// A step failed, or the gateway refused and has not acknowledged it.
    Failed {
        /// Which one, and how.
        reason: EnrollmentFailure,
        /// The badge, if it was scanned by then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        badge_number: Option<BadgeNumber>,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentResponse {
    /// The event is delivered, and the device may forget it; otherwise it asks again later.
    pub acknowledged: bool,
    /// Name of the enrolled user, when the person is enrolled now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<DeviceText>,
    /// Why the person is not enrolled, when all steps were taken and the gateway refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<EnrollmentFailure>,
}

/// A palm at an Entry device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecognitionRequest {
    /// Counts what the device tells of people, as in [`EnrollmentRequest`].
    pub sequence: u64,
    /// When the palm was presented, by the device's clock (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// What is asked or told.
    pub palm: PalmPresented,
}

/// What a device asks or tells of a palm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum PalmPresented {
    /// Whose palm is this?
    Ask {
        /// The palm.
        palm: Palm,
    },
    /// The device recognised this person by its own list, as it could not ask.
    Recognized {
        /// Name of the enrolled user.
        user: DeviceText,
    },
    /// The device decided by itself that nobody is recognised, or could not read the palm.
    NotRecognized {
        /// Why.
        reason: RecognitionFailure,
    },
}

/// Whose palm it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecognitionResponse {
    /// The event is delivered, and the device may forget it; otherwise it tells again later, with the same sequence, as
    /// [`PalmPresented::Recognized`] or [`PalmPresented::NotRecognized`].
    pub acknowledged: bool,
    /// Who was recognised. The device sends the badge number to the door controller, which decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recognized: Option<RecognizedUser>,
    /// Why nobody was, when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RecognitionFailure>,
}

/// Who was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecognizedUser {
    /// Name of the enrolled user.
    pub user: DeviceText,
    /// For the door controller.
    pub badge_number: BadgeNumber,
}

/// What of the list of enrolled users a device asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserListQuery {
    /// The revision that it holds; none for all of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DeviceText>,
    /// [`UserList::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeviceText>,
}

/// The list of enrolled users, or what changed in it, page by page. It counts for the device when the last page is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserList {
    /// What the device holds after this page, if it is the last.
    pub revision: DeviceText,
    /// The list starts anew: what the device holds and what is not on these pages is to be forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// Who was enrolled.
    pub users: Vec<ListedUser>,
    /// Names of those to be forgotten, at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<DeviceText>,
    /// There is another page: ask with the same `since` and this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<DeviceText>,
}

/// A person on a device's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedUser {
    /// Name of the enrolled user.
    pub user: DeviceText,
    /// For the door controller.
    pub badge_number: BadgeNumber,
    /// The palms.
    pub palms: Vec<Palm>,
}
