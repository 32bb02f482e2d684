//! Hides where it is written what was measured, and on what.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::house::House;
use crate::usage;

/// The machine and the versions of what ran on it.
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_gb: f64,
    kernel: String,
    file_system: String,
    rustc: String,
    sqlite: String,
    revision: String,
}

impl Machine {
    /// Looks around. The service is started once, for the version of its SQLite is in its store.
    pub(crate) async fn look(house: &mut House) -> Result<Self> {
        let folder = house.new_store()?;
        house.service(&folder).await?.stop().await?;
        let database = std::fs::read(folder.join("store.db"))?;
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let canonical = folder.canonicalize()?;
        let file_system = file_system(&read("/proc/mounts"), &canonical);
        std::fs::remove_dir_all(&folder)?;
        Ok(Self {
            cores: usage::cores(),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_gb: memory_gb(&read("/proc/meminfo")),
            // What follows the version says who built it, and nothing about speed.
            kernel: until_dash(read("/proc/sys/kernel/osrelease").trim()),
            file_system,
            rustc: said(&["rustc", "--version"]),
            sqlite: sqlite_version(&database).context("the store is no SQLite database")?,
            revision: revision(),
        })
    }

    /// In one sentence without an end.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "{} cores ({}), {:.0} GB of memory, Linux {}, stores on {}; {}, SQLite {}, this project at {}",
            self.cores,
            self.processor,
            self.memory_gb,
            self.kernel,
            self.file_system,
            self.rustc,
            self.sqlite,
            self.revision
        )
    }
}

fn until_dash(text: &str) -> String {
    text.split('-').next().unwrap_or_default().to_owned()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim());
    value.unwrap_or("unknown").to_owned()
}

fn memory_gb(meminfo: &str) -> f64 {
    let total = field(meminfo, "MemTotal");
    let kib = total
        .split(' ')
        .next()
        .and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0 / 1e9
}

/// The type of the file system with the longest mount point that is above the folder.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point));
    let nearest = above.max_by_key(|(point, _)| point.len());
    nearest
        .map_or("an unknown file system", |(_, kind)| kind)
        .to_owned()
}

/// SQLite writes its version into every database (offset 96, as 3045001 for 3.45.1).
fn sqlite_version(database: &[u8]) -> Option<String> {
    let bytes = database.get(96..100)?.try_into().ok()?;
    let number = u32::from_be_bytes(bytes);
    let (major, minor, patch) = (number / 1_000_000, number / 1000 % 1000, number % 1000);
    Some(format!("{major}.{minor}.{patch}"))
}

fn revision() -> String {
    let revision = said(&["git", "rev-parse", "--short=12", "HEAD"]);
    let changes = said(&["git", "status", "--porcelain", "--untracked-files=no"]);
    match changes.as_str() {
        "" | "unknown" => revision,
        _ => format!("{revision} with changes"),
    }
}

/// What a program says, on one line; `unknown` where it cannot be run.
fn said(command: &[&str]) -> String {
    let output = command.split_first().and_then(|(program, arguments)| {
        let output = Command::new(program).args(arguments).output().ok()?;
        output.status.success().then_some(output.stdout)
    });
    let text = output.map(|output| String::from_utf8_lossy(&output).trim().to_owned());
    let text = text.unwrap_or("unknown".into());
    // Who packaged a compiler says nothing about speed either.
    text.split(" (").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let info = "processor\t: 0\nmodel name\t: A Processor 9 \ncores\t: 2\n";
        assert_eq!(field(info, "model name"), "A Processor 9");
        assert_eq!(field("", "model name"), "unknown");
        assert!((memory_gb("MemTotal:       1953125 kB\n") - 2.0).abs() < 0.01);
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp2 xfs rw 0 0\n";
        for (folder, kind) in [("/tmp/x", "tmpfs"), ("/tmp2", "xfs"), ("/tmp3", "ext4")] {
            assert_eq!(file_system(mounts, Path::new(folder)), kind);
        }
    }

    #[test]
    fn the_version_of_sqlite_is_in_its_file() {
        let mut file = vec![0; 100];
        file[96..].copy_from_slice(&3_045_001_u32.to_be_bytes());
        assert_eq!(sqlite_version(&file).as_deref(), Some("3.45.1"));
        assert_eq!(sqlite_version(&file[..99]), None);
    }
}
