//! Hides SQLite: one file that is ours alone, one writer that commits in groups, readers beside it.
//!
//! Rooms: `open` in this file (the lock, the checks, the pragmas), `migrate` (the tables),
//! `connection` (rusqlite), `queue` and `writer` (group commit and checkpoints), `durable` (when a commit
//! is on disk), `readers`; `outside` (other programs that read); `backup` (a copy beside all this).

mod backup;
mod connection;
mod durable;
mod migrate;
mod outside;
mod queue;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use crate::driver::{Commit, Driver, Fatal, Line, Pending, Query, Stats, Unit};
use crate::error::{OpenError, StoreError, may_pass};
use crate::value::Rows;
pub use backup::{Backup, Stopper, backup};
use connection::Connection;
use durable::{Durable, PutOnDisk};
use outside::SharedMemory;
use queue::{Bounds, Queue};
use readers::{READERS, Readers};
use writer::{Pen, Writer};

/// Where the store is.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file, made if absent (its folder too).
    pub path: PathBuf,
}

/// A file up to this size is checked wholly when it is opened (about 0.1 s); of a larger one only
/// what opening reads: its header, its schema and both ends of every table.
const CHECKED_WHOLLY: u64 = 32 << 20;

/// How long a lock is waited for: a service that is being restarted may still be closing.
const LOCK_PATIENCE: Duration = Duration::from_millis(1500);

/// How long a statement waits for a lock of SQLite's.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Page caches, in KiB. The operating system caches the file too, so ours may be small.
const WRITER_CACHE: i64 = 16 << 10;
const READER_CACHE: i64 = 2 << 10;

/// The driver for SQLite: a database file, open.
pub struct SqliteDriver {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
}

impl SqliteDriver {
    /// Opens the file, makes it where it is absent, and starts its writer.
    ///
    /// # Errors
    /// The sentence says what is wrong with the file or its place, and what to do.
    pub async fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        Self::open_with(options, Bounds::default(), |sync| sync).await
    }

    /// `sync` may put itself before what puts the write-ahead log on disk.
    async fn open_with(
        options: SqliteOptions,
        bounds: Bounds,
        sync: impl FnOnce(PutOnDisk) -> PutOnDisk,
    ) -> Result<Self, OpenError> {
        let name = options.path.display().to_string();
        let (database, log_path) = (options.path.clone(), log_path(&options.path));
        let opened = tokio::task::spawn_blocking(move || open_file(&options.path))
            .await
            .map_err(|error| OpenError::new(format!("opening {name} panicked: {error}")))?;
        let Opened {
            pen,
            checkpoints,
            readers,
            log,
        } = opened?;
        let durable = Durable::new(sync(Box::new(move || log.sync_data())));
        let queue = Queue::new(bounds);
        let writer = Writer::new(queue, pen, checkpoints, durable, log_path.clone());
        let writer = Arc::new(writer);
        writer.watched(outside::watch(Arc::downgrade(&writer), database, log_path));
        tokio::spawn(Arc::clone(&writer).run());
        Ok(Self {
            writer,
            readers: Arc::new(Readers::new(readers)),
        })
    }
}

impl Driver for SqliteDriver {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            let result = self.writer.queue.submit(line, unit).await;
            if result == Err(StoreError::Overloaded) {
                self.writer.count_overload();
            }
            result
        })
    }

    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        Box::pin(self.readers.read(queries, &self.writer.durable))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.readers.close();
            self.writer.queue.close();
            self.writer.ended().await;
        })
    }

    fn failed(&self) -> Pending<'_, Fatal> {
        Box::pin(async {
            tokio::select! {
                () = self.writer.durable.failed() => Fatal::Disk,
                () = self.writer.panicked() => Fatal::Panic,
            }
        })
    }

    fn stats(&self) -> Stats {
        self.writer.stats()
    }
}

/// Without [`Driver::close`] the writer still ends, after what is queued.
impl Drop for SqliteDriver {
    fn drop(&mut self) {
        self.readers.close();
        self.writer.queue.close();
    }
}

/// Whether a database file holds signing secrets that are sealed, so that it needs the key it has.
///
/// # Errors
/// Where the file is there and cannot be read as a database.
pub fn holds_sealed_secrets(path: &Path) -> Result<bool, OpenError> {
    let name = path.display().to_string();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unusable(&name, &error)),
        Ok(file) if file.len() == 0 => return Ok(false),
        Ok(_) => {}
    }
    let look = || {
        let raw = rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let number = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0));
        let tables = number("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'")?;
        Ok(tables > 0 && number("SELECT count(*) FROM meta WHERE key = 'sealed_under'")? > 0)
    };
    look().map_err(|error| cannot_open(&name, &error))
}

