//! Hides what the engine counts and how it is written for Prometheus.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::attempt::{Outcome, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use store::driver::Stats;

use crate::house::Backlog;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NotMadeLabels {
    reason: &'static str,
}

/// What is counted when it is asked for.
pub(crate) struct Gauges {
    pub(crate) lanes: usize,
    /// Those of them that wait for a retry.
    pub(crate) waiting: usize,
    /// Those of them that this service itself cannot send to.
    pub(crate) in_trouble: usize,
    pub(crate) tasks: usize,
}

/// The engine's counters. One cheap update per event or attempt.
pub(crate) struct Metrics {
    events: Counter,
    deliveries: Counter,
    attempts: Family<AttemptLabels, Counter>,
    /// The one label set that nearly every attempt has, looked up once.
    delivered: Counter,
    panicked: Counter,
    not_made: Family<NotMadeLabels, Counter>,
    sent_twice: Counter,
    duration: Histogram,
    in_flight: Gauge,
    store_failures: Counter,
    lanes: Gauge,
    waiting_lanes: Gauge,
    lanes_in_trouble: Gauge,
    tasks: Gauge,
    backlog_open: Gauge<i64, AtomicI64>,
    backlog_dead: Gauge<i64, AtomicI64>,
    store_queued: Gauge,
    store_log_bytes: Gauge,
    store_commits: Counter,
    store_units: Counter,
    store_failed_commits: Counter,
    store_overloaded: Counter,
    store_checkpoints: Counter,
    registry: Registry,
}

/// Counts an attempt as in flight for as long as it lives.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let attempts = Family::<AttemptLabels, Counter>::default();
        let labels = AttemptLabels {
            outcome: Outcome::Delivered.as_str(),
            reason: "",
        };
        let delivered = attempts.get_or_create(&labels).clone();
        let mut metrics = Self {
            events: Counter::default(),
            deliveries: Counter::default(),
            attempts,
            delivered,
            panicked: Counter::default(),
            not_made: Family::default(),
            sent_twice: Counter::default(),
            duration: Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            in_flight: Gauge::default(),
            store_failures: Counter::default(),
            lanes: Gauge::default(),
            waiting_lanes: Gauge::default(),
            lanes_in_trouble: Gauge::default(),
            tasks: Gauge::default(),
            backlog_open: Gauge::default(),
            backlog_dead: Gauge::default(),
            store_queued: Gauge::default(),
            store_log_bytes: Gauge::default(),
            store_commits: Counter::default(),
            store_units: Counter::default(),
            store_failed_commits: Counter::default(),
            store_overloaded: Counter::default(),
            store_checkpoints: Counter::default(),
            registry: Registry::with_prefix("vk_webhooks"),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, .. } = self;
        registry.register(
            "events_accepted",
            "Events made durable",
            self.events.clone(),
        );
        registry.register(
            "deliveries_made",
            "Deliveries made durable",
            self.deliveries.clone(),
        );
        registry.register(
            "attempts",
            "Attempts ended, by outcome and reason of failure",
            self.attempts.clone(),
        );
        registry.register(
            "attempts_panicked",
            "Attempts that failed by a bug of this service",
            self.panicked.clone(),
        );
        registry.register(
            "attempts_not_made",
            "Attempts that this service itself could not make, for lack of a socket, port, route or name server, \
             by what failed: none is counted against an endpoint, and no try is spent",
            self.not_made.clone(),
        );
        registry.register(
            "requests_sent_twice",
            "Requests that were sent again on a new connection, since the kept one closed before the answer came",
            self.sent_twice.clone(),
        );
        registry.register(
            "attempt_duration_seconds",
            "How long attempts took",
            self.duration.clone(),
        );
        registry.register(
            "attempts_in_flight",
            "Attempts being made now",
            self.in_flight.clone(),
        );
        registry.register(
            "store_failures",
            "Times the store could not be read or written by the engine",
            self.store_failures.clone(),
        );
        registry.register(
            "endpoints",
            "Endpoints that are not deleted",
            self.lanes.clone(),
        );
        registry.register(
            "endpoints_waiting",
            "Endpoints with a delivery that waits for its retry",
            self.waiting_lanes.clone(),
        );
        registry.register(
            "endpoints_waiting_for_network",
            "Endpoints with deliveries that wait because this service itself cannot reach the network",
            self.lanes_in_trouble.clone(),
        );
        registry.register(
            "tasks",
            "Tasks alive in the program: those of the engine, and one for each connection to it",
            self.tasks.clone(),
        );
        registry.register(
            "deliveries_unfinished",
            "Deliveries still owed to endpoints that are not deleted, those that are held included",
            self.backlog_open.clone(),
        );
        registry.register(
            "deliveries_dead_letter",
            "Dead letters of endpoints that are not deleted: those that can still be retried",
            self.backlog_dead.clone(),
        );
        registry.register(
            "store_queued",
            "Writes that wait for the store",
            self.store_queued.clone(),
        );
        registry.register(
            "store_log_bytes",
            "Size of the store's write-ahead log; far above 64 MiB where another program holds it open",
            self.store_log_bytes.clone(),
        );
        for (name, help, counter) in [
            (
                "store_commits",
                "Transactions committed",
                &self.store_commits,
            ),
            (
                "store_units",
                "Writes that came to an end in them",
                &self.store_units,
            ),
            (
                "store_failed_commits",
                "Transactions that failed as a whole",
                &self.store_failed_commits,
            ),
            (
                "store_overloaded",
                "Publications refused since the queue was full",
                &self.store_overloaded,
            ),
            (
                "store_checkpoints",
                "Times the log was copied into the database",
                &self.store_checkpoints,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
    }

    pub(crate) fn accepted(&self, events: u64, deliveries: u64) {
        self.events.inc_by(events);
        self.deliveries.inc_by(deliveries);
    }

    pub(crate) fn attempt_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub(crate) fn attempt_ended(&self, outcome: Outcome, reason: Option<Reason>, took: Duration) {
        match reason {
            None => self.delivered.inc(),
            Some(reason) => {
                let labels = AttemptLabels {
                    outcome: outcome.as_str(),
                    reason: reason.as_str(),
                };
                self.attempts.get_or_create(&labels).inc()
            }
        };
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn attempt_panicked(&self) {
        self.panicked.inc();
    }

    pub(crate) fn attempt_not_made(&self, reason: Reason) {
        let labels = NotMadeLabels {
            reason: reason.as_str(),
        };
        self.not_made.get_or_create(&labels).inc();
    }

    pub(crate) fn sent_twice(&self) {
        self.sent_twice.inc();
    }

    pub(crate) fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn write(&self, gauges: Gauges, backlog: Option<Backlog>, store: Stats) -> String {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.lanes.set(gauge(gauges.lanes));
        self.waiting_lanes.set(gauge(gauges.waiting));
        self.lanes_in_trouble.set(gauge(gauges.in_trouble));
        self.tasks.set(gauge(gauges.tasks));
        let large = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(backlog) = backlog {
            self.backlog_open.set(large(backlog.unfinished));
            self.backlog_dead.set(large(backlog.dead_letters));
        }
        self.store_queued.set(large(store.queued));
        self.store_log_bytes.set(large(store.log_bytes));
        for (counter, count) in [
            (&self.store_commits, store.commits),
            (&self.store_units, store.units),
            (&self.store_failed_commits, store.failed_commits),
            (&self.store_overloaded, store.overloaded),
            (&self.store_checkpoints, store.checkpoints),
        ] {
            counter.inner().store(count, Ordering::Relaxed);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String does not fail");
        text
    }
}
