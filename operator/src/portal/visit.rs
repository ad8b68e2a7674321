//! How every question about one object begins: who asks, and about which.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use fleetform_domain::audit::Actor;

use super::Portal;
use super::access::{Caller, not_found};
use super::record::actor;
use crate::cache::Name;
use crate::server::{Peer, Refusal};

/// Somebody whose token is good, with the object that they ask about: the `project` and `name` of the path.
pub(super) struct Visit {
    /// Where they ask.
    pub(super) portal: Arc<Portal>,
    /// Who they are.
    pub(super) caller: Caller,
    /// Who they are, for the trail.
    pub(super) actor: Actor,
    /// The object; none where no object can be called so.
    pub(super) named: Option<Name>,
}

impl Visit {
    /// The object that they ask about.
    pub(super) fn name(&self) -> Result<&Name, Refusal> {
        self.named.as_ref().ok_or_else(not_found)
    }
}

impl FromRequestParts<Arc<Portal>> for Visit {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>().expect("every request has a peer").clone();
        let caller = portal.access.authenticate(&parts.headers, &peer).await?;
        let actor = actor(&caller, &peer, &parts.headers);
        // What is no text names nothing.
        let params = RawPathParams::from_request_parts(parts, portal).await.ok();
        let of = |wanted| params.iter().flatten().find(|(key, _)| *key == wanted).map(|(_, value)| value.to_owned());
        let named = of("project").zip(of("name")).and_then(|(project, name)| object_name(project, name));
        Ok(Self { portal: Arc::clone(portal), caller, actor, named })
    }
}

/// A name, if an object can have it: what cannot be there is not asked for, and does not stand in the log.
fn object_name(namespace: String, name: String) -> Option<Name> {
    let fits = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    (fits(&namespace, 63) && fits(&name, 253)).then(|| Name::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_there_has_no_name() {
        let name = |namespace: &str, name: &str| object_name(namespace.into(), name.into());
        assert_eq!(name("library", "front-door.2"), Some(Name::new("library", "front-door.2")));
        for (namespace, object) in [("", "a"), ("a", ""), ("Library", "a"), ("a", "x/y"), ("a", "\n"), ("a", "ü")] {
            assert_eq!(name(namespace, object), None, "{namespace} {object}");
        }
        assert_eq!(name(&"a".repeat(64), "a"), None);
        assert_eq!(name("a", &"a".repeat(254)), None);
    }
}
