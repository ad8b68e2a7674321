//! Pure: what to do about a device instance that was deleted. It stays while a device of it may still let people in by its list: until
//! that has said that it keeps nobody, or has been without its gateway for too long.

use std::time::Duration;

use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::{self, Reason};
use fleetform_crds::device_instance::ENROLLED_USERS_FINALIZER;

use super::facts::Facts;
use crate::cache::{Found, Name};
use crate::controllers::Obstacle;
use crate::people::{former, holders};
use crate::reconcile::plan::{Action, Plan};
use crate::reconcile::{names, status};

/// Time until it is looked at again whether all people of a namespace that goes are gone.
const PEOPLE_GO: Duration = Duration::from_secs(2);

/// The plan for an instance that was deleted.
pub(super) fn plan(device: &DeviceInstance, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    if !holders::is_held(device) {
        return plan;
    }
    let name = Name::of(device);
    if let Some(code) = facts.code.as_ref().filter(|code| code.owner_uid == device.metadata.uid) {
        plan.actions.push(Action::DeleteSecret { name: names::code_secret(&name.name), uid: code.uid.clone() });
    }
    let left = former::unresolved(former::all(device), |association| facts.has_left(association), facts.now);
    let Some(until) = left.iter().map(|former| former.until.0).max() else {
        plan.actions.push(Action::Release { finalizer: ENROLLED_USERS_FINALIZER });
        return plan;
    };
    if matches!(facts.project, Found::Absent) {
        // The namespace goes, and nobody is waited for. People are told of first, as they are not told that all have forgotten them.
        if facts.has_people {
            plan.look_again_in(PEOPLE_GO);
        } else {
            plan.actions.push(Action::Release { finalizer: ENROLLED_USERS_FINALIZER });
        }
        return plan;
    }
    plan.look_again_at(until, facts.now);
    let message = format!(
        "deleted; a device of it may still let people in by its list of the enrolled users, and wipes itself when it is back. It is \
         waited for until {until} at the latest. To give it up, run: kubectl patch deviceinstance {} --namespace {} --type merge \
         --patch '{{\"metadata\":{{\"finalizers\":null}}}}'",
        name.name, name.namespace
    );
    let mut desired = device.status.clone().unwrap_or_default();
    let statements = Obstacle::waits(Reason::ListHeld, message).statements();
    desired.conditions = condition::merge(&desired.conditions, &statements, device.metadata.generation, facts.now);
    plan.actions.extend(status::patch(device.status.as_ref(), &desired).map(Action::PatchStatus));
    plan
}
