//! Pure: how one authority follows another. Both are delivered to the devices, then the new one signs, then the old one is
//! retired.

use jiff::{SignedDuration, Timestamp};

/// How far a generation of the authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Devices are told to trust it beside the one before it, which still signs, serves and is pinned by codes.
    Announced,
    /// It signs, serves and is pinned; both are trusted.
    Serving,
    /// It is the only one that is delivered: those before it are retired.
    Settled,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Announced, Self::Serving, Self::Settled];

    /// A short name, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Serving => "serving",
            Self::Settled => "settled",
        }
    }
}

/// When a generation reached its stages, as it is stored beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Since when devices are told to trust it.
    pub announced: Timestamp,
    /// Since when it signs.
    pub serving: Option<Timestamp>,
    /// Since when those before it are retired.
    pub settled: Option<Timestamp>,
}

impl Times {
    /// Of one that is announced now.
    pub fn announced(now: Timestamp) -> Self {
        Self { announced: now, serving: None, settled: None }
    }

    /// Of one that signs from now on.
    pub fn serving(now: Timestamp) -> Self {
        Self { serving: Some(now), ..Self::announced(now) }
    }

    /// Of one that is the only one.
    pub fn settled(now: Timestamp) -> Self {
        Self { settled: Some(now), ..Self::serving(now) }
    }

    /// The stage that it is in.
    pub fn stage(&self) -> Stage {
        match (self.serving, self.settled) {
            (_, Some(_)) => Stage::Settled,
            (Some(_), None) => Stage::Serving,
            (None, None) => Stage::Announced,
        }
    }

    /// The times after a step.
    #[must_use]
    pub fn after(self, step: Step, now: Timestamp) -> Self {
        match step {
            Step::Serve => Self { serving: Some(now), ..self },
            Step::Settle => Self { serving: self.serving.or(Some(now)), settled: Some(now), ..self },
        }
    }
}

/// A stage that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The new one signs and serves from now on.
    Serve,
    /// The old one is retired.
    Settle,
}

/// What is known of the installation.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Since when the gateway hears devices, if it does.
    pub listening_since: Option<Timestamp>,
    /// Devices that report and have yet to do what the stage waits for: to confirm that they trust both, then to show a
    /// certificate of the new one.
    pub pending: usize,
    /// Whether there is no authority before this one any more.
    pub alone: bool,
}

/// How fast it may go.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it takes until every device that is there has been heard.
    pub hearing: SignedDuration,
    /// How long both are trusted after the new one began to sign: as long as a device may be off and come back unnoticed.
    pub overlap: SignedDuration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the rotation has ended.
    Rest,
    /// Wait until every device that is there had time to report.
    Hear,
    /// Wait until both have been trusted for long enough.
    Overlap,
    /// Wait for devices that report.
    Devices,
    /// Go on.
    Go(Step),
}

/// What to do about a generation with these times.
///
/// # Guarantees
/// No stage is left before everybody that is there had time to report in it, nor while a device that reports is not ready.
/// A device that is off is not waited for: the new authority vouched for by the old one lets it come back.
pub fn decide(times: &Times, facts: &Facts, pace: &Pace) -> Decision {
    let (begun, step) = match times.stage() {
        Stage::Settled => return Decision::Rest,
        // Somebody took the old one away: there is nobody left to wait for.
        _ if facts.alone => return Decision::Go(Step::Settle),
        Stage::Announced => (times.announced, Step::Serve),
        Stage::Serving => (times.serving.unwrap_or(times.announced), Step::Settle),
    };
    let heard = facts.listening_since.is_some_and(|since| facts.now.duration_since(since.max(begun)) >= pace.hearing);
    if !heard {
        Decision::Hear
    } else if step == Step::Settle && facts.now.duration_since(begun) < pace.overlap {
        Decision::Overlap
    } else if facts.pending > 0 {
        Decision::Devices
    } else {
        Decision::Go(step)
    }
}

/// What has to be made before the installation can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// Nothing.
    Nothing,
    /// The first authority of the installation: nobody trusts another one.
    First(u32),
    /// The next one.
    Next(u32),
}

/// Why nothing can be made or served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The setting fell: this generation is known already.
    Lowered(u32),
    /// This generation is counted on and is not there.
    Missing(u32),
    /// This generation waits to take over, and the one before it, which is counted on, is not there.
    MissingBefore(u32),
}

