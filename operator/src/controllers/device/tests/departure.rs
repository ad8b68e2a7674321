//! Devices that hold a list of the enrolled users, and leave.

use fleetform_crds::device_instance::ENROLLED_USERS_FINALIZER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

/// An active door that was told to hold a list.
fn door() -> Scene {
    let mut scene = Scene::from_template();
    scene.template.as_mut().unwrap().spec.configuration.offline_recognition = Some(true);
    scene.settle();
    assert!(scene.device.metadata.finalizers.is_none(), "nobody holds a list yet");
    scene.redeem();
    scene.settle();
    scene.report(Some(1), &[]);
    scene.settle();
    scene
}

fn delete(scene: &mut Scene) {
    scene.device.metadata.deletion_timestamp = Some(Time(scene.now));
}

fn former(scene: &Scene) -> Vec<&str> {
    let formers = scene.device.status.iter().flat_map(|status| &status.former_devices);
    formers.filter_map(|former| former.association_id.as_deref()).collect()
}

#[test]
fn an_instance_is_held_before_its_device_gets_a_list_and_no_other_is() {
    let scene = door();
    assert_eq!(scene.device.metadata.finalizers, Some(vec![ENROLLED_USERS_FINALIZER.to_owned()]));
    assert!(Scene::active().device.metadata.finalizers.is_none());
}

#[test]
fn a_device_that_is_deactivated_is_remembered_until_it_has_heard_so_or_its_time_is_over() {
    let mut scene = door();
    scene.device.spec.activation.epoch = 1;
    let mut told = scene.clone();
    told.left = vec!["association".into()];
    told.settle();
    assert!(former(&told).is_empty(), "it heard so at once");
    scene.settle();
    assert_eq!(former(&scene), ["association"]);
    // The next device changes nothing of that.
    scene.redeem();
    scene.settle();
    assert_eq!(former(&scene), ["association"]);
    let mut late = scene.clone();
    late.pass(SignedDuration::from_hours(7 * 24 + 1));
    late.settle();
    assert!(former(&late).is_empty());
    scene.left = vec!["association".into()];
    assert_eq!((scene.settle(), former(&scene).len()), (1, 0));
}

#[test]
fn a_deleted_instance_stays_until_its_device_has_heard_so_or_its_time_is_over() {
    let mut scene = door();
    delete(&mut scene);
    let mut told = scene.clone();
    insta::assert_json_snapshot!("deleted_and_held", scene.plan());
    assert_eq!(scene.settle(), 1, "it says what it waits for");
    scene.pass(SignedDuration::from_hours(7 * 24 + 1));
    told.left = vec!["association".into()];
    for scene in [&mut scene, &mut told] {
        assert_eq!(scene.settle(), 1);
        assert_eq!(scene.device.metadata.finalizers, Some(Vec::new()));
    }
}

#[test]
fn what_nobody_waits_for_goes_at_once() {
    let mut without_project = door();
    without_project.project = None;
    let mut inactive = door();
    inactive.device.spec.activation.epoch = 1;
    inactive.left = vec!["association".into()];
    inactive.settle();
    assert!(inactive.code.is_some());
    for mut scene in [without_project, inactive] {
        delete(&mut scene);
        scene.settle();
        assert_eq!((scene.device.metadata.finalizers.clone(), scene.code.is_some()), (Some(Vec::new()), false));
    }
    let mut of_others = Scene::active();
    of_others.device.metadata.finalizers = Some(vec!["example.org/other".into()]);
    delete(&mut of_others);
    assert!(of_others.plan().actions.is_empty());
}
