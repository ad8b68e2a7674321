//! The list of enrolled users, for Entry devices that recognise people while they are offline.

use std::sync::Arc;

use axum::Extension;
use axum::Json as Answer;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{UserList, UserListQuery};

use super::Gateway;
use crate::cache::Name;
use crate::people::PageLost;
use crate::people::holders::keeps_list;
use crate::server::{Peer, Refusal, query};

/// `GET /v1/users`.
pub(super) async fn users(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let list = gateway.users(&peer, &query(&uri)?).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(list)).into_response())
}

impl Gateway {
    async fn users(&self, peer: &Peer, query: &UserListQuery) -> Result<UserList, Refusal> {
        let identity = self.identify(peer)?;
        let device = self.trusted(&identity).await?;
        if !keeps_list(&device) {
            let detail = "the list is for Entry devices with offlineRecognition that are not locked; hold none";
            return Err(Refusal::new(ProblemCode::NotFound, detail));
        }
        let namespace = Name::of(&*device).namespace;
        self.opened(&namespace)?;
        let page = self.context.people.page(&namespace, query);
        page.map_err(|PageLost| {
            Refusal::unavailable("the pages before are out of date: drop them, and begin without `after`")
        })
    }
}
