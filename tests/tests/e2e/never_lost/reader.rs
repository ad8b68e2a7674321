//! A reader that a test plays, and a journal of all that happened to it: that is what sinks are held against.
//!
//! Its patience is that of a device: whatever it does not get it asks for again, and what it has to tell stays on its
//! disk until that is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::event::{Occasion, Person, Subject, person_event, person_event_id, transition_event};
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::people::{BadgeNumber, EnrollmentFailure, Hand, RecognitionFailure};
use fleetform_domain::transition::{Change, Connectivity, Health, Transition};
use fleetform_e2e::at_least_once::Fact;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::people::EnrollmentStep;
use fleetform_simulator::device::{Device, DeviceError, EnrollmentScreen, EntryScreen, Screen};
use fleetform_simulator::installer::Installer;
use fleetform_simulator::panel::scanner;
use fleetform_simulator::people::Person as Somebody;
use fleetform_simulator::storage::{MemoryStorage, PeopleRecord, Stage as Stored, Storage as _};
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

use crate::devices::device_with;
use crate::presence::checks;
use crate::project::{LIMIT, Project, SITE_NAME, ZIP, condition};

/// Between two times that a reader comes to its gateway, which takes two requests a second of each.
const BETWEEN: Duration = Duration::from_secs(1);

/// So many looks at an instance take about as long.
const LOOKS: usize = 20;

/// Where readers are activated.
pub(super) struct Place {
    pub(super) project: Project,
    pub(super) installer: Installer,
}

/// A reader and its journal.
pub(super) struct Reader {
    name: String,
    device: Device,
    disk: Arc<MemoryStorage>,
    /// How its health changed, as far as that was seen to be recorded.
    flips: Vec<Health>,
    /// What came of the people who came to it: each has the next sequence.
    people: Vec<(Occasion, Option<BadgeNumber>)>,
}

/// Whether it is to be expected of a gateway whose operator dies, or that was asked too often.
fn may_pass(error: &DeviceError) -> bool {
    match error {
        DeviceError::Transport(_) => true,
        DeviceError::Refused(refusal) => matches!(refusal.status, 429 | 500..),
        _ => false,
    }
}

/// All changes of a reader that is activated once and whose health changes so.
fn course(flips: &[Health]) -> Vec<Change> {
    let (previous, current) = (Connectivity::Disconnected, Connectivity::Connected);
    let before = std::iter::once(&Health::Healthy).chain(flips);
    let health = before.zip(flips).map(|(previous, current)| Change::Health { previous: *previous, current: *current });
    std::iter::once(Change::Connectivity { previous, current }).chain(health).collect()
}

impl Reader {
    /// A new one, activated as this instance, for which there is a code, and online; whatever dies meanwhile.
    pub(super) async fn activated(place: &Place, name: &str) -> Result<Self> {
        let disk = Arc::new(MemoryStorage::default());
        let device = device_with(disk.clone()).await?;
        let (flips, people) = (Vec::new(), Vec::new());
        let mut this = Self { name: name.to_owned(), device, disk, flips, people };
        wait::until(&format!("{name} to be activated"), LIMIT, async || {
            if this.device.is_associated() {
                return Ok(Look::Done(()));
            }
            let trouble = this.take_a_step(place).await.err().map(|error| format!("{error:#}"));
            Ok(Look::NotYet(format!("it shows {:?}; {trouble:?}", this.device.screen())))
        })
        .await?;
        this.until(place, "online", |instance| condition(instance, ConditionType::Connected)).await?;
        Ok(this)
    }

    /// The next step of its activation, as a patient person takes it.
    async fn take_a_step(&mut self, place: &Place) -> Result<()> {
        match self.device.screen() {
            Screen::Scan => {
                let text = place.installer.activation_text(&place.project.name(&self.name)).await?;
                self.device.scan_text(&text)?;
            }
            Screen::Zip => drop(self.device.look_up(ZIP).await?),
            Screen::Confirm => self.device.confirm().await?,
            Screen::Pending => self.device.resume().await?,
            _ => drop(self.device.power_on().await?),
        }
        Ok(())
    }

    /// The name of its instance.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How often its health has changed.
    pub(super) fn flips(&self) -> usize {
        self.flips.len()
    }

    /// What is on its disk of people.
    fn kept(&self) -> Result<PeopleRecord> {
        let record = self.disk.load(self.device.asset_tag())?.context("it has a record")?;
        match record.stage {
            Stored::Active(committed) => Ok(committed.people),
            Stored::Pending(_) => bail!("{} is not active", self.name),
        }
    }

