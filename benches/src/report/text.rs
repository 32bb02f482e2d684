//! Hides what the generated part of the page says.

use super::machine::Machine;
use super::tables;
use crate::figures::Figures;
use crate::figures::{grouped, millions};
use crate::goals::goals;
use crate::measure::latency::Latency;
use crate::measure::limited::{EVENTS, WITHIN};
use crate::measure::throughput::Workload;
use crate::receiver::{LIMIT, SLOW};
use crate::run::Part;
use crate::stats::Spread;

/// How the run was set.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
}

/// The part of the page that is generated. What was not run is not mentioned.
pub(crate) fn generated(figures: &Figures, machine: &Machine, settings: Settings) -> String {
    let sections = [
        Some(how(machine, settings)),
        to_reach(figures),
        throughput(figures),
        saturation(figures),
        latency(figures),
        hanging(figures),
        limited(figures),
        full(figures),
        backlog(figures),
        idle(figures),
    ];
    let sections: Vec<String> = sections.into_iter().flatten().collect();
    sections.join("\n\n")
}

fn how(machine: &Machine, settings: Settings) -> String {
    let Settings { seconds, rounds } = settings;
    format!(
        "Written by `cargo xtask bench` (about ten minutes, nothing to set up): the release build of the service, an\n\
         HTTPS receiver and a load generator, three processes that share one machine over loopback. The machine:\n\
         {}.\n\n\
         Every event is durable (SQLite, its log synced after every commit) before it is acknowledged; a delivery is signed twice,\n\
         goes over TLS on kept-alive connections, and its attempt is recorded. The settings are the defaults, but that\n\
         the receiver's address and certificate are allowed.\n\n\
         Rounds: {rounds}, in each of which every workload publishes for {seconds} s. Events a second are counted end to end,\n\
         from the first publication to the last arrival. A single figure is the median of all rounds, a range is\n\
         from the lowest to the highest. Memory is the service's own (`RssAnon`), in MB of 1,000,000 bytes: `VmRSS` and\n\
         `VmHWM` also count pages of mapped files, such as the program, which the system may drop and share.",
        machine.sentence()
    )
}

fn to_reach(figures: &Figures) -> Option<String> {
    let rows: Vec<String> = goals(figures).iter().map(|goal| goal.row()).collect();
    (!rows.is_empty()).then(|| {
        let head = "### To reach\n\n| | measured | at least | aim |\n|---|---|---|---|";
        format!("{head}\n{}", rows.join("\n"))
    })
}

fn throughput(figures: &Figures) -> Option<String> {
    let raw = Spread::of(figures.raw.iter().map(|raw| raw.requests))?;
    let number = |figure: f64| grouped(format!("{figure:.0}"));
    let mut text = format!(
        "### Throughput\n\n\
         ![Deliveries a second by workload](performance/throughput.svg)\n\n\
         The raw limit, a bare hyper client that posts the same bytes to the same receiver over 64 connections without\n\
         any service between, in the same rounds: **{} requests a second** ({} to {}).\n\n{}",
        number(raw.median),
        number(raw.min),
        number(raw.max),
        tables::throughput(&figures.throughput)
    );
    if figures.throughput.iter().any(|series| series.full) {
        let size = millions(figures.full_size);
        text += &format!("\n\nA full log is one with {size} deliveries in it.");
    }
    let slow = figures.throughput.iter().map(|series| series.workload);
    let ceilings: Vec<String> = slow.filter_map(ceiling).collect();
    if !ceilings.is_empty() {
        text += &format!(
            "\n\nWhat limits a receiver that takes {} ms to answer is how many attempts may be under way (64 for an endpoint,\n\
             512 for a team, unless set otherwise): {}.",
            SLOW.as_millis(),
            ceilings.join("; ")
        );
    }
    Some(text)
}

fn ceiling(workload: &Workload) -> Option<String> {
    let ceiling = grouped(format!("{:.0}", workload.ceiling()?));
    Some(format!(
        "{}, at most {ceiling} deliveries a second",
        workload.title
    ))
}

fn saturation(figures: &Figures) -> Option<String> {
    let rows = tables::processor(figures)?;
    Some(format!(
        "### What saturates\n\n\
         ![Who uses the processor](performance/processor.svg)\n\n\
         Shares of all cores over each workload, from processor seconds; 100 % is all cores all the time. What is\n\
         missing from 100 % is waiting: for the disk, for an answer, for the schedule.\n\n{rows}"
    ))
}

fn latency(figures: &Figures) -> Option<String> {
    (!figures.open.is_empty()).then(|| {
        format!(
            "### Latency\n\n\
             ![Latency by schedule](performance/latency.svg)\n\n\
             Events by a schedule that waits for nobody, for one endpoint: from the moment an event was *due* to be published\n\
             to its arrival at the receiver, by the same clock, so that a late start counts too (no coordinated\n\
             omission). The load generator's own lateness is in it, and shown.{}\n\n{}",
            outrun(figures.open.iter().flat_map(|open| &open.rounds)),
            tables::latency(figures)
        )
    })
}

