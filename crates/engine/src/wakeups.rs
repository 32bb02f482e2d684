//! Hides when lanes are woken: one ordered set for the whole house, watched by one timer.
//!
//! A lane has at most one entry, however many deliveries wait behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::id::EndpointId;
use model::time::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::lane::{Lane, Wake};

#[derive(Default)]
pub(crate) struct Wakeups {
    set: Mutex<BTreeMap<(Timestamp, EndpointId), Arc<Lane>>>,
    /// Told only when an entry became the earliest: any other changes nothing for the timer.
    earlier: Notify,
}

impl Wakeups {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Timestamp, EndpointId), Arc<Lane>>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a lane's wake-up in place of the one it had.
    pub(crate) fn set(&self, lane: &Arc<Lane>, wake: &Wake) {
        let key = (wake.at, lane.endpoint);
        let mut set = self.lock();
        if let Some(before) = wake.instead_of {
            set.remove(&(before, lane.endpoint));
        }
        set.insert(key, Arc::clone(lane));
        if set
            .first_key_value()
            .is_some_and(|(first, _)| *first == key)
        {
            self.earlier.notify_one();
        }
    }

    /// How many lanes wait for a wake-up.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The lanes whose time has come. Waits for the first of them.
    pub(crate) async fn due(&self, clock: &dyn Clock) -> Vec<(Timestamp, Arc<Lane>)> {
        loop {
            let now = clock.steady();
            let first = {
                let mut set = self.lock();
                let later = set.split_off(&(
                    now.after(std::time::Duration::from_millis(1)),
                    EndpointId(i64::MIN),
                ));
                let due = std::mem::replace(&mut *set, later);
                if !due.is_empty() {
                    return due.into_iter().map(|((at, _), lane)| (at, lane)).collect();
                }
                set.first_key_value().map(|((at, _), _)| *at)
            };
            match first {
                None => self.earlier.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep(at.since(now)) => {}
                        () = self.earlier.notified() => {}
                    }
                }
            }
        }
    }
}
