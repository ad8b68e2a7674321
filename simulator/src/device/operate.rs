//! Life after activation: fetch and apply the configuration, check in, obey, wipe when it is over.

use std::time::Duration;

use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    CHECK_IN_PATH, CheckInRequest, CheckInResponse, DeviceConfiguration, DeviceLock, DeviceText,
    MAX_FAILED_HEALTH_CHECKS,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;

use super::{Association, Device, DeviceError, State, renew};
use crate::transport::{Address, Answer, Question, Refusal, TransportError};

/// How many configurations in a row a device applies before it gives the gateway time to make up its mind.
const ROUNDS: usize = 6;

impl Device {
    /// Reports the whole state of the device and hears what is wanted. On `association-ended` the device wipes itself.
    pub async fn check_in(&mut self) -> Result<CheckInResponse, DeviceError> {
        self.check_in_waiting(0).await
    }

    /// Checks in, and has the gateway wait up to so many seconds for something to say.
    pub async fn check_in_waiting(&mut self, seconds: u32) -> Result<CheckInResponse, DeviceError> {
        let answer = self.report(seconds).await;
        self.line = None;
        answer
    }

    /// Applies what is wanted and checks in until nothing else is, on one connection that is closed at the end. Right
    /// after the activation the configuration comes first, so that the first check-in confirms it.
    pub async fn synchronise(&mut self) -> Result<CheckInResponse, DeviceError> {
        self.synchronise_waiting(0).await
    }

    /// The same; and when nothing is wanted, has the gateway wait up to so many seconds for something, which is done too.
    pub async fn synchronise_waiting(&mut self, seconds: u32) -> Result<CheckInResponse, DeviceError> {
        let settled = self.settle_and_wait(seconds).await;
        self.line = None;
        settled
    }

    async fn settle_and_wait(&mut self, seconds: u32) -> Result<CheckInResponse, DeviceError> {
        let settled = self.settle().await?;
        self.tell_untold().await?;
        if seconds == 0 || self.lock().is_some() || self.has_tried(settled.desired_configuration_version) {
            return Ok(settled);
        }
        let before = self.sensors_revision();
        let answer = self.report(seconds).await?;
        if self.is_settled(answer.desired_configuration_version) && self.sensors_revision() == before {
            Ok(answer)
        } else {
            self.settle().await
        }
    }

    async fn settle(&mut self) -> Result<CheckInResponse, DeviceError> {
        self.keep_certificate().await?;
        match self.settle_once().await {
            // By its own clock the certificate is good, by the gateway's it is not.
            Err(error) if renew::is_certificate_refused(&error) => {
                self.renew_certificate().await?;
                self.settle_once().await
            }
            settled => settled,
        }
    }

    async fn settle_once(&mut self) -> Result<CheckInResponse, DeviceError> {
        let mut tried = None;
        if let State::Active(association) = &self.state
            && association.applied.is_none()
            && !self.is_settled(association.wanted)
        {
            let wanted = association.wanted;
            self.adopt(wanted).await?;
            tried = self.has_tried(wanted).then_some(wanted);
        }
        for _ in 0..ROUNDS {
            let before = self.what_changes();
            let answer = match self.report(0).await {
                Err(DeviceError::Transport(_)) if self.fail_trial().await? => continue,
                answer => answer?,
            };
            if self.applied_configuration_version() == Some(answer.desired_configuration_version) {
                // Edited back: what was on its way is no longer wanted.
                self.update = None;
            }
            // What was asked changed the device: that is said at once.
            let changed = self.what_changes() != before;
            let wanted = answer.desired_configuration_version;
            // What was tried in vain is tried again at the next check-in that is due.
            let settled = self.is_settled(wanted) || tried == Some(wanted);
            if settled && !changed {
                return Ok(answer);
            }
            if !settled {
                self.adopt(wanted).await?;
                tried = self.has_tried(wanted).then_some(wanted);
            }
        }
        Err(DeviceError::Unsettled)
    }

    /// What the gateway's answers change besides the configuration.
    fn what_changes(&self) -> (u32, Option<DeviceLock>, [Option<DeviceText>; 2]) {
        let lists = [self.enrolled_users_revision().cloned(), self.sensors_revision()];
        (self.starts, self.lock().cloned(), lists)
    }

