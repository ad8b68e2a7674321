//! Pure: resource ids and Amazon Resource Names.
//!
//! An id is derived from the Kubernetes UID of its object, so it needs no random source, no write of its own, and is
//! the same however often it is computed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The id of a site, device instance, template, asset or project: 14 letters and digits, as the guides show them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

impl JsonSchema for ResourceId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ResourceId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": Self::LENGTH, "maxLength": Self::LENGTH })
    }
}

impl ResourceId {
    /// Length of every id, in characters.
    pub const LENGTH: usize = 14;

    /// The id of the object with this UID.
    pub fn of(uid: &str) -> Self {
        let digest = Sha256::digest(uid.as_bytes());
        let mut number = u128::from_be_bytes(digest[..16].try_into().expect("a SHA-256 has 32 bytes"));
        let text = (0..Self::LENGTH)
            .map(|_| {
                let symbol = ALPHABET[usize::try_from(number % 62).expect("below 62")];
                number /= 62;
                char::from(symbol)
            })
            .collect();
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.0
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a resource id: it takes exactly 14 letters and digits")]
pub struct InvalidResourceId(String);

impl TryFrom<String> for ResourceId {
    type Error = InvalidResourceId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() == Self::LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(text))
        } else {
            Err(InvalidResourceId(text))
        }
    }
}

impl FromStr for ResourceId {
    type Err = InvalidResourceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

/// Which account an installation stands for. ARNs and events are built from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    partition: String,
    /// Such as `us-east-1`.
    region: String,
    /// 12 digits.
    account: String,
}

/// Settings that do not make an installation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstallation {
    /// Not 12 digits.
    #[error("account id `{0}`: must be exactly 12 digits, such as 123456789012")]
    Account(String),
    /// Not a region name.
    #[error("region `{0}`: must be lower case letters, digits and hyphens, such as us-east-1")]
    Region(String),
    /// Not a partition.
    #[error("partition `{0}`: must be one of aws, aws-cn, aws-us-gov")]
    Partition(String),
}

impl Installation {
    /// Checks the settings and makes an installation of them.
    pub fn new(partition: &str, region: &str, account: &str) -> Result<Self, InvalidInstallation> {
        if !["aws", "aws-cn", "aws-us-gov"].contains(&partition) {
            return Err(InvalidInstallation::Partition(partition.to_owned()));
        }
        let region_ok = !region.is_empty()
            && region.len() <= 32
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !region_ok {
            return Err(InvalidInstallation::Region(region.to_owned()));
        }
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidInstallation::Account(account.to_owned()));
        }
        Ok(Self { partition: partition.to_owned(), region: region.to_owned(), account: account.to_owned() })
    }

    /// The account id, 12 digits.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The region, such as `us-east-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The partition, such as `aws`.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    fn arn(&self, service: &str, resource: &str) -> Arn {
        Arn(format!("arn:{}:{service}:{}:{}:{resource}", self.partition, self.region, self.account))
    }

    /// `arn:<partition>:monitron:<region>:<account>:project/<id>`: projects are the sensor product's.
    pub fn project_arn(&self, id: &ResourceId) -> Arn {
        self.arn("monitron", &format!("project/{id}"))
    }

    /// `arn:<partition>:one:<region>:<account>:site/<id>`.
    pub fn site_arn(&self, id: &ResourceId) -> Arn {
        self.arn("one", &format!("site/{id}"))
    }

    /// `arn:<partition>:one:<region>:<account>:device-instance/<id>`.
    pub fn device_instance_arn(&self, id: &ResourceId) -> Arn {
        self.arn("one", &format!("device-instance/{id}"))
    }

    /// `arn:<partition>:one:<region>:<account>:device-instance/<id>/configuration/<version>`.
    pub fn configuration_arn(&self, id: &ResourceId, version: u32) -> Arn {
        self.arn("one", &format!("device-instance/{id}/configuration/{version}"))
    }

    /// `arn:<partition>:one:<region>:<account>:user`: what events about people name.
    pub fn user_arn(&self) -> Arn {
        self.arn("one", "user")
    }

    /// `arn:<partition>:monitron:<region>:<account>:asset/<id>`.
    pub fn asset_arn(&self, id: &ResourceId) -> Arn {
        self.arn("monitron", &format!("asset/{id}"))
    }

    /// `arn:<partition>:one:<region>:<account>:device-configuration-template/<id>`.
    pub fn template_arn(&self, id: &ResourceId) -> Arn {
        self.arn("one", &format!("device-configuration-template/{id}"))
    }

    /// `arn:<partition>:iam::<account>:role/<role>`: for whom somebody acts. The service has no regions.
    pub fn role_arn(&self, role: &str) -> Arn {
        Arn(format!("arn:{}:iam::{}:role/{role}", self.partition, self.account))
    }

    /// `arn:<partition>:sts::<account>:assumed-role/<role>/<session>`: somebody who acts in a role. The service has no regions.
    pub fn session_arn(&self, role: &str, session: &str) -> Arn {
        Arn(format!("arn:{}:sts::{}:assumed-role/{role}/{session}", self.partition, self.account))
    }
}

/// An Amazon Resource Name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Arn(#[schemars(length(max = 256))] String);

impl Arn {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arns_read_as_in_the_guides() {
        let here = Installation::new("aws", "us-east-1", "123456789012").unwrap();
        let id: ResourceId = "12345678901234".parse().unwrap();
        assert_eq!(here.site_arn(&id).as_str(), "arn:aws:one:us-east-1:123456789012:site/12345678901234");
        assert_eq!(
            here.configuration_arn(&id, 3).as_str(),
            "arn:aws:one:us-east-1:123456789012:device-instance/12345678901234/configuration/3"
        );
    }

    #[test]
    fn settings_that_make_no_arn_are_refused_by_name() {
        assert!(matches!(Installation::new("aws", "us-east-1", "1234"), Err(InvalidInstallation::Account(_))));
        assert!(matches!(Installation::new("aws", "US", "123456789012"), Err(InvalidInstallation::Region(_))));
        assert!(matches!(
            Installation::new("gcp", "us-east-1", "123456789012"),
            Err(InvalidInstallation::Partition(_))
        ));
    }

    proptest! {
        #[test]
        fn every_uid_has_a_well_formed_id_that_does_not_change(uid in ".{0,64}") {
            let id = ResourceId::of(&uid);
            prop_assert_eq!(&id, &ResourceId::of(&uid));
            prop_assert_eq!(id.as_str().parse::<ResourceId>().unwrap(), id);
        }
    }
}
