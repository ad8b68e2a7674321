//! Pure: what an action was about.

use serde_json::Value;

use super::record::Members;
use super::text::object_name;
use crate::id::{Arn, Installation, ResourceId};

/// A kind of Fleetform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// `Project`.
    Project,
    /// `Site`.
    Site,
    /// `ConfigTemplate`.
    ConfigTemplate,
    /// `DeviceInstance`.
    DeviceInstance,
    /// `Asset`.
    Asset,
    /// `Alert`.
    Alert,
    /// `AdminUser`.
    AdminUser,
    /// `EnrolledUser`.
    EnrolledUser,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Project,
        Self::Site,
        Self::ConfigTemplate,
        Self::DeviceInstance,
        Self::Asset,
        Self::Alert,
        Self::AdminUser,
        Self::EnrolledUser,
    ];

    /// The kind of this plural, as the API server has it.
    pub fn of_plural(plural: &str) -> Option<Self> {
        let singular = plural.strip_suffix('s')?;
        Self::ALL.into_iter().find(|kind| kind.singular() == singular)
    }

    /// As the refusals of policies name it.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Site => "site",
            Self::ConfigTemplate => "configtemplate",
            Self::DeviceInstance => "deviceinstance",
            Self::Asset => "asset",
            Self::Alert => "alert",
            Self::AdminUser => "adminuser",
            Self::EnrolledUser => "enrolleduser",
        }
    }

    /// What its members in a record begin with.
    const fn member(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Site => "site",
            Self::ConfigTemplate => "deviceConfigurationTemplate",
            Self::DeviceInstance => "deviceInstance",
            Self::Asset => "asset",
            Self::Alert => "alert",
            Self::AdminUser => "adminUser",
            Self::EnrolledUser => "enrolledUser",
        }
    }

    /// The ARN of the one with this id; some kinds have none.
    fn arn(self, here: &Installation, id: &ResourceId) -> Option<Arn> {
        match self {
            Self::Project => Some(here.project_arn(id)),
            Self::Site => Some(here.site_arn(id)),
            Self::ConfigTemplate => Some(here.template_arn(id)),
            Self::DeviceInstance => Some(here.device_instance_arn(id)),
            Self::Asset => Some(here.asset_arn(id)),
            Self::Alert | Self::AdminUser | Self::EnrolledUser => None,
        }
    }
}

/// What an action was about: one object, or all of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// None of audit events, which are no objects.
    kind: Option<ResourceKind>,
    namespace: Option<String>,
    name: Option<String>,
    id: Option<ResourceId>,
}

impl Resource {
    /// An object by its place; all of them where something is left out. What is no name does not show.
    pub fn new(kind: ResourceKind, namespace: Option<&str>, name: Option<&str>) -> Self {
        Self { kind: Some(kind), namespace: namespace.map(object_name), name: name.map(object_name), id: None }
    }

    /// The audit events of the API server.
    pub fn audit_events() -> Self {
        Self { kind: None, namespace: None, name: None, id: None }
    }

    /// The same, with the UID of the object: its id follows from it.
    #[must_use]
    pub fn with_uid(self, uid: Option<&str>) -> Self {
        Self { id: uid.filter(|uid| !uid.is_empty()).map(ResourceId::of), ..self }
    }

    /// Its ARN, when its id is known.
    pub fn arn(&self, here: &Installation) -> Option<Arn> {
        self.kind?.arn(here, self.id.as_ref()?)
    }

    /// As a denial names it: by its ARN; by its place when that is not known, as policies do.
    pub fn named(&self, here: &Installation) -> String {
        let all = || "*".to_owned();
        self.arn(here).map_or_else(
            || {
                let place = [&self.namespace, &self.name].map(|part| part.clone().unwrap_or_else(all));
                self.kind
                    .map_or_else(|| "auditevents".to_owned(), |kind| format!("{} {}", kind.singular(), place.join("/")))
            },
            |arn| arn.to_string(),
        )
    }

    /// As parameters of a request: its place, and its ARN when it is known.
    pub fn parameters(&self, here: &Installation) -> Members {
        let mut members = Members::new();
        let Some(kind) = self.kind else { return members };
        let mut put = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                members.insert(key.to_owned(), Value::from(value));
            }
        };
        put("project", self.namespace.as_deref());
        if kind != ResourceKind::Project {
            put(kind.member(), self.name.as_deref());
        }
        put(&format!("{}Arn", kind.member()), self.arn(here).as_ref().map(Arn::as_str));
        members
    }

    /// As the answer to who made or changed it: its id and ARN, when they are known.
    pub(super) fn elements(&self, here: &Installation) -> Members {
        let mut members = Members::new();
        if let (Some(kind), Some(id), Some(arn)) = (self.kind, &self.id, self.arn(here)) {
            members.insert(format!("{}Id", kind.member()), id.as_str().into());
            members.insert(format!("{}Arn", kind.member()), arn.as_str().into());
        }
        members
    }
}
