//! Hides how the counts of before are kept, and how many more are too many.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use anyhow::{Context, Result, bail};

/// A path's name, `floor/path`, and what one run of it costs.
pub(crate) type Counts = BTreeMap<String, Cost>;

/// What one run of a path costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) instructions: u64,
    /// How often memory was asked for: a new block, or another size for one.
    pub(crate) allocations: u64,
}

/// Counts, and what they were counted with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline {
    pub(crate) counted_with: String,
    pub(crate) counts: Counts,
}

const HEAD: &str = "\
# The instructions that one run of each hot path takes, and how often it allocates memory. `cargo xtask test`
# counts again: over 110 % of the instructions or 125 % of the allocations fails, under 90 % or 75 % asks for a new
# baseline, so that it cannot creep back.
# `cargo xtask instructions --write` writes this file; a commit that raises a line says why.
";
/// How many percent more or less are still the same. What the store allocates differs by a tenth with how its
/// threads meet, since some paths can be run a few times only.
const INSTRUCTIONS_LIMIT: u128 = 10;
const ALLOCATIONS_LIMIT: u128 = 25;
const COUNTED_WITH: &str = "counted_with";
const INSTRUCTIONS: &str = "instructions";
const ALLOCATIONS: &str = "allocations";

impl Baseline {
    /// Reads what [`Baseline::text`] wrote. An empty text is a baseline without counts.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut baseline = Self::default();
        for (key, value) in text.parse::<toml::Table>()? {
            match value {
                toml::Value::String(tools) if key == COUNTED_WITH => baseline.counted_with = tools,
                toml::Value::Table(paths) => {
                    for (path, counts) in paths {
                        let name = format!("{key}/{path}");
                        let cost = Cost::read(&counts)
                            .with_context(|| format!("{name} is not two counts"))?;
                        baseline.counts.insert(name, cost);
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
        for (name, cost) in &self.counts {
            let (floor, path) = name.split_once('/').unwrap_or(("", name));
            if floor != above {
                above = floor;
                let _ = write!(text, "\n[{floor}]\n");
            }
            let _ = writeln!(
                text,
                "{path} = {{ {INSTRUCTIONS} = {}, {ALLOCATIONS} = {} }}",
                grouped(cost.instructions),
                grouped(cost.allocations)
            );
        }
        text
    }
}

impl Cost {
    fn read(value: &toml::Value) -> Option<Self> {
        let table = value.as_table()?;
        let count = |name: &str| u64::try_from(table.get(name)?.as_integer()?).ok();
        let cost = Self {
            instructions: count(INSTRUCTIONS)?,
            allocations: count(ALLOCATIONS)?,
        };
        (table.len() == 2).then_some(cost)
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

/// How what a path costs compares with what it cost before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// About the same.
    Same { before: Cost, now: Cost },
    /// One count is over its limit.
    More { before: Cost, now: Cost },
    /// One count is as far below, and none over its limit.
    Less { before: Cost, now: Cost },
    /// A path without a baseline.
    New { now: Cost },
    /// A baseline without its path.
    Gone { before: Cost },
}

impl Verdict {
    fn of(before: Option<&Cost>, now: Option<&Cost>) -> Option<Self> {
        Some(match (before, now) {
            (Some(&before), Some(&now)) => {
                let counts = [
                    (before.instructions, now.instructions, INSTRUCTIONS_LIMIT),
                    (before.allocations, now.allocations, ALLOCATIONS_LIMIT),
                ];
                // Wide enough that no count overflows it.
                let wide = counts
                    .map(|(before, now, limit)| (u128::from(before), u128::from(now) * 100, limit));
                let is_more = |&(before, now, limit): &_| now > before * (100 + limit);
                let is_less = |&(before, now, limit): &_| now < before * (100 - limit);
                if wide.iter().any(is_more) {
                    Self::More { before, now }
                } else if wide.iter().any(is_less) {
                    Self::Less { before, now }
                } else {
                    Self::Same { before, now }
                }
            }
            (None, Some(&now)) => Self::New { now },
            (Some(&before), None) => Self::Gone { before },
            (None, None) => return None,
        })
    }

    /// Whether the check fails by it. That a path costs less is no failure.
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

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (instructions, allocations) = (grouped(self.instructions), grouped(self.allocations));
        write!(f, "{instructions} instructions, {allocations} allocations")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        let change = |before: Cost, now: Cost| {
            let percent =
                u128::from(now.instructions) * 1000 / u128::from(before.instructions.max(1));
            format!(
                "{now}; before {before}: {}.{} % of the instructions",
                percent / 10,
                percent % 10
            )
        };
        match self.verdict {
            Verdict::Same { before, now } => write!(f, "{name}: {}", change(before, now)),
            Verdict::More { before, now } => write!(
                f,
                "FAILED: {name}: {}, and 110 % is the limit, of the allocations 125 %. Make it cheaper; where it is worth \
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
                "FAILED: {name}: {now}, and no baseline to hold that against: `cargo xtask \
                 instructions --write`"
            ),
            Verdict::Gone { before } => write!(
                f,
                "FAILED: {name}: there is no such path, but a baseline of {before}: bring it \
                 back, or `cargo xtask instructions --write`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost((instructions, allocations): (u64, u64)) -> Cost {
        Cost {
            instructions,
            allocations,
        }
    }

    fn counts<const N: usize>(counts: [(&str, u64, u64); N]) -> Counts {
        counts
            .map(|(name, instructions, allocations)| {
                (name.to_owned(), cost((instructions, allocations)))
            })
            .into()
    }

    #[test]
    fn a_tenth_more_is_too_much_and_a_tenth_less_is_told() {
        let huge = u64::MAX;
        for (before, now, expected) in [
            (Some((1000, 0)), Some((1000, 0)), "same"),
            (Some((1000, 0)), Some((1100, 0)), "same"),
            (Some((1000, 0)), Some((1101, 0)), "more"),
            (Some((1000, 0)), Some((900, 0)), "same"),
            (Some((1000, 0)), Some((899, 0)), "less"),
            (Some((0, 0)), Some((0, 0)), "same"),
            (Some((0, 0)), Some((1, 0)), "more"),
            (Some((1, 0)), Some((0, 0)), "less"),
            (Some((7, 100)), Some((7, 125)), "same"),
            (Some((7, 100)), Some((7, 126)), "more"),
            (Some((7, 100)), Some((7, 75)), "same"),
            (Some((7, 100)), Some((7, 74)), "less"),
            (Some((7, 0)), Some((7, 1)), "more"),
            (Some((1000, 100)), Some((1, 126)), "more"),
            (Some((1000, 100)), Some((1101, 1)), "more"),
            (Some((huge / 2, 0)), Some((huge, 0)), "more"),
            (Some((huge, huge)), Some((huge, huge)), "same"),
            (None, Some((7, 7)), "new"),
            (Some((7, 7)), None, "gone"),
        ] {
            let (before, now) = (before.map(cost), now.map(cost));
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
            ("a/gone", 5, 1),
            ("a/less", 2000, 3),
            ("a/more", 1000, 3),
            ("b/same", 10, 0),
        ]);
        let now = counts([
            ("a/less", 1, 3),
            ("a/more", 1_234_567, 4),
            ("b/new", 7, 2),
            ("b/same", 11, 0),
        ]);
        let said: Vec<String> = compare(&before, &now)
            .iter()
            .map(|finding| finding.to_string())
            .collect();
        let starts = [
            "FAILED: a/gone: there is no such path, but a baseline of 5 instructions, 1 allocations",
            "CHEAPER: a/less: 1 instructions, 3 allocations; before 2_000 instructions, 3 \
             allocations: 0.0 %",
            "FAILED: a/more: 1_234_567 instructions, 4 allocations; before 1_000 instructions, 3 \
             allocations: 123456.7 % of the instructions, and 110 %",
            "FAILED: b/new: 7 instructions, 2 allocations, and no baseline",
            "b/same: 11 instructions, 0 allocations; before 10 instructions, 0 allocations: 110.0 %",
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
                ("model/parse", 12_345, 6),
                ("model/a-b", 999, 0),
                ("store/accept", 1_000, 1_000),
            ]),
        };
        let text = baseline.text();
        assert!(
            text.ends_with(
                "\n\n[model]\n\
                 a-b = { instructions = 999, allocations = 0 }\n\
                 parse = { instructions = 12_345, allocations = 6 }\n\n\
                 [store]\n\
                 accept = { instructions = 1_000, allocations = 1_000 }\n"
            ),
            "{text}"
        );
        assert_eq!(Baseline::parse(&text).unwrap(), baseline);
        assert_eq!(Baseline::parse("").unwrap(), Baseline::default());
    }

    #[test]
    fn a_baseline_that_says_something_else_is_refused() {
        let good = "[model]\nparse = { instructions = 1, allocations = 2 }";
        assert!(Baseline::parse(good).is_ok());
        for text in [
            "[model]\nparse = 1",
            "[model]\nparse = { instructions = 1 }",
            "[model]\nparse = { instructions = -1, allocations = 2 }",
            "[model]\nparse = { instructions = 1, allocations = 'many' }",
            "[model]\nparse = { instructions = 1.5, allocations = 2 }",
            "[model]\nparse = { instructions = 1, allocations = 2, more = 3 }",
            "[model]\nparse = { instructions = 1, allocations = 2 }\nparse = 2",
            "parse = 1",
            "counted_with = 1",
            "[model",
        ] {
            assert!(Baseline::parse(text).is_err(), "{text}");
        }
    }
}
