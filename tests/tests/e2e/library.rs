//! The examples, as people apply them and look at them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::condition::{ConditionType, is_true};
use fleetform_crds::{ConfigTemplate, DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::event::{DeviceChange, Event};
use fleetform_domain::transition::{Connectivity, Health};
use fleetform_e2e::installation::{ACCOUNT, REGION};
use fleetform_e2e::wait::{self, Look};
use kube::ResourceExt;

use super::project::{LIMIT, Project};
use super::stage::Stage;

const NAMESPACE: &str = "library";

/// Forty readers that are simulated, and one that waits for a person.
const SIMULATED: usize = 40;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)
}

pub(crate) async fn the_example_fleet_goes_to_active(stage: Arc<Stage>) -> Result<()> {
    let overlay = example("library/overlays/demo").display().to_string();
    stage.cluster().kubectl(&["apply", "--kustomize", overlay.as_str()], None).await?;
    let library = Project { stage, namespace: NAMESPACE.to_owned() };
    let devices = wait::until("all simulated devices to be Active", LIMIT, async || {
        let devices = library.devices().await?;
        let active = devices.iter().filter(|device| device.phase() == Phase::Active).count();
        let done = active == SIMULATED && devices.len() == SIMULATED + 1;
        Ok(if done { Look::Done(devices) } else { Look::NotYet(format!("{active} of {}", devices.len())) })
    })
    .await?;
    kubectl_waits_for_it(&library).await?;
    every_device_runs_what_it_should(&library).await?;
    sums_are_right(&library).await?;
    // Only the one that waits for a person has a code.
    library.until_codes_are(&["fremont-front-desk-activation-qr"]).await?;
    everybody_came_online_once(&library, &devices).await?;
    it_reads_well(&library).await
}

async fn kubectl_waits_for_it(library: &Project) -> Result<()> {
    let wait = ["wait", "--for=condition=Ready", "deviceinstances", "--all", "--namespace=library", "--timeout=60s"];
    let said = library.stage.cluster().kubectl(&wait, None).await?;
    let met = said.lines().filter(|line| line.ends_with("condition met")).count();
    ensure!(met == SIMULATED + 1, "kubectl wait says: {said}");
    for kind in ["project", "site", "configtemplate"] {
        let wait = ["wait", "--for=condition=Ready", kind, "--all", "--namespace=library", "--timeout=60s"];
        library.stage.cluster().kubectl(&wait, None).await?;
    }
    Ok(())
}

async fn every_device_runs_what_it_should(library: &Project) -> Result<()> {
    let mut ids = BTreeSet::new();
    for device in library.devices().await? {
        let name = device.name_any();
        let status = device.status.context("it has a status")?;
        let id = status.device_instance_id.context("it has an id")?;
        let id = id.as_str();
        ensure!(id.len() == 14 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name} has id {id}");
        let arn = format!("arn:aws:one:{REGION}:{ACCOUNT}:device-instance/{id}");
        ensure!(status.arn.as_ref().is_some_and(|found| found.as_str() == arn), "{name} has ARN {:?}", status.arn);
        ensure!(ids.insert(id.to_owned()), "two devices have id {id}");
        ensure!(status.observed_generation == device.metadata.generation, "{name} is current");
        if status.phase != Some(Phase::Active) {
            continue;
        }
        let configuration = status.configuration.context("it is configured")?;
        ensure!(configuration.applied == Some(configuration.desired), "{name} runs {:?}", configuration.applied);
        ensure!(status.connectivity == Some(Connectivity::Connected), "{name} is {:?}", status.connectivity);
        ensure!(status.health == Some(Health::Healthy), "{name} is {:?}", status.health);
        ensure!(status.device.is_some_and(|device| device.asset_tag_id.starts_with("SIM-")), "{name} is simulated");
        let activation = status.activation.context("it was activated")?;
        ensure!(activation.secret_name.is_none() && activation.sequence == 1, "{name}: {activation:?}");
    }
    Ok(())
}

async fn sums_are_right(library: &Project) -> Result<()> {
    let sums = |status: &fleetform_crds::ProjectStatus| {
        (status.site_count, status.device_instance_count, status.activated_count) == (4, 41, 40)
    };
    library.until_any("project", "summed up", |p: &ProjectObject| p.status.as_ref().is_some_and(sums)).await?;
    for (site, devices, active) in
        [("central-library", 22, 22), ("ballard-branch", 9, 9), ("capitol-hill-branch", 9, 9), ("fremont-branch", 1, 0)]
    {
        let status = library
            .until_any(site, &format!("{active} of {devices}"), |site: &Site| {
                let status = site.status.clone().unwrap_or_default();
                (status.device_instance_count, status.activated_count) == (devices, active)
            })
            .await?
            .status
            .unwrap_or_default();
        ensure!(is_true(&status.conditions, ConditionType::FullyEquipped) == (devices > 1), "{site}: {status:?}");
        let (id, arn) = (status.site_id.context("a site has an id")?, status.arn.context("a site has an ARN")?);
        ensure!(arn.as_str() == format!("arn:aws:one:{REGION}:{ACCOUNT}:site/{}", id.as_str()), "{site}: {arn:?}");
    }
    let mut total = 0;
    for template in ["entry-door", "enrollment-desk"] {
        let template = library
            .until_any(template, "applied everywhere", |template: &ConfigTemplate| {
                let devices = template.status.as_ref().map(|status| status.devices).unwrap_or_default();
                // The one that waits for a person has nothing to apply it.
                devices.total > 0 && devices.total == devices.updated && devices.total - devices.applied <= 1
            })
            .await?;
        total += template.status.map_or(0, |status| status.devices.total);
    }
    ensure!(total == 41, "templates are used by {total} devices");
    Ok(())
}

