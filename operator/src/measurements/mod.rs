//! Recent measurements, in memory. They are never stored: what they say is (the state of a position), and longer history is the
//! business of whoever reads the metrics.
//!
//! # Guarantees
//! Memory is bounded: 16 KiB for each sensor that is paired. A measurement that comes twice counts once.

mod series;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetform_domain::id::ResourceId;
use fleetform_domain::machines::{Limits, MachineState, Reading, Taken, Verdict, judge};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::server::{Allowance, RateLimiter};
use series::Series;
pub use series::{Cursor, Pairing, Place};

/// Sensors are divided among so many locks.
const SHARDS: usize = 32;

/// The state of a position gets better so often at once, and then once in [`BETTER_INTERVAL`]: each is a write, and a sensor that lies must
/// not make more than this. That it gets worse is never held back.
const BETTER_BURST: u32 = 6;

/// See [`BETTER_BURST`].
const BETTER_INTERVAL: Duration = Duration::from_mins(10);

/// Most positions of which it is remembered how often they got better.
const KEPT_POSITIONS: usize = 64 * 1024;

/// What sensors have measured since this process began to serve.
#[derive(Debug)]
pub struct Measurements {
    hasher: RandomState,
    /// How many series there were: they are told from each other, and from those of other processes.
    series: AtomicU64,
    shards: [Mutex<HashMap<ResourceId, Series>>; SHARDS],
    better: RateLimiter,
}

impl Default for Measurements {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            series: AtomicU64::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
            better: RateLimiter::new(BETTER_BURST, BETTER_INTERVAL, KEPT_POSITIONS),
        }
    }
}

impl Measurements {
    fn shard(&self, sensor: &ResourceId) -> &Mutex<HashMap<ResourceId, Series>> {
        let shard = self.hasher.hash_one(sensor) % (SHARDS as u64);
        &self.shards[usize::try_from(shard).expect("below the number of shards")]
    }

    /// Takes measurements of one sensor, which is paired so; what became of each, in their order.
    pub fn take(&self, sensor: &ResourceId, pairing: &Pairing, readings: &[Reading], now: Timestamp) -> Vec<Taken> {
        let mut shard = self.shard(sensor).lock();
        if let Some(series) = shard.get_mut(sensor).filter(|series| series.is_paired_so(pairing)) {
            return series.take(readings, now);
        }
        let id = self.hasher.hash_one(self.series.fetch_add(1, Ordering::Relaxed));
        let mut series = Series::new(id, pairing.clone());
        let taken = series.take(readings, now);
        shard.insert(sensor.clone(), series);
        taken
    }

    /// What a sensor's measurements at this place say of it, as far as they count there, when this is `known` of it.
    pub fn judge(&self, sensor: &ResourceId, place: &Place, limits: &Limits, known: MachineState) -> Option<Verdict> {
        let shard = self.shard(sensor).lock();
        judge(shard.get(sensor).filter(|series| series.is_of(place))?.judged(), limits, known)
    }

    /// An alert about this place was right, and is resolved: what the sensor has measured there so far says nothing of the machine as it
    /// is now. What comes later counts, whatever its gateway's clock shows.
    pub fn judge_anew(&self, sensor: &ResourceId, place: &Place) {
        if let Some(series) = self.shard(sensor).lock().get_mut(sensor).filter(|series| series.is_of(place)) {
            series.judge_anew();
        }
    }

    /// When a sensor was heard last: when a measurement came, whenever it was taken.
    pub fn heard(&self, sensor: &ResourceId) -> Option<Timestamp> {
        Some(self.shard(sensor).lock().get(sensor)?.heard())
    }

    /// The last measurement of a sensor at this place.
    pub fn latest(&self, sensor: &ResourceId, place: &Place) -> Option<Reading> {
        let shard = self.shard(sensor).lock();
        shard.get(sensor).filter(|series| series.is_of(place))?.readings().next_back().copied()
    }

