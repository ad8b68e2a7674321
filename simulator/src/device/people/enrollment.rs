//! Pure: an enrollment, step by step: the badge, the terms, the consent, the palms. Each step can fail.

use std::time::Duration;

use fleetform_domain::configuration::BadgeBits;
use fleetform_domain::people::matching::is_near;
use fleetform_domain::people::{BadgeNumber, Consent, EnrollmentFailure, Hand, Palm};
use fleetform_domain::wire::EnrollmentOutcome;
use jiff::Timestamp;

use crate::device::EnrollmentScreen;
use crate::panel::scanner::Scanner;

/// How long a device waits for somebody to go on.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// How often a badge or a palm may be held so that it cannot be read, in a row.
pub const TRIES: u8 = 3;

/// What somebody does at an Enrollment device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrollmentStep {
    /// Holds the badge to the scanner, which hears these bits; none when it hears nothing.
    Badge(Option<BadgeBits>),
    /// Accepts the terms, or declines them.
    Terms(bool),
    /// Gives the consent, or declines it.
    Consent(bool),
    /// Holds a palm over the device; none when it cannot be read.
    Palm(Option<Palm>),
    /// Leaves it at the palm that was read.
    OnePalm,
}

/// An enrollment that goes on.
#[derive(Debug)]
pub(super) struct Enrollment {
    consent_version: String,
    scanner: Option<Scanner>,
    screen: EnrollmentScreen,
    badge: Option<BadgeNumber>,
    consent: Option<Consent>,
    palms: Vec<Palm>,
    first_look: Option<Palm>,
    misses: u8,
    /// Since the last step.
    idle: Duration,
}

impl Enrollment {
    /// Somebody touched "Get started". The device shows this text of the terms and the consent.
    pub(super) fn new(consent_version: String, scanner: Option<Scanner>) -> Self {
        Self {
            consent_version,
            scanner,
            screen: EnrollmentScreen::Badge,
            badge: None,
            consent: None,
            palms: Vec::new(),
            first_look: None,
            misses: 0,
            idle: Duration::ZERO,
        }
    }

    /// What the device shows.
    pub(super) fn screen(&self) -> EnrollmentScreen {
        self.screen
    }

    /// Time passes.
    pub(super) fn wait(&mut self, time: Duration) {
        self.idle = self.idle.saturating_add(time);
    }

    /// How it ended, if nobody went on for too long.
    pub(super) fn timed_out(&mut self) -> Option<EnrollmentOutcome> {
        (self.idle >= PATIENCE).then(|| self.fail(EnrollmentFailure::TimedOut))
    }

    /// Takes a step. Answers how the enrollment ended, if it did. A step that does not belong to what is shown changes nothing.
    pub(super) fn take(
        &mut self,
        step: EnrollmentStep,
        now: Timestamp,
    ) -> Result<Option<EnrollmentOutcome>, OutOfStep> {
        use EnrollmentFailure as F;
        use EnrollmentScreen as S;
        let ended = match (self.screen, step) {
            (S::Badge, EnrollmentStep::Badge(badge)) => self.scan(badge.as_ref()),
            (S::Terms, EnrollmentStep::Terms(true)) => self.show(S::Consent),
            (S::Terms, EnrollmentStep::Terms(false)) => Some(self.fail(F::TermsDeclined)),
            (S::Consent, EnrollmentStep::Consent(true)) => {
                self.consent = Some(Consent { version: self.consent_version.clone(), given_at: now });
                self.show(S::Palm(Hand::Right))
            }
            (S::Consent, EnrollmentStep::Consent(false)) => Some(self.fail(F::ConsentDeclined)),
            (S::Palm(_) | S::SamePalm(_), EnrollmentStep::Palm(None)) => self.miss(F::PalmNotReadable),
            (S::Palm(hand), EnrollmentStep::Palm(Some(palm))) if palm.hand == hand => {
                self.first_look = Some(palm);
                self.show(S::SamePalm(hand))
            }
            (S::SamePalm(hand), EnrollmentStep::Palm(Some(palm))) => self.compare(hand, &palm),
            (S::Palm(_), EnrollmentStep::Palm(Some(_))) => Some(self.fail(F::PalmsDiffer)),
            (S::Palm(Hand::Left), EnrollmentStep::OnePalm) => Some(self.complete()),
            _ => return Err(OutOfStep),
        };
        self.idle = Duration::ZERO;
        Ok(ended)
    }

    fn show(&mut self, screen: EnrollmentScreen) -> Option<EnrollmentOutcome> {
        self.misses = 0;
        self.screen = screen;
        None
    }

