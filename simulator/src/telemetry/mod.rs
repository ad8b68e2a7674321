//! What the simulator tells about itself: counters, and a log that stays small however large the fleet is.

mod serve;
mod throttle;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use serve::serve;

use crate::device::Delivered;
use crate::fleet::{FleetStatus, Stage};
use crate::transport::Network;
use throttle::Throttle;

/// At most one line of the log in this time for each kind of trouble.
const QUIET: Duration = Duration::from_secs(30);

/// At most one line about progress in this time.
const PROGRESS: Duration = Duration::from_secs(5);

/// The same for a fleet that has come to rest, so that it is said soon that it has.
const SETTLED: Duration = Duration::from_millis(500);

type Label = [(&'static str, &'static str); 1];

/// Counters and the log.
pub struct Telemetry {
    network: Arc<Network>,
    registry: Registry,
    devices: Family<Label, Gauge>,
    activations: Family<Label, Counter>,
    check_ins: Family<Label, Counter>,
    lists: Family<Label, Counter>,
    enrollments: Family<Label, Counter>,
    entries: Family<Label, Counter>,
    measurements: Family<Label, Counter>,
    handshakes: Counter<u64, AtomicU64>,
    is_listed: AtomicBool,
    troubles: Mutex<HashMap<(&'static str, &'static str), Throttle>>,
    progress: Mutex<Throttle>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// For a fleet that uses this network.
    pub fn new(network: Arc<Network>) -> Arc<Self> {
        let mut registry = Registry::with_prefix("fleetform_simulator");
        let devices = Family::default();
        registry.register("devices", "Simulated devices by state", devices.clone());
        let activations = Family::default();
        registry.register("activations", "Activations by outcome", activations.clone());
        let check_ins = Family::default();
        registry.register("check_ins", "Check-ins by outcome, configuration included", check_ins.clone());
        let lists = Family::default();
        registry.register("lists", "Lists of devices read from the portal, by outcome", lists.clone());
        let enrollments = Family::default();
        registry.register("enrollments", "Enrollments of simulated people, by how they ended", enrollments.clone());
        let entries = Family::default();
        registry.register(
            "entries",
            "Palms that simulated people presented at doors, by what came of it",
            entries.clone(),
        );
        let measurements = Family::default();
        registry.register(
            "measurements",
            "Measurements of sensors that were sent, by what became of them",
            measurements.clone(),
        );
        let handshakes = Counter::default();
        registry.register("handshakes", "TLS handshakes with portal and gateway", handshakes.clone());
        let telemetry = Self {
            network,
            registry,
            devices,
            activations,
            check_ins,
            lists,
            enrollments,
            entries,
            measurements,
            handshakes,
            is_listed: AtomicBool::new(false),
            troubles: Mutex::default(),
            progress: Mutex::default(),
        };
        telemetry.count_devices(&FleetStatus::default());
        Arc::new(telemetry)
    }

    /// Whether the portal's list was read.
    pub fn is_ready(&self) -> bool {
        self.is_listed.load(Ordering::Relaxed)
    }

    /// The counters in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.handshakes.inner().store(self.network.handshakes(), Ordering::Relaxed);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }

    pub(crate) fn fleet(&self, status: &FleetStatus) {
        self.is_listed.store(status.listed, Ordering::Relaxed);
        self.count_devices(status);
        let settled = status.devices(Stage::Activating) + status.devices(Stage::Unanswered) == 0;
        let (mut progress, now) = (self.progress.lock(), Instant::now());
        if progress.admit(now, if settled { SETTLED } else { PROGRESS }).is_some() {
            let [waiting, activating, active, unanswered, elsewhere] = Stage::ALL.map(|stage| status.devices(stage));
            tracing::info!(waiting, activating, active, unanswered, elsewhere, "devices");
        }
    }

    pub(crate) fn activation(&self, outcome: &'static str) {
        self.activations.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn check_in(&self, outcome: &'static str) {
        self.check_ins.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn list(&self, outcome: &'static str) {
        self.lists.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn enrollment(&self, outcome: &'static str) {
        self.enrollments.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn entry(&self, outcome: &'static str) {
        self.entries.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub(crate) fn measurements(&self, delivered: &Delivered) {
        let Delivered { sent, taken, refused } = *delivered;
        let known = sent.saturating_sub(taken + refused);
        for (outcome, count) in [("taken", taken), ("refused", refused), ("known", known)] {
            if count > 0 {
                self.measurements.get_or_create(&[("outcome", outcome)]).inc_by(count as u64);
            }
        }
    }

    /// Says in the log what went wrong: at once the first time, and then with how often it happened meanwhile.
    pub(crate) fn trouble(&self, what: &'static str, kind: &'static str, example: &dyn fmt::Display) {
        let admitted = self.troubles.lock().entry((what, kind)).or_default().admit(Instant::now(), QUIET);
        match admitted {
            Some(0) => tracing::warn!(kind, "{what}: {example}"),
            Some(before) => tracing::warn!(kind, before, "{what}: {example}"),
            None => {}
        }
    }

    fn count_devices(&self, status: &FleetStatus) {
        for stage in Stage::ALL {
            let devices = i64::try_from(status.devices(stage)).unwrap_or(i64::MAX);
            self.devices.get_or_create(&[("state", stage.as_str())]).set(devices);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Timeouts;

    #[test]
    fn metrics_have_stable_names() {
        let telemetry = Telemetry::new(Network::new(Timeouts::default()));
        telemetry.activation("activated");
        telemetry.check_in("ok");
        telemetry.list("ok");
        telemetry.enrollment("enrolled");
        telemetry.entry("granted");
        telemetry.measurements(&Delivered { sent: 6, taken: 3, refused: 2 });
        // Families are hash maps: only the order of lines within one differs.
        let text = telemetry.metrics();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
