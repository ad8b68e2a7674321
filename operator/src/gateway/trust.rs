//! Whether a device's certificate is still good. Asked at every request: a connection outlives much.

use std::sync::Arc;

use fleetform_crds::DeviceInstance;
use fleetform_domain::problem::ProblemCode;

use super::evidence::{instance_evidence, is_going};
use super::live::Stored;
use super::{Gateway, limited, live};
use crate::cache::{Kind, Name};
use crate::crypto::DeviceIdentity;
use crate::queue::Key;
use crate::server::{Peer, Refusal};

/// Whether the association of this certificate is the live one of `device`.
pub(super) fn holds(device: &DeviceInstance, identity: &DeviceIdentity) -> bool {
    device.metadata.uid.as_ref() == Some(&identity.bond.instance)
        && !is_going(device)
        && instance_evidence(device).live_association().is_some_and(|association| {
            association.id == identity.bond.association && association.device_key_sha256 == identity.key_sha256
        })
}

/// Whether what is stored under the instance's name, read live, proves that the association of this certificate has ended: the same
/// instance was deleted or has moved on to a later epoch or sequence; or it is not there any more. A store that is older than the
/// association proves nothing: it is a backup that was restored, of before the instance was made. Once such a store has grown older
/// than the association the instance counts as gone: nothing but a later backup can bring it back.
pub(super) fn proves_end(stored: &Stored, identity: &DeviceIdentity) -> bool {
    let bond = &identity.bond;
    match stored.device.as_ref().filter(|device| device.metadata.uid.as_ref() == Some(&bond.instance)) {
        Some(device) => {
            let instance = instance_evidence(device);
            is_going(device) || instance.epoch > bond.epoch || instance.sequence > bond.sequence
        }
        None => bond.revision > 0 && stored.revision >= bond.revision,
    }
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
        let name = self.name_of(identity).ok_or_else(unavailable)?;
        let stored = live::stored(&self.context.client, &name).await.map_err(|error| self.not_served(&error))?;
        if let Some(device) = stored.device.as_ref().filter(|device| holds(device, identity)) {
            world.own_device(device.clone());
            return Ok(Arc::new(device.clone()));
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

    /// A device whose association has ended says that it keeps nothing of anybody: who is leaving may have been waiting for that, and so
    /// may an instance that was deleted. That it was told so is not enough: the answer may be lost.
    pub(super) fn note_farewell(&self, identity: &DeviceIdentity) {
        let Some(name) = self.name_of(identity) else { return };
        self.context.table.take_leave(&identity.bond.association);
        self.context.people.may_be_forgotten(&name.namespace);
        self.context.queue.add(Key::new(Kind::DeviceInstance, name));
    }

    /// Where the instance of this certificate is, or was. `None` where that project is not there, or not the one that it was: then
    /// this is another cluster, or what was restored of one, and tells nothing of the instance.
    pub(super) fn name_of(&self, identity: &DeviceIdentity) -> Option<Name> {
        let (world, bond) = (&self.context.world, &identity.bond);
        match world.device_by_uid(&bond.instance) {
            Some(known) => Some(Name::of(&*known)),
            None => Some(Name::new(world.namespace_of_project(&bond.project)?, &bond.name)),
        }
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
            bond: Bond::example("assoc"),
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

    fn stored(device: Option<DeviceInstance>, revision: u64) -> Stored {
        Stored { device, revision }
    }

    #[test]
    fn an_end_takes_positive_proof() {
        let proves = |device: DeviceInstance| proves_end(&stored(Some(device), 90), &identity());
        assert!(proves(device("uid", "Active", 3, 5, Some("assoc"))), "a later epoch");
        assert!(proves(device("uid", "ReadyForActivation", 2, 6, None)), "a later sequence");
        assert!(!proves(device("uid", "ReadyForActivation", 2, 5, None)), "a lost status");
        assert!(!proves(device("uid", "NeedsConfiguration", 0, 0, None)), "an older state");
        let mut going = device("uid", "Active", 2, 5, Some("assoc"));
        going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::MIN));
        assert!(proves(going.clone()) && !holds(&going, &identity()), "it was deleted");
    }

    #[test]
    fn what_is_not_there_is_gone_if_who_says_so_is_not_older_than_the_association() {
        let another = || Some(device("other", "Active", 9, 9, Some("assoc")));
        for found in [None, another()] {
            assert!(proves_end(&stored(found.clone(), 100), &identity()));
            assert!(proves_end(&stored(found.clone(), 101), &identity()));
            assert!(!proves_end(&stored(found.clone(), 99), &identity()), "a backup of before was restored");
            assert!(!proves_end(&stored(found.clone(), 0), &identity()), "it does not say when");
            let unknown = DeviceIdentity { bond: Bond { revision: 0, ..Bond::example("assoc") }, ..identity() };
            assert!(!proves_end(&stored(found, 100), &unknown), "nor does the certificate");
        }
    }
}
