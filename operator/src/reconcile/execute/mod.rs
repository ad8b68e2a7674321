//! The only place that writes to the API server (leases, and what an installation makes once at its first start, apart).
//! Each write has a time limit, is counted, and is made only while this process holds the lease.

mod events;
mod people;
mod sealed;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use fleetform_crds::{Alert, Asset, DeviceInstance, EnrolledUser, Project};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::body;
use super::names::{MANAGER, SEALING_KEY_LABEL, SECRET_LABEL};
use super::plan::{AlertDraft, CodeSecret, News, RevisionSecret};
use crate::cache::{Name, World};
use crate::error::{Class, Error, Result};
use crate::leader::Leadership;
use crate::revisions;
use crate::settings::WRITE_TIMEOUT;
use crate::telemetry::Metrics;
use crate::vault::data_keys::DataKeys;

const POST: PostParams = PostParams { dry_run: false, field_manager: None };

/// Writes to the API server.
#[derive(Clone)]
pub struct Executor {
    client: Client,
    world: Arc<World>,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    recorder: Recorder,
}

impl Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

/// What became of the attempt to redeem a code.
#[derive(Debug)]
pub enum Redeemed {
    /// This device won.
    Won(Box<DeviceInstance>),
    /// The instance is no longer as the attempt assumed: somebody else won, or it changed.
    Lost,
}

impl Executor {
    /// An executor that tells `world` what its writes returned.
    pub fn new(client: Client, world: Arc<World>, leadership: Leadership, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: MANAGER.into(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, world, leadership, metrics, recorder }
    }

