//! Pure: how far each device has got, and how long that took.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How far a device has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The API server has accepted it.
    Created,
    /// There is an activation code.
    Ready,
    /// A device has redeemed the code.
    Active,
    /// The device runs the desired configuration: the instance is `Ready`.
    Confirmed,
}

const STAGES: usize = 4;

/// When each device reached each stage.
pub(super) struct Stages {
    devices: Vec<[Option<Instant>; STAGES]>,
    reached: [usize; STAGES],
    last: Option<Instant>,
}

impl Stages {
    /// Of so many devices, none of which is there yet.
    pub(super) fn new(devices: usize) -> Self {
        Self { devices: vec![[None; STAGES]; devices], reached: [0; STAGES], last: None }
    }

    /// A device was seen at a stage. One that was skipped between two looks counts as reached now; being created is known
    /// only to who did it. Only the first time counts.
    pub(super) fn reach(&mut self, device: usize, stage: Stage, at: Instant) {
        let Some(times) = self.devices.get_mut(device) else { return };
        let first = if stage == Stage::Created { Stage::Created } else { Stage::Ready };
        let steps = times.iter_mut().zip(&mut self.reached).enumerate();
        for (step, (time, reached)) in steps.take(stage as usize + 1).skip(first as usize) {
            if time.is_none() {
                *time = Some(at);
                *reached += 1;
                if step == Stage::Confirmed as usize {
                    self.last = self.last.max(Some(at));
                }
            }
        }
    }

    /// When the last device was confirmed, once all are created and confirmed.
    pub(super) fn end(&self) -> Option<Instant> {
        let all = |stage: Stage| self.reached[stage as usize] == self.devices.len();
        self.last.filter(|_| all(Stage::Created) && all(Stage::Confirmed))
    }

    /// Times from one stage to the next. What is seen before the answer that it was created took no time.
    pub(super) fn latency(&self, stage: Stage) -> Latency {
        let to = stage as usize;
        let from = to.saturating_sub(1);
        let times = self.devices.iter().filter_map(|times| Some((times[from]?, times[to]?)));
        Latency::of(times.map(|(before, after)| after.saturating_duration_since(before)).collect())
    }
}

/// `12 created, 10 ready, …`: what a person reads when not all came through.
impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [created, ready, active, confirmed] = self.reached;
        write!(
            f,
            "of {} devices {created} are created, {ready} got ready for activation, {active} got active, {confirmed} run their \
             configuration",
            self.devices.len()
        )
    }
}

/// Half of all and 99 in 100 took no longer than this, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: u64,
    pub(super) p99_ms: u64,
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent| u64::try_from(percentile(&times, percent).as_millis()).unwrap_or(u64::MAX);
        Self { p50_ms: at(50), p99_ms: at(99) }
    }
}

/// The nearest rank: the smallest of the times that at least `percent` in a hundred do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Latency, Stage, Stages, percentile};

    fn ms(numbers: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        numbers.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentile(&ms(1..=100), 50), Duration::from_millis(50));
        assert_eq!(percentile(&ms(1..=100), 99), Duration::from_millis(99));
        assert_eq!(percentile(&ms(1..=1000), 99), Duration::from_millis(990));
        assert_eq!(percentile(&ms([7]), 99), Duration::from_millis(7));
        assert_eq!(percentile(&ms([1, 2, 3]), 50), Duration::from_millis(2));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
        assert_eq!(Latency::of(ms([30, 10, 20])), Latency { p50_ms: 20, p99_ms: 30 });
    }

    #[test]
    fn a_stage_that_was_not_seen_counts_with_the_next() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stages = Stages::new(2);
        stages.reach(0, Stage::Created, at(0));
        stages.reach(0, Stage::Ready, at(10));
        stages.reach(0, Stage::Active, at(30));
        stages.reach(0, Stage::Confirmed, at(60));
        stages.reach(0, Stage::Confirmed, at(999));
        assert_eq!(stages.end(), None);
        // The watch was faster than the answer to the create, and saw two stages at once.
        stages.reach(1, Stage::Active, at(50));
        stages.reach(1, Stage::Confirmed, at(70));
        assert_eq!(stages.end(), None, "whoever created it has not said so yet");
        stages.reach(1, Stage::Created, at(51));
        stages.reach(7, Stage::Created, at(51));
        assert_eq!(stages.end(), Some(at(70)));
        assert_eq!(stages.latency(Stage::Ready), Latency { p50_ms: 0, p99_ms: 10 });
        assert_eq!(stages.latency(Stage::Active), Latency { p50_ms: 0, p99_ms: 20 });
        assert_eq!(stages.latency(Stage::Confirmed), Latency { p50_ms: 20, p99_ms: 30 });
    }

    #[test]
    fn how_far_they_got_can_be_read() {
        let mut stages = Stages::new(3);
        stages.reach(0, Stage::Created, Instant::now());
        stages.reach(1, Stage::Created, Instant::now());
        stages.reach(1, Stage::Ready, Instant::now());
        assert_eq!(
            stages.to_string(),
            "of 3 devices 2 are created, 1 got ready for activation, 0 got active, 0 run their configuration"
        );
    }
}
