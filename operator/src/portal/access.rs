//! Who asks, and what they may: a `TokenReview` with our audience, then `SubjectAccessReviews`.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use fleetform_crds::GROUP;
use fleetform_domain::audit::{Identity, Outcome};
use fleetform_domain::problem::ProblemCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::reviews::Reviews;
use crate::cache::Name;
use crate::clock::Clock;
use crate::crypto::sha256_hex;
use crate::error::brief;
use crate::server::{Allowance, Peer, RateLimiter, Refusal, Shards};

/// A review is given up after this long, retries of the client included.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// So many tokens of one address may be refused at once, and then one in each [`REFUSED_INTERVAL`]; what comes beyond is not
/// reviewed. Tokens that were found good lately go through all the same.
const REFUSED_BURST: u32 = 100;

/// See [`REFUSED_BURST`].
const REFUSED_INTERVAL: Duration = Duration::from_millis(100);

/// Most answers of each kind that are remembered.
const KEPT: usize = 16 * 1024;

/// Where the API server says which token somebody came with.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// Somebody whose token is good.
#[derive(Clone)]
pub(super) struct Caller {
    token_sha256: String,
    user: Arc<UserInfo>,
}

impl Caller {
    /// Who they are, for the trail.
    pub(super) fn identity(&self) -> Identity {
        let user = &self.user;
        let credential = user.extra.as_ref().and_then(|extra| extra.get(CREDENTIAL)?.first());
        Identity::User {
            name: user.username.clone().unwrap_or_default(),
            uid: user.uid.clone().filter(|uid| !uid.is_empty()),
            credential: credential.cloned(),
            impersonator: None,
        }
    }
}

/// What somebody may or may not do: a virtual right of group `fleetform.dev`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Right {
    /// `get` or `create`.
    pub(super) verb: &'static str,
    /// `sites`, `deviceinstances`, `assets` or `enrolledusers`.
    pub(super) resource: &'static str,
    /// Such as `activationqrcode`.
    pub(super) subresource: &'static str,
    /// In which namespace; in all of them when there is none.
    pub(super) namespace: Option<String>,
    /// On which object; on all of them when there is none.
    pub(super) name: Option<String>,
}

impl Right {
    /// The right to one object.
    pub(super) fn to(verb: &'static str, resource: &'static str, subresource: &'static str, object: &Name) -> Self {
        let (namespace, name) = (Some(object.namespace.clone()), Some(object.name.clone()));
        Self { verb, resource, subresource, namespace, name }
    }
}

/// A right to one object, which the right to all such at its site gives too.
#[derive(Clone, Debug)]
pub(super) struct AtSite {
    /// The right to the site, if it is known where the object is.
    pub(super) site: Option<Right>,
    /// The right to the object.
    pub(super) own: Right,
}

impl AtSite {
    /// The right to this object that is at a site of this name, by its own resource, or by the same subresource of `sites`.
    pub(super) fn to(verb: &'static str, own: [&'static str; 2], object: &Name, site: Option<&str>) -> Self {
        let [resource, subresource] = own;
        let site = site.map(|site| Right::to(verb, "sites", subresource, &Name::new(&object.namespace, site)));
        Self { site, own: Right::to(verb, resource, subresource, object) }
    }
}

/// Asks the API server who somebody is and what they may.
pub(super) struct Access {
    client: Client,
    audience: String,
    clock: Arc<dyn Clock>,
    users: Reviews<String, Option<Arc<UserInfo>>>,
    rights: Reviews<(String, Right), bool>,
    /// Tokens that were refused, by the address they came from: garbage must not reach the API server without end. Who sends
    /// good ones is not limited, as many people may share an address.
    refused: RateLimiter,
    /// One line a minute about an API server that does not review.
    complaints: RateLimiter,
    asking: Shards,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(client: Client, audience: String, clock: &Arc<dyn Clock>) -> Self {
        Self {
            client,
            audience,
            clock: Arc::clone(clock),
            users: Reviews::new(KEPT),
            rights: Reviews::new(KEPT),
            refused: RateLimiter::new(REFUSED_BURST, REFUSED_INTERVAL, KEPT),
            complaints: RateLimiter::new(1, Duration::from_mins(1), 1),
            asking: Shards::default(),
        }
    }

