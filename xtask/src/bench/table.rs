//! Pure: the figures as a table, with the targets beside them.

use comfy_table::{CellAlignment, Table, presets};

use super::audit::Counts;
use super::report::{MEMORY_TARGET, RATIO_TARGET, RAW_WRITES, Report, STEADY_TARGET, WRITES_TARGET, float, per, total};

/// The table, and under it what makes the comparison unfair, if anything does.
pub(super) fn of(report: &Report) -> String {
    let mut rows = Rows(Table::new());
    rows.0.load_style(presets::UTF8_FULL_CONDENSED).set_header(["", "measured", "target"]);
    speed(&mut rows, report);
    writes(&mut rows, report);
    memory(&mut rows, report);
    if let Some(column) = rows.0.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = rows.0.trim_fmt();
    for doubt in report.doubts() {
        text.push('\n');
        text.push_str(&doubt);
    }
    text
}

/// The table of these rows, and under it what makes the comparison unfair.
pub(super) fn of_rows(rows: Vec<[String; 3]>, optimised: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["", "measured", "target"]);
    table.add_rows(rows);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.trim_fmt();
    if !optimised {
        text.push_str("\nThe programs were not optimised: times and ratio mean nothing.");
    }
    text
}

struct Rows(Table);

impl Rows {
    fn plain(&mut self, name: &str, measured: impl Into<String>) {
        self.target(name, measured, "");
    }

    fn target(&mut self, name: &str, measured: impl Into<String>, target: impl Into<String>) {
        self.0.add_row([name.to_owned(), measured.into(), target.into()]);
    }

    /// Each verb and resource on a line of its own; nothing when there is none.
    fn counts(&mut self, of: &str, counts: &Counts) {
        for (what, count) in counts {
            self.plain(&format!("  {of}{what}"), count.to_string());
        }
    }
}

fn speed(rows: &mut Rows, report: &Report) {
    let devices = format!("{} on {}", report.devices, sites(report.sites));
    rows.plain("devices", devices);
    let rate = float(report.devices) * RAW_WRITES / report.raw_seconds;
    let raw = format!("{:.1} s ({rate:.0} writes/s)", report.raw_seconds);
    rows.plain(&format!("a: raw writes, {} in flight", report.concurrency), raw);
    rows.plain("b: declared to active and configured", format!("{:.1} s", report.convergence_seconds));
    rows.target("ratio b/a", format!("{:.2}", report.ratio), format!("≤ {RATIO_TARGET}"));
    let latency = |p50: u64, p99: u64| format!("{p50} / {p99} ms");
    rows.plain("created → ready for activation, p50 / p99", latency(report.ready_p50_ms, report.ready_p99_ms));
    rows.plain("ready for activation → active, p50 / p99", latency(report.active_p50_ms, report.active_p99_ms));
    rows.plain("active → configured, p50 / p99", latency(report.confirmed_p50_ms, report.confirmed_p99_ms));
    rows.plain("processor time of all processes, b/a", format!("{:.2}", report.cpu_ratio));
    for (half, cpu) in [("raw", "a"), ("convergence", "b")] {
        let Some(used) = report.cpu_seconds.get(half) else { continue };
        for (process, seconds) in &used.0 {
            rows.plain(&format!("  processor time in {cpu}: {process}"), format!("{seconds:.1} s"));
        }
    }
}

fn sites(count: usize) -> String {
    if count == 1 { "1 site".to_owned() } else { format!("{count} sites") }
}

fn writes(rows: &mut Rows, report: &Report) {
    let measured = format!("{:.2}", report.operator_writes_per_device);
    rows.target("operator's writes per device", measured, format!("≤ {WRITES_TARGET}"));
    for (what, count) in &report.operator_writes {
        rows.plain(&format!("  {what}"), format!("{count} ({:.3})", per(*count, report.devices)));
    }
    rows.plain("apart: lease renewals", report.lease_renewals.to_string());
    rows.plain("apart: reviews, not stored", total(&report.reviews).to_string());
    rows.counts("", &report.reviews);
    rows.plain("apart: refused writes (4xx)", total(&report.refused_writes).to_string());
    rows.counts("", &report.refused_writes);
    if !report.failed_writes.is_empty() {
        rows.plain("apart: failed writes", total(&report.failed_writes).to_string());
        rows.counts("", &report.failed_writes);
    }
    rows.plain("apart: operator's reads", total(&report.operator_reads).to_string());
    rows.counts("", &report.operator_reads);
    rows.plain("simulator's requests to the API server", report.simulator_requests.to_string());
    let name = format!("operator's writes in {} s of steady state", report.steady_seconds);
    rows.target(&name, report.steady_state_writes.to_string(), STEADY_TARGET.to_string());
    rows.counts("", &report.steady_state_writes_by_resource);
}

fn memory(rows: &mut Rows, report: &Report) {
    let memory = &report.memory;
    let measured = format!("{:.1} KiB", report.operator_kib_per_device);
    rows.target("operator's memory per device", measured, format!("≤ {MEMORY_TARGET} KiB"));
    rows.plain(
        "  without devices / peak / at rest",
        format!("{} / {} / {} KiB", memory.at_zero_kib, memory.peak_kib, memory.at_rest_kib),
    );
    rows.plain("  simulator, peak", format!("{} KiB", memory.simulator_peak_kib));
    let connections = format!("{} / {}", memory.most_connections, memory.connections_at_rest);
    rows.plain("apart: open gateway connections, most / at rest", connections);
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::bench::report::tests::sample;

    #[test]
    fn the_table_is_as_it_was_reviewed() {
        insta::assert_snapshot!(of(&sample()));
    }
}
