//! Pure: one sensor, as its gateway hears it.

use std::time::{Duration, Instant};

use fleetform_domain::wire::Measurement;
use jiff::Timestamp;

use crate::machine::{Floor, SensorFault};
use crate::storage::ListedSensor;

/// Most measurements of one sensor that are made up for at once, after its gateway was busy.
const CATCH_UP: u32 = 60;

/// A sensor that a gateway is to be paired with.
#[derive(Clone, Debug)]
pub(super) struct Sensor {
    pub(super) listed: ListedSensor,
    /// Whether it was heard when it was due last.
    pub(super) is_heard: bool,
    due: Instant,
    /// Of a sensor whose measurements arrive out of order: one that others overtake.
    held: Option<Measurement>,
    /// Of a sensor that repeats itself: what it said last.
    last: Option<Measurement>,
}

/// Whether the gateway hears it.
pub(super) fn is_heard(listed: &ListedSensor, floor: &Floor) -> bool {
    !floor.spot(&listed.device_instance_id, &listed.asset_tag).has(SensorFault::Dead)
}

impl Sensor {
    /// One that measures at once.
    pub(super) fn new(listed: ListedSensor, now: Instant) -> Self {
        Self { listed, is_heard: true, due: now, held: None, last: None }
    }

    /// The same, by what the list says of it now.
    pub(super) fn going_on(mut self, listed: ListedSensor, now: Instant) -> Self {
        if listed.paired && !self.listed.paired {
            return Self::new(listed, now);
        }
        self.listed = listed;
        self.due = self.due.min(now + self.interval());
        self
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.listed.interval_seconds.max(1).into())
    }

    /// When it measures next; none before it is paired.
    pub(super) fn due(&self) -> Option<Instant> {
        self.listed.paired.then_some(self.due)
    }

    /// What it has measured and nobody heard is gone.
    pub(super) fn skip(&mut self, now: Instant) {
        self.due = self.due.max(now);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.due = self.due.checked_sub(time).unwrap_or(self.due);
    }

    /// What it has measured by `now`, in the order in which it arrives.
    pub(super) fn measure(&mut self, floor: &Floor, now: Instant, clock: Timestamp) -> Vec<Measurement> {
        let interval = self.interval();
        let mut arrived = Vec::new();
        if !self.listed.paired || self.due > now {
            return arrived;
        }
        let late = now.duration_since(self.due);
        let rounds = u32::try_from(late.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        self.is_heard = is_heard(&self.listed, floor);
        if self.is_heard {
            let id = self.listed.device_instance_id.clone();
            let spot = floor.spot(&id, &self.listed.asset_tag);
            let [repeats, swaps] = [SensorFault::Repeats, SensorFault::OutOfOrder].map(|fault| spot.has(fault));
            for round in rounds.saturating_sub(CATCH_UP - 1)..=rounds {
                let ago = late.saturating_sub(interval.saturating_mul(round));
                self.listed.counted += 1;
                let reading = spot.reading(self.listed.counted, ago);
                let measurement = Measurement {
                    device_instance_id: id.clone(),
                    sequence: self.listed.counted,
                    place: self.listed.place.clone(),
                    time: clock.checked_sub(ago).unwrap_or(clock),
                    velocity_rms_mm_per_s: reading.velocity,
                    temperature_celsius: reading.temperature,
                };
                self.arrive(measurement, repeats, swaps, &mut arrived);
            }
        }
        self.due += interval.saturating_mul(rounds) + interval;
        arrived
    }

    fn arrive(&mut self, new: Measurement, repeats: bool, swaps: bool, arrived: &mut Vec<Measurement>) {
        arrived.extend(self.last.take().filter(|_| repeats));
        self.last = repeats.then(|| new.clone());
        match self.held.take() {
            None if swaps => self.held = Some(new),
            Some(held) if swaps && new.sequence == held.sequence + 1 => {
                arrived.push(new);
                self.held = Some(held);
            }
            held => {
                arrived.push(new);
                arrived.extend(held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetform_domain::id::ResourceId;

    use super::*;
    use crate::machine::{SensorCast, Trouble, What};

    const SECOND: Duration = Duration::from_secs(1);

    fn listed() -> ListedSensor {
        ListedSensor {
            device_instance_id: ResourceId::of("pump"),
            asset_tag: "S-1".try_into().unwrap(),
            epoch: 0,
            place: "a".try_into().unwrap(),
            interval_seconds: 1,
            paired: true,
            counted: 0,
        }
    }

    fn floor(fault: Option<SensorFault>) -> Floor {
        let trouble = |fault| Trouble {
            what: What::Sensor(fault),
            sensors: SensorCast::default(),
            number: 0,
            since: SECOND,
            faster: 1,
        };
        Floor { seed: 0, troubles: fault.map(trouble).into_iter().collect() }
    }

    /// The numbers that arrive in each of so many seconds.
    fn arrivals(
        sensor: &mut Sensor,
        fault: Option<SensorFault>,
        begin: Instant,
        seconds: std::ops::Range<u32>,
    ) -> Vec<Vec<u64>> {
        let floor = floor(fault);
        let round = |second| sensor.measure(&floor, begin + SECOND * second, Timestamp::UNIX_EPOCH);
        seconds.map(round).map(|arrived| arrived.iter().map(|one| one.sequence).collect()).collect()
    }

    #[test]
    fn a_sensor_measures_when_it_is_due_and_without_a_gap() {
        let begin = Instant::now();
        let mut sensor = Sensor::new(ListedSensor { interval_seconds: 2, ..listed() }, begin);
        assert_eq!(arrivals(&mut sensor, None, begin, 0..5), [vec![1], vec![], vec![2], vec![], vec![3]]);
        assert_eq!(sensor.due(), Some(begin + 6 * SECOND));
        let made_up = sensor.measure(&floor(None), begin + 11 * SECOND, "2026-01-01T00:00:11Z".parse().unwrap());
        let told: Vec<_> = made_up.iter().map(|one| (one.sequence, one.time.to_string())).collect();
        let expected = [(4, "06"), (5, "08"), (6, "10")].map(|(n, at)| (n, format!("2026-01-01T00:00:{at}Z")));
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_made_up_for_is_limited() {
        let begin = Instant::now();
        let mut sensor = Sensor::new(listed(), begin);
        let made_up = sensor.measure(&floor(None), begin + 10_000 * SECOND, Timestamp::UNIX_EPOCH);
        assert_eq!((made_up.len(), made_up[59].sequence), (60, 60));
        assert_eq!(made_up[59].time, Timestamp::UNIX_EPOCH, "the latest are made up for");
        assert_eq!(sensor.due(), Some(begin + 10_001 * SECOND));
    }

    #[test]
    fn measurements_out_of_order_are_all_there_once_it_is_over() {
        let begin = Instant::now();
        let mut sensor = Sensor::new(listed(), begin);
        let swapped = arrivals(&mut sensor, Some(SensorFault::OutOfOrder), begin, 0..4);
        assert_eq!(swapped, [vec![], vec![2], vec![3, 1], vec![]]);
        assert_eq!(arrivals(&mut sensor, None, begin, 4..6), [vec![5, 4], vec![6]]);
    }

    #[test]
    fn a_sensor_that_repeats_itself_says_the_same_again() {
        let begin = Instant::now();
        let mut sensor = Sensor::new(listed(), begin);
        let said = sensor.measure(&floor(Some(SensorFault::Repeats)), begin, Timestamp::UNIX_EPOCH);
        let again = sensor.measure(&floor(Some(SensorFault::Repeats)), begin + SECOND, Timestamp::UNIX_EPOCH);
        assert_eq!((said.len(), again.len()), (1, 2));
        assert_eq!(again[0], said[0]);
        assert_eq!(arrivals(&mut sensor, None, begin, 2..4), [vec![3], vec![4]]);
    }

    #[test]
    fn a_sensor_that_is_not_heard_counts_nothing() {
        let begin = Instant::now();
        let mut sensor = Sensor::new(listed(), begin);
        assert_eq!(arrivals(&mut sensor, Some(SensorFault::Dead), begin, 0..2), [[0; 0]; 2]);
        assert!(!sensor.is_heard);
        assert_eq!(arrivals(&mut sensor, None, begin, 2..4), [vec![1], vec![2]]);
        assert!(sensor.is_heard);
    }

    #[test]
    fn a_shorter_interval_counts_at_once() {
        let begin = Instant::now();
        let mut sensor = Sensor::new(ListedSensor { interval_seconds: 3_600, ..listed() }, begin);
        assert_eq!(arrivals(&mut sensor, None, begin, 0..1), [vec![1]]);
        let sensor = sensor.going_on(ListedSensor { counted: 1, ..listed() }, begin);
        assert_eq!(sensor.due(), Some(begin + SECOND));
    }
}
