//! Hides how a line gets to standard error without ever holding up, or ending, whoever logs it.
//!
//! Standard error may be a full disk, a pipe that nobody reads, or a reader that is gone. One thread
//! writes; everybody else puts lines into a bounded queue and goes on. What cannot be written is dropped
//! and counted. `tracing-appender` does not fit: it waits for a writer that is blocked when it is shut
//! down, does not say what it dropped, and gives no answer for a text that has to be seen.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing_subscriber::fmt::MakeWriter;

/// How much may wait to be written: what is logged beyond either is dropped.
const MOST_LINES: usize = 8192;
const MOST_BYTES: usize = 1 << 20;

/// How long a file that takes nothing for now is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How often it is tried to say how many lines were dropped, where nothing else is logged: at first, and
/// in the end.
const REPORT_FIRST: Duration = Duration::from_secs(1);
const REPORT_LAST: Duration = Duration::from_secs(15);

/// The queue of lines, and the thread behind it. Cheap to clone.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits to be written.
    news: Condvar,
    /// Everything that waited was written, or dropped.
    idle: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The thread holds an entry that is not written yet.
    writing: bool,
    /// Lines dropped that the log does not mention yet.
    unreported: u64,
}

struct Entry {
    text: Vec<u8>,
    /// Whoever wants to know whether it was written.
    written: Option<oneshot::Sender<io::Result<()>>>,
}

impl LogWriter {
    /// Starts the thread that writes to `sink`. `report` makes the line that says how many were dropped.
    pub(super) fn start<S, R>(sink: S, report: R) -> io::Result<Self>
    where
        S: Write + Send + 'static,
        R: Fn(u64) -> Vec<u8> + Send + 'static,
    {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            news: Condvar::new(),
            idle: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let hand = Hand {
            shared: Arc::clone(&shared),
            sink,
            report,
            cut: false,
            next_report: Instant::now(),
            pause: REPORT_FIRST,
        };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || hand.write_all())?;
        Ok(Self(shared))
    }

    /// Has a line written, or drops it where too much waits already.
    pub(super) fn line(&self, text: &[u8]) {
        self.put(text, None);
    }

    /// Has a text written. The answer comes once all of it was, or could not be; nobody knows when.
    pub(super) fn show(&self, text: &str) -> oneshot::Receiver<io::Result<()>> {
        let (written, answer) = oneshot::channel();
        self.put(text.as_bytes(), Some(written));
        answer
    }

    fn put(&self, text: &[u8], written: Option<oneshot::Sender<io::Result<()>>>) {
        let mut queue = self.0.locked();
        if queue.entries.len() >= MOST_LINES || queue.bytes + text.len() > MOST_BYTES {
            queue.unreported += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            drop(queue);
            if let Some(written) = written {
                // Nobody may wait for the answer any more.
                let _ = written.send(Err(io::ErrorKind::WouldBlock.into()));
            }
            return;
        }
        queue.bytes += text.len();
        let text = text.to_vec();
        queue.entries.push_back(Entry { text, written });
        drop(queue);
        self.0.news.notify_one();
    }

    /// Waits until all that was logged before is written or dropped, at most `most`.
    pub(super) fn flush(&self, most: Duration) {
        let waits = |queue: &mut Queue| queue.writing || !queue.entries.is_empty();
        let queue = self.0.locked();
        // Whether it was in time makes no difference: nothing can be done about it.
        drop(self.0.idle.wait_timeout_while(queue, most, waits));
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's half.
struct Hand<S, R> {
    shared: Arc<Shared>,
    sink: S,
    report: R,
    /// The last thing written is the beginning of a line whose rest was dropped.
    cut: bool,
    next_report: Instant,
    pause: Duration,
}

impl<S: Write, R: Fn(u64) -> Vec<u8>> Hand<S, R> {
    fn write_all(mut self) {
        loop {
            let written = match self.next() {
                None => true,
                Some(Entry { text, written }) => {
                    let result = self.write(&text);
                    let is_written = result.is_ok();
                    if !is_written {
                        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                        self.shared.locked().unreported += 1;
                    }
                    if let Some(answer) = written {
                        // Nobody may wait for the answer any more.
                        let _ = answer.send(result);
                    }
                    is_written
                }
            };
            if written && Instant::now() >= self.next_report {
                self.report_dropped();
            }
        }
    }

    /// The next entry; none where nothing waits, but lines were dropped and it is time to say so.
    fn next(&self) -> Option<Entry> {
        let mut queue = self.shared.locked();
        queue.writing = false;
        loop {
            if let Some(entry) = queue.entries.pop_front() {
                queue.bytes -= entry.text.len();
                queue.writing = true;
                return Some(entry);
            }
            self.shared.idle.notify_all();
            let until = self.next_report.saturating_duration_since(Instant::now());
            queue = if queue.unreported == 0 {
                let waited = self.shared.news.wait(queue);
                waited.unwrap_or_else(PoisonError::into_inner)
            } else if until.is_zero() {
                return None;
            } else {
                let waited = self.shared.news.wait_timeout(queue, until);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.locked().unreported;
        if dropped == 0 {
            return;
        }
        let line = (self.report)(dropped);
        if self.write(&line).is_ok() {
            self.shared.locked().unreported -= dropped;
            self.pause = REPORT_FIRST;
        } else {
            self.pause = (2 * self.pause).min(REPORT_LAST);
        }
        self.next_report = Instant::now() + self.pause;
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.cut {
            // What was cut off stays a line of its own.
            self.write_bytes(b"\n")?;
            self.cut = false;
        }
        self.write_bytes(text)
    }

    fn write_bytes(&mut self, text: &[u8]) -> io::Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A pipe that another program made non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                Err(error) => {
                    self.cut |= rest.len() < text.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// What `tracing` writes one line to.
pub(super) struct Line<'w>(&'w LogWriter);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line(self)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
