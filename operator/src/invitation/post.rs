//! Hands drafted letters to the mail server, one after the other, and has the operator look at whom they are to.

use std::collections::HashSet;
use std::time::Duration;

use fleetform_crds::AdminUser;
use k8s_openapi::api::core::v1::Secret;

use super::server::MailTrouble;
use super::{Delivery, Mail};
use crate::cache::{Kind, Name, SecretMeta, World};
use crate::context::Context;
use crate::gateway::live;
use crate::queue::Key;
use crate::reconcile::names;

/// How often it is looked for letters that are to be sent again.
const LOOK: Duration = Duration::from_secs(10);

/// A letter that is to be sent.
struct Waiting {
    user: Name,
    secret: Name,
    letter: String,
}

/// Follows until it is dropped. Without a mail server letters are drafts.
pub async fn follow(context: Context) {
    let Some(mail) = &context.settings.invitations.mail else { return std::future::pending().await };
    let deliveries = &context.deliveries;
    loop {
        let _ = tokio::time::timeout(LOOK, deliveries.asked.notified()).await;
        let waiting = waiting(&context.world);
        let letters: HashSet<&str> = waiting.iter().map(|waiting| waiting.letter.as_str()).collect();
        deliveries.retain(|letter| letters.contains(letter));
        for Waiting { user, secret, letter } in &waiting {
            // Whoever leads sends: or it would go out twice.
            if !context.leadership.is_leading() || !deliveries.is_due(letter, context.clock.now()) {
                continue;
            }
            let Some(delivery) = deliver(&context, mail, secret, letter).await else { continue };
            match delivery {
                Ok(_) => tracing::info!(admin = %user, "an invitation is sent"),
                Err(trouble) => tracing::warn!(admin = %user, why = trouble.remedy(), "an invitation is not sent"),
            }
            if deliveries.note(letter, delivery, context.clock.now()) {
                context.queue.add(Key::new(Kind::AdminUser, user.clone()));
            }
        }
    }
}

/// What is drafted and not known to be sent.
fn waiting(world: &World) -> Vec<Waiting> {
    let of = |user: &AdminUser| {
        let secret = Name::new(Name::of(user).namespace, names::invitation(&Name::of(user).name));
        let letter = drafted(world, user)?;
        user.awaits_letter(&letter).then(|| Waiting { user: Name::of(user), secret, letter })
    };
    world.admins.all().iter().filter_map(|user| of(user)).collect()
}

/// The UID of the Secret with the letter to somebody.
pub fn drafted(world: &World, user: &AdminUser) -> Option<String> {
    let name = Name::of(user);
    let secret = world.secrets.get(&Name::new(&name.namespace, names::invitation(&name.name)))?;
    is_letter_to(&secret, user).then(|| secret.metadata.uid.clone()).flatten()
}

fn is_letter_to(secret: &SecretMeta, user: &AdminUser) -> bool {
    let is_letter = secret
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(names::SECRET_LABEL))
        .is_some_and(|kind| kind == names::INVITATION);
    let mut owners = secret.metadata.owner_references.iter().flatten();
    is_letter && owners.any(|owner| Some(&owner.uid) == user.metadata.uid.as_ref())
}

/// Sends the letter in a Secret, if that is still this one. None when that cannot be read now, or is another one.
async fn deliver(context: &Context, mail: &Mail, name: &Name, letter: &str) -> Option<Delivery> {
    let secret = match live::secret(&context.client, name).await {
        Ok(secret) => secret.filter(|secret| secret.metadata.uid.as_deref() == Some(letter))?,
        Err(error) => {
            tracing::warn!(%error, "an invitation cannot be read");
            return None;
        }
    };
    let Some((recipient, message)) = contents(&secret) else { return Some(Err(MailTrouble::Spoiled)) };
    let sent = mail.server.send(&mail.from, recipient, message).await;
    Some(sent.map(|()| context.clock.now()))
}

/// Whom the letter in a Secret is to, and all of it.
pub fn contents(secret: &Secret) -> Option<(&str, &[u8])> {
    let data = secret.data.as_ref()?;
    let recipient = std::str::from_utf8(&data.get(names::RECIPIENT)?.0).ok()?;
    Some((recipient, &data.get(names::LETTER)?.0))
}
