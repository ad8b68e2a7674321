//! Whatever is killed, at whatever moment: started again, it ends where it would have ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::condition::ConditionType;
use fleetform_crds::{DeviceInstance, Project as ProjectObject, Site};
use fleetform_domain::activation::Phase;
use fleetform_domain::event::DeviceChange;
use fleetform_domain::transition::Connectivity;
use fleetform_e2e::Component;
use fleetform_e2e::installation::NAMESPACE;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::device::DeviceError;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::audit;
use super::devices::{activated, checking_in};
use super::project::{LIMIT, Project, SITE, condition, reader, site};
use super::stage::Stage;

/// Devices of a wave.
const WAVE: usize = 30;

/// A project whose site the simulator plays, with so many devices that nobody has looked at yet.
async fn wave(stage: &Arc<Stage>, prefix: &str) -> Result<Project> {
    let project = Project::new(stage, prefix).await?;
    let mut simulated = site();
    simulated["simulation"] = json!({ "enabled": true });
    project.patch::<Site>(SITE, json!({ "spec": simulated })).await?;
    let items: Vec<_> = (0..WAVE)
        .map(|number| {
            let name = format!("door-{number:02}");
            json!({
                "apiVersion": "fleetform.dev/v1alpha1",
                "kind": "DeviceInstance",
                "metadata": { "name": name, "namespace": project.namespace },
                "spec": reader(&name),
            })
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    stage.cluster().kubectl(&["apply", "--filename=-"], Some(&list)).await?;
    Ok(project)
}

async fn active(project: &Project) -> Result<usize> {
    Ok(project.devices().await?.iter().filter(|device| device.phase() == Phase::Active).count())
}

async fn until_active(project: &Project, at_least: usize) -> Result<()> {
    wait::until(&format!("{at_least} devices to be Active"), LIMIT, async || {
        let active = active(project).await?;
        Ok(if active >= at_least { Look::Done(()) } else { Look::NotYet(format!("{active}")) })
    })
    .await
}

/// The end that an undisturbed wave reaches: all active, applied and connected; no code left; one association each; events
/// that fit each other.
async fn reaches_its_end(project: &Project) -> Result<()> {
    let settled = |device: &DeviceInstance| {
        [ConditionType::Active, ConditionType::Ready, ConditionType::Connected]
            .into_iter()
            .all(|c| condition(device, c))
    };
    let devices = wait::until("all to be active and connected", LIMIT, async || {
        let devices = project.devices().await?;
        let open: Vec<_> = devices.iter().filter(|device| !settled(device)).collect();
        let done = open.is_empty() && devices.len() == WAVE;
        Ok(if done { Look::Done(devices) } else { Look::NotYet(format!("not yet are: {open:#?}")) })
    })
    .await?;
    project.until_codes_are(&[]).await?;
    let mut hardware = BTreeSet::new();
    for device in &devices {
        let name = device.name_any();
        let status = device.status.clone().unwrap_or_default();
        ensure!(status.activation.is_some_and(|a| a.sequence == 1), "{name} was activated more than once");
        let tag = status.device.map(|device| device.asset_tag_id).unwrap_or_default();
        ensure!(hardware.insert(tag.clone()), "{tag} is two devices");
    }
    project
        .until_any("project", "summed up", |object: &ProjectObject| {
            let status = object.status.clone().unwrap_or_default();
            usize::try_from(status.activated_count) == Ok(WAVE)
                && usize::try_from(status.device_instance_count) == Ok(WAVE)
        })
        .await?;
    events_fit(project, &devices).await
}

/// No event twice, none missing: what the first one of a device begins, each next one continues, and the last one is how the
/// device is.
async fn events_fit(project: &Project, devices: &[DeviceInstance]) -> Result<()> {
    let arns: HashMap<_, _> = devices
        .iter()
        .filter_map(|device| Some((device.status.as_ref()?.arn.as_ref()?.as_str().to_owned(), device.name_any())))
        .collect();
    wait::until("an event for every fact", LIMIT, async || {
        let mut ids = BTreeSet::new();
        let mut now: BTreeMap<&str, Connectivity> = BTreeMap::new();
        let events = project.stage.installation.events()?;
        for event in &events {
            ensure!(ids.insert(event.id), "event {} was delivered twice", event.id);
            let Some(name) = event.resources.first().and_then(|arn| arns.get(arn.as_str())) else { continue };
            let change = event.device().map(|detail| &detail.data.change);
            if let Some(&DeviceChange::Connectivity { current_connectivity, previous_connectivity }) = change {
                let before = now.insert(name, current_connectivity).unwrap_or(Connectivity::Disconnected);
                ensure!(before == previous_connectivity, "{name}: an event is missing before {event:?}");
            }
        }
        let online = now.values().filter(|state| **state == Connectivity::Connected).count();
        Ok(if online == devices.len() { Look::Done(()) } else { Look::NotYet(format!("{online} are online")) })
    })
    .await
}

/// Secrets that the operator made and deleted in this project, as the API server has logged it.
fn secrets_made_and_deleted(project: &Project) -> Result<(usize, usize)> {
    let mut entries = audit::of_operator(project)?;
    entries.retain(|entry| entry["objectRef"]["resource"] == "secrets");
    // Made by a create or by an apply: both answer 201.
    let made = entries.iter().filter(|entry| entry["responseStatus"]["code"] == 201);
    let deleted = entries.iter().filter(|entry| entry["verb"] == "delete" && entry["responseStatus"]["code"] == 200);
    Ok((made.count(), deleted.count()))
}

/// However often it was killed, the operator made each code and the template's one revision once, and removed each code once.
async fn nothing_was_made_twice(project: &Project) -> Result<()> {
    let expected = (WAVE + 1, WAVE);
    wait::until("the audit log to tell of every Secret", LIMIT, async || {
        let counted = secrets_made_and_deleted(project)?;
        ensure!(counted.0 <= expected.0 && counted.1 <= expected.1, "{counted:?} Secrets were made and deleted");
        // A delete whose client was killed under way is carried out, but not logged as answered; that the codes are gone is
        // asked of the API server itself.
        Ok(if counted.0 == expected.0 { Look::Done(()) } else { Look::NotYet(format!("{counted:?}")) })
    })
    .await
}

pub(crate) async fn an_operator_that_is_killed_in_the_middle_of_a_wave_loses_nothing(stage: Arc<Stage>) -> Result<()> {
    for (round, at) in [0, 1, 15].into_iter().enumerate() {
        let project = wave(&stage, &format!("killed-{round}")).await?;
        until_active(&project, at).await?;
        stage.installation.kill_operator()?;
        stage.installation.start_operator().await.with_context(|| format!("round {round}"))?;
        reaches_its_end(&project).await.with_context(|| format!("killed when {at} were active"))?;
        nothing_was_made_twice(&project).await.with_context(|| format!("killed when {at} were active"))?;
    }
    Ok(())
}

pub(crate) async fn an_operator_that_is_asked_to_end_hands_over_at_once(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "handover").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    checking_in(&project, &mut device, "door", "Ready", |instance| condition(instance, ConditionType::Ready)).await?;

    // A request that waits is answered, not cut off. It is being handled as soon as what it reports is stored.
    device.set_software_version("2.0.0".try_into()?);
    let waiting = tokio::spawn(async move {
        let answer = device.check_in_waiting(60).await;
        (device, answer)
    });
    project
        .until("door", "known by its new version", |instance| {
            let hardware = instance.status.as_ref().and_then(|status| status.device.as_ref());
            hardware.is_some_and(|hardware| hardware.software_version.as_deref() == Some("2.0.0"))
        })
        .await?;
    let asked = Instant::now();
    let ended = stage.installation.terminate_operator().await?;
    ensure!(ended.success(), "it ended with {ended}");
    ensure!(asked.elapsed() < Duration::from_secs(20), "it took {:?} to end", asked.elapsed());
    let (mut device, answer) = waiting.await?;
    answer.context("the request that waited")?;
    let lease: Lease = Api::namespaced(stage.client(), NAMESPACE).get("fleetform-operator").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
    ensure!(holder.is_empty(), "{holder} did not give the lease up");

    let started = Instant::now();
    stage.installation.start_operator().await?;
    ensure!(started.elapsed() < Duration::from_secs(10), "the next one waited {:?}", started.elapsed());
    checking_in(&project, &mut device, "door", "connected", |instance| condition(instance, ConditionType::Connected))
        .await
        .map(drop)
}

/// Certificates of a few seconds stand for those of 30 days.
pub(crate) async fn a_certificate_is_renewed_before_and_after_its_end(stage: Arc<Stage>) -> Result<()> {
    let life = Duration::from_secs(10);
    stage.installation.terminate_operator().await?;
    stage.installation.start_operator_with(&["--certificate-seconds=10"]).await?;
    let project = Project::new(&stage, "certificate").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    let association = device.association_id().map(str::to_owned);
    let ends = device.certificate_ends().context("it has a certificate")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    device.renew_certificate().await.context("before its end")?;
    ensure!(device.certificate_ends() > Some(ends), "it is the same certificate");
    device.check_in().await?;

    // Off until long after the end: for anything else than renewing it, the certificate is no good.
    tokio::time::sleep(life + Duration::from_secs(2)).await;
    match device.check_in().await {
        Err(DeviceError::Refused(refusal)) if refusal.status == 401 => {}
        other => bail!("an expired certificate is taken: {other:?}"),
    }
    device.power_on().await?;
    checking_in(&project, &mut device, "door", "back", |instance| condition(instance, ConditionType::Connected))
        .await?;
    ensure!(device.association_id() == association.as_deref(), "it is still the same association");

    // One whose association has ended meanwhile hears that, and nothing else.
    project.patch::<DeviceInstance>("door", json!({ "spec": { "activation": { "epoch": 1 } } })).await?;
    project.until("door", "deactivated", |instance| instance.association().is_none()).await?;
    tokio::time::sleep(life).await;
    let outcome = wait::until("the device to hear of the end", LIMIT, async || {
        Ok(match device.renew_certificate().await {
            Err(DeviceError::Refused(refusal)) if refusal.status == 503 => Look::NotYet(refusal.to_string()),
            outcome => Look::Done(outcome),
        })
    })
    .await?;
    ensure!(matches!(outcome, Err(DeviceError::AssociationEnded)), "{outcome:?}");

    stage.installation.terminate_operator().await?;
    stage.installation.start_operator().await
}

/// A key that is lost is restored, not replaced: every device that is active depends on it.
pub(crate) async fn a_lost_key_is_not_made_anew_while_devices_count_on_it(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "lost-key").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client(), NAMESPACE);
    let mut backup = secrets.get("fleetform-authority").await?;
    backup.metadata = ObjectMeta { name: backup.metadata.name, ..ObjectMeta::default() };

    stage.installation.kill_operator()?;
    secrets.delete("fleetform-authority", &DeleteParams::default()).await?;
    let began = Instant::now();
    stage.installation.spawn_operator()?;
    wait::until("the operator to say what is missing", LIMIT, async || {
        stage.installation.ensure_running()?;
        let log = stage.installation.operator_log_end();
        let says = log.contains("Secret fleetform-system/fleetform-authority: it does not exist, but");
        Ok(if says { Look::Done(()) } else { Look::NotYet(log) })
    })
    .await?;
    ensure!(secrets.get_opt("fleetform-authority").await?.is_none(), "it was replaced");
    secrets.create(&PostParams::default(), &backup).await.context("restore the backup")?;
    checking_in(&project, &mut device, "door", "served again", |_| began.elapsed() > Duration::from_secs(1))
        .await
        .map(drop)
}

