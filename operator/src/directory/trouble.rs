//! Pure: why an outside directory does not say, or do, what it is asked, and what to do about it.

use fleetform_crds::condition::Reason;

use crate::aws::NO_CREDENTIALS;
use crate::controllers::Obstacle;

/// Why a directory does not say who somebody is, or does not create them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DirectoryTrouble {
    /// The operator may not do this.
    AccessDenied(Call),
    /// There is no such identity store.
    NotFound,
    /// The service finds the request wrong: what is looked for or to be created cannot be there.
    Invalid(Call),
    /// Somebody has the user name or the address already.
    Taken,
    /// The directory is full.
    Full,
    /// There are no credentials for AWS, or they are not good.
    Credentials,
    /// The service wants fewer requests.
    Throttled,
    /// The service does not answer, or fails inside.
    Unreachable,
}

/// What is asked of an identity store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// To list users.
    ListUsers,
    /// To list groups.
    ListGroups,
    /// To find a user by name or address.
    GetUserId,
    /// To show a user.
    DescribeUser,
    /// To find a group by name.
    GetGroupId,
    /// To show a group.
    DescribeGroup,
    /// To create a user.
    CreateUser,
}

impl Call {
    /// Its action, as policies of IAM have it.
    pub const fn action(self) -> &'static str {
        match self {
            Self::ListUsers => "identitystore:ListUsers",
            Self::ListGroups => "identitystore:ListGroups",
            Self::GetUserId => "identitystore:GetUserId",
            Self::DescribeUser => "identitystore:DescribeUser",
            Self::GetGroupId => "identitystore:GetGroupId",
            Self::DescribeGroup => "identitystore:DescribeGroup",
            Self::CreateUser => "identitystore:CreateUser",
        }
    }
}

impl DirectoryTrouble {
    /// Whether it may be over in a moment, so that what was said last goes on for a while.
    pub const fn passes(self) -> bool {
        matches!(self, Self::Throttled | Self::Unreachable)
    }

    /// Whether everybody who asks the directory now would hear the same.
    pub const fn is_of_all(self) -> bool {
        self.passes() || matches!(self, Self::Credentials)
    }

    /// The reason as conditions have it.
    pub const fn reason(self) -> Reason {
        match self {
            Self::AccessDenied(_) => Reason::DirectoryAccessDenied,
            Self::NotFound => Reason::DirectoryNotFound,
            Self::Invalid(_) | Self::Taken | Self::Full => Reason::DirectoryRefused,
            Self::Credentials => Reason::CredentialsNotUsable,
            Self::Throttled | Self::Unreachable => Reason::DirectoryUnavailable,
        }
    }

    /// What stands in the way of an admin user. It is tried again whatever it is.
    pub fn obstacle(self, has_role: bool) -> Obstacle {
        let kept = if has_role { "; the role stays as it is" } else { "" };
        Obstacle::waits(self.reason(), format!("{self}{kept}"))
    }
}

impl std::fmt::Display for DirectoryTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AccessDenied(call) => {
                let action = call.action();
                write!(f, "AWS denies the operator {action} (AccessDeniedException): allow it in the policy of its role")
            }
            Self::NotFound => f.write_str(
                "there is no such identity store (ResourceNotFoundException): correct spec.directory.identityStoreId of the Project, and \
                 directory.region of the chart",
            ),
            Self::Invalid(Call::CreateUser) => f.write_str(
                "the directory does not take such a person (ValidationException): correct spec.person, or create them there by hand",
            ),
            Self::Invalid(call) => {
                let action = call.action();
                write!(
                    f,
                    "the directory finds the request wrong ({action}, ValidationException): correct the name or address, or \
                     spec.directory.identityStoreId of the Project"
                )
            }
            Self::Taken => f.write_str(
                "somebody of the directory has this user name or address already (ConflictException): choose another spec.person.userName, \
                 or leave spec.person.create out to give them the role",
            ),
            Self::Full => f.write_str(
                "the directory has as many people as it may (ServiceQuotaExceededException): have the quota raised at AWS",
            ),
            Self::Credentials => f.write_str(
                NO_CREDENTIALS,
            ),
            Self::Throttled => {
                f.write_str("the directory answers that there are too many requests (ThrottlingException); it is tried again")
            }
            Self::Unreachable => f.write_str("the directory does not answer, or fails inside; it is tried again"),
        }
    }
}

/// The first of what a directory lacks, with all of it in words.
pub fn lacks(lacking: &[DirectoryTrouble]) -> Option<(Reason, String)> {
    let first = lacking.first()?;
    let mut told: Vec<String> = Vec::new();
    for trouble in lacking.iter().map(ToString::to_string) {
        if !told.contains(&trouble) {
            told.push(trouble);
        }
    }
    Some((first.reason(), told.join("; ")))
}
