//! Pure: the activation code of a device instance: made, kept fresh, and what stands in its way.

use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::Reason;
use uuid::Uuid;

use super::facts::Facts;
use crate::activation::code::{CodeSecretMeta, CodeSubject};
use crate::cache::Found;
use crate::controllers::Obstacle;
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};

/// The code of an instance, as it is stored.
pub(super) struct Code<'a> {
    pub(super) device: &'a DeviceInstance,
    pub(super) stored: Option<&'a CodeSecretMeta>,
    /// Why it cannot be stored.
    pub(super) trouble: Option<Obstacle>,
}

fn secret_of(device: &DeviceInstance) -> String {
    names::code_secret(device.metadata.name.as_deref().unwrap_or_default())
}

/// The garbage collector has not removed the code of an earlier instance of the same name.
pub(super) fn earlier_code(device: &DeviceInstance) -> Obstacle {
    let message = format!(
        "the Secret {} still belongs to an earlier object: the garbage collector of Kubernetes removes it, or you delete it",
        secret_of(device)
    );
    Obstacle::waits(Reason::NameTaken, message)
}

/// Why the Secret with a code was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A Secret of its name is there that Fleetform did not make.
    NameTaken,
    /// The API server refused it, with these words.
    ByApiServer(String),
}

impl Refused {
    pub(super) fn obstacle(&self, device: &DeviceInstance) -> Obstacle {
        let secret = secret_of(device);
        match self {
            Self::NameTaken => Obstacle::waits(
                Reason::NameTaken,
                format!(
                    "the activation code needs the name {secret}, but a Secret of this name is there that Fleetform did \
                     not make: delete it"
                ),
            ),
            Self::ByApiServer(why) => Obstacle::waits(
                Reason::WriteRefused,
                format!("the Secret {secret} with the activation code is refused by the API server: {why}"),
            ),
        }
    }
}

/// Makes a code when there is none for this sequence, and a new one when it has little time left. Answers whether there is
/// one then: without the project there is no key to make one with.
pub(super) fn keep_code(plan: &mut Plan, code: &Code<'_>, sequence: i64, facts: &Facts<'_>) -> bool {
    let project = match &facts.project {
        Found::Here(project) => project.metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok()),
        Found::Unreadable(_) | Found::Absent => None,
    };
    let Some(project) = project else { return code.stored.is_some() };
    let subject = CodeSubject { project, device: code.device, sequence };
    let rotate_at = facts.mint.settings.rotate_at();
    // A code of an earlier sequence or Project, or one that somebody changed, is none.
    let stored = code.stored.and_then(|secret| secret.code.as_ref());
    let stored = stored.filter(|code| code.live.sequence == sequence && facts.mint.text_of(subject, code).is_some());
    if let Some(stored) = stored
        && stored.expires.duration_since(facts.now) > rotate_at
    {
        plan.look_again_at(stored.expires - rotate_at, facts.now);
        return true;
    }
    let previous = stored.filter(|code| code.expires > facts.now).and_then(|code| code.live.tokens.first().cloned());
    let Some(fresh) = facts.mint.code(subject, code.stored, previous, facts.nonce, facts.now) else { return false };
    plan.look_again_at(fresh.expires - rotate_at, facts.now);
    plan.actions.push(Action::StoreCode(fresh));
    true
}
