//! Events are never lost, whatever dies: what happened is in every sink at least once, and what is there twice is the
//! same twice.
//!
//! Sinks are held against what the test itself had devices do, and saw recorded.

mod kept;
mod reader;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::event::Event;
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_e2e::Component;
use fleetform_e2e::at_least_once::{Fact, held_against, repeated};
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::installation::{ACCOUNT, NAMESPACE, REGION};
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::{EnrollmentScreen, EntryScreen};
use fleetform_simulator::people::Person;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::{select, try_join};

use super::api_proxy::{ApiProxy, Moment};
use super::people::{DESK, with_a_desk};
use super::project::{LIMIT, Project, SITE, TEMPLATE};
use super::receiver::Receiver;
use super::stage::Stage;
pub(crate) use kept::no_event_is_lost_when_the_operator_dies_of_what_it_keeps;
use reader::{Place, Reader};

/// What chance is made of: who dies when, and who comes to the doors.
const SEED: u64 = 20_260_731;

/// What dies at random, one in each round, in an order that is drawn.
const DYING: [Death; 5] = [
    Death::Operator,
    Death::ApiServer,
    Death::Receiver,
    Death::ReceiverBeforeItAnswers,
    Death::OperatorWithoutReceiver,
];

/// So many rounds: each of them dies five times.
const ROUNDS: usize = 5 * DYING.len();

/// Doors where people come and go meanwhile.
const DOORS: usize = 6;

/// How often the health of each of them changes: with that it came online it is six times, as often as is recorded in
/// an hour.
const FLIPS: usize = 5;

/// A door that has to tell this much yet lets nobody present a palm: what it has no room for it would lose.
const MOST_UNTOLD: usize = 8;

/// Between two people at a door.
const BETWEEN: Duration = Duration::from_secs(2);

/// The longest time from one moment to the next, in milliseconds.
const QUIET: u64 = 1500;

/// How often a write is waited for that comes in most lives.
const LIVES: usize = 3;

/// Writes that have to be among those of a life, or it would be none.
const OF_A_LIFE: [&str; 7] = [
    "create secrets",
    "patch deviceinstances/status by JSON Patch",
    "patch deviceinstances/status to CONNECTED",
    "patch deviceinstances/status to CRITICAL",
    "patch deviceinstances/status to HEALTHY",
    "create enrolledusers",
    "patch configmaps",
];

/// Everybody who is enrolled, by number.
fn person(number: usize) -> Result<Person> {
    Ok(Person::new(SEED, u64::try_from(number)?))
}

impl Place {
    /// A project with a desk, which is activated, and with doors that hold lists of the enrolled users.
    async fn open(stage: &Arc<Stage>, prefix: &str) -> Result<(Self, Reader)> {
        let project = with_a_desk(stage, prefix).await?;
        let installer = project.installer().await?;
        let place = Self { project, installer };
        let desk = Reader::activated(&place, DESK).await?;
        Ok((place, desk))
    }

    /// A new door, online.
    async fn door(&self, number: usize) -> Result<Reader> {
        let name = format!("door-{number:02}");
        self.project.ready_device(&name).await?;
        Reader::activated(self, &name).await
    }

    /// All that events have to tell of these readers; there are no others.
    async fn facts(&self, readers: &[&Reader]) -> Result<Vec<Fact>> {
        let here = Installation::new("aws", REGION, ACCOUNT)?;
        let site = self.project.api::<Site>().get(SITE).await?;
        let site = ResourceId::of(&site.uid().context("the site has a UID")?);
        let instances: HashMap<String, DeviceInstance> =
            self.project.devices().await?.into_iter().map(|instance| (instance.name_any(), instance)).collect();
        ensure!(instances.len() == readers.len(), "{:?} are not those that are played", instances.keys());
        let of = |reader: &&Reader| {
            let instance = instances.get(reader.name()).with_context(|| format!("{} is gone", reader.name()))?;
            reader.facts(&here, instance, &site)
        };
        Ok(readers.iter().map(of).collect::<Result<Vec<_>>>()?.concat())
    }