    /// At most `limit` measurements of a sensor at this place by their sequence numbers: the last ones, or with `after` those that came
    /// first after it; and what to ask for after them. None when nothing was measured there.
    pub fn recent(
        &self,
        sensor: &ResourceId,
        place: &Place,
        after: Option<Cursor>,
        limit: usize,
    ) -> Option<(Vec<Reading>, Cursor)> {
        let shard = self.shard(sensor).lock();
        Some(shard.get(sensor).filter(|series| series.is_of(place))?.recent(after, limit))
    }

    /// A sensor is no longer paired.
    pub fn forget(&self, sensor: &ResourceId) {
        self.shard(sensor).lock().remove(sensor);
    }

    /// Forgets the sensors that are no more.
    pub fn retain(&self, lives: impl Fn(&ResourceId) -> bool) {
        for shard in &self.shards {
            shard.lock().retain(|sensor, _| lives(sensor));
        }
    }

    /// Forgets everything: others may have taken measurements meanwhile.
    pub fn clear(&self) {
        self.retain(|_| false);
    }

    /// Whether the state of a position, named by the asset's UID and its own name, may get better now; if not, in how many seconds.
    pub fn may_get_better(&self, asset_uid: &str, position: &str, now: Timestamp) -> Result<(), u32> {
        match self.better.look(&format!("{asset_uid}/{position}"), now) {
            Allowance::Granted => Ok(()),
            Allowance::Wait(seconds) => Err(seconds),
        }
    }

