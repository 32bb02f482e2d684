//! Hides how a receiver behaves: a habit of its own, and what that makes of one request.

use std::time::Duration;

use model::attempt::{Outcome, Reason};

use crate::random::Random;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Habit {
    /// Takes everything at once.
    Healthy,
    /// Takes everything, after so many milliseconds: at most 9.9 s.
    Slow(u64),
    /// Never answers.
    Hanging,
    /// Fails so often with this status, then takes everything.
    FailsFirst(u32, u16),
    /// Answers everything with this status.
    Always(u16),
    /// Takes everything and fails everything by turns, so many milliseconds each.
    Flapping(u64),
    /// Refuses every connection.
    Refusing,
    /// Anything, request by request.
    Mixed,
}

/// What a receiver does with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// This status, after so long.
    Status(u16, Duration),
    /// A failure of the network, after so long.
    Fails(Reason, Duration),
    /// Nothing until the deadline.
    Hangs,
}

const STATUSES: [u16; 14] = [
    200, 204, 301, 308, 400, 401, 404, 410, 422, 429, 500, 502, 503, 504,
];
const FAILURES: [Reason; 6] = [
    Reason::DnsFailed,
    Reason::ConnectionRefused,
    Reason::ConnectionReset,
    Reason::TlsCertificate,
    Reason::BodyIncomplete,
    Reason::InvalidResponse,
];

impl Habit {
    pub(crate) fn any(dice: &mut Random) -> Self {
        match dice.below(20) {
            0..=5 => Self::Healthy,
            6 => Self::Slow(9_900),
            7 => Self::Slow(100 + dice.any() % 9_800),
            8 => Self::Hanging,
            9..=11 => Self::FailsFirst(1 + dice.below(12) as u32, 503),
            12 => Self::Always([400, 401, 404, 422][dice.below(4)]),
            13 => Self::Always(410),
            14 => Self::Always([500, 503, 301, 429][dice.below(4)]),
            15..=16 => Self::Flapping(2_000 + dice.any() % 60_000),
            17 => Self::Refusing,
            _ => Self::Mixed,
        }
    }

    /// What it does with its `nth` request (from 0), which comes at `now`; `dice` are of that request alone.
    pub(crate) fn reply(self, nth: u32, now: u64, dice: &mut Random) -> Reply {
        let soon = Duration::from_millis(dice.any() % 40);
        match self {
            Self::Healthy => Reply::Status(200, soon),
            Self::Slow(millis) => Reply::Status(200, Duration::from_millis(millis)),
            Self::Hanging => Reply::Hangs,
            Self::FailsFirst(count, status) if nth < count => Reply::Status(status, soon),
            Self::FailsFirst(..) => Reply::Status(200, soon),
            Self::Always(status) => Reply::Status(status, soon),
            Self::Flapping(every) if (now / every).is_multiple_of(2) => Reply::Status(200, soon),
            Self::Flapping(_) => Reply::Status(503, soon),
            Self::Refusing => Reply::Fails(Reason::ConnectionRefused, Duration::ZERO),
            Self::Mixed => match dice.below(10) {
                0..=3 => Reply::Status(200, soon),
                4 => Reply::Status(200, Duration::from_millis(dice.any() % 9_900)),
                5 => Reply::Hangs,
                6..=7 => Reply::Fails(FAILURES[dice.below(FAILURES.len())], soon),
                _ => Reply::Status(STATUSES[dice.below(STATUSES.len())], soon),
            },
        }
    }
}

impl Reply {
    /// The outcome that the contract gives it, and the reason that the log has to give.
    pub(crate) fn judged(self) -> (Outcome, Option<Reason>) {
        match self {
            Self::Status(200..=299, _) => (Outcome::Delivered, None),
            Self::Status(429, _) => (Outcome::Retry, Some(Reason::HttpStatus)),
            Self::Status(400..=499, _) => (Outcome::PermanentFailure, Some(Reason::HttpStatus)),
            Self::Status(300..=399, _) => (Outcome::Retry, Some(Reason::Redirect)),
            Self::Status(..) => (Outcome::Retry, Some(Reason::HttpStatus)),
            Self::Fails(reason, _) => (Outcome::Retry, Some(reason)),
            Self::Hangs => (Outcome::Retry, Some(Reason::ResponseTimeout)),
        }
    }
}
