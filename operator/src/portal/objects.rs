//! What is declared at a site, as it is stored: for those who have a role there alone, as Kubernetes lists no objects by their site.

use std::sync::Arc;

use axum::Json as Answer;
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use fleetform_domain::audit::{Action, ResourceKind};
use fleetform_domain::wire::{SiteObjectKind, SiteObjects, SiteObjectsQuery};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use super::Portal;
use super::access::{Caller, Refused, Right, not_found};
use super::record::Asked;
use super::visit::Visit;
use crate::cache::{Name, World};
use crate::server::{Refusal, query};

/// `GET /v1/projects/{project}/sites/{site}/objects`.
pub(super) async fn objects(visit: Visit, uri: Uri) -> Result<Response, Refusal> {
    let Visit { portal, caller, actor, .. } = &visit;
    let site = visit.name()?;
    let found = portal.context.world.sites.get(site);
    let uid = found.as_ref().and_then(|found| found.metadata.uid.as_deref());
    let asked = Asked::of(Action::ListSiteObjects, ResourceKind::Site, site, uid);
    let outcome = portal.objects(caller, site, &uri).await;
    portal.record(actor, asked, &outcome).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Answer(outcome?)).into_response())
}

impl Portal {
    async fn objects(&self, caller: &Caller, site: &Name, uri: &Uri) -> Result<SiteObjects, Refused> {
        if !self.access.allows(caller, Right::to("get", "sites", "objects", site)).await? {
            return Err(Refused::Denied);
        }
        let query: SiteObjectsQuery = query(uri)?;
        let world = &self.context.world;
        if !world.is_synced() {
            return Err(Refusal::unavailable("the API server has not been read yet; ask again").into());
        }
        if world.sites.get(site).is_none() {
            return Err(not_found().into());
        }
        Ok(SiteObjects { api_version: "v1".to_owned(), kind: "List".to_owned(), items: at(world, site, &query) })
    }
}

/// The objects of a site, by kind and name. What does not read is left out.
fn at(world: &World, site: &Name, query: &SiteObjectsQuery) -> Vec<Value> {
    use SiteObjectKind as K;
    let namespace = site.namespace.as_str();
    let wanted = |kind: K| query.kind.is_none_or(|wanted| wanted == kind);
    let mut items = Vec::new();
    if wanted(K::Site) {
        take(&mut items, world.sites.get(site).into_iter().collect(), query);
    }
    if wanted(K::DeviceInstance) {
        let mut found = world.devices.in_namespace(namespace);
        found.retain(|device| device.spec.site_ref.name == site.name);
        take(&mut items, found, query);
    }
    if wanted(K::Asset) {
        let mut found = world.assets.in_namespace(namespace);
        found.retain(|asset| asset.spec.site_ref.name == site.name);
        take(&mut items, found, query);
    }
    if wanted(K::Alert) {
        let mut found = world.alerts.in_namespace(namespace);
        found.retain(|alert| alert.spec.site_ref.as_ref().is_some_and(|at| at.name == site.name));
        take(&mut items, found, query);
    }
    if wanted(K::AdminUser) {
        let mut found = world.admins.in_namespace(namespace);
        found.retain(|user| user.site() == Some(site.name.as_str()));
        take(&mut items, found, query);
    }
    items
}

fn take<K: ResourceExt + Serialize>(items: &mut Vec<Value>, mut found: Vec<Arc<K>>, query: &SiteObjectsQuery) {
    found.retain(|object| query.name.as_deref().is_none_or(|name| object.meta().name.as_deref() == Some(name)));
    found.sort_by_key(|object| object.name_any());
    items.extend(found.iter().map(|object| serde_json::to_value(&**object).expect("an object is plain data")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;
    use crate::controllers::fixtures;
    use serde_json::json;

    #[test]
    fn the_objects_of_a_site_are_those_at_it_and_no_others() {
        let world = World::new(vec![Scope::All]);
        world.own_site(fixtures::site());
        let (here, mut elsewhere) = (fixtures::device(&json!({})), fixtures::device(&json!({})));
        elsewhere.metadata.name = Some("vault".into());
        elsewhere.spec.site_ref.name = "annex".into();
        let mut alerts = [fixtures::alert(1), fixtures::alert(2)];
        alerts[0].spec.site_ref = Some(here.spec.site_ref.clone());
        world.own_asset(fixtures::asset());
        for alert in alerts {
            world.own_alert(alert);
        }
        let name = here.name_any();
        for device in [here, elsewhere] {
            world.own_device(device);
        }
        let said = |query: Value| {
            let query = serde_json::from_value(query).unwrap();
            let items = at(&world, &Name::new("library", "central"), &query);
            let of = |item: &Value| format!("{}/{}", item["kind"], item["metadata"]["name"]).replace('"', "");
            items.iter().map(of).collect::<Vec<_>>()
        };
        let device = format!("DeviceInstance/{name}");
        assert_eq!(said(json!({})), ["Site/central", device.as_str(), "Asset/pump", "Alert/pump.drive-end.1"]);
        assert_eq!(said(json!({ "kind": "DeviceInstance" })), [device.as_str()]);
        assert_eq!(said(json!({ "kind": "DeviceInstance", "name": "vault" })), Vec::<String>::new());
        assert_eq!(said(json!({ "name": "pump" })), ["Asset/pump"]);
    }
}
