//! What there is to activate at a site. Not the codes: handing one out is audited, and may refresh it.

use axum::Json as Answer;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::Phase;
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::wire::{ActivationCodeList, ActivationCodeSummary, activation_code_path};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::Portal;
use super::access::{Caller, Refused, not_found};
use super::code::right;
use super::record::Asked;
use super::visit::Visit;
use crate::activation::code::CodeSecretMeta;
use crate::cache::Name;
use crate::reconcile::names;
use crate::server::Refusal;

/// Rights to so many single instances are asked about for one list. Who has to see more needs the right to the site.
const ASKED_ABOUT: usize = 100;

/// How many rights to single instances are asked about at once for one caller.
const AT_ONCE: usize = 8;

/// `GET /v1/projects/{project}/sites/{site}/activation-qr-codes`.
pub(super) async fn list(visit: Visit) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let site = visit.name()?;
    let list = portal.activation_codes(caller, site).await;
    let asked = || Asked::of(Action::ListDeviceInstances, ResourceKind::Site, site, None);
    portal.record_denial(actor, asked, &list).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(list?)).into_response())
}

impl Portal {
    /// Who has no right to the site has one to each of its instances, or not. Who has none to any that waits for a device is
    /// answered as if there were no such site.
    async fn activation_codes(&self, caller: &Caller, site: &Name) -> Result<ActivationCodeList, Refused> {
        let world = &self.context.world;
        let all = self.access.allows(caller, right("sites", site)).await?;
        let devices = world.devices.in_namespace(&site.namespace);
        // Sensors have no codes: their gateway finds them by what is printed on them.
        let waiting = devices.into_iter().filter(|device| {
            device.spec.site_ref.name == site.name
                && device.phase() == Phase::ReadyForActivation
                && device.spec.device_type != DeviceType::Sensor
        });
        let most = if all { usize::MAX } else { ASKED_ABOUT };
        let waiting: Vec<_> = waiting.take(most).collect();
        let are_hidden = !all && !waiting.is_empty();
        let items: Vec<ActivationCodeSummary> = stream::iter(waiting)
            .map(|device| async move {
                let may = all || self.access.allows(caller, right("deviceinstances", &Name::of(&*device))).await?;
                Ok::<_, Refusal>(may.then(|| self.summary(&device)))
            })
            .buffered(AT_ONCE)
            .try_filter_map(|summary| async move { Ok(summary) })
            .try_collect()
            .await?;
        if are_hidden && items.is_empty() {
            return Err(Refused::Denied);
        }
        let found = world.sites.get(site).filter(|_| all || !items.is_empty()).ok_or_else(not_found)?;
        Ok(ActivationCodeList {
            project: site.namespace.clone(),
            site: site.name.clone(),
            site_name: found.spec.display_name.clone(),
            items,
        })
    }

    fn summary(&self, device: &DeviceInstance) -> ActivationCodeSummary {
        let name = Name::of(device);
        let secret = self.context.world.secrets.get(&Name::new(&name.namespace, names::code_secret(&name.name)));
        summary(device, secret.as_deref().and_then(CodeSecretMeta::read).as_ref())
    }
}

/// What an installer sees of an instance whose code is in this Secret.
fn summary(device: &DeviceInstance, secret: Option<&CodeSecretMeta>) -> ActivationCodeSummary {
    let name = Name::of(device);
    let configuration = device.status.as_ref().and_then(|status| status.configuration.as_ref());
    ActivationCodeSummary {
        path: activation_code_path(&name.namespace, &name.name),
        name: name.name,
        display_name: device.spec.display_name.clone(),
        device_type: device.spec.device_type,
        operation_mode: configuration.and_then(|configuration| configuration.operation_mode),
        expires_at: expiry(device, secret),
    }
}

/// When the code of the instance's current sequence stops to work.
fn expiry(device: &DeviceInstance, secret: Option<&CodeSecretMeta>) -> Option<Timestamp> {
    let sequence = device.status.as_ref()?.activation.as_ref()?.sequence;
    let code = secret?.code_of(device.metadata.uid.as_deref())?;
    (code.live.sequence == sequence).then_some(code.expires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::code::StoredCode;
    use crate::controllers::fixtures;
    use fleetform_domain::activation::LiveCode;
    use serde_json::json;

    #[test]
    fn only_the_code_of_the_current_sequence_has_an_expiry() {
        let mut device = fixtures::device(&json!({}));
        device.status = Some(
            serde_json::from_value(json!({
                "phase": "ReadyForActivation",
                "activation": { "sequence": 2 },
                "configuration": { "desired": 1, "operationMode": "Entry", "history": [] },
            }))
            .unwrap(),
        );
        let secret = |sequence, owner: &str| CodeSecretMeta {
            uid: "secret".into(),
            version: "1".into(),
            owner_uid: Some(owner.into()),
            code: Some(StoredCode {
                expires: fixtures::noon(),
                live: LiveCode { sequence, tokens: Vec::new() },
                nonce: [0; 16],
            }),
        };
        let uid = device.metadata.uid.clone().unwrap();
        let expires = |secret: Option<&CodeSecretMeta>| summary(&device, secret).expires_at;
        assert_eq!(expires(Some(&secret(2, &uid))), Some(fixtures::noon()));
        assert_eq!(expires(Some(&secret(1, &uid))), None);
        assert_eq!(expires(Some(&secret(2, "another instance of the name"))), None);
        assert_eq!(expires(None), None);
        insta::assert_json_snapshot!("activation_code_summary", summary(&device, Some(&secret(2, &uid))));
    }
}
