//! Hides what can be typed, and which room answers it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::tools::{backup, listen, trigger, verify};
use crate::{config, demo, serve};

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
            let settings = config::load(&given, environment())?;
            runtime()?.block_on(serve::run(settings))?;
        }
        Command::Demo(options) => return runtime()?.block_on(demo::run(options)),
        Command::Listen(options) => runtime()?.block_on(listen::run(options))?,
        Command::Trigger(options) => runtime()?.block_on(trigger::run(options))?,
        Command::Verify(options) => return verify::run(&options),
        Command::Backup(options) => {
            let told = runtime()?.block_on(backup::run(options, environment()))?;
            print(&told)?;
        }
        Command::Config => print(config::DEFAULTS)?,
        Command::Openapi => print(&web::openapi_json())?,
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

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()) {
        // Whoever reads may stop reading, such as `head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}
