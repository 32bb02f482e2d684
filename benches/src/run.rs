//! Hides the order of a run: what is measured when, and what becomes of it.

use std::path::PathBuf;

use anyhow::Result;

use crate::figures::Figures;
use crate::goals::{BACKLOG, FULL};
use crate::house::House;
use crate::measure::full::{self, Full};
use crate::measure::throughput::{WORKLOADS, Workload};
use crate::measure::{backlog, hanging, idle, latency, limited, pages, throughput};
use crate::report::{self, Machine};

/// What `run` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The service's binary, built for release
    #[arg(long)]
    service: PathBuf,
    /// A folder for stores, on the disk that is to be measured; what is in it is deleted
    #[arg(long)]
    folder: PathBuf,
    /// The page to write; its charts go into a folder of the same name beside it
    #[arg(long)]
    report: PathBuf,
    /// How long each throughput workload publishes in a round, and each schedule counts
    #[arg(long, default_value_t = 4.0)]
    pub(crate) seconds: f64,
    /// How many rounds there are
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Only this part (repeatable); the page is not written then
    #[arg(long)]
    only: Vec<Part>,
    /// Deliveries in the log of the store that is full; with another number the page is not written
    #[arg(long, default_value_t = FULL)]
    full_size: u64,
    /// Deliveries in the backlog; with another number the page is not written
    #[arg(long, default_value_t = BACKLOG)]
    backlog_size: u64,
}

/// How long the raw limit is measured in a round, at most.
const RAW_SECONDS: f64 = 3.0;
/// The schedules, in events a second.
const SCHEDULES: [f64; 2] = [200.0, 2000.0];
/// How many spans with none and with one hanging there are, and how many starts.
const TRIES: usize = 3;

/// A part of the run that can be had alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// One endpoint
    One,
    /// Ten endpoints an event
    Ten,
    /// 200 teams
    Teams,
    /// Batch publishing
    Batch,
    /// Receivers that take 50 ms
    Slow,
    /// Latencies at 200 and at 2,000 events a second
    Open,
    /// One endpoint and ten, with millions of deliveries in the log
    Full,
    /// Starts with millions of deliveries in the store
    Start,
    /// Pages of the log with millions of deliveries
    Pages,
    /// Nothing to do
    Idle,
    /// One endpoint of a thousand hanging
    Hanging,
    /// A thousand events for a receiver that takes fifty a second
    Limited,
    /// A backlog of a million deliveries
    Backlog,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn wants_any(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.wants(*part))
    }

    /// Whether all of it is run, as the page says.
    fn is_whole(&self) -> bool {
        self.only.is_empty() && self.full_size == FULL && self.backlog_size == BACKLOG
    }

    /// Whether the workload is to be run, and on a full store too.
    fn wants_workload(&self, workload: &Workload) -> (bool, bool) {
        let full = self.wants(Part::Full) && matches!(workload.part, Part::One | Part::Ten);
        (full || self.wants(workload.part), full)
    }
}

/// Runs all that is wanted, prints what came of it and, where it is all, writes the page.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut house = House::open(&options.service, &options.folder).await?;
    let machine = Machine::look(&mut house).await?;
    let mut figures = Figures {
        full_size: options.full_size,
        ..Figures::default()
    };
    let outcome = conduct(&options, &mut house, &mut figures).await;
    // Whatever came of it, the stores are in the way.
    house.clear()?;
    let settings = report::Settings {
        seconds: options.seconds,
        rounds: options.rounds,
    };
    let part = report::generated(&figures, &machine, settings);
    println!("\n{part}");
    outcome?;
    if options.is_whole() {
        report::write(&options.report, &part, &figures)?;
        println!("\nwritten to {}", options.report.display());
    }
    Ok(())
}

async fn conduct(options: &Options, house: &mut House, figures: &mut Figures) -> Result<()> {
    if options.wants(Part::Idle) {
        println!("idle …");
        figures.idle = Some(idle::measure(house).await?);
    }
    let mut full = None;
    if options.wants_any(&[Part::Full, Part::Start, Part::Pages]) {
        println!("a store with {} deliveries …", options.full_size);
        full = Some(full::make(house, options.full_size).await?);
    }
    if let Some(full) = &full {
        at_rest(options, house, full, figures).await?;
    }
    if options.wants_any(&[Part::One, Part::Ten, Part::Teams, Part::Batch, Part::Slow])
        || options.wants_any(&[Part::Open, Part::Full])
    {
        for round in 1..=options.rounds {
            println!("round {round} of {} …", options.rounds);
            one_round(options, house, full.as_ref(), figures).await?;
        }
    }
    if options.wants(Part::Hanging) {
        println!("one endpoint of 1,000 hanging …");
        figures.hanging = hanging::measure(house, TRIES, options.seconds).await?;
    }
    if options.wants(Part::Limited) {
        println!("a receiver that takes fifty a second …");
        figures.limited = Some(limited::measure(house).await?);
    }
    if options.wants(Part::Backlog) {
        println!("a backlog of {} deliveries …", options.backlog_size);
        figures.backlog = Some(backlog::measure(house, options.backlog_size).await?);
    }
    Ok(())
}

/// What is measured of a full store while nothing is delivered.
async fn at_rest(
    options: &Options,
    house: &House,
    full: &Full,
    figures: &mut Figures,
) -> Result<()> {
    if options.wants(Part::Start) {
        println!("starts …");
        figures.starts = Some(full::starts(house, full, TRIES).await?);
    }
    if options.wants(Part::Pages) {
        println!("pages of the log …");
        figures.pages = pages::measure(house, full).await?;
    }
    Ok(())
}

async fn one_round(
    options: &Options,
    house: &mut House,
    full: Option<&Full>,
    figures: &mut Figures,
) -> Result<()> {
    let seconds = options.seconds;
    let raw = throughput::raw(house, seconds.min(RAW_SECONDS)).await?;
    let limit = raw.requests;
    println!("  raw limit: {limit:.0} requests/s");
    figures.raw.push(raw);
    for workload in &WORKLOADS {
        let (wanted, wanted_full) = options.wants_workload(workload);
        if wanted {
            let round = throughput::on_a_fresh_store(house, workload, seconds, limit).await?;
            println!("  {}: {:.0} deliveries/s", workload.name, round.deliveries);
            figures.note(workload, false, round);
        }
        if let (true, Some(full)) = (wanted_full, full) {
            let round = throughput::on_a_full_store(house, full, workload, seconds, limit).await?;
            println!(
                "  {}, full log: {:.0} deliveries/s",
                workload.name, round.deliveries
            );
            figures.note(workload, true, round);
        }
    }
    for per_second in SCHEDULES {
        if options.wants(Part::Open) {
            let latency = latency::one_endpoint(house, per_second, seconds).await?;
            println!(
                "  {per_second:.0} events/s: p99 {:.1} ms",
                latency.arrival.p99
            );
            figures.note_open(per_second, latency);
        }
    }
    Ok(())
}
