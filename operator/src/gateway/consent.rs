//! Pure: whether a person can have agreed to what a device says, when it says so.

use fleetform_domain::people::Consent;
use jiff::SignedDuration;

use super::people::Teller;

/// How far the clock of a device may be from that of the operator.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(2);

/// Why nobody can have agreed. It says nothing of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidConsent {
    #[error(
        "it tells of a consent to a text that none of its configurations names, as far as they are remembered: have it apply its \
         configuration, and let the person enroll again"
    )]
    Version,
    #[error("it tells of a consent from after the enrollment: set its clock, and let the person enroll again")]
    Late,
    #[error("it tells of a consent from before it was activated: set its clock, and let the person enroll again")]
    Early,
}

/// The text is one that the device was given, as far as its configurations are remembered: the one that it runs always is. The time is
/// that of the enrollment or before it, and not before the device was activated, give or take two minutes.
pub(super) fn check(consent: &Consent, teller: &Teller<'_>) -> Result<(), InvalidConsent> {
    let status = teller.device.status.as_ref();
    let mut versions = status.and_then(|status| status.configuration.as_ref()).into_iter().flat_map(|all| &all.history);
    if !versions.any(|version| version.consent_version.as_ref() == Some(&consent.version)) {
        return Err(InvalidConsent::Version);
    }
    let given_at = consent.given_at;
    let activated = status.and_then(|status| status.device.as_ref()?.activated_at.as_ref());
    if given_at.duration_since(teller.time) > CLOCKS_DIFFER {
        return Err(InvalidConsent::Late);
    }
    if activated.is_some_and(|activated| activated.0.duration_since(given_at) > CLOCKS_DIFFER) {
        return Err(InvalidConsent::Early);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures::{self, noon};
    use serde_json::json;

    #[test]
    fn a_consent_is_to_a_text_that_the_device_was_given_and_from_its_activation_until_the_enrollment() {
        let mut desk = fixtures::device(&json!({}));
        let version = |number: u32, consent: Option<&str>| json!({ "version": number, "digest": "", "createdAt": "2026-01-01T00:00:00Z", "consentVersion": consent });
        let history = [version(1, None), version(2, Some("2025-07")), version(3, Some("2026-01"))];
        let status = json!({
            "configuration": { "desired": 3, "history": history },
            "device": { "activatedAt": "2026-01-01T11:00:00Z", "assetTagId": "desk-1", "serialNumber": "1" },
        });
        desk.status = Some(serde_json::from_value(status).unwrap());
        let teller = Teller::at(&desk, noon());
        let said = |version: &str, minutes: i64| {
            let given_at = noon() - SignedDuration::from_mins(minutes);
            check(&Consent { version: version.into(), given_at }, &teller)
        };
        for (version, minutes) in [("2025-07", 5), ("2026-01", 5), ("2026-01", -2), ("2026-01", 62)] {
            assert_eq!(said(version, minutes), Ok(()), "{version}, {minutes}");
        }
        for version in ["2026-02", "1", ""] {
            assert_eq!(said(version, 5), Err(InvalidConsent::Version), "{version}");
        }
        assert_eq!(said("2026-01", -3), Err(InvalidConsent::Late));
        assert_eq!(said("2026-01", 63), Err(InvalidConsent::Early));
    }
}
