//! Addresses of sites: reading one is a right of its own.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};
use fleetform_domain::address::PostalAddress;
use fleetform_domain::audit::{Action, ResourceKind};

use super::Portal;
use super::access::{Caller, Refused, Right, not_found};
use super::code::{not_served, object_name};
use super::record::{Asked, actor};
use crate::cache::Name;
use crate::gateway::live;
use crate::server::{Peer, Refusal};

/// `GET /v1/projects/{project}/sites/{site}/address`.
pub(super) async fn address(
    State(portal): State<Arc<Portal>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = portal.access.authenticate(&headers, &peer).await?;
    let Path((project, name)) = path.map_err(|_| not_found())?;
    let site = object_name(project, name).ok_or_else(not_found)?;
    let found = portal.context.world.sites.get(&site);
    let uid = found.as_ref().and_then(|found| found.metadata.uid.as_deref());
    let asked = Asked::of(Action::GetSiteAddress, ResourceKind::Site, &site, uid);
    let outcome = portal.address(&caller, &site).await;
    portal.record(&actor(&caller, &peer, &headers), asked, &outcome).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(outcome?)).into_response())
}

impl Portal {
    async fn address(&self, caller: &Caller, site: &Name) -> Result<PostalAddress, Refused> {
        let right = Right::to("get", "sites", "address", site);
        if !self.access.allows(caller, right).await? {
            return Err(Refused::Denied);
        }
        let site = self.context.world.sites.get(site).ok_or_else(not_found)?;
        Ok(live::address(&self.context.client, &site).await.map_err(|error| not_served(&error))?)
    }
}
