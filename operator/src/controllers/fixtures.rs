//! A small fleet for tests of plans.

use fleetform_crds::config_template::ConfigTemplateStatus;
use fleetform_crds::{
    Alert, AlertSpec, Asset, AssetSpec, ConfigTemplate, ConfigTemplateSpec, DeviceInstance, DeviceInstanceSpec,
    Project, ProjectSpec, Site, SiteSpec,
};
use fleetform_domain::configuration::{BadgeFormat, Configuration, ControlPanel, DeviceType, OperationMode, Osdp};
use fleetform_domain::id::Installation;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use serde_json::json;

use crate::activation::code::Mint;
use crate::events::History;
use crate::settings::CodeSettings;

/// When it all begins; objects were created a minute before.
pub(crate) fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// All that is recorded is told.
pub(crate) fn told() -> History {
    History { passed: Some(Timestamp::MAX), has_room: false }
}

pub(crate) fn installation() -> Installation {
    Installation::new("aws", "us-east-1", "123456789012").unwrap()
}

pub(crate) fn mint() -> Mint {
    Mint {
        installation: [7; 32],
        gateway: "https://gateway.example.org:8443".into(),
        pin: "p".repeat(43),
        settings: CodeSettings { validity: SignedDuration::from_hours(24), fresh_for: SignedDuration::from_hours(3) },
    }
}

fn stored<K: Resource>(mut object: K, uid: u32) -> K {
    let meta = object.meta_mut();
    meta.namespace = Some("library".into());
    meta.uid = Some(format!("00000000-0000-4000-8000-{uid:012}"));
    meta.generation = Some(1);
    meta.resource_version = Some("1".into());
    meta.creation_timestamp = Some(Time(noon() - SignedDuration::from_mins(1)));
    object
}

pub(crate) fn project() -> Project {
    let spec = ProjectSpec {
        display_name: "Library".into(),
        tags: Vec::new(),
        deletion_confirmation: None,
        encryption: None,
        directory: None,
        quotas: None,
    };
    stored(Project::new("project", spec), 1)
}

pub(crate) fn site() -> Site {
    let spec: SiteSpec = serde_json::from_value(json!({
        "displayName": "Central Library",
        "address": {
            "addressLine1": "1000 Fourth Avenue", "city": "Seattle", "stateOrRegion": "WA", "postalCode": "98104",
            "countryCode": "US",
        },
    }))
    .unwrap();
    stored(Site::new("central", spec), 2)
}

pub(crate) fn entry() -> Configuration {
    Configuration {
        operation_mode: Some(OperationMode::Entry),
        wifi: None,
        control_panel: Some(ControlPanel { osdp: Some(Osdp::default()), wiegand: None }),
        badge_format: Some(BadgeFormat::standard_26_bit()),
        io: None,
        maximum_offline_minutes: None,
        software: None,
        offline_recognition: None,
        consent_version: None,
    }
}

pub(crate) fn enrollment() -> Configuration {
    Configuration { operation_mode: Some(OperationMode::Enrollment), ..Configuration::default() }
}

/// A template that the operator has looked at.
pub(crate) fn template(configuration: Configuration, revision: u32) -> ConfigTemplate {
    let digest = configuration.digest();
    let spec =
        ConfigTemplateSpec { display_name: "Entry doors".into(), configuration, rollout: None, tags: Vec::new() };
    let mut template = stored(ConfigTemplate::new("entry", spec), 3);
    template.status = Some(ConfigTemplateStatus {
        observed_generation: Some(1),
        revision: Some(revision),
        digest: Some(digest),
        ..ConfigTemplateStatus::default()
    });
    template
}

/// A reader at the central library's main entrance.
pub(crate) fn device(configuration: &serde_json::Value) -> DeviceInstance {
    let spec: DeviceInstanceSpec = serde_json::from_value(json!({
        "siteRef": { "name": "central" },
        "displayName": "Main entrance",
        "deviceType": DeviceType::Reader,
        "configuration": configuration,
    }))
    .unwrap();
    stored(DeviceInstance::new("main-entrance", spec), 4)
}

/// A pump at the central library, with two positions.
pub(crate) fn asset() -> Asset {
    let spec: AssetSpec = serde_json::from_value(json!({
        "siteRef": { "name": "central" },
        "displayName": "Pump 1",
        "machineClass": "ClassII",
        "positions": [{ "name": "drive-end" }, { "name": "fan-end" }],
    }))
    .unwrap();
    stored(Asset::new("pump", spec), 5)
}

/// A gateway at the central library.
pub(crate) fn gateway(name: &str) -> DeviceInstance {
    let spec: DeviceInstanceSpec = serde_json::from_value(json!({
        "siteRef": { "name": "central" }, "displayName": "Hall gateway", "deviceType": DeviceType::Gateway,
    }))
    .unwrap();
    stored(DeviceInstance::new(name, spec), 6)
}

/// A sensor at this position of the pump, which is to report through this gateway.
pub(crate) fn sensor(position: &str, gateway: &str) -> DeviceInstance {
    let spec: DeviceInstanceSpec = serde_json::from_value(json!({
        "siteRef": { "name": "central" },
        "displayName": "Pump 1, drive end",
        "deviceType": DeviceType::Sensor,
        "configuration": { "sensor": {
            "assetRef": { "name": "pump" }, "position": position, "gatewayRef": { "name": gateway },
        } },
        "activation": { "expectedAssetTagId": "VT-0001" },
    }))
    .unwrap();
    stored(DeviceInstance::new("pump-drive-end", spec), 7)
}

/// The alert of this number about the drive end of the pump, as it was raised.
pub(crate) fn alert(number: u32) -> Alert {
    let spec: AlertSpec = serde_json::from_value(json!({
        "assetRef": { "name": "pump" },
        "position": "drive-end",
        "level": "Warning",
        "raisedAt": "2026-01-01T12:00:00Z",
        "cause": "vibration velocity (RMS) was above 2.8 mm/s three times in a row, last 3.1 mm/s",
    }))
    .unwrap();
    let mut alert = stored(Alert::new(&format!("pump.drive-end.{number}"), spec), 100 + number);
    let owner = json!([{
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "Asset", "name": "pump", "uid": asset().metadata.uid,
    }]);
    alert.metadata.owner_references = serde_json::from_value(owner).unwrap();
    let conditions: Vec<_> = fleetform_crds::alert::RAISED
        .iter()
        .map(|(type_, status, reason, message)| {
            json!({
                "type": type_.as_str(), "status": status.as_str(), "reason": reason.as_str(), "message": message,
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            })
        })
        .collect();
    alert.status = Some(serde_json::from_value(json!({ "phase": "Raised", "conditions": conditions })).unwrap());
    alert
}
