//! Building Go programs, with visible progress.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::progress::Progress;
use crate::version::Version;

/// Lines of the compiler's output that an error carries.
const ERROR_LINES: usize = 40;

/// What is said when Go cannot do the work; `needed` is the version.
fn advice(needed: Version) -> String {
    format!(
        "install Go {}.{} or newer and put `go` on PATH, or set KUBEBUILDER_ASSETS to a folder that has etcd, kube-apiserver, \
         kube-controller-manager and kubectl",
        needed.major, needed.minor
    )
}

/// One `go build`.
pub(crate) struct Build<'a> {
    /// What is built, as a person calls it.
    pub(crate) title: &'a str,
    /// The module's folder.
    pub(crate) module: &'a Path,
    /// The package, as `go build` takes it.
    pub(crate) package: &'a str,
    /// For the linker: what the program shall say of itself.
    pub(crate) ldflags: &'a str,
}

impl Build<'_> {
    /// Builds into the file `output`.
    pub(crate) fn run(&self, output: &Path) -> Result<()> {
        require(self.module)?;
        let stale = self.count_stale()?;
        let mut command = self.go(["build", "-v"]);
        command.arg("-o").arg(output).arg(self.package);
        with_progress(command, self.title, stale)
    }

    /// Packages that are not in Go's own cache yet.
    fn count_stale(&self) -> Result<u64> {
        // Modules are downloaded here, and the list needs most of them; that can take a minute of silence.
        eprintln!("{}: looking at what there is to do (this happens once)", self.title);
        let mut command = self.go(["list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"]);
        let output = command.arg(self.package).stderr(Stdio::piped()).output().context("run go list")?;
        if !output.status.success() {
            bail!(
                "`go list` cannot resolve the modules of {}; if this machine has no way to a Go module proxy, set GOPROXY: {}",
                self.title,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let lines = String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()).count();
        Ok(u64::try_from(lines).unwrap_or(u64::MAX))
    }

    fn go<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = go(args);
        // The same flags for `list`, or it would call everything stale.
        command.args(["-trimpath", "-ldflags", self.ldflags]).current_dir(self.module);
        command
    }
}

/// `go install package@version` into the folder `bin`.
pub(crate) fn install(title: &str, package: &str, ldflags: &str, bin: &Path) -> Result<()> {
    require(bin)?;
    let mut command = go(["install", "-v", "-trimpath", "-ldflags", ldflags, package]);
    command.env("GOBIN", bin).current_dir(bin);
    with_progress(command, title, 0)
}

/// That Go is here and new enough for the module in `dir`: an older one that may fetch a newer one itself counts.
fn require(dir: &Path) -> Result<()> {
    let needed = needed(dir)?;
    let output = match go(["env", "GOVERSION"]).current_dir(dir).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("Go is not installed: {}", advice(needed)),
        other => other.context("run go env")?,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match Version::parse(&text) {
        Some(found) if output.status.success() && found >= needed => Ok(()),
        Some(found) => Err(anyhow!("Go {found} is too old: {}", advice(needed))),
        None => Err(anyhow!(
            "Go does not work here: {}; {}",
            String::from_utf8_lossy(&output.stderr).trim(),
            advice(needed)
        )),
    }
}

/// The version that the module in `dir` asks for, or the oldest that the Go programs used here build with.
fn needed(dir: &Path) -> Result<Version> {
    let file = dir.join("go.mod");
    if !file.exists() {
        return Ok(Version::new(1, 25, 0));
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    go_directive(&text).ok_or_else(|| anyhow!("{} has no `go` line", file.display()))
}

/// The version in the `go` line of a go.mod.
fn go_directive(text: &str) -> Option<Version> {
    text.lines().find_map(|line| line.strip_prefix("go ")).and_then(Version::parse)
}

/// The version in the `require` line of a module, as go.mod writes it (`v1.35.4`).
pub(crate) fn required<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().strip_prefix("require ").unwrap_or(line.trim()).split_whitespace();
        (words.next()? == module).then(|| words.next()).flatten().filter(|word| word.starts_with('v'))
    })
}

fn go<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Command {
    let mut command = Command::new("go");
    // No C compiler is needed, a workspace around this checkout does not matter, and the caller's flags do not change the key
    // under which the result is cached.
    command.args(args).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "-buildvcs=false");
    command.stdin(Stdio::null());
    command
}

/// Runs a command that prints a line per package on standard error.
fn with_progress(mut command: Command, title: &str, total: u64) -> Result<()> {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().context("start go")?;
    let mut progress = Progress::start(title, total, "packages");
    let mut last = VecDeque::new();
    let lines = child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in lines.map_while(Result::ok) {
        if is_package(&line) {
            progress.step(&line);
            continue;
        }
        if last.len() == ERROR_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait().context("wait for go")?;
    if status.success() {
        progress.finish();
        return Ok(());
    }
    progress.clear();
    bail!("{title} failed ({status}); the last lines were:\n{}", Vec::from(last).join("\n"))
}

/// Whether `go build -v` names a package here, rather than saying something.
fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.starts_with('#') && !line.contains([' ', ':', '\t'])
}

#[cfg(test)]
mod tests {
    use super::{go_directive, is_package, required};
    use crate::version::Version;

    const GO_MOD: &str = "module x\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/api v0.35.4\n\tk8s.io/kubernetes v1.35.4\n)\n\n\
                          replace (\n\tk8s.io/cri-api => k8s.io/cri-api v0.35.4\n)\n";

    #[test]
    fn versions_come_from_go_mod() {
        assert_eq!(go_directive(GO_MOD), Some(Version::new(1, 26, 0)));
        assert_eq!(required(GO_MOD, "k8s.io/kubernetes"), Some("v1.35.4"));
        assert_eq!(required("require k8s.io/kubernetes v1.36.0\n", "k8s.io/kubernetes"), Some("v1.36.0"));
        assert_eq!(required(GO_MOD, "k8s.io/cri-api"), None, "a replacement is not a requirement");
    }

    #[test]
    fn packages_are_told_from_messages() {
        assert!(is_package("k8s.io/api/core/v1"));
        assert!(is_package("internal/abi"));
        for message in ["# fleetform.dev/control-plane", "go: downloading x v1.0.0", "./main.go:4:2: undefined: x", ""]
        {
            assert!(!is_package(message), "{message:?}");
        }
    }
}
