//! Device instances: configuration versions, activation codes, and what devices report.

pub mod code;
pub mod commands;
pub mod configuration;
mod departure;
pub mod facts;
pub mod lock;
pub mod plan;
pub mod presence;
pub mod redeem;
mod want;

use std::time::Duration;

use fleetform_crds::{ConfigTemplate, DeviceInstance};
use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::operation::LockReason;

use crate::activation::code::CodeSecretMeta;
use crate::cache::{Found, Name};
use crate::context::Context;
use crate::controllers::quota::Quotas;
use crate::controllers::sensor;
use crate::error::{Class, Error, Result};
use crate::events;
use crate::gateway::evidence::is_going;
use crate::people::former;
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};
use code::Refused;
use configuration::{Held, WifiSecret};
use facts::Facts;

/// Brings the device instance of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(device) = world.devices.get(name) else { return Ok(None) };
    if device.spec.device_type == DeviceType::Sensor {
        return sensor::reconcile(context, name, &device).await;
    }
    let in_namespace = |other: &str| Name::new(&name.namespace, other);
    let site = in_namespace(&device.spec.site_ref.name);
    let template = device.template_name().map(in_namespace);
    let now = context.clock.now();
    let code = world.secrets.get(&in_namespace(&names::code_secret(&name.name)));
    let template = template.as_ref().map(|name| world.templates.find(name));
    let held = held(context, &device, template.as_ref()).await;
    let mint = context.mint();
    let kept = held.as_ref().and_then(|held| held.as_ref().ok());
    let wifi = configuration::wifi_secret(&device, template.as_ref(), kept).map(in_namespace);
    let wifi = wifi_secret(context, wifi).await?;
    let project = world.project(&name.namespace);
    let mut facts = Facts {
        installation: &context.settings.installation,
        mint: &mint,
        over_quota: project.here().and_then(|project| Quotas::of(context).device(project, &device)),
        project,
        site: world.sites.find(&site),
        wifi,
        template,
        held,
        code: code.as_deref().and_then(CodeSecretMeta::read),
        refused: None,
        liveness: device.association().map(|association| context.table.liveness(&association.id, now)),
        // Only who leaves asks, and there may be thousands.
        has_people: is_going(&device) && !world.users.in_namespace(&name.namespace).is_empty(),
        last_heard: device.association().and_then(|association| context.table.last_heard(&association.id)),
        same_tag: device
            .status
            .as_ref()
            .and_then(|status| status.device.as_ref())
            .and_then(|hardware| world.others_with_tag(&hardware.asset_tag_id, name).first().map(Name::to_string)),
        left: former::all(&device)
            .into_iter()
            .filter_map(|former| former.association_id)
            .chain(device.association().map(|association| association.id.clone()))
            .filter(|association| context.table.has_left(association))
            .collect(),
        serving_since: context.table.serving_since(),
        nonce: context.clock.random(),
        history: context.history(),
        now,
    };
    let executed = match execute(context, &device, plan::plan(&device, &facts)).await {
        Err(Trouble::Code(refused)) => {
            facts.refused = Some(refused);
            execute(context, &device, plan::plan(&device, &facts)).await
        }
        executed => executed,
    };
    if is_suspicious(&device) && !world.devices.get(name).is_some_and(|device| is_suspicious(&device)) {
        device.association().into_iter().for_each(|association| context.table.trust_again(&association.id));
    }
    executed.map_err(|trouble| match trouble {
        Trouble::Code(refused) => unreachable!("a plan that knows of {refused:?} stores no code"),
        Trouble::Other(error) => error,
    })
}

/// What is known of the Secret with Wi-Fi credentials.
async fn wifi_secret(context: &Context, name: Option<Name>) -> Result<WifiSecret> {
    let Some(name) = name else { return Ok(WifiSecret::NotNeeded) };
    let Some(meta) = context.world.wifi_secrets.get(&name) else { return Ok(WifiSecret::Missing(name.name)) };
    let looked = context.credentials.look(&context.client, &context.activation_key, &name, &meta).await?;
    Ok(match looked {
        Ok(known) => WifiSecret::Usable { name: name.name, known },
        Err(why) => WifiSecret::Unusable { name: name.name, why },
    })
}

/// The revision that the device keeps, as the template's rollout has not come to it.
async fn held(
    context: &Context,
    device: &DeviceInstance,
    template: Option<&Found<ConfigTemplate>>,
) -> Option<Result<Held, Error>> {
    let Some(Found::Here(template)) = template else { return None };
    template.spec.rollout.as_ref()?;
    let current = template.status.as_ref()?.revision?;
    let from = device.desired_version()?.template.as_ref().filter(|from| from.revision != current)?;
    let name = Name::of(device);
    let same_template = template.metadata.uid.as_deref() == Some(&from.uid);
    if device.phase() != Phase::Active || !same_template || context.rollouts.admits(&from.uid, current, &name.name) {
        return None;
    }
    let configuration = async {
        let keys = context.keys(&name.namespace)?;
        context.revisions.get(&context.client, &keys, &name.namespace, from).await
    };
    Some(configuration.await.map(|configuration| Held { revision: from.clone(), configuration }))
}

/// Whether the instance is locked because two devices report with its key.
fn is_suspicious(device: &DeviceInstance) -> bool {
    let lock = device.status.as_ref().and_then(|status| status.lock.as_ref());
    lock.is_some_and(|lock| lock.reason == LockReason::Cloned)
}

/// What a plan's execution met with.
enum Trouble {
    /// The code's Secret was not stored. Only trying tells: Secrets of others are not watched, and rules of others not known.
    Code(Refused),
    Other(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

async fn execute(context: &Context, device: &DeviceInstance, plan: Plan) -> Result<Option<Duration>, Trouble> {
    let namespace = Name::of(device).namespace;
    for action in &plan.actions {
        match action {
            Action::StoreCode(code) => {
                context.executor.store_code(device, code).await.map_err(|error| match error {
                    Error::NameTaken { .. } => Trouble::Code(Refused::NameTaken),
                    error if error.class() == Class::Refused => Trouble::Code(Refused::ByApiServer(error.why())),
                    error => Trouble::Other(error),
                })?;
            }
            Action::DeleteSecret { name: secret, uid } => {
                context.executor.delete_secret(&Name::new(&namespace, secret), uid).await?;
            }
            Action::PatchStatus(patch) => {
                context.world.own_device(context.executor.patch_status(device, patch).await?);
            }
            Action::KeepEvents { facts } => events::keep_of_device(context, device, facts).await?,
            Action::Publish(news) => context.executor.publish(device, news).await,
            Action::Hold { finalizer } => {
                // The status may have been written just now.
                let newest = context.world.devices.get(&Name::of(device));
                let held = context.executor.hold(newest.as_deref().unwrap_or(device), finalizer).await?;
                context.world.own_device(held);
            }
            Action::Release { finalizer } => context.executor.release_device(device, finalizer).await?,
            other => unreachable!("a device instance's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
