//! The installation's keys: each is made once, and kept in a Secret of the operator's namespace.
//!
//! With `reconcile/execute` this is the only place that writes to the API server: what an installation makes once, and how far
//! the rotation of its authority is.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use fleetform_crds::condition::whole_second;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::succession::{self, Making, Obstacle, Stage, Times};
use super::{Authority, CryptoError, Generation, Ring};
use crate::clock::Clock;
use crate::error::{Class, Error, Result};
use crate::reconcile::names::{
    ANNOUNCED_ANNOTATION, GENERATION_ANNOTATION, MANAGER, RETIRED_ANNOTATION, SERVING_ANNOTATION,
};
use crate::settings::WRITE_TIMEOUT;

/// The Secret (type `kubernetes.io/tls`) with the certificate and the key of the first generation of the authority; of those after
/// it, their number follows.
pub const AUTHORITY_SECRET: &str = "fleetform-authority";

/// The Secret with the key that activation codes are made with.
pub const ACTIVATION_KEY_SECRET: &str = "fleetform-activation-key";

/// The `ConfigMap` that publishes the authorities' certificates under `ca.crt`, for who has to trust the listeners.
pub const AUTHORITY_CONFIG_MAP: &str = "fleetform-ca";

/// The installation's keys. Its `Debug` hides them.
pub struct Keys {
    /// Signs certificates.
    pub ring: Ring,
    /// Activation codes are made with it.
    pub activation_key: [u8; 32],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// Whose keys they are, and how many devices count on them.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    /// To read and write with.
    pub client: &'a Client,
    /// The operator's namespace.
    pub namespace: &'a str,
    /// The generation of the authority that is wanted.
    pub wanted: u32,
    /// Devices that are active.
    pub associated: usize,
}

impl fmt::Debug for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Holder<'_> {
    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// The installation's keys, made if there are none yet. A Secret that does not read is an error that names it: to make
    /// another one in its place would cut off every device. So is one that is missing while devices count on it.
    pub async fn load_or_create(&self, clock: &dyn Clock) -> Result<Keys> {
        let ring = self.ring(clock).await?;
        let stored = secret(&self.secrets(), ACTIVATION_KEY_SECRET, || {
            if self.associated > 0 {
                return Err(missing(self.namespace, ACTIVATION_KEY_SECRET, self.associated));
            }
            Ok(new_secret(ACTIVATION_KEY_SECRET, "Opaque", [("key", clock.key().to_vec())]))
        })
        .await?;
        let activation_key =
            read_key(&stored).map_err(|why| unreadable(self.namespace, ACTIVATION_KEY_SECRET, &why))?;
        Ok(Keys { ring, activation_key })
    }

    /// The generations of the authority, the first or the next one made if it is time, and what people have to trust published.
    pub async fn ring(&self, clock: &dyn Clock) -> Result<Ring> {
        let map = published(self.client, self.namespace).await?;
        let known = map.as_ref().map_or(0, generation_of);
        let mut generations = Vec::new();
        for number in 1..=self.wanted {
            let name = authority_secret(number);
            let reading = format!("read the Secret {name}");
            if let Some(stored) = bounded(reading, self.secrets().get_opt(&name)).await? {
                generations.push(self.read(number, &stored, known, clock.now()).await?);
            }
        }
        let stages: Vec<(u32, Stage)> =
            generations.iter().map(|generation| (generation.number, generation.times.stage())).collect();
        let making = succession::make(&stages, known, self.wanted, self.associated > 0);
        let (number, times) = match making.map_err(|obstacle| self.cannot_serve(obstacle))? {
            Making::Nothing => (None, Times::announced(clock.now())),
            Making::First(number) => (Some(number), Times::settled(clock.now())),
            Making::Next(number) => (Some(number), Times::announced(clock.now())),
        };
        if let Some(number) = number {
            let name = authority_secret(number);
            let stored = secret(&self.secrets(), &name, || new_authority(number, times, clock.now())).await?;
            generations.push(self.read(number, &stored, known, clock.now()).await?);
        }
        let ring = Ring::new(generations, clock.now())
            .map_err(|error| unreadable(self.namespace, &authority_secret(self.wanted), &error.to_string()))?;
        publish(self.client, self.namespace, map, &ring).await?;
        Ok(ring)
    }

    /// A stored generation. One that lost its times with its annotations, as a backup may, begins to serve if it was known
    /// already: that is safe whatever stage it was in, because the one before it vouches for it.
    async fn read(&self, number: u32, stored: &Secret, known: u32, now: Timestamp) -> Result<Generation> {
        let name = authority_secret(number);
        let bad = |why: String| unreadable(self.namespace, &name, &why);
        let authority = Arc::new(read_authority(stored).map_err(bad)?);
        let times = match read_times(stored).map_err(bad)? {
            _ if number == 1 => Times::settled(Timestamp::UNIX_EPOCH),
            Some(times) => times,
            None => {
                let times = if number <= known { Times::serving(now) } else { Times::announced(now) };
                write_times(&self.secrets(), stored, &name, times).await?;
                times
            }
        };
        Ok(Generation { number, authority, times })
    }

    /// Stores that a generation has reached a stage: one write. Nothing when somebody else has stored another one meanwhile.
    pub async fn record(&self, generation: &Generation, times: Times) -> Result<()> {
        let (api, name) = (self.secrets(), authority_secret(generation.number));
        let stored = bounded(format!("read the Secret {name}"), api.get(&name)).await?;
        match read_times(&stored).map_err(|why| unreadable(self.namespace, &name, &why))? {
            Some(before) if before == generation.times => write_times(&api, &stored, &name, times).await,
            _ => Ok(()),
        }
    }

    fn cannot_serve(&self, obstacle: Obstacle) -> Error {
        match obstacle {
            Obstacle::Lowered(known) => Error::Unreadable {
                what: format!("generation {} of the authority", self.wanted),
                why: format!(
                    "the installation is at generation {known} already, and the number only rises: set authority.generation \
                     (--authority-generation) to {known} or more"
                ),
            },
            Obstacle::Missing(number) => missing(self.namespace, &authority_secret(number), self.associated),
            Obstacle::MissingBefore(number) => {
                let what = format!("{AUTHORITY_SECRET} before {}", authority_secret(number));
                missing(self.namespace, &what, self.associated)
            }
        }
    }
}

