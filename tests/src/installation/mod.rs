//! Fleetform, installed: what its chart renders is in a cluster, and its operator and simulator run on this machine with
//! the tokens of their own `ServiceAccount`s, so that they may do what they may in production and nothing more.

mod chart;
mod programs;
mod slot;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use fleetform_domain::audit::Record;
use fleetform_domain::event::Event;
use fleetform_simulator::installer::{BearerToken, Installer, PortalAuthorities};
use fleetform_simulator::transport::{Address, Network, Timeouts};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::{free_ports, write_private};
use crate::http;
use crate::process::{Process, ProcessSpec};
use crate::wait::{self, Look};
use slot::Slot;

pub use programs::{DEVICE, OPERATOR, SIMULATOR, locate};

/// The namespace of the operator and the simulator.
pub const NAMESPACE: &str = "fleetform-system";

/// The account that ARNs and events carry.
pub const ACCOUNT: &str = "123456789012";

/// The region that ARNs and events carry.
pub const REGION: &str = "us-east-1";

/// The audience of tokens for the portal.
pub const AUDIENCE: &str = "fleetform";

/// The `ServiceAccount` of the operator.
pub const OPERATOR_ACCOUNT: &str = "fleetform-operator";

/// The `ServiceAccount` of the simulator.
pub const SIMULATOR_ACCOUNT: &str = "fleetform-simulator";

/// How long the operator may take to serve. A lease that a killed one left has to end first (15 s).
const LIMIT: Duration = Duration::from_mins(2);

/// How to install.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where logs, tokens, events and the simulator's disks are. Made if it is not there.
    pub dir: PathBuf,
    /// How the simulator runs, if it does.
    pub simulator: Option<SimulatorOptions>,
    /// Time between two check-ins of a device, in seconds.
    pub check_in_seconds: u32,
    /// Values of the chart, as helm's flags: `--set=name=value`.
    pub chart_values: Vec<String>,
    /// More arguments for the operator.
    pub operator_args: Vec<String>,
    /// More of its environment.
    pub operator_env: Vec<(String, String)>,
    /// Where events go beside a file.
    pub event_sinks: Vec<Value>,
    /// Where the operator reaches the API server, if that is not where everybody else does.
    pub api_server: Option<String>,
}

impl Options {
    /// In this folder, with the simulator, devices that check in every three seconds, and otherwise what the chart says.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            simulator: Some(SimulatorOptions::default()),
            check_in_seconds: 3,
            chart_values: Vec::new(),
            operator_args: Vec::new(),
            operator_env: Vec::new(),
            event_sinks: Vec::new(),
            api_server: None,
        }
    }
}

/// How the simulator runs.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Of every so many codes one is fetched as a picture and decoded; the others as text.
    pub picture_every: u32,
    /// More arguments.
    pub args: Vec<String>,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self { picture_every: 1, args: Vec::new() }
    }
}

/// A running installation.
///
/// # Guarantees
///
/// Operator and simulator are killed when this is dropped, and when this process dies without dropping it. What was applied
/// to the cluster stays there.
pub struct Installation {
    cluster: Cluster,
    options: Options,
    ports: Ports,
    operator: Slot,
    simulator: Slot,
    starts: AtomicU32,
}

#[derive(Clone, Copy)]
struct Ports {
    gateway: u16,
    portal: u16,
    metrics: u16,
    simulator: u16,
}

