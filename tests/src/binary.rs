//! Hides where the program is, and how it is run to its end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The program, not yet started: without any setting in its environment, and ended with us.
///
/// # Errors
/// Where it was not built.
pub fn program(arguments: &[&str]) -> Result<Command> {
    program_under(&[], arguments)
}

/// As [`program`], started by another one that is given it as its last arguments, such as `sh`.
///
/// # Errors
/// Where it was not built.
pub(crate) fn program_under(wrapper: &[&str], arguments: &[&str]) -> Result<Command> {
    let program = path()?;
    let mut command = match wrapper.split_first() {
        None => Command::new(program),
        Some((wrapper, options)) => {
            let mut command = Command::new(wrapper);
            command.args(options).arg(program);
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VK_WEBHOOKS_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// The binary that cargo put beside the tests: the tests are in `<profile>/deps`.
fn path() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent);
    let binary = profile.context("a test has a folder")?.join("vk-webhooks");
    ensure!(
        binary.exists(),
        "{} is not there: build it first with `cargo build`, or run `cargo xtask test`, which does",
        binary.display()
    );
    Ok(binary)
}

/// What a run to the end came to.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

/// Runs the program to its end, which has to come within a minute.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    let mut command = program(arguments)?;
    let ended = command.envs(environment.iter().copied()).output();
    let ended = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .with_context(|| format!("vk-webhooks {arguments:?} did not end within 60 s"))??;
    let output = Output {
        code: ended.status.code(),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    };
    // The tools show what they were given; the service nothing.
    if arguments.first() == Some(&"serve") {
        leaks::look_through("serve", &output.out)?;
        leaks::look_through("serve", &output.err)?;
    }
    Ok(output)
}

/// A folder of one's own, removed in the end.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vk-tests-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it, as text.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Best effort: a file more in the system's temporary folder breaks nothing.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
