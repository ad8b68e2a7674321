//! Sensors: device instances without an activation code. They are commissioned through their gateway.

pub mod plan;

use std::time::Duration;

use fleetform_crds::DeviceInstance;
use fleetform_crds::device_instance::SensorConfiguration;
use fleetform_domain::id::ResourceId;

use crate::cache::{Found, Name};
use crate::context::Context;
use crate::controllers::quota::Quotas;
use crate::error::Result;
use crate::events;
use crate::gateway::sensors::Heard;
use crate::reconcile::plan::Action;
use plan::{Facts, Past, Place, SensorPlan};

/// Brings the sensor of this name to where it should be.
pub async fn reconcile(context: &Context, name: &Name, sensor: &DeviceInstance) -> Result<Option<Duration>> {
    let world = &context.world;
    let project = world.project(&name.namespace);
    let configuration = sensor.spec.configuration.as_ref().and_then(|configuration| configuration.sensor.as_ref());
    let tag = sensor.status.as_ref().and_then(|status| status.device.as_ref()).map(|device| &device.asset_tag_id);
    let facts = Facts {
        installation: &context.settings.installation,
        over_quota: project.here().and_then(|project| Quotas::of(context).device(project, sensor)),
        project,
        site: world.sites.find(&Name::new(&name.namespace, &sensor.spec.site_ref.name)),
        place: configuration.map(|configuration| place(context, name, sensor, configuration)),
        same_tag: tag.and_then(|tag| world.others_with_tag(tag, name).first().map(Name::to_string)),
        history: context.history(),
        now: context.clock.now(),
    };
    let SensorPlan { plan, past } = plan::plan(sensor, &facts);
    // Before it is stored: whoever dies or hears no answer in between must not take it for measured here.
    if let Some(id) = sensor.metadata.uid.as_deref().map(ResourceId::of) {
        match past {
            Past::Counts => {}
            Past::IsGone => context.measurements.forget(&id),
        }
    }
    for action in &plan.actions {
        match action {
            Action::PatchStatus(patch) => world.own_device(context.executor.patch_status(sensor, patch).await?),
            Action::KeepEvents { facts } => events::keep_of_device(context, sensor, facts).await?,
            Action::Publish(news) => context.executor.publish(sensor, news).await,
            other => unreachable!("a sensor's plan has no {other:?}"),
        }
    }
    Ok(plan.look_again)
}

/// What is known of where the sensor is to be.
fn place<'a>(
    context: &Context,
    name: &Name,
    sensor: &DeviceInstance,
    configuration: &'a SensorConfiguration,
) -> Place<'a> {
    let world = &context.world;
    let asset = Name::new(&name.namespace, &configuration.asset_ref.name);
    let gateway = world.devices.find(&Name::new(&name.namespace, &configuration.gateway_ref.name));
    let id = sensor.metadata.uid.as_deref().map(ResourceId::of);
    let heard = match (&gateway, id) {
        (Found::Here(gateway), Some(id)) => match gateway.association() {
            Some(association) => context.table.sensor(&association.id, &id, context.clock.now()),
            // There is no hardware that could be paired with it.
            None => Heard::NotPaired,
        },
        (Found::Here(_) | Found::Unreadable(_) | Found::Absent, _) => Heard::Unknown,
    };
    Place {
        configuration,
        holder: world.machines.holder(&asset, &configuration.position).filter(|holder| holder != name).map(|h| h.name),
        asset: world.assets.find(&asset),
        gateway,
        crowded_out: world.machines.is_crowded_out(name),
        heard,
    }
}
