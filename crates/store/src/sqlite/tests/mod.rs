//! The driver from inside: group commit, its durability and its failures, and the plans of every statement.

mod commits;
mod durability;
mod names;
mod plans;
mod rows;
mod sealed;
mod spied;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{SqliteDriver, SqliteOptions};
use crate::seal::Keyring;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vk-sqlite-test-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is litter, not a failed test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn keyring() -> Keyring {
    Keyring::parse("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=").unwrap()
}

async fn driver(folder: &Folder) -> SqliteDriver {
    let path = folder.0.join("store.db");
    SqliteDriver::open(SqliteOptions { path }).await.unwrap()
}
