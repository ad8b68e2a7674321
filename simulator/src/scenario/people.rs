//! People, and what stands around a reader, in a scenario: who enrolls, who enters, and what is wrong with the control panel.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::ensure;
use fleetform_domain::configuration::{BadgeFormat, BaudRate};
use fleetform_domain::people::{EnrollmentFailure, RecognitionFailure};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::panel::PanelQuirks;
use crate::panel::scanner::ScannerQuirks;
use crate::people::Person;

/// Most people of an act.
const MOST_PEOPLE: u32 = 1000;

/// Most that people are numbered up to. So many badges differ.
const LAST_PERSON: u32 = 65_535;

/// People who enroll, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrolls {
    /// How many, from 1.
    pub people: u32,
    /// The number of the first. The same number is the same person in every act of a scenario.
    #[serde(default)]
    pub first: u32,
    /// How each of them fails; none does when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<EnrollmentFailure>,
}

/// People who want to enter, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enters {
    /// How many, from 1.
    pub people: u32,
    /// The number of the first.
    #[serde(default)]
    pub first: u32,
    /// How each of them fails: a palm that cannot be read, or one that nobody has enrolled. None does when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<RecognitionFailure>,
}

/// Something about the control panel that does not fit the reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PanelTrouble {
    /// What.
    pub is: PanelFault,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PanelFault {
    /// It has no power, or the line is cut.
    Lost,
    /// It calls the reader by this OSDP address.
    Address(u8),
    /// It speaks OSDP at this speed, in baud.
    BaudRate(BaudRate),
    /// It has another base key for OSDP's secure channel.
    OtherKey,
    /// It reads badges in this format.
    BadgeFormat(BadgeFormat),
    /// It lets in so many of the scenario's people, from the first, and nobody else.
    Admits(u32),
}

/// Something about the badge scanner of a desk that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScannerTrouble {
    /// What.
    pub is: ScannerFault,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// What does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ScannerFault {
    /// There is none, or its cable is loose.
    Lost,
    /// It reads badges in this format alone.
    BadgeFormat(BadgeFormat),
}

fn are_few(people: u32, first: u32) -> anyhow::Result<()> {
    ensure!((1..=MOST_PEOPLE).contains(&people), "people: 1 to {MOST_PEOPLE}");
    ensure!(first.saturating_add(people) <= LAST_PERSON, "first: the last person is number {LAST_PERSON} at most");
    Ok(())
}

fn numbers(people: u32, first: u32) -> Range<u64> {
    let first = u64::from(first);
    first..first + u64::from(people)
}

impl Enrolls {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        use EnrollmentFailure as F;
        are_few(self.people, self.first)?;
        let is_of_device = |reason| {
            let of_device = [F::TimedOut, F::BadgeNotReadable, F::TermsDeclined, F::ConsentDeclined];
            of_device.contains(&reason) || matches!(reason, F::PalmNotReadable | F::PalmsDiffer)
        };
        ensure!(
            self.fails.is_none_or(is_of_device),
            "fails: TIMED_OUT, BADGE_NOT_READABLE, TERMS_DECLINED, CONSENT_DECLINED, PALM_NOT_READABLE or PALMS_DIFFER"
        );
        Ok(())
    }

    /// The numbers of the people.
    pub fn numbers(&self) -> Range<u64> {
        numbers(self.people, self.first)
    }
}

impl Enters {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        use RecognitionFailure as F;
        are_few(self.people, self.first)?;
        ensure!(
            matches!(self.fails, None | Some(F::PalmNotReadable | F::PalmNotRecognized)),
            "fails: PALM_NOT_READABLE or PALM_NOT_RECOGNIZED"
        );
        Ok(())
    }

    /// The numbers of the people.
    pub fn numbers(&self) -> Range<u64> {
        numbers(self.people, self.first)
    }
}

impl ScannerTrouble {
    /// Lays it over what is wrong already.
    pub(super) fn add_to(&self, quirks: &mut ScannerQuirks) {
        match &self.is {
            ScannerFault::Lost => quirks.lost = true,
            ScannerFault::BadgeFormat(format) => quirks.badge_format = Some(format.clone()),
        }
    }
}

impl PanelTrouble {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match &self.is {
            PanelFault::Address(address) => ensure!(*address <= 126, "is: address: 0 to 126"),
            PanelFault::Admits(people) => ensure!(*people <= MOST_PEOPLE, "is: admits: 0 to {MOST_PEOPLE}"),
            _ => {}
        }
        Ok(())
    }

    /// Lays it over what is wrong already.
    pub(super) fn add_to(&self, quirks: &mut PanelQuirks, seed: u64) {
        match &self.is {
            PanelFault::Lost => quirks.lost = true,
            PanelFault::Address(address) => quirks.address = Some(*address),
            PanelFault::BaudRate(rate) => quirks.baud_rate = Some(*rate),
            PanelFault::OtherKey => quirks.other_key = true,
            PanelFault::BadgeFormat(format) => quirks.badge_format = Some(format.clone()),
            PanelFault::Admits(people) => {
                let badges: BTreeSet<_> = numbers(*people, 0).map(|number| Person::new(seed, number).badge()).collect();
                quirks.admits = Some(badges);
            }
        }
    }
}
