//! The project's chores: `cargo xtask test` proves that it works, `cargo xtask bench` says how
//! fast it is, `cargo xtask instructions` what its hot paths cost, `cargo xtask soak` whether it still works
//! after half an hour of trouble.
//!
//! Rooms, in reading order: `test` is the list of checks, `command` runs a program and judges
//! it, `needs` tries before the first check what they need of the machine, `tools` brings the programs
//! a check needs, `service` starts the real binary for checks from outside, `browser` walks the settings pages in a real one, `fuzz` runs the fuzz targets, `soak` goes
//! on for longer, `instructions` counts those of the hot paths and `baseline` holds them against those of
//! before, `bench` builds and runs the benchmark.

mod baseline;
mod bench;
mod browser;
mod command;
mod fuzz;
mod instructions;
mod needs;
mod service;
mod soak;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask test [--only CHECK]...  run every check (or only those named; --list names them)
cargo xtask needs                   try what all checks need of the machine, install what apt has of it, and name
                                    what is missing; `test` begins with it
cargo xtask soak [--minutes M]      simulated worlds, kills, cuts of the power and hostile receivers with new seeds,
                                    for so long (30)
cargo xtask bench [OPTION]...       measure the release build and write docs/performance.md (ten minutes);
                                    shorter: --seconds S, --rounds N; parts alone, only printed:
                                    --only WORKLOAD (repeatable; --help lists them)
cargo xtask pictures                walk the settings pages in a browser and keep the README's pictures of them
cargo xtask fuzz [OPTION]... [TARGET]...
                                    look for inputs that break a rule, ten minutes a target; --seconds S for
                                    another time; --keep takes what was found new into the kept inputs
cargo xtask instructions [--write]  count the instructions of the hot paths (and keep the counts)";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<String>) -> Result<ExitCode> {
    std::env::set_current_dir(command::root())?;
    match args.split_first() {
        Some((verb, rest)) if verb == "test" => test::run(rest),
        Some((verb, [])) if verb == "needs" => test::needs(),
        Some((verb, rest)) if verb == "soak" => soak::run(rest),
        Some((verb, rest)) if verb == "bench" => bench::run(rest),
        Some((verb, _)) if verb == "pictures" => browser::pictures(),
        Some((verb, rest)) if verb == "fuzz" => fuzz::run(rest),
        Some((verb, rest)) if verb == "instructions" => instructions::run(rest),
        Some((verb, _)) if verb != "help" && verb != "--help" => {
            bail!("there is no chore {verb:?}\n\n{USAGE}")
        }
        _ => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
    }
}
