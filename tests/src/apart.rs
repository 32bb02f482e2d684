//! Hides how a test gets a network and mounts of its own.

use anyhow::Result;
use machine::Space;

/// Runs a test on threads that have a network and mounts of their own; so has whatever it starts.
///
/// # Errors
/// Those of the test, or where the system does not let us.
pub fn apart<T: Send + 'static>(
    test: impl AsyncFnOnce(&Space) -> Result<T> + Send + 'static,
) -> Result<T> {
    Space::within(|space| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        runtime.block_on(test(space))
    })
}
