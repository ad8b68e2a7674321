//! Enrollments: the device took all steps with a person, and the gateway has the last word. One that succeeds is one write.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use fleetform_crds::EnrolledUser;
use fleetform_crds::condition::whole_second;
use fleetform_crds::enrolled_user::{EnrolledUserSpec, EnrollmentSource, UN_ENROLLMENT_FINALIZER};
use fleetform_domain::configuration::OperationMode;
use fleetform_domain::event::Occasion;
use fleetform_domain::people::{BadgeNumber, Consent, EnrollmentFailure, Palm};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{DeviceText, EnrollmentOutcome, EnrollmentRequest, EnrollmentResponse, MAX_PALMS};

use super::people::{Teller, is_reader, serves};
use super::{Gateway, consent, live};
use crate::cache::{Found, Name};
use crate::error::{Class, Error};
use crate::people::{Profile, user_name};
use crate::server::{Json, Peer, Refusal};

/// How an enrollment ended, as the gateway decided: the name of the enrolled user, or why the person is none.
pub(super) type Decision = Result<String, EnrollmentFailure>;

/// All that an enrollment brings.
struct Candidate {
    consent: Consent,
    profile: Profile,
}

/// `POST /v1/enrollments`.
pub(super) async fn enroll(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<EnrollmentRequest>,
) -> Result<Answer<EnrollmentResponse>, Refusal> {
    gateway.enroll(&peer, request).await.map(Answer)
}

/// What no schema says of an enrollment.
fn checked(consent: &Consent, palms: &[Palm]) -> Result<(), Refusal> {
    let hands: BTreeSet<_> = palms.iter().map(|palm| palm.hand).collect();
    if !(1..=MAX_PALMS).contains(&palms.len()) || hands.len() != palms.len() {
        return Err(Refusal::malformed("outcome.palms: one or two, of different hands"));
    }
    DeviceText::try_from(consent.version.as_str())
        .map_err(|wrong| Refusal::malformed(format!("outcome.consent.version: {wrong}")))?;
    Ok(())
}

impl Gateway {
    async fn enroll(&self, peer: &Peer, request: EnrollmentRequest) -> Result<EnrollmentResponse, Refusal> {
        let identity = self.identify(peer)?;
        let device = self.trusted(&identity).await?;
        let now = self.context.clock.now();
        let teller = Teller::new(&device, &identity, request.sequence, request.time, now)?;
        let (badge, decision) = match request.outcome {
            EnrollmentOutcome::Failed { .. } | EnrollmentOutcome::Enrolled { .. }
                if !is_reader(&device, OperationMode::Enrollment) =>
            {
                return Err(Refusal::new(ProblemCode::NotFound, "people enroll at Enrollment devices"));
            }
            EnrollmentOutcome::Failed { reason, badge_number } => (badge_number, Err((reason, false))),
            EnrollmentOutcome::Enrolled { user, badge_number } => {
                let project = self.project_of(&Name::of(&*device).namespace)?;
                if user_name(&self.context.activation_key, &project, &badge_number) != user.as_str() {
                    return Err(Refusal::malformed(
                        "outcome.user: it is not the name that was answered for this badge",
                    ));
                }
                (Some(badge_number), Ok(user.to_string()))
            }
            EnrollmentOutcome::Completed { badge_number, consent, palms } => {
                checked(&consent, &palms)?;
                let candidate = Candidate { consent, profile: Profile { badge_number: badge_number.clone(), palms } };
                let decision = self.decide(&teller, candidate).await?;
                (Some(badge_number), decision.map_err(|reason| (reason, true)))
            }
        };
        let occasion =
            decision.as_ref().map_or_else(|(reason, _)| Occasion::NotEnrolled(*reason), |_| Occasion::Enrolled);
        let acknowledged = self.event(&teller, badge.as_ref(), occasion).await;
        self.context.metrics.enrollment(decision.as_ref().map_or_else(|(reason, _)| reason.as_str(), |_| "enrolled"));
        Ok(match decision {
            Ok(user) => EnrollmentResponse { acknowledged, user: DeviceText::try_from(user).ok(), refused: None },
            Err((reason, ours)) => EnrollmentResponse { acknowledged, user: None, refused: ours.then_some(reason) },
        })
    }

    /// Decides, once for each enrollment that a device tells of. One after the other in a project, so that two desks cannot enroll one
    /// palm at the same time.
    async fn decide(&self, teller: &Teller<'_>, candidate: Candidate) -> Result<Decision, Refusal> {
        let namespace = Name::of(teller.device).namespace;
        let _alone = self.desks.lock(&namespace).await;
        let badge = candidate.profile.badge_number.clone();
        if let Some((whose, decided)) = self.decided.lock().get(&teller.event) {
            if *whose == badge {
                return Ok(decided.clone().and_then(|name| self.still(&namespace, name)));
            }
            // As a device does whose disk was put back or copied.
            self.complain(&format!(
                "{} tells of two people with one sequence: was its disk restored or copied?",
                Name::of(teller.device)
            ));
            return Err(Refusal::malformed("sequence: it was told of somebody else; count on"));
        }
        let decision = self.decide_anew(teller, &namespace, candidate).await?;
        self.decided.lock().put(teller.event, (badge, decision.clone()));
        Ok(decision)
    }

    /// What was decided, unless the person was deleted since.
    fn still(&self, namespace: &str, name: String) -> Decision {
        let user = self.context.world.users.get(&Name::new(namespace, &name));
        let is_leaving = user.is_none_or(|user| user.metadata.deletion_timestamp.is_some());
        if is_leaving { Err(EnrollmentFailure::UnEnrollmentInProgress) } else { Ok(name) }
    }

