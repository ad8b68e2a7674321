//! Pure: what people who work with a project may do there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody may do in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// Everything, and give and take roles.
    Admin,
    /// Sees all, activates devices, and answers alerts.
    Technician,
    /// Sees all.
    Viewer,
    /// Sees sites and what there is to activate, and gets the codes. May be a third party.
    Installer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Technician, Self::Viewer, Self::Installer];

    /// The role as it stands in objects.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Technician => "Technician",
            Self::Viewer => "Viewer",
            Self::Installer => "Installer",
        }
    }

    /// What the name of its `ClusterRole` ends in, after the name of the installation.
    pub const fn cluster_role(self) -> &'static str {
        match self {
            Self::Admin => "full-access",
            Self::Technician => "technician",
            Self::Viewer => "read-only",
            Self::Installer => "installer",
        }
    }
}
