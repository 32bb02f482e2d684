//! Hides how a database is copied while a service writes to it: by one read of all of it (`VACUUM INTO`), which no
//! commit makes begin anew; into a file that has its name only once it is whole, on disk, and checked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, InterruptHandle, OpenFlags};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};

use super::migrate::{APPLICATION_ID, VERSION};
use crate::error::OpenError;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its size.
    pub bytes: u64,
    /// How many events are in it.
    pub events: u64,
    /// How many teams are in it.
    pub teams: u64,
}

/// Stops a backup from another thread.
#[derive(Default)]
pub struct Stopper {
    stopped: AtomicBool,
    under_way: Mutex<Option<InterruptHandle>>,
}

impl Stopper {
    /// Stops it: it fails, and leaves no file.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let under_way = self.under_way.lock();
        if let Some(handle) = &*under_way.unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }

    /// From now on `connection` is what is stopped.
    fn watch(&self, connection: &Connection) -> Result<(), OpenError> {
        let under_way = self.under_way.lock();
        *under_way.unwrap_or_else(PoisonError::into_inner) =
            Some(connection.get_interrupt_handle());
        self.check()
    }

    fn check(&self) -> Result<(), OpenError> {
        if self.stopped.load(Ordering::SeqCst) {
            return Err(OpenError::new(
                "The backup was stopped, and no file was made.".into(),
            ));
        }
        Ok(())
    }
}

/// Copies the database at `source` into the new file `target`, which is for its owner alone. The service may go on
/// meanwhile.
///
/// # Errors
/// The sentence says why not and what to do. There is no new file then, and what was there is as it was.
pub fn backup(source: &Path, target: &Path, stopper: &Stopper) -> Result<Backup, OpenError> {
    let from = open_source(source)?;
    refuse_existing(target)?;
    let partial = Partial::make(target)?;
    stopper.watch(&from)?;
    let stopped_or = |error: OpenError| stopper.check().err().unwrap_or(error);
    copy(&from, source, &partial, target).map_err(stopped_or)?;
    let backup = check(&from, &partial, stopper).map_err(stopped_or)?;
    stopper.check()?;
    partial.keep(target)?;
    Ok(backup)
}

fn open_source(source: &Path) -> Result<Connection, OpenError> {
    let name = source.display();
    let meta = std::fs::metadata(source).map_err(|error| match error.kind() {
        ErrorKind::NotFound => OpenError::new(format!(
            "There is no database {name}. Name the one to back up with --database-url sqlite:PATH, or the \
             service's settings with --config FILE."
        )),
        _ => unreadable(source, &error),
    })?;
    if !meta.is_file() {
        return Err(OpenError::new(format!(
            "{name} is no file, so it is no database. Name the one to back up with --database-url sqlite:PATH."
        )));
    }
    if meta.len() == 0 {
        return Err(OpenError::new(format!(
            "{name} is empty: there is nothing to back up yet, or it is not the service's database."
        )));
    }
    File::open(source).map_err(|error| unreadable(source, &error))?;
    let trouble = |error: rusqlite::Error| from_source(source, &error);
    // Only reads: a checkpoint is the service's business.
    let from =
        Connection::open_with_flags(source, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(trouble)?;
    from.busy_timeout(std::time::Duration::from_secs(10))
        .map_err(trouble)?;
    let number = |pragma: &str| from.query_row(pragma, [], |row| row.get::<_, i64>(0));
    if number("PRAGMA application_id").map_err(trouble)? != i64::from(APPLICATION_ID) {
        return Err(OpenError::new(format!(
            "{name} is a database of another program. Name the service's with --database-url sqlite:PATH."
        )));
    }
    let version = number("PRAGMA user_version").map_err(trouble)?;
    if usize::try_from(version).map_or(true, |version| version > VERSION) {
        return Err(OpenError::new(format!(
            "{name} was written by a newer version of this program, so this one cannot check a copy of it. Back \
             it up with the newer program."
        )));
    }
    Ok(from)
}

fn refuse_existing(target: &Path) -> Result<(), OpenError> {
    match target.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(target, &error)),
        Ok(_) => Err(exists(target)),
    }
}

