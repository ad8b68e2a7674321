//! Pure: what is wanted of a device instance, given what it depends on.

use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::Reason;

use super::configuration::{self, Missing, Wanted};
use super::facts::{Facts, is_associated};
use crate::cache::Found;
use crate::controllers::{Obstacle, no_project};

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
    match &facts.project {
        Found::Here(_) => {}
        Found::Unreadable(why) => {
            let message = format!("the Project of this namespace cannot be read: {why}");
            return Want::Held(Some(Obstacle::waits(Reason::ProjectUnreadable, message)));
        }
        Found::Absent => {
            return Want::Nothing(no_project(device.metadata.namespace.as_deref().unwrap_or_default()));
        }
    }
    let site = &device.spec.site_ref.name;
    match &facts.site {
        Found::Here(_) => {}
        Found::Unreadable(why) => {
            let message = format!("spec.siteRef: Site {site} cannot be read: {why}");
            return Want::Held(Some(Obstacle::waits(Reason::SiteUnreadable, message)));
        }
        Found::Absent => {
            let message =
                format!("spec.siteRef: there is no Site {site} in this namespace; create it, or refer to another one");
            return Want::Nothing(Obstacle::waits(Reason::SiteNotFound, message));
        }
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