    /// Merges `status` into the status of `object`, if the object is still of the same resource version.
    pub async fn patch_status<K>(&self, object: &K, status: &Value) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let name = Name::of(object);
        let patch = json!({
            "metadata": { "resourceVersion": object.meta().resource_version, "uid": object.meta().uid },
            "status": status,
        });
        let api: Api<K> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("update the status of {} {name}", K::kind(&()));
        let patch = Patch::Merge(&patch);
        let params = PatchParams::default();
        self.write("patch", &format!("{}/status", K::plural(&())), what, api.patch_status(&name.name, &params, &patch))
            .await
    }

    /// Creates the Secret with an activation code, owned by `owner`, or rewrites the version of it that the code replaces: a
    /// conflict when that is no longer the stored one. A Secret of the name that is not the instance's is
    /// [`Error::NameTaken`].
    pub async fn store_code(&self, owner: &DeviceInstance, code: &CodeSecret) -> Result<()> {
        let name = Name::new(Name::of(owner).namespace, &code.name);
        let secret = body::code_secret(owner, code);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        let stored = if code.replaces.is_some() {
            let params = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(&secret);
            let what = format!("replace the activation code {name}");
            self.write("patch", "secrets", what, api.patch(&name.name, &params, &patch)).await?
        } else {
            // Dearer than a create by a third, a server-side apply would give nothing here: there is nothing to merge with.
            let what = format!("create the activation code {name}");
            match self.write("create", "secrets", what, api.create(&POST, &secret)).await {
                Err(error) if error.class() == Class::Conflict => return Err(self.taken(owner, &name, error).await),
                created => created?,
            }
        };
        self.world.own_secret(metadata_of(stored));
        Ok(())
    }

    /// Why a name is taken: by a Secret of `owner` that the cache had not seen, or by somebody else's.
    async fn taken(&self, owner: &DeviceInstance, name: &Name, conflict: Error) -> Error {
        match crate::gateway::live::secret_metadata(&self.client, name).await {
            Err(error) => error,
            Ok(None) => conflict,
            Ok(Some(found)) => {
                let owners = found.metadata.owner_references.iter().flatten();
                let labels = found.metadata.labels.iter().flatten();
                let watched = labels.into_iter().any(|(key, _)| key == SECRET_LABEL);
                let ours = watched && owners.into_iter().any(|found| Some(&found.uid) == owner.metadata.uid.as_ref());
                if ours {
                    self.world.own_secret(found);
                    return conflict;
                }
                Error::NameTaken { what: format!("create the activation code {name}") }
            }
        }
    }

    /// Creates the Secret with a revision of a template, owned by the project. One that is there already is kept when it
    /// says the same, and replaced when it does not: then a crash or an earlier project left it, and no version refers to it.
    /// One that is not ours is [`Error::NameTaken`].
    pub async fn create_revision(
        &self,
        project: &Project,
        revision: &RevisionSecret,
        keys: &DataKeys,
        random: [u8; 16],
    ) -> Result<()> {
        let name = Name::new(Name::of(project).namespace, &revision.name);
        let sealed = revisions::seal(keys, &revision.name, &revision.configuration, random);
        let secret = body::revision_secret(project, revision, keys.current(), &sealed);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = || format!("create the configuration revision {name}");
        let create = || self.write("create", "secrets", what(), api.create(&POST, &secret));
        let stored = match create().await {
            Err(error) if error.class() == Class::Conflict => {
                let found = api.get(&name.name).await.map_err(|error| Error::kube(what(), error))?;
                if found.type_ != secret.type_ || !is_labelled_as(&found, &secret) {
                    return Err(Error::NameTaken { what: what() });
                }
                let same = revisions::open(keys, &found).is_ok_and(|stored| stored == revision.configuration);
                if same && found.metadata.owner_references == secret.metadata.owner_references {
                    found
                } else {
                    self.delete_secret(&name, found.metadata.uid.as_deref().unwrap_or_default()).await?;
                    create().await?
                }
            }
            created => created?,
        };
        self.world.own_secret(metadata_of(stored));
        Ok(())
    }

    /// Deletes a Secret of ours, if it still has this UID. One that is gone is no error.
    pub async fn delete_secret(&self, name: &Name, uid: &str) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        let params = of_uid(uid);
        let what = format!("delete the Secret {name}");
        or_gone(self.write("delete", "secrets", what, api.delete(&name.name, &params)).await)?;
        self.world.forget_secret(name);
        Ok(())
    }

    /// Creates an alert about `asset`, owned by it. One of the name that is about this position of this asset is kept: a crash before
    /// it was recorded left it. One that is about something else is [`Error::NameTaken`].
    pub async fn raise_alert(&self, asset: &Asset, draft: &AlertDraft) -> Result<Alert> {
        let name = Name::new(Name::of(asset).namespace, &draft.name);
        let alert = body::alert(asset, draft);
        let api: Api<Alert> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = || format!("raise the alert {name}");
        match self.write("create", "alerts", what(), api.create(&POST, &alert)).await {
            Err(error) if error.class() == Class::Conflict => {
                let found = api.get(&name.name).await.map_err(|error| Error::kube(what(), error))?;
                let same =
                    (&found.spec.asset_ref, &found.spec.position) == (&alert.spec.asset_ref, &alert.spec.position);
                if same { Ok(found) } else { Err(Error::NameTaken { what: what() }) }
            }
            created => created,
        }
    }

    /// Deletes an alert, if it still has this UID. One that is gone is no error.
    pub async fn delete_alert(&self, name: &Name, uid: &str) -> Result<()> {
        let api: Api<Alert> = Api::namespaced(self.client.clone(), &name.namespace);
        let params = of_uid(uid);
        let what = format!("delete the alert {name}");
        or_gone(self.write("delete", "alerts", what, api.delete(&name.name, &params)).await)?;
        self.world.forget_alert(name);
        Ok(())
    }

    /// Writes an association into an instance's status in one guarded write: two devices can never both win.
    pub async fn redeem(&self, name: &Name, patch: json_patch::Patch) -> Result<Redeemed> {
        let api: Api<DeviceInstance> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("redeem the activation code of {name}");
        let patch = Patch::Json::<()>(patch);
        let params = PatchParams::default();
        match self.write("patch", "deviceinstances/status", what, api.patch_status(&name.name, &params, &patch)).await {
            Ok(device) => {
                self.world.own_device(device.clone());
                Ok(Redeemed::Won(Box::new(device)))
            }
            // A `test` that fails is 422.
            Err(error) if error.is_invalid() || matches!(error.class(), Class::Conflict | Class::Gone) => {
                tracing::info!(device = %name, %error, "a code was not redeemed");
                Ok(Redeemed::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Creates an enrolled user. A conflict when there is one of the name.
    pub async fn create_user(&self, user: &EnrolledUser) -> Result<()> {
        let name = Name::of(user);
        let api: Api<EnrolledUser> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("create the EnrolledUser {name}");
        let stored = self.write("create", "enrolledusers", what, api.create(&POST, user)).await?;
        self.world.own_user(stored);
        Ok(())
    }

    /// Puts a finalizer on an object, if nobody changed the object meanwhile.
    pub async fn hold<K>(&self, object: &K, finalizer: &str) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let name = Name::of(object);
        let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
        finalizers.push(finalizer.to_owned());
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": object.meta().resource_version, "finalizers": finalizers },
        }));
        let api: Api<K> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("put the finalizer {finalizer} on the {} {name}", K::kind(&()));
        self.write("patch", &K::plural(&()), what, api.patch(&name.name, &PatchParams::default(), &patch)).await
    }

    /// Takes a finalizer off a device instance that was deleted, if it is still this one. One that is gone is no error.
    pub async fn release_device(&self, device: &DeviceInstance, finalizer: &str) -> Result<()> {
        // What is left of it, and that it is gone, is watched.
        self.release("deviceinstances", device, finalizer).await.map(drop)
    }

    /// Takes a finalizer off an enrolled user who was deleted, if it is still this one. One that is gone is no error.
    pub async fn release_user(&self, user: &EnrolledUser, finalizer: &str) -> Result<()> {
        match self.release("enrolledusers", user, finalizer).await? {
            Released::Not => {}
            // Whatever else holds it, it goes by itself.
            Released::Left(left) => self.world.own_user(*left),
            Released::Gone => self.world.forget_user(&Name::of(user)),
        }
        Ok(())
    }

    /// Takes a finalizer off an object that was deleted, if it is still this one.
    pub async fn release<K>(&self, resource: &str, object: &K, finalizer: &str) -> Result<Released<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let (name, metadata) = (Name::of(object), object.meta());
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let Some(at) = finalizers.iter().position(|found| found == finalizer) else { return Ok(Released::Not) };
        let place = format!("/metadata/finalizers/{at}");
        let patch = body::json_patch(json!([
            { "op": "test", "path": "/metadata/uid", "value": metadata.uid },
            { "op": "test", "path": place, "value": finalizer },
            { "op": "remove", "path": place },
        ]));
        let api: Api<K> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("take the finalizer {finalizer} off the {} {name}", K::kind(&()));
        let params = PatchParams::default();
        match self.write("patch", resource, what, api.patch(&name.name, &params, &Patch::Json::<()>(patch))).await {
            Ok(left) if left.meta().finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()) => {
                Ok(Released::Left(Box::new(left)))
            }
            Ok(_) => Ok(Released::Gone),
            Err(error) if error.class() == Class::Gone => Ok(Released::Gone),
            Err(error) => Err(error),
        }
    }

    /// Tells people by a Kubernetes Event about `object`. Best effort: a failure is counted and logged, nothing else.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, news: &News) {
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason.as_str().to_owned(),
            note: Some(news.note.chars().take(1000).collect()),
            action: news.action.clone(),
            secondary: None,
        };
        let reference = object.object_ref(&());
        let what = format!("publish an Event about {}", Name::of(object));
        if let Err(error) = self.write("create", "events", what, self.recorder.publish(&event, &reference)).await {
            tracing::warn!(%error, "an Event was not published");
        }
    }

    async fn write<T>(
        &self,
        verb: &'static str,
        resource: &str,
        what: String,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T> {
        // Whoever takes the lease next must not meet a late write of ours.
        let Some(limit) = self.leadership.time_left().map(|left| left.min(WRITE_TIMEOUT)) else {
            return Err(Error::NotLeading { what });
        };
        let outcome = match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(|source| Error::kube(what, source)),
            Err(_) => Err(Error::TimedOut { what, limit }),
        };
        self.metrics.write(verb, resource, outcome.as_ref().err().map(Error::class));
        outcome
    }
}

