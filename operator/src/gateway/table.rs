//! What devices have reported since this process began to serve. A cache: it rebuilds itself from check-ins after a
//! restart, and is never stored. Liveness is never a write; only a transition is.

use std::collections::{HashMap, VecDeque};

use fleetform_domain::id::ResourceId;
use fleetform_domain::wire::{AuthoritiesDigest, Command, DeviceText, SensorReport};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::report::Report;
use super::sensors::{Heard, SensorsHeard};
use crate::recent::Recent;

/// Most changes of its state that are taken of one device in an hour. An update makes a handful.
const CHANGES_PER_HOUR: u32 = 30;

/// Most earlier starts of a device that are remembered.
const KEPT_BOOTS: usize = 8;

/// Longest time between the first write of an activation and its last.
const REDEEM_TAKES: SignedDuration = SignedDuration::from_secs(45);

/// More sites than this are remembered only while a code of theirs may be being redeemed.
const KEPT_REDEEMS: usize = 1024;

/// So many associations are remembered whose device has said, after their end, that it keeps nothing of anybody.
const KEPT_LEAVES: usize = 64 * 1024;

/// Whom a device trusts, and who vouches for it. That is between it and the gateway: nothing of it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities that it trusts, if it says so.
    pub authorities: Option<AuthoritiesDigest>,
    /// The generation of the authority that signed its certificate, if it is one that is known.
    pub issuer: Option<u32>,
}

/// Whether a device is there, as far as this process can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It checked in when it was due.
    Reporting(Box<Report>),
    /// It has been silent for too long.
    Silent,
    /// This process has not served long enough to tell: what is stored stays.
    Unknown,
}

/// The reports, by association.
#[derive(Debug)]
pub struct DeviceTable {
    serving_since: Mutex<Option<Timestamp>>,
    silent_after: SignedDuration,
    entries: Mutex<HashMap<String, Entry>>,
    redeeming: Mutex<HashMap<String, Timestamp>>,
    left: Mutex<Recent<String, ()>>,
}

#[derive(Debug)]
struct Entry {
    report: Report,
    trust: Trust,
    counted_silent: bool,
    /// When the hour began in which `changes` are counted.
    hour: Timestamp,
    changes: u32,
    /// Starts before the current one, the last first. A device never goes back to one.
    earlier_boots: VecDeque<DeviceText>,
    /// Of a gateway: what it said of its sensors, if it did.
    sensors: Option<SensorsHeard>,
}

impl Entry {
    fn new(report: Report) -> Self {
        Self {
            hour: report.seen,
            report,
            trust: Trust::default(),
            counted_silent: false,
            changes: 0,
            earlier_boots: VecDeque::new(),
            sensors: None,
        }
    }

    /// Carries over what is known of the device beyond its report.
    fn complete(&mut self, report: &mut Report) {
        report.told.clone_from(&self.report.told);
        report.keeps_none = report.keeps_none.max(self.report.keeps_none);
        report.interleaved = self.report.interleaved;
        if self.report.boot_id != report.boot_id {
            report.interleaved |= self.earlier_boots.contains(&report.boot_id);
            self.earlier_boots.push_front(self.report.boot_id.clone());
            self.earlier_boots.truncate(KEPT_BOOTS);
        }
    }

    /// Whether one more change of state is taken now.
    fn grant(&mut self, now: Timestamp) -> bool {
        if now.duration_since(self.hour) >= SignedDuration::from_hours(1) {
            self.hour = now;
            self.changes = 0;
        }
        self.changes += 1;
        self.changes <= CHANGES_PER_HOUR
    }
}

impl DeviceTable {
    /// An empty table. A device is silent when it has not checked in for three of its intervals.
    pub fn new(check_in_seconds: u32) -> Self {
        Self {
            serving_since: Mutex::new(None),
            silent_after: SignedDuration::from_secs(i64::from(check_in_seconds) * 3),
            entries: Mutex::new(HashMap::new()),
            redeeming: Mutex::new(HashMap::new()),
            left: Mutex::new(Recent::new(KEPT_LEAVES)),
        }
    }

