//! The patch that redeems a code, against a real API server, thousands of times: two gateways that each hold the instance as it
//! was when the code was made, two devices, and whatever else happens to the instance at that moment.
//!
//! The operator does not run meanwhile: what is tried is what the API server makes of the program's own patch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::activation::{Association, Phase};
use fleetform_e2e::installation::{NAMESPACE, OPERATOR_ACCOUNT};
use fleetform_operator::controllers::device::redeem;
use futures::future::try_join_all;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::project::Project;
use super::stage::Stage;

/// Instances that are fought for at the same time.
const INSTANCES: usize = 4;

/// How often each of them is fought for.
const ROUNDS: usize = 510;

/// The instance that is fought for with patches that test nothing.
const UNGUARDED: &str = "door-unguarded";

/// What else happens to the instance while two devices want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meanwhile {
    Nothing,
    /// Somebody annotates it.
    Annotation,
    /// Somebody edits its spec where it is of no matter.
    Rename,
    /// Somebody else writes its status where it is of no matter.
    Status,
    /// A person raises its epoch.
    Deactivation,
    /// A controller makes it ready for activation once more, so that the code is an earlier one.
    NextSequence,
}

impl Meanwhile {
    const ALL: [Self; 6] =
        [Self::Nothing, Self::Annotation, Self::Rename, Self::Status, Self::Deactivation, Self::NextSequence];

    /// Whether it can leave both devices without the instance.
    const fn can_win(self) -> bool {
        matches!(self, Self::Deactivation | Self::NextSequence)
    }
}

/// How many rounds ended how.
#[derive(Debug, Default)]
struct Tally {
    first: usize,
    second: usize,
    neither: usize,
    by_event: BTreeMap<Meanwhile, [usize; 2]>,
}

impl Tally {
    fn add(&mut self, meanwhile: Meanwhile, winner: Option<usize>) {
        match winner {
            Some(0) => self.first += 1,
            Some(_) => self.second += 1,
            None => self.neither += 1,
        }
        self.by_event.entry(meanwhile).or_default()[usize::from(winner.is_none())] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.first += other.first;
        self.second += other.second;
        self.neither += other.neither;
        for (event, counts) in &other.by_event {
            let sums = self.by_event.entry(*event).or_default();
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    fn rounds(&self) -> usize {
        self.first + self.second + self.neither
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, neither, .. } = self;
        write!(f, "{} rounds: {first} won at one gateway, {second} at the other, {neither} at none", self.rounds())?;
        for (event, [won, none]) in &self.by_event {
            write!(f, "; {event:?}: {won} won, {none} not")?;
        }
        Ok(())
    }
}

pub(crate) async fn of_thousands_of_races_for_one_code_each_has_one_winner(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "patches").await?;
    let names: Vec<String> = (0..INSTANCES).map(|number| format!("door-{number}")).collect();
    for name in names.iter().map(String::as_str).chain([UNGUARDED]) {
        project.ready_device(name).await?;
    }
    stage.installation.terminate_operator().await?;
    let (outcome, took) = all(&stage, &project, &names).await;
    stage.installation.start_operator().await?;
    let mut tally = Tally::default();
    outcome?.iter().for_each(|of_one| tally.merge(of_one));
    println!("{tally}; in {:.1} s", took.as_secs_f64());

    ensure!(tally.rounds() == INSTANCES * ROUNDS, "{tally}");
    // Rounds that always end alike would show that the two do not meet.
    ensure!(tally.first > 0 && tally.second > 0 && tally.neither > 0, "{tally}");
    ensure!(tally.by_event.iter().all(|(event, [won, none])| *won > 0 && (event.can_win() || *none == 0)), "{tally}");
    // The operator takes the instances as they were left, and they can be activated.
    for name in &names {
        project
            .until(name, "ready for activation", |device| {
                device.phase() == Phase::ReadyForActivation && super::project::condition(device, ConditionType::Ready)
            })
            .await?;
    }
    Ok(())
}

async fn all(stage: &Stage, project: &Project, names: &[String]) -> (Result<Vec<Tally>>, Duration) {
    let started = Instant::now();
    let outcome = async {
        // Two processes of the operator, each with connections of its own.
        let gateway = async || stage.plane.client_for_service_account(NAMESPACE, OPERATOR_ACCOUNT).await;
        let gateways = [gateway().await?, gateway().await?];
        without_its_tests_both_win(&Ring::new(project, &gateways, UNGUARDED)).await?;
        let rings: Vec<_> = names.iter().map(|name| Ring::new(project, &gateways, name)).collect();
        try_join_all(rings.iter().map(fight)).await
    };
    (outcome.await, started.elapsed())
}

