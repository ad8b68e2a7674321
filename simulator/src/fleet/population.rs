//! Pure: who there is, who is at work, and what comes next. Time comes in with every call and randomness from a seed;
//! everything that takes the network or a disk is handed out as an [`Order`] and comes back as [`Done`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::activation::Phase;
use fleetform_domain::id::ResourceId;
use fleetform_domain::wire::{DeviceList, DeviceName, DeviceSummary, DeviceText};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use super::agenda::Agenda;
use super::decide::{Action, Entry, Hardware, decide};
use super::order::{Done, Order, Outcome, Work};
use super::status::{FleetStatus, Stage};
use super::{FleetOptions, Maker};
use crate::backoff::until_check_in;
use crate::device::{Device, Screen};

/// The asset tag of the simulated device for an instance with this UID.
pub fn asset_tag(uid: &str) -> DeviceText {
    format!("SIM-{}", ResourceId::of(uid)).try_into().expect("ids are letters and digits")
}

/// A device instance to be played.
struct Slot {
    asset_tag: DeviceText,
    site: Arc<str>,
    entry: Entry,
    device: Option<Box<Device>>,
    /// Of the association, as far as it is known.
    sequence: Option<i64>,
    /// In a row.
    failures: u32,
    /// The appointment or place in a queue that counts: all with another number were overtaken.
    turn: u64,
    is_away: bool,
    /// When its next check-in is due, while its sensors measure before that.
    check_in_at: Option<Instant>,
    /// The list changed while the device was away.
    has_news: bool,
    stage: Stage,
}

impl Slot {
    fn hardware(&self) -> Hardware {
        match self.device.as_ref().map(|device| device.screen()) {
            None | Some(Screen::Scan | Screen::Zip | Screen::Confirm) => Hardware::Blank,
            // A restart tells what is on the disk; until then there may be a commit to repeat.
            Some(Screen::Off | Screen::Halted(_) | Screen::Pending) => Hardware::Pending,
            Some(
                Screen::Active | Screen::Enrollment(_) | Screen::Entry(_) | Screen::Locked(_) | Screen::OutOfService,
            ) => Hardware::Associated(self.sequence),
        }
    }
}

/// When a device is to be looked at again.
#[derive(Clone, Copy, Default)]
struct Next {
    /// To check in, if that need not be now.
    pause: Duration,
    /// Because something about it changes.
    cue: Option<Duration>,
    /// Because one of its sensors measures.
    measures: Option<Duration>,
    /// Its check-in is due when it was due before.
    keeps_appointment: bool,
}

/// A device that is not to be played now. It is kept for a while, should its instance come back.
struct Shelved {
    device: Box<Device>,
    /// None until the first list was read: before that nobody knows whom the device belongs to.
    since: Option<Instant>,
}

pub(super) struct Population {
    options: FleetOptions,
    maker: Maker,
    slots: HashMap<Arc<DeviceName>, Slot>,
    sites: HashSet<Arc<str>>,
    shelf: HashMap<DeviceText, Shelved>,
    /// Asset tags of devices that are at work.
    away: HashSet<DeviceText>,
    agenda: Agenda<Instant, Arc<DeviceName>>,
    queues: [VecDeque<(u64, Arc<DeviceName>)>; 3],
    working: [usize; 3],
    turns: u64,
    status: FleetStatus,
    rng: StdRng,
}

impl Population {
    pub(super) fn new(options: FleetOptions, maker: Maker, restored: Vec<Device>) -> Self {
        let shelve = |device: Device| (device.asset_tag().clone(), Shelved { device: Box::new(device), since: None });
        Self {
            rng: StdRng::seed_from_u64(options.seed),
            options,
            maker,
            slots: HashMap::new(),
            sites: HashSet::new(),
            shelf: restored.into_iter().map(shelve).collect(),
            away: HashSet::new(),
            agenda: Agenda::default(),
            queues: Default::default(),
            working: [0; 3],
            turns: 0,
            status: FleetStatus::default(),
        }
    }

    pub(super) fn status(&self) -> FleetStatus {
        self.status
    }

