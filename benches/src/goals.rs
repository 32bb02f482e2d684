//! Hides what is to be reached, and judges what was measured by it.

use crate::figures::{Figures, grouped, median_of, millions};
use crate::measure::backlog::Backlog;
use crate::measure::hanging::Pair;
use crate::measure::latency::Latency;
use crate::run::Part;
use crate::stats::median;

/// How many deliveries the log holds, and how many a backlog has, where there is something to reach.
pub(crate) const FULL: u64 = 5_000_000;
pub(crate) const BACKLOG: u64 = 1_000_000;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Better {
    More,
    Less,
}

/// One figure that has a floor, and mostly an aim beyond.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) what: String,
    unit: &'static str,
    /// Digits after the point.
    digits: usize,
    better: Better,
    floor: f64,
    aim: Option<f64>,
    measured: f64,
}

impl Goal {
    /// At least `floor` is to be reached, `aim` is aimed at.
    fn at_least(what: &str, floor: f64, aim: f64, measured: Option<f64>) -> Option<Self> {
        Some(Self {
            what: what.to_owned(),
            unit: "",
            digits: 0,
            better: Better::More,
            floor,
            aim: Some(aim),
            measured: measured?,
        })
    }

    /// At most `floor` is to be needed, `aim` is aimed at.
    fn at_most(what: &str, floor: f64, aim: f64, measured: Option<f64>) -> Option<Self> {
        let goal = Self::at_least(what, floor, aim, measured)?;
        Some(Self {
            better: Better::Less,
            ..goal
        })
    }

    fn in_units(self, unit: &'static str, digits: usize) -> Self {
        Self {
            unit,
            digits,
            ..self
        }
    }

    fn reaches(&self, bound: f64) -> bool {
        match self.better {
            Better::More => self.measured >= bound,
            Better::Less => self.measured <= bound,
        }
    }

    /// Its row of a table: what, measured, floor, aim, each bound with a tick or a cross.
    pub(crate) fn row(&self) -> String {
        let bound = |bound: f64| {
            let sign = if self.reaches(bound) { "✓" } else { "✗" };
            format!("{} {sign}", self.number(bound, 2))
        };
        format!(
            "| {} | **{}** | {} | {} |",
            self.what,
            self.number(self.measured, self.digits),
            bound(self.floor),
            self.aim.map_or("–".into(), bound)
        )
    }

    /// A number with its unit, without digits that say nothing.
    fn number(&self, number: f64, digits: usize) -> String {
        let mut text = format!("{number:.digits$}");
        if text.contains('.') && digits == 2 && self.digits != 2 {
            text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        }
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        format!("{}{rest}{}", grouped(whole), self.unit)
    }
}

/// Everything that is to be reached and was measured.
pub(crate) fn goals(figures: &Figures) -> Vec<Goal> {
    let rates = throughput(figures).into_iter().flatten();
    let latencies = latencies(figures).into_iter().flatten();
    let full = at_size(figures).into_iter().flatten();
    let limited = limited(figures).into_iter().flatten();
    let backlog = backlog(figures).into_iter().flatten();
    let idle = idle(figures).into_iter().flatten();
    let all = rates
        .chain(latencies)
        .chain(full)
        .chain(limited)
        .chain(backlog)
        .chain(idle);
    all.collect()
}

fn throughput(figures: &Figures) -> [Option<Goal>; 4] {
    let series = |part| figures.series(part, false);
    let events = |part| Some(series(part)?.spread(|round| round.events).median);
    let ten = series(Part::Ten);
    let deliveries = ten.map(|ten| ten.spread(|round| round.deliveries).median);
    let of_raw = ten.map(|ten| ten.spread(|round| round.of_raw).median);
    let one = "one endpoint, published singly from 64 connections, events/s end to end";
    let ten = "ten endpoints an event, deliveries/s";
    let batch = "batch publishing (100 a call), one endpoint, events/s";
    let ratio = "ten-endpoint deliveries to the raw limit of the same round";
    [
        Goal::at_least(one, 12_000.0, 25_000.0, events(Part::One)),
        Goal::at_least(ten, 25_000.0, 50_000.0, deliveries),
        Goal::at_least(batch, 20_000.0, 40_000.0, events(Part::Batch)),
        Goal::at_least(ratio, 0.20, 0.40, of_raw).map(|goal| goal.in_units("", 2)),
    ]
}

fn latencies(figures: &Figures) -> [Option<Goal>; 3] {
    let fast = figures.open.iter().find(|open| open.per_second >= 2000.0);
    let arrival = |figure: fn(&Latency) -> f64| fast.map(|open| median_of(&open.rounds, figure));
    let p50 = arrival(|latency| latency.arrival.p50);
    let p99 = arrival(|latency| latency.arrival.p99);
    let more = |pair: &Pair| pair.one.arrival.p99 - pair.none.arrival.p99;
    // Where the machine was outrun a difference is chance, and might even be a tick.
    let kept = |pair: &&Pair| pair.none.kept_pace() && pair.one.kept_pace();
    let kept = figures.hanging.iter().filter(kept);
    let hanging = kept.map(more).collect::<Vec<_>>();
    let hanging = (!hanging.is_empty()).then(|| median(hanging));
    let ms = |goal: Goal| goal.in_units(" ms", 1);
    let what = "one hanging endpoint among 1,000: p99 of the others above none hanging";
    [
        Goal::at_most("open loop 2,000 events/s: arrival p50", 5.0, 2.0, p50).map(ms),
        Goal::at_most("open loop 2,000 events/s: arrival p99", 20.0, 8.0, p99).map(ms),
        Goal::at_most(what, 20.0, 5.0, hanging).map(ms),
    ]
}

