//! Activation: look up, then commit. The order of checks is the design's: MAC, expiry, instance, site, live code, ZIP.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json as Answer};
use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::activation::{
    self, ActivationFailure, ActivationKey, Association, Committed, Confirmation, TokenHash, TokenText,
};
use fleetform_domain::address::PostalAddress;
use fleetform_domain::audit::Action;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{ActivationRequest, ActivationResponse, LookupRequest, LookupResponse};
use serde_json::json;

use super::attempts::Try;
use super::evidence::Known;
use super::record::Caller;
use super::refusal::failed;
use super::{Gateway, limited, live, rotation};
use crate::cache::{Found, Name, version_of};
use crate::controllers::device::redeem;
use crate::crypto::{Bond, DeviceKey};
use crate::error::Class;
use crate::reconcile::execute::Redeemed;
use crate::server::{Json, Peer, Refusal};
use crate::telemetry::Activation;

/// How often a commit is judged again after somebody else changed the instance meanwhile.
const ROUNDS: usize = 4;

/// `POST /v1/activations/lookup`.
pub(super) async fn look_up(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(request): Json<LookupRequest>,
) -> Result<Answer<LookupResponse>, Refusal> {
    let answer = gateway.look_up(&request, &Caller::of(&peer, &headers)).await;
    gateway.context.metrics.activation(outcome(answer.as_ref().err(), Activation::LookedUp));
    answer.map(Answer)
}

/// `POST /v1/activations`.
pub(super) async fn activate(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(request): Json<ActivationRequest>,
) -> Result<Answer<ActivationResponse>, Refusal> {
    // Once begun it is finished, whether or not the device still listens: half of it would cost a write for nothing.
    let handling = tokio::spawn({
        let gateway = Arc::clone(&gateway);
        let caller = Caller::of(&peer, &headers);
        async move { gateway.activate(&request, &caller).await }
    });
    let answer = match handling.await {
        Ok(answer) => answer,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(Refusal::unavailable("the gateway is ending; ask again")),
    };
    let done = answer.as_ref().map_or(Activation::Activated, |(_, done)| *done);
    gateway.context.metrics.activation(outcome(answer.as_ref().err(), done));
    answer.map(|(answer, _)| Answer(answer))
}

fn outcome(refusal: Option<&Refusal>, done: Activation) -> Activation {
    match refusal.map(|refusal| refusal.code) {
        None => done,
        Some(ProblemCode::ConfirmationNotValid) => Activation::ConfirmationNotValid,
        Some(ProblemCode::Unavailable | ProblemCode::RateLimited) => Activation::Unavailable,
        Some(code) => Activation::Failed(ActivationFailure::from_problem(code)),
    }
}

impl Gateway {
    /// Opens a token. Garbage ends here and costs nothing.
    async fn open(&self, text: &TokenText) -> Result<Known, Refusal> {
        self.serving()?;
        let token =
            text.open(&self.context.activation_key).ok_or_else(|| failed(ActivationFailure::QrNotRecognized))?;
        let hash = text.hash();
        limited(&self.token_rate, hash.as_str(), self.context.clock.now())?;
        let known = Known::cached(&self.context, token, hash).map_err(|error| self.not_served(&error))?;
        if self.attempts.is_burned(&known.hash) {
            self.replace_burned(&known).await;
            return Err(failed(ActivationFailure::QrNotRecognized));
        }
        Ok(known)
    }

    async fn look_up(&self, request: &LookupRequest, caller: &Caller) -> Result<LookupResponse, Refusal> {
        let known = self.open(&request.token).await?;
        let known = known.with_address(&self.context).await.map_err(|error| self.not_served(&error))?;
        let now = self.context.clock.now();
        let judge = |known: &Known| {
            self.attempts.judge(&known.hash, known.token.expires, now, || {
                activation::look_up(&known.evidence(now), &request.postal_code)
            })
        };
        let (known, tried) = match judge(&known) {
            Try::Judged(Err(ActivationFailure::QrNotRecognized)) if known.may_lag(now) => {
                let known = known.refreshed(&self.context).await.map_err(|error| self.not_served(&error))?;
                let known = known.with_address(&self.context).await.map_err(|error| self.not_served(&error))?;
                let tried = judge(&known);
                (known, tried)
            }
            tried => (known, tried),
        };
        match tried {
            Try::Judged(Ok(())) => self.show(&known, &request.token),
            Try::Judged(Err(failure)) => {
                self.record_refusal(Action::LookUpActivation, &known, caller, None, failure).await;
                Err(failed(failure))
            }
            Try::Burned => {
                let failure = ActivationFailure::QrNotRecognized;
                self.record_refusal(Action::LookUpActivation, &known, caller, None, failure).await;
                self.replace_burned(&known).await;
                Err(failed(ActivationFailure::QrNotRecognized))
            }
        }
    }

