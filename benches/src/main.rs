//! How fast the whole service is: the real binary, a real HTTPS receiver and a load generator,
//! each a process of its own, and the raw limit of the machine in the same run.
//!
//! Rooms, in reading order: [`run`] is the order of it all; [`measure`] has a room for each kind of
//! measurement; [`house`] is where everything is, [`service`] the binary under test, [`process`] the
//! bench's own processes, [`api`] the operator's calls, [`meter`] and [`usage`] who uses what. The
//! processes: [`receiver`] counts what arrives, [`load`] publishes (by [`pace`] where a schedule is
//! kept), [`raw`] posts to the receiver without any service between; they share [`event`], [`wire`]
//! and [`clock`]; [`seed`] fills a store. What came of it: [`figures`] keeps it, [`stats`] makes few
//! figures of many, [`goals`] judges, [`report`] writes the page and its charts.

mod api;
mod clock;
mod event;
mod figures;
mod goals;
mod house;
mod load;
mod measure;
mod meter;
mod pace;
mod process;
mod raw;
mod receiver;
mod report;
mod run;
mod seed;
mod service;
mod stats;
mod usage;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The benchmark of the whole service.
#[derive(Parser)]
#[command(name = "vk-bench")]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Conduct all of it.
    Run(run::Options),
    /// Be the receiver.
    Receiver(receiver::Options),
    /// Be the load generator.
    Load,
    /// Make a store with many deliveries.
    Seed(seed::Options),
    /// Be the bare client.
    Raw(raw::Options),
}

fn main() -> Result<()> {
    match Cli::parse().mode {
        Mode::Run(options) => on_one_thread()?.block_on(run::run(options)),
        Mode::Receiver(options) => lean()?.block_on(receiver::run(options)),
        Mode::Load => lean()?.block_on(load::run()),
        Mode::Seed(options) => on_all_cores()?.block_on(seed::run(options)),
        Mode::Raw(options) => on_all_cores()?.block_on(raw::run(options)),
    }
}

/// The cheapest runtime: nothing is handed from one thread to another.
fn on_one_thread() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// What leaves most of the machine to the service: on two cores one thread, which is cheapest; on
/// more, one thread might be what everything waits for.
fn lean() -> Result<Runtime> {
    match usage::cores() {
        0..=2 => on_one_thread(),
        _ => on_all_cores(),
    }
}

/// The fastest runtime where more than one core is to be had.
fn on_all_cores() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}
