//! The mail server that letters are handed to (SMTP, RFC 5321).

use std::fmt;
use std::time::Duration;

use fleetform_crds::condition::Reason;
use lettre::address::Envelope;
use lettre::transport::smtp;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::error::causes;

/// Time for one letter.
const LIMIT: Duration = Duration::from_secs(20);

/// A mail server.
#[derive(Clone)]
pub struct MailServer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl fmt::Debug for MailServer {
    /// Its address has a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer").finish_non_exhaustive()
    }
}

/// Why an address is that of no mail server. It says nothing of the address, which has a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMailServer {
    /// It does not read.
    #[error("must be smtps://user:password@host:465, or smtp://user:password@host:587?tls=required")]
    Malformed,
    /// It would send a password in the clear.
    #[error("would send a password in the clear: write smtps://, or ?tls=required behind it")]
    Clear,
}

/// Why a letter was not taken. It says nothing of whom it is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MailTrouble {
    /// The server refuses it for good, with this code.
    Refused(u16),
    /// The server wants it to be sent again later, with this code.
    Deferred(u16),
    /// The server does not take our user name and password.
    Credentials,
    /// The server's certificate is not good, or it has no TLS.
    Tls,
    /// The server does not answer, or with no SMTP.
    Unreachable,
    /// The letter that is kept is none.
    Spoiled,
}

impl MailTrouble {
    /// Whether a person has to do something for it to go away.
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Spoiled | Self::Credentials | Self::Tls)
    }

    /// Whether every other letter would meet the same now.
    pub const fn is_of_the_server(self) -> bool {
        matches!(self, Self::Credentials | Self::Tls | Self::Unreachable)
    }

    /// The reason as conditions have it.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused(_) | Self::Deferred(_) | Self::Spoiled => Reason::MailRefused,
            Self::Credentials => Reason::MailCredentialsRefused,
            Self::Tls => Reason::MailServerUntrusted,
            Self::Unreachable => Reason::MailServerUnreachable,
        }
    }

    /// What is wrong, and what to do.
    pub fn remedy(self) -> String {
        match self {
            Self::Refused(code) => format!(
                "the mail server refuses it (SMTP {code}): if the address is wrong, delete this AdminUser and make another with the right one; if it is \
                 right, see whether the server takes mail of invitations.from"
            ),
            Self::Deferred(code) => format!("the mail server wants it later (SMTP {code}); it is tried again"),
            Self::Credentials => {
                "the mail server does not take the operator's user name and password: correct the Secret in invitations.smtp of the chart, and restart the \
                 operator"
                    .to_owned()
            }
            Self::Tls => {
                "the mail server has no TLS, no way to sign in with a password, or a certificate that the operator does not trust: see invitations.smtp \
                 of the chart"
                    .to_owned()
            }
            Self::Unreachable => "the mail server does not answer; it is tried again".to_owned(),
            Self::Spoiled => "what is in the Secret is no letter: set spec.person.invite to false and to true again to have it written anew".to_owned(),
        }
    }
}

impl MailServer {
    /// The server at a URL: `smtps://` or `smtp://…?tls=required`, with user name and password if it wants them; without both, `smtp://`
    /// may do without TLS.
    ///
    /// # Errors
    /// When the URL is none, or sends a password in the clear.
    pub fn parse(url: &str) -> Result<Self, NoMailServer> {
        // Files and editors end with a line.
        let url = url.trim();
        let has_password =
            url.split_once("://").is_some_and(|(_, rest)| rest.split(['/', '?']).any(|part| part.contains('@')));
        let is_secured =
            url.starts_with("smtps://") || url.split_once('?').is_some_and(|(_, query)| query == "tls=required");
        if has_password && !is_secured {
            return Err(NoMailServer::Clear);
        }
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|_| NoMailServer::Malformed)?;
        Ok(Self { transport: builder.timeout(Some(LIMIT)).build() })
    }

    /// Hands a letter over.
    pub async fn send(&self, from: &Address, recipient: &str, message: &[u8]) -> Result<(), MailTrouble> {
        let recipient = recipient.parse().map_err(|_| MailTrouble::Spoiled)?;
        let envelope = Envelope::new(Some(from.clone()), vec![recipient]).map_err(|_| MailTrouble::Spoiled)?;
        match tokio::time::timeout(LIMIT * 2, self.transport.send_raw(&envelope, message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(MailTrouble::Unreachable),
        }
    }
}

/// What an error means. Codes are those of RFC 5321 and RFC 4954.
fn trouble(error: &smtp::Error) -> MailTrouble {
    let code = error.status().map(u16::from);
    match code {
        Some(530 | 534 | 535 | 538) => MailTrouble::Credentials,
        Some(code) if error.is_transient() => MailTrouble::Deferred(code),
        Some(code) => MailTrouble::Refused(code),
        None if error.is_tls() || is_about_tls(error) => MailTrouble::Tls,
        // Among others: the server has no way to sign in, or no STARTTLS.
        None if error.is_client() => MailTrouble::Tls,
        None => MailTrouble::Unreachable,
    }
}

/// Whether it was the certificate: a handshake that fails is an error of the line to the library.
fn is_about_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|error| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error.is::<rustls::Error>() || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
    })
}

#[cfg(test)]
mod tests;
