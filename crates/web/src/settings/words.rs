//! Hides how moments, spans, counts, states and names are put into words, and how a long name is cut.

use std::time::Duration;

use egress::UrlForms;
use model::attempt::Reason;
use model::delivery::{Delivery, Status};
use model::endpoint::{Endpoint, EndpointStatus};
use model::time::Timestamp;

use super::harmless::{escaped_len, harmless};

/// A moment, for a person: exactly, and how long ago or ahead it is.
#[derive(Clone)]
pub(super) struct When {
    /// For programs: the script keeps the words true by it.
    pub(super) iso: String,
    /// To the second, in UTC.
    pub(super) exact: String,
    /// `3 min ago`, `in 4 s`.
    pub(super) words: String,
    /// To the second, with the day where it is not today.
    pub(super) short: String,
    /// To the second, within a day.
    pub(super) clock: String,
}

impl When {
    pub(super) fn of(moment: Timestamp, now: Timestamp) -> Self {
        let iso = moment.to_string();
        let (day, clock) = iso.split_once('T').unwrap_or((&iso, ""));
        let clock = clock.split('.').next().unwrap_or_default().to_owned();
        let words = if moment > now {
            format!("in {}", span(moment.since(now)))
        } else {
            match now.since(moment).as_secs() {
                0 => "just now".to_owned(),
                _ => format!("{} ago", span(now.since(moment))),
            }
        };
        let today = now.to_string();
        let short = match day.get(5..) {
            Some(day) if !today.starts_with(&iso[..10]) => format!("{day} {clock}"),
            _ => clock.clone(),
        };
        Self {
            short,
            exact: format!("{day} {clock} UTC"),
            words,
            clock,
            iso,
        }
    }
}

/// A span in its largest unit, rounded down: `59 s`, `2 min`, `3 h`, `5 d`.
pub(super) fn span(span: Duration) -> String {
    match span.as_secs() {
        0 => "1 s".to_owned(),
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Milliseconds as people say them: `87 ms`, `1.2 s`.
pub(super) fn millis(millis: u32) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => format!("{} s", millis / 1000),
    }
}

/// A count with its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and its noun.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    let noun = if number == 1 { one } else { many };
    format!("{} {noun}", count(number))
}

/// A percentage without a needless `.0`.
pub(super) fn percent(value: f64) -> String {
    let text = format!("{value:.1}");
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// A stable word as people write it: `dead_letter` is `dead letter`.
pub(super) fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

/// Why something failed, in a few words.
pub(super) fn reason(reason: Reason) -> String {
    match reason {
        Reason::HttpStatus => "an error status".to_owned(),
        reason => spaced(reason.as_str()),
    }
}

/// A sentence in which what stands between backticks is code.
pub(super) struct Prose(Vec<(bool, String)>);

impl Prose {
    pub(super) fn of(text: &str) -> Self {
        let pieces = text.split('`').map(str::to_owned);
        Self([false, true].into_iter().cycle().zip(pieces).collect())
    }

    /// All of it, without the backticks.
    pub(super) fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// The pieces, and whether each is code.
    pub(super) fn pieces(&self) -> &[(bool, String)] {
        &self.0
    }
}

/// The state of an endpoint or a delivery, as a badge: a word and a class of its own.
pub(super) struct Badge {
    pub(super) class: &'static str,
    pub(super) word: String,
}

impl Badge {
    pub(super) fn of_endpoint(endpoint: &Endpoint) -> Self {
        let status = endpoint.status();
        Self {
            class: match status {
                EndpointStatus::Healthy => "good",
                EndpointStatus::Unhealthy => "bad",
                EndpointStatus::Disabled => "off",
                EndpointStatus::Paused => "wait",
            },
            word: status.as_str().to_owned(),
        }
    }

    pub(super) fn of_delivery(delivery: &Delivery) -> Self {
        let status = delivery.status();
        Self {
            class: match status {
                Status::Delivered => "good",
                Status::DeadLetter => "bad",
                Status::Pending | Status::Retrying => "wait",
                Status::Held | Status::Canceled => "off",
            },
            word: spaced(status.as_str()),
        }
    }
}

/// An endpoint's health with the reason for it.
pub(super) fn health(endpoint: &Endpoint, now: Timestamp) -> String {
    let failures = endpoint.health.consecutive_failures;
    let held = match endpoint.status() {
        EndpointStatus::Disabled => {
            Some("Disabled: no new deliveries are made, unfinished ones wait")
        }
        EndpointStatus::Paused => Some("Paused: deliveries wait until you resume it"),
        EndpointStatus::Healthy | EndpointStatus::Unhealthy => None,
    };
    let failing = match (endpoint.health.failing_since, endpoint.health.last_reason) {
        (Some(since), Some(reason)) if failures > 0 => {
            let when = When::of(since, now);
            let today = when.iso.get(..10) == now.to_string().get(..10);
            let since = if today {
                when.clock.get(..5).unwrap_or_default().to_owned()
            } else {
                when.exact.get(..16).unwrap_or_default().to_owned()
            };
            let row = if failures == 1 {
                "1 failure".to_owned()
            } else {
                format!("{} failures in a row", count(u64::from(failures)))
            };
            Some(format!("{row} since {since} UTC: {}", self::reason(reason)))
        }
        _ => None,
    };
    match (held, failing) {
        (Some(held), Some(failing)) => format!("{held}. Before: {failing}"),
        (Some(held), None) => held.to_owned(),
        (None, Some(failing)) => failing,
        (None, None) if endpoint.last_delivery_at.is_some() => {
            "The latest attempt succeeded".into()
        }
        (None, None) => "Nothing was sent yet".into(),
    }
}

/// What an endpoint is called: its description, else its URL.
pub(super) fn name_of(endpoint: &Endpoint) -> String {
    shown(endpoint.description.as_deref().unwrap_or(&endpoint.url))
}

/// A URL, at most so many bytes of the page, and behind it the other form of its host where that is a
/// name beyond ASCII: names that look alike differ in one of the two.
pub(super) fn url_in_both_forms(url: &str, most: usize) -> String {
    match UrlForms::of(url) {
        Some(forms) => format!("{} ({})", in_short(url, most), shown(&forms.other_host)),
        None => in_short(url, most),
    }
}

/// What stands below an endpoint's name: its URL, where that is not all of the name.
pub(super) fn url_below_name(endpoint: &Endpoint, most: usize) -> Option<String> {
    let named_by_url = endpoint.description.is_none() && UrlForms::of(&endpoint.url).is_none();
    (!named_by_url).then(|| url_in_both_forms(&endpoint.url, most))
}

/// A text of a team's as its pages show it: on one line, and with nothing in it that hides or moves the rest.
pub(super) fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    harmless(line.as_bytes(), line.len()).0
}

