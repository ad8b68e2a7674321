//! What the operator asked of the API server, as that has logged it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Result, ensure};
use fleetform_e2e::namespace;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use tokio::time::Instant;

use super::project::{LIMIT, Project};

/// Who the operator is to the API server.
const OPERATOR_USER: &str = "system:serviceaccount:fleetform-system:fleetform-operator";

/// The entries about this project, of everybody.
fn entries(project: &Project) -> Result<Vec<Value>> {
    let mut entries = Vec::new();
    for line in BufReader::new(File::open(project.stage.plane.audit_log())?).lines() {
        let line = line?;
        // Most are of other projects; and the last line may be on its way.
        if !line.contains(&project.namespace) {
            continue;
        }
        let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
        if entry["objectRef"]["namespace"] == project.namespace.as_str() {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The entries of the operator about this project. The log may be some hundred milliseconds behind.
pub(crate) fn of_operator(project: &Project) -> Result<Vec<Value>> {
    Ok(entries(project)?.into_iter().filter(|entry| entry["user"]["username"] == OPERATOR_USER).collect())
}

/// What the operator has written to this project until now, as verb, resource and name.
pub(crate) async fn writes(project: &Project) -> Result<Vec<String>> {
    let marker = namespace::unique("marker");
    project.api::<ConfigMap>().get_opt(&marker).await?;
    wait::until("the audit log to be up to date", LIMIT, async || {
        let is_there = entries(project)?.iter().any(|entry| entry["objectRef"]["name"] == marker.as_str());
        Ok(if is_there { Look::Done(()) } else { Look::NotYet(format!("without {marker}")) })
    })
    .await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reads = ["get", "list", "watch"].map(Value::from);
    let written = of_operator(project)?.into_iter().filter(|entry| !reads.contains(&entry["verb"]));
    Ok(written
        .map(|entry| {
            let object = &entry["objectRef"];
            format!("{} {} {}", text(&entry["verb"]), text(&object["resource"]), text(&object["name"]))
        })
        .collect())
}

/// Waits until nothing more is written to the project while `meanwhile` goes on; what was written by then. `limit` is for all of it.
pub(crate) async fn at_rest(
    project: &Project,
    limit: Duration,
    mut meanwhile: impl AsyncFnMut() -> Result<()>,
) -> Result<Vec<String>> {
    let begun = Instant::now();
    let mut before = writes(project).await?;
    loop {
        meanwhile().await?;
        let now = writes(project).await?;
        if now == before {
            return Ok(now);
        }
        ensure!(begun.elapsed() < limit, "the project does not come to rest: {:?}", now.get(before.len()..));
        before = now;
    }
}
