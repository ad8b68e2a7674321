//! Pure: the letter to somebody who got a role, as a file that mail programs open (RFC 5322).

use fleetform_domain::admin::Role;
use jiff::Timestamp;
use lettre::Address;
use lettre::message::header::{self, ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, SinglePart};
use serde::Serialize;

use super::drafted::By;

/// What an installation has on all its letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stationery {
    /// Where people find the app.
    pub app: String,
    /// The page of a project, with [`PROJECT`] for its namespace.
    pub project: String,
    /// Who writes. Without one a letter is a draft, which whoever sends it puts their own address on.
    pub from: Option<Mailbox>,
}

/// What stands for the namespace of a project in [`Stationery::project`].
pub const PROJECT: &str = "{project}";

/// What one letter is about. Names are shown on one line, whatever is in them.
#[derive(Clone, Debug)]
pub struct Occasion<'a> {
    /// Whom to greet.
    pub name: &'a str,
    /// Where it goes.
    pub address: &'a str,
    /// Who they are in the directory.
    pub user_name: &'a str,
    /// What they may do.
    pub role: Role,
    /// At which site; in the whole project when there is none.
    pub site: Option<&'a str>,
    /// Name of the project, as people read it.
    pub project: &'a str,
    /// Namespace of the project.
    pub namespace: &'a str,
    /// How people sign in.
    pub sign_in: SignIn<'a>,
    /// What tells this letter from all others: letters, digits, dots and hyphens.
    pub id: &'a str,
    /// Who sends it.
    pub by: By,
}

/// How people sign in, by whose directory it is.
#[derive(Clone, Copy, Debug)]
pub enum SignIn<'a> {
    /// The built-in one: with a token that somebody makes for them.
    Token,
    /// At the page of an outside directory, which shows this name.
    Page(&'a str),
}

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// The address that it goes to.
    pub recipient: String,
    /// All of it, in ASCII.
    pub message: String,
}

/// There can be no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// It is not known where to.
    #[error("the directory has no email address of theirs")]
    Unknown,
    /// Not every mail server takes such an address, and some of them no mail.
    #[error(
        "their address in the directory is none that mail can be sent to (letters beyond ASCII are written as xn--… in a domain)"
    )]
    Unusable,
}

impl Letter {
    /// Writes one.
    ///
    /// # Errors
    /// When the address is none.
    pub fn write(occasion: &Occasion<'_>, stationery: &Stationery, now: Timestamp) -> Result<Self, NoAddress> {
        let address: Address = occasion.address.parse().map_err(|_| NoAddress::Unusable)?;
        if !occasion.address.is_ascii() {
            return Err(NoAddress::Unusable);
        }
        let host = stationery.from.as_ref().map_or("fleetform.invalid", |from| from.email.domain());
        let mut part = SinglePart::builder();
        if let Some(from) = &stationery.from {
            part = part.header(header::From::from(Mailboxes::from(from.clone())));
        }
        if occasion.by == By::Hand {
            part = part.header(Unsent);
        }
        let to = Mailbox::new(spoken(occasion.name), address.clone());
        let part = part
            .header(header::To::from(Mailboxes::from(to)))
            .header(header::Subject::from(format!("Your role in {}", one_line(occasion.project))))
            .header(header::Date::new(now.into()))
            .header(header::MessageId::from(format!("<{}@{host}>", occasion.id)))
            .header(header::MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(text(occasion, stationery));
        let message = String::from_utf8(part.formatted()).expect("a message is encoded in ASCII");
        Ok(Self { recipient: address.to_string(), message })
    }
}

/// Mail programs open what carries this as something to be sent.
#[derive(Clone)]
struct Unsent;

impl Header for Unsent {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Unsent")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "1".to_owned())
    }
}

/// A name to call somebody by. Whoever gives a role writes it, so it is none if it could be read as anything else, such as a link.
fn spoken(name: &str) -> Option<String> {
    let name = one_line(name);
    let is_name = |c: char| c.is_alphabetic() || matches!(c, ' ' | '-' | '\'' | '’');
    (name.starts_with(char::is_alphabetic) && name.chars().all(is_name) && name.chars().count() <= 64).then_some(name)
}

