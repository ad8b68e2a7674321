//! Addresses of sites: reading one is a right of its own.

use axum::Json as Answer;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_domain::address::PostalAddress;
use fleetform_domain::audit::{Action, ResourceKind};

use super::Portal;
use super::access::{Caller, Refused, Right, not_found};
use super::code::not_served;
use super::record::Asked;
use super::visit::Visit;
use crate::cache::Name;
use crate::gateway::live;
use crate::server::Refusal;

/// `GET /v1/projects/{project}/sites/{site}/address`.
pub(super) async fn address(visit: Visit) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let site = visit.name()?;
    let found = portal.context.world.sites.get(site);
    let uid = found.as_ref().and_then(|found| found.metadata.uid.as_deref());
    let asked = Asked::of(Action::GetSiteAddress, ResourceKind::Site, site, uid);
    let outcome = portal.address(caller, site).await;
    portal.record(actor, asked, &outcome).await?;
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
