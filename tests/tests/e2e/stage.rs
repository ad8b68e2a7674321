//! What all tests stand on: one control plane and one installation, started by the first test that needs them.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fleetform_e2e::control_plane::{Options, free_ports};
use fleetform_e2e::stand_ins::{self, MailServer, StandIn};
use fleetform_e2e::{Cluster, ControlPlane, Installation, installation};
use futures::FutureExt;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock};
use tokio::time::timeout;

use super::api_proxy::ApiProxy;
use super::identity_center::IdentityCenter;

/// How long one test may take.
const LIMIT: Duration = Duration::from_mins(5);

/// A control plane with Fleetform on it.
pub(crate) struct Stage {
    // Before the control plane: whoever uses the API server ends first.
    pub(crate) installation: Installation,
    pub(crate) plane: ControlPlane,
    kms_port: u16,
    kms: OnceCell<StandIn>,
    identity_port: u16,
    identity_center: OnceCell<IdentityCenter>,
}

impl Stage {
    async fn set() -> Result<Self> {
        Self::with(|options| options).await
    }

    /// One of a test's own, on which nobody is simulated.
    pub(crate) async fn without_simulator() -> Result<Self> {
        Self::with(|options| installation::Options { simulator: None, ..options }).await
    }

    /// One of a test's own, whose API server has these flags too.
    pub(crate) async fn with_api_server_flags(flags: Vec<String>) -> Result<Self> {
        Self::of(flags, |options| installation::Options { simulator: None, ..options }).await
    }

    /// One of a test's own, which sends letters by this mail server.
    pub(crate) async fn with_mail_server(server: &MailServer, password: &str) -> Result<Self> {
        Self::with(|mut options| {
            let certificate = server.certificate().display().to_string();
            options.operator_env.push(("FLEETFORM_SMTP_URL".to_owned(), server.url(password)));
            options.operator_env.push(("SSL_CERT_FILE".to_owned(), certificate));
            options.operator_args.push("--mail-from=Fleetform <fleet@example.com>".to_owned());
            options.operator_args.push("--app-url=https://app.example.com/".to_owned());
            installation::Options { simulator: None, ..options }
        })
        .await
    }

    /// One of a test's own, whose events go to these sinks too; EventBridge is at this port.
    pub(crate) async fn with_event_sinks(sinks: Vec<Value>, event_bridge: u16) -> Result<Self> {
        Self::with(|mut options| {
            let url = format!("http://127.0.0.1:{event_bridge}");
            options.operator_env.push(("AWS_ENDPOINT_URL_EVENTBRIDGE".to_owned(), url));
            // Nobody is silent in the time that a test takes.
            installation::Options { simulator: None, event_sinks: sinks, check_in_seconds: 600, ..options }
        })
        .await
    }

    /// One of a test's own, whose events go to a receiver at this port too, many in each request.
    pub(crate) async fn with_receiver(port: u16) -> Result<Self> {
        Self::with(|options| receiving(port, options)).await
    }

    /// The same; its operator reaches the API server through the proxy that is given beside it.
    pub(crate) async fn behind_proxy(port: u16) -> Result<(Self, ApiProxy)> {
        let plane = start_plane(Vec::new()).await?;
        let proxy = ApiProxy::open(&plane).await?;
        let api_server = Some(proxy.url());
        let stage = Self::on(plane, |options| installation::Options { api_server, ..receiving(port, options) }).await?;
        Ok((stage, proxy))
    }

    async fn with(change: impl FnOnce(installation::Options) -> installation::Options) -> Result<Self> {
        Self::of(Vec::new(), change).await
    }

    async fn of(
        api_server_flags: Vec<String>,
        change: impl FnOnce(installation::Options) -> installation::Options,
    ) -> Result<Self> {
        Self::on(start_plane(api_server_flags).await?, change).await
    }

    async fn on(
        plane: ControlPlane,
        change: impl FnOnce(installation::Options) -> installation::Options,
    ) -> Result<Self> {
        // Nobody listens there until a test asks for AWS KMS, or for Identity Center.
        let [kms_port, identity_port] = free_ports()?;
        let aws = stand_ins::CREDENTIALS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let endpoints = [("KMS", kms_port), ("IDENTITYSTORE", identity_port)]
            .map(|(service, port)| (format!("AWS_ENDPOINT_URL_{service}"), format!("http://127.0.0.1:{port}")));
        let options = change(installation::Options {
            operator_args: vec!["--data-key-seconds=10".to_owned(), "--directory-seconds=5".to_owned()],
            operator_env: aws.into_iter().chain(endpoints).collect(),
            ..installation::Options::in_dir(plane.dir().join("installation"))
        });
        let installation = Installation::start(Cluster::of(&plane)?, options).await.context("install Fleetform")?;
        let (kms, identity_center) = (OnceCell::new(), OnceCell::new());
        Ok(Self { installation, plane, kms_port, kms, identity_port, identity_center })
    }