/// Says so where the machine could not take what was published.
fn outrun<'a>(mut spans: impl Iterator<Item = &'a Latency>) -> &'static str {
    if spans.all(Latency::kept_pace) {
        return "";
    }
    "\n\n**The machine could not keep at least one of these schedules in this run: its latencies are those of a queue that \
     grew, and say nothing about the service at a load it can take.**"
}

fn hanging(figures: &Figures) -> Option<String> {
    (!figures.hanging.is_empty()).then(|| {
        format!(
            "### One endpoint of 1,000 hanging\n\n\
             100 teams with ten endpoints each, 400 events a second by a schedule, each to the ten endpoints of its team; then\n\
             the same with one endpoint that takes requests and never answers, for a while.\n\
             Latencies of all others, {} spans of each by turns. What one that hangs costs is the median of how much the p99 of each\n\
             pair of spans differs.{}\n\n{}",
            figures.hanging.len(),
            outrun(figures.hanging.iter().flat_map(|pair| [&pair.none, &pair.one])),
            tables::hanging(figures)
        )
    })
}

fn limited(figures: &Figures) -> Option<String> {
    let limited = figures.limited?;
    Some(format!(
        "### A receiver that takes fifty a second\n\n\
         A batch of {} events for one endpoint whose receiver answers {LIMIT:.0} requests a second with 200, five of them at\n\
         once, and all beyond with 429: {} arrived within {} s, the last after {:.1} s, with {} requests.",
        grouped(EVENTS),
        grouped(limited.arrived),
        WITHIN.as_secs(),
        limited.seconds,
        grouped(limited.requests),
    ))
}

fn full(figures: &Figures) -> Option<String> {
    let size = millions(figures.full_size);
    let mut parts = Vec::new();
    let ratio = |part, name: &str| {
        let ratio = figures.full_against_empty(part)?;
        let Spread { median, min, max } = ratio;
        Some(format!("{name} **{median:.2}** ({min:.2} to {max:.2})"))
    };
    let ratios = [(Part::One, "one endpoint"), (Part::Ten, "ten endpoints")];
    let ratios: Vec<String> = ratios
        .iter()
        .filter_map(|(part, name)| ratio(*part, name))
        .collect();
    if !ratios.is_empty() {
        parts.push(format!(
            "Throughput as a share of that of an empty log in the same round: {}.\n\
             That store is made through its own verbs, as thirty days of service would have left it: three teams, thirteen\n\
             endpoints, all event types, dead letters, retries. The rounds add to it.",
            ratios.join(", ")
        ));
    }
    if let Some(starts) = figures.starts {
        parts.push(format!(
            "Start, until the service accepts requests: **{:.0} ms**, at worst {:.0} ms of {} starts, with a database of {} MB that\n\
             the system has cached. Memory then: {:.0} MB (`VmRSS` {:.0} MB).",
            starts.median_ms,
            starts.worst_ms,
            starts.count,
            grouped(format!("{:.0}", starts.size_mb)),
            starts.memory.own,
            starts.memory.resident
        ));
    }
    if !figures.pages.is_empty() {
        parts.push(format!(
            "Pages of the log over HTTP, of the team that has most of the deliveries: every combination of filters, 20 and 100 a\n\
             page, the first page and one from the middle of the log, {} pages in all, each asked for five times\n\
             after once to warm up. The slowest:\n\n{}",
            grouped(figures.pages.len()),
            tables::pages(&figures.pages)
        ));
    }
    (!parts.is_empty())
        .then(|| format!("### {size} deliveries in the log\n\n{}", parts.join("\n\n")))
}

fn backlog(figures: &Figures) -> Option<String> {
    let backlog = figures.backlog.as_ref()?;
    let count = grouped(backlog.deliveries);
    Some(format!(
        "### A backlog of {count} deliveries\n\n\
         ![Deliveries arrived and memory over time](performance/backlog.svg)\n\n\
         One endpoint is paused, {count} events are published for it in batches of 1,000 ({} a second), and it is resumed.\n\
         Drained, from the resumption to the last arrival, in **{:.1} s**: {} deliveries a second, {:.1} ms of processor time\n\
         for 1,000. Memory after the start {:.0} MB, at most {:.0} MB while publishing and {:.0} MB while draining: **{:.0} MB\n\
         above idle** (`VmRSS` at most {:.0} MB). Done once.",
        grouped(format!("{:.0}", backlog.published)),
        backlog.drained_in,
        grouped(format!(
            "{:.0}",
            backlog.deliveries as f64 / backlog.drained_in
        )),
        backlog.cpu_ms,
        backlog.idle.own,
        backlog.peak_publishing.own,
        backlog.peak.own,
        backlog.above_idle(),
        backlog.peak.resident
    ))
}

fn idle(figures: &Figures) -> Option<String> {
    let idle = figures.idle?;
    Some(format!(
        "### Idle\n\n\
         With nothing to do, over {:.0} s: memory **{:.0} MB** (`VmRSS` {:.0} MB), processor **{:.3} %** of one core.",
        idle.seconds,
        idle.memory.own,
        idle.memory.resident,
        idle.cpu * 100.0
    ))
}
