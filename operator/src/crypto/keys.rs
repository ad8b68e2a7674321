//! The installation's keys: made once, at the first start, and kept in Secrets of the operator's namespace.
//!
//! With `reconcile/execute` this is the only place that writes to the API server: what an installation makes once.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::{Authority, CryptoError};
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use crate::reconcile::names::MANAGER;
use crate::settings::WRITE_TIMEOUT;

/// The Secret (type `kubernetes.io/tls`) with the authority's certificate and key.
pub const AUTHORITY_SECRET: &str = "fleetform-authority";

/// The Secret with the key that activation codes are made with.
pub const ACTIVATION_KEY_SECRET: &str = "fleetform-activation-key";

/// The `ConfigMap` that publishes the authority's certificate under `ca.crt`, for who has to trust the listeners.
pub const AUTHORITY_CONFIG_MAP: &str = "fleetform-ca";

/// The installation's keys. Its `Debug` hides them.
pub struct Keys {
    /// Signs certificates.
    pub authority: Authority,
    /// Activation codes are made with it.
    pub activation_key: [u8; 32],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// The installation's keys, made if there are none yet. A Secret that does not read is an error that names it: to make
/// another one in its place would cut off every device. So is one that is missing while `associated` devices count on it.
pub async fn load_or_create(client: &Client, namespace: &str, clock: &dyn Clock, associated: usize) -> Result<Keys> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let stored = secret(&secrets, AUTHORITY_SECRET, || {
        missing(namespace, AUTHORITY_SECRET, associated)?;
        let pem = Authority::generate(clock.now()).map_err(|error| unusable(AUTHORITY_SECRET, &error))?;
        let data = [("tls.crt", pem.certificate.into_bytes()), ("tls.key", pem.key.into_bytes())];
        Ok(new_secret(AUTHORITY_SECRET, "kubernetes.io/tls", data))
    })
    .await?;
    let authority = read_authority(&stored).map_err(|why| unreadable(namespace, AUTHORITY_SECRET, &why))?;
    let stored = secret(&secrets, ACTIVATION_KEY_SECRET, || {
        missing(namespace, ACTIVATION_KEY_SECRET, associated)?;
        Ok(new_secret(ACTIVATION_KEY_SECRET, "Opaque", [("key", clock.key().to_vec())]))
    })
    .await?;
    let activation_key = read_key(&stored).map_err(|why| unreadable(namespace, ACTIVATION_KEY_SECRET, &why))?;
    publish(client, namespace, authority.ca_pem()).await?;
    Ok(Keys { authority, activation_key })
}

/// The Secret of this name; the one that `new` makes when there is none. Of several processes that start together, one
/// creates it and the others read it.
async fn secret(api: &Api<Secret>, name: &str, new: impl FnOnce() -> Result<Secret>) -> Result<Secret> {
    let reading = || format!("read the Secret {name}");
    if let Some(stored) = bounded(reading(), api.get_opt(name)).await? {
        return Ok(stored);
    }
    let made = new()?;
    match bounded(format!("create the Secret {name}"), api.create(&PostParams::default(), &made)).await {
        Err(error) if error.class() == Class::Conflict => bounded(reading(), api.get(name)).await,
        created => {
            if created.is_ok() {
                tracing::info!(secret = name, "a key of the installation was made; back it up");
            }
            created
        }
    }
}

fn new_secret<const N: usize>(name: &str, type_: &str, data: [(&str, Vec<u8>); N]) -> Secret {
    Secret {
        metadata: metadata(name),
        type_: Some(type_.to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value))).collect()),
        ..Secret::default()
    }
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "fleetform".to_owned())]);
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
}

fn read_authority(secret: &Secret) -> Result<Authority, String> {
    let text = |key| String::from_utf8(member(secret, key)?.to_vec()).map_err(|_| format!("its {key} is no text"));
    Authority::from_pem(&text("tls.crt")?, &text("tls.key")?).map_err(|error| error.to_string())
}

