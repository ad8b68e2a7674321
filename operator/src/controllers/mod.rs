//! The kinds. Each has `mod` (observe and execute) and `plan` (pure).

pub mod admin;
pub mod alert;
pub mod asset;
pub mod device;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod project;
pub mod quota;
pub mod sensor;
pub mod site;
pub mod template;
pub mod user;

use std::time::Duration;

use fleetform_crds::condition::{ConditionType, Reason, Statement, Status};
use fleetform_crds::{Project, Site};
use jiff::{SignedDuration, Timestamp};
use kube::Resource;

use crate::cache::Found;

/// How long after its creation an object waits for what it refers to before it says so: what is applied together arrives
/// within moments of each other, and saying so costs a write.
const GRACE: SignedDuration = SignedDuration::from_secs(2);

/// How long `object` should still wait silently for what it refers to.
pub(crate) fn grace_left<K: Resource>(object: &K, now: Timestamp) -> Option<Duration> {
    let created = object.meta().creation_timestamp.as_ref()?.0;
    let left = GRACE - now.duration_since(created);
    left.is_positive().then(|| Duration::try_from(left).unwrap_or_default() + Duration::from_millis(50))
}

/// What stands between an object and `Ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Why.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether it goes away by itself or when somebody else's object appears; otherwise this object has to be changed.
    pub waits: bool,
}

impl Obstacle {
    /// Something that is awaited.
    pub fn waits(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), waits: true }
    }

    /// Something that a person has to change in this object.
    pub fn stalls(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), waits: false }
    }

    /// `Ready` and `Reconciling` or `Stalled`, as kstatus reads them.
    pub fn statements(&self) -> Vec<Statement> {
        let abnormal = if self.waits { ConditionType::Reconciling } else { ConditionType::Stalled };
        vec![
            Statement::new(ConditionType::Ready, Status::False, self.reason, self.message.clone()),
            Statement::new(abnormal, Status::True, self.reason, self.message.clone()),
        ]
    }
}

/// The obstacle of a namespace without a Project.
pub(crate) fn no_project(namespace: &str) -> Obstacle {
    Obstacle::waits(
        Reason::ProjectNotFound,
        format!("namespace {namespace} has no Project: create a Project named project in it"),
    )
}

/// What is the matter with what an object depends on.
pub(crate) enum Unmet {
    /// It is there and does not read: what the object has, it keeps.
    Unreadable(Obstacle),
    /// It is not there.
    Absent(Obstacle),
}

/// Whether there are the Project of the namespace and the Site that an object refers to; `instead` is what to do but to create the
/// Site.
pub(crate) fn stands(
    namespace: Option<&str>,
    project: &Found<Project>,
    site_name: &str,
    site: &Found<Site>,
    instead: &str,
) -> Result<(), Unmet> {
    match project {
        Found::Here(_) => {}
        Found::Unreadable(why) => {
            let message = format!("the Project of this namespace cannot be read: {why}");
            return Err(Unmet::Unreadable(Obstacle::waits(Reason::ProjectUnreadable, message)));
        }
        Found::Absent => return Err(Unmet::Absent(no_project(namespace.unwrap_or_default()))),
    }
    match site {
        Found::Here(_) => Ok(()),
        Found::Unreadable(why) => {
            let message = format!("spec.siteRef: Site {site_name} cannot be read: {why}");
            Err(Unmet::Unreadable(Obstacle::waits(Reason::SiteUnreadable, message)))
        }
        Found::Absent => {
            let message =
                format!("spec.siteRef: there is no Site {site_name} in this namespace; create it, or {instead}");
            Err(Unmet::Absent(Obstacle::waits(Reason::SiteNotFound, message)))
        }
    }
}
