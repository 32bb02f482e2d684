//! Hides which checks there are and how their results are added up.
//!
//! What the checks need of the machine is tried first, and nothing is checked where some of it is missing. Then
//! every check runs, also after one has failed, so that one run shows all there is to mend. A
//! check that lacks something installs it or fails naming it. But for one none is ever skipped: the
//! advisories, where RustSec's database cannot be fetched, are left out, and the end of the run says so.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::browser;
use crate::command::{cargo, program, root, run as must_run, run_watched, target_dir};
use crate::fuzz;
use crate::instructions;
use crate::needs;
use crate::service::Service;
use crate::tools;

/// How many things a check looked at, and how many of them failed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

const ONE: Count = Count {
    passed: 1,
    failed: 0,
};

pub(crate) struct Check {
    pub(crate) name: &'static str,
    says: &'static str,
    run: fn() -> Result<Count>,
}

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "format",
        says: "the code is formatted",
        run: || must_run(cargo(&["fmt", "--all", "--check"])).map(|()| ONE),
    },
    Check {
        name: "lint",
        says: "clippy has nothing to say",
        run: || {
            must_run(cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]))
            .map(|()| ONE)
        },
    },
    Check {
        name: "deny",
        says: "licences, bans and sources of all dependencies",
        run: || {
            let mut deny = program(tools::cargo_deny()?, &["--locked", "--all-features"]);
            deny.args(["check", "licenses", "bans", "sources"]);
            must_run(deny).map(|()| ONE)
        },
    },
    Check {
        name: "advisories",
        says: "no dependency has a known vulnerability, is yanked, unsound or abandoned",
        run: advisories,
    },
    Check {
        name: "unit",
        says: "unit, integration and whole-service tests, and the documentation's examples",
        run: cargo_tests,
    },
    Check {
        name: "docs",
        says: "the documentation builds without a warning",
        run: || {
            let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
            doc.env("RUSTDOCFLAGS", "-D warnings");
            must_run(doc).map(|()| ONE)
        },
    },
    Check {
        name: "receivers",
        says: "the documented receivers verify our signatures: Node.js, Python, Go, Rust",
        run: receivers,
    },
    Check {
        name: "api",
        says: "schemathesis finds no server error and no undocumented answer",
        run: api,
    },
    Check {
        name: "proxies",
        says: "behind nginx, Caddy, HAProxy and Apache, set up as docs/operating.md says, refusals arrive and connections are kept",
        run: proxies,
    },
    Check {
        name: "browser",
        says: "the settings pages do what they should in a real browser, also for sixty hostile payloads",
        run: browser::check,
    },
    Check {
        name: "fuzz",
        says: "no fuzz target finds an input that breaks a rule, in ten seconds each",
        run: fuzz::check,
    },
    Check {
        name: "instructions",
        says: "no hot path takes over 10 % more instructions than it did",
        run: instructions::check,
    },
];

