//! Pure: which actions a request is. One edit may be several: each is told.

use serde_json::Value;

use super::statement::{Statement, at};
use crate::audit::{Action, ResourceKind};
use crate::operation::{REBOOT_ANNOTATION, REMEDIATE_ANNOTATION, Remediation, UNLOCK_ANNOTATION, parse_remediation};

/// Annotation on an enrolled user that gives up on devices.
const ABANDON_ANNOTATION: &str = "fleetform.dev/abandon";

/// What was asked of the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verb {
    /// To make an object.
    Create,
    /// To show one.
    Get,
    /// To show all, or to tell of changes.
    List,
    /// To change one; with what was said, if that was logged.
    Edit(Option<Statement>),
    /// To delete one or all.
    Delete,
}

/// What is known of the object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// What was sent, as an object.
    pub(super) sent: Option<&'a Value>,
    /// What is stored now.
    pub(super) stored: Option<&'a Value>,
}

impl<'a> Known<'a> {
    /// A member as it is stored, or as it was sent.
    fn text(&self, path: &[&str]) -> Option<&'a str> {
        [self.stored, self.sent].into_iter().flatten().find_map(|object| at(object, path)?.as_str())
    }

    fn device_type(&self) -> Option<&'a str> {
        self.text(&["spec", "deviceType"])
    }

    /// Whether a role is given at one site only.
    fn is_for_a_site(&self) -> bool {
        self.text(&["spec", "siteRef", "name"]).is_some()
    }
}

/// The actions, at least one; none for what is no action.
pub(super) fn actions(kind: ResourceKind, verb: &Verb, subresource: Option<&str>, known: Known<'_>) -> Vec<Action> {
    if let Some(subresource) = subresource {
        return virtual_right(kind, subresource).into_iter().collect();
    }
    match verb {
        Verb::Create => created(kind, known),
        Verb::Get => vec![got(kind)],
        Verb::List => vec![listed(kind)],
        Verb::Delete => vec![deleted(kind, known)],
        Verb::Edit(None) => vec![edited(kind, known)],
        Verb::Edit(Some(statement)) => edits(kind, statement, known),
    }
}

/// Rights that have no path at the API server: who asks there is refused, and may have meant this. A status is written by the operator;
/// by somebody else it is an edit.
fn virtual_right(kind: ResourceKind, subresource: &str) -> Option<Action> {
    Some(match (kind, subresource) {
        (ResourceKind::DeviceInstance | ResourceKind::Site, "activationqrcode") => Action::CreateDeviceActivationQrCode,
        (ResourceKind::DeviceInstance, "configuration") => Action::GetDeviceInstanceConfiguration,
        (ResourceKind::DeviceInstance, "reboot") => Action::RebootDevice,
        (ResourceKind::DeviceInstance | ResourceKind::Site, "remediate") => Action::RemediateDevice,
        (ResourceKind::DeviceInstance, "unlock") => Action::UnlockDevice,
        (ResourceKind::DeviceInstance, "deactivate") => Action::DeleteAssociatedDevice,
        (ResourceKind::Site, "address") => Action::GetSiteAddress,
        (ResourceKind::Site, "devices") => Action::ListDeviceInstances,
        (ResourceKind::Asset, "measurements") => Action::GetAssetMeasurements,
        (ResourceKind::EnrolledUser, "profile") => Action::GetEnrolledUserProfile,
        (ResourceKind::AdminUser | ResourceKind::Site, "invitation") => Action::GetUserInvitation,
        (ResourceKind::EnrolledUser, "abandon") => Action::AbandonUnEnrollment,
        (_, "status") => edited(kind, Known { sent: None, stored: None }),
        _ => return None,
    })
}

fn created(kind: ResourceKind, known: Known<'_>) -> Vec<Action> {
    let device = || match known.device_type() {
        Some("Gateway") => Action::CreateGateway,
        Some("Sensor") => Action::CreateSensor,
        _ => Action::CreateDeviceInstance,
    };
    let is_configured = known.sent.and_then(|sent| at(sent, &["spec", "configuration"])).is_some_and(Value::is_object);
    match kind {
        ResourceKind::Project => vec![Action::CreateProject],
        ResourceKind::Site => vec![Action::CreateSite],
        ResourceKind::ConfigTemplate => vec![Action::CreateDeviceConfigurationTemplate],
        ResourceKind::DeviceInstance if is_configured && known.device_type() != Some("Sensor") => {
            vec![device(), Action::CreateDeviceInstanceConfiguration]
        }
        ResourceKind::DeviceInstance => vec![device()],
        ResourceKind::Asset => vec![Action::CreateAsset],
        ResourceKind::Alert => vec![Action::CreateAlert],
        ResourceKind::AdminUser if known.is_for_a_site() => vec![Action::CreateUserAccessRoleAssociation],
        ResourceKind::AdminUser => vec![Action::AssociateProjectAdminUser],
        ResourceKind::EnrolledUser => vec![Action::CreateEnrolledUser],
    }
}

