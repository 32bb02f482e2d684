//! Hides where Linux tells what a process, and the machine, have used so far.

use std::collections::HashMap;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// Memory of a process, in MB (of 1,000,000 bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// `RssAnon`: what the process has allocated, its own and nobody else's.
    pub(crate) own: f64,
    /// `VmRSS`: that, and the pages of files that are mapped, its program above all.
    pub(crate) resident: f64,
}

/// Processor seconds of a process, in user and kernel.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = process_ticks(&stat).context("/proc/PID/stat")?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// Processor time of the threads of a process, to the nanosecond: the other count comes in ticks of
/// 10 ms, which is too coarse for a process that idles.
pub(crate) struct ThreadTimes(HashMap<String, u64>);

impl ThreadTimes {
    /// Those so far.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut times = HashMap::new();
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            // Where it cannot be read the thread has ended in between.
            if let Ok(stat) = std::fs::read_to_string(thread.path().join("schedstat")) {
                let first = stat.split_whitespace().next();
                let spent = first.and_then(|field| field.parse().ok());
                let spent = spent.context("/proc/PID/task/TID/schedstat")?;
                times.insert(thread.file_name().to_string_lossy().into_owned(), spent);
            }
        }
        Ok(Self(times))
    }

    /// Processor seconds since an earlier moment, of the threads that are still there.
    pub(crate) fn since(&self, before: &Self) -> f64 {
        let spent = self.0.iter().map(|(thread, time)| {
            let earlier = before.0.get(thread).copied().unwrap_or_default();
            time.saturating_sub(earlier)
        });
        spent.sum::<u64>() as f64 / 1e9
    }
}

/// Memory of a process.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name| megabytes(&status, name).with_context(|| format!("{name} of a process"));
    Ok(Memory {
        own: field("RssAnon:")?,
        resident: field("VmRSS:")?,
    })
}

/// Processor seconds of everything on the machine, all cores together.
pub(crate) fn machine_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let ticks = machine_ticks(&stat).context("/proc/stat")?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// How many cores there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn process_ticks(stat: &str) -> Option<u64> {
    // Past the name, which may hold spaces: user and kernel time are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + kernel)
}

fn megabytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

fn machine_ticks(stat: &str) -> Option<u64> {
    // user nice system idle iowait irq softirq steal: all but idle and iowait.
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let idle: u64 = fields.get(3..5)?.iter().sum();
    Some(fields.iter().sum::<u64>() - idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_read() {
        let stat = "42 (a name) with) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(process_ticks(stat), Some(300));
        let status = "Name:\tx\nVmRSS:\t    2000 kB\nRssAnon:\t    1000 kB\n";
        assert_eq!(megabytes(status, "RssAnon:"), Some(1.024));
        assert_eq!(megabytes(status, "VmRSS:"), Some(2.048));
        assert_eq!(megabytes(status, "VmHWM:"), None);
        let stat = "cpu  10 1 5 1000 7 2 3 4 0 0\ncpu0 1 1 1 1\n";
        assert_eq!(machine_ticks(stat), Some(25));
    }

    #[test]
    fn a_living_process_has_used_something() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.own > 0.0 && memory.resident >= memory.own);
        assert!(machine_seconds().unwrap() > cpu_seconds(std::process::id()).unwrap());
    }

    #[test]
    fn threads_that_begin_and_end_are_no_trouble() {
        let times = |all: &[(&str, u64)]| {
            let owned = all
                .iter()
                .map(|(thread, time)| ((*thread).to_owned(), *time));
            ThreadTimes(owned.collect())
        };
        let before = times(&[("1", 1_000_000_000), ("2", 5_000_000_000)]);
        let after = times(&[("1", 1_500_000_000), ("3", 250_000_000)]);
        assert_eq!(after.since(&before), 0.75);
        let own = ThreadTimes::of(std::process::id()).unwrap();
        assert!(own.since(&times(&[])) > 0.0);
    }
}
