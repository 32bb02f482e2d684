//! `vk-webhooks`: the service, its demo and its tools in one binary.
//!
//! Rooms, in reading order:
//!
//! - [`cli`]: what can be typed;
//! - [`console`]: how commands print;
//! - [`config`]: where settings come from; [`logging`]: how log lines are written;
//! - [`serve`]: the service, from start to stop;
//! - [`client`]: asking the API of a service;
//! - [`demo`]: all of it together, to be looked at;
//! - [`tools`]: `verify`, `listen`, `trigger` and `backup`.

mod cli;
mod client;
mod config;
mod console;
mod demo;
mod logging;
mod serve;
mod tools;

use std::process::ExitCode;

/// The allocator: many small, short-lived buffers over many threads are what it is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let code = match cli::run() {
        Ok(code) => code,
        Err(error) => {
            logging::say(&format!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}
