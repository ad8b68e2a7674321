//! Hands activation codes out.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::Phase;
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::problem::ProblemCode;

use super::Portal;
use super::access::{AtSite, Caller, Refused, Right, not_found};
use super::media::{Form, wanted};
use super::record::Asked;
use super::visit::Visit;
use crate::activation::picture;
use crate::cache::Name;
use crate::error::{Class, Error};
use crate::gateway::rotation;
use crate::server::Refusal;

/// `POST /v1/projects/{project}/device-instances/{name}/activation-qr-code`.
pub(super) async fn hand_out(visit: Visit, headers: HeaderMap) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let name = visit.name()?;
    let form = wanted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let outcome = portal.hand_out(caller, name, form).await;
    let device = portal.context.world.devices.get(name);
    let uid = device.as_ref().and_then(|device| device.metadata.uid.as_deref());
    let mut asked = Asked::of(Action::CreateDeviceActivationQrCode, ResourceKind::DeviceInstance, name, uid);
    if let Some(device) = &device {
        asked = asked.with("site", device.spec.site_ref.name.as_str());
    }
    portal.record(actor, asked, &outcome).await?;
    let (media_type, body) = match outcome? {
        Code::Picture(bytes) => ("image/png", bytes),
        Code::Text(text) => ("text/plain; charset=utf-8", text.into_bytes()),
    };
    portal.context.metrics.code_handed_out();
    Ok(([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-store")], body).into_response())
}

/// The right to the codes of a site, or to the code of a device instance.
pub(super) fn right(resource: &'static str, name: &Name) -> Right {
    Right::to("create", resource, "activationqrcode", name)
}

/// A code in the form that was asked for.
enum Code {
    Picture(Vec<u8>),
    Text(String),
}

fn no_code(detail: impl Into<String>) -> Refusal {
    Refusal::new(ProblemCode::NoCode, detail)
}

fn not_made_yet() -> Refusal {
    Refusal { retry_after: Some(1), ..no_code("the code is being made; ask again in a moment") }
}

impl Portal {
    async fn hand_out(&self, caller: &Caller, name: &Name, form: Form) -> Result<Code, Refused> {
        let device = self.context.world.devices.get(name);
        let site = device.as_ref().map(|device| device.spec.site_ref.name.as_str());
        let right = AtSite::to("create", ["deviceinstances", "activationqrcode"], name, site);
        if !self.access.allows_at(caller, right).await? {
            return Err(Refused::Denied);
        }
        let device = device.ok_or_else(not_found)?;
        match device.phase() {
            Phase::ReadyForActivation => {}
            Phase::NeedsConfiguration => {
                Err(no_code("the device instance needs its configuration first; its Ready condition says what"))?;
            }
            Phase::Active => {
                let remedy = "deactivate it first (raise spec.activation.epoch)";
                Err(no_code(format!("a device is associated with the device instance already: {remedy}")))?;
            }
        }
        Ok(self.current_code(&device, form).await?)
    }

    /// The code as it is stored, replaced first when it would not live long enough to be carried to the device.
    async fn current_code(&self, device: &DeviceInstance, form: Form) -> Result<Code, Refusal> {
        let _one_rotates = self.rotations.lock(&Name::of(device)).await;
        let current = rotation::current(&self.context, device).map_err(|error| not_served(&error))?;
        let secret = current.secret.as_ref().and_then(|secret| secret.code_of(device.metadata.uid.as_deref()));
        let stored = secret.filter(|code| code.live.sequence == current.subject.sequence).ok_or_else(not_made_yet)?;
        let left = stored.expires.duration_since(self.context.clock.now());
        let text = if left < self.context.settings.codes.fresh_for {
            let keep = stored.live.tokens.first().filter(|_| left.is_positive()).cloned();
            rotation::rotate(&self.context, &current, keep).await.map_err(|error| not_served(&error))?.text
        } else {
            self.context.mint().text_of(current.subject, stored).ok_or_else(not_made_yet)?
        };
        Ok(match form {
            Form::Picture => Code::Picture(picture::draw(&text.0)),
            Form::Text => Code::Text(text.0),
        })
    }
}

/// The answer when the API server did not do what was asked. What is wrong stays in the log.
pub(super) fn not_served(error: &Error) -> Refusal {
    match error.class() {
        Class::Refused | Class::Unreadable | Class::Internal => {
            tracing::warn!(%error, "a request to the portal failed");
            Refusal::new(
                ProblemCode::SystemError,
                "something is wrong that an administrator has to put right; it is logged",
            )
        }
        Class::Closed => Refusal::new(ProblemCode::KeyUnavailable, error.to_string()),
        _ => {
            tracing::debug!(%error, "somebody was asked to try again");
            Refusal::unavailable("the API server cannot be asked just now; ask again")
        }
    }
}