    /// How long a device may be silent.
    pub fn silent_after(&self) -> SignedDuration {
        self.silent_after
    }

    /// The gateway has begun to serve.
    pub fn serve_from(&self, now: Timestamp) {
        self.serving_since.lock().get_or_insert(now);
    }

    /// The gateway no longer serves: what it heard is worth nothing when it serves again.
    pub fn stop_serving(&self) {
        *self.serving_since.lock() = None;
        self.entries.lock().clear();
    }

    /// Whether the gateway has served long enough to tell which devices are silent, and if not, when it will have.
    pub fn settled(&self, now: Timestamp) -> Result<(), Option<Timestamp>> {
        match *self.serving_since.lock() {
            None => Err(None),
            Some(since) if now.duration_since(since) >= self.silent_after => Ok(()),
            Some(since) => Err(Some(since + self.silent_after)),
        }
    }

    /// Takes a report. Answers whether the device's state differs from what it reported before, or was silent. Of a device
    /// that changes its state too often only the last state that was taken counts, until the hour is over: whatever a device
    /// claims, it cannot make more writes than that.
    pub fn take(&self, association: &str, mut report: Report) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(association) else {
            entries.insert(association.to_owned(), Entry::new(report));
            return true;
        };
        if entry.report.boot_id == report.boot_id && entry.report.counter >= report.counter {
            // An earlier report that was overtaken on its way says nothing of the device as it is.
            return false;
        }
        entry.complete(&mut report);
        let was_silent = std::mem::take(&mut entry.counted_silent);
        let same = entry.report.same_state(&report);
        if same || entry.grant(report.seen) {
            entry.report = report;
            was_silent || !same
        } else {
            // Which start it is has to be known whatever else it claims.
            entry.report.seen = report.seen;
            entry.report.counter = report.counter;
            entry.report.boot_id = report.boot_id;
            entry.report.interleaved = report.interleaved;
            // Whom it knows makes no write.
            entry.report.users_revision = report.users_revision;
            entry.report.users_step = report.users_step;
            entry.report.keeps_none = report.keeps_none;
            was_silent
        }
    }

    /// Takes what a gateway says of its sensors in the check-in of this boot and count. Answers of which sensors that is news. Nothing is
    /// taken of a check-in that was overtaken on its way.
    pub fn take_sensors(
        &self,
        association: &str,
        (boot_id, counter): (&DeviceText, u64),
        reports: &[SensorReport],
        now: Timestamp,
    ) -> Vec<ResourceId> {
        let mut entries = self.entries.lock();
        match entries.get_mut(association) {
            Some(entry) if entry.report.boot_id == *boot_id && entry.report.counter == counter => {
                entry.sensors.get_or_insert_default().take(reports, now)
            }
            _ => Vec::new(),
        }
    }

    /// What the gateway with this association says of a sensor.
    pub fn sensor(&self, association: &str, id: &ResourceId, now: Timestamp) -> Heard {
        let entries = self.entries.lock();
        let entry = entries.get(association);
        let speaks = entry.filter(|entry| now.duration_since(entry.report.seen) < self.silent_after);
        speaks.and_then(|entry| entry.sensors.as_ref()).map_or(Heard::Unknown, |sensors| sensors.of(id))
    }

    /// Whom the device trusts now.
    pub fn trusts(&self, association: &str, trust: Trust) {
        if let Some(entry) = self.entries.lock().get_mut(association) {
            entry.trust = trust;
        }
    }

    /// The device was told of these commands. Answers whether that is news.
    pub fn tell(&self, association: &str, commands: &[Command], now: Timestamp) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(association) else { return false };
        let told = &mut entry.report.told;
        told.retain(|(id, _)| commands.iter().any(|command| command.id == *id));
        let kept = told.len();
        for command in commands {
            if told.iter().all(|(id, _)| *id != command.id) {
                told.push((command.id.clone(), now));
            }
        }
        told.len() > kept
    }

    /// The lock was taken off after an inspection: what made the device suspicious counts no longer.
    pub fn trust_again(&self, association: &str) {
        if let Some(entry) = self.entries.lock().get_mut(association) {
            entry.report.interleaved = false;
            entry.earlier_boots.clear();
        }
    }

    /// When the device was heard last, as far as this process knows: it may have been heard just before the process began to serve.
    pub fn last_heard(&self, association: &str) -> Option<Timestamp> {
        let heard = self.entries.lock().get(association).map(|entry| entry.report.seen);
        heard.or(*self.serving_since.lock())
    }

    /// Since when the gateway serves.
    pub fn serving_since(&self) -> Option<Timestamp> {
        *self.serving_since.lock()
    }

    /// Whether the device with this association is there.
    pub fn liveness(&self, association: &str, now: Timestamp) -> Liveness {
        let entries = self.entries.lock();
        match entries.get(association) {
            Some(entry) if now.duration_since(entry.report.seen) < self.silent_after => {
                Liveness::Reporting(Box::new(entry.report.clone()))
            }
            Some(_) => Liveness::Silent,
            None if self.settled(now).is_ok() => Liveness::Silent,
            None => Liveness::Unknown,
        }
    }

    /// The list of enrolled users that the device said last that it holds, silent or not, and the step that
    /// the list itself was at then.
    pub fn list_of(&self, association: &str) -> Option<(Option<DeviceText>, u64)> {
        let entries = self.entries.lock();
        entries.get(association).map(|entry| (entry.report.users_revision.clone(), entry.report.users_step))
    }

    /// The step that the list was at when the device said last that it keeps no enrollment with palms.
    pub fn kept_none_at(&self, association: &str) -> Option<u64> {
        self.entries.lock().get(association).and_then(|entry| entry.report.keeps_none)
    }

    /// The associations that have become silent since the last call.
    pub fn newly_silent(&self, now: Timestamp) -> Vec<String> {
        let mut entries = self.entries.lock();
        let late = entries
            .iter_mut()
            .filter(|(_, entry)| !entry.counted_silent && now.duration_since(entry.report.seen) >= self.silent_after);
        late.map(|(association, entry)| {
            entry.counted_silent = true;
            association.clone()
        })
        .collect()
    }

    /// A code of this site is about to be redeemed: while that may be going on, the stored count of its active devices
    /// must not be lowered to 0.
    pub fn begin_redeem(&self, site_uid: &str, now: Timestamp) {
        let mut redeeming = self.redeeming.lock();
        if redeeming.len() >= KEPT_REDEEMS && !redeeming.contains_key(site_uid) {
            redeeming.retain(|_, since| now.duration_since(*since) < REDEEM_TAKES);
        }
        redeeming.insert(site_uid.to_owned(), now);
    }

    /// Whether a code of this site may be being redeemed.
    pub fn redeeming(&self, site_uid: &str, now: Timestamp) -> bool {
        self.redeeming.lock().get(site_uid).is_some_and(|since| now.duration_since(*since) < REDEEM_TAKES)
    }

    /// How many devices report now.
    pub fn reporting(&self, now: Timestamp) -> usize {
        let entries = self.entries.lock();
        entries.values().filter(|entry| now.duration_since(entry.report.seen) < self.silent_after).count()
    }

    /// The associations of devices that report now and of whose trust `holds` is true.
    pub fn reporting_that(&self, now: Timestamp, holds: impl Fn(Trust) -> bool) -> Vec<String> {
        let entries = self.entries.lock();
        let reporting = entries.iter().filter(|(_, entry)| now.duration_since(entry.report.seen) < self.silent_after);
        reporting.filter(|(_, entry)| holds(entry.trust)).map(|(association, _)| association.clone()).collect()
    }

    /// Forgets the associations that are no more.
    pub fn retain(&self, lives: impl Fn(&str) -> bool) {
        self.entries.lock().retain(|association, _| lives(association));
    }

    /// The device has said, after the end of its association, that it keeps nothing of anybody.
    pub fn take_leave(&self, association: &str) {
        self.forget(association);
        self.left.lock().put(association.to_owned(), ());
    }

    /// Whether the device has said to this process, after the end of its association, that it keeps nothing of anybody.
    pub fn has_left(&self, association: &str) -> bool {
        self.left.lock().get(&association.to_owned()).is_some()
    }

    /// Forgets an association that has ended.
    pub fn forget(&self, association: &str) {
        self.entries.lock().remove(association);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    fn report(second: i64, applied: Option<u32>) -> Report {
        Report {
            seen: at(second),
            boot_id: "b".try_into().unwrap(),
            counter: u64::try_from(second).unwrap() + 1,
            software_version: "1".try_into().unwrap(),
            applied,
            failed_health_checks: Vec::new(),
            lock: None,
            completed: None,
            refused: None,
            update: None,
            users_revision: None,
            users_step: 0,
            clock_is_off: false,
            keeps_none: Some(second.unsigned_abs()),
            interleaved: false,
            told: Vec::new(),
        }
    }

    fn boot(second: i64, boot: &str) -> Report {
        Report { boot_id: boot.try_into().unwrap(), ..report(second, Some(1)) }
    }

    #[test]
    fn two_devices_with_one_key_are_noticed_and_restarts_are_not() {
        let table = DeviceTable::new(10);
        let interleaved = |report: Report| {
            let now = report.seen;
            table.take("a", report);
            matches!(table.liveness("a", now), Liveness::Reporting(report) if report.interleaved)
        };
        assert!(!interleaved(boot(0, "b1")));
        assert!(!interleaved(boot(1, "b2")), "it restarted");
        assert!(!interleaved(boot(2, "b3")));
        assert!(interleaved(boot(3, "b2")), "no device goes back to an earlier start");
        assert!(interleaved(boot(4, "b2")), "until somebody has looked");
        table.trust_again("a");
        assert!(!interleaved(boot(5, "b2")));
        assert!(!interleaved(boot(6, "b4")));
        assert!(interleaved(boot(7, "b2")));
    }

    #[test]
    fn that_a_device_was_told_of_a_command_is_news_once() {
        let table = DeviceTable::new(10);
        table.take("a", report(0, None));
        let command =
            |id: &str| Command { kind: fleetform_domain::operation::CommandKind::Reboot, id: id.try_into().unwrap() };
        assert!(table.tell("a", &[command("r1")], at(1)));
        assert!(!table.tell("a", &[command("r1")], at(2)));
        table.take("a", report(3, None));
        assert!(matches!(table.liveness("a", at(3)), Liveness::Reporting(report) if report.told[0].1 == at(1)));
        assert!(table.tell("a", &[command("r2")], at(4)));
        assert!(!table.tell("a", &[], at(5)), "nothing is to be told any more");
    }

    #[test]
    fn a_gateway_that_has_just_started_does_not_call_anyone_silent() {
        let table = DeviceTable::new(10);
        assert_eq!(table.liveness("a", at(0)), Liveness::Unknown);
        table.serve_from(at(0));
        assert_eq!(table.liveness("a", at(29)), Liveness::Unknown);
        assert_eq!(table.settled(at(29)), Err(Some(at(30))));
        assert_eq!(table.liveness("a", at(30)), Liveness::Silent);
    }

    #[test]
    fn a_device_cannot_change_its_state_without_end() {
        let table = DeviceTable::new(10);
        table.take("a", report(0, Some(0)));
        let news = (1..=100).filter(|n| table.take("a", report(*n, u32::try_from(*n).ok()))).count();
        assert_eq!(news, 30);
        assert!(matches!(table.liveness("a", at(101)), Liveness::Reporting(report) if report.applied == Some(30)));
        assert!(table.take("a", report(3_700, Some(7))), "the hour is over");
    }

    #[test]
    fn what_a_gateway_says_of_its_sensors_counts_while_it_is_heard() {
        let table = DeviceTable::new(10);
        let id: ResourceId = "12345678901234".parse().unwrap();
        let sensor = SensorReport {
            device_instance_id: id.clone(),
            asset_tag_id: "VT-0001".try_into().unwrap(),
            epoch: 0,
            connected: true,
            software_version: None,
            failed_health_checks: Vec::new(),
        };
        let (boot, other) = ("b".try_into().unwrap(), "c".try_into().unwrap());
        let sensors = [sensor];
        assert!(table.take_sensors("a", (&boot, 1), &sensors, at(0)).is_empty(), "nobody checked in");
        table.take("a", report(0, None));
        assert_eq!(table.sensor("a", &id, at(0)), Heard::Unknown, "it has said nothing of sensors");
        assert!(table.take_sensors("a", (&boot, 9), &sensors, at(0)).is_empty(), "another check-in");
        assert!(table.take_sensors("a", (&other, 1), &sensors, at(0)).is_empty(), "another start");
        assert_eq!(table.take_sensors("a", (&boot, 1), &sensors, at(0)), std::slice::from_ref(&id));
        assert!(matches!(table.sensor("a", &id, at(29)), Heard::Paired(_)));
        assert_eq!(table.sensor("a", &id, at(30)), Heard::Unknown, "it is silent");
        table.take("a", report(40, None));
        assert!(matches!(table.sensor("a", &id, at(41)), Heard::Paired(_)));
        assert_eq!(table.take_sensors("a", (&boot, 41), &[], at(41)), std::slice::from_ref(&id));
        assert_eq!(table.sensor("a", &id, at(41)), Heard::NotPaired);
    }

    #[test]
    fn whom_a_device_knows_is_taken_whatever_else_it_claims_and_is_no_news() {
        let table = DeviceTable::new(10);
        let knows = |second: i64, applied: u32, list: &str| Report {
            users_revision: Some(list.try_into().unwrap()),
            users_step: second.unsigned_abs(),
            ..report(second, Some(applied))
        };
        table.take("a", knows(0, 0, "r0"));
        assert!(!table.take("a", knows(1, 0, "r1")), "nothing of it is stored");
        for n in 2..=60 {
            table.take("a", knows(n, u32::try_from(n).unwrap(), &format!("r{n}")));
        }
        assert!(!table.take("a", knows(30, 1, "r30")), "overtaken");
        let (list, step) = table.list_of("a").unwrap();
        assert_eq!((list.unwrap().as_str(), step), ("r60", 60));
        assert_eq!(table.list_of("b"), None);
    }

    #[test]
    fn that_a_desk_keeps_nothing_of_anybody_is_remembered() {
        let table = DeviceTable::new(10);
        table.take("a", Report { keeps_none: None, ..report(0, None) });
        assert_eq!(table.kept_none_at("a"), None);
        table.take("a", report(1, None));
        table.take("a", Report { keeps_none: None, ..report(2, None) });
        assert_eq!(table.kept_none_at("a"), Some(1), "what it keeps now is of somebody later");
        assert!(!table.take("a", report(3, None)), "nothing of it is stored");
        assert_eq!(table.kept_none_at("a"), Some(3));
    }

    #[test]
    fn a_report_that_was_overtaken_changes_nothing() {
        let table = DeviceTable::new(10);
        table.take("a", report(5, Some(2)));
        assert!(!table.take("a", Report { seen: at(6), ..report(3, Some(1)) }));
        assert!(!table.take("a", Report { seen: at(6), ..report(5, Some(1)) }), "nor one that is repeated");
        assert!(matches!(table.liveness("a", at(7)), Liveness::Reporting(report) if report.applied == Some(2)));
        let restarted = Report { boot_id: "c".try_into().unwrap(), ..report(0, Some(1)) };
        assert!(table.take("a", Report { seen: at(8), ..restarted }), "a device that restarted counts anew");
    }

    #[test]
    fn silence_is_told_once_and_ends_with_the_next_report() {
        let table = DeviceTable::new(10);
        table.serve_from(at(0));
        assert!(table.take("a", report(0, None)), "the first report is news");
        assert!(!table.take("a", report(10, None)), "the same again is not");
        assert!(table.take("a", report(20, Some(1))));
        assert!(table.newly_silent(at(49)).is_empty());
        assert_eq!(table.newly_silent(at(50)), ["a"]);
        assert!(table.newly_silent(at(51)).is_empty());
        assert_eq!(table.liveness("a", at(51)), Liveness::Silent);
        assert!(table.take("a", report(52, Some(1))), "its return is news");
        assert!(matches!(table.liveness("a", at(53)), Liveness::Reporting(_)));
    }
}
