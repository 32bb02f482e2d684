//! Hides how the instruction counts of before are kept, and how many more are too many.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use anyhow::{Context, Result, bail};

/// A path's name, `floor/path`, and the instructions of one run.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Counts, and what they were counted with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline {
    pub(crate) counted_with: String,
    pub(crate) counts: Counts,
}

const HEAD: &str = "\
# The instructions that one run of each hot path takes. `cargo xtask test` counts them again: over
# 110 % of what is here fails, under 90 % asks for a new baseline, so that it cannot creep back.
# `cargo xtask instructions --write` writes this file; a commit that raises a line says why.
";
const COUNTED_WITH: &str = "counted_with";

impl Baseline {
    /// Reads what [`Baseline::text`] wrote. An empty text is a baseline without counts.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut baseline = Self::default();
        for (key, value) in text.parse::<toml::Table>()? {
            match value {
                toml::Value::String(tools) if key == COUNTED_WITH => baseline.counted_with = tools,
                toml::Value::Table(paths) => {
                    for (path, count) in paths {
                        let name = format!("{key}/{path}");
                        let count = count
                            .as_integer()
                            .and_then(|count| u64::try_from(count).ok());
                        let count = count.with_context(|| format!("{name} is not a count"))?;
                        baseline.counts.insert(name, count);
                    }
                }
                _ => bail!("{key:?} is not known here"),
            }
        }
        Ok(baseline)
    }

    /// The file's text: a table for each floor, a line for each path.
    pub(crate) fn text(&self) -> String {
        let tools = toml::Value::from(self.counted_with.as_str());
        let mut text = format!("{HEAD}{COUNTED_WITH} = {tools}\n");
        let mut above = "";
        for (name, count) in &self.counts {
            let (floor, path) = name.split_once('/').unwrap_or(("", name));
            if floor != above {
                above = floor;
                let _ = write!(text, "\n[{floor}]\n");
            }
            let _ = writeln!(text, "{path} = {}", grouped(*count));
        }
        text
    }
}

/// A number that people can read and TOML too: `1_234_567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// What is to be said about a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

/// How a path's count compares with the one of before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// About the same.
    Same { before: u64, now: u64 },
    /// Over 110 %.
    More { before: u64, now: u64 },
    /// Under 90 %.
    Less { before: u64, now: u64 },
    /// A path without a baseline.
    New { now: u64 },
    /// A baseline without its path.
    Gone { before: u64 },
}

impl Verdict {
    fn of(before: Option<&u64>, now: Option<&u64>) -> Option<Self> {
        Some(match (before, now) {
            (Some(&before), Some(&now)) => {
                // Wide enough that no count overflows it.
                let percent = |share: u128| u128::from(before) * share;
                match u128::from(now) * 100 {
                    hundredfold if hundredfold > percent(110) => Self::More { before, now },
                    hundredfold if hundredfold < percent(90) => Self::Less { before, now },
                    _ => Self::Same { before, now },
                }
            }
            (None, Some(&now)) => Self::New { now },
            (Some(&before), None) => Self::Gone { before },
            (None, None) => return None,
        })
    }

    /// Whether the check fails by it. Fewer instructions are no failure.
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::Same { .. } | Self::Less { .. })
    }
}

