//! Hides how one delivery is shown: its attempts in time, and of one of them everything that was sent and
//! that came back.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{StatusCode, Uri};
use model::attempt::Attempt;
use model::delivery::{Delivery, Status};
use model::endpoint::Endpoint;
use model::id::{DeliveryId, Id as _};

use super::advice::{Advice, advice};
use super::answer::{self, Frame, Tab, Trouble};
use super::form::Form;
use super::harmless::harmless;
use super::session::{Change, Named, Visit};
use super::words::{self, Badge, Prose, When, millis};
use crate::App;
use crate::problem::Problem;

/// How much of a body is in the page; all of it is one click away.
const BODY_SHOWN: usize = 6 * 1024;
/// How much of a response's headers is in the page, in all.
const HEADERS_SHOWN: usize = 4 * 1024;
/// Attempts in the timeline: the latest of them.
const TIMELINE: usize = 40;

pub(super) fn routes() -> Router<App> {
    const ONE: &str = "/settings/teams/{team}/deliveries/{id}";
    Router::new()
        .route(ONE, get(show))
        .route(&format!("{ONE}/result"), get(show_result))
        .route(&format!("{ONE}/retry"), post(retry))
        .route(&format!("{ONE}/request.txt"), get(raw_request))
        .route(&format!("{ONE}/response.txt"), get(raw_response))
}

/// An attempt in the timeline.
struct Step {
    number: u32,
    path: String,
    chosen: bool,
    class: &'static str,
    outcome: String,
    started: When,
    took: String,
}

/// All that is known of one attempt.
struct Detail {
    number: u32,
    class: &'static str,
    heading: String,
    detail: Option<Prose>,
    started: When,
    took: String,
    address: Option<String>,
    phases: Vec<Phase>,
    request_headers: Vec<(String, String)>,
    curl: Option<String>,
    response: Option<Answered>,
    advice: Option<Advice>,
}

/// A part of the time that an attempt took.
struct Phase {
    name: &'static str,
    took: String,
    /// Where it stands in a bar of 1000.
    from: u64,
    wide: u64,
    class: &'static str,
}

/// What came back.
struct Answered {
    status: u16,
    name: &'static str,
    headers: Vec<(String, String)>,
    all_headers: bool,
    body: String,
    whole: bool,
    size: String,
    raw: String,
}

/// What was sent, the same in every attempt.
struct Sent {
    url: String,
    body: String,
    whole: bool,
    size: String,
    raw: String,
    /// Whether headers are shown as sent: not where the endpoint was changed since.
    exact: bool,
}

#[derive(Template)]
#[template(path = "settings/delivery.html")]
struct Page {
    frame: Frame,
    base: String,
    path: String,
    id: String,
    event_id: String,
    event_type: String,
    test: bool,
    endpoint: String,
    endpoint_path: Option<String>,
    badge: Badge,
    made: When,
    ended: Option<When>,
    next: Option<When>,
    attempts: u32,
    open: bool,
    can_retry: bool,
    retried: bool,
    sent: Sent,
    timeline: Vec<Step>,
    earlier: u32,
    detail: Option<Detail>,
}

/// A delivery with what belongs to it.
struct Found {
    delivery: Delivery,
    attempts: Vec<Attempt>,
    body: Bytes,
    endpoint: Option<Endpoint>,
}

async fn find(app: &App, visit: &Visit, id: DeliveryId) -> Result<Found, Trouble> {
    let (store, team) = (app.engine.store(), visit.team.id);
    let found = store.delivery(team, id).await?;
    let (delivery, attempts) = found.ok_or(Trouble::Missing)?;
    let event = store.event(team, delivery.event).await?;
    let (event, _) = event.ok_or(Trouble::Missing)?;
    let endpoint = store.endpoint(team, delivery.endpoint).await?;
    Ok(Found {
        delivery,
        attempts,
        body: event.body,
        endpoint,
    })
}

