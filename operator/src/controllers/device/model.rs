//! The activation protocol, explored in every order in which its steps can happen: two gateways whose caches lag, one
//! controller that may die between any two writes, two devices that ask twice, a rotation, a deactivation. What is explored are
//! the functions that the program runs: the plan, the verdict and the guarded patch.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use fleetform_crds::{DeviceInstance, DeviceInstanceStatus, Project, Site};
use fleetform_domain::activation::{
    ActivationKey, Association, Committed, Evidence, LiveCode, Phase, SiteEvidence, Token, TokenHash, commit,
};
use fleetform_domain::id::Installation;
use fleetform_domain::wire::CheckInRequest;
use serde_json::{Value, json};
use stateright::{Checker, Model, Property};
use uuid::Uuid;

use super::facts::Facts;
use super::plan::plan;
use super::redeem;
use crate::activation::code::{CodeSecretMeta, CodeSubject, Mint, StoredCode};
use crate::cache::Found;
use crate::controllers::fixtures;
use crate::gateway::evidence::instance_evidence;
use crate::gateway::report::Report;
use crate::gateway::table::Liveness;
use crate::reconcile::plan::{Action, Plan};

/// The gateways and the devices.
const TWO: [usize; 2] = [0, 1];

/// A device instance as it is stored, compared by what it says.
#[derive(Clone, Debug)]
struct Stored {
    object: Arc<DeviceInstance>,
    digest: u64,
}

impl Stored {
    fn new(object: DeviceInstance) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        serde_json::to_string(&object).expect("an object is plain data").hash(&mut hasher);
        Self { object: Arc::new(object), digest: hasher.finish() }
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Stored {}

impl Hash for Stored {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest.hash(hasher);
    }
}

/// A code's Secret as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Secret {
    version: u8,
    sequence: i64,
    /// Of the tokens that are good, the current one first.
    nonces: Vec<u8>,
}

/// What somebody has read of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    device: Stored,
    secret: Option<Secret>,
}

/// A plan of the controller, of which so many writes are done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Planned {
    on: Snapshot,
    nonce: u8,
    done: usize,
}

/// A commit that a gateway has judged on what it knew, and that it is about to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Judged {
    on: Snapshot,
    device: usize,
    association: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Hardware {
    /// Sequence and nonce of the code that it has scanned.
    token: Option<(i64, u8)>,
    /// The association that it was told of.
    association: Option<u8>,
}

/// A code was redeemed: which, by which device, as which association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Win {
    token: (i64, u8),
    device: usize,
    association: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: Snapshot,
    /// Versions that were given to the Secret so far.
    versions: u8,
    nonces: u8,
    controller: Option<Planned>,
    caches: [Snapshot; 2],
    judged: [Option<Judged>; 2],
    devices: [Hardware; 2],
    wins: Vec<Win>,
    /// A device was given another answer for the same code than before.
    changed_its_mind: bool,
    deactivations_left: u8,
    rotations_left: u8,
    crashes_left: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The controller looks and makes a plan.
    Look,
    /// It makes the next write of its plan.
    Write,
    /// It dies, and forgets its plan.
    Crash,
    /// A gateway's watch catches up.
    CatchUp(usize),
    /// A device scans the code that is there.
    Scan(usize),
    /// A gateway judges a device's commit.
    Ask(usize, usize),
    /// A gateway writes what it has judged; the device hears of it, or does not.
    Redeem(usize, bool),
    /// The code is rotated, and the one before stays good.
    Rotate,
    /// Somebody raises the epoch.
    Deactivate,
}

/// The protocol, and how much happens to it; or one without what keeps two devices apart, to show that the model would notice.
struct Protocol {
    guarded: bool,
    deactivations: u8,
    rotations: u8,
    crashes: u8,
}

/// What never changes.
struct Constants {
    installation: Installation,
    mint: Mint,
    project: Arc<Project>,
    site: Arc<Site>,
}

static CONSTANTS: LazyLock<Constants> = LazyLock::new(|| Constants {
    installation: fixtures::installation(),
    mint: fixtures::mint(),
    project: Arc::new(fixtures::project()),
    site: Arc::new(fixtures::site()),
});

