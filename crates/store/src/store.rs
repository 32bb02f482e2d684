//! Hides how a store is opened, how its ids are made, and which driver is underneath.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use model::id::{Id, IdAllocator, IdCodec};
use model::time::Timestamp;

use crate::driver::{Commit, Driver, Fatal, Line, Query, Stats, Unit};
use crate::error::{OpenError, StoreError, TakeUpError};
use crate::fresh::{self, Fresh};
use crate::seal::{self, Keyring};
use crate::sqlite::{SqliteDriver, SqliteOptions};
use crate::value::{Rows, damaged};

const ID_KEY: &str = "SELECT value FROM meta WHERE key = 'id_key'";
const LAST_IDS: &str = "\
    SELECT (SELECT max(id) FROM teams), (SELECT max(id) FROM api_keys), \
           (SELECT max(id) FROM endpoints), (SELECT max(id) FROM events), \
           (SELECT max(id) FROM deliveries), (SELECT max(id) FROM audit_log)";
const PROVE_READY: &str = "\
    INSERT INTO meta (key, value) VALUES ('ready', $1) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// The durable half of the house. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Arc<dyn Driver>,
    codec: IdCodec,
    ids: Mutex<IdAllocator>,
    keyring: Keyring,
    fresh: Fresh,
    /// Where `sweep` goes on: it has looked at every event up to here.
    swept: AtomicI64,
}

impl Store {
    /// Opens the store, migrating it where it is older than this program.
    ///
    /// # Errors
    /// The sentence says why not and what to do: the file is in use, of a newer version, of another
    /// program, damaged, or cannot be written. A file that is refused is left as it is.
    pub async fn open_sqlite(options: SqliteOptions, keyring: Keyring) -> Result<Self, OpenError> {
        let name = options.path.display().to_string();
        let driver = Arc::new(SqliteDriver::open(options).await?);
        let taken_up = Self::with_driver(Arc::clone(&driver) as Arc<dyn Driver>, keyring).await;
        if taken_up.is_err() {
            // So that the file can be opened again.
            driver.close().await;
        }
        taken_up.map_err(|error| match error {
                TakeUpError::UnknownKey(id) => OpenError::new(format!(
                    "{name} cannot be used with the key given: its signing secrets are sealed with \
                     the key {id}. Bring back the key file that belongs to this database; nothing was \
                     changed."
                )),
                TakeUpError::Store(error) => {
                let may_pass = matches!(error, StoreError::Unavailable(_));
                OpenError::new(format!(
                    "{name} cannot be taken up again: {error}. Nothing that was in it is lost. See \
                     that its disk has room, since what the last stop left unwritten has to be \
                     written first, and that it can be read and written; then start again."
                ))
                .that_may_pass(may_pass)
            }
            })
    }

    /// A store over an open driver, whose tables are there.
    ///
    /// # Errors
    /// What the driver says when it is first read, or when it writes what the last stop left unwritten.
    pub async fn with_driver(
        driver: Arc<dyn Driver>,
        keyring: Keyring,
    ) -> Result<Self, TakeUpError> {
        let key = read_one(&*driver, Query::new(ID_KEY, []))
            .await?
            .first(|row| row.array::<16>())?
            .ok_or_else(|| damaged("the key of its ids is missing"))?;
        let sealed = seal::seal_store(&*driver, &keyring).await?;
        if sealed > 0 {
            tracing::info!(
                endpoints = sealed,
                "signing secrets were sealed with the current key"
            );
        }
        let mark = fresh::write_left_over(&*driver).await?;
        // Only now: the ids of deliveries that had no row yet count, too.
        let last = read_one(&*driver, Query::new(LAST_IDS, [])).await?;
        let last = last.first(|row| {
            (0..6).try_fold(0, |last, _| Ok(row.maybe_int()?.unwrap_or(0).max(last)))
        })?;
        // An id may be larger than all that are there: of an event that was not accepted in the end, or that is past
        // its time by now. The clock cannot be relied on to be beyond it.
        let last = last.unwrap_or(0).max(mark.0 - 1);
        Ok(Self {
            inner: Arc::new(Inner {
                driver,
                codec: IdCodec::new(key),
                ids: Mutex::new(IdAllocator::new(0, last)),
                keyring,
                fresh: Fresh::after(last),
                swept: AtomicI64::new(0),
            }),
        })
    }

    /// Ids to UUIDs and back, under this store's key.
    pub fn codec(&self) -> &IdCodec {
        &self.inner.codec
    }

    /// Ends the writer after what is queued, checkpoints and closes.
    pub async fn close(&self) {
        if let Err(error) = self.write_down_all().await {
            // The next opening does it, as after a crash.
            tracing::warn!(%error, "the last deliveries' rows cannot be written before closing");
        }
        self.inner.driver.close().await;
    }

    /// Whether it can be read and written now (a real round trip).
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.commit(Unit::of(
            PROVE_READY,
            [bytes::Bytes::from_static(b"1").into()],
        ))
        .await?;
        self.read_one(Query::new(ID_KEY, [])).await.map(|_| ())
    }

    /// Waits until only opening it anew helps: the disk failed, so that nobody knows what is on it and writes
    /// and reads are refused from then on, or a part of the store panicked.
    pub async fn failed(&self) -> Fatal {
        self.inner.driver.failed().await
    }

    /// What it has done since it was opened: for metrics.
    pub fn stats(&self) -> Stats {
        self.inner.driver.stats()
    }

    // ---- what the rooms are built of ----

    pub(crate) fn driver(&self) -> &dyn Driver {
        self.inner.driver.as_ref()
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.inner.keyring
    }

    pub(crate) fn fresh(&self) -> &Fresh {
        &self.inner.fresh
    }

    pub(crate) fn swept(&self) -> &AtomicI64 {
        &self.inner.swept
    }

    /// The first of `count` consecutive new ids.
    pub(crate) fn new_block(&self, now: Timestamp, count: usize) -> i64 {
        self.inner
            .ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .block(now, count)
    }

    pub(crate) fn new_id<I: Id>(&self, now: Timestamp) -> I {
        I::from_raw(self.new_block(now, 1))
    }

    /// Commits what is not a publication.
    pub(crate) async fn commit(&self, unit: Unit) -> Result<Commit, StoreError> {
        self.driver().commit(Line::Recording, unit).await
    }

    /// As [`Store::commit`], for a unit without guards; how many rows it changed.
    pub(crate) async fn change(&self, unit: Unit) -> Result<u64, StoreError> {
        match self.commit(unit).await? {
            Commit::Done { affected } => Ok(affected),
            Commit::Refused { statement } => Err(StoreError::Internal(format!(
                "statement {statement} was refused without a guard"
            ))),
        }
    }

    pub(crate) async fn read_one(&self, query: Query) -> Result<Rows, StoreError> {
        read_one(self.driver(), query).await
    }

    /// Two reads on one view of the database.
    pub(crate) async fn read_two(
        &self,
        one: Query,
        two: Query,
    ) -> Result<(Rows, Rows), StoreError> {
        let mut answers = self.driver().read(vec![one, two]).await?;
        let second = answers.pop();
        answers
            .pop()
            .zip(second)
            .ok_or_else(|| damaged("an answer is missing"))
    }
}

pub(crate) async fn read_one(driver: &dyn Driver, query: Query) -> Result<Rows, StoreError> {
    let mut answers = driver.read(vec![query]).await?;
    answers.pop().ok_or_else(|| damaged("an answer is missing"))
}
