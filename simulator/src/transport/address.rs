//! Pure: the address of a server.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// An address `https://host:port`. The host is a name, an IPv4 address, or an IPv6 address in brackets; without a port
/// it is 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    name: ServerName<'static>,
    authority: String,
    port: u16,
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a server: it takes https://host or https://host:port, without a path")]
pub struct InvalidAddress(String);

impl Address {
    /// Who the server must prove to be.
    pub fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// `host` or `host:port`, as in the address.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host to dial.
    pub fn host(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// The port to dial.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.to_owned());
        let authority = text.strip_prefix("https://").ok_or_else(invalid)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        // What is left of the last `]` belongs to an IPv6 address, colons and all.
        let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority[after_brackets..].rfind(':') {
            Some(colon) => {
                let (host, port) = authority.split_at(after_brackets + colon);
                (host, port[1..].parse().map_err(|_| invalid())?)
            }
            None => (authority, 443),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| invalid())?;
        Ok(Self { name, authority: authority.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_people_write_them() {
        for (text, host, port) in [
            ("https://gateway.example:8443", "gateway.example", 8443),
            ("https://gateway.example", "gateway.example", 443),
            ("https://127.0.0.1:9/", "127.0.0.1", 9),
            ("https://[::1]:8443", "::1", 8443),
            ("https://[fd00::1]", "fd00::1", 443),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host().as_str(), address.port()), (host, port), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for text in [
            "",
            "gateway:1",
            "http://gateway:1",
            "https://",
            "https://h:0x1",
            "https://h:99999",
            "https://h/path",
            "https://a b",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