    /// Waits until file and receiver hold all that there is to tell of these readers, and sees that they hold nothing
    /// else, and both the same. What the receiver was sent.
    async fn until_told(&self, readers: &[&Reader], receiver: &Receiver) -> Result<Vec<Event>> {
        let facts = self.facts(readers).await?;
        wait::until("every event to be in both sinks", LIMIT, async || {
            let (file, sent) = (in_file(&self.project.stage)?, receiver.events()?);
            let both = [file.as_slice(), sent.as_slice()].concat();
            for (sink, told) in [("the file", &file), ("the receiver", &sent), ("file and receiver", &both)] {
                let short = held_against(&facts, told);
                ensure!(short.may_pass(), "{sink}: {short:#?}");
                if !short.is_none() {
                    return Ok(Look::NotYet(format!("{sink} lacks {:#?}", short.missing)));
                }
            }
            Ok(Look::Done(sent))
        })
        .await
    }
}

/// The events in the file. A line that somebody who died has left half written is none: what it would have been is told
/// again.
fn in_file(stage: &Stage) -> Result<Vec<Event>> {
    let path = stage.installation.events_path();
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// What dies at random.
#[derive(Clone, Copy, Debug)]
enum Death {
    Operator,
    ApiServer,
    /// With all its connections. What it has stored stays.
    Receiver,
    /// When it has stored something, before it says so.
    ReceiverBeforeItAnswers,
    /// While the receiver is away: what it has yet to tell is told by the next one.
    OperatorWithoutReceiver,
}

impl Death {
    /// It dies, at a moment that is drawn, and what died is there again when this is over.
    async fn happen(self, stage: &Stage, receiver: &Receiver, random: &mut StdRng) -> Result<()> {
        let mut moment = || sleep(Duration::from_millis(random.random_range(0..QUIET)));
        moment().await;
        match self {
            Self::Operator => {
                stage.installation.kill_operator()?;
                stage.installation.start_successor().await
            }
            Self::ApiServer => stage.plane.restart(Component::ApiServer).await,
            Self::Receiver => {
                receiver.die().await?;
                moment().await;
                receiver.rise().await
            }
            Self::ReceiverBeforeItAnswers => {
                receiver.die_before_it_answers().await?;
                moment().await;
                receiver.rise().await
            }
            Self::OperatorWithoutReceiver => {
                receiver.die().await?;
                moment().await;
                stage.installation.kill_operator()?;
                stage.installation.start_successor().await?;
                moment().await;
                receiver.rise().await
            }
        }
    }
}

/// The round in which the health of a door changes once more: all that change are spread over all rounds.
fn due(door: usize, flip: usize) -> usize {
    (flip * DOORS + door) * ROUNDS / (FLIPS * DOORS)
}

/// What goes on at a door: its health changes, and people come, of whom some are enrolled, and some come while it has
/// no network.
async fn work(
    door: &mut Reader,
    number: usize,
    place: &Place,
    enrolled: Person,
    rounds: watch::Receiver<usize>,
) -> Result<()> {
    for visit in number.. {
        let round = *rounds.borrow();
        if door.flips() < FLIPS && round >= due(number, door.flips()) {
            door.flip(place).await?;
        } else if round == ROUNDS {
            break;
        }
        if door.untold()? < MOST_UNTOLD {
            let somebody = if visit % 4 == 3 { enrolled.stranger() } else { enrolled };
            door.present(somebody, visit % 3 == 2).await?;
        }
        door.check_in().await?;
        sleep(BETWEEN).await;
    }
    Ok(())
}

/// What goes on at the desk: somebody enrolls in each round.
async fn enroll(desk: &mut Reader, mut rounds: watch::Receiver<usize>) -> Result<()> {
    while rounds.changed().await.is_ok() {
        let round = *rounds.borrow_and_update();
        desk.enroll(person(round)?).await?;
        desk.check_in().await?;
    }
    Ok(())
}

pub(crate) async fn no_event_is_lost_whatever_dies_at_random(_: Arc<Stage>) -> Result<()> {
    let [port] = free_ports()?;
    let receiver = Receiver::open(port).await?;
    let stage = Arc::new(Stage::with_receiver(port).await?);
    let outcome = at_random(&stage, &receiver).await;
    outcome.with_context(|| format!("with the seed {SEED}; {}", stage.installation.operator_log_end()))
}

async fn at_random(stage: &Arc<Stage>, receiver: &Receiver) -> Result<()> {
    let (place, mut desk) = Place::open(stage, "at-random").await?;
    let enrolled = person(0)?;
    let shown = desk.enroll(enrolled).await?;
    ensure!(shown == EnrollmentScreen::Enrolled, "nothing has died yet, and it shows {shown:?}");
    let mut doors = try_join_all((0..DOORS).map(|number| place.door(number))).await?;
    try_join_all(doors.iter_mut().map(Reader::catch_up)).await?;

    let (round, rounds) = watch::channel(0);
    let mut random = StdRng::seed_from_u64(SEED);
    let dying = async {
        let mut deaths: Vec<Death> = DYING.into_iter().cycle().take(ROUNDS).collect();
        deaths.shuffle(&mut random);
        for (number, death) in (1..).zip(deaths) {
            let happened = death.happen(stage, receiver, &mut random).await;
            happened.with_context(|| format!("round {number}: {death:?}"))?;
            round.send_replace(number);
        }
        // Nobody is to wait for another round.
        drop(round);
        anyhow::Ok(())
    };
    let working = doors.iter_mut().enumerate();
    let working = working.map(|(number, door)| work(door, number, &place, enrolled, rounds.clone()));
    try_join!(dying, try_join_all(working), enroll(&mut desk, rounds.clone()))?;
    stage.installation.ensure_running()?;

    try_join_all(doors.iter_mut().chain([&mut desk]).map(Reader::tell_all)).await?;
    let readers: Vec<&Reader> = doors.iter().chain([&desk]).collect();
    let sent = place.until_told(&readers, receiver).await?;
    ensure!(repeated(&sent) > 0, "nothing came twice, so nothing died between a delivery and its answer");
    Ok(())
}

/// A project in which one life follows the other.
struct Lives<'a> {
    place: Place,
    desk: Reader,
    doors: Vec<Reader>,
    receiver: &'a Receiver,
}

