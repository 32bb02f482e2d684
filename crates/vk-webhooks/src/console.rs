//! Hides how the commands write to standard output, whose reader may stop reading, as `head` does.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes a line. A reader that is gone has seen what it wanted.
///
/// # Errors
/// Where the line cannot be written, such as to a full disk.
pub(crate) fn print(line: impl Display) -> Result<()> {
    match write(&line) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Writes a line of a program whose lines are all that it is for: it ends where nobody reads them any
/// more, and fails where they cannot be written.
pub(crate) fn print_or_end(line: impl Display) {
    match write(&line) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            crate::logging::say(&format!(
                "error: cannot write to standard output: {error}\n"
            ));
            crate::logging::flush();
            std::process::exit(1);
        }
    }
}

fn write(line: &impl Display) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
