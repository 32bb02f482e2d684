//! Hides how many measurements become few figures: percentiles, and the median with its range.

use serde::{Deserialize, Serialize};

/// Percentiles of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// How many latencies there were.
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) worst: f64,
}

impl Percentiles {
    /// Of latencies in microseconds, in any order.
    pub(crate) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share| f64::from(nearest_rank(&micros, share)) / 1000.0;
        Self {
            count: micros.len(),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            worst: at(1.0),
        }
    }
}

/// The smallest value that at least this share of all are not above; 0 where there are none.
fn nearest_rank(sorted: &[u32], share: f64) -> u32 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// What several rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of the figures of all rounds; none where there are none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Self { median, min, max })
    }
}

/// The median of some figures; 0 where there are none.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(figures).map_or(0.0, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_of_the_sorted() {
        let thousand: Vec<u32> = (1..=1000).rev().map(|n| n * 1000).collect();
        let of = Percentiles::of(thousand);
        assert_eq!(
            (of.p50, of.p95, of.p99, of.p999, of.worst),
            (500.0, 950.0, 990.0, 999.0, 1000.0)
        );
        assert_eq!(of.count, 1000);
        let one = Percentiles::of(vec![2500]);
        assert_eq!((one.p50, one.p999, one.worst), (2.5, 2.5, 2.5));
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_both_middles() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        let odd = spread(&[3.0, 1.0, 10.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 10.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 10.0]).unwrap().median, 3.0);
        assert_eq!(median([]), 0.0);
    }
}
