//! A small run of the whole benchmark, for what does not depend on how fast or busy the machine is.

use super::report::Report;
use super::{Options, Settings, measure_convergence};

fn settings(arguments: &[&str]) -> Settings {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        convergence: Options,
    }
    let cli: Cli = clap::Parser::try_parse_from(["bench"].iter().chain(arguments)).unwrap();
    cli.convergence.settings
}

/// What the operator may write that is not for one device: its keys, authority and certificate once, the template's
/// revision, and the counts of project, template and site, which it gathers for 2 s each time.
fn shared_writes(report: &Report) -> u64 {
    let devices = ["patch deviceinstances/status", "create secrets", "delete secrets"];
    report.operator_writes.iter().filter(|(what, _)| !devices.contains(&what.as_str())).map(|(_, count)| count).sum()
}

#[test]
fn a_thousand_devices_share_a_site() {
    for (devices, sites) in [("1", 1), ("999", 1), ("1999", 1), ("5000", 5)] {
        assert_eq!(settings(&["--devices", devices]).sites(), sites);
    }
}

/// A device takes two writes to run a change; template and project take a few more to count.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_rollout_stays_within_the_write_budget() {
    let settings = settings(&["--devices", "20", "--picture-every", "10"]);
    let figures = super::rollout::measure(&settings).await.unwrap();
    let told = super::table::of_rows(figures.rows(), figures.optimised);
    let of = |what: &str| figures.operator_writes.get(what).copied().unwrap_or_default();
    assert!(of("patch deviceinstances/status") <= 40, "told, and applied:\n{told}");
    assert!(super::report::total(&figures.operator_writes) <= 60, "a few in each 2 s:\n{told}");
    assert!(figures.refused_writes.is_empty(), "nothing is tried in vain:\n{told}");
    assert!(figures.applied_p99_ms < 30_000, "devices that wait are not waited for:\n{told}");
}

/// That nothing is lost, the benchmark sees to itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_backlog_comes_to_every_sink() {
    let settings = super::events::Settings { devices: 3.try_into().unwrap() };
    let figures = super::events::measure(&settings).await.unwrap();
    let sinks: Vec<&str> = figures.sinks.iter().map(|reached| reached.sink).collect();
    let expected =
        ["JSON lines in a file", "EventBridge, a stub", "CloudEvents, batched, a stub", "EventBridge, ministack"];
    assert_eq!(sinks, expected, "{}", super::table::of_rows(figures.rows(), figures.optimised));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_fleet_stays_within_the_write_budget() {
    let settings = settings(&["--devices", "20", "--steady-seconds", "5", "--picture-every", "10"]);
    let report = measure_convergence(&settings).await.unwrap();
    let told = super::table::of(&report);
    let of = |what: &str| report.operator_writes.get(what).copied().unwrap_or_default();
    assert!(of("patch deviceinstances/status") <= 60, "ready, redeemed, checked in:\n{told}");
    assert!(of("create secrets") <= 23, "a code each, the keys of the installation, and a revision:\n{told}");
    assert!(of("delete secrets") <= 20, "a code each:\n{told}");
    assert!(shared_writes(&report) <= 40, "a few in each 2 s:\n{told}");
    assert!(report.failed_writes.is_empty(), "{told}");
    assert_eq!(report.simulator_requests, 0, "{told}");
    assert_eq!(report.steady_state_writes, 0, "{told}");
    let alike: Vec<_> = report.doubts().into_iter().filter(|doubt| doubt.contains("bare client")).collect();
    assert!(alike.is_empty(), "{alike:?}");
}