impl Lives<'_> {
    /// A new door is activated and goes online; it turns critical and healthy again; somebody enrolls at the desk and
    /// is recognised at the door, and somebody else is not. Then what follows from that by and by is waited for, until
    /// it is `enough`.
    async fn live(&mut self, enough: impl Fn() -> bool) -> Result<()> {
        let (number, before) = (self.doors.len(), marks(&self.place.project).await?);
        let somebody = person(number)?;
        self.desk.enroll_at_last(somebody).await?;
        let mut door = self.place.door(number).await?;
        door.flip(&self.place).await?;
        door.flip(&self.place).await?;
        door.catch_up().await?;
        let shown = door.present_at_last(somebody).await?;
        ensure!(!matches!(shown, EntryScreen::NotRecognized(_)), "who is enrolled is met with {shown:?}");
        let shown = door.present_at_last(somebody.stranger()).await?;
        ensure!(matches!(shown, EntryScreen::NotRecognized(_)), "a stranger is met with {shown:?}");
        door.tell_all().await?;
        self.doors.push(door);
        self.until_settled(&before, enough).await
    }

    /// Waits until the new door is counted wherever doors are, and no mark of a sink is as it was before.
    async fn until_settled(&self, before: &BTreeMap<String, String>, enough: impl Fn() -> bool) -> Result<()> {
        let project = &self.place.project;
        let doors = i64::try_from(self.doors.len())?;
        wait::until("what follows from a life to be written", LIMIT, async || {
            let (counted, marks) = (counted(project).await?, marks(project).await?);
            // The desk is no door.
            let is_counted = counted == [doors + 1, doors + 1, doors];
            let is_marked = marks.len() == 2 && marks.iter().all(|(sink, mark)| before.get(sink) != Some(mark));
            let is_settled = enough() || is_counted && is_marked;
            Ok(if is_settled { Look::Done(()) } else { Look::NotYet(format!("{counted:?}, {marks:?}")) })
        })
        .await
    }

    async fn until_told(&self) -> Result<()> {
        let readers: Vec<&Reader> = self.doors.iter().chain([&self.desk]).collect();
        self.place.until_told(&readers, self.receiver).await.map(drop)
    }

    /// One that nothing disturbs; what is written in it.
    async fn undisturbed(&mut self, proxy: &ApiProxy) -> Result<Vec<String>> {
        proxy.written();
        self.live(|| false).await?;
        self.until_told().await?;
        Ok(proxy.written())
    }

    /// One in which the operator dies of a write. Whether that write came.
    async fn with_death(&mut self, proxy: &ApiProxy, kind: &str, moment: Moment) -> Result<bool> {
        let stage = Arc::clone(&self.place.project.stage);
        let life = Box::pin(self.live(|| !proxy.has_doom()));
        dying_of(&stage, proxy, kind, moment, life).await
    }
}

