//! What the executor writes for people who have roles: Roles and `RoleBindings`, and people of the built-in directory.

use std::fmt::Debug;

use fleetform_crds::AdminUser;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding, Subject};
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::body;
use super::super::plan::{BindingDraft, LetterDraft, RoleDraft};
use super::{Executor, POST, metadata_of, of_uid, or_gone};
use crate::cache::Name;
use crate::directory::NewPerson;
use crate::error::{Class, Error, Result};
use crate::gateway::live;

impl Executor {
    /// Creates a RoleBinding of an admin user. One of the name that is theirs and says the same is kept: a crash left it, or the cache is
    /// late. One that is somebody else's is [`Error::NameTaken`].
    pub async fn bind(&self, user: &AdminUser, draft: &BindingDraft) -> Result<()> {
        let binding = body::role_binding(user, draft);
        let says_the_same = |found: &RoleBinding| found.role_ref == binding.role_ref;
        self.world.own_binding(self.create_or_keep("rolebindings", &binding, says_the_same).await?);
        Ok(())
    }

    /// Creates the Role of an admin user; like [`Executor::bind`].
    pub async fn create_role(&self, user: &AdminUser, draft: &RoleDraft) -> Result<()> {
        let role = body::role(user, draft);
        let says_the_same = |found: &Role| found.rules == role.rules;
        self.world.own_role(self.create_or_keep("roles", &role, says_the_same).await?);
        Ok(())
    }

    async fn create_or_keep<K>(&self, plural: &str, wanted: &K, says_the_same: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let name = Name::of(wanted);
        let api: Api<K> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = || format!("create the {} {name}", K::kind(&()));
        match self.write("create", plural, what(), api.create(&POST, wanted)).await {
            Err(error) if error.class() == Class::Conflict => {
                let found = api.get(&name.name).await.map_err(|error| Error::kube(what(), error))?;
                let is_theirs = found.meta().owner_references == wanted.meta().owner_references;
                if is_theirs && says_the_same(&found) { Ok(found) } else { Err(Error::NameTaken { what: what() }) }
            }
            created => created,
        }
    }

    /// Binds these by a RoleBinding of ours, if it still has this UID.
    pub async fn bind_to(&self, name: &Name, uid: &str, subjects: &[Subject]) -> Result<()> {
        let api: Api<RoleBinding> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch = Patch::Merge(json!({ "metadata": { "uid": uid }, "subjects": subjects }));
        let what = format!("update the RoleBinding {name}");
        let params = PatchParams::default();
        let stored = self.write("patch", "rolebindings", what, api.patch(&name.name, &params, &patch)).await?;
        self.world.own_binding(stored);
        Ok(())
    }

    /// Deletes a RoleBinding of ours, if it still has this UID. One that is gone is no error.
    pub async fn delete_binding(&self, name: &Name, uid: &str) -> Result<()> {
        let api: Api<RoleBinding> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("delete the RoleBinding {name}");
        or_gone(self.write("delete", "rolebindings", what, api.delete(&name.name, &of_uid(uid))).await)?;
        self.world.forget_binding(name);
        Ok(())
    }

    /// Deletes a Role of ours, if it still has this UID. One that is gone is no error.
    pub async fn delete_role(&self, name: &Name, uid: &str) -> Result<()> {
        let api: Api<Role> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = format!("delete the Role {name}");
        or_gone(self.write("delete", "roles", what, api.delete(&name.name, &of_uid(uid))).await)?;
        self.world.forget_role(name);
        Ok(())
    }

    /// Creates the Secret with a letter to an admin user. One of the name that is to them and about the same is kept: a crash left it, or
    /// the cache is late. A letter that is nobody's any more goes first. Any other is [`Error::NameTaken`].
    pub async fn draft_letter(&self, user: &AdminUser, draft: &LetterDraft) -> Result<()> {
        let secret = body::letter(user, draft);
        let is_the_same = |found: &Secret| found.type_ == secret.type_ && found.annotations() == secret.annotations();
        let stored = match self.create_or_keep("secrets", &secret, is_the_same).await {
            Err(taken @ Error::NameTaken { .. }) => {
                let name = Name::of(&secret);
                let found = live::secret(&self.client, &name).await?;
                let is_left = |found: &Secret| found.type_ == secret.type_ && found.owner_references().is_empty();
                let Some(uid) = found.filter(is_left).and_then(|found| found.uid()) else { return Err(taken) };
                self.delete_secret(&name, &uid).await?;
                self.create_or_keep("secrets", &secret, is_the_same).await?
            }
            stored => stored?,
        };
        self.world.own_secret(metadata_of(stored));
        Ok(())
    }

    /// Creates a person in the built-in directory. A ServiceAccount of the name that is no person is [`Error::NameTaken`].
    pub async fn create_person(&self, namespace: &str, person: &NewPerson) -> Result<()> {
        let account = body::person(namespace, person);
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("create the person {}: the ServiceAccount {namespace}/{}", person.email, person.user_name);
        let stored = match self.write("create", "serviceaccounts", what.clone(), api.create(&POST, &account)).await {
            Err(error) if error.class() == Class::Conflict => return Err(Error::NameTaken { what }),
            created => created?,
        };
        let mut metadata = stored.metadata;
        metadata.managed_fields = None;
        self.world.own_person(PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData });
        Ok(())
    }
}
