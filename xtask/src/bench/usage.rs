//! Pure, but for reading `/proc`: what is used, of processors, memory and storage.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

/// What `/proc` counts processor time in: hundredths of a second, on every architecture that Rust compiles for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time by process, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Cpu(pub(super) BTreeMap<&'static str, f64>);

impl Cpu {
    /// What these have used so far.
    pub(super) fn of(processes: &[(&'static str, u32)]) -> Self {
        let used = processes.iter().filter_map(|(name, pid)| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((*name, cpu_seconds(&stat)?))
        });
        Self(used.collect())
    }

    /// All of them together, in seconds.
    pub(super) fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// What was used since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let used = |name| before.0.get(name).copied().unwrap_or_default();
        Self(self.0.iter().map(|(name, seconds)| (*name, seconds - used(name))).collect())
    }
}

/// Sizes as JSON, in bytes, of what one device leads to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sizes {
    /// The Secret with the activation code. 0: none was seen.
    pub(super) secret_bytes: usize,
    /// The device instance in the end.
    pub(super) device_bytes: usize,
}

/// Resident memory, in KiB, and the connections that share in it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Memory {
    pub(super) at_zero_kib: u64,
    /// After the steady state.
    pub(super) at_rest_kib: u64,
    /// The most there ever was.
    pub(super) peak_kib: u64,
    pub(super) simulator_peak_kib: u64,
    /// Most connections of devices that were seen open at once.
    pub(super) most_connections: u64,
    pub(super) connections_at_rest: u64,
}

/// Length of an object as JSON.
pub(super) fn size_of<T: serde::Serialize>(object: &T) -> Result<usize> {
    Ok(serde_json::to_vec(object).context("write an object as JSON")?.len())
}

/// Time in user and kernel mode out of `/proc/<pid>/stat`. The name of the program, in parentheses, can hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_PER_SECOND)
}

/// The value of the metric of this name and these labels.
pub(super) fn metric(metrics: &str, name_and_labels: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name_and_labels)?.trim().parse().ok())
}

/// The sum of the metrics whose lines begin so: of one name, or also of some labels. 0 where there are none.
pub(super) fn sum(metrics: &str, beginning: &str) -> Option<u64> {
    let lines = metrics.lines().filter(|line| line.starts_with(beginning));
    lines.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::{Cpu, cpu_seconds, metric, sum};

    #[test]
    fn processor_time_is_read_after_the_name() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 7 7 20 0 4 0 100 1000 200";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("12 (a) S 1"), None);
    }

    #[test]
    fn what_was_used_is_a_difference() {
        let before = Cpu([("operator", 1.5)].into());
        let after = Cpu([("operator", 4.0), ("simulator", 1.0)].into());
        let used = after.since(&before);
        assert_eq!(used, Cpu([("operator", 2.5), ("simulator", 1.0)].into()));
        assert!((used.total() - 3.5).abs() < 1e-9);
    }

    #[test]
    fn a_metric_is_found_by_name_and_labels() {
        let text = "# TYPE c gauge\nc{listener=\"portal\"} 1\nc{listener=\"gateway\"} 12\n";
        assert_eq!(metric(text, "c{listener=\"gateway\"}"), Some(12));
        assert_eq!(metric(text, "d"), None);
    }

    #[test]
    fn metrics_of_several_labels_are_added() {
        let text = "c{sink=\"bus\",type=\"A b\"} 1\nc{sink=\"bus\",type=\"C\"} 12\nc{sink=\"file\",type=\"C\"} 5\n";
        assert_eq!(sum(text, "c{sink=\"bus\""), Some(13));
        assert_eq!((sum(text, "c{"), sum(text, "d{")), (Some(18), Some(0)));
        assert_eq!(sum("c{} x", "c{"), None);
    }
}
