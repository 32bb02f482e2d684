//! Hides where the time comes from, so that tests can bring their own.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use model::time::Timestamp;
use tokio::time::Instant;

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: what a receiver and a reader of the log see. It may be stepped.
    fn now(&self) -> Timestamp;

    /// The wall clock as it was when the process started, plus the time gone by since: what
    /// retries wait by, so that stepping the wall clock neither hastens nor stalls them.
    fn steady(&self) -> Timestamp;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    started_at: Timestamp,
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            started_at: wall(),
            started: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        wall()
    }

    fn steady(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }
}

fn wall() -> Timestamp {
    // A clock before 1970 is a machine without a battery: it counts as 1970, until it is set.
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// A clock that follows tokio's, which tests pause and advance.
#[derive(Debug)]
pub struct VirtualClock {
    started_at: Timestamp,
    started: Instant,
    /// How far the wall clock was stepped, in milliseconds.
    stepped: AtomicI64,
}

impl VirtualClock {
    /// A clock that shows `started_at` now.
    pub fn starting_at(started_at: Timestamp) -> Self {
        Self {
            started_at,
            started: Instant::now(),
            stepped: AtomicI64::new(0),
        }
    }

    /// Steps the wall clock by so many milliseconds, back where they are negative. The steady one goes on.
    pub fn step(&self, millis: i64) {
        self.stepped.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let stepped = self.stepped.load(Ordering::Relaxed);
        Timestamp::from_millis(self.steady().as_millis().saturating_add(stepped))
    }

    fn steady(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }
}
