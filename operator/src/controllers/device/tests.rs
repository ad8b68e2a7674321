//! Plans of device instances, whole, and what must hold of every plan.

use std::sync::Arc;

use fleetform_crds::condition::Reason;
use fleetform_crds::device_instance::CommandStatus;
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project, Site};
use fleetform_domain::activation::{Association, Phase};
use fleetform_domain::configuration::{Configuration, RefusalReason, SecretReference, UpdateState, Wifi};
use fleetform_domain::id::Installation;
use fleetform_domain::operation::{CommandKind, LockReason};
use fleetform_domain::transition::{self, Change, Connectivity, Transition};
use fleetform_domain::wire::{CheckInRequest, Command, DeviceLock, RefusedConfiguration, SoftwareUpdate};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::code::Refused;
use super::configuration::WifiSecret;
use super::facts::Facts;
use super::plan::plan;
use super::{commands, redeem};
use crate::activation::code::{CodeSecretMeta, Mint, StoredCode};
use crate::cache::Found;
use crate::controllers::{Obstacle, fixtures};
use crate::events::{FactKey, History, Recorded};
use crate::gateway::report::Report;
use crate::gateway::table::Liveness;
use crate::reconcile::plan::{Action, Plan};

mod departure;
mod operation;
mod property;
mod quota;
mod update;

/// The world as a device instance's plan sees it, and what becomes of it.
#[derive(Clone)]
struct Scene {
    installation: Installation,
    mint: Mint,
    project: Option<Project>,
    site: Option<Site>,
    template: Option<ConfigTemplate>,
    device: DeviceInstance,
    code: Option<CodeSecretMeta>,
    /// Which of project, site and template does not read.
    unreadable: Option<&'static str>,
    over_quota: Option<Obstacle>,
    refused: Option<Refused>,
    wifi: WifiSecret,
    same_tag: Option<String>,
    left: Vec<String>,
    has_people: bool,
    serving_since: Option<Timestamp>,
    liveness: Liveness,
    now: Timestamp,
    history: History,
    /// Facts that are kept elsewhere.
    kept: Vec<FactKey>,
    nonce: u8,
}

impl Scene {
    fn new(configuration: &serde_json::Value) -> Self {
        Self {
            installation: fixtures::installation(),
            mint: fixtures::mint(),
            project: Some(fixtures::project()),
            site: Some(fixtures::site()),
            template: Some(fixtures::template(fixtures::entry(), 1)),
            device: fixtures::device(configuration),
            code: None,
            unreadable: None,
            over_quota: None,
            refused: None,
            wifi: WifiSecret::NotNeeded,
            same_tag: None,
            has_people: false,
            left: Vec::new(),
            serving_since: Some(fixtures::noon() - SignedDuration::from_hours(24 * 365)),
            liveness: Liveness::Unknown,
            history: fixtures::told(),
            kept: Vec::new(),
            now: fixtures::noon(),
            nonce: 0,
        }
    }

    fn from_template() -> Self {
        Self::new(&json!({ "templateRef": { "name": "entry" } }))
    }

    /// An instance that a device activated, and that the reconciler has looked at since.
    fn active() -> Self {
        let mut scene = Self::from_template();
        scene.settle();
        scene.redeem();
        scene.settle();
        scene
    }

    fn find<K: Clone>(&self, what: &str, object: Option<&K>) -> Found<K> {
        match object {
            _ if self.unreadable == Some(what) => Found::Unreadable("missing field `spec`".into()),
            Some(object) => Found::Here(Arc::new(object.clone())),
            None => Found::Absent,
        }
    }

    fn plan(&self) -> Plan {
        let facts = Facts {
            installation: &self.installation,
            mint: &self.mint,
            project: self.find("project", self.project.as_ref()),
            site: self.find("site", self.site.as_ref()),
            template: self.device.template_name().map(|_| self.find("template", self.template.as_ref())),
            over_quota: self.over_quota.clone(),
            code: self.code.clone(),
            refused: self.refused.clone(),
            held: None,
            wifi: self.wifi.clone(),
            liveness: self.device.association().map(|_| self.liveness.clone()),
            same_tag: self.same_tag.clone(),
            has_people: self.has_people,
            last_heard: None,
            left: self.left.clone(),
            serving_since: self.serving_since,
            nonce: [self.nonce; 16],
            history: self.history,
            now: self.now,
        };
        plan(&self.device, &facts)
    }

