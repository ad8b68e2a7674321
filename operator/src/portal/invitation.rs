//! Letters to people who got a role, for those who gave it: roles read no Secrets.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use fleetform_crds::AdminUser;
use fleetform_domain::audit::{Action, ResourceKind};

use super::Portal;
use super::access::{AtSite, Caller, Refused, not_found};
use super::code::not_served;
use super::record::Asked;
use super::visit::Visit;
use crate::cache::Name;
use crate::invitation::drafted::Drafted;
use crate::invitation::post;
use crate::server::Refusal;

/// `GET /v1/projects/{project}/admin-users/{name}/invitation`.
pub(super) async fn invitation(visit: Visit) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let name = visit.name()?;
    let outcome = portal.invitation(caller, name).await;
    let asked = Asked::of(Action::GetUserInvitation, ResourceKind::AdminUser, name, None);
    portal.record(actor, asked, &outcome).await?;
    Ok(([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "message/rfc822")], outcome?).into_response())
}

impl Portal {
    async fn invitation(&self, caller: &Caller, name: &Name) -> Result<Vec<u8>, Refused> {
        let world = &self.context.world;
        let user = world.admins.get(name);
        let site = user.as_deref().and_then(AdminUser::site);
        let right = AtSite::to("get", ["adminusers", "invitation"], name, site);
        if !self.access.allows_at(caller, right).await? {
            return Err(Refused::Denied);
        }
        let letter = user.and_then(|user| Drafted::to(&user, world)).ok_or_else(not_found)?;
        let secret = post::stored(&self.context.client, name, &letter).await.map_err(|error| not_served(&error))?;
        let secret = secret.ok_or_else(not_found)?;
        Ok(post::contents(&secret).ok_or_else(not_found)?.1.to_vec())
    }
}