/// What goes on while the operator dies of a write, and the next one starts at once. Whether that write came.
async fn dying_of(
    stage: &Stage,
    proxy: &ApiProxy,
    kind: &str,
    moment: Moment,
    life: impl Future<Output = Result<()>>,
) -> Result<bool> {
    let doomed = proxy.doom(kind, moment);
    let death = async {
        let held = doomed.await.context("the proxy is gone")?;
        stage.installation.kill_operator()?;
        drop(held);
        stage.installation.start_successor().await
    };
    tokio::pin!(death, life);
    let died = select! {
        died = &mut death => {
            died?;
            life.await?;
            true
        }
        lived = &mut life => {
            lived?;
            let died = !proxy.spare();
            if died {
                death.await?;
            }
            died
        }
    };
    Ok(died)
}

/// How many devices are active by the project's and the site's count, and how many doors run the template's revision by
/// the template's.
async fn counted(project: &Project) -> Result<[i64; 3]> {
    let of_project = project.api::<ProjectObject>().get("project").await?.status.unwrap_or_default();
    let of_site = project.api::<Site>().get(SITE).await?.status.unwrap_or_default();
    let of_template = project.api::<ConfigTemplate>().get(TEMPLATE).await?.status.unwrap_or_default();
    Ok([of_project.activated_count, of_site.activated_count, of_template.devices.applied])
}

/// How far each sink has come, as it is written down.
async fn marks(project: &Project) -> Result<BTreeMap<String, String>> {
    let maps: Api<ConfigMap> = Api::namespaced(project.stage.client(), NAMESPACE);
    Ok(maps.get_opt("fleetform-event-marks").await?.and_then(|map| map.data).unwrap_or_default())
}

/// Each write of a life is lost once, and once its answer. Which these are is seen in two lives that nothing disturbs.
/// They are told apart by what they write, and not by their number: what sums up others is written by and by, and comes
/// at another place each time.
pub(crate) async fn no_event_is_lost_when_the_operator_dies_at_each_write(_: Arc<Stage>) -> Result<()> {
    let [port] = free_ports()?;
    let receiver = Receiver::open(port).await?;
    let (stage, proxy) = Stage::behind_proxy(port).await?;
    let stage = Arc::new(stage);
    at_each_write(&stage, &proxy, &receiver).await.with_context(|| stage.installation.operator_log_end())
}

async fn at_each_write(stage: &Arc<Stage>, proxy: &ApiProxy, receiver: &Receiver) -> Result<()> {
    let (place, desk) = Place::open(stage, "at-each-write").await?;
    let mut lives = Lives { place, desk, doors: Vec::new(), receiver };
    let first = lives.undisturbed(proxy).await.context("the first life")?;
    let second = lives.undisturbed(proxy).await.context("the second life")?;
    let mut writes: Vec<&String> = second.iter().filter(|kind| first.contains(kind)).collect();
    writes.sort_unstable();
    writes.dedup();
    for needed in OF_A_LIFE {
        ensure!(writes.iter().any(|kind| *kind == needed), "`{needed}` is not written: {writes:#?}");
    }
    for moment in [Moment::Before, Moment::After] {
        for kind in &writes {
            let what = || format!("the operator dies {moment:?} `{kind}`");
            once(&mut lives, proxy, kind, moment).await.with_context(what)?;
        }
    }
    Ok(())
}

/// Lets it happen once, and holds the sinks against all lives so far, before anything else dies.
async fn once(lives: &mut Lives<'_>, proxy: &ApiProxy, kind: &str, moment: Moment) -> Result<()> {
    for _ in 0..LIVES {
        let died = lives.with_death(proxy, kind, moment).await?;
        lives.until_told().await?;
        if died {
            return Ok(());
        }
    }
    bail!("it was not written in {LIVES} lives")
}