/// Holds the counts of now against those of before: a finding for each path of either.
pub(crate) fn compare(before: &Counts, now: &Counts) -> Vec<Finding> {
    let only_before = before.keys().filter(|name| !now.contains_key(*name));
    let mut names: Vec<&String> = now.keys().chain(only_before).collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| {
            let verdict = Verdict::of(before.get(name), now.get(name))?;
            Some(Finding {
                name: name.clone(),
                verdict,
            })
        })
        .collect()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        let change = |before: u64, now: u64| {
            let percent = u128::from(now) * 1000 / u128::from(before.max(1));
            format!(
                "{} instructions, {} before: {}.{} %",
                grouped(now),
                grouped(before),
                percent / 10,
                percent % 10
            )
        };
        match self.verdict {
            Verdict::Same { before, now } => write!(f, "{name}: {}", change(before, now)),
            Verdict::More { before, now } => write!(
                f,
                "FAILED: {name}: {}, and 110 % is the limit. Make it cheaper; where it is worth \
                 what it costs, `cargo xtask instructions --write` and say in the commit why",
                change(before, now)
            ),
            Verdict::Less { before, now } => write!(
                f,
                "CHEAPER: {name}: {}. `cargo xtask instructions --write`, so that it stays so",
                change(before, now)
            ),
            Verdict::New { now } => write!(
                f,
                "FAILED: {name}: {} instructions, and no baseline to hold them against: `cargo \
                 xtask instructions --write`",
                grouped(now)
            ),
            Verdict::Gone { before } => write!(
                f,
                "FAILED: {name}: there is no such path, but a baseline of {} instructions: bring \
                 it back, or `cargo xtask instructions --write`",
                grouped(before)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(counts: [(&str, u64); N]) -> Counts {
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    #[test]
    fn a_tenth_more_is_too_much_and_a_tenth_less_is_told() {
        let huge = u64::MAX;
        for (before, now, expected) in [
            (Some(1000), Some(1000), "same"),
            (Some(1000), Some(1100), "same"),
            (Some(1000), Some(1101), "more"),
            (Some(1000), Some(900), "same"),
            (Some(1000), Some(899), "less"),
            (Some(0), Some(0), "same"),
            (Some(0), Some(1), "more"),
            (Some(1), Some(0), "less"),
            (Some(huge / 2), Some(huge), "more"),
            (Some(huge), Some(huge), "same"),
            (None, Some(7), "new"),
            (Some(7), None, "gone"),
        ] {
            let verdict = Verdict::of(before.as_ref(), now.as_ref()).unwrap();
            let word = match verdict {
                Verdict::Same { .. } => "same",
                Verdict::More { .. } => "more",
                Verdict::Less { .. } => "less",
                Verdict::New { .. } => "new",
                Verdict::Gone { .. } => "gone",
            };
            assert_eq!(word, expected, "{before:?} {now:?}");
            assert_eq!(
                verdict.is_failure(),
                ["more", "new", "gone"].contains(&word),
                "{word}"
            );
        }
    }

    #[test]
    fn every_path_of_before_and_of_now_has_its_sentence() {
        let before = counts([
            ("a/gone", 5),
            ("a/less", 2000),
            ("a/more", 1000),
            ("b/same", 10),
        ]);
        let now = counts([
            ("a/less", 1),
            ("a/more", 1_234_567),
            ("b/new", 7),
            ("b/same", 11),
        ]);
        let said: Vec<String> = compare(&before, &now)
            .iter()
            .map(|finding| finding.to_string())
            .collect();
        let starts = [
            "FAILED: a/gone: there is no such path, but a baseline of 5 instructions",
            "CHEAPER: a/less: 1 instructions, 2_000 before: 0.0 %",
            "FAILED: a/more: 1_234_567 instructions, 1_000 before: 123456.7 %, and 110 %",
            "FAILED: b/new: 7 instructions, and no baseline",
            "b/same: 11 instructions, 10 before: 110.0 %",
        ];
        assert_eq!(said.len(), starts.len());
        for (said, start) in said.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let baseline = Baseline {
            counted_with: r#"rustc 1.95.0 ("it"), valgrind-3.19.0"#.into(),
            counts: counts([
                ("model/parse", 12_345),
                ("model/a-b", 999),
                ("store/accept", 1_000),
            ]),
        };
        let text = baseline.text();
        assert!(
            text.ends_with("\n\n[model]\na-b = 999\nparse = 12_345\n\n[store]\naccept = 1_000\n"),
            "{text}"
        );
        assert_eq!(Baseline::parse(&text).unwrap(), baseline);
        assert_eq!(Baseline::parse("").unwrap(), Baseline::default());
    }

    #[test]
    fn a_baseline_that_says_something_else_is_refused() {
        for text in [
            "[model]\nparse = -1",
            "[model]\nparse = 'many'",
            "[model]\nparse = 1.5",
            "[model]\nparse = 1\nparse = 2",
            "parse = 1",
            "counted_with = 1",
            "[model",
        ] {
            assert!(Baseline::parse(text).is_err(), "{text}");
        }
    }
}