    /// When to look again if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// Takes in a list, or what changed since the last one.
    pub(super) fn admit(&mut self, list: DeviceList, now: Instant) {
        if list.complete {
            let listed: HashSet<&DeviceName> = list.items.iter().map(|device| &device.id).collect();
            let gone: Vec<_> = self.slots.keys().filter(|name| !listed.contains(&***name)).cloned().collect();
            for name in gone {
                self.remove(&name, now);
            }
        }
        // Devices that come back are not to call all at once: at most 250 in a second, or all within a minute.
        let most = Duration::from_millis(4).saturating_mul(u32::try_from(list.items.len()).unwrap_or(u32::MAX));
        let spread = most.clamp(Duration::from_secs(1), Duration::from_mins(1));
        list.removed.iter().for_each(|name| self.remove(name, now));
        list.items.into_iter().for_each(|device| self.take_in(device, now, spread));
        self.shelf.values_mut().filter(|shelved| shelved.since.is_none()).for_each(|shelved| shelved.since = Some(now));
        self.status.listed = true;
    }

    fn take_in(&mut self, device: DeviceSummary, now: Instant, spread: Duration) {
        let entry = Entry::of(&device, self.options.project.is_some());
        if !entry.playable {
            return self.remove(&device.id, now);
        }
        let asset_tag = asset_tag(&device.uid);
        if self.slots.get(&device.id).is_some_and(|slot| slot.asset_tag != asset_tag) {
            self.remove(&device.id, now);
        }
        let site = self.site(&device.site);
        if let Some(slot) = self.slots.get_mut(&device.id) {
            slot.site = site;
            if slot.entry == entry {
                return;
            }
            slot.entry = entry;
            slot.has_news = slot.is_away;
            // One that goes on as before keeps its appointment: a list that catches up with an activation is no reason
            // to call the gateway.
            if decide(slot.hardware(), &entry) == Action::KeepCheckingIn {
                return;
            }
            slot.failures = 0;
            let name = Arc::new(device.id);
            return self.plan(&name, now, Next::default(), true);
        }
        let name = Arc::new(device.id);
        let slot = Slot {
            site,
            entry,
            device: self.shelf.remove(&asset_tag).map(|shelved| shelved.device),
            sequence: None,
            failures: 0,
            turn: 0,
            is_away: self.away.contains(&asset_tag),
            check_in_at: None,
            has_news: false,
            stage: Stage::Waiting,
            asset_tag,
        };
        self.slots.insert(name.clone(), slot);
        *self.status.count(Stage::Waiting) += 1;
        let pause = spread.mul_f64(self.rng.random());
        self.plan(&name, now, Next { pause, ..Next::default() }, true);
    }

    fn site(&mut self, name: &str) -> Arc<str> {
        if let Some(site) = self.sites.get(name) {
            return site.clone();
        }
        let site: Arc<str> = name.into();
        self.sites.insert(site.clone());
        site
    }

    fn remove(&mut self, name: &DeviceName, now: Instant) {
        if let Some(slot) = self.slots.remove(name) {
            *self.status.count(slot.stage) -= 1;
            if let Some(device) = slot.device {
                self.shelve(device, now);
            }
        }
    }

    fn shelve(&mut self, device: Box<Device>, now: Instant) {
        if device.screen() != Screen::Scan {
            self.shelf.insert(device.asset_tag().clone(), Shelved { device, since: Some(now) });
        }
    }

