//! Scenarios: files that say what goes wrong with which devices, and when. The same file and the same seed make the same things go
//! wrong with the same devices.

mod draw;
mod machines;
mod people;
mod script;

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use fleetform_domain::configuration::RefusalReason;
use fleetform_domain::wire::{DeviceText, MAX_FAILED_HEALTH_CHECKS};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

pub(crate) use draw::{lot, matches};
pub use machines::{Drifts, Fails, Grinds, Repairs, Shakes, Wears};
pub use people::{Enrolls, Enters, PanelFault, PanelTrouble, ScannerFault, ScannerTrouble};
pub use script::{Once, Part, Setting};

/// Most acts of a scenario.
const MAX_ACTS: usize = 64;

/// Most times that something happens.
const MAX_TIMES: u32 = 1000;

/// Hours in a year, on average.
const YEAR: i64 = 8_766;

/// Longest that anything lasts or is waited for: far more than anybody plays, and far from where sums of times overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(10 * YEAR);

/// Shortest that a network that flaps is there or gone.
const SHORTEST_FLAP: SignedDuration = SignedDuration::from_millis(1);

/// Most that a clock is wrong by.
const MOST_SKEW: SignedDuration = SignedDuration::from_hours(100 * YEAR);

/// What goes wrong with which devices, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// What it plays, for people.
    pub description: String,
    /// Which devices are chosen where an act is for a share of them. Another one chooses others.
    #[serde(default)]
    pub seed: u64,
    /// What goes wrong, at most 64.
    pub acts: Vec<Act>,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Act {
    /// With which devices; with all, when it is left out.
    #[serde(default)]
    pub devices: Cast,
    /// When, since the simulator began to play the device. What takes an active device waits until it is active.
    #[serde(default)]
    pub after: SignedDuration,
    /// What.
    #[serde(rename = "do")]
    pub deed: Deed,
}

/// With which devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cast {
    /// Names of device instances; `*` stands for any characters. All, when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// How many of these, in percent, chosen by the seed.
    #[serde(default = "all")]
    pub share_percent: u8,
}

fn all() -> u8 {
    100
}

impl Default for Cast {
    fn default() -> Self {
        Self { names: Vec::new(), share_percent: all() }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Deed {
    /// The installer types a wrong ZIP code so many times.
    WrongZip(Times),
    /// The picture of the code is held so that it cannot be read.
    UnreadableQr(Times),
    /// Two codes are in view.
    MultipleQrCodes(Times),
    /// The installer shows a code that is none of ours.
    ForgedQr(Times),
    /// Something inside the device goes wrong, until somebody restarts it.
    BreakDown(Times),
    /// The installer takes this long from fetching the code to showing it.
    SlowInstaller(Lasts),
    /// The device's disk is full.
    DiskFull(Span),
    /// The device is in no network.
    NetworkLoss(Span),
    /// The network comes and goes.
    FlappingNetwork(Flaps),
    /// The device has no power, and starts anew when it is back.
    PowerLoss(Lasts),
    /// Health checks fail.
    FailHealthChecks(Checks),
    /// The device refuses every new configuration.
    RefuseConfiguration(Refuses),
    /// Software arrives slowly.
    SlowDownload(Rate),
    /// Software arrives damaged.
    CorruptDownload(Times),
    /// The device's clock is wrong.
    ClockSkew(Skew),
    /// Somebody has copied the device, and both report.
    Clone(Span),
    /// The device's case is opened, or it is taken off the wall.
    Tamper,
    /// The device starts anew without having been asked.
    Restart,
    /// The device's clock runs on by this while it is without its gateway, so nobody has to wait.
    Absence(Lasts),
    /// The device's last report reaches the gateway again, so many times.
    ReplayRequests(Times),
    /// People enroll at the device.
    Enroll(Enrolls),
    /// People want to enter at the device.
    Enter(Enters),
    /// The badge scanner does not work, or reads another format.
    BadgeScanner(ScannerTrouble),
    /// The control panel does not fit the device.
    Panel(PanelTrouble),
    /// At a gateway: a machine wears out.
    Wear(Wears),
    /// At a gateway: a bearing is damaged.
    BearingFault(Grinds),
    /// At a gateway: a rotor is out of balance.
    Imbalance(Shakes),
    /// At a gateway: what was wrong with machines is repaired.
    Repair(Repairs),
    /// At a gateway: what sensors measure is off by more and more.
    SensorDrift(Drifts),
    /// At a gateway: sensors say the same value over and over.
    SensorSticks(Fails),
    /// At a gateway: sensors are no longer heard.
    SensorDies(Fails),
    /// At a gateway: sensors say each measurement twice.
    SensorRepeats(Fails),
    /// At a gateway: measurements arrive in another order.
    SensorOutOfOrder(Fails),
}

/// So many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Times {
    /// How often, from 1.
    pub times: u32,
}

/// For as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lasts {
    /// How long, such as `90s` or `2h 30m`.
    #[serde(rename = "for")]
    pub span: SignedDuration,
}

