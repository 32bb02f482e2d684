//! Hides how many attempts an endpoint gets at once, and how far apart: what it takes is found out by sending.
//!
//! A new receiver begins with one attempt at a time, and each answer lets one more go on beside it (slow start).
//! Where it says that it is too much (429, 503) or runs into a timeout, half of that is left, down to one, and
//! from there on it grows by one a round (additive increase, multiplicative decrease, as TCP does it). Where one
//! at a time is still too much, attempts are kept apart: the pause doubles with each such answer and shrinks with
//! each other one. What waits meanwhile waits in the lane and in the store, and spends no try.
//!
//! A receiver that goes on saying 503 however far apart it is asked is not busy but down. Then no pause helps it, and
//! its deliveries keep to their schedule (contract, "Retry schedule"), one attempt at a time.

use std::time::Duration;

use model::attempt::{Attempt, Reason};
use tokio::time::Instant;

/// The shortest pause between attempts; one that would be shorter is none.
const SHORTEST: Duration = Duration::from_millis(5);
/// The first pause, at least.
const FIRST: Duration = Duration::from_millis(10);
/// The longest pause: no more than the first wait of the schedule of the contract, so that a delivery which is alone
/// is never kept from its retry.
const LONGEST: Duration = Duration::from_secs(1);

/// A receiver that answers 503 so many times one after the other, each after a pause of at least so long, is down.
const DOWN_AFTER: u32 = 3;
const APART: Duration = Duration::from_millis(100);

/// A pause that is felt for in larger steps, since each of them takes long.
const LONG: Duration = Duration::from_millis(200);

/// A receiver that got nothing for so long may take more than it did.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What an attempt says of how much its receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It answered, and not that it is too much.
    Answered,
    /// 429: it is too much.
    TooMuch,
    /// 503: it is too much, or it is down.
    Unavailable,
    /// It did not get done in time.
    TimedOut,
    /// It could not be reached, or broke off.
    Nothing,
}

impl Heard {
    /// What an attempt says.
    pub(crate) fn of(attempt: &Attempt) -> Self {
        match (attempt.reason, attempt.status_code) {
            (None | Some(Reason::Redirect), _) => Self::Answered,
            (Some(Reason::HttpStatus), Some(429)) => Self::TooMuch,
            (Some(Reason::HttpStatus), Some(503)) => Self::Unavailable,
            (Some(Reason::HttpStatus), _) => Self::Answered,
            (
                Some(
                    Reason::DnsTimeout
                    | Reason::ConnectTimeout
                    | Reason::TlsTimeout
                    | Reason::SendTimeout
                    | Reason::ResponseTimeout
                    | Reason::BodyTimeout,
                ),
                _,
            ) => Self::TimedOut,
            _ => Self::Nothing,
        }
    }
}

/// How many attempts one endpoint may have in flight now, and how far apart they begin.
#[derive(Debug)]
pub(super) struct Concurrency {
    most: usize,
    limit: usize,
    /// Below it the limit grows by one an answer, from there on by one a round.
    threshold: usize,
    /// Answers since the limit last grew.
    answers: usize,
    pause: Duration,
    /// The pause at which it was too much last.
    too_short: Duration,
    /// How often one after the other it was unavailable after a pause of at least [`APART`].
    unavailable: u32,
    /// Attempts begun so far, and as many of them as say nothing any more: what they met was cut since.
    begun: u64,
    cut: u64,
    last_begun: Option<Instant>,
}

impl Concurrency {
    /// That of a receiver of which nothing is known yet.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            limit: 1,
            threshold: most,
            answers: 0,
            pause: Duration::ZERO,
            too_short: Duration::ZERO,
            unavailable: 0,
            begun: 0,
            cut: 0,
            last_begun: None,
        }
    }

    /// Goes on with a receiver of which nothing is known yet; attempts at the one before say nothing.
    pub(super) fn begin_anew(&mut self) {
        let begun = self.begun;
        *self = Self::new(self.most);
        (self.begun, self.cut) = (begun, begun);
    }

    /// How many attempts there may be in flight.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many attempts have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// An attempt begins: its number.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        if self
            .last_begun
            .is_some_and(|last| now.duration_since(last) >= FORGOTTEN)
        {
            self.pause = Duration::ZERO;
            self.threshold = self.most;
        }
        self.last_begun = Some(now);
        self.begun += 1;
        self.begun
    }

    /// How long the next attempt has still to be kept apart from the last one.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        match self.last_begun {
            Some(last) => self.pause.saturating_sub(now.duration_since(last)),
            None => Duration::ZERO,
        }
    }

    /// An attempt ended after so long.
    pub(super) fn after(&mut self, number: u64, heard: Heard, took: Duration) {
        if number <= self.cut {
            return; // it met what was cut since: many that fail together are one failure
        }
        if matches!(heard, Heard::Answered | Heard::TooMuch) {
            self.unavailable = 0;
        }
        match heard {
            Heard::Nothing => {}
            Heard::Answered if self.pause.is_zero() => self.widen(),
            Heard::Answered => self.shorten(),
            Heard::Unavailable if self.limit == 1 && self.is_down() => self.cut = self.begun,
            Heard::TooMuch | Heard::Unavailable if self.limit == 1 => self.lengthen(took),
            Heard::TooMuch | Heard::Unavailable | Heard::TimedOut => self.halve(),
        }
    }

    /// It is unavailable once more. Returns true if it is down, so that attempts are not kept apart for it.
    fn is_down(&mut self) -> bool {
        if self.pause >= APART {
            self.unavailable += 1;
        }
        let down = self.unavailable >= DOWN_AFTER;
        if down {
            self.pause = Duration::ZERO;
        }
        down
    }

    fn lengthen(&mut self, took: Duration) {
        self.too_short = self.pause.max(took);
        self.pause = (self.too_short * 2).clamp(FIRST, LONGEST);
        self.cut = self.begun;
    }

    /// There were too many at once, whoever said so.
    pub(super) fn halve(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.threshold = self.limit;
        self.answers = 0;
        self.cut = self.begun;
    }

    /// Whether an attempt met what is now, so that it says something.
    pub(super) fn concerns(&self, number: u64) -> bool {
        number > self.cut
    }

    fn widen(&mut self) {
        self.answers += 1;
        if self.limit < self.threshold || self.answers >= self.limit {
            self.limit = (self.limit + 1).min(self.most);
            self.answers = 0;
        }
    }

    /// Around the pause that was too short last, it is felt for in small steps, since each step too far costs a try;
    /// elsewhere in large ones.
    fn shorten(&mut self) {
        let far = self.pause * 4 > self.too_short * 5 || self.pause * 2 < self.too_short;
        self.pause = if far {
            self.pause * 3 / 4
        } else if self.pause > LONG {
            self.pause * 7 / 8
        } else {
            self.pause * 24 / 25
        };
        if self.pause < SHORTEST {
            self.pause = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests;