    /// How much it has to tell yet.
    pub(super) fn untold(&self) -> Result<usize> {
        Ok(self.kept()?.untold.len())
    }

    /// It checks in, and tells what it has to tell. Why it could not, if that is nothing but what may pass.
    pub(super) async fn check_in(&mut self) -> Result<Option<String>> {
        match self.device.synchronise().await {
            Ok(_) => Ok(None),
            Err(error) if may_pass(&error) => Ok(Some(error.to_string())),
            Err(error) => Err(error).with_context(|| format!("{} checks in", self.name)),
        }
    }

    /// It checks in, and again, until its instance is as `holds` says.
    async fn until(&mut self, place: &Place, what: &str, holds: impl Fn(&DeviceInstance) -> bool) -> Result<()> {
        let (api, name): (Api<DeviceInstance>, _) = (place.project.api(), self.name.clone());
        let (mut looks, mut trouble) = (0_usize, None);
        wait::until(&format!("{name} to be {what}"), LIMIT, async || {
            if looks.is_multiple_of(LOOKS) {
                trouble = self.check_in().await?;
            }
            looks += 1;
            Ok(match api.get(&name).await {
                Ok(instance) if holds(&instance) => Look::Done(()),
                Ok(instance) => Look::NotYet(format!("{trouble:?}; {:#?}", instance.status)),
                // The API server may be dead.
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await
    }

    /// Its health changes, and that is recorded.
    pub(super) async fn flip(&mut self, place: &Place) -> Result<()> {
        let (health, failed) = match self.flips.last() {
            Some(Health::Critical) => (Health::Healthy, Vec::new()),
            None | Some(Health::Healthy) => (Health::Critical, checks(&["camera"])),
        };
        self.device.set_failed_health_checks(failed);
        let is_recorded =
            |instance: &DeviceInstance| instance.status.as_ref().and_then(|status| status.health) == Some(health);
        self.until(place, "as it reports", is_recorded).await?;
        self.flips.push(health);
        Ok(())
    }

    /// Its list of the enrolled users is that of its gateway. From then on both say the same of a palm, so that it is
    /// told the same way whoever decides.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        wait::until(&format!("the list of {}", self.name), LIMIT, async || {
            let why = match self.device.synchronise().await {
                Ok(answer) => {
                    let (wanted, held) =
                        (answer.enrolled_users_revision.as_ref(), self.device.enrolled_users_revision());
                    if wanted.is_some() && wanted == held {
                        return Ok(Look::Done(()));
                    }
                    format!("it holds {held:?} and is to hold {wanted:?}")
                }
                Err(error) if may_pass(&error) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            sleep(BETWEEN).await;
            Ok(Look::NotYet(why))
        })
        .await
    }

    /// Somebody presents a palm; `alone` while the reader has no network. What it shows is what its event has to tell.
    pub(super) async fn present(&mut self, person: Somebody, alone: bool) -> Result<EntryScreen> {
        let look = self.kept()?.sequence;
        self.device.quirks().no_network = alone;
        let shown = self.device.present_palm(Some(person.look(Hand::Right, look))).await;
        self.device.quirks().no_network = false;
        let shown = shown.with_context(|| format!("somebody comes to {}", self.name))?;
        match shown {
            EntryScreen::Granted | EntryScreen::Denied | EntryScreen::NoDecision => {
                self.note(Occasion::Recognized, Some(person.badge()))?;
            }
            EntryScreen::NotRecognized(reason) => self.note(Occasion::NotRecognized(reason), None)?,
        }
        Ok(shown)
    }

    /// Somebody presents a palm, and again for as long as the gateway has no time for it. What is shown in the end.
    pub(super) async fn present_at_last(&mut self, person: Somebody) -> Result<EntryScreen> {
        wait::until(&format!("a palm to be known or not at {}", self.name), LIMIT, async || {
            let shown = self.present(person, false).await?;
            if shown != EntryScreen::NotRecognized(RecognitionFailure::GatewayUnreachable) {
                return Ok(Look::Done(shown));
            }
            sleep(BETWEEN).await;
            Ok(Look::NotYet(format!("{shown:?}")))
        })
        .await
    }

    /// Somebody enrolls. One that the gateway may have heard of, and did not answer, will be told again until it is: it
    /// succeeds, as nothing stands in its way.
    pub(super) async fn enroll(&mut self, person: Somebody) -> Result<EnrollmentScreen> {
        let palm = |look| EnrollmentStep::Palm(Some(person.look(Hand::Right, look)));
        let badge = EnrollmentStep::Badge(Some(scanner::badge(&person.badge())));
        let (terms, consent) = (EnrollmentStep::Terms(true), EnrollmentStep::Consent(true));
        let mut shown = self.device.get_started().await?;
        for step in [badge, terms, consent, palm(0), palm(1), EnrollmentStep::OnePalm] {
            shown = self.device.enroll(step).await.with_context(|| format!("somebody enrolls at {}", self.name))?;
        }
        let occasion = match shown {
            EnrollmentScreen::Enrolled | EnrollmentScreen::Pending => Occasion::Enrolled,
            EnrollmentScreen::Failed(reason) => Occasion::NotEnrolled(reason),
            unfinished => bail!("an enrollment ends with {unfinished:?}"),
        };
        self.note(occasion, Some(person.badge()))?;
        Ok(shown)
    }

    /// Somebody enrolls, and comes again for as long as the gateway is not there. In the end the person is enrolled.
    pub(super) async fn enroll_at_last(&mut self, person: Somebody) -> Result<()> {
        wait::until(&format!("somebody to be enrolled at {}", self.name), LIMIT, async || {
            match self.enroll(person).await? {
                EnrollmentScreen::Failed(reason @ EnrollmentFailure::GatewayUnreachable) => {
                    sleep(BETWEEN).await;
                    Ok(Look::NotYet(format!("{reason:?}")))
                }
                EnrollmentScreen::Failed(reason) => bail!("somebody is not enrolled: {reason:?}"),
                _ => Ok(Look::Done(())),
            }
        })
        .await?;
        self.tell_all().await
    }

    /// It checks in until it has nothing to tell any more.
    pub(super) async fn tell_all(&mut self) -> Result<()> {
        wait::until(&format!("{} to have told all", self.name), LIMIT, async || {
            let trouble = self.check_in().await?;
            let kept = self.kept()?;
            ensure!(kept.lost == 0, "{} lost {}", self.name, kept.lost);
            if trouble.is_none() && kept.untold.is_empty() {
                return Ok(Look::Done(()));
            }
            sleep(BETWEEN).await;
            Ok(Look::NotYet(format!("{} are left; {trouble:?}", kept.untold.len())))
        })
        .await
    }

    /// Writes down what came of somebody, under the sequence that the reader gave to it.
    fn note(&mut self, occasion: Occasion, badge: Option<BadgeNumber>) -> Result<()> {
        self.people.push((occasion, badge));
        let sequence = self.kept()?.sequence;
        ensure!(u64::try_from(self.people.len())? == sequence, "{} counts {sequence}: {:?}", self.name, self.people);
        Ok(())
    }

    /// All that its events have to tell, with sequences and times as they are recorded. What is recorded has to be what
    /// happened.
    pub(super) fn facts(&self, here: &Installation, instance: &DeviceInstance, site: &ResourceId) -> Result<Vec<Fact>> {
        let status = instance.status.clone().unwrap_or_default();
        let recorded: Vec<&Change> = status.transitions.iter().map(|transition| &transition.change).collect();
        let expected = course(&self.flips);
        ensure!(recorded == expected.iter().collect::<Vec<_>>(), "{}: {recorded:?} and not {expected:?}", self.name);
        let sequences: Vec<i64> = status.transitions.iter().map(|transition| transition.sequence).collect();
        ensure!((1..).zip(&sequences).all(|(number, sequence)| number == *sequence), "{}: {sequences:?}", self.name);

        let uid = instance.uid().context("it has a UID")?;
        let (id, arn, site_arn) = (ResourceId::of(&uid), status.arn.context("it has an ARN")?, here.site_arn(site));
        let subject = Subject {
            uid: &uid,
            arn: &arn,
            device_instance_name: &instance.spec.display_name,
            site_name: SITE_NAME,
            site_arn: &site_arn,
        };
        let changed = |transition: &Transition| Fact::of(&transition_event(here, &subject, transition));
        let association = self.device.association_id().context("it is associated")?;
        let came = |(sequence, (occasion, badge)): (u64, &(Occasion, Option<BadgeNumber>))| {
            // When it was is no part of a fact.
            let time = jiff::Timestamp::UNIX_EPOCH;
            let person =
                Person { id: person_event_id(association, sequence), time, source: &id, badge: badge.as_ref() };
            Fact::of(&person_event(here, &person, *occasion))
        };
        let people = (1..).zip(&self.people).map(came);
        Ok(status.transitions.iter().map(changed).chain(people).collect())
    }
}
