//! A gateway, an API server and devices in small: whoever was deleted is recognised by nobody once that is said to be done, whatever
//! comes between.

mod project;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleetform_crds::EnrolledUser;
use fleetform_domain::people::matching::identify;
use fleetform_domain::people::{Hand, Palm, RecognitionFailure};
use fleetform_domain::wire::{DeviceText, ListedUser, UserListQuery};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::fixtures::{palm, user};
use super::list::{PageLost, page};
use super::profile::Profile;
use super::roll::{KEPT_REVISIONS, Roll, Standing};
use crate::controllers::fixtures::noon;
use crate::controllers::user::plan::{Facts, Holder, Why, plan};
use crate::reconcile::plan::Action;

/// Small, so that lists have several pages.
const LIMIT: usize = 2;

fn profile(uid: u32) -> Profile {
    Profile { badge_number: format!("{}", 1_000_000 + uid).try_into().unwrap(), palms: vec![palm(uid, Hand::Right)] }
}

/// A device that keeps a list on its disk.
#[derive(Default)]
struct Door {
    list: BTreeMap<String, ListedUser>,
    revision: Option<DeviceText>,
    /// A list that it is fetching: what came, whether that is all of it, and where it goes on.
    fetching: Option<Fetching>,
}

#[derive(Default)]
struct Fetching {
    users: Vec<ListedUser>,
    removed: Vec<DeviceText>,
    complete: bool,
    after: Option<DeviceText>,
}

impl Door {
    fn recognizes(&self, palm: &Palm) -> Result<&str, RecognitionFailure> {
        identify(palm, self.list.iter().map(|(name, user)| (name.as_str(), user.palms.as_slice())))
    }

    /// Fetches one page.
    fn fetch(&mut self, roll: &Roll) {
        let mut fetching = self.fetching.take().unwrap_or_default();
        let query = UserListQuery { since: self.revision.clone(), after: fetching.after.clone() };
        // What is lost is begun anew next time.
        let Ok(page) = page(roll, &query, LIMIT) else { return };
        fetching.users.extend(page.users);
        fetching.removed.extend(page.removed);
        fetching.complete |= page.complete;
        if page.next.is_some() {
            fetching.after = page.next;
            self.fetching = Some(fetching);
            return;
        }
        if fetching.complete {
            self.list.clear();
        }
        for user in fetching.removed {
            self.list.remove(user.as_str());
        }
        self.list.extend(fetching.users.into_iter().map(|user| (user.user.to_string(), user)));
        self.revision = Some(page.revision);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enroll(u8),
    /// The desk does not hear that somebody is enrolled.
    EnrollUnheard(u8),
    /// The desk tells again of what it did not hear the answer to.
    Retell,
    /// The desk says whether it has something to tell again.
    DeskReport,
    Delete(u8),
    /// The door fetches one page.
    Fetch(usize),
    /// The door says what it holds.
    Report(usize),
    /// The door loses what it was fetching, or all that it holds.
    PowerCut(usize),
    Wiped(usize),
    /// The operator starts anew: all that it had in memory is gone.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..5).prop_map(Step::Enroll),
        2 => (0u8..5).prop_map(Step::EnrollUnheard),
        2 => Just(Step::Retell),
        4 => Just(Step::DeskReport),
        3 => (0u8..5).prop_map(Step::Delete),
        8 => (0usize..2).prop_map(Step::Fetch),
        6 => (0usize..2).prop_map(Step::Report),
        1 => (0usize..2).prop_map(Step::PowerCut),
        1 => (0usize..2).prop_map(Step::Wiped),
        1 => Just(Step::Restart),
    ]
}