/// What has to be made. `stored` are the generations that there are, in their order; `published` is the newest that was ever
/// announced, 0 if none was; `counted_on` says whether a device is active.
///
/// One rotation at a time: the next one begins when the one before it has ended.
pub fn make(stored: &[(u32, Stage)], published: u32, wanted: u32, counted_on: bool) -> Result<Making, Obstacle> {
    if published > wanted {
        return Err(Obstacle::Lowered(published));
    }
    let Some((newest, stage)) = stored.last().copied() else {
        return if counted_on { Err(Obstacle::Missing(published.max(1))) } else { Ok(Making::First(wanted)) };
    };
    if counted_on && newest < published {
        return Err(Obstacle::Missing(published));
    }
    if counted_on && stage == Stage::Announced && stored.len() == 1 {
        return Err(Obstacle::MissingBefore(newest));
    }
    Ok(if newest < wanted && stage == Stage::Settled { Making::Next(wanted) } else { Making::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace { hearing: SignedDuration::from_secs(30), overlap: SignedDuration::from_secs(1_000) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts(now: i64, pending: usize) -> Facts {
        Facts { now: at(now), listening_since: Some(at(0)), pending, alone: false }
    }

    #[test]
    fn the_new_one_serves_when_all_that_report_trust_it() {
        let times = Times::announced(at(100));
        let check = |facts, expected| assert_eq!(decide(&times, &facts, &PACE), expected, "{facts:?}");
        check(facts(129, 0), Decision::Hear);
        check(facts(130, 1), Decision::Devices);
        check(facts(130, 0), Decision::Go(Step::Serve));
        check(Facts { listening_since: Some(at(110)), ..facts(130, 0) }, Decision::Hear);
        check(Facts { listening_since: None, ..facts(9_000, 0) }, Decision::Hear);
        check(facts(50, 0), Decision::Hear);
    }

    #[test]
    fn the_old_one_is_retired_after_the_overlap_when_nobody_that_reports_needs_it() {
        let times = Times::announced(at(0)).after(Step::Serve, at(100));
        let check = |facts, expected| assert_eq!(decide(&times, &facts, &PACE), expected, "{facts:?}");
        check(facts(120, 0), Decision::Hear);
        check(facts(1_099, 0), Decision::Overlap);
        check(facts(1_100, 3), Decision::Devices);
        check(facts(1_100, 0), Decision::Go(Step::Settle));
        check(Facts { listening_since: Some(at(1_090)), ..facts(1_100, 0) }, Decision::Hear);
        check(Facts { alone: true, ..facts(101, 3) }, Decision::Go(Step::Settle));
        assert_eq!(decide(&Times::settled(at(0)), &facts(5_000, 3), &PACE), Decision::Rest);
    }

    proptest! {
        #[test]
        fn a_rotation_only_goes_forward_waits_for_everybody_and_ends(
            rounds in proptest::collection::vec((1_i64..60, 0_usize..3, proptest::option::of(0_i64..2_000)), 0..80),
        ) {
            let (mut times, mut now) = (Times::announced(at(0)), 0);
            let mut go = |now: i64, pending: usize, since: Option<i64>| {
                let facts = Facts { now: at(now), listening_since: since.map(at), pending, alone: false };
                if let Decision::Go(step) = decide(&times, &facts, &PACE) {
                    let before = times;
                    times = times.after(step, at(now));
                    prop_assert_eq!((pending, times.stage() > before.stage()), (0, true));
                    prop_assert!(since.is_some_and(|since| now - since >= 30));
                    if let (Some(serving), Some(settled)) = (times.serving, times.settled) {
                        prop_assert!(settled.duration_since(serving) >= PACE.overlap);
                    }
                }
                Ok(())
            };
            for (passed, pending, since) in rounds {
                now += passed;
                go(now, pending, since)?;
            }
            go(now + 2_000, 0, Some(0))?;
            go(now + 4_000, 0, Some(0))?;
            prop_assert_eq!(times.stage(), Stage::Settled);
        }
    }

    #[test]
    fn one_rotation_at_a_time_and_no_key_is_made_in_the_place_of_another() {
        use Stage::{Announced, Serving, Settled};
        let check = |stored: &[(u32, Stage)], published, wanted, counted_on, expected| {
            assert_eq!(
                make(stored, published, wanted, counted_on),
                expected,
                "{stored:?} {published} {wanted} {counted_on}"
            );
        };
        check(&[], 0, 1, false, Ok(Making::First(1)));
        check(&[], 0, 4, false, Ok(Making::First(4)));
        check(&[], 0, 1, true, Err(Obstacle::Missing(1)));
        check(&[], 4, 5, true, Err(Obstacle::Missing(4)));
        check(&[(1, Settled)], 1, 1, true, Ok(Making::Nothing));
        check(&[(1, Settled)], 1, 2, true, Ok(Making::Next(2)));
        check(&[(1, Settled)], 1, 7, true, Ok(Making::Next(7)));
        check(&[(1, Settled)], 2, 2, true, Err(Obstacle::Missing(2)));
        check(&[(1, Settled)], 2, 1, true, Err(Obstacle::Lowered(2)));
        check(&[(1, Settled), (2, Announced)], 2, 3, true, Ok(Making::Nothing));
        check(&[(1, Settled), (2, Serving)], 2, 3, true, Ok(Making::Nothing));
        check(&[(1, Settled), (2, Settled)], 2, 3, true, Ok(Making::Next(3)));
        check(&[(2, Settled)], 2, 3, true, Ok(Making::Next(3)));
        check(&[(2, Serving)], 2, 2, true, Ok(Making::Nothing));
        check(&[(2, Announced)], 2, 2, true, Err(Obstacle::MissingBefore(2)));
        check(&[(2, Announced)], 2, 2, false, Ok(Making::Nothing));
    }
}