    fn show(&self, known: &Known, token: &TokenText) -> Result<LookupResponse, Refusal> {
        let (Some(device), Some(site), Some(address)) = (&known.device, &known.site, known.address()) else {
            return Err(failed(ActivationFailure::SystemError));
        };
        Ok(LookupResponse {
            site_name: site.spec.display_name.clone(),
            city: address.city.clone(),
            state_or_region: address.state_or_region.clone(),
            device_instance_name: device.spec.display_name.clone(),
            confirmation: self.confirmation(known, token, site),
        })
    }

    fn confirmation(&self, known: &Known, token: &TokenText, site: &Site) -> Confirmation {
        let key = ActivationKey::derive(&self.context.activation_key, known.token.project);
        let (uid, generation) = (site.metadata.uid.as_deref(), site.metadata.generation);
        let address = known.address().map(PostalAddress::digest).unwrap_or_default();
        Confirmation::new(&key, token, uid.unwrap_or_default(), generation.unwrap_or_default(), &address)
    }

    /// Too many wrong ZIP codes: the code is replaced, and neither it nor the one before it works any longer.
    async fn replace_burned(&self, known: &Known) {
        let Some(device) = &known.device else { return };
        if !self.attempts.claim_rotation(&known.hash) {
            return;
        }
        let name = Name::of(&**device);
        let replace = async { rotation::rotate(&self.context, &rotation::current(&self.context, device)?, None).await };
        match replace.await {
            Ok(_) => tracing::warn!(device = %name, "five wrong ZIP codes: the activation code was replaced"),
            Err(error) => {
                self.attempts.rotation_failed(&known.hash);
                tracing::warn!(device = %name, %error, "a burned activation code is refused, but was not replaced yet");
            }
        }
    }

    async fn activate(
        &self,
        request: &ActivationRequest,
        caller: &Caller,
    ) -> Result<(ActivationResponse, Activation), Refusal> {
        let mut known = self.open(&request.token).await?;
        let key = DeviceKey::from_request(&request.certificate_request)
            .map_err(|error| Refusal::malformed(error.to_string()))?;
        for round in 0..ROUNDS {
            if round > 0 {
                known = known.refreshed(&self.context).await.map_err(|error| self.not_served(&error))?;
            }
            let now = self.context.clock.now();
            let verdict = activation::commit(&known.evidence(now), key.sha256(), request.asset_tag_id.as_str());
            match verdict {
                Err(ActivationFailure::QrNotRecognized) if round == 0 && known.may_lag(now) => {}
                Err(failure) => {
                    let asset_tag = Some(request.asset_tag_id.as_str());
                    self.record_refusal(Action::ActivateDevice, &known, caller, asset_tag, failure).await;
                    return Err(failed(failure));
                }
                Ok(Committed::Repeat(association)) => {
                    let Some(device) = &known.device else { break };
                    self.record_activation(device, &association, request, caller, true).await;
                    return Ok((self.welcome(device, &association, &key)?, Activation::Repeated));
                }
                Ok(Committed::Redeem) => {
                    if let Some((device, association)) = self.redeem(&known, request, &key).await? {
                        self.record_activation(&device, &association, request, caller, false).await;
                        return Ok((self.welcome(&device, &association, &key)?, Activation::Activated));
                    }
                }
            }
        }
        tracing::warn!(instance = %known.token.instance, "a code was not redeemed: its instance does not stand still");
        Err(Refusal::unavailable("the device instance is changing; ask again"))
    }

