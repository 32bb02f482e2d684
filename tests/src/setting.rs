//! Hides how a test is made longer, or other, from outside.

use anyhow::{Context, Result};

/// A number from the environment, where it is given.
///
/// # Errors
/// Where it is no number.
pub fn setting(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is a number")),
        Err(_) => Ok(otherwise),
    }
}
