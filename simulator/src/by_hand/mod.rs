//! One device that a person plays: it scans a code, asks for the ZIP code's site, and is activated when that is confirmed. People
//! enroll and enter at it, one at a time.

mod people;

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use fleetform_domain::wire::{DeviceText, LookupResponse};
use tokio::time::sleep;

use crate::device::{Delivered, Device};
use crate::machine::{Floor, MAX_VELOCITY, MachineFault, SensorCast, Trouble, What};
use crate::storage::{DirectoryStorage, MemoryStorage, Storage};
use crate::transport::{Network, Timeouts};

pub use people::{Activated, Enroll, Enter, Unreadable};

/// What is printed on the hardware, unless it is said.
const ASSET_TAG: &str = "0000195169";

/// Plays one device: scans an activation code, types the ZIP code, confirms the site and checks in until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "fleetform-device", version)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What people do at a device that was activated before.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The activation of a device.
    #[command(flatten)]
    pub activation: Option<Activation>,

    /// How the device goes on after it.
    #[command(flatten)]
    pub course: Course,
}

/// What people do at a device that was activated before.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Somebody enrolls at the device: the badge, the terms, the consent, the palms
    Enroll(Enroll),
    /// Somebody presents a palm at the door
    Enter(Enter),
    /// The device is switched on again: it checks in until Ctrl-C
    Run(Run),
}

/// The device is switched on again.
#[derive(Debug, Args)]
pub struct Run {
    /// Which device.
    #[command(flatten)]
    pub device: Activated,

    /// How it goes on.
    #[command(flatten)]
    pub course: Course,
}

/// How a device goes on once it is active.
#[derive(Debug, Args)]
pub struct Course {
    /// What the sensors of a gateway measure, instead of what is normal: vibration velocity, RMS, in mm/s, above 0 and up to 1000
    #[arg(long, value_name = "MM_PER_S", value_parser = vibration)]
    pub vibration: Option<f64>,

    /// End after the first check-in, and the first measurements of a gateway: the device falls silent then
    #[arg(long)]
    pub once: bool,
}

/// The activation of a device.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("scanned").required(true))]
pub struct Activation {
    /// The picture of the code, a PNG file, as held in front of the device's camera
    #[arg(long, value_name = "FILE", group = "scanned")]
    pub picture: Option<PathBuf>,

    /// The text of the code instead
    #[arg(long, value_name = "TEXT", group = "scanned")]
    pub code: Option<String>,

    /// ZIP code of the site, as the installer types it
    #[arg(long, value_name = "ZIP")]
    pub zip: String,

    /// What is printed on the hardware: 1 to 64 letters, digits, `.`, `_` or `-`
    #[arg(long, value_name = "TAG", default_value = ASSET_TAG, value_parser = asset_tag)]
    pub asset_tag: DeviceText,

    /// Where the device keeps what it knows, for people to enroll and enter at it later. Left out, all is gone when it ends
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Confirm the site without asking
    #[arg(long)]
    pub yes: bool,
}

fn vibration(text: &str) -> Result<f64, String> {
    let velocity: f64 = text.parse().map_err(|_| "it takes a number of mm/s, such as 7.5".to_owned())?;
    if velocity > 0.0 && velocity <= MAX_VELOCITY { Ok(velocity) } else { Err("above 0 and up to 1000 mm/s".into()) }
}

/// A floor where all machines shake like this.
fn shaking(velocity: f64) -> Floor {
    let trouble = Trouble {
        what: What::Machine(MachineFault::Imbalance { to: velocity }),
        sensors: SensorCast::default(),
        number: 0,
        // Longer than any measurement is late: what was measured before it began would be normal.
        since: Duration::from_hours(24 * 365),
        faster: 1,
    };
    Floor { seed: 0, troubles: vec![trouble] }
}

fn asset_tag(text: &str) -> Result<DeviceText, String> {
    DeviceText::try_from(text).map_err(|error| error.to_string())
}

