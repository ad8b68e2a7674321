//! Pure: what a scenario has in store for one device, and what of it is so at a time.

use std::num::NonZeroU64;
use std::time::Duration;

use fleetform_domain::wire::{DeviceName, DeviceText};
use jiff::SignedDuration;

use super::draw::{lot, matches};
use super::machines::OnFloor;
use super::{Act, Cast, Deed, Enrolls, Enters, Scenario};
use crate::device::Quirks;
use crate::machine::Trouble;

/// What a scenario has in store for one device.
#[derive(Clone, Debug)]
pub struct Part {
    /// Of the scenario: it makes the people and the machines.
    seed: u64,
    acts: Vec<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    /// Its place in the scenario.
    number: usize,
    act: Act,
    /// How often it is still to happen, of what does not last.
    left: u32,
}

/// What is so with a device at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// What is wrong with it, or around it.
    pub quirks: Quirks,
    /// The health checks that fail.
    pub failed_health_checks: Vec<DeviceText>,
    /// It has no power.
    pub powerless: bool,
    /// There is a copy of it.
    pub copied: bool,
    /// What comes next changes something in so much time.
    pub next: Option<Duration>,
}

/// What happens at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// Its case is opened.
    Tamper,
    /// It starts anew.
    Restart,
    /// Its clock runs on by so much without its gateway.
    Absence(Duration),
    /// Its last report reaches the gateway again.
    Replay,
    /// The installer types a wrong ZIP code.
    WrongZip,
    /// The picture of the code cannot be read.
    UnreadableQr,
    /// Two codes are in view.
    MultipleQrCodes,
    /// The code is none of ours.
    ForgedQr,
    /// Something inside the device goes wrong.
    BreakDown,
    /// The installer takes so long.
    SlowInstaller(Duration),
    /// People enroll.
    Enroll(Enrolls),
    /// People want to enter.
    Enter(Enters),
}

impl Once {
    /// Whether it happens to a device that is being activated, and not to one that is active.
    const fn is_of_activation(self) -> bool {
        matches!(
            self,
            Self::WrongZip
                | Self::UnreadableQr
                | Self::MultipleQrCodes
                | Self::ForgedQr
                | Self::BreakDown
                | Self::SlowInstaller(_)
        )
    }
}

impl Scenario {
    /// The part of a device; none when nothing is in store for it.
    pub fn part(&self, device: &DeviceName) -> Option<Part> {
        let of_it = |(number, act): (usize, &Act)| {
            act.devices.includes(self.seed, number, device).then(|| Pending::new(number, act.clone()))
        };
        let acts: Vec<_> = self.acts.iter().enumerate().filter_map(of_it).collect();
        (!acts.is_empty()).then_some(Part { seed: self.seed, acts })
    }
}

impl Cast {
    fn includes(&self, seed: u64, act: usize, device: &DeviceName) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|pattern| matches(pattern, &device.name));
        named && lot(seed, act, &[&device.project, &device.name]) < self.share_percent
    }
}

fn since(elapsed: Duration, after: SignedDuration) -> SignedDuration {
    SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX).saturating_sub(after)
}

impl Pending {
    fn new(number: usize, act: Act) -> Self {
        let left = act.deed.times().unwrap_or(1);
        Self { number, act, left }
    }

    /// Whether it is so at `elapsed`, and in how much time that changes.
    fn at(&self, elapsed: Duration) -> (bool, Option<SignedDuration>) {
        let since = since(elapsed, self.act.after);
        if since.is_negative() {
            return (false, Some(-since));
        }
        match (&self.act.deed, self.act.deed.span()) {
            (_, Some(span)) if since >= span => (false, None),
            (Deed::FlappingNetwork(flaps), _) => {
                let cycle = flaps.cycle();
                let within = since.as_nanos() % cycle.as_nanos().max(1);
                let within = SignedDuration::from_nanos(i64::try_from(within).unwrap_or(i64::MAX));
                if within < flaps.down {
                    (true, Some(flaps.down.saturating_sub(within)))
                } else {
                    (false, Some(cycle.saturating_sub(within)))
                }
            }
            (_, span) => (true, span.map(|span| span - since)),
        }
    }

