//! Hides how a moment is counted and written: milliseconds since the Unix epoch inside,
//! ISO 8601 in UTC outside.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A moment, in whole milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down: what the signature headers carry.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment and `span` more; the end of time rather than an overflow.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This moment less `span`; the beginning of time rather than an overflow.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this moment is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an ISO 8601 (RFC 3339) time with its offset, such as `2026-04-01T12:00:00Z`.
    ///
    /// # Errors
    /// The sentence says what is wrong with the text.
    pub fn parse_iso(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_| format!("{text:?} is not an ISO 8601 time such as 2026-04-01T12:00:00Z"))
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// ISO 8601, UTC, always with milliseconds: `2026-04-01T12:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years beyond four digits have no ISO 8601 form: the nearest moment that has one.
        let ends = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let nearest = if self.0 < 0 { ends.0 } else { ends.1 };
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(nearest);
        write!(f, "{moment:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_iso_8601_with_milliseconds_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_775_044_800_000, "2026-04-01T12:00:00.000Z"),
            (1_775_044_800_007, "2026-04-01T12:00:00.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(moment.to_string(), text);
            assert_eq!(Timestamp::parse_iso(text), Ok(moment));
        }
        assert_eq!(
            Timestamp::parse_iso("2026-04-01T14:00:00+02:00"),
            Ok(Timestamp::from_millis(1_775_044_800_000))
        );
        for wrong in [
            "",
            "yesterday",
            "2026-04-01",
            "2026-13-01T00:00:00Z",
            "1775044800",
        ] {
            assert!(Timestamp::parse_iso(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends_of_time() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.after(Duration::from_secs(1)), end);
        assert_eq!(
            end.since(Timestamp::from_millis(0)),
            Duration::from_millis(i64::MAX as u64)
        );
        assert_eq!(Timestamp::from_millis(5).since(end), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(-1).as_seconds(), -1);
        assert_eq!(
            end.to_string(),
            jiff::Timestamp::MAX
                .to_string()
                .replace(".999999999", ".999")
        );
        let beginning = Timestamp::from_millis(i64::MIN);
        assert!(beginning.to_string().starts_with('-'), "{beginning}");
    }
}
