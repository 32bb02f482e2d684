//! Hides how the rooms are wired: what they share, who is started when, and how all of it ends.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egress::Transport;
use store::Store;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::EngineOptions;
use crate::capacity::{Memory, Places};
use crate::clock::Clock;
use crate::lane::{Lane, Next};
use crate::metrics::Metrics;
use crate::puller;
use crate::roster::Roster;
use crate::sender::{self, HeaderNames, Settled};
use crate::trouble::Trouble;
use crate::wakeups::Wakeups;

/// What all rooms share.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: EngineOptions,
    pub(crate) headers: HeaderNames,
    pub(crate) roster: Roster,
    pub(crate) wakeups: Wakeups,
    /// For attempts in flight in the whole house.
    pub(crate) places: Places,
    /// For what waits in lanes.
    pub(crate) memory: Memory,
    /// For lanes that cannot send through no fault of their endpoints.
    pub(crate) trouble: Trouble,
    pub(crate) outcomes: mpsc::Sender<Settled>,
    pub(crate) metrics: Metrics,
    /// One change by hand at a time, so that the roster changes in the store's order. Whether the last one
    /// failed in a way that leaves open whether the store made it.
    pub(crate) changes: tokio::sync::Mutex<bool>,
    /// Senders, pullers and attempts that are not recorded yet: the house closes after them.
    pub(crate) tasks: TaskTracker,
    /// No new attempts are started.
    pub(crate) closing: CancellationToken,
    /// Everything ends, recorded or not.
    pub(crate) closed: CancellationToken,
    /// A task of the house panicked: its work is left half done in memory.
    pub(crate) broken: CancellationToken,
    /// The backlog as it was last counted, and when.
    pub(crate) backlog: Mutex<Option<Backlog>>,
}

/// Unfinished deliveries and dead letters, and when they were counted.
#[derive(Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) unfinished: u64,
    pub(crate) dead_letters: u64,
    counted: Instant,
}

/// Counting walks an index, which takes tens of milliseconds a million rows: anyone may ask for
/// the metrics, so it is done this often at the most.
const BACKLOG_KEPT: Duration = Duration::from_secs(5);

/// Notes that the task holding it panicked.
struct Watch(CancellationToken);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

impl House {
    /// Work of the house's own, which nobody waits for. If it panics the house is broken.
    pub(crate) fn watched<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let watch = Watch(self.broken.clone());
        async move {
            let _watch = watch;
            work.await
        }
    }

    /// Does what a lane decided.
    pub(crate) fn follow(self: &Arc<Self>, lane: &Arc<Lane>, next: Next) {
        for _ in 0..next.senders {
            let work = sender::send_all(Arc::clone(self), Arc::clone(lane));
            self.tasks.spawn(self.watched(work));
        }
        if next.pull {
            let work = puller::pull_all(Arc::clone(self), Arc::clone(lane));
            self.tasks.spawn(self.watched(work));
        }
        if let Some(wake) = next.wake {
            self.wakeups.set(lane, &wake);
        }
    }

    /// Waits, unless the house begins to close; whether it did not.
    pub(crate) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.closing.cancelled() => false,
        }
    }

    /// As [`House::pause`], also through closing, until the very end.
    pub(crate) async fn pause_hard(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.closed.cancelled() => false,
        }
    }

    /// The backlog, as it was a few seconds ago at the earliest; the last count, where the store
    /// cannot be read.
    pub(crate) async fn backlog(&self) -> Option<Backlog> {
        let known = *self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some_and(|known| known.counted.elapsed() < BACKLOG_KEPT) {
            return known;
        }
        match self.store.backlog().await {
            Ok((unfinished, dead_letters)) => {
                let counted = Instant::now();
                let fresh = Some(Backlog {
                    unfinished,
                    dead_letters,
                    counted,
                });
                *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                fresh
            }
            Err(error) => {
                self.metrics.store_failed();
                tracing::warn!(%error, "cannot count the backlog for the metrics; the last count stands");
                known
            }
        }
    }

    /// The house's timer: wakes lanes when their time comes.
    pub(crate) async fn run_timer(self: Arc<Self>) {
        loop {
            let due = tokio::select! {
                due = self.wakeups.due(&*self.clock) => due,
                () = self.closing.cancelled() => return,
            };
            for (at, lane) in due {
                let next = lane.wake(at);
                self.follow(&lane, next);
            }
        }
    }

    /// Starts no other attempt; waits until those in flight are recorded, at most `grace`.
    /// Whether they all were.
    pub(crate) async fn close(&self, grace: Duration) -> bool {
        self.closing.cancel();
        self.places.close();
        self.tasks.close();
        let ended = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.closed.cancel();
        ended
    }
}
