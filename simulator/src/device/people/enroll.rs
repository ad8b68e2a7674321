//! An enrollment at the device: its steps, and the word of the gateway at its end.

use std::time::Instant;

use fleetform_domain::configuration::{DEFAULT_CONSENT_VERSION, OperationMode};
use fleetform_domain::people::EnrollmentFailure;
use fleetform_domain::wire::{EnrollmentOutcome, EnrollmentRequest, EnrollmentResponse};

use super::enrollment::{Enrollment, EnrollmentStep};
use super::tell::never_arrived;
use crate::device::{Device, DeviceError, EnrollmentScreen, Screen};

const WHAT: &str = "enroll anybody";

impl Device {
    /// Somebody touches "Get started". Whoever was there before has gone away.
    pub async fn get_started(&mut self) -> Result<EnrollmentScreen, DeviceError> {
        let configuration = self.ready_for(OperationMode::Enrollment, WHAT).await?;
        if let Some(ongoing) = self.people.enrollment.take() {
            let (mut ongoing, _) = *ongoing;
            self.end_enrollment(ongoing.fail(EnrollmentFailure::TimedOut)).await?;
        }
        let version = configuration.consent_version.unwrap_or_else(|| DEFAULT_CONSENT_VERSION.to_owned());
        let enrollment = Enrollment::new(version, self.badge_scanner());
        let screen = enrollment.screen();
        self.people.shown = None;
        self.people.enrollment = Some(Box::new((enrollment, Instant::now())));
        Ok(screen)
    }

    /// Somebody takes a step of an enrollment. What the device shows then: the next step, or how the enrollment ended.
    pub async fn enroll(&mut self, step: EnrollmentStep) -> Result<EnrollmentScreen, DeviceError> {
        self.ready_for(OperationMode::Enrollment, WHAT).await?;
        if let Some(ended) = self.mind_enrollment().await? {
            return Ok(ended);
        }
        let now = self.time();
        let Some(ongoing) = self.people.enrollment.as_deref_mut() else { return Err(self.out_of_turn(WHAT)) };
        let (enrollment, since) = ongoing;
        let taken = enrollment.take(step, now);
        *since = Instant::now();
        let screen = enrollment.screen();
        match taken {
            Err(_) => Err(self.out_of_turn("take this step")),
            Ok(None) => Ok(screen),
            Ok(Some(outcome)) => self.end_enrollment(outcome).await,
        }
    }

    /// Ends an enrollment that nobody goes on with. What is shown then, if there was one.
    pub(in crate::device) async fn mind_enrollment(&mut self) -> Result<Option<EnrollmentScreen>, DeviceError> {
        let Some(ongoing) = self.people.enrollment.as_deref_mut() else { return Ok(None) };
        let (enrollment, since) = ongoing;
        enrollment.wait(std::mem::replace(since, Instant::now()).elapsed());
        match enrollment.timed_out() {
            Some(outcome) => self.end_enrollment(outcome).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps how it ended, tells the gateway, and shows what came of it.
    async fn end_enrollment(&mut self, outcome: EnrollmentOutcome) -> Result<EnrollmentScreen, DeviceError> {
        self.people.enrollment = None;
        let failed = failure(&outcome);
        let screen = match self.keep_enrollment(outcome).await {
            Ok(kept) => self.conclude(kept, failed).await?,
            Err(DeviceError::Storage(_)) => EnrollmentScreen::Failed(EnrollmentFailure::SystemError),
            Err(error) => return Err(error),
        };
        self.people.shown = Some(Screen::Enrollment(screen));
        Ok(screen)
    }

    async fn conclude(
        &mut self,
        kept: EnrollmentRequest,
        failed: Option<EnrollmentFailure>,
    ) -> Result<EnrollmentScreen, DeviceError> {
        let told = self.tell_enrollment(&kept).await;
        self.line = None;
        match (told, failed) {
            (Err(error @ DeviceError::AssociationEnded), _) => Err(error),
            (Ok(answer), failed) => {
                if answer.acknowledged {
                    self.settle_untold(&[kept.sequence]).await?;
                } else {
                    self.note_decision(kept, &answer).await?;
                }
                Ok(match failed.or(answer.refused) {
                    Some(reason) => EnrollmentScreen::Failed(reason),
                    None if answer.user.is_some() => EnrollmentScreen::Enrolled,
                    None => EnrollmentScreen::Pending,
                })
            }
            (Err(_), Some(reason)) => Ok(EnrollmentScreen::Failed(reason)),
            (Err(error), None) if never_arrived(&error) => {
                // Nobody has heard of it, so it ends here: the palms do not stay on the disk.
                self.forget_palms(kept).await?;
                Ok(EnrollmentScreen::Failed(EnrollmentFailure::GatewayUnreachable))
            }
            // The gateway may have enrolled the person already: only a repeat tells.
            (Err(_), None) => Ok(EnrollmentScreen::Pending),
        }
    }

    /// What was completed failed, as the gateway cannot be asked.
    async fn forget_palms(&mut self, kept: EnrollmentRequest) -> Result<(), DeviceError> {
        let refused = Some(EnrollmentFailure::GatewayUnreachable);
        self.note_decision(kept, &EnrollmentResponse { acknowledged: false, user: None, refused }).await
    }
}

fn failure(outcome: &EnrollmentOutcome) -> Option<EnrollmentFailure> {
    match outcome {
        EnrollmentOutcome::Completed { .. } | EnrollmentOutcome::Enrolled { .. } => None,
        EnrollmentOutcome::Failed { reason, .. } => Some(*reason),
    }
}
