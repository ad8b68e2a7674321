//! Clients of AWS, and what is common to errors of its services.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::error::causes;

/// What there is to do about [`Fault::Credentials`].
pub const NO_CREDENTIALS: &str =
    "the operator has no good credentials for AWS: give its ServiceAccount a role, by IRSA or EKS Pod Identity";

/// Time for one call, with the tries that it takes.
const CALL: Duration = Duration::from_secs(8);

/// Time for one try.
const TRY: Duration = Duration::from_secs(3);

/// Configuration of a client in this region, with the credentials that the AWS SDK finds, and the TLS provider of the rest of the program.
pub async fn config(region: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https(),
        )
        .timeout_config(TimeoutConfig::builder().operation_timeout(CALL).operation_attempt_timeout(TRY).build())
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .load()
        .await
}

/// What went wrong in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// There were no credentials to sign with, or they have expired or are not good.
    Credentials,
    /// The service wants fewer requests.
    Throttled,
    /// The service answered with this code of its own.
    Code(&'a str),
    /// There was no answer, or none that reads.
    NoAnswer,
}

/// What an error of the SDK means. Codes are those of "Common errors" in the API references of AWS.
pub fn fault<E, R>(error: &SdkError<E, R>) -> Fault<'_>
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: fmt::Debug + 'static,
{
    match error.code() {
        Some(
            "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken",
        ) => Fault::Credentials,
        Some("ThrottlingException" | "Throttling" | "LimitExceededException" | "RequestLimitExceeded") => {
            Fault::Throttled
        }
        Some(code) => Fault::Code(code),
        None if is_about_credentials(error) => Fault::Credentials,
        None => Fault::NoAnswer,
    }
}

/// Whether there were no credentials to sign with.
fn is_about_credentials(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(<dyn StdError>::is::<CredentialsError>)
}

/// Services of AWS that answer what a test says.
#[cfg(test)]
pub(crate) mod tests {
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
    use axum::Router;
    use axum::http::StatusCode;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

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

    /// The configuration of a client of a service that answers everything with this.
    pub(crate) async fn answering(
        status: u16,
        body: impl Into<String>,
        credentials: bool,
    ) -> (SdkConfig, JoinHandle<()>) {
        let (status, body) = (StatusCode::from_u16(status).unwrap(), body.into());
        serving(move |_, _| (status, body.clone()), credentials).await
    }

    /// The configuration of a client of a service that answers by the header `x-amz-target` of what it is asked, and its body.
    pub(crate) async fn serving(
        answer: impl Fn(&str, &str) -> (StatusCode, String) + Clone + Send + Sync + 'static,
        credentials: bool,
    ) -> (SdkConfig, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let handler = move |headers: axum::http::HeaderMap, called: String| async move {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
            let (status, body) = answer(target, &called);
            (status, [("content-type", "application/x-amz-json-1.1")], body)
        };
        let server = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
        let found = if credentials {
            SharedCredentialsProvider::new(Credentials::new("AKIA", "secret", None, None, "test"))
        } else {
            SharedCredentialsProvider::new(Nobody)
        };
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .timeout_config(TimeoutConfig::builder().operation_timeout(CALL).build())
            .retry_config(RetryConfig::disabled())
            .credentials_provider(found)
            .build();
        (config, server)
    }
}