    fn execute(&mut self, plan: &Plan) {
        self.nonce += 1;
        for action in &plan.actions {
            match action {
                Action::StoreCode(code) => {
                    let version = self.code.as_ref().map(|code| code.version.clone());
                    assert_eq!(code.replaces, version, "a code replaces the one that is stored");
                    self.code = Some(CodeSecretMeta {
                        uid: "code".into(),
                        version: self.nonce.to_string(),
                        owner_uid: self.device.metadata.uid.clone(),
                        code: Some(StoredCode {
                            expires: code.expires,
                            live: fleetform_domain::activation::LiveCode {
                                sequence: code.sequence,
                                tokens: code.tokens.clone(),
                            },
                            nonce: code.nonce.into_bytes(),
                        }),
                    });
                }
                Action::DeleteSecret { .. } => self.code = None,
                Action::PatchStatus(patch) => {
                    let mut status = serde_json::to_value(self.device.status.clone().unwrap_or_default()).unwrap();
                    json_patch::merge(&mut status, patch);
                    self.device.status = Some(serde_json::from_value(status).unwrap());
                }
                Action::Publish(_) => {}
                Action::KeepEvents { facts } => self.kept.extend(facts),
                Action::Hold { finalizer } => {
                    self.device.metadata.finalizers.get_or_insert_default().push((*finalizer).to_owned());
                }
                Action::Release { finalizer } => {
                    self.device.metadata.finalizers.get_or_insert_default().retain(|found| found != finalizer);
                }
                other => panic!("a device instance's plan has no {other:?}"),
            }
        }
    }

    /// Executes the plan; answers how many writes it took. Planning again must give nothing.
    fn settle(&mut self) -> usize {
        let plan = self.plan();
        self.execute(&plan);
        let again = self.plan();
        assert!(again.actions.is_empty(), "a plan that was executed left {:#?}", again.actions);
        plan.actions.len()
    }

    fn redeem(&mut self) {
        let activation = self.device.status.as_ref().unwrap().activation.clone().unwrap();
        let association = Association {
            id: "association".into(),
            token_sha256: "token".into(),
            device_key_sha256: "key".into(),
            epoch: self.device.spec.activation.epoch,
            sequence: activation.sequence,
            site_uid: "site".into(),
        };
        let patch = redeem::patch(&self.device, association, "0000195169", self.now);
        let mut json = serde_json::to_value(&self.device).unwrap();
        json_patch::patch(&mut json, &patch).unwrap();
        self.device = serde_json::from_value(json).unwrap();
    }

    fn report(&mut self, applied: Option<u32>, failed: &[&str]) {
        self.report_with(applied, failed, |_| {});
    }

    fn report_with(&mut self, applied: Option<u32>, failed: &[&str], change: impl FnOnce(&mut Report)) {
        let check_in = CheckInRequest {
            applied_configuration_version: applied,
            failed_health_checks: failed.iter().map(|name| (*name).try_into().unwrap()).collect(),
            ..CheckInRequest::new("boot".try_into().unwrap(), 1, "1.0.0".try_into().unwrap())
        };
        let mut report = Report::new(check_in, 0, self.now);
        change(&mut report);
        self.liveness = Liveness::Reporting(Box::new(report));
    }

    /// An active device that reports this lock of its own.
    fn locked(reason: LockReason) -> Self {
        let mut scene = Self::active();
        scene.report(Some(1), &[]);
        scene.settle();
        scene.report_with(Some(1), &[], |report| report.lock = Some(lock("l1", reason)));
        scene.settle();
        scene
    }

    fn annotate(&mut self, name: &str, value: &str) {
        let annotations = self.device.metadata.annotations.get_or_insert_default();
        annotations.insert(name.into(), value.into());
    }

    fn lock(&self) -> Option<(&str, LockReason)> {
        self.device.status.as_ref()?.lock.as_ref().map(|lock| (lock.id.as_str(), lock.reason))
    }

