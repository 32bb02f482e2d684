//! Hides how the process is asked to stop, and that it then ends in time whatever its parts do.
//!
//! Signals arrive at a thread of their own, and the time to stop is counted by another: both work also
//! where every thread of the runtime is blocked, by a disk that does not answer for example.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::logging;

/// The signals that ask us to stop.
pub(crate) struct Signals(mpsc::UnboundedReceiver<&'static str>);

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub(crate) fn watch() -> Result<Self> {
        Self::watch_with(|_| {})
    }

    /// As [`Signals::watch`]. After the first one the process has so long to end by itself, and the second
    /// ends it at once.
    pub(super) fn watch_to_stop(within: Duration) -> Result<Self> {
        // A file that may not grow any more (`ulimit -f`) is an error of the write, not the end.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
            .context("cannot watch for signals")?;
        Self::watch_with(move |nth| match nth {
            1 => end_at_last(within),
            _ => {
                warn!(
                    "ended at once by a second signal; what was in flight is sent again at the next start"
                );
                exit();
            }
        })
    }

    /// `on_signal` is called with the number of the signal, from 1, before anybody else learns of it.
    fn watch_with(on_signal: impl Fn(u32) + Send + 'static) -> Result<Self> {
        let cannot = "cannot watch for signals";
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).context(cannot)?;
        let (arrives, arrived) = mpsc::unbounded_channel();
        let watch = move || {
            for (nth, signal) in (1..).zip(signals.forever()) {
                on_signal(nth);
                let name = if signal == SIGINT {
                    "SIGINT"
                } else {
                    "SIGTERM"
                };
                // Whoever waited for it may have gone on to its end.
                let _ = arrives.send(name);
            }
        };
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(watch).context(cannot)?;
        Ok(Self(arrived))
    }

    /// Waits for one; its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        match self.0.recv().await {
            Some(name) => name,
            // The thread watches for ever.
            None => std::future::pending().await,
        }
    }
}

/// From now on the process has so long to end by itself.
pub(super) fn end_at_last(within: Duration) {
    let end = move || {
        std::thread::sleep(within);
        error!(
            "ended before the store was closed: stopping took {} s, most likely since the disk does not answer. \
             Nothing that was acknowledged is lost; attempts that are not recorded are made again at the next \
             start. Look at the disk and at the system's log, then start the service again",
            within.as_secs()
        );
        exit();
    };
    let thread = std::thread::Builder::new().name("end-at-last".into());
    if let Err(error) = thread.spawn(end) {
        warn!(%error, "nothing ends the service if stopping takes too long: no thread can be started");
    }
}

fn exit() -> ! {
    logging::flush();
    std::process::exit(1);
}
