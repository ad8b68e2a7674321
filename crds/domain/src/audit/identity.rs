//! Pure: who did it.

use serde::{Deserialize, Serialize};

use super::text::{bounded, id};
use crate::id::Installation;

/// Who did it. The names of members and their order are those of the guides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentity {
    /// `AssumedRole`: everybody acts in a session that somebody else vouches for.
    #[serde(rename = "type")]
    pub identity_type: String,
    /// The UID that Kubernetes knows them by, and their name; of a device the id of its instance, and its association.
    pub principal_id: String,
    /// Names them in denials.
    pub arn: String,
    /// 12 digits.
    pub account_id: String,
    /// The id of the token or certificate that they came with, where Kubernetes tells it. It opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Who vouches for them.
    pub session_context: SessionContext,
}

/// Who vouches for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionContext {
    /// Whom they act as, or who acts as them.
    pub session_issuer: SessionIssuer,
    /// Always empty.
    pub web_id_federation_data: WebIdFederationData,
    /// How they proved who they are.
    pub attributes: SessionAttributes,
}

/// Whom somebody acts as, or who acts as them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionIssuer {
    /// `Role`.
    #[serde(rename = "type")]
    pub issuer_type: String,
    /// As for the identity.
    pub principal_id: String,
    /// As for the identity.
    pub arn: String,
    /// 12 digits.
    pub account_id: String,
    /// Its name.
    pub user_name: String,
}

/// Nothing: what a provider of identities says of people is between it and Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebIdFederationData {}

/// How somebody proved who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionAttributes {
    /// `false`: Kubernetes does not tell whether there was a second factor.
    pub mfa_authenticated: String,
}

/// Role of whom Kubernetes vouches for.
const KUBERNETES: &str = "kubernetes";

/// Role of whom a certificate or an activation code vouches for.
const DEVICE: &str = "fleetform-device";

/// Who did it, as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user of Kubernetes.
    User {
        /// Name, such as `system:serviceaccount:library:mary`.
        name: String,
        /// UID, if they have one.
        uid: Option<String>,
        /// Id of the token or certificate, if it is told.
        credential: Option<String>,
        /// Who acted as them, if somebody else did.
        impersonator: Option<String>,
    },
    /// A device.
    Device {
        /// Id of its instance.
        instance: String,
        /// Id of its association; none before it has one.
        association: Option<String>,
    },
}

impl Identity {
    /// As it stands in a record.
    pub fn shown(&self, here: &Installation) -> UserIdentity {
        let (principal_id, role, session, credential) = match self {
            Self::User { name, uid, credential, .. } => {
                let name = bounded(name);
                let principal = uid.as_deref().map_or_else(|| name.clone(), |uid| format!("{}:{name}", id(uid)));
                (principal, KUBERNETES, name, credential.as_deref().map(id))
            }
            Self::Device { instance, association } => {
                let session = association.as_deref().map_or_else(|| "unassociated".to_owned(), id);
                (format!("{}:{session}", id(instance)), DEVICE, session, None)
            }
        };
        UserIdentity {
            identity_type: "AssumedRole".to_owned(),
            principal_id,
            arn: here.session_arn(role, &session).to_string(),
            account_id: here.account().to_owned(),
            access_key_id: credential,
            session_context: SessionContext {
                session_issuer: self.issuer(here, role),
                web_id_federation_data: WebIdFederationData {},
                attributes: SessionAttributes { mfa_authenticated: "false".to_owned() },
            },
        }
    }

    fn issuer(&self, here: &Installation, role: &str) -> SessionIssuer {
        let (name, arn) = match self {
            Self::User { impersonator: Some(name), .. } => {
                let name = bounded(name);
                let arn = here.session_arn(role, &name);
                (name, arn)
            }
            Self::User { .. } | Self::Device { .. } => (role.to_owned(), here.role_arn(role)),
        };
        SessionIssuer {
            issuer_type: "Role".to_owned(),
            principal_id: name.clone(),
            arn: arn.to_string(),
            account_id: here.account().to_owned(),
            user_name: name,
        }
    }
}
