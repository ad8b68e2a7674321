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

/// A right to one site, as Kubernetes knows it: a verb on `sites` or on a resource beneath that does not exist in the API server, which the
/// portal and policies ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteRight {
    /// `get`, `create`, `use` or `bind`.
    pub verb: &'static str,
    /// `sites`, or `sites/` and what it is a right to.
    pub resource: &'static str,
}

impl SiteRight {
    const fn new(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource }
    }
}

/// What somebody may see who has a role at a site and is no installer.
const SEES: [SiteRight; 5] = [
    SiteRight::new("get", "sites/devices"),
    SiteRight::new("get", "sites/address"),
    SiteRight::new("get", "sites/objects"),
    SiteRight::new("get", "sites/configuration"),
    SiteRight::new("get", "sites/measurements"),
];

/// To get activation codes.
const ACTIVATES: SiteRight = SiteRight::new("create", "sites/activationqrcode");

/// To write the alerts of a site. Not the right to write all else there: or who is Technician at one site and Admin at another would be
/// Admin at both, as rights add up.
const ANSWERS_ALERTS: SiteRight = SiteRight::new("use", "sites/alerts");

/// To write what is at a site.
const WRITES: SiteRight = SiteRight::new("use", "sites");

/// To give and take roles at a site.
const GIVES_ROLES: SiteRight = SiteRight::new("bind", "sites");

/// To see the letters to those who got a role at a site.
const SEES_INVITATIONS: SiteRight = SiteRight::new("get", "sites/invitation");

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

    /// What the name of the `ClusterRole` ends in that lets those write who have this role at a site. It holds for all of the project, and
    /// a policy asks for the right to the site. None for who writes nothing.
    pub const fn site_cluster_role(self) -> Option<&'static str> {
        match self {
            Self::Admin => Some("site-admin"),
            Self::Technician => Some("site-technician"),
            Self::Viewer | Self::Installer => None,
        }
    }

    /// What somebody has a right to, at one site, who has this role there.
    pub fn site_rights(self) -> Vec<SiteRight> {
        match self {
            Self::Admin => [Self::Technician.site_rights(), vec![WRITES, GIVES_ROLES, SEES_INVITATIONS]].concat(),
            Self::Technician => [&SEES[..], &[ACTIVATES, ANSWERS_ALERTS]].concat(),
            Self::Viewer => SEES.to_vec(),
            Self::Installer => vec![ACTIVATES, SEES[0], SEES[1]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_give_a_role_at_a_site_that_is_more_than_their_own() {
        let admin = Role::Admin.site_rights();
        for role in Role::ALL {
            assert!(role.site_rights().iter().all(|right| admin.contains(right)), "{role:?}");
            assert_eq!(role.site_rights().contains(&GIVES_ROLES), role == Role::Admin, "{role:?}");
        }
    }

    #[test]
    fn who_answers_alerts_may_not_therefore_write_the_rest() {
        let may = |role: Role, right| role.site_rights().contains(&right);
        assert!(may(Role::Technician, ANSWERS_ALERTS) && !may(Role::Technician, WRITES));
        assert!(!may(Role::Viewer, ANSWERS_ALERTS) && !may(Role::Viewer, ACTIVATES));
    }
}