    /// Takes off the shelf what nobody asked for in a long while, and names it, to be removed from the disk.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<DeviceText> {
        let keep = self.options.forget_after;
        let is_over = |shelved: &mut Shelved| shelved.since.is_some_and(|since| now.duration_since(since) >= keep);
        self.shelf.extract_if(|_, shelved| is_over(shelved)).map(|(tag, _)| tag).collect()
    }

    /// Decides what comes next for an instance.
    fn plan(&mut self, name: &Arc<DeviceName>, now: Instant, next: Next, heed_list: bool) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.is_away {
            return;
        }
        self.turns += 1;
        slot.turn = self.turns;
        let appointment = slot.check_in_at.take().filter(|_| next.keeps_appointment);
        let action = decide(slot.hardware(), &slot.entry);
        let stage = Stage::after(action, slot.failures);
        *self.status.count(slot.stage) -= 1;
        *self.status.count(stage) += 1;
        slot.stage = stage;
        let work = match action {
            Action::PowerOff | Action::Wait | Action::LeaveToOthers => return,
            Action::Activate => Work::Activation,
            Action::KeepCheckingIn | Action::CheckInNow => Work::CheckIn,
        };
        let backoff = match work {
            Work::Activation => self.options.activation_backoff,
            Work::CheckIn | Work::Measurement => self.options.check_in_backoff,
        };
        let wait = match (slot.failures, action, appointment) {
            (0, Action::Activate, _) => Duration::ZERO,
            (0, Action::CheckInNow, _) if heed_list => Duration::ZERO,
            (_, _, Some(at)) => at.saturating_duration_since(now),
            (0, _, None) => next.pause,
            (failures, _, None) => backoff.delay(failures, self.rng.random()),
        };
        let wait = next.cue.map_or(wait, |cue| wait.min(cue));
        match next.measures.filter(|measures| work == Work::CheckIn && *measures < wait) {
            Some(measures) => {
                slot.check_in_at = Some(now + wait);
                self.agenda.add(now + measures, slot.turn, name.clone());
            }
            None if wait.is_zero() => self.queues[work as usize].push_back((slot.turn, name.clone())),
            None => self.agenda.add(now + wait, slot.turn, name.clone()),
        }
    }

    /// The next order, as long as fewer are being carried out than may be.
    pub(super) fn next_order(&mut self, now: Instant) -> Option<Order> {
        while let Some((turn, name)) = self.agenda.take_due(now) {
            if let Some(slot) = self.slots.get(&name).filter(|slot| slot.turn == turn && !slot.is_away) {
                let work = if slot.check_in_at.is_some() { Work::Measurement } else { Work::of(slot.hardware()) };
                self.queues[work as usize].push_back((turn, name));
            }
        }
        [Work::CheckIn, Work::Measurement, Work::Activation].into_iter().find_map(|work| self.take_from_queue(work))
    }

    fn take_from_queue(&mut self, work: Work) -> Option<Order> {
        let most = match work {
            Work::Activation => self.options.max_concurrent_activations,
            // Those that wait are at no work.
            Work::CheckIn if self.options.check_in_wait_seconds > 0 => usize::MAX,
            Work::CheckIn | Work::Measurement => self.options.max_concurrent_check_ins,
        };
        while self.working[work as usize] < most.max(1) {
            let (turn, name) = self.queues[work as usize].pop_front()?;
            let Some(slot) = self.slots.get_mut(&name).filter(|slot| slot.turn == turn && !slot.is_away) else {
                continue;
            };
            slot.is_away = true;
            self.away.insert(slot.asset_tag.clone());
            self.working[work as usize] += 1;
            let device = slot
                .device
                .take()
                .unwrap_or_else(|| Box::new(self.maker.make(slot.asset_tag.clone(), self.rng.random())));
            return Some(Order { name, site: slot.site.clone(), entry: slot.entry, device, work });
        }
        None
    }

    /// A device is back from work.
    pub(super) fn finish(&mut self, done: Done, now: Instant) {
        let Done { name, device, outcome, work, cue, measures, entry } = done;
        self.working[work as usize] -= 1;
        self.away.remove(device.asset_tag());
        let slot = self.slots.get_mut(&name).filter(|slot| slot.asset_tag == *device.asset_tag());
        let Some(slot) = slot else { return self.shelve(device, now) };
        slot.is_away = false;
        let heed_list = std::mem::take(&mut slot.has_news);
        let keeps_appointment = outcome == Outcome::Measured;
        let mut pause = Duration::ZERO;
        match outcome {
            Outcome::CheckedIn { next_seconds } => {
                slot.failures = 0;
                if work == Work::Activation || entry.phase == Phase::Active {
                    slot.sequence = slot.sequence.max(Some(entry.sequence));
                }
                pause = until_check_in(next_seconds, self.rng.random());
            }
            Outcome::Measured => {}
            Outcome::Wiped | Outcome::Nothing => {
                // An association that ends as soon as it is made is no reason to make the next one at once.
                slot.failures =
                    if work == Work::Activation && entry.phase != Phase::Active { slot.failures + 1 } else { 0 };
                slot.sequence = None;
            }
            Outcome::Failed => {
                slot.failures = if heed_list { 0 } else { slot.failures + 1 };
                if work == Work::Activation && device.is_associated() {
                    slot.sequence = slot.sequence.max(Some(entry.sequence));
                }
            }
        }
        // One that is blank costs nothing when it is not there.
        slot.device = (device.screen() != Screen::Scan).then_some(device);
        self.plan(&name, now, Next { pause, cue, measures, keeps_appointment }, heed_list);
    }
}

#[cfg(test)]
#[path = "population_tests.rs"]
mod tests;
