//! The list of devices, which can wait for changes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::{Extension, Json as Answer};
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::wire::{DeviceList, DeviceListQuery, MAX_WAIT_SECONDS};
use tokio::time::{Instant, sleep, sleep_until};

use super::Portal;
use super::access::{Caller, Refused, Right, not_found};
use super::feed::Scope;
use super::record::{Asked, actor};
use crate::server::{Peer, Refusal, query};

/// How long changes are gathered before they are told: what changes, mostly changes in bursts.
const BURST: Duration = Duration::from_millis(50);

/// `GET /v1/device-instances`.
pub(super) async fn all(
    State(portal): State<Arc<Portal>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Answer<DeviceList>, Refusal> {
    portal.list(&headers, &peer, &uri, None).await.map(Answer)
}

/// `GET /v1/projects/{project}/device-instances`.
pub(super) async fn of_project(
    State(portal): State<Arc<Portal>>,
    path: Result<Path<String>, PathRejection>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Answer<DeviceList>, Refusal> {
    let project = path.map_err(|_| not_found())?.0;
    portal.list(&headers, &peer, &uri, Some(project)).await.map(Answer)
}

impl Portal {
    async fn list(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        uri: &Uri,
        project: Option<String>,
    ) -> Result<DeviceList, Refusal> {
        let caller = self.access.authenticate(headers, peer).await?;
        let list = self.list_for(&caller, uri, project.clone()).await;
        let asked = || Asked::of_all(Action::ListDeviceInstances, ResourceKind::DeviceInstance, project.as_deref());
        self.record_denial(&actor(&caller, peer, headers), asked, &list).await?;
        Ok(list?)
    }

    async fn list_for(&self, caller: &Caller, uri: &Uri, project: Option<String>) -> Result<DeviceList, Refused> {
        let query: DeviceListQuery = query(uri)?;
        if query.wait_seconds > MAX_WAIT_SECONDS {
            Err(Refusal::malformed(format!("query: waitSeconds: 0 to {MAX_WAIT_SECONDS}")))?;
        }
        let watched = &self.context.settings.watch_namespaces;
        // Where only some namespaces are looked at, all of these is all there is.
        let namespaces: Vec<Option<String>> = if project.is_none() && !watched.is_empty() {
            watched.iter().cloned().map(Some).collect()
        } else {
            vec![project.clone()]
        };
        for namespace in namespaces {
            let name = query.site.clone();
            let right = Right { verb: "get", resource: "sites", subresource: "devices", namespace, name };
            if !self.access.allows(caller, right).await? {
                return Err(Refused::Denied);
            }
        }
        if !self.context.world.is_synced() {
            Err(Refusal::unavailable("the API server has not been read yet; ask again"))?;
        }
        let scope = Scope { project, site: query.site, simulated: query.simulated };
        Ok(self.wait(&scope, query.since, Duration::from_secs(query.wait_seconds.into())).await)
    }

    async fn wait(&self, scope: &Scope, mut since: Option<String>, wait: Duration) -> DeviceList {
        let deadline = Instant::now() + wait;
        let mut changes = self.devices.changes();
        loop {
            let listing = self.devices.list(scope, since.as_deref());
            if listing.complete || !listing.is_empty() || wait.is_zero() {
                return listing.into_list();
            }
            // What changed meanwhile was not asked for: next time only what is newer is looked at.
            since = Some(listing.version().to_owned());
            tokio::select! {
                _ = changes.changed() => sleep(BURST).await,
                () = sleep_until(deadline) => return listing.into_list(),
                () = self.shutdown.cancelled() => return listing.into_list(),
            }
        }
    }
}
