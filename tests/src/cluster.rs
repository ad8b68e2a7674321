//! A cluster as its administrator reaches it: a control plane of ours, or one that somebody has already.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::control_plane::{ControlPlane, service_account_token, write_private};
use crate::tools;

/// A cluster, and an administrator's way to it. Clones share their connections.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// What kubectl needs to be told to find it.
    flags: Vec<String>,
    /// Its entry in the kubeconfig: address, certificate authority, and how to get there.
    entry: serde_json::Value,
}

impl Cluster {
    /// The cluster of a control plane of ours.
    pub fn of(plane: &ControlPlane) -> Result<Self> {
        let path = plane.kubeconfig();
        let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
        let flags = vec![format!("--kubeconfig={}", path.display())];
        Ok(Self { client: plane.kube_client(), flags, entry: entry(&kubeconfig, None)? })
    }

    /// The cluster of a context in the user's own kubeconfig: `KUBECONFIG`, or `~/.kube/config`.
    pub async fn of_context(name: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::read().context("read your kubeconfig: KUBECONFIG, or ~/.kube/config")?;
        if !kubeconfig.contexts.iter().any(|context| context.name == name) {
            let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
            bail!("your kubeconfig has no context {name}; it has: {}", known.join(", "));
        }
        let entry = entry(&kubeconfig, Some(name))?;
        let options = KubeConfigOptions { context: Some(name.to_owned()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.with_context(|| format!("use context {name} of your kubeconfig"))?;
        let client = Client::try_from(config).context("make a Kubernetes client")?;
        Ok(Self { client, flags: vec![format!("--context={name}")], entry })
    }

    /// A client of the administrator.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How a person calls kubectl for this cluster, flags included.
    pub fn kubectl_command(&self) -> String {
        format!("kubectl {}", self.flags.join(" "))
    }

    /// Runs kubectl as the administrator, with `input` as its standard input, and gives all that came of it.
    ///
    /// # Errors
    ///
    /// When it could not be run; not when it ran and failed.
    pub async fn try_kubectl<S: AsRef<OsStr>>(&self, args: &[S], input: Option<&str>) -> Result<Output> {
        let program = tokio::task::spawn_blocking(tools::kubectl).await.context("look for kubectl")??;
        let mut command = Command::new(program);
        command.args(&self.flags).args(args).kill_on_drop(true);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("start kubectl")?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // One that failed early does not read to the end, and says why itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await.context("wait for kubectl")
    }

    /// Runs kubectl as the administrator and gives what it printed.
    ///
    /// # Errors
    ///
    /// When it failed; with what it said.
    pub async fn kubectl<S: AsRef<OsStr>>(&self, args: &[S], input: Option<&str>) -> Result<String> {
        let output = self.try_kubectl(args, input).await?;
        if !output.status.success() {
            let words: Vec<_> = args.iter().map(|word| word.as_ref().to_string_lossy()).collect();
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(anyhow!("kubectl {}: {}", words.join(" "), said.trim()));
        }
        String::from_utf8(output.stdout).context("kubectl printed no text")
    }

    /// A token of a `ServiceAccount` that is good for `audience` and nothing else, as a program gets it from a projected
    /// volume.
    pub async fn audience_token(&self, namespace: &str, name: &str, audience: &str) -> Result<String> {
        service_account_token(self.client(), namespace, name, Some(vec![audience.to_owned()])).await
    }

    /// Writes a kubeconfig to `path` that speaks for a `ServiceAccount`, and for nobody else; at `server`, if that is
    /// another one.
    pub async fn write_kubeconfig_of_service_account(
        &self,
        namespace: &str,
        name: &str,
        server: Option<&str>,
        path: &Path,
    ) -> Result<()> {
        let token = service_account_token(self.client(), namespace, name, None).await?;
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let mut entry = self.entry.clone();
        if let Some(server) = server {
            entry["server"] = server.into();
        }
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "cluster", "cluster": entry }],
            "users": [{ "name": user, "user": { "token": token } }],
            "contexts": [{
                "name": "cluster",
                "context": { "cluster": "cluster", "user": user, "namespace": namespace },
            }],
            "current-context": "cluster",
        });
        write_private(path, &serde_saphyr::to_string(&document).context("write a kubeconfig")?)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// The cluster of a context, by default the current one, with its files as absolute paths.
fn entry(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<serde_json::Value> {
    let name = context.or(kubeconfig.current_context.as_deref()).unwrap_or_default();
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let cluster = context.and_then(|context| context.context.as_ref()).map(|context| context.cluster.as_str());
    let entry = kubeconfig.clusters.iter().find(|entry| Some(entry.name.as_str()) == cluster);
    let mut entry = entry
        .and_then(|entry| entry.cluster.clone())
        .with_context(|| format!("context {name} of the kubeconfig names no cluster"))?;
    if let Some(path) = &entry.certificate_authority {
        let absolute = PathBuf::from(path).canonicalize().with_context(|| format!("find {path}"))?;
        entry.certificate_authority = Some(absolute.display().to_string());
    }
    serde_json::to_value(entry).context("copy the cluster's entry of the kubeconfig")
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::entry;

    const TWO: &str = "
apiVersion: v1
kind: Config
current-context: a
contexts:
  - {name: a, context: {cluster: one, user: me}}
  - {name: b, context: {cluster: two, user: me}}
clusters:
  - {name: one, cluster: {server: 'https://one'}}
  - {name: two, cluster: {server: 'https://two', tls-server-name: second}}
users:
  - {name: me, user: {token: secret}}
";

    #[test]
    fn the_cluster_of_a_context_is_taken_as_it_is_and_nothing_of_its_user() {
        let kubeconfig = Kubeconfig::from_yaml(TWO).unwrap();
        assert_eq!(entry(&kubeconfig, None).unwrap()["server"], "https://one");
        let two = entry(&kubeconfig, Some("b")).unwrap();
        assert_eq!((&two["server"], &two["tls-server-name"]), (&"https://two".into(), &"second".into()));
        assert!(!two.to_string().contains("secret"));
        assert!(entry(&kubeconfig, Some("c")).is_err());
    }
}
