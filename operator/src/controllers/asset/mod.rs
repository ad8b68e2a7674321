//! Assets: the state of their positions, as what is measured there says, and the alerts that follow from it.

pub mod plan;
mod position;

use std::sync::Arc;
use std::time::Duration;

use fleetform_crds::{Alert, Asset, DeviceInstance};
use fleetform_domain::activation::Phase;
use fleetform_domain::id::ResourceId;
use fleetform_domain::transition::Connectivity;
use jiff::{SignedDuration, Timestamp};

use crate::cache::Name;
use crate::context::Context;
use crate::controllers::quota::Quotas;
use crate::error::Result;
use crate::events;
use crate::measurements::Place;
use crate::reconcile::plan::Action;
use plan::{AssetPlan, Facts};
use position::{Mounted, Sight};

/// A sensor is silent when nothing came of it for so many of its intervals, beside what its gateway itself may be silent.
const MISSED_MEASUREMENTS: i64 = 3;

/// Brings the asset of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name) -> Result<Option<Duration>> {
    let world = &context.world;
    let Some(asset) = world.assets.get(name) else { return Ok(None) };
    let now = context.clock.now();
    let uid = asset.metadata.uid.clone().unwrap_or_default();
    let project = world.project(&name.namespace);
    let alerts = world.machines.alerts.members(name);
    // Those of an earlier asset of this name are about to be collected.
    let is_ours = |alert: &Arc<Alert>| {
        let owners = alert.metadata.owner_references.iter().flatten();
        owners.into_iter().any(|owner| owner.uid == uid)
    };
    let facts = Facts {
        installation: &context.settings.installation,
        over_quota: project.here().and_then(|project| Quotas::of(context).asset(project, &asset)),
        project,
        site: world.sites.find(&Name::new(&name.namespace, &asset.spec.site_ref.name)),
        sensors: world.machines.sensors_of_asset(name).len(),
        mounted: asset.spec.positions.iter().map(|position| mounted(context, &asset, &position.name, now)).collect(),
        alerts_unreadable: alerts.iter().any(|alert| world.alerts.get(alert).is_none()),
        alerts: alerts.iter().filter_map(|alert| world.alerts.get(alert)).filter(is_ours).collect(),
        now,
    };
    let AssetPlan { plan, better, judged_anew } = plan::plan(&asset, &facts);
    // Before it is stored: what comes in between counts, or else says nothing.
    for (position, sensor) in &judged_anew {
        context.measurements.judge_anew(sensor, &Place::new(&name.name, position));
    }
    for action in &plan.actions {
        match action {
            Action::RaiseAlert(alert) => world.own_alert(context.executor.raise_alert(&asset, alert).await?),
            Action::DeleteAlert { name: alert, uid } => {
                let alert = Name::new(&name.namespace, alert);
                if let Some(known) = world.alerts.get(&alert) {
                    events::keep_untold_of_alert(context, &known).await?;
                }
                context.executor.delete_alert(&alert, uid).await?;
            }
            Action::PatchStatus(patch) => world.own_asset(context.executor.patch_status(&*asset, patch).await?),
            Action::Publish(news) => context.executor.publish(&*asset, news).await,
            other => unreachable!("an asset's plan has no {other:?}"),
        }
    }
    for position in &better {
        context.measurements.got_better(&uid, position, now);
    }
    Ok(plan.look_again)
}

/// The sensor that is paired at a position, and what it says.
fn mounted(context: &Context, asset: &Arc<Asset>, position: &str, now: Timestamp) -> Option<Mounted> {
    let name = Name::of(&**asset);
    let sensor = context.world.devices.get(&context.world.machines.holder(&name, position)?)?;
    let placed = sensor.status.as_ref()?.sensor.as_ref().filter(|_| sensor.phase() == Phase::Active)?;
    if (placed.asset.as_str(), placed.position.as_str()) != (name.name.as_str(), position) {
        return None;
    }
    let id = ResourceId::of(sensor.metadata.uid.as_deref()?);
    let place = Place::new(&name.name, position);
    let uid = asset.metadata.uid.as_deref().unwrap_or_default();
    let name_of_sensor = Name::of(&*sensor).name;
    Some(Mounted {
        sight: sight(context, &sensor, &placed.gateway, &id, now),
        verdict: context.measurements.judge(&id, &place, &asset.limits(), asset.known_of(position, &name_of_sensor)),
        may_get_better: context.measurements.may_get_better(uid, position, now),
        name: name_of_sensor,
        id,
    })
}

/// Whether what a sensor said last is how it is.
fn sight(context: &Context, sensor: &DeviceInstance, gateway: &str, id: &ResourceId, now: Timestamp) -> Sight {
    let gateway = context.world.devices.get(&Name::new(Name::of(sensor).namespace, gateway));
    let connectivity = |device: &DeviceInstance| device.status.as_ref().and_then(|status| status.connectivity);
    let gateway_is_silent = gateway.is_some_and(|gateway| connectivity(&gateway) == Some(Connectivity::Disconnected));
    if sensor.spec.out_of_service || gateway_is_silent || connectivity(sensor) == Some(Connectivity::Disconnected) {
        return Sight::None;
    }
    let Some(serving_since) = context.table.serving_since() else { return Sight::Clear { until: None } };
    let paired_at = sensor.status.as_ref().and_then(|status| status.sensor.as_ref()).map(|paired| paired.paired_at.0);
    let heard = context.measurements.heard(id).max(Some(serving_since)).max(paired_at).unwrap_or(serving_since);
    let until = heard + silent_after(sensor, context.table.silent_after());
    if until <= now { Sight::None } else { Sight::Clear { until: Some(until) } }
}

/// How long a sensor may be silent whose gateway may be silent for so long.
pub fn silent_after(sensor: &DeviceInstance, gateway: SignedDuration) -> SignedDuration {
    let place = sensor.spec.configuration.as_ref().and_then(|configuration| configuration.sensor.as_ref());
    let interval = place.map_or(0, |place| i64::from(place.measurement_interval_seconds));
    SignedDuration::from_secs(interval * MISSED_MEASUREMENTS) + gateway
}

#[cfg(test)]
mod tests;
