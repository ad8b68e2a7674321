//! Pure: the text inside an activation picture: where the gateway is, which key it must have, and the token.
//!
//! `https://gateway.example:8443#v1.<pin>.<token>`: a fragment, so that a phone that opens the address by accident
//! sends the token nowhere.

use super::TokenText;

/// What an activation picture says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationCode {
    /// Address of the gateway, `https://host:port`, without a path.
    pub gateway: String,
    /// SHA-256 of the public key (DER `SubjectPublicKeyInfo`) of the certificate authority that the gateway's
    /// certificate comes from, base64url without padding.
    pub pin: String,
    /// The token.
    pub token: TokenText,
}

/// A text that is no activation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an activation code of version 1 (https://host:port#v1.<pin>.<token>)")]
pub struct InvalidCode;

impl ActivationCode {
    /// The text to draw.
    pub fn to_text(&self) -> String {
        format!("{}#v1.{}.{}", self.gateway, self.pin, self.token.as_str())
    }

    /// Reads the text of a picture.
    pub fn parse(text: &str) -> Result<Self, InvalidCode> {
        let (gateway, rest) = text.trim().split_once('#').ok_or(InvalidCode)?;
        let mut parts = rest.split('.');
        let (Some("v1"), Some(pin), Some(token), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidCode);
        };
        let host_ok = gateway.strip_prefix("https://").is_some_and(|host| !host.is_empty() && !host.contains('/'));
        let base64url =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !host_ok || pin.len() != 43 || !base64url(pin) || !base64url(token) {
            return Err(InvalidCode);
        }
        Ok(Self { gateway: gateway.into(), pin: pin.into(), token: TokenText::from(token.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_back_and_fits_a_small_picture() {
        let code = ActivationCode {
            gateway: "https://gateway.fleet.example.org:8443".into(),
            pin: "a".repeat(43),
            token: TokenText::from("b".repeat(108)),
        };
        let text = code.to_text();
        assert!(text.len() < 200, "{} characters", text.len());
        assert_eq!(ActivationCode::parse(&text), Ok(code));
    }

    #[test]
    fn other_texts_are_no_codes() {
        let pin = "a".repeat(43);
        for text in [
            String::new(),
            "https://example.org".into(),
            format!("http://example.org#v1.{pin}.b"),
            format!("https://#v1.{pin}.b"),
            format!("https://h/p#v1.{pin}.b"),
            format!("https://h#v2.{pin}.b"),
            format!("https://h#v1.{pin}.b.c"),
            format!("https://h#v1.{pin}."),
            "https://h#v1.short.b".into(),
        ] {
            assert_eq!(ActivationCode::parse(&text), Err(InvalidCode), "{text}");
        }
    }
}
