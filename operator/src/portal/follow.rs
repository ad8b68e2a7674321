//! Keeps the feed of devices current.

use std::collections::HashMap;

use fleetform_crds::DeviceInstance;
use fleetform_domain::hex;
use fleetform_domain::wire::{DeviceName, DeviceSummary};
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};

use super::feed::{Feed, Listing, Scope};
use crate::cache::{Change, Name, World};
use crate::context::Context;

/// Most changes that are taken in one go.
const BATCH: usize = 1024;

/// The feed, and who waits for its changes.
#[derive(Debug)]
pub(super) struct Follower {
    feed: RwLock<Feed>,
    changed: watch::Sender<()>,
}

/// How far the feed has followed.
#[derive(Debug)]
pub(super) struct Following {
    changes: mpsc::UnboundedReceiver<Change>,
    simulated: HashMap<Name, bool>,
}

impl Follower {
    pub(super) fn new(context: &Context) -> Self {
        let epoch = hex(&context.clock.random()[..6]);
        Self { feed: RwLock::new(Feed::new(epoch)), changed: watch::Sender::new(()) }
    }

    /// The devices in `scope`, or what changed of them.
    pub(super) fn list(&self, scope: &Scope, since: Option<&str>) -> Listing {
        self.feed.read().list(scope, since)
    }

    /// Wakes at the next change of any device. Take it before looking at the list.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Reads the whole of `world`: before that a list would pass for complete and not be.
    pub(super) fn begin(&self, world: &World) -> Following {
        // Subscribed before anything is read, so that no change falls between.
        let changes = world.subscribe();
        let mut simulated = HashMap::new();
        for site in world.sites.all() {
            simulated.insert(Name::of(&*site), site.is_simulated());
        }
        for device in world.devices.all() {
            self.feed.write().put(project(&device, &simulated));
        }
        Following { changes, simulated }
    }

    /// Follows `world` until it is dropped.
    pub(super) async fn follow(&self, world: &World, following: Following) {
        let Following { mut changes, mut simulated } = following;
        let mut batch = Vec::new();
        while changes.recv_many(&mut batch, BATCH).await > 0 {
            let mut news = false;
            for change in batch.drain(..) {
                news |= self.take(world, &mut simulated, &change);
            }
            if news {
                self.changed.send_replace(());
            }
        }
    }

    fn take(&self, world: &World, simulated: &mut HashMap<Name, bool>, change: &Change) -> bool {
        match change {
            Change::DeviceInstance { name, .. } => self.look(world, simulated, name),
            Change::Site { name, .. } => {
                let now = world.sites.get(name).is_some_and(|site| site.is_simulated());
                let before = simulated.insert(name.clone(), now).unwrap_or(false);
                if world.sites.get(name).is_none() {
                    simulated.remove(name);
                }
                if before == now {
                    return false;
                }
                let devices = world.devices.in_namespace(&name.namespace);
                let there = devices.iter().filter(|device| device.spec.site_ref.name == name.name);
                there
                    .map(|device| self.look(world, simulated, &Name::of(&**device)))
                    .fold(false, |news, new| news | new)
            }
            Change::Project { .. }
            | Change::ConfigTemplate { .. }
            | Change::Asset { .. }
            | Change::Alert { .. }
            | Change::EnrolledUser { .. }
            | Change::AdminUser { .. }
            | Change::Grant { .. }
            | Change::Person { .. }
            | Change::Secret { .. }
            | Change::Referenced { .. } => false,
        }
    }

    fn look(&self, world: &World, simulated: &HashMap<Name, bool>, name: &Name) -> bool {
        let device = world.devices.get(name);
        let mut feed = self.feed.write();
        match device {
            Some(device) => feed.put(project(&device, simulated)),
            None => feed.remove(&DeviceName { project: name.namespace.clone(), name: name.name.clone() }),
        }
    }
}

/// What those may see of a device who may not read its configuration.
fn project(device: &DeviceInstance, simulated: &HashMap<Name, bool>) -> DeviceSummary {
    let name = Name::of(device);
    let activation = device.status.as_ref().and_then(|status| status.activation.as_ref());
    let site = Name::new(&name.namespace, &device.spec.site_ref.name);
    DeviceSummary {
        uid: device.metadata.uid.clone().unwrap_or_default(),
        display_name: device.spec.display_name.clone(),
        device_type: device.spec.device_type,
        phase: device.phase(),
        activation_sequence: activation.map_or(0, |activation| activation.sequence),
        simulated: simulated.get(&site).copied().unwrap_or(false),
        site: site.name,
        id: DeviceName { project: name.namespace, name: name.name },
    }
}
