//! Hides what is known of one attempt: exactly what was sent, what came back, and where the time went.

use bytes::Bytes;
use egress::UrlForms;
use model::attempt::Attempt;
use model::delivery::Delivery;
use model::endpoint::Endpoint;

use super::advice::{Advice, Before, advice};
use super::harmless::{escaped_len, harmless};
use super::words::{self, Prose, When, millis};
use crate::App;

/// How much of a body is in the page; all of it is one click away.
const BODY_SHOWN: usize = 6 * 1024;
/// How much of a response's headers is in the page, in all.
const HEADERS_SHOWN: usize = 4 * 1024;
/// A delivery with what belongs to it.
pub(super) struct Found {
    pub(super) delivery: Delivery,
    pub(super) attempts: Vec<Attempt>,
    pub(super) body: Bytes,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) before: Before,
}

/// All that is known of one attempt.
pub(super) struct Detail {
    pub(super) number: u32,
    pub(super) class: &'static str,
    pub(super) heading: String,
    pub(super) detail: Option<Prose>,
    pub(super) started: When,
    pub(super) took: String,
    pub(super) address: Option<String>,
    pub(super) phases: Vec<Phase>,
    pub(super) request_headers: Vec<(String, String)>,
    pub(super) curl: Option<String>,
    /// Whether that command reads the body from a file.
    pub(super) body_from_file: bool,
    pub(super) response: Option<Answered>,
    pub(super) advice: Option<Advice>,
}

/// A part of the time that an attempt took.
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) took: String,
    /// Where it stands in a bar of 1000.
    pub(super) from: u64,
    pub(super) wide: u64,
    pub(super) class: &'static str,
}

/// What came back.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) name: &'static str,
    pub(super) headers: Vec<(String, String)>,
    pub(super) all_headers: bool,
    pub(super) body: String,
    pub(super) whole: bool,
    pub(super) size: String,
    pub(super) raw: String,
}

/// What was sent, but for an attempt's own headers.
pub(super) struct Sent {
    pub(super) url: String,
    /// The same for a person, with both forms of its host.
    pub(super) shown_url: String,
    /// What has to be said of the URL; empty where it is the one of the attempt.
    pub(super) about_url: &'static str,
    pub(super) body: String,
    pub(super) whole: bool,
    /// Whether what is shown of the body is the body, so that it can be copied.
    pub(super) exact: bool,
    pub(super) size: String,
    pub(super) raw: String,
    /// Why headers cannot be shown, where they cannot.
    pub(super) no_headers: &'static str,
}

pub(super) fn class_of(attempt: &Attempt) -> &'static str {
    if attempt.reason.is_none() {
        "good"
    } else {
        "bad"
    }
}

/// How an attempt ended, in a word or two.
pub(super) fn outcome(attempt: &Attempt) -> String {
    match (attempt.status_code, attempt.reason) {
        (Some(status), _) => {
            let name = http::StatusCode::from_u16(status).ok();
            let name = name
                .and_then(|code| code.canonical_reason())
                .unwrap_or_default();
            format!("{status} {name}").trim_end().to_owned()
        }
        (None, Some(reason)) => words::reason(reason),
        (None, None) => "delivered".to_owned(),
    }
}

/// Whether an attempt was sent to the URL and signed with the secrets that the endpoint has now.
fn is_as_now(endpoint: &Endpoint, attempt: &Attempt) -> bool {
    attempt.started_at >= endpoint.sent_as_since
}

/// What was sent in an attempt, or would be where there was none yet. `url_before` is the URL that the
/// audit log remembers from before the first change after the attempt.
pub(super) fn sent(
    found: &Found,
    attempt: Option<&Attempt>,
    url_before: Option<String>,
    path: &str,
) -> Sent {
    let (body, whole) = harmless(&found.body, BODY_SHOWN);
    let as_now = |endpoint: &&Endpoint| attempt.is_none_or(|one| is_as_now(endpoint, one));
    let (url, about_url) = match (&found.endpoint, url_before) {
        (Some(endpoint), _) if as_now(&endpoint) => (endpoint.url.clone(), ""),
        (_, Some(url)) if url.ends_with("?…") => (url, "(its query is not kept)"),
        (_, Some(url)) => (url, ""),
        (Some(endpoint), None) => (endpoint.url.clone(), "(the endpoint's URL now)"),
        (None, None) => (String::new(), ""),
    };
    let no_headers = match &found.endpoint {
        Some(_) => {
            "The endpoint's URL or secret was changed after this attempt, so its headers of then, \
             the signature among them, cannot be shown exactly."
        }
        None => "The endpoint was deleted, and its secret with it: the headers cannot be shown.",
    };
    Sent {
        shown_url: words::url_in_both_forms(&url, usize::MAX),
        url,
        about_url,
        exact: body.as_bytes() == found.body,
        body,
        whole,
        size: words::counted(found.body.len() as u64, "byte", "bytes"),
        raw: format!("{path}/request.txt"),
        no_headers,
    }
}