/// The whole program.
pub fn main(cli: &Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = play(cli) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn play(cli: &Cli) -> anyhow::Result<()> {
    match (&cli.command, &cli.activation) {
        (Some(Command::Enroll(one)), _) => people::enroll(one).await,
        (Some(Command::Enter(one)), _) => people::enter(one).await,
        (Some(Command::Run(run)), _) => go_on(&mut people::switch_on(&run.device).await?, &run.course).await,
        (None, Some(activation)) => go_on(&mut activate(activation).await?, &cli.course).await,
        (None, None) => bail!("give --picture or --code, and --zip"),
    }
}

async fn activate(cli: &Activation) -> anyhow::Result<Device> {
    let storage: Arc<dyn Storage> = match &cli.state_dir {
        Some(directory) => Arc::new(DirectoryStorage::open(directory)?),
        // Its keys are gone when it ends, as those of a device that is thrown away.
        None => Arc::new(MemoryStorage::default()),
    };
    let mut device = Device::new(cli.asset_tag.clone(), storage, Network::new(Timeouts::default()), rand::random());
    device.power_on().await?;
    match (&cli.picture, &cli.code) {
        (Some(file), _) => {
            let png = std::fs::read(file).with_context(|| format!("--picture {}", file.display()))?;
            device.scan(&png)?;
        }
        (None, Some(text)) => device.scan_text(text.trim())?,
        (None, None) => bail!("give --picture or --code"),
    }
    let site = device.look_up(&cli.zip).await?;
    println!("{}", shown(&site));
    if !cli.yes {
        print!("Is this your site? ");
    }
    if !cli.yes && !agrees()? {
        bail!("not confirmed: nothing was activated, and the code is still good");
    }
    device.confirm().await?;
    Ok(device)
}

/// The device checks in, and a gateway sends what its sensors measure, until Ctrl-C.
async fn go_on(device: &mut Device, course: &Course) -> anyhow::Result<()> {
    device.quirks().floor = course.vibration.map(shaking).map(Box::new);
    let mut due = Instant::now();
    loop {
        if due <= Instant::now() {
            let answer = device.synchronise().await?;
            let version = device.applied_configuration_version().unwrap_or_default();
            println!("active as {}, configuration version {version}{}", device.asset_tag(), paired(device));
            due = Instant::now() + Duration::from_secs(answer.next_check_in_seconds.into());
        }
        if device.measure().await? > 0 {
            let Delivered { sent, refused, .. } = device.deliver_measurements().await?;
            println!("{sent} measurements sent, {refused} of them refused");
        }
        if course.once {
            return Ok(());
        }
        let next = due.saturating_duration_since(Instant::now());
        sleep(device.until_measurement().map_or(next, |measures| measures.min(next))).await;
    }
}

/// The sensors of a gateway that has some.
fn paired(device: &Device) -> String {
    let sensors = device.sensors_report().map(|report| report.sensors).unwrap_or_default();
    let tags: Vec<&str> = sensors.iter().map(|sensor| sensor.asset_tag_id.as_str()).collect();
    if tags.is_empty() { String::new() } else { format!(", paired with {}", tags.join(", ")) }
}

fn shown(site: &LookupResponse) -> String {
    let place = [Some(site.city.as_str()), site.state_or_region.as_deref()];
    let place: Vec<&str> = place.into_iter().flatten().collect();
    format!("{} at {}, {}", site.device_instance_name, site.site_name, place.join(", "))
}

/// Whether who plays the device says yes to what was asked.
fn agrees() -> io::Result<bool> {
    print!("[y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use fleetform_domain::id::ResourceId;

    #[test]
    fn help_names_every_option() {
        let mut program = Cli::command();
        let of = |program: &mut clap::Command| program.render_help().to_string();
        let whole = of(&mut program);
        let commands =
            program.get_subcommands_mut().map(|command| format!("{}\n{}", command.get_name().to_owned(), of(command)));
        insta::assert_snapshot!(std::iter::once(whole).chain(commands).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn people_come_to_a_device_that_has_a_disk() {
        let parse = |arguments: &[&str]| Cli::try_parse_from(["fleetform-device"].iter().chain(arguments));
        assert!(parse(&["enroll", "--state-dir", "desk", "--person", "ada", "--badge", "4711"]).is_ok());
        assert!(parse(&["enter", "--state-dir", "door", "--person", "ada"]).is_ok());
        assert!(parse(&["run", "--state-dir", "gateway", "--once", "--vibration", "7.5"]).is_ok());
        assert!(parse(&["enter", "--person", "ada"]).is_err());
        assert!(parse(&["enroll", "--state-dir", "desk", "--person", "ada", "--badge", "12a"]).is_err());
        assert!(parse(&["--zip", "98104", "--code", "x", "enter", "--state-dir", "d", "--person", "ada"]).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let parse =
            |arguments: &[&str]| Cli::try_parse_from(["fleetform-device", "--zip", "98104"].iter().chain(arguments));
        assert!(parse(&["--code", "x"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--code", "x", "--picture", "y"]).is_err());
        assert!(parse(&["--code", "x", "--asset-tag", "no spaces"]).is_err());
        assert!(parse(&["--code", "x", "--vibration", "7.5"]).is_ok());
        for velocity in ["0", "-1", "1000.1", "NaN", "much"] {
            assert!(parse(&["--code", "x", "--vibration", velocity]).is_err(), "{velocity}");
        }
    }

    #[test]
    fn machines_shake_also_in_a_measurement_that_is_heard_late() {
        let (floor, sensor, tag) = (shaking(4.5), ResourceId::of("pump"), asset_tag("VT-0001").unwrap());
        for late in [Duration::ZERO, Duration::from_millis(3), Duration::from_hours(60)] {
            let velocity = floor.spot(&sensor, &tag).reading(1, late).velocity;
            assert!((4.0..5.0).contains(&velocity), "{late:?}: {velocity} mm/s");
        }
    }

    #[test]
    fn the_site_is_shown_as_people_know_it() {
        let site = LookupResponse {
            site_name: "Central Library".into(),
            city: "Seattle".into(),
            state_or_region: Some("WA".into()),
            device_instance_name: "Front desk".into(),
            confirmation: String::from("c").into(),
        };
        assert_eq!(shown(&site), "Front desk at Central Library, Seattle, WA");
    }
}
