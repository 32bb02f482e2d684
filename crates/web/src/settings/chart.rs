//! Hides how figures by the hour are drawn: inline SVG out of numbers alone, with the same in words.

use std::fmt::Write;

use model::tally::{Tally, begin_of};
use store::EndpointHour;

use super::words::{count, counted, millis, percent};

/// A drawing: markup that holds numbers and our own words only, so that it may stand in a page as it is.
pub(super) struct Svg(String);

impl std::fmt::Display for Svg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Svg {}

/// The hours from `first` on, up to `last`, those without an attempt included.
pub(super) fn by_hour(hours: &[EndpointHour], first: i64, last: i64) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); usize::try_from(last - first + 1).unwrap_or(0)];
    for EndpointHour { hour, tally } in hours {
        let place = usize::try_from(hour - first).ok();
        if let Some(place) = place.and_then(|place| tallies.get_mut(place)) {
            place.add(tally);
        }
    }
    tallies
}

/// All of them together.
pub(super) fn sum(tallies: &[Tally]) -> Tally {
    let mut all = Tally::default();
    tallies.iter().for_each(|tally| all.add(tally));
    all
}

/// What a time came to, in words.
pub(super) fn in_words(what: &str, tally: &Tally) -> String {
    match tally.success_percent() {
        None => format!("{what}: no attempts"),
        Some(rate) => format!(
            "{what}: {} delivered, {} failed, {} of attempts succeeded",
            count(tally.delivered.into()),
            count(tally.failed.into()),
            percent(rate)
        ),
    }
}

fn height(count: u32, most: u64, room: f64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    // Whatever there is can be seen.
    (f64::from(count) / most.max(1) as f64 * room).max(1.5)
}

fn most(tallies: &[Tally]) -> u64 {
    tallies.iter().map(Tally::attempts).max().unwrap_or(0)
}

/// A bar an hour, without axes.
pub(super) fn sparkline(tallies: &[Tally]) -> Svg {
    const HEIGHT: f64 = 32.0;
    const STEP: usize = 5;
    let width = tallies.len() * STEP;
    let label = in_words("Last 24 hours", &sum(tallies));
    let mut svg = format!(
        r#"<svg class="spark" viewBox="0 0 {width} 34" width="{width}" height="34" role="img" aria-label="{label}">"#
    );
    let most = most(tallies);
    for (place, tally) in tallies.iter().enumerate() {
        bar(
            &mut svg,
            (place * STEP) as f64,
            4.0,
            HEIGHT,
            HEIGHT,
            most,
            tally,
        );
    }
    let _ = write!(svg, r#"<path class="axis" d="M0 33.5H{width}"/></svg>"#);
    Svg(svg)
}

/// Failed on top of delivered.
fn bar(svg: &mut String, x: f64, width: f64, floor: f64, room: f64, most: u64, tally: &Tally) {
    let good = height(tally.delivered, most, room);
    let bad = height(tally.failed, most, room).min(room);
    let good = good.min(room - bad);
    for (class, from, height) in [
        ("good", floor - good, good),
        ("bad", floor - good - bad, bad),
    ] {
        if height > 0.0 {
            let _ = write!(
                svg,
                r#"<rect class="{class}" x="{x}" y="{from:.1}" width="{width}" height="{height:.1}"/>"#
            );
        }
    }
}

/// A chart of some time: its bars, and a table of the same.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) svg: Svg,
    pub(super) summary: String,
    pub(super) rows: Vec<ChartRow>,
}

pub(super) struct ChartRow {
    pub(super) from: String,
    pub(super) delivered: String,
    pub(super) failed: String,
}

/// Bars of `step` hours each; the first begins at the hour `first`.
pub(super) fn chart(title: &'static str, tallies: &[Tally], first: i64, step: usize) -> Chart {
    let bars: Vec<Tally> = tallies.chunks(step.max(1)).map(sum).collect();
    let begin = |place: usize| begin_of(first + (place * step) as i64).to_string();
    let summary = in_words(title, &sum(&bars));
    let rows = bars
        .iter()
        .enumerate()
        .filter(|(_, bar)| bar.attempts() > 0);
    let rows = rows.map(|(place, bar)| ChartRow {
        from: begin(place).get(..16).unwrap_or_default().replace('T', " "),
        delivered: count(bar.delivered.into()),
        failed: count(bar.failed.into()),
    });
    Chart {
        title,
        svg: drawn(&bars, step, &summary, begin),
        rows: rows.collect(),
        summary,
    }
}

