//! The raw limit: a bare client makes the writes that a fleet needs, and nothing else happens.
//!
//! Fleetform is installed, so its definitions, rules and policies are checked as they are for the fleet, but the operator
//! does not run: the bare client writes in its place and with its identity. It keeps as many requests in flight as the
//! operator does: first it creates all device instances, as the user of a fleet does; then it makes the operator's writes,
//! those of one device one after the other, as each needs what the one before has made. (With the Secret of a device right
//! after the device, the garbage collector would see it before its owner and ask the API server for that, once or twice for
//! each device, which it does not have to for the fleet.) A watch like the one that takes the times of the fleet runs here
//! too, so that measuring costs both halves the same.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fleetform_crds::DeviceInstance;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use super::bed::Bed;
use super::device::{Device, watch};
use super::usage::{Cpu, Sizes, size_of};
use super::work::each;
use super::{Settings, objects, raw_bodies};

/// What the raw half found.
pub(super) struct Raw {
    /// From the first request to the last answer.
    pub(super) wall: Duration,
    pub(super) cpu: Cpu,
    pub(super) sizes: Sizes,
}

pub(super) async fn measure(settings: &Settings) -> Result<Raw> {
    eprintln!("the raw limit: starting a control plane …");
    let bed = Bed::start(settings, false).await?;
    bed.installation.terminate_operator().await?;
    objects::make_surroundings(&bed.admin(), settings.sites()).await?;
    let writer = Arc::new(Writer::new(&bed.admin(), &bed.operator().await?, settings.sites()));
    // The first requests make connections; and what one device stores is looked at outside of the time that is taken.
    let sizes = writer.measure_sizes(settings.devices()).await?;
    bed.calm_down().await?;
    let watching = tokio::spawn(watch(&bed.admin()).for_each(async |_| {}));
    let before = bed.cpu()?;
    eprintln!("the raw limit: writing for {} devices …", settings.devices());
    let start = Instant::now();
    timeout(settings.limit(), write_all(settings, writer))
        .await
        .map_err(|_| anyhow!("the bare client's writes were not done after {} s", settings.limit().as_secs()))??;
    let wall = start.elapsed();
    let cpu = bed.cpu()?.since(&before);
    watching.abort();
    Ok(Raw { wall, cpu, sizes })
}

async fn write_all(settings: &Settings, writer: Arc<Writer>) -> Result<()> {
    let (concurrency, devices) = (settings.concurrency.get(), settings.devices());
    let created: Arc<Vec<OnceLock<DeviceInstance>>> = Arc::new((0..devices).map(|_| OnceLock::new()).collect());
    let (user, all) = (Arc::clone(&writer), Arc::clone(&created));
    each(concurrency, devices, move |number| {
        let (user, all) = (Arc::clone(&user), Arc::clone(&all));
        async move {
            let _ = all[number].set(user.create(number).await?);
            Ok(())
        }
    })
    .await?;
    each(concurrency, devices, move |number| {
        let (operator, all) = (Arc::clone(&writer), Arc::clone(&created));
        async move {
            let created = all[number].get().context("a device instance was not created")?;
            let (device, secret) = operator.make_ready(created).await?;
            operator.activate(&device, &secret).await.map(drop)
        }
    })
    .await
}

/// Makes the writes of one device after the other.
pub(super) struct Writer {
    /// As the user, who declares.
    declared: Api<DeviceInstance>,
    /// As the operator.
    devices: Api<Device>,
    secrets: Api<Secret>,
    sites: usize,
}

impl Writer {
    pub(super) fn new(admin: &Client, operator: &Client, sites: usize) -> Self {
        Self {
            declared: Api::namespaced(admin.clone(), objects::NAMESPACE),
            devices: Api::namespaced(operator.clone(), objects::NAMESPACE),
            secrets: Api::namespaced(operator.clone(), objects::NAMESPACE),
            sites,
        }
    }

    pub(super) async fn create(&self, number: usize) -> Result<DeviceInstance> {
        let declared = objects::device(number, self.sites);
        self.declared.create(&PostParams::default(), &declared).await.context("create a device instance")
    }

    pub(super) async fn make_ready(&self, created: &DeviceInstance) -> Result<(Device, Secret)> {
        let (name, uid) = (created.name_any(), created.uid().unwrap_or_default());
        let secret = serde_json::from_value(raw_bodies::secret(&name, &uid)).context("the Secret of a code")?;
        let secret = self.secrets.create(&PostParams::default(), &secret).await;
        let secret = secret.context("create the Secret of a code")?;
        let ready = raw_bodies::ready(&name, &uid, &created.resource_version().unwrap_or_default());
        let device = self.devices.patch_status(&name, &PatchParams::default(), &Patch::Merge(&ready)).await;
        Ok((device.context("say that a device is ready")?, secret))
    }

    pub(super) async fn activate(&self, device: &Device, secret: &Secret) -> Result<Device> {
        let (name, uid) = (device.name_any(), device.uid().unwrap_or_default());
        let redeem = serde_json::from_value(raw_bodies::redeem(&uid)).context("make a JSON Patch")?;
        let redeemed = self.devices.patch_status(&name, &PatchParams::default(), &Patch::Json::<()>(redeem)).await;
        let redeemed = redeemed.context("redeem a code")?;
        let preconditions = Some(Preconditions { uid: secret.uid(), resource_version: None });
        let delete = DeleteParams { preconditions, ..DeleteParams::default() };
        self.secrets.delete(&secret.name_any(), &delete).await.context("delete the Secret of a code")?;
        let checked_in = raw_bodies::checked_in(&uid, &redeemed.resource_version().unwrap_or_default());
        let patch = Patch::Merge(&checked_in);
        self.devices.patch_status(&name, &PatchParams::default(), &patch).await.context("note a check-in")
    }

    /// What a change of a template takes: the device is to run another version, and runs it.
    pub(super) async fn change(&self, device: &Device) -> Result<()> {
        let (name, uid) = (device.name_any(), device.uid().unwrap_or_default());
        let mut version = device.resource_version().unwrap_or_default();
        for body in [raw_bodies::told, raw_bodies::applied] {
            let patch = Patch::Merge(body(&uid, &version));
            let patched = self.devices.patch_status(&name, &PatchParams::default(), &patch).await;
            version = patched.context("change what a device runs")?.resource_version().unwrap_or_default();
        }
        Ok(())
    }

    async fn measure_sizes(&self, number: usize) -> Result<Sizes> {
        let (device, secret) = self.make_ready(&self.create(number).await?).await?;
        let secret_bytes = size_of(&secret)?;
        self.activate(&device, &secret).await?;
        Ok(Sizes { secret_bytes, device_bytes: size_of(&self.declared.get(&device.name_any()).await?)? })
    }
}
