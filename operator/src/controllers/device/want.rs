//! Pure: what is wanted of a device instance, given what it depends on.

use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::Reason;

use super::configuration::{self, Missing, Wanted};
use super::facts::{Facts, is_associated};
use crate::controllers::{Obstacle, Unmet, stands};

/// What is wanted of an instance.
#[derive(Debug)]
pub(super) enum Want {
    /// This configuration.
    This(Box<Wanted>),
    /// What it has: what it depends on cannot be told just now. Why, if that has to be said.
    Held(Option<Obstacle>),
    /// Nothing can be wanted before this is out of the way.
    Nothing(Obstacle),
}

/// What is wanted of `device`.
pub(super) fn want(device: &DeviceInstance, facts: &Facts<'_>) -> Want {
    let namespace = device.metadata.namespace.as_deref();
    let site = &device.spec.site_ref.name;
    match stands(namespace, &facts.project, site, &facts.site, "refer to another one") {
        Ok(()) => {}
        Err(Unmet::Unreadable(obstacle)) => return Want::Held(Some(obstacle)),
        Err(Unmet::Absent(obstacle)) => return Want::Nothing(obstacle),
    }
    if let Some(over) = facts.over_quota.as_ref().filter(|_| !is_associated(device)) {
        return Want::Nothing(over.clone());
    }
    let held = match &facts.held {
        None => None,
        Some(Ok(held)) => Some(held),
        Some(Err(error)) => {
            let message = format!("the revision that the device keeps cannot be read: {error}");
            return Want::Held(Some(Obstacle::waits(Reason::TemplateUnreadable, message)));
        }
    };
    match configuration::wanted(device, facts.template.as_ref(), held) {
        Ok(wanted) => match configuration::with_credentials(wanted, &facts.wifi) {
            Ok(wanted) => Want::This(Box::new(wanted)),
            Err(obstacle) => Want::Nothing(obstacle),
        },
        Err(Missing::Moment) => Want::Held(None),
        Err(Missing::Unreadable(obstacle)) => Want::Held(Some(obstacle)),
        Err(Missing::Obstacle(obstacle)) => Want::Nothing(obstacle),
    }
}