/// For as long, or for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Span {
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// A network that comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flaps {
    /// For how long it is gone.
    pub down: SignedDuration,
    /// For how long it is there.
    pub up: SignedDuration,
    /// How often it goes, from 1.
    pub times: u32,
}

/// Health checks that fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checks {
    /// Their names.
    pub names: Vec<DeviceText>,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// A configuration that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refuses {
    /// Why.
    pub reason: RefusalReason,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

/// How fast software arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// From 1.
    pub bytes_per_second: u64,
}

/// A clock that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Skew {
    /// By how much it is ahead; behind, when negative.
    pub ahead: SignedDuration,
    /// How long; for good, when it is left out.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SignedDuration>,
}

impl Scenario {
    /// The scenario in a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// The scenario in this YAML.
    pub fn parse(yaml: &str) -> anyhow::Result<Self> {
        let scenario: Self = serde_saphyr::from_str(yaml).map_err(|error| anyhow::anyhow!("{error}"))?;
        ensure!(scenario.acts.len() <= MAX_ACTS, "acts: at most {MAX_ACTS}");
        for (number, act) in scenario.acts.iter().enumerate() {
            act.check().with_context(|| format!("acts[{number}]"))?;
        }
        Ok(scenario)
    }
}

impl Act {
    /// What the form alone does not say.
    fn check(&self) -> anyhow::Result<()> {
        if !(1..=100).contains(&self.devices.share_percent) {
            bail!("devices.sharePercent: 1 to 100");
        }
        is_lasting("after", self.after)?;
        self.deed.check().context("do")
    }
}

fn is_lasting(field: &str, span: SignedDuration) -> anyhow::Result<()> {
    ensure!((SignedDuration::ZERO..=LONGEST).contains(&span), "{field}: 0 to 10 years");
    Ok(())
}

impl Flaps {
    /// From one time that the network goes to the next.
    fn cycle(&self) -> SignedDuration {
        self.down.saturating_add(self.up)
    }
}

impl Deed {
    fn check(&self) -> anyhow::Result<()> {
        if let Some(times) = self.times() {
            ensure!((1..=MAX_TIMES).contains(&times), "times: 1 to {MAX_TIMES}");
        }
        match self {
            Self::FlappingNetwork(flaps) => {
                for (field, span) in [("down", flaps.down), ("up", flaps.up)] {
                    ensure!((SHORTEST_FLAP..=LONGEST).contains(&span), "{field}: 1 ms to 10 years");
                }
            }
            Self::SlowDownload(rate) => ensure!(rate.bytes_per_second > 0, "bytesPerSecond: at least 1"),
            Self::FailHealthChecks(checks) => {
                let most = MAX_FAILED_HEALTH_CHECKS;
                ensure!((1..=most).contains(&checks.names.len()), "names: 1 to {most}");
            }
            Self::ClockSkew(skew) => {
                ensure!((-MOST_SKEW..=MOST_SKEW).contains(&skew.ahead), "ahead: at most 100 years, either way");
            }
            Self::Enroll(people) => people.check()?,
            Self::Enter(people) => people.check()?,
            Self::Panel(trouble) => trouble.check()?,
            _ => {}
        }
        self.check_floor()?;
        match self {
            // Its span is that of all times together.
            Self::FlappingNetwork(_) => Ok(()),
            _ => self.span().map_or(Ok(()), |span| is_lasting("for", span)),
        }
    }

