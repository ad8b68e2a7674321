//! The API server's audit log, read as it grows.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleetform_e2e::installation::{NAMESPACE, OPERATOR_ACCOUNT, SIMULATOR_ACCOUNT};
use http::Request as HttpRequest;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use super::audit::{Event, Request};

/// How long the log may lag behind; it is a fifth of a second, and more only while the machine is busy.
const LIMIT: Duration = Duration::from_mins(1);

/// Between two looks for new lines.
const INTERVAL: Duration = Duration::from_millis(100);

/// What the operator and the simulator asked of the API server, so far.
pub(super) struct AuditLog {
    file: BufReader<File>,
    /// The start of a line whose end is not written yet.
    line: String,
    operator: String,
    simulator: String,
    markers: usize,
    /// Requests of the operator.
    pub(super) requests: Vec<Request>,
    /// Requests of the simulator. It should know only the portal.
    pub(super) simulator_requests: u64,
}

impl AuditLog {
    /// Opens the log, and reads none of it yet.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open the audit log {}", path.display()))?;
        let account = |name: &str| format!("system:serviceaccount:{NAMESPACE}:{name}");
        Ok(Self {
            file: BufReader::new(file),
            line: String::new(),
            operator: account(OPERATOR_ACCOUNT),
            simulator: account(SIMULATOR_ACCOUNT),
            markers: 0,
            requests: Vec::new(),
            simulator_requests: 0,
        })
    }

    /// Reads on until all that was answered before this call has been read: the log comes in batches, in order, so once a
    /// request that is made now is found in it, every earlier one has been too.
    pub(super) async fn catch_up(&mut self, admin: &Client) -> Result<()> {
        self.markers += 1;
        let marker = format!("benchmark-marker-{}", self.markers);
        let api: Api<ConfigMap> = Api::default_namespaced(admin.clone());
        api.get_opt(&marker).await.context("make a request to look for in the audit log")?;
        let end = Instant::now() + LIMIT;
        while !self.read_on(&marker)? {
            if Instant::now() > end {
                bail!("the audit log is more than {} s behind: too much else runs on this machine", LIMIT.as_secs());
            }
            sleep(INTERVAL).await;
        }
        Ok(())
    }

    fn read_on(&mut self, marker: &str) -> Result<bool> {
        let mut found = false;
        while self.file.read_line(&mut self.line).context("read the audit log")? > 0 && self.line.ends_with('\n') {
            let event = Event::read(&self.line).with_context(|| format!("the audit log holds `{}`", self.line))?;
            found |= event.object_name() == Some(marker);
            if event.user() == self.operator {
                self.requests.extend(event.request());
            } else if event.user() == self.simulator {
                self.simulator_requests += u64::from(event.request().is_some());
            }
            self.line.clear();
        }
        Ok(found)
    }
}

/// Fails when the API server had to leave requests out of its audit log: then too few would be counted.
pub(super) async fn nothing_was_lost(admin: &Client) -> Result<()> {
    let question = HttpRequest::get("/metrics").body(Vec::new()).context("ask for metrics")?;
    let metrics = admin.request_text(question).await.context("read the API server's metrics")?;
    let lost = lost_events(&metrics);
    if !lost.is_empty() {
        bail!("the API server did not write down every request, so they cannot be counted: {}", lost.join(", "));
    }
    Ok(())
}

fn lost_events(metrics: &str) -> Vec<&str> {
    let errors = metrics.lines().filter(|line| line.starts_with("apiserver_audit_error_total"));
    errors.filter(|line| !line.ends_with(" 0")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::{AuditLog, lost_events};

    fn line(user: &str, name: &str) -> String {
        format!(
            r#"{{"stage":"ResponseComplete","verb":"patch","user":{{"username":"{user}"}},"objectRef":{{"resource":"secrets","name":"{name}"}},"responseStatus":{{"code":200}},"stageTimestamp":"2026-01-01T00:00:00.000000Z"}}"#
        )
    }

    #[test]
    fn half_a_line_waits_for_its_other_half() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("audit.log");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut log = AuditLog::open(&path).unwrap();
        let operator = line("system:serviceaccount:fleetform-system:fleetform-operator", "a");
        let (start, end) = operator.split_at(50);
        write!(file, "{}\n{start}", line("system:serviceaccount:fleetform-system:fleetform-simulator", "b")).unwrap();
        assert!(!log.read_on("marker").unwrap());
        assert_eq!((log.requests.len(), log.simulator_requests), (0, 1));
        write!(file, "{end}\n{}\n", line("admin", "marker")).unwrap();
        assert!(log.read_on("marker").unwrap());
        assert_eq!((log.requests.len(), log.simulator_requests), (1, 1));
    }

    #[test]
    fn losses_are_seen() {
        let metrics = "apiserver_audit_event_total 9\napiserver_audit_error_total{plugin=\"log\"} 0\n";
        assert!(lost_events(metrics).is_empty());
        assert_eq!(lost_events("apiserver_audit_error_total{plugin=\"buffered\"} 3\n").len(), 1);
    }
}
