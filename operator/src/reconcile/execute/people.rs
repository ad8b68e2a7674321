//! What the executor writes for people who have roles: `RoleBindings`, and people of the built-in directory.

use fleetform_crds::AdminUser;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use serde_json::json;

use super::super::body;
use super::super::plan::BindingDraft;
use super::{Executor, POST, of_uid, or_gone};
use crate::cache::Name;
use crate::directory::NewPerson;
use crate::error::{Class, Error, Result};

impl Executor {
    /// Creates the RoleBinding of an admin user. One of the name that is theirs and says the same is kept: a crash left it, or the cache is
    /// late. One that is somebody else's is [`Error::NameTaken`].
    pub async fn bind(&self, user: &AdminUser, draft: &BindingDraft, prefix: &str) -> Result<()> {
        let name = Name::new(Name::of(user).namespace, &draft.name);
        let binding = body::role_binding(user, draft, prefix);
        let api: Api<RoleBinding> = Api::namespaced(self.client.clone(), &name.namespace);
        let what = || format!("create the RoleBinding {name}");
        let stored = match self.write("create", "rolebindings", what(), api.create(&POST, &binding)).await {
            Err(error) if error.class() == Class::Conflict => {
                let found = api.get(&name.name).await.map_err(|error| Error::kube(what(), error))?;
                let owners = |binding: &RoleBinding| binding.metadata.owner_references.clone();
                if owners(&found) != owners(&binding) || found.role_ref != binding.role_ref {
                    return Err(Error::NameTaken { what: what() });
                }
                found
            }
            created => created?,
        };
        self.world.own_binding(stored);
        Ok(())
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
