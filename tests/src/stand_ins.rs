//! What stands for AWS in tests: ministack for KMS, moto's server for the Identity Store. Both are Python programs, installed once into a
//! virtual environment in the user's cache folder, and listen on loopback alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::http;
use crate::process::{Process, ProcessSpec};
use crate::progress::Progress;
use crate::wait::{self, Look};

/// What is installed, with its versions.
const REQUIREMENTS: &str = include_str!("../stand-ins/requirements.txt");

/// How long one may take to listen; it is seconds.
const LIMIT: Duration = Duration::from_mins(1);

/// Credentials that both take. An access key of 12 digits is the account to them.
pub const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", crate::installation::ACCOUNT), ("AWS_SECRET_ACCESS_KEY", "stand-in")];

/// The virtual environment with both of them. Silent unless it has to be made, which is kept.
pub fn environment() -> Result<PathBuf> {
    let version = fleetform_domain::hex(&Sha256::digest(REQUIREMENTS)[..8]);
    let dest = cache::root()?.join("stand-ins").join(version);
    let environment = dest.join("environment");
    // A virtual environment knows where it is, so it is made in place and marked when it is complete.
    cache::once(&dest.join("complete"), |_| {
        let progress = Progress::start("Installing what stands for AWS in tests (from PyPI, once)", 0, "");
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
    /// ministack on this port, with its log in `dir`: KMS.
    pub async fn ministack(port: u16, dir: &Path) -> Result<Self> {
        let bin = tokio::task::spawn_blocking(environment).await.context("install ministack")??.join("bin/ministack");
        let spec = ProcessSpec::new("ministack", bin, dir.join("ministack.log"))
            .guarded()
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("SERVICES", "kms");
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
        let mut process = spec.spawn()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait::until("a stand-in for AWS to listen", LIMIT, async || {
            ensure!(process.is_running(), "{} ended; its log is {}", process.name(), process.log().display());
            Ok(match http::get(address, health).await {
                Ok(_) => Look::Done(()),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        Ok(Self { _process: process, url: format!("http://{address}") })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}
