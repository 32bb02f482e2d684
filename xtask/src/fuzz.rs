//! Hides how the fuzz targets are built for libFuzzer and run, and what becomes of what they find.
//!
//! libFuzzer looks for inputs that reach new code. The compiler counts for it what is reached: the flags below
//! have it do so, and are those that `cargo fuzz run --sanitizer none` sets; all are stable. `cargo-fuzz`
//! itself would be one more program to install for little more than these flags. No sanitizer is used: no
//! code here may be `unsafe`, so that one would slow everything down to look at other people's code.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, output, program, root, run as must_run, target_dir};
use crate::test::Count;

/// How long each target runs where nobody says otherwise, in seconds.
const SECONDS: u64 = 600;
/// How long each runs as one of the checks, in seconds.
const CHECKED_SECONDS: u64 = 10;
/// What its chance begins with then.
const CHECKED_SEED: u32 = 1;

/// What makes the compiler count and compare for libFuzzer.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// For every run: how long inputs are, and how many seconds and megabytes one may take before that is a find. The
/// seconds are many, so that a machine that is busy with other things is not taken for an input that hangs.
const BOUNDS: [&str; 3] = ["-max_len=4096", "-timeout=120", "-rss_limit_mb=2048"];

/// `cargo xtask fuzz`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let asked = Asked::read(args)?;
    let fuzzer = Fuzzer::build()?;
    let mut finds = 0;
    for target in &asked.targets {
        if asked.keep {
            fuzzer.keep(target)?;
        } else {
            finds += u32::from(!fuzzer.run(target, asked.seconds, None)?);
        }
    }
    Ok(match finds {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Each target for a few seconds, by the same chance each time: a check that fails is about what was changed. What
/// nobody has tried yet is looked for by `cargo xtask fuzz`.
pub(crate) fn check() -> Result<Count> {
    let fuzzer = Fuzzer::build()?;
    let mut count = Count::default();
    for target in targets()? {
        match fuzzer.run(&target, CHECKED_SECONDS, Some(CHECKED_SEED))? {
            true => count.passed += 1,
            false => count.failed += 1,
        }
    }
    Ok(count)
}

/// What the arguments ask for.
struct Asked {
    seconds: u64,
    keep: bool,
    targets: Vec<String>,
}

impl Asked {
    fn read(args: &[String]) -> Result<Self> {
        let (mut seconds, mut keep, mut names) = (SECONDS, false, Vec::new());
        let known = targets()?;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => {
                    let number = args.next().and_then(|text| text.parse().ok());
                    seconds = number.context("--seconds wants a number of seconds")?;
                }
                "--keep" => keep = true,
                name if known.iter().any(|known| known == name) => names.push(name.to_owned()),
                other => bail!(
                    "`cargo xtask fuzz` knows --seconds S, --keep and the targets {}, not {other:?}",
                    known.join(", ")
                ),
            }
        }
        Ok(Self {
            seconds,
            keep,
            targets: if names.is_empty() { known } else { names },
        })
    }
}

