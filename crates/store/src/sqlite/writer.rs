//! Hides group commit: many units in one transaction, answered once it is on disk; a bad unit fails
//! alone, and so does one that needs a damaged page; a full disk fails all of a batch and the next batch
//! tries again.
//!
//! Two hands write by turns: while one waits for the disk to sync what it committed, the other runs
//! the next transaction, and commits it when the disk is ready for it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::connection::{Connection, Statements, meaning};
use super::durable::{Durable, Turn};
use super::outside::size_of;
use super::queue::{Batch, Queue};
use crate::driver::{Commit, Stats, Unit};
use crate::error::StoreError;

/// The size of a page of the database, in bytes.
const PAGE: u64 = 4096;

/// The writer's half that is shared: with callers by the queue, with the task that writes.
pub(super) struct Writer {
    pub(super) queue: Queue,
    pub(super) durable: Durable,
    pub(super) pen: Mutex<Option<Pen>>,
    counters: Counters,
    checkpoints: Mutex<Option<Connection>>,
    checkpointing: AtomicBool,
    finish_checkpoint: AtomicBool,
    ended: watch::Sender<bool>,
    /// A part of the store panicked.
    panicked: watch::Sender<bool>,
    log: PathBuf,
    /// While it is here, the log is watched.
    watched: Mutex<Option<Sender<()>>>,
}

/// What one hand at a time holds. The lock goes last: the file is ours until it is closed.
pub(super) struct Pen {
    pub(super) connection: Connection,
    pub(super) _lock: File,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    units: AtomicU64,
    failed: AtomicU64,
    overloaded: AtomicU64,
    checkpoints: AtomicU64,
}

impl Writer {
    pub(super) fn new(
        queue: Queue,
        pen: Pen,
        checkpoints: Connection,
        durable: Durable,
        log: PathBuf,
    ) -> Self {
        Self {
            queue,
            durable,
            pen: Mutex::new(Some(pen)),
            counters: Counters::default(),
            checkpoints: Mutex::new(Some(checkpoints)),
            checkpointing: AtomicBool::new(false),
            finish_checkpoint: AtomicBool::new(false),
            ended: watch::Sender::new(false),
            panicked: watch::Sender::new(false),
            log,
            watched: Mutex::default(),
        }
    }

