//! Hides which connections are kept alive to one endpoint, and for how long; and what is remembered of
//! its addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::order::Order;
use crate::receiver_url::ReceiverUrl;
use crate::tries::{Tries, Verdict};
use crate::vet::Vetted;

/// How many idle connections one endpoint may keep.
const IDLE_MAX: usize = 64;
/// How long a connection may be idle. Most servers close theirs after 60 s or later; being first
/// avoids sending into a connection that is just being closed.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);
/// How much sooner than the receiver says a connection is given up: what is sent in that time would cross
/// the receiver's closing on the way.
const EARLIER: Duration = Duration::from_secs(1);
/// How old a connection may become: then its name is resolved and vetted again, so that an
/// endpoint follows its DNS records, and a receiver's new server gets its share.
const AGE_MAX: Duration = Duration::from_secs(90);
/// How long an old connection is used on before the name servers are asked again, where they did not answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(15);
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
    /// How many new connections have waited long for a response.
    waiting: usize,
    /// Until when old connections are used without asking the name servers.
    names_silent_until: Option<Instant>,
    order: Order,
}

struct Idle {
    connection: Connection,
    since: Instant,
    /// Its place among the idle connections of all endpoints, free again when this is dropped.
    _place: OwnedSemaphorePermit,
}

/// A connection that was kept.
pub(crate) struct Kept {
    pub(crate) connection: Connection,
    /// Whether its name has to be resolved again before it is used.
    pub(crate) is_old: bool,
}

impl Connections {
    /// A connection for `url` that was open when it was last looked at, where there is one.
    /// Whether it still is shows when it is used.
    pub(crate) fn take(&self, url: &ReceiverUrl) -> Option<Kept> {
        let now = Instant::now();
        let mut pool = lock(&self.pool);
        while let Some(idle) = pool.idle.pop() {
            if idle.connection.url().same_origin(url) && idle.is_young(now) {
                let connection = idle.connection;
                let age = now.duration_since(connection.opened());
                let is_old =
                    age >= AGE_MAX && pool.names_silent_until.is_none_or(|until| now >= until);
                return Some(Kept { connection, is_old });
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
        if pool.idle.len() >= IDLE_MAX || pool.waiting > 0 {
            return;
        }
        pool.idle.push(idle);
        if !pool.swept {
            pool.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.pool)));
        }
    }

    /// The name servers did not answer when they were asked for an old connection.
    pub(crate) fn names_are_silent(&self) {
        lock(&self.pool).names_silent_until = Some(Instant::now() + ASK_AGAIN_AFTER);
    }

    /// Closes all that are idle.
    pub(crate) fn close_idle(&self) {
        drop(std::mem::take(&mut lock(&self.pool).idle));
    }

    /// A new connection has waited long for a response. A server with one thread may be waiting for the
    /// next request on an idle one meanwhile: all are closed, and none is kept until this is dropped.
    pub(crate) fn waits_long(&self) -> WaitsLong<'_> {
        let mut pool = lock(&self.pool);
        pool.waiting += 1;
        drop(std::mem::take(&mut pool.idle));
        WaitsLong(&self.pool)
    }

    /// Puts the addresses of a new connection in the order in which they are tried.
    pub(crate) fn arrange(&self, targets: &[Vetted]) -> Vec<Vetted> {
        lock(&self.pool).order.arrange(targets)
    }

    /// A new connection to `address` brought a response.
    pub(crate) fn worked(&self, address: SocketAddr) {
        lock(&self.pool).order.worked(address.ip());
    }

    /// A connection to `address` brought no response. The idle ones to it are closed: they would fail alike.
    pub(crate) fn failed(&self, address: SocketAddr) {
        let mut pool = lock(&self.pool);
        pool.order.failed(address.ip());
        let same = |idle: &Idle| idle.connection.remote() == address;
        pool.idle.retain(|idle| !same(idle));
    }

    /// These addresses did not connect, if it was for them to.
    pub(crate) fn unconnected(&self, tries: &Tries) {
        if matches!(tries.verdict().0, Verdict::Ours(_)) {
            return;
        }
        let failed: Vec<IpAddr> = tries.addresses().map(|address| address.ip()).collect();
        let mut pool = lock(&self.pool);
        for address in failed {
            pool.order.failed(address);
        }
    }
}

/// While it is there no connection is kept.
pub(crate) struct WaitsLong<'a>(&'a Mutex<Pool>);

impl Drop for WaitsLong<'_> {
    fn drop(&mut self) {
        lock(self.0).waiting -= 1;
    }
}

impl Idle {
    fn is_young(&self, now: Instant) -> bool {
        let said = self.connection.kept_for();
        let most = said.map_or(IDLE_AGE_MAX, |said| {
            IDLE_AGE_MAX.min(said.saturating_sub(EARLIER))
        });
        now.duration_since(self.since) < most
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