/// The inputs that are kept in the repository: a folder for each target, which a test holds to be so.
fn corpora() -> PathBuf {
    root().join("crates/fuzz/corpus")
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(corpora()).context("there are no fuzz targets")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What builds and runs leave.
fn folder() -> PathBuf {
    target_dir().join("fuzz")
}

/// The targets in one program with libFuzzer.
struct Fuzzer {
    program: PathBuf,
}

impl Fuzzer {
    /// Builds it, apart from everything else: its code is compiled otherwise.
    fn build() -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = output(program(rustc, &["-vV"]))?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc does not say what it runs on")?;
        let folder = folder().join("build");
        let mut build = cargo(&["build", "--quiet", "--package", "vk-fuzz", "--bin", "fuzz"]);
        build.args(["--features", "libfuzzer", "--profile", "fuzz"]);
        // With `--target` the flags are for what is run, and not for what builds it.
        build
            .args(["--target", host])
            .arg("--target-dir")
            .arg(&folder);
        build.env("RUSTFLAGS", COVERAGE.join(" "));
        must_run(build).context("the fuzz targets could not be built; they need a C++ compiler")?;
        Ok(Self {
            program: folder.join(host).join("fuzz/fuzz"),
        })
    }

    /// Runs a target on its kept inputs and on what earlier runs found new, or, with a seed, on the kept ones alone;
    /// whether no rule was broken.
    fn run(&self, target: &str, seconds: u64, seed: Option<u32>) -> Result<bool> {
        let finds = made("finds", target)?;
        let scratch = match seed {
            None => made("scratch", target)?,
            Some(_) => emptied(made("checked", target)?)?,
        };
        let log = folder().join(format!("{target}.log"));
        let mut fuzz = self.command(target);
        fuzz.arg(&scratch).arg(corpora().join(target)).args(BOUNDS);
        fuzz.arg(format!("-max_total_time={seconds}"));
        fuzz.args(seed.map(|seed| format!("-seed={seed}")));
        fuzz.arg(format!("-artifact_prefix={}/", finds.display()));
        let begun = Instant::now();
        let fine = follow(fuzz, &log)?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let Summary { runs, coverage } = Summary::of(&said);
        let took = begun.elapsed().as_secs();
        println!("{target:14} {runs} inputs in {took} s, {coverage} places in the code reached");
        if fine {
            return Ok(true);
        }
        let lines: Vec<&str> = said.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        let find = said
            .lines()
            .find_map(|line| Some(line.split_once("Test unit written to ")?.1));
        match find {
            Some(find) => println!(
                "FAILED: {target} breaks a rule with {find}\nAgain: VK_FUZZ_TARGET={target} {} {find}",
                self.program.display()
            ),
            None => println!(
                "FAILED: {target} ended without an input; see {}",
                log.display()
            ),
        }
        Ok(false)
    }

    /// Makes the kept inputs anew: the fewest and smallest of them and of those found since that reach all
    /// that is reached. What has a name of its own, and not a hash for one, stays in any case.
    fn keep(&self, target: &str) -> Result<()> {
        let corpus = corpora().join(target);
        let scratch = made("scratch", target)?;
        let merged = made("merged", target)?;
        fs::remove_dir_all(&merged)?;
        fs::create_dir(&merged)?;
        let mut merge = self.command(target);
        // Without counters: how often a place is reached would keep several times as many.
        merge
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .args(BOUNDS);
        merge.arg(&merged).arg(&corpus).arg(&scratch);
        let log = folder().join(format!("{target}.merge.log"));
        if !follow(merge, &log)? {
            bail!(
                "the inputs of {target} could not be merged; see {}",
                log.display()
            );
        }
        let kept: HashSet<Vec<u8>> = files(&merged)?
            .into_iter()
            .map(|(_, input)| input)
            .collect();
        let mut named = HashSet::new();
        for (path, input) in files(&corpus)? {
            match is_hash(&path) {
                true => fs::remove_file(path)?,
                false => drop(named.insert(input)),
            }
        }
        for (path, input) in files(&merged)? {
            if !named.contains(&input) {
                let name = path.file_name().context("a file has a name")?;
                fs::write(corpus.join(name), input)?;
            }
        }
        println!(
            "{target:14} {} inputs reach all, {} have a name",
            kept.len(),
            named.len()
        );
        Ok(())
    }

    fn command(&self, target: &str) -> Command {
        let mut command = program(&self.program, &[]);
        command.env("VK_FUZZ_TARGET", target);
        command
    }
}

/// How many inputs a run tried, and how much of the code they reached, as libFuzzer tells it.
struct Summary {
    runs: u64,
    coverage: u64,
}

impl Summary {
    fn of(log: &str) -> Self {
        let number = |text: &str| {
            let text = text.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit());
            text[..end.unwrap_or(text.len())].parse::<u64>().ok()
        };
        let progress = || {
            let lines = log.lines().rev();
            lines.filter_map(|line| line.strip_prefix('#'))
        };
        // A run that ends with a find does not say that it is done.
        let done = log.lines().rev();
        let done = done.filter_map(|line| line.strip_prefix("Done "));
        let runs = done.chain(progress()).find_map(number);
        let coverage = progress().find_map(|line| number(line.split_once("cov: ")?.1));
        Self {
            runs: runs.unwrap_or(0),
            coverage: coverage.unwrap_or(0),
        }
    }
}

/// Runs a program with all it says in a file, and takes away what it left in memory; whether it ended well.
fn follow(mut command: Command, log: &Path) -> Result<bool> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut child = command
        .spawn()
        .context("the fuzz targets cannot be started")?;
    let status = child.wait()?;
    let left = PathBuf::from(format!("/dev/shm/vk-fuzz-{}", child.id()));
    if left.exists() {
        fs::remove_dir_all(left)?;
    }
    Ok(status.success())
}

/// A folder for a target, which is there.
fn made(kind: &str, target: &str) -> Result<PathBuf> {
    let path = folder().join(kind).join(target);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// The same folder with nothing in it.
fn emptied(folder: PathBuf) -> Result<PathBuf> {
    fs::remove_dir_all(&folder)?;
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// The files of a folder with what is in them.
fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let entries = fs::read_dir(folder)?;
    entries
        .map(|entry| {
            let path = entry?.path();
            let input = fs::read(&path)?;
            Ok((path, input))
        })
        .collect()
}

/// Whether a file is named by libFuzzer: by a SHA-1 in hex.
fn is_hash(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let progress = "#2\tINITED cov: 12 ft: 13 corp: 1/1b\n#4096\tpulse  cov: 1207 ft: 4000 corp: 9/1b\n\
                        \"cov: 7\" # Uses: 6\n";
        let ended = format!("{progress}Done 5000 runs in 2 second(s)\n");
        for (log, runs) in [(progress, 4096), (&ended, 5000)] {
            let summary = Summary::of(log);
            assert_eq!((summary.runs, summary.coverage), (runs, 1207), "{log}");
        }
        let none = Summary::of("it did not start");
        assert_eq!((none.runs, none.coverage), (0, 0));
    }

    #[test]
    fn only_a_hash_is_taken_for_one() {
        let hash = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert!(is_hash(Path::new("a").join(hash).as_path()));
        for name in [
            "a-name",
            &hash[1..],
            "zz39a3ee5e6b4b0d3255bfef95601890afd80709",
        ] {
            assert!(!is_hash(Path::new(name)), "{name}");
        }
    }
}