    /// The log is watched as long as this is kept.
    pub(super) fn watched(&self, keep: Option<Sender<()>>) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = keep;
    }

    /// Asks something of the connection for checkpoints. None where the database is closed.
    pub(super) fn with_connection<T>(&self, ask: impl FnOnce(&Connection) -> T) -> Option<T> {
        let connection = self.checkpoints.lock();
        let connection = connection.unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().map(ask)
    }

    /// How large the log may be without anything being wrong, in bytes: under load it grows beyond the size at
    /// which it is copied, but not so far.
    pub(super) fn log_allowed(&self) -> u64 {
        3 * self.queue.bounds.checkpoint_pages.cast_unsigned() * PAGE
    }

    /// Copies all of the log into the database and empties its file, unless somebody reads.
    pub(super) fn shrink_log(&self) {
        // Most of it off the writer's path.
        self.checkpoint();
        let pen = self.pen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Pen { connection, .. }) = pen.as_ref()
            && !self.durable.has_failed()
        {
            self.note_checkpoint(connection.checkpoint_wholly_at_once());
        }
    }

    /// Writes until the queue is closed and empty, then closes the database.
    pub(super) async fn run(self: Arc<Self>) {
        let _watch = Watch(&self);
        tokio::join!(self.lend_a_hand(), self.lend_a_hand());
        let writer = Arc::clone(&self);
        if let Err(error) = tokio::task::spawn_blocking(move || writer.finish()).await {
            tracing::error!(%error, "the store's writer panicked while closing");
            self.note_panic();
        }
        self.ended.send_replace(true);
    }

    async fn lend_a_hand(self: &Arc<Self>) {
        while self.queue.wait().await {
            let writer = Arc::clone(self);
            // Off the runtime's threads, and on tokio's own blocking ones: they hold its paused
            // clock still, which a thread of our own would not.
            let written = tokio::task::spawn_blocking(move || while writer.write_next() {});
            if let Err(error) = written.await {
                tracing::error!(%error, "the store's writer panicked; what it was writing failed");
                self.note_panic();
            }
        }
    }

    /// Waits until [`Writer::run`] has closed the database.
    pub(super) async fn ended(&self) {
        // Fails only if the sender is gone, and it is ours.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Waits until a part of the store has panicked.
    pub(super) async fn panicked(&self) {
        // Fails only if the sender is gone, and it is ours.
        let _ = self
            .panicked
            .subscribe()
            .wait_for(|panicked| *panicked)
            .await;
    }

    fn note_panic(&self) {
        self.panicked.send_replace(true);
    }

    pub(super) fn count_overload(&self) {
        self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            commits: read(&self.counters.commits),
            units: read(&self.counters.units),
            failed_commits: read(&self.counters.failed),
            overloaded: read(&self.counters.overloaded),
            queued: self.queue.len() as u64,
            checkpoints: read(&self.counters.checkpoints),
            log_bytes: size_of(&self.log),
        }
    }

    /// Writes what waits in one transaction; false where nothing does.
    fn write_next(self: &Arc<Self>) -> bool {
        let pen = self.pen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Pen { connection, .. }) = pen.as_ref() else {
            return false; // Dropping the jobs answers them; but nothing is queued once it is closed.
        };
        self.mind_the_log(connection);
        let mut batch = Batch::default();
        if !self.queue.drain(&mut batch) {
            return false;
        }
        let mut turn = None;
        let mut more = |batch: &mut Batch| self.more_or_turn(batch, &mut turn);
        let mut results = transact(connection, &mut batch, false, &mut more);
        if matches!(results, Err(Failure::Unit(_))) {
            // A unit is bad: run them all again, each behind a savepoint, so that it fails alone.
            results = transact(connection, &mut batch, true, &mut more);
        }
        while let Err(Failure::Damage(at)) = results {
            // SQLite writes nothing more in a transaction that met damage: the others go without that unit.
            let job = batch.jobs.remove(at);
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "a part of the database file is damaged: a write that needs it was refused"
            );
            let _ = job.answer.send(Err(StoreError::Damaged));
            results = transact(connection, &mut batch, true, &mut more);
        }
        drop(pen); // The other hand begins the next transaction while this one is being synced.
        let results = results.and_then(|results| match turn.map(Turn::sync) {
            Some(Err(error)) => Err(Failure::All(error)),
            _ => Ok(results),
        });
        self.answer(batch, results);
        true
    }

    /// Adds to a transaction what arrived while it ran, as long as it would have to wait for its turn to
    /// commit; what arrived by then goes along. False where it is to be committed now.
    fn more_or_turn<'w>(
        &'w self,
        batch: &mut Batch,
        turn: &mut Option<Turn<'w>>,
    ) -> Result<bool, Failure> {
        if turn.is_some() {
            return Ok(false);
        }
        *turn = self.durable.turn_now().map_err(Failure::All)?;
        if turn.is_none() {
            if self.queue.drain(batch) {
                return Ok(true);
            }
            *turn = Some(self.durable.turn().map_err(Failure::All)?);
        }
        Ok(self.queue.drain(batch))
    }

    fn answer(&self, batch: Batch, results: Result<Vec<Result<Commit, StoreError>>, Failure>) {
        let counter = if results.is_ok() {
            &self.counters.commits
        } else {
            &self.counters.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let jobs = batch.jobs;
        match results {
            Ok(results) => {
                self.counters
                    .units
                    .fetch_add(jobs.len() as u64, Ordering::Relaxed);
                for (job, result) in jobs.into_iter().zip(results) {
                    // Nobody waits any more: the caller was dropped, the write stands.
                    let _ = job.answer.send(result);
                }
            }
            Err(failure) => {
                let error = failure.into_error();
                tracing::warn!(%error, units = jobs.len(), "the store could not commit");
                for job in jobs {
                    let _ = job.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Has the log copied into the database when it has grown: off the writer's path, but for a
    /// short rest, since only when all of it is copied does the log start over instead of growing.
    fn mind_the_log(self: &Arc<Self>, connection: &Connection) {
        let Ok((pages, copied)) = connection.log_state() else {
            return; // Only asked for to decide about housekeeping; the next commit asks again.
        };
        let enough = self.queue.bounds.checkpoint_pages;
        if pages < enough || pages == copied {
            return;
        }
        let short = pages - copied <= enough / 8 || pages >= 2 * enough;
        if short && self.finish_checkpoint.swap(false, Ordering::Relaxed) {
            self.note_checkpoint(connection.checkpoint());
        } else if !self.checkpointing.swap(true, Ordering::Relaxed) {
            let writer = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                let _watch = Watch(&writer);
                writer.checkpoint();
            });
        }
    }

    fn checkpoint(&self) {
        if let Some(connection) = self
            .checkpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            // The writer writes on meanwhile; each round has less left to copy.
            for _ in 0..4 {
                let state = connection.checkpoint();
                let left = state.as_ref().map_or(0, |(pages, copied)| pages - copied);
                self.note_checkpoint(state);
                if left <= self.queue.bounds.checkpoint_pages / 32 {
                    break;
                }
            }
        }
        self.finish_checkpoint.store(true, Ordering::Relaxed);
        self.checkpointing.store(false, Ordering::Relaxed);
    }

    fn note_checkpoint(&self, done: rusqlite::Result<(i64, i64)>) {
        match done {
            Ok(_) => {
                self.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
            }
            // The log keeps all; it only grows until a checkpoint succeeds.
            Err(error) => tracing::warn!(%error, "a checkpoint of the store failed"),
        }
    }

    fn finish(&self) {
        self.watched(None);
        drop(
            self.checkpoints
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let pen = self
            .pen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(pen) = pen else { return };
        if self.durable.has_failed() {
            // Closing it would copy the log, of which nobody knows what is on disk, into the database.
            std::mem::forget(pen);
        } else {
            self.note_checkpoint(pen.connection.checkpoint_wholly());
        }
    }
}

/// Notes a panic of the thread or task that holds it.
struct Watch<'w>(&'w Writer);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note_panic();
        }
    }
}