pub(crate) async fn a_simulator_that_is_killed_goes_on_with_its_devices(stage: Arc<Stage>) -> Result<()> {
    let project = wave(&stage, "simulator-killed").await?;
    until_active(&project, 5).await?;
    stage.installation.kill_simulator()?;
    stage.installation.start_simulator().await?;
    reaches_its_end(&project).await?;

    // Long enough away that all of them are missed.
    let before = associations(&project).await?;
    stage.installation.kill_simulator()?;
    wait::until("all devices to be missed", LIMIT, async || {
        let devices = project.devices().await?;
        let missed = devices.iter().filter(|device| !condition(device, ConditionType::Connected)).count();
        Ok(if missed == WAVE { Look::Done(()) } else { Look::NotYet(format!("{missed}")) })
    })
    .await?;
    stage.installation.start_simulator().await?;
    reaches_its_end(&project).await?;
    ensure!(associations(&project).await? == before, "the same devices came back");
    Ok(())
}

async fn associations(project: &Project) -> Result<BTreeMap<String, Option<String>>> {
    let of = |device: &DeviceInstance| device.association().map(|association| association.id.clone());
    Ok(project.devices().await?.iter().map(|device| (device.name_any(), of(device))).collect())
}

pub(crate) async fn an_api_server_that_dies_is_waited_for(stage: Arc<Stage>) -> Result<()> {
    let pid = stage.installation.operator_pid()?;
    for (round, at) in [1, 15].into_iter().enumerate() {
        let project = wave(&stage, &format!("no-api-server-{round}")).await?;
        until_active(&project, at).await?;
        stage.plane.restart(Component::ApiServer).await?;
        reaches_its_end(&project).await.with_context(|| format!("when {at} were active"))?;
    }
    // With its storage away too, nothing else than waiting is possible.
    let project = wave(&stage, "no-storage").await?;
    until_active(&project, 5).await?;
    stage.plane.kill(Component::Etcd)?;
    stage.plane.kill(Component::ApiServer)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.installation.ensure_running()?;
    stage.plane.start_component(Component::Etcd).await?;
    stage.plane.start_component(Component::ApiServer).await?;
    reaches_its_end(&project).await.context("etcd was away")?;
    ensure!(stage.installation.operator_pid()? == pid, "it is the same process: a lost API server is waited for");
    Ok(())
}
