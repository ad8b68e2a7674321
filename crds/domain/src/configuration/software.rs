//! Pure: software releases: what a device downloads, how it tells that it is the right one, and what it refuses.

use std::cmp::Ordering;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// Largest release, in bytes.
pub const MAX_RELEASE_BYTES: usize = 256 * 1024 * 1024;

/// A release of the device's software. A device takes it only when the digest is that of what it downloaded and the signature is
/// that of the key that it trusts from the factory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.version.matches('^(0|[1-9][0-9]{0,8})[.](0|[1-9][0-9]{0,8})[.](0|[1-9][0-9]{0,8})(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)([.](0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?$')",
         "software.version must be a semantic version such as 1.4.0 or 1.4.0-rc.1"),
    rule("self.url.matches('^https?://[^/ ?#]+/[^ #]*$')",
         "software.url must be the address of the release: https://host/path, or http://host/path"),
    rule("self.sha256.matches('^[0-9a-f]{64}$')",
         "software.sha256 must be the SHA-256 of the release, 64 hexadecimal digits in lower case"),
    rule("self.signature.matches('^[A-Za-z0-9+/]{86}==$')",
         "software.signature must be an Ed25519 signature in base64, 88 characters: fleetform-release sign makes one"),
]))]
pub struct Software {
    /// Semantic version (semver.org 2.0.0, without build metadata), at most 60 characters.
    #[schemars(length(min = 5, max = 60))]
    pub version: String,
    /// Where the release is fetched from: `https://…` or `http://…`. That nobody changed it on its way is known by digest and
    /// signature.
    #[schemars(length(min = 10, max = 2048))]
    pub url: String,
    /// SHA-256 of the release, 64 hexadecimal digits.
    #[schemars(length(max = 64))]
    pub sha256: String,
    /// Ed25519 signature of version and digest by the key that devices trust from the factory, base64.
    #[schemars(length(max = 88))]
    pub signature: String,
    /// Whether a device that runs a later version goes back to this one. Left out, it refuses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_downgrade: bool,
}

impl Software {
    /// What the signature is made over: version and digest, so that an old release cannot be passed off as a new one.
    pub fn signed_statement(version: &str, sha256: &str) -> String {
        format!("fleetform-release-v1\n{version}\n{sha256}\n")
    }

    /// Whether a device that runs `running` would go back with it. One that runs what is no semantic version goes forward. What is
    /// none itself counts as going back: nobody can tell that it does not.
    pub fn is_downgrade_of(&self, running: &str) -> bool {
        match (Version::parse(&self.version), Version::parse(running)) {
            (Ok(release), Ok(running)) => release.cmp_precedence(&running) == Ordering::Less,
            (Ok(_), Err(_)) => false,
            (Err(_), _) => true,
        }
    }
}

/// How far a device is with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateState {
    /// It fetches the release.
    Downloading,
    /// It has checked the release and starts anew with it.
    Installing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str) -> Software {
        Software {
            version: version.into(),
            url: "https://releases.example/reader.bin".into(),
            sha256: "0".repeat(64),
            signature: String::new(),
            allow_downgrade: false,
        }
    }

    #[test]
    fn versions_are_ordered_as_semver_orders_them() {
        for (release_version, running, back) in [
            ("1.0.0", "1.0.0", false),
            ("1.10.0", "1.9.0", false),
            ("1.9.0", "1.10.0", true),
            ("2.0.0-rc.1", "2.0.0", true),
            ("2.0.0", "2.0.0-rc.1", false),
            ("1.0.0", "factory", false),
            ("latest", "1.0.0", true),
            ("1.0.0-rc.01", "0.9.0", true),
            ("latest", "factory", true),
        ] {
            assert_eq!(release(release_version).is_downgrade_of(running), back, "{running} to {release_version}");
        }
    }

    #[test]
    fn the_signature_covers_version_and_digest() {
        assert_eq!(Software::signed_statement("1.4.0", "ab"), "fleetform-release-v1\n1.4.0\nab\n");
    }
}
