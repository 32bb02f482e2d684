//! Hides the pool of read-only connections: reads run beside the writer and never hold it up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::connection::{Connection, meaning, means_damage};
use super::durable::Durable;
use super::queue::closed;
use crate::driver::Query;
use crate::error::StoreError;
use crate::value::Rows;

/// Reads at the same time. More would not be quicker and each keeps its own page cache.
pub(super) const READERS: usize = 4;

/// The pool.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
    /// Whether it was said that the file is damaged. Once is enough.
    told: AtomicBool,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(connections.len())),
            idle: Mutex::new(connections),
            told: AtomicBool::new(false),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs queries on one view of the database.
    pub(super) async fn read(
        self: &Arc<Self>,
        queries: Vec<Query>,
        durable: &Durable,
    ) -> Result<Vec<Rows>, StoreError> {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Err(closed());
        };
        let readers = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let connection = readers.idle().pop().ok_or_else(closed)?;
            // After a panic, which is a bug, the connection is still good once its view is closed.
            let answers = catch_unwind(AssertUnwindSafe(|| connection.read(&queries)));
            if !connection.raw.is_autocommit() {
                // An error left the view open. If closing it fails the next read says so.
                let _ = connection.raw.execute_batch("ROLLBACK");
            }
            if !readers.turns.is_closed() {
                readers.idle().push(connection);
            }
            // Kept until here, also where the caller stopped waiting: it stands for the connection.
            drop(turn);
            let answers = answers.map_err(|_| {
                StoreError::Internal("a read panicked: the lines above say where".into())
            })?;
            answers.map_err(|error| {
                if means_damage(&error) && !readers.told.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        %error,
                        "a part of the database file is damaged: what is asked of it is refused, the rest \
                         goes on. Stop the service and restore the file from a backup"
                    );
                }
                meaning(&error)
            })
        });
        let rows = read.await.unwrap_or_else(|error| {
            Err(StoreError::Internal(format!("a read panicked: {error}")))
        })?;
        // What was read may have been committed just now: nobody is shown what could still be lost.
        durable.settled().await?;
        Ok(rows)
    }

    /// Takes no more reads and closes every connection that is idle; the others when they end.
    pub(super) fn close(&self) {
        self.turns.close();
        self.idle().clear();
    }
}
