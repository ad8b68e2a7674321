//! Pure: typed conditions. Tools read `Ready`, `Reconciling` and `Stalled` as kstatus defines them; people read the
//! messages.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Conditions that Fleetform sets. `Reconciling` and `Stalled` stand only while they are true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// Nothing is left for the operator to do.
    Ready,
    /// The operator is at work, or waits for something that comes by itself.
    Reconciling,
    /// A person has to change something first.
    Stalled,
    /// A device is associated with the instance.
    Active,
    /// The device checks in when it is due.
    Connected,
    /// All health checks of the device passed.
    Healthy,
    /// The device changes so often, or sinks lack so many of its changes, that further ones are held back.
    Flapping,
    /// The device is locked: a person has to answer.
    Locked,
    /// The device is withdrawn from service.
    OutOfService,
    /// Another device claims the same asset tag.
    DuplicateAssetTag,
    /// The clock of a gateway with sensors shows another time than this one's.
    ClockSkewed,
    /// The gateway has been up long enough to tell which devices are silent.
    ConnectivityKnown,
    /// What is sealed of the project can be read.
    KeyAvailable,
    /// The site has at least one enrollment device and one entry device.
    FullyEquipped,
    /// There are no more sites in the project, or gateways and assets at the site, than its quotas allow.
    WithinQuota,
    /// The project's directory has all that it takes to give people roles.
    DirectoryReady,
    /// There is a letter to them, and it is sent where the installation has a mail server.
    Invited,
    /// Somebody has taken the alert on.
    Acknowledged,
    /// Somebody said what the alert was, and what was done.
    Resolved,
}

impl ConditionType {
    /// The type as it stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Active => "Active",
            Self::Connected => "Connected",
            Self::Healthy => "Healthy",
            Self::Flapping => "Flapping",
            Self::Locked => "Locked",
            Self::OutOfService => "OutOfService",
            Self::DuplicateAssetTag => "DuplicateAssetTag",
            Self::ClockSkewed => "ClockSkewed",
            Self::ConnectivityKnown => "ConnectivityKnown",
            Self::KeyAvailable => "KeyAvailable",
            Self::FullyEquipped => "FullyEquipped",
            Self::WithinQuota => "WithinQuota",
            Self::DirectoryReady => "DirectoryReady",
            Self::Invited => "Invited",
            Self::Acknowledged => "Acknowledged",
            Self::Resolved => "Resolved",
        }
    }
}

/// Value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told yet.
    Unknown,
}

