//! Wi-Fi credentials, known without being kept: a keyed digest of each Secret, made once for each version of it. A change of a
//! Secret makes a new version of the configurations that refer to it, and nothing tells what is in it.

use std::collections::HashMap;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use parking_lot::Mutex;
use sha2::Sha256;
use tokio::sync::OnceCell;

use crate::cache::{Name, SecretMeta};
use crate::error::Result;
use crate::gateway::live;
use crate::reconcile::names;

/// From how many Secrets on those that are gone are looked for.
const MANY: usize = 1024;

/// What opens a wireless network. It has no `Debug`.
pub struct Credentials {
    /// Name of the network, if the Secret says it.
    pub ssid: Option<String>,
    /// WPA passphrase.
    pub passphrase: String,
}

/// The credentials in a Secret; what is wrong with it otherwise, without quoting it.
pub fn read(secret: &Secret) -> Result<Credentials, String> {
    if secret.type_.as_deref() != Some(names::WIFI_TYPE) {
        return Err(format!("its type is not {}", names::WIFI_TYPE));
    }
    let text = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|bytes| String::from_utf8(bytes.0.clone()).map_err(|_| format!("its {key} is no text"))).transpose()
    };
    let passphrase = text("passphrase")?.ok_or("it has no key passphrase")?;
    let ssid = text("ssid")?;
    // IEEE 802.11-2020, 9.4.2.2 and J.4.1: what no device could use is said before one tries.
    if ssid.as_ref().is_some_and(|ssid| !(1..=32).contains(&ssid.len())) {
        return Err("its ssid has to have 1 to 32 bytes".into());
    }
    let is_key = passphrase.len() == 64 && passphrase.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_passphrase = (8..=63).contains(&passphrase.len()) && passphrase.bytes().all(|byte| matches!(byte, 32..=126));
    if !(is_key || is_passphrase) {
        return Err("its passphrase has to have 8 to 63 printable ASCII characters, or 64 hexadecimal digits".into());
    }
    Ok(Credentials { ssid, passphrase })
}

/// A digest of credentials, 32 hexadecimal digits, that only who has the installation's key can make or compare with a guess.
pub fn digest(key: &[u8; 32], name: &Name, credentials: &Credentials) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in [
        "fleetform wifi credentials",
        &name.namespace,
        &name.name,
        credentials.ssid.as_deref().unwrap_or_default(),
        &credentials.passphrase,
    ] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    fleetform_domain::hex(&mac.finalize().into_bytes()[..16])
}

/// What a Secret holds, as far as it may be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// [`digest`] of its credentials.
    pub digest: String,
    /// Whether it names the network.
    pub names_network: bool,
}

/// UID and version of a Secret.
type Version = (Option<String>, Option<String>);
type Looked = Arc<OnceCell<Result<Known, String>>>;

/// What is known of Secrets, by name.
#[derive(Debug, Default)]
pub struct KnownCredentials(Mutex<HashMap<Name, (Version, Looked)>>);

impl KnownCredentials {
    /// What the Secret of which the cache holds `meta` is known to hold; why it cannot be used otherwise. Many devices may refer
    /// to one: it is read once for each of its versions.
    pub async fn look(
        &self,
        client: &Client,
        key: &[u8; 32],
        name: &Name,
        meta: &SecretMeta,
    ) -> Result<Result<Known, String>> {
        let slot = self.slot(name, (meta.metadata.uid.clone(), meta.metadata.resource_version.clone()));
        let looked = slot.get_or_try_init(|| async {
            let Some(secret) = live::secret(client, name).await? else {
                return Ok(Err("it does not exist".to_owned()));
            };
            Ok(read(&secret).map(|credentials| Known {
                digest: digest(key, name, &credentials),
                names_network: credentials.ssid.is_some(),
            }))
        });
        looked.await.cloned()
    }

    fn slot(&self, name: &Name, version: Version) -> Looked {
        let mut known = self.0.lock();
        match known.get(name) {
            Some((at, looked)) if *at == version => return Arc::clone(looked),
            _ => {}
        }
        if known.len() >= MANY && !known.contains_key(name) {
            // What is still referred to is read again when it is asked for.
            known.clear();
        }
        let looked = Looked::default();
        known.insert(name.clone(), (version, Arc::clone(&looked)));
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(type_: &str, data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { type_: Some(type_.to_owned()), data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn only_what_a_device_can_use_is_taken() {
        let good = [("passphrase", "correct horse")];
        assert_eq!(read(&secret(names::WIFI_TYPE, &good)).unwrap().passphrase, "correct horse");
        let key = "0123456789abcdef".repeat(4);
        assert!(read(&secret(names::WIFI_TYPE, &[("passphrase", &key)])).is_ok());
        for (type_, data) in [
            ("Opaque", vec![("passphrase", "correct horse")]),
            (names::WIFI_TYPE, vec![]),
            (names::WIFI_TYPE, vec![("passphrase", "short")]),
            (names::WIFI_TYPE, vec![("passphrase", "with a\nline break")]),
            (names::WIFI_TYPE, vec![("passphrase", "correct horse"), ("ssid", "")]),
        ] {
            let why = read(&secret(type_, &data)).err().unwrap();
            assert!(data.iter().all(|(_, value)| value.is_empty() || !why.contains(value)), "{why} quotes it");
        }
    }

    #[test]
    fn a_digest_tells_credentials_apart_and_takes_the_key() {
        let of = |key: u8, name: &str, ssid: Option<&str>, passphrase: &str| {
            let credentials = Credentials { ssid: ssid.map(Into::into), passphrase: passphrase.into() };
            digest(&[key; 32], &Name::new("library", name), &credentials)
        };
        let one = of(1, "network", Some("doors"), "correct horse");
        assert_eq!(one, of(1, "network", Some("doors"), "correct horse"));
        assert_eq!(one.len(), 32);
        for other in [
            of(2, "network", Some("doors"), "correct horse"),
            of(1, "other", Some("doors"), "correct horse"),
            of(1, "network", Some("door"), "scorrect horse"),
            of(1, "network", Some("doors"), "correct horsf"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn memory_is_bounded_and_a_new_version_is_looked_at_anew() {
        let known = KnownCredentials::default();
        let version = |number: usize| (Some("uid".to_owned()), Some(number.to_string()));
        let first = known.slot(&Name::new("library", "network"), version(1));
        assert!(Arc::ptr_eq(&first, &known.slot(&Name::new("library", "network"), version(1))));
        assert!(!Arc::ptr_eq(&first, &known.slot(&Name::new("library", "network"), version(2))));
        for number in 0..3 * MANY {
            known.slot(&Name::new("library", number.to_string()), version(1));
        }
        assert!(known.0.lock().len() <= MANY);
    }
}
