//! Hides how a backlog is built up behind a paused endpoint and drained again.

use anyhow::Result;
use serde_json::json;

use super::publishing::{Progress, Publishing};
use crate::api::Api;
use crate::clock::now_us;
use crate::house::House;
use crate::load::{Orders, Outcome, Rhythm};
use crate::meter::{Meter, Shares};
use crate::receiver::Temper;
use crate::service::Service;
use crate::usage::Memory;

/// Events in one call: as many as the service takes.
const BATCH: usize = 1000;
const CONNECTIONS: usize = 4;
/// How often the drain is looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// A backlog, drained.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    pub(crate) deliveries: u64,
    /// Events a second that were published while it built up.
    pub(crate) published: f64,
    /// The most memory while it built up.
    pub(crate) peak_publishing: Memory,
    /// From the resumption to the last arrival, in seconds.
    pub(crate) drained_in: f64,
    /// Right after the service's start.
    pub(crate) idle: Memory,
    /// The most memory while it drained.
    pub(crate) peak: Memory,
    pub(crate) cpu_ms: f64,
    pub(crate) shares: Shares,
    pub(crate) timeline: Vec<Moment>,
}

/// A moment of the drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Seconds since the resumption.
    pub(crate) at: f64,
    /// Deliveries that have arrived.
    pub(crate) arrived: u64,
    /// The service's own memory, in MB.
    pub(crate) own_mb: f64,
}

impl Backlog {
    /// The most memory of its own above idle while it drained, in MB.
    pub(crate) fn above_idle(&self) -> f64 {
        self.peak.own - self.idle.own
    }
}

/// Builds up a backlog for one endpoint and drains it.
pub(crate) async fn measure(house: &mut House, deliveries: u64) -> Result<Backlog> {
    let folder = house.new_store()?;
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let made = api.furnish("bench", 1, &house.url(Temper::Plain)).await?;
    let endpoint = &made.endpoints[0];
    api.change("bench", endpoint, json!({"paused": true}))
        .await?;
    let (outcome, peak_publishing) = build_up(house, &service, made.key, deliveries).await?;
    let before = house.arrivals().await?.count;
    let meter = Meter::start(Some(&service), &house.receiver, None)?;
    let resumed_us = now_us();
    api.change("bench", endpoint, json!({"paused": false}))
        .await?;
    let timeline = drain(house, &service, before, outcome.events, resumed_us).await?;
    let used = meter.stop(Some(&service), &house.receiver, None)?;
    let last_us = house.arrivals().await?.last_us;
    let idle = service.idle();
    service.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    let peak = |of: fn(&(Moment, Memory)) -> f64| timeline.iter().map(of).fold(0.0, f64::max);
    Ok(Backlog {
        deliveries: outcome.events,
        published: outcome.events as f64 * 1e6 / (outcome.ended_us - outcome.started_us) as f64,
        peak_publishing,
        drained_in: last_us.saturating_sub(resumed_us) as f64 / 1e6,
        idle,
        peak: Memory {
            own: peak(|(_, memory)| memory.own),
            resident: peak(|(_, memory)| memory.resident),
        },
        cpu_ms: used.service_seconds * 1e6 / outcome.events as f64,
        shares: used.shares,
        timeline: timeline.into_iter().map(|(moment, _)| moment).collect(),
    })
}

async fn build_up(
    house: &mut House,
    service: &Service,
    key: String,
    deliveries: u64,
) -> Result<(Outcome, Memory)> {
    let orders = Orders {
        address: service.address(),
        keys: vec![key],
        connections: CONNECTIONS,
        batch: BATCH,
        rhythm: Rhythm::Calls {
            calls: deliveries.div_ceil(BATCH as u64),
        },
    };
    let mut publishing = Publishing::start(house, service, &orders).await?;
    let outcome = publishing.published().await?;
    Ok((outcome, publishing.end()?.peak))
}

/// Watches until all has arrived.
async fn drain(
    house: &mut House,
    service: &Service,
    before: u64,
    owed: u64,
    resumed_us: u64,
) -> Result<Vec<(Moment, Memory)>> {
    let mut timeline = Vec::new();
    let mut progress = Progress::new();
    loop {
        let arrived = house.arrivals().await?.count - before;
        let memory = service.memory()?;
        let moment = Moment {
            at: (now_us() - resumed_us) as f64 / 1e6,
            arrived,
            own_mb: memory.own,
        };
        timeline.push((moment, memory));
        if arrived >= owed {
            return Ok(timeline);
        }
        progress.note(arrived, owed)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
