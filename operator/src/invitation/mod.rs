//! Letters to people who got a role. Each is drafted into a Secret once; where the installation has a mail server it is sent from there.
//!
//! # Guarantees
//! A letter holds no secret, and goes only to an address that the directory says is theirs. It is sent at least once: again, with the same
//! Message-ID, if the operator ends between sending it and writing that down. Who waits for a mail server is [`post`], never a worker.

pub mod drafted;
pub mod letter;
pub mod post;
pub mod server;

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use lettre::Address;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backoff;
use letter::Stationery;
use server::{MailServer, MailTrouble};

/// How long after what a person has to mend it is tried again, as it may be mended: no server is to take us for somebody who guesses passwords.
const LASTING_AGAIN: SignedDuration = SignedDuration::from_mins(30);

/// How an installation invites people.
#[derive(Clone, Debug)]
pub struct InvitationSettings {
    /// What all letters have on them.
    pub stationery: Stationery,
    /// What sends them, if anything does.
    pub mail: Option<Mail>,
}

/// What sends letters.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Where they are handed over.
    pub server: MailServer,
    /// Who sends them.
    pub from: Address,
}

/// What became of a letter: when it was sent, or why it was not.
pub type Delivery = Result<Timestamp, MailTrouble>;

/// What became of letters, until that is written down. By the UID of the Secret with the letter.
#[derive(Debug, Default)]
pub struct Deliveries {
    known: Mutex<HashMap<String, Known>>,
    asked: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    delivery: Delivery,
    failures: u32,
    due: Timestamp,
}

impl Deliveries {
    /// What became of this one, if it was tried. If not, that is seen to.
    pub fn of(&self, letter: &str) -> Option<Delivery> {
        let known = self.known.lock().get(letter).map(|known| known.delivery);
        if known.is_none() {
            self.asked.notify_one();
        }
        known
    }

    /// Whether it is time to send it.
    fn is_due(&self, letter: &str, now: Timestamp) -> bool {
        self.known.lock().get(letter).is_none_or(|known| known.delivery.is_err() && known.due <= now)
    }

    /// Takes what became of it; whether that is something else than before.
    fn note(&self, letter: &str, delivery: Delivery, now: Timestamp) -> bool {
        let mut known = self.known.lock();
        let before = known.get(letter).copied();
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let again = match delivery {
            Err(trouble) if trouble.is_lasting() => LASTING_AGAIN,
            _ => SignedDuration::try_from(backoff::delay(failures)).unwrap_or(LASTING_AGAIN),
        };
        known.insert(letter.to_owned(), Known { delivery, failures, due: now + again });
        before.is_none_or(|before| before.delivery != delivery)
    }

    /// Forgets what nobody waits for.
    fn retain(&self, is_awaited: impl Fn(&str) -> bool) {
        self.known.lock().retain(|letter, _| is_awaited(letter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_sent_once_and_tried_ever_more_seldom_until_then() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let deliveries = Deliveries::default();
        assert!(deliveries.is_due("a", at(0)) && deliveries.of("a").is_none());
        assert!(deliveries.note("a", Err(MailTrouble::Unreachable), at(0)), "that is news");
        assert!(!deliveries.is_due("a", at(0)) && deliveries.is_due("a", at(1)));
        assert!(!deliveries.note("a", Err(MailTrouble::Unreachable), at(1)), "and no longer");
        for _ in 0..20 {
            deliveries.note("a", Err(MailTrouble::Unreachable), at(1));
        }
        assert!(!deliveries.is_due("a", at(60)) && deliveries.is_due("a", at(61)));
        assert!(deliveries.note("a", Err(MailTrouble::Refused(550)), at(61)));
        assert!(
            !deliveries.is_due("a", at(1800)) && deliveries.is_due("a", at(1861)),
            "who is refused is not pestered"
        );
        assert!(deliveries.note("a", Ok(at(4000)), at(4000)));
        assert!(!deliveries.is_due("a", at(1_000_000)));
        deliveries.retain(|letter| letter != "a");
        assert!(deliveries.is_due("a", at(4001)));
    }
}