fn drawn(bars: &[Tally], step: usize, summary: &str, begin: impl Fn(usize) -> String) -> Svg {
    const LEFT: f64 = 34.0;
    const WIDTH: f64 = 480.0;
    const FLOOR: f64 = 120.0;
    const ROOM: f64 = 104.0;
    let most = most(bars);
    let slot = (WIDTH - LEFT) / bars.len().max(1) as f64;
    let mut svg = format!(
        r#"<svg class="chart" viewBox="0 0 {WIDTH} 140" role="img" aria-label="{summary}">"#
    );
    for (share, value) in [(1.0, most), (0.5, most / 2), (0.0, 0)] {
        let y = FLOOR - ROOM * share;
        if share == 0.5 && most < 2 {
            continue;
        }
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {y}H{WIDTH}"/><text x="{}" y="{}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            y + 4.0,
            short(value)
        );
    }
    for (place, tally) in bars.iter().enumerate() {
        let x = LEFT + slot * place as f64;
        let _ = write!(svg, "<g><title>{}</title>", told(&begin(place), tally));
        // All of the slot can be pointed at.
        let _ = write!(
            svg,
            r#"<rect class="slot" x="{x:.1}" y="{}" width="{slot:.1}" height="{ROOM}"/>"#,
            FLOOR - ROOM
        );
        let (from, wide) = (tenths(x + slot * 0.15), tenths(slot * 0.7));
        bar(&mut svg, from, wide, FLOOR, ROOM, most, tally);
        svg.push_str("</g>");
    }
    let every = bars.len().div_ceil(if step == 1 { 6 } else { 7 }).max(1);
    for place in (0..bars.len()).step_by(every) {
        let begins = begin(place);
        let label = if step == 1 {
            begins.get(11..16)
        } else {
            begins.get(5..10)
        };
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="136" text-anchor="middle">{}</text>"#,
            LEFT + slot * (place as f64 + 0.5),
            label.unwrap_or_default()
        );
    }
    svg.push_str("</svg>");
    Svg(svg)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn told(begin: &str, tally: &Tally) -> String {
    let from = begin.get(..16).unwrap_or_default().replace('T', " ");
    format!(
        "From {from} UTC: {}, {} failed",
        counted(tally.delivered.into(), "delivered", "delivered"),
        count(tally.failed.into())
    )
}

fn short(value: u64) -> String {
    match value {
        0..10_000 => value.to_string(),
        10_000..1_000_000 => format!("{}k", value / 1000),
        _ => format!("{}M", value / 1_000_000),
    }
}

/// A percentile of the latency, in words.
pub(super) fn percentile(tally: &Tally, percent: u32) -> String {
    tally
        .latency
        .percentile(percent)
        .map_or_else(|| "–".to_owned(), millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(delivered: u32, failed: u32) -> Tally {
        Tally {
            delivered,
            failed,
            ..Tally::default()
        }
    }

    #[test]
    fn hours_without_attempts_are_there_too() {
        let hours = [(10, 1), (12, 2), (99, 9)].map(|(hour, delivered)| EndpointHour {
            hour,
            tally: tally(delivered, 0),
        });
        let found = by_hour(&hours, 10, 13);
        let delivered: Vec<u32> = found.iter().map(|tally| tally.delivered).collect();
        assert_eq!(delivered, [1, 0, 2, 0]);
    }

    #[test]
    fn a_drawing_has_a_bar_for_what_there_is_and_says_the_same_in_words() {
        let tallies = [tally(0, 0), tally(9_999, 1), tally(3, 0)];
        let chart = chart("Last 3 hours", &tallies, 0, 1);
        let svg = chart.svg.to_string();
        assert_eq!(svg.matches(r#"class="good""#).count(), 2, "{svg}");
        assert_eq!(
            svg.matches(r#"class="bad""#).count(),
            1,
            "one of 10,000 can be seen: {svg}"
        );
        let said = "Last 3 hours: 10,002 delivered, 1 failed, 99.9% of attempts succeeded";
        assert!(
            svg.contains(said) && chart.summary == said,
            "{}",
            chart.summary
        );
        assert_eq!(chart.rows.len(), 2);
        assert_eq!(chart.rows[0].from, "1970-01-01 01:00");
        assert!(sparkline(&[]).to_string().contains("no attempts"));
    }
}
