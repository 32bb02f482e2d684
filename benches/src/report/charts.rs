//! Hides what the charts show and how they are laid out.

use super::svg::{Anchor, COLOURS, GREY, INK, Scale, Svg, ticks};
use super::tables;
use crate::figures::grouped;
use crate::figures::{Figures, median_of};
use crate::measure::backlog::Backlog;
use crate::measure::latency::Latency;
use crate::meter::Shares;
use crate::stats::Spread;

const WIDTH: f64 = 760.0;
/// Room for the rows' names.
const LEFT: f64 = 190.0;
/// Room for the figures behind bars.
const RIGHT: f64 = 80.0;
const ROW: f64 = 28.0;
const BAR: f64 = 16.0;
/// Room above and below the rows: for a legend, and for the axis.
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;

/// The charts that there are figures for, by file name.
pub(crate) fn all(figures: &Figures) -> Vec<(&'static str, String)> {
    let charts = [
        ("throughput.svg", throughput(figures)),
        ("processor.svg", processor(figures)),
        ("latency.svg", latency(figures)),
        ("backlog.svg", figures.backlog.as_ref().map(backlog)),
    ];
    let drawn = charts
        .into_iter()
        .filter_map(|(name, svg)| Some((name, svg?)));
    drawn.collect()
}

/// Bars of deliveries a second, with the range of all rounds.
fn throughput(figures: &Figures) -> Option<String> {
    let raw = Spread::of(figures.raw.iter().map(|raw| raw.requests))?;
    let mut rows = vec![("raw limit".to_owned(), raw, GREY)];
    for series in &figures.throughput {
        let spread = series.spread(|round| round.deliveries);
        rows.push((series.name(), spread, COLOURS[0]));
    }
    let largest = rows
        .iter()
        .map(|(_, spread, _)| spread.max)
        .fold(0.0, f64::max);
    let title = "Deliveries a second: median of all rounds, lowest to highest";
    let mut chart = Rows::new(rows.len(), title);
    let ticks = ticks(largest);
    let scale = Scale::linear(ticks.last().copied()?, LEFT, WIDTH - RIGHT);
    chart.axis(scale, &ticks, |tick| grouped(format!("{tick:.0}")));
    for (name, spread, colour) in rows {
        let (svg, y) = chart.row(&name);
        svg.rect(
            LEFT,
            y - BAR / 2.0,
            scale.at(spread.median) - LEFT,
            BAR,
            colour,
        );
        svg.line(
            &[(scale.at(spread.min), y), (scale.at(spread.max), y)],
            2.0,
            INK,
        );
        let figure = grouped(format!("{:.0}", spread.median));
        svg.text(scale.at(spread.max) + 8.0, y, Anchor::Start, &figure);
    }
    Some(chart.finish())
}

/// Who used the processor, as bars of all cores.
fn processor(figures: &Figures) -> Option<String> {
    let rows = tables::processor_rows(figures)?;
    let title = "Who uses the processor: shares of all cores, mean of all rounds";
    let mut chart = Rows::new(rows.len(), title);
    let colours = [COLOURS[0], COLOURS[1], COLOURS[2], GREY];
    let names = ["service", "receiver", "load generator", "anything else"];
    chart.legend(names.into_iter().zip(colours));
    let scale = Scale::linear(100.0, LEFT, WIDTH - RIGHT);
    let ticks = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0];
    chart.axis(scale, &ticks, |tick| format!("{tick:.0} %"));
    for (name, shares) in rows {
        let (svg, y) = chart.row(name.split(" (").next().unwrap_or_default());
        let mut sum = 0.0;
        let parts = [shares.service, shares.receiver, shares.load, shares.other];
        for (share, colour) in parts.into_iter().zip(colours) {
            let (from, to) = (scale.at(sum * 100.0), scale.at((sum + share) * 100.0));
            svg.rect(from, y - BAR / 2.0, to - from, BAR, colour);
            sum += share;
        }
        let busy = format!("{:.0} %", sum * 100.0);
        svg.text(WIDTH - RIGHT + 8.0, y, Anchor::Start, &busy);
    }
    Some(chart.finish())
}

/// The mean of every share; none where there are none.
pub(crate) fn mean_shares(shares: impl Iterator<Item = Shares>) -> Option<Shares> {
    let (mut sum, mut count) = (Shares::default(), 0_u32);
    for share in shares {
        sum.service += share.service;
        sum.receiver += share.receiver;
        sum.load += share.load;
        sum.other += share.other;
        count += 1;
    }
    let mean = |sum: f64| sum / f64::from(count);
    (count > 0).then(|| Shares {
        service: mean(sum.service),
        receiver: mean(sum.receiver),
        load: mean(sum.load),
        other: mean(sum.other),
    })
}

/// A figure of a latency.
type Percentile = fn(&Latency) -> f64;

