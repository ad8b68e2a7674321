//! Certificates: renewed by elapsed time, and also after their end, when the gateway no longer takes them for anything else. With
//! them come the authorities to trust.

use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{AuthoritiesDigest, CERTIFICATE_PATH, CertificateResponse, CheckInResponse};
use rustls_pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use super::activate::certificates;
use super::{Device, DeviceError, State};
use crate::transport::{Question, Refusal};

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: i64,
    not_after: i64,
}

impl Validity {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
    }

    /// Whether less than a third of its life is left.
    fn is_due(self, now: i64) -> bool {
        (self.not_after - now) * 3 < self.not_after - self.not_before
    }
}

/// Whether the gateway said that it no longer takes the certificate.
pub(super) fn is_certificate_refused(error: &DeviceError) -> bool {
    matches!(error, DeviceError::Refused(Refusal { code: Some(ProblemCode::NotAuthenticated), .. }))
}

impl Device {
    /// When the certificate ends, in seconds since 1970, while the device is active.
    pub fn certificate_ends(&self) -> Option<i64> {
        let State::Active(association) = &self.state else { return None };
        Validity::of(association.certificates.first()?).map(|validity| validity.not_after)
    }

    /// Renews the certificate when it is time. A gateway that does not do it now is asked again next time: there is a third of
    /// the certificate's life for it.
    pub(super) async fn keep_certificate(&mut self) -> Result<(), DeviceError> {
        let State::Active(association) = &self.state else { return Ok(()) };
        let validity = association.certificates.first().and_then(Validity::of);
        let now = i64::try_from(self.quirks.clock.now()).unwrap_or(i64::MAX);
        if !validity.is_some_and(|validity| validity.is_due(now)) {
            return Ok(());
        }
        match self.renew_certificate().await {
            Err(error @ (DeviceError::AssociationEnded | DeviceError::Storage(_))) => Err(error),
            _ => Ok(()),
        }
    }

    /// The name of the authority that its certificate comes from, while the device is active.
    pub fn certificate_issuer(&self) -> Option<String> {
        let State::Active(association) = &self.state else { return None };
        let (_, parsed) = parse_x509_certificate(association.certificates.first()?).ok()?;
        parsed.issuer().iter_common_name().next()?.as_str().ok().map(str::to_owned)
    }

    /// The authorities that it trusts, while it is active.
    pub fn trusted_authorities(&self) -> Option<AuthoritiesDigest> {
        if let State::Active(association) = &self.state { Some(association.trust.digest()) } else { None }
    }

    /// Renews the certificate when other authorities count than those that it trusts, or its own no longer signs. What the gateway
    /// says again although the device did it is not done again before the next start; what failed is, with the next answer.
    pub(super) async fn follow_authorities(&mut self, answer: &CheckInResponse) -> Result<(), DeviceError> {
        let State::Active(association) = &self.state else { return Ok(()) };
        let others = answer.authorities.is_some_and(|authorities| authorities != association.trust.digest());
        let said = (answer.authorities, answer.renew_certificate);
        if !others && !answer.renew_certificate {
            self.followed = None;
            return Ok(());
        }
        if self.followed == Some(said) {
            return Ok(());
        }
        match self.renew_certificate().await {
            Ok(()) => self.followed = Some(said),
            Err(error @ (DeviceError::AssociationEnded | DeviceError::Storage(_))) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// Gets a new certificate in place of the one it has, which may have expired. It is on the disk before it is used.
    pub async fn renew_certificate(&mut self) -> Result<(), DeviceError> {
        let answer: CertificateResponse = self.ask(&Question::post(CERTIFICATE_PATH)).await?;
        let list = certificates(&answer.certificate)?;
        let authorities = certificates(&answer.ca_certificates.concat())?;
        let shown = list.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        let trust = self.network.trust(authorities.iter().map(|der| CertificateDer::from(der.0.clone())).collect())?;
        self.rewrite(move |committed| {
            committed.certificates = list;
            committed.authorities = authorities;
        })
        .await?;
        // The next request proves who asks with the new one.
        self.line = None;
        if let State::Active(association) = &mut self.state {
            association.certificates = shown;
            association.trust = trust;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_when_a_third_of_its_life_is_left() {
        let validity = Validity { not_before: 0, not_after: 300 };
        assert!(!validity.is_due(0) && !validity.is_due(200));
        assert!(validity.is_due(201) && validity.is_due(5_000));
    }
}
