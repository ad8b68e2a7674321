//! AWS IAM Identity Center: people and groups of its identity stores. What each call and error means is that of the Identity Store API
//! reference.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use aws_sdk_identitystore::Client;
use aws_sdk_identitystore::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_identitystore::operation::describe_user::DescribeUserOutput;
use aws_sdk_identitystore::types::{AlternateIdentifier, Email, Name, UniqueAttribute, UserStatus};
use tokio::sync::OnceCell;

use super::person::Account;
use super::trouble::Call;
use super::{DirectoryTrouble, NewPerson};
use crate::aws::{self, Fault, fault};

/// What comes of asking an identity store.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DirectoryTrouble>> + Send + 'a>>;

/// A name that nobody has.
const NOBODY: &str = "fleetform-asks-whether-it-may-ask";

/// An id that nobody has.
const NO_ID: &str = "00000000-0000-0000-0000-000000000000";

/// By what a person is looked for.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The user name.
    UserName(&'a str),
    /// An email address.
    Email(&'a str),
}

/// A person in an identity store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their id, which no other ever gets.
    pub id: String,
    /// Their user name, as the store has it.
    pub user_name: String,
    /// Their email addresses.
    pub emails: Vec<String>,
    /// Whether they may not sign in.
    pub disabled: bool,
}

impl Account for User {
    fn user_name(&self) -> &str {
        &self.user_name
    }

    fn has_address(&self, email: &str) -> bool {
        self.emails.iter().any(|own| own.eq_ignore_ascii_case(email))
    }
}

/// A group in an identity store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id, which no other ever gets.
    pub id: String,
    /// Its display name, as the store has it.
    pub name: String,
}

/// Where identity stores are.
pub trait IdentityStores: Send + Sync + fmt::Debug {
    /// Who has this name or address.
    fn person<'a>(&'a self, store: &'a str, by: By<'a>) -> Answer<'a, Option<User>>;

    /// The group of this display name.
    fn group<'a>(&'a self, store: &'a str, name: &'a str) -> Answer<'a, Option<Group>>;

    /// Creates a person; gives their id.
    fn create<'a>(&'a self, store: &'a str, person: &'a NewPerson) -> Answer<'a, String>;

    /// What the store lacks before people and groups can be looked up.
    fn lacking<'a>(&'a self, store: &'a str) -> Pin<Box<dyn Future<Output = Vec<DirectoryTrouble>> + Send + 'a>>;
}

/// Identity Center in a region, with the credentials that the AWS SDK finds. Nothing is looked for until a project asks for it.
#[derive(Debug)]
pub struct IdentityCenter {
    region: String,
    client: OnceCell<Client>,
}

impl IdentityCenter {
    /// Of this region.
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned(), client: OnceCell::new() }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| async { Client::new(&aws::config(&self.region).await) }).await
    }
}

