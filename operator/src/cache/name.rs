//! Pure: what is watched, and what objects are called.

use kube::Resource;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Project.
    Project,
    /// Site.
    Site,
    /// `ConfigTemplate`.
    ConfigTemplate,
    /// `DeviceInstance`.
    DeviceInstance,
    /// `Asset`.
    Asset,
    /// `Alert`.
    Alert,
    /// `EnrolledUser`.
    EnrolledUser,
    /// `AdminUser`.
    AdminUser,
    /// Secrets that the operator made.
    Secret,
}

impl Kind {
    /// The plural, as in paths and metrics.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Project => "projects",
            Self::Site => "sites",
            Self::ConfigTemplate => "configtemplates",
            Self::DeviceInstance => "deviceinstances",
            Self::Asset => "assets",
            Self::Alert => "alerts",
            Self::EnrolledUser => "enrolledusers",
            Self::AdminUser => "adminusers",
            Self::Secret => "secrets",
        }
    }
}

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Name {
    /// A name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name of this object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What one watch sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every namespace.
    All,
    /// This one.
    Namespace(String),
}

impl Scope {
    /// What is to be watched when these namespaces are named; all of them when none is.
    pub fn of(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() { vec![Self::All] } else { namespaces.iter().cloned().map(Self::Namespace).collect() }
    }

    /// Whether an object of this name is seen.
    pub fn covers(&self, name: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => name.namespace == *namespace,
        }
    }
}
