//! Hides what the charts show and how they are laid out.

use super::svg::{Anchor, COLOURS, GREY, INK, Scale, Svg, ticks};
use super::tables;
use crate::figures::{Figures, median_of};
use crate::goals::grouped;
use crate::measure::backlog::Backlog;
use crate::measure::hanging::Pair;
use crate::measure::latency::Latency;
use crate::meter::Shares;
use crate::stats::{Spread, median};

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
    chart.axis(scale, &ticks, |tick| grouped(&format!("{tick:.0}")));
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
        let figure = grouped(&format!("{:.0}", spread.median));
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

/// Percentiles as dots on a logarithmic axis.
fn latency(figures: &Figures) -> Option<String> {
    const PERCENTILES: [(&str, fn(&Latency) -> f64); 4] = [
        ("p50", |latency| latency.arrival.p50),
        ("p95", |latency| latency.arrival.p95),
        ("p99", |latency| latency.arrival.p99),
        ("p99.9", |latency| latency.arrival.p999),
    ];
    let mut rows = Vec::new();
    for open in &figures.open {
        let figures = PERCENTILES.map(|(_, figure)| median_of(&open.rounds, figure));
        rows.push((format!("{:.0} events/s", open.per_second), figures));
    }
    let spans: [(_, fn(&Pair) -> &Latency); 2] = [
        ("1,000 endpoints", |pair| &pair.none),
        ("one of them hanging", |pair| &pair.one),
    ];
    for (name, span) in spans.into_iter().filter(|_| !figures.hanging.is_empty()) {
        let spans = figures.hanging.iter().map(span);
        let figures = PERCENTILES.map(|(_, figure)| median(spans.clone().map(figure)));
        rows.push((name.to_owned(), figures));
    }
    if rows.is_empty() {
        return None;
    }
    let title = "From the moment an event was due to its arrival, in ms: median of all rounds";
    let mut chart = Rows::new(rows.len(), title);
    chart.legend(PERCENTILES.map(|(name, _)| name).into_iter().zip(COLOURS));
    let all = || rows.iter().flat_map(|(_, figures)| figures).copied();
    let least = 10_f64.powf(all().fold(f64::MAX, f64::min).max(0.01).log10().floor());
    let largest = 10_f64.powf(all().fold(1.0, f64::max).log10().ceil());
    let scale = Scale::logarithmic(least, largest, LEFT, WIDTH - RIGHT);
    let tens = std::iter::successors(Some(least), |ten| Some(ten * 10.0));
    let tens: Vec<f64> = tens.take_while(|ten| *ten <= largest * 1.01).collect();
    chart.axis(scale, &tens, |tick| {
        format!("{} ms", (tick * 100.0).round() / 100.0)
    });
    for (name, figures) in rows {
        let (svg, y) = chart.row(&name);
        svg.line(
            &[(scale.at(figures[0]), y), (scale.at(figures[3]), y)],
            1.5,
            INK,
        );
        for (figure, colour) in figures.into_iter().zip(COLOURS) {
            svg.dot(scale.at(figure), y, 5.0, colour);
        }
    }
    Some(chart.finish())
}

/// Two panels over time: what has arrived, and the service's memory.
fn backlog(backlog: &Backlog) -> String {
    const PANEL: f64 = 120.0;
    const GAP: f64 = 34.0;
    let end = WIDTH - 20.0;
    let mut svg = Svg::new(
        WIDTH,
        TOP + 2.0 * PANEL + GAP + BOTTOM,
        "A backlog being drained",
    );
    let seconds = ticks(backlog.timeline.last().map_or(0.0, |moment| moment.at));
    let x = Scale::linear(seconds.last().copied().unwrap_or(1.0), 70.0, end);
    let arrived = backlog
        .timeline
        .iter()
        .map(|moment| (moment.at, moment.arrived as f64 / 1e6));
    let memory = backlog
        .timeline
        .iter()
        .map(|moment| (moment.at, moment.own_mb));
    let panels: [(&str, Vec<(f64, f64)>, &str); 2] = [
        ("million deliveries arrived", arrived.collect(), COLOURS[0]),
        ("MB of memory of its own", memory.collect(), COLOURS[1]),
    ];
    for (number, (name, points, colour)) in panels.into_iter().enumerate() {
        let top = TOP + number as f64 * (PANEL + GAP);
        let largest = points.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
        let ticks = ticks(largest);
        let y = Scale::linear(ticks.last().copied().unwrap_or(1.0), top + PANEL, top);
        for tick in &ticks {
            svg.grid((70.0, y.at(*tick)), (end, y.at(*tick)));
            let text = format!("{}", (tick * 100.0).round() / 100.0);
            svg.text(62.0, y.at(*tick), Anchor::End, &text);
        }
        svg.text(70.0, top - 14.0, Anchor::Start, name);
        let places: Vec<(f64, f64)> = points
            .iter()
            .map(|(at, figure)| (x.at(*at), y.at(*figure)))
            .collect();
        svg.line(&places, 2.0, colour);
    }
    for second in &seconds {
        let bottom = TOP + 2.0 * PANEL + GAP;
        svg.text(
            x.at(*second),
            bottom + 18.0,
            Anchor::Middle,
            &format!("{second} s"),
        );
    }
    svg.finish()
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
