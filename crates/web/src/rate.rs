//! Hides how the requests of keys and teams are counted, in memory that grows only with those
//! that asked within the last window.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use model::id::{KeyId, TeamId};
use model::rate::{Quota, RateLimit, Window};
use model::time::Timestamp;

/// The windows of all teams, and of all keys of theirs (or whatever else is counted beside a team).
pub(crate) struct Rates<K = KeyId> {
    // One lock over both: a request counts for its key and its team, or for neither.
    windows: Mutex<(Windows<K>, Windows<TeamId>)>,
}

/// The windows of all who asked within the last one.
pub(crate) struct Windows<K> {
    limit: RateLimit,
    by: HashMap<K, Window>,
    /// Clean up when there are this many: twice what the last clean-up left.
    sweep_at: usize,
}

/// Below this many windows nothing is cleaned up.
const SWEEP_AT_LEAST: usize = 1024;

impl<K: Eq + Hash + Copy> Windows<K> {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            by: HashMap::new(),
            sweep_at: SWEEP_AT_LEAST,
        }
    }

    /// The quota as it is, without counting.
    pub(crate) fn look(&self, who: K, now: Timestamp) -> Quota {
        let mut window = self.by.get(&who).copied().unwrap_or_default();
        window.count(self.limit, 0, now)
    }

    /// The quota after one request more, where that fits.
    pub(crate) fn count(&mut self, who: K, now: Timestamp) -> Quota {
        if self.by.len() >= self.sweep_at && !self.by.contains_key(&who) {
            let limit = self.limit;
            self.by
                .retain(|_, window| window.count(limit, 0, now).remaining < limit.requests);
            self.sweep_at = (self.by.len() * 2).max(SWEEP_AT_LEAST);
        }
        self.by.entry(who).or_default().count(self.limit, 1, now)
    }
}

impl<K: Eq + Hash + Copy> Rates<K> {
    /// Nobody has asked yet.
    pub(crate) fn new(key: RateLimit, team: RateLimit) -> Self {
        Self {
            windows: Mutex::new((Windows::new(key), Windows::new(team))),
        }
    }

    /// The tighter quota of a key and its team, after one request more where `counts`. A request
    /// that either refuses is counted by neither. Where it does not count it is always allowed.
    pub(crate) fn count(&self, key: K, team: TeamId, counts: bool, now: Timestamp) -> Quota {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, teams) = &mut *windows;
        let (mut of_key, mut of_team) = (keys.look(key, now), teams.look(team, now));
        if counts {
            of_key.allowed = of_key.remaining > 0;
            of_team.allowed = of_team.remaining > 0;
            if of_key.allowed && of_team.allowed {
                of_key = keys.count(key, now);
                of_team = teams.count(team, now);
            }
        }
        match (of_key.allowed, of_team.allowed) {
            // Both refuse: whoever waits for the later one waits long enough.
            (false, false) if of_team.resets_at > of_key.resets_at => of_team,
            (false, false) => of_key,
            _ => of_key.tighter(of_team),
        }
    }
}

/// Writes a quota into the headers of an answer (contract: `-Reset` is in Unix milliseconds).
pub(crate) fn write_headers(quota: &Quota, headers: &mut HeaderMap) {
    const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
    const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
    const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
    headers.insert(LIMIT, HeaderValue::from(quota.limit));
    headers.insert(REMAINING, HeaderValue::from(quota.remaining));
    headers.insert(RESET, HeaderValue::from(quota.resets_at.as_millis()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const fn limit(requests: u32) -> RateLimit {
        RateLimit {
            requests,
            window: Duration::from_secs(60),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + second * 1000)
    }

    #[test]
    fn a_request_counts_for_key_and_team_or_for_neither() {
        let rates = Rates::new(limit(2), limit(3));
        let ask = |key, second| {
            let quota = rates.count(KeyId(key), TeamId(1), true, at(second));
            (quota.allowed, quota.limit, quota.remaining)
        };
        assert_eq!(ask(1, 0), (true, 2, 1));
        assert_eq!(ask(1, 1), (true, 2, 0));
        assert_eq!(ask(1, 2), (false, 2, 0), "the key's limit");
        assert_eq!(
            ask(2, 3),
            (true, 3, 0),
            "the refused one did not count for the team"
        );
        assert_eq!(ask(2, 4), (false, 3, 0), "the team's limit");
        assert_eq!(ask(1, 60), (true, 2, 1), "a new window");
        assert_eq!(
            ask(2, 61),
            (true, 2, 0),
            "the refused one did not count for the key"
        );
    }

    #[test]
    fn what_does_not_count_is_always_allowed_and_shows_the_quota() {
        let rates = Rates::new(limit(1), limit(5));
        let look = || rates.count(KeyId(1), TeamId(1), false, at(1));
        assert_eq!((look().allowed, look().remaining), (true, 1));
        rates.count(KeyId(1), TeamId(1), true, at(0));
        assert_eq!((look().allowed, look().remaining), (true, 0));
        assert_eq!(look().resets_at, at(60));
    }

    #[test]
    fn windows_that_are_over_are_forgotten() {
        let mut windows = Windows::new(limit(5));
        for key in 0..5000 {
            windows.count(KeyId(key), at(0));
        }
        assert_eq!(windows.by.len(), 5000, "all within their window");
        for key in 5000..100_000 {
            windows.count(KeyId(key), at(key / 100));
        }
        // 100 new ones a second, remembered for 60 s, cleaned up at twice that.
        assert!(windows.by.len() <= 12_200, "{}", windows.by.len());
    }
}