const PERCENTILES: [Percentile; 4] = [
    |latency| latency.arrival.p50,
    |latency| latency.arrival.p95,
    |latency| latency.arrival.p99,
    |latency| latency.arrival.p999,
];
const PERCENTILE_NAMES: [&str; 4] = ["p50", "p95", "p99", "p99.9"];

/// Percentiles as dots on a logarithmic axis.
fn latency(figures: &Figures) -> Option<String> {
    let rows = latency_rows(figures);
    let all = || rows.iter().flat_map(|(_, figures)| figures).copied();
    let least = whole_ten(all().reduce(f64::min)?.max(0.01), f64::floor);
    let largest = whole_ten(all().reduce(f64::max)?.max(1.0), f64::ceil);
    let title = "From the moment an event was due to its arrival: median of all rounds";
    let mut chart = Rows::new(rows.len(), title);
    chart.legend(PERCENTILE_NAMES.into_iter().zip(COLOURS));
    let scale = Scale::logarithmic(least, largest, LEFT, WIDTH - RIGHT);
    let tens = std::iter::successors(Some(least), |ten| Some(ten * 10.0));
    let tens: Vec<f64> = tens.take_while(|ten| *ten <= largest * 1.01).collect();
    chart.axis(scale, &tens, |tick| format!("{} ms", short(tick)));
    for (name, figures) in rows {
        let (svg, y) = chart.row(&name);
        let places = figures.map(|figure| scale.at(figure));
        svg.line(&[(places[0], y), (places[3], y)], 1.5, INK);
        for (x, colour) in places.into_iter().zip(COLOURS) {
            svg.dot(x, y, 5.0, colour);
        }
    }
    Some(chart.finish())
}

/// Each schedule's percentiles, and those of many endpoints with none and with one hanging.
fn latency_rows(figures: &Figures) -> Vec<(String, [f64; 4])> {
    let mut rows = Vec::new();
    for open in &figures.open {
        let name = open.name();
        rows.push((
            name,
            PERCENTILES.map(|figure| median_of(&open.rounds, figure)),
        ));
    }
    if !figures.hanging.is_empty() {
        let none: Vec<Latency> = figures.hanging.iter().map(|pair| pair.none).collect();
        let one: Vec<Latency> = figures.hanging.iter().map(|pair| pair.one).collect();
        for (name, spans) in [("1,000 endpoints", none), ("one of them hanging", one)] {
            let figures = PERCENTILES.map(|figure| median_of(&spans, figure));
            rows.push((name.to_owned(), figures));
        }
    }
    rows
}

/// The power of ten next to a figure.
fn whole_ten(figure: f64, rounding: fn(f64) -> f64) -> f64 {
    10_f64.powf(rounding(figure.log10()))
}

/// A number with at most two digits after the point.
fn short(number: f64) -> String {
    ((number * 100.0).round() / 100.0).to_string()
}

/// Two panels over time: what has arrived, and the service's memory.
fn backlog(backlog: &Backlog) -> String {
    let height = TOP + 2.0 * PANEL + PANEL_GAP + BOTTOM;
    let mut svg = Svg::new(WIDTH, height, "A backlog being drained");
    let seconds = ticks(backlog.timeline.last().map_or(0.0, |moment| moment.at));
    let x = Scale::linear(
        seconds.last().copied().unwrap_or(1.0),
        PANEL_LEFT,
        PANEL_END,
    );
    let moments = || backlog.timeline.iter();
    let arrived: Vec<_> = moments()
        .map(|moment| (moment.at, moment.arrived as f64 / 1e6))
        .collect();
    let memory: Vec<_> = moments().map(|moment| (moment.at, moment.own_mb)).collect();
    panel(
        &mut svg,
        TOP,
        x,
        "million deliveries arrived",
        &arrived,
        COLOURS[0],
    );
    let below = TOP + PANEL + PANEL_GAP;
    panel(
        &mut svg,
        below,
        x,
        "MB of the service's own memory",
        &memory,
        COLOURS[1],
    );
    for second in &seconds {
        let text = format!("{} s", short(*second));
        svg.text(x.at(*second), below + PANEL + 18.0, Anchor::Middle, &text);
    }
    svg.finish()
}

const PANEL: f64 = 120.0;
const PANEL_GAP: f64 = 40.0;
const PANEL_LEFT: f64 = 60.0;
const PANEL_END: f64 = WIDTH - 20.0;

