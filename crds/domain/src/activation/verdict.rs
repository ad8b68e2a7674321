//! Pure: what the gateway decides about a code, in the order of the design: MAC (before anything here, by
//! [`TokenText::open`](super::TokenText::open)), expiry, instance, site, the live code, ZIP.

use jiff::Timestamp;

use super::{ActivationFailure, Association, Phase, Token, TokenHash};
use crate::address::PostalAddress;

/// What is known when a code is judged.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Now.
    pub now: Timestamp,
    /// What the token says; its MAC was right.
    pub token: &'a Token,
    /// Names the token.
    pub token_hash: &'a TokenHash,
    /// The device instance, if there is one with the token's UID.
    pub instance: Option<InstanceEvidence<'a>>,
    /// The instance's site, if it exists.
    pub site: Option<SiteEvidence<'a>>,
    /// The instance's code, if it has one now.
    pub live: Option<&'a LiveCode>,
}

/// A device instance as far as activation goes.
#[derive(Clone, Copy, Debug)]
pub struct InstanceEvidence<'a> {
    /// Where it stands.
    pub phase: Phase,
    /// Its activation sequence.
    pub sequence: i64,
    /// The epoch that its spec asks for.
    pub epoch: i64,
    /// Who is associated with it.
    pub association: Option<&'a Association>,
    /// The only asset tag that may activate it, if its spec names one.
    pub expected_asset_tag: Option<&'a str>,
}

impl InstanceEvidence<'_> {
    /// The association, when it is good: of the current epoch and sequence, while the instance is active.
    pub fn live_association(&self) -> Option<&Association> {
        self.association.filter(|association| {
            self.phase == Phase::Active && association.epoch == self.epoch && association.sequence == self.sequence
        })
    }
}

/// A site as far as activation goes.
#[derive(Clone, Copy, Debug)]
pub struct SiteEvidence<'a> {
    /// Where it is.
    pub address: &'a PostalAddress,
}

/// The code that an instance has now. A rotation leaves the previous one good until its own expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCode {
    /// The activation sequence it is for.
    pub sequence: i64,
    /// The current token, and the one before it.
    pub tokens: Vec<TokenHash>,
}

/// What becomes of a commit that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The code is good: write the association, guarded.
    Redeem,
    /// The same device with the same token again: give it the same answer.
    Repeat(Association),
}

/// Whether the code may be looked up with this ZIP code.
pub fn look_up(evidence: &Evidence<'_>, postal_code: &str) -> Result<(), ActivationFailure> {
    let site = redeemable(evidence)?;
    if site.address.postal_code_matches(postal_code) { Ok(()) } else { Err(ActivationFailure::ZipCodeDoesNotMatch) }
}

/// Whether the code may be redeemed by the device with this key and asset tag. The caller has checked the confirmation.
pub fn commit(
    evidence: &Evidence<'_>,
    device_key_sha256: &str,
    asset_tag: &str,
) -> Result<Committed, ActivationFailure> {
    if let Some(association) = evidence.instance.as_ref().and_then(InstanceEvidence::live_association)
        && association.token_sha256 == evidence.token_hash.as_str()
        && association.device_key_sha256 == device_key_sha256
    {
        return Ok(Committed::Repeat(association.clone()));
    }
    redeemable(evidence)?;
    let expected = evidence.instance.and_then(|instance| instance.expected_asset_tag);
    if expected.is_some_and(|expected| expected != asset_tag) {
        return Err(ActivationFailure::QrNotRecognized);
    }
    Ok(Committed::Redeem)
}

