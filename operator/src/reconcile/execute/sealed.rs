//! What the executor writes of what is sealed again with another data key: nothing but how it is sealed.

use fleetform_crds::EnrolledUser;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::super::names;
use super::{Executor, metadata_of};
use crate::cache::Name;
use crate::crypto::KeyId;
use crate::error::Result;

impl Executor {
    /// Stores the profile of a user as it is sealed now, if nobody changed the user meanwhile.
    pub async fn reseal_user(&self, user: &EnrolledUser, sealed: &str) -> Result<()> {
        let name = Name::of(user);
        let api: Api<EnrolledUser> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": user.metadata.resource_version, "uid": user.metadata.uid },
            "spec": { "sealedProfile": sealed },
        }));
        let what = format!("seal the EnrolledUser {name} again");
        let params = PatchParams::default();
        let stored = self.write("patch", "enrolledusers", what, api.patch(&name.name, &params, &patch)).await?;
        self.world.own_user(stored);
        Ok(())
    }

    /// Stores a revision as it is sealed now, if nobody changed its Secret meanwhile.
    pub async fn reseal_revision(&self, secret: &Secret, key: KeyId, sealed: &str) -> Result<()> {
        let name = Name::of(secret);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch = Patch::Merge(json!({
            "metadata": {
                "resourceVersion": secret.metadata.resource_version,
                "uid": secret.metadata.uid,
                "labels": { names::SEALING_KEY_LABEL: key.to_string() },
            },
            "data": { names::SEALED_CONFIGURATION: ByteString(sealed.as_bytes().to_vec()) },
        }));
        let what = format!("seal the configuration revision {name} again");
        let params = PatchParams::default();
        let stored = self.write("patch", "secrets", what, api.patch(&name.name, &params, &patch)).await?;
        self.world.own_secret(metadata_of(stored));
        Ok(())
    }
}
