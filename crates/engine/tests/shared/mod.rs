//! Hides what all tests of the engine stand on: when their worlds begin, what seals their stores' secrets,
//! where those stores are, and what their receivers are called.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use egress::ReceiverUrl;
use model::time::Timestamp;
use store::Keyring;

/// 2026-11-23T12:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_435_200_000);

/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

pub(crate) fn keyring() -> Keyring {
    Keyring::parse(SEALING_KEY).unwrap()
}

/// Where the receiver of this name is.
pub(crate) fn url(name: &str) -> ReceiverUrl {
    let text = format!("https://{name}.receivers.vantagekit.com/hook");
    ReceiverUrl::parse(&text, &egress::Policy::default()).unwrap()
}

/// A folder that goes when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// A new, empty one in another.
    pub(crate) fn inside(parent: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "vk-engine-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = parent.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
