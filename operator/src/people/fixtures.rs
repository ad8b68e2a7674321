//! People for tests.

use fleetform_crds::EnrolledUser;
use fleetform_domain::people::{Hand, PALM_CODE_BYTES, Palm, PalmCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::crypto::SealingKey;
use crate::vault::data_keys::DataKeys;

/// The data keys of the project with this UID, as [`crate::vault::tests::with_data_key`] gives it.
pub(crate) fn data_keys(project: &str) -> DataKeys {
    DataKeys::new(project, vec![SealingKey::of_data_key(&crate::vault::tests::DATA_KEY)])
}

/// A palm as unlike others as palms are.
pub(crate) fn palm(person: u32, hand: Hand) -> Palm {
    let mut code = [0; PALM_CODE_BYTES];
    for (part, chunk) in (0u32..).zip(code.chunks_mut(32)) {
        let seed = [person, u32::from(hand == Hand::Left), part].map(u32::to_be_bytes).concat();
        chunk.copy_from_slice(&Sha256::digest(seed));
    }
    Palm { hand, code: PalmCode::new(code) }
}

/// A stored user, of whom nothing is sealed yet.
pub(crate) fn user(name: &str, uid: u32) -> EnrolledUser {
    serde_json::from_value(json!({
        "apiVersion": "fleetform.dev/v1alpha1",
        "kind": "EnrolledUser",
        "metadata": {
            "name": name,
            "namespace": "library",
            "uid": format!("00000000-0000-4000-8000-{uid:012}"),
            "generation": 1,
            "resourceVersion": "1",
            "finalizers": [fleetform_crds::enrolled_user::UN_ENROLLMENT_FINALIZER],
        },
        "spec": {
            "badgeLastFour": "4500",
            "source": { "name": "front-desk", "deviceInstanceId": "QfUuUnFqs5accJ" },
            "enrolledAt": "2026-01-01T09:00:00Z",
            "consent": { "version": "1", "givenAt": "2026-01-01T08:59:00Z" },
            "eventId": "0f5e6c1e-0000-4000-8000-000000000001",
            "sealedProfile": "",
        },
        "status": {
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Enrolled", "message": "the person is enrolled",
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            }],
        },
    }))
    .unwrap()
}