impl Installation {
    /// Installs into `cluster` and waits until the operator serves and the simulator runs: seconds.
    ///
    /// # Errors
    ///
    /// When something does not come up; with the end of its log.
    pub async fn start(cluster: Cluster, options: Options) -> Result<Self> {
        fs::create_dir_all(&options.dir).with_context(|| format!("create {}", options.dir.display()))?;
        let mut values = options.chart_values.clone();
        values.push(format!("--set-string=account={ACCOUNT}"));
        values.push(format!("--set=simulator.enabled={}", options.simulator.is_some()));
        chart::install(&cluster, &values).await?;
        let [gateway, portal, metrics, simulator] = free_ports()?;
        let ports = Ports { gateway, portal, metrics, simulator };
        let (operator, simulator) = (Slot::new("operator"), Slot::new("simulator"));
        let this = Self { cluster, options, ports, operator, simulator, starts: AtomicU32::new(0) };
        let (cluster, dir) = (&this.cluster, &this.options.dir);
        let (server, kubeconfig) = (this.options.api_server.as_deref(), this.operator_kubeconfig());
        cluster.write_kubeconfig_of_service_account(NAMESPACE, OPERATOR_ACCOUNT, server, &kubeconfig).await?;
        this.start_operator().await?;
        fs::write(this.portal_ca(), this.authority().await?)
            .with_context(|| format!("write into {}", dir.display()))?;
        if this.options.simulator.is_some() {
            let token = cluster.audience_token(NAMESPACE, SIMULATOR_ACCOUNT, AUDIENCE).await?;
            write_private(&this.simulator_token(), &token)?;
            this.start_simulator().await?;
        }
        Ok(this)
    }

    /// Starts the operator, on the ports and with the files it had before, and waits until it serves: at once, or as soon as
    /// the lease of one that was killed has ended.
    pub async fn start_operator(&self) -> Result<()> {
        self.start_operator_with(&[]).await
    }

    /// The same, with these arguments beside those of the installation.
    pub async fn start_operator_with(&self, arguments: &[&str]) -> Result<()> {
        let identity = self.next_identity();
        self.operator.start(&self.operator_spec(&identity, &self.own_event_sinks())?.args(arguments))?;
        self.operator_serves(&identity).await
    }