    /// Writes the association. `None` when somebody else changed the instance meanwhile.
    async fn redeem(
        &self,
        known: &Known,
        request: &ActivationRequest,
        key: &DeviceKey,
    ) -> Result<Option<(Box<DeviceInstance>, Association)>, Refusal> {
        // Where the address stands in a Secret, what was shown is in no generation.
        let known = &known.clone().with_address(&self.context).await.map_err(|error| self.not_served(&error))?;
        let (Some(device), Some(site)) = (&known.device, &known.site) else {
            return Err(failed(ActivationFailure::SystemError));
        };
        let confirmed = |site: &Site| {
            if self.confirmation(known, &request.token, site).matches(&request.confirmation) {
                Ok(())
            } else {
                let detail = "the site changed since it was shown: look the code up and confirm the site again";
                Err(Refusal::new(ProblemCode::ConfirmationNotValid, detail))
            }
        };
        let site_uid = site.metadata.uid.clone().unwrap_or_default();
        confirmed(site)?;
        self.context.table.begin_redeem(&site_uid, self.context.clock.now());
        self.fix_address(site, confirmed).await?;
        let association = Association {
            id: self.context.clock.uuid().to_string(),
            token_sha256: TokenHash::as_str(&known.hash).to_owned(),
            device_key_sha256: key.sha256().to_owned(),
            epoch: device.spec.activation.epoch,
            sequence: known.token.sequence,
            site_uid,
        };
        let patch = redeem::patch(device, association.clone(), request.asset_tag_id.as_str(), self.context.clock.now());
        match self
            .context
            .executor
            .redeem(&Name::of(&**device), patch)
            .await
            .map_err(|error| self.not_served(&error))?
        {
            Redeemed::Won(device) => Ok(Some((device, association))),
            Redeemed::Lost => Ok(None),
        }
    }

    /// Makes sure that the site counts as one with active devices, so that its address can no longer change.
    async fn fix_address(&self, site: &Site, confirmed: impl Fn(&Site) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let counts = |site: &Site| site.status.as_ref().is_some_and(|status| status.activated_count > 0);
        let name = Name::of(site);
        let gone = || failed(ActivationFailure::SiteNotFound);
        // A count that is being lowered just now is not relied on.
        let _only_one = self.context.site_locks.lock(&name).await;
        let mut site = self.context.world.sites.get(&name).ok_or_else(gone)?;
        for _ in 0..ROUNDS {
            confirmed(&site)?;
            if counts(&site) {
                return Ok(());
            }
            match self.context.executor.patch_status(&*site, &json!({ "activatedCount": 1 })).await {
                Ok(stored) => {
                    self.context.world.own_site(stored);
                    return Ok(());
                }
                Err(error) if error.class() == Class::Conflict => {
                    let stored =
                        live::site(&self.context.client, &name).await.map_err(|error| self.not_served(&error))?;
                    let stored = stored.filter(|stored| stored.metadata.uid == site.metadata.uid).ok_or_else(gone)?;
                    self.context.world.own_site(stored.clone());
                    site = Arc::new(stored);
                }
                Err(error) if error.class() == Class::Gone => return Err(gone()),
                Err(error) => return Err(self.not_served(&error)),
            }
        }
        Err(Refusal::unavailable("the site is changing; ask again"))
    }

    /// The answer to the winner, and to the winner again.
    fn welcome(
        &self,
        device: &DeviceInstance,
        association: &Association,
        key: &DeviceKey,
    ) -> Result<ActivationResponse, Refusal> {
        let system_error = || failed(ActivationFailure::SystemError);
        let status = device.status.as_ref().ok_or_else(system_error)?;
        let activated_at = status.device.as_ref().and_then(|device| device.activated_at.as_ref());
        let configuration = status.configuration.as_ref();
        let (Some(activated_at), Some(configuration)) = (activated_at, configuration) else {
            tracing::error!(device = %Name::of(device), "an active instance has no time of activation or no configuration");
            return Err(system_error());
        };
        let project = match self.context.world.project(&Name::of(device).namespace) {
            Found::Here(project) => project.metadata.uid.clone().unwrap_or_default(),
            Found::Unreadable(_) | Found::Absent => {
                return Err(Refusal::unavailable("the device belongs to no project just now; ask again"));
            }
        };
        let bond = Bond {
            project,
            name: Name::of(device).name,
            instance: device.metadata.uid.clone().unwrap_or_default(),
            association: association.id.clone(),
            epoch: association.epoch,
            sequence: association.sequence,
            revision: version_of(device),
        };
        let ring = self.context.authorities.ring();
        let life = self.context.settings.gateway.certificate_life;
        let certificate = ring.signer().device_certificate(key, &bond, activated_at.0, life).map_err(|error| {
            tracing::error!(%error, "a device did not get its certificate");
            system_error()
        })?;
        Ok(ActivationResponse {
            association_id: association.id.clone(),
            certificate,
            ca_certificates: ring.delivered(),
            desired_configuration_version: configuration.desired,
            next_check_in_seconds: self.context.settings.gateway.check_in_seconds,
        })
    }
}
