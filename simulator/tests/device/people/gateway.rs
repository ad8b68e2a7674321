//! A gateway that knows people, and can be made to lose answers, to be away, or to be of another opinion.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fleetform_domain::people::{EnrollmentFailure, RecognitionFailure};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    CheckInRequest, CheckInResponse, DeviceConfiguration, DeviceText, EnrollmentRequest, EnrollmentResponse,
    PalmPresented, RecognitionRequest, RecognitionResponse, RecognizedUser, UserList,
};
use fleetform_simulator::device::Device;
use fleetform_simulator::people::Person;
use fleetform_simulator::storage::Storage;
use serde_json::{Value, json};

use super::super::support::{self, Authority, Reply, Seen, Server, gateway, good, refuse};

/// What the gateway makes of requests about people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// It hears, does and acknowledges.
    #[default]
    Good,
    /// It hears and does, and its answer is lost.
    LosesAnswers,
    /// It hears and does, and its events are not delivered yet.
    DoesNotAcknowledge,
    /// It can do nothing just now.
    Unavailable,
    /// It does not understand.
    Malformed,
    /// The association is over.
    Gone,
}

/// What the gateway was told and is to say.
#[derive(Default)]
pub(super) struct Gateway {
    pub(super) mood: Mutex<Mood>,
    /// Why nobody is enrolled.
    pub(super) refuses: Mutex<Option<EnrollmentFailure>>,
    /// Who is enrolled.
    pub(super) people: Mutex<Vec<Person>>,
    /// What was told of enrollments and recognitions, in order, repeats included.
    pub(super) enrollments: Mutex<Vec<EnrollmentRequest>>,
    pub(super) recognitions: Mutex<Vec<RecognitionRequest>>,
    pub(super) reports: Mutex<Vec<CheckInRequest>>,
    pub(super) out_of_service: Mutex<bool>,
    /// The list's revision that check-ins name.
    pub(super) revision: Mutex<Option<DeviceText>>,
    /// The pages of the list by `since` and `after`; the line breaks where there is none.
    pub(super) pages: Mutex<BTreeMap<String, UserList>>,
    configuration: Mutex<Value>,
}

pub(super) fn name_of(person: &Person) -> DeviceText {
    // Not the operator's way; a name that gives no badge away all the same.
    let mark = person.badge().value().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("eu-{mark:016x}").try_into().unwrap()
}

impl Gateway {
    /// One whose devices are configured so.
    pub(super) fn new(configuration: Value) -> Arc<Self> {
        Arc::new(Self { configuration: Mutex::new(configuration), ..Self::default() })
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The sequences of what was told, repeats included.
    pub(super) fn sequences(&self) -> Vec<u64> {
        self.recognitions.lock().unwrap().iter().map(|told| told.sequence).collect()
    }

    /// What the last check-in said.
    pub(super) fn report(&self) -> CheckInRequest {
        self.reports.lock().unwrap().last().unwrap().clone()
    }

    pub(super) fn failed_checks(&self) -> Vec<String> {
        self.report().failed_health_checks.iter().map(ToString::to_string).collect()
    }

    fn in_mood(&self, answer: Reply) -> Reply {
        match *self.mood.lock().unwrap() {
            Mood::Good | Mood::DoesNotAcknowledge => answer,
            Mood::LosesAnswers => Reply::HangUp,
            Mood::Unavailable => refuse(ProblemCode::Unavailable),
            Mood::Malformed => refuse(ProblemCode::MalformedRequest),
            Mood::Gone => refuse(ProblemCode::AssociationEnded),
        }
    }

    fn enroll(&self, request: EnrollmentRequest) -> Reply {
        let acknowledged = *self.mood.lock().unwrap() != Mood::DoesNotAcknowledge;
        let refused = *self.refuses.lock().unwrap();
        let is_complete = matches!(request.outcome, fleetform_domain::wire::EnrollmentOutcome::Completed { .. });
        let user = (is_complete && refused.is_none()).then(|| "eu-1".try_into().unwrap());
        self.enrollments.lock().unwrap().push(request);
        self.in_mood(good(&EnrollmentResponse { acknowledged, user, refused: refused.filter(|_| is_complete) }))
    }

    fn recognise(&self, request: RecognitionRequest) -> Reply {
        let acknowledged = *self.mood.lock().unwrap() != Mood::DoesNotAcknowledge;
        let (mut recognized, mut reason) = (None, None);
        if let PalmPresented::Ask { palm } = &request.palm {
            let people = self.people.lock().unwrap();
            let near = |person: &&Person| person.look(palm.hand, 0).code.distance(&palm.code) < 655;
            match people.iter().find(near) {
                Some(person) => {
                    recognized = Some(RecognizedUser { user: name_of(person), badge_number: person.badge() });
                }
                None => reason = Some(RecognitionFailure::PalmNotRecognized),
            }
        }
        self.recognitions.lock().unwrap().push(request);
        self.in_mood(good(&RecognitionResponse { acknowledged, recognized, reason }))
    }

    fn answer(&self, seen: &Seen) -> Option<Reply> {
        let path = seen.path.split('?').next().unwrap();
        Some(match path {
            "/v1/activations/lookup" | "/v1/activations" => return None,
            "/v1/configuration/1" => good(&self.configuration()),
            "/v1/check-in" => {
                self.reports.lock().unwrap().push(serde_json::from_slice(&seen.body).unwrap());
                if *self.mood.lock().unwrap() == Mood::Gone {
                    return Some(refuse(ProblemCode::AssociationEnded));
                }
                good(&CheckInResponse {
                    out_of_service: *self.out_of_service.lock().unwrap(),
                    enrolled_users_revision: self.revision.lock().unwrap().clone(),
                    ..gateway::content(1)
                })
            }
            "/v1/enrollments" => self.enroll(serde_json::from_slice(&seen.body).unwrap()),
            "/v1/recognitions" => self.recognise(serde_json::from_slice(&seen.body).unwrap()),
            "/v1/users" => {
                let query = seen.path.strip_prefix("/v1/users").unwrap();
                self.pages.lock().unwrap().get(query).map_or(Reply::HangUp, good)
            }
            other => panic!("{other} is asked of nobody"),
        })
    }

    fn configuration(&self) -> DeviceConfiguration {
        let mut whole = json!({ "version": 1, "arn": "", "deviceInstanceName": "Door", "maximumOfflineMinutes": 60 });
        let own = self.configuration.lock().unwrap().clone();
        whole.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    /// Where it listens, and the code of a device.
    pub(super) async fn open(self: &Arc<Self>) -> (Server, String) {
        let authority = Arc::new(Authority::new());
        let own = self.clone();
        let server = gateway::open(&authority, move |seen| own.answer(seen)).await;
        let code = server.code(&authority.pin);
        (server, code)
    }

    /// An active device with this disk.
    pub(super) async fn device(self: &Arc<Self>, storage: &Arc<impl Storage + 'static>) -> (Device, Server) {
        let (server, code) = self.open().await;
        let mut device = support::device(storage).await;
        device.scan_text(&code).unwrap();
        device.activate("98104").await.unwrap();
        (device, server)
    }
}
