//! Hides how a test waits for something that takes as long as it takes.

use std::time::Duration;

use tokio::time::Instant;

/// Waits until `look` sees something, for 10 s at most.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(10), what, look).await
}

/// Waits until `look` sees something.
///
/// # Panics
/// Where it does not in time: the message says what was waited for.
pub async fn eventually_within<T>(
    most: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + most;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
