//! Pure: what redeeming a code writes: one JSON Patch that holds only if nothing that matters changed meanwhile.

use fleetform_crds::DeviceInstance;
use fleetform_crds::condition;
use fleetform_crds::device_instance::{ActivationStatus, DeviceStatus};
use fleetform_domain::activation::{Association, Phase};
use fleetform_domain::transition::Connectivity;
use jiff::Timestamp;
use serde_json::json;

use super::{plan, presence};

/// The patch that associates `device` with the hardware `asset_tag`. It tests UID, epoch, site, phase and sequence, so two
/// gateways or two devices can never both win, and unrelated edits do not get in the way. What it writes is what the
/// reconciler would write next, so no write follows it.
///
/// # Panics
/// Never: the patch is made of plain data.
pub fn patch(device: &DeviceInstance, association: Association, asset_tag: &str, now: Timestamp) -> json_patch::Patch {
    let mut status = device.status.clone().unwrap_or_default();
    let (epoch, sequence) = (association.epoch, association.sequence);
    status.phase = Some(Phase::Active);
    status.activation = Some(ActivationStatus { secret_name: None, sequence, epoch, association: Some(association) });
    status.device = Some(DeviceStatus {
        asset_tag_id: asset_tag.to_owned(),
        software_version: None,
        software_update: None,
        activated_at: Some(condition::whole_second(now)),
    });
    status.connectivity = Some(Connectivity::Disconnected);
    status.health = None;
    let mut statements = plan::readiness(&status);
    statements.extend(presence::statements(&status, None));
    let conditions = condition::merge(&status.conditions, &statements, device.metadata.generation, now);
    let mut operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": device.metadata.uid },
        { "op": "test", "path": "/spec/activation/epoch", "value": epoch },
        { "op": "test", "path": "/spec/siteRef/name", "value": device.spec.site_ref.name },
        { "op": "test", "path": "/status/phase", "value": Phase::ReadyForActivation },
        { "op": "test", "path": "/status/activation/sequence", "value": sequence },
        { "op": "replace", "path": "/status/phase", "value": Phase::Active },
        { "op": "replace", "path": "/status/activation", "value": status.activation },
        { "op": "add", "path": "/status/device", "value": status.device },
        { "op": "add", "path": "/status/connectivity", "value": status.connectivity },
        { "op": "replace", "path": "/status/conditions", "value": conditions },
    ]);
    if let (Some(expected), Some(operations)) =
        (&device.spec.activation.expected_asset_tag_id, operations.as_array_mut())
    {
        let path = "/spec/activation/expectedAssetTagId";
        operations.insert(0, json!({ "op": "test", "path": path, "value": expected }));
    }
    serde_json::from_value(operations).expect("the operations are a JSON Patch")
}