    fn miss(&mut self, reason: EnrollmentFailure) -> Option<EnrollmentOutcome> {
        self.misses += 1;
        (self.misses >= TRIES).then(|| self.fail(reason))
    }

    fn scan(&mut self, badge: Option<&BadgeBits>) -> Option<EnrollmentOutcome> {
        let Some(scanner) = &self.scanner else { return Some(self.fail(EnrollmentFailure::BadgeNotReadable)) };
        self.badge = badge.and_then(|badge| scanner.read(badge).ok());
        if self.badge.is_some() {
            self.show(EnrollmentScreen::Terms)
        } else {
            self.miss(EnrollmentFailure::BadgeNotReadable)
        }
    }

    /// The second look at a palm. What the first one saw is kept.
    fn compare(&mut self, hand: Hand, second: &Palm) -> Option<EnrollmentOutcome> {
        let same = |first: &Palm| is_near(second, std::slice::from_ref(first));
        let Some(first) = self.first_look.take().filter(same) else {
            return Some(self.fail(EnrollmentFailure::PalmsDiffer));
        };
        self.palms.push(first);
        match hand {
            Hand::Right => self.show(EnrollmentScreen::Palm(Hand::Left)),
            Hand::Left => Some(self.complete()),
        }
    }

    fn complete(&mut self) -> EnrollmentOutcome {
        match (self.badge.take(), self.consent.take()) {
            (Some(badge_number), Some(consent)) => {
                EnrollmentOutcome::Completed { badge_number, consent, palms: std::mem::take(&mut self.palms) }
            }
            (badge_number, _) => EnrollmentOutcome::Failed { reason: EnrollmentFailure::SystemError, badge_number },
        }
    }

    /// Ends it, because of this.
    pub(super) fn fail(&mut self, reason: EnrollmentFailure) -> EnrollmentOutcome {
        EnrollmentOutcome::Failed { reason, badge_number: self.badge.take() }
    }
}

/// A step that does not belong to what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfStep;

#[cfg(test)]
mod tests {
    use fleetform_domain::configuration::BadgeFormat;

    use super::*;
    use crate::panel::scanner::{self, ScannerQuirks};
    use crate::people::Person;

    const ADA: Person = Person::new(1, 1);
    const GRACE: Person = Person::new(1, 2);

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn badge() -> EnrollmentStep {
        EnrollmentStep::Badge(Some(scanner::badge(&ADA.badge())))
    }

    fn palm(person: Person, hand: Hand, look: u64) -> EnrollmentStep {
        EnrollmentStep::Palm(Some(person.look(hand, look)))
    }

    /// Takes the steps; what is shown then, or how it ended.
    fn play(steps: Vec<EnrollmentStep>) -> Result<EnrollmentScreen, EnrollmentOutcome> {
        play_with(&ScannerQuirks::default(), steps)
    }

    fn play_with(scanner: &ScannerQuirks, steps: Vec<EnrollmentStep>) -> Result<EnrollmentScreen, EnrollmentOutcome> {
        let mut enrollment = Enrollment::new("2026-01".into(), Scanner::of(scanner));
        let number = steps.len();
        for (at, step) in steps.into_iter().enumerate() {
            if let Some(outcome) = enrollment.take(step, now()).unwrap() {
                assert_eq!(at, number - 1, "the last step ends it");
                return Err(outcome);
            }
        }
        Ok(enrollment.screen())
    }

    fn agreed() -> Vec<EnrollmentStep> {
        vec![badge(), EnrollmentStep::Terms(true), EnrollmentStep::Consent(true)]
    }

    fn with(steps: &[EnrollmentStep]) -> Vec<EnrollmentStep> {
        [&agreed(), steps].concat()
    }

    #[test]
    fn all_steps_lead_to_the_end_with_one_palm_or_two() {
        let right = [palm(ADA, Hand::Right, 0), palm(ADA, Hand::Right, 1)];
        assert_eq!(play(with(&right)), Ok(EnrollmentScreen::Palm(Hand::Left)));
        let left = [palm(ADA, Hand::Left, 0), palm(ADA, Hand::Left, 1)];
        let consent = Consent { version: "2026-01".into(), given_at: now() };
        for (rest, hands) in [(&left[..], 2), (&[EnrollmentStep::OnePalm], 1)] {
            let Err(EnrollmentOutcome::Completed { badge_number, consent: given, palms }) =
                play(with(&[&right, rest].concat()))
            else {
                panic!("it is complete")
            };
            assert_eq!((badge_number, given, palms.len()), (ADA.badge(), consent.clone(), hands));
            assert_eq!(palms[0], ADA.look(Hand::Right, 0));
        }
    }