fn version_of(device: &DeviceInstance) -> u64 {
    device.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

fn with_next_version(mut device: DeviceInstance) -> DeviceInstance {
    device.metadata.resource_version = Some((version_of(&device) + 1).to_string());
    device
}

fn project() -> Uuid {
    Uuid::parse_str(CONSTANTS.project.metadata.uid.as_deref().unwrap()).unwrap()
}

/// The token of this sequence and nonce, and its name.
fn token(device: &DeviceInstance, (sequence, nonce): (i64, u8)) -> (Token, TokenHash) {
    let mint = &CONSTANTS.mint;
    let instance = Uuid::parse_str(device.metadata.uid.as_deref().unwrap()).unwrap();
    let expires = fixtures::noon() + mint.settings.validity;
    let token = Token { project: project(), instance, sequence, expires, nonce: [nonce; 16] };
    let hash = token.seal(&ActivationKey::derive(&mint.installation, project())).hash();
    (token, hash)
}

impl Secret {
    fn meta(&self, device: &DeviceInstance) -> CodeSecretMeta {
        let tokens = self.nonces.iter().map(|nonce| token(device, (self.sequence, *nonce)).1).collect();
        CodeSecretMeta {
            uid: "secret".into(),
            version: self.version.to_string(),
            owner_uid: device.metadata.uid.clone(),
            code: Some(StoredCode {
                expires: fixtures::noon() + CONSTANTS.mint.settings.validity,
                live: LiveCode { sequence: self.sequence, tokens },
                nonce: [self.nonces[0]; 16],
            }),
        }
    }
}

impl Planned {
    /// The plan, made again: it follows from what was read.
    fn plan(&self) -> Plan {
        let device = &self.on.device.object;
        let check_in = CheckInRequest {
            applied_configuration_version: Some(1),
            ..CheckInRequest::new("boot".try_into().unwrap(), 1, "1.0.0".try_into().unwrap())
        };
        let facts = Facts {
            installation: &CONSTANTS.installation,
            mint: &CONSTANTS.mint,
            project: Found::Here(Arc::clone(&CONSTANTS.project)),
            site: Found::Here(Arc::clone(&CONSTANTS.site)),
            over_quota: None,
            template: None,
            held: None,
            wifi: super::configuration::WifiSecret::NotNeeded,
            code: self.on.secret.as_ref().map(|secret| secret.meta(device)),
            refused: None,
            liveness: device
                .association()
                .map(|_| Liveness::Reporting(Box::new(Report::new(check_in, 0, fixtures::noon())))),
            same_tag: None,
            has_people: false,
            last_heard: None,
            left: Vec::new(),
            serving_since: None,
            nonce: [self.nonce; 16],
            history: fixtures::told(),
            now: fixtures::noon(),
        };
        plan(device, &facts)
    }
}

impl World {
    fn new(protocol: &Protocol) -> Self {
        let mut device = fixtures::device(&json!({ "operationMode": "Enrollment" }));
        device.metadata.resource_version = Some("1".into());
        let now = Snapshot { device: Stored::new(device), secret: None };
        Self {
            caches: [now.clone(), now.clone()],
            now,
            versions: 0,
            nonces: 0,
            controller: None,
            judged: [None, None],
            devices: [Hardware::default(), Hardware::default()],
            wins: Vec::new(),
            changed_its_mind: false,
            deactivations_left: protocol.deactivations,
            rotations_left: protocol.rotations,
            crashes_left: protocol.crashes,
        }
    }

    fn store(&mut self, device: DeviceInstance) {
        self.now.device = Stored::new(with_next_version(device));
    }

    fn store_secret(&mut self, sequence: i64, nonces: Vec<u8>) {
        self.versions += 1;
        self.now.secret = Some(Secret { version: self.versions, sequence, nonces });
    }

    /// Makes the next write of the controller's plan. One that meets a conflict ends the plan.
    fn write(&mut self) {
        let Some(mut planned) = self.controller.take() else { return };
        let plan = planned.plan();
        let Some(action) = plan.actions.get(planned.done) else { return };
        let device = &planned.on.device.object;
        let done = match action {
            Action::StoreCode(code) => {
                let stored = self.now.secret.as_ref().map(|secret| secret.version.to_string());
                let nonces = code.tokens.iter().map(|hash| self.nonce_of(device, code.sequence, hash)).collect();
                let same = stored == code.replaces;
                if same {
                    self.store_secret(code.sequence, nonces);
                }
                same
            }
            Action::DeleteSecret { .. } => {
                // By the UID, which a rotation keeps.
                self.now.secret = None;
                true
            }
            Action::PatchStatus(patch) => {
                let same = version_of(&self.now.device.object) == version_of(device);
                if same {
                    let mut object = DeviceInstance::clone(&self.now.device.object);
                    let mut status = serde_json::to_value(object.status.take().unwrap_or_default()).unwrap();
                    json_patch::merge(&mut status, patch);
                    object.status = Some(serde_json::from_value::<DeviceInstanceStatus>(status).unwrap());
                    self.store(object);
                }
                same
            }
            other => panic!("a device's plan has no {other:?}"),
        };
        planned.done += 1;
        if done && planned.done < plan.actions.len() {
            self.controller = Some(planned);
        }
    }

    fn nonce_of(&self, device: &DeviceInstance, sequence: i64, hash: &TokenHash) -> u8 {
        (0..=self.nonces).find(|nonce| token(device, (sequence, *nonce)).1 == *hash).expect("it was made here")
    }

    /// A gateway judges the commit of a device on what it knows.
    fn ask(&mut self, gateway: usize, device: usize) {
        let Some(scanned) = self.devices[device].token else { return };
        let known = &self.caches[gateway];
        let instance = &known.device.object;
        let (token, hash) = token(instance, scanned);
        let live = known.secret.as_ref().and_then(|secret| secret.meta(instance).code).map(|code| code.live);
        let evidence = Evidence {
            now: fixtures::noon(),
            token: &token,
            token_hash: &hash,
            instance: Some(instance_evidence(instance)),
            site: Some(SiteEvidence { address: CONSTANTS.site.spec.address.as_ref().unwrap() }),
            live: live.as_ref(),
        };
        match commit(&evidence, &format!("key-{device}"), &format!("tag-{device}")) {
            Err(_) => {}
            Ok(Committed::Repeat(association)) => {
                let association = association.id.parse().unwrap();
                let before = self.devices[device].association;
                self.devices[device].association = Some(association);
                self.changed_its_mind |=
                    before.is_some_and(|before| before != association && !self.wins_later(device, association));
            }
            Ok(Committed::Redeem) => {
                // Another name for each attempt that could win; the same attempt again needs no other.
                let attempt = 8 * token.sequence + 4 * i64::from(scanned.1 % 2);
                let association = u8::try_from(attempt).unwrap() + u8::try_from(2 * gateway + device).unwrap();
                self.judged[gateway] = Some(Judged { on: known.clone(), device, association });
            }
        }
    }

    /// Whether this device won this association with the code that it holds now.
    fn wins_later(&self, device: usize, association: u8) -> bool {
        let token = self.devices[device].token;
        self.wins.iter().any(|win| win.device == device && win.association == association && Some(win.token) == token)
    }

    /// A gateway writes what it has judged.
    fn redeem(&mut self, gateway: usize, heard: bool, guarded: bool) {
        let Some(judged) = self.judged[gateway].take() else { return };
        let instance = &judged.on.device.object;
        let token_of = self.devices[judged.device].token.expect("it has scanned one");
        let association = Association {
            id: judged.association.to_string(),
            token_sha256: token(instance, token_of).1.as_str().to_owned(),
            device_key_sha256: format!("key-{}", judged.device),
            epoch: instance.spec.activation.epoch,
            sequence: token_of.0,
            site_uid: "site".into(),
        };
        let patch = redeem::patch(instance, association, &format!("tag-{}", judged.device), fixtures::noon());
        let mut operations = serde_json::to_value(patch).unwrap();
        if !guarded {
            operations.as_array_mut().unwrap().retain(|operation| operation["op"] != "test");
        }
        let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
        let mut object: Value = serde_json::to_value(&*self.now.device.object).unwrap();
        if json_patch::patch(&mut object, &patch).is_err() {
            return;
        }
        self.store(serde_json::from_value(object).unwrap());
        self.wins.push(Win { token: token_of, device: judged.device, association: judged.association });
        self.caches[gateway].device = self.now.device.clone();
        if heard {
            self.devices[judged.device].association = Some(judged.association);
        }
    }

    /// Whether this device is the one that is trusted now.
    fn is_trusted(&self, device: usize) -> bool {
        let instance = instance_evidence(&self.now.device.object);
        instance.live_association().is_some_and(|association| {
            association.device_key_sha256 == format!("key-{device}")
                && self.devices[device].association.is_some_and(|known| known.to_string() == association.id)
        })
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.controller.is_none() {
            steps.push(Step::Look);
        } else {
            steps.push(Step::Write);
            steps.extend((world.crashes_left > 0).then_some(Step::Crash));
        }
        for gateway in TWO {
            steps.extend((world.caches[gateway] != world.now).then_some(Step::CatchUp(gateway)));
            if world.judged[gateway].is_some() {
                steps.extend([Step::Redeem(gateway, true), Step::Redeem(gateway, false)]);
            } else {
                steps.extend(TWO.map(|device| Step::Ask(gateway, device)));
            }
        }
        steps.extend(TWO.map(Step::Scan));
        let active = world.now.device.object.phase() == Phase::Active;
        steps.extend((world.deactivations_left > 0 && active).then_some(Step::Deactivate));
        steps.extend((world.rotations_left > 0 && world.now.secret.is_some()).then_some(Step::Rotate));
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Look => {
                let planned = Planned { on: world.now.clone(), nonce: world.nonces + 1, done: 0 };
                let actions = planned.plan().actions;
                if actions.is_empty() {
                    return None;
                }
                world.nonces += u8::from(actions.iter().any(|action| matches!(action, Action::StoreCode(_))));
                world.controller = Some(planned);
            }
            Step::Write => world.write(),
            Step::Crash => {
                world.controller = None;
                world.crashes_left -= 1;
            }
            Step::CatchUp(gateway) => world.caches[gateway] = world.now.clone(),
            Step::Scan(device) => {
                let secret = world.now.secret.as_ref()?;
                let token = (secret.sequence, secret.nonces[0]);
                // A device that is active scans nothing.
                if world.devices[device].association.is_some() && world.is_trusted(device) {
                    return None;
                }
                world.devices[device] = Hardware { token: Some(token), association: None };
            }
            Step::Ask(gateway, device) => world.ask(gateway, device),
            Step::Redeem(gateway, heard) => world.redeem(gateway, heard, self.guarded),
            Step::Rotate => {
                let device = Arc::clone(&world.now.device.object);
                let secret = world.now.secret.clone()?;
                world.nonces += 1;
                world.rotations_left -= 1;
                let subject = CodeSubject { project: project(), device: &device, sequence: secret.sequence };
                let meta = secret.meta(&device);
                let keep = meta.code.as_ref().and_then(|code| code.live.tokens.first().cloned());
                let code = CONSTANTS.mint.code(subject, Some(&meta), keep, [world.nonces; 16], fixtures::noon())?;
                let nonces = code.tokens.iter().map(|hash| world.nonce_of(&device, secret.sequence, hash)).collect();
                world.store_secret(secret.sequence, nonces);
            }
            Step::Deactivate => {
                let mut device = DeviceInstance::clone(&world.now.device.object);
                device.spec.activation.epoch += 1;
                world.store(device);
                world.deactivations_left -= 1;
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("a code is redeemed once", |_, world| {
                world
                    .wins
                    .iter()
                    .enumerate()
                    .all(|(n, win)| world.wins[..n].iter().all(|other| other.token != win.token))
            }),
            Property::<Self>::always("a rotated code and its successor are not both redeemed", |_, world| {
                world
                    .wins
                    .iter()
                    .enumerate()
                    .all(|(n, win)| world.wins[..n].iter().all(|other| other.token.0 != win.token.0))
            }),
            Property::<Self>::always("one device is trusted at most", |_, world| {
                TWO.iter().filter(|device| world.is_trusted(**device)).count() <= 1
            }),
            Property::<Self>::always("the same device gets the same answer", |_, world| !world.changed_its_mind),
            Property::<Self>::sometimes("a device is activated", |_, world| world.is_trusted(0)),
            Property::<Self>::sometimes("a device that lost the answer gets it again", |_, world| {
                world.wins.len() == 1
                    && world.devices[world.wins[0].device].association == Some(world.wins[0].association)
            }),
        ]
    }
}

fn explore(name: &str, protocol: Protocol) -> usize {
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    println!("{name}: {} states explored, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn in_whatever_order_it_happens_a_code_is_redeemed_once() {
    // Crash and deactivation together hold too (a million states), and take minutes.
    let calm = || Protocol { guarded: true, deactivations: 0, rotations: 0, crashes: 0 };
    let mut states = explore("a crash and a rotation", Protocol { crashes: 1, rotations: 1, ..calm() });
    states += explore("a deactivation", Protocol { deactivations: 1, ..calm() });
    assert!(states > 50_000, "the model does next to nothing: {states}");
}

#[test]
fn without_its_guard_the_model_finds_two_winners() {
    let protocol = Protocol { guarded: false, deactivations: 0, rotations: 0, crashes: 0 };
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let found = checker.assert_any_discovery("a code is redeemed once");
    println!("found: {:?}", found.into_actions());
}