    /// How often it happens, where that is said.
    fn times(&self) -> Option<u32> {
        match self {
            Self::WrongZip(n)
            | Self::UnreadableQr(n)
            | Self::MultipleQrCodes(n)
            | Self::ForgedQr(n)
            | Self::BreakDown(n)
            | Self::CorruptDownload(n)
            | Self::ReplayRequests(n) => Some(n.times),
            Self::FlappingNetwork(flaps) => Some(flaps.times),
            _ => None,
        }
    }

    /// For how long it is so; for good when that is none.
    fn span(&self) -> Option<SignedDuration> {
        match self {
            Self::SlowInstaller(lasts) | Self::PowerLoss(lasts) | Self::Absence(lasts) => Some(lasts.span),
            Self::DiskFull(span) | Self::NetworkLoss(span) | Self::Clone(span) => span.span,
            Self::BadgeScanner(trouble) => trouble.span,
            Self::Panel(trouble) => trouble.span,
            Self::FlappingNetwork(flaps) => {
                Some(flaps.cycle().saturating_mul(i32::try_from(flaps.times).unwrap_or(i32::MAX)))
            }
            Self::FailHealthChecks(checks) => checks.span,
            Self::RefuseConfiguration(refuses) => refuses.span,
            Self::ClockSkew(skew) => skew.span,
            Self::WrongZip(_)
            | Self::UnreadableQr(_)
            | Self::MultipleQrCodes(_)
            | Self::ForgedQr(_)
            | Self::BreakDown(_)
            | Self::SlowDownload(_)
            | Self::CorruptDownload(_)
            | Self::Tamper
            | Self::Restart
            | Self::ReplayRequests(_)
            | Self::Enroll(_)
            | Self::Enter(_) => None,
            Self::Wear(_)
            | Self::BearingFault(_)
            | Self::Imbalance(_)
            | Self::Repair(_)
            | Self::SensorDrift(_)
            | Self::SensorSticks(_)
            | Self::SensorDies(_)
            | Self::SensorRepeats(_)
            | Self::SensorOutOfOrder(_) => self.on_floor().and_then(|on_floor| on_floor.span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let with = |act: &str| Scenario::parse(&format!("description: x\nacts:\n- {act}\n"));
        assert!(with("{ after: 30s, do: tamper }").is_ok());
        assert!(with("{ devices: { names: ['door-*'], sharePercent: 5 }, do: { networkLoss: { for: 2m } } }").is_ok());
        assert!(with("{ do: { networkLoss: {} } }").is_ok());
        assert!(
            with("{ do: { wear: { over: 72h, to: 9.5, faster: 1440, sensors: { assetTags: ['S-*'] } } } }").is_ok()
        );
        assert!(with("{ do: { repair: {} } }").is_ok());
        for (act, complaint) in [
            ("{ do: explode }", "explode"),
            ("{ do: tamper, whenever: now }", "whenever"),
            ("{ do: { wrongZip: { times: 0 } } }", "acts[0]: do: times: 1 to 1000"),
            ("{ do: { wrongZip: { times: 1001 } } }", "acts[0]: do: times: 1 to 1000"),
            ("{ do: { replayRequests: { times: 4000000000 } } }", "acts[0]: do: times: 1 to 1000"),
            ("{ do: { replayRequests: { times: 4000000000000 } } }", "invalid u32"),
            ("{ do: { flappingNetwork: { down: 1s, up: 1s, times: 4000000000 } } }", "acts[0]: do: times: 1 to 1000"),
            ("{ do: { slowDownload: { bytesPerSecond: 0 } } }", "acts[0]: do: bytesPerSecond: at least 1"),
            ("{ devices: { sharePercent: 0 }, do: tamper }", "acts[0]: devices.sharePercent: 1 to 100"),
            ("{ after: -3s, do: tamper }", "acts[0]: after: 0 to 10 years"),
            ("{ after: 87661h, do: tamper }", "acts[0]: after: 0 to 10 years"),
            ("{ after: 2562047788015215h, do: tamper }", "acts[0]: after: 0 to 10 years"),
            ("{ do: { networkLoss: { for: -1s } } }", "acts[0]: do: for: 0 to 10 years"),
            ("{ do: { absence: { for: 9999999h } } }", "acts[0]: do: for: 0 to 10 years"),
            ("{ do: { clockSkew: { ahead: 876601h } } }", "acts[0]: do: ahead: at most 100 years"),
            ("{ do: { clockSkew: { ahead: -2562047788015215h } } }", "acts[0]: do: ahead: at most 100 years"),
            ("{ do: { clockSkew: { ahead: 1s, for: -1s } } }", "acts[0]: do: for: 0 to 10 years"),
            ("{ do: { failHealthChecks: { names: [] } } }", "acts[0]: do: names: 1 to 16"),
            ("{ do: { flappingNetwork: { down: 0s, up: 1s, times: 1 } } }", "acts[0]: do: down: 1 ms to 10"),
            ("{ do: { flappingNetwork: { down: 1us, up: 1s, times: 1 } } }", "acts[0]: do: down: 1 ms to 10"),
            ("{ do: { enroll: { people: 0 } } }", "acts[0]: do: people: 1 to 1000"),
            ("{ do: { enroll: { people: 1, first: 4294967295 } } }", "acts[0]: do: first: the last person"),
            ("{ do: { enroll: { people: 1, fails: BADGE_ALREADY_ENROLLED } } }", "acts[0]: do: fails: TIMED_OUT"),
            ("{ do: { enter: { people: 1001 } } }", "acts[0]: do: people: 1 to 1000"),
            ("{ do: { enter: { people: 1, fails: AMBIGUOUS } } }", "acts[0]: do: fails: PALM_NOT_READABLE or"),
            ("{ do: { panel: { is: { address: 127 } } } }", "acts[0]: do: is: address: 0 to 126"),
            ("{ do: { panel: { is: { baudRate: 300 } } } }", "baudRate 300: must be"),
            ("{ do: { panel: { is: lost, for: -1s } } }", "acts[0]: do: for: 0 to 10 years"),
            ("{ do: { wear: { over: 0s, to: 9 } } }", "acts[0]: do: over: 1 ms to 10 years"),
            ("{ do: { wear: { over: 72h, to: 0 } } }", "acts[0]: do: to: above 0 and up to 1,000 mm/s"),
            ("{ do: { wear: { over: 72h, to: .nan } } }", "acts[0]: do: to: above 0 and up to 1,000 mm/s"),
            ("{ do: { wear: { over: 72h, to: 9, faster: 0 } } }", "acts[0]: do: faster: 1 to 100,000"),
            ("{ do: { wear: { over: 72h, to: 9, for: -1s } } }", "acts[0]: do: for: 0 to 10 years"),
            ("{ do: { imbalance: { to: 1001 } } }", "acts[0]: do: to: above 0 and up to 1,000 mm/s"),
            ("{ do: { bearingFault: { faster: 100001 } } }", "acts[0]: do: faster: 1 to 100,000"),
            ("{ do: { repair: { for: 1s } } }", "for"),
            ("{ do: { sensorDrift: { over: 1h, by: -1001 } } }", "acts[0]: do: by: -1,000 to 1,000 mm/s"),
            ("{ do: { sensorDrift: { over: 87661h, by: 1 } } }", "acts[0]: do: over: 1 ms to 10 years"),
            ("{ do: { sensorDies: { sensors: { sharePercent: 0 } } } }", "acts[0]: do: sensors.sharePercent: 1 to 100"),
            (
                "{ do: { flappingNetwork: { down: 1s, up: 2562047788015215h, times: 1 } } }",
                "acts[0]: do: up: 1 ms to 10",
            ),
        ] {
            let error = format!("{:#}", with(act).unwrap_err());
            assert!(error.contains(complaint), "{act}: {error}");
        }
    }

    #[test]
    fn every_example_reads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let read: Vec<_> = files
            .filter(|file| file.extension().is_some_and(|ending| ending == "yaml"))
            .map(|file| Scenario::read(&file).unwrap_or_else(|error| panic!("{error:#}")))
            .collect();
        let deed = |act: &Act| format!("{:?}", act.deed).split(['(', ' ']).next().unwrap_or_default().to_owned();
        let shown: std::collections::BTreeSet<String> = read.iter().flat_map(|one| &one.acts).map(deed).collect();
        assert_eq!(shown.len(), 33, "each deed has an example: {shown:?}");
    }
}
