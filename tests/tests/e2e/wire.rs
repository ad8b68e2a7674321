//! The device protocol by hand: what an activated device may send, as itself, whether or not the simulated one would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleetform_domain::people::Palm;
use fleetform_domain::wire::{
    CHECK_IN_PATH, CONFIGURATION_PATH, CheckInRequest, CheckInResponse, DeviceText, ENROLLMENT_PATH, EnrollmentOutcome,
    EnrollmentRequest, EnrollmentResponse, PalmPresented, RECOGNITION_PATH, RecognitionRequest, RecognitionResponse,
    USER_LIST_PATH, UserList,
};
use fleetform_simulator::storage::{Der, MemoryStorage, Stage as Stored, Storage};
use fleetform_simulator::transport::{Address, Answer, Clock, Network, Question, Refusal, Timeouts, Trust};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;

use super::devices::{checking_in, code_picture, device_with};
use super::project::{Project, ZIP, condition};
use fleetform_crds::condition::ConditionType;
use fleetform_simulator::installer::Installer;

/// The largest list of users that is read, in bytes: 200 people with two palms each.
const LARGEST: usize = 1024 * 1024;

/// What a device is to its gateway: a key, a certificate and an association.
pub(crate) struct Wire {
    network: Arc<Network>,
    address: Address,
    trust: Arc<Trust>,
    certificates: Vec<CertificateDer<'static>>,
    key: Der,
    /// Id of its association.
    pub(crate) association: String,
    version: Option<u32>,
    check_ins: u64,
    /// Counts what it tells of people.
    pub(crate) sequence: u64,
}

impl Wire {
    /// A device that is activated as this instance, has checked in, and is played by hand from now on.
    pub(crate) async fn activated(project: &Project, installer: &Installer, name: &str) -> Result<Self> {
        let disk = Arc::new(MemoryStorage::default());
        let mut device = device_with(disk.clone()).await?;
        device.scan(&code_picture(project, installer, name).await?)?;
        device.activate(ZIP).await?;
        checking_in(project, &mut device, name, "Ready", |instance| condition(instance, ConditionType::Ready)).await?;
        let record = disk.load(device.asset_tag())?.context("it has a record")?;
        let Stored::Active(committed) = record.stage else { bail!("{name} is not active") };
        let certificates = |list: Vec<Der>| list.into_iter().map(|der| CertificateDer::from(der.0)).collect();
        let network = Network::new(Timeouts::default());
        Ok(Self {
            address: committed.gateway.parse()?,
            trust: network.trust(certificates(committed.authorities))?,
            certificates: certificates(committed.certificates),
            key: record.private_key,
            association: committed.association_id,
            version: committed.configuration.map(|configuration| configuration.version),
            network,
            check_ins: 0,
            sequence: 0,
        })
    }

