//! Software, refused configurations, and networks that change.

use super::*;
use crate::credentials::Known;

fn refuses(version: u32, reason: RefusalReason) -> impl FnOnce(&mut Report) {
    move |report| report.refused = Some(RefusedConfiguration { version, reason })
}

/// An active device that runs version 1, and is to run version 2.
fn changed() -> Scene {
    let mut scene = Scene::active();
    scene.report(Some(1), &[]);
    scene.settle();
    let other = Configuration { maximum_offline_minutes: Some(600), ..fixtures::entry() };
    scene.template = Some(fixtures::template(other, 2));
    scene.settle();
    scene
}

#[test]
fn a_refused_configuration_is_shown_with_its_remedy_until_it_is_another() {
    let mut scene = changed();
    scene.report_with(Some(1), &[], refuses(2, RefusalReason::GatewayUnreachable));
    assert_eq!(scene.settle(), 2, "the status, and one Event");
    assert_eq!(scene.ready(), ("False", "ConfigurationRefused"));
    assert!(scene.message().contains("version 2 (GatewayUnreachable), and it runs version 1"), "{}", scene.message());
    assert!(scene.condition("Stalled").contains("check ssid and passphrase"), "a person has to change something");
    assert_eq!(scene.settle(), 0, "it says the same again");

    scene.template = Some(fixtures::template(fixtures::entry(), 3));
    scene.settle();
    assert_eq!(scene.ready(), ("False", "ConfigurationPending"), "version 3 was not refused");
    scene.report_with(Some(1), &[], refuses(2, RefusalReason::GatewayUnreachable));
    assert_eq!(scene.settle(), 0, "what it says of an earlier version is no news");
    scene.report(Some(3), &[]);
    scene.settle();
    assert_eq!(scene.ready(), ("True", "ConfigurationApplied"));
}

#[test]
fn what_the_device_tries_again_does_not_stall() {
    let mut scene = changed();
    scene.report_with(Some(1), &[], refuses(2, RefusalReason::DownloadFailed));
    assert_eq!(scene.settle(), 1);
    assert_eq!(scene.ready(), ("False", "ConfigurationRefused"));
    assert_eq!(scene.condition("Stalled"), "");
    scene.report(Some(2), &[]);
    scene.settle();
    assert_eq!(scene.ready(), ("True", "ConfigurationApplied"));
}

#[test]
fn a_device_that_leaves_takes_its_refusal_along() {
    let mut scene = changed();
    scene.report_with(Some(1), &[], refuses(2, RefusalReason::NotSupported));
    scene.settle();
    scene.device.spec.activation.epoch += 1;
    scene.settle();
    let configuration = scene.device.status.as_ref().unwrap().configuration.clone().unwrap();
    assert_eq!((configuration.desired, configuration.refused), (2, None));
}

#[test]
fn progress_is_told_in_few_steps() {
    let mut scene = changed();
    let mut writes = 0;
    for percent in 0..=100 {
        let check_in = CheckInRequest {
            applied_configuration_version: Some(1),
            software_update: Some(SoftwareUpdate {
                version: "1.4.0".try_into().unwrap(),
                state: UpdateState::Downloading,
                percent,
            }),
            ..CheckInRequest::new("boot".try_into().unwrap(), percent.into(), "1.0.0".try_into().unwrap())
        };
        scene.liveness = Liveness::Reporting(Box::new(Report::new(check_in, 0, scene.now)));
        writes += scene.settle();
        if percent == 60 {
            assert_eq!(scene.message(), "the device downloads software 1.4.0: 50 % or more is there");
        }
    }
    assert_eq!(writes, 5, "at 0, 25, 50, 75 and 100 percent");
    scene.report_with(Some(2), &[], |report| report.software_version = "1.4.0".try_into().unwrap());
    assert_eq!(scene.settle(), 1);
    let device = scene.device.status.as_ref().unwrap().device.clone().unwrap();
    assert_eq!((device.software_version.as_deref(), device.software_update), (Some("1.4.0"), None));
}

fn usable(digest: &str, names_network: bool) -> WifiSecret {
    WifiSecret::Usable { name: "lobby".into(), known: Known { digest: digest.into(), names_network } }
}

#[test]
fn new_credentials_are_a_new_version() {
    let mut scene = Scene::from_template();
    scene.join("lobby");
    scene.wifi = usable("one", true);
    scene.settle();
    scene.redeem();
    scene.report(Some(1), &[]);
    scene.settle();
    assert_eq!(scene.settle(), 0);
    scene.wifi = usable("two", true);
    assert_eq!(scene.settle(), 1);
    let configuration = scene.device.status.as_ref().unwrap().configuration.clone().unwrap();
    assert_eq!(configuration.desired, 2);
    let made_with: Vec<_> = configuration.history.iter().map(|v| v.credentials.clone().unwrap().digest).collect();
    assert_eq!(made_with, ["one", "two"]);
    assert_eq!(configuration.history[0].digest, configuration.history[1].digest, "all else is the same");
}

#[test]
fn a_network_needs_a_name() {
    let mut scene = Scene::from_template();
    scene.join("lobby");
    scene.wifi = usable("one", false);
    scene.settle();
    assert_eq!(scene.ready(), ("False", "SecretUnusable"));
    assert!(scene.message().contains("the Secret lobby has no key ssid: set one of them"), "{}", scene.message());
}
