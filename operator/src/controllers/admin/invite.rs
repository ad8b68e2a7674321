//! Pure: the letter to somebody who has a role, drafted once and sent where there is a mail server.

use fleetform_crds::AdminUser;
use fleetform_crds::admin_user::Invitation;
use fleetform_crds::condition::{ConditionType, Reason, Statement, Status, whole_second};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::directory::Contact;
use crate::error::{Class, Error};
use crate::invitation::Delivery;
use crate::invitation::drafted::{By, Drafted, Edition};
use crate::invitation::letter::{Letter, NoAddress, Occasion, SignIn, Stationery};
use crate::reconcile::names;
use crate::reconcile::plan::{Action, LetterDraft};

/// What a letter depends on beside whom it is to.
#[derive(Clone, Debug)]
pub struct Post {
    /// Name of the project, as people read it.
    pub project: String,
    /// Name of the outside directory that people sign in with; none when it is the built-in one.
    pub directory: Option<String>,
    /// What all letters have on them.
    pub stationery: Stationery,
    /// Whether there is a mail server.
    pub sends: bool,
    /// The Secret with the letter, if it is drafted.
    pub drafted: Option<Drafted>,
    /// What became of that letter, as far as that is known and not written down.
    pub delivery: Option<Delivery>,
    /// Why the letter could not be stored just now.
    pub not_stored: Option<(Reason, String)>,
}

/// What comes of it.
#[derive(Debug, Default)]
pub struct Invited {
    /// What is to be done with the letter.
    pub actions: Vec<Action>,
    /// What is said of it.
    pub statement: Option<Statement>,
    /// What is written down of it.
    pub invitation: Option<Invitation>,
}

/// Invites somebody who has a role. Where to write to them is not known while their directory is away.
pub fn invite(user: &AdminUser, contact: Option<&Contact>, post: &Post, now: Timestamp) -> Invited {
    if !user.is_invited() {
        return Invited { actions: post.drafted.iter().map(delete).collect(), ..Invited::default() };
    }
    match (&post.drafted, contact) {
        (Some(drafted), _) if is_sent(user, drafted, post) => {
            let statement = Some(say(Status::True, Reason::InvitationSent, "the letter is sent"));
            Invited { statement, invitation: sent(user, post), ..Invited::default() }
        }
        // It says what they had, or where they no longer sign in.
        (Some(drafted), Some(contact)) if edition(user, contact, post).is_ok_and(|now| now != drafted.edition) => {
            // Who was written to by hand is not written to by us because of that.
            let mut anew = draft(user, contact, post, drafted.by, now);
            anew.actions.insert(0, delete(drafted));
            anew
        }
        (Some(drafted), _) => wait(user, drafted, post),
        (None, Some(contact)) => draft(user, contact, post, if post.sends { By::Server } else { By::Hand }, now),
        (None, None) => Invited::default(),
    }
}

/// What is to be written down of a letter that was sent, if that is not there.
pub fn sent(user: &AdminUser, post: &Post) -> Option<Invitation> {
    let (drafted, Some(Ok(at))) = (post.drafted.as_ref()?, post.delivery) else { return None };
    let (sent_uid, sent_at) = (Some(drafted.uid.clone()), Some(whole_second(at)));
    Some(Invitation { secret_name: names::invitation(&user.name_any()), sent_uid, sent_at })
}

fn is_sent(user: &AdminUser, drafted: &Drafted, post: &Post) -> bool {
    matches!(post.delivery, Some(Ok(_))) || drafted.by == By::Server && !user.awaits_letter(&drafted.uid)
}

/// A letter that stands and is not sent.
fn wait(user: &AdminUser, drafted: &Drafted, post: &Post) -> Invited {
    let statement = match post.delivery {
        _ if drafted.by == By::Hand || !post.sends => at_hand(user),
        Some(Err(trouble)) => say(Status::False, trouble.reason(), trouble.remedy()),
        _ => queued(),
    };
    Invited { statement: Some(statement), invitation: Some(of(user)), ..Invited::default() }
}

fn draft(user: &AdminUser, contact: &Contact, post: &Post, by: By, now: Timestamp) -> Invited {
    if let Some((reason, why)) = &post.not_stored {
        return Invited { statement: Some(say(Status::False, *reason, why.as_str())), ..Invited::default() };
    }
    let written = edition(user, contact, post).and_then(|edition| Ok((edition, letter(user, contact, post, by, now)?)));
    match written {
        Ok((edition, letter)) => {
            let draft = LetterDraft { name: names::invitation(&user.name_any()), by, edition, letter };
            let statement = if by == By::Server && post.sends { queued() } else { at_hand(user) };
            Invited {
                actions: vec![Action::DraftLetter(draft)],
                statement: Some(statement),
                invitation: Some(of(user)),
            }
        }
        Err(why) => {
            let why = format!("{why}: tell them yourself, or set spec.person.invite to false");
            Invited { statement: Some(say(Status::False, Reason::NoEmailAddress, why)), ..Invited::default() }
        }
    }
}

/// Why a letter could not be stored, if whoever has the role is to have it all the same.
pub fn not_stored(error: &Error) -> Option<(Reason, String)> {
    let reason = match error {
        Error::NameTaken { .. } => Reason::NameTaken,
        error if error.class() == Class::Refused => Reason::WriteRefused,
        _ => return None,
    };
    Some((reason, format!("{error}; it is tried again")))
}

fn letter(user: &AdminUser, contact: &Contact, post: &Post, by: By, now: Timestamp) -> Result<Letter, NoAddress> {
    let first_name = user.spec.person.as_ref().and_then(|person| person.first_name.as_deref());
    let occasion = Occasion {
        name: first_name.unwrap_or(&contact.user_name),
        address: contact.email.as_deref().ok_or(NoAddress::Unknown)?,
        user_name: &contact.user_name,
        role: user.spec.role,
        site: user.site(),
        project: &post.project,
        namespace: user.metadata.namespace.as_deref().unwrap_or_default(),
        sign_in: post.directory.as_deref().map_or(SignIn::Token, SignIn::Page),
        id: &format!("{}.{}", user.uid().unwrap_or_default(), now.as_second()),
        by,
    };
    Letter::write(&occasion, &post.stationery, now)
}

/// What a letter to them would be about now.
fn edition(user: &AdminUser, contact: &Contact, post: &Post) -> Result<Edition, NoAddress> {
    let address = contact.email.as_deref().ok_or(NoAddress::Unknown)?;
    Ok(Edition::of(user.spec.role, address, post.directory.as_deref()))
}

fn of(user: &AdminUser) -> Invitation {
    Invitation { secret_name: names::invitation(&user.name_any()), sent_uid: None, sent_at: None }
}

fn delete(drafted: &Drafted) -> Action {
    Action::DeleteSecret { name: drafted.name.clone(), uid: drafted.uid.clone() }
}

fn say(status: Status, reason: Reason, message: impl Into<String>) -> Statement {
    Statement::new(ConditionType::Invited, status, reason, message)
}

fn at_hand(user: &AdminUser) -> Statement {
    let secret = names::invitation(&user.name_any());
    say(Status::True, Reason::InvitationDrafted, format!("the letter is in the Secret {secret}: send it"))
}

fn queued() -> Statement {
    say(Status::Unknown, Reason::InvitationQueued, "the letter is handed to the mail server")
}
