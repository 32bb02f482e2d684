//! Hides how the instructions and the allocations of the hot paths are counted: each runs alone under
//! callgrind, so often and twice as often, and the difference is what the path takes.
//!
//! A count is the same on a busy machine and on an idle one, which a time is not. It says nothing
//! about waiting (disks, locks), and valgrind's processor has no SHA extensions: `cargo bench`
//! says what a path takes in time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::baseline::{Baseline, Cost, Counts, Verdict, compare};
use crate::command::{cargo, output, program, root, target_dir};
use crate::test::Count;
use crate::tools;

/// The name that a floor's benches go by.
const BENCH: &str = "hot_paths";

/// The counts of before.
const BASELINE: &str = "benches/instructions.toml";

/// `cargo xtask instructions`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    match args {
        [] => Ok(match check()?.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }),
        [write] if write == "--write" => {
            let text = count()?.text();
            std::fs::write(path_of_baseline(), &text)
                .with_context(|| format!("cannot write {BASELINE}"))?;
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("`cargo xtask instructions` knows --write, not {other:?}"),
    }
}

/// Counts all paths and holds them against the baseline.
pub(crate) fn check() -> Result<Count> {
    let baseline = std::fs::read_to_string(path_of_baseline())
        .map_err(anyhow::Error::from)
        .and_then(|text| Baseline::parse(&text))
        .with_context(|| {
            format!("cannot read {BASELINE}; `cargo xtask instructions --write` makes it anew")
        })?;
    let counted = count()?;
    let findings = compare(&baseline.counts, &counted.counts);
    let mut count = Count::default();
    for finding in &findings {
        println!("{finding}");
        if finding.verdict.is_failure() {
            count.failed += 1;
        } else {
            count.passed += 1;
        }
    }
    if count.failed > 0 && baseline.counted_with != counted.counted_with {
        println!(
            "The baseline was counted with {}; here it is {}. That alone may be a reason.",
            baseline.counted_with, counted.counted_with
        );
    }
    if findings
        .iter()
        .any(|f| matches!(f.verdict, Verdict::More { .. }))
    {
        println!(
            "callgrind_annotate shows where they go, given a file of {}.",
            notes().display()
        );
    }
    Ok(count)
}

fn path_of_baseline() -> PathBuf {
    root().join(BASELINE)
}

/// What callgrind leaves of each path.
fn notes() -> PathBuf {
    target_dir().join("instructions")
}

/// Builds the benches and counts every path in them.
fn count() -> Result<Baseline> {
    let valgrind = tools::VALGRIND.get()?;
    std::fs::create_dir_all(notes())?;
    let mut counts = Counts::new();
    let benches = build()?;
    println!("counting, which takes about a minute");
    for bench in benches {
        let names = quiet(program(&bench, &["--paths"]))?;
        for line in names.lines() {
            let named = line
                .rsplit_once(' ')
                .and_then(|(name, runs)| Some((name, runs.parse::<u64>().ok()?)));
            let (name, runs) = named.with_context(|| format!("{line:?} names no path"))?;
            let cost = per_run(valgrind, &bench, name, runs)?;
            if counts.insert(name.to_owned(), cost).is_some() {
                bail!("two paths are called {name:?}");
            }
        }
    }
    Ok(Baseline {
        counted_with: counted_with(valgrind)?,
        counts,
    })
}

/// Builds the benches as they would be timed; their programs.
fn build() -> Result<Vec<PathBuf>> {
    let messages = output(cargo(&[
        "bench",
        "--workspace",
        "--bench",
        BENCH,
        "--no-run",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ]))?;
    let programs = programs(&messages)?;
    if programs.is_empty() {
        bail!("cargo built no bench called {BENCH}");
    }
    Ok(programs)
}

