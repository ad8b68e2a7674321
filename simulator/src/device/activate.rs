//! Activation: scan, type the ZIP code, confirm the site.

use fleetform_domain::activation::{ActivationCode, ActivationFailure};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    ACTIVATION_PATH, ActivationRequest, ActivationResponse, CheckInResponse, LOOKUP_PATH, LookupRequest, LookupResponse,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::{ActivationError, Device, DeviceError, Next, State, after, screen};
use crate::picture;
use crate::storage::{Committed, Der, Pending, PeopleRecord, Record, Stage};
use crate::transport::{Address, Answer, Question, TransportError};

impl Device {
    /// Holds a PNG picture in front of the camera.
    pub fn scan(&mut self, png: &[u8]) -> Result<(), ActivationError> {
        let text = picture::read(png).map_err(|failure| self.fail(failure))?;
        self.scan_text(&text)
    }

    /// Reads the text of a code, as if from a picture. A text that is no activation code is not recognised.
    pub fn scan_text(&mut self, text: &str) -> Result<(), ActivationError> {
        if !matches!(self.state, State::Scan | State::Zip(_) | State::Confirm(_)) {
            return Err(self.out_of_turn("scan a code").into());
        }
        self.line = None;
        let code = ActivationCode::parse(text).map_err(|_| self.fail(ActivationFailure::QrNotRecognized))?;
        self.state = State::Zip(Box::new(code));
        Ok(())
    }

    /// Types the ZIP code. After a wrong one the device shows the ZIP screen again.
    pub async fn look_up(&mut self, postal_code: &str) -> Result<LookupResponse, ActivationError> {
        let code = match &self.state {
            State::Zip(code) => (**code).clone(),
            State::Confirm(site) => site.0.clone(),
            _ => return Err(self.out_of_turn("take a ZIP code").into()),
        };
        self.state = State::Zip(Box::new(code.clone()));
        let message = LookupRequest { token: code.token.clone(), postal_code: postal_code.to_owned() };
        let question = Question::post_json(LOOKUP_PATH, &message);
        let found = self.ask_pinned(&code.gateway, &code.pin, &question).await.and_then(read);
        let site: LookupResponse = found.map_err(|error| self.fail_with(error))?;
        self.state = State::Confirm(Box::new((code, site.clone())));
        Ok(site)
    }

