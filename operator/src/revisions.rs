//! Revisions of templates, as devices are given them. A revision never changes, so what was read once is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fleetform_crds::device_instance::{ConfigurationVersion, TemplateRevision};
use fleetform_domain::configuration::Configuration;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::cache::Name;
use crate::error::{Error, Result};
use crate::gateway::live;
use crate::reconcile::names;
use crate::vault::data_keys::{DataKeys, Place};

/// Most revisions that are kept.
const KEPT: usize = 256;

type Key = (String, TemplateRevision);
type Slot = Arc<OnceCell<Arc<Configuration>>>;

/// The revisions that were read last.
#[derive(Debug, Default)]
pub struct Revisions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<Key, Slot>,
    order: VecDeque<Key>,
}

impl Revisions {
    /// What a revision says. Many devices may ask for one at once; it is read once. It takes the keys of the project, also to be told what
    /// is known already.
    pub async fn get(
        &self,
        client: &Client,
        keys: &DataKeys,
        namespace: &str,
        revision: &TemplateRevision,
    ) -> Result<Arc<Configuration>> {
        let slot = self.slot((namespace.to_owned(), revision.clone()));
        slot.get_or_try_init(|| read(client, keys, namespace, revision)).await.cloned()
    }

    /// What a version of a device instance's configuration says: its revision of a template with the overrides over it.
    pub async fn whole(
        &self,
        client: &Client,
        keys: &DataKeys,
        namespace: &str,
        version: &ConfigurationVersion,
    ) -> Result<Configuration> {
        let Some(revision) = &version.template else { return Ok(version.overrides.clone()) };
        Ok(self.get(client, keys, namespace, revision).await?.overridden_by(&version.overrides))
    }

    /// Forgets what is known of a namespace, whose key may not be used any more.
    pub fn forget(&self, namespace: &str) {
        let mut kept = self.0.lock();
        kept.slots.retain(|(of, _), _| of != namespace);
        kept.order.retain(|(of, _)| of != namespace);
    }

    fn slot(&self, key: Key) -> Slot {
        let mut kept = self.0.lock();
        if let Some(slot) = kept.slots.get(&key) {
            return Arc::clone(slot);
        }
        if kept.order.len() >= KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.slots.remove(&oldest);
        }
        kept.order.push_back(key.clone());
        Arc::clone(kept.slots.entry(key).or_default())
    }
}

/// A configuration as it is stored in the Secret of this name.
pub fn seal(keys: &DataKeys, name: &str, configuration: &Configuration, random: [u8; 16]) -> String {
    let plain = serde_json::to_vec(configuration).expect("a configuration is plain data");
    keys.seal(place(name), random, &plain)
}

/// What [`seal`] sealed.
pub fn open(keys: &DataKeys, secret: &Secret) -> Result<Configuration, String> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let sealed = secret.data.as_ref().and_then(|data| data.get(names::SEALED_CONFIGURATION));
    let sealed = sealed.ok_or_else(|| format!("it has no {}", names::SEALED_CONFIGURATION))?;
    let sealed = std::str::from_utf8(&sealed.0).map_err(|_| "what is sealed is no text".to_owned())?;
    let plain = keys.open(place(name), sealed).map_err(|error| error.to_string())?;
    serde_json::from_slice(&plain).map_err(|error| format!("the configuration in it does not read: {error}"))
}

const fn place(name: &str) -> Place<'_> {
    Place { kind: "Secret", name, member: names::SEALED_CONFIGURATION }
}

async fn read(
    client: &Client,
    keys: &DataKeys,
    namespace: &str,
    revision: &TemplateRevision,
) -> Result<Arc<Configuration>> {
    let name = Name::new(namespace, names::revision_secret(&revision.name, &revision.uid, revision.revision));
    let what = format!("Secret {name} (revision {} of ConfigTemplate {})", revision.revision, revision.name);
    let unusable = |why: String| Error::Unreadable { what: what.clone(), why };
    let secret = live::secret(client, &name).await?.ok_or_else(|| unusable("it does not exist".into()))?;
    parse(keys, &secret, &revision.uid).map(Arc::new).map_err(unusable)
}

fn parse(keys: &DataKeys, secret: &Secret, template_uid: &str) -> Result<Configuration, String> {
    if secret.type_.as_deref() != Some(names::REVISION_TYPE) {
        return Err(format!("its type is not {}", names::REVISION_TYPE));
    }
    let labels = secret.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(names::TEMPLATE_LABEL)).is_none_or(|uid| uid != template_uid) {
        return Err("it is not of this ConfigTemplate".into());
    }
    open(keys, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let revisions = Revisions::default();
        for number in 0..1000 {
            let revision = TemplateRevision { uid: "u".into(), name: "t".into(), revision: number };
            revisions.slot(("n".into(), revision));
        }
        let len = |revisions: &Revisions| {
            let kept = revisions.0.lock();
            (kept.slots.len(), kept.order.len())
        };
        assert_eq!(len(&revisions), (KEPT, KEPT));
        revisions.forget("m");
        assert_eq!(len(&revisions), (KEPT, KEPT));
        revisions.forget("n");
        assert_eq!(len(&revisions), (0, 0));
    }
}
