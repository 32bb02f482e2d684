//! Hides how it is recognised, and told to the operator, that this service itself has no socket left.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// The system's numbers for "too many open files" of the process and of the whole system; the
/// same on every Unix. The standard library has no name for them.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// How long the log is quiet about it afterwards: every attempt fails the same way meanwhile.
const QUIET: Duration = Duration::from_secs(60);

/// Whether `error` says that this service may not open another socket. Then it is logged, once a
/// minute at most.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    let ours = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
    if ours {
        warn_once_a_minute(
            "files",
            &format!(
                "attempts fail because this service has too many open files ({error}); raise the \
                 limit, for example with LimitNOFILE=65536 in the systemd unit"
            ),
        );
    }
    ours
}

/// Logs `sentence`, unless one of the same kind was logged less than a minute ago.
pub(crate) fn warn_once_a_minute(kind: &'static str, sentence: &str) {
    static SAID: Mutex<BTreeMap<&str, Instant>> = Mutex::new(BTreeMap::new());
    // A panic while the lock was held leaves at worst one warning more.
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last = said.get(kind).copied();
    if is_due(&mut last, Instant::now()) {
        warn!("{sentence}");
    }
    if let Some(last) = last {
        said.insert(kind, last);
    }
}

fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let due = said.is_none_or(|said| now.duration_since(said) >= QUIET);
    if due {
        *said = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_files_is_ours() {
        for (number, ours) in [(EMFILE, true), (ENFILE, true), (111, false), (13, false)] {
            assert_eq!(is_ours(&io::Error::from_raw_os_error(number)), ours);
        }
        assert!(!is_ours(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn it_is_said_once_a_minute() {
        let (mut said, start) = (None, Instant::now());
        let due = [0, 1, 59, 60, 61, 119, 120]
            .map(|second| is_due(&mut said, start + Duration::from_secs(second)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
