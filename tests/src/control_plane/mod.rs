//! A Kubernetes control plane on this machine: etcd, kube-apiserver and the controllers that matter, each its own process.
//!
//! RBAC and the audit log are on, everything but etcd is behind TLS with a certificate authority of its own, and all of it
//! listens on the loopback interface only.

mod access;
mod flags;
mod folder;
mod kubeconfig;
mod pki;
mod ports;
mod ready;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use kube::Client;

use crate::assets::{self, Assets, Program};
use crate::process::Process;
use folder::Folder;
use pki::Pki;
use ports::Ports;

pub(crate) use access::service_account_token;
pub use kubeconfig::client_of;
pub(crate) use pki::write_private;
pub use ports::free as free_ports;

/// One process of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Storage.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers: garbage collection, namespaces, service accounts and their tokens, aggregated cluster roles, policy
    /// status.
    ControllerManager,
}

impl Component {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 3] = [Self::Etcd, Self::ApiServer, Self::ControllerManager];

    /// The name of its program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lines of a log that an error carries.
const LOG_LINES: usize = 25;

/// How to start a control plane. The default is an empty one in a temporary folder.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where its data, keys, logs and kubeconfigs are. A folder that was used before goes on with what is in it, so that a
    /// cluster can be stopped and started again. Without one: a temporary folder, removed with the control plane.
    pub dir: Option<PathBuf>,
    /// Flags for kube-apiserver after ours, of which the last one given wins.
    pub api_server_flags: Vec<String>,
    /// What goes to the audit log, as a policy in YAML. Without one: everything, without bodies.
    pub audit_policy: Option<String>,
}

/// A running control plane.
///
/// # Guarantees
///
/// All its processes are killed when this is dropped. Those that we built ourselves also end when this process dies without
/// dropping anything; programs from `KUBEBUILDER_ASSETS` do not know how to.
pub struct ControlPlane {
    assets: Assets,
    ports: Ports,
    pki: Pki,
    api_server_flags: Vec<String>,
    processes: Mutex<BTreeMap<Component, Process>>,
    client: Client,
    // Last, so that it goes after the processes that write into it.
    folder: Folder,
}

impl ControlPlane {
    /// Starts one and waits until it serves, its roles and the `default` namespace exist and its controllers run: seconds,
    /// after the minutes that building it takes once per machine (see [`assets::locate`]).
    ///
    /// # Errors
    ///
    /// When a component does not come up; with the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let assets =
            tokio::task::spawn_blocking(assets::locate).await.context("look for the control plane's programs")??;
        let folder = Folder::open(options.dir)?;
        let ports = Ports::choose(&folder.path("ports"))?;
        let pki = Pki::open(&folder.path("pki"))?;
        flags::write_audit_policy(folder.dir(), options.audit_policy.as_deref())?;
        let admin = kubeconfig::Credential::Certificate(&pki.admin);
        kubeconfig::write(&folder.path("kubeconfig"), &ports.server(), &pki.ca, "admin", admin, "default")?;
        let manager = kubeconfig::Credential::Certificate(&pki.controller_manager);
        let user = "system:kube-controller-manager";
        kubeconfig::write(
            &folder.path("controller-manager.kubeconfig"),
            &ports.server(),
            &pki.ca,
            user,
            manager,
            "default",
        )?;
        let client = client_of(&folder.path("kubeconfig")).await?;
        let processes = Mutex::default();
        let this = Self { assets, ports, pki, api_server_flags: options.api_server_flags, processes, client, folder };
        for component in Component::ALL {
            this.start_component(component).await?;
        }
        Ok(this)
    }

    /// Starts a component that was killed, with the data and on the ports that it had, and waits until it serves.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        {
            let mut processes = self.processes();
            if processes.get_mut(&component).is_some_and(Process::is_running) {
                bail!("{component} runs already; kill it first");
            }
            let (program, flags) = match component {
                Component::Etcd => (&self.assets.etcd, flags::etcd(self)),
                Component::ApiServer => (&self.assets.kube_apiserver, flags::api_server(self)),
                Component::ControllerManager => (&self.assets.kube_controller_manager, flags::controller_manager(self)),
            };
            processes.insert(component, spawn(program, component, flags, self.log(component))?);
        }
        ready::wait(self, component).await
    }

    /// Kills a component as a power cut would, and no other. It is gone when this returns.
    pub fn kill(&self, component: Component) -> Result<()> {
        self.processes().get_mut(&component).map_or(Ok(()), Process::kill)
    }

    /// [`Self::kill`], then [`Self::start_component`].
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.kill(component)?;
        self.start_component(component).await
    }

    /// Freezes a component: its connections stay open and nothing comes back on them.
    pub fn pause(&self, component: Component) -> Result<()> {
        self.processes().get_mut(&component).map_or(Ok(()), Process::pause)
    }

    /// Lets a frozen component go on.
    pub fn resume(&self, component: Component) -> Result<()> {
        self.processes().get_mut(&component).map_or(Ok(()), Process::resume)
    }

    /// The process id of a component, if it runs.
    pub fn pid(&self, component: Component) -> Option<u32> {
        let mut processes = self.processes();
        let process = processes.get_mut(&component)?;
        process.is_running().then(|| process.id())
    }

    /// Resident memory of a component now, in KiB.
    pub fn rss_kib(&self, component: Component) -> Result<u64> {
        self.processes().get(&component).with_context(|| format!("{component} was never started"))?.rss_kib()
    }

    /// A component's log.
    pub fn log(&self, component: Component) -> PathBuf {
        self.folder.path(&format!("{component}.log"))
    }

    /// The end of a component's log with a word on where the whole is, to put into an error.
    pub fn log_end(&self, component: Component) -> String {
        let tail = self.processes().get(&component).map(|process| process.log_tail(LOG_LINES)).unwrap_or_default();
        format!("its log ({}) ends with:\n{tail}", self.folder.whereabouts(&self.log(component)))
    }

    /// The API server's audit log: one JSON `audit.k8s.io/v1` Event a line, of every request when it is answered (a watch also
    /// when it starts), as [`Options::audit_policy`] says: at level `Metadata` who, what, which object and which answer, no bodies.
    /// Lines come up to a fifth of a second late; killing the API server loses those.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.path("audit.log")
    }

    /// The kubeconfig of the administrator, group `system:masters`, with everything in the one file.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path("kubeconfig")
    }

    /// A client of the administrator. Clones share their connections.
    pub fn kube_client(&self) -> Client {
        self.client.clone()
    }

    /// Where the API server is: `https://127.0.0.1:<port>`.
    pub fn server(&self) -> String {
        self.ports.server()
    }

    /// The certificate authority of the API server, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.pki.ca
    }

    /// The folder with all of the above.
    pub fn dir(&self) -> &Path {
        self.folder.dir()
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Component, Process>> {
        // A test that panicked while holding the lock left nothing half done: each step on the map is one call.
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let mut processes = self.processes();
        for component in Component::ALL.into_iter().rev() {
            drop(processes.remove(&component));
        }
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane").field("server", &self.server()).field("dir", &self.dir()).finish_non_exhaustive()
    }
}

fn spawn(program: &Program, component: Component, flags: Vec<String>, log: PathBuf) -> Result<Process> {
    program.spec(component.name(), log).args(flags).spawn()
}