    /// Confirms the site. The key is on the disk before the gateway hears of it, so that the same device gets the same
    /// answer again after losing its power at any point.
    pub async fn confirm(&mut self) -> Result<(), ActivationError> {
        let State::Confirm(site) = &self.state else {
            return Err(self.out_of_turn("confirm a site").into());
        };
        let (code, site) = (**site).clone();
        let pending = Pending {
            gateway: code.gateway.clone(),
            pin: code.pin.clone(),
            token: code.token.clone(),
            confirmation: site.confirmation,
        };
        let key = match KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256) {
            Ok(key) => Der(key.serialize_der()),
            Err(_) => return Err(self.fail_with(DeviceError::Crypto("a private key"))),
        };
        let record = Record { private_key: key.clone(), stage: Stage::Pending(pending.clone()) };
        if let Err(error) = self.save(record).await {
            return Err(self.fail_with(error.into()));
        }
        self.state = State::Pending(Box::new((pending, key)));
        let done = self.resume().await;
        if let Err(error) = &done
            && error.code() == Some(ProblemCode::ConfirmationNotValid)
        {
            // Not one of the nine: the site changed while it was shown, so it is looked up and shown again.
            self.state = State::Zip(Box::new(code));
        }
        done
    }

    /// Repeats a commit that was begun before a restart, with the same key.
    pub async fn resume(&mut self) -> Result<(), ActivationError> {
        let State::Pending(pending) = &self.state else {
            return Err(self.out_of_turn("finish an activation").into());
        };
        let (pending, key) = (**pending).clone();
        match self.commit(&pending, key).await {
            Ok(()) => Ok(()),
            Err(error) if screen::is_final(error.code()) => {
                // Were the disk to fail here, the next start would only repeat the commit and hear the same again.
                let _ = self.wipe().await;
                Err(self.fail_with(error))
            }
            Err(error) => {
                let failed = ActivationError::from(error);
                self.line = None;
                self.state = State::Halted(failed.failure);
                Err(failed)
            }
        }
    }

    /// Types the ZIP code, confirms the site, applies the configuration and checks in for the first time.
    pub async fn activate(&mut self, postal_code: &str) -> Result<CheckInResponse, ActivationError> {
        self.look_up(postal_code).await?;
        self.confirm().await?;
        Ok(self.synchronise().await?)
    }

    /// Something inside goes wrong: the device shows that, and halts until it is restarted.
    pub fn break_down(&mut self) -> ActivationError {
        self.fail(ActivationFailure::SystemError)
    }

    async fn commit(&mut self, pending: &Pending, key: Der) -> Result<(), DeviceError> {
        let message = ActivationRequest {
            token: pending.token.clone(),
            confirmation: pending.confirmation.clone(),
            asset_tag_id: self.asset_tag.clone(),
            certificate_request: certificate_request(&key, self.asset_tag.as_str())?,
        };
        let question = Question::post_json(ACTIVATION_PATH, &message);
        let answer: ActivationResponse = read(self.ask_pinned(&pending.gateway, &pending.pin, &question).await?)?;
        let authorities = answer.ca_certificates.concat();
        let committed = Committed {
            gateway: pending.gateway.clone(),
            association_id: answer.association_id,
            certificates: certificates(&answer.certificate)?,
            authorities: certificates(&authorities)?,
            wanted: answer.desired_configuration_version,
            configuration: None,
            trial: None,
            refused: None,
            software: self.software.as_deref().cloned(),
            lock: None,
            completed: None,
            people: PeopleRecord::default(),
            sensors: None,
        };
        let state = self.associated(key.clone(), committed.clone())?;
        self.save(Record { private_key: key, stage: Stage::Active(Box::new(committed)) }).await?;
        self.line = None;
        self.state = state;
        self.note_contact();
        Ok(())
    }

    /// Asks a gateway known by its pin only, on the open line if there is one.
    async fn ask_pinned(&mut self, gateway: &str, pin: &str, question: &Question) -> Result<Answer, DeviceError> {
        if let Some(answer) = self.ask_on_open_line(question).await? {
            return Ok(answer);
        }
        self.join_network()?;
        let address: Address = gateway.parse().map_err(TransportError::from)?;
        let mut line = self.network.connect_pinned(&address, pin, self.quirks.clock).await?;
        let answer = line.ask(question).await?;
        self.line = Some(Box::new(line));
        Ok(answer)
    }

    fn fail_with(&mut self, error: DeviceError) -> ActivationError {
        let failed = ActivationError::from(error);
        self.go_after(failed.failure);
        failed
    }

    fn fail(&mut self, failure: ActivationFailure) -> ActivationError {
        self.go_after(failure);
        failure.into()
    }

    fn go_after(&mut self, failure: ActivationFailure) {
        match after(failure) {
            Next::Scan => self.state = State::Scan,
            Next::Zip => return,
            Next::Restart => self.state = State::Halted(failure),
        }
        self.line = None;
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: Answer) -> Result<T, DeviceError> {
    Ok(answer.json()??)
}

fn certificate_request(key: &Der, asset_tag: &str) -> Result<String, DeviceError> {
    let failed = |_| DeviceError::Crypto("a certificate request");
    let key = PrivatePkcs8KeyDer::from(key.0.as_slice());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, asset_tag);
    params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)
}

pub(super) fn certificates(pem: &str) -> Result<Vec<Der>, DeviceError> {
    let list: Vec<Der> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| Der(der.to_vec())))
        .collect::<Result<_, _>>()
        .map_err(|_| DeviceError::Crypto("the certificates in the answer"))?;
    if list.is_empty() { Err(DeviceError::Crypto("the certificates in the answer")) } else { Ok(list) }
}
