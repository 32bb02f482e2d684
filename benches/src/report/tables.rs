//! Hides how figures stand in the page's tables.

use super::charts::mean_shares;
use crate::figures::grouped;
use crate::figures::{Figures, Series, median_of};
use crate::measure::hanging::Pair;
use crate::measure::latency::Latency;
use crate::measure::pages::PageTime;
use crate::meter::Shares;
use crate::stats::{Spread, median};

/// How many of the slowest pages are named.
const SLOWEST: usize = 8;

/// One row for each workload.
pub(crate) fn throughput(all: &[Series]) -> String {
    let mut table = head(&[
        "workload",
        "events/s",
        "deliveries/s",
        "of the raw limit",
        "service CPU for 1,000 deliveries",
        "memory at most",
        "publish call p50 / p99",
        "last arrival after",
    ]);
    for series in all {
        let median = |figure: fn(&_) -> f64| series.spread(figure).median;
        let ratio = series.spread(|round| round.of_raw);
        let full = if series.full { ", full log" } else { "" };
        table += &row(&[
            format!("{}{full}", series.workload.title),
            format!(
                "**{}**",
                grouped(format!("{:.0}", median(|round| round.events)))
            ),
            range(series.spread(|round| round.deliveries)),
            format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
            format!("{:.0} ms", median(|round| round.cpu_ms)),
            format!("{:.0} MB", median(|round| round.peak_mb)),
            format!(
                "{:.1} / {:.1} ms",
                median(|round| round.acknowledged.p50),
                median(|round| round.acknowledged.p99)
            ),
            format!("{:.0} ms", median(|round| round.behind_ms)),
        ]);
    }
    table
}

/// Who used the processor in each workload; none where nothing was run.
pub(crate) fn processor(figures: &Figures) -> Option<String> {
    let mut rows = processor_rows(figures)?;
    let hanging = figures.hanging.iter().map(|pair| pair.one.shares);
    rows.extend(mean_shares(hanging).map(|shares| ("one of 1,000 hanging".to_owned(), shares)));
    let backlog = figures.backlog.as_ref();
    rows.extend(backlog.map(|backlog| ("backlog, draining".to_owned(), backlog.shares)));
    let mut table = head(&[
        "workload",
        "service",
        "receiver",
        "load generator",
        "anything else",
        "busy",
    ]);
    for (name, shares) in rows {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        table += &row(&[
            name,
            percent(shares.service),
            percent(shares.receiver),
            percent(shares.load),
            percent(shares.other),
            format!("**{}**", percent(shares.busy())),
        ]);
    }
    Some(table)
}

/// The same, of what is run in rounds; none where nothing was.
pub(crate) fn processor_rows(figures: &Figures) -> Option<Vec<(String, Shares)>> {
    let raw = mean_shares(figures.raw.iter().map(|raw| raw.shares))?;
    let mut rows = vec![("raw limit (the bare client is the load)".to_owned(), raw)];
    for series in &figures.throughput {
        let shares = series.rounds.iter().map(|round| round.shares);
        rows.push((series.name(), mean_shares(shares)?));
    }
    for open in &figures.open {
        let shares = open.rounds.iter().map(|latency| latency.shares);
        rows.push((open.name(), mean_shares(shares)?));
    }
    Some(rows)
}

const LATENCY_HEAD: [&str; 10] = [
    "",
    "p50",
    "p95",
    "p99",
    "p99.9",
    "worst",
    "acknowledged p50 / p99",
    "sent late p99",
    "service CPU for 1,000 deliveries",
    "memory at most",
];

/// One row for each schedule.
pub(crate) fn latency(figures: &Figures) -> String {
    let mut table = head(&LATENCY_HEAD);
    for open in &figures.open {
        table += &latency_row(&open.name(), &open.rounds);
    }
    table
}

/// One row with none hanging, one with one.
pub(crate) fn hanging(figures: &Figures) -> String {
    let spans = |span: fn(&Pair) -> Latency| figures.hanging.iter().map(span).collect::<Vec<_>>();
    let (none, one) = (spans(|pair| pair.none), spans(|pair| pair.one));
    head(&LATENCY_HEAD) + &latency_row("none hanging", &none) + &latency_row("one hanging", &one)
}

fn latency_row(name: &str, rounds: &[Latency]) -> String {
    let median = |figure: fn(&Latency) -> f64| median_of(rounds, figure);
    let ms = |figure| format!("{:.1} ms", median(figure));
    let worst = rounds.iter().map(|latency| latency.arrival.worst);
    row(&[
        name.to_owned(),
        ms(|latency| latency.arrival.p50),
        ms(|latency| latency.arrival.p95),
        ms(|latency| latency.arrival.p99),
        ms(|latency| latency.arrival.p999),
        format!("{:.1} ms", worst.fold(0.0, f64::max)),
        format!(
            "{:.1} / {:.1} ms",
            median(|latency| latency.acknowledged.p50),
            median(|latency| latency.acknowledged.p99)
        ),
        ms(|latency| latency.sent.p99),
        format!("{:.0} ms", median(|latency| latency.cpu_ms)),
        format!("{:.0} MB", median(|latency| latency.peak_mb)),
    ])
}

/// The slowest pages by their median, and the median of all.
pub(crate) fn pages(pages: &[PageTime]) -> String {
    let mut slowest: Vec<&PageTime> = pages.iter().collect();
    slowest.sort_by(|one, other| other.median_ms.total_cmp(&one.median_ms));
    let mut table = head(&["page", "median", "worst"]);
    for page in slowest.into_iter().take(SLOWEST) {
        table += &row(&[
            page.name.clone(),
            format!("{:.1} ms", page.median_ms),
            format!("{:.1} ms", page.worst_ms),
        ]);
    }
    let all = median(pages.iter().map(|page| page.median_ms));
    let worst = pages.iter().map(|page| page.worst_ms).fold(0.0, f64::max);
    table += &row(&[
        "all pages: the median of their medians, the worst of all".to_owned(),
        format!("{all:.1} ms"),
        format!("{worst:.1} ms"),
    ]);
    table
}

fn range(spread: Spread) -> String {
    let number = |figure: f64| grouped(format!("{figure:.0}"));
    let Spread { median, min, max } = spread;
    format!("**{}** ({}–{})", number(median), number(min), number(max))
}

fn head(names: &[&str]) -> String {
    let line = "---|".repeat(names.len());
    format!("| {} |\n|{line}", names.join(" | "))
}

fn row(cells: &[String]) -> String {
    format!("\n| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_pages_are_named_first() {
        let page = |name: &str, median_ms| PageTime {
            name: name.to_owned(),
            of_the_log: true,
            median_ms,
            worst_ms: median_ms * 2.0,
        };
        let table = pages(&[page("quick", 0.5), page("slow", 7.0), page("fair", 1.0)]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| page | median | worst |");
        assert_eq!(lines[2], "| slow | 7.0 ms | 14.0 ms |");
        assert_eq!(lines[4], "| quick | 0.5 ms | 1.0 ms |");
        assert!(lines[5].ends_with("| 1.0 ms | 14.0 ms |"));
    }
}
