//! Configurations, whole, as devices apply them.

use std::sync::Arc;

use axum::Extension;
use axum::Json as Answer;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_crds::DeviceInstance;
use fleetform_crds::device_instance::ConfigurationVersion;
use fleetform_domain::configuration::{Configuration, Wifi};
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::operation::DEFAULT_MAXIMUM_OFFLINE_MINUTES;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{CONFIGURATION_PATH, DeviceConfiguration, WifiCredentials};

use super::{Gateway, live};
use crate::cache::Name;
use crate::credentials::{self, Credentials};
use crate::error::{Class, Error};
use crate::server::{Peer, Refusal};

/// `GET /v1/configuration/{version}`.
pub(super) async fn configuration(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let configuration = gateway.configuration(&peer, uri.path()).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(configuration)).into_response())
}

fn unknown_version() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "there is no such version; the next check-in says which one is desired")
}

impl Gateway {
    async fn configuration(&self, peer: &Peer, path: &str) -> Result<DeviceConfiguration, Refusal> {
        let identity = self.identify(peer)?;
        let device = self.trusted(&identity).await?;
        let version =
            path.strip_prefix(CONFIGURATION_PATH).and_then(|rest| rest.strip_prefix('/')?.parse::<u32>().ok());
        let status = device.status.as_ref().and_then(|status| status.configuration.as_ref());
        let found = status.zip(version).and_then(|(status, version)| status.version(version));
        let found = found.ok_or_else(unknown_version)?;
        let whole = self.whole(&device, found).await.map_err(|error| self.not_available(&device, &error))?;
        let wifi = match &whole.wifi {
            Some(wifi) => Some(self.wifi(&device, found, wifi).await?),
            None => None,
        };
        Ok(assemble(&self.context.settings.installation, &device, found.version, whole, wifi))
    }

    async fn whole(&self, device: &DeviceInstance, version: &ConfigurationVersion) -> Result<Configuration, Error> {
        let namespace = Name::of(device).namespace;
        let keys = self.context.keys(&namespace)?;
        self.context.revisions.whole(&self.context.client, &keys, &namespace, version).await
    }

    /// The network of this version. A version never changes: when the Secret has changed since it was made, it is no more, and
    /// another one is wanted.
    async fn wifi(
        &self,
        device: &DeviceInstance,
        version: &ConfigurationVersion,
        wifi: &Wifi,
    ) -> Result<WifiCredentials, Refusal> {
        let name = Name::new(Name::of(device).namespace, &wifi.credentials_secret_ref.name);
        let (ssid, found) = self.credentials(&name, wifi).await.map_err(|error| self.not_available(device, &error))?;
        let digest = credentials::digest(&self.context.activation_key, &name, &found);
        if version.credentials.as_ref().is_some_and(|made_with| made_with.digest != digest) {
            return Err(unknown_version());
        }
        Ok(WifiCredentials { ssid, passphrase: found.passphrase })
    }

    async fn credentials(&self, name: &Name, wifi: &Wifi) -> Result<(String, Credentials), Error> {
        let unusable = |why: String| Error::Unreadable { what: format!("Secret {name} (credentials of Wi-Fi)"), why };
        let secret = live::secret(&self.context.client, name).await?;
        let secret = secret.ok_or_else(|| unusable("it does not exist".into()))?;
        let found = credentials::read(&secret).map_err(unusable)?;
        let ssid = wifi.ssid.clone().or_else(|| found.ssid.clone());
        Ok((ssid.ok_or_else(|| unusable("it has no key ssid, and wifi.ssid is not set".into()))?, found))
    }

    /// The device keeps the configuration that it has. What is wrong is for people, not for the device.
    fn not_available(&self, device: &DeviceInstance, error: &Error) -> Refusal {
        match error.class() {
            Class::Unavailable | Class::Closed => {
                tracing::debug!(device = %Name::of(device), %error, "a configuration was not read");
            }
            _ => self.complain(&format!("{}: {error}", Name::of(device))),
        }
        Refusal::unavailable("the configuration is not available just now; keep the one in force and ask again")
    }
}

fn assemble(
    here: &Installation,
    device: &DeviceInstance,
    version: u32,
    whole: Configuration,
    wifi: Option<WifiCredentials>,
) -> DeviceConfiguration {
    let id = ResourceId::of(device.metadata.uid.as_deref().unwrap_or_default());
    let consent_version = whole.consent_text().map(str::to_owned);
    DeviceConfiguration {
        version,
        arn: here.configuration_arn(&id, version).as_str().to_owned(),
        device_instance_name: device.spec.display_name.clone(),
        operation_mode: whole.operation_mode,
        wifi,
        control_panel: whole.control_panel,
        badge_format: whole.badge_format,
        io: whole.io,
        maximum_offline_minutes: whole.maximum_offline_minutes.unwrap_or(DEFAULT_MAXIMUM_OFFLINE_MINUTES),
        software: whole.software,
        offline_recognition: whole.offline_recognition.unwrap_or_default(),
        consent_version,
    }
}