/// `cargo xtask test`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let chosen = chosen(args)?;
    let Some(chosen) = chosen else {
        for check in CHECKS {
            println!("{:12} {}", check.name, check.says);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let names: Vec<&str> = chosen.iter().map(|check| check.name).collect();
    needs::meet(&names)?;
    let mut total = Count::default();
    let (mut report, mut left_out) = (Vec::new(), Vec::new());
    for check in chosen {
        println!("\n== {}: {}", check.name, check.says);
        let start = Instant::now();
        let count = (check.run)().unwrap_or_else(|error| {
            if error.is::<LeftOut>() {
                println!("LEFT OUT: {error}");
                left_out.push(format!("LEFT OUT: {}: {error}", check.name));
                return Count::default();
            }
            println!("FAILED: {error:#}");
            Count {
                passed: 0,
                failed: 1,
            }
        });
        total.passed += count.passed;
        total.failed += count.failed;
        report.push(format!(
            "{:12} {:>5} passed {:>3} failed  {:>4} s",
            check.name,
            count.passed,
            count.failed,
            start.elapsed().as_secs()
        ));
    }
    println!("\n{}", report.join("\n"));
    for line in left_out {
        println!("{line}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 && total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `cargo xtask needs`.
pub(crate) fn needs() -> Result<ExitCode> {
    let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    needs::meet(&names)?;
    Ok(ExitCode::SUCCESS)
}

/// The checks that the arguments name, all where they name none; none where they ask for a list.
fn chosen(args: &[String]) -> Result<Option<Vec<&'static Check>>> {
    let mut names = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => return Ok(None),
            "--only" => names.push(args.next().context("--only wants the name of a check")?),
            other => bail!("`cargo xtask test` knows --only CHECK and --list, not {other:?}"),
        }
    }
    if names.is_empty() {
        return Ok(Some(CHECKS.iter().collect()));
    }
    let find = |name: &String| {
        let found = CHECKS.iter().find(|check| check.name == name.as_str());
        found.with_context(|| format!("there is no check {name:?}; --list shows them"))
    };
    names.into_iter().map(find).collect::<Result<_>>().map(Some)
}

/// Why a check could not be made here, through no fault of the project's: it is told again at the end. A run in
/// which nothing else was checked has failed all the same.
#[derive(Debug)]
struct LeftOut(&'static str);

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for LeftOut {}

/// The lock file against RustSec's advisories. Their database is a git repository, which not every machine that
/// builds may reach; no package registry has a copy.
fn advisories() -> Result<Count> {
    let deny = tools::cargo_deny()?;
    let deny = |args: &[&str]| {
        let mut command = program(&deny, &["--locked", "--all-features"]);
        command.args(args);
        command
    };
    if must_run(deny(&["fetch", "db"])).is_err() {
        return Err(LeftOut(
            "the database of advisories could not be fetched, see above. Run `cargo xtask test --only \
             advisories` on a machine that may reach it",
        )
        .into());
    }
    // What was fetched, and nothing newer: the network may go away in between.
    must_run(deny(&["--offline", "check", "advisories"])).map(|()| ONE)
}

/// All of cargo's tests. The binaries are built first: the whole-service tests run the real one.
fn cargo_tests() -> Result<Count> {
    must_run(cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    let mut count = Count::default();
    let mut ignored = 0;
    let ended_well = run_watched(cargo(&["test", "--workspace", "--no-fail-fast"]), |line| {
        if let Some(result) = line.strip_prefix("test result: ") {
            count.passed += number_before(result, " passed");
            count.failed += number_before(result, " failed");
            ignored += number_before(result, " ignored");
        }
    })?;
    if ignored > 0 {
        println!("FAILED: {ignored} tests are marked as ignored; nothing may be skipped");
        count.failed += ignored;
    }
    if !ended_well && count.failed == 0 {
        bail!("`cargo test` failed before or between its tests; see above");
    }
    Ok(count)
}

/// What a runner of tests says last: `N passed, N failed`.
pub(crate) fn closing_line(line: &str) -> Option<Count> {
    let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
    Some(Count {
        passed: passed.parse().ok()?,
        failed: failed.parse().ok()?,
    })
}

fn number_before(text: &str, word: &str) -> u64 {
    text.find(word)
        .and_then(|end| text[..end].rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Each documented receiver over the shared vectors, and each as a running server.
fn receivers() -> Result<Count> {
    let go = || {
        let mut go = program(tools::GO.get()?, &["test", "-count=1", "-v", "."]);
        go.current_dir(root().join("docs/receivers/go"));
        Ok(go)
    };
    let rust = [
        "run",
        "--quiet",
        "-p",
        "vk-signature",
        "--example",
        "check_vectors",
    ];
    let commands: [Result<Command>; 6] = [
        tools::NODE
            .get()
            .map(|node| program(node, &["docs/receivers/node/check_vectors.mjs"])),
        tools::PYTHON
            .get()
            .map(|python| program(python, &["docs/receivers/python/check_vectors.py"])),
        go(),
        Ok(cargo(&rust)),
        tools::PYTHON
            .get()
            .map(|python| program(python, &["docs/receivers/check_servers.py"])),
        // It runs Node.js and Go too: those above are there by now, or have failed by name.
        tools::PYTHON
            .get()
            .map(|python| program(python, &["docs/receivers/check_readme.py"])),
    ];
    let mut count = Count::default();
    for command in commands {
        match command.and_then(must_run) {
            Ok(()) => count.passed += 1,
            Err(error) => {
                println!("FAILED: {error:#}");
                count.failed += 1;
            }
        }
    }
    Ok(count)
}

/// The documented proxies, each before a real service.
fn proxies() -> Result<Count> {
    must_run(cargo(&["build", "--package", "vk-webhooks", "--quiet"]))?;
    let mut count = None;
    let example = ["run", "--quiet", "-p", "vk-tests", "--example", "proxies"];
    let ended_well = run_watched(cargo(&example), |line| {
        count = closing_line(line).or(count);
    })?;
    match count {
        Some(count) if ended_well || count.failed > 0 => Ok(count),
        _ => bail!("the proxies could not all be tried; see above"),
    }
}

/// schemathesis against the served document of a real service with a team in it.
fn api() -> Result<Count> {
    let tool = tools::schemathesis()?;
    // It leaves its notes where it runs.
    let notes = target_dir().join("tools/schemathesis-notes");
    std::fs::create_dir_all(&notes)?;
    let service = Service::start()?;
    let team = service.create_team()?;
    let mut command = program(tool, &["run"]);
    command
        .arg(service.url("/openapi.json"))
        .args([
            "--header",
            &format!("Authorization: Bearer {}", service.operator_key()),
        ])
        .args(["--header", &format!("X-VantageKit-Team: {team}")])
        // Bounded and repeatable: a failure found once is found again.
        .args(["--seed", "20260401", "--max-examples", "20"])
        .args(["--request-timeout", "15", "--no-color"])
        // Rules beyond a schema's words (a moment in the future, a URL whose host is public) make
        // requests wrong that the schema allows; that each has its documented answer is checked.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .current_dir(notes);
    must_run(command).context("what schemathesis found is above")?;
    service.stop()?;
    Ok(ONE)
}
