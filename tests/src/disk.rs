//! Hides how a disk is made that is small, full, or cannot be written.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::TempDir;

/// So long it may take until what was removed has given its room back.
const ROOM_AFTER: Duration = Duration::from_secs(5);

/// A file system of a few megabytes, unmounted in the end.
pub struct SmallDisk(TempDir, usize);

impl SmallDisk {
    /// A new one.
    ///
    /// # Errors
    /// Where nothing may be mounted here.
    pub fn mount(megabytes: usize) -> Result<Self> {
        let folder = TempDir::new()?;
        machine::tmpfs(folder.path(), &format!("size={megabytes}m"))?;
        Ok(Self(folder, megabytes))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file on it, as text.
    pub fn file(&self, name: &str) -> String {
        self.0.file(name)
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills it but for so many bytes, in pages of 4 KiB.
    ///
    /// # Errors
    /// Where it cannot be written, but for want of room.
    pub fn fill(&self, but: u64) -> Result<()> {
        let mut options = OpenOptions::new();
        let mut ballast = options.create(true).append(true).open(self.ballast())?;
        loop {
            match ballast.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
        let length = ballast.metadata()?.len();
        Ok(ballast.set_len(length.saturating_sub(but))?)
    }

    /// Makes room again, and sees that it is there: a system may give it back a little later.
    ///
    /// # Errors
    /// Where it was not filled, or there is no room after five seconds.
    pub fn make_room(&self) -> Result<()> {
        std::fs::remove_file(self.ballast())?;
        let begun = Instant::now();
        let probe = self.path().join("probe");
        while let Err(error) = std::fs::write(&probe, vec![0; 1 << 20]) {
            ensure!(begun.elapsed() < ROOM_AFTER, "no room was made: {error}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(std::fs::remove_file(probe)?)
    }

    /// Takes all room that is free, at once, however large it is.
    ///
    /// # Errors
    /// Where what is used grows faster than it can be looked at.
    pub fn take_room(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let size = machine::used(self.path())?;
            match machine::remount(self.path(), &format!("size={size}"), false) {
                Ok(()) => return Ok(()),
                // Somebody has written in between.
                Err(error) => ensure!(begun.elapsed() < ROOM_AFTER, "{error:#}"),
            }
        }
    }

    /// Gives back what [`SmallDisk::take_room`] took.
    ///
    /// # Errors
    /// Where it cannot be mounted again.
    pub fn give_room(&self) -> Result<()> {
        machine::remount(self.path(), &format!("size={}m", self.1), false)
    }

    /// Lets nothing on it be written any more, or again.
    ///
    /// # Errors
    /// Where a file on it is open for writing.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        machine::remount(self.path(), "", read_only)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Best effort: it is a few megabytes of memory.
        let _ = machine::unmount(self.path());
    }
}

/// A file that nobody can write, not even root. Can be written again when dropped.
pub struct ReadOnlyFile(PathBuf);

impl ReadOnlyFile {
    /// Makes this file one.
    ///
    /// # Errors
    /// Where nothing may be mounted here.
    pub fn make(path: &Path) -> Result<Self> {
        machine::bind(path, path)?;
        let file = Self(path.to_owned());
        machine::make_read_only(path)?;
        Ok(file)
    }
}

impl Drop for ReadOnlyFile {
    fn drop(&mut self) {
        // Best effort: the folder goes away with the file.
        let _ = machine::unmount(&self.0);
    }
}
