//! Addresses of sites: reading one is a right of its own.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as Answer};

use fleetform_domain::problem::ProblemCode;

use super::Portal;
use super::access::{Right, not_found};
use super::code::{not_served, object_name};
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
    let right = Right::to("get", "sites", "address", &site);
    let allowed = portal.access.allows(&caller, right).await?;
    tracing::info!(
        target: "audit",
        action = "GetSiteAddress",
        user = caller.name(),
        site = %site,
        source = %peer.address.ip(),
        refused = (!allowed).then_some(ProblemCode::NotFound.as_str()),
        "the address of a site was asked for"
    );
    if !allowed {
        return Err(not_found());
    }
    let site = portal.context.world.sites.get(&site).ok_or_else(not_found)?;
    let address = live::address(&portal.context.client, &site).await.map_err(|error| not_served(&error))?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(address)).into_response())
}
