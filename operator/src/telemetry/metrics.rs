//! Counters and gauges, in the text format of `OpenMetrics`. Every label is bounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use fleetform_domain::activation::ActivationFailure;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::labels::{self, Delivery, Kind, Listener, Open, Outcome, Reconciliation, Request, Sink, Stage, Write};
use crate::crypto::succession;
use crate::error::Class;

type Seconds = Family<Kind, Histogram, fn() -> Histogram>;

/// What the process counts.
pub struct Metrics {
    registry: Registry,
    watch_events: Family<Kind, Counter>,
    watch_errors: Family<Kind, Counter>,
    watch_age: Family<Kind, Gauge<f64, AtomicU64>>,
    writes: Family<Write, Counter>,
    reconciliations: Family<Reconciliation, Counter>,
    reconcile_seconds: Seconds,
    queue_depth: Gauge,
    events_delivered: Family<Delivery, Counter>,
    events_failed: Family<Sink, Counter>,
    events_missed: Family<Sink, Counter>,
    events_refused: Family<Sink, Counter>,
    events_lag: Family<Sink, Gauge<f64, AtomicU64>>,
    events_kept: Gauge,
    audit_written: Counter,
    audit_failed: Counter,
    requests: Family<Request, Counter>,
    handshakes: Family<Listener, Counter>,
    connections: Family<Open, Gauge>,
    activations: Family<Outcome, Counter>,
    check_ins: Family<Outcome, Counter>,
    measurements: Family<Outcome, Counter>,
    codes_handed_out: Counter,
    certificates_renewed: Counter,
    enrollments: Family<Outcome, Counter>,
    recognitions: Family<Outcome, Counter>,
    enrolled_users: Gauge,
    unreadable_profiles: Gauge,
    devices_reporting: Gauge,
    authority_generation: Gauge,
    authority_stage: Family<Stage, Gauge>,
    authority_pending: Gauge,
    unreadable: Family<Kind, Gauge>,
    leading: Gauge,
    synced: Gauge,
    heard: Mutex<HashMap<&'static str, Instant>>,
    behind: Mutex<HashMap<String, Option<tokio::time::Instant>>>,
    sampler: OnceLock<Box<dyn Fn() -> Gauges + Send + Sync>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What is looked up whenever the metrics are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Whether this process holds the lease.
    pub leading: bool,
    /// Whether every kind has been listed once.
    pub synced: bool,
    /// How many objects of each kind cannot be read.
    pub unreadable: Vec<(&'static str, usize)>,
}

/// How far the rotation of the authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The generation that signs.
    pub generation: u32,
    /// The stage of the newest one.
    pub stage: succession::Stage,
    /// Devices that it waits for.
    pub pending: usize,
}

/// How an activation request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The code was looked up.
    LookedUp,
    /// A device won.
    Activated,
    /// The same device got the same answer again.
    Repeated,
    /// The site changed since it was shown.
    ConfirmationNotValid,
    /// Something that is needed could not be reached.
    Unavailable,
    /// One of the nine failures.
    Failed(ActivationFailure),
}