async fn show(
    visit: Visit,
    Named(id): Named<DeliveryId>,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let found = find(&app, &visit, id).await?;
    let query = Form::of_query(uri.query());
    let wanted: Option<u32> = query.text("attempt").parse().ok();
    let (codec, now) = (app.engine.store().codec(), app.engine.clock().now());
    let delivery = &found.delivery;
    let uuid = codec.uuid(id).to_string();
    let base = visit.base();
    let path = format!("{base}/deliveries/{uuid}");
    let chosen = match wanted {
        Some(number) => found.attempts.iter().find(|one| one.number == number),
        None => found.attempts.last(),
    };
    if wanted.is_some() && chosen.is_none() {
        return Err(Trouble::Missing);
    }
    let chosen_number = chosen.map_or(0, |one| one.number);
    let steps = found.attempts.iter().rev().take(TIMELINE);
    let steps = steps.map(|one| step(one, &path, one.number == chosen_number, now));
    let timeline: Vec<Step> = steps.collect();
    let sent = sent(&found, &path);
    let template = Page {
        frame: Frame::of(&app, &visit, Tab::Deliveries, &delivery.event_type),
        event_id: codec.uuid(delivery.event).to_string(),
        event_type: delivery.event_type.clone(),
        test: delivery.test,
        endpoint: found
            .endpoint
            .as_ref()
            .map_or("a deleted endpoint", words::name_of)
            .to_owned(),
        endpoint_path: found
            .endpoint
            .as_ref()
            .map(|one| format!("{base}/webhooks/{}", codec.uuid(one.id))),
        badge: Badge::of_delivery(delivery),
        made: When::of(id.created_at(), now),
        ended: delivery.ended_at().map(|at| When::of(at, now)),
        next: delivery.upcoming().map(|at| When::of(at, now)),
        attempts: delivery.attempt_count,
        open: is_open(delivery),
        can_retry: visit.can_write && delivery.status() != Status::Canceled,
        retried: !query.text("retried").is_empty(),
        earlier: delivery.attempt_count.saturating_sub(timeline.len() as u32),
        timeline,
        detail: chosen.map(|attempt| detail(&app, &found, attempt, &path, &sent)),
        sent,
        id: uuid,
        path,
        base,
    };
    Ok(answer::ok(&template))
}

/// Whether something will still happen to it by itself.
fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.status(), Status::Pending | Status::Retrying)
}

fn class_of(attempt: &Attempt) -> &'static str {
    if attempt.reason.is_none() {
        "good"
    } else {
        "bad"
    }
}

/// How an attempt ended, in a word or two.
fn outcome(attempt: &Attempt) -> String {
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

fn step(attempt: &Attempt, path: &str, chosen: bool, now: model::time::Timestamp) -> Step {
    Step {
        number: attempt.number,
        path: format!("{path}?attempt={}#attempt", attempt.number),
        chosen,
        class: class_of(attempt),
        outcome: outcome(attempt),
        started: When::of(attempt.started_at, now),
        took: millis(attempt.duration_ms),
    }
}

fn sent(found: &Found, path: &str) -> Sent {
    let (body, whole) = harmless(&found.body, BODY_SHOWN);
    Sent {
        url: found
            .endpoint
            .as_ref()
            .map_or_else(String::new, |one| one.url.clone()),
        body,
        whole,
        size: words::counted(found.body.len() as u64, "byte", "bytes"),
        raw: format!("{path}/request.txt"),
        exact: found.endpoint.is_some(),
    }
}

fn detail(app: &App, found: &Found, attempt: &Attempt, path: &str, sent: &Sent) -> Detail {
    let now = app.engine.clock().now();
    let headers = request_headers(app, found, attempt);
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
        curl: (!headers.is_empty()).then(|| curl(sent, &headers, found)),
        request_headers: headers,
        response: answered(attempt, path),
        advice: advice(attempt),
    }
}

/// The headers as they were sent: made again from the same parts. Where the endpoint was changed after
/// the attempt its secret or URL may be another, and nothing is shown rather than something wrong.
fn request_headers(app: &App, found: &Found, attempt: &Attempt) -> Vec<(String, String)> {
    let Some(endpoint) = &found.endpoint else {
        return Vec::new();
    };
    if endpoint.updated_at > attempt.started_at {
        return Vec::new();
    }
    let sent = app
        .engine
        .headers_of(endpoint, &found.delivery, &found.body, attempt.started_at);
    let host = url::Url::parse(&endpoint.url).ok();
    let host = host.map(|url| url[url::Position::BeforeHost..url::Position::AfterPort].to_owned());
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    };
    let mut headers = vec![("host".to_owned(), host.unwrap_or_default())];
    headers.extend(sent.iter().map(text));
    headers.push(("content-length".to_owned(), found.body.len().to_string()));
    headers
}

