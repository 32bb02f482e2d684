//! Hides how many events a second go through, from the first publication to the last arrival.

use anyhow::Result;

use super::full::Full;
use super::publishing::Publishing;
use crate::api::Api;
use crate::house::House;
use crate::load::{Orders, Rhythm};
use crate::meter::{Meter, Shares};
use crate::process::Process;
use crate::raw::Posted;
use crate::receiver::{SLOW, Temper};
use crate::run::Part;
use crate::service::Service;
use crate::stats::Percentiles;

/// How fast is published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pressure {
    /// As fast as the service answers, for the span of a round.
    Time,
    /// As fast as the service answers, as many events as the receivers can take in the span of a
    /// round when this many are under way at once.
    Places(usize),
}

/// Who publishes what, and where it goes.
#[derive(Debug, PartialEq)]
pub(crate) struct Workload {
    pub(crate) part: Part,
    /// A short name, for charts.
    pub(crate) name: &'static str,
    /// What it is, for the table.
    pub(crate) title: &'static str,
    pub(crate) teams: usize,
    /// Endpoints of each team.
    pub(crate) endpoints: usize,
    pub(crate) connections: usize,
    /// Events in one call.
    pub(crate) batch: usize,
    pub(crate) temper: Temper,
    pub(crate) pressure: Pressure,
}

const ONE: Workload = Workload {
    part: Part::One,
    name: "one endpoint",
    title: "one endpoint, published singly from 64 connections",
    teams: 1,
    endpoints: 1,
    connections: 64,
    batch: 1,
    temper: Temper::Plain,
    pressure: Pressure::Time,
};

/// Every one of them, in the order in which a round runs them.
pub(crate) static WORKLOADS: [Workload; 6] = [
    ONE,
    Workload {
        part: Part::Ten,
        name: "ten endpoints",
        title: "ten endpoints an event, published singly from 64 connections",
        endpoints: 10,
        ..ONE
    },
    Workload {
        part: Part::Teams,
        name: "200 teams",
        title: "200 teams with one endpoint each, published singly from 64 connections",
        teams: 200,
        ..ONE
    },
    Workload {
        part: Part::Batch,
        name: "batches",
        title: "one endpoint, batches of 100 events from 8 connections",
        connections: 8,
        batch: 100,
        ..ONE
    },
    Workload {
        part: Part::Slow,
        name: "slow, one",
        title: "one endpoint that takes 50 ms to answer",
        temper: Temper::Slow,
        pressure: Pressure::Places(64),
        ..ONE
    },
    Workload {
        part: Part::Slow,
        name: "slow, ten",
        title: "ten endpoints an event that take 50 ms to answer",
        endpoints: 10,
        temper: Temper::Slow,
        pressure: Pressure::Places(512),
        ..ONE
    },
];

/// What one round of a workload came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Events a second, end to end.
    pub(crate) events: f64,
    /// Deliveries a second, over the same time.
    pub(crate) deliveries: f64,
    /// Deliveries a second as a share of the raw limit of the same round.
    pub(crate) of_raw: f64,
    /// From the last acknowledgement to the last arrival, in milliseconds.
    pub(crate) behind_ms: f64,
    /// How long a call that publishes took.
    pub(crate) acknowledged: Percentiles,
    /// Processor milliseconds of the service for 1,000 deliveries.
    pub(crate) cpu_ms: f64,
    /// The most memory of its own the service had, in MB.
    pub(crate) peak_mb: f64,
    pub(crate) shares: Shares,
}

/// One round of the raw limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRound {
    /// Requests a second.
    pub(crate) requests: f64,
    pub(crate) shares: Shares,
}

impl Workload {
    /// The most deliveries a second its receivers can take, where they are what limits it.
    pub(crate) fn ceiling(&self) -> Option<f64> {
        match self.pressure {
            Pressure::Time => None,
            Pressure::Places(places) => Some(places as f64 / SLOW.as_secs_f64()),
        }
    }

    fn rhythm(&self, seconds: f64) -> Rhythm {
        match self.ceiling() {
            None => Rhythm::For { seconds },
            Some(ceiling) => Rhythm::Calls {
                calls: (seconds * ceiling) as u64 / self.endpoints as u64,
            },
        }
    }

    /// The name of its teams, but for their number.
    fn team(&self, number: usize) -> String {
        format!("bench-{number}")
    }
}

/// A round on a store that is new.
pub(crate) async fn on_a_fresh_store(
    house: &mut House,
    workload: &Workload,
    seconds: f64,
    raw: f64,
) -> Result<Round> {
    let folder = house.new_store()?;
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let url = house.url(workload.temper);
    let mut keys = Vec::new();
    for number in 0..workload.teams {
        let team = workload.team(number);
        keys.push(api.furnish(&team, workload.endpoints, &url).await?.key);
    }
    let round = measure(house, &service, workload, keys, seconds, raw).await?;
    service.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(round)
}

/// A round on the store with millions of deliveries.
pub(crate) async fn on_a_full_store(
    house: &mut House,
    full: &Full,
    workload: &Workload,
    seconds: f64,
    raw: f64,
) -> Result<Round> {
    let service = house.service(&full.folder).await?;
    let key = if workload.endpoints == 1 {
        &full.one
    } else {
        &full.ten
    };
    let keys = vec![key.clone()];
    let round = measure(house, &service, workload, keys, seconds, raw).await?;
    service.stop().await?;
    Ok(round)
}

async fn measure(
    house: &mut House,
    service: &Service,
    workload: &Workload,
    keys: Vec<String>,
    seconds: f64,
    raw: f64,
) -> Result<Round> {
    let orders = Orders {
        address: service.address(),
        keys,
        connections: workload.connections,
        batch: workload.batch,
        rhythm: workload.rhythm(seconds),
    };
    let mut publishing = Publishing::start(house, service, &orders).await?;
    let outcome = publishing.published().await?;
    let owed = outcome.events * workload.endpoints as u64;
    let arrivals = publishing.arrived(owed).await?;
    let used = publishing.end()?;
    let took = arrivals.last_us.saturating_sub(outcome.started_us) as f64 / 1e6;
    let deliveries = owed as f64 / took;
    Ok(Round {
        events: outcome.events as f64 / took,
        deliveries,
        of_raw: deliveries / raw,
        behind_ms: arrivals.last_us.saturating_sub(outcome.ended_us) as f64 / 1e3,
        acknowledged: outcome.acknowledged,
        cpu_ms: used.service_seconds * 1e6 / owed as f64,
        peak_mb: used.peak.own,
        shares: used.shares,
    })
}

/// A round of the raw limit.
pub(crate) async fn raw(house: &mut House, seconds: f64) -> Result<RawRound> {
    let (ca_file, seconds) = (house.ca_file().display().to_string(), seconds.to_string());
    let (port, receiver) = (house.port(), &house.receiver);
    let arguments = ["--port", port, "--ca-file", &ca_file, "--seconds", &seconds];
    let mut client = Process::mode(&[&["raw"], &arguments[..]].concat())?;
    let meter = Meter::start(None, receiver, Some(&client))?;
    let posted: Posted = client.told().await?;
    let used = meter.stop(None, receiver, Some(&client))?;
    Ok(RawRound {
        requests: posted.requests as f64 / posted.seconds,
        shares: used.shares,
    })
}