/// The programs of the benches among cargo's messages.
fn programs(messages: &str) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line)
            .with_context(|| format!("cargo said what is not JSON: {line}"))?;
        let is_bench = message["target"]["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"));
        if is_bench && let Some(program) = message["executable"].as_str() {
            programs.push(program.into());
        }
    }
    programs.sort();
    Ok(programs)
}

/// What one run of a path takes: starting and setting up are in both counts, and so in neither's excess over
/// the other.
fn per_run(valgrind: &str, bench: &Path, name: &str, runs: u64) -> Result<Cost> {
    let once = total(valgrind, bench, name, runs)?;
    let twice = total(valgrind, bench, name, 2 * runs)?;
    // Setting up takes a few blocks more or less by chance: what allocates nothing may seem to give some back.
    let allocations = twice.allocations.saturating_sub(once.allocations);
    twice
        .instructions
        .checked_sub(once.instructions)
        .and_then(|instructions| {
            Some(Cost {
                instructions: instructions.checked_div(runs)?,
                allocations: allocations.checked_div(runs)?,
            })
        })
        .with_context(|| format!("{name} takes less when it is run twice as often"))
}

/// What a program takes that runs a path so often.
fn total(valgrind: &str, bench: &Path, name: &str, runs: u64) -> Result<Cost> {
    let note = notes().join(format!("{}.out", name.replace('/', ".")));
    let mut command = program(valgrind, &["--tool=callgrind", "--quiet"]);
    command
        .arg(format!("--callgrind-out-file={}", note.display()))
        .arg(bench)
        .args(["--count", name, &runs.to_string()])
        // The same wherever it is counted, but for where valgrind is found.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    quiet(command)?;
    let note = std::fs::read_to_string(&note).context("callgrind left no count")?;
    taken(&note).context("callgrind's count cannot be read")
}

/// The functions that hand out memory: what Rust code calls, whichever allocator is behind it, and what C code does.
const ALLOCATORS: [&str; 8] = [
    "__rustc::__rust_alloc",
    "__rustc::__rust_alloc_zeroed",
    "__rustc::__rust_realloc",
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

/// The sums in callgrind's own format, without what gathering entropy took: the operating system's and the
/// processor's timing decide how long that is, and it is many times what a path takes.
fn taken(note: &str) -> Option<Cost> {
    if !note.lines().any(|line| line == "events: Ir") {
        return None;
    }
    let totals = note
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    let total: u64 = totals.trim().parse().ok()?;
    let (mut entropy, mut allocations) = (0, 0);
    for call in calls(note)? {
        // All that the source called is in what its callers' calls of it took.
        if is_entropy(call.callee) && !is_entropy(call.caller) {
            entropy += call.instructions;
        }
        if ALLOCATORS.contains(&call.callee) && !ALLOCATORS.contains(&call.caller) {
            allocations += call.count;
        }
    }
    Some(Cost {
        instructions: total.checked_sub(entropy)?,
        allocations,
    })
}

/// Whether it is a function of aws-lc's jitter entropy source.
fn is_entropy(name: &str) -> bool {
    name.contains("jent_")
}

/// Calls from one place of a function.
struct Calls<'n> {
    caller: &'n str,
    callee: &'n str,
    count: u64,
    /// What they took, everything that they called included.
    instructions: u64,
}

fn calls(note: &str) -> Option<Vec<Calls<'_>>> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut caller, mut callee) = ("", "");
    let mut calls = Vec::new();
    let mut lines = note.lines();
    while let Some(line) = lines.next() {
        if let Some(named) = line.strip_prefix("fn=") {
            caller = name(named, &mut names)?;
        } else if let Some(named) = line.strip_prefix("cfn=") {
            callee = name(named, &mut names)?;
        } else if let Some(counted) = line.strip_prefix("calls=") {
            // The next line says from where, and what all of these calls took.
            let taken = lines.next()?.split_whitespace().nth(1)?;
            calls.push(Calls {
                caller,
                callee,
                count: counted.split_whitespace().next()?.parse().ok()?,
                instructions: taken.parse().ok()?,
            });
        }
    }
    Some(calls)
}

