//! Pure: the actions that records name.

/// Whose action it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Of readers and people: `one.amazonaws.com`.
    One,
    /// Of projects and machines: `monitron.amazonaws.com`.
    Monitron,
}

impl Service {
    /// The `eventSource`.
    pub const fn event_source(self) -> &'static str {
        match self {
            Self::One => "one.amazonaws.com",
            Self::Monitron => "monitron.amazonaws.com",
        }
    }

    /// The `eventVersion`, as in the guides.
    pub const fn event_version(self) -> &'static str {
        match self {
            Self::One => "1.08",
            Self::Monitron => "1.05",
        }
    }

    /// What its actions begin with where rights are named.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Monitron => "monitron",
        }
    }
}

/// What the names of Monitron's actions begin with when they come from its app; from the portal, here.
const APP_PREFIX: &str = "AmazonMonitronApp:";

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $service:ident, $access:ident, $name:literal;)*) => {
        /// What somebody did, or tried. The names are those of the guides; where these have none, they are ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $variant,)* }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Whose it is.
            pub const fn service(self) -> Service {
                match self { $(Self::$variant => Service::$service,)* }
            }

            /// Its name, without a prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it changes nothing.
            pub const fn is_read_only(self) -> bool {
                match self { $(Self::$variant => actions!(@$access),)* }
            }
        }
    };
    (@read) => { true };
    (@write) => { false };
}