    /// Asks, and again when it asked too often or the gateway cannot tell yet.
    async fn ask<T: DeserializeOwned>(&self, question: Question) -> Result<Result<T, Refusal>> {
        for _ in 0..60 {
            // The operator may be starting.
            match self.ask_once(&question).await {
                Ok(Err(refusal)) if matches!(refusal.status, 429 | 503) => {}
                Ok(answer) => return Ok(answer),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        bail!("{question:?} is not answered")
    }

    async fn ask_once<T: DeserializeOwned>(&self, question: &Question) -> Result<Result<T, Refusal>> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.0.clone()));
        let (certificates, clock) = (self.certificates.clone(), Clock::default());
        let mut line = self.network.connect_as(&self.address, &self.trust, certificates, key, clock).await?;
        Ok(line.ask(question).await.map(Answer::json)??)
    }

    /// With which statuses it is refused what is sealed of its project, 200 where it is not: its configuration, the list of people, and
    /// whose palm it is.
    pub(crate) async fn sealed(&mut self, palm: Palm) -> Result<[u16; 3]> {
        self.sequence += 1;
        let version = self.version.context("it has a configuration")?;
        let palm = PalmPresented::Ask { palm };
        let request = RecognitionRequest { sequence: self.sequence, time: Timestamp::now(), palm };
        let mut statuses = [0; 3];
        for (status, question) in statuses.iter_mut().zip([
            Question::get(format!("{CONFIGURATION_PATH}/{version}")),
            Question::get(USER_LIST_PATH.to_owned()).limited_to(LARGEST),
            Question::post_json(RECOGNITION_PATH, &request),
        ]) {
            *status = self.ask_once::<serde_json::Value>(&question).await?.err().map_or(200, |refusal| refusal.status);
        }
        Ok(statuses)
    }

    /// Checks in, holding this list of enrolled users; waits for something to hear up to so many seconds.
    pub(crate) async fn check_in(
        &mut self,
        holds: Option<&DeviceText>,
        wait_seconds: u32,
    ) -> Result<Result<CheckInResponse, Refusal>> {
        self.says(holds, false, wait_seconds).await
    }

    /// Checks in as a desk that keeps an enrollment, as it lost the answer, or none.
    pub(crate) async fn keeps_enrollments(&mut self, keeps: bool) -> Result<()> {
        self.says(None, keeps, 0).await??;
        Ok(())
    }

    async fn says(
        &mut self,
        holds: Option<&DeviceText>,
        keeps_enrollments: bool,
        wait_seconds: u32,
    ) -> Result<Result<CheckInResponse, Refusal>> {
        self.check_ins += 1;
        let boot: DeviceText = format!("by-hand-{}", &self.association[..8]).try_into()?;
        let request = CheckInRequest {
            applied_configuration_version: self.version,
            enrolled_users_revision: holds.cloned(),
            keeps_enrollments,
            wait_seconds,
            ..CheckInRequest::new(boot, self.check_ins, fleetform_simulator::device::SOFTWARE_VERSION.try_into()?)
        };
        let wait = Duration::from_secs(wait_seconds.into());
        self.ask(Question::post_json(CHECK_IN_PATH, &request).waiting(wait)).await
    }

    /// Tells of an enrollment, under the next number.
    pub(crate) async fn enroll(&mut self, outcome: EnrollmentOutcome) -> Result<EnrollmentResponse> {
        self.sequence += 1;
        self.enroll_again(outcome).await
    }

    /// Tells of it under the number before, as a device does that lost the answer.
    pub(crate) async fn enroll_again(&self, outcome: EnrollmentOutcome) -> Result<EnrollmentResponse> {
        Ok(self.try_enroll(outcome).await??)
    }

    /// The same, and what it is refused with.
    pub(crate) async fn try_enroll(&self, outcome: EnrollmentOutcome) -> Result<Result<EnrollmentResponse, Refusal>> {
        let request = EnrollmentRequest { sequence: self.sequence, time: Timestamp::now(), outcome };
        self.ask(Question::post_json(ENROLLMENT_PATH, &request)).await
    }

    /// With which status an enrollment is refused now; none when it is not.
    pub(crate) async fn enrolls_now(&mut self, outcome: EnrollmentOutcome) -> Result<Option<u16>> {
        self.sequence += 1;
        let request = EnrollmentRequest { sequence: self.sequence, time: Timestamp::now(), outcome };
        let answer = self.ask_once::<EnrollmentResponse>(&Question::post_json(ENROLLMENT_PATH, &request)).await?;
        Ok(answer.err().map(|refusal| refusal.status))
    }

    /// Asks or tells whose palm it is, under the next number.
    pub(crate) async fn present(&mut self, palm: PalmPresented) -> Result<Result<RecognitionResponse, Refusal>> {
        self.sequence += 1;
        self.present_again(palm).await
    }

    /// The same under the number before.
    pub(crate) async fn present_again(&self, palm: PalmPresented) -> Result<Result<RecognitionResponse, Refusal>> {
        let request = RecognitionRequest { sequence: self.sequence, time: Timestamp::now(), palm };
        self.ask(Question::post_json(RECOGNITION_PATH, &request)).await
    }

    /// Fetches its list of enrolled users, or what changed in it.
    pub(crate) async fn users(&self, since: Option<&DeviceText>) -> Result<Result<UserList, Refusal>> {
        let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
        self.ask(Question::get(format!("{USER_LIST_PATH}{query}")).limited_to(LARGEST)).await
    }
}
