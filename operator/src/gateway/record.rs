//! What devices did, written down for the audit trail. Never the code, nor anything that opens.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::{ActivationFailure, Association};
use fleetform_domain::audit::{Action, Actor, Deed, Identity, Members, Outcome, Resource, ResourceKind};
use fleetform_domain::id::ResourceId;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::ActivationRequest;

use super::Gateway;
use super::evidence::Known;
use crate::cache::Name;
use crate::server::Peer;

/// A device that has no association yet.
#[derive(Debug)]
pub(super) struct Caller {
    source: IpAddr,
    user_agent: Option<String>,
}

impl Caller {
    /// The one at the other end.
    pub(super) fn of(peer: &Peer, headers: &HeaderMap) -> Self {
        let user_agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
        Self { source: peer.address.ip(), user_agent }
    }

    fn actor(&self, instance: &str, association: Option<&str>) -> Actor {
        let identity = Identity::Device {
            instance: ResourceId::of(instance).to_string(),
            association: association.map(str::to_owned),
        };
        Actor { identity, source: self.source, user_agent: self.user_agent.clone() }
    }
}

impl Gateway {
    /// An attempt with an authentic code was refused. How many there can be is bounded: attempts are limited for each code.
    pub(super) async fn record_refusal(
        &self,
        action: Action,
        known: &Known,
        caller: &Caller,
        asset_tag: Option<&str>,
        failure: ActivationFailure,
    ) {
        let uid = known.token.instance.to_string();
        let name = known.device.as_ref().map(|device| Name::of(&**device));
        let (namespace, name) = name.as_ref().map(|name| (&*name.namespace, &*name.name)).unzip();
        let resource = Resource::new(ResourceKind::DeviceInstance, namespace, name).with_uid(Some(&uid));
        let parameters = asset_tag.map(|tag| ("assetTagId".to_owned(), tag.into()));
        let outcome = Outcome::Refused(failure.problem().unwrap_or(ProblemCode::SystemError));
        let deed = Deed { action, resource, parameters: Members::from_iter(parameters), outcome };
        self.write_down(deed, &caller.actor(&uid, None)).await;
    }

    /// A device was activated. `repeated`: it asks again for the answer that it has lost, or that the last process could not give.
    pub(super) async fn record_activation(
        &self,
        device: &DeviceInstance,
        association: &Association,
        request: &ActivationRequest,
        caller: &Caller,
        repeated: bool,
    ) {
        let (name, uid) = (Name::of(device), device.metadata.uid.as_deref());
        let resource = Resource::new(ResourceKind::DeviceInstance, Some(&name.namespace), Some(&name.name));
        let parameters = Members::from_iter([
            ("site".to_owned(), device.spec.site_ref.name.as_str().into()),
            ("assetTagId".to_owned(), request.asset_tag_id.as_str().into()),
            ("associationId".to_owned(), association.id.as_str().into()),
            ("repeated".to_owned(), repeated.into()),
        ]);
        let resource = resource.with_uid(uid);
        let deed = Deed { action: Action::ActivateDevice, resource, parameters, outcome: Outcome::Done };
        self.write_down(deed, &caller.actor(uid.unwrap_or_default(), Some(&association.id))).await;
    }

    async fn write_down(&self, deed: Deed, actor: &Actor) {
        let clock = &self.context.clock;
        let record = deed.record(&self.context.settings.installation, actor, clock.now(), clock.uuid());
        self.context.trail.after(record).await;
    }
}