impl IdentityStores for IdentityCenter {
    fn person<'a>(&'a self, store: &'a str, by: By<'a>) -> Answer<'a, Option<User>> {
        Box::pin(async move {
            let client = self.client().await;
            let (path, value) = match by {
                By::UserName(name) => ("userName", name),
                By::Email(email) => ("emails.value", email),
            };
            let call = client.get_user_id().identity_store_id(store).alternate_identifier(unique(path, value)?);
            let Some(id) = found(call.send().await, Call::GetUserId)?.map(|found| found.user_id) else {
                return Ok(None);
            };
            let call = client.describe_user().identity_store_id(store).user_id(id);
            found(call.send().await, Call::DescribeUser)?.map(user).transpose()
        })
    }

    fn group<'a>(&'a self, store: &'a str, name: &'a str) -> Answer<'a, Option<Group>> {
        Box::pin(async move {
            let client = self.client().await;
            let by = unique("displayName", name)?;
            let call = client.get_group_id().identity_store_id(store).alternate_identifier(by);
            let Some(id) = found(call.send().await, Call::GetGroupId)?.map(|found| found.group_id) else {
                return Ok(None);
            };
            let call = client.describe_group().identity_store_id(store).group_id(id);
            let Some(group) = found(call.send().await, Call::DescribeGroup)? else { return Ok(None) };
            let name = group.display_name.ok_or(DirectoryTrouble::Unreachable)?;
            Ok(Some(Group { id: group.group_id, name }))
        })
    }

    fn create<'a>(&'a self, store: &'a str, person: &'a NewPerson) -> Answer<'a, String> {
        Box::pin(async move {
            let name = Name::builder().given_name(&person.first_name).family_name(&person.last_name).build();
            let email = Email::builder().value(&person.email).r#type("work").primary(true).build();
            let call = self.client().await.create_user().identity_store_id(store).user_name(&person.user_name);
            let call = call.display_name(format!("{} {}", person.first_name, person.last_name));
            let made = call.name(name).emails(email).send().await;
            made.map(|made| made.user_id).map_err(|error| trouble(&error, Call::CreateUser))
        })
    }

    fn lacking<'a>(&'a self, store: &'a str) -> Pin<Box<dyn Future<Output = Vec<DirectoryTrouble>> + Send + 'a>> {
        Box::pin(async move {
            let client = self.client().await;
            let (users, groups) = tokio::join!(
                client.list_users().identity_store_id(store).max_results(1).send(),
                client.list_groups().identity_store_id(store).max_results(1).send()
            );
            let users = users.err().map(|error| trouble(&error, Call::ListUsers));
            let groups = groups.err().map(|error| trouble(&error, Call::ListGroups));
            let lacking: Vec<DirectoryTrouble> = users.into_iter().chain(groups).collect();
            if !lacking.is_empty() {
                return lacking;
            }
            // Whether these may be asked is told by asking for nobody; that nobody is there is no trouble.
            let (Ok(no_name), Ok(no_group)) = (unique("userName", NOBODY), unique("displayName", NOBODY)) else {
                return lacking;
            };
            let answers = tokio::join!(
                client.get_user_id().identity_store_id(store).alternate_identifier(no_name).send(),
                client.describe_user().identity_store_id(store).user_id(NO_ID).send(),
                client.get_group_id().identity_store_id(store).alternate_identifier(no_group).send(),
                client.describe_group().identity_store_id(store).group_id(NO_ID).send()
            );
            let troubles = [
                answers.0.err().map(|error| trouble(&error, Call::GetUserId)),
                answers.1.err().map(|error| trouble(&error, Call::DescribeUser)),
                answers.2.err().map(|error| trouble(&error, Call::GetGroupId)),
                answers.3.err().map(|error| trouble(&error, Call::DescribeGroup)),
            ];
            let is_denied = |trouble: &DirectoryTrouble| matches!(trouble, DirectoryTrouble::AccessDenied(_));
            troubles.into_iter().flatten().filter(is_denied).collect()
        })
    }
}

fn unique(path: &str, value: &str) -> Result<AlternateIdentifier, DirectoryTrouble> {
    let attribute = UniqueAttribute::builder().attribute_path(path).attribute_value(value.to_owned().into());
    attribute.build().map(AlternateIdentifier::UniqueAttribute).map_err(|_| DirectoryTrouble::Unreachable)
}

fn user(shown: DescribeUserOutput) -> Result<User, DirectoryTrouble> {
    let disabled = shown.user_status == Some(UserStatus::Disabled);
    let emails = shown.emails.unwrap_or_default().into_iter().filter_map(|email| email.value).collect();
    let user_name = shown.user_name.ok_or(DirectoryTrouble::Unreachable)?;
    Ok(User { id: shown.user_id, user_name, emails, disabled })
}

/// What was found; nothing, if that is what the store says. It says so of a user or group and of itself by one error.
fn found<T, E, R>(answer: Result<T, SdkError<E, R>>, call: Call) -> Result<Option<T>, DirectoryTrouble>
where
    E: ProvideErrorMetadata + Whose + StdError + 'static,
    R: fmt::Debug + 'static,
{
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.as_service_error().is_some_and(Whose::is_absent) => Ok(None),
        Err(error) => Err(trouble(&error, call)),
    }
}

/// An error that tells what is not there.
trait Whose {
    /// Whether it is a user or a group that is not there, and not the identity store.
    fn is_absent(&self) -> bool;
}

macro_rules! whose {
    ($($operation:ident :: $error:ident),*) => {$(
        impl Whose for aws_sdk_identitystore::operation::$operation::$error {
            fn is_absent(&self) -> bool {
                use aws_sdk_identitystore::operation::$operation::$error::ResourceNotFoundException;
                use aws_sdk_identitystore::types::ResourceType::{Group, User};
                matches!(self, ResourceNotFoundException(error) if matches!(error.resource_type, Some(User | Group)))
            }
        }
    )*};
}

