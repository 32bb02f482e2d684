//! Hides how it is found out who uses the processor in a span, and the most memory the service has.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::Process;
use crate::service::Service;
use crate::usage::{self, Memory};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was used in a span.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Shares of all cores.
    pub(crate) shares: Shares,
    /// Processor seconds of the service.
    pub(crate) service_seconds: f64,
    /// The most memory the service had.
    pub(crate) peak: Memory,
}

/// Who used the processor: shares of all cores, 1 being all of them all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    pub(crate) service: f64,
    pub(crate) receiver: f64,
    /// The load generator, or the bare client.
    pub(crate) load: f64,
    /// Everything else on the machine.
    pub(crate) other: f64,
}

impl Shares {
    /// Everybody's.
    pub(crate) fn busy(&self) -> f64 {
        self.service + self.receiver + self.load + self.other
    }
}

/// Processor seconds at one moment.
#[derive(Clone, Copy, Default)]
struct Reading {
    service: f64,
    receiver: f64,
    load: f64,
    machine: f64,
}

/// Runs from the moment it is made.
pub(crate) struct Meter {
    start: Instant,
    before: Reading,
    peak: Memory,
    looked: Instant,
}

impl Meter {
    /// Begins a span.
    pub(crate) fn start(
        service: Option<&Service>,
        receiver: &Process,
        load: Option<&Process>,
    ) -> Result<Self> {
        Ok(Self {
            start: Instant::now(),
            before: read(service, receiver, load)?,
            peak: Memory::default(),
            looked: Instant::now(),
        })
    }

    /// Looks at the service's memory, where it is time to.
    pub(crate) fn look(&mut self, service: &Service) -> Result<()> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.note(service.memory()?);
        }
        Ok(())
    }

    fn note(&mut self, memory: Memory) {
        self.peak.own = self.peak.own.max(memory.own);
        self.peak.resident = self.peak.resident.max(memory.resident);
        self.looked = Instant::now();
    }

    /// Ends the span.
    pub(crate) fn stop(
        mut self,
        service: Option<&Service>,
        receiver: &Process,
        load: Option<&Process>,
    ) -> Result<Used> {
        let after = read(service, receiver, load)?;
        if let Some(service) = service {
            self.note(service.memory()?);
        }
        let available = self.start.elapsed().as_secs_f64() * usage::cores() as f64;
        Ok(Used {
            shares: shares(self.before, after, available),
            service_seconds: after.service - self.before.service,
            peak: self.peak,
        })
    }
}

fn read(service: Option<&Service>, receiver: &Process, load: Option<&Process>) -> Result<Reading> {
    Ok(Reading {
        service: service.map_or(Ok(0.0), Service::cpu_seconds)?,
        receiver: receiver.cpu_seconds()?,
        load: load.map_or(Ok(0.0), Process::cpu_seconds)?,
        machine: usage::machine_seconds()?,
    })
}

fn shares(before: Reading, after: Reading, available: f64) -> Shares {
    let share = |seconds: f64| seconds / available;
    let service = share(after.service - before.service);
    let receiver = share(after.receiver - before.receiver);
    let load = share(after.load - before.load);
    let busy = share(after.machine - before.machine);
    Shares {
        service,
        receiver,
        load,
        // Both kinds of figures are counted in ticks, so the rest may come out below nothing.
        other: (busy - service - receiver - load).max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_cores_and_the_rest_is_others() {
        let after = Reading {
            service: 4.0,
            receiver: 2.0,
            load: 1.0,
            machine: 8.0,
        };
        let of = shares(Reading::default(), after, 10.0);
        assert_eq!((of.service, of.receiver, of.load), (0.4, 0.2, 0.1));
        assert!((of.other - 0.1).abs() < 1e-9 && (of.busy() - 0.8).abs() < 1e-9);
    }
}