const fn got(kind: ResourceKind) -> Action {
    match kind {
        ResourceKind::Project => Action::GetProject,
        ResourceKind::Site => Action::GetSite,
        ResourceKind::ConfigTemplate => Action::GetDeviceConfigurationTemplate,
        ResourceKind::DeviceInstance => Action::GetDeviceInstance,
        ResourceKind::Asset => Action::GetAsset,
        ResourceKind::Alert => Action::GetAlert,
        ResourceKind::AdminUser => Action::GetProjectAdminUser,
        ResourceKind::EnrolledUser => Action::GetEnrolledUser,
    }
}

const fn listed(kind: ResourceKind) -> Action {
    match kind {
        ResourceKind::Project => Action::ListProjects,
        ResourceKind::Site => Action::ListSites,
        ResourceKind::ConfigTemplate => Action::ListDeviceConfigurationTemplates,
        ResourceKind::DeviceInstance => Action::ListDeviceInstances,
        ResourceKind::Asset => Action::ListAssets,
        ResourceKind::Alert => Action::ListAlerts,
        ResourceKind::AdminUser => Action::ListProjectAdminUsers,
        ResourceKind::EnrolledUser => Action::ListEnrolledUsers,
    }
}

fn deleted(kind: ResourceKind, known: Known<'_>) -> Action {
    match (kind, known.device_type()) {
        (ResourceKind::Project, _) => Action::DeleteProject,
        (ResourceKind::Site, _) => Action::DeleteSite,
        (ResourceKind::ConfigTemplate, _) => Action::DeleteDeviceConfigurationTemplate,
        (ResourceKind::DeviceInstance, Some("Gateway")) => Action::DeleteGateway,
        (ResourceKind::DeviceInstance, Some("Sensor")) => Action::DeleteSensor,
        (ResourceKind::DeviceInstance, _) => Action::DeleteDeviceInstance,
        (ResourceKind::Asset, _) => Action::DeleteAsset,
        (ResourceKind::Alert, _) => Action::DeleteAlert,
        (ResourceKind::AdminUser, _) if known.is_for_a_site() => Action::DeleteUserAccessRoleAssociation,
        (ResourceKind::AdminUser, _) => Action::DisassociateProjectAdminUser,
        (ResourceKind::EnrolledUser, _) => Action::DeleteEnrolledUser,
    }
}

/// An edit of which no more is known.
fn edited(kind: ResourceKind, known: Known<'_>) -> Action {
    match (kind, known.device_type()) {
        (ResourceKind::Project, _) => Action::UpdateProject,
        (ResourceKind::Site, _) => Action::UpdateSite,
        (ResourceKind::ConfigTemplate, _) => Action::UpdateDeviceConfigurationTemplate,
        (ResourceKind::DeviceInstance, Some("Sensor")) => Action::UpdateSensor,
        (ResourceKind::DeviceInstance, _) => Action::UpdateDeviceInstance,
        (ResourceKind::Asset, _) => Action::UpdateAsset,
        // Little else can be edited of them.
        (ResourceKind::Alert, _) => Action::CreateAssetStateTransition,
        (ResourceKind::AdminUser, _) => Action::UpdateUserAccessRoleAssociation,
        (ResourceKind::EnrolledUser, _) => Action::UpdateEnrolledUser,
    }
}

/// Of a patch: what each field that it touches means. Of a whole object: that it was written, and what it newly asks of a device.
fn edits(kind: ResourceKind, statement: &Statement, known: Known<'_>) -> Vec<Action> {
    if statement.is_whole {
        let asked = if kind == ResourceKind::DeviceInstance { newly_asked(known.stored) } else { Vec::new() };
        return [edited(kind, known)].into_iter().chain(asked).collect();
    }
    let mut actions = Vec::new();
    for (path, is_removed) in statement.fields() {
        let action = edit_of(kind, &path, is_removed, known).unwrap_or_else(|| edited(kind, known));
        if !actions.contains(&action) {
            actions.push(action);
        }
    }
    let is_elsewhere = remediation(&statement.object).is_some_and(|(answer, _)| answer == Remediation::DifferentSite);
    if kind == ResourceKind::DeviceInstance && is_elsewhere && !actions.contains(&Action::DeleteAssociatedDevice) {
        actions.push(Action::DeleteAssociatedDevice);
    }
    if actions.is_empty() {
        actions.push(edited(kind, known));
    }
    actions
}