    #[test]
    fn each_step_can_fail() {
        use EnrollmentFailure as F;
        let unread = || EnrollmentStep::Palm(None);
        let known = Some(ADA.badge());
        for (steps, reason, badge_number) in [
            (vec![EnrollmentStep::Badge(None); 3], F::BadgeNotReadable, None),
            (vec![badge(), EnrollmentStep::Terms(false)], F::TermsDeclined, known.clone()),
            (
                vec![badge(), EnrollmentStep::Terms(true), EnrollmentStep::Consent(false)],
                F::ConsentDeclined,
                known.clone(),
            ),
            (with(&[unread(), unread(), unread()]), F::PalmNotReadable, known.clone()),
            (with(&[palm(ADA, Hand::Right, 0), unread(), unread(), unread()]), F::PalmNotReadable, known.clone()),
            (with(&[palm(ADA, Hand::Right, 0), palm(GRACE, Hand::Right, 0)]), F::PalmsDiffer, known.clone()),
            (with(&[palm(ADA, Hand::Right, 0), palm(ADA, Hand::Left, 0)]), F::PalmsDiffer, known.clone()),
            (with(&[palm(ADA, Hand::Left, 0)]), F::PalmsDiffer, known),
        ] {
            assert_eq!(play(steps.clone()), Err(EnrollmentOutcome::Failed { reason, badge_number }), "{steps:?}");
        }
    }

    #[test]
    fn a_scanner_of_another_format_makes_out_no_badge_and_without_one_nobody_gets_on() {
        let no_badge = EnrollmentOutcome::Failed { reason: EnrollmentFailure::BadgeNotReadable, badge_number: None };
        let long = BadgeFormat { length_bits: 37, ..BadgeFormat::standard_26_bit() };
        let other = ScannerQuirks { badge_format: Some(long), ..ScannerQuirks::default() };
        assert_eq!(play_with(&other, vec![badge(), badge()]), Ok(EnrollmentScreen::Badge));
        assert_eq!(play_with(&other, vec![badge(); 3]), Err(no_badge.clone()));
        let lost = ScannerQuirks { lost: true, ..ScannerQuirks::default() };
        assert_eq!(play_with(&lost, vec![badge()]), Err(no_badge));
    }

    #[test]
    fn what_cannot_be_read_may_be_held_there_again() {
        let unread = || EnrollmentStep::Badge(None);
        assert_eq!(play(vec![unread(), unread(), badge()]), Ok(EnrollmentScreen::Terms));
        let two = || [EnrollmentStep::Palm(None), EnrollmentStep::Palm(None)];
        let steps = [&two()[..], &[palm(ADA, Hand::Right, 0)], &two(), &[palm(ADA, Hand::Right, 1)]].concat();
        assert_eq!(play(with(&steps)), Ok(EnrollmentScreen::Palm(Hand::Left)));
    }

    #[test]
    fn who_does_not_go_on_is_not_waited_for_and_every_step_begins_the_wait_anew() {
        let mut enrollment = Enrollment::new("1".into(), Scanner::of(&ScannerQuirks::default()));
        let almost = PATIENCE.saturating_sub(Duration::from_secs(1));
        enrollment.wait(almost);
        assert_eq!(enrollment.timed_out(), None);
        enrollment.take(badge(), now()).unwrap();
        enrollment.wait(almost);
        assert_eq!(enrollment.timed_out(), None);
        enrollment.wait(Duration::from_secs(1));
        let timed_out =
            EnrollmentOutcome::Failed { reason: EnrollmentFailure::TimedOut, badge_number: Some(ADA.badge()) };
        assert_eq!(enrollment.timed_out(), Some(timed_out));
    }

    #[test]
    fn a_step_out_of_turn_changes_nothing() {
        let mut enrollment = Enrollment::new("1".into(), Scanner::of(&ScannerQuirks::default()));
        for step in [EnrollmentStep::Terms(true), EnrollmentStep::Consent(true), EnrollmentStep::OnePalm] {
            assert_eq!(enrollment.take(step, now()), Err(OutOfStep));
        }
        assert_eq!(enrollment.take(palm(ADA, Hand::Right, 0), now()), Err(OutOfStep));
        assert_eq!(enrollment.screen(), EnrollmentScreen::Badge);
        for step in with(&[]) {
            enrollment.take(step, now()).unwrap();
        }
        assert_eq!(enrollment.take(EnrollmentStep::OnePalm, now()), Err(OutOfStep), "one palm at least");
    }
}