/// Name of the Secret of a generation of the authority.
pub fn authority_secret(generation: u32) -> String {
    if generation <= 1 { AUTHORITY_SECRET.to_owned() } else { format!("{AUTHORITY_SECRET}-{generation}") }
}

fn new_authority(number: u32, times: Times, now: Timestamp) -> Result<Secret> {
    let name = authority_secret(number);
    let pem = Authority::generate(number, now).map_err(|error| unusable(&name, &error))?;
    let data = [("tls.crt", pem.certificate.into_bytes()), ("tls.key", pem.key.into_bytes())];
    let mut secret = new_secret(&name, "kubernetes.io/tls", data);
    secret.metadata.annotations = (number > 1).then(|| annotations(times));
    Ok(secret)
}

fn annotations(times: Times) -> BTreeMap<String, String> {
    let stored = [
        (ANNOUNCED_ANNOTATION, Some(times.announced)),
        (SERVING_ANNOTATION, times.serving),
        (RETIRED_ANNOTATION, times.settled),
    ];
    stored.into_iter().filter_map(|(name, time)| Some((name.to_owned(), whole_second(time?).0.to_string()))).collect()
}

/// The times that stand on a Secret; `None` when there are none.
fn read_times(secret: &Secret) -> Result<Option<Times>, String> {
    let read = |name: &str| {
        let text = secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
        let wrong = |_| format!("its annotation {name} is no time such as 2026-01-31T00:00:00Z");
        text.map(|text| text.parse::<Timestamp>().map_err(wrong)).transpose()
    };
    let (serving, settled) = (read(SERVING_ANNOTATION)?, read(RETIRED_ANNOTATION)?);
    let announced = read(ANNOUNCED_ANNOTATION)?.or(serving).or(settled);
    Ok(announced.map(|announced| Times { announced, serving, settled }))
}

async fn write_times(api: &Api<Secret>, stored: &Secret, name: &str, times: Times) -> Result<()> {
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": stored.metadata.resource_version, "annotations": annotations(times) },
    }));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    bounded(format!("update the Secret {name}"), api.patch(name, &params, &patch)).await.map(drop)
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
fn missing(namespace: &str, name: &str, associated: usize) -> Error {
    let devices = if associated == 1 { "1 device counts".to_owned() } else { format!("{associated} devices count") };
    Error::Unreadable {
        what: format!("Secret {namespace}/{name}"),
        why: format!(
            "it does not exist, but {devices} on it: restore it from a backup. If it is lost, deactivate every active device \
             (raise spec.activation.epoch); then a new one is made, and they have to be activated again"
        ),
    }
}

