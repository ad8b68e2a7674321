//! AWS KMS: seals data keys with customers' keys, and opens them.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::OnceCell;

use super::KeyTrouble;

/// Time for one call, with the tries that it takes.
const CALL: Duration = Duration::from_secs(8);

/// Time for one try.
const TRY: Duration = Duration::from_secs(3);

/// What the encryption context says whose key it is: the ARN of the project. It stands in CloudTrail, and key policies can ask for it.
pub const CONTEXT: &str = "projectArn";

/// What comes of asking a key service.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, KeyTrouble>> + Send + 'a>>;

/// Where customers' keys are. They never leave it: it is asked to seal and to open.
pub trait KeyService: Send + Sync + fmt::Debug {
    /// Seals a few bytes with a key, for the project with this ARN.
    fn encrypt<'a>(&'a self, key_arn: &'a str, project_arn: &'a str, plain: Vec<u8>) -> Answer<'a>;

    /// Opens what was sealed with this key for this project.
    fn decrypt<'a>(&'a self, key_arn: &'a str, project_arn: &'a str, sealed: Vec<u8>) -> Answer<'a>;
}

/// AWS KMS in the region of the installation, with the credentials that the AWS SDK finds. Nothing is looked for until a project asks for a
/// key of it.
#[derive(Debug)]
pub struct Kms {
    region: String,
    client: OnceCell<Client>,
}

impl Kms {
    /// Of this region.
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned(), client: OnceCell::new() }
    }

    async fn client(&self) -> &Client {
        self.client
            .get_or_init(|| async {
                let config = aws_config::defaults(BehaviorVersion::latest())
                    .region(Region::new(self.region.clone()))
                    .http_client(
                        aws_smithy_http_client::Builder::new()
                            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                            .build_https(),
                    )
                    .timeout_config(
                        TimeoutConfig::builder().operation_timeout(CALL).operation_attempt_timeout(TRY).build(),
                    )
                    .retry_config(RetryConfig::standard().with_max_attempts(2))
                    .load()
                    .await;
                Client::new(&config)
            })
            .await
    }
}

impl KeyService for Kms {
    fn encrypt<'a>(&'a self, key_arn: &'a str, project_arn: &'a str, plain: Vec<u8>) -> Answer<'a> {
        Box::pin(async move {
            let call = self.client().await.encrypt().key_id(key_arn).encryption_context(CONTEXT, project_arn);
            let answer = call.plaintext(Blob::new(plain)).send().await.map_err(|error| trouble(&error))?;
            answer.ciphertext_blob.map(Blob::into_inner).ok_or(KeyTrouble::Unreachable)
        })
    }

    fn decrypt<'a>(&'a self, key_arn: &'a str, project_arn: &'a str, sealed: Vec<u8>) -> Answer<'a> {
        Box::pin(async move {
            let call = self.client().await.decrypt().key_id(key_arn).encryption_context(CONTEXT, project_arn);
            let answer = call.ciphertext_blob(Blob::new(sealed)).send().await.map_err(|error| trouble(&error))?;
            answer.plaintext.map(Blob::into_inner).ok_or(KeyTrouble::Unreachable)
        })
    }
}

/// What an error of the SDK means. Codes are those of the API reference of AWS KMS, `Encrypt` and `Decrypt`, and the common errors.
fn trouble<E, R>(error: &SdkError<E, R>) -> KeyTrouble
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: fmt::Debug + 'static,
{
    match error.code() {
        Some(code) => of_code(code),
        None if is_about_credentials(error) => KeyTrouble::Credentials,
        None => KeyTrouble::Unreachable,
    }
}