/// Everyone who writes to one instance.
struct Ring<'a> {
    name: &'a str,
    gateways: [Api<DeviceInstance>; 2],
    other: Api<DeviceInstance>,
}

async fn fight(ring: &Ring<'_>) -> Result<Tally> {
    let name = ring.name;
    let mut tally = Tally::default();
    let mut device = ring.other.get(name).await?;
    for round in 0..ROUNDS {
        let meanwhile = Meanwhile::ALL[round % Meanwhile::ALL.len()];
        let winner = ring.round(&device, round, meanwhile).await.with_context(|| format!("round {round} of {name}"))?;
        tally.add(meanwhile, winner);
        device =
            ring.reset(&device, round, meanwhile, winner).await.with_context(|| format!("round {round} of {name}"))?;
    }
    Ok(tally)
}

impl<'a> Ring<'a> {
    fn new(project: &Project, gateways: &[Client; 2], name: &'a str) -> Self {
        let gateways = gateways.clone().map(|client| Api::namespaced(client, &project.namespace));
        Self { name, gateways, other: project.api() }
    }

    /// One code, two devices. Answers at which gateway one of them won.
    async fn round(&self, device: &DeviceInstance, round: usize, meanwhile: Meanwhile) -> Result<Option<usize>> {
        // Whoever is asked first has a head start of some microseconds.
        let (one, other) = if round.is_multiple_of(2) { (0, 1) } else { (1, 0) };
        let asks = |gateway| self.redeem(device, gateway, round);
        let (first, second, happened) = match round / 2 % 3 {
            0 => {
                let (happened, first, second) =
                    tokio::join!(self.happen(device, round, meanwhile), asks(one), asks(other));
                (first, second, happened)
            }
            1 => {
                let (first, happened, second) =
                    tokio::join!(asks(one), self.happen(device, round, meanwhile), asks(other));
                (first, second, happened)
            }
            _ => tokio::join!(asks(one), asks(other), self.happen(device, round, meanwhile)),
        };
        let won = [(one, first?), (other, second?)];
        let winners: Vec<usize> = won.into_iter().filter(|(_, won)| *won).map(|(gateway, _)| gateway).collect();
        let happened = happened?;
        match winners.as_slice() {
            [_] => {
                let earlier = meanwhile == Meanwhile::NextSequence && happened;
                ensure!(!earlier, "a code of an earlier sequence was redeemed");
            }
            [] => {
                let in_the_way = meanwhile.can_win() && happened;
                ensure!(in_the_way, "nobody won, although nothing stood in the way: {meanwhile:?}");
            }
            both => bail!("{} devices won", both.len()),
        }
        Ok(winners.first().copied())
    }

    /// What a gateway does that holds `device` for the current version.
    async fn redeem(&self, device: &DeviceInstance, gateway: usize, round: usize) -> Result<bool> {
        self.send(gateway, patch(device, gateway, round)?).await
    }

    async fn send(&self, gateway: usize, patch: json_patch::Patch) -> Result<bool> {
        let params = PatchParams::default();
        let answer = self.gateways[gateway].patch_status(self.name, &params, &Patch::Json::<()>(patch)).await;
        match answer {
            Ok(_) => Ok(true),
            // A test of the patch that failed.
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(false),
            Err(error) => Err(error).context("redeem"),
        }
    }

    /// Answers whether it did happen.
    async fn happen(&self, device: &DeviceInstance, round: usize, what: Meanwhile) -> Result<bool> {
        let params = PatchParams::default();
        let merge = |change: Value| Patch::Merge(change);
        let done = match what {
            Meanwhile::Nothing => return Ok(true),
            Meanwhile::Annotation => {
                let change =
                    merge(json!({ "metadata": { "annotations": { "example.org/round": round.to_string() } } }));
                self.other.patch(self.name, &params, &change).await
            }
            Meanwhile::Rename => {
                let change = merge(json!({ "spec": { "displayName": format!("Door {round}") } }));
                self.other.patch(self.name, &params, &change).await
            }
            Meanwhile::Status => {
                let change = merge(json!({ "status": { "observedGeneration": round } }));
                self.other.patch_status(self.name, &params, &change).await
            }
            Meanwhile::Deactivation => {
                let change = merge(json!({ "spec": { "activation": { "epoch": device.spec.activation.epoch + 1 } } }));
                self.other.patch(self.name, &params, &change).await
            }
            Meanwhile::NextSequence => {
                let sequence = device.status.as_ref().and_then(|s| s.activation.as_ref()).map_or(0, |a| a.sequence);
                // As the controller's own writes, good only while nothing changed.
                let metadata = json!({ "resourceVersion": device.metadata.resource_version });
                let status = json!({ "activation": { "sequence": sequence + 1 } });
                let change = merge(json!({ "metadata": metadata, "status": status }));
                self.other.patch_status(self.name, &params, &change).await
            }
        };
        match done {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && what == Meanwhile::NextSequence => Ok(false),
            Err(error) => Err(error).with_context(|| format!("{what:?}")),
        }
    }

