//! Enrolled users: whether they can be recognised, and how they are forgotten.

pub mod plan;

use std::time::Duration;

use fleetform_crds::condition::whole_second;
use fleetform_crds::{DeviceInstance, EnrolledUser};
use fleetform_domain::event::{Occasion, Person, person_event, un_enrollment_event_id};
use fleetform_domain::id::ResourceId;
use jiff::{SignedDuration, Timestamp};

use crate::cache::{Found, Name};
use crate::context::Context;
use crate::controllers::device::facts::is_associated;
use crate::error::{Error, Result};
use crate::people::{former, holders};
use crate::reconcile::plan::Action;
use plan::{Facts, Holder, Why};

/// How far the clock of the API server may be behind.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// How long an event may take to be delivered before this is tried again.
const DELIVERY: Duration = Duration::from_secs(5);

/// Brings the enrolled user of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let (world, now) = (&context.world, context.clock.now());
    let Some(user) = world.users.get(name) else {
        context.people.forget_written(name);
        return Ok(None);
    };
    // The follower may not have come to it yet.
    context.people.take(world, name);
    let facts = Facts {
        readable: context.people.profile(world, &user).map(drop),
        holders: holders(context, &user),
        unreadable: match user.metadata.deletion_timestamp {
            Some(_) => world.devices.unreadable_in(&name.namespace),
            None => 0,
        },
        check_in: Duration::from_secs(context.settings.gateway.check_in_seconds.into()),
        ends: matches!(world.project(&name.namespace), Found::Absent),
        written: context.people.written(name),
        now,
    };
    let plan = plan::plan(&user, &facts);
    for action in &plan.actions {
        match action {
            Action::PatchStatus(patch) => {
                world.own_user(context.executor.patch_status(&*user, patch).await?);
                context.people.note_written(name, now);
            }
            Action::TellUnEnrolled { at, abandoned } => tell(context, &user, *abandoned, *at).await?,
            Action::Release { finalizer } => {
                context.executor.release_user(&user, finalizer).await?;
                tracing::info!(user = %name, "a person is un-enrolled");
            }
            other => unreachable!("an enrolled user's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}

/// The devices that may hold a list with a person who was deleted, and whether they have said since that they do not.
fn holders(context: &Context, user: &EnrolledUser) -> Vec<Holder> {
    let Some(deleted) = &user.metadata.deletion_timestamp else { return Vec::new() };
    let (name, uid) = (Name::of(user), user.metadata.uid.as_deref().unwrap_or_default());
    let devices = context.world.devices.in_namespace(&name.namespace);
    let holder = |device: &DeviceInstance| {
        let association = device.association().filter(|_| device.metadata.deletion_timestamp.is_none())?;
        let said = context.table.list_of(&association.id);
        // What it says that it holds counts for more than what it should.
        let holds = said.as_ref().is_some_and(|(held, _)| held.is_some());
        (holds || holders::may_know(device, deleted.0)).then(|| Holder {
            name: Name::of(device).name,
            confirmed: said.and_then(|(held, heard)| context.people.has_forgotten(&name, uid, held.as_ref(), heard)),
            why: Why::List,
        })
    };
    let enrolled = user.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |created| created.0);
    let formers = |device: &DeviceInstance| {
        let has_left = |association: &str| context.table.has_left(association);
        let left = former::unresolved(former::all(device), has_left, context.clock.now());
        let may_know = left.into_iter().filter(|former| former.ended_at.0 >= whole_second(enrolled).0);
        let name = Name::of(device).name;
        may_know
            .map(|former| Holder { name: name.clone(), confirmed: None, why: Why::Former(former.until.0) })
            .collect::<Vec<_>>()
    };
    let desk = devices.iter().filter_map(|device| desk(context, user, device));
    desk.chain(devices.iter().flat_map(|device| holder(device).into_iter().chain(formers(device)))).collect()
}

/// The desk where the person enrolled: it may not have heard so, and then tells of the enrollment again. One whose association has ended,
/// or is another than that time, can tell of nothing.
fn desk(context: &Context, user: &EnrolledUser, device: &DeviceInstance) -> Option<Holder> {
    user.metadata.deletion_timestamp.as_ref()?;
    let (uid, enrolled) = (user.metadata.uid.as_deref()?, user.metadata.creation_timestamp.as_ref()?.0);
    if ResourceId::of(device.metadata.uid.as_deref()?) != user.spec.source.device_instance_id || !device.is_active() {
        return None;
    }
    let association = device.association().filter(|_| is_associated(device))?;
    let activated = device.status.as_ref()?.device.as_ref()?.activated_at.as_ref()?.0;
    let heard = context.table.kept_none_at(&association.id);
    (activated <= enrolled + CLOCKS_DIFFER).then(|| Holder {
        name: Name::of(device).name,
        confirmed: heard.and_then(|heard| context.people.is_settled(&Name::of(user), uid, heard)),
        why: Why::Enrollment,
    })
}

async fn tell(context: &Context, user: &EnrolledUser, abandoned: bool, at: Timestamp) -> Result<()> {
    let (name, uid) = (Name::of(user), user.metadata.uid.as_deref().unwrap_or_default());
    let profile = context.people.profile(&context.world, user).ok();
    // Where the namespace goes, the Project may be gone first; then the namespace says where it was asked for.
    let project = match context.world.project(&name.namespace) {
        Found::Here(project) => project.metadata.uid.clone(),
        Found::Unreadable(_) | Found::Absent => None,
    };
    let person = Person {
        id: un_enrollment_event_id(uid),
        time: at,
        source: &ResourceId::of(project.as_deref().unwrap_or(&name.namespace)),
        badge: profile.as_ref().map(|profile| &profile.badge_number),
    };
    let occasion = if abandoned { Occasion::NotUnEnrolled } else { Occasion::UnEnrolled };
    let event = person_event(&context.settings.installation, &person, occasion);
    context.tell(&event, DELIVERY).await.map_err(|_| Error::TimedOut {
        what: format!("deliver the event that the EnrolledUser {name} is un-enrolled"),
        limit: DELIVERY,
    })
}

#[cfg(test)]
mod tests;