impl Status {
    /// The value as it stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a condition has its value. A closed list: reasons are also labels of metrics and reasons of Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// The reason as it stands in the object.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// Everything that was asked for is done.
    Reconciled,
    /// An activation code is there to be scanned.
    ActivationCodeAvailable,
    /// The device runs the desired configuration.
    ConfigurationApplied,
    /// The device has yet to confirm the desired configuration.
    ConfigurationPending,
    /// The device does not run the desired configuration, and said why.
    ConfigurationRefused,
    /// No device is associated.
    NotActivated,
    /// A device redeemed the code.
    Activated,
    /// The namespace has no Project.
    ProjectNotFound,
    /// The Project is there, but does not read.
    ProjectUnreadable,
    /// The site that is referred to is missing.
    SiteNotFound,
    /// The site that is referred to is there, but does not read.
    SiteUnreadable,
    /// The template that is referred to is missing.
    TemplateNotFound,
    /// The template that is referred to is there, but does not read.
    TemplateUnreadable,
    /// A batch of the rollout is under way.
    RolloutProgressing,
    /// The last batch of the rollout is watched.
    RolloutSoaking,
    /// No maintenance window is open for the rollout.
    RolloutAwaitingWindow,
    /// The rollout is held.
    RolloutPaused,
    /// A batch of the rollout begins.
    RolloutBatch,
    /// Every device has the revision.
    RolloutComplete,
    /// Required parts of the configuration are missing.
    ConfigurationIncomplete,
    /// The operation mode cannot change while the device is active.
    OperationModeFixed,
    /// The gateway is to be paired with the sensor.
    CommissionedByGateway,
    /// The gateway is paired with the sensor.
    Paired,
    /// The gateway that is referred to is missing.
    GatewayNotFound,
    /// The gateway that is referred to is there, but does not read.
    GatewayUnreadable,
    /// What is referred to is no gateway.
    NotAGateway,
    /// The gateway carries as many sensors as it can.
    GatewayFull,
    /// The gateway is silent, so nothing is known of what it carries.
    GatewayDisconnected,
    /// The asset that is referred to is missing.
    AssetNotFound,
    /// The asset that is referred to is there, but does not read.
    AssetUnreadable,
    /// The asset has no such position.
    PositionNotFound,
    /// An older sensor is at the position.
    PositionTaken,
    /// What is referred to is at another site.
    AtAnotherSite,
    /// What was measured is normal.
    WithinLimits,
    /// What was measured is not normal.
    AboveLimits,
    /// Nothing is known of the machine now.
    NotMeasured,
    /// Nobody has taken the alert on.
    NotAcknowledged,
    /// Somebody has taken the alert on.
    TakenOn,
    /// Nobody has said what the alert was.
    NotResolved,
    /// Somebody said what the alert was.
    Closed,
    /// A Secret that is referred to is missing, of another type or lacks a key.
    SecretUnusable,
    /// An object of the name that is needed belongs to someone else.
    NameTaken,
    /// The API server refused what has to be stored: a quota or another policy.
    WriteRefused,
    /// The device checked in when it was due.
    CheckedIn,
    /// The device is silent.
    Silent,
    /// The device has not reported yet.
    NotReported,
    /// All health checks passed.
    ChecksPassed,
    /// One or more health checks failed.
    ChecksFailed,
    /// What it was is said, as further changes are held back.
    HeldBack,
    /// The time zone is none that is known.
    TimeZoneUnknown,
    /// A device that was locked until an inspection was deactivated.
    LockedDeviceDeactivated,
    /// Too many changes in an hour.
    TooManyTransitions,
    /// Too many changes that event sinks lack.
    EventsNotDelivered,
    /// The device's case was opened, or it was taken off the wall.
    TamperDetected,
    /// The device was without its gateway for longer than it may.
    OfflineTooLong,
    /// Two devices report with one key.
    CloneSuspected,
    /// Another device claims the same asset tag.
    AssetTagNotUnique,
    /// The clock is more than a minute ahead or behind.
    ClockAheadOrBehind,
    /// The device is withdrawn from service by its spec.
    Withdrawn,
    /// The gateway has heard of every device, or waited long enough.
    GatewaySettled,
    /// The gateway has just started.
    GatewayStarting,
    /// Enrollment and entry devices are there.
    EnrollmentAndEntryPresent,
    /// An enrollment or entry device is missing.
    EnrollmentOrEntryMissing,
    /// There are no more than the quotas allow.
    QuotaKept,
    /// There are more than a quota allows.
    QuotaExceeded,
    /// What is sensitive is sealed with the key that is wanted.
    KeyInUse,
    /// What is sensitive is being sealed again with another key.
    Resealing,
    /// The key is there and may not be used.
    AccessDenied,
    /// The key is disabled.
    KeyDisabled,
    /// The key is to be deleted, or cannot be used in the state that it is in.
    KeyInvalidState,
    /// There is no such key.
    KeyNotFound,
    /// The key is no symmetric encryption key of this account and region.
    KeyNotUsable,
    /// What is stored of the data key does not open.
    KeyNotAuthentic,
    /// There are no credentials for AWS, or they are not good.
    CredentialsNotUsable,
    /// AWS KMS answers that there are too many requests.
    KmsThrottled,
    /// AWS KMS does not answer.
    KmsUnreachable,
    /// The person or group has the role.
    RoleGiven,
    /// Nobody else is an Admin of the project.
    LastAdmin,
    /// The directory has nobody of that name and address.
    PersonNotFound,
    /// Nobody is in the group, or there is none of the name.
    GroupNotFound,
    /// The directory cannot have what was asked for, or refused it.
    DirectoryRefused,
    /// The directory has all that it takes.
    PrerequisitesMet,
    /// There is no such directory.
    DirectoryNotFound,
    /// The directory may not be read, or nobody be created there.
    DirectoryAccessDenied,
    /// The directory does not answer, or answers that there are too many requests.
    DirectoryUnavailable,
    /// The letter to somebody is written, for a person to send.
    InvitationDrafted,
    /// The letter to somebody is on its way to the mail server.
    InvitationQueued,
    /// The letter to somebody is with the mail server.
    InvitationSent,
    /// No address is known that somebody can be written to at.
    NoEmailAddress,
    /// The mail server refuses a letter, or wants it later.
    MailRefused,
    /// The mail server does not take the operator's user name and password.
    MailCredentialsRefused,
    /// The mail server has no TLS, or a certificate that is not trusted.
    MailServerUntrusted,
    /// The mail server does not answer.
    MailServerUnreachable,
    /// A policy without which this would not be safe is not installed.
    PolicyMissing,
    /// The person is enrolled.
    Enrolled,
    /// Devices have yet to forget the person.
    UnEnrolling,
    /// What is sealed does not open.
    ProfileUnreadable,
    /// The instance was deleted, and a device of it may still go by its list of the enrolled users.
    ListHeld,
}

