//! What is known when a code is judged: from the cache, and past it where the cache may lag.

use std::sync::Arc;

use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::activation::{Evidence, InstanceEvidence, LiveCode, Phase, SiteEvidence, Token, TokenHash};
use fleetform_domain::address::PostalAddress;
use jiff::Timestamp;

use super::live;
use crate::activation::code::CodeSecretMeta;
use crate::cache::{Found, Name, SecretMeta};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::reconcile::names;

/// Stands in where the address plays no role. No ZIP code matches it.
static NO_ADDRESS: PostalAddress = PostalAddress {
    address_line1: String::new(),
    address_line2: None,
    address_line3: None,
    city: String::new(),
    state_or_region: None,
    postal_code: String::new(),
    country_code: String::new(),
};

/// What is known about a token.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) token: Token,
    pub(super) hash: TokenHash,
    pub(super) device: Option<Arc<DeviceInstance>>,
    pub(super) site: Option<Arc<Site>>,
    address: Option<PostalAddress>,
    code: Option<LiveCode>,
}

/// A device instance as far as activation goes.
pub(crate) fn instance_evidence(device: &DeviceInstance) -> InstanceEvidence<'_> {
    let activation = device.status.as_ref().and_then(|status| status.activation.as_ref());
    InstanceEvidence {
        phase: device.phase(),
        sequence: activation.map_or(0, |activation| activation.sequence),
        epoch: device.spec.activation.epoch,
        association: device.association(),
        expected_asset_tag: device.spec.activation.expected_asset_tag_id.as_deref(),
    }
}

/// Whether the instance was deleted, and is there only until something has let go of it.
pub(crate) fn is_going(device: &DeviceInstance) -> bool {
    device.metadata.deletion_timestamp.is_some()
}

/// The code that a Secret's metadata tells of, if it belongs to this very instance.
fn code_of(device: &DeviceInstance, secret: Option<&SecretMeta>) -> Option<LiveCode> {
    let secret = CodeSecretMeta::read(secret?)?;
    secret.code_of(device.metadata.uid.as_deref()).map(|code| code.live.clone())
}

fn code_name(device: &DeviceInstance) -> Name {
    let name = Name::of(device);
    Name::new(name.namespace, names::code_secret(&name.name))
}

/// The site of an instance. One that is there but does not read is not one that is missing.
fn site_of(context: &Context, device: Option<&DeviceInstance>) -> Result<Option<Arc<Site>>> {
    let Some(device) = device else { return Ok(None) };
    let name = Name::new(Name::of(device).namespace, &device.spec.site_ref.name);
    match context.world.sites.find(&name) {
        Found::Here(site) => Ok(Some(site)),
        Found::Unreadable(why) => Err(Error::Unreadable { what: format!("Site {name}"), why }),
        Found::Absent => Ok(None),
    }
}

impl Known {
    /// What the cache knows.
    pub(super) fn cached(context: &Context, token: Token, hash: TokenHash) -> Result<Self> {
        let world = &context.world;
        // One that is being deleted takes no device any more.
        let device = world.device_by_uid(&token.instance.to_string()).filter(|device| !is_going(device));
        let secret = device.as_ref().and_then(|device| world.secrets.get(&code_name(device)));
        let code = device.as_ref().and_then(|device| code_of(device, secret.as_deref()));
        let site = site_of(context, device.as_deref())?;
        Ok(Self { token, hash, device, site, address: None, code })
    }

    /// The same, with instance and code as they are stored now.
    pub(super) async fn refreshed(self, context: &Context) -> Result<Self> {
        let Some(known) = &self.device else { return Ok(self) };
        let stored = live::device(&context.client, &Name::of(&**known)).await?;
        let is_same = |stored: &DeviceInstance| stored.metadata.uid == known.metadata.uid && !is_going(stored);
        let Some(device) = stored.filter(is_same) else {
            return Ok(Self { device: None, site: None, address: None, code: None, ..self });
        };
        context.world.own_device(device.clone());
        let secret = live::secret_metadata(&context.client, &code_name(&device)).await?;
        let code = code_of(&device, secret.as_ref());
        let site = site_of(context, Some(&device))?;
        Ok(Self { device: Some(Arc::new(device)), site, address: None, code, ..self })
    }

    /// Looks where the site is: needed to compare ZIP codes, and a request where the address stands in a Secret.
    pub(super) async fn with_address(mut self, context: &Context) -> Result<Self> {
        // An expired code is refused before its site is looked at.
        if let Some(site) = &self.site
            && self.token.expires > context.clock.now()
        {
            self.address = Some(live::address(&context.client, site).await?);
        }
        Ok(self)
    }

    /// Where the site is, if that was looked at.
    pub(super) fn address(&self) -> Option<&PostalAddress> {
        self.address.as_ref()
    }

    /// The evidence to judge by.
    pub(super) fn evidence(&self, now: Timestamp) -> Evidence<'_> {
        Evidence {
            now,
            token: &self.token,
            token_hash: &self.hash,
            instance: self.device.as_deref().map(instance_evidence),
            site: self.site.as_ref().map(|_| SiteEvidence { address: self.address.as_ref().unwrap_or(&NO_ADDRESS) }),
            live: self.code.as_ref(),
        }
    }

    /// Whether a token that the cache does not recognise may be recognised by what is stored now. Sequences only rise and
    /// a redeemed code stays redeemed, so most tokens that are not recognised cost no request.
    pub(super) fn may_lag(&self, now: Timestamp) -> bool {
        let Some(instance) = self.device.as_deref().map(instance_evidence) else { return false };
        if self.token.expires <= now || self.site.is_none() || instance.sequence > self.token.sequence {
            return false;
        }
        let redeemed = instance.association.is_some_and(|association| association.sequence >= self.token.sequence);
        !(redeemed && instance.phase == Phase::Active)
    }
}
