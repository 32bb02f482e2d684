//! Hides nothing: the ways in which the store says no.

use std::io;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Its queue is full: nothing was accepted; try again soon.
    #[error("the store's queue is full")]
    Overloaded,
    /// It cannot take the write now (disk full, I/O error, locked): nothing was accepted.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// The file is not as it was written where this stands: the rest of it can be read and written, but this
    /// cannot, however often it is tried. Nothing was accepted.
    #[error(
        "a part of the database file is damaged, and this needs it; stop the service and restore the \
         file from a backup"
    )]
    Damaged,
    /// A bug: the statement itself is wrong, or the data breaks a constraint.
    #[error("the store refused a statement: {0}")]
    Internal(String),
}

/// Why the store could not be opened: a sentence that says what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct OpenError {
    /// What happened, why and what to do.
    pub sentence: String,
    /// It may pass by itself, such as a full disk: opening it again later can succeed. All else stays
    /// until somebody does something about it.
    pub may_pass: bool,
}

impl OpenError {
    /// One that stays.
    pub(crate) fn new(sentence: String) -> Self {
        Self {
            sentence,
            may_pass: false,
        }
    }

    /// The same, which passes by itself where `may_pass`.
    pub(crate) fn that_may_pass(self, may_pass: bool) -> Self {
        Self { may_pass, ..self }
    }
}

/// Returns true if an operation on files that failed so may succeed later with nothing changed about the
/// settings: no room, no more open files, no memory, a disk or a mount that is away.
pub fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{
        Interrupted, OutOfMemory, QuotaExceeded, ResourceBusy, StaleNetworkFileHandle, StorageFull,
        TimedOut, WouldBlock,
    };
    /// EIO, ENXIO, ENODEV, ENFILE, EMFILE, ENOTCONN (a mount whose server is gone), EREMOTEIO: `std` has
    /// no stable kinds for most of these.
    const AWAY: [i32; 7] = [5, 6, 19, 23, 24, 107, 121];
    let kinds = [
        Interrupted,
        OutOfMemory,
        QuotaExceeded,
        ResourceBusy,
        StaleNetworkFileHandle,
        StorageFull,
        TimedOut,
        WouldBlock,
    ];
    kinds.contains(&error.kind())
        || error
            .raw_os_error()
            .is_some_and(|code| AWAY.contains(&code))
}

/// Why an open database could not be taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeUpError {
    /// Its signing secrets are sealed with a key that was not given: its id.
    #[error("its signing secrets are sealed with the key {0}, which is not among the keys given")]
    UnknownKey(String),
    /// It cannot be read, or what the last stop left unwritten cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why events were not accepted; none of them was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The idempotency key of the event at this index was used for another event.
    #[error("the idempotency key was used before, for another event")]
    Conflict {
        /// Which of the events.
        index: usize,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A limit of the team's plan was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitedError {
    /// The plan grants no more. A team that was deleted meanwhile has no plan: 0.
    #[error("the plan's limit of {0} is reached")]
    LimitReached(u32),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}
