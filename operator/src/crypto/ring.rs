//! The generations of the authority that there are, and what each of them counts for: who signs, which are delivered to devices,
//! whose certificates are taken.

use std::fmt;
use std::sync::Arc;

use fleetform_domain::wire::AuthoritiesDigest;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::succession::{Stage, Times};
use super::{Authority, CryptoError, DeviceIdentity, ServerCertificate, provider};

/// One generation of the authority.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u32,
    /// Its certificate and key.
    pub authority: Arc<Authority>,
    /// When it reached its stages.
    pub times: Times,
}

/// All generations that there are, and their parts.
pub struct Ring {
    /// In their order; at least one.
    generations: Vec<Generation>,
    /// Place of the one that signs.
    signer: usize,
    /// Place of the first that is delivered; all after it are, too.
    delivered: usize,
    vouched: Vec<CertificateDer<'static>>,
    digest: AuthoritiesDigest,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<u32> = self.generations.iter().map(|generation| generation.number).collect();
        f.debug_struct("Ring").field("generations", &numbers).field("stage", &self.stage()).finish_non_exhaustive()
    }
}

impl Ring {
    /// The ring of these generations, in their order. Only the newest can be on its way: a rotation begins when the one before
    /// it has ended. An error when there is none, or one cannot be used.
    pub fn new(generations: Vec<Generation>, now: Timestamp) -> Result<Self, CryptoError> {
        let unusable = || CryptoError::Read("the authority's certificate cannot be trusted".into());
        let newest = generations.len().checked_sub(1).ok_or_else(unusable)?;
        let before = newest.saturating_sub(1);
        let (signer, delivered) = match generations[newest].times.stage() {
            Stage::Announced => (before, before),
            Stage::Serving => (newest, before),
            Stage::Settled => (newest, newest),
        };
        let authority = |place: usize| &generations[place].authority;
        let mut vouched = Vec::new();
        for earlier in generations[..signer].iter().map(|generation| &generation.authority) {
            if earlier.not_after() > now {
                vouched.push(earlier.vouch_for(authority(signer), now)?);
                vouched.push(earlier.certificate().clone());
            }
        }
        let mut roots = RootCertStore::empty();
        for generation in &generations {
            roots.add(generation.authority.certificate().clone()).map_err(|_| unusable())?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|_| unusable())?;
        let digest = AuthoritiesDigest::of((delivered..=newest).map(|place| authority(place).certificate().as_ref()));
        Ok(Self { generations, signer, delivered, vouched, digest, verifier })
    }

    /// The newest generation: the one that is on its way, or has arrived.
    pub fn newest(&self) -> &Generation {
        &self.generations[self.generations.len() - 1]
    }

    /// How far the newest generation is.
    pub fn stage(&self) -> Stage {
        self.newest().times.stage()
    }

    /// The generation that signs and serves, and that codes pin.
    pub fn signing(&self) -> &Generation {
        &self.generations[self.signer]
    }

    /// The authority that signs.
    pub fn signer(&self) -> &Authority {
        &self.signing().authority
    }

    /// The authorities that devices and people are to trust, in PEM.
    pub fn delivered(&self) -> Vec<String> {
        self.generations[self.delivered..].iter().map(|generation| generation.authority.ca_pem().to_owned()).collect()
    }

    /// Names what is delivered.
    pub fn digest(&self) -> AuthoritiesDigest {
        self.digest
    }

    /// The generations before the newest.
    pub fn earlier(&self) -> impl Iterator<Item = u32> {
        self.generations[..self.generations.len() - 1].iter().map(|generation| generation.number)
    }

    /// Whether this is the same as `other`, however often both were read.
    pub fn is_same(&self, other: &Self) -> bool {
        let known = |ring: &Self| -> Vec<_> {
            let of = |generation: &Generation| (generation.number, generation.times, generation.authority.spki_pin());
            ring.generations.iter().map(of).collect()
        };
        known(self) == known(other)
    }

    /// The generation that signed a device's certificate.
    pub fn issuer(&self, identity: &DeviceIdentity) -> Option<u32> {
        let issuer = identity.issuer.as_deref()?;
        let found = self.generations.iter().find(|generation| generation.authority.key_id() == issuer);
        found.map(|generation| generation.number)
    }

    /// Whether a certificate of this generation still counts. One that does not is good for getting another one.
    pub fn counts(&self, issuer: Option<u32>) -> bool {
        issuer.is_some_and(|issuer| self.generations[self.delivered..].iter().any(|it| it.number == issuer))
    }

    /// A certificate for a listener. What follows it lets everybody verify it who trusts the authority that signs, and
    /// everybody who trusts one before it that is not gone; the pinned authority stands in it whichever of them a code pins.
    pub fn server_certificate(&self, names: &[String], now: Timestamp) -> Result<ServerCertificate, CryptoError> {
        let mut made = self.signer().server_certificate(names, now)?;
        made.chain.extend(self.vouched.iter().cloned());
        Ok(made)
    }

    pub(super) fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }
}

/// The ring as it is now, shared by all who use it.
#[derive(Debug)]
pub struct Authorities(watch::Sender<Arc<Ring>>);

impl Authorities {
    /// Begins with this ring.
    pub fn new(ring: Ring) -> Self {
        Self(watch::Sender::new(Arc::new(ring)))
    }