fn of_code(code: &str) -> KeyTrouble {
    match code {
        "AccessDeniedException" | "InvalidGrantTokenException" => KeyTrouble::AccessDenied,
        "DisabledException" => KeyTrouble::Disabled,
        "KMSInvalidStateException" => KeyTrouble::InvalidState,
        "NotFoundException" => KeyTrouble::NotFound,
        "InvalidKeyUsageException"
        | "ValidationException"
        | "InvalidArnException"
        | "UnsupportedOperationException" => KeyTrouble::NotSymmetric,
        "InvalidCiphertextException" | "IncorrectKeyException" => KeyTrouble::NotAuthentic,
        "ThrottlingException" | "Throttling" | "LimitExceededException" | "RequestLimitExceeded" => {
            KeyTrouble::Throttled
        }
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken" => KeyTrouble::Credentials,
        _ => KeyTrouble::Unreachable,
    }
}

/// Whether there were no credentials to sign with.
fn is_about_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{ProvideCredentials, future};
    use axum::Router;
    use axum::http::StatusCode;
    use tokio::net::TcpListener;

    /// What the SDK finds where there are no credentials.
    #[derive(Debug)]
    struct Nobody;

    impl ProvideCredentials for Nobody {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("no providers in chain")))
        }
    }

    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1";

    /// KMS of a service that answers everything with this.
    async fn answering(status: u16, body: &'static str, credentials: bool) -> (Kms, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let answer = move || async move { (status, [("content-type", "application/x-amz-json-1.1")], body) };
        let server = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
        });
        let mut config = aws_sdk_kms::Config::builder()
            .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .timeout_config(TimeoutConfig::builder().operation_timeout(CALL).build())
            .retry_config(RetryConfig::disabled());
        config = if credentials {
            config.credentials_provider(Credentials::new("AKIA", "secret", None, None, "test"))
        } else {
            config.credentials_provider(Nobody)
        };
        let client = OnceCell::new_with(Some(Client::from_conf(config.build())));
        (Kms { region: "us-east-1".into(), client }, server)
    }

    /// What the service answers, as the API reference of AWS KMS has it.
    #[tokio::test]
    async fn each_error_of_kms_means_what_its_reference_says() {
        for (status, code, trouble) in [
            (400, "AccessDeniedException", KeyTrouble::AccessDenied),
            (400, "DisabledException", KeyTrouble::Disabled),
            (400, "KMSInvalidStateException", KeyTrouble::InvalidState),
            (400, "NotFoundException", KeyTrouble::NotFound),
            (400, "InvalidKeyUsageException", KeyTrouble::NotSymmetric),
            (400, "InvalidCiphertextException", KeyTrouble::NotAuthentic),
            (400, "IncorrectKeyException", KeyTrouble::NotAuthentic),
            (400, "ThrottlingException", KeyTrouble::Throttled),
            (400, "ExpiredTokenException", KeyTrouble::Credentials),
            (400, "UnrecognizedClientException", KeyTrouble::Credentials),
            (500, "KMSInternalException", KeyTrouble::Unreachable),
            (500, "DependencyTimeoutException", KeyTrouble::Unreachable),
        ] {
            let body = format!(r#"{{"__type":"{code}","message":"of the key {KEY}"}}"#);
            let (kms, server) = answering(status, body.leak(), true).await;
            assert_eq!(kms.decrypt(KEY, "arn:project", vec![1]).await, Err(trouble), "{code}");
            assert_eq!(kms.encrypt(KEY, "arn:project", vec![1]).await, Err(trouble), "{code}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_none() {
        for (status, body) in [(502, "<html>"), (200, "garbage"), (200, "{}")] {
            let (kms, server) = answering(status, body, true).await;
            assert_eq!(kms.decrypt(KEY, "arn:project", vec![1]).await, Err(KeyTrouble::Unreachable), "{status} {body}");
            server.abort();
        }
        let (kms, server) = answering(200, "{}", true).await;
        server.abort();
        let _ = server.await;
        assert_eq!(kms.decrypt(KEY, "arn:project", vec![1]).await, Err(KeyTrouble::Unreachable), "nobody listens");
    }

    #[tokio::test]
    async fn without_credentials_nobody_is_asked() {
        let (kms, server) = answering(200, "{}", false).await;
        assert_eq!(kms.decrypt(KEY, "arn:project", vec![1]).await, Err(KeyTrouble::Credentials));
        server.abort();
    }
}
