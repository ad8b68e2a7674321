//! The example fleet as it stands.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::event::{DeviceChange, Event, MachineChange, MachineData, PersonData, Source};
use fleetform_domain::transition::{Connectivity, Health};
use fleetform_e2e::Cluster;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;

/// The devices and sites of one project.
pub(super) struct Fleet {
    client: Client,
    namespace: String,
    sites: BTreeMap<String, Site>,
    devices: Vec<DeviceInstance>,
}

/// What kubectl says it applied.
#[derive(Deserialize)]
struct Applied {
    items: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: Option<String>,
}

impl Fleet {
    /// Applies a kustomization that has one project.
    pub(super) async fn apply(cluster: &Cluster, folder: &Path) -> Result<Self> {
        let folder = folder.display().to_string();
        let answer = cluster.kubectl(&["apply", "--kustomize", folder.as_str(), "--output=json"], None).await?;
        let applied: Applied = serde_json::from_str(&answer).context("read what kubectl applied")?;
        let project = applied.items.into_iter().find(|object| object.kind == "Project");
        let namespace = project.and_then(|project| project.metadata.namespace).context("the example has no Project")?;
        Ok(Self { client: cluster.client(), namespace, sites: BTreeMap::new(), devices: Vec::new() })
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Reads it anew.
    pub(super) async fn look(&mut self) -> Result<()> {
        // From the API server's cache: it is looked at often, and late by no more than a moment.
        let any = ListParams::default().match_any();
        let sites = Api::<Site>::namespaced(self.client.clone(), &self.namespace).list(&any).await;
        let devices = Api::<DeviceInstance>::namespaced(self.client.clone(), &self.namespace).list(&any).await;
        let (sites, mut devices) = (sites.context("look at the sites")?, devices.context("look at the devices")?.items);
        devices.sort_by_key(|device| (device.spec.site_ref.name.clone(), device.name_any()));
        self.sites = sites.into_iter().map(|site| (site.name_any(), site)).collect();
        self.devices = devices;
        Ok(())
    }

    pub(super) fn devices(&self) -> &[DeviceInstance] {
        &self.devices
    }

    /// The display name of a device's site.
    pub(super) fn site_name<'a>(&'a self, device: &'a DeviceInstance) -> &'a str {
        let name = &device.spec.site_ref.name;
        self.sites.get(name).map_or(name, |site| &site.spec.display_name)
    }

    fn is_simulated(&self, device: &DeviceInstance) -> bool {
        self.sites.get(&device.spec.site_ref.name).is_some_and(Site::is_simulated)
    }

    /// How many simulated devices are Active, and how many there are.
    pub(super) fn simulated(&self) -> (usize, usize) {
        let simulated = || self.devices.iter().filter(|device| self.is_simulated(device));
        (simulated().filter(|device| device.phase() == Phase::Active).count(), simulated().count())
    }

    /// Whether all simulated devices are Active.
    pub(super) fn is_active(&self) -> bool {
        let (active, all) = self.simulated();
        all > 0 && active == all
    }

    /// One line that says how far it is.
    pub(super) fn in_a_line(&self) -> String {
        let count = |phase| self.devices.iter().filter(|device| device.phase() == phase).count();
        let (active, all) = self.simulated();
        let (needs, ready) = (count(Phase::NeedsConfiguration), count(Phase::ReadyForActivation));
        format!(
            "{active} of {all} simulated devices Active; of all {} devices {needs} need configuration, {ready} are ready \
             for activation",
            self.devices.len()
        )
    }
}

/// An event as one line.
pub(super) fn in_words(event: &Event) -> String {
    if let Some(detail) = event.person() {
        return format!("{}  {}", event.time, about_person(&event.detail_type, &detail.data));
    }
    if let Some(detail) = event.machine() {
        return format!("{}  {}", event.time, about_machine(&detail.data, &detail.metadata.site_name));
    }
    let Some(detail) = event.device() else { return format!("{}  {}", event.time, about(event)) };
    let data = &detail.data;
    let change = match data.change {
        DeviceChange::Connectivity { current_connectivity: Connectivity::Connected, .. } => "online",
        DeviceChange::Connectivity { current_connectivity: Connectivity::Disconnected, .. } => "offline",
        DeviceChange::Health { current_health_status: Health::Healthy, .. } => "healthy",
        DeviceChange::Health { current_health_status: Health::Critical, .. } => "critical",
    };
    let (device, site) = (&data.device_instance_name, &detail.metadata.site_name);
    format!("{}  {change:<8}  {device}, {site} (asset tag {})", event.time, data.asset_tag_id)
}

/// Of a person it says where and what, and nothing of who.
fn about_person(detail_type: &str, data: &PersonData) -> String {
    let what = match detail_type {
        "New Successful Enrollment" => "enrolled",
        "Unsuccessful Enrollment" => "not enrolled",
        "New Successful Un-enrollment" => "forgotten",
        "Unsuccessful Un-enrollment" => "not forgotten",
        "Successful Recognition" => "recognised",
        "Unsuccessful Recognition" => "not recognised",
        other => other,
    };
    let (Source::Enrollment { enrollment_source: place, .. } | Source::Request { request_source: place, .. }) =
        &data.source;
    let reason = data.reason.as_deref().map(|reason| format!(": {}", reason.replace('_', " ").to_lowercase()));
    format!("{what:<8}  a person, by {place}{}", reason.unwrap_or_default())
}

fn about_machine(data: &MachineData, site: &str) -> String {
    let what = match data.change {
        MachineChange::State { current_state, .. } => current_state.to_string().to_lowercase(),
        MachineChange::Phase { current_phase, .. } => format!("{current_phase:?}").to_lowercase(),
    };
    let cause = match &data.change {
        MachineChange::State { cause: Some(cause), .. } => format!(": {cause}"),
        _ => String::new(),
    };
    format!("{what:<8}  {} at {}, {site} (alert {}){cause}", data.position, data.asset_name, data.alert)
}

/// What happened, and the kind and id of what it happened to.
fn about(event: &Event) -> String {
    let whom = event.resources.first().map(ToString::to_string).unwrap_or_default();
    let whom = whom.rsplit(':').next().unwrap_or_default().replacen('/', " ", 1);
    format!("{}  {whom}", event.detail_type)
}

#[cfg(test)]
mod tests {
    use fleetform_domain::event::{
        AlertFact, AlertSubject, Occasion, Person, alert_event, person_event, person_event_id,
    };
    use fleetform_domain::id::{Installation, ResourceId};
    use fleetform_domain::machines::MachineState;
    use fleetform_domain::people::{BadgeNumber, RecognitionFailure};

