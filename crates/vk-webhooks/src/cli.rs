//! Hides what can be typed, and which room answers it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::tools::{backup, listen, trigger, verify};
use crate::{config, console, demo, serve};

/// How long work that nobody waits for may go on once the service has ended, such as closing the database
/// after a start that failed.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// Signed webhooks, delivered: events in, signed HTTPS deliveries out, retried and logged.
#[derive(Parser)]
#[command(name = "vk-webhooks", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API, the settings pages and the delivery engine.
    Serve(config::Given),
    /// See the whole thing work: service, receivers of five tempers, all event types, live.
    Demo(demo::Options),
    /// Receive webhooks on this machine: verify each delivery and print it.
    Listen(listen::Options),
    /// Publish an event type's example to a service.
    Trigger(trigger::Options),
    /// Say whether a delivery is genuine, and if not, precisely why.
    Verify(verify::Options),
    /// Copy the database into a new file, also while a service runs on it.
    Backup(backup::Options),
    /// Print the documented default settings, to start a configuration file from.
    Config,
    /// Print the OpenAPI 3.1 document of the HTTP API.
    Openapi,
}

/// Does what the command line asks for.
pub(crate) fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Serve(given) => {
            // Before there are other threads that could look at the environment.
            let passed = serve::passed::listener()?;
            let settings = config::load(&given, environment())?;
            let runtime = runtime()?;
            let ended = runtime.block_on(serve::run(settings, passed));
            // What still waits for a disk must not hold up the end.
            runtime.shutdown_timeout(LEFT_OVER);
            ended?;
        }
        Command::Demo(options) => return runtime()?.block_on(demo::run(options)),
        Command::Listen(options) => runtime()?.block_on(listen::run(options))?,
        Command::Trigger(options) => runtime()?.block_on(trigger::run(options))?,
        Command::Verify(options) => return verify::run(&options),
        Command::Backup(options) => {
            let told = runtime()?.block_on(backup::run(options, environment()))?;
            console::print(told.trim_end())?;
        }
        Command::Config => console::print(config::DEFAULTS.trim_end())?,
        Command::Openapi => console::print(web::openapi_json().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The environment; what is not Unicode is none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime's threads")
}