    /// Who asks. The token must be made for our audience: one that was made for something else is no proof to us.
    pub(super) async fn authenticate(&self, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Refusal> {
        let token = bearer(headers).ok_or_else(|| {
            let detail = "send a Kubernetes token made for the portal's audience, as Authorization: Bearer";
            Refusal::new(ProblemCode::NotAuthenticated, detail)
        })?;
        let token_sha256 = sha256_hex(token.as_bytes());
        let user = match self.users.get(&token_sha256, self.clock.now()) {
            Some(user) => user,
            None => self.review_token(token, &token_sha256, peer).await?,
        };
        let user = user.ok_or_else(|| {
            let detail = format!("the token is not good, has ended, or is not made for the audience {}", self.audience);
            Refusal::new(ProblemCode::NotAuthenticated, detail)
        })?;
        Ok(Caller { token_sha256, user })
    }

    async fn review_token(&self, token: &str, sha256: &String, peer: &Peer) -> Result<Option<Arc<UserInfo>>, Refusal> {
        let from = peer.address.ip().to_string();
        if let Allowance::Wait(seconds) = self.refused.look(&from, self.clock.now()) {
            return Err(Refusal::rate_limited(seconds));
        }
        let _one_asks = self.asking.lock(sha256).await;
        if let Some(user) = self.users.get(sha256, self.clock.now()) {
            return Ok(user);
        }
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![self.audience.clone()]) },
            status: None,
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let status = self.bounded(api.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        let ours = status.audiences.is_some_and(|audiences| audiences.contains(&self.audience));
        let user = status.user.filter(|_| ours && status.authenticated == Some(true)).map(Arc::new);
        if user.is_none() {
            self.refused.take(&from, self.clock.now());
        }
        self.users.put(sha256.clone(), user.clone(), user.is_some(), self.clock.now());
        Ok(user)
    }

    /// Whether `caller` has this right.
    pub(super) async fn allows(&self, caller: &Caller, right: Right) -> Result<bool, Refusal> {
        let key = (caller.token_sha256.clone(), right);
        if let Some(allowed) = self.rights.get(&key, self.clock.now()) {
            return Ok(allowed);
        }
        let _one_asks = self.asking.lock(&key).await;
        if let Some(allowed) = self.rights.get(&key, self.clock.now()) {
            return Ok(allowed);
        }
        let user = &caller.user;
        let review = SubjectAccessReview {
            metadata: ObjectMeta::default(),
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                groups: user.groups.clone(),
                uid: user.uid.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(attributes(&key.1)),
                non_resource_attributes: None,
            },
            status: None,
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let status = self.bounded(api.create(&PostParams::default(), &review)).await?.status.unwrap_or_default();
        let allowed = status.allowed && status.denied != Some(true);
        self.rights.put(key, allowed, allowed, self.clock.now());
        Ok(allowed)
    }

    /// Whether `caller` has one of these rights. The site comes first: one answer counts for all that is there.
    pub(super) async fn allows_at(&self, caller: &Caller, right: AtSite) -> Result<bool, Refusal> {
        if let Some(site) = right.site
            && self.allows(caller, site).await?
        {
            return Ok(true);
        }
        self.allows(caller, right.own).await
    }

    async fn bounded<T>(&self, review: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
        let why = match tokio::time::timeout(REVIEW_TIMEOUT, review).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => brief(&error),
            Err(_) => "no answer".to_owned(),
        };
        if self.complaints.take("", self.clock.now()) == Allowance::Granted {
            tracing::warn!(why, "the API server did not review a token or a right");
        }
        Err(Refusal::unavailable("the API server cannot be asked just now; ask again"))
    }
}

fn attributes(right: &Right) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some("v1alpha1".to_owned()),
        resource: Some(right.resource.to_owned()),
        subresource: Some(right.subresource.to_owned()),
        verb: Some(right.verb.to_owned()),
        namespace: right.namespace.clone(),
        name: right.name.clone(),
        ..ResourceAttributes::default()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Why somebody is not given what they ask for.
#[derive(Debug)]
pub(super) enum Refused {
    /// They lack the right; they are told no more than that it is not there.
    Denied,
    /// This.
    Told(Refusal),
}

impl Refused {
    /// What the trail says of it.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Denied => Outcome::Denied,
            Self::Told(refusal) => Outcome::Refused(refusal.code),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Told(refusal)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Denied => not_found(),
            Refused::Told(refusal) => refusal,
        }
    }
}

/// The answer to somebody who may not, and about something that is not there.
pub(super) fn not_found() -> Refusal {
    Refusal::new(ProblemCode::NotFound, "it does not exist, or you may not see it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_from_the_header_only() {
        let headers = |value: &str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&headers("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers("bearer  abc ")), Some("abc"));
        for other in ["", "abc", "Basic abc", "Bearer ", "Bearer"] {
            assert_eq!(bearer(&headers(other)), None, "{other}");
        }
    }
}