fn read_key(secret: &Secret) -> Result<[u8; 32], String> {
    let key = member(secret, "key")?;
    key.try_into().map_err(|_| format!("its key has {} bytes instead of 32", key.len()))
}

fn member<'a>(secret: &'a Secret, key: &str) -> Result<&'a [u8], String> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    data.map(|bytes| bytes.0.as_slice()).ok_or_else(|| format!("it has no {key}"))
}

fn unusable(name: &str, error: &CryptoError) -> Error {
    Error::Unreadable { what: format!("Secret {name}"), why: error.to_string() }
}

/// A key that devices count on is not made anew.
fn missing(namespace: &str, name: &str, associated: usize) -> Result<()> {
    if associated == 0 {
        return Ok(());
    }
    let devices = if associated == 1 { "1 device counts".to_owned() } else { format!("{associated} devices count") };
    Err(Error::Unreadable {
        what: format!("Secret {namespace}/{name}"),
        why: format!(
            "it does not exist, but {devices} on it: restore it from a backup. If it is lost, deactivate every active device \
             (raise spec.activation.epoch); then a new one is made, and they have to be activated again"
        ),
    })
}

fn unreadable(namespace: &str, name: &str, why: &str) -> Error {
    let remedy = "restore it from a backup; it is never replaced, because every device depends on it";
    Error::Unreadable { what: format!("Secret {namespace}/{name}"), why: format!("{why}: {remedy}") }
}

/// Writes only when something differs: a restart writes nothing.
async fn publish(client: &Client, namespace: &str, ca: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let name = AUTHORITY_CONFIG_MAP;
    let published =
        |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("ca.crt")).is_some_and(|pem| pem == ca);
    match bounded(format!("read the ConfigMap {name}"), api.get_opt(name)).await? {
        Some(map) if published(&map) => return Ok(()),
        Some(_) => {}
        None => {
            let data = BTreeMap::from([("ca.crt".to_owned(), ca.to_owned())]);
            let map = ConfigMap { metadata: metadata(name), data: Some(data), ..ConfigMap::default() };
            match bounded(format!("create the ConfigMap {name}"), api.create(&PostParams::default(), &map)).await {
                Err(error) if error.class() == Class::Conflict => {}
                created => return created.map(drop),
            }
        }
    }
    let patch = Patch::Merge(json!({ "data": { "ca.crt": ca } }));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    bounded(format!("update the ConfigMap {name}"), api.patch(name, &params, &patch)).await.map(drop)
}

async fn bounded<T>(what: String, request: impl Future<Output = kube::Result<T>>) -> Result<T> {
    match tokio::time::timeout(WRITE_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|source| Error::kube(what, source)),
        Err(_) => Err(Error::TimedOut { what, limit: WRITE_TIMEOUT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn keys_read_back_and_bad_ones_are_named_and_not_shown() {
        let pem = Authority::generate(Timestamp::from_second(1_800_000_000).unwrap()).unwrap();
        let data = [("tls.crt", pem.certificate.into_bytes()), ("tls.key", pem.key.into_bytes())];
        let secret = new_secret(AUTHORITY_SECRET, "kubernetes.io/tls", data);
        assert!(read_authority(&secret).is_ok());
        assert_eq!(read_key(&new_secret("k", "Opaque", [("key", vec![7; 32])])), Ok([7; 32]));
        let short = read_key(&new_secret("k", "Opaque", [("key", vec![7; 31])])).unwrap_err();
        let error = unreadable("ns", ACTIVATION_KEY_SECRET, &short).to_string();
        assert!(error.starts_with("Secret ns/fleetform-activation-key: its key has 31 bytes"), "{error}");
        assert_eq!(read_key(&secret).unwrap_err(), "it has no key");
    }

    #[test]
    fn a_key_that_devices_count_on_is_not_made_anew() {
        assert!(missing("ns", AUTHORITY_SECRET, 0).is_ok());
        let error = missing("ns", AUTHORITY_SECRET, 40).unwrap_err().to_string();
        assert!(
            error.starts_with("Secret ns/fleetform-authority: it does not exist, but 40 devices count on it"),
            "{error}"
        );
    }
}
