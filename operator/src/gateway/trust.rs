//! Whether a device's certificate is still good. Asked at every request: a connection outlives much.

use std::sync::Arc;

use fleetform_crds::DeviceInstance;
use fleetform_domain::problem::ProblemCode;

use super::evidence::instance_evidence;
use super::{Gateway, limited, live};
use crate::cache::Name;
use crate::crypto::DeviceIdentity;
use crate::server::{Peer, Refusal};

/// Whether the association of this certificate is the live one of `device`.
pub(super) fn holds(device: &DeviceInstance, identity: &DeviceIdentity) -> bool {
    device.metadata.uid.as_ref() == Some(&identity.bond.instance)
        && instance_evidence(device).live_association().is_some_and(|association| {
            association.id == identity.bond.association && association.device_key_sha256 == identity.key_sha256
        })
}

/// Whether `stored`, read live, proves that the association of this certificate has ended: the same instance has moved on
/// to a later epoch or sequence. Anything else may be a lagging read, a restored backup or an outage.
pub(super) fn proves_end(stored: &DeviceInstance, identity: &DeviceIdentity) -> bool {
    let instance = instance_evidence(stored);
    stored.metadata.uid.as_ref() == Some(&identity.bond.instance)
        && (instance.epoch > identity.bond.epoch || instance.sequence > identity.bond.sequence)
}

impl Gateway {
    /// Who asks, if it can prove so now.
    pub(super) fn identify(&self, peer: &Peer) -> Result<Arc<DeviceIdentity>, Refusal> {
        let identity = self.identify_expired(peer)?;
        if identity.not_after <= self.context.clock.now() {
            let detail = "the certificate has expired: get another one from /v1/certificate, which takes this one";
            return Err(Refusal::new(ProblemCode::NotAuthenticated, detail));
        }
        let ring = self.context.authorities.ring();
        if !ring.counts(ring.issuer(&identity)) {
            let detail =
                "the certificate's authority was retired: get another one from /v1/certificate, which takes this one";
            return Err(Refusal::new(ProblemCode::NotAuthenticated, detail));
        }
        Ok(identity)
    }

    /// Who asks, also when its certificate has expired or its authority was retired.
    pub(super) fn identify_expired(&self, peer: &Peer) -> Result<Arc<DeviceIdentity>, Refusal> {
        let identity = peer.certificate.as_ref().ok_or_else(|| {
            let detail = "this takes the certificate that the activation delivered";
            Refusal::new(ProblemCode::NotAuthenticated, detail)
        })?;
        let now = self.context.clock.now();
        limited(&self.association_rate, &identity.bond.association, now)?;
        self.serving()?;
        Ok(Arc::clone(identity))
    }

    /// The instance with which the device is associated.
    pub(super) async fn trusted(&self, identity: &DeviceIdentity) -> Result<Arc<DeviceInstance>, Refusal> {
        let world = &self.context.world;
        let cached = world.device_by_association(&identity.bond.association);
        if let Some(device) = cached.filter(|device| holds(device, identity)) {
            return Ok(device);
        }
        let unavailable =
            || Refusal::unavailable("the gateway cannot tell yet whether the association is good; ask again");
        let known = world.device_by_uid(&identity.bond.instance).ok_or_else(unavailable)?;
        let stored =
            live::device(&self.context.client, &Name::of(&*known)).await.map_err(|error| self.not_served(&error))?;
        let stored = stored.ok_or_else(unavailable)?;
        if holds(&stored, identity) {
            world.own_device(stored.clone());
            return Ok(Arc::new(stored));
        }
        if !proves_end(&stored, identity) {
            return Err(unavailable());
        }
        self.context.table.forget(&identity.bond.association);
        Err(Refusal::new(
            ProblemCode::AssociationEnded,
            "the association has ended: wipe keys, configuration and biometrics; the device can be activated again",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Bond;
    use jiff::Timestamp;
    use serde_json::json;

    fn identity() -> DeviceIdentity {
        DeviceIdentity {
            bond: Bond { instance: "uid".into(), association: "assoc".into(), epoch: 2, sequence: 5 },
            key: Vec::new(),
            key_sha256: "key".into(),
            issuer: None,
            not_after: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    fn device(uid: &str, phase: &str, epoch: i64, sequence: i64, association: Option<&str>) -> DeviceInstance {
        let association = association.map(|id| {
            json!({ "id": id, "tokenSha256": "t", "deviceKeySha256": "key", "epoch": 2, "sequence": 5, "siteUid": "s" })
        });
        serde_json::from_value(json!({
            "apiVersion": "fleetform.dev/v1alpha1",
            "kind": "DeviceInstance",
            "metadata": { "name": "d", "namespace": "n", "uid": uid },
            "spec": {
                "siteRef": { "name": "s" }, "displayName": "d", "deviceType": "Reader", "activation": { "epoch": epoch },
            },
            "status": {
                "phase": phase, "activation": { "sequence": sequence, "epoch": 2, "association": association },
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_the_live_association_with_the_same_key_holds() {
        assert!(holds(&device("uid", "Active", 2, 5, Some("assoc")), &identity()));
        assert!(!holds(&device("other", "Active", 2, 5, Some("assoc")), &identity()));
        assert!(!holds(&device("uid", "Active", 3, 5, Some("assoc")), &identity()), "the epoch was raised");
        assert!(!holds(&device("uid", "ReadyForActivation", 2, 6, None), &identity()));
        assert!(!holds(&device("uid", "Active", 2, 5, Some("another")), &identity()));
        let other_key = DeviceIdentity { key_sha256: "another".into(), ..identity() };
        assert!(!holds(&device("uid", "Active", 2, 5, Some("assoc")), &other_key));
    }

    #[test]
    fn an_end_takes_positive_proof() {
        assert!(proves_end(&device("uid", "Active", 3, 5, Some("assoc")), &identity()), "a later epoch");
        assert!(proves_end(&device("uid", "ReadyForActivation", 2, 6, None), &identity()), "a later sequence");
        assert!(!proves_end(&device("other", "Active", 9, 9, Some("assoc")), &identity()), "another instance");
        assert!(!proves_end(&device("uid", "ReadyForActivation", 2, 5, None), &identity()), "a lost status");
        assert!(!proves_end(&device("uid", "NeedsConfiguration", 0, 0, None), &identity()), "an older state");
    }
}
