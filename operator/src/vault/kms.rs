//! AWS KMS: seals data keys with customers' keys, and opens them.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use tokio::sync::OnceCell;

use super::KeyTrouble;
use crate::aws::{self, Fault, fault};

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
        self.client.get_or_init(|| async { Client::new(&aws::config(&self.region).await) }).await
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

/// What an error of the SDK means. Codes are those of the API reference of AWS KMS, `Encrypt` and `Decrypt`.
fn trouble<E, R>(error: &SdkError<E, R>) -> KeyTrouble
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: fmt::Debug + 'static,
{
    match fault(error) {
        Fault::Credentials => KeyTrouble::Credentials,
        Fault::Throttled => KeyTrouble::Throttled,
        Fault::Code(code) => of_code(code),
        Fault::NoAnswer => KeyTrouble::Unreachable,
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
        _ => KeyTrouble::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinHandle;

    const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1";

    /// KMS of a service that answers everything with this.
    async fn answering(status: u16, body: &str, credentials: bool) -> (Kms, JoinHandle<()>) {
        let (config, server) = aws::tests::answering(status, body, credentials).await;
        (Kms { region: "us-east-1".into(), client: OnceCell::new_with(Some(Client::new(&config))) }, server)
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
            let (kms, server) = answering(status, &body, true).await;
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
