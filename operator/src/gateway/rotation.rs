//! The one place, beside the plan of a device instance at rest, where activation codes are replaced: when a code is handed
//! out that would not live long enough, and when a code is burned.

use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::TokenHash;
use uuid::Uuid;

use crate::cache::Name;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::reconcile::plan::CodeSecret;

/// Replaces the code of `device` by a new one of the same sequence. `keep` is the token that stays good beside it until its
/// own expiry.
pub async fn rotate(context: &Context, device: &DeviceInstance, keep: Option<TokenHash>) -> Result<CodeSecret> {
    let name = Name::of(device);
    let unusable = |why: &str| Error::Unreadable { what: format!("rotate the code of {name}"), why: why.to_owned() };
    let project = context.world.project(&name.namespace).ok_or_else(|| unusable("its namespace has no Project"))?;
    let project = project.metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok());
    let project = project.ok_or_else(|| unusable("the Project has no UID"))?;
    let activation = device.status.as_ref().and_then(|status| status.activation.as_ref());
    let sequence = activation.ok_or_else(|| unusable("it is not ready for activation"))?.sequence;
    let (nonce, now) = (context.clock.random(), context.clock.now());
    let code = context.mint.code(project, device, sequence, keep, nonce, now);
    let code = code.ok_or_else(|| unusable("its UID is not one"))?;
    context.executor.apply_code(device, &code).await?;
    Ok(code)
}
