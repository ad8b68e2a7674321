//! Pure: events about people. They carry the badge number in full, as in the guides, and never anything of a palm.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Detail, Event, NAMESPACE, ONE, envelope, whole_seconds};
use crate::id::{Installation, ResourceId};
use crate::people::{BadgeNumber, EnrollmentFailure, RecognitionFailure};

/// Detail of an event about a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonDetail {
    /// Version of the detail: `1.0.0`.
    pub version: String,
    /// What happened.
    pub data: PersonData,
}

/// What happened to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonData {
    /// 12 digits.
    pub account_id: String,
    /// Where it was asked for.
    #[serde(flatten)]
    pub source: Source,
    /// RFC 3339 in whole seconds, UTC.
    pub created_timestamp: String,
    /// Whether the person is enrolled after it.
    pub user_status: UserStatus,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where it was asked for and whose badge it is. A successful enrollment names both differently than all else; so do the guides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Source {
    /// Of a successful enrollment.
    Enrollment {
        /// Id of the device instance.
        enrollment_source: String,
        /// JSON in a string: a list of ids.
        associated_ids: String,
    },
    /// Of all else.
    Request {
        /// Id of the device instance, or the id of the project for what was asked of the API server.
        request_source: String,
        /// JSON in a string: one id; not there when nobody is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        associated_id: Option<String>,
    },
}

/// Whether a person is enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UserStatus {
    /// The person is.
    Active,
    /// The person is not, or no longer.
    Deleted,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody is enrolled.
    Enrolled,
    /// Somebody is not enrolled, because of this.
    NotEnrolled(EnrollmentFailure),
    /// Everybody and everything has forgotten somebody.
    UnEnrolled,
    /// Devices may still know somebody who was to be forgotten, and are no longer waited for.
    NotUnEnrolled,
    /// Somebody was recognised.
    Recognized,
    /// Nobody was recognised, because of this.
    NotRecognized(RecognitionFailure),
}

/// Whom it happened to, where and when.
#[derive(Clone, Debug)]
pub struct Person<'a> {
    /// Id of the event.
    pub id: Uuid,
    /// When.
    pub time: Timestamp,
    /// Id of the device instance where it was asked for; of the project for what was asked of the API server.
    pub source: &'a ResourceId,
    /// The badge, if it is known.
    pub badge: Option<&'a BadgeNumber>,
}

/// The id of the event that a device tells of under this sequence, in the life of this association.
pub fn person_event_id(association: &str, sequence: u64) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{association}/person/{sequence}").as_bytes())
}

/// The id of the event that tells of the end of an enrollment: of the `EnrolledUser` with this UID.
pub fn un_enrollment_event_id(uid: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{uid}/un-enrollment").as_bytes())
}

