//! Who there is: the directory of a project, where people and groups are looked up that are given roles.

pub mod native;

use k8s_openapi::api::rbac::v1::Subject;
use serde::Serialize;

/// Somebody, or a group, as the directory knows them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Their id in the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory_id: Option<String>,
    /// User name of a person to Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_user: Option<String>,
    /// Who is bound to the role. None when nobody is in the group.
    pub subjects: Vec<Subject>,
}

/// What a directory says of whom one looks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// They are there.
    Here(Principal),
    /// Nobody is there of that name or address.
    Absent,
    /// What is looked for cannot be in this directory, or is more than one: why, and what to do.
    Impossible(String),
}

/// A person to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewPerson {
    /// User name.
    pub user_name: String,
    /// Email address.
    pub email: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
}