    /// What it is at machines or with sensors.
    fn trouble(&self, on_floor: &OnFloor<'_>, elapsed: Duration) -> Trouble {
        let OnFloor { what, sensors, faster, .. } = *on_floor;
        let since = Duration::try_from(since(elapsed, self.act.after)).unwrap_or_default();
        Trouble { what, sensors: sensors.clone(), number: self.number, since, faster }
    }

    fn once(&self) -> Option<Once> {
        let whole = |span: SignedDuration| Duration::try_from(span).unwrap_or_default();
        Some(match &self.act.deed {
            Deed::Tamper => Once::Tamper,
            Deed::Restart => Once::Restart,
            Deed::Absence(lasts) => Once::Absence(whole(lasts.span)),
            Deed::ReplayRequests(_) => Once::Replay,
            Deed::WrongZip(_) => Once::WrongZip,
            Deed::UnreadableQr(_) => Once::UnreadableQr,
            Deed::MultipleQrCodes(_) => Once::MultipleQrCodes,
            Deed::ForgedQr(_) => Once::ForgedQr,
            Deed::BreakDown(_) => Once::BreakDown,
            Deed::SlowInstaller(lasts) => Once::SlowInstaller(whole(lasts.span)),
            Deed::Enroll(people) => Once::Enroll(*people),
            Deed::Enter(people) => Once::Enter(*people),
            _ => return None,
        })
    }
}

impl Part {
    /// What is so `elapsed` after the device was played first.
    pub fn setting(&self, elapsed: Duration) -> Setting {
        let mut setting = Setting::default();
        for pending in &self.acts {
            let is_once = pending.once().is_some();
            let (now, change) = pending.at(elapsed);
            // What has happened is over, and what waits for the device is not waited for.
            if !is_once || (!now && pending.left > 0) {
                let change = change.and_then(|change| Duration::try_from(change).ok());
                setting.next = setting.next.into_iter().chain(change).min();
            }
            if now && !is_once {
                setting.add(pending, self.seed);
            }
            if let Some(on_floor) = pending.act.deed.on_floor() {
                // Machines are those of the scenario's seed also while nothing is wrong with them.
                let floor = setting.quirks.floor.get_or_insert_default();
                floor.seed = self.seed;
                floor.troubles.extend(now.then(|| pending.trouble(&on_floor, elapsed)));
            }
        }
        setting
    }

    /// What is to happen now to a device that is active, or to one that is being activated: each as often as it is to happen, in
    /// the order of the acts.
    pub fn take(&mut self, elapsed: Duration, activating: bool) -> Vec<Once> {
        let mut happens = Vec::new();
        for pending in &mut self.acts {
            let Some(once) = pending.once() else { continue };
            if pending.left == 0 || since(elapsed, pending.act.after).is_negative() {
                continue;
            }
            if once.is_of_activation() == activating {
                happens.extend(std::iter::repeat_n(once, std::mem::take(&mut pending.left) as usize));
            }
        }
        happens
    }

    /// So many damaged downloads are still to come.
    pub fn note_damaged(&mut self, left: u32) {
        let downloads = self.acts.iter_mut().filter(|pending| matches!(pending.act.deed, Deed::CorruptDownload(_)));
        let mut left = left;
        for pending in downloads {
            pending.left = pending.left.min(left);
            left -= pending.left;
        }
    }
}

