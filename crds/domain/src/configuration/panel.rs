//! Pure: the line between a reader and its door controller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// The line to the door controller: exactly one of OSDP and Wiegand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.osdp) != has(self.wiegand)", "set exactly one of controlPanel.osdp and controlPanel.wiegand"),
]))]
pub struct ControlPanel {
    /// Open Supervised Device Protocol (SIA OSDP, IEC 60839-11-5) over RS-485.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub osdp: Option<Osdp>,
    /// Wiegand: one way, two data lines, 5 V TTL (SIA AC-01).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wiegand: Option<Wiegand>,
}

/// Settings of an OSDP peripheral device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Osdp {
    /// `V1` or `V2`.
    #[serde(default)]
    #[schemars(default)]
    pub version: OsdpVersion,
    /// Address on the bus, 0 to 126 (127 is broadcast).
    #[serde(default)]
    #[schemars(default, range(min = 0, max = 126))]
    pub address: u8,
    /// Speed of the line in baud.
    #[serde(default)]
    #[schemars(default)]
    pub baud_rate: BaudRate,
}

impl Default for Osdp {
    fn default() -> Self {
        Self { version: OsdpVersion::V2, address: 0, baud_rate: BaudRate::B9600 }
    }
}

/// Version of OSDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OsdpVersion {
    /// OSDP 1.x: no secure channel.
    V1,
    /// OSDP 2.x.
    #[default]
    V2,
}

/// Speeds that OSDP devices support, in baud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum BaudRate {
    /// 9,600 baud, which every OSDP device supports.
    #[default]
    B9600,
    /// 19,200 baud.
    B19200,
    /// 38,400 baud.
    B38400,
    /// 57,600 baud.
    B57600,
    /// 115,200 baud.
    B115200,
    /// 230,400 baud.
    B230400,
}

impl BaudRate {
    const ALL: [Self; 6] = [Self::B9600, Self::B19200, Self::B38400, Self::B57600, Self::B115200, Self::B230400];
}

impl From<BaudRate> for u32 {
    fn from(rate: BaudRate) -> Self {
        match rate {
            BaudRate::B9600 => 9_600,
            BaudRate::B19200 => 19_200,
            BaudRate::B38400 => 38_400,
            BaudRate::B57600 => 57_600,
            BaudRate::B115200 => 115_200,
            BaudRate::B230400 => 230_400,
        }
    }
}

impl TryFrom<u32> for BaudRate {
    type Error = String;

    fn try_from(baud: u32) -> Result<Self, Self::Error> {
        Self::ALL
            .into_iter()
            .find(|rate| u32::from(*rate) == baud)
            .ok_or_else(|| format!("baudRate {baud}: must be 9600, 19200, 38400, 57600, 115200 or 230400"))
    }
}

impl JsonSchema for BaudRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BaudRate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "format": "int32", "enum": Self::ALL.map(u32::from) })
    }
}

/// Timing of a Wiegand line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wiegand {
    /// Width of a pulse in microseconds, 20 to 100.
    #[serde(default = "Wiegand::default_width")]
    #[schemars(range(min = 20, max = 100))]
    pub pulse_width_microseconds: u16,
    /// Time from one pulse to the next in microseconds, 200 to 20,000.
    #[serde(default = "Wiegand::default_interval")]
    #[schemars(range(min = 200, max = 20_000))]
    pub pulse_interval_microseconds: u16,
}

impl Wiegand {
    fn default_width() -> u16 {
        50
    }

    fn default_interval() -> u16 {
        2_000
    }
}

impl Default for Wiegand {
    fn default() -> Self {
        Self { pulse_width_microseconds: Self::default_width(), pulse_interval_microseconds: Self::default_interval() }
    }
}
