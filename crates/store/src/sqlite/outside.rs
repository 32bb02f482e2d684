//! Hides how it is noticed that another program holds the write-ahead log open, and what is done about it.
//!
//! A program that stays in one read keeps what it reads: the log cannot begin anew behind it, and grows with each
//! commit. SQLite marks each reader by a lock on a byte of the shared-memory file, so the system can say which process
//! holds one.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};

use super::writer::Writer;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);
/// How long a reader may stay before it is told of.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long until it is told of again.
const AGAIN: Duration = Duration::from_secs(600);

/// The locks of readers in the shared-memory file, as the format of SQLite's files has them: WAL_READ_LOCK(0) and the
/// four after it.
const READ_LOCKS: (u64, u64) = (123, 5);

/// The shared-memory file of the log. It must not be closed before the last connection of this process is: closing
/// any handle of a file ends all the process's locks on it (POSIX), also SQLite's.
pub(super) struct SharedMemory(File);

impl SharedMemory {
    /// Opens it; SQLite has made it by now.
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(Self)
    }

    /// Which other process reads the database now; none where none does, or the system cannot say.
    fn reader(&self) -> Option<Reader> {
        let asked = Flock {
            start: READ_LOCKS.0,
            length: READ_LOCKS.1,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        // Our own locks are no obstacle to us, so they are not told.
        let held = fcntl_getlk(&self.0, &asked).ok()??;
        Some(Reader(held.pid))
    }
}

/// A process, or one in another container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reader(Option<Pid>);

impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(pid) = self.0.map(Pid::as_raw_nonzero) else {
            return f.write_str("another program");
        };
        match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => write!(f, "another program ({}, process {pid})", name.trim()),
            Err(_) => write!(f, "another program (process {pid})"),
        }
    }
}

/// What is known of the reader that stays.
#[derive(Default)]
struct Stay {
    /// Who, since when.
    reader: Option<(Reader, Instant)>,
    told: Option<Instant>,
    /// The log is to be made small.
    shrink: bool,
}

/// What is to be done after a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// The same reader has stayed for so long.
    Tell(Reader, Duration),
    /// Nobody reads any more: the log can be made small.
    Shrink,
}

impl Stay {
    /// What follows from who reads at `now`. `large`: the log is larger than it gets by itself.
    fn look(&mut self, now: Instant, reader: Option<Reader>, large: bool) -> Step {
        let since = match (reader, self.reader) {
            (None, _) => {
                self.reader = None;
                let free = self.told.take().is_some();
                self.shrink |= free || large;
                return if self.shrink {
                    Step::Shrink
                } else {
                    Step::Nothing
                };
            }
            (Some(new), Some((known, since))) if new == known => since,
            (Some(new), _) => {
                self.reader = Some((new, now));
                return Step::Nothing;
            }
        };
        let stayed = now.duration_since(since);
        let due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= AGAIN);
        match self.reader {
            Some((reader, _)) if stayed >= PATIENCE && due => {
                self.told = Some(now);
                Step::Tell(reader, stayed)
            }
            _ => Step::Nothing,
        }
    }
}

/// Looks on, on a thread of its own, until the sender that is returned is dropped. Not a task: it has nothing to do
/// with the time that tests simulate.
pub(super) fn watch(writer: Weak<Writer>, database: PathBuf, log: PathBuf) -> Option<Sender<()>> {
    let (keep, kept) = channel();
    let thread = std::thread::Builder::new().name("store-log".into());
    match thread.spawn(move || look_on(&kept, &writer, &database, &log)) {
        Ok(_) => Some(keep),
        Err(error) => {
            tracing::warn!(%error, "nothing watches the size of the store's log: no thread can be started");
            None
        }
    }
}

fn look_on(kept: &Receiver<()>, writer: &Weak<Writer>, database: &Path, log: &Path) {
    let mut stay = Stay::default();
    while kept.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let Some(writer) = writer.upgrade() else {
            return;
        };
        let size = size_of(log);
        let reader =
            writer.with_connection(|connection| connection.shared_memory.as_ref()?.reader());
        let Some(reader) = reader else { return };
        match stay.look(Instant::now(), reader, size > writer.log_allowed()) {
            Step::Nothing => {}
            Step::Tell(reader, stayed) => tracing::warn!(
                "{reader} has held {} open for {} s, in one read of the database: so the log {} cannot begin anew and \
                 grows with each commit, to {:.1} MB by now. End that program, or its transaction; the log is made \
                 small again by itself",
                database.display(),
                stayed.as_secs(),
                log.display(),
                size as f64 / 1e6,
            ),
            Step::Shrink => {
                writer.shrink_log();
                stay.shrink = size_of(log) > 0;
                if !stay.shrink {
                    tracing::info!(
                        "the store's log was made small again: {:.1} MB are free",
                        size as f64 / 1e6
                    );
                }
            }
        }
    }
}

/// The size of a file, in bytes; 0 where it is not there.
pub(super) fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reader_that_stays_is_told_of_and_the_log_made_small_when_it_has_gone() {
        let begun = Instant::now();
        let one = Some(Reader(Pid::from_raw(7)));
        let two = Some(Reader(Pid::from_raw(8)));
        let tell = |reader: Option<Reader>, stayed| {
            Step::Tell(reader.unwrap(), Duration::from_secs(stayed))
        };
        let mut stay = Stay::default();
        for (second, reader, large, step) in [
            (0, None, false, Step::Nothing),
            (5, one, false, Step::Nothing),
            (60, one, true, Step::Nothing),
            (65, one, true, tell(one, 60)),
            (70, one, true, Step::Nothing),
            (660, one, true, Step::Nothing),
            (665, one, true, tell(one, 660)),
            (670, None, false, Step::Shrink),
            (675, one, false, Step::Nothing),
            // Others that come and go are no one's stay.
            (700, two, false, Step::Nothing),
            (740, one, false, Step::Nothing),
            (780, two, false, Step::Nothing),
            (785, None, true, Step::Shrink),
        ] {
            let now = begun + Duration::from_secs(second);
            assert_eq!(stay.look(now, reader, large), step, "{second}");
            if step == Step::Shrink {
                // As it is where it was made small.
                stay.shrink = false;
            }
        }
        stay.shrink = true;
        let now = begun + Duration::from_secs(790);
        assert_eq!(
            stay.look(now, None, false),
            Step::Shrink,
            "until it is done"
        );
    }
}
