//! The programs of the control plane: those in `KUBEBUILDER_ASSETS`, else our own build of them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::go::{self, Build};
use crate::process::ProcessSpec;

/// The variable by which the ecosystem's test tools find these programs.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Ties one of our own programs to its standard input (`tests/control-plane/main.go`).
const EXIT_WITH_STDIN: &str = "CONTROL_PLANE_EXIT_WITH_STDIN";

/// Where one component's program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program of its own, as released by Kubernetes.
    Alone(PathBuf),
    /// Our multi-call program, which takes the component's name first and ends with its standard input.
    Ours(PathBuf, &'static str),
}

impl Program {
    /// How to run it, with its output in `log`.
    pub fn spec(&self, name: &str, log: impl Into<PathBuf>) -> ProcessSpec {
        match self {
            Self::Alone(path) => ProcessSpec::new(name, path, log),
            Self::Ours(path, component) => {
                ProcessSpec::new(name, path, log).arg(component).env(EXIT_WITH_STDIN, "1").tied_by_stdin()
            }
        }
    }
}

/// The programs of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// Storage.
    pub etcd: Program,
    /// The API server.
    pub kube_apiserver: Program,
    /// The controllers.
    pub kube_controller_manager: Program,
}

/// Finds the programs, building what is missing: minutes the first time, with progress on standard error, and nothing but a
/// look at the cache after that.
pub fn locate() -> Result<Assets> {
    locate_in(env::var_os(ASSETS_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from).as_deref(), build)
}

fn locate_in(assets: Option<&Path>, build: impl FnOnce() -> Result<PathBuf>) -> Result<Assets> {
    let Some(dir) = assets else {
        let path = build()?;
        return Ok(Assets {
            etcd: Program::Ours(path.clone(), "etcd"),
            kube_apiserver: Program::Ours(path.clone(), "kube-apiserver"),
            kube_controller_manager: Program::Ours(path, "kube-controller-manager"),
        });
    };
    let required = |name: &str| {
        let path = dir.join(name);
        if !path.is_file() {
            bail!(
                "{ASSETS_VARIABLE} is {}, where there is no {name}: put it there, or unset the variable to have it built",
                dir.display()
            );
        }
        Ok(Program::Alone(path))
    };
    let manager = dir.join("kube-controller-manager");
    Ok(Assets {
        etcd: required("etcd")?,
        kube_apiserver: required("kube-apiserver")?,
        kube_controller_manager: if manager.is_file() {
            Program::Alone(manager)
        } else {
            Program::Ours(build()?, "kube-controller-manager")
        },
    })
}

/// The Go module beside this package.
pub(crate) fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("control-plane")
}

/// The version of Kubernetes that our own programs are, as the module requires it (`v1.35.4`).
pub(crate) fn kubernetes_version() -> Result<String> {
    let file = module().join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let version = go::required(&text, "k8s.io/kubernetes");
    version.map(str::to_owned).ok_or_else(|| anyhow!("{} does not require k8s.io/kubernetes", file.display()))
}

fn build() -> Result<PathBuf> {
    GoProgram::new("control-plane", ".", &module())?.build()
}

/// A program of our Go module, built once for each state of its sources.
pub(crate) struct GoProgram {
    name: &'static str,
    package: &'static str,
    version: String,
    dest: PathBuf,
}

impl GoProgram {
    /// The program of `package`, whose own files are in `sources`.
    pub(crate) fn new(name: &'static str, package: &'static str, sources: &Path) -> Result<Self> {
        let version = kubernetes_version()?;
        let key = key(&version, &ldflags(&version), &[&module(), sources])?;
        Ok(Self { name, package, version, dest: cache::root()?.join(name).join(key) })
    }

    /// Where it is, once built.
    pub(crate) fn path(&self) -> PathBuf {
        self.dest.join(self.name)
    }

