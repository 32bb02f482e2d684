//! Hides when what is committed is on disk: each commit is synced before the next one is made, and
//! whoever reads is shown only what is.
//!
//! SQLite would sync inside COMMIT (`synchronous=FULL`), with its connection held. Synced here, after
//! COMMIT, it is the same order of the same writes, but the next transaction's statements run meanwhile.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::watch;

use crate::error::StoreError;

/// Puts what was written to the write-ahead log on disk.
pub(super) type PutOnDisk = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// The order of commits and syncs.
pub(super) struct Durable {
    put_on_disk: PutOnDisk,
    /// Held from before a commit until it is synced.
    turn: Mutex<()>,
    reached: watch::Sender<Reached>,
}

/// How far what was committed is on disk. Turns are counted, from 1.
#[derive(Clone, Copy, Default)]
struct Reached {
    begun: u64,
    ended: u64,
    /// A sync failed. Nobody knows what is on disk since: the system may have dropped what it could not
    /// write, and would report the next sync as done. Only reading the file anew can tell.
    failed: bool,
}

impl Durable {
    pub(super) fn new(put_on_disk: PutOnDisk) -> Self {
        Self {
            put_on_disk,
            turn: Mutex::new(()),
            reached: watch::Sender::default(),
        }
    }

    /// The right to commit, once what was committed before is on disk.
    ///
    /// # Errors
    /// Where it cannot be put there.
    pub(super) fn turn(&self) -> Result<Turn<'_>, StoreError> {
        self.begin(self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Durable::turn`], without waiting; none while a commit is being synced.
    pub(super) fn turn_now(&self) -> Result<Option<Turn<'_>>, StoreError> {
        match self.turn.try_lock() {
            Ok(held) => self.begin(held).map(Some),
            Err(TryLockError::Poisoned(poisoned)) => self.begin(poisoned.into_inner()).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
        }
    }

    fn begin<'d>(&'d self, held: MutexGuard<'d, ()>) -> Result<Turn<'d>, StoreError> {
        let mut failed = false;
        self.reached.send_if_modified(|reached| {
            failed = reached.failed;
            reached.begun += u64::from(!failed);
            false // only an end is news to who waits
        });
        if failed {
            return Err(lost());
        }
        Ok(Turn {
            durable: self,
            failed: false,
            _held: held,
        })
    }

    /// Waits until all that was committed before this call is on disk.
    ///
    /// # Errors
    /// Where it will never be known to be.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        let begun = self.reached.borrow().begun;
        let mut news = self.reached.subscribe();
        match news
            .wait_for(|reached| reached.failed || reached.ended >= begun)
            .await
        {
            Ok(reached) if reached.failed => Err(lost()),
            Ok(_) => Ok(()),
            Err(_) => Err(lost()), // the sender is ours, so it is not gone
        }
    }

    /// Waits until a sync has failed.
    pub(super) async fn failed(&self) {
        // Fails only if the sender is gone, and it is ours.
        let _ = self
            .reached
            .subscribe()
            .wait_for(|reached| reached.failed)
            .await;
    }

    /// Whether a sync has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.reached.borrow().failed
    }
}

/// The right to commit. A turn that ends without [`Turn::sync`] has committed nothing.
pub(super) struct Turn<'d> {
    durable: &'d Durable,
    failed: bool,
    _held: MutexGuard<'d, ()>,
}

impl Turn<'_> {
    /// Puts what was committed on disk.
    ///
    /// # Errors
    /// Where that failed. Nothing is committed any more then.
    pub(super) fn sync(mut self) -> Result<(), StoreError> {
        (self.durable.put_on_disk)().map_err(|error| {
            tracing::error!(
                %error,
                "the store's log cannot be put on disk, and nobody knows what of it is there: \
                 nothing more is written until the service is started again"
            );
            self.failed = true;
            lost()
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.durable.reached.send_modify(|reached| {
            reached.ended = reached.begun;
            reached.failed |= self.failed;
        });
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable(
        "the disk failed to keep what was written; the service has to be started again".into(),
    )
}
