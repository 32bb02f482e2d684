//! Hides how the figures are written down.

use std::fmt::Write as _;
use std::time::Duration;

/// What one workload came to.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Events a second, from the first publication to the last arrival.
    pub(crate) events: f64,
    /// Deliveries a second, over the same time.
    pub(crate) deliveries: f64,
    /// From the last publication to the last arrival.
    pub(crate) behind: Duration,
    pub(crate) publish_p50_ms: f64,
    pub(crate) publish_p99_ms: f64,
    /// Processor time of the service per delivery, in microseconds.
    pub(crate) cpu_us: f64,
    pub(crate) peak_mib: f64,
}

/// The page.
pub(crate) fn page(raw: f64, rows: &[Row], seconds: u64) -> String {
    let mut page = format!(
        "# Performance\n\n\
         Written by `cargo xtask bench`: the release build of the service, a minimal HTTPS \
         receiver and a\nload generator, three processes that share one \
         machine ({}). Each workload\npublishes for {seconds} s; events a second are counted end to end, from the \
         first publication to the last arrival at\nthe receiver. Every event is durable \
         (SQLite, `synchronous=FULL`) before it is acknowledged; a delivery\nis signed twice, \
         goes over TLS on kept-alive connections, and its attempt is recorded.\n\n\
         The raw limit in the same run, a bare client posting the same bytes to the same receiver \
         over 64\nconnections without any service between: **{raw:.0} requests a second**.\n\n\
         | workload | events/s | deliveries/s | of the raw limit | last arrival after | publish \
         p50 / p99 | service CPU a delivery | peak memory |\n|---|---|---|---|---|---|---|---|\n",
        machine()
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| {} | {:.0} | {:.0} | {:.2} | {} ms | {:.1} / {:.1} ms | {:.0} µs | {:.0} MiB |",
            row.name,
            row.events,
            row.deliveries,
            row.deliveries / raw,
            row.behind.as_millis(),
            row.publish_p50_ms,
            row.publish_p99_ms,
            row.cpu_us,
            row.peak_mib
        );
    }
    page
}

/// The machine in a few words.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the version says who built it, and nothing about speed.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cores} cores, {model}, Linux {kernel}")
}
