//! Pure: the letter to somebody who has a role, drafted once and sent where there is a mail server.

use fleetform_crds::AdminUser;
use fleetform_crds::admin_user::Invitation;
use fleetform_crds::condition::{ConditionType, Reason, Statement, Status, whole_second};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::directory::Contact;
use crate::invitation::Delivery;
use crate::invitation::letter::{Letter, Occasion, SignIn, Stationery};
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
    /// UID of the Secret with the letter, if it is drafted.
    pub drafted: Option<String>,
    /// What became of that letter, as far as that is known and not written down.
    pub delivery: Option<Delivery>,
}

/// What comes of it.
#[derive(Debug, Default)]
pub struct Invited {
    /// The letter to be drafted.
    pub action: Option<Action>,
    /// What is said of it.
    pub statement: Option<Statement>,
    /// What is written down of it.
    pub invitation: Option<Invitation>,
}

/// Invites somebody who has a role. Where to write to them is not known while their directory is away.
pub fn invite(user: &AdminUser, contact: Option<&Contact>, post: &Post, now: Timestamp) -> Invited {
    if !user.is_invited() {
        return Invited::default();
    }
    let secret_name = names::invitation(&user.name_any());
    let before = user.status.as_ref().and_then(|status| status.invitation.clone()).unwrap_or_default();
    let drafted = Invitation { secret_name: secret_name.clone(), sent_uid: None, sent_at: None };
    let say = |status, reason, message: String| Some(Statement::new(ConditionType::Invited, status, reason, message));
    let at_hand =
        || say(Status::True, Reason::InvitationDrafted, format!("the letter is in the Secret {secret_name}: send it"));
    let queued =
        || say(Status::Unknown, Reason::InvitationQueued, "the letter is handed to the mail server".to_owned());
    let sent = || say(Status::True, Reason::InvitationSent, "the letter is sent".to_owned());
    let Some(uid) = &post.drafted else {
        let Some(contact) = contact else { return Invited::default() };
        return match draft(user, contact, post, now) {
            Ok(letter) => Invited {
                action: Some(Action::DraftLetter(LetterDraft { name: secret_name.clone(), letter })),
                statement: if post.sends { queued() } else { at_hand() },
                invitation: Some(drafted),
            },
            Err(why) => Invited { statement: say(Status::False, Reason::NoEmailAddress, why), ..Invited::default() },
        };
    };
    let known = |statement, invitation| Invited { action: None, statement, invitation: Some(invitation) };
    match post.delivery {
        _ if before.sent_uid.as_ref() == Some(uid) => known(sent(), before),
        _ if !post.sends => known(at_hand(), drafted),
        Some(Ok(at)) => {
            let (sent_uid, sent_at) = (Some(uid.clone()), Some(whole_second(at)));
            known(sent(), Invitation { sent_uid, sent_at, ..drafted })
        }
        Some(Err(trouble)) => known(say(Status::False, trouble.reason(), trouble.remedy()), drafted),
        None => known(queued(), drafted),
    }
}

fn draft(user: &AdminUser, contact: &Contact, post: &Post, now: Timestamp) -> Result<Letter, String> {
    let unknown =
        "the directory has no email address of theirs: tell them yourself, or set spec.person.invite to false";
    let address = contact.email.as_deref().ok_or(unknown)?;
    let first_name = user.spec.person.as_ref().and_then(|person| person.first_name.as_deref());
    let occasion = Occasion {
        name: first_name.unwrap_or(&contact.user_name),
        address,
        user_name: &contact.user_name,
        role: user.spec.role,
        site: user.site(),
        project: &post.project,
        namespace: user.metadata.namespace.as_deref().unwrap_or_default(),
        sign_in: post.directory.as_deref().map_or(SignIn::Token, SignIn::Page),
        id: &format!("{}.{}", user.uid().unwrap_or_default(), now.as_second()),
    };
    Letter::write(&occasion, &post.stationery, now)
        .map_err(|why| format!("{why}: correct it, or set spec.person.invite to false"))
}
