//! Hides how log lines are written: to standard error, for people or for machines.
//!
//! Where standard error goes is never a reason to stop: [`writer`] is the one place that writes to it
//! while the service runs.

mod writer;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, Settings};
use writer::{Line, LogWriter};

/// Events of this target are always written: the line that says where the service listens is a
/// promise to whoever started it, whatever the log level.
pub(crate) const ALWAYS: &str = "vk_webhooks::start";

/// How long the end of the process waits for the last lines to be written.
const FLUSHED_WITHIN: Duration = Duration::from_secs(1);

/// The writer, once logging has started.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

thread_local! {
    /// Where the writer's own thread puts the line that says how many were dropped.
    static OWN_LINE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Starts logging.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&settings.log_level)?.add_directive(format!("{ALWAYS}=info").parse()?);
    let writer = LogWriter::start(standard_error(), dropped_line)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines(writer.clone()))
        .with_target(false)
        .log_internal_errors(false)
        // Colours only for eyes: in a file or a pipe they would hide words from a search.
        .with_ansi(std::io::stderr().is_terminal());
    let started = match settings.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    // Fails only where it was started before, and then so does what is above.
    let _ = WRITER.set(writer);
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// How many log lines were dropped because standard error did not take them.
pub(crate) fn dropped() -> u64 {
    WRITER.get().map_or(0, LogWriter::dropped)
}

/// Writes a text to standard error as it is, beside the log. A standard error that does not take it is
/// no reason to stop.
pub(crate) fn say(text: &str) {
    match WRITER.get() {
        Some(writer) => writer.line(text.as_bytes()),
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Shows a text that somebody has to see. The answer comes once standard error has taken all of it, or
/// refused it; a standard error that leads nowhere counts as one that refused.
pub(crate) fn show(text: &str) -> oneshot::Receiver<io::Result<()>> {
    if let Some(writer) = WRITER.get()
        && !leads_nowhere(io::stderr())
    {
        return writer.show(text);
    }
    let (written, answer) = oneshot::channel();
    // The other end is here.
    let _ = written.send(Err(io::Error::other("standard error leads nowhere")));
    answer
}

/// Waits, for a moment, until what was logged is written: for the end of the process.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSHED_WITHIN);
    }
}

/// Standard error without the lock that Rust puts before it: a write that blocks would keep that lock.
fn standard_error() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        // Only where no more files can be opened.
        Err(_) => Box::new(io::stderr()),
    }
}

/// Returns true if what is written there is seen by nobody: the null device, which Rust also puts in the
/// place of a standard error that was closed.
fn leads_nowhere(stream: impl AsFd) -> bool {
    let null = std::fs::metadata("/dev/null");
    let stream = stream.as_fd().try_clone_to_owned().map(File::from);
    let stream = stream.and_then(|stream| stream.metadata());
    // Where either cannot be asked, a write will say more.
    stream.is_ok_and(|stream| {
        stream.file_type().is_char_device() && null.is_ok_and(|null| null.rdev() == stream.rdev())
    })
}

/// The line that says how many were dropped, in the format of all the others.
fn dropped_line(dropped: u64) -> Vec<u8> {
    OWN_LINE.set(Some(Vec::new()));
    tracing::warn!(
        target: ALWAYS,
        dropped,
        "log lines were dropped, because standard error did not take them: see that whoever reads the log \
         keeps up, and that its disk has room"
    );
    OWN_LINE.take().unwrap_or_default()
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name").to_owned();
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    let words = panic.payload_as_str().unwrap_or("without words");
    let trace = std::backtrace::Backtrace::capture();
    match trace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(target: ALWAYS, "thread '{thread}' panicked at {place}: {words}\n{trace}");
        }
        _ => tracing::error!(target: ALWAYS, "thread '{thread}' panicked at {place}: {words}"),
    }
}

/// What `tracing` takes its writers from.
struct Lines(LogWriter);

/// A line of the log, or of the log's own thread.
enum LogLine<'w> {
    Queued(Line<'w>),
    Own,
}

impl Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Queued(queued) => return queued.write(line),
            Self::Own => OWN_LINE.with_borrow_mut(|own| {
                if let Some(own) = own {
                    own.extend_from_slice(line);
                }
            }),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = LogLine<'w>;

    fn make_writer(&'w self) -> LogLine<'w> {
        match OWN_LINE.with_borrow(Option::is_some) {
            true => LogLine::Own,
            false => LogLine::Queued(self.0.make_writer()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_device_leads_nowhere_and_a_file_or_a_full_device_does_not() {
        for (path, nowhere) in [("/dev/null", true), ("/dev/full", false), ("/", false)] {
            let file = File::open(path).unwrap();
            assert_eq!(leads_nowhere(file), nowhere, "{path}");
        }
    }
}
