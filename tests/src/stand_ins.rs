//! What stands for services of others in tests: ministack for AWS KMS and EventBridge, moto's server for the Identity Store, aiosmtpd for a mail server.
//! The command line of AWS is with them. They are Python programs, installed once into a virtual environment in the user's cache folder, and listen on loopback alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::cache;
use crate::control_plane::write_private;
use crate::http;
use crate::process::{Process, ProcessSpec};
use crate::progress::Progress;
use crate::wait::{self, Look};

/// What is installed, with its versions.
const REQUIREMENTS: &str = include_str!("../stand-ins/requirements.txt");

/// The mail server.
const MAIL: &str = include_str!("../stand-ins/mail.py");

/// How long one may take to listen; it is seconds.
const LIMIT: Duration = Duration::from_mins(1);

/// Credentials that those for AWS take. An access key of 12 digits is the account to them.
pub const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", crate::installation::ACCOUNT), ("AWS_SECRET_ACCESS_KEY", "stand-in")];

/// The virtual environment with all of them. Silent unless it has to be made, which is kept.
pub fn environment() -> Result<PathBuf> {
    let version = fleetform_domain::hex(&Sha256::digest(REQUIREMENTS)[..8]);
    let dest = cache::root()?.join("stand-ins").join(version);
    let environment = dest.join("environment");
    // A virtual environment knows where it is, so it is made in place and marked when it is complete.
    cache::once(&dest.join("complete"), |_| {
        let progress =
            Progress::start("Installing what stands for AWS and a mail server in tests (from PyPI, once)", 0, "");
        let outcome = install(&environment);
        match outcome {
            Ok(()) => progress.finish(),
            Err(_) => progress.clear(),
        }
        outcome
    })?;
    Ok(environment)
}

fn install(dest: &Path) -> Result<()> {
    let requirements = dest.join("requirements.txt");
    if run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dest)).is_err() {
        // Debian's own Python comes without what makes environments.
        run(Command::new("apt-get").args(["install", "--yes", "python3-venv"])).context(
            "there is no Python 3.10 or newer that makes virtual environments: install python3 and python3-venv",
        )?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dest))?;
    }
    std::fs::write(&requirements, REQUIREMENTS).context("write the list of what is installed")?;
    let pip = Command::new(dest.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements)
        .stdin(Stdio::null())
        .output()
        .context("run pip")?;
    if !pip.status.success() {
        bail!("pip install: {}", String::from_utf8_lossy(&pip.stderr).trim());
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// One that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct StandIn {
    _process: Process,
    url: String,
}

impl StandIn {
    /// ministack on this port, with its log in `dir`: KMS, EventBridge, SQS and SNS.
    pub async fn ministack(port: u16, dir: &Path) -> Result<Self> {
        let bin = tokio::task::spawn_blocking(environment).await.context("install ministack")??.join("bin/ministack");
        let spec = ProcessSpec::new("ministack", bin, dir.join("ministack.log"))
            .guarded()
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("SERVICES", "kms,events,sqs,sns");
        Self::start(&spec, port, "/_ministack/health").await
    }

    /// moto's server on this port, with its log in `dir`: the Identity Store.
    pub async fn moto(port: u16, dir: &Path) -> Result<Self> {
        let bin = tokio::task::spawn_blocking(environment).await.context("install moto")??.join("bin/moto_server");
        let spec = ProcessSpec::new("moto", bin, dir.join("moto.log"))
            .guarded()
            .arg("--host=127.0.0.1")
            .arg(format!("--port={port}"));
        Self::start(&spec, port, "/moto-api/data.json").await
    }

    async fn start(spec: &ProcessSpec, port: u16, health: &str) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let process = until_listens(spec, async || http::get(address, health).await.map(drop)).await?;
        Ok(Self { _process: process, url: format!("http://{address}") })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Starts one, and waits until it answers.
async fn until_listens(spec: &ProcessSpec, answers: impl AsyncFn() -> Result<()>) -> Result<Process> {
    let mut process = spec.spawn()?;
    wait::until("a stand-in to listen", LIMIT, async || {
        ensure!(process.is_running(), "{} ended; its log is {}", process.name(), process.log().display());
        Ok(match answers().await {
            Ok(()) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    Ok(process)
}

/// A mail server to be: TLS with a certificate of its own, and a mailbox for everybody but `nobody`.
#[derive(Clone, Debug)]
pub struct MailServer {
    port: u16,
    dir: PathBuf,
}

impl MailServer {
    /// User name to sign in with.
    pub const USER: &str = "fleet";

    /// On this port, with its files in `dir`, which is made.
    pub fn new(port: u16, dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let made = rcgen::generate_simple_self_signed(vec![Ipv4Addr::LOCALHOST.to_string()])?;
        let this = Self { port, dir };
        std::fs::write(this.certificate(), made.cert.pem())?;
        write_private(&this.key(), &made.signing_key.serialize_pem())?;
        Ok(this)
    }

    /// Its certificate in PEM, which vouches for itself.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    fn maildir(&self) -> PathBuf {
        self.dir.join("letters")
    }

    /// How it is reached with this password.
    pub fn url(&self, password: &str) -> String {
        format!("smtps://{}:{password}@127.0.0.1:{}", Self::USER, self.port)
    }

    /// Starts it. It takes letters with this password, until what is returned is dropped.
    pub async fn start(&self, password: &str) -> Result<Process> {
        let python = tokio::task::spawn_blocking(environment).await.context("install aiosmtpd")??.join("bin/python");
        let program = self.dir.join("mail.py");
        std::fs::write(&program, MAIL)?;
        let spec = ProcessSpec::new("mail server", python, self.dir.join("mail.log"))
            .guarded()
            .env("MAIL_PASSWORD", password)
            .arg(program)
            .arg(format!("--port={}", self.port))
            .arg(format!("--certificate={}", self.certificate().display()))
            .arg(format!("--key={}", self.key().display()))
            .arg(format!("--user={}", Self::USER))
            .arg(format!("--maildir={}", self.maildir().display()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        until_listens(&spec, async || Ok(TcpStream::connect(address).await.map(drop)?)).await
    }

    /// All letters that it took.
    pub fn letters(&self) -> Result<Vec<String>> {
        let dir = self.maildir().join("new");
        let mut letters = Vec::new();
        for entry in std::fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            letters.push(std::fs::read_to_string(entry?.path())?);
        }
        Ok(letters)
    }
}