    /// The state of a position got better.
    pub fn got_better(&self, asset_uid: &str, position: &str, now: Timestamp) {
        self.better.take(&format!("{asset_uid}/{position}"), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetform_domain::machines::MachineClass;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn id() -> ResourceId {
        "12345678901234".parse().unwrap()
    }

    fn pairing(epoch: i64) -> Pairing {
        Pairing { epoch, ..at_place(&drive_end()) }
    }

    fn at_place(place: &Place) -> Pairing {
        Pairing { association: "a".into(), asset_tag: "VT-0001".into(), epoch: 0, place: place.clone() }
    }

    fn drive_end() -> Place {
        Place::new("pump", "drive-end")
    }

    fn readings(sequences: std::ops::RangeInclusive<i64>) -> Vec<Reading> {
        let reading = |second: i64| Reading {
            sequence: second.unsigned_abs(),
            millisecond: at(second).as_millisecond(),
            velocity: 1.5,
            temperature: 40.0,
        };
        sequences.map(reading).collect()
    }

    #[test]
    fn a_pairing_has_its_own_count() {
        let measurements = Measurements::default();
        assert_eq!(measurements.take(&id(), &pairing(0), &readings(1..=2), at(5)), [Taken::New; 2]);
        assert_eq!(measurements.take(&id(), &pairing(0), &readings(2..=3), at(6)), [Taken::Repeated, Taken::New]);
        assert_eq!(measurements.heard(&id()), Some(at(6)));
        assert_eq!(measurements.take(&id(), &pairing(1), &readings(1..=1), at(7)), [Taken::New], "paired anew");
        assert_eq!(measurements.recent(&id(), &drive_end(), None, 512).unwrap().0.len(), 1);
        measurements.forget(&id());
        assert_eq!(measurements.take(&id(), &pairing(1), &readings(1..=1), at(8)), [Taken::New]);
        measurements.clear();
        assert_eq!((measurements.latest(&id(), &drive_end()), measurements.heard(&id())), (None, None));
    }

    const LIMITS: Limits = Limits { class: MachineClass::ClassII, temperature: None };

    #[test]
    fn what_was_measured_elsewhere_says_nothing_of_a_place() {
        let measurements = Measurements::default();
        measurements.take(&id(), &pairing(0), &readings(1..=3), at(5));
        let fan_end = Place::new("pump", "fan-end");
        let is_judged = |place: &Place| measurements.judge(&id(), place, &LIMITS, MachineState::Unknown).is_some();
        let latest = |place: &Place| measurements.latest(&id(), place).map(|latest| latest.sequence);
        assert!(is_judged(&drive_end()) && !is_judged(&fan_end));
        assert_eq!((latest(&drive_end()), latest(&fan_end)), (Some(3), None));
        measurements.take(&id(), &at_place(&fan_end), &readings(4..=5), at(6));
        assert!(!is_judged(&drive_end()) && !is_judged(&fan_end), "two measurements are no run");
        assert_eq!((latest(&drive_end()), latest(&fan_end)), (None, Some(5)));
        measurements.take(&id(), &at_place(&fan_end), &readings(6..=6), at(7));
        assert!(is_judged(&fan_end));
    }

    #[test]
    fn after_a_repair_what_comes_is_judged_whatever_a_clock_shows_and_charts_go_on() {
        let measurements = Measurements::default();
        measurements.take(&id(), &pairing(0), &readings(1..=3), at(5));
        measurements.judge_anew(&id(), &Place::new("pump", "fan-end"));
        let is_judged = || measurements.judge(&id(), &drive_end(), &LIMITS, MachineState::Unknown).is_some();
        assert!(is_judged(), "it was about another place");
        measurements.judge_anew(&id(), &drive_end());
        assert!(!is_judged());
        let behind = readings(4..=6).into_iter().map(|reading| Reading { millisecond: 0, ..reading });
        let behind: Vec<Reading> = behind.collect();
        measurements.take(&id(), &pairing(0), &behind[..2], at(6));
        assert!(!is_judged());
        measurements.take(&id(), &pairing(0), &behind[2..], at(7));
        assert!(is_judged());
        assert_eq!(measurements.recent(&id(), &drive_end(), None, 512).unwrap().0.len(), 6);
    }

    #[test]
    fn who_goes_on_after_an_answer_hears_of_each_measurement_once_however_late_it_comes() {
        let measurements = Measurements::default();
        let take = |epoch, range| measurements.take(&id(), &pairing(epoch), &readings(range), at(11));
        let ask = |after: Option<Cursor>, limit| {
            let (recent, next) = measurements.recent(&id(), &drive_end(), after, limit).unwrap();
            (recent.into_iter().map(|reading| reading.sequence).collect::<Vec<_>>(), next)
        };
        assert_eq!(measurements.recent(&id(), &drive_end(), None, 512), None);
        take(0, 6..=10);
        let (last, next) = ask(None, 2);
        assert_eq!(last, [9, 10]);
        assert_eq!(ask(Some(next), 512), (vec![], next));
        take(0, 1..=5);
        let (first, after_two) = ask(Some(next), 2);
        assert_eq!(first, [1, 2], "those that came first, so that none is skipped");
        assert_eq!(ask(Some(after_two), 512).0, [3, 4, 5]);
        assert_eq!(Cursor::read(&next.to_text()), Some(next));
        // Nobody asked for so long that the oldest are no longer kept.
        take(0, 11..=700);
        let (kept, end) = ask(Some(next), 512);
        assert_eq!((kept.len(), kept[0]), (512, 189));
        assert_eq!(ask(Some(end), 512).0, Vec::<u64>::new());
        take(1, 1..=2);
        assert_eq!(ask(Some(end), 512).0, [1, 2], "it has read nothing of another pairing");
        assert_eq!(Cursor::read(&"yesterday".try_into().unwrap()), None);
    }

    #[test]
    fn a_position_gets_better_six_times_and_then_once_in_ten_minutes() {
        let measurements = Measurements::default();
        for _ in 0..6 {
            assert_eq!(measurements.may_get_better("uid", "drive-end", at(0)), Ok(()));
            measurements.got_better("uid", "drive-end", at(0));
        }
        assert_eq!(measurements.may_get_better("uid", "drive-end", at(0)), Err(600));
        assert_eq!(measurements.may_get_better("uid", "fan-end", at(0)), Ok(()), "others are not affected");
        assert_eq!(measurements.may_get_better("uid", "drive-end", at(600)), Ok(()));
    }
}