    fn command(&self, kind: CommandKind) -> Option<&CommandStatus> {
        self.device.status.as_ref()?.commands.iter().find(|command| command.kind == kind)
    }

    /// What the device is told when it checks in now.
    fn orders(&self) -> (Vec<Command>, Option<DeviceLock>) {
        let Liveness::Reporting(report) = &self.liveness else { panic!("it does not report") };
        commands::orders(self.device.status.as_ref().unwrap(), report)
    }

    /// The template has the devices join the network of this Secret.
    fn join(&mut self, secret: &str) {
        let wifi = Wifi { ssid: None, credentials_secret_ref: SecretReference { name: secret.into() } };
        self.template.as_mut().unwrap().spec.configuration.wifi = Some(wifi);
    }

    fn pass(&mut self, duration: SignedDuration) {
        self.now += duration;
    }

    /// The template was changed, and the operator has yet to look at it.
    fn edit_template(&mut self) {
        self.template.as_mut().unwrap().metadata.generation = Some(2);
    }

    fn tokens(&self) -> Vec<fleetform_domain::activation::TokenHash> {
        self.code.clone().unwrap().code.unwrap().live.tokens
    }

    fn phase(&self) -> Phase {
        self.device.phase()
    }

    fn message(&self) -> &str {
        let conditions = &self.device.status.as_ref().unwrap().conditions;
        &conditions.iter().find(|condition| condition.type_ == "Ready").unwrap().message
    }

    fn condition(&self, type_: &str) -> String {
        let conditions = &self.device.status.as_ref().unwrap().conditions;
        let found = conditions.iter().find(|condition| condition.type_ == type_);
        found.map_or_else(String::new, |found| format!("{} {}: {}", found.status, found.reason, found.message))
    }

    fn ready(&self) -> (&str, &str) {
        let conditions = &self.device.status.as_ref().unwrap().conditions;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        (&ready.status, &ready.reason)
    }
}

fn over_quota() -> Obstacle {
    Obstacle::stalls(Reason::QuotaExceeded, "this gateway is over the quota")
}

fn lock(id: &str, reason: LockReason) -> DeviceLock {
    DeviceLock { id: id.try_into().unwrap(), reason }
}

#[test]
fn a_configured_instance_gets_a_code_and_is_ready() {
    let scene = Scene::from_template();
    insta::assert_json_snapshot!("ready_for_activation", scene.plan());
}

#[test]
fn the_way_to_active_takes_five_writes() {
    let mut scene = Scene::from_template();
    let mut writes = scene.settle();
    assert_eq!(scene.phase(), Phase::ReadyForActivation);
    scene.redeem();
    writes += 1;
    // The gateway has long been up, and the new device has yet to report.
    scene.liveness = Liveness::Silent;
    writes += scene.settle();
    assert_eq!(scene.ready(), ("False", "ConfigurationPending"));
    scene.report(Some(1), &[]);
    writes += scene.settle();
    assert_eq!(scene.ready(), ("True", "ConfigurationApplied"));
    assert_eq!(writes, 5);
}

#[test]
fn redeeming_is_one_guarded_patch() {
    let mut scene = Scene::from_template();
    scene.settle();
    let association = Association {
        id: "8c7e3f0a-0000-4000-8000-000000000009".into(),
        token_sha256: "aa".into(),
        device_key_sha256: "bb".into(),
        epoch: 0,
        sequence: 1,
        site_uid: "00000000-0000-4000-8000-000000000002".into(),
    };
    insta::assert_json_snapshot!("redeem", redeem::patch(&scene.device, association, "0000195169", scene.now));
}

#[test]
fn the_first_check_in_is_one_write() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    insta::assert_json_snapshot!("first_check_in", scene.plan());
}

#[test]
fn check_ins_that_say_the_same_are_no_writes() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.pass(SignedDuration::from_secs(60));
    scene.report(Some(1), &[]);
    assert_eq!(scene.settle(), 0);
}

#[test]
fn failed_checks_and_silence_are_transitions() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.report(Some(1), &["storage"]);
    insta::assert_json_snapshot!("turned_critical", scene.plan());
    scene.settle();
    scene.liveness = Liveness::Silent;
    insta::assert_json_snapshot!("fell_silent", scene.plan());
    scene.settle();
    scene.liveness = Liveness::Unknown;
    assert_eq!(scene.settle(), 0, "a gateway that has just started writes nothing");
}

