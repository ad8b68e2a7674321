//! The chart as helm renders it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use fleetform_e2e::tools;
use serde_json::Value;

/// The release that is rendered and installed.
pub(crate) const RELEASE: &str = "fleetform";
/// The namespace it is in.
pub(crate) const NAMESPACE: &str = "fleetform-system";

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    repository().join("charts/fleetform")
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs helm.
pub(crate) fn helm<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Output> {
    Command::new(tools::helm()?).args(arguments).output().context("run helm")
}

/// What `helm template` prints with these values (`name=value`).
pub(crate) fn template(values: &[&str]) -> Result<String> {
    let mut arguments = vec!["template".into(), RELEASE.into(), chart().into_os_string()];
    arguments.extend(["--namespace", NAMESPACE].map(Into::into));
    for value in values {
        arguments.extend(["--set", value].map(Into::into));
    }
    let output = helm(arguments)?;
    ensure!(output.status.success(), "helm template {values:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).context("helm prints text")
}

/// The objects in YAML of one or more documents.
pub(crate) fn objects(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).context("read YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// A text in an object.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
