//! Pure: what to do about an enrolled user.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetform_crds::EnrolledUser;
use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status, has_reason, whole_second};
use fleetform_crds::enrolled_user::{
    ABANDON_ANNOTATION, EnrolledUserStatus, MAX_PENDING_DEVICES, UN_ENROLLMENT_FINALIZER, UnEnrollmentEnd,
    UnEnrollmentStatus,
};
use jiff::{SignedDuration, Timestamp};

use crate::cache::Name;
use crate::controllers::Obstacle;
use crate::people::Unreadable;
use crate::reconcile::plan::{Action, Plan};
use crate::reconcile::status;

/// How long devices that are there get to confirm before it is written down that they are waited for: most deletions are done by then.
const GRACE: SignedDuration = SignedDuration::from_secs(2);

/// Shortest time between two writes about one un-enrollment.
const BETWEEN_WRITES: SignedDuration = SignedDuration::from_secs(10);

/// Shortest and longest time between two looks at one that waits. Devices that confirm have it looked at by themselves.
const LOOKS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// Most devices that a message names.
const NAMED: usize = 5;

/// A device that may hold a list with the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of its instance.
    pub name: String,
    /// Whether it has said since the deletion that it does not. `None` when it has not been heard, or the deletion is too new.
    pub confirmed: Option<bool>,
    /// What it may have of the person.
    pub why: Why,
}

/// What a device may have of a person, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A list, until this time at the latest: its association has ended.
    Former(Timestamp),
    /// The enrollment, of which it tells again.
    Enrollment,
    /// A list.
    List,
}

/// What a user's plan depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether the profile opens.
    pub readable: Result<(), Unreadable>,
    /// The devices that may hold a list with the person, once the person was deleted.
    pub holders: Vec<Holder>,
    /// Device instances of the namespace that do not read, once the person was deleted: their devices may hold such a list too.
    pub unreadable: usize,
    /// Whether there is no Project: then the namespace goes, and nobody is waited for.
    pub ends: bool,
    /// Time between two check-ins.
    pub check_in: Duration,
    /// When this process wrote the status last.
    pub written: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// How long until it is looked again whether the project can be read.
const CLOSED: Duration = Duration::from_secs(10);

/// The plan for an enrolled user.
pub fn plan(user: &EnrolledUser, facts: &Facts) -> Plan {
    match &user.metadata.deletion_timestamp {
        None => stay(user, facts),
        Some(deleted) => leave(user, deleted.0, facts),
    }
}

fn stay(user: &EnrolledUser, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    let current = conditions(user);
    // A restored backup may say that somebody was leaving.
    let is_leaving = user.status.as_ref().is_some_and(|status| status.un_enrollment.is_some());
    let statements = match facts.readable {
        // So it is made: nothing has to be written.
        Ok(()) if has_reason(current, ConditionType::Ready, Reason::Enrolled) && !is_leaving => return plan,
        Ok(()) => vec![Statement::new(ConditionType::Ready, Status::True, Reason::Enrolled, "the person is enrolled")],
        // The Project says so for all of them, in one write.
        Err(Unreadable::Closed(_)) => return plan,
        // The Project is on its way, or on its way out.
        Err(Unreadable::NoProject) => {
            let message = "the profile cannot be read, because the namespace has no Project: create a Project named project \
                           in it";
            Obstacle::waits(Reason::ProjectNotFound, message).statements()
        }
        Err(why) => {
            let message = format!(
                "the profile cannot be read, so the person is not recognised: {why}. Restore the \
                 status of the Project, where the data key stands that it was sealed with, or delete this EnrolledUser and let the person enroll again"
            );
            Obstacle::stalls(Reason::ProfileUnreadable, message).statements()
        }
    };
    plan.actions.extend(write(user, None, &statements, facts.now));
    plan
}

