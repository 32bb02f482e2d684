//! Hides how a start waits for what may pass: a disk that is full or away, a database that is locked,
//! name servers that are not known yet. A mistake in the settings is not waited for.

use std::time::Duration;

use anyhow::{Error, Result};
use store::OpenError;
use tracing::{info, warn};

use crate::logging;

/// How long to wait before the first new try, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

/// What to do about it, behind what happened.
const ADVICE: &str =
    "The service waits until it has passed, and takes no requests before; SIGTERM ends it";

/// Why something cannot be done now, where only waiting can help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotNow(pub(super) String);

/// Tries until it succeeds, or fails in a way that stays.
///
/// # Errors
/// What stays.
pub(super) async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut wait = FIRST;
    let mut waited = false;
    loop {
        match attempt().await {
            Ok(done) => {
                if waited {
                    info!(target: logging::ALWAYS, "the trouble has passed; going on with the start");
                }
                return Ok(done);
            }
            Err(error) if may_pass(&error) => {
                warn!(target: logging::ALWAYS, "cannot start yet: {error:#} {ADVICE}; next try in {} s", wait.as_secs());
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(LONGEST);
                waited = true;
            }
            Err(error) => return Err(error),
        }
    }
}

fn may_pass(error: &Error) -> bool {
    error.chain().any(|cause| {
        let files = cause.downcast_ref::<std::io::Error>();
        let store = cause.downcast_ref::<OpenError>();
        cause.is::<NotNow>()
            || store.is_some_and(|error| error.may_pass)
            || files.is_some_and(store::may_pass)
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context, anyhow};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_ever_more_slowly() {
        let begun = Instant::now();
        let mut tries = Vec::new();
        let done = patiently(async || {
            tries.push(begun.elapsed().as_secs());
            match tries.len() {
                7.. => Ok("done"),
                _ => Err(io::Error::from(io::ErrorKind::StorageFull)).context("cannot write"),
            }
        });
        assert_eq!(done.await.unwrap(), "done");
        assert_eq!(tries, [0, 1, 3, 7, 15, 30, 45]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_ends_the_start_at_once() {
        let begun = Instant::now();
        let mut tries = 0;
        let refused: Result<()> = patiently(async || {
            tries += 1;
            Err(anyhow!("the setting is wrong"))
        })
        .await;
        assert_eq!(refused.unwrap_err().to_string(), "the setting is wrong");
        assert_eq!((tries, begun.elapsed()), (1, Duration::ZERO));
    }

    #[test]
    fn what_may_pass_and_what_does_not() {
        let of_code = io::Error::from_raw_os_error;
        for (what, error, passes) in [
            ("no room", Error::from(of_code(28)), true),
            ("no quota", of_code(122).into(), true),
            ("no more files", of_code(24).into(), true),
            ("the disk failed", of_code(5).into(), true),
            ("a mount is stale", of_code(116).into(), true),
            ("not allowed", of_code(13).into(), false),
            ("not there", of_code(2).into(), false),
            ("read only", of_code(30).into(), false),
            ("not a folder", of_code(20).into(), false),
            ("no name server", NotNow("none".into()).into(), true),
            ("a mistake", anyhow!("wrong"), false),
        ] {
            assert_eq!(may_pass(&error), passes, "{what}");
            let behind = Err::<(), _>(error).context("because").unwrap_err();
            assert_eq!(may_pass(&behind), passes, "{what}, with context");
        }
    }
}