#[derive(Default)]
struct Model {
    seconds: i64,
    uids: u32,
    objects: u32,
    /// By name: whose palm it is, and the object.
    stored: BTreeMap<String, (u32, EnrolledUser)>,
    /// Enrollments on the desk's disk: name, and whose palm. A restart of the desk changes nothing of that.
    kept: Vec<(String, u32)>,
    /// The step at which the desk said last that it keeps none.
    kept_none: Option<u64>,
    roll: Roll,
    reports: BTreeMap<usize, (Option<DeviceText>, u64)>,
    doors: [Door; 2],
    /// Those of whom was said that all have forgotten them.
    forgotten: BTreeSet<u32>,
}

impl Model {
    fn now(&self) -> Timestamp {
        noon() + SignedDuration::from_secs(self.seconds)
    }

    fn see(&mut self, name: &str) {
        let Some((uid, user)) = self.stored.get(name) else {
            self.roll.take(name, None);
            return;
        };
        let standing = match user.metadata.deletion_timestamp {
            Some(_) => Standing::Leaving,
            None => Standing::Enrolled(Arc::new(profile(*uid))),
        };
        self.roll.take(name, Some((user.metadata.uid.as_deref().unwrap(), standing)));
    }

    fn take(&mut self, step: Step) {
        self.seconds += 3;
        match step {
            Step::Enroll(person) => {
                let name = format!("eu-{person}");
                self.uids += 1;
                self.enroll(&name, self.uids);
            }
            Step::EnrollUnheard(person) => {
                let name = format!("eu-{person}");
                self.uids += 1;
                self.kept.push((name.clone(), self.uids));
                self.enroll(&name, self.uids);
            }
            Step::Retell => {
                for (name, whose) in std::mem::take(&mut self.kept) {
                    self.enroll(&name, whose);
                }
            }
            Step::DeskReport if self.kept.is_empty() => self.kept_none = Some(self.roll.step),
            Step::DeskReport => {}
            Step::Delete(person) => {
                let (name, now) = (format!("eu-{person}"), self.now());
                if let Some((_, user)) = self.stored.get_mut(&name) {
                    user.metadata.deletion_timestamp.get_or_insert(Time(now));
                    self.see(&name);
                }
            }
            Step::Fetch(door) => self.doors[door].fetch(&self.roll),
            Step::Report(door) => {
                self.reports.insert(door, (self.doors[door].revision.clone(), self.roll.step));
            }
            Step::PowerCut(door) => self.doors[door].fetching = None,
            Step::Wiped(door) => self.doors[door] = Door::default(),
            Step::Restart => {
                self.roll = Roll::default();
                self.reports.clear();
                self.kept_none = None;
                for name in self.stored.keys().cloned().collect::<Vec<_>>() {
                    self.see(&name);
                }
            }
        }
        for name in self.stored.keys().cloned().collect::<Vec<_>>() {
            self.reconcile(&name);
        }
    }

    /// The gateway decides: a badge that is taken, also by who is leaving, is refused.
    fn enroll(&mut self, name: &str, whose: u32) {
        if !self.stored.contains_key(name) {
            self.objects += 1;
            self.stored.insert(name.to_owned(), (whose, user(name, self.objects)));
            self.see(name);
        }
    }