#[test]
fn a_flapping_device_is_held_back_and_let_go() {
    let mut scene = Scene::active();
    let mut writes = 0;
    for second in 0..40 {
        scene.pass(SignedDuration::from_secs(1));
        if second % 2 == 0 {
            scene.report(Some(1), &[]);
        } else {
            scene.liveness = Liveness::Silent;
        }
        writes += scene.settle();
    }
    assert_eq!(writes, 6, "the sixth says that the device flaps, and none follows it");
    assert_eq!(scene.device.status.as_ref().unwrap().transitions.len(), 6);
    assert!(scene.plan().look_again.is_some());
    scene.pass(SignedDuration::from_hours(1));
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.device.status.as_ref().unwrap().connectivity, Some(Connectivity::Connected));
}

#[test]
fn what_a_sink_lacks_is_kept_elsewhere_and_without_room_changes_are_held_back() {
    let mut scene = Scene::active();
    let status = scene.device.status.as_mut().unwrap();
    let start = scene.now - SignedDuration::from_hours(48);
    for n in 1..=32 {
        let change = Change::Connectivity { previous: Connectivity::Connected, current: Connectivity::Disconnected };
        transition::record(&mut status.transitions, [change], "0000195169", start + SignedDuration::from_secs(n));
    }
    scene.history = History { passed: None, has_room: false };
    scene.report(Some(1), &[]);
    scene.settle();
    let status = scene.device.status.clone().unwrap();
    let known = (status.transitions.len(), status.connectivity);
    assert_eq!(known, (32, Some(Connectivity::Disconnected)), "the device counts as it did");
    let held = status.conditions.iter().find(|condition| condition.type_ == "Flapping").unwrap();
    assert_eq!(held.reason, "EventsNotDelivered");

    scene.history.has_room = true;
    insta::assert_json_snapshot!("kept_elsewhere", scene.plan());
    assert_eq!(scene.settle(), 2);
    let status = scene.device.status.clone().unwrap();
    let sequences: Vec<i64> = status.transitions.iter().map(|transition| transition.sequence).collect();
    assert_eq!(sequences, (18..=33).collect::<Vec<_>>());
    assert_eq!(scene.kept.iter().map(|fact| fact.0).collect::<Vec<_>>(), (1..=17).collect::<Vec<_>>());
    assert_eq!(status.connectivity, Some(Connectivity::Connected));
}

#[test]
fn raising_the_epoch_deactivates_and_makes_a_new_code() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.device.spec.activation.epoch = 1;
    scene.device.metadata.generation = Some(2);
    assert_eq!(scene.settle(), 2);
    assert_eq!(scene.phase(), Phase::ReadyForActivation);
    let status = scene.device.status.as_ref().unwrap();
    let activation = status.activation.as_ref().unwrap();
    assert_eq!((activation.sequence, activation.association.is_none()), (2, true));
    assert_eq!(status.configuration.as_ref().unwrap().desired, 1, "the configuration is kept");
    let last = status.transitions.last().unwrap();
    assert_eq!((last.sequence, last.asset_tag_id.as_str()), (2, "0000195169"), "who counted on the device hears of it");
}

#[test]
fn a_device_that_lost_its_configuration_is_not_ready() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    for reported in [None, Some(9)] {
        scene.report(reported, &[]);
        scene.settle();
        assert_eq!(scene.ready(), ("False", "ConfigurationPending"), "it reports {reported:?}");
    }
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.ready(), ("True", "ConfigurationApplied"));
}