/// Copies all of it and puts it on disk.
fn copy(
    from: &Connection,
    source: &Path,
    partial: &Partial,
    target: &Path,
) -> Result<(), OpenError> {
    let path = partial.path.to_str().ok_or_else(|| {
        OpenError::new(format!(
            "The name {} is not Unicode; give the backup another one.",
            target.display()
        ))
    })?;
    from.execute("VACUUM INTO ?1", [path]).map_err(|error| {
        use rusqlite::ErrorCode::{DiskFull, SystemIoFailure};
        match error.sqlite_error_code() {
            Some(DiskFull | SystemIoFailure) if !reads(from) => from_source(source, &error),
            Some(DiskFull) => full(from, target),
            // What cannot be written has the code of an input or output error too.
            Some(SystemIoFailure | rusqlite::ErrorCode::CannotOpen) => OpenError::new(format!(
                "{} cannot be written ({error}). See that its disk works and has room, or choose another place; no \
                 file was left.",
                target.display()
            )),
            _ => from_source(source, &error),
        }
    })?;
    partial.file.sync_all().map_err(|error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(from, target),
        _ => unwritable(target, &error),
    })
}

/// Returns true if the source can still be read at all.
fn reads(from: &Connection) -> bool {
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .is_ok()
}

fn full(from: &Connection, target: &Path) -> OpenError {
    let number = |pragma: &str| from.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let size = number("PRAGMA page_count").unwrap_or(0) * number("PRAGMA page_size").unwrap_or(0);
    OpenError::new(format!(
        "The disk of {} is full: the backup may need {} MB. Make room or choose another place; no file was left.",
        target.display(),
        size.cast_unsigned().div_ceil(1_000_000)
    ))
}

/// Opens the copy as a service would, and looks through all of it.
fn check(from: &Connection, partial: &Partial, stopper: &Stopper) -> Result<Backup, OpenError> {
    let damaged = |what: &dyn std::fmt::Display| {
        OpenError::new(format!(
            "The copy is not as it should be ({what}), so it was removed. See that the disk it was written to \
             works, and try again."
        ))
    };
    let sql = |error: rusqlite::Error| damaged(&error);
    let copy = Connection::open_with_flags(&partial.path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(sql)?;
    stopper.watch(&copy)?;
    let verdict: String = copy
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(sql)?;
    if verdict != "ok" {
        return Err(damaged(&verdict));
    }
    for pragma in ["PRAGMA application_id", "PRAGMA user_version"] {
        let of =
            |connection: &Connection| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
        if of(from).map_err(sql)? != of(&copy).map_err(sql)? {
            return Err(damaged(&pragma));
        }
    }
    if schema(from).map_err(sql)? != schema(&copy).map_err(sql)? {
        return Err(damaged(&"its tables are others"));
    }
    let count =
        |query: &str| copy.query_row(query, [], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()));
    let bytes = partial
        .file
        .metadata()
        .map_err(|error| damaged(&error))?
        .len();
    Ok(Backup {
        bytes,
        events: count("SELECT count(*) FROM events").map_err(sql)?,
        teams: count("SELECT count(*) FROM teams").map_err(sql)?,
    })
}

fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut query = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// The file under its name while it is not whole yet. Removed when dropped.
struct Partial {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Partial {
    fn make(target: &Path) -> Result<Self, OpenError> {
        let mut path = target.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let trouble = |error: io::Error| unwritable(target, &error);
        let create = || {
            let mut options = OpenOptions::new();
            super::private(options.read(true).write(true).create_new(true)).open(&path)
        };
        let file = match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                remove_stale(&path, target)?;
                create()
            }
            file => file,
        };
        let file = file.map_err(trouble)?;
        // Held until it has its name: another backup sees by it that this one is under way.
        if let Err(error) = file.try_lock() {
            return Err(trouble(error.into()));
        }
        Ok(Self {
            path,
            file,
            kept: false,
        })
    }

    /// Gives the file its name, unless another has taken it by now.
    fn keep(mut self, target: &Path) -> Result<(), OpenError> {
        let named = renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE);
        match named.map_err(io::Error::from) {
            Ok(()) => self.kept = true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists(target)),
            // Not every file system can do that. A second name never replaces anything either.
            Err(_) => {
                std::fs::hard_link(&self.path, target).map_err(|error| match error.kind() {
                    ErrorKind::AlreadyExists => exists(target),
                    _ => unwritable(target, &error),
                })?
            }
        }
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| {
            OpenError::new(format!(
                "{} was written, but its folder could not be put on disk ({error}): its name may be lost if the \
                 power fails now.",
                target.display()
            ))
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Where even this fails, the next backup of that name removes it.
            let _ = std::fs::remove_file(&self.path);
            // SQLite leaves it where it could not write on.
            let mut journal = self.path.clone().into_os_string();
            journal.push("-journal");
            let _ = std::fs::remove_file(journal);
        }
    }
}

/// Removes what a backup left that was killed.
fn remove_stale(path: &Path, target: &Path) -> Result<(), OpenError> {
    let trouble = |error: io::Error| unwritable(target, &error);
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let stale = OpenOptions::new()
        .read(true)
        .custom_flags(no_link)
        .open(path)
        .map_err(trouble)?;
    match stale.try_lock() {
        Ok(()) => std::fs::remove_file(path).map_err(trouble),
        Err(TryLockError::WouldBlock) => Err(OpenError::new(format!(
            "Another backup into {} is under way. Wait for its end, or give this one another name.",
            target.display()
        ))),
        Err(TryLockError::Error(error)) => Err(trouble(error)),
    }
}

fn exists(target: &Path) -> OpenError {
    OpenError::new(format!(
        "{} is there already, and a backup never writes over a file. Give it another name, or remove that one first.",
        target.display()
    ))
}

fn unreadable(source: &Path, error: &io::Error) -> OpenError {
    OpenError::new(format!(
        "{} cannot be read: {error}. Run the backup as the user that the service runs as, or as root.",
        source.display()
    ))
}

fn unwritable(target: &Path, error: &io::Error) -> OpenError {
    let name = target.display();
    OpenError::new(match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => format!(
            "{name} cannot be made, since its folder does not exist. Make the folder first, or choose another one."
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!(
                "{name} cannot be made, since its disk is full. Make room or choose another place."
            )
        }
        _ => format!(
            "{name} cannot be made: {error}. See that its folder can be written by you and its disk works, or choose \
             another place."
        ),
    })
}

/// What an error of SQLite's means while the source is read.
fn from_source(source: &Path, error: &rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let name = source.display();
    OpenError::new(match error.sqlite_error_code() {
        Some(NotADatabase) => format!(
            "{name} is not a database, or its beginning is damaged. No backup was made; an older one may be needed."
        ),
        Some(DatabaseCorrupt) => format!(
            "{name} is damaged, so a copy would be too. No backup was made: keep the older ones, stop the service \
             and restore the newest of them."
        ),
        _ => format!(
            "{name} cannot be read: {error}. No backup was made. Run it as the user that the service runs as, or as \
             root, on the same machine."
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_was_killed_is_no_obstacle_and_one_under_way_is() {
        let folder = std::env::temp_dir().join(format!("vk-backup-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let target = folder.join("copy.db");
        std::fs::write(folder.join("copy.db.partial"), "half").unwrap();
        let under_way = Partial::make(&target).unwrap();
        assert_eq!(under_way.file.metadata().unwrap().len(), 0);
        let second = Partial::make(&target).err().unwrap().sentence;
        assert!(second.contains("under way"), "{second}");
        under_way.keep(&target).unwrap();
        let another = Partial::make(&target)
            .unwrap()
            .keep(&target)
            .unwrap_err()
            .sentence;
        assert!(another.contains("never writes over"), "{another}");
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