    /// What stands for AWS KMS, started when it is asked for first.
    pub(crate) async fn kms(&self) -> Result<&StandIn> {
        self.kms.get_or_try_init(|| StandIn::ministack(self.kms_port, self.plane.dir())).await
    }

    /// What stands for AWS IAM Identity Center, started when it is asked for first.
    pub(crate) async fn identity_center(&self) -> Result<&IdentityCenter> {
        self.identity_center.get_or_try_init(|| IdentityCenter::open(self.identity_port, self.plane.dir())).await
    }

    /// The cluster, as its administrator reaches it.
    pub(crate) fn cluster(&self) -> &Cluster {
        self.installation.cluster()
    }

    /// A client of the administrator.
    pub(crate) fn client(&self) -> kube::Client {
        self.plane.kube_client()
    }

    /// What helps to understand a failure.
    fn logs(&self) -> String {
        let (operator, simulator) = (self.installation.operator_log_end(), self.installation.simulator_log_end());
        format!("{operator}\n{simulator}")
    }
}

async fn start_plane(api_server_flags: Vec<String>) -> Result<ControlPlane> {
    let options = Options { api_server_flags, audit_policy: Some(audit_policy()), ..Options::default() };
    ControlPlane::start(options).await.context("start a control plane")
}

/// Nobody is simulated, nobody is silent in the time that a test takes, and events go to a receiver at this port too.
fn receiving(port: u16, options: installation::Options) -> installation::Options {
    let url = format!("http://127.0.0.1:{port}/");
    let sink = json!({ "name": "receiver", "cloudEvents": { "url": url, "mode": "Batched" } });
    installation::Options { simulator: None, event_sinks: vec![sink], check_in_seconds: 600, ..options }
}

/// What the page on the audit trail recommends; and everything else without bodies, as tests look at what the operator does.
fn audit_policy() -> String {
    let recommended = include_str!("../../../examples/audit/policy.yaml");
    let operator = "rules:\n  - level: Metadata\n    userGroups: [\"system:serviceaccounts:fleetform-system\"]\n";
    format!("{}  - level: Metadata\n", recommended.replace("rules:\n", operator))
}

/// Whether a test bears others beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// It does.
    Welcome,
    /// It breaks what others stand on.
    Alone,
}

type Play = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Where tests are performed.
pub(crate) struct Theatre {
    runtime: Runtime,
    stage: OnceCell<Result<Arc<Stage>, String>>,
    peace: RwLock<()>,
}

impl Theatre {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        Self { runtime, stage: OnceCell::new(), peace: RwLock::new(()) }
    }

    /// Performs one test, on a stage that is set by the first.
    pub(crate) fn perform(&self, company: Company, play: impl FnOnce(Arc<Stage>) -> Play) -> Result<(), Failed> {
        self.runtime.block_on(async {
            let (_shared, _alone) = match company {
                Company::Welcome => (Some(self.peace.read().await), None),
                Company::Alone => (None, Some(self.peace.write().await)),
            };
            let stage = self.stage.get_or_init(async || Stage::set().await.map(Arc::new).map_err(|e| format!("{e:#}")));
            let stage = stage.await.clone()?;
            // A panic, too, is to be told with the logs.
            let play = AssertUnwindSafe(timeout(LIMIT, play(Arc::clone(&stage)))).catch_unwind();
            let outcome = match play.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(anyhow!("not done after {} minutes", LIMIT.as_secs() / 60)),
                Err(panic) => Err(anyhow!("panicked: {}", message(&*panic))),
            };
            outcome.map_err(|error| format!("{error:?}\n\n{}", stage.logs()).into())
        })
    }

    /// Ends everything.
    pub(crate) fn close(self: Arc<Self>) {
        if let Ok(theatre) = Arc::try_unwrap(self) {
            drop(theatre.stage);
            theatre.runtime.shutdown_background();
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no text)")
}
