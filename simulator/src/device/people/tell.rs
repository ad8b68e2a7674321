//! What the gateway is told of people: kept on the disk with its sequence, and told until it is acknowledged.

use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    ENROLLMENT_PATH, EnrollmentOutcome, EnrollmentRequest, EnrollmentResponse, RECOGNITION_PATH, RecognitionResponse,
};

use super::Gap;
use crate::device::{Device, DeviceError};
use crate::storage::{PeopleRecord, Untold};
use crate::transport::{Question, Refusal, TransportError};

/// What the gateway said to it.
#[derive(Debug)]
pub(super) struct Told {
    /// The device may forget it.
    pub(super) acknowledged: bool,
    /// What became of an enrollment.
    pub(super) enrollment: Option<EnrollmentResponse>,
}

/// Whether what failed so cannot have reached the gateway.
pub(super) fn never_arrived(error: &DeviceError) -> bool {
    use TransportError as T;
    matches!(
        error,
        DeviceError::Transport(
            T::NoNetwork | T::Address(_) | T::Unreachable { .. } | T::TimedOut("connecting" | "handshake")
        )
    )
}

/// Whether the gateway will never take this, however often it is told.
fn is_refused_for_good(error: &DeviceError) -> bool {
    let refused = [ProblemCode::MalformedRequest, ProblemCode::BodyTooLarge];
    matches!(error, DeviceError::Refused(Refusal { code: Some(code), .. }) if refused.contains(code))
}

impl Device {
    /// Keeps something with the next sequence. It is on the disk before anybody hears of it, so that no sequence is given twice.
    pub(super) async fn keep(&mut self, make: impl FnOnce(u64) -> Untold) -> Result<Untold, DeviceError> {
        let mut kept = None;
        let mut now = PeopleRecord::default();
        let rewritten = self
            .rewrite(|committed| {
                kept = Some(committed.people.keep(make).clone());
                now.clone_from(&committed.people);
            })
            .await;
        match (rewritten, kept) {
            (Ok(()), Some(kept)) => {
                self.people.note_untold(&now);
                if now.lost > 0 {
                    self.people.gap = Gap::Unreported;
                }
                Ok(kept)
            }
            (Err(error), _) => {
                // What cannot be kept is lost, and that is said too.
                self.people.gap = Gap::Unreported;
                Err(error)
            }
            (Ok(()), None) => Err(self.out_of_turn("keep anything")),
        }
    }

    /// What is kept turned out otherwise.
    pub(super) async fn amend_untold(&mut self, now: Untold) -> Result<(), DeviceError> {
        self.change_untold(|people| people.amend(now)).await
    }

    /// What the gateway decided about an enrollment stays decided, whatever becomes of others before it acknowledges that; and the
    /// palms do not stay on the disk.
    pub(super) async fn note_decision(&mut self, kept: Untold, answer: &EnrollmentResponse) -> Result<(), DeviceError> {
        let Untold::Enrollment(EnrollmentRequest { sequence, time, outcome }) = kept else { return Ok(()) };
        let EnrollmentOutcome::Completed { badge_number, .. } = outcome else { return Ok(()) };
        let outcome = match (&answer.user, answer.refused) {
            (Some(user), _) => EnrollmentOutcome::Enrolled { user: user.clone(), badge_number },
            (None, Some(reason)) => EnrollmentOutcome::Failed { reason, badge_number: Some(badge_number) },
            (None, None) => return Ok(()),
        };
        self.amend_untold(Untold::Enrollment(EnrollmentRequest { sequence, time, outcome })).await
    }

    /// The gateway has acknowledged what has these sequences.
    pub(super) async fn settle_untold(&mut self, sequences: &[u64]) -> Result<(), DeviceError> {
        self.change_untold(|people| people.settle(sequences)).await
    }

    async fn change_untold(&mut self, change: impl FnOnce(&mut PeopleRecord)) -> Result<(), DeviceError> {
        let mut now = PeopleRecord::default();
        self.rewrite(|committed| {
            change(&mut committed.people);
            now.clone_from(&committed.people);
        })
        .await?;
        self.people.note_untold(&now);
        Ok(())
    }

    /// Tells the gateway.
    pub(super) async fn tell(&mut self, untold: &Untold) -> Result<Told, DeviceError> {
        match untold {
            Untold::Enrollment(message) => {
                let answer: EnrollmentResponse = self.ask(&Question::post_json(ENROLLMENT_PATH, message)).await?;
                Ok(Told { acknowledged: answer.acknowledged, enrollment: Some(answer) })
            }
            Untold::Recognition(message) => {
                let answer: RecognitionResponse = self.ask(&Question::post_json(RECOGNITION_PATH, message)).await?;
                Ok(Told { acknowledged: answer.acknowledged, enrollment: None })
            }
        }
    }

    /// Tells the gateway what it has not acknowledged yet, in the order in which it happened. What is not acknowledged now is told
    /// again after the next check-in.
    pub(in crate::device) async fn tell_untold(&mut self) -> Result<(), DeviceError> {
        match self.tell_and_forget().await {
            Err(error @ DeviceError::AssociationEnded) => Err(error),
            Err(error) => {
                tracing::debug!(device = %self.asset_tag, %error, "what was told of people is told again");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn tell_and_forget(&mut self) -> Result<(), DeviceError> {
        if self.people.untold > 0 {
            self.tell_all().await?;
        }
        if self.people.untold == 0 && self.people.gap == Gap::Reported {
            self.rewrite(|committed| committed.people.lost = 0).await?;
            self.people.gap = Gap::None;
        }
        Ok(())
    }

    async fn tell_all(&mut self) -> Result<(), DeviceError> {
        let (mut settled, mut lost) = (Vec::new(), 0);
        for untold in self.people_record().await?.untold {
            match self.tell(&untold).await {
                Ok(Told { acknowledged: true, .. }) => settled.push(untold.sequence()),
                Err(error) if is_refused_for_good(&error) => {
                    settled.push(untold.sequence());
                    lost += 1;
                }
                Err(error @ DeviceError::AssociationEnded) => return Err(error),
                Ok(Told { enrollment: Some(answer), .. }) => {
                    self.note_decision(untold, &answer).await?;
                    break;
                }
                Ok(_) | Err(_) => break,
            }
        }
        if !settled.is_empty() {
            self.settle_untold(&settled).await?;
        }
        if lost > 0 {
            self.people.gap = Gap::Unreported;
            self.rewrite(move |committed| committed.people.lost += lost).await?;
        }
        Ok(())
    }
}