    fn reconcile(&mut self, name: &str) {
        let now = self.now();
        let Some((uid, user)) = self.stored.get(name).filter(|(_, user)| user.metadata.deletion_timestamp.is_some())
        else {
            return;
        };
        let uid_text = user.metadata.uid.as_deref().unwrap();
        let holder = |door: usize| Holder {
            name: format!("door-{door}"),
            confirmed: self
                .reports
                .get(&door)
                .and_then(|(held, heard)| self.roll.has_forgotten(name, uid_text, held.as_ref(), *heard)),
            why: Why::List,
        };
        let desk = Holder {
            name: "desk".to_owned(),
            confirmed: self.kept_none.and_then(|heard| self.roll.is_settled(name, uid_text, heard)),
            why: Why::Enrollment,
        };
        let facts = Facts {
            unreadable: 0,
            ends: false,
            readable: Ok(()),
            holders: (0..self.doors.len()).map(holder).chain([desk]).collect(),
            check_in: Duration::from_secs(3),
            written: None,
            now,
        };
        let (uid, plan) = (*uid, plan(user, &facts));
        for action in plan.actions {
            match action {
                Action::PatchStatus(patch) => {
                    let (_, user) = self.stored.get_mut(name).unwrap();
                    let mut status = serde_json::to_value(&user.status).unwrap();
                    json_patch::merge(&mut status, &patch);
                    user.status = serde_json::from_value(status).unwrap();
                }
                Action::TellUnEnrolled { abandoned, .. } => assert!(!abandoned),
                Action::Release { .. } => {
                    self.stored.remove(name);
                    self.see(name);
                    self.forgotten.insert(uid);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let unknown = Err(RecognitionFailure::PalmNotRecognized);
        for (number, door) in self.doors.iter().enumerate() {
            for uid in &self.forgotten {
                let found = door.recognizes(&palm(*uid, Hand::Right));
                prop_assert_eq!(found, unknown, "door {} knows {}", number, uid);
            }
        }
        for uid in &self.forgotten {
            let back = self.stored.values().any(|(whose, _)| whose == uid);
            prop_assert!(!back, "{} is enrolled again without having come", uid);
        }
        for (name, (uid, user)) in &self.stored {
            let people = self.roll.people().map(|(name, profile)| (name, profile.palms.as_slice()));
            let found = identify(&palm(*uid, Hand::Right), people);
            let expected =
                if user.metadata.deletion_timestamp.is_some() { unknown.map(|_: &str| name) } else { Ok(name) };
            prop_assert_eq!(found, expected);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn who_was_deleted_is_never_recognised_again_once_that_is_done(steps in proptest::collection::vec(step(), 1..80)) {
        let mut model = Model::default();
        for step in steps {
            model.take(step);
            model.check()?;
        }
        model.take(Step::Retell);
        model.take(Step::DeskReport);
        // When the doors have caught up, everybody who was deleted is gone, and the doors know who is enrolled and nobody else.
        for _ in 0..2 {
            for door in 0..model.doors.len() {
                for _ in 0..6 {
                    model.take(Step::Fetch(door));
                }
                model.take(Step::Report(door));
                model.check()?;
            }
        }
        let enrolled: Vec<_> = model.stored.keys().collect();
        prop_assert!(model.stored.values().all(|(_, user)| user.metadata.deletion_timestamp.is_none()), "{enrolled:?}");
        for door in &model.doors {
            prop_assert_eq!(door.list.keys().collect::<Vec<_>>(), enrolled.clone());
            prop_assert_eq!(door.revision.clone(), Some(model.roll.revision()));
        }
    }
}

fn enrolled(roll: &mut Roll, uids: impl Iterator<Item = u32>) {
    for uid in uids {
        let standing = Standing::Enrolled(Arc::new(profile(uid)));
        roll.take(&format!("eu-{uid:04}"), Some((&format!("uid-{uid}"), standing)));
    }
}

fn query(since: Option<DeviceText>, after: Option<DeviceText>) -> UserListQuery {
    UserListQuery { since, after }
}

#[test]
fn a_list_is_the_same_after_a_restart_and_costs_nothing_then() {
    let (mut before, mut after) = (Roll::default(), Roll::default());
    enrolled(&mut before, 0..10);
    before.take("eu-0003", Some(("uid-3", Standing::Leaving)));
    enrolled(&mut after, (0..10).rev().filter(|uid| *uid != 3));
    after.take("eu-0003", Some(("uid-3", Standing::Leaving)));
    assert_eq!(before.revision(), after.revision());
    assert_ne!(before.revision(), Roll::default().revision());
    let nothing = page(&after, &query(Some(before.revision()), None), 100).unwrap();
    assert!(!nothing.complete && nothing.users.is_empty() && nothing.removed.is_empty(), "{nothing:?}");
    let held = Some(before.revision());
    let known = after.has_forgotten("eu-0003", "uid-3", held.as_ref(), after.step);
    assert_eq!(known, Some(true), "it says who is on it");
}

#[test]
fn what_is_not_known_gets_the_whole_list_and_pages_that_are_lost_are_begun_anew() {
    let mut roll = Roll::default();
    enrolled(&mut roll, 0..5);
    let strange = Some("00000000000000000000abcd".try_into().unwrap());
    let first = page(&roll, &query(strange.clone(), None), LIMIT).unwrap();
    assert_eq!((first.complete, first.users.len()), (true, 2));
    let second = page(&roll, &query(strange, first.next.clone()), LIMIT).unwrap();
    assert_eq!((second.complete, second.users[0].user.as_str()), (true, "eu-0002"));
    let restarted = Roll::default();
    assert_eq!(page(&restarted, &query(None, first.next), LIMIT), Err(PageLost));
    for garbage in ["x", "c.", "i00000000000000000000abcd.eu-1"] {
        assert_eq!(page(&roll, &query(None, Some(garbage.try_into().unwrap())), LIMIT), Err(PageLost), "{garbage}");
    }
    // A list of changes goes on as one, or not at all.
    let known = Some(Roll::default().revision());
    let changes = page(&roll, &query(known, None), LIMIT).unwrap();
    assert!(!changes.complete && changes.next.is_some());
    let unknown = Some("00000000000000000000abcd".try_into().unwrap());
    assert_eq!(page(&roll, &query(unknown, changes.next), LIMIT), Err(PageLost));
}

#[test]
fn the_whole_name_of_a_page_fits_into_a_text_of_devices() {
    let mut roll = Roll::default();
    let name = |n: u8| format!("eu-{}", format!("{n:02x}").repeat(16));
    for n in 0..4 {
        roll.take(&name(n), Some(("u", Standing::Enrolled(Arc::new(profile(n.into()))))));
    }
    let first = page(&roll, &query(None, None), LIMIT).unwrap();
    assert_eq!(first.next.unwrap().as_str().len(), 61);
    roll.take(&"e".repeat(39), Some(("u", Standing::Enrolled(Arc::new(profile(9))))));
    assert_eq!((roll.len(), roll.unreadable()), (4, 1), "what no page could name is on none");
}

#[test]
fn memory_is_bounded_and_who_is_waited_for_is_not_forgotten() {
    let mut roll = Roll::default();
    enrolled(&mut roll, 0..1);
    let first = roll.revision();
    roll.take("eu-0000", Some(("uid-0", Standing::Leaving)));
    for uid in 1..2000 {
        enrolled(&mut roll, uid..=uid);
        roll.take(&format!("eu-{uid:04}"), None);
    }
    assert!(roll.gone.len() <= KEPT_REVISIONS && roll.len() == 0);
    assert_eq!(roll.leaving().collect::<Vec<_>>(), ["eu-0000"]);
    assert!(roll.profile("eu-0000", "uid-0").is_some(), "whom the event of the end names");
    assert!(roll.gone.values().all(|gone| gone.profile.is_none() || gone.step == 2), "nothing else is kept of anybody");
    let has = |held: Option<&DeviceText>, heard| roll.has_forgotten("eu-0000", "uid-0", held, heard);
    assert_eq!(has(Some(&first), roll.step), Some(false));
    assert_eq!(has(Some(&roll.revision()), roll.step), Some(true));
    assert_eq!(has(Some(&roll.revision()), 1), Some(false), "it may have fetched a list since");
    assert_eq!((has(None, 1), has(None, 2)), (Some(false), Some(true)));
    assert_eq!(roll.has_forgotten("eu-0001", "other", None, roll.step), None);
    assert!(page(&roll, &query(Some(first), None), LIMIT).unwrap().complete);
}
