//! The certificate that a listener shows, renewed in place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Authorities, CryptoError, Ring, provider};
use crate::clock::Clock;

/// How often it is looked whether the certificate has to be renewed or was replaced.
const LOOK: Duration = Duration::from_mins(1);

/// A certificate of our own is renewed when it has less than this left: a third of its life.
const RENEW: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where a listener's certificate comes from.
enum Source {
    Authorities { authorities: Arc<Authorities>, names: Vec<String> },
    Files { certificate: PathBuf, key: PathBuf },
}

/// The certificate that a listener shows. Connections that are open keep the one they began with.
pub struct ServingCertificate {
    source: Source,
    current: RwLock<Current>,
}

struct Current {
    shown: Arc<CertifiedKey>,
    /// When it is replaced and whose it is, if it is one of our own.
    own: Option<(Timestamp, Arc<Ring>)>,
    /// What the files held, if it comes from files.
    files: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServingCertificate(…)")
    }
}

impl ServingCertificate {
    /// A certificate of our own authority, whichever signs at the time.
    pub fn of_authorities(
        authorities: Arc<Authorities>,
        names: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, CryptoError> {
        let current = own(authorities.ring(), &names, now)?;
        Ok(Self { source: Source::Authorities { authorities, names }, current: RwLock::new(current) })
    }

    /// A certificate from files in PEM: the chain, and its key.
    pub fn of_files(certificate: PathBuf, key: PathBuf) -> Result<Self, CryptoError> {
        let source = Source::Files { certificate, key };
        let current = source.read()?;
        Ok(Self { source, current: RwLock::new(current) })
    }

    /// Keeps the certificate current until it is dropped. What cannot be read is logged, and the last good one stays.
    pub async fn keep_current(&self, clock: &dyn Clock) {
        let mut complained = false;
        let mut news = match &self.source {
            Source::Authorities { authorities, .. } => Some(authorities.changes()),
            Source::Files { .. } => None,
        };
        loop {
            let another = async {
                match &mut news {
                    // The sender lives as long as the source.
                    Some(news) => drop(news.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = another => {}
            }
            match self.look(clock.now()) {
                Ok(()) => complained = false,
                Err(error) if !complained => {
                    complained = true;
                    tracing::error!(%error, "the listener's certificate was not renewed; the last one is still shown");
                }
                Err(_) => {}
            }
        }
    }

    fn look(&self, now: Timestamp) -> Result<(), CryptoError> {
        let renewed = match &self.source {
            Source::Authorities { authorities, names } => {
                let ring = authorities.ring();
                let good = |(at, of): &(Timestamp, Arc<Ring>)| now < *at && Arc::ptr_eq(of, &ring);
                let due = !self.current.read().own.as_ref().is_some_and(good);
                if due { Some(own(ring, names, now)?) } else { None }
            }
            Source::Files { .. } => {
                let read = self.source.read()?;
                let same = self.current.read().files == read.files;
                (!same).then_some(read)
            }
        };
        if let Some(renewed) = renewed {
            *self.current.write() = renewed;
            tracing::info!("the listener's certificate was renewed");
        }
        Ok(())
    }
}

impl Source {
    fn read(&self) -> Result<Current, CryptoError> {
        let Self::Files { certificate, key } = self else {
            return Err(CryptoError::Read("this certificate does not come from files".into()));
        };
        let file = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| CryptoError::Read(format!("cannot read {}: {error}", path.display())))
        };
        let bad = |path: &PathBuf, what| CryptoError::Read(format!("{} holds no {what} in PEM", path.display()));
        let (chain_pem, key_pem) = (file(certificate)?, file(key)?);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| bad(certificate, "certificate"))?;
        if chain.is_empty() {
            return Err(bad(certificate, "certificate"));
        }
        let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| bad(key, "private key"))?;
        let shown = certified(chain, private)
            .map_err(|why| CryptoError::Read(format!("{} and {}: {why}", certificate.display(), key.display())))?;
        Ok(Current { shown, own: None, files: Some((chain_pem, key_pem)) })
    }
}

fn own(ring: Arc<Ring>, names: &[String], now: Timestamp) -> Result<Current, CryptoError> {
    let made = ring.server_certificate(names, now)?;
    let renew_at = made.not_after - RENEW;
    let shown = certified(made.chain, made.key).map_err(CryptoError::Read)?;
    Ok(Current { shown, own: Some((renew_at, ring)), files: None })
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<CertifiedKey>, String> {
    // The error of a key that does not fit says which of the two is wrong, and nothing of either.
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|error| error.to_string())
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::succession::{Step, Times};
    use crate::crypto::{Authority, Generation};

    fn generation(number: u32, times: Times, now: Timestamp) -> Generation {
        let pem = Authority::generate(number, now).unwrap();
        let authority = Arc::new(Authority::from_pem(&pem.certificate, &pem.key).unwrap());
        Generation { number, authority, times }
    }

    fn authorities(generations: Vec<Generation>, now: Timestamp) -> Arc<Authorities> {
        Arc::new(Authorities::new(Ring::new(generations, now).unwrap()))
    }

    fn shown(certificate: &ServingCertificate) -> CertificateDer<'static> {
        certificate.current.read().shown.cert[0].clone()
    }

    #[test]
    fn a_certificate_of_our_own_is_renewed_before_it_ends() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let day = SignedDuration::from_hours(24);
        let authorities = authorities(vec![generation(1, Times::settled(now), now)], now);
        let serving = ServingCertificate::of_authorities(authorities, vec!["localhost".into()], now).unwrap();
        let first = shown(&serving);
        serving.look(now + day * 59).unwrap();
        assert_eq!(shown(&serving), first);
        serving.look(now + day * 60).unwrap();
        assert_ne!(shown(&serving), first);
    }

    #[test]
    fn the_listener_shows_another_one_as_soon_as_another_authority_signs() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (old, new) = (generation(1, Times::settled(now), now), generation(2, Times::announced(now), now));
        let authorities = authorities(vec![old.clone(), new.clone()], now);
        let serving = ServingCertificate::of_authorities(Arc::clone(&authorities), vec!["gw".into()], now).unwrap();
        assert_eq!(serving.current.read().shown.cert.last(), Some(old.authority.certificate()));
        let switched = Generation { times: new.times.after(Step::Serve, now), ..new.clone() };
        authorities.replace(Ring::new(vec![old, switched], now).unwrap());
        serving.look(now).unwrap();
        assert_eq!(&serving.current.read().shown.cert[1], new.authority.certificate());
        let same = shown(&serving);
        serving.look(now).unwrap();
        assert_eq!(shown(&serving), same);
    }

    #[test]
    fn a_certificate_in_files_is_read_again_and_a_bad_one_leaves_the_last() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let write = |pem: &crate::crypto::Pem| {
            std::fs::write(&certificate, &pem.certificate).unwrap();
            std::fs::write(&key, &pem.key).unwrap();
        };
        write(&Authority::generate(1, now).unwrap());
        let serving = ServingCertificate::of_files(certificate.clone(), key.clone()).unwrap();
        let first = shown(&serving);
        std::fs::write(&certificate, "garbage").unwrap();
        let error = serving.look(now).unwrap_err().to_string();
        assert!(error.contains("tls.crt"), "{error}");
        assert_eq!(shown(&serving), first);
        write(&Authority::generate(1, now).unwrap());
        serving.look(now).unwrap();
        assert_ne!(shown(&serving), first);
    }
}