    /// The ring now.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0.borrow())
    }

    /// It is another one from now on.
    pub fn replace(&self, ring: Ring) {
        self.0.send_replace(Arc::new(ring));
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<Arc<Ring>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::succession::Step;
    use crate::crypto::{Bond, DeviceKey};
    use jiff::SignedDuration;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{ServerName, UnixTime};
    use std::time::Duration;
    use x509_parser::parse_x509_certificate;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn generation(number: u32, times: Times) -> Generation {
        let pem = Authority::generate(number, now()).unwrap();
        let authority = Arc::new(Authority::from_pem(&pem.certificate, &pem.key).unwrap());
        Generation { number, authority, times }
    }

    /// Two generations, as they stand in each of the stages.
    fn rotation() -> [Ring; 3] {
        let old = generation(1, Times::settled(now()));
        let announced = generation(2, Times::announced(now()));
        let serving = Generation { times: announced.times.after(Step::Serve, now()), ..announced.clone() };
        let settled = Generation { times: serving.times.after(Step::Settle, now()), ..serving.clone() };
        [announced, serving, settled].map(|new| Ring::new(vec![old.clone(), new], now()).unwrap())
    }

    /// Whether somebody who trusts only this authority verifies what the listener shows.
    fn verifies(ring: &Ring, trusted: &CertificateDer<'static>) -> bool {
        let shown = ring.server_certificate(&["gw.example.org".into()], now()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        let name = ServerName::try_from("gw.example.org").unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now().as_second()).unwrap()));
        verifier.verify_server_cert(&shown.chain[0], &shown.chain[1..], &name, &[], time).is_ok()
    }

    #[test]
    fn who_trusts_one_of_the_two_verifies_the_listener_in_every_stage() {
        let [announced, serving, settled] = rotation();
        let [old, new] = [0, 1].map(|place| announced.generations[place].authority.certificate().clone());
        assert!(verifies(&announced, &old) && !verifies(&announced, &new), "nobody trusts the new one alone yet");
        assert!(verifies(&serving, &old) && verifies(&serving, &new));
        assert!(verifies(&settled, &old) && verifies(&settled, &new), "a device that was off all the time");
        let gone = Ring::new(vec![settled.newest().clone()], now()).unwrap();
        assert!(!verifies(&gone, &old) && verifies(&gone, &new), "the old one was taken away");
        assert!(!verifies(&serving, generation(1, Times::settled(now())).authority.certificate()), "a stranger");
    }

    #[test]
    fn a_device_that_was_off_for_several_rotations_comes_back() {
        let times = Times::settled(now());
        let ring = Ring::new((1..=4).map(|number| generation(number, times)).collect(), now()).unwrap();
        assert!(ring.generations.iter().all(|known| verifies(&ring, known.authority.certificate())));
    }

    #[test]
    fn an_authority_vouches_within_the_lengths_of_paths_that_are_allowed() {
        let [_, serving, _] = rotation();
        let path = |der: &CertificateDer<'_>| {
            let (_, parsed) = parse_x509_certificate(der).unwrap();
            let constraints = parsed.basic_constraints().unwrap().unwrap().value.clone();
            (constraints.ca, constraints.path_len_constraint)
        };
        let [vouched, old] = serving.vouched.as_slice() else { panic!("one pair") };
        // Not every verifier looks at that of a root; all look at that of a certificate below it.
        assert_eq!((path(old), path(vouched)), ((true, Some(1)), (true, Some(0))));
        let read = |der| parse_x509_certificate(der).unwrap().1;
        let (cross, new, old) = (read(vouched), read(serving.signer().certificate()), read(old));
        assert_eq!((cross.subject(), cross.public_key()), (new.subject(), new.public_key()));
        assert_eq!(cross.issuer(), old.subject());
        assert_ne!(cross.subject(), cross.issuer());
    }

    #[test]
    fn each_stage_signs_delivers_and_takes_what_it_should() {
        let [announced, serving, settled] = rotation();
        let numbers =
            |ring: &Ring| (ring.signing().number, ring.delivered().len(), ring.counts(Some(1)), ring.counts(Some(2)));
        assert_eq!(numbers(&announced), (1, 2, true, true));
        assert_eq!(numbers(&serving), (2, 2, true, true));
        assert_eq!(numbers(&settled), (2, 1, false, true));
        assert!(!settled.counts(None) && !settled.counts(Some(3)));
        assert_eq!(announced.digest(), serving.digest(), "the switch tells devices nothing new");
        assert_ne!(serving.digest(), settled.digest());
        assert_eq!(settled.earlier().collect::<Vec<_>>(), [1]);
        let first = Ring::new(vec![generation(1, Times::settled(now()))], now()).unwrap();
        assert_eq!((first.signing().number, first.delivered().len(), first.vouched.len()), (1, 1, 0));
        assert!(Ring::new(Vec::new(), now()).is_err());
    }

    #[test]
    fn the_certificate_of_a_device_says_who_signed_it_and_the_handshake_takes_all_that_are_known() {
        let [announced, serving, settled] = rotation();
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let key = DeviceKey::from_request(&request).unwrap();
        let bond = Bond::example("a");
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now().as_second()).unwrap()));
        for (ring, number) in [(&announced, 1), (&serving, 2)] {
            let life = SignedDuration::from_hours(1);
            let pem = ring.signer().device_certificate(&key, &bond, now(), life).unwrap();
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let identity = DeviceIdentity::read(&certificate).unwrap();
            assert_eq!([&announced, &serving, &settled].map(|ring| ring.issuer(&identity)), [Some(number); 3]);
            assert!(settled.verifier().verify_client_cert(&certificate, &[], time).is_ok());
            let gone = Ring::new(vec![settled.newest().clone()], now()).unwrap();
            assert_eq!(gone.verifier().verify_client_cert(&certificate, &[], time).is_ok(), number == 2);
        }
    }
}