/// What an edit of this field means; `None` where it means no more than an edit.
fn edit_of(kind: ResourceKind, path: &[&str], is_removed: bool, known: Known<'_>) -> Option<Action> {
    let is_sensor = known.device_type() == Some("Sensor");
    Some(match (kind, path) {
        (ResourceKind::Project | ResourceKind::Asset, ["spec", "tags", ..]) if is_removed => {
            Action::UntagMonitronResource
        }
        (ResourceKind::Project | ResourceKind::Asset, ["spec", "tags", ..]) => Action::TagMonitronResource,
        (_, ["spec", "tags", ..]) if is_removed => Action::UntagResource,
        (_, ["spec", "tags", ..]) => Action::TagResource,
        (ResourceKind::Site, ["spec", "address" | "addressFrom", ..]) => Action::UpdateSiteAddress,
        (ResourceKind::DeviceInstance, ["spec", "activation", "epoch"]) => Action::DeleteAssociatedDevice,
        (ResourceKind::DeviceInstance, ["spec", "configuration", ..]) if !is_sensor => {
            Action::CreateDeviceInstanceConfiguration
        }
        (ResourceKind::DeviceInstance | ResourceKind::Site, ["metadata", "annotations", name]) if !is_removed => {
            return asked_by(name);
        }
        (ResourceKind::EnrolledUser, ["metadata", "annotations", ABANDON_ANNOTATION]) if !is_removed => {
            Action::AbandonUnEnrollment
        }
        (ResourceKind::Alert, ["metadata", ..]) => Action::UpdateAlert,
        _ => return None,
    })
}

/// What an annotation asks of a device.
fn asked_by(annotation: &str) -> Option<Action> {
    match annotation {
        REBOOT_ANNOTATION => Some(Action::RebootDevice),
        REMEDIATE_ANNOTATION => Some(Action::RemediateDevice),
        UNLOCK_ANNOTATION => Some(Action::UnlockDevice),
        _ => None,
    }
}

/// The answer to a lock for a long absence. That a device is elsewhere deactivates it.
fn remediation(object: &Value) -> Option<(Remediation, &str)> {
    parse_remediation(at(object, &["metadata", "annotations", REMEDIATE_ANNOTATION])?.as_str()?)
}

/// What the stored instance asks that its status does not show to be done: whoever writes all of it asks that again.
fn newly_asked(stored: Option<&Value>) -> Vec<Action> {
    let Some(stored) = stored else { return Vec::new() };
    let epoch = |path: &[&str]| at(stored, path).and_then(Value::as_i64);
    let association = epoch(&["status", "activation", "association", "epoch"]);
    let is_deactivated =
        association.is_some_and(|association| epoch(&["spec", "activation", "epoch"]).unwrap_or(0) > association);
    let annotation = |name| at(stored, &["metadata", "annotations", name]).and_then(Value::as_str);
    let commands = at(stored, &["status", "commands"]).and_then(Value::as_array);
    let rebooted = commands.into_iter().flatten().find(|command| command["kind"] == "Reboot");
    let is_rebooted =
        annotation(REBOOT_ANNOTATION).is_some_and(|reboot| rebooted.is_none_or(|command| command["id"] != reboot));
    let lock = at(stored, &["status", "lock", "id"]).and_then(Value::as_str);
    let remediated = remediation(stored).filter(|(_, id)| Some(*id) == lock).map(|(answer, _)| answer);
    let is_unlocked = lock.is_some() && annotation(UNLOCK_ANNOTATION) == lock;
    [
        (is_deactivated || remediated == Some(Remediation::DifferentSite), Action::DeleteAssociatedDevice),
        (is_rebooted, Action::RebootDevice),
        (remediated.is_some(), Action::RemediateDevice),
        (is_unlocked, Action::UnlockDevice),
    ]
    .into_iter()
    .filter_map(|(is_asked, action)| is_asked.then_some(action))
    .collect()
}
