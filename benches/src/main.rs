//! How fast the whole service is: the real binary, a real HTTPS receiver and a load generator,
//! each a process of its own, and the raw limit of the machine in the same run.
//!
//! Rooms, in reading order: [`run`] conducts, [`receiver`] counts what arrives, [`load`]
//! publishes, [`raw`] posts to the receiver without any service between, [`process`] starts and
//! measures processes, [`report`] writes what came of it.

mod load;
mod process;
mod raw;
mod receiver;
mod report;
mod run;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    Load(load::Options),
    /// Be the bare client.
    Raw(raw::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().mode {
        Mode::Run(options) => run::run(options).await,
        Mode::Receiver(options) => receiver::run(options).await,
        Mode::Load(options) => load::run(options).await,
        Mode::Raw(options) => raw::run(options).await,
    }
}
