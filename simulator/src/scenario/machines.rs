//! Pure: what goes wrong at machines and with sensors. It happens to gateways: to all their sensors, or to those that are named.

use std::time::Duration;

use anyhow::ensure;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Deed, LONGEST};
use crate::machine::{MAX_VELOCITY, MachineFault, SensorCast, SensorFault, What};

/// Most that a machine's time runs faster than ours.
const FASTEST: u32 = 100_000;

/// Shortest time in which a machine wears out or a sensor drifts.
const SHORTEST: SignedDuration = SignedDuration::from_millis(1);

/// A machine that wears out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wears {
    /// Until it is worn out, by the machine's time.
    pub over: SignedDuration,
    /// Vibration velocity by then, RMS, in mm/s, above 0 and up to 1,000.
    pub to: f64,
    /// How much faster the machine's time runs, 1 to 100,000: with 1440 a day passes in a minute.
    #[serde(default = "at_our_pace")]
    pub faster: u32,
    /// At which sensors.
    #[serde(default)]
    pub sensors: SensorCast,
    /// How long; until it is repaired, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

fn at_our_pace() -> u32 {
    1
}

/// A bearing that is damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grinds {
    /// How much faster the machine's time runs, 1 to 100,000: with 1440 a day passes in a minute.
    #[serde(default = "at_our_pace")]
    pub faster: u32,
    /// At which sensors.
    #[serde(default)]
    pub sensors: SensorCast,
    /// How long; until it is repaired, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// A rotor that is out of balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shakes {
    /// Vibration velocity, RMS, in mm/s, above 0 and up to 1,000.
    pub to: f64,
    /// At which sensors.
    #[serde(default)]
    pub sensors: SensorCast,
    /// How long; until it is repaired, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// Machines that are repaired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repairs {
    /// At which sensors.
    #[serde(default)]
    pub sensors: SensorCast,
}

/// Sensors that are off by more and more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drifts {
    /// Until they are off by all of it.
    pub over: SignedDuration,
    /// By how much at last, in mm/s, up to 1,000; too low, when negative.
    pub by: f64,
    /// Which sensors.
    #[serde(default)]
    pub sensors: SensorCast,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// Sensors that fail in some way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fails {
    /// Which sensors.
    #[serde(default)]
    pub sensors: SensorCast,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// A deed at machines or with sensors, whichever it is.
pub(super) struct OnFloor<'a> {
    pub(super) what: What,
    pub(super) sensors: &'a SensorCast,
    pub(super) span: Option<SignedDuration>,
    pub(super) faster: u32,
}

impl Deed {
    /// What it does at machines or with sensors, if it does.
    pub(super) fn on_floor(&self) -> Option<OnFloor<'_>> {
        let whole = |span: SignedDuration| Duration::try_from(span).unwrap_or_default();
        let machine = |fault, sensors, span| OnFloor { what: What::Machine(fault), sensors, span, faster: 1 };
        let sensor = |fault, sensors, span| OnFloor { what: What::Sensor(fault), sensors, span, faster: 1 };
        Some(match self {
            Self::Wear(wears) => {
                let fault = MachineFault::Wear { over: whole(wears.over), to: wears.to };
                OnFloor { faster: wears.faster, ..machine(fault, &wears.sensors, wears.span) }
            }
            Self::BearingFault(grinds) => {
                OnFloor { faster: grinds.faster, ..machine(MachineFault::Bearing, &grinds.sensors, grinds.span) }
            }
            Self::Imbalance(shakes) => machine(MachineFault::Imbalance { to: shakes.to }, &shakes.sensors, shakes.span),
            Self::Repair(repairs) => OnFloor { what: What::Repair, sensors: &repairs.sensors, span: None, faster: 1 },
            Self::SensorDrift(drifts) => {
                let fault = SensorFault::Drift { over: whole(drifts.over), by: drifts.by };
                sensor(fault, &drifts.sensors, drifts.span)
            }
            Self::SensorSticks(fails) => sensor(SensorFault::Sticks, &fails.sensors, fails.span),
            Self::SensorDies(fails) => sensor(SensorFault::Dead, &fails.sensors, fails.span),
            Self::SensorRepeats(fails) => sensor(SensorFault::Repeats, &fails.sensors, fails.span),
            Self::SensorOutOfOrder(fails) => sensor(SensorFault::OutOfOrder, &fails.sensors, fails.span),
            _ => return None,
        })
    }

    /// What the form alone does not say of it.
    pub(super) fn check_floor(&self) -> anyhow::Result<()> {
        let Some(OnFloor { sensors, faster, .. }) = self.on_floor() else { return Ok(()) };
        ensure!((1..=100).contains(&sensors.share_percent), "sensors.sharePercent: 1 to 100");
        ensure!((1..=FASTEST).contains(&faster), "faster: 1 to 100,000");
        match self {
            Self::Wear(Wears { to, .. }) | Self::Imbalance(Shakes { to, .. }) => {
                ensure!(*to > 0.0 && *to <= MAX_VELOCITY, "to: above 0 and up to 1,000 mm/s");
            }
            Self::SensorDrift(drifts) => {
                ensure!((-MAX_VELOCITY..=MAX_VELOCITY).contains(&drifts.by), "by: -1,000 to 1,000 mm/s");
            }
            _ => {}
        }
        match self {
            Self::Wear(Wears { over, .. }) | Self::SensorDrift(Drifts { over, .. }) => {
                ensure!((SHORTEST..=LONGEST).contains(over), "over: 1 ms to 10 years");
            }
            _ => {}
        }
        Ok(())
    }
}
