//! Hides how the settings pages are walked in a real browser: which programs that takes, and where the pictures
//! go that are taken on the way.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{cargo, program, root, run as must_run, run_watched, target_dir};
use crate::test::{Count, closing_line};
use crate::tools;

/// The pictures that the README shows: what the tests call them, and where they are kept.
const KEPT: [(&str, &str); 2] = [
    ("webhooks-light-1440.png", "docs/pictures/webhooks.png"),
    ("refused-dark-1440.png", "docs/pictures/delivery.png"),
];

/// Walks all of it.
pub(crate) fn check() -> Result<Count> {
    walk(&[]).map(|(count, _)| count)
}

/// `cargo xtask pictures`: takes the pictures again and keeps the README's.
pub(crate) fn pictures() -> Result<ExitCode> {
    let (count, taken) = walk(&["every page"])?;
    if count.failed > 0 {
        bail!(
            "the pages do not look as they should, see above; the pictures were left as they are"
        );
    }
    for (name, kept) in KEPT {
        let kept = root().join(kept);
        std::fs::create_dir_all(kept.parent().unwrap_or(&kept))?;
        std::fs::copy(taken.join(name), &kept)
            .with_context(|| format!("cannot keep {}", kept.display()))?;
        println!("kept {}", kept.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the walks, or those whose name begins with one of `only`; where the pictures are.
fn walk(only: &[&str]) -> Result<(Count, PathBuf)> {
    let (node, npm) = (tools::NODE.get()?, tools::NPM.get()?);
    tools::CHROMIUM.get()?;
    // The receivers that a page gives to copy are run with them.
    tools::PYTHON.get()?;
    tools::GO.get()?;
    let tests = root().join("tests/browser");
    if !is_installed(&tests)? {
        let mut install = program(npm, &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        install.current_dir(&tests);
        must_run(install).context("the browser tests' packages could not be installed from npm")?;
    }
    must_run(cargo(&["build", "--package", "vk-webhooks", "--quiet"]))?;
    let street = [
        "build",
        "--package",
        "vk-hostile",
        "--example",
        "street",
        "--quiet",
    ];
    must_run(cargo(&street))?;
    let pictures = target_dir().join("browser");
    let mut walks = program(node, &["tests/browser/run.mjs"]);
    walks.arg(target_dir().join("debug/vk-webhooks"));
    walks.arg(&pictures).args(only);
    walks.env("STREET", target_dir().join("debug/examples/street"));
    walks.env("REPOSITORY", root()).env("TARGET", target_dir());
    let logs = target_dir().join("browser-logs");
    if logs.exists() {
        std::fs::remove_dir_all(&logs)?;
    }
    std::fs::create_dir_all(&logs)?;
    walks.env("LOGS", &logs);
    let mut count = None;
    let ended_well = run_watched(walks, |line| count = closing_line(line).or(count))?;
    match count {
        Some(mut count) if ended_well || count.failed > 0 => {
            match look_through(&logs) {
                Ok(()) => count.passed += 1,
                Err(leak) => {
                    println!("FAILED: {leak:#}");
                    count.failed += 1;
                }
            }
            Ok((count, pictures))
        }
        _ => bail!("the browser tests ended before they were through; see above"),
    }
}

/// Sees that no service of the walks has given away what it must never say. The walks write down what each said, and
/// the secrets that they were given.
fn look_through(logs: &Path) -> Result<()> {
    let secrets = std::fs::read_to_string(logs.join("secrets")).context("the walks' secrets")?;
    secrets.lines().for_each(leaks::never_say);
    let mut listened = 0;
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("service-") {
            let said = std::fs::read(&path)?;
            let said = String::from_utf8_lossy(&said);
            leaks::look_through(&name, &said)?;
            listened += said.matches("listening on http://").count();
        }
    }
    ensure!(listened > 0, "no service was listened to");
    Ok(())
}

/// Whether the packages are there in the versions that are asked for.
fn is_installed(tests: &Path) -> Result<bool> {
    let wanted = std::fs::read_to_string(tests.join("package-lock.json"))?;
    // npm writes down what it installed; a line of it is a line of what was asked for.
    let installed = std::fs::read_to_string(tests.join("node_modules/.package-lock.json"));
    let Ok(installed) = installed else {
        return Ok(false);
    };
    let integrity = |text: &str| {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| line.starts_with("\"integrity\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(integrity(&wanted) == integrity(&installed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_of_the_walks_gives_away_is_noticed() -> Result<()> {
        let name = format!("vk-xtask-logs-{}", std::process::id());
        let logs = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&logs)?;
        let log = logs.join("service-1.err");
        let said = |more: &str| format!("listening on http://127.0.0.1:1\n{more}\n");
        std::fs::write(logs.join("secrets"), "a sealing key of 44 letters\n")?;
        std::fs::write(&log, said("an attempt failed"))?;
        look_through(&logs)?;
        for leak in [
            "signed with whsec_planted",
            "POST https://example.com/?a=b failed",
            "sealed under a sealing key of 44 letters",
        ] {
            std::fs::write(&log, said(leak))?;
            assert!(look_through(&logs).is_err(), "{leak}");
        }
        std::fs::write(&log, "")?;
        assert!(look_through(&logs).is_err(), "nothing was listened to");
        std::fs::remove_dir_all(&logs)?;
        Ok(())
    }
}
