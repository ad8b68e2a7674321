//! Pure: what a device instance's plan depends on.

use fleetform_crds::{ConfigTemplate, DeviceInstance, Project, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::id::Installation;
use jiff::Timestamp;

use super::code::Refused;
use super::configuration::{Held, WifiSecret};
use super::lock;
use crate::activation::code::{CodeSecretMeta, Mint};
use crate::cache::Found;
use crate::controllers::Obstacle;
use crate::error::Error;
use crate::events::History;
use crate::gateway::table::Liveness;

/// What a device instance's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// Makes codes.
    pub mint: &'a Mint,
    /// The namespace's project.
    pub project: Found<Project>,
    /// The site that the spec refers to.
    pub site: Found<Site>,
    /// What stands in its way when there are more of its kind, or more sites or projects, than there may be.
    pub over_quota: Option<Obstacle>,
    /// The template that the spec refers to, if it does.
    pub template: Option<Found<ConfigTemplate>>,
    /// The revision that the device keeps, as the template's rollout has not come to it; an error when it does not read.
    pub held: Option<Result<Held, Error>>,
    /// The Secret with Wi-Fi credentials that the configuration refers to.
    pub wifi: WifiSecret,
    /// The Secret of the code's name, if Fleetform made one.
    pub code: Option<CodeSecretMeta>,
    /// Why the code's Secret was not stored, when that was just tried.
    pub refused: Option<Refused>,
    /// Whether the associated device is there.
    pub liveness: Option<Liveness>,
    /// Another device instance whose hardware claims the same asset tag.
    pub same_tag: Option<String>,
    /// Of an instance that was deleted: whether anybody is enrolled in its namespace, or leaving.
    pub has_people: bool,
    /// When the device was heard last, at the latest.
    pub last_heard: Option<Timestamp>,
    /// Associations of it whose devices have said since that they keep nothing of anybody.
    pub left: Vec<String>,
    /// Since when the gateway serves.
    pub serving_since: Option<Timestamp>,
    /// 16 random bytes, for a new code or a new lock.
    pub nonce: [u8; 16],
    /// What may go of what it records.
    pub history: History,
    /// Now.
    pub now: Timestamp,
}

impl Facts<'_> {
    /// Whether the device of this association has said, since its end, that it keeps nothing of anybody.
    pub fn has_left(&self, association: &str) -> bool {
        self.left.iter().any(|left| left == association)
    }
}

/// Whether a device is associated with the instance, and is to stay so.
pub fn is_associated(device: &DeviceInstance) -> bool {
    let epoch = device.spec.activation.epoch;
    device.phase() == Phase::Active
        && device.association().is_some_and(|association| association.epoch == epoch)
        && !lock::is_elsewhere(device)
}