fn at_size(figures: &Figures) -> [Option<Goal>; 4] {
    let ratio = |part| Some(figures.full_against_empty(part)?.median);
    let log = figures.pages.iter().filter(|page| page.of_the_log);
    let worst = log.map(|page| page.median_ms).max_by(f64::total_cmp);
    let start = figures.starts.map(|starts| starts.median_ms);
    let share = |goal: Goal| goal.in_units("", 2);
    if figures.full_size != FULL {
        return [const { None }; 4];
    }
    let size = millions(FULL);
    let one = format!("one endpoint, {size} deliveries in the log against an empty one");
    let ten = format!("ten endpoints, {size} deliveries in the log against an empty one");
    let start_what = format!("start with {size} deliveries in the store");
    let page = format!(
        "page of the delivery log by any filter at {size} deliveries: the slowest page's median"
    );
    [
        Goal::at_least(&one, 0.7, 0.9, ratio(Part::One)).map(share),
        Goal::at_least(&ten, 0.7, 0.9, ratio(Part::Ten)).map(share),
        Goal::at_most(&start_what, 1000.0, 200.0, start).map(|goal| goal.in_units(" ms", 0)),
        Goal::at_most(&page, 20.0, 5.0, worst).map(|goal| goal.in_units(" ms", 1)),
    ]
}

fn limited(figures: &Figures) -> [Option<Goal>; 2] {
    let limited = figures.limited;
    let arrived = limited.map(|limited| limited.arrived as f64);
    let requests = limited.map(|limited| limited.requests as f64);
    let what =
        "a receiver that takes 50 a second, 429 beyond: of a batch of 1,000, arrived within 90 s";
    let cost = "the same: requests made for them";
    [
        Goal::at_least(what, 990.0, 1_000.0, arrived),
        Goal::at_most(cost, 1_500.0, 1_250.0, requests).map(|goal| goal.in_units("", 0)),
    ]
}

fn backlog(figures: &Figures) -> [Option<Goal>; 2] {
    let of_size = |backlog: &&Backlog| backlog.deliveries == BACKLOG;
    let backlog = figures.backlog.as_ref().filter(of_size);
    let drained = backlog.map(|backlog| backlog.drained_in);
    let above = backlog.map(|backlog| backlog.above_idle());
    let size = millions(BACKLOG);
    let time = format!("{size} deliveries of backlog: drained in");
    let memory = format!("{size} deliveries of backlog: memory above idle while they drain");
    [
        Goal::at_most(&time, 90.0, 40.0, drained).map(|goal| goal.in_units(" s", 1)),
        Goal::at_most(&memory, 100.0, 50.0, above).map(|goal| goal.in_units(" MB", 0)),
    ]
}

fn idle(figures: &Figures) -> [Option<Goal>; 2] {
    let idle = figures.idle;
    let memory = idle.map(|idle| idle.memory.own);
    let cpu = idle.map(|idle| idle.cpu * 100.0);
    [
        Goal::at_most("idle: memory", 40.0, 25.0, memory).map(|goal| goal.in_units(" MB", 0)),
        Goal::at_most("idle: processor, of one core", 0.1, 0.1, cpu).map(|goal| Goal {
            aim: None,
            ..goal.in_units(" %", 3)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::idle::Idle;
    use crate::usage::Memory;

    #[test]
    fn ticks_and_crosses_follow_from_the_figures() {
        for (measured, row) in [
            (25_000.0, "| x | **25,000** | 12,000 ✓ | 25,000 ✓ |"),
            (12_000.4, "| x | **12,000** | 12,000 ✓ | 25,000 ✗ |"),
            (11_999.0, "| x | **11,999** | 12,000 ✗ | 25,000 ✗ |"),
        ] {
            let goal = Goal::at_least("x", 12_000.0, 25_000.0, Some(measured)).unwrap();
            assert_eq!(goal.row(), row);
        }
        for (measured, row) in [
            (2.04, "| x | **2.0 ms** | 5 ms ✓ | 2 ms ✗ |"),
            (5.31, "| x | **5.3 ms** | 5 ms ✗ | 2 ms ✗ |"),
            (-0.2, "| x | **-0.2 ms** | 5 ms ✓ | 2 ms ✓ |"),
        ] {
            let goal = Goal::at_most("x", 5.0, 2.0, Some(measured)).unwrap();
            assert_eq!(goal.in_units(" ms", 1).row(), row);
        }
        let ratio = Goal::at_least("x", 0.2, 0.4, Some(0.336)).unwrap();
        assert_eq!(
            ratio.in_units("", 2).row(),
            "| x | **0.34** | 0.20 ✓ | 0.40 ✗ |"
        );
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        assert!(goals(&Figures::default()).is_empty());
        let figures = Figures {
            idle: Some(Idle {
                memory: Memory {
                    own: 23.4,
                    resident: 40.0,
                },
                cpu: 0.0004,
                seconds: 10.0,
            }),
            ..Figures::default()
        };
        let rows: Vec<String> = goals(&figures).iter().map(Goal::row).collect();
        assert_eq!(
            rows,
            [
                "| idle: memory | **23 MB** | 40 MB ✓ | 25 MB ✓ |",
                "| idle: processor, of one core | **0.040 %** | 0.1 % ✓ | – |"
            ]
        );
    }
}