    use super::*;

    fn here() -> Installation {
        Installation::new("aws", "us-east-1", "123456789012").unwrap()
    }

    fn event(occasion: Occasion) -> Event {
        let badge = BadgeNumber::try_from("1111358294500".to_owned()).unwrap();
        let source = ResourceId::of("front-desk");
        let time = "2026-03-01T09:00:00Z".parse().unwrap();
        let person = Person { id: person_event_id("a", 1), time, source: &source, badge: Some(&badge) };
        person_event(&here(), &person, occasion)
    }

    #[test]
    fn people_are_not_named() {
        let place = ResourceId::of("front-desk");
        for (occasion, expected) in [
            (Occasion::Enrolled, "enrolled  a person, by "),
            (Occasion::UnEnrolled, "forgotten  a person, by "),
            (Occasion::NotRecognized(RecognitionFailure::PalmNotReadable), "not recognised  a person, by "),
        ] {
            let words = in_words(&event(occasion));
            assert!(words.starts_with(&format!("2026-03-01T09:00:00Z  {expected}{place}")), "{words}");
            assert!(!words.contains("4500"), "{words}");
        }
    }

    #[test]
    fn an_alert_is_said_with_what_was_measured() {
        let id = ResourceId::of("pump");
        let (asset_arn, site_arn) = (here().asset_arn(&id), here().site_arn(&id));
        let subject = AlertSubject {
            uid: "u",
            name: "pump-1.drive-end.1",
            asset_arn: &asset_arn,
            asset_name: "Pump 1",
            position: "drive-end",
            sensor: None,
            site_name: "Boiler house",
            site_arn: &site_arn,
        };
        let at = "2026-03-01T09:00:00Z".parse().unwrap();
        let raised = AlertFact::Raised { at, level: MachineState::Warning, cause: "above 2.8 mm/s" };
        assert_eq!(
            in_words(&alert_event(&here(), &subject, &raised)),
            "2026-03-01T09:00:00Z  warning   drive-end at Pump 1, Boiler house (alert pump-1.drive-end.1): above 2.8 mm/s"
        );
    }

    #[test]
    fn what_is_not_known_is_said_as_it_is_called() {
        let mut other = event(Occasion::Enrolled);
        other.detail_type = "Asset State Changed To Alarm".into();
        other.resources = vec![here().asset_arn(&ResourceId::of("pump"))];
        assert_eq!(about(&other), format!("Asset State Changed To Alarm  asset {}", ResourceId::of("pump")));
    }
}
