//! Hides how an hour of attempts at an endpoint is summed up in a few bytes: how they ended, and how
//! long answers took, precisely enough for percentiles.

use crate::attempt::Attempt;
use crate::retry::Verdict;
use crate::time::Timestamp;

/// Below this many milliseconds each has a bucket of its own.
const EXACT: u32 = 8;
/// Buckets from there on: so many each time the milliseconds double, so that none is off by over a fifth.
const PER_DOUBLING: u32 = 4;

/// What the attempts of some time came to. Those of test events are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts that delivered.
    pub delivered: u32,
    /// Attempts that failed.
    pub failed: u32,
    /// Deliveries given up.
    pub dead_letters: u32,
    /// How long answered attempts took.
    pub latency: Latency,
}

/// The hour of a moment: hours since the Unix epoch.
pub fn hour_of(moment: Timestamp) -> i64 {
    moment.as_millis().div_euclid(3_600_000)
}

/// When an hour begins.
pub fn begin_of(hour: i64) -> Timestamp {
    Timestamp::from_millis(hour.saturating_mul(3_600_000))
}

impl Tally {
    /// Counts an attempt in.
    pub fn count(&mut self, attempt: &Attempt, verdict: Verdict) {
        match attempt.reason {
            None => self.delivered = self.delivered.saturating_add(1),
            Some(_) => self.failed = self.failed.saturating_add(1),
        }
        if verdict == Verdict::DeadLetter {
            self.dead_letters = self.dead_letters.saturating_add(1);
        }
        if attempt.status_code.is_some() {
            self.latency.count(attempt.duration_ms);
        }
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.failed = self.failed.saturating_add(other.failed);
        self.dead_letters = self.dead_letters.saturating_add(other.dead_letters);
        self.latency.add(&other.latency);
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u64 {
        u64::from(self.delivered) + u64::from(self.failed)
    }

    /// The share of attempts that delivered, in percent; none where there were none. Rounded down, so
    /// that 100 means all.
    pub fn success_percent(&self) -> Option<f64> {
        let all = self.attempts();
        let tenths = (u64::from(self.delivered) * 1000).checked_div(all)?;
        Some(tenths as f64 / 10.0)
    }
}

/// How often answers took how long: counts by buckets of milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Bucket and count, by bucket; none is 0.
    counts: Vec<(u8, u32)>,
}

impl Latency {
    /// Counts a time in.
    pub fn count(&mut self, millis: u32) {
        self.add_to(bucket(millis), 1);
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.add_to(*bucket, *count);
        }
    }

    fn add_to(&mut self, bucket: u8, count: u32) {
        match self
            .counts
            .binary_search_by_key(&bucket, |(other, _)| *other)
        {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// How long the slowest of the fastest `percent` took, in milliseconds, to within a fifth.
    pub fn percentile(&self, percent: u32) -> Option<u32> {
        let total: u64 = self.counts.iter().map(|(_, count)| u64::from(*count)).sum();
        let rank = (total * u64::from(percent)).div_ceil(100).max(1);
        let mut before = 0;
        for (bucket, count) in &self.counts {
            let count = u64::from(*count);
            if before + count >= rank {
                let (low, high) = bounds(*bucket);
                // As if they were spread evenly over the bucket.
                let inside = (high - low) * (rank - before - 1) / count;
                return Some(u32::try_from(low + inside).unwrap_or(u32::MAX));
            }
            before += count;
        }
        None
    }

    /// As few bytes: for each bucket its number and its count, seven bits a byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.counts.len() * 3);
        for (bucket, count) in &self.counts {
            bytes.push(*bucket);
            let mut rest = *count;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        bytes
    }

    /// What [`Latency::to_bytes`] wrote; none where it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut latency = Self::default();
        let mut rest = bytes.iter();
        while let Some(bucket) = rest.next() {
            let (mut count, mut shift) = (0_u32, 0);
            loop {
                let byte = *rest.next()?;
                if shift > 28 {
                    return None;
                }
                count |= u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            latency.add_to(*bucket, count);
        }
        Some(latency)
    }
}

fn bucket(millis: u32) -> u8 {
    if millis < EXACT {
        return millis as u8;
    }
    let doublings = millis.ilog2();
    let part = (millis >> (doublings - 2)) & 3;
    (EXACT + (doublings - 3) * PER_DOUBLING + part) as u8
}

/// The first millisecond of a bucket, and the first beyond it.
fn bounds(bucket: u8) -> (u64, u64) {
    let bucket = u64::from(bucket);
    let exact = u64::from(EXACT);
    if bucket < exact {
        return (bucket, bucket + 1);
    }
    let (doubling, part) = ((bucket - exact) / 4, (bucket - exact) % 4);
    ((4 + part) << (doubling + 1), (5 + part) << (doubling + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_whose_bounds_hold_it() {
        let times = (0..5000).chain([10_000, 60_000, 1 << 20, u32::MAX - 1, u32::MAX]);
        let mut last = 0;
        for millis in times {
            let bucket = bucket(millis);
            let (low, high) = bounds(bucket);
            let held = (low..high).contains(&u64::from(millis));
            assert!(held, "{millis} is not in {bucket}: {low}..{high}");
            assert!(
                (high - low) * 4 <= low.max(4),
                "{bucket} is wider than a quarter"
            );
            assert!(bucket >= last, "{millis}");
            last = bucket;
        }
    }

    #[test]
    fn percentiles_are_close_to_those_of_the_times_themselves() {
        let mut latency = Latency::default();
        let times: Vec<u32> = (0..1000).map(|n| n * n / 400).collect();
        times.iter().for_each(|millis| latency.count(*millis));
        for (percent, exact) in [
            (50, times[499]),
            (95, times[949]),
            (99, times[989]),
            (100, times[999]),
        ] {
            let found = latency.percentile(percent).unwrap();
            assert!(
                found.abs_diff(exact) * 5 <= exact,
                "{percent}: {found} and not {exact}"
            );
        }
        assert_eq!(Latency::default().percentile(50), None);
        let mut one = Latency::default();
        one.count(3);
        assert_eq!((one.percentile(1), one.percentile(99)), (Some(3), Some(3)));
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let mut latency = Latency::default();
        for millis in [0, 0, 7, 9, 130, 130, 9_999] {
            latency.count(millis);
        }
        latency.add_to(3, u32::MAX);
        let bytes = latency.to_bytes();
        assert_eq!(Latency::from_bytes(&bytes), Some(latency));
        assert_eq!(Latency::from_bytes(&[]), Some(Latency::default()));
        for damaged in [
            &[1][..],
            &[1, 0x80],
            &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ] {
            assert_eq!(Latency::from_bytes(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_rate_is_rounded_down_so_that_a_hundred_means_all() {
        for (delivered, failed, percent) in [
            (0, 0, None),
            (1, 0, Some(100.0)),
            (9999, 1, Some(99.9)),
            (1, 2, Some(33.3)),
            (0, 5, Some(0.0)),
        ] {
            let tally = Tally {
                delivered,
                failed,
                ..Tally::default()
            };
            assert_eq!(tally.success_percent(), percent, "{delivered} {failed}");
        }
    }
}
