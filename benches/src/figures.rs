//! Hides how the figures of all rounds are kept together. What was not run is absent.

use std::fmt::Display;

use crate::measure::backlog::Backlog;
use crate::measure::full::Starts;
use crate::measure::hanging::Pair;
use crate::measure::idle::Idle;
use crate::measure::latency::Latency;
use crate::measure::limited::Limited;
use crate::measure::pages::PageTime;
use crate::measure::throughput::{RawRound, Round, Workload};
use crate::run::Part;
use crate::stats::{Spread, median};

/// All that a run has measured.
#[derive(Default)]
pub(crate) struct Figures {
    /// How many deliveries the log held where it was full.
    pub(crate) full_size: u64,
    pub(crate) raw: Vec<RawRound>,
    pub(crate) throughput: Vec<Series>,
    pub(crate) open: Vec<OpenLoop>,
    pub(crate) idle: Option<Idle>,
    pub(crate) starts: Option<Starts>,
    pub(crate) pages: Vec<PageTime>,
    pub(crate) hanging: Vec<Pair>,
    pub(crate) limited: Option<Limited>,
    pub(crate) backlog: Option<Backlog>,
}

/// All rounds of a workload on one kind of store.
pub(crate) struct Series {
    pub(crate) workload: &'static Workload,
    /// Whether the store held millions of deliveries before.
    pub(crate) full: bool,
    pub(crate) rounds: Vec<Round>,
}

/// All rounds of a schedule.
pub(crate) struct OpenLoop {
    pub(crate) per_second: f64,
    pub(crate) rounds: Vec<Latency>,
}

impl Figures {
    /// Notes a round of a workload.
    pub(crate) fn note(&mut self, workload: &'static Workload, full: bool, round: Round) {
        let same = |series: &&mut Series| series.workload == workload && series.full == full;
        if let Some(series) = self.throughput.iter_mut().find(same) {
            return series.rounds.push(round);
        }
        self.throughput.push(Series {
            workload,
            full,
            rounds: vec![round],
        });
    }

    /// Notes a round of a schedule.
    pub(crate) fn note_open(&mut self, per_second: f64, round: Latency) {
        let same = |open: &&mut OpenLoop| open.per_second.total_cmp(&per_second).is_eq();
        if let Some(open) = self.open.iter_mut().find(same) {
            return open.rounds.push(round);
        }
        self.open.push(OpenLoop {
            per_second,
            rounds: vec![round],
        });
    }

    /// All rounds of the workload of a part, on one kind of store.
    pub(crate) fn series(&self, part: Part, full: bool) -> Option<&Series> {
        let mut all = self.throughput.iter();
        all.find(|series| series.workload.part == part && series.full == full)
    }

    /// The median over all rounds of throughput with millions of deliveries in the log, as a share
    /// of that of the same round without.
    pub(crate) fn full_against_empty(&self, part: Part) -> Option<Spread> {
        let (full, empty) = (self.series(part, true)?, self.series(part, false)?);
        let pairs = full.rounds.iter().zip(&empty.rounds);
        Spread::of(pairs.map(|(full, empty)| full.deliveries / empty.deliveries))
    }
}

impl Series {
    /// A figure over all rounds.
    pub(crate) fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure)).unwrap_or_default()
    }

    /// Its name, for charts.
    pub(crate) fn name(&self) -> String {
        match self.full {
            true => format!("{}, full log", self.workload.name),
            false => self.workload.name.to_owned(),
        }
    }
}

impl OpenLoop {
    /// Its name.
    pub(crate) fn name(&self) -> String {
        format!("{} events/s", grouped(format!("{:.0}", self.per_second)))
    }
}

/// A large number in words, as far as it is one: `5 million`.
pub(crate) fn millions(number: u64) -> String {
    match number.is_multiple_of(1_000_000) {
        true => format!("{} million", number / 1_000_000),
        false => grouped(number),
    }
}

/// Digits in groups of three: `12,000`.
pub(crate) fn grouped(number: impl Display) -> String {
    let text = number.to_string();
    let (sign, digits) = text.split_at(usize::from(text.starts_with('-')));
    let mut grouped = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The median of a figure over all spans.
pub(crate) fn median_of(spans: &[Latency], figure: impl Fn(&Latency) -> f64) -> f64 {
    median(spans.iter().map(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_named() {
        for (number, text) in [
            (1, "1"),
            (999, "999"),
            (1000, "1,000"),
            (-12_345_678, "-12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(millions(5_000_000), "5 million");
        assert_eq!(millions(50_000), "50,000");
    }
}
