//! Hides how the wall clock of a service is stepped, while it runs and while it does not.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::{TempDir, compile};

/// A wall clock that can be stepped (clock/clock.c). It shows the machine's until then.
pub struct Clock {
    folder: TempDir,
    library: PathBuf,
    ahead: i64,
}

impl Clock {
    /// A new one.
    ///
    /// # Errors
    /// Where there is no C compiler.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let library = compile("clock/clock.c", folder.path())?;
        let mut clock = Self {
            folder,
            library,
            ahead: 0,
        };
        clock.step(0)?;
        Ok(clock)
    }

    /// What has to be in a service's environment for it to go by this clock.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let library = self.library.display().to_string();
        [("LD_PRELOAD", library), ("CLOCK_STEP", self.step_file())]
    }

    fn step_file(&self) -> String {
        self.folder.file("step")
    }

    /// Steps it by so many seconds, back where they are negative.
    ///
    /// # Errors
    /// Where the file that says so cannot be written.
    pub fn step(&mut self, seconds: i64) -> Result<()> {
        self.ahead += seconds;
        // In place: services look at this very file.
        let mut options = std::fs::OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let file = options.open(self.step_file())?;
        let millis = (self.ahead * 1000).to_ne_bytes();
        std::os::unix::fs::FileExt::write_all_at(&file, &millis, 0)?;
        Ok(())
    }

    /// What it shows, in Unix seconds.
    pub fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs().cast_signed() + self.ahead
    }
}