/// The event that tells of it. The same for the same fact.
pub fn person_event(here: &Installation, person: &Person<'_>, occasion: Occasion) -> Event {
    let associated =
        |badge: &BadgeNumber| serde_json::json!({ "associatedIdType": "badge", "associatedIdValue": badge.as_str() });
    let source = match occasion {
        Occasion::Enrolled => Source::Enrollment {
            enrollment_source: person.source.to_string(),
            associated_ids: serde_json::Value::from_iter(person.badge.map(associated)).to_string(),
        },
        _ => Source::Request {
            request_source: person.source.to_string(),
            associated_id: person.badge.map(|badge| associated(badge).to_string()),
        },
    };
    let (detail_type, user_status, reason) = match occasion {
        Occasion::Enrolled => ("New Successful Enrollment", UserStatus::Active, None),
        Occasion::NotEnrolled(why) => {
            // Whoever has the badge is and stays enrolled.
            let enrolled = matches!(why, EnrollmentFailure::BadgeAlreadyEnrolled);
            let status = if enrolled { UserStatus::Active } else { UserStatus::Deleted };
            ("Unsuccessful Enrollment", status, Some(why.as_str().to_owned()))
        }
        Occasion::UnEnrolled => ("New Successful Un-enrollment", UserStatus::Deleted, None),
        Occasion::NotUnEnrolled => {
            ("Unsuccessful Un-enrollment", UserStatus::Deleted, Some("DEVICES_NOT_CONFIRMED".to_owned()))
        }
        Occasion::Recognized => ("Successful Recognition", UserStatus::Active, None),
        Occasion::NotRecognized(why) => {
            ("Unsuccessful Recognition", UserStatus::Deleted, Some(why.as_str().to_owned()))
        }
    };
    let detail = PersonDetail {
        version: "1.0.0".into(),
        data: PersonData {
            account_id: here.account().into(),
            source,
            created_timestamp: whole_seconds(person.time),
            user_status,
            reason,
        },
    };
    envelope(here, person.id, ONE, detail_type, person.time, here.user_arn(), Detail::Person(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(occasion: Occasion, badge: Option<&str>) -> Event {
        let here = Installation::new("aws", "us-east-1", "679792848029").unwrap();
        let badge = badge.map(|badge| BadgeNumber::try_from(badge).unwrap());
        let person = Person {
            id: person_event_id("5e2e8ad4-6a1c-4f0e-9f43-0f8d2f0f4d11", 1),
            time: "2023-11-22T02:55:17.250Z".parse().unwrap(),
            source: &"QfUuUnFqs5accJ".parse().unwrap(),
            badge: badge.as_ref(),
        };
        person_event(&here, &person, occasion)
    }

    #[test]
    fn a_successful_enrollment_is_the_sample_of_the_guide() {
        let event = check(Occasion::Enrolled, Some("1111358294500"));
        let data = serde_json::to_value(&event).unwrap()["detail"]["data"].clone();
        assert_eq!(
            data["associatedIds"], r#"[{"associatedIdType":"badge","associatedIdValue":"1111358294500"}]"#,
            "the guide's very text"
        );
    }

    #[test]
    fn every_event_about_a_person_has_the_exact_envelope() {
        let badge = Some("1111358294500");
        for (name, event) in [
            ("new_successful_enrollment", check(Occasion::Enrolled, badge)),
            ("unsuccessful_enrollment", check(Occasion::NotEnrolled(EnrollmentFailure::ConsentDeclined), badge)),
            (
                "unsuccessful_enrollment_of_nobody",
                check(Occasion::NotEnrolled(EnrollmentFailure::BadgeNotReadable), None),
            ),
            ("new_successful_un_enrollment", check(Occasion::UnEnrolled, badge)),
            ("unsuccessful_un_enrollment", check(Occasion::NotUnEnrolled, badge)),
            ("successful_recognition", check(Occasion::Recognized, badge)),
            ("unsuccessful_recognition", check(Occasion::NotRecognized(RecognitionFailure::PalmNotRecognized), None)),
        ] {
            insta::assert_json_snapshot!(name, event);
        }
    }

    #[test]
    fn reasons_are_the_same_in_events_and_on_the_wire() {
        let names = |json: serde_json::Value| json.as_str().map(ToOwned::to_owned);
        for why in [EnrollmentFailure::BadgeNotReadable, EnrollmentFailure::NotAnEnrollmentDevice] {
            assert_eq!(names(serde_json::to_value(why).unwrap()).as_deref(), Some(why.as_str()));
        }
        for why in [RecognitionFailure::PalmNotRecognized, RecognitionFailure::GatewayUnreachable] {
            assert_eq!(names(serde_json::to_value(why).unwrap()).as_deref(), Some(why.as_str()));
        }
    }

    #[test]
    fn an_event_reads_back_as_itself() {
        for occasion in [Occasion::Enrolled, Occasion::NotRecognized(RecognitionFailure::Ambiguous)] {
            let event = check(occasion, Some("7"));
            assert_eq!(serde_json::from_str::<Event>(&serde_json::to_string(&event).unwrap()).unwrap(), event);
        }
    }
}
