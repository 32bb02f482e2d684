//! Hides how latencies are measured: events by a schedule, from when each was due to its arrival.

use anyhow::Result;

use super::publishing::Publishing;
use crate::api::Api;
use crate::house::House;
use crate::load::{Orders, Outcome, Rhythm};
use crate::meter::Shares;
use crate::receiver::Temper;
use crate::service::Service;
use crate::stats::Percentiles;

/// More than can ever be waiting for an answer, so that none delays the schedule.
const CONNECTIONS: usize = 256;
/// How long events are published before those that count, in seconds: connections are made then.
const WARM_UP: f64 = 1.5;

/// How late events may be sent before their latencies are those of a queue, in milliseconds.
const KEPT_WITHIN: f64 = 100.0;

/// A schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Events a second, over all teams by turns.
    pub(crate) per_second: f64,
    /// How long they are published before those that count, in seconds.
    pub(crate) warm_up: f64,
    /// For how long events count, in seconds.
    pub(crate) seconds: f64,
}

/// What came of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    /// From when an event was due to its arrival.
    pub(crate) arrival: Percentiles,
    /// From when an event was due to its acknowledgement, those of the warm-up too.
    pub(crate) acknowledged: Percentiles,
    /// From when an event was due to its being sent: the load generator's own lateness.
    pub(crate) sent: Percentiles,
    /// Processor milliseconds of the service for 1,000 deliveries.
    pub(crate) cpu_ms: f64,
    /// The most memory of its own the service had, in MB.
    pub(crate) peak_mb: f64,
    pub(crate) shares: Shares,
}

/// A span of so many events a second for one endpoint, on a store that is new.
pub(crate) async fn one_endpoint(
    house: &mut House,
    per_second: f64,
    seconds: f64,
) -> Result<Latency> {
    let folder = house.new_store()?;
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let url = house.url(Temper::Timed);
    let key = api.furnish("bench", 1, &url).await?.key;
    let schedule = Schedule {
        per_second,
        warm_up: WARM_UP,
        seconds,
    };
    let latency = measure(house, &service, vec![key], schedule, |_| 1).await?;
    service.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(latency)
}

/// Follows a schedule. `arriving` says how many arrivals the event of a number makes.
pub(crate) async fn measure(
    house: &mut House,
    service: &Service,
    keys: Vec<String>,
    schedule: Schedule,
    arriving: impl Fn(u64) -> u64,
) -> Result<Latency> {
    let orders = Orders {
        address: service.address(),
        keys,
        connections: CONNECTIONS,
        batch: 1,
        rhythm: Rhythm::Open {
            per_second: schedule.per_second,
            seconds: schedule.warm_up + schedule.seconds,
        },
    };
    let mut publishing = Publishing::start(house, service, &orders).await?;
    let outcome = publishing.published().await?;
    let owed = schedule.counted().map(&arriving).sum();
    let (from, to) = schedule.span(&outcome);
    let arrival = publishing.latencies(from, to, owed).await?;
    let used = publishing.end()?;
    let deliveries: u64 = (0..outcome.events).map(&arriving).sum();
    Ok(Latency {
        arrival,
        acknowledged: outcome.acknowledged,
        sent: outcome.sent,
        cpu_ms: used.service_seconds * 1e6 / deliveries as f64,
        peak_mb: used.peak.own,
        shares: used.shares,
    })
}

impl Latency {
    /// Whether the schedule was kept: where it was not, more was published than the machine could
    /// take, and the latencies tell how long that went on, and nothing else.
    pub(crate) fn kept_pace(&self) -> bool {
        self.sent.p99 <= KEPT_WITHIN
    }
}

impl Schedule {
    /// The numbers of the events that count.
    fn counted(&self) -> impl Iterator<Item = u64> {
        let first = (self.per_second * self.warm_up).ceil() as u64;
        let end = (self.per_second * (self.warm_up + self.seconds)) as u64;
        first..end
    }

    /// Between which moments those are due.
    fn span(&self, outcome: &Outcome) -> (u64, u64) {
        let first = self.counted().next().unwrap_or(0) as f64;
        let first_due = outcome.started_us + (first * 1e6 / self.per_second) as u64;
        (first_due, outcome.ended_us)
    }
}
