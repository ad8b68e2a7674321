//! Pure: the figures.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Settings;
use super::audit::{Counts, Kind, count};
use super::fleet::Fleet;
use super::profile::Profile;
use super::raw::Raw;
use super::stages::Latency;
use super::usage::{Cpu, Memory, Sizes};

/// Writes of the operator for each device, until its configuration is confirmed.
pub(super) const WRITES_TARGET: f64 = 5.3;
/// Writes of the operator when nothing happens.
pub(super) const STEADY_TARGET: u64 = 0;
/// How much longer than its bare writes a fleet may take.
pub(super) const RATIO_TARGET: f64 = 1.3;
/// Memory of the operator for each device, in KiB.
pub(super) const MEMORY_TARGET: f64 = 15.0;

/// How far a stored object of the bare client may be from one of the operator, in size, before it is said.
const SIZE_TOLERANCE: f64 = 0.1;

/// Writes that the bare client makes for each device: one as the user, five as the operator.
pub(super) const RAW_WRITES: f64 = 6.0;

/// Everything that was measured. Written as JSON with these names.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) devices: usize,
    pub(super) sites: usize,
    pub(super) concurrency: usize,
    pub(super) optimised: bool,
    pub(super) raw_seconds: f64,
    pub(super) convergence_seconds: f64,
    pub(super) ratio: f64,
    pub(super) operator_writes_per_device: f64,
    /// By verb and resource.
    pub(super) operator_writes: Counts,
    pub(super) lease_renewals: u64,
    pub(super) reviews: Counts,
    /// 4xx.
    pub(super) refused_writes: Counts,
    /// Neither stored nor refused.
    pub(super) failed_writes: Counts,
    pub(super) operator_reads: Counts,
    pub(super) simulator_requests: u64,
    pub(super) steady_seconds: u64,
    pub(super) steady_state_writes: u64,
    pub(super) steady_state_writes_by_resource: Counts,
    pub(super) operator_kib_per_device: f64,
    pub(super) memory: Memory,
    pub(super) ready_p50_ms: u64,
    pub(super) ready_p99_ms: u64,
    pub(super) active_p50_ms: u64,
    pub(super) active_p99_ms: u64,
    pub(super) confirmed_p50_ms: u64,
    pub(super) confirmed_p99_ms: u64,
    /// Of all processes together, b/a: what the ratio would be on a machine that does nothing else and is full in both halves.
    pub(super) cpu_ratio: f64,
    /// Of each process in each half.
    pub(super) cpu_seconds: BTreeMap<&'static str, Cpu>,
    pub(super) raw_sizes: Sizes,
    pub(super) fleet_sizes: Sizes,
}

impl Report {
    pub(super) fn new(settings: &Settings, raw: &Raw, fleet: Fleet) -> Self {
        let devices = settings.devices();
        let (before, during) = fleet.steady.divide(&fleet.audit.requests);
        let counted = |kind| count(before.iter().copied(), kind);
        let operator_writes = counted(Kind::Write);
        let steady = count(during.iter().copied(), Kind::Write);
        let memory = fleet.memory;
        let grown = signed(memory.peak_kib) - signed(memory.at_zero_kib);
        let (raw_seconds, convergence_seconds) = (raw.wall.as_secs_f64(), fleet.wall.as_secs_f64());
        let Latency { p50_ms: ready_p50_ms, p99_ms: ready_p99_ms } = fleet.ready;
        let Latency { p50_ms: active_p50_ms, p99_ms: active_p99_ms } = fleet.active;
        let Latency { p50_ms: confirmed_p50_ms, p99_ms: confirmed_p99_ms } = fleet.confirmed;
        Self {
            devices,
            sites: settings.sites(),
            concurrency: settings.concurrency.get(),
            optimised: Profile::own() == Profile::Release,
            raw_seconds,
            convergence_seconds,
            ratio: convergence_seconds / raw_seconds,
            operator_writes_per_device: per(total(&operator_writes), devices),
            operator_writes,
            lease_renewals: total(&counted(Kind::Lease)),
            reviews: counted(Kind::Review),
            refused_writes: counted(Kind::Refused),
            failed_writes: counted(Kind::Failed),
            operator_reads: counted(Kind::Read),
            simulator_requests: fleet.audit.simulator_requests,
            steady_seconds: settings.steady_seconds,
            steady_state_writes: total(&steady),
            steady_state_writes_by_resource: steady,
            operator_kib_per_device: grown / float(devices),
            memory,
            ready_p50_ms,
            ready_p99_ms,
            active_p50_ms,
            active_p99_ms,
            confirmed_p50_ms,
            confirmed_p99_ms,
            cpu_ratio: fleet.cpu.total() / raw.cpu.total(),
            cpu_seconds: [("raw", raw.cpu.clone()), ("convergence", fleet.cpu)].into(),
            raw_sizes: raw.sizes,
            fleet_sizes: fleet.sizes,
        }
    }