fn leave(user: &EnrolledUser, deleted: Timestamp, facts: &Facts) -> Plan {
    let mut plan = Plan::default();
    let finalizers = user.metadata.finalizers.iter().flatten();
    if !finalizers.into_iter().any(|found| found == UN_ENROLLMENT_FINALIZER) {
        return plan;
    }
    let known = user.status.as_ref().and_then(|status| status.un_enrollment.as_ref());
    let is_closed = matches!(facts.readable, Err(Unreadable::Closed(_)));
    if let Some(end) = known.and_then(|known| known.ended.as_ref()) {
        if is_closed && !end.abandoned && !facts.ends {
            // As it was when it ended, the event says whose badge it was.
            plan.look_again_in(CLOSED);
        } else {
            plan.actions.extend(end_of(end));
        }
        return plan;
    }
    let pending = pending(user, &facts.holders);
    let annotations = user.metadata.annotations.as_ref();
    let abandoned = annotations.and_then(|found| found.get(ABANDON_ANNOTATION)).is_some_and(|why| !why.is_empty());
    let names: Vec<&str> = pending.keys().copied().collect();
    let all_have_forgotten = pending.is_empty() && facts.unreadable == 0;
    if all_have_forgotten && !abandoned && !facts.ends && is_closed {
        // The event says whose badge it was, once that can be read.
        plan.look_again_in(CLOSED);
        return plan;
    }
    if all_have_forgotten || abandoned || facts.ends {
        // Recorded first, so that every sink hears of one and the same end.
        let end = UnEnrollmentEnd { at: whole_second(facts.now), abandoned: !all_have_forgotten };
        let mut desired = user.status.clone().unwrap_or_default();
        desired.un_enrollment.get_or_insert_default().ended = Some(end.clone());
        plan.actions.extend(status::patch(user.status.as_ref(), &desired).map(Action::PatchStatus));
        plan.actions.extend(end_of(&end));
        return plan;
    }
    plan.look_again_in(facts.check_in.clamp(LOOKS.0, LOOKS.1));
    let due = (deleted + GRACE).max(facts.written.map_or(Timestamp::MIN, |written| written + BETWEEN_WRITES));
    if let Some(patch) = write(
        user,
        Some((&names, facts.unreadable)),
        &waiting(user, &pending, facts.unreadable).statements(),
        facts.now,
    ) {
        if facts.now >= due {
            plan.actions.push(patch);
        } else {
            plan.look_again_at(due, facts.now);
        }
    }
    plan
}

/// Tells of the end, and lets the person go.
fn end_of(end: &UnEnrollmentEnd) -> [Action; 2] {
    let told = Action::TellUnEnrolled { at: end.at.0, abandoned: end.abandoned };
    [told, Action::Release { finalizer: UN_ENROLLMENT_FINALIZER }]
}

/// The instances whose devices are still waited for, and why. A status that names them all is a promise: who is not on it is done.
fn pending<'a>(user: &EnrolledUser, holders: &'a [Holder]) -> BTreeMap<&'a str, Why> {
    let known = user.status.as_ref().and_then(|status| status.un_enrollment.as_ref());
    let exact = known.filter(|known| i64::try_from(known.pending_devices.len()) == Ok(known.pending_device_count));
    let may = |name: &str| exact.is_none_or(|known| known.pending_devices.iter().any(|pending| pending == name));
    let mut pending = BTreeMap::new();
    for holder in holders.iter().filter(|holder| holder.confirmed != Some(true) && may(&holder.name)) {
        let why = pending.entry(holder.name.as_str()).or_insert(holder.why);
        *why = holder.why.max(*why);
    }
    pending
}

fn waiting(user: &EnrolledUser, pending: &BTreeMap<&str, Why>, unreadable: usize) -> Obstacle {
    let name = Name::of(user);
    if pending.is_empty() {
        let message = format!(
            "the person is recognised no more by the gateway; {unreadable} of the DeviceInstances here cannot be read, so it is not known \
             whether their devices have forgotten the person: correct or delete them; to give up, run: kubectl annotate \
             enrolleduser {} --namespace {} '{ABANDON_ANNOTATION}=<why>'",
            name.name, name.namespace
        );
        return Obstacle::waits(Reason::UnEnrolling, message);
    }
    let devices = if pending.len() == 1 { "1 device".to_owned() } else { format!("{} devices", pending.len()) };
    let more = match pending.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = pending.iter().take(NAMED).map(|(name, why)| match why {
        Why::List => (*name).to_owned(),
        Why::Enrollment => format!("{name} (has yet to say that it does not tell of the enrollment again)"),
        Why::Former(until) => format!("{name} (deactivated or deleted; until {until} at the latest)"),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    Obstacle::waits(
        Reason::UnEnrolling,
        format!(
            "the person is recognised no more by the gateway; {devices} may still do so while offline, and will forget the person when \
             back: {named}{more}. Deactivate one that does not come back (raise spec.activation.epoch), and it is waited for until its \
             maximum offline time is over; to give up, run: kubectl annotate enrolleduser {} --namespace {} '{ABANDON_ANNOTATION}=<why>'",
            name.name, name.namespace
        ),
    )
}

fn conditions(user: &EnrolledUser) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
    user.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
}

/// `pending` are those who are waited for, and how many more cannot be read: with these the status names not all, and promises nothing.
fn write(
    user: &EnrolledUser,
    pending: Option<(&[&str], usize)>,
    statements: &[Statement],
    now: Timestamp,
) -> Option<Action> {
    let un_enrollment = pending.map(|(pending, unreadable)| UnEnrollmentStatus {
        pending_device_count: i64::try_from(pending.len() + unreadable).unwrap_or(i64::MAX),
        pending_devices: Some(pending)
            .filter(|pending| pending.len() <= MAX_PENDING_DEVICES)
            .map(|pending| pending.iter().map(|name| (*name).to_owned()).collect())
            .unwrap_or_default(),
        ended: None,
    });
    let desired = EnrolledUserStatus {
        observed_generation: user.metadata.generation,
        un_enrollment,
        conditions: condition::merge(conditions(user), statements, user.metadata.generation, now),
    };
    status::patch(user.status.as_ref(), &desired).map(Action::PatchStatus)
}
