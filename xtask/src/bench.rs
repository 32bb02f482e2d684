//! Hides how the benchmark is built and started: the release service first, then the bench.

use std::process::ExitCode;

use anyhow::Result;

use crate::command::{cargo, program, run as must_run, target_dir};

/// `cargo xtask bench`.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    must_run(cargo(&[
        "build",
        "--release",
        "--package",
        "vk-webhooks",
        "--package",
        "vk-bench",
    ]))?;
    let target = target_dir();
    let release = target.join("release");
    let mut bench = program(release.join("vk-bench"), &["run", "--service"]);
    bench.arg(release.join("vk-webhooks"));
    // Not the system's folder for temporary files: that is memory on many machines, not a disk.
    bench.arg("--folder").arg(target.join("bench"));
    bench.args(["--report", "docs/performance.md"]).args(args);
    must_run(bench)?;
    Ok(ExitCode::SUCCESS)
}
