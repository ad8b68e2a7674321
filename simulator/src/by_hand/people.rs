//! People at a device that a person plays: an enrollment step by step, and an entry.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use fleetform_domain::people::{BadgeNumber, Hand};
use fleetform_domain::wire::DeviceText;

use super::{agrees, asset_tag};
use crate::device::people::EnrollmentStep;
use crate::device::{Device, EnrollmentScreen, EntryScreen};
use crate::panel::scanner;
use crate::people::Person;
use crate::storage::DirectoryStorage;
use crate::transport::{Network, Timeouts};

/// A device that was activated before.
#[derive(Debug, Args)]
pub struct Activated {
    /// Where the device keeps what it knows, as told to it at its activation
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,

    /// What is printed on the hardware
    #[arg(long, value_name = "TAG", default_value = super::ASSET_TAG, value_parser = asset_tag)]
    pub asset_tag: DeviceText,
}

/// Somebody enrolls at the device: the badge, the terms, the consent, the palms.
#[derive(Debug, Args)]
pub struct Enroll {
    /// Which device.
    #[command(flatten)]
    pub device: Activated,

    /// Who: the palms are made of the name
    #[arg(long, value_name = "NAME")]
    pub person: String,

    /// Number of the badge; made of the name when it is left out
    #[arg(long, value_name = "NUMBER", value_parser = badge_number)]
    pub badge: Option<BadgeNumber>,

    /// Accept the terms and give the consent without being asked
    #[arg(long)]
    pub yes: bool,

    /// Enroll the right palm alone
    #[arg(long)]
    pub one_palm: bool,

    /// What the device cannot read
    #[arg(long, value_name = "WHAT")]
    pub unreadable: Option<Unreadable>,
}

/// Somebody presents a palm at the door.
#[derive(Debug, Args)]
pub struct Enter {
    /// Which device.
    #[command(flatten)]
    pub device: Activated,

    /// Who: the palms are made of the name
    #[arg(long, value_name = "NAME")]
    pub person: String,

    /// Present the left palm, not the right one
    #[arg(long)]
    pub left: bool,

    /// The palm cannot be read
    #[arg(long)]
    pub unreadable: bool,

    /// The network is down
    #[arg(long)]
    pub offline: bool,
}

/// What a device cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unreadable {
    /// The badge.
    Badge,
    /// The palm.
    Palm,
}

fn badge_number(text: &str) -> Result<BadgeNumber, String> {
    BadgeNumber::try_from(text).map_err(|error| error.to_string())
}

/// The device, switched on.
pub(super) async fn switch_on(activated: &Activated) -> anyhow::Result<Device> {
    let storage = Arc::new(DirectoryStorage::open(&activated.state_dir)?);
    let network = Network::new(Timeouts::default());
    let mut device = Device::new(activated.asset_tag.clone(), storage, network, rand::random());
    device.power_on().await?;
    ensure!(
        device.is_associated(),
        "{} is not active: activate it first, with --state-dir {}",
        activated.asset_tag,
        activated.state_dir.display()
    );
    Ok(device)
}

/// Plays an enrollment.
pub(super) async fn enroll(enroll: &Enroll) -> anyhow::Result<()> {
    use EnrollmentScreen as S;
    let mut device = switch_on(&enroll.device).await?;
    device.synchronise().await?;
    let person = Person::named(&enroll.person);
    let mut shown = device.get_started().await?;
    for look in 0.. {
        println!("{}", shown.message());
        let palm = |hand| (enroll.unreadable != Some(Unreadable::Palm)).then(|| person.look(hand, look));
        let step = match shown {
            S::Badge => {
                let number = enroll.badge.clone().unwrap_or_else(|| person.badge());
                let is_read = enroll.unreadable != Some(Unreadable::Badge);
                EnrollmentStep::Badge(is_read.then(|| scanner::badge(&number)))
            }
            S::Terms => EnrollmentStep::Terms(enroll.yes || agrees()?),
            S::Consent => EnrollmentStep::Consent(enroll.yes || agrees()?),
            S::Palm(Hand::Left) if enroll.one_palm => EnrollmentStep::OnePalm,
            S::Palm(hand) | S::SamePalm(hand) => EnrollmentStep::Palm(palm(hand)),
            S::Enrolled | S::Pending | S::Failed(_) => break,
        };
        shown = device.enroll(step).await?;
    }
    if shown != S::Enrolled {
        bail!("nobody was enrolled");
    }
    // As it would within the minute: with that the gateway knows that the device keeps nothing of the person.
    device.synchronise().await.context("the device checks in")?;
    Ok(())
}

/// Plays an entry.
pub(super) async fn enter(enter: &Enter) -> anyhow::Result<()> {
    let mut device = switch_on(&enter.device).await?;
    device.quirks().no_network = enter.offline;
    if !enter.offline {
        device.synchronise().await.context("the device checks in")?;
    }
    let hand = if enter.left { Hand::Left } else { Hand::Right };
    let palm = (!enter.unreadable).then(|| Person::named(&enter.person).look(hand, rand::random()));
    let shown = device.present_palm(palm).await?;
    println!("{}", shown.message());
    if shown != EntryScreen::Granted {
        bail!("the door stays closed");
    }
    Ok(())
}