/// What became of an object whose finalizer was to be taken off.
pub enum Released<K> {
    /// It did not have it.
    Not,
    /// Others hold it.
    Left(Box<K>),
    /// It is gone.
    Gone,
}

/// To delete an object only if it still has this UID.
fn of_uid(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// What is there already says what was to be said.
fn or_there<T>(created: Result<T>) -> Result<()> {
    match created {
        Err(error) if error.class() != Class::Conflict => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What is gone already, or is another object of the name, need not be deleted.
fn or_gone<T>(deleted: Result<T>) -> Result<()> {
    match deleted {
        Err(error) if !matches!(error.class(), Class::Gone | Class::Conflict) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether `found` has the labels that `made` has, which say what it is. With which key it is sealed says nothing of that.
fn is_labelled_as(found: &Secret, made: &Secret) -> bool {
    let there = found.metadata.labels.as_ref();
    let mut labels = made.metadata.labels.iter().flatten().filter(|(key, _)| *key != SEALING_KEY_LABEL);
    labels.all(|(key, value)| there.is_some_and(|there| there.get(key) == Some(value)))
}

/// The metadata of a Secret, as the cache keeps it.
pub(crate) fn metadata_of(secret: Secret) -> PartialObjectMeta<Secret> {
    let mut metadata = secret.metadata;
    metadata.managed_fields = None;
    PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData }
}
