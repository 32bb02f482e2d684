//! Hides what makes an endpoint slow, and what makes it quick again.

use std::time::Duration;

use tokio::time::Instant;

/// An endpoint of which an attempt takes this long is slow: while it lasts, it holds a place that others need, too.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// It is so until one takes less, this long after the last that did: one of which every other attempt hangs is slow all
/// the time. Time alone proves nothing, since it may go by in waiting for a place.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(10);

/// How long an endpoint's attempts take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// None took long, or none has ended yet.
    #[default]
    Quick,
    /// One took long, and the last that did ended then.
    Slow { since: Instant },
}

impl Pace {
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Slow { .. })
    }

    /// After another attempt, which took so long.
    pub(super) fn after(self, took: Duration) -> Self {
        match self {
            _ if took >= SLOW => Self::Slow {
                since: Instant::now(),
            },
            Self::Slow { since } if since.elapsed() < SLOW_FOR => self,
            _ => Self::Quick,
        }
    }
}