/// An open database file.
struct Opened {
    pen: Pen,
    checkpoints: Connection,
    readers: Vec<Connection>,
    /// The write-ahead log.
    log: File,
}

fn open_file(path: &Path) -> Result<Opened, OpenError> {
    let name = path.display().to_string();
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(|error| unusable(&name, &error))?;
    }
    let lock = lock(path, &name)?;
    check_log(path, &name)?;
    check_header(path, &name)?;
    let mut writer = connect(path, WRITER_CACHE, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|error| cannot_open(&name, &error))?;
    // What is refused stays as it is: SQLite would copy the log into it when it is closed.
    let keep_log = |connection: &rusqlite::Connection, keep| {
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep)
            .map_err(|error| cannot_open(&name, &error))
    };
    keep_log(&writer, true)?;
    migrate::migrate(&mut writer, &name)?;
    make_durable(&writer, &name)?;
    check_content(&writer, path, &name)?;
    keep_log(&writer, false)?;
    let more = |cache, flags| {
        connect(path, cache, flags)
            .map(Connection::new)
            .map_err(|error| cannot_open(&name, &error))
    };
    let mut checkpoints = more(READER_CACHE, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut readers = (0..READERS)
        .map(|_| more(READER_CACHE, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .collect::<Result<Vec<_>, _>>()?;
    let log = open_log(path, &name)?;
    let mut pen = Pen {
        connection: Connection::new(writer),
        _lock: lock,
    };
    let shared = SharedMemory::open(path).map_err(|error| unusable(&name, &error))?;
    let shared = Arc::new(shared);
    let all = readers
        .iter_mut()
        .chain([&mut checkpoints, &mut pen.connection]);
    for connection in all {
        connection.shared_memory = Some(Arc::clone(&shared));
    }
    Ok(Opened {
        pen,
        checkpoints,
        readers,
        log,
    })
}

/// Refuses a write-ahead log that SQLite would drop without a word, and with it what was committed last: one
/// whose database is gone or empty, and one that does not begin like a log. A beginning that is there in part
/// is what a cut of the power leaves, and then nothing that counts is behind it.
fn check_log(path: &Path, name: &str) -> Result<(), OpenError> {
    let log_path = log_path(path);
    let mut beginning = Vec::new();
    let read = File::open(&log_path)
        .and_then(|log| log.take(LOG_BEGINNING as u64).read_to_end(&mut beginning));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable(&log_path.display().to_string(), &error)),
        Ok(0) => return Ok(()),
        Ok(_) => {}
    }
    let log = log_path.display();
    let size = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        size => size.map_err(|error| unusable(name, &error))?.len(),
    };
    if size == 0 {
        return Err(OpenError::new(format!(
            "{name} is not there or empty, but {log} is there, which holds what was written to it last. No \
             new database was made, and nothing was changed: put the database back from where it went or \
             from a backup; to begin anew, remove {log} as well."
        )));
    }
    if begins_like_a_log(&beginning) {
        return Ok(());
    }
    Err(OpenError::new(format!(
        "{log} is damaged at its beginning, and holds what was written to {name} last. Both were left as they \
         are: restore them from a backup; to go on without what was written last, remove {log}."
    )))
}

/// How much of a write-ahead log's beginning is the same in all: what it is, its format and its page size.
const LOG_BEGINNING: usize = 12;

/// Whether a log begins as the format of SQLite's files has it, at least in part.
fn begins_like_a_log(beginning: &[u8]) -> bool {
    let (words, _) = beginning.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
    let mut next = |fits: fn(u32) -> bool| words.next().is_none_or(|word| word == 0 || fits(word));
    next(|what| what & !1 == 0x377f_0682)
        && next(|format| format == 3_007_000)
        && next(|page| page.is_power_of_two() && (512..=65_536).contains(&page))
}

fn log_path(path: &Path) -> PathBuf {
    let mut log_path = path.as_os_str().to_owned();
    log_path.push("-wal");
    log_path.into()
}

/// The write-ahead log, to be synced. SQLite has made it by now, with its entry in the folder on disk, and
/// keeps this very file until the last connection closes.
fn open_log(path: &Path, name: &str) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(log_path(path))
        .map_err(|error| unusable(name, &error))
}