pub(super) fn detail(
    app: &App,
    found: &Found,
    attempt: &Attempt,
    path: &str,
    sent: &Sent,
) -> Detail {
    let now = app.engine.clock().now();
    let headers = request_headers(app, found, attempt);
    let curl = (!headers.is_empty()).then(|| curl(sent, &headers, found));
    Detail {
        number: attempt.number,
        class: class_of(attempt),
        heading: outcome(attempt),
        detail: attempt
            .detail
            .as_ref()
            .map(|text| Prose::of(&harmless(text.as_bytes(), 2000).0)),
        started: When::of(attempt.started_at, now),
        took: millis(attempt.duration_ms),
        address: attempt.remote_addr.map(|address| address.to_string()),
        phases: phases(attempt),
        body_from_file: curl.as_ref().is_some_and(|text| text.ends_with(BODY_FILE)),
        curl,
        request_headers: headers,
        response: answered(attempt, path),
        advice: advice(
            attempt,
            (!sent.url.is_empty()).then_some(&*sent.url),
            found.before,
        ),
    }
}

/// The headers as they were sent: made again from the same parts. Where the endpoint's URL or secrets are
/// others now, nothing is shown rather than something wrong.
fn request_headers(app: &App, found: &Found, attempt: &Attempt) -> Vec<(String, String)> {
    let endpoint = found.endpoint.as_ref();
    let Some(endpoint) = endpoint.filter(|endpoint| is_as_now(endpoint, attempt)) else {
        return Vec::new();
    };
    let sent = app
        .engine
        .headers_of(endpoint, &found.delivery, &found.body, attempt.started_at);
    let host = url::Url::parse(&endpoint.url).ok();
    let host = host.map(|url| url[url::Position::BeforeHost..url::Position::AfterPort].to_owned());
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    };
    let mut headers = vec![
        ("host".to_owned(), host.unwrap_or_default()),
        ("accept".to_owned(), "*/*".to_owned()),
        ("accept-encoding".to_owned(), "identity".to_owned()),
    ];
    headers.extend(sent.iter().map(text));
    headers.push(("content-length".to_owned(), found.body.len().to_string()));
    headers
}

/// The body as the file that a page's link gives.
const BODY_FILE: &str = "@request.txt";
/// The longest body that stands in a command itself, as it stands in the page.
const BODY_IN_COMMAND: usize = 16 * 1024;

/// A command that sends the same request once more: `-g`, since brackets and braces of the URL are no pattern.
fn curl(sent: &Sent, headers: &[(String, String)], found: &Found) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    // Encoded: not every curl was built to encode a host name.
    let forms = UrlForms::of(&sent.url);
    let url = forms.as_ref().map_or(&sent.url, |forms| &forms.encoded);
    let mut command = format!("curl -g -i -X POST {}", quoted(url));
    let own = headers
        .iter()
        .filter(|(name, _)| name != "host" && name != "content-length");
    for (name, value) in own {
        command.push_str(&format!(
            " \\\n  -H {}",
            quoted(&format!("{name}: {value}"))
        ));
    }
    // In a page and on its way through a clipboard line ends become others, so a body with a CR cannot be in it.
    let body = std::str::from_utf8(&found.body).ok();
    let body = body.filter(|body| sent.whole && !body.contains('\r') && !body.starts_with('@'));
    let body = body.map(quoted);
    let body = body.filter(|body| escaped_len(body) <= BODY_IN_COMMAND);
    // Else it is the file that the link beside it gives.
    let body = body.unwrap_or_else(|| BODY_FILE.to_owned());
    command.push_str(&format!(" \\\n  --data-binary {body}"));
    command
}

fn phases(attempt: &Attempt) -> Vec<Phase> {
    let timings = &attempt.timings;
    let parts = [
        ("DNS", timings.dns_ms, "dns"),
        ("Connect", timings.connect_ms, "connect"),
        ("TLS", timings.tls_ms, "tls"),
        ("First byte", timings.first_byte_ms, "first"),
    ];
    let known: u64 = parts
        .iter()
        .filter_map(|(_, took, _)| *took)
        .map(u64::from)
        .sum();
    let rest = u64::from(attempt.duration_ms).saturating_sub(known);
    let all = (known + rest).max(1);
    let mut before = 0;
    let mut phases = Vec::new();
    let parts = parts
        .into_iter()
        .filter_map(|(name, took, class)| Some((name, took?, class)));
    let rest = u32::try_from(rest).unwrap_or(u32::MAX);
    let rest = Some(("Rest", rest, "rest")).filter(|_| rest > 0 || known == 0);
    for (name, took, class) in parts.chain(rest) {
        let wide = u64::from(took) * 1000 / all;
        phases.push(Phase {
            name,
            took: millis(took),
            from: before,
            wide,
            class,
        });
        before += wide;
    }
    phases
}

fn answered(attempt: &Attempt, path: &str) -> Option<Answered> {
    let status = attempt.status_code?;
    let name = http::StatusCode::from_u16(status).ok();
    let mut left = HEADERS_SHOWN;
    let mut headers = Vec::new();
    let mut all_headers = true;
    for (name, value) in &attempt.response_headers {
        let Some(rest) = left.checked_sub(name.len() + value.len() + 64) else {
            all_headers = false;
            continue;
        };
        left = rest;
        let text = |text: &str| harmless(text.as_bytes(), HEADERS_SHOWN).0;
        headers.push((text(name), text(value)));
    }
    let body = attempt.response_body.as_deref().unwrap_or_default();
    let (shown, whole) = harmless(body, BODY_SHOWN);
    Some(Answered {
        status,
        name: name
            .and_then(|code| code.canonical_reason())
            .unwrap_or_default(),
        headers,
        all_headers,
        body: shown,
        whole,
        size: words::counted(body.len() as u64, "byte", "bytes"),
        raw: format!("{path}/response.txt?attempt={}", attempt.number),
    })
}
