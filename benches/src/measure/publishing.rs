//! Hides one span of publishing: the load generator at work, and the wait until everything has arrived.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::house::House;
use crate::load::{Orders, Outcome};
use crate::meter::{Meter, Used};
use crate::process::Process;
use crate::receiver::Arrivals;
use crate::service::Service;
use crate::stats::Percentiles;

/// How often the receiver is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How long nothing at all may arrive while something is owed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Publishing under way.
pub(crate) struct Publishing<'a> {
    house: &'a mut House,
    service: &'a Service,
    load: Process,
    meter: Meter,
    before: u64,
}

impl<'a> Publishing<'a> {
    /// Starts the load generator.
    pub(crate) async fn start(
        house: &'a mut House,
        service: &'a Service,
        orders: &Orders,
    ) -> Result<Self> {
        let before = house.arrivals().await?.count;
        let mut load = Process::mode(&["load"])?;
        let meter = Meter::start(Some(service), &house.receiver, Some(&load))?;
        load.tell(&serde_json::to_string(orders)?).await?;
        Ok(Self {
            house,
            service,
            load,
            meter,
            before,
        })
    }

    /// Waits until all is published.
    pub(crate) async fn published(&mut self) -> Result<Outcome> {
        loop {
            tokio::select! {
                outcome = self.load.told() => return outcome,
                () = tokio::time::sleep(ASK_EVERY) => self.meter.look(self.service)?,
            }
        }
    }

    /// Waits until so many deliveries have arrived since the start.
    pub(crate) async fn arrived(&mut self, owed: u64) -> Result<Arrivals> {
        let mut progress = Progress::new();
        loop {
            let arrivals = self.house.arrivals().await?;
            let count = arrivals.count - self.before;
            if count >= owed {
                return Ok(Arrivals { count, ..arrivals });
            }
            progress.note(count, owed)?;
            self.pause().await?;
        }
    }

    /// Waits for so many of the events that were due in a span; their latencies.
    pub(crate) async fn latencies(&mut self, from: u64, to: u64, owed: u64) -> Result<Percentiles> {
        let mut progress = Progress::new();
        loop {
            let count: u64 = self.house.receiver.ask(&format!("due {from} {to}")).await?;
            if count >= owed {
                let question = format!("latencies {from} {to}");
                return self.house.receiver.ask(&question).await;
            }
            progress.note(count, owed)?;
            self.pause().await?;
        }
    }

    async fn pause(&mut self) -> Result<()> {
        self.meter.look(self.service)?;
        tokio::time::sleep(ASK_EVERY).await;
        Ok(())
    }

    /// Ends it; what was used since its start.
    pub(crate) fn end(self) -> Result<Used> {
        let load = Some(&self.load);
        self.meter
            .stop(Some(self.service), &self.house.receiver, load)
    }
}

/// Whether deliveries still arrive.
pub(crate) struct Progress {
    count: u64,
    since: Instant,
}

impl Progress {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            count: 0,
            since: Instant::now(),
        }
    }

    /// Notes how many have arrived; an error where that has been the same for long.
    pub(crate) fn note(&mut self, count: u64, owed: u64) -> Result<()> {
        if count != self.count {
            *self = Self {
                count,
                since: Instant::now(),
            };
        }
        if self.since.elapsed() > PATIENCE {
            bail!("only {count} of {owed} deliveries arrived");
        }
        Ok(())
    }
}
