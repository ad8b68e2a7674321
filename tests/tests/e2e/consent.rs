//! What a person agreed to, and when: a device may say nothing else than what can be.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_domain::event::person_event_id;
use fleetform_domain::people::{Consent, EnrollmentFailure, Hand};
use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use serde_json::json;

use super::people::{House, agreed, badge_of, palm};
use super::stage::Stage;

pub(crate) async fn a_consent_that_nobody_can_have_given_enrolls_nobody(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "consent", &[]).await?;
    let outcome = |version: &str, given_at| {
        agreed(Consent { version: version.into(), given_at }, "99", vec![palm(3, Hand::Right, 0)])
    };
    let (now, ten) = (Timestamp::now(), SignedDuration::from_mins(10));
    for (version, given_at) in [("2026-02", now), ("2026-01", now + ten), ("2026-01", now - ten)] {
        let answer = house.desk.enroll(outcome(version, given_at)?).await?;
        ensure!(answer.refused == Some(EnrollmentFailure::ConsentNotValid) && answer.user.is_none(), "{answer:?}");
        ensure!(answer.acknowledged, "{answer:?}");
    }
    ensure!(house.users().list(&ListParams::default()).await?.items.is_empty(), "nobody is enrolled");
    let desk = house.desk.association.clone();
    let ids: Vec<_> = (1..=3).map(|sequence| person_event_id(&desk, sequence)).collect();
    for event in house.told_once(&ids).await? {
        let reason = event.person().and_then(|person| person.data.reason.clone());
        ensure!(
            event.detail_type == "Unsuccessful Enrollment" && badge_of(&event).as_deref() == Some("99"),
            "{event:?}"
        );
        ensure!(reason.as_deref() == Some("CONSENT_NOT_VALID"), "{event:?}");
    }

    // Another text: who agreed to the one before has agreed to what the device showed.
    let other = json!({ "spec": { "configuration": { "consentVersion": "2026-02" } } });
    house.project.patch::<DeviceInstance>("front-desk", other).await?;
    let second = |desk: &DeviceInstance| {
        let configuration = desk.status.as_ref().and_then(|status| status.configuration.as_ref());
        configuration.is_some_and(|configuration| configuration.desired == 2)
    };
    house.project.until("front-desk", "showing the other text", second).await?;
    for (version, number, person) in [("2026-01", "99", 3), ("2026-02", "98", 4)] {
        let consent = Consent { version: version.into(), given_at: now };
        let answer = house.desk.enroll(agreed(consent, number, vec![palm(person, Hand::Right, 0)])?).await?;
        let user = answer.user.ok_or_else(|| anyhow::anyhow!("{:?}", answer.refused))?;
        ensure!(house.users().get(user.as_str()).await?.spec.consent.version == version);
    }
    Ok(())
}
