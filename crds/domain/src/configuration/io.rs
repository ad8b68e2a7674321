//! Pure: the relay and the general-purpose inputs and outputs of a reader. They drive and watch external devices directly, beside
//! the line to the door controller. Electrical limits are the hardware's: relay 30 V AC or 60 V DC and 60 W, outputs 5 V, inputs
//! 3.6 to 5 V.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The relay and the general-purpose inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Io {
    /// The relay (at most 30 V AC or 60 V DC, 60 W).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
    /// Inputs, at most 4; each number stands once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
    pub inputs: Vec<Input>,
    /// Outputs of 5 V, at most 4; each number stands once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
    pub outputs: Vec<Output>,
}

/// What switches a relay or an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Trigger {
    /// The door controller granted access.
    Granted,
    /// The door controller denied access.
    Denied,
    /// The device was tampered with; held until it is unlocked.
    Tamper,
}

/// How a relay rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Rest {
    /// Its contact is open at rest.
    #[default]
    Open,
    /// Its contact is closed at rest.
    Closed,
}

/// The relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Relay {
    /// What switches it: `Granted`, `Denied` or `Tamper`.
    pub on: Trigger,
    /// How long it stays switched, in milliseconds, 100 to 60,000.
    #[serde(default = "default_pulse")]
    #[schemars(range(min = 100, max = 60_000))]
    pub pulse_milliseconds: u32,
    /// `Open` or `Closed`.
    #[serde(default)]
    #[schemars(default)]
    pub rest: Rest,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Which one, 1 to 4.
    #[schemars(range(min = 1, max = 4))]
    pub number: u8,
    /// What switches it: `Granted`, `Denied` or `Tamper`.
    pub on: Trigger,
    /// How long it stays switched, in milliseconds, 100 to 60,000.
    #[serde(default = "default_pulse")]
    #[schemars(range(min = 100, max = 60_000))]
    pub pulse_milliseconds: u32,
}

/// What an input tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InputFunction {
    /// Somebody inside asks to be let out.
    RequestToExit,
    /// Whether the door is closed.
    DoorContact,
    /// Something else that is to be passed on to the door controller.
    General,
}

/// Which level counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ActiveLevel {
    /// 3.6 to 5 V.
    #[default]
    High,
    /// Below that.
    Low,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Which one, 1 to 4.
    #[schemars(range(min = 1, max = 4))]
    pub number: u8,
    /// What it tells of: `RequestToExit`, `DoorContact` or `General`.
    pub function: InputFunction,
    /// `High` or `Low`: the level that counts.
    #[serde(default)]
    #[schemars(default)]
    pub active: ActiveLevel,
}

fn default_pulse() -> u32 {
    5_000
}