/// One condition as the planner states it; times and generations are added by [`merge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Which condition.
    pub condition: ConditionType,
    /// Its value.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// What it means here, and what to do about it.
    pub message: String,
}

impl Statement {
    /// A statement.
    pub fn new(
        condition: ConditionType,
        status: impl Into<Status>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { condition, status: status.into(), reason, message: message.into() }
    }
}

/// The whole list of conditions that says `statements` at `now`. A condition whose value stays keeps the time of its last
/// transition. Conditions that are not stated are dropped: nothing stale is left behind.
pub fn merge(
    current: &[Condition],
    statements: &[Statement],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    statements
        .iter()
        .map(|statement| {
            let type_ = statement.condition.as_str();
            let status = statement.status.as_str();
            let since = current
                .iter()
                .find(|condition| condition.type_ == type_ && condition.status == status)
                .map_or(whole_second(now), |condition| condition.last_transition_time.clone());
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: statement.reason.as_str().to_owned(),
                message: statement.message.clone(),
                observed_generation: generation,
                last_transition_time: since,
            }
        })
        .collect()
}

/// The statement that a person has to change something, if it was not made before for the same reason.
pub fn new_stall<'a>(current: &[Condition], statements: &'a [Statement]) -> Option<&'a Statement> {
    let stalled = statements.iter().find(|statement| statement.condition == ConditionType::Stalled)?;
    let type_ = ConditionType::Stalled.as_str();
    let told = current.iter().any(|known| known.type_ == type_ && known.reason == stalled.reason.as_str());
    (!told).then_some(stalled)
}

/// The value of a condition, if it stands.
pub fn status_of(conditions: &[Condition], condition: ConditionType) -> Option<&str> {
    conditions.iter().find(|c| c.type_ == condition.as_str()).map(|c| c.status.as_str())
}

/// Whether a condition stands and is true.
pub fn is_true(conditions: &[Condition], condition: ConditionType) -> bool {
    status_of(conditions, condition) == Some("True")
}

/// Whether a condition stands for this reason.
pub fn has_reason(conditions: &[Condition], condition: ConditionType, reason: Reason) -> bool {
    conditions.iter().any(|c| c.type_ == condition.as_str() && c.reason == reason.as_str())
}

/// A time as Kubernetes keeps it, in whole seconds: anything finer would differ from what is stored.
///
/// # Panics
/// Never: the whole seconds of a timestamp are a timestamp.
pub fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).expect("whole seconds of a timestamp are a timestamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_value_that_stays_keeps_its_time_and_what_is_not_stated_goes() {
        let ready = |status| Statement::new(ConditionType::Ready, status, Reason::Reconciled, "");
        let stalled = Statement::new(ConditionType::Stalled, true, Reason::SiteNotFound, "");
        let first = merge(&[], &[ready(Status::False), stalled], Some(1), at(10));
        assert_eq!(first.len(), 2);
        let second = merge(&first, &[ready(Status::False)], Some(2), at(20));
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!(second[0].observed_generation, Some(2));
        let third = merge(&second, &[ready(Status::True)], Some(2), at(30));
        assert_eq!(third[0].last_transition_time.0, at(30));
        assert!(is_true(&third, ConditionType::Ready));
    }
}