    fn is_valid(&self, agreed: &Consent, teller: &Teller<'_>) -> bool {
        let checked = consent::check(agreed, teller);
        if let Err(why) = checked {
            self.complain(&format!("{}: {why}", Name::of(teller.device)));
        }
        checked.is_ok()
    }

    /// UID of the project, which names and seals go by.
    fn project_of(&self, namespace: &str) -> Result<String, Refusal> {
        match self.context.world.project(namespace) {
            Found::Here(project) => Ok(project.metadata.uid.clone().unwrap_or_default()),
            Found::Unreadable(why) => {
                Err(self.not_served(&Error::Unreadable { what: format!("the Project of {namespace}"), why }))
            }
            Found::Absent => Err(Refusal::unavailable("the device belongs to no project just now; ask again")),
        }
    }

    async fn decide_anew(&self, teller: &Teller<'_>, namespace: &str, new: Candidate) -> Result<Decision, Refusal> {
        let context = &self.context;
        let project = self.project_of(namespace)?;
        let badge = &new.profile.badge_number;
        let name = Name::new(namespace, user_name(&context.activation_key, &project, badge));
        let there = context.world.users.find(&name);
        match there {
            Found::Here(user) if is_of(&user, teller) => return Ok(taken(&user, teller, &name)),
            _ if !serves(teller.device, OperationMode::Enrollment) => {
                return Ok(Err(EnrollmentFailure::NotAnEnrollmentDevice));
            }
            _ if !self.is_valid(&new.consent, teller) => return Ok(Err(EnrollmentFailure::ConsentNotValid)),
            Found::Here(user) => return Ok(taken(&user, teller, &name)),
            // It keeps its place.
            Found::Unreadable(_) => return Ok(Err(EnrollmentFailure::BadgeAlreadyEnrolled)),
            Found::Absent => {}
        }
        let keys = self.opened(namespace)?;
        if context.people.is_enrolled(namespace, &new.profile.palms) {
            return Ok(Err(EnrollmentFailure::PalmAlreadyEnrolled));
        }
        let sealed = new.profile.seal(&keys, &name.name, context.clock.random());
        let user = stored(teller, &name, badge, new.consent, sealed);
        match context.executor.create_user(&user).await {
            Ok(()) => {
                context.people.take(&context.world, &name);
                tracing::info!(user = %name, device = %Name::of(teller.device), "a person is enrolled");
                Ok(Ok(name.name))
            }
            // The cache is late.
            Err(error) if error.class() == Class::Conflict => {
                let there = live::user(&context.client, &name).await.map_err(|error| self.not_served(&error))?;
                let there = there.ok_or_else(|| Refusal::unavailable("the badge is being released; ask again"))?;
                Ok(taken(&there, teller, &name))
            }
            Err(error) if error.class() == Class::Refused => {
                self.complain(&format!("{}: {error}", Name::of(teller.device)));
                Ok(Err(EnrollmentFailure::SystemError))
            }
            Err(error) => Err(self.not_served(&error)),
        }
    }
}

/// Whether the user was made by this very enrollment, which is told of again.
fn is_of(user: &EnrolledUser, teller: &Teller<'_>) -> bool {
    user.spec.event_id == teller.event.to_string()
}

/// What it means that there is a user of this badge.
fn taken(user: &EnrolledUser, teller: &Teller<'_>, name: &Name) -> Decision {
    if user.metadata.deletion_timestamp.is_some() {
        Err(EnrollmentFailure::UnEnrollmentInProgress)
    } else if is_of(user, teller) {
        Ok(name.name.clone())
    } else {
        Err(EnrollmentFailure::BadgeAlreadyEnrolled)
    }
}

fn stored(teller: &Teller<'_>, name: &Name, badge: &BadgeNumber, consent: Consent, sealed: String) -> EnrolledUser {
    // The device's clock may be a little ahead.
    let consent = Consent { given_at: consent.given_at.min(teller.time), ..consent };
    let spec = EnrolledUserSpec {
        badge_last_four: badge.last_four().to_owned(),
        source: EnrollmentSource { name: Name::of(teller.device).name, device_instance_id: teller.id().clone() },
        enrolled_at: whole_second(teller.time),
        consent,
        event_id: teller.event.to_string(),
        sealed_profile: sealed,
    };
    let mut user = EnrolledUser::new(&name.name, spec);
    user.metadata.namespace = Some(name.namespace.clone());
    user.metadata.finalizers = Some(vec![UN_ENROLLMENT_FINALIZER.to_owned()]);
    user
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::fixtures::palm;
    use fleetform_domain::people::Hand;

    #[test]
    fn palms_are_one_or_two_of_different_hands_and_a_consent_has_a_version() {
        let consent = |version: &str| Consent { version: version.into(), given_at: jiff::Timestamp::UNIX_EPOCH };
        let (left, right) = (palm(1, Hand::Left), palm(1, Hand::Right));
        assert!(checked(&consent("2026-01"), &[left.clone(), right.clone()]).is_ok());
        for palms in [vec![], vec![left.clone(), palm(2, Hand::Left)], vec![left.clone(), right, palm(2, Hand::Right)]]
        {
            assert!(checked(&consent("1"), &palms).unwrap_err().detail.starts_with("outcome.palms"));
        }
        for version in ["", "a b"] {
            let refusal = checked(&consent(version), std::slice::from_ref(&left)).unwrap_err();
            assert!(refusal.detail.starts_with("outcome.consent.version"), "{}", refusal.detail);
        }
    }
}
