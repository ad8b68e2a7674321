//! `AdminUser`: a person or a group of the project's directory, with a role in the project.

use fleetform_domain::admin::Role;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::reference::LocalReference;

/// Finalizer on everybody who is to be an Admin of the project: the last one stays.
pub const LAST_ADMIN_FINALIZER: &str = "fleetform.dev/last-admin";

/// Somebody who works with the project: what they may do there is their role.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "fleetform.dev",
    version = "v1alpha1",
    kind = "AdminUser",
    plural = "adminusers",
    shortname = "au",
    category = "fleetform",
    namespaced,
    status = "AdminUserStatus",
    derive = "PartialEq",
    doc = "A person or a group of the project's directory, with a role in the project, or at one site of it. It takes `bind` on the ClusterRole of the role, or on the Site, to give or take it.",
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Site", type_ = "string", json_path = ".spec.siteRef.name"),
    printcolumn(name = "Person", type_ = "string", json_path = ".spec.person.userName"),
    printcolumn(name = "Email", type_ = "string", json_path = ".spec.person.email"),
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.group.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 200")
        .message("the name of an AdminUser has at most 200 characters: its RoleBinding is named after it"),
    validation = Rule::new("has(self.spec.person) != has(self.spec.group)")
        .message("spec: name either a person or a group")
        .field_path(".spec"),
    validation = Rule::new(SAME_RULE)
        .message("spec.person and spec.group of an AdminUser are fixed: delete this one, and make another for somebody else")
        .field_path(".spec"),
    validation = Rule::new(
        "has(self.spec.siteRef) == has(oldSelf.spec.siteRef) && \
         (!has(self.spec.siteRef) || self.spec.siteRef.name == oldSelf.spec.siteRef.name)"
    )
    .message("spec.siteRef of an AdminUser is fixed: delete this one, and make another for the other site")
    .field_path(".spec.siteRef")
)]
#[serde(rename_all = "camelCase")]
pub struct AdminUserSpec {
    /// What they may do: `Admin` everything, `Technician` see all, activate devices and answer alerts, `Viewer` see all,
    /// `Installer` see sites and what there is to activate, and get the codes.
    pub role: Role,
    /// The Site where they have the role. Left out, they have it in the whole project. Fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_ref: Option<LocalReference>,
    /// A person of the project's directory. Fixed, but for `create` and the names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<Person>,
    /// A group of the project's directory: all who are in it have the role. Fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// Who it is stays the same.
const SAME_RULE: &str = "has(self.spec.person) == has(oldSelf.spec.person) && \
    (!has(self.spec.group) || self.spec.group.name == oldSelf.spec.group.name) && \
    (!has(self.spec.person) || has(self.spec.person.userName) == has(oldSelf.spec.person.userName) && \
     has(self.spec.person.email) == has(oldSelf.spec.person.email) && \
     (!has(self.spec.person.userName) || self.spec.person.userName == oldSelf.spec.person.userName) && \
     (!has(self.spec.person.email) || self.spec.person.email == oldSelf.spec.person.email))";

/// A person of the project's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.userName) || has(self.email)")
        .message("person: name the person by userName or by email"),
    validation = Rule::new("!(has(self.create) && self.create) || has(self.email) && has(self.firstName) && has(self.lastName)")
        .message("person.create: to create a person takes email, firstName and lastName")
)]
pub struct Person {
    /// User name in the directory, 1 to 128 characters. In the built-in one: 1 to 63 lower case letters, digits, hyphens and dots.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub user_name: Option<String>,
    /// Email address in the directory, at most 254 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    #[x_kube(validation = Rule::new("self.matches('^[^@\\\\s<>]+@[^@\\\\s<>]+[.][^@\\\\s<>.]+$')")
        .message("person.email is no email address: write it like mary.major@example.com"))]
    pub email: Option<String>,
    /// First name, at most 64 characters. Used when the person is created, and in the letter to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub first_name: Option<String>,
    /// Last name, at most 64 characters. Used when the person is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub last_name: Option<String>,
    /// Create the person in the directory when there is nobody of that name and address. Needs email, firstName and lastName.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
    /// Write them a letter that says which role they have, and where. It is drafted once, and sent if the installation has a mail server. Set to
    /// false and to true again, it is written and sent anew.
    #[serde(default = "yes")]
    pub invite: bool,
}

const fn yes() -> bool {
    true
}

/// A group of the project's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Name in the directory, 1 to 128 characters. In the built-in one: 1 to 63 letters, digits, hyphens, underscores and dots.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
}

/// What the operator sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdminUserStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Id of the person or group in the directory; of the built-in one the UID of the person's ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub directory_id: Option<String>,
    /// User name of the person to Kubernetes, as audit logs and bindings of roles have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub kubernetes_user: Option<String>,
    /// The role that they have now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The letter to them, once it is drafted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invitation: Option<Invitation>,
    /// `Ready`, `Reconciling`, `Stalled`, and `Invited` of a person who is written to.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// A letter to somebody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Name of the Secret that holds it, as `invitation.eml`.
    #[schemars(length(max = 253))]
    pub secret_name: String,
    /// UID of the Secret whose letter was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sent_uid: Option<String>,
    /// When it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Time>,
}

impl AdminUser {
    /// Whether a letter is written to them: a group has no address.
    pub fn is_invited(&self) -> bool {
        self.spec.person.as_ref().is_some_and(|person| person.invite)
    }

    /// Whether the letter in the Secret with this UID is yet to be sent.
    pub fn awaits_letter(&self, secret_uid: &str) -> bool {
        let invitation = self.status.as_ref().and_then(|status| status.invitation.as_ref());
        let is_sent = invitation.is_some_and(|invitation| invitation.sent_uid.as_deref() == Some(secret_uid));
        !is_sent && self.is_invited() && self.metadata.deletion_timestamp.is_none()
    }

    /// Whether they are to be an Admin of the whole project.
    pub fn is_project_admin(&self) -> bool {
        self.spec.role == Role::Admin && self.spec.site_ref.is_none()
    }

    /// Whether they are an Admin of the whole project now, and stay one.
    pub fn is_lasting_admin(&self) -> bool {
        let has_role = self.status.as_ref().is_some_and(|status| status.role == Some(Role::Admin));
        has_role && self.is_project_admin() && self.metadata.deletion_timestamp.is_none()
    }

    /// Name of the site where they have the role; none when it is the whole project.
    pub fn site(&self) -> Option<&str> {
        self.spec.site_ref.as_ref().map(|site| site.name.as_str())
    }
}
