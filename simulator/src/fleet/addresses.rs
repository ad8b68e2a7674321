//! The addresses of sites, as an installer remembers them for a short while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::installer::{Installer, InstallerError};

/// How long an address is remembered.
const REMEMBERED: Duration = Duration::from_secs(30);

/// From how many sites on those that are out of date are looked for.
const MANY: usize = 256;

#[derive(Clone)]
struct Known {
    read_at: Instant,
    postal_code: Arc<str>,
}

type Place = Arc<tokio::sync::Mutex<Option<Known>>>;

/// Project and name.
type Site = (Arc<str>, Arc<str>);

/// ZIP codes by site.
#[derive(Default)]
pub(super) struct Addresses(Mutex<HashMap<Site, Place>>);

impl Addresses {
    /// The ZIP code of a site, read no longer ago than `REMEMBERED`, and no earlier than `fresh_since`. However many ask
    /// at once, the portal is asked once.
    pub(super) async fn postal_code(
        &self,
        installer: &Installer,
        project: &str,
        site: &Arc<str>,
        fresh_since: Option<Instant>,
    ) -> Result<Arc<str>, InstallerError> {
        let place = self.place(project, site);
        let mut known = place.lock().await;
        let is_fresh = |known: &&Known| {
            known.read_at.elapsed() < REMEMBERED && fresh_since.is_none_or(|since| known.read_at >= since)
        };
        if let Some(known) = known.as_ref().filter(is_fresh) {
            return Ok(known.postal_code.clone());
        }
        let read_at = Instant::now();
        let postal_code: Arc<str> = installer.site_address(project, site).await?.postal_code.into();
        *known = Some(Known { read_at, postal_code: postal_code.clone() });
        Ok(postal_code)
    }

    fn place(&self, project: &str, site: &Arc<str>) -> Place {
        let mut places = self.0.lock();
        if places.len() >= MANY {
            let in_use = |place: &Place| {
                place.try_lock().map_or(true, |known| known.as_ref().is_some_and(|k| k.read_at.elapsed() < REMEMBERED))
            };
            places.retain(|_, place| in_use(place));
        }
        places.entry((project.into(), site.clone())).or_default().clone()
    }
}