    /// The health checks that fail, each once.
    fn failed_checks(&self) -> Vec<DeviceText> {
        let mut checks = self.failed_health_checks.clone();
        let found = self.people.failed_checks().into_iter().chain(self.failed_buffer_check());
        checks.extend(found.filter(|check| !self.failed_health_checks.contains(check)));
        checks.truncate(MAX_FAILED_HEALTH_CHECKS);
        checks
    }

    /// Sends its last report once more, as a line or somebody on it may do.
    pub async fn check_in_again(&mut self) -> Result<CheckInResponse, DeviceError> {
        let message = self.state_report(0);
        let answer = self.ask(&Question::post_json(CHECK_IN_PATH, &message).once()).await;
        self.line = None;
        answer
    }

    /// What it says of itself.
    pub(super) fn state_report(&self, wait_seconds: u32) -> CheckInRequest {
        CheckInRequest {
            boot_id: self.boot_id(),
            counter: self.counter,
            software_version: self.software_version(),
            applied_configuration_version: self.applied_configuration_version(),
            failed_health_checks: self.failed_checks(),
            lock: self.lock().cloned(),
            completed_command: match &self.state {
                State::Active(association) => association.completed.clone(),
                _ => None,
            },
            refused_configuration: self.refused_configuration(),
            software_update: self.software_update(),
            trusted_authorities: self.trusted_authorities(),
            enrolled_users_revision: self.enrolled_users_revision().cloned(),
            keeps_enrollments: self.people.keeps_enrollments(),
            sensors: self.sensors_report(),
            wait_seconds,
        }
    }

    async fn report(&mut self, wait_seconds: u32) -> Result<CheckInResponse, DeviceError> {
        self.mind_absence().await?;
        self.people.clear();
        self.mind_enrollment().await?;
        self.mind_surroundings().await?;
        self.pair_missing_sensors().await?;
        // Counted before it is sent: whether a lost one arrived is not known, and no number may come twice.
        self.counter += 1;
        let message = self.state_report(wait_seconds);
        let wait = Duration::from_secs(wait_seconds.into());
        let question = Question::post_json(CHECK_IN_PATH, &message).waiting(wait).once();
        let answer: CheckInResponse = self.ask(&question).await?;
        self.note_contact();
        self.people.note_reported();
        self.pass_trial().await?;
        self.obey(&answer).await?;
        self.follow_sensors(&answer).await?;
        self.follow_authorities(&answer).await?;
        self.follow_users(&answer).await?;
        Ok(answer)
    }

    /// Asks the gateway with the device's certificate. Only the one answer that proves the end of the association makes
    /// the device wipe itself; after anything else it keeps what it has.
    pub(super) async fn ask<T: DeserializeOwned>(&mut self, question: &Question) -> Result<T, DeviceError> {
        match self.answer(question).await?.json()? {
            Ok(message) => Ok(message),
            Err(Refusal { status: 410, code: Some(ProblemCode::AssociationEnded), .. }) => {
                self.take_leave().await;
                self.wipe().await?;
                Err(DeviceError::AssociationEnded)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The gateway's answer, whatever it is.
    pub(super) async fn answer(&mut self, question: &Question) -> Result<Answer, DeviceError> {
        if let Some(answer) = self.ask_on_open_line(question).await? {
            return Ok(answer);
        }
        let State::Active(association) = &self.state else {
            return Err(self.out_of_turn("speak to its gateway"));
        };
        self.join_network()?;
        let address: Address = association.gateway.parse().map_err(TransportError::from)?;
        let (certificates, key) = (association.certificates.clone(), association.key());
        let clock = self.quirks.clock;
        let mut line = self.network.connect_as(&address, &association.trust, certificates, key, clock).await?;
        let answer = line.ask(question).await?;
        self.line = Some(Box::new(line));
        Ok(answer)
    }
}

/// How long a device with this configuration may be without its gateway.
pub(super) fn maximum_offline(configuration: &DeviceConfiguration) -> Duration {
    Duration::from_mins(configuration.maximum_offline_minutes.into())
}

/// Whether this is the configuration of a gateway: readers have an operation mode.
pub(super) const fn is_of_gateway(configuration: &DeviceConfiguration) -> bool {
    configuration.operation_mode.is_none()
}

impl Association {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }
}
