//! Hides which connections are kept alive to one endpoint, and for how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::receiver_url::ReceiverUrl;

/// How many idle connections one endpoint may keep.
const IDLE_MAX: usize = 64;
/// How long a connection may be idle. Most servers close theirs after 60 s or later; being first
/// avoids sending into a connection that is just being closed.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);
/// How old a connection may become: then its name is resolved and vetted again, so that an
/// endpoint follows its DNS records, and a receiver's new server gets its share.
const AGE_MAX: Duration = Duration::from_secs(90);
/// How often idle connections are looked at while there are any.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The connections kept alive to one endpoint. The engine keeps one such value per endpoint and
/// drops it when the endpoint changes, which closes them; connections are never shared between
/// endpoints.
#[derive(Default)]
pub struct Connections {
    pool: Arc<Mutex<Pool>>,
}

#[derive(Default)]
struct Pool {
    /// The one used last is at the end, and is used next: the others can age and go.
    idle: Vec<Idle>,
    /// Whether a task looks after the idle ones.
    swept: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
    /// Its place among the idle connections of all endpoints, free again when this is dropped.
    _place: OwnedSemaphorePermit,
}

impl Connections {
    /// A connection for `url` that was open when it was last looked at, where there is one.
    /// Whether it still is shows when it is used.
    pub(crate) fn take(&self, url: &ReceiverUrl) -> Option<Connection> {
        let now = Instant::now();
        let mut pool = lock(&self.pool);
        while let Some(idle) = pool.idle.pop() {
            if idle.connection.url().same_origin(url) && idle.is_young(now) {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Keeps `connection` for the next exchange, where it is fit for one and there is one of the
    /// `places` that all endpoints share; closes it otherwise.
    pub(crate) fn park(&self, connection: Connection, places: &Arc<Semaphore>) {
        let Ok(place) = places.clone().try_acquire_owned() else {
            return;
        };
        let now = Instant::now();
        let mut idle = Idle {
            connection,
            since: now,
            _place: place,
        };
        if !idle.is_fit(now) {
            return;
        }
        let mut pool = lock(&self.pool);
        if pool.idle.len() >= IDLE_MAX {
            return;
        }
        pool.idle.push(idle);
        if !pool.swept {
            pool.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.pool)));
        }
    }
}

impl Idle {
    fn is_young(&self, now: Instant) -> bool {
        now.duration_since(self.since) < IDLE_AGE_MAX
            && now.duration_since(self.connection.opened()) < AGE_MAX
    }

    fn is_fit(&mut self, now: Instant) -> bool {
        self.is_young(now) && self.connection.is_idle()
    }
}

/// Closes idle connections that are too old, or that the receiver has closed, until there are none
/// left. Without it an endpoint that has gone quiet would hold its sockets forever.
async fn sweep(pool: Weak<Mutex<Pool>>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut pool = lock(&pool);
        let now = Instant::now();
        pool.idle.retain_mut(|idle| idle.is_fit(now));
        if pool.idle.is_empty() {
            pool.idle.shrink_to_fit();
            pool.swept = false;
            return;
        }
    }
}

/// A panic while the lock was held leaves at worst fewer idle connections.
fn lock(pool: &Mutex<Pool>) -> MutexGuard<'_, Pool> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}