fn redeemable<'a>(evidence: &Evidence<'a>) -> Result<SiteEvidence<'a>, ActivationFailure> {
    if evidence.token.expires <= evidence.now {
        return Err(ActivationFailure::QrNotRecognized);
    }
    let instance = evidence.instance.ok_or(ActivationFailure::DeviceInstanceDoesNotExist)?;
    let site = evidence.site.ok_or(ActivationFailure::SiteNotFound)?;
    let live = evidence.live.ok_or(ActivationFailure::QrNotRecognized)?;
    let current = instance.phase == Phase::ReadyForActivation
        && instance.sequence == evidence.token.sequence
        && live.sequence == evidence.token.sequence
        && live.tokens.contains(evidence.token_hash);
    if current { Ok(site) } else { Err(ActivationFailure::QrNotRecognized) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::{ActivationKey, TokenText};
    use uuid::Uuid;

    struct Case {
        now: i64,
        instance: bool,
        site: bool,
        live: Option<LiveCode>,
        phase: Phase,
        sequence: i64,
        epoch: i64,
        association: Option<Association>,
        expected_tag: Option<&'static str>,
    }

    fn token() -> (Token, TokenText) {
        let token = Token {
            project: Uuid::from_u128(1),
            instance: Uuid::from_u128(2),
            sequence: 3,
            expires: Timestamp::from_second(1_000).unwrap(),
            nonce: [4; 16],
        };
        let text = token.seal(&ActivationKey::derive(&[9; 32], token.project));
        (token, text)
    }

    fn good() -> Case {
        Case {
            now: 0,
            instance: true,
            site: true,
            live: Some(LiveCode { sequence: 3, tokens: vec![token().1.hash()] }),
            phase: Phase::ReadyForActivation,
            sequence: 3,
            epoch: 0,
            association: None,
            expected_tag: None,
        }
    }

    fn redeemed() -> Case {
        let association = Association {
            id: "a".into(),
            token_sha256: token().1.hash().as_str().into(),
            device_key_sha256: "key".into(),
            epoch: 0,
            sequence: 3,
            site_uid: "s".into(),
        };
        Case { phase: Phase::Active, association: Some(association), live: None, ..good() }
    }

    impl Case {
        fn with<T>(&self, judge: impl FnOnce(&Evidence<'_>) -> T) -> T {
            let (token, text) = token();
            let address = PostalAddress {
                address_line1: "1000 Fourth Avenue".into(),
                address_line2: None,
                address_line3: None,
                city: "Seattle".into(),
                state_or_region: Some("WA".into()),
                postal_code: "98104".into(),
                country_code: "US".into(),
            };
            let instance = InstanceEvidence {
                phase: self.phase,
                sequence: self.sequence,
                epoch: self.epoch,
                association: self.association.as_ref(),
                expected_asset_tag: self.expected_tag,
            };
            judge(&Evidence {
                now: Timestamp::from_second(self.now).unwrap(),
                token: &token,
                token_hash: &text.hash(),
                instance: self.instance.then_some(instance),
                site: self.site.then_some(SiteEvidence { address: &address }),
                live: self.live.as_ref(),
            })
        }

        fn look_up(&self, zip: &str) -> Result<(), ActivationFailure> {
            self.with(|evidence| look_up(evidence, zip))
        }

        fn commit(&self, key: &str, tag: &str) -> Result<Committed, ActivationFailure> {
            self.with(|evidence| commit(evidence, key, tag))
        }
    }

    #[test]
    fn a_good_code_with_the_right_zip_is_looked_up_and_redeemed() {
        assert_eq!(good().look_up("98104-1193"), Ok(()));
        assert_eq!(good().commit("key", "0000195169"), Ok(Committed::Redeem));
    }

    #[test]
    fn each_failure_has_its_own_answer() {
        use ActivationFailure::{DeviceInstanceDoesNotExist, QrNotRecognized, SiteNotFound, ZipCodeDoesNotMatch};
        let other = LiveCode { sequence: 3, tokens: vec![TokenHash::from("other".to_owned())] };
        let cases = [
            (Case { now: 1_000, ..good() }, QrNotRecognized),
            (Case { instance: false, ..good() }, DeviceInstanceDoesNotExist),
            (Case { site: false, ..good() }, SiteNotFound),
            (Case { live: None, ..good() }, QrNotRecognized),
            (Case { live: Some(other), ..good() }, QrNotRecognized),
            (Case { sequence: 4, ..good() }, QrNotRecognized),
            (Case { phase: Phase::NeedsConfiguration, ..good() }, QrNotRecognized),
            (redeemed(), QrNotRecognized),
        ];
        for (case, failure) in cases {
            assert_eq!(case.look_up("98104"), Err(failure));
        }
        assert_eq!(good().look_up("98107"), Err(ZipCodeDoesNotMatch));
    }

    #[test]
    fn the_same_device_gets_the_same_answer_and_no_other_device_does() {
        let same = redeemed().association.map(Committed::Repeat).ok_or(ActivationFailure::SystemError);
        assert_eq!(redeemed().commit("key", "0000195169"), same);
        assert_eq!(Case { now: 5_000, ..redeemed() }.commit("key", "0000195169"), same, "also past the expiry");
        assert_eq!(redeemed().commit("another key", "0000195169"), Err(ActivationFailure::QrNotRecognized));
        assert_eq!(
            Case { epoch: 1, ..redeemed() }.commit("key", "0000195169"),
            Err(ActivationFailure::QrNotRecognized),
            "not after a deactivation"
        );
    }

    #[test]
    fn an_expected_asset_tag_keeps_other_hardware_out() {
        let case = Case { expected_tag: Some("0000195169"), ..good() };
        assert_eq!(case.commit("key", "0000195169"), Ok(Committed::Redeem));
        assert_eq!(case.commit("key", "0000195170"), Err(ActivationFailure::QrNotRecognized));
    }
}
