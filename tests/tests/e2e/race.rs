//! Two at once.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_domain::activation::{ActivationFailure, Phase};
use fleetform_simulator::device::Device;
use fleetform_simulator::installer::Installer;
use futures::{StreamExt, TryStreamExt, stream};

use super::devices::{code_text, failure, new_device};
use super::project::{Project, ZIP};
use super::stage::Stage;

/// How many codes are fought for.
const ROUNDS: usize = 40;

/// How many of these fights go on at once.
const AT_ONCE: usize = 8;

pub(crate) async fn of_two_devices_with_one_code_exactly_one_wins(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "race").await?;
    let installer = project.installer().await?;
    let names: Vec<_> = (0..ROUNDS).map(|round| format!("door-{round:02}")).collect();
    for name in &names {
        project.device(name).await?;
    }
    let rounds = stream::iter(names.iter().map(|name| fight(&project, &installer, name)));
    rounds.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let active = project.devices().await?.into_iter().filter(|device| device.phase() == Phase::Active).count();
    ensure!(active == ROUNDS, "{active} instances are active");
    Ok(())
}

async fn fight(project: &Project, installer: &Installer, name: &str) -> Result<()> {
    project.until_ready_for_activation(name).await?;
    let text = code_text(project, installer, name).await?;
    let mut one = about_to_confirm(&text).await?;
    let mut other = about_to_confirm(&text).await?;
    let (first, second) = tokio::join!(one.confirm(), other.confirm());
    let (winner, loser) = match (first, second) {
        (Ok(()), lost) => (&one, lost),
        (lost, Ok(())) => (&other, lost),
        (first, second) => anyhow::bail!("nobody won {name}: {first:?}, {second:?}"),
    };
    let lost = failure(loser).with_context(|| format!("both won {name}"))?;
    ensure!(lost == ActivationFailure::QrNotRecognized, "the loser of {name} is shown {lost:?}");
    let instance = project.until(name, "Active", |device| device.phase() == Phase::Active).await?;
    let stored = instance.association().map(|association| association.id.as_str());
    ensure!(stored == winner.association_id(), "{name} is associated with the loser");
    Ok(())
}

async fn about_to_confirm(text: &str) -> Result<Device> {
    let mut device = new_device().await?;
    device.scan_text(text)?;
    device.look_up(ZIP).await?;
    Ok(device)
}

/// A device whose first question was slow asks again while it is being answered: one activation, one answer.
pub(crate) async fn one_device_that_asks_twice_at_once_is_activated_once(stage: Arc<Stage>) -> Result<()> {
    use fleetform_simulator::device::Screen;
    use fleetform_simulator::storage::{MemoryStorage, Storage};
    use fleetform_simulator::transport::{Network, Timeouts};

    let project = Project::new(&stage, "twice").await?;
    let installer = project.installer().await?;
    for round in 0..10 {
        let name = format!("door-{round}");
        project.ready_device(&name).await?;
        let text = code_text(&project, &installer, &name).await?;
        let disk: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let tag = format!("twice-{round}");
        let new = |seed| {
            Device::new(tag.as_str().try_into().expect("a tag"), disk.clone(), Network::new(Timeouts::default()), seed)
        };
        let mut first = new(1);
        first.power_on().await?;
        first.scan_text(&text)?;
        first.look_up(ZIP).await?;
        // The key is on the disk before the gateway is asked, so whoever starts from the disk then is the same device.
        let again = async {
            let mut again = new(2);
            while again.power_on().await? != Screen::Pending {
                if again.screen() == Screen::Active {
                    return anyhow::Ok(again);
                }
                tokio::task::yield_now().await;
            }
            again.resume().await?;
            anyhow::Ok(again)
        };
        let (asked, again) = tokio::join!(first.confirm(), again);
        asked?;
        ensure!(again?.association_id() == first.association_id(), "round {round}: two answers");
    }
    Ok(())
}