/// Makes the database file ours alone. SQLite would let two services share it, and both would
/// deliver everything.
fn lock(path: &Path, name: &str) -> Result<File, OpenError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(lock_path)
        .map_err(|error| unusable(name, &error))?;
    let step = Duration::from_millis(25);
    let mut waited = Duration::ZERO;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if waited < LOCK_PATIENCE => {
                std::thread::sleep(step);
                waited += step;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::new(format!(
                    "{name} is in use by another running service. Stop that one first, or name \
                     another file in --database-url; one database serves one running service."
                ))
                .that_may_pass(true));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(name, &error)),
        }
    }
}

/// Only the service's own user may read what holds secrets.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Makes an absent file; refuses one that is no SQLite database rather than write into it.
fn check_header(path: &Path, name: &str) -> Result<(), OpenError> {
    let mut file = private(
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false),
    )
    .open(path)
    .map_err(|error| unusable(name, &error))?;
    let mut header = Vec::new();
    file.by_ref()
        .take(16)
        .read_to_end(&mut header)
        .map_err(|error| unusable(name, &error))?;
    if header.is_empty() || header == *b"SQLite format 3\0" {
        return Ok(());
    }
    Err(OpenError::new(format!(
        "{name} is not a database of this service, or its beginning is damaged. It was left as it \
         is; name another file in --database-url, or restore it from a backup."
    )))
}

fn connect(
    path: &Path,
    cache_kib: i64,
    access: OpenFlags,
) -> rusqlite::Result<rusqlite::Connection> {
    // One connection is never used by two threads at a time, so SQLite need not lock it.
    let connection =
        rusqlite::Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    // What is overwritten or deleted, such as a secret that was rotated, does not stay in its page.
    connection.pragma_update(None, "secure_delete", "fast")?;
    Ok(connection)
}

/// Has the log written ahead, and synced by SQLite only where its parts must reach the disk in order: when
/// it starts over, and around its copying into the database. After each commit `durable` syncs it. Both
/// pragmas are read back: SQLite ignores what it cannot do (write-ahead logging on some network file
/// systems, say) without an error.
fn make_durable(connection: &rusqlite::Connection, name: &str) -> Result<(), OpenError> {
    let trouble = |error: rusqlite::Error| cannot_open(name, &error);
    let journal: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(trouble)?;
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(trouble)?;
    // Checkpoints are the writer's own business (see `writer`).
    connection
        .pragma_update(None, "wal_autocheckpoint", 0)
        .map_err(trouble)?;
    let synchronous: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(trouble)?;
    if journal == "wal" && synchronous == 1 {
        return Ok(());
    }
    Err(OpenError::new(format!(
        "{name} cannot be written durably (journal {journal}, synchronous {synchronous}). Put it \
         on a local disk: network file systems often cannot do it."
    )))
}

fn check_content(
    connection: &rusqlite::Connection,
    path: &Path,
    name: &str,
) -> Result<(), OpenError> {
    let size = std::fs::metadata(path)
        .map_err(|error| unusable(name, &error))?
        .len();
    if size > CHECKED_WHOLLY {
        return Ok(());
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| cannot_open(name, &error))?;
    if verdict == "ok" {
        return Ok(());
    }
    tracing::error!(%verdict, "the store is damaged");
    Err(damaged_file(name))
}

fn damaged_file(name: &str) -> OpenError {
    OpenError::new(format!(
        "{name} is damaged. It was left as it is: restore it from a backup, or rescue what can be \
         read with the `.recover` command of the sqlite3 tool."
    ))
}

fn unusable(name: &str, error: &io::Error) -> OpenError {
    OpenError::new(format!(
        "{name} cannot be opened for reading and writing: {error}. See that its folder exists, has \
         room and belongs to the user this service runs as."
    ))
    .that_may_pass(may_pass(error))
}

/// The sentence for an error of SQLite's while opening.
fn cannot_open(name: &str, error: &rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{
        DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, OutOfMemory,
        SystemIoFailure,
    };
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => damaged_file(name),
        Some(DiskFull) => OpenError::new(format!(
            "{name} cannot be opened because the disk is full. Make room: nothing was lost."
        ))
        .that_may_pass(true),
        Some(DatabaseBusy | DatabaseLocked) => OpenError::new(format!(
            "{name} cannot be opened because another program has locked it. End what uses the file, such \
             as an open sqlite3 shell; nothing was lost."
        ))
        .that_may_pass(true),
        code => OpenError::new(format!(
            "{name} cannot be opened: {error}. See that its disk has room and works, and that it and \
             its folder can be written by the user this service runs as."
        ))
        .that_may_pass(matches!(code, Some(SystemIoFailure | OutOfMemory)) && !is_too_short(error)),
    }
}

/// Returns true if the file ended where more of it was due: it is damaged, and its disk is not away.
fn is_too_short(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
}