/// One line over time, with its own axis.
fn panel(svg: &mut Svg, top: f64, x: Scale, name: &str, points: &[(f64, f64)], colour: &str) {
    let largest = points.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
    let ticks = ticks(largest);
    let y = Scale::linear(ticks.last().copied().unwrap_or(1.0), top + PANEL, top);
    for tick in &ticks {
        svg.grid((PANEL_LEFT, y.at(*tick)), (PANEL_END, y.at(*tick)));
        svg.text(PANEL_LEFT - 8.0, y.at(*tick), Anchor::End, &short(*tick));
    }
    svg.text(PANEL_LEFT, top - 14.0, Anchor::Start, name);
    let place = |(at, figure): &(f64, f64)| (x.at(*at), y.at(*figure));
    let places: Vec<(f64, f64)> = points.iter().map(place).collect();
    svg.line(&places, 2.0, colour);
}

/// A chart of named rows over one axis.
struct Rows {
    svg: Svg,
    count: usize,
    drawn: usize,
}

impl Rows {
    fn new(count: usize, title: &str) -> Self {
        let height = TOP + 24.0 + count as f64 * ROW + BOTTOM;
        let mut svg = Svg::new(WIDTH, height, title);
        svg.text(0.0, 12.0, Anchor::Start, title);
        Self {
            svg,
            count,
            drawn: 0,
        }
    }

    fn legend<'a>(&mut self, names: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut x = LEFT;
        for (name, colour) in names {
            self.svg.dot(x + 5.0, TOP + 6.0, 5.0, colour);
            self.svg.text(x + 15.0, TOP + 6.0, Anchor::Start, name);
            x += 40.0 + 7.5 * name.len() as f64;
        }
    }

    fn axis(&mut self, scale: Scale, ticks: &[f64], text: impl Fn(f64) -> String) {
        let (top, bottom) = (TOP + 20.0, TOP + 24.0 + self.count as f64 * ROW + 4.0);
        for tick in ticks {
            let x = scale.at(*tick);
            self.svg.grid((x, top), (x, bottom));
            self.svg
                .text(x, bottom + 14.0, Anchor::Middle, &text(*tick));
        }
    }

    /// The next row, and the height of its middle.
    fn row(&mut self, name: &str) -> (&mut Svg, f64) {
        let y = TOP + 24.0 + (self.drawn as f64 + 0.5) * ROW;
        self.drawn += 1;
        self.svg.text(LEFT - 10.0, y, Anchor::End, name);
        (&mut self.svg, y)
    }

    fn finish(self) -> String {
        self.svg.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::backlog::Moment;
    use crate::measure::hanging::Pair;
    use crate::measure::throughput::{RawRound, Round, WORKLOADS};
    use crate::stats::Percentiles;
    use crate::usage::Memory;

    /// Figures of nothing real, with something in every chart.
    fn figures() -> Figures {
        let shares = Shares {
            service: 0.5,
            receiver: 0.2,
            load: 0.1,
            other: 0.05,
        };
        let acknowledged = Percentiles::of((1..2000).collect());
        let mut figures = Figures::default();
        for share in [1.0, 0.9, 1.2] {
            let requests = 60_000.0 * share;
            figures.raw.push(RawRound { requests, shares });
            for (index, workload) in WORKLOADS.iter().enumerate() {
                let round = Round {
                    events: 0.0,
                    deliveries: 50_000.0 * share / (index + 1) as f64,
                    of_raw: 0.5,
                    behind_ms: 1.0,
                    acknowledged,
                    cpu_ms: 50.0,
                    peak_mb: 60.0,
                    shares,
                };
                figures.note(workload, false, round);
                if index < 2 {
                    figures.note(workload, true, round);
                }
            }
        }
        let latency = |scale: u32| Latency {
            arrival: Percentiles::of((1..2000).map(|n| n * scale).collect()),
            acknowledged,
            sent: acknowledged,
            cpu_ms: 0.0,
            peak_mb: 0.0,
            shares,
        };
        figures.note_open(200.0, latency(1));
        figures.note_open(2000.0, latency(4));
        figures.hanging.push(Pair {
            none: latency(8),
            one: latency(10),
        });
        let moment = |at: u64| Moment {
            at: at as f64,
            arrived: at * 25_000,
            own_mb: 40.0 + (at % 7) as f64,
        };
        figures.backlog = Some(Backlog {
            deliveries: 1_000_000,
            published: 1.0,
            peak_publishing: Memory::default(),
            drained_in: 40.0,
            idle: Memory::default(),
            peak: Memory::default(),
            cpu_ms: 1.0,
            shares,
            timeline: (0..=40).map(moment).collect(),
        });
        figures
    }

    #[test]
    fn every_chart_is_drawn_where_there_are_figures_and_only_there() {
        assert!(all(&Figures::default()).is_empty());
        let charts = all(&figures());
        let names: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "throughput.svg",
                "processor.svg",
                "latency.svg",
                "backlog.svg"
            ]
        );
        for ((name, svg), word) in charts.iter().zip(["200 teams", "85 %", "p99.9", "40 s"]) {
            assert!(svg.contains(word), "{name}");
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{name}");
        }
    }
}