    /// Has the instance wait for a device again, if it is as the round must have left it: with the winner's association, or as it
    /// was. A code of a later sequence follows.
    async fn reset(
        &self,
        device: &DeviceInstance,
        round: usize,
        meanwhile: Meanwhile,
        winner: Option<usize>,
    ) -> Result<DeviceInstance> {
        let mut before = device.status.as_ref().and_then(|s| s.activation.clone()).context("it has a sequence")?;
        let epoch = device.spec.activation.epoch + i64::from(meanwhile == Meanwhile::Deactivation);
        let next = json!({ "sequence": before.sequence + 2, "epoch": epoch });
        let mut operations = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": device.metadata.uid }),
            json!({ "op": "test", "path": "/spec/activation/epoch", "value": epoch }),
        ];
        if let Some(winner) = winner {
            let id = association_id(round, winner);
            operations.extend([
                json!({ "op": "test", "path": "/status/phase", "value": Phase::Active }),
                json!({ "op": "test", "path": "/status/activation/association/id", "value": id }),
                json!({ "op": "test", "path": "/status/device/assetTagId", "value": asset_tag(winner) }),
                json!({ "op": "remove", "path": "/status/device" }),
            ]);
        } else {
            before.sequence += i64::from(meanwhile == Meanwhile::NextSequence);
            operations.extend([
                json!({ "op": "test", "path": "/status/phase", "value": Phase::ReadyForActivation }),
                json!({ "op": "test", "path": "/status/activation", "value": before }),
            ]);
        }
        operations.extend([
            json!({ "op": "replace", "path": "/status/phase", "value": Phase::ReadyForActivation }),
            json!({ "op": "replace", "path": "/status/activation", "value": next }),
        ]);
        let patch = Patch::Json::<()>(serde_json::from_value(operations.into())?);
        match self.other.patch_status(self.name, &PatchParams::default(), &patch).await {
            Ok(device) => Ok(device),
            Err(error) => {
                let stored = self.other.get(self.name).await?;
                Err(error).with_context(|| format!("{winner:?} won, {meanwhile:?}, but stored is {:#?}", stored.status))
            }
        }
    }
}

/// What the program sends for the device that asks at this gateway.
fn patch(device: &DeviceInstance, gateway: usize, round: usize) -> Result<json_patch::Patch> {
    let activation =
        device.status.as_ref().and_then(|status| status.activation.as_ref()).context("it has a sequence")?;
    let association = Association {
        id: association_id(round, gateway),
        token_sha256: "one token".into(),
        device_key_sha256: format!("key of device {gateway}"),
        epoch: device.spec.activation.epoch,
        sequence: activation.sequence,
        site_uid: "the site".into(),
    };
    Ok(redeem::patch(device, association, &asset_tag(gateway), Timestamp::now()))
}

/// The same without what the patch tests, which would let both win: so this does notice when there are two.
async fn without_its_tests_both_win(ring: &Ring<'_>) -> Result<()> {
    let device = ring.other.get(ring.name).await?;
    let unguarded = |gateway| {
        let mut patch = patch(&device, gateway, 0)?;
        patch.0.retain(|operation| !matches!(operation, json_patch::PatchOperation::Test(_)));
        anyhow::Ok(patch)
    };
    let (first, second) = tokio::join!(ring.send(0, unguarded(0)?), ring.send(1, unguarded(1)?));
    ensure!(first? && second?, "one of two lost by itself");
    Ok(())
}

fn asset_tag(gateway: usize) -> String {
    format!("tag-{gateway}")
}

fn association_id(round: usize, gateway: usize) -> String {
    format!("round-{round}-device-{gateway}")
}
