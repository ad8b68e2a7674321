//! Pure: which configuration an instance should run, as a version that never changes.

use std::sync::Arc;

use fleetform_crds::condition::{Reason, whole_second};
use fleetform_crds::device_instance::{
    ConfigurationStatus, ConfigurationVersion, CredentialsVersion, KEPT_VERSIONS, TemplateRevision,
};
use fleetform_crds::{ConfigTemplate, DeviceInstance};
use fleetform_domain::configuration::Configuration;
use jiff::Timestamp;

use crate::cache::Found;
use crate::controllers::Obstacle;
use crate::credentials::Known;
use crate::reconcile::names;

/// The configuration that spec and template make together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// All of it.
    pub whole: Configuration,
    /// The template revision that it starts from.
    pub template: Option<TemplateRevision>,
    /// What lies over it.
    pub overrides: Configuration,
    /// The Wi-Fi credentials that it takes.
    pub credentials: Option<CredentialsVersion>,
}

/// The Secret with Wi-Fi credentials that a configuration refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WifiSecret {
    /// It refers to none.
    NotNeeded,
    /// There is no Secret of this name and of the right type.
    Missing(String),
    /// The Secret of this name is of no use.
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// It can be used.
    Usable {
        /// Its name.
        name: String,
        /// What is known of it.
        known: Known,
    },
}

/// The revision of its template that a device keeps while a later one goes out.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which.
    pub revision: TemplateRevision,
    /// What it says.
    pub configuration: Arc<Configuration>,
}

/// What stands between an instance and its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The operator itself has yet to look at the template; it will in a moment.
    Moment,
    /// The template is there, but does not read.
    Unreadable(Obstacle),
    /// Something that has to be said.
    Obstacle(Obstacle),
}

/// The configuration that is wanted of `device`.
pub fn wanted(
    device: &DeviceInstance,
    template: Option<&Found<ConfigTemplate>>,
    held: Option<&Held>,
) -> Result<Wanted, Missing> {
    let overrides = device.overrides();
    let obstacle = |obstacle| Err(Missing::Obstacle(obstacle));
    let (base, revision) = match (device.template_name(), template) {
        (Some(name), Some(Found::Here(template))) => {
            let status = template.status.as_ref();
            let current = status.is_some_and(|status| status.observed_generation == template.metadata.generation);
            let revision = status.and_then(|status| status.revision).filter(|_| current);
            let (Some(revision), Some(uid)) = (revision, template.metadata.uid.clone()) else {
                return Err(Missing::Moment);
            };
            match held {
                Some(held) => (Configuration::clone(&held.configuration), Some(held.revision.clone())),
                None => (
                    template.spec.configuration.clone(),
                    Some(TemplateRevision { uid, name: name.to_owned(), revision }),
                ),
            }
        }
        (Some(name), Some(Found::Unreadable(why))) => {
            let message = format!("spec.configuration.templateRef: ConfigTemplate {name} cannot be read: {why}");
            return Err(Missing::Unreadable(Obstacle::waits(Reason::TemplateUnreadable, message)));
        }
        (Some(name), _) => {
            let message = format!(
                "spec.configuration.templateRef: there is no ConfigTemplate {name} in this namespace; create it, or refer \
                 to another one"
            );
            return obstacle(Obstacle::waits(Reason::TemplateNotFound, message));
        }
        (None, _) => (Configuration::default(), None),
    };
    let whole = base.overridden_by(&overrides);
    let missing = whole.missing_for(device.spec.device_type);
    if !missing.is_empty() {
        let fields: Vec<String> = missing.iter().map(|field| format!("spec.configuration.{field}")).collect();
        let message = format!("set {}, here or in a ConfigTemplate that templateRef names", fields.join(" and "));
        return obstacle(Obstacle::stalls(Reason::ConfigurationIncomplete, message));
    }
    Ok(Wanted { whole, template: revision, overrides, credentials: None })
}

/// `wanted` with the Wi-Fi credentials that it takes.
pub fn with_credentials(mut wanted: Wanted, secret: &WifiSecret) -> Result<Wanted, Obstacle> {
    const FIELD: &str = "spec.configuration.wifi.credentialsSecretRef";
    let obstacle = |message| Err(Obstacle::waits(Reason::SecretUnusable, message));
    let Some(wifi) = &wanted.whole.wifi else { return Ok(wanted) };
    match secret {
        WifiSecret::NotNeeded => Ok(wanted),
        WifiSecret::Missing(name) => obstacle(format!(
            "{FIELD}: there is no Secret {name} of type {} in this namespace; create it, or refer to another one",
            names::WIFI_TYPE
        )),
        WifiSecret::Unusable { name, why } => {
            obstacle(format!("{FIELD}: the Secret {name} cannot be used: {why}; correct it, or refer to another one"))
        }
        WifiSecret::Usable { name, known } if wifi.ssid.is_none() && !known.names_network => obstacle(format!(
            "spec.configuration.wifi.ssid is left out, and the Secret {name} has no key ssid: set one of them"
        )),
        WifiSecret::Usable { name, known } => {
            let (secret_name, digest) = (name.clone(), known.digest.clone());
            wanted.credentials = Some(CredentialsVersion { secret_name, digest });
            Ok(wanted)
        }
    }
}

