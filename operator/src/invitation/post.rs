//! Hands drafted letters to the mail server, one after the other, and has the operator look at whom they are to.

use std::collections::HashSet;
use std::time::Duration;

use fleetform_crds::AdminUser;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;

use super::drafted::{By, Drafted};
use super::server::MailTrouble;
use super::{Delivery, Mail};
use crate::cache::{Kind, Name, World};
use crate::context::Context;
use crate::error::Result;
use crate::gateway::live;
use crate::queue::Key;
use crate::reconcile::names;

/// How often it is looked for letters that are to be sent again.
const LOOK: Duration = Duration::from_secs(10);

/// A letter that is to be sent.
struct Waiting {
    user: Name,
    drafted: Drafted,
}

/// Follows until it is dropped. Without a mail server letters are drafts.
pub async fn follow(context: Context) {
    let Some(mail) = &context.settings.invitations.mail else { return std::future::pending().await };
    let deliveries = &context.deliveries;
    loop {
        let _ = tokio::time::timeout(LOOK, deliveries.asked.notified()).await;
        let waiting = waiting(&context.world);
        let letters: HashSet<&str> = waiting.iter().map(|waiting| waiting.drafted.uid.as_str()).collect();
        deliveries.retain(|letter| letters.contains(letter));
        send(&context, mail, &waiting).await;
    }
}

/// Sends what is due. When it is the server, the others are not tried, and hear the same.
async fn send(context: &Context, mail: &Mail, waiting: &[Waiting]) {
    let mut of_the_server: Option<MailTrouble> = None;
    for Waiting { user, drafted } in waiting {
        let letter = &drafted.uid;
        // Whoever leads sends: or it would go out twice.
        if !context.leadership.is_leading() || !context.deliveries.is_due(letter, context.clock.now()) {
            continue;
        }
        let delivery = match of_the_server {
            Some(trouble) => Err(trouble),
            None => match deliver(context, mail, user, drafted).await {
                Some(delivery) => delivery,
                None => continue,
            },
        };
        match delivery {
            Ok(_) => tracing::info!(admin = %user, "an invitation is sent"),
            Err(trouble) => tracing::warn!(admin = %user, why = trouble.remedy(), "an invitation is not sent"),
        }
        of_the_server = of_the_server.or(delivery.err().filter(|trouble| trouble.is_of_the_server()));
        if context.deliveries.note(letter, delivery, context.clock.now()) {
            context.queue.add(Key::new(Kind::AdminUser, user.clone()));
        }
    }
}

/// What is drafted to be sent, tells of the role that they have, and is not known to be sent.
fn waiting(world: &World) -> Vec<Waiting> {
    let of = |user: &AdminUser| {
        let drafted = Drafted::to(user, world).filter(|drafted| drafted.by == By::Server)?;
        let role = user.status.as_ref().and_then(|status| status.role);
        let is_due = role == Some(user.spec.role) && user.awaits_letter(&drafted.uid);
        is_due.then(|| Waiting { user: Name::of(user), drafted })
    };
    world.admins.all().iter().filter_map(|user| of(user)).collect()
}

/// Sends the letter to somebody, if it is still this one. None when it cannot be read now, or is another one.
async fn deliver(context: &Context, mail: &Mail, user: &Name, drafted: &Drafted) -> Option<Delivery> {
    let secret = match stored(&context.client, user, drafted).await {
        Ok(secret) => secret?,
        Err(error) => {
            tracing::warn!(%error, "an invitation cannot be read");
            return None;
        }
    };
    let Some((recipient, message)) = contents(&secret) else { return Some(Err(MailTrouble::Spoiled)) };
    let sent = mail.server.send(&mail.from, recipient, message).await;
    Some(sent.map(|()| context.clock.now()))
}

/// The Secret with the letter to somebody, if it is still this one.
pub async fn stored(client: &Client, user: &Name, drafted: &Drafted) -> Result<Option<Secret>> {
    let secret = live::secret(client, &Name::new(&user.namespace, &drafted.name)).await?;
    Ok(secret.filter(|secret| secret.metadata.uid.as_ref() == Some(&drafted.uid)))
}

/// Whom the letter in a Secret is to, and all of it.
pub fn contents(secret: &Secret) -> Option<(&str, &[u8])> {
    let data = secret.data.as_ref()?;
    let recipient = std::str::from_utf8(&data.get(names::RECIPIENT)?.0).ok()?;
    Some((recipient, &data.get(names::LETTER)?.0))
}