    /// Builds it unless it is there.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        cache::once(&self.dest, |staging| {
            let title = format!("Building {} (Kubernetes {})", self.name, self.version);
            let ldflags = ldflags(&self.version);
            Build { title: &title, module: &module(), package: self.package, ldflags: &ldflags }
                .run(&staging.join(self.name))
        })?;
        Ok(self.path())
    }
}

/// What the linker puts in: Kubernetes tells its version by variables that its own release build sets.
fn ldflags(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
}

/// Names a build: the version for people, a hash of all that goes into it for correctness. Of each folder only what the
/// compiler reads from it counts (`.go`, `go.mod`, `go.sum`), by name and content and in a fixed order.
fn key(version: &str, ldflags: &str, folders: &[&Path]) -> Result<String> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_go = path.extension().is_some_and(|extension| extension == "go");
            if path.is_file() && (is_go || name == "go.mod" || name == "go.sum") {
                files.push((name, path));
            }
        }
    }
    files.sort();
    files.dedup();
    let mut hash = Sha256::new();
    hash.update(ldflags);
    for (name, path) in files {
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        // Lengths keep the end of one file apart from the start of the next.
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(&name);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(&content);
    }
    let digest = hash.finalize();
    let short = u64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]));
    Ok(format!("{version}-{}-{}-{short:016x}", env::consts::OS, env::consts::ARCH))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{Program, key, kubernetes_version, ldflags, locate_in};
    use crate::version::Version;

    #[test]
    fn the_key_follows_the_sources_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let now = || key("v1.2.3", "-s", &[dir]).unwrap();
        fs::write(dir.join("go.mod"), "module x").unwrap();
        fs::write(dir.join("main.go"), "package main").unwrap();
        let first = now();
        assert!(first.starts_with("v1.2.3-"), "{first}");
        fs::write(dir.join("README.md"), "not compiled").unwrap();
        assert_eq!(now(), first);
        fs::write(dir.join("main.go"), "package  main").unwrap();
        assert_ne!(now(), first);
        fs::write(dir.join("main.go"), "package main").unwrap();
        assert_eq!(now(), first);
        fs::rename(dir.join("main.go"), dir.join("other.go")).unwrap();
        assert_ne!(now(), first);
        assert_ne!(key("v1.2.3", "-w", &[dir]).unwrap(), key("v1.2.3", "-s", &[dir]).unwrap());
    }

    #[test]
    fn the_module_says_which_kubernetes_it_is() {
        let version = kubernetes_version().unwrap();
        assert!(Version::parse(&version).unwrap() >= Version::new(1, 35, 4));
        assert!(ldflags("v1.35.4").ends_with("version.gitMinor=35"));
    }

    #[test]
    fn a_folder_of_assets_comes_first_and_only_what_it_may_lack_is_built() {
        let temp = tempfile::tempdir().unwrap();
        let never = || -> anyhow::Result<PathBuf> { panic!("nothing is to be built") };
        let error = locate_in(Some(temp.path()), never).unwrap_err().to_string();
        assert!(error.contains("no etcd") && error.contains("unset the variable"), "{error}");
        for name in ["etcd", "kube-apiserver"] {
            fs::write(temp.path().join(name), "").unwrap();
        }
        let built = || Ok(PathBuf::from("/built"));
        let assets = locate_in(Some(temp.path()), built).unwrap();
        assert_eq!(assets.etcd, Program::Alone(temp.path().join("etcd")));
        assert_eq!(assets.kube_controller_manager, Program::Ours("/built".into(), "kube-controller-manager"));
        let whole = temp.path().join("kube-controller-manager");
        fs::write(&whole, "").unwrap();
        assert_eq!(locate_in(Some(temp.path()), never).unwrap().kube_controller_manager, Program::Alone(whole));
    }

    #[test]
    fn without_assets_all_three_are_one_program() {
        let assets = locate_in(None, || Ok(PathBuf::from("/built"))).unwrap();
        assert_eq!(assets.kube_apiserver, Program::Ours("/built".into(), "kube-apiserver"));
    }
}