/// Exactly one event for each device, and each in the shape of the guides.
async fn everybody_came_online_once(library: &Project, devices: &[DeviceInstance]) -> Result<()> {
    let arns: BTreeMap<String, &DeviceInstance> = devices
        .iter()
        .filter(|device| device.phase() == Phase::Active)
        .filter_map(|device| Some((device.status.as_ref()?.arn.as_ref()?.as_str().to_owned(), device)))
        .collect();
    let ours = |event: &Event| event.resources.iter().any(|arn| arns.contains_key(arn.as_str()));
    let events = wait::until("an event of every device", LIMIT, async || {
        let events: Vec<_> = library.stage.installation.events()?.into_iter().filter(ours).collect();
        Ok(if events.len() >= SIMULATED { Look::Done(events) } else { Look::NotYet(format!("{}", events.len())) })
    })
    .await?;
    ensure!(events.len() == SIMULATED, "{} events instead of one for each device", events.len());
    let mut seen = BTreeSet::new();
    for event in events {
        let [arn] = &event.resources[..] else { anyhow::bail!("one resource: {event:?}") };
        let device = arns.get(arn.as_str()).context("the event is about a device of the library")?;
        ensure!(seen.insert(arn.as_str().to_owned()), "two events of {arn:?}");
        let head = (event.version.as_str(), event.source.as_str(), event.account.as_str(), event.region.as_str());
        ensure!(head == ("0", "aws.one", ACCOUNT, REGION), "{event:?}");
        ensure!(event.detail_type == "Device Connectivity Changed To Online", "{event:?}");
        ensure!(event.time.ends_with('Z') && event.time.len() == "2026-01-01T00:00:00Z".len(), "{event:?}");
        let detail = event.device().context("an event about a device")?;
        ensure!(detail.version == "1.0.0", "{event:?}");
        let site_arn = format!("arn:aws:one:{REGION}:{ACCOUNT}:site/");
        ensure!(detail.metadata.site_arn.as_str().starts_with(&site_arn), "{event:?}");
        let change = DeviceChange::Connectivity {
            current_connectivity: Connectivity::Connected,
            previous_connectivity: Connectivity::Disconnected,
        };
        ensure!(detail.data.change == change, "{event:?}");
        ensure!(detail.data.device_instance_name == device.spec.display_name, "{event:?}");
        ensure!(detail.data.asset_tag_id.starts_with("SIM-"), "{event:?}");
    }
    Ok(())
}

/// What people see first, they understand.
async fn it_reads_well(library: &Project) -> Result<()> {
    let cluster = library.stage.cluster();
    let all = cluster.kubectl(&["get", "fleetform", "--namespace=library"], None).await?;
    let has = |text: &str, words: &[&str]| text.lines().any(|line| line.split_whitespace().eq(words.iter().copied()));
    ensure!(has(&all, &["NAME", "DISPLAY", "NAME", "READY", "SITES", "DEVICES", "ACTIVE", "AGE"]), "{all}");
    ensure!(has(&all, &["NAME", "DISPLAY", "NAME", "READY", "DEVICES", "ACTIVE", "AGE"]), "{all}");
    ensure!(has(&all, &["NAME", "MODE", "READY", "REVISION", "DEVICES", "UPDATED", "ROLLOUT", "AGE"]), "{all}");
    ensure!(has(&all, &["NAME", "SITE", "PHASE", "READY", "MODE", "CONNECTIVITY", "HEALTH", "LOCK", "AGE"]), "{all}");
    let row = all.lines().find(|line| line.starts_with("deviceinstance.fleetform.dev/ballard-main-entrance "));
    let row: Vec<_> = row.context("a row for each device")?.split_whitespace().collect();
    ensure!(row[1..7] == ["ballard-branch", "Active", "True", "Entry", "CONNECTED", "HEALTHY"], "{row:?}");
    ensure!(all.lines().any(|line| line.starts_with("project.fleetform.dev/project ")), "{all}");

    let explained = cluster.kubectl(&["explain", "deviceinstance.spec"], None).await?;
    for line in [
        "KIND:       DeviceInstance",
        "siteRef\t<Object> -required-",
        "deviceType\t<string> -required-",
        "The Site where the device is. Fixed while a device is associated.",
        "enum: Reader, Gateway, Sensor",
    ] {
        ensure!(explained.contains(line), "kubectl explain does not say `{line}`:\n{explained}");
    }
    for (field, words) in [
        ("deviceinstance.spec.activation.epoch", "raise it to deactivate the device"),
        ("deviceinstance.status.phase", "ReadyForActivation"),
        ("site.spec.address.postalCode", "FIELD: postalCode"),
    ] {
        let explained = cluster.kubectl(&["explain", field], None).await?;
        // It breaks lines where it likes.
        let flat = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(flat.contains(words), "kubectl explain {field} does not say `{words}`:\n{explained}");
    }
    Ok(())
}