impl Setting {
    fn add(&mut self, pending: &Pending, seed: u64) {
        match &pending.act.deed {
            Deed::DiskFull(_) => self.quirks.disk_full = true,
            Deed::NetworkLoss(_) | Deed::FlappingNetwork(_) => self.quirks.no_network = true,
            Deed::PowerLoss(_) => {
                self.powerless = true;
                self.quirks.no_network = true;
            }
            Deed::FailHealthChecks(checks) => self.failed_health_checks.extend(checks.names.iter().cloned()),
            Deed::RefuseConfiguration(refuses) => self.quirks.refuses = Some(refuses.reason),
            Deed::SlowDownload(rate) => self.quirks.download_rate = NonZeroU64::new(rate.bytes_per_second),
            Deed::CorruptDownload(_) => self.quirks.damaged_downloads += pending.left,
            Deed::ClockSkew(skew) => self.quirks.clock.ahead_seconds = skew.ahead.as_secs(),
            Deed::Clone(_) => self.copied = true,
            Deed::BadgeScanner(trouble) => trouble.add_to(self.quirks.badge_scanner.get_or_insert_default()),
            Deed::Panel(trouble) => trouble.add_to(self.quirks.panel.get_or_insert_default(), seed),
            Deed::WrongZip(_)
            | Deed::UnreadableQr(_)
            | Deed::MultipleQrCodes(_)
            | Deed::ForgedQr(_)
            | Deed::BreakDown(_)
            | Deed::SlowInstaller(_)
            | Deed::Tamper
            | Deed::Restart
            | Deed::Absence(_)
            | Deed::ReplayRequests(_)
            | Deed::Enroll(_)
            | Deed::Enter(_)
            // These are on the floor.
            | Deed::Wear(_)
            | Deed::BearingFault(_)
            | Deed::Imbalance(_)
            | Deed::Repair(_)
            | Deed::SensorDrift(_)
            | Deed::SensorSticks(_)
            | Deed::SensorDies(_)
            | Deed::SensorRepeats(_)
            | Deed::SensorOutOfOrder(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{MachineFault, SensorCast, SensorFault, What};

    fn device(name: &str) -> DeviceName {
        DeviceName { project: "library".into(), name: name.into() }
    }

    fn part(acts: &str) -> Part {
        let scenario = Scenario::parse(&format!("description: x\nacts: [{acts}]\n")).unwrap();
        scenario.part(&device("door")).unwrap()
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_same_seed_chooses_the_same_devices_and_another_one_others() {
        let cast = |seed: u64| {
            let yaml =
                format!("description: x\nseed: {seed}\nacts: [{{ devices: {{ sharePercent: 10 }}, do: tamper }}]\n");
            let scenario = Scenario::parse(&yaml).unwrap();
            (0..1000).map(|n| scenario.part(&device(&n.to_string())).is_some()).collect::<Vec<_>>()
        };
        let chosen = cast(1);
        assert_eq!(chosen, cast(1));
        assert_ne!(chosen, cast(2));
        let share = chosen.iter().filter(|chosen| **chosen).count();
        assert!((60..140).contains(&share), "{share} of a thousand are about a tenth");
    }

    #[test]
    fn what_lasts_begins_and_ends() {
        let part = part("{ after: 10s, do: { networkLoss: { for: 5s } } }");
        for (second, lost, next) in [(0, false, Some(10)), (9, false, Some(1)), (10, true, Some(5)), (15, false, None)]
        {
            let setting = part.setting(at(second));
            assert_eq!((setting.quirks.no_network, setting.next), (lost, next.map(at)), "at {second}");
        }
    }

    #[test]
    fn a_network_that_flaps_comes_and_goes() {
        let part = part("{ do: { flappingNetwork: { down: 2s, up: 3s, times: 2 } } }");
        let lost: Vec<bool> = (0..12).map(|second| part.setting(at(second)).quirks.no_network).collect();
        let expected = [true, true, false, false, false, true, true, false, false, false, false, false];
        assert_eq!(lost, expected);
        assert_eq!(part.setting(at(10)).next, None);
    }

    #[test]
    fn what_flaps_as_fast_as_may_be_or_for_as_long_is_so_at_any_time() {
        for flaps in [
            "{ down: 1ms, up: 1ms, times: 1 }",
            "{ down: 1ms 1us, up: 1ms, times: 1000 }",
            "{ down: 87660h, up: 87660h, times: 1000 }",
        ] {
            let part = part(&format!("{{ after: 87660h, do: {{ flappingNetwork: {flaps} }} }}"));
            for elapsed in [Duration::ZERO, at(10 * 8_766 * 3_600), Duration::from_nanos(u64::MAX), Duration::MAX] {
                let setting = part.setting(elapsed);
                assert!(setting.next.is_none_or(|next| next <= at(20 * 8_766 * 3_600)), "{flaps}: {setting:?}");
            }
        }
    }

    #[test]
    fn what_happens_once_happens_once_and_in_its_time() {
        let mut part = part("{ after: 10s, do: tamper }, { do: { wrongZip: { times: 2 } } }");
        assert_eq!(part.take(at(0), false), []);
        assert_eq!(part.take(at(0), true), [Once::WrongZip, Once::WrongZip]);
        assert_eq!(part.take(at(1), true), []);
        assert_eq!(part.setting(at(4)).next, Some(at(6)));
        assert_eq!(part.take(at(12), true), [], "it takes an active device");
        assert_eq!(part.take(at(12), false), [Once::Tamper]);
        assert_eq!(part.take(at(12), false), []);
        assert_eq!(part.setting(at(12)), Setting::default());
    }

    #[test]
    fn what_is_wrong_with_the_panel_begins_ends_and_adds_up() {
        let part = part(
            "{ do: { panel: { is: lost, for: 5s } } }, { after: 3s, do: { panel: { is: { admits: 2 } } } }, { do: { badgeScanner: { is: lost } } }",
        );
        let panel =
            |second| part.setting(at(second)).quirks.panel.map(|panel| (panel.lost, panel.admits.map(|a| a.len())));
        assert_eq!(panel(0), Some((true, None)));
        assert_eq!(panel(4), Some((true, Some(2))));
        assert_eq!(panel(6), Some((false, Some(2))));
        assert!(part.setting(at(6)).quirks.badge_scanner.is_some_and(|scanner| scanner.lost));
    }

    #[test]
    fn people_come_once_and_in_their_time() {
        let mut part =
            part("{ after: 10s, do: { enroll: { people: 2 } } }, { do: { enter: { people: 1, first: 7 } } }");
        let enter = Once::Enter(Enters { people: 1, first: 7, fails: None });
        assert_eq!(part.take(at(0), false), [enter]);
        assert_eq!(part.take(at(10), false), [Once::Enroll(Enrolls { people: 2, first: 0, fails: None })]);
        assert_eq!(part.take(at(11), false), []);
    }

    #[test]
    fn a_machine_wears_out_and_is_repaired_in_its_time() {
        let part = part(
            "{ after: 10s, do: { wear: { over: 72h, to: 9, faster: 1440 } } }, { after: 40s, do: { repair: {} } }, \
             { after: 20s, do: { sensorDies: { for: 5s, sensors: { assetTags: ['S-*'] } } } }",
        );
        let troubles = |second| part.setting(at(second)).quirks.floor.unwrap().troubles;
        assert_eq!(troubles(9), []);
        let wear = MachineFault::Wear { over: Duration::from_hours(72), to: 9.0 };
        let worn = |since| Trouble {
            what: What::Machine(wear),
            sensors: SensorCast::default(),
            number: 0,
            since: at(since),
            faster: 1440,
        };
        assert_eq!(troubles(10), [worn(0)]);
        let [first, dead] = <[Trouble; 2]>::try_from(troubles(22)).unwrap();
        assert_eq!((first, dead.what, dead.since), (worn(12), What::Sensor(SensorFault::Dead), at(2)));
        assert_eq!(troubles(25), [worn(15)]);
        assert_eq!(troubles(42).iter().map(|trouble| trouble.what).collect::<Vec<_>>(), [worn(0).what, What::Repair]);
        assert_eq!(part.setting(at(19)).next, Some(at(1)));
    }

    #[test]
    fn damaged_downloads_are_counted_down() {
        let mut part = part("{ do: { corruptDownload: { times: 2 } } }");
        assert_eq!(part.setting(at(0)).quirks.damaged_downloads, 2);
        part.note_damaged(1);
        assert_eq!(part.setting(at(0)).quirks.damaged_downloads, 1);
        part.note_damaged(0);
        assert_eq!(part.setting(at(0)).quirks.damaged_downloads, 0);
    }
}
