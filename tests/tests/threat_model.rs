//! docs/security.md names a test for each threat: each of them is there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all functions in the sources under a folder.
fn functions(folder: &Path, found: &mut HashSet<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                functions(&path, found)?;
            }
        } else if path.extension().is_some_and(|name| name == "rs") {
            let text = std::fs::read_to_string(&path)?;
            for rest in text.split("fn ").skip(1) {
                let name = rest
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                found.extend(name.map(ToOwned::to_owned));
            }
        }
    }
    Ok(())
}

#[test]
fn every_test_that_the_threat_model_names_exists() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/security.md"))?;
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let mut named = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [_, _, tests] = cells.as_slice() else {
            continue; // a table without tests
        };
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(
            !tests.is_empty() || row.contains("shown by"),
            "a threat without a test: {row}"
        );
        named.extend(tests.into_iter().map(ToOwned::to_owned));
    }
    assert!(named.len() > 40, "the page's tables were not read");
    let mut found = HashSet::new();
    for folder in ["crates", "tests"] {
        functions(&root().join(folder), &mut found)?;
    }
    let missing: Vec<_> = named.iter().filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    Ok(())
}
