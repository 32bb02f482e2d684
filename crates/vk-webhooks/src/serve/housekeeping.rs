//! Hides when what is past its time is deleted, in slices small enough not to be noticed.

use std::time::Duration;

use engine::Engine;
use model::tally::hour_of;
use store::StoreError;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// Rows a slice: a commit of some ten milliseconds.
const SLICE: u32 = 2_000;
/// Between slices, so that publishers and outcomes come first.
const BREATH: Duration = Duration::from_millis(20);

/// How long what attempts came to is kept by the hour: the settings pages show a week.
const HOURS_KEPT: i64 = 8 * 24;

/// Starts looking, until the task is aborted. `retention` is how long finished events are kept.
pub(super) fn start(engine: Engine, retention: Option<Duration>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut clock = tokio::time::interval(EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            match sweep(&engine, retention).await {
                Ok(0) => {}
                Ok(rows) => debug!(rows, "deleted what was past its time"),
                Err(error) => warn!("cannot delete what is past its time: {error}; trying again"),
            }
        }
    })
}

async fn sweep(engine: &Engine, retention: Option<Duration>) -> Result<u64, StoreError> {
    let now = engine.clock().now();
    let keep_since = retention.map(|kept| now.before(kept));
    let store = engine.store();
    let mut total = store.sweep_sessions(now).await?;
    total += store.sweep_hours(hour_of(now) - HOURS_KEPT).await?;
    loop {
        let gone = engine.store().sweep(now, keep_since, SLICE).await?;
        if gone == 0 {
            return Ok(total);
        }
        total += gone;
        tokio::time::sleep(BREATH).await;
    }
}
