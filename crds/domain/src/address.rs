//! Pure: postal addresses, and how a typed ZIP code is compared with the site's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex;
use crate::schema::rule;

/// Where a site is. Field names are those of the guides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.countryCode != 'US' || self.postalCode.matches('^[0-9]{5}(-?[0-9]{4})?$')",
         "postalCode of a site in the US must be a ZIP code of five digits, or ZIP+4 such as 98104-1193"),
    rule("self.countryCode != 'US' || has(self.stateOrRegion)",
         "stateOrRegion is required in the US: set it to the two-letter state, such as WA"),
]))]
pub struct PostalAddress {
    /// Street and number. 1 to 100 characters.
    #[schemars(length(min = 1, max = 100))]
    pub address_line1: String,
    /// Building, floor or department. At most 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub address_line2: Option<String>,
    /// Anything more. At most 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub address_line3: Option<String>,
    /// City. 1 to 100 characters.
    #[schemars(length(min = 1, max = 100))]
    pub city: String,
    /// State, province or region. At most 100 characters; required in the US.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub state_or_region: Option<String>,
    /// ZIP or postal code. The installer types it at the device to prove to be at the right site.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-validations" = [
        rule("self.matches('^[A-Za-z0-9 -]*[A-Za-z0-9][A-Za-z0-9 -]*$')", "postalCode may hold letters, digits, spaces and hyphens, at least one letter or digit"),
    ]))]
    pub postal_code: String,
    /// ISO 3166-1 alpha-2 country code in upper case, such as `US`.
    #[schemars(length(min = 2, max = 2), extend("x-kubernetes-validations" = [
        rule("self.matches('^[A-Z]{2}$')", "countryCode must be the ISO 3166-1 code of two upper case letters, such as US"),
    ]))]
    pub country_code: String,
}

impl PostalAddress {
    /// Whether `typed` is this address's postal code. Case, spaces and hyphens do not count; in the US only the first
    /// five digits do, so that ZIP and ZIP+4 match each other.
    pub fn postal_code_matches(&self, typed: &str) -> bool {
        let stored = self.comparable(&self.postal_code);
        !stored.is_empty() && stored == self.comparable(typed)
    }

    /// SHA-256 of the address, 64 hexadecimal digits: equal addresses have equal digests.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(serde_json::to_vec(self).expect("an address is plain data")))
    }

    fn comparable(&self, code: &str) -> String {
        let plain: String =
            code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
        let zip_plus_four = self.country_code == "US" && plain.len() == 9 && plain.bytes().all(|b| b.is_ascii_digit());
        if zip_plus_four { plain[..5].to_owned() } else { plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(country: &str, stored: &str, typed: &str, expected: bool) {
        let address = PostalAddress {
            address_line1: "1000 Fourth Avenue".into(),
            address_line2: None,
            address_line3: None,
            city: "Seattle".into(),
            state_or_region: Some("WA".into()),
            postal_code: stored.into(),
            country_code: country.into(),
        };
        assert_eq!(address.postal_code_matches(typed), expected, "{country}: {stored} against {typed}");
    }

    #[test]
    fn postal_codes_are_compared_as_people_write_them() {
        check("US", "98104-1193", "98104", true);
        check("US", "98104", "98104 1193", true);
        check("US", "98104", "981041193", true);
        check("US", "98104", "98107", false);
        check("US", "98104", "9810", false);
        check("US", "98104", "", false);
        check("GB", "SW1A 1AA", "sw1a1aa", true);
        check("GB", "SW1A 1AA", "SW1A", false);
        check("NL", "1012 JS", "1012-js", true);
    }
}
