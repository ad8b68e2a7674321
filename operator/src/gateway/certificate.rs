//! Certificates of devices are renewed: also one that has expired or whose authority was retired, as long as the association that
//! it is bound to is the live one. A device that was off for months comes back by itself; one whose association has ended hears so.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use fleetform_domain::wire::CertificateResponse;
use jiff::Timestamp;

use super::Gateway;
use super::refusal::failed;
use crate::cache::Name;
use crate::crypto::DeviceKey;
use crate::server::{Peer, Refusal};

/// `POST /v1/certificate`.
pub(super) async fn renew(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
) -> Result<Answer<CertificateResponse>, Refusal> {
    gateway.renew_certificate(&peer).await.map(Answer)
}

impl Gateway {
    async fn renew_certificate(&self, peer: &Peer) -> Result<CertificateResponse, Refusal> {
        let identity = self.identify_expired(peer)?;
        let device = self.trusted(&identity).await?;
        let now = self.context.clock.now();
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let ring = self.context.authorities.ring();
        let life = self.context.settings.gateway.certificate_life;
        let certificate = DeviceKey::from_certificate(&identity.key)
            .and_then(|key| ring.signer().device_certificate(&key, &identity.bond, now, life))
            .map_err(|error| {
                tracing::error!(%error, device = %Name::of(&*device), "a certificate was not renewed");
                failed(fleetform_domain::activation::ActivationFailure::SystemError)
            })?;
        self.context.metrics.certificate_renewed();
        tracing::debug!(device = %Name::of(&*device), "a certificate was renewed");
        Ok(CertificateResponse { certificate, ca_certificates: ring.delivered() })
    }
}
