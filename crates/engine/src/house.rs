//! Hides how the rooms are wired: what they share, who is started when, and how all of it ends.

use std::sync::Arc;
use std::time::Duration;

use egress::Transport;
use store::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::EngineOptions;
use crate::clock::Clock;
use crate::lane::{Lane, Next};
use crate::metrics::Metrics;
use crate::puller;
use crate::roster::Roster;
use crate::sender::{self, HeaderNames, Settled};
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
    /// Attempts in flight in the whole house.
    pub(crate) capacity: Semaphore,
    pub(crate) outcomes: mpsc::Sender<Settled>,
    pub(crate) metrics: Metrics,
    /// One change by hand at a time, so that the roster changes in the store's order.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// Senders, pullers and attempts that are not recorded yet: the house closes after them.
    pub(crate) tasks: TaskTracker,
    /// No new attempts are started.
    pub(crate) closing: CancellationToken,
    /// Everything ends, recorded or not.
    pub(crate) closed: CancellationToken,
}

impl House {
    /// Does what a lane decided.
    pub(crate) fn follow(self: &Arc<Self>, lane: &Arc<Lane>, next: Next) {
        for _ in 0..next.senders {
            self.tasks
                .spawn(sender::send_all(Arc::clone(self), Arc::clone(lane)));
        }
        if next.pull {
            self.tasks
                .spawn(puller::pull_all(Arc::clone(self), Arc::clone(lane)));
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
        self.capacity.close();
        self.tasks.close();
        let ended = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.closed.cancel();
        ended
    }
}