impl Activation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::LookedUp => "looked-up",
            Self::Activated => "activated",
            Self::Repeated => "repeated",
            Self::ConfirmationNotValid => "confirmation-not-valid",
            Self::Unavailable => "unavailable",
            Self::Failed(failure) => match failure {
                ActivationFailure::SystemError => "system-error",
                ActivationFailure::QrNotRecognized => "qr-not-recognized",
                ActivationFailure::UnableToReadQr => "unable-to-read-qr",
                ActivationFailure::MultipleQrCodes => "multiple-qr-codes",
                ActivationFailure::DeviceInstanceDoesNotExist => "device-instance-does-not-exist",
                ActivationFailure::SiteNotFound => "site-not-found",
                ActivationFailure::ZipCodeDoesNotMatch => "zip-code-does-not-match",
                ActivationFailure::GatewayTimedOut => "gateway-timed-out",
                ActivationFailure::UnableToConfigureDevice => "unable-to-configure-device",
            },
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero.
    #[allow(clippy::too_many_lines, reason = "one line for each metric")]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("fleetform"),
            watch_events: Family::default(),
            watch_errors: Family::default(),
            watch_age: Family::default(),
            writes: Family::default(),
            reconciliations: Family::default(),
            reconcile_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_5, 4.0, 8))),
            queue_depth: Gauge::default(),
            events_delivered: Family::default(),
            events_failed: Family::default(),
            events_missed: Family::default(),
            events_refused: Family::default(),
            events_lag: Family::default(),
            events_kept: Gauge::default(),
            audit_written: Counter::default(),
            audit_failed: Counter::default(),
            requests: Family::default(),
            handshakes: Family::default(),
            connections: Family::default(),
            activations: Family::default(),
            check_ins: Family::default(),
            measurements: Family::default(),
            codes_handed_out: Counter::default(),
            certificates_renewed: Counter::default(),
            enrollments: Family::default(),
            recognitions: Family::default(),
            enrolled_users: Gauge::default(),
            unreadable_profiles: Gauge::default(),
            devices_reporting: Gauge::default(),
            authority_generation: Gauge::default(),
            authority_stage: Family::default(),
            authority_pending: Gauge::default(),
            unreadable: Family::default(),
            leading: Gauge::default(),
            synced: Gauge::default(),
            heard: Mutex::default(),
            behind: Mutex::default(),
            sampler: OnceLock::new(),
        };
        let mut registry = std::mem::take(&mut metrics.registry);
        macro_rules! register {
            ($($field:ident, $name:literal, $help:literal;)*) => {
                $(registry.register($name, $help, metrics.$field.clone());)*
            };
        }
        register! {
            watch_events, "watch_events", "What watches delivered, by kind";
            watch_errors, "watch_errors", "Interruptions of watches, by kind";
            watch_age, "watch_age_seconds", "Time since a watch delivered anything, by kind";
            writes, "writes", "Writes to the API server, by verb, resource and outcome";
            reconciliations, "reconciliations", "Reconciled objects, by kind and outcome";
            reconcile_seconds, "reconcile_duration_seconds", "Time to reconcile one object, by kind";
            queue_depth, "queue_depth", "Objects that wait to be reconciled";
            events_delivered, "events_delivered", "Events delivered to each sink, by type";
            events_failed, "events_failed", "Deliveries that failed and are tried again, by sink";
            events_refused, "events_refused", "Events that a sink refused for good, by sink";
            events_lag, "events_lag_seconds", "For how long there has always been something that a sink has yet to get";
            events_kept, "events_kept", "ConfigMaps with events that objects no longer keep and a required sink has yet to get";
            events_missed, "events_missed", "Events that a sink which is not required did not get, as too much waited for it";
            audit_written, "audit_records", "Audit records written to the sink";
            audit_failed, "audit_failed", "Attempts to write audit records that failed and are tried again";
            requests, "requests", "Requests answered, by listener, route and class of status";
            handshakes, "handshakes", "TLS handshakes, by listener and outcome";
            connections, "connections", "Open connections, by listener";
            activations, "activations", "Requests to look a code up or to redeem it, by outcome";
            check_ins, "check_ins", "Check-ins of devices, by outcome";
            measurements, "measurements", "Measurements of sensors, by what became of them";
            codes_handed_out, "codes_handed_out", "Activation codes handed out to people";
            certificates_renewed, "certificates_renewed", "Certificates of devices that were renewed";
            enrollments, "enrollments", "Enrollments at devices, by outcome";
            recognitions, "recognitions", "Palms at doors, by outcome";
            enrolled_users, "enrolled_users", "People who can be recognised";
            unreadable_profiles, "unreadable_profiles", "Enrolled users whose sealed profile does not open";
            devices_reporting, "devices_reporting", "Devices that check in when they are due";
            authority_generation, "authority_generation", "Generation of the authority that signs";
            authority_stage, "authority_stage", "1 for the stage that the newest generation of the authority is in";
            authority_pending, "authority_pending_devices", "Devices that report and that the authority's rotation waits for";
            unreadable, "unreadable_objects", "Stored objects that cannot be read, by kind";
            leading, "leading", "1 while this process holds the lease";
            synced, "cache_synced", "1 once every kind has been listed";
        }
        metrics.registry = registry;
        metrics
    }

    /// What `sample` answers is shown whenever the metrics are read. Only the first call counts.
    pub fn on_read(&self, sample: impl Fn() -> Gauges + Send + Sync + 'static) {
        let _ = self.sampler.set(Box::new(sample));
    }

    /// A watch delivered something.
    pub fn watch_event(&self, plural: &'static str) {
        self.watch_events.get_or_create(&Kind { kind: plural }).inc();
        self.heard.lock().insert(plural, Instant::now());
    }

    /// A watch was interrupted.
    pub fn watch_error(&self, plural: &'static str) {
        self.watch_errors.get_or_create(&Kind { kind: plural }).inc();
    }

    /// A write was tried; `class` says how it failed, if it did.
    pub fn write(&self, verb: &'static str, resource: &str, class: Option<Class>) {
        let outcome = class.map_or("ok", Class::as_str);
        self.writes.get_or_create(&Write { verb, resource: labels::resource(resource), outcome }).inc();
    }

    /// An object was reconciled, or could not be.
    pub fn reconciled(&self, kind: &'static str, outcome: &'static str, seconds: f64) {
        self.reconciliations.get_or_create(&Reconciliation { kind, outcome }).inc();
        self.reconcile_seconds.get_or_create(&Kind { kind }).observe(seconds);
    }

    /// How many objects wait to be reconciled.
    pub fn queue_depth(&self, depth: usize) {
        self.queue_depth.set(number(depth));
    }

    /// An event of this type was delivered to a sink.
    pub fn event_delivered(&self, sink: &str, detail_type: &str) {
        let delivery = Delivery { sink: sink.to_owned(), detail_type: labels::detail_type(detail_type) };
        self.events_delivered.get_or_create(&delivery).inc();
    }

    /// There is this sink. Its counters begin at zero, so that the first failure is an increase.
    pub fn has_sink(&self, name: &str) {
        let sink = Sink { sink: name.to_owned() };
        for counter in [&self.events_failed, &self.events_refused, &self.events_missed] {
            drop(counter.get_or_create(&sink));
        }
        self.events_wait(name, None);
    }

    /// Events could not be delivered to a sink just now.
    pub fn event_failed(&self, sink: &str) {
        self.events_failed.get_or_create(&Sink { sink: sink.to_owned() }).inc();
    }

    /// A sink refused an event for good.
    pub fn event_refused(&self, sink: &str) {
        self.events_refused.get_or_create(&Sink { sink: sink.to_owned() }).inc();
    }

    /// A sink that is not required did not get an event.
    pub fn event_missed(&self, sink: &str) {
        self.events_missed.get_or_create(&Sink { sink: sink.to_owned() }).inc();
    }

    /// Since when a sink has had something to get, at any time.
    pub fn events_wait(&self, sink: &str, since: Option<tokio::time::Instant>) {
        self.behind.lock().insert(sink.to_owned(), since);
    }

    /// So many `ConfigMap`s hold events that a required sink has yet to get.
    pub fn events_kept(&self, count: usize) {
        self.events_kept.set(number(count));
    }

    /// So many audit records were written.
    pub fn audit_written(&self, records: usize) {
        self.audit_written.inc_by(records as u64);
    }

    /// Audit records could not be written just now.
    pub fn audit_failed(&self) {
        self.audit_failed.inc();
    }

    /// A request was answered. `route` is one of few.
    pub fn request(&self, listener: &'static str, route: &'static str, status: u16) {
        let status = labels::status_class(status);
        self.requests.get_or_create(&Request { listener, route, status }).inc();
    }

    /// A TLS handshake ended: `ok`, `failed` or `timed-out`.
    pub fn handshake(&self, listener: &'static str, outcome: &'static str) {
        self.handshakes.get_or_create(&Listener { listener, outcome }).inc();
    }

    /// A connection was opened.
    pub fn connection_opened(&self, listener: &'static str) {
        self.connections.get_or_create(&Open { listener }).inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self, listener: &'static str) {
        self.connections.get_or_create(&Open { listener }).dec();
    }

    /// A request to look a code up or to redeem it was answered.
    pub fn activation(&self, outcome: Activation) {
        self.activations.get_or_create(&Outcome { outcome: outcome.as_str() }).inc();
    }

    /// A check-in was answered. `outcome` is one of few.
    pub fn check_in(&self, outcome: &'static str) {
        self.check_ins.get_or_create(&Outcome { outcome }).inc();
    }

    /// So many measurements were taken or refused. `outcome` is one of few.
    pub fn measurements(&self, outcome: &'static str, count: u32) {
        if count > 0 {
            self.measurements.get_or_create(&Outcome { outcome }).inc_by(count.into());
        }
    }

    /// How many devices check in when they are due.
    pub fn devices_reporting(&self, count: usize) {
        self.devices_reporting.set(number(count));
    }

    /// How far the rotation of the authority is.
    pub fn succession(&self, now: Succession) {
        self.authority_generation.set(now.generation.into());
        for stage in succession::Stage::ALL {
            let label = Stage { stage: stage.as_str() };
            if stage == now.stage {
                self.authority_stage.get_or_create(&label).set(1);
            } else {
                self.authority_stage.remove(&label);
            }
        }
        self.authority_pending.set(number(now.pending));
    }

    /// A code was handed out.
    pub fn code_handed_out(&self) {
        self.codes_handed_out.inc();
    }

    /// A device got a new certificate.
    pub fn certificate_renewed(&self) {
        self.certificates_renewed.inc();
    }

    /// An enrollment ended: `enrolled`, or why it failed.
    pub fn enrollment(&self, outcome: &'static str) {
        self.enrollments.get_or_create(&Outcome { outcome }).inc();
    }

    /// A palm was presented: `recognized`, or why nobody was.
    pub fn recognition(&self, outcome: &'static str) {
        self.recognitions.get_or_create(&Outcome { outcome }).inc();
    }

    /// How many people can be recognised, and how many profiles do not open.
    pub fn enrolled_users(&self, known: usize, unreadable: usize) {
        self.enrolled_users.set(number(known));
        self.unreadable_profiles.set(number(unreadable));
    }

    /// Everything, in the text format of `OpenMetrics` 1.0.
    pub fn encode(&self) -> String {
        if let Some(sample) = self.sampler.get() {
            let gauges = sample();
            self.leading.set(i64::from(gauges.leading));
            self.synced.set(i64::from(gauges.synced));
            for (kind, count) in gauges.unreadable {
                self.unreadable.get_or_create(&Kind { kind }).set(number(count));
            }
        }
        for (kind, heard) in &*self.heard.lock() {
            self.watch_age.get_or_create(&Kind { kind }).set(heard.elapsed().as_secs_f64());
        }
        for (sink, since) in &*self.behind.lock() {
            let lag = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            self.events_lag.get_or_create(&Sink { sink: sink.clone() }).set(lag);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_read_as_open_metrics() {
        let metrics = Metrics::new();
        metrics.write("patch", "deviceinstances/status", None);
        metrics.reconciled("sites", "ok", 0.001);
        metrics.watch_error("sites");
        metrics.request("gateway", "check-in", 200);
        metrics.handshake("gateway", "ok");
        metrics.connection_opened("gateway");
        metrics.activation(Activation::Failed(ActivationFailure::ZipCodeDoesNotMatch));
        metrics.check_in("ok");
        metrics.measurements("taken", 20);
        metrics.measurements("too-old", 0);
        metrics.has_sink("file");
        metrics.event_delivered("file", "Device Connectivity Changed To Online");
        metrics.event_failed("file");
        metrics.events_kept(2);
        metrics.audit_written(3);
        metrics.audit_failed();
        metrics.code_handed_out();
        metrics.certificate_renewed();
        metrics.enrollment("PALMS_DIFFER");
        metrics.recognition("recognized");
        metrics.enrolled_users(40, 1);
        metrics.on_read(|| Gauges { leading: true, synced: true, unreadable: vec![("sites", 1)] });
        metrics.devices_reporting(3);
        metrics.succession(Succession { generation: 1, stage: succession::Stage::Announced, pending: 2 });
        metrics.queue_depth(2);
        insta::assert_snapshot!(metrics.encode());
    }
}