/// The most of a name in a list, and in a field to choose from, as it stands in the page.
pub(super) const IN_A_LIST: usize = 250;
pub(super) const IN_A_CHOICE: usize = 120;

/// The same where there is little room: at most so many bytes of the page.
pub(super) fn in_short(text: &str, most: usize) -> String {
    let shown = shown(text);
    if escaped_len(&shown) <= most {
        return shown;
    }
    let mut left = most;
    let fits = |character: &char| {
        let taken = escaped_len(character.encode_utf8(&mut [0; 4]));
        let fits = taken <= left;
        left = left.saturating_sub(taken);
        fits
    };
    let cut: String = shown.chars().take_while(fits).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_counts_are_said_as_people_do() {
        for (seconds, words) in [
            (0, "just now"),
            (1, "1 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7199, "1 h ago"),
            (200_000, "2 d ago"),
            (-4, "in 4 s"),
            (-90, "in 1 min"),
        ] {
            let now = Timestamp::from_millis(1_775_044_800_000);
            let moment = Timestamp::from_millis(now.as_millis() - seconds * 1000);
            assert_eq!(When::of(moment, now).words, words);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        for (value, text) in [(100.0, "100%"), (99.9, "99.9%"), (0.0, "0%")] {
            assert_eq!(percent(value), text);
        }
        let prose = Prose::of("use `a`, not `b`");
        assert_eq!(prose.plain(), "use a, not b");
        let code = prose.pieces().iter().filter(|(code, _)| *code);
        assert_eq!(
            code.map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        for (text, most, cut) in [
            ("a  long\tname", 20, "a long name"),
            ("a long name", 11, "a long name"),
            ("a long name", 6, "a long…"),
            ("\u{200b}", 20, "⟨U+200B⟩"),
            ("a&&&", 16, "a&&&"),
            ("a&&&", 12, "a&&…"),
            ("é", 1, "…"),
        ] {
            assert_eq!(in_short(text, most), cut, "{text:?}");
        }
        for (url, most, both) in [
            (
                "https://a.example.com/hook",
                250,
                "https://a.example.com/hook",
            ),
            (
                "https://münchen.de/hook",
                250,
                "https://münchen.de/hook (xn--mnchen-3ya.de)",
            ),
            (
                "https://xn--mnchen-3ya.de/hook",
                14,
                "https://xn--mn… (münchen.de)",
            ),
        ] {
            assert_eq!(url_in_both_forms(url, most), both, "{url:?}");
        }
        for (time, text) in [(7, "7 ms"), (1250, "1.2 s"), (10_000, "10 s")] {
            assert_eq!(millis(time), text);
        }
    }
}