whose!(
    get_user_id::GetUserIdError,
    describe_user::DescribeUserError,
    get_group_id::GetGroupIdError,
    describe_group::DescribeGroupError
);

/// What an error of the SDK means, of this call.
fn trouble<E, R>(error: &SdkError<E, R>, call: Call) -> DirectoryTrouble
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: fmt::Debug + 'static,
{
    match fault(error) {
        Fault::Credentials => DirectoryTrouble::Credentials,
        Fault::Throttled => DirectoryTrouble::Throttled,
        Fault::NoAnswer => DirectoryTrouble::Unreachable,
        Fault::Code(code) => match code {
            "AccessDeniedException" => DirectoryTrouble::AccessDenied(call),
            "ResourceNotFoundException" => DirectoryTrouble::NotFound,
            "ConflictException" if call == Call::CreateUser => DirectoryTrouble::Taken,
            "ServiceQuotaExceededException" => DirectoryTrouble::Full,
            "ValidationException" => DirectoryTrouble::Invalid(call),
            _ => DirectoryTrouble::Unreachable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use serde_json::json;
    use tokio::task::JoinHandle;

    const STORE: &str = "d-906703eea2";

    fn of(config: &aws_config::SdkConfig) -> IdentityCenter {
        IdentityCenter { region: "us-east-1".into(), client: OnceCell::new_with(Some(Client::new(config))) }
    }

    /// Identity Center that answers everything with this.
    async fn answering(status: u16, body: &str, credentials: bool) -> (IdentityCenter, JoinHandle<()>) {
        let (config, server) = aws::tests::answering(status, body, credentials).await;
        (of(&config), server)
    }

    fn mary() -> NewPerson {
        NewPerson {
            user_name: "mary".into(),
            email: "mary@example.com".into(),
            first_name: "Mary".into(),
            last_name: "Major".into(),
            site: None,
        }
    }

    /// What the service answers, as its API reference has it.
    #[tokio::test]
    async fn each_error_means_what_the_reference_says() {
        use DirectoryTrouble as Trouble;
        let store = r#","ResourceType":"IDENTITY_STORE""#;
        for (status, code, more, expected) in [
            (400, "AccessDeniedException", "", Trouble::AccessDenied as fn(Call) -> Trouble),
            (400, "ResourceNotFoundException", store, |_| Trouble::NotFound),
            (400, "ThrottlingException", "", |_| Trouble::Throttled),
            (400, "ValidationException", "", Trouble::Invalid),
            (400, "ExpiredTokenException", "", |_| Trouble::Credentials),
            (400, "UnrecognizedClientException", "", |_| Trouble::Credentials),
            (500, "InternalServerException", "", |_| Trouble::Unreachable),
        ] {
            let body = format!(r#"{{"__type":"{code}","Message":"of {STORE}"{more}}}"#);
            let (center, server) = answering(status, &body, true).await;
            let named = center.person(STORE, By::UserName("mary")).await;
            assert_eq!(named, Err(expected(Call::GetUserId)), "{code}");
            assert_eq!(center.group(STORE, "admins").await, Err(expected(Call::GetGroupId)), "{code}");
            assert_eq!(center.create(STORE, &mary()).await, Err(expected(Call::CreateUser)), "{code}");
            let both = vec![expected(Call::ListUsers), expected(Call::ListGroups)];
            assert_eq!(center.lacking(STORE).await, both, "{code}");
            server.abort();
        }
        for (code, expected) in
            [("ConflictException", Trouble::Taken), ("ServiceQuotaExceededException", Trouble::Full)]
        {
            let (center, server) = answering(400, &format!(r#"{{"__type":"{code}","Message":""}}"#), true).await;
            assert_eq!(center.create(STORE, &mary()).await, Err(expected), "{code}");
            server.abort();
        }
    }

    /// One who may list and nothing else hears all that is missing at once, as far as it can be tried without changing anything.
    #[tokio::test]
    async fn all_that_is_denied_is_told_at_once() {
        use Call::{DescribeGroup, DescribeUser, GetGroupId, GetUserId};
        let lists = |target: &str, _: &str| match target.rsplit('.').next() {
            Some("ListUsers" | "ListGroups") => (StatusCode::OK, json!({ "Users": [], "Groups": [] }).to_string()),
            _ => (StatusCode::BAD_REQUEST, json!({ "__type": "AccessDeniedException", "Message": "" }).to_string()),
        };
        let (config, server) = aws::tests::serving(lists, true).await;
        let denied = [GetUserId, DescribeUser, GetGroupId, DescribeGroup].map(DirectoryTrouble::AccessDenied);
        assert_eq!(of(&config).lacking(STORE).await, denied);
        server.abort();
    }

    #[tokio::test]
    async fn who_is_not_there_is_no_error_also_between_two_calls() {
        for resource in ["USER", "GROUP"] {
            let absent = json!({ "__type": "ResourceNotFoundException", "Message": "", "ResourceType": resource });
            let (center, server) = answering(400, &absent.to_string(), true).await;
            assert_eq!(center.person(STORE, By::Email("mary@example.com")).await, Ok(None));
            assert_eq!(center.group(STORE, "admins").await, Ok(None));
            server.abort();
            let there = move |target: &str, _: &str| match target.rsplit('.').next() {
                Some("GetUserId" | "GetGroupId") => {
                    let ids = json!({ "UserId": "u-1", "GroupId": "g-1", "IdentityStoreId": STORE });
                    (StatusCode::OK, ids.to_string())
                }
                _ => (StatusCode::BAD_REQUEST, absent.to_string()),
            };
            let (config, server) = aws::tests::serving(there, true).await;
            assert_eq!(of(&config).person(STORE, By::UserName("mary")).await, Ok(None));
            assert_eq!(of(&config).group(STORE, "admins").await, Ok(None));
            server.abort();
        }
    }

    #[tokio::test]
    async fn people_and_groups_are_as_the_store_shows_them() {
        let shown = |target: &str, _: &str| {
            let body = match target.rsplit('.').next() {
                Some("GetUserId" | "CreateUser") => json!({ "UserId": "u-1", "IdentityStoreId": STORE }),
                Some("GetGroupId") => json!({ "GroupId": "g-1", "IdentityStoreId": STORE }),
                Some("DescribeGroup") => {
                    json!({ "GroupId": "g-1", "IdentityStoreId": STORE, "DisplayName": "Night shift" })
                }
                Some("DescribeUser") => json!({
                    "UserId": "u-1", "IdentityStoreId": STORE, "UserName": "Mary", "UserStatus": "DISABLED",
                    "Emails": [{ "Value": "mary@example.com" }, { "Type": "none" }],
                }),
                _ => json!({ "Users": [], "Groups": [] }),
            };
            (StatusCode::OK, body.to_string())
        };
        let (config, server) = aws::tests::serving(shown, true).await;
        let center = of(&config);
        let found = center.person(STORE, By::UserName("mary")).await.unwrap().unwrap();
        assert_eq!((found.id.as_str(), found.user_name.as_str(), found.disabled), ("u-1", "Mary", true));
        assert!(found.has_address("MARY@example.com") && !found.has_address("m@example.com"));
        let group = center.group(STORE, "night shift").await;
        assert_eq!(group, Ok(Some(Group { id: "g-1".into(), name: "Night shift".into() })));
        assert_eq!(center.create(STORE, &mary()).await, Ok("u-1".into()));
        assert!(center.lacking(STORE).await.is_empty());
        server.abort();
    }

    #[tokio::test]
    async fn what_is_no_answer_is_none() {
        for (status, body) in [(502, "<html>"), (200, "garbage")] {
            let (center, server) = answering(status, body, true).await;
            let asked = center.person(STORE, By::UserName("mary")).await;
            assert_eq!(asked, Err(DirectoryTrouble::Unreachable), "{status} {body}");
            server.abort();
        }
        let (center, server) = answering(200, "{}", true).await;
        server.abort();
        let _ = server.await;
        assert_eq!(center.lacking(STORE).await, [DirectoryTrouble::Unreachable; 2], "nobody listens");
    }

    #[tokio::test]
    async fn without_credentials_nobody_is_asked() {
        let (center, server) = answering(200, "{}", false).await;
        assert_eq!(center.group(STORE, "admins").await, Err(DirectoryTrouble::Credentials));
        server.abort();
    }
}
