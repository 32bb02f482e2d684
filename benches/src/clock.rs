//! Hides the clock that all processes of the bench share: the machine's steady one, in microseconds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment of the machine's steady clock, which is the same in every process.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}

/// Sleeps, this whole thread, until that moment. A runtime's timer is a millisecond coarse, which
/// would show in latencies.
pub(crate) fn sleep_until(moment_us: u64) {
    let wait = moment_us.saturating_sub(now_us());
    if wait > 0 {
        std::thread::sleep(Duration::from_micros(wait));
    }
}