actions! {
    /// A reader was declared.
    CreateDeviceInstance = One, write, "CreateDeviceInstance";
    /// A device instance was read.
    GetDeviceInstance = One, read, "GetDeviceInstance";
    /// Device instances were listed or watched.
    ListDeviceInstances = One, read, "ListDeviceInstances";
    /// A device instance was changed.
    UpdateDeviceInstance = One, write, "UpdateDeviceInstance";
    /// A device instance was deleted.
    DeleteDeviceInstance = One, write, "DeleteDeviceInstance";
    /// An activation code was handed out.
    CreateDeviceActivationQrCode = One, write, "CreateDeviceActivationQrCode";
    /// A device was deactivated.
    DeleteAssociatedDevice = One, write, "DeleteAssociatedDevice";
    /// A device was asked to reboot.
    RebootDevice = One, write, "RebootDevice";
    /// A lock for a long absence was answered.
    RemediateDevice = One, write, "RemediateDevice";
    /// A lock was taken off after an inspection.
    UnlockDevice = One, write, "UnlockDevice";
    /// A device asked which site and instance its code is for.
    LookUpActivation = One, read, "LookUpActivation";
    /// A device was activated.
    ActivateDevice = One, write, "ActivateDevice";
    /// A device instance got another configuration.
    CreateDeviceInstanceConfiguration = One, write, "CreateDeviceInstanceConfiguration";
    /// A version of a configuration was read.
    GetDeviceInstanceConfiguration = One, read, "GetDeviceInstanceConfiguration";
    /// A site was declared.
    CreateSite = One, write, "CreateSite";
    /// A site was deleted.
    DeleteSite = One, write, "DeleteSite";
    /// A site was read.
    GetSite = One, read, "GetSite";
    /// Sites were listed or watched.
    ListSites = One, read, "ListSites";
    /// A site was changed, but for its address.
    UpdateSite = One, write, "UpdateSite";
    /// The address of a site was read.
    GetSiteAddress = One, read, "GetSiteAddress";
    /// The address of a site was changed.
    UpdateSiteAddress = One, write, "UpdateSiteAddress";
    /// What is declared at a site was read as it is stored.
    ListSiteObjects = One, read, "ListSiteObjects";
    /// A template was declared.
    CreateDeviceConfigurationTemplate = One, write, "CreateDeviceConfigurationTemplate";
    /// A template was deleted.
    DeleteDeviceConfigurationTemplate = One, write, "DeleteDeviceConfigurationTemplate";
    /// A template was read.
    GetDeviceConfigurationTemplate = One, read, "GetDeviceConfigurationTemplate";
    /// Templates were listed or watched.
    ListDeviceConfigurationTemplates = One, read, "ListDeviceConfigurationTemplates";
    /// A template was changed.
    UpdateDeviceConfigurationTemplate = One, write, "UpdateDeviceConfigurationTemplate";
    /// Tags of a site, device instance or template were set.
    TagResource = One, write, "TagResource";
    /// Tags of a site, device instance or template were removed.
    UntagResource = One, write, "UntagResource";
    /// An enrolled user was read.
    GetEnrolledUser = One, read, "GetEnrolledUser";
    /// Enrolled users were listed or watched.
    ListEnrolledUsers = One, read, "ListEnrolledUsers";
    /// A person was un-enrolled.
    DeleteEnrolledUser = One, write, "DeleteEnrolledUser";
    /// Something else of an enrolled user was changed.
    UpdateEnrolledUser = One, write, "UpdateEnrolledUser";
    /// Somebody tried to make an enrolled user up.
    CreateEnrolledUser = One, write, "CreateEnrolledUser";
    /// Devices that did not confirm an un-enrollment were given up on.
    AbandonUnEnrollment = One, write, "AbandonUnEnrollment";
    /// The badge number of an enrolled user was read.
    GetEnrolledUserProfile = One, read, "GetEnrolledUserProfile";
    /// Audit events of Kubernetes were handed in.
    PutAuditEvents = One, write, "PutAuditEvents";

    /// A project was declared.
    CreateProject = Monitron, write, "CreateProject";
    /// A project was changed.
    UpdateProject = Monitron, write, "UpdateProject";
    /// A project was deleted.
    DeleteProject = Monitron, write, "DeleteProject";
    /// A project was read.
    GetProject = Monitron, read, "GetProject";
    /// Projects were listed or watched.
    ListProjects = Monitron, read, "ListProjects";
    /// Somebody was given a role in the whole project.
    AssociateProjectAdminUser = Monitron, write, "AssociateProjectAdminUser";
    /// Somebody's role in the whole project was taken.
    DisassociateProjectAdminUser = Monitron, write, "DisassociateProjectAdminUser";
    /// Who has a role was listed or watched.
    ListProjectAdminUsers = Monitron, read, "ListProjectAdminUsers";
    /// Which role somebody has was read.
    GetProjectAdminUser = Monitron, read, "GetProjectAdminUser";
    /// The letter to somebody who got a role was read.
    GetUserInvitation = Monitron, read, "GetUserInvitation";
    /// Tags of a project or asset were set.
    TagMonitronResource = Monitron, write, "TagResource";
    /// Tags of a project or asset were removed.
    UntagMonitronResource = Monitron, write, "UntagResource";
    /// A sensor was declared.
    CreateSensor = Monitron, write, "CreateSensor";
    /// A sensor was changed or moved.
    UpdateSensor = Monitron, write, "UpdateSensor";
    /// A sensor was deleted.
    DeleteSensor = Monitron, write, "DeleteSensor";
    /// A gateway was declared.
    CreateGateway = Monitron, write, "CreateGateway";
    /// A gateway was deleted.
    DeleteGateway = Monitron, write, "DeleteGateway";
    /// A machine was declared.
    CreateAsset = Monitron, write, "CreateAsset";
    /// A machine was changed.
    UpdateAsset = Monitron, write, "UpdateAsset";
    /// A machine was deleted.
    DeleteAsset = Monitron, write, "DeleteAsset";
    /// A machine was read.
    GetAsset = Monitron, read, "GetAsset";
    /// Machines were listed or watched.
    ListAssets = Monitron, read, "ListAssets";
    /// What sensors measured at a machine was read.
    GetAssetMeasurements = Monitron, read, "GetAssetMeasurements";
    /// An alert was acknowledged or resolved.
    CreateAssetStateTransition = Monitron, write, "CreateAssetStateTransition";
    /// Somebody tried to raise an alert.
    CreateAlert = Monitron, write, "CreateAlert";
    /// Something else of an alert was changed.
    UpdateAlert = Monitron, write, "UpdateAlert";
    /// An alert was deleted.
    DeleteAlert = Monitron, write, "DeleteAlert";
    /// An alert was read.
    GetAlert = Monitron, read, "GetAlert";
    /// Alerts were listed or watched.
    ListAlerts = Monitron, read, "ListAlerts";
    /// Somebody was given a role at one site.
    CreateUserAccessRoleAssociation = Monitron, write, "CreateUserAccessRoleAssociation";
    /// Somebody was given another role.
    UpdateUserAccessRoleAssociation = Monitron, write, "UpdateUserAccessRoleAssociation";
    /// Somebody's role at one site was taken.
    DeleteUserAccessRoleAssociation = Monitron, write, "DeleteUserAccessRoleAssociation";
}

impl Action {
    /// The action of this name, without a prefix.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }

    /// The `eventName`: Monitron's from the portal begin as those from its app.
    pub fn event_name(self, from_portal: bool) -> String {
        let prefix = if from_portal && self.service() == Service::Monitron { APP_PREFIX } else { "" };
        format!("{prefix}{}", self.name())
    }

    /// As rights name it.
    pub fn right(self) -> String {
        format!("{}:{}", self.service().prefix(), self.name())
    }

    /// Whether its answer tells what is stored now.
    pub(super) fn answers_with_the_object(self) -> bool {
        ["Create", "Update", "Associate"].iter().any(|start| self.name().starts_with(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_the_app_has_a_prefix() {
        for action in Action::ALL {
            assert_eq!(Action::named(action.name()).map(Action::name), Some(action.name()));
        }
        assert_eq!(Action::named("Anything"), None);
        assert_eq!(Action::GetAssetMeasurements.event_name(true), "AmazonMonitronApp:GetAssetMeasurements");
        assert_eq!(Action::GetAssetMeasurements.event_name(false), "GetAssetMeasurements");
        assert_eq!(Action::GetSiteAddress.event_name(true), "GetSiteAddress");
        assert_eq!(Action::TagMonitronResource.right(), "monitron:TagResource");
    }
}
