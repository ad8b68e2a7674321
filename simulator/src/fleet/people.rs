//! People of a scenario who come to the devices of a fleet.

use std::collections::BTreeSet;
use std::ops::Range;

use fleetform_domain::people::{EnrollmentFailure, Hand, RecognitionFailure};
use parking_lot::Mutex;

use crate::device::people::{EnrollmentStep, PATIENCE, TRIES};
use crate::device::{Device, DeviceError, EnrollmentScreen, Screen};
use crate::panel::scanner;
use crate::people::Person;
use crate::scenario::{Deed, Enrolls, Enters, Once, Scenario};
use crate::telemetry::Telemetry;

/// Who is to be enrolled, and who is.
#[derive(Debug)]
pub(super) struct Attendance {
    seed: u64,
    /// The numbers of those who come to a desk.
    expected: Vec<Range<u64>>,
    enrolled: Mutex<BTreeSet<u64>>,
}

impl Attendance {
    /// Of this scenario, at its beginning.
    pub(super) fn of(scenario: &Scenario) -> Self {
        let enrolls = scenario.acts.iter().filter_map(|act| match &act.deed {
            Deed::Enroll(people) if people.fails.is_none() => Some(people.numbers()),
            _ => None,
        });
        Self { seed: scenario.seed, expected: enrolls.collect(), enrolled: Mutex::default() }
    }

    /// Has people come to a device. False when they are to come later: the device is not ready for them, or those who want to enter
    /// have yet to enroll somewhere.
    pub(super) async fn come(&self, device: &mut Device, once: Once, telemetry: &Telemetry) -> bool {
        let is_ready = device.applied_configuration_version().is_some()
            && matches!(device.screen(), Screen::Active | Screen::Enrollment(_) | Screen::Entry(_));
        if !is_ready {
            return false;
        }
        let came = match once {
            Once::Enroll(people) => self.enroll(device, people, telemetry).await,
            Once::Enter(people) if self.awaits(people) => return false,
            Once::Enter(people) => self.enter(device, people, telemetry).await,
            _ => Ok(()),
        };
        if let Err(error) = came {
            tracing::debug!(device = %device.asset_tag(), %error, "people of the scenario did not get to the end");
        }
        true
    }

    /// Whether some of them are to be enrolled and are not yet.
    fn awaits(&self, people: Enters) -> bool {
        let enrolled = self.enrolled.lock();
        let is_expected = |number: &u64| self.expected.iter().any(|range| range.contains(number));
        people.fails.is_none() && people.numbers().any(|number| is_expected(&number) && !enrolled.contains(&number))
    }

    async fn enroll(&self, device: &mut Device, people: Enrolls, telemetry: &Telemetry) -> Result<(), DeviceError> {
        for number in people.numbers() {
            let shown = enroll(device, Person::new(self.seed, number), people.fails).await?;
            if let Some(outcome) = shown.outcome() {
                telemetry.enrollment(outcome);
            }
            // Who has enrolled at another desk, or in another run, is enrolled as well.
            let known = EnrollmentScreen::Failed(EnrollmentFailure::BadgeAlreadyEnrolled);
            if shown == EnrollmentScreen::Enrolled || shown == known {
                self.enrolled.lock().insert(number);
            }
        }
        Ok(())
    }

    async fn enter(&self, device: &mut Device, people: Enters, telemetry: &Telemetry) -> Result<(), DeviceError> {
        for number in people.numbers() {
            let person = Person::new(self.seed, number);
            let hand = if number.is_multiple_of(2) { Hand::Right } else { Hand::Left };
            let palm = match people.fails {
                Some(RecognitionFailure::PalmNotReadable) => None,
                Some(_) => Some(person.stranger().look(hand, LATER)),
                None => Some(person.look(hand, LATER)),
            };
            telemetry.entry(device.present_palm(palm).await?.outcome());
        }
        Ok(())
    }
}

/// The look at a palm that comes after those of an enrollment.
const LATER: u64 = 4;

/// Takes all steps of an enrollment, up to where it ends.
async fn enroll(
    device: &mut Device,
    person: Person,
    fails: Option<EnrollmentFailure>,
) -> Result<EnrollmentScreen, DeviceError> {
    let mut shown = device.get_started().await?;
    for step in steps(person, fails) {
        shown = device.enroll(step).await?;
        if shown.outcome().is_some() {
            return Ok(shown);
        }
    }
    if fails == Some(EnrollmentFailure::TimedOut) {
        device.pass(PATIENCE);
        // Somebody touches the device that was left.
        shown = device.enroll(EnrollmentStep::Terms(true)).await?;
    }
    Ok(shown)
}

fn steps(person: Person, fails: Option<EnrollmentFailure>) -> Vec<EnrollmentStep> {
    use EnrollmentFailure as F;
    let look = |hand, look| EnrollmentStep::Palm(Some(person.look(hand, look)));
    let mut steps = vec![
        EnrollmentStep::Badge(Some(scanner::badge(&person.badge()))),
        EnrollmentStep::Terms(true),
        EnrollmentStep::Consent(true),
        look(Hand::Right, 0),
        look(Hand::Right, 1),
        look(Hand::Left, 2),
        look(Hand::Left, 3),
    ];
    // Up to which step all goes well, and what comes instead of the next.
    let (well, instead) = match fails {
        Some(F::BadgeNotReadable) => (0, vec![EnrollmentStep::Badge(None); TRIES.into()]),
        Some(F::TimedOut) => (1, Vec::new()),
        Some(F::TermsDeclined) => (1, vec![EnrollmentStep::Terms(false)]),
        Some(F::ConsentDeclined) => (2, vec![EnrollmentStep::Consent(false)]),
        Some(F::PalmNotReadable) => (3, vec![EnrollmentStep::Palm(None); TRIES.into()]),
        Some(F::PalmsDiffer) => (4, vec![EnrollmentStep::Palm(Some(person.stranger().look(Hand::Right, 1)))]),
        _ => return steps,
    };
    steps.truncate(well);
    steps.extend(instead);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_enroll_is_waited_for_at_the_door_and_nobody_else_is() {
        let scenario = Scenario::parse(
            "description: x\nacts: [{ do: { enroll: { people: 2 } } }, { do: { enroll: { people: 1, first: 5, fails: TERMS_DECLINED } } }]\n",
        )
        .unwrap();
        let people = Attendance::of(&scenario);
        let enters = |first, count, fails| Enters { people: count, first, fails };
        assert!(people.awaits(enters(0, 1, None)) && people.awaits(enters(1, 3, None)));
        assert!(!people.awaits(enters(2, 3, None)), "nobody enrolls them");
        assert!(!people.awaits(enters(5, 1, None)), "their enrollment fails");
        assert!(!people.awaits(enters(0, 1, Some(RecognitionFailure::PalmNotRecognized))), "strangers do not enroll");
        people.enrolled.lock().extend([0, 1]);
        assert!(!people.awaits(enters(0, 2, None)));
    }
}
