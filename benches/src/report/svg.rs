//! Hides SVG: text, boxes and lines in colours that can be read on light and on dark ground.

use std::fmt::Write as _;

/// Text and axes: a grey that stands out from white and from black alike.
pub(crate) const INK: &str = "#7a828c";
/// Series, by turns.
pub(crate) const COLOURS: [&str; 4] = ["#3f87e0", "#2ba67a", "#e09a2b", "#d2587a"];
/// What is there to compare with.
pub(crate) const GREY: &str = "#a3a9b1";
/// The font's size; a line takes about one and a half of it.
pub(crate) const SIZE: f64 = 13.0;

/// Where a text stands, seen from its position.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing.
pub(crate) struct Svg {
    width: f64,
    height: f64,
    elements: String,
}

impl Svg {
    /// An empty one, with a title for those who do not see it.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Self {
        Self {
            width,
            height,
            elements: format!("<title>{}</title>\n", escaped(title)),
        }
    }

    /// Text whose middle is at this height.
    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let baseline = y + SIZE * 0.35;
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{baseline:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        ));
    }

    /// A filled box.
    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: &str) {
        self.add(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        ));
    }

    /// A filled circle.
    pub(crate) fn dot(&mut self, x: f64, y: f64, radius: f64, colour: &str) {
        self.add(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\"/>"
        ));
    }

    /// A line through all points.
    pub(crate) fn line(&mut self, points: &[(f64, f64)], width: f64, colour: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.add(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            points.join(" ")
        ));
    }

    /// A thin line that stays in the background.
    pub(crate) fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.add(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{INK}\" stroke-opacity=\"0.3\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn add(&mut self, element: &str) {
        self.elements.push_str(element);
        self.elements.push('\n');
    }

    /// The file.
    pub(crate) fn finish(self) -> String {
        let (width, height) = (self.width, self.height);
        let mut file = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" font-family=\"system-ui, sans-serif\" \
             font-size=\"{SIZE}\" fill=\"{INK}\">\n{}</svg>\n",
            self.elements
        );
        file
    }
}

/// Text as it may stand in an element or an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Maps figures to places.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Scale {
    /// From 0 up to `max` at the end.
    pub(crate) fn linear(max: f64, start: f64, end: f64) -> Self {
        Self {
            from: 0.0,
            to: if max > 0.0 { max } else { 1.0 },
            start,
            end,
            log: false,
        }
    }

    /// From `min` up to `max`, each tenfold the same way.
    pub(crate) fn logarithmic(min: f64, max: f64, start: f64, end: f64) -> Self {
        Self {
            from: min.log10(),
            to: max.log10(),
            start,
            end,
            log: true,
        }
    }

    /// The place of a figure; of one beyond an end, that end.
    pub(crate) fn at(&self, figure: f64) -> f64 {
        let figure = if self.log { figure.log10() } else { figure };
        let share = ((figure - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.start + share * (self.end - self.start)
    }
}

/// Round numbers from 0 to at least `max`, about five of them.
pub(crate) fn ticks(max: f64) -> Vec<f64> {
    let rough = if max > 0.0 { max / 5.0 } else { 0.2 };
    let ten = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * ten);
    // Larger than all but the last is impossible, but for what is lost in rounding.
    let step = steps
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let count = (max / step).ceil().max(1.0) as u32;
    (0..=count).map(|number| f64::from(number) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out() {
        let mut svg = Svg::new(10.0, 10.0, "a & b");
        svg.text(0.0, 0.0, Anchor::Start, "<script>\"");
        let file = svg.finish();
        assert!(file.contains("<title>a &amp; b</title>"));
        assert!(file.contains("&lt;script&gt;&quot;") && !file.contains("<script>"));
    }

    #[test]
    fn scales_map_ends_to_ends_and_stay_between() {
        let linear = Scale::linear(50.0, 100.0, 200.0);
        let places = [0.0, 25.0, 50.0, 80.0].map(|figure| linear.at(figure));
        assert_eq!(places, [100.0, 150.0, 200.0, 200.0]);
        let log = Scale::logarithmic(0.1, 1000.0, 0.0, 4.0);
        let places = [0.0, 0.1, 1.0, 1000.0, 1e6].map(|figure| log.at(figure).round());
        assert_eq!(places, [0.0, 0.0, 1.0, 4.0, 4.0]);
        assert_eq!(Scale::linear(0.0, 0.0, 1.0).at(0.0), 0.0);
    }

    #[test]
    fn ticks_are_round_and_reach_the_largest() {
        for (max, last, count) in [
            (58_755.0, 60_000.0, 4),
            (1.0, 1.0, 6),
            (0.0, 0.2, 2),
            (93.0, 100.0, 6),
        ] {
            let ticks = ticks(max);
            assert_eq!(
                (ticks.last().copied(), ticks.len()),
                (Some(last), count),
                "{max}"
            );
        }
    }
}
