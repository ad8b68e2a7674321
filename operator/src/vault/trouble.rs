//! Pure: why the key of a project cannot be used, and what to do about it.

use fleetform_crds::condition::Reason;
use fleetform_crds::project::{Encryption, KeyProvider};
use fleetform_domain::id::Installation;

use crate::aws::NO_CREDENTIALS;

/// Why what is sealed of a project cannot be read, or not be sealed. It says nothing of any key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum KeyTrouble {
    /// The project has no data key yet: it gets one within moments.
    NotMade,
    /// The data key is being opened.
    Opening,
    /// The key policy, or a grant that was withdrawn, keeps the operator from using the key.
    AccessDenied,
    /// The key is disabled.
    Disabled,
    /// The key is to be deleted, or its material is not there.
    InvalidState,
    /// There is no such key.
    NotFound,
    /// The ARN is of another account than the installation's.
    OtherAccount,
    /// The ARN is of another region or partition than the installation's.
    OtherRegion,
    /// The key is no symmetric encryption key.
    NotSymmetric,
    /// What is stored does not open: it was made for another project, or with other keys, or was changed.
    NotAuthentic,
    /// There are no credentials for AWS, or they have expired or are not good.
    Credentials,
    /// AWS KMS wants fewer requests.
    Throttled,
    /// AWS KMS cannot be reached, or fails inside.
    Unreachable,
}

impl KeyTrouble {
    /// Whether the key itself says no. Anything else may be over in a moment, and what is open stays open for its time.
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::AccessDenied
            | Self::Disabled
            | Self::InvalidState
            | Self::NotFound
            | Self::OtherAccount
            | Self::OtherRegion
            | Self::NotSymmetric
            | Self::NotAuthentic => true,
            Self::NotMade | Self::Opening | Self::Credentials | Self::Throttled | Self::Unreachable => false,
        }
    }

    /// Whether a person has to change the Project for it to go away.
    pub const fn is_mistake(self) -> bool {
        matches!(self, Self::OtherAccount | Self::OtherRegion | Self::NotSymmetric)
    }

    /// The reason as conditions have it.
    pub const fn reason(self) -> Reason {
        match self {
            Self::NotMade | Self::Opening => Reason::Resealing,
            Self::AccessDenied => Reason::AccessDenied,
            Self::Disabled => Reason::KeyDisabled,
            Self::InvalidState => Reason::KeyInvalidState,
            Self::NotFound => Reason::KeyNotFound,
            Self::OtherAccount | Self::OtherRegion | Self::NotSymmetric => Reason::KeyNotUsable,
            Self::NotAuthentic => Reason::KeyNotAuthentic,
            Self::Credentials => Reason::CredentialsNotUsable,
            Self::Throttled => Reason::KmsThrottled,
            Self::Unreachable => Reason::KmsUnreachable,
        }
    }

    /// What is wrong, and what to do.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NotMade => "the project has no data key yet; it is made within moments",
            Self::Opening => "the data key is being opened",
            Self::AccessDenied => {
                "AWS KMS denies the operator the key (AccessDeniedException): allow its role kms:Encrypt and kms:Decrypt in the key's policy"
            }
            Self::Disabled => "the key is disabled (DisabledException): enable it in AWS KMS",
            Self::InvalidState => {
                "the key is pending deletion or without its material (KMSInvalidStateException): cancel the deletion and enable it in AWS KMS"
            }
            Self::NotFound => {
                "there is no such key (NotFoundException): correct spec.encryption.keyArn; if the key was deleted, what it sealed is lost"
            }
            Self::OtherAccount => {
                "spec.encryption.keyArn names a key of another account than this installation's: choose a key of this account"
            }
            Self::OtherRegion => {
                "spec.encryption.keyArn names a key of another region than this installation's: choose a key of this region, or a replica of the key there"
            }
            Self::NotSymmetric => {
                "spec.encryption.keyArn names no symmetric encryption key (InvalidKeyUsageException): choose one with key spec SYMMETRIC_DEFAULT"
            }
            Self::NotAuthentic => {
                "the stored data key does not open: it was made for another project or by another installation, or was changed; restore the status \
                 of the Project and the installation's keys from one backup"
            }
            Self::Credentials => NO_CREDENTIALS,
            Self::Throttled => {
                "AWS KMS answers that there are too many requests (ThrottlingException); it is tried again"
            }
            Self::Unreachable => "AWS KMS does not answer, or fails inside; it is tried again",
        }
    }
}

impl std::fmt::Display for KeyTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.remedy())
    }
}

/// What can be told of the wanted key without asking anybody: whether it is this installation's to use.
pub fn checked(wanted: &Encryption, here: &Installation) -> Result<(), KeyTrouble> {
    let (KeyProvider::AwsKms, Some(arn)) = (wanted.provider, &wanted.key_arn) else { return Ok(()) };
    let parts: Vec<&str> = arn.split(':').collect();
    let [_, partition, _, region, account, _] = parts[..] else { return Err(KeyTrouble::NotFound) };
    if account != here.account() {
        return Err(KeyTrouble::OtherAccount);
    }
    if region != here.region() || partition != here.partition() {
        return Err(KeyTrouble::OtherRegion);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;

    #[test]
    fn a_key_of_another_account_or_region_is_told_before_anybody_is_asked() {
        let check = |arn: &str| {
            let wanted =
                Encryption { provider: KeyProvider::AwsKms, key_arn: Some(arn.to_owned()), data_key_generation: 0 };
            checked(&wanted, &fixtures::installation())
        };
        assert_eq!(check("arn:aws:kms:us-east-1:123456789012:key/1"), Ok(()));
        assert_eq!(check("arn:aws:kms:us-east-1:999999999999:key/1"), Err(KeyTrouble::OtherAccount));
        assert_eq!(check("arn:aws:kms:eu-west-1:123456789012:key/1"), Err(KeyTrouble::OtherRegion));
        assert_eq!(check("arn:aws-cn:kms:us-east-1:123456789012:key/1"), Err(KeyTrouble::OtherRegion));
        assert_eq!(checked(&Encryption::default(), &fixtures::installation()), Ok(()));
    }
}