    /// Starts the next operator after [`Self::kill_operator`] and waits until it serves. It does not have to wait for
    /// the end of the lease that the dead one left: nobody holds that any more, so it is deleted.
    pub async fn start_successor(&self) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client(), NAMESPACE);
        match leases.delete(OPERATOR_ACCOUNT, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error).context("delete the lease of the operator that was killed"),
        }
        self.start_operator().await
    }

    /// Starts the operator and does not wait. Gives the name by which it holds the lease: another one each time, as that of
    /// another Pod.
    pub fn spawn_operator(&self) -> Result<String> {
        self.spawn_operator_for(&self.own_event_sinks(), &[])
    }

    /// The same, with these event sinks in the place of its own, and with more of its environment.
    pub fn spawn_operator_for(&self, event_sinks: &[Value], environment: &[(String, String)]) -> Result<String> {
        let identity = self.next_identity();
        let spec = self.operator_spec(&identity, event_sinks)?;
        self.operator.start(&environment.iter().fold(spec, |spec, (name, value)| spec.env(name, value)))?;
        Ok(identity)
    }

    fn next_identity(&self) -> String {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        format!("fleetform-operator-{}-{start}", std::process::id())
    }

    fn operator_spec(&self, identity: &str, event_sinks: &[Value]) -> Result<ProcessSpec> {
        let listen = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let spec = ProcessSpec::new("operator", locate(OPERATOR)?, self.options.dir.join("operator.log"));
        let spec = self.options.operator_env.iter().fold(spec, |spec, (name, value)| spec.env(name, value));
        Ok(spec
            .guarded()
            .env("KUBECONFIG", self.operator_kubeconfig())
            // By the environment, which an argument overrides: every test has projects of its own.
            .env("FLEETFORM_MAX_PROJECTS", "1000")
            .arg("run")
            .arg(format!("--account={ACCOUNT}"))
            .arg(format!("--region={REGION}"))
            .arg(format!("--namespace={NAMESPACE}"))
            .arg(format!("--identity={identity}"))
            .arg(format!("--gateway-listen={}", listen(self.ports.gateway)))
            .arg(format!("--gateway-url={}", self.gateway_url()))
            .arg(format!("--portal-listen={}", listen(self.ports.portal)))
            .arg(format!("--metrics-listen={}", listen(self.ports.metrics)))
            .arg(format!("--token-audience={AUDIENCE}"))
            .arg(format!("--check-in-seconds={}", self.options.check_in_seconds))
            .arg(format!("--event-sinks={}", self.list_event_sinks(event_sinks)?.display()))
            .arg(format!("--audit={}", self.audit_path().display()))
            .args(&self.options.operator_args))
    }

    /// Waits until the operator that was started under this name serves.
    pub async fn operator_serves(&self, identity: &str) -> Result<()> {
        wait::until("the operator to hold the lease and serve", LIMIT, async || {
            self.operator.ensure_running()?;
            Ok(match self.look_at_operator(identity).await {
                Ok(()) => Look::Done(()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await
        .with_context(|| self.operator_log_end())
    }

    async fn look_at_operator(&self, identity: &str) -> Result<()> {
        let (status, body) = http::get(self.metrics_address(), "/readyz").await?;
        anyhow::ensure!(status == 200, "/readyz says {status}: {}", body.trim());
        let lease: Lease = Api::namespaced(self.cluster.client(), NAMESPACE).get(OPERATOR_ACCOUNT).await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        anyhow::ensure!(holder == identity, "the lease is held by `{holder}`");
        let network = Network::new(Timeouts::default());
        let roots = network.roots(self.authority().await?.as_bytes())?;
        for url in [self.portal_url(), self.gateway_url()] {
            let address: Address = url.parse()?;
            network.connect_trusting(&address, &roots).await.with_context(|| format!("connect to {url}"))?;
        }
        Ok(())
    }

    /// The certificates of the authority that gateway and portal have theirs from, as published in the cluster, in PEM.
    pub async fn authority(&self) -> Result<String> {
        let map: ConfigMap = Api::namespaced(self.cluster.client(), NAMESPACE).get("fleetform-ca").await?;
        map.data.and_then(|mut data| data.remove("ca.crt")).context("ConfigMap fleetform-ca has no ca.crt")
    }

    /// SIGKILL, as a power cut. The operator is gone when this returns.
    pub fn kill_operator(&self) -> Result<()> {
        self.operator.kill()
    }

    /// SIGTERM, and how the operator ended.
    pub async fn terminate_operator(&self) -> Result<ExitStatus> {
        self.operator.terminate().await
    }

    /// The operator's process id.
    pub fn operator_pid(&self) -> Result<u32> {
        self.operator.with(|process| Ok(process.id()))
    }

    /// Resident memory of the operator now, in KiB.
    pub fn operator_rss_kib(&self) -> Result<u64> {
        self.operator.with(|process| process.rss_kib())
    }

    /// The most resident memory the operator ever had, in KiB.
    pub fn operator_peak_rss_kib(&self) -> Result<u64> {
        self.operator.with(|process| process.peak_rss_kib())
    }

    /// An error, with the end of its log, when the operator or the simulator has ended.
    pub fn ensure_running(&self) -> Result<()> {
        self.operator.ensure_running()?;
        if self.options.simulator.is_some() { self.simulator.ensure_running() } else { Ok(()) }
    }

    /// The end of the operator's log, to put into an error.
    pub fn operator_log_end(&self) -> String {
        self.operator.log_end()
    }

    /// The end of the simulator's log, to put into an error; nothing when there is no simulator.
    pub fn simulator_log_end(&self) -> String {
        if self.options.simulator.is_some() { self.simulator.log_end() } else { String::new() }
    }

    /// Starts the simulator, with the disks it had before, and waits until it runs.
    pub async fn start_simulator(&self) -> Result<()> {
        let options = self.options.simulator.as_ref().context("the installation has no simulator")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.simulator));
        let spec = ProcessSpec::new("simulator", locate(SIMULATOR)?, self.options.dir.join("simulator.log"))
            .guarded()
            .arg(format!("--portal={}", self.portal_url()))
            .arg(format!("--portal-ca={}", self.portal_ca().display()))
            .arg(format!("--token-file={}", self.simulator_token().display()))
            .arg(format!("--state-dir={}", self.options.dir.join("devices").display()))
            .arg(format!("--listen={address}"))
            .arg(format!("--picture-every={}", options.picture_every))
            .args(&options.args);
        self.simulator.start(&spec)?;
        wait::until("the simulator to run", LIMIT, async || {
            self.simulator.ensure_running()?;
            Ok(match http::get(address, "/readyz").await {
                Ok((200, _)) => Look::Done(()),
                Ok((status, body)) => Look::NotYet(format!("/readyz says {status}: {}", body.trim())),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await
        .with_context(|| self.simulator_log_end())
    }

    /// SIGKILL, as a power cut. The simulator, and with it every simulated device, is gone when this returns.
    pub fn kill_simulator(&self) -> Result<()> {
        self.simulator.kill()
    }

    /// SIGTERM, and how the simulator ended.
    pub async fn terminate_simulator(&self) -> Result<ExitStatus> {
        self.simulator.terminate().await
    }

    /// The simulator's process id.
    pub fn simulator_pid(&self) -> Result<u32> {
        self.simulator.with(|process| Ok(process.id()))
    }

    /// The most resident memory the simulator ever had, in KiB.
    pub fn simulator_peak_rss_kib(&self) -> Result<u64> {
        self.simulator.with(|process: &mut Process| process.peak_rss_kib())
    }

    /// Where it is installed.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The address that devices dial.
    pub fn gateway_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.gateway)
    }

    /// The address of the portal.
    pub fn portal_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.portal)
    }

    /// Where the operator serves `/livez`, `/readyz` and `/metrics`.
    pub fn metrics_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.metrics).into()
    }

    /// The operator's metrics, as text.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(self.metrics_address(), "/metrics").await?.1)
    }

    /// The file that events are in, one a line.
    pub fn events_path(&self) -> PathBuf {
        self.options.dir.join("events.jsonl")
    }

    /// The file that is for events which a sink refuses for good.
    fn dead_letters_path(&self) -> PathBuf {
        self.options.dir.join("dead-letters.jsonl")
    }

    /// What sinks refused for good so far.
    pub fn dead_letters(&self) -> Result<Vec<Value>> {
        let path = self.dead_letters_path();
        if path.exists() { documents(&path) } else { Ok(Vec::new()) }
    }

    /// The event sinks of the installation: the file, and those of its options.
    fn own_event_sinks(&self) -> Vec<Value> {
        let file = json!({ "name": "file", "jsonLines": { "path": self.events_path() } });
        std::iter::once(file).chain(self.options.event_sinks.iter().cloned()).collect()
    }

    /// The list of event sinks that the operator goes by, which is written anew.
    fn list_event_sinks(&self, sinks: &[Value]) -> Result<PathBuf> {
        let list = self.options.dir.join("event-sinks.yaml");
        let all = json!({ "sinks": sinks, "deadLetters": self.dead_letters_path() });
        fs::write(&list, all.to_string()).with_context(|| format!("write {}", list.display()))?;
        Ok(list)
    }

    /// The events so far, in the order of delivery. A line that is being written is left for the next time.
    pub fn events(&self) -> Result<Vec<Event>> {
        documents(&self.events_path())
    }

    /// The file that audit records are in, one a line.
    pub fn audit_path(&self) -> PathBuf {
        self.options.dir.join("audit.jsonl")
    }

    /// The audit records so far, in the order in which they were written. A line that is being written is left for the next time.
    pub fn audit_records(&self) -> Result<Vec<Record>> {
        documents(&self.audit_path())
    }

    /// The authority's certificate as a file, in PEM.
    pub fn portal_ca(&self) -> PathBuf {
        self.options.dir.join("portal-ca.crt")
    }

    /// The kubeconfig of the operator's `ServiceAccount`.
    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.options.dir.join("operator.kubeconfig")
    }

    fn simulator_token(&self) -> PathBuf {
        self.options.dir.join("simulator.token")
    }

    /// An installer with a token of this `ServiceAccount`, who sees what RBAC lets it see.
    pub async fn installer(&self, namespace: &str, service_account: &str) -> Result<Installer> {
        let token = self.cluster.audience_token(namespace, service_account, AUDIENCE).await?;
        let authorities = PortalAuthorities::File(self.portal_ca());
        let network = Network::new(Timeouts::default());
        Ok(Installer::new(network, self.portal_url().parse()?, authorities, BearerToken::Text(token)))
    }

    /// The folder of [`Options::dir`].
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }
}

/// The JSON documents of a file, one a line, but for a line without an end.
fn documents<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let read = |line| serde_json::from_str(line).with_context(|| format!("{} holds `{line}`", path.display()));
    whole.lines().filter(|line| !line.is_empty()).map(read).collect()
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}