/// Why a transaction came to nothing.
enum Failure {
    /// One unit is at fault.
    Unit(StoreError),
    /// The unit of this job needs what is damaged.
    Damage(usize),
    /// Nothing can be written now.
    All(StoreError),
}

impl Failure {
    /// What a failed BEGIN or COMMIT means, which no unit is at fault for: it may pass.
    fn of_all(error: &rusqlite::Error) -> Self {
        Self::All(match meaning(error) {
            StoreError::Internal(why) => StoreError::Unavailable(why),
            StoreError::Damaged => StoreError::Unavailable(StoreError::Damaged.to_string()),
            error => error,
        })
    }

    /// What the failure of a job's unit means.
    fn of_job(self, at: usize) -> Self {
        match self {
            Self::Unit(StoreError::Damaged) => Self::Damage(at),
            other => other,
        }
    }

    fn into_error(self) -> StoreError {
        match self {
            Self::Unit(error) | Self::All(error) => error,
            Self::Damage(_) => StoreError::Damaged,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match meaning(&error) {
            // Damage is in one page: units that need others can be done.
            error @ (StoreError::Internal(_) | StoreError::Damaged) => Self::Unit(error),
            error => Self::All(error),
        }
    }
}

/// Runs a batch's units in one transaction. Guarded ones stand behind a savepoint, or with `apart` all.
/// Before it is committed `more` may add to the batch, and is asked again as long as it does.
fn transact(
    connection: &Connection,
    batch: &mut Batch,
    apart: bool,
    more: &mut dyn FnMut(&mut Batch) -> Result<bool, Failure>,
) -> Result<Vec<Result<Commit, StoreError>>, Failure> {
    let mut statements = Statements::new(connection);
    begin(connection, &mut statements).map_err(|error| Failure::of_all(&error))?;
    let mut run = || -> Result<_, Failure> {
        let mut results = Vec::with_capacity(batch.jobs.len());
        loop {
            for (at, job) in batch.jobs.iter().enumerate().skip(results.len()) {
                let result = if apart || job.unit.is_guarded() {
                    run_apart(&mut statements, &job.unit)
                } else {
                    run_unit(&mut statements, &job.unit).map(Ok)
                };
                results.push(result.map_err(|failure| failure.of_job(at))?);
            }
            if !more(batch)? {
                break;
            }
        }
        statements
            .run("COMMIT", [].as_slice())
            .map_err(|error| Failure::of_all(&error))?;
        Ok(results)
    };
    let results = run();
    if results.is_err() && !connection.raw.is_autocommit() {
        // Some errors end the transaction by themselves, the others here. Where even this fails,
        // the next transaction does it before it begins.
        if let Err(error) = statements.run("ROLLBACK", [].as_slice()) {
            tracing::warn!(%error, "a failed transaction could not be rolled back");
        }
    }
    results
}

/// Begins a transaction, after undoing one that a panic or a failed ROLLBACK left open.
fn begin(connection: &Connection, statements: &mut Statements<'_>) -> rusqlite::Result<()> {
    if !connection.raw.is_autocommit() {
        statements.run("ROLLBACK", [].as_slice())?;
    }
    statements.run("BEGIN IMMEDIATE", [].as_slice()).map(|_| ())
}

fn run_apart(
    statements: &mut Statements<'_>,
    unit: &Unit,
) -> Result<Result<Commit, StoreError>, Failure> {
    statements.run("SAVEPOINT unit", [].as_slice())?;
    let result = match run_unit(statements, unit) {
        Ok(commit) => Ok(commit),
        Err(Failure::Unit(error)) if error != StoreError::Damaged => Err(error),
        Err(failure) => return Err(failure),
    };
    if !matches!(result, Ok(Commit::Done { .. })) {
        statements.run("ROLLBACK TO unit", [].as_slice())?;
    }
    statements.run("RELEASE unit", [].as_slice())?;
    Ok(result)
}

fn run_unit(statements: &mut Statements<'_>, unit: &Unit) -> Result<Commit, Failure> {
    let mut affected = 0;
    for (index, (statement, values)) in unit.statements().enumerate() {
        let changed = statements.run(statement.sql, values)?;
        if statement.expect.is_some_and(|expected| expected != changed) {
            return Ok(Commit::Refused { statement: index });
        }
        affected += changed;
    }
    Ok(Commit::Done { affected })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::driver::Query;
    use crate::value::Columns;

    fn connection() -> Connection {
        let raw = rusqlite::Connection::open_in_memory().unwrap();
        raw.execute_batch("CREATE TABLE kept (name TEXT)").unwrap();
        Connection::new(raw)
    }

    fn keep(name: &'static str) -> Batch {
        let unit = Unit::of("INSERT INTO kept (name) VALUES ($1)", [name.into()]);
        Batch::of(unit)
    }

    fn no_more(_: &mut Batch) -> Result<bool, Failure> {
        Ok(false)
    }

    fn kept(connection: &Connection) -> Vec<String> {
        let query = Query::new("SELECT name FROM kept", []);
        let rows = connection.read(&[query]).unwrap().remove(0);
        rows.decode(Columns::text).unwrap()
    }

    #[test]
    fn writing_goes_on_after_a_transaction_that_panicked_or_was_not_undone() {
        let connection = connection();
        let broken = catch_unwind(AssertUnwindSafe(|| {
            let mut panics = |_: &mut Batch| panic!("in the middle of a batch");
            transact(&connection, &mut keep("lost"), false, &mut panics).is_ok()
        }));
        assert!(broken.is_err() && !connection.raw.is_autocommit());
        assert!(transact(&connection, &mut keep("first"), false, &mut no_more).is_ok());
        assert_eq!(kept(&connection), ["first"]);
        connection
            .raw
            .execute_batch("BEGIN; INSERT INTO kept (name) VALUES ('lost too')")
            .unwrap();
        assert!(transact(&connection, &mut keep("second"), true, &mut no_more).is_ok());
        assert_eq!(kept(&connection), ["first", "second"]);
    }

    #[test]
    fn what_arrives_before_the_commit_goes_along() {
        let connection = connection();
        let mut batch = keep("first");
        let mut late = vec![keep("third"), keep("second")];
        let mut more = |batch: &mut Batch| {
            let next = late.pop();
            Ok(next.is_some_and(|next| {
                batch.jobs.extend(next.jobs);
                true
            }))
        };
        let results = transact(&connection, &mut batch, false, &mut more);
        assert_eq!(results.ok().map(|results| results.len()), Some(3));
        assert_eq!(kept(&connection), ["first", "second", "third"]);
    }

    #[test]
    fn a_transaction_that_cannot_begin_is_no_unit_s_fault() {
        let connection = connection();
        connection.raw.execute_batch("BEGIN").unwrap();
        let error = connection.raw.execute_batch("BEGIN").unwrap_err();
        assert!(
            matches!(Failure::from(error), Failure::Unit(_)),
            "of a unit's"
        );
        let error = connection.raw.execute_batch("BEGIN").unwrap_err();
        let Failure::All(StoreError::Unavailable(why)) = Failure::of_all(&error) else {
            panic!("{error}");
        };
        assert!(why.contains("transaction within a transaction"), "{why}");
    }
}
