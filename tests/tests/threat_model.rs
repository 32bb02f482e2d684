//! docs/security.md names a test for each threat, and docs/reliability.md the file of tests for each thing that may
//! happen: each of them is there, and is a test.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All sources under a folder, one after the other.
fn read_all(folder: &Path, text: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                read_all(&path, text)?;
            }
        } else if path.extension().is_some_and(|name| name == "rs") {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// The functions that `#[test]` or `#[tokio::test]` stands before, with nothing but attributes and comments between.
fn tests_in(text: &str) -> Vec<String> {
    let mut found = vec![];
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((before, rest)) = line.split_once("fn ")
            && ["", "async ", "pub ", "pub async "].contains(&before)
        {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if is_test {
                found.push(name);
            }
            is_test = false;
        }
    }
    found
}

#[test]
fn only_what_is_marked_as_a_test_is_taken_for_one() {
    let text = "#[test]\n#[cfg(unix)]\nfn one() {\n    fn inside() {}\n}\nfn helper() {}\n\
                #[tokio::test(flavor = \"multi_thread\")]\nasync fn two() {}\nasync fn no_test() {}\n";
    assert_eq!(tests_in(text), ["one", "two"]);
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
    let mut sources = String::new();
    for folder in ["crates", "tests"] {
        read_all(&root().join(folder), &mut sources)?;
    }
    let found: HashSet<String> = tests_in(&sources).into_iter().collect();
    let missing: Vec<_> = named.iter().filter(|name| !found.contains(*name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    Ok(())
}

/// The paths that a line of Markdown links to, from the repository's root where they lead out of `docs`.
fn links(line: &str) -> Vec<PathBuf> {
    let links = line.split("](../").skip(1);
    let paths = links.filter_map(|rest| rest.split([')', '#']).next());
    paths.map(|path| root().join(path)).collect()
}

#[test]
fn every_test_that_the_page_on_reliability_names_exists() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/reliability.md"))?;
    let mut rows = 0;
    let mut in_table_of_tests = false;
    for line in text.lines() {
        for path in links(line) {
            assert!(path.exists(), "{} is not there", path.display());
        }
        if !line.starts_with('|') {
            in_table_of_tests = false;
        } else if line.ends_with("| test |") {
            in_table_of_tests = true;
        } else if in_table_of_tests && !line.starts_with("|--") {
            let named = links(line);
            assert!(!named.is_empty(), "nothing shows this: {line}");
            for path in named {
                let text = std::fs::read_to_string(&path)?;
                assert!(
                    !tests_in(&text).is_empty(),
                    "{} has no test",
                    path.display()
                );
            }
            rows += 1;
        }
    }
    assert!(rows > 12, "the page's tables were not read");
    Ok(())
}

#[test]
fn every_setting_that_the_page_on_reliability_names_is_read() -> Result<()> {
    let text = std::fs::read_to_string(root().join("docs/reliability.md"))?;
    let named: HashSet<String> = text.split("VK_").skip(1).map(setting_name).collect();
    assert!(named.len() > 4, "{named:?}");
    let mut sources = String::new();
    for folder in ["crates", "tests/tests"] {
        read_all(&root().join(folder), &mut sources)?;
    }
    for name in named {
        let read = sources.contains(&format!("\"{name}\""));
        assert!(read, "{name} is read nowhere");
    }
    Ok(())
}

/// The name that goes on like this.
fn setting_name(rest: &str) -> String {
    let name = rest
        .chars()
        .take_while(|c| c.is_ascii_uppercase() || *c == '_');
    format!("VK_{}", name.collect::<String>())
}