fn unreadable(namespace: &str, name: &str, why: &str) -> Error {
    let remedy = "restore it from a backup; it is never replaced, because every device depends on it";
    Error::Unreadable { what: format!("Secret {namespace}/{name}"), why: format!("{why}: {remedy}") }
}

async fn published(client: &Client, namespace: &str) -> Result<Option<ConfigMap>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    bounded(format!("read the ConfigMap {AUTHORITY_CONFIG_MAP}"), api.get_opt(AUTHORITY_CONFIG_MAP)).await
}

/// The newest generation that was ever announced. One that does not read may be any.
fn generation_of(map: &ConfigMap) -> u32 {
    let text = map.metadata.annotations.as_ref().and_then(|annotations| annotations.get(GENERATION_ANNOTATION));
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Writes only when something differs: a restart writes nothing.
async fn publish(client: &Client, namespace: &str, map: Option<ConfigMap>, ring: &Ring) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let name = AUTHORITY_CONFIG_MAP;
    let ca = ring.delivered().iter().fold(String::new(), |all, pem| all + pem.trim_end() + "\n");
    let newest = ring.newest().number;
    let says = |map: &ConfigMap| {
        let pem = map.data.as_ref().and_then(|data| data.get("ca.crt"));
        pem.is_some_and(|pem| *pem == ca) && generation_of(map) == newest
    };
    let annotations = BTreeMap::from([(GENERATION_ANNOTATION.to_owned(), newest.to_string())]);
    let version = match map {
        Some(map) if says(&map) => return Ok(()),
        Some(map) => map.metadata.resource_version,
        None => {
            let data = BTreeMap::from([("ca.crt".to_owned(), ca)]);
            let metadata = ObjectMeta { annotations: Some(annotations), ..metadata(name) };
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            let what = format!("create the ConfigMap {name}");
            return bounded(what, api.create(&PostParams::default(), &map)).await.map(drop);
        }
    };
    // Onto what was read: a process that no longer leads must not take back what the next one has announced.
    let metadata = json!({ "resourceVersion": version, "annotations": annotations });
    let patch = Patch::Merge(json!({ "metadata": metadata, "data": { "ca.crt": ca } }));
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

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    #[test]
    fn keys_read_back_and_bad_ones_are_named_and_not_shown() {
        let secret = new_authority(1, Times::settled(now()), now()).unwrap();
        assert_eq!((secret.metadata.name.as_deref(), &secret.metadata.annotations), (Some(AUTHORITY_SECRET), &None));
        assert!(read_authority(&secret).is_ok());
        assert_eq!(read_key(&new_secret("k", "Opaque", [("key", vec![7; 32])])), Ok([7; 32]));
        let short = read_key(&new_secret("k", "Opaque", [("key", vec![7; 31])])).unwrap_err();
        let error = unreadable("ns", ACTIVATION_KEY_SECRET, &short).to_string();
        assert!(error.starts_with("Secret ns/fleetform-activation-key: its key has 31 bytes"), "{error}");
        assert_eq!(read_key(&secret).unwrap_err(), "it has no key");
    }

    #[test]
    fn the_times_of_a_generation_read_back_and_bad_ones_are_named() {
        let later = now() + jiff::SignedDuration::from_mins(5);
        for times in [Times::announced(now()), Times::announced(now()).after(succession::Step::Serve, later)] {
            let secret = new_authority(2, times, now()).unwrap();
            assert_eq!(secret.metadata.name.as_deref(), Some("fleetform-authority-2"));
            assert_eq!(read_times(&secret), Ok(Some(times)));
        }
        let mut secret = new_authority(2, Times::settled(now()), now()).unwrap();
        assert_eq!(read_times(&secret).unwrap().unwrap().stage(), Stage::Settled);
        if let Some(annotations) = &mut secret.metadata.annotations {
            annotations.insert(SERVING_ANNOTATION.to_owned(), "yesterday".to_owned());
        }
        assert!(read_times(&secret).unwrap_err().starts_with("its annotation fleetform.dev/serving-since is no time"));
        secret.metadata.annotations = None;
        assert_eq!(read_times(&secret), Ok(None));
    }

    #[test]
    fn a_key_that_devices_count_on_is_not_made_anew() {
        let error = missing("ns", AUTHORITY_SECRET, 40).to_string();
        assert!(
            error.starts_with("Secret ns/fleetform-authority: it does not exist, but 40 devices count on it"),
            "{error}"
        );
    }
}