#[test]
fn what_does_not_read_leaves_what_is_stored() {
    for (what, reason) in
        [("project", "ProjectUnreadable"), ("site", "SiteUnreadable"), ("template", "TemplateUnreadable")]
    {
        let mut scene = Scene::from_template();
        scene.settle();
        let tokens = scene.tokens();
        scene.unreadable = Some(what);
        scene.settle();
        assert_eq!((scene.phase(), scene.ready()), (Phase::ReadyForActivation, ("False", reason)));
        assert_eq!(scene.tokens(), tokens);
        scene.unreadable = None;
        scene.settle();
        assert_eq!(scene.ready(), ("True", "ActivationCodeAvailable"));

        let mut scene = Scene::active();
        scene.unreadable = Some(what);
        scene.report(Some(1), &["storage"]);
        scene.settle();
        assert_eq!((scene.phase(), scene.ready()), (Phase::Active, ("False", reason)));
        assert_eq!(scene.device.status.as_ref().unwrap().transitions.len(), 2, "it is still watched");
        scene.device.spec.activation.epoch = 1;
        scene.settle();
        assert!(scene.device.association().is_none(), "and can still be deactivated");

        let mut scene = Scene::from_template();
        scene.unreadable = Some(what);
        scene.settle();
        assert_eq!((scene.phase(), scene.ready()), (Phase::NeedsConfiguration, ("False", reason)));
    }
}

#[test]
fn a_template_that_is_yet_to_be_looked_at_hides_nothing_else() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.edit_template();
    assert_eq!(scene.settle(), 0, "nothing is said for a moment's sake");
    scene.liveness = Liveness::Silent;
    assert_eq!(scene.settle(), 1);
    scene.device.spec.activation.epoch = 1;
    scene.device.metadata.generation = Some(2);
    scene.settle();
    let status = scene.device.status.as_ref().unwrap();
    assert_eq!((scene.phase(), scene.device.association()), (Phase::ReadyForActivation, None));
    assert_eq!(status.observed_generation, Some(1), "the rest of the change has yet to be looked at");

    let mut scene = Scene::from_template();
    scene.edit_template();
    assert_eq!(scene.settle(), 0);
}

#[test]
fn what_was_incomplete_is_not_ready_before_it_is_looked_at() {
    let mut scene = Scene::from_template();
    scene.settle();
    scene.template = None;
    scene.settle();
    assert_eq!(scene.phase(), Phase::NeedsConfiguration);
    scene.template = Some(fixtures::template(fixtures::entry(), 1));
    scene.edit_template();
    assert_eq!(scene.settle(), 0);
    assert_eq!(scene.ready(), ("False", "TemplateNotFound"));
}

#[test]
fn what_the_api_server_refuses_is_said_in_its_words() {
    let mut scene = Scene::from_template();
    scene.refused = Some(Refused::ByApiServer("exceeded quota: secrets".into()));
    let plan = scene.plan();
    scene.execute(&plan);
    assert_eq!((scene.phase(), scene.ready()), (Phase::ReadyForActivation, ("False", "WriteRefused")));
    assert!(scene.message().ends_with("exceeded quota: secrets"), "{}", scene.message());
}

#[test]
fn a_name_that_somebody_else_has_is_said_once_and_tried_again() {
    let mut scene = Scene::from_template();
    scene.refused = Some(Refused::NameTaken);
    insta::assert_json_snapshot!("name_taken", scene.plan());
    let plan = scene.plan();
    scene.execute(&plan);
    assert_eq!((scene.phase(), scene.ready()), (Phase::ReadyForActivation, ("False", "NameTaken")));
    let again = scene.plan();
    assert!(again.actions.is_empty() && again.look_again.is_some());
    scene.refused = None;
    scene.settle();
    assert_eq!(scene.ready(), ("True", "ActivationCodeAvailable"));
}

#[test]
fn a_person_is_told_once_by_an_event_what_has_to_be_changed() {
    let mut scene = Scene::from_template();
    scene.device = fixtures::device(&json!({ "operationMode": "Entry" }));
    let events = |plan: &Plan| plan.actions.iter().filter(|action| matches!(action, Action::Publish(_))).count();
    let plan = scene.plan();
    assert_eq!(events(&plan), 1);
    scene.execute(&plan);
    scene.device.metadata.generation = Some(2);
    assert_eq!(events(&scene.plan()), 0, "the same again is no news");
}

#[test]
fn a_code_is_rotated_by_one_write_and_the_previous_token_stays_good() {
    let mut scene = Scene::from_template();
    scene.settle();
    let first = scene.tokens()[0].clone();
    scene.pass(SignedDuration::from_hours(17));
    assert_eq!(scene.settle(), 0);
    scene.pass(SignedDuration::from_hours(2));
    assert_eq!(scene.settle(), 1);
    let tokens = scene.tokens();
    assert_eq!(tokens.len(), 2);
    assert_eq!(tokens[1], first);
}

