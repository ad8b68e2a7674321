//! Pure: the validated settings of one operator process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fleetform_domain::id::Installation;
use jiff::SignedDuration;

use crate::directory::subject::SubjectPrefix;
use crate::events::config::Sinks;
use crate::invitation::InvitationSettings;

/// How this process is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Account, region and partition that ARNs and events are built from.
    pub installation: Installation,
    /// The operator's own namespace: its lease, keys and published certificate stand there.
    pub namespace: String,
    /// The namespaces that hold projects; all when there is none here.
    pub watch_namespaces: Vec<String>,
    /// Name of this process in the lease.
    pub identity: String,
    /// The device listener.
    pub gateway: GatewaySettings,
    /// The portal listener.
    pub portal: PortalSettings,
    /// Where `/livez`, `/readyz` and `/metrics` are served, over plain HTTP.
    pub metrics_listen: SocketAddr,
    /// The authority of the devices' certificates.
    pub authority: AuthoritySettings,
    /// Activation codes.
    pub codes: CodeSettings,
    /// How long a data key of a project is in memory.
    pub data_keys_open_for: SignedDuration,
    /// Outside directories of people.
    pub directory: DirectorySettings,
    /// Letters to people who got a role.
    pub invitations: InvitationSettings,
    /// How many projects there may be; younger ones wait.
    pub max_projects: u32,
    /// What the names of the `ClusterRoles` of people and of the policies that guard them begin with: the chart's full name.
    pub role_prefix: String,
    /// Where events go; at least one of them is required.
    pub events: Sinks,
    /// Where audit records go.
    pub audit: LineSink,
    /// Users that are operators of other installations in the cluster: what they do follows from what people asked for.
    pub other_operators: Vec<String>,
}

impl Settings {
    /// The users that are operators: this one, as the chart names its account, and those of other installations.
    pub fn operators(&self) -> Vec<String> {
        let ours = format!("system:serviceaccount:{}:{}-operator", self.namespace, self.role_prefix);
        std::iter::once(ours).chain(self.other_operators.iter().cloned()).collect()
    }
}

/// The device listener.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The address that devices dial, `https://host:port`; it stands in every code.
    pub url: String,
    /// Names and addresses in its certificate.
    pub names: Vec<String>,
    /// Time between two check-ins of a device, in seconds.
    pub check_in_seconds: u32,
    /// How long a device's certificate is valid. Devices renew it when a third of that is left.
    pub certificate_life: SignedDuration,
}

/// The portal listener.
#[derive(Clone, Debug)]
pub struct PortalSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names and addresses in its own certificate, when none is given.
    pub names: Vec<String>,
    /// Certificate chain and key in PEM, of an authority that people's devices trust.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The audience that tokens must be made for.
    pub audience: String,
}

/// The authority of the devices' certificates.
#[derive(Clone, Copy, Debug)]
pub struct AuthoritySettings {
    /// The generation that is wanted, from 1. It only rises.
    pub generation: u32,
    /// How long the authority before it is trusted after it began to sign.
    pub overlap: SignedDuration,
}

/// Outside directories of people.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// What names of their people and groups have before them in Kubernetes.
    pub prefix: SubjectPrefix,
    /// Region of AWS IAM Identity Center.
    pub region: String,
    /// How long after an answer it is asked for again.
    pub interval: SignedDuration,
}

/// Activation codes.
#[derive(Clone, Copy, Debug)]
pub struct CodeSettings {
    /// How long a code is good. At rest it is rotated when a quarter of that is left.
    pub validity: SignedDuration,
    /// A code that is handed out is good for at least this long; otherwise it is rotated first.
    pub fresh_for: SignedDuration,
}

impl CodeSettings {
    /// How much life a code at rest has left when it is rotated.
    pub fn rotate_at(&self) -> SignedDuration {
        self.validity / 4
    }
}

/// Where events or audit records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineSink {
    /// One JSON document a line on standard output.
    Stdout,
    /// One JSON document a line, appended to a file.
    File(PathBuf),
}

/// Every write to the API server is given up after this long, retries of the client included.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