/// A function's name, which is spelled out the first time only: `(7) main`, and `(7)` from then on.
fn name<'n>(named: &'n str, names: &mut HashMap<&'n str, &'n str>) -> Option<&'n str> {
    match named.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            Some(name)
        }
        None => names.get(named).copied(),
    }
}

fn counted_with(valgrind: &str) -> Result<String> {
    let version = |name: &str| -> Result<String> {
        Ok(quiet(program(name, &["--version"]))?.trim().to_owned())
    };
    Ok(format!(
        "{}, {}, {}",
        version("rustc")?,
        version(valgrind)?,
        std::env::consts::ARCH
    ))
}

/// What a program prints; nothing is shown unless it fails.
fn quiet(mut command: Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !done.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_out_of_callgrinds_format() {
        let note = |events: &str, totals: &str| {
            format!(
                "# callgrind format\nversion: 1\ncmd: x --count a/b 3\npart: 1\n\n\
                 events: {events}\nsummary: 41\n\nob=(1) /lib/ld.so\nfn=(1) start\n0 20\n\n{totals}\n"
            )
        };
        for (note, expected) in [
            (note("Ir", "totals: 126557"), Some(126_557)),
            (note("Ir", "totals: 0"), Some(0)),
            (note("Ir", "totals: "), None),
            (note("Ir", "totals: 12 34"), None),
            (note("Ir", ""), None),
            (note("Ir Dr", "totals: 126557"), None),
            (String::new(), None),
        ] {
            let instructions = taken(&note).map(|cost| cost.instructions);
            assert_eq!(instructions, expected, "{note}");
        }
    }

    #[test]
    fn gathering_entropy_does_not_count() {
        let note = "events: Ir\n\nfn=(1) main\n0 5\ncfn=(2) set up\ncalls=1 0\n0 70\n\n\
            fn=(2)\n0 10\ncfn=(3) aws_lc_jent_read\ncalls=2 0\n0 60\n\n\
            fn=(3)\n0 20\ncfn=(4) jent_sha3\ncalls=9 0\n0 40\n\nfn=(4)\n0 40\n\ntotals: 75\n";
        let instructions = |note: &str| taken(note).map(|cost| cost.instructions);
        assert_eq!(instructions(note), Some(15), "only what called it");
        assert_eq!(instructions(&note.replace("jent", "rand")), Some(75));
        assert_eq!(instructions(&note.replace("fn=(2)\n", "fn=(9)\n")), None);
    }

    #[test]
    fn an_allocation_counts_once() {
        let note = "events: Ir\n\nfn=(1) main\n0 5\ncfn=(2) malloc\ncalls=3 0\n0 9\n\
            cfn=(3) __rustc::__rust_realloc\ncalls=2 0\n0 9\ncfn=(5) malloc_usable_size\ncalls=8 0\n0 8\n\n\
            fn=(3)\n0 3\ncfn=(6) realloc\ncalls=2 0\n0 6\n\nfn=(6)\n0 3\ncfn=(2)\ncalls=1 0\n0 6\n\n\
            fn=(4) help\n0 1\ncfn=(2)\ncalls=40 0\n0 1\n\ntotals: 75\n";
        assert_eq!(taken(note).map(|cost| cost.allocations), Some(45));
    }

    #[test]
    fn the_benches_are_found_among_cargos_messages() {
        let messages = [
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"vk_model"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"hot_paths"},"executable":"/b/hot_paths-2"}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"x"},"executable":"/b/x"}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"hot_paths"},"executable":"/b/hot_paths-1"}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        let found = programs(&messages.join("\n")).unwrap();
        assert_eq!(
            found,
            ["/b/hot_paths-1", "/b/hot_paths-2"].map(PathBuf::from)
        );
        assert!(programs("warning: something").is_err());
    }
}
