//! Hides what goes on for as long as one likes, with seeds that nobody has tried: simulated worlds, kills, cuts
//! of the power, the street of hostile receivers, an overload, and a world whose log, name servers, ports and disk
//! go away and come back.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run as must_run, run_watched};

/// How long it goes on unless it is said, in minutes, and from when on every part is done in full.
const MINUTES: u64 = 30;
const IN_FULL: u64 = 20;

/// What each part does in full.
const KILLS: u64 = 100;
const CUTS: u64 = 40;
const STREET_SECONDS: u64 = 120;
const OVERLOAD_SECONDS: u64 = 60;
const OUTSIDE_SECONDS: u64 = 180;
/// How much of the time it has where there is more than that: an hour of two.
const OUTSIDE_SHARE: u64 = 2;
/// The least that the street, the overload and the world outside can be asked for, and the least time for simulated worlds, in seconds.
const STREET_AT_LEAST: u64 = 6;
const OVERLOAD_AT_LEAST: u64 = 15;
const OUTSIDE_AT_LEAST: u64 = 30;
const WORLDS_AT_LEAST: u64 = 10;

/// A test, and what makes it longer.
struct Part {
    says: String,
    package: &'static str,
    test: &'static str,
    environment: Vec<(&'static str, u64)>,
}

impl Part {
    /// Runs it, with its output on ours.
    fn run(&self) -> Result<()> {
        println!("\n== {}: {}", self.test, self.says);
        println!("{}", self.line());
        let mut command = cargo(&["test", "--quiet", "-p", self.package, "--test", self.test]);
        command.args(["--", "--nocapture"]);
        let values = self.environment.iter();
        command.envs(values.map(|(name, value)| (name, value.to_string())));
        match run_watched(command, |_| {})? {
            true => Ok(()),
            false => bail!("it failed; what it said is above"),
        }
    }

    /// What runs it again.
    fn line(&self) -> String {
        let values = self.environment.iter();
        let values: String = values
            .map(|(name, value)| format!("{name}={value} "))
            .collect();
        let Self { package, test, .. } = self;
        format!("{values}cargo test -p {package} --test {test} -- --nocapture")
    }
}

/// `cargo xtask soak`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let minutes = minutes(args)?;
    must_run(cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    must_run(cargo(&[
        "test",
        "--quiet",
        "--no-run",
        "-p",
        "vk-tests",
        "-p",
        "vk-engine",
    ]))?;
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let seed = fresh_seed()?;
    let mut report = Vec::new();
    let mut failed = 0;
    let mut add = |part: &Part| {
        let began = Instant::now();
        let result = part.run();
        let how = match &result {
            Ok(()) => "ok",
            Err(error) => {
                println!("FAILED: {error:#}");
                failed += 1;
                "FAILED"
            }
        };
        let seconds = began.elapsed().as_secs();
        report.push(format!(
            "{how:8} {seconds:>5} s  {}\n                 {}",
            part.says,
            part.line()
        ));
    };
    for part in fixed_parts(minutes, seed) {
        add(&part);
    }
    // Whatever time is left.
    let left = end.saturating_duration_since(Instant::now()).as_secs();
    add(&worlds(left.max(WORLDS_AT_LEAST), seed));
    println!("\n{}", report.join("\n"));
    println!("{} parts, {failed} failed", report.len());
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The parts that end by themselves: shorter ones where there is little time.
fn fixed_parts(minutes: u64, seed: u64) -> Vec<Part> {
    let share = |full: u64| (full * minutes.min(IN_FULL) / IN_FULL).max(1);
    let (kills, cuts) = (share(KILLS), share(CUTS));
    let street = share(STREET_SECONDS).max(STREET_AT_LEAST);
    let overload = share(OVERLOAD_SECONDS).max(OVERLOAD_AT_LEAST);
    let outside = match minutes {
        ..=IN_FULL => share(OUTSIDE_SECONDS).max(OUTSIDE_AT_LEAST),
        _ => OUTSIDE_SECONDS.max(60 * minutes.saturating_sub(IN_FULL) / OUTSIDE_SHARE),
    };
    let part = |says, test, environment| Part {
        says,
        package: "vk-tests",
        test,
        environment,
    };
    vec![
        part(
            format!("{kills} kills of the real binary"),
            "crash",
            vec![("VK_CRASH_KILLS", kills), ("VK_CRASH_SEED", seed)],
        ),
        part(
            format!("{cuts} cuts of the power, and {cuts} after the log was copied"),
            "power_cut",
            vec![("VK_POWER_CUTS", cuts), ("VK_POWER_SEED", seed)],
        ),
        part(
            format!("a thousand hostile receivers for {street} s"),
            "street",
            vec![("VK_STREET_SECONDS", street), ("VK_STREET_SEED", seed)],
        ),
        part(
            format!("five times what is delivered, for {overload} s"),
            "overload",
            vec![("VK_OVERLOAD_SECONDS", overload)],
        ),
        part(
            format!("log, name servers, ports and disk that come and go for {outside} s"),
            "outside",
            vec![("VK_OUTSIDE_SECONDS", outside), ("VK_OUTSIDE_SEED", seed)],
        ),
    ]
}

fn worlds(seconds: u64, seed: u64) -> Part {
    Part {
        says: format!("simulated worlds from seed {seed} on, for {seconds} s"),
        package: "vk-engine",
        test: "simulation",
        environment: vec![
            ("VK_SIMULATION_FIRST", seed),
            ("VK_SIMULATION_SEEDS", u64::from(u32::MAX)),
            ("VK_SIMULATION_SECONDS", seconds),
        ],
    }
}

fn minutes(args: &[String]) -> Result<u64> {
    match args {
        [] => Ok(MINUTES),
        [name, value] if name == "--minutes" => {
            let minutes = value.parse().context("--minutes wants a number")?;
            if minutes == 0 {
                bail!("--minutes wants at least 1");
            }
            Ok(minutes)
        }
        _ => bail!("`cargo xtask soak` knows --minutes M, not {args:?}"),
    }
}

/// One that nobody has tried: the moment, in microseconds.
fn fresh_seed() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    u64::try_from(since.as_micros()).context("the clock is far in the future")
}