/// A command that sends the same request once more.
fn curl(sent: &Sent, headers: &[(String, String)], found: &Found) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut command = format!("curl -i -X POST {}", quoted(&sent.url));
    let own = headers
        .iter()
        .filter(|(name, _)| name != "host" && name != "content-length");
    for (name, value) in own {
        command.push_str(&format!(
            " \\\n  -H {}",
            quoted(&format!("{name}: {value}"))
        ));
    }
    let body = match std::str::from_utf8(&found.body) {
        Ok(body) if sent.whole => quoted(body),
        // Too long for a line: the file that the link beside it gives.
        _ => "@request.txt".to_owned(),
    };
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

/// What came of a delivery so far, where it is asked for in place.
#[derive(Template)]
#[template(path = "settings/result.html")]
struct ResultPart {
    path: String,
    badge: Badge,
    sentence: Prose,
    open: bool,
    next: Option<When>,
    failed: bool,
}

pub(super) async fn result(app: &App, visit: &Visit, id: DeliveryId) -> Result<Response, Trouble> {
    let found = app.engine.store().delivery(visit.team.id, id).await?;
    let (delivery, attempts) = found.ok_or(Trouble::Missing)?;
    let now = app.engine.clock().now();
    let uuid = app.engine.store().codec().uuid(id);
    let last = attempts.last();
    let sentence = match (last, delivery.status()) {
        (None, Status::Held) => "It waits: the endpoint is paused.".to_owned(),
        (None, _) => "On its way…".to_owned(),
        (Some(last), Status::Delivered) => {
            format!(
                "Your endpoint answered {} in {}.",
                outcome(last),
                millis(last.duration_ms)
            )
        }
        (Some(last), _) => {
            let said = last
                .detail
                .as_deref()
                .map(|text| harmless(text.as_bytes(), 1000).0);
            said.unwrap_or_else(|| outcome(last))
        }
    };
    let template = ResultPart {
        path: format!("{}/deliveries/{uuid}", visit.base()),
        badge: Badge::of_delivery(&delivery),
        sentence: Prose::of(&sentence),
        open: is_open(&delivery),
        next: delivery
            .upcoming()
            .filter(|_| last.is_some())
            .map(|at| When::of(at, now)),
        failed: last.is_some_and(|one| one.reason.is_some()),
    };
    Ok(answer::ok(&template))
}

async fn show_result(
    visit: Visit,
    Named(id): Named<DeliveryId>,
    State(app): State<App>,
) -> Result<Response, Trouble> {
    result(&app, &visit, id).await
}

/// A sentence, where something is asked for in place.
#[derive(Template)]
#[template(path = "settings/told.html")]
struct Told {
    sentence: String,
}

pub(super) fn told(status: StatusCode, sentence: String) -> Response {
    answer::page(status, &Told { sentence })
}

async fn retry(
    Change(visit): Change,
    Named(id): Named<DeliveryId>,
    State(app): State<App>,
    _: Form,
) -> Result<Response, Trouble> {
    app.engine.retry_delivery(visit.team.id, id).await?;
    let uuid = app.engine.store().codec().uuid(id);
    Ok(answer::to(&format!(
        "{}/deliveries/{uuid}?retried=1",
        visit.base()
    )))
}

/// A stranger's bytes as they are: as a file of plain text that no browser runs or shows in place.
fn attachment(name: &str, bytes: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox".to_owned(),
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, bytes).into_response()
}

async fn raw_request(
    visit: Visit,
    Named(id): Named<DeliveryId>,
    State(app): State<App>,
) -> Result<Response, Trouble> {
    let found = find(&app, &visit, id).await?;
    Ok(attachment("request.txt", found.body))
}

async fn raw_response(
    visit: Visit,
    Named(id): Named<DeliveryId>,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let found = app.engine.store().delivery(visit.team.id, id).await?;
    let (_, attempts) = found.ok_or(Trouble::Missing)?;
    let query = Form::of_query(uri.query());
    let number: u32 = query.text("attempt").parse().map_err(|_| {
        Trouble::from(Problem::InvalidRequest(
            "`attempt` must be a number.".into(),
        ))
    })?;
    let attempt = attempts.into_iter().find(|one| one.number == number);
    let body = attempt.and_then(|one| one.response_body);
    Ok(attachment("response.txt", body.ok_or(Trouble::Missing)?))
}
