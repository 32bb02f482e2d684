//! Hides how requests are counted against a limit: a fixed window per bearer, that starts with
//! its first request.

use std::time::Duration;

use crate::time::Timestamp;

/// How many requests a bearer may make in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per window.
    pub requests: u32,
    /// The window's length.
    pub window: Duration,
}

impl RateLimit {
    /// `requests` a minute.
    pub const fn per_minute(requests: u32) -> Self {
        Self {
            requests,
            window: Duration::from_secs(60),
        }
    }

    /// `requests` an hour.
    pub const fn per_hour(requests: u32) -> Self {
        Self {
            requests,
            window: Duration::from_secs(3600),
        }
    }
}

/// The window a bearer is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    started_at: Timestamp,
    used: u32,
}

/// What a bearer may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whether this request is within the limit.
    pub allowed: bool,
    /// The limit itself: `X-RateLimit-Limit`.
    pub limit: u32,
    /// How many more requests fit the window: `X-RateLimit-Remaining`.
    pub remaining: u32,
    /// When the next window starts: `X-RateLimit-Reset`.
    pub resets_at: Timestamp,
}

impl Window {
    /// The quota as it stands at `now`, after counting `requests` more where they fit it
    /// (0 only looks).
    pub fn count(&mut self, limit: RateLimit, requests: u32, now: Timestamp) -> Quota {
        let over = now.since(self.started_at) >= limit.window || now < self.started_at;
        if over {
            *self = Self {
                started_at: now,
                used: 0,
            };
        }
        let allowed = self.used.saturating_add(requests) <= limit.requests;
        if allowed {
            self.used += requests;
        }
        Quota {
            allowed,
            limit: limit.requests,
            remaining: limit.requests.saturating_sub(self.used),
            resets_at: self.started_at.after(limit.window),
        }
    }
}

impl Quota {
    /// The tighter of two quotas over the same request: the one a bearer will hit first.
    pub fn tighter(self, other: Self) -> Self {
        match (self.allowed, other.allowed) {
            (true, false) => other,
            (false, true) => self,
            _ if other.remaining < self.remaining => other,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_fills_refuses_and_starts_again() {
        let limit = RateLimit {
            requests: 3,
            window: Duration::from_secs(60),
        };
        let mut window = Window::default();
        let at = |seconds: i64| Timestamp::from_millis(1_000_000_000 + seconds * 1000);
        // (second, allowed, remaining, second of the reset)
        for (second, allowed, remaining, reset) in [
            (0, true, 2, 60),
            (10, true, 1, 60),
            (20, true, 0, 60),
            (59, false, 0, 60),
            (60, true, 2, 120),
            (61, true, 1, 120),
        ] {
            let quota = window.count(limit, 1, at(second));
            assert_eq!(
                (quota.allowed, quota.remaining, quota.resets_at, quota.limit),
                (allowed, remaining, at(reset), 3),
                "at {second} s"
            );
        }
        assert_eq!(
            window.count(limit, 0, at(62)).remaining,
            1,
            "looking counts nothing"
        );
        assert!(
            window.count(limit, 1, at(-9999)).allowed,
            "a clock set back starts a window"
        );
    }
}
