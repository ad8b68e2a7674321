//! What the gateway is told of people: kept on the disk with its sequence, and told until it is acknowledged.

use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    ENROLLMENT_PATH, EnrollmentOutcome, EnrollmentRequest, EnrollmentResponse, RECOGNITION_PATH, RecognitionRequest,
    RecognitionResponse,
};

use super::vault::{Content, Vault};
use super::{Gap, Kept};
use crate::device::{Device, DeviceError};
use crate::storage::{Der, PeopleRecord, Untold};
use crate::transport::{Question, Refusal, TransportError};

/// Whether the gateway has acknowledged something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It has.
    Now,
    /// It has not: it is told again.
    NotYet,
    /// It never will, so it is lost.
    Never,
}

impl Heard {
    const fn of(acknowledged: bool) -> Self {
        if acknowledged { Self::Now } else { Self::NotYet }
    }
}

fn seal(vault: Option<&Vault>, message: &EnrollmentRequest) -> Option<Untold> {
    let sealed = vault?.seal(Content::Enrollment, message)?;
    let undecided = matches!(message.outcome, EnrollmentOutcome::Completed { .. });
    Some(Untold::Enrollment { sequence: message.sequence, undecided, sealed: Der(sealed) })
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
    /// Keeps something with the next sequence, which is answered. It is on the disk before anybody hears of it, so that no sequence is
    /// given twice.
    pub(super) async fn keep(&mut self, make: impl FnOnce(u64) -> Option<Untold>) -> Result<u64, DeviceError> {
        let (mut sequence, mut lost) = (0, 0);
        let kept = self
            .change_untold(|people| {
                people.keep(make);
                (sequence, lost) = (people.sequence, people.lost);
            })
            .await;
        if kept.is_err() || lost > 0 {
            // What cannot be kept is lost, and that is said too.
            self.people.gap = Gap::Unreported;
        }
        kept.map(|()| sequence)
    }

    /// Keeps how an enrollment ended, sealed.
    pub(super) async fn keep_enrollment(
        &mut self,
        outcome: EnrollmentOutcome,
    ) -> Result<EnrollmentRequest, DeviceError> {
        let (time, vault) = (self.time(), self.vault());
        let mut kept = None;
        self.keep(|sequence| {
            let message = EnrollmentRequest { sequence, time, outcome };
            let sealed = seal(vault.as_ref(), &message)?;
            kept = Some(message);
            Some(sealed)
        })
        .await?;
        kept.ok_or(DeviceError::Crypto("a seal"))
    }

    /// What is kept turned out otherwise.
    pub(super) async fn amend_untold(&mut self, now: Untold) -> Result<(), DeviceError> {
        self.change_untold(|people| people.amend(now)).await
    }

    /// What the gateway decided about an enrollment stays decided, whatever becomes of others before it acknowledges that; and the
    /// palms do not stay on the disk.
    pub(super) async fn note_decision(
        &mut self,
        kept: EnrollmentRequest,
        answer: &EnrollmentResponse,
    ) -> Result<(), DeviceError> {
        let EnrollmentRequest { sequence, time, outcome } = kept;
        let EnrollmentOutcome::Completed { badge_number, .. } = outcome else { return Ok(()) };
        let outcome = match (&answer.user, answer.refused) {
            (Some(user), _) => EnrollmentOutcome::Enrolled { user: user.clone(), badge_number },
            (None, Some(reason)) => EnrollmentOutcome::Failed { reason, badge_number: Some(badge_number) },
            (None, None) => return Ok(()),
        };
        let decided = seal(self.vault().as_ref(), &EnrollmentRequest { sequence, time, outcome });
        self.amend_untold(decided.ok_or(DeviceError::Crypto("a seal"))?).await
    }

    /// The gateway has acknowledged what has these sequences.
    pub(super) async fn settle_untold(&mut self, sequences: &[u64]) -> Result<(), DeviceError> {
        self.change_untold(|people| people.settle(sequences)).await
    }

    pub(super) async fn change_untold(&mut self, change: impl FnOnce(&mut PeopleRecord)) -> Result<(), DeviceError> {
        let mut now = Kept::default();
        self.rewrite(|committed| {
            change(&mut committed.people);
            now = Kept::of(&committed.people);
        })
        .await?;
        self.people.kept = now;
        Ok(())
    }

    /// Tells the gateway how an enrollment ended.
    pub(super) async fn tell_enrollment(
        &mut self,
        message: &EnrollmentRequest,
    ) -> Result<EnrollmentResponse, DeviceError> {
        self.ask(&Question::post_json(ENROLLMENT_PATH, message)).await
    }

    /// Tells the gateway something again; whether it is acknowledged now. What was decided meanwhile is noted.
    async fn tell(&mut self, untold: Untold) -> Result<Heard, DeviceError> {
        match untold {
            Untold::Enrollment { sealed, .. } => {
                let message = self.vault().and_then(|vault| vault.open(Content::Enrollment, &sealed.0));
                let Some(message): Option<EnrollmentRequest> = message else { return Ok(Heard::Never) };
                let answer = self.tell_enrollment(&message).await?;
                if !answer.acknowledged {
                    self.note_decision(message, &answer).await?;
                }
                Ok(Heard::of(answer.acknowledged))
            }
            Untold::Recognition(message) => self.tell_recognition(&message).await.map(Heard::of),
        }
    }

    async fn tell_recognition(&mut self, message: &RecognitionRequest) -> Result<bool, DeviceError> {
        let answer: RecognitionResponse = self.ask(&Question::post_json(RECOGNITION_PATH, message)).await?;
        Ok(answer.acknowledged)
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
        if self.people.kept.untold > 0 {
            self.tell_all().await?;
        }
        if self.people.kept.untold == 0 && self.people.gap == Gap::Reported {
            self.rewrite(|committed| committed.people.lost = 0).await?;
            self.people.gap = Gap::None;
        }
        Ok(())
    }

    async fn tell_all(&mut self) -> Result<(), DeviceError> {
        let (mut settled, mut lost) = (Vec::new(), 0);
        for untold in self.people_record().await?.untold {
            let sequence = untold.sequence();
            let heard = match self.tell(untold).await {
                Err(error) if is_refused_for_good(&error) => Heard::Never,
                Err(error @ DeviceError::AssociationEnded) => return Err(error),
                heard => heard.unwrap_or(Heard::NotYet),
            };
            match heard {
                Heard::Now => settled.push(sequence),
                Heard::Never => {
                    settled.push(sequence);
                    lost += 1;
                }
                Heard::NotYet => break,
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
