//! Kubeconfigs that need no other file.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::pki::{Pair, write_private};

/// How a user proves who they are.
#[derive(Clone, Copy)]
pub(super) enum Credential<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// Writes one to `path`, for its owner's eyes only, with a single context that starts in `namespace`.
pub(super) fn write(
    path: &Path,
    server: &str,
    ca: &str,
    user: &str,
    credential: Credential<'_>,
    namespace: &str,
) -> Result<()> {
    let text =
        serde_saphyr::to_string(&document(server, ca, user, credential, namespace)).context("write a kubeconfig")?;
    write_private(path, &text)
}

fn document(server: &str, ca: &str, user: &str, credential: Credential<'_>, namespace: &str) -> Value {
    let credential = match credential {
        Credential::Certificate(pair) => json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "fleetform",
            "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(ca) },
        }],
        "users": [{ "name": user, "user": credential }],
        "contexts": [{
            "name": "fleetform",
            "context": { "cluster": "fleetform", "user": user, "namespace": namespace },
        }],
        "current-context": "fleetform",
    })
}

/// A client of whoever the kubeconfig at `path` speaks for.
pub async fn client_of(path: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("read the kubeconfig {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let config = config.with_context(|| format!("use the kubeconfig {}", path.display()))?;
    Client::try_from(config).context("make a Kubernetes client")
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::{Credential, write};

    #[test]
    fn what_is_written_is_read_back() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("kubeconfig");
        let user = "system:serviceaccount:a:b";
        write(&path, "https://127.0.0.1:1", "ca", user, Credential::Token("token"), "place").unwrap();
        let read = Kubeconfig::read_from(&path).unwrap();
        assert_eq!(read.auth_infos[0].name, user);
        let context = read.contexts[0].context.as_ref().unwrap();
        assert_eq!(context.namespace.as_deref(), Some("place"));
        assert_eq!(read.current_context.as_deref(), Some("fleetform"));
    }
}
