//! Hides where a service's log goes, where that place may go away and come back.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::TempDir;

/// How the reader of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reads {
    /// It reads.
    Well,
    /// It has the pipe open and reads nothing: 64 KiB fit into it.
    Nothing,
    /// It has gone: whoever writes gets EPIPE, and SIGPIPE.
    Gone,
    /// The log and its reader have ended.
    Ended,
}

impl Reads {
    fn of(number: u8) -> Self {
        [Self::Well, Self::Nothing, Self::Gone, Self::Ended][usize::from(number.min(3))]
    }
}

/// A named pipe, or a file, that a service's standard error goes to, with a reader that can go away and come back.
/// What is read goes on to where the rig listens.
pub struct Sink {
    folder: TempDir,
    path: PathBuf,
    reads: Arc<AtomicU8>,
    reader: Option<JoinHandle<()>>,
}

/// How often the reader looks whether it should be another way.
const LOOK: Duration = Duration::from_millis(5);

impl Sink {
    /// A new pipe, that is read.
    ///
    /// # Errors
    /// Where no named pipe can be made.
    pub fn pipe() -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("log");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("a named pipe")?;
        Ok(Self::at(folder, path))
    }

    /// A new file, such as one on a disk that will be full.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn file(path: &Path) -> Result<Self> {
        File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self::at(TempDir::new()?, path.to_owned()))
    }

    fn at(folder: TempDir, path: PathBuf) -> Self {
        let reads = Arc::new(AtomicU8::new(Reads::Well as u8));
        let reader = {
            let (path, reads) = (path.clone(), Arc::clone(&reads));
            let pid_file = folder.path().join("pid");
            std::thread::spawn(move || read(&path, &pid_file, &reads))
        };
        Self {
            folder,
            path,
            reads,
            reader: Some(reader),
        }
    }

    /// The program that starts another one with its log here.
    pub fn starter(&self) -> [String; 3] {
        // The rig's own pipe stays open beside it: by that, the rig sees when the service has ended.
        let start = format!(
            "echo $$ > '{0}.new' && mv '{0}.new' '{0}' && exec 3>&2 && exec \"$0\" \"$@\" 2>>'{1}'",
            self.folder.file("pid"),
            self.path.display(),
        );
        ["sh".to_owned(), "-c".to_owned(), start]
    }

    /// From now on the reader is like this.
    pub fn read(&self, reads: Reads) {
        self.reads.store(reads as u8, Ordering::Relaxed);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.read(Reads::Ended);
        if let Some(reader) = self.reader.take() {
            // Where it panicked, there is nothing more to end.
            let _ = reader.join();
        }
    }
}

/// Opens the pipe, closes it and reads it, as it is told.
fn read(pipe: &Path, pid_file: &Path, reads: &AtomicU8) {
    let mut open = None;
    let mut buffer = [0; 16_384];
    loop {
        match Reads::of(reads.load(Ordering::Relaxed)) {
            Reads::Ended => return,
            Reads::Gone => open = None,
            Reads::Nothing => {}
            Reads::Well => {
                if open.is_none() {
                    let mut options = OpenOptions::new();
                    let flags = OFlags::NONBLOCK.bits().cast_signed();
                    open = options.read(true).custom_flags(flags).open(pipe).ok();
                }
                // Nothing there yet, or nobody writes yet: it is looked again.
                let length = open.as_mut().and_then(|pipe| pipe.read(&mut buffer).ok());
                if let Some(length) = length.filter(|length| *length > 0) {
                    // Opened each time: who keeps it open keeps the rig from seeing that the service has ended. It
                    // cannot be opened once that is so.
                    if let Some(mut rig) = rigs_own(pid_file) {
                        let _ = rig.write_all(&buffer[..length]);
                    }
                    continue;
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// What the service was given as its standard error by the rig.
fn rigs_own(pid_file: &Path) -> Option<File> {
    let pid = std::fs::read_to_string(pid_file).ok()?;
    let path = format!("/proc/{}/fd/3", pid.trim());
    OpenOptions::new().write(true).open(path).ok()
}
