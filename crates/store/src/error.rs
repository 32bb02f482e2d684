//! Hides nothing: the ways in which the store says no.

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
#[error("{0}")]
pub struct OpenError(pub String);

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
