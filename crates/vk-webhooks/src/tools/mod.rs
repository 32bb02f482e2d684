//! Hides the small tools: for whoever writes a receiver or a publisher, and for whoever keeps the database.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) mod backup;
pub(crate) mod listen;
pub(crate) mod trigger;
pub(crate) mod verify;

/// Now, in Unix seconds.
fn unix_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs().cast_signed()
}