/// Name of the Secret with Wi-Fi credentials that the configuration of `device` refers to, if it does.
pub fn wifi_secret<'a>(
    device: &'a DeviceInstance,
    template: Option<&'a Found<ConfigTemplate>>,
    held: Option<&'a Held>,
) -> Option<&'a str> {
    let inline = device.spec.configuration.as_ref().map(|configuration| &configuration.inline);
    let base = match (held, template) {
        (Some(held), _) => Some(&*held.configuration),
        (None, Some(Found::Here(template))) => Some(&template.spec.configuration),
        _ => None,
    };
    let wifi = inline.and_then(|inline| inline.wifi.as_ref()).or_else(|| base.and_then(|base| base.wifi.as_ref()));
    wifi.map(|wifi| wifi.credentials_secret_ref.name.as_str())
}

/// Name of the Secret with Wi-Fi credentials that the desired version was made with.
pub fn credentials_in_force(device: &DeviceInstance) -> Option<&str> {
    device.desired_version()?.credentials.as_ref().map(|credentials| credentials.secret_name.as_str())
}

/// The configuration status with `wanted` as the desired version: a new version when it differs from the last one.
pub fn desire(current: Option<&ConfigurationStatus>, wanted: &Wanted, now: Timestamp) -> ConfigurationStatus {
    let mut status = current.cloned().unwrap_or_default();
    status.operation_mode = wanted.whole.operation_mode;
    let latest = status.history.last();
    let digest = wanted.whole.digest();
    // A revision that changes nothing for this device makes no version.
    let template = |template: &Option<TemplateRevision>| template.as_ref().map(|from| from.uid.clone());
    let same = |version: &ConfigurationVersion| {
        template(&version.template) == template(&wanted.template)
            && version.overrides == wanted.overrides
            && version.credentials == wanted.credentials
            && version.digest == digest
    };
    if latest.is_some_and(same) {
        return status;
    }
    let version = latest.map_or(0, |latest| latest.version) + 1;
    status.history.push(ConfigurationVersion {
        version,
        digest,
        template: wanted.template.clone(),
        overrides: wanted.overrides.clone(),
        credentials: wanted.credentials.clone(),
        maximum_offline_minutes: wanted.whole.maximum_offline_minutes,
        offline_recognition: wanted.whole.offline_recognition.unwrap_or_default(),
        consent_version: wanted.whole.consent_text().map(str::to_owned),
        created_at: whole_second(now),
    });
    status.desired = version;
    status.refused = None;
    // The version that the device runs stays addressable however many follow it.
    while status.history.len() > KEPT_VERSIONS {
        let oldest_unused = status.history.iter().position(|v| Some(v.version) != status.applied).unwrap_or(0);
        status.history.remove(oldest_unused);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetform_domain::configuration::OperationMode;

    fn version(mode: OperationMode) -> Wanted {
        let whole = Configuration { operation_mode: Some(mode), ..Configuration::default() };
        Wanted { overrides: whole.clone(), whole, template: None, credentials: None }
    }

    #[test]
    fn a_change_makes_a_version_and_no_change_makes_none() {
        let first = desire(None, &version(OperationMode::Entry), Timestamp::UNIX_EPOCH);
        assert_eq!((first.desired, first.history.len()), (1, 1));
        assert_eq!(desire(Some(&first), &version(OperationMode::Entry), Timestamp::UNIX_EPOCH), first);
        let second = desire(Some(&first), &version(OperationMode::Enrollment), Timestamp::UNIX_EPOCH);
        assert_eq!((second.desired, second.history.len()), (2, 2));
    }

    #[test]
    fn history_is_bounded_and_keeps_the_version_in_force() {
        let mut status = desire(None, &version(OperationMode::Entry), Timestamp::UNIX_EPOCH);
        status.applied = Some(1);
        for round in 0..30 {
            let mode = if round % 2 == 0 { OperationMode::Enrollment } else { OperationMode::Entry };
            status = desire(Some(&status), &version(mode), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(status.history.len(), KEPT_VERSIONS);
        assert_eq!(status.history[0].version, 1);
        assert_eq!(status.history.last().map(|v| v.version), Some(31));
        assert_eq!(status.desired, 31);
    }
}
