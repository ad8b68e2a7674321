//! Profiles are sealed for one Project.

use std::sync::Arc;

use fleetform_crds::{EnrolledUser, Project};
use fleetform_domain::wire::DeviceText;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::fixtures::{data_keys, user};
use super::super::roll::{Roll, Standing};
use super::super::{Directory, Unreadable};
use super::{enrolled, profile};
use crate::cache::{Name, Scope, World};
use crate::controllers::fixtures;
use crate::vault;

#[test]
fn nobody_stays_known_when_the_project_is_another_one() {
    let mut roll = Roll::default();
    roll.belongs_to("p");
    enrolled(&mut roll, 0..3);
    roll.take("eu-0000", Some(("uid-0", Standing::Leaving)));
    let (held, step) = (roll.revision(), roll.step);
    roll.belongs_to("p");
    assert!(roll.is_of("p") && !roll.is_of("q"));
    assert_eq!((roll.len(), roll.step), (2, step), "the same Project changes nothing");
    roll.belongs_to("q");
    assert_eq!((roll.len(), roll.revision()), (0, Roll::default().revision()));
    assert!((0..3).all(|uid| roll.profile(&format!("eu-{uid:04}"), &format!("uid-{uid}")).is_none()));
    // Doors have their lists until they say otherwise, and those who leave are waited for.
    roll.take("eu-0001", Some(("uid-1", Standing::Unreadable)));
    roll.take("eu-0001", Some(("uid-1", Standing::Leaving)));
    assert_eq!(roll.leaving().collect::<Vec<_>>(), ["eu-0000", "eu-0001"]);
    let forgotten = |held: &DeviceText| roll.has_forgotten("eu-0001", "uid-1", Some(held), roll.step);
    assert_eq!((forgotten(&held), forgotten(&roll.revision())), (Some(false), Some(true)));
}

fn project(uid: &str, version: u32) -> Project {
    let mut project = fixtures::project();
    (project.metadata.uid, project.metadata.resource_version) = (Some(uid.to_owned()), Some(version.to_string()));
    vault::tests::with_data_key(project)
}

fn directory() -> Directory {
    Directory::new(Arc::new(vault::tests::vault()))
}

#[test]
fn a_person_is_known_in_the_project_that_the_profile_was_sealed_for_and_in_no_other() {
    let (directory, world) = (directory(), World::new(vec![Scope::All]));
    let mut person: EnrolledUser = user("eu-1", 1);
    person.spec.sealed_profile = profile(1).seal(&data_keys("p"), "eu-1", [1; 16]);
    let name = Name::of(&person);
    world.own_user(person.clone());
    world.own_project(project("p", 2));
    directory.take(&world, &name);
    assert_eq!(directory.counts(), (1, 0));
    // The next one is here, and nobody has taken anything since.
    world.own_project(project("q", 3));
    assert!(matches!(directory.profile(&world, &person), Err(Unreadable::Sealed(_))));
    directory.take(&world, &name);
    assert_eq!(directory.counts(), (0, 1));
}

#[test]
fn a_namespace_that_is_gone_is_let_go_and_what_was_said_in_it_proves_nothing_of_the_next_one() {
    let (directory, world) = (directory(), World::new(vec![Scope::All]));
    let sealed = |uid, version: u32, project| {
        let mut person = user("eu-1", uid);
        person.spec.sealed_profile = profile(uid).seal(&data_keys(project), "eu-1", [1; 16]);
        person.metadata.resource_version = Some(version.to_string());
        person
    };
    let person = sealed(1, 2, "p");
    let name = Name::of(&person);
    world.own_project(project("p", 1));
    world.own_user(person);
    directory.take(&world, &name);
    world.users.forget(&name);
    directory.take(&world, &name);
    let said = directory.step("library");
    assert!(said > 0 && directory.rolls.read().of.contains_key("library"), "its Project is there");
    world.projects.forget(&Name::new("library", "project"));
    let _waits = directory.changes("library");
    directory.take(&world, &name);
    assert!(directory.rolls.read().of.is_empty() && directory.waiting.lock().is_empty());
    world.own_project(project("q", 10));
    let mut person = sealed(2, 11, "q");
    world.own_user(person.clone());
    directory.take(&world, &name);
    assert_eq!(directory.counts(), (1, 0));
    let uid = person.metadata.uid.clone().unwrap();
    person.metadata.deletion_timestamp = Some(Time(fixtures::noon()));
    person.metadata.resource_version = Some("12".to_owned());
    world.own_user(person);
    directory.take(&world, &name);
    assert_eq!(directory.is_settled(&name, &uid, said), Some(false));
    assert_eq!(directory.has_forgotten(&name, &uid, None, said), Some(false));
    assert_eq!(directory.is_settled(&name, &uid, directory.step("library")), Some(true));
}