#[test]
fn a_project_that_was_made_again_has_new_codes() {
    let mut scene = Scene::from_template();
    scene.settle();
    let first = scene.tokens();
    scene.project.as_mut().unwrap().metadata.uid = Some("00000000-0000-4000-8000-000000000077".into());
    assert_eq!(scene.settle(), 1);
    assert_eq!(scene.tokens().len(), 1, "the one before is not of this project");
    assert_ne!(scene.tokens(), first);
}

#[test]
fn what_is_missing_is_named() {
    type Break = fn(&mut Scene);
    let cases: [(&str, Break); 7] = [
        ("no_project", |scene| scene.project = None),
        ("no_site", |scene| scene.site = None),
        ("no_template", |scene| scene.template = None),
        ("no_wifi_secret", |scene| {
            scene.join("lobby");
            scene.wifi = WifiSecret::Missing("lobby".into());
        }),
        ("wifi_secret_unusable", |scene| {
            scene.join("lobby");
            scene.wifi = WifiSecret::Unusable { name: "lobby".into(), why: "it has no key passphrase".into() };
        }),
        ("no_configuration", |scene| scene.device.spec.configuration = None),
        ("incomplete_entry", |scene| {
            scene.device = fixtures::device(&json!({ "operationMode": "Entry" }));
        }),
    ];
    for (name, break_it) in cases {
        let mut scene = Scene::from_template();
        break_it(&mut scene);
        insta::assert_json_snapshot!(format!("missing_{name}"), scene.plan());
        scene.settle();
        assert_eq!(scene.phase(), Phase::NeedsConfiguration);
    }
}

#[test]
fn what_is_applied_together_is_not_reported_missing_at_once() {
    let mut scene = Scene::from_template();
    scene.site = None;
    scene.now = fixtures::noon() - SignedDuration::from_secs(59);
    let plan = scene.plan();
    assert!(plan.actions.is_empty());
    assert!(plan.look_again.is_some());
}

#[test]
fn a_code_that_an_earlier_instance_of_the_name_left_is_waited_out() {
    let mut scene = Scene::from_template();
    scene.settle();
    scene.device = fixtures::device(&json!({ "templateRef": { "name": "entry" } }));
    scene.device.metadata.uid = Some("00000000-0000-4000-8000-000000000099".into());
    scene.device.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(scene.now - SignedDuration::from_secs(3)));
    let plan = scene.plan();
    assert!(plan.actions.is_empty() && plan.look_again.is_some());
    scene.pass(SignedDuration::from_mins(1));
    scene.settle();
    assert_eq!(scene.ready(), ("False", "NameTaken"), "nobody collects it");
}

#[test]
fn a_new_template_revision_is_a_new_version_while_active() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.template = Some(fixtures::template(fixtures::entry(), 2));
    assert_eq!(scene.settle(), 0, "a revision that changes nothing for it makes no version");
    let other = Configuration { maximum_offline_minutes: Some(600), ..fixtures::entry() };
    scene.template = Some(fixtures::template(other, 3));
    assert_eq!(scene.settle(), 1);
    assert_eq!(scene.ready(), ("False", "ConfigurationPending"));
    scene.report(Some(2), &[]);
    assert_eq!(scene.settle(), 1);
    assert_eq!(scene.ready(), ("True", "ConfigurationApplied"));
}

#[test]
fn the_operation_mode_does_not_change_while_active() {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    scene.template = Some(fixtures::template(fixtures::enrollment(), 2));
    scene.settle();
    assert_eq!(scene.ready(), ("False", "OperationModeFixed"));
    assert_eq!(scene.device.status.as_ref().unwrap().configuration.as_ref().unwrap().desired, 1);
}

#[test]
fn an_active_instance_outlives_its_site_and_template() {
    let mut scene = Scene::active();
    scene.site = None;
    scene.template = None;
    scene.settle();
    assert_eq!(scene.phase(), Phase::Active);
    assert_eq!(scene.ready(), ("False", "SiteNotFound"));
}