/// A name as it is shown: what breaks lines, or hides or turns text around, could make it say something else.
fn one_line(name: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = name.replace(is_hidden, " ");
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text(occasion: &Occasion<'_>, Stationery { app, project: page, .. }: &Stationery) -> String {
    let Occasion { role, namespace, .. } = occasion;
    let [user_name, project] = [occasion.user_name, occasion.project].map(one_line);
    let place = occasion.site.map(|site| format!(" at the site {site}")).unwrap_or_default();
    let greeting = spoken(occasion.name).map_or_else(|| "Hello,".to_owned(), |name| format!("Hello {name},"));
    let mut page = page.replace(PROJECT, namespace);
    if let Some(site) = occasion.site.filter(|_| !page.contains('?')) {
        // Who has a role at one site sees that site's part of the page.
        page = format!("{page}?site={site}");
    }
    let may = match role {
        Role::Admin if occasion.site.is_some() => "You may do everything there, and give roles to others.",
        Role::Admin => "You may do everything in it, and give roles to others.",
        Role::Technician => "You see everything, activate devices, and answer alerts.",
        Role::Viewer => "You see everything, and change nothing.",
        Role::Installer => "You see what there is to activate, and get the codes for it.",
    };
    let care = match occasion.sign_in {
        SignIn::Token => "You sign in with a token that whoever gave you the role makes for you, and\r\n\
            that is good for a while. Nobody else has one for you, and nobody may ask\r\n\
            you for it. Before you use it, look at the address of the page: it is one\r\n\
            of the two above.\r\n"
            .to_owned(),
        SignIn::Page(directory) => format!(
            "Before you type a password or a code, look at the name of the directory on\r\n\
             the page where you sign in. It is\r\n\r\n    {}\r\n\r\n\
             If it is another one, close the page and tell whoever gave you the role:\r\n\
             somebody may be after your password.\r\n",
            one_line(directory)
        ),
    };
    format!(
        "{greeting}\r\n\r\n\
         you have the role {} in the project \"{project}\"{place}.\r\n{may}\r\n\r\n\
         The app:       {app}\r\n\
         The project:   {page}\r\n\
         You are:       {user_name}\r\n\r\n\
         {care}\r\n\
         Fleetform never asks for a password or an activation code by mail.\r\n",
        role.as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures::noon;
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    fn stationery(from: Option<&str>) -> Stationery {
        Stationery {
            app: "https://fleet.example.com".into(),
            project: "https://fleet.example.com/projects/{project}".into(),
            from: from.map(|from| from.parse().unwrap()),
        }
    }

    fn occasion() -> Occasion<'static> {
        Occasion {
            name: "Mary",
            address: "mary.major@example.com",
            user_name: "mary-major",
            role: Role::Technician,
            site: None,
            project: "Seattle Public Library",
            namespace: "library",
            sign_in: SignIn::Page("d-906703eea2"),
            id: "0f5e6c1e.1761134400",
            by: By::Server,
        }
    }

    #[test]
    fn letters_are_as_they_were_reviewed() {
        let sent = Letter::write(&occasion(), &stationery(Some("Fleetform <fleet@example.com>")), noon()).unwrap();
        insta::assert_snapshot!("sent", sent.message.replace('\r', ""));
        let at_site = Occasion {
            name: "José",
            project: "Bücherei",
            site: Some("central"),
            role: Role::Admin,
            sign_in: SignIn::Token,
            by: By::Hand,
            ..occasion()
        };
        let draft = Letter::write(&at_site, &stationery(None), noon()).unwrap();
        let parsed = MessageParser::default().parse(draft.message.as_bytes()).unwrap();
        insta::assert_snapshot!("drafted", parsed.body_text(0).unwrap().replace('\r', ""));
        assert_eq!(parsed.header_raw("X-Unsent").map(str::trim), Some("1"));
        assert_eq!(parsed.from(), None, "who sends it is not known yet");
        assert_eq!(parsed.subject(), Some("Your role in Bücherei"));
    }

    #[test]
    fn what_is_no_address_gets_no_letter() {
        let odd =
            ["", "mary", "mary@", "mary@example.com\r\nBcc: all@example.com", "a b@example.com", "m@bücher.example"];
        for address in odd {
            let nobody = Occasion { address, ..occasion() };
            assert_eq!(Letter::write(&nobody, &stationery(None), noon()), Err(NoAddress::Unusable), "{address}");
        }
    }

    #[test]
    fn a_name_that_could_be_a_link_is_not_spoken() {
        for (name, greeting) in [
            ("Mary", "Hello Mary,"),
            ("Anne-Marie O’Neill", "Hello Anne-Marie O’Neill,"),
            ("李", "Hello 李,"),
            ("Pay slip: https://evil.example/x", "Hello,"),
            ("www.evil.example", "Hello,"),
            ("door-fitter-2", "Hello,"),
            ("", "Hello,"),
        ] {
            let letter = Letter::write(&Occasion { name, ..occasion() }, &stationery(None), noon()).unwrap();
            let parsed = MessageParser::default().parse(letter.message.as_bytes()).unwrap();
            assert!(parsed.body_text(0).unwrap().starts_with(&format!("{greeting}\r\n")), "{name}");
        }
    }

    proptest! {
        /// Whatever people and projects are called, a letter has the headers that we wrote, one recipient, and the warning.
        #[test]
        fn nobody_writes_a_letter_by_a_name(
            name in any::<String>(),
            project in "(\\PC|[\r\n\t\u{202e}\u{2028}]|Bcc: ){0,40}",
            user_name in any::<String>(),
        ) {
            let (name, project, user_name) = (name.as_str(), project.as_str(), user_name.as_str());
            let odd = Occasion { name, user_name, project, ..occasion() };
            let letter = Letter::write(&odd, &stationery(Some("fleet@example.com")), noon()).unwrap();
            prop_assert!(letter.message.is_ascii());
            prop_assert!(letter.message.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
            let parsed = MessageParser::default().parse(letter.message.as_bytes()).unwrap();
            let mut headers: Vec<&str> = parsed.headers().iter().map(mail_parser::Header::name).collect();
            headers.sort_unstable();
            let ours = [
                "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To",
            ];
            prop_assert_eq!(headers, ours);
            let to = parsed.to().unwrap();
            prop_assert_eq!(to.iter().count(), 1);
            prop_assert_eq!(to.first().and_then(|to| to.address()), Some("mary.major@example.com"));
            let body = parsed.body_text(0).unwrap();
            let lines: Vec<&str> = body.lines().collect();
            prop_assert_eq!(lines.len(), 19, "{}", body);
            prop_assert!(body.contains("    d-906703eea2\r\n"), "{}", body);
        }
    }
}
