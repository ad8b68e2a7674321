//! Access for programs that run as a `ServiceAccount`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use super::kubeconfig::{self, Credential};
use super::{ControlPlane, client_of};

/// How long tokens are good, in seconds: longer than any test or demo, 24 hours.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

impl ControlPlane {
    /// A token of a `ServiceAccount` that is good for `audience` and nothing else, as a program gets it from a projected volume.
    pub async fn audience_token(&self, namespace: &str, service_account: &str, audience: &str) -> Result<String> {
        service_account_token(self.kube_client(), namespace, service_account, Some(vec![audience.to_owned()])).await
    }

    /// Writes a kubeconfig that speaks for a `ServiceAccount`, with a token of 24 hours, and gives its path in [`Self::dir`].
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = service_account_token(self.kube_client(), namespace, name, None).await?;
        let path = self.folder.path(&format!("{namespace}.{name}.kubeconfig"));
        let user = format!("system:serviceaccount:{namespace}:{name}");
        kubeconfig::write(&path, &self.server(), self.ca_pem(), &user, Credential::Token(&token), namespace)?;
        Ok(path)
    }

    /// A client that speaks for a `ServiceAccount`.
    pub async fn client_for_service_account(&self, namespace: &str, name: &str) -> Result<kube::Client> {
        client_of(&self.kubeconfig_for_service_account(namespace, name).await?).await
    }
}

/// A token of a `ServiceAccount` by `TokenRequest`; no audience means the API server itself.
pub(crate) async fn service_account_token(
    client: Client,
    namespace: &str,
    name: &str,
    audiences: Option<Vec<String>>,
) -> Result<String> {
    let spec = TokenRequestSpec { audiences, expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let api: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let answer: TokenRequest = api
        .create_subresource("token", name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("get a token for the ServiceAccount {namespace}/{name}: does it exist?"))?;
    answer.status.and_then(|status| status.token).context("the API server answered without a token")
}
