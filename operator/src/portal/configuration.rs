//! Configurations of device instances, by version: what people see of them. Secrets are referred to and never read.

use axum::Json as Answer;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_crds::DeviceInstance;
use fleetform_crds::device_instance::{ConfigurationStatus, ConfigurationVersion};
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::configuration::Configuration;
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{ConfigurationOrigin, StoredConfiguration};

use super::Portal;
use super::access::{AtSite, Caller, Refused, not_found};
use super::code::not_served;
use super::record::Asked;
use super::visit::Visit;
use crate::cache::Name;
use crate::server::Refusal;

/// `GET /v1/projects/{project}/device-instances/{name}/configuration/{version}`.
pub(super) async fn configuration(
    visit: Visit,
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let Path((_, _, version)) = path.map_err(|_| not_found())?;
    let name = visit.name()?;
    let outcome = portal.configuration(caller, name, &version).await;
    let device = portal.context.world.devices.get(name);
    let uid = device.as_ref().and_then(|device| device.metadata.uid.as_deref());
    let mut asked = Asked::of(Action::GetDeviceInstanceConfiguration, ResourceKind::DeviceInstance, name, uid);
    if let Ok(version) = version.parse::<u32>() {
        asked = asked.with("version", version);
    }
    portal.record(actor, asked, &outcome).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(outcome?)).into_response())
}

impl Portal {
    async fn configuration(&self, caller: &Caller, name: &Name, version: &str) -> Result<StoredConfiguration, Refused> {
        let device = self.context.world.devices.get(name);
        let site = device.as_ref().map(|device| device.spec.site_ref.name.as_str());
        let right = AtSite::to("get", ["deviceinstances", "configuration"], name, site);
        if !self.access.allows_at(caller, right).await? {
            return Err(Refused::Denied);
        }
        let device = device.ok_or_else(not_found)?;
        let status = device.status.as_ref().and_then(|status| status.configuration.as_ref());
        let (status, found) = find(status, version)?;
        let keys = self.context.keys(&name.namespace).map_err(|error| not_served(&error))?;
        let whole = self.context.revisions.whole(&self.context.client, &keys, &name.namespace, found).await;
        let whole = whole.map_err(|error| not_served(&error))?;
        Ok(assemble(&self.context.settings.installation, &device, status, found, whole))
    }
}

/// The version, if the instance remembers it. Who may read all of them may know which there are.
fn find<'a>(
    status: Option<&'a ConfigurationStatus>,
    version: &str,
) -> Result<(&'a ConfigurationStatus, &'a ConfigurationVersion), Refusal> {
    let unknown = |detail: String| Refusal::new(ProblemCode::NotFound, detail);
    let Some(status) = status.filter(|status| !status.history.is_empty()) else {
        return Err(unknown("the device instance has no configuration yet; its Ready condition says why".to_owned()));
    };
    let found = version.parse().ok().and_then(|version| status.version(version));
    let found = found.ok_or_else(|| {
        let kept: Vec<String> = status.history.iter().map(|entry| entry.version.to_string()).collect();
        unknown(format!("there is no such version of the configuration, or no longer; kept are: {}", kept.join(", ")))
    })?;
    Ok((status, found))
}

fn assemble(
    here: &Installation,
    device: &DeviceInstance,
    status: &ConfigurationStatus,
    found: &ConfigurationVersion,
    configuration: Configuration,
) -> StoredConfiguration {
    let id = ResourceId::of(device.metadata.uid.as_deref().unwrap_or_default());
    StoredConfiguration {
        arn: here.configuration_arn(&id, found.version),
        version: found.version,
        digest: found.digest.clone(),
        created_at: found.created_at.0,
        template: found.template.as_ref().map(|from| ConfigurationOrigin {
            name: from.name.clone(),
            uid: from.uid.clone(),
            revision: from.revision,
        }),
        desired: status.desired == found.version,
        applied: status.applied == Some(found.version),
        configuration,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use serde_json::json;

    fn status() -> ConfigurationStatus {
        let version = |version: u32| {
            json!({ "version": version, "digest": "d", "createdAt": "2026-01-01T12:00:00Z", "template":
                { "uid": "u", "name": "entry", "revision": version } })
        };
        serde_json::from_value(json!({ "desired": 5, "applied": 3, "history": [version(3), version(5)] })).unwrap()
    }

    #[test]
    fn a_version_that_is_not_kept_is_answered_with_those_that_are() {
        let status = status();
        for version in ["4", "0", "-1", "latest", ""] {
            let refusal = find(Some(&status), version).unwrap_err();
            assert_eq!(refusal.code, ProblemCode::NotFound);
            assert!(refusal.detail.ends_with("kept are: 3, 5"), "{version}: {}", refusal.detail);
        }
        let refusal = find(None, "1").unwrap_err();
        assert!(refusal.detail.contains("no configuration yet"), "{}", refusal.detail);
    }

    #[test]
    fn a_version_says_whether_it_is_desired_and_applied() {
        let (status, device) = (status(), fixtures::device(&json!({})));
        let said = |version| {
            let (status, found) = find(Some(&status), version).unwrap();
            assemble(&fixtures::installation(), &device, status, found, fixtures::enrollment())
        };
        let (old, new) = (said("3"), said("5"));
        assert_eq!((old.desired, old.applied, new.desired, new.applied), (false, true, true, false));
        insta::assert_json_snapshot!("stored_configuration", new);
    }
}
