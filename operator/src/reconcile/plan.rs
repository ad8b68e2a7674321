//! Pure: a plan is data. It leaves the executor no choice.

use std::time::Duration;

use fleetform_crds::alert::AlertSensor;
use fleetform_crds::condition::{Reason, Statement};
use fleetform_domain::activation::TokenHash;
use fleetform_domain::configuration::Configuration;
use fleetform_domain::machines::MachineState;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::controllers::project::encryption::Stale;
use crate::directory::NewPerson;
use crate::events::FactKey;
use crate::invitation::drafted::{By, Edition};
use crate::invitation::letter::Letter;

/// What to do about one object, in this order.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// Writes.
    pub actions: Vec<Action>,
    /// When to look again although nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_again: Option<Duration>,
}

/// One write.
#[derive(Debug, Serialize)]
pub enum Action {
    /// Create or rewrite the Secret with an activation code.
    StoreCode(CodeSecret),
    /// Create the Secret with a revision of a template.
    CreateRevision(Box<RevisionSecret>),
    /// Delete a Secret of ours, if it still has this UID.
    DeleteSecret {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Merge this into the object's status, if nobody changed the object meanwhile.
    PatchStatus(Value),
    /// Let these devices take the revision of the template that goes out.
    Admit {
        /// The revision.
        revision: u32,
        /// Names of device instances.
        devices: Vec<String>,
    },
    /// Create an alert about the asset.
    RaiseAlert(Box<AlertDraft>),
    /// Delete an alert, if it still has this UID.
    DeleteAlert {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Deliver the event that a person is un-enrolled, or that devices which may still know them are no longer waited for.
    TellUnEnrolled {
        /// When that was recorded.
        at: Timestamp,
        /// Not all devices have confirmed.
        abandoned: bool,
    },
    /// Put this finalizer on the object.
    Hold {
        /// Which one.
        finalizer: &'static str,
    },
    /// Seal something of a project again, with the data key in force.
    Reseal(Stale),
    /// Create a person in the built-in directory.
    CreatePerson(NewPerson),
    /// Create the Role of an `AdminUser`.
    CreateRole(RoleDraft),
    /// Delete a Role, if it still has this UID.
    DeleteRole {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Create a RoleBinding of an `AdminUser`.
    Bind(BindingDraft),
    /// Bind others by a RoleBinding, if it still has this UID.
    BindTo {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Who is to be bound.
        subjects: Vec<Subject>,
    },
    /// Delete a RoleBinding, if it still has this UID.
    DeleteBinding {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Create the Secret with the letter to an `AdminUser`.
    DraftLetter(LetterDraft),
    /// Take this finalizer off the object, which was deleted.
    Release {
        /// Which one.
        finalizer: &'static str,
    },
    /// Keep the events that tell of these facts of the object, which it no longer keeps itself, until every required sink has them.
    KeepEvents {
        /// Which ones.
        facts: Vec<FactKey>,
    },
    /// Tell people by a Kubernetes Event. Never on the normal path: it is a write.
    Publish(News),
}

/// An alert to be raised about one position of an asset.
#[derive(Clone, Debug, Serialize)]
pub struct AlertDraft {
    /// Its name: of the asset, the position and the number of the alert there. So raised twice it is the same one.
    pub name: String,
    /// Name of the position.
    pub position: String,
    /// The sensor that measured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor: Option<AlertSensor>,
    /// `Warning` or `Alarm`.
    pub level: MachineState,
    /// When it is raised.
    pub raised_at: Time,
    /// What was measured, and what is normal, in words.
    pub cause: String,
}

/// A RoleBinding that somebody is to have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BindingDraft {
    /// Its name.
    pub name: String,
    /// What they are bound to.
    pub role_ref: RoleRef,
    /// Who is bound.
    pub subjects: Vec<Subject>,
}

/// A Role of somebody's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleDraft {
    /// Its name.
    pub name: String,
    /// What it lets them do.
    pub rules: Vec<PolicyRule>,
}

/// A Secret with a letter to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterDraft {
    /// Its name.
    pub name: String,
    /// Who sends it.
    pub by: By,
    /// What it is about.
    pub edition: Edition,
    /// The letter.
    pub letter: Letter,
}

/// What people are told by a Kubernetes Event.
#[derive(Clone, Debug, Serialize)]
pub struct News {
    /// Whether somebody has to act; otherwise it is to be known.
    pub warning: bool,
    /// Bounded.
    pub reason: Reason,
    /// What was done. Events of one object, reason and action are one series, of which only the first note is kept.
    pub action: String,
    /// What happened and what to do.
    pub note: String,
}

impl News {
    /// Somebody has to act: why, and what to do.
    pub fn stall(statement: &Statement) -> Self {
        let (reason, note) = (statement.reason, statement.message.clone());
        Self { warning: true, reason, action: "Reconcile".to_owned(), note }
    }
}

/// A Secret with an activation code.
#[derive(Clone, Debug, Serialize)]
pub struct CodeSecret {
    /// Its name.
    pub name: String,
    /// Version of the Secret that it replaces; none when there is no Secret of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The activation sequence that it is for.
    pub sequence: i64,
    /// When the code stops to work.
    pub expires: Timestamp,
    /// What tells its token from others of the same sequence and expiry.
    pub nonce: Uuid,
    /// What the picture says. Hidden in snapshots and logs.
    #[serde(skip)]
    pub text: CodeText,
    /// The tokens that are good: this one, then the one before it.
    pub tokens: Vec<TokenHash>,
}

/// The text of an activation code. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeText(pub String);

impl std::fmt::Debug for CodeText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CodeText(…)")
    }
}

/// A Secret with one revision of a template.
#[derive(Clone, Debug, Serialize)]
pub struct RevisionSecret {
    /// Its name.
    pub name: String,
    /// UID of the template.
    pub template_uid: String,
    /// From 1.
    pub revision: u32,
    /// What the revision says.
    pub configuration: Configuration,
}

impl Action {
    /// Keeps the events that tell of these facts, if there are any.
    pub fn keep(facts: Vec<FactKey>) -> Option<Self> {
        (!facts.is_empty()).then_some(Self::KeepEvents { facts })
    }
}

impl Plan {
    /// Looks again after `delay`, or earlier if that was planned already.
    pub fn look_again_in(&mut self, delay: Duration) {
        self.look_again = Some(self.look_again.map_or(delay, |planned| planned.min(delay)));
    }

    /// Looks again at `time`, a second from now at the earliest.
    pub fn look_again_at(&mut self, time: Timestamp, now: Timestamp) {
        let wait = u64::try_from(time.duration_since(now).as_secs() + 1).unwrap_or(1).max(1);
        self.look_again_in(Duration::from_secs(wait));
    }
}