    /// As a JSON document.
    pub(super) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("figures are plain data");
        text.push('\n');
        text
    }

    /// What makes the comparison unfair, in words.
    pub(super) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if !self.optimised {
            doubts.push("The programs were not optimised: times, ratio and memory mean nothing.".to_owned());
        }
        for (what, raw, fleet) in [
            ("Secret", self.raw_sizes.secret_bytes, self.fleet_sizes.secret_bytes),
            ("DeviceInstance", self.raw_sizes.device_bytes, self.fleet_sizes.device_bytes),
        ] {
            if fleet == 0 {
                doubts.push(format!("No {what} of the operator was seen to compare the bare client's with."));
            } else if (float(raw) / float(fleet) - 1.0).abs() > SIZE_TOLERANCE {
                doubts.push(format!(
                    "The bare client's {what} has {raw} bytes and the operator's {fleet}: the bare client has to be adapted."
                ));
            }
        }
        doubts
    }
}

/// The sum of counts.
pub(super) fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// So many for each device.
pub(super) fn per(count: u64, devices: usize) -> f64 {
    signed(count) / float(devices)
}

/// As a number that may have a fraction or a sign. Figures stay far below 2^32, where it is exact.
fn signed(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The same of a size.
pub(super) fn float(number: usize) -> f64 {
    signed(u64::try_from(number).unwrap_or(u64::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Memory, Report, Sizes};
    use crate::bench::usage::Cpu;

    /// Figures of a run that never was.
    pub(crate) fn sample() -> Report {
        Report {
            devices: 1000,
            sites: 1,
            concurrency: 48,
            optimised: true,
            raw_seconds: 12.0,
            convergence_seconds: 15.3,
            ratio: 1.275,
            operator_writes_per_device: 5.021,
            operator_writes: [
                ("create secrets".to_owned(), 1),
                ("delete secrets".to_owned(), 1000),
                ("patch deviceinstances/status".to_owned(), 3000),
                ("patch secrets".to_owned(), 1000),
                ("patch sites/status".to_owned(), 20),
            ]
            .into(),
            lease_renewals: 14,
            reviews: [("create subjectaccessreviews".to_owned(), 1001), ("create tokenreviews".to_owned(), 3)].into(),
            refused_writes: [("patch deviceinstances/status".to_owned(), 2)].into(),
            failed_writes: [].into(),
            operator_reads: [("get secrets".to_owned(), 1000)].into(),
            simulator_requests: 0,
            steady_seconds: 60,
            steady_state_writes: 0,
            steady_state_writes_by_resource: [].into(),
            operator_kib_per_device: 10.24,
            memory: Memory {
                at_zero_kib: 12_288,
                at_rest_kib: 20_480,
                peak_kib: 22_528,
                simulator_peak_kib: 40_960,
                most_connections: 64,
                connections_at_rest: 1,
            },
            ready_p50_ms: 800,
            ready_p99_ms: 2100,
            active_p50_ms: 3100,
            active_p99_ms: 9050,
            confirmed_p50_ms: 90,
            confirmed_p99_ms: 300,
            cpu_ratio: 1.288,
            cpu_seconds: [
                ("raw", Cpu([("benchmark", 2.0), ("kube-apiserver", 18.0)].into())),
                ("convergence", Cpu([("benchmark", 1.5), ("kube-apiserver", 21.0), ("operator", 3.25)].into())),
            ]
            .into(),
            raw_sizes: Sizes { secret_bytes: 3400, device_bytes: 5000 },
            fleet_sizes: Sizes { secret_bytes: 3450, device_bytes: 5100 },
        }
    }

    #[test]
    fn the_json_file_is_as_it_was_reviewed() {
        insta::assert_snapshot!(sample().to_json());
    }

    #[test]
    fn what_makes_the_comparison_unfair_is_said() {
        assert!(sample().doubts().is_empty());
        let mut report = sample();
        report.optimised = false;
        report.raw_sizes.secret_bytes = 2000;
        report.fleet_sizes.device_bytes = 0;
        insta::assert_snapshot!(report.doubts().join("\n"));
    }
}
