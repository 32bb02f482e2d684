//! Hides how one attempt is shown: what was tried, what came back, and where the time went.

use std::collections::BTreeMap;

use model::attempt::{Attempt, Outcome, Reason, Timings};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::render::{self, Moment};

/// One HTTP try of a delivery.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// 1 for the first of a delivery, also over retries by hand.
    #[schema(example = 1)]
    number: u32,
    started_at: Moment,
    /// How long it took, in milliseconds.
    #[schema(example = 87)]
    duration_ms: u32,
    /// What it came to.
    #[schema(schema_with = outcome_words)]
    outcome: &'static str,
    /// The response's status; null where none was read.
    #[schema(required, example = 200)]
    status_code: Option<u16>,
    /// Why it failed; null where it did not.
    #[schema(schema_with = reason_words, required)]
    reason: Option<&'static str>,
    /// Why it failed, in a sentence; null where there is no more to say.
    #[schema(required)]
    detail: Option<String>,
    /// The address connected to, or tried in vain; null where none was tried.
    #[schema(required, example = "203.0.113.7")]
    remote_addr: Option<String>,
    /// The response's headers, by name in lower case, a repeated one's values joined by `, `;
    /// null where none were read.
    #[schema(required, example = json!({"content-type": "text/plain"}))]
    response_headers: Option<BTreeMap<String, String>>,
    /// The first 16 KiB of the response's body, what is not UTF-8 replaced; null where none was read.
    #[schema(required, example = "ok")]
    response_body: Option<String>,
    timings: TimingsView,
}

/// Where an attempt's time went, in milliseconds. A phase that was not reached, or not needed
/// because a connection was kept alive, is null.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Timings)]
struct TimingsView {
    /// Resolving the host name.
    #[schema(required, example = 2)]
    dns_ms: Option<u32>,
    /// Connecting to the address.
    #[schema(required, example = 11)]
    connect_ms: Option<u32>,
    /// The TLS handshake.
    #[schema(required, example = 24)]
    tls_ms: Option<u32>,
    /// From the request's first byte to the response's.
    #[schema(required, example = 48)]
    first_byte_ms: Option<u32>,
}

fn outcome_words() -> Object {
    let all = [
        Outcome::Delivered,
        Outcome::Retry,
        Outcome::PermanentFailure,
    ];
    render::words(all.map(Outcome::as_str))
}

fn reason_words() -> Object {
    render::words_or_null(Reason::ALL.iter().map(|reason| reason.as_str()))
}

impl AttemptView {
    pub(crate) fn of(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: Moment(attempt.started_at),
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome.as_str(),
            status_code: attempt.status_code,
            reason: attempt.reason.map(Reason::as_str),
            detail: attempt.detail,
            remote_addr: attempt.remote_addr.map(|address| address.to_string()),
            // Headers come with a status, or not at all.
            response_headers: attempt
                .status_code
                .map(|_| joined(attempt.response_headers)),
            response_body: attempt
                .response_body
                .map(|body| String::from_utf8_lossy(&body).into_owned()),
            timings: TimingsView::of(attempt.timings),
        }
    }
}

impl TimingsView {
    fn of(timings: Timings) -> Self {
        Self {
            dns_ms: timings.dns_ms,
            connect_ms: timings.connect_ms,
            tls_ms: timings.tls_ms,
            first_byte_ms: timings.first_byte_ms,
        }
    }
}

fn joined(headers: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        by_name
            .entry(name)
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert(value);
    }
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_headers_are_joined() {
        let headers = [("a", "1"), ("b", "2"), ("a", "3")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected = [("a", "1, 3"), ("b", "2")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(joined(headers.into()), expected.into());
    }
}
