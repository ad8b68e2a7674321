//! The one place, beside the plan of a device instance at rest, where activation codes are replaced: when a code is handed
//! out that would not live long enough, and when a code is burned.

use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::TokenHash;
use uuid::Uuid;

use crate::activation::code::{CodeSecretMeta, CodeSubject};
use crate::cache::{Found, Name};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::reconcile::names;
use crate::reconcile::plan::CodeSecret;

/// The code of an instance that is ready for activation, as far as it is known.
#[derive(Debug)]
pub struct Current<'a> {
    /// Whose code it is.
    pub subject: CodeSubject<'a>,
    /// The Secret of its name, if there is one.
    pub secret: Option<CodeSecretMeta>,
}

/// What is known of the code of `device`, our own writes included.
pub fn current<'a>(context: &Context, device: &'a DeviceInstance) -> Result<Current<'a>> {
    let name = Name::of(device);
    let unusable = |why: &str| Error::Unreadable { what: format!("the code of {name}"), why: why.to_owned() };
    let project = match context.world.project(&name.namespace) {
        Found::Here(project) => project,
        Found::Unreadable(why) => return Err(unusable(&format!("the Project cannot be read: {why}"))),
        Found::Absent => return Err(unusable("its namespace has no Project")),
    };
    let project = project.metadata.uid.as_deref().and_then(|uid| Uuid::parse_str(uid).ok());
    let project = project.ok_or_else(|| unusable("the Project has no UID"))?;
    let activation = device.status.as_ref().and_then(|status| status.activation.as_ref());
    let sequence = activation.ok_or_else(|| unusable("it is not ready for activation"))?.sequence;
    let secret = context.world.secrets.get(&Name::new(&name.namespace, names::code_secret(&name.name)));
    let secret = secret.as_deref().and_then(CodeSecretMeta::read);
    Ok(Current { subject: CodeSubject { project, device, sequence }, secret })
}

/// Replaces a code by a new one of the same sequence. `keep` is the token that stays good beside it until its own expiry.
/// A conflict when somebody else replaced it meanwhile.
pub async fn rotate(context: &Context, current: &Current<'_>, keep: Option<TokenHash>) -> Result<CodeSecret> {
    let (nonce, now) = (context.clock.random(), context.clock.now());
    let code = context.mint().code(current.subject, current.secret.as_ref(), keep, nonce, now);
    let code = code.ok_or_else(|| {
        let what = format!("rotate the code of {}", Name::of(current.subject.device));
        Error::Unreadable { what, why: "its UID is not one".to_owned() }
    })?;
    context.executor.store_code(current.subject.device, &code).await?;
    Ok(code)
}
