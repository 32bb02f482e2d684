//! Hides how one delivery is shown: its attempts in time, and of one of them everything that was sent and
//! that came back.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{StatusCode, Uri};
use model::attempt::Attempt;
use model::delivery::{Delivery, Status};
use model::id::{DeliveryId, Id as _};
use store::LogFilter;

use super::advice::Before;
use super::answer::{self, Frame, Tab, Trouble};
use super::attempt::{Detail, Found, Sent, class_of, detail, outcome, sent};
use super::form::Form;
use super::harmless::harmless;
use super::rooms::Rooms;
use super::session::{Change, Named, Visit};
use super::words::{self, Badge, Prose, When, millis};
use crate::App;
use crate::problem::Problem;

/// Attempts in the timeline: the latest of them.
const TIMELINE: usize = 40;

pub(super) fn rooms() -> Rooms {
    const ONE: &str = "/settings/teams/{team}/deliveries/{id}";
    Rooms::default()
        .get(ONE, show)
        .get(&format!("{ONE}/result"), show_result)
        .post(&format!("{ONE}/retry"), retry)
        .get(&format!("{ONE}/request.txt"), raw_request)
        .get(&format!("{ONE}/response.txt"), raw_response)
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
    told_attempts: String,
    open: bool,
    can_retry: bool,
    retried: bool,
    sent: Sent,
    timeline: Vec<Step>,
    earlier: u32,
    detail: Option<Detail>,
}

async fn find(app: &App, visit: &Visit, id: DeliveryId) -> Result<Found, Trouble> {
    let (store, team) = (app.engine.store(), visit.team.id);
    let found = store.delivery(team, id).await?;
    let (delivery, attempts) = found.ok_or(Trouble::Missing)?;
    let event = store.event(team, delivery.event).await?;
    let (event, _) = event.ok_or(Trouble::Missing)?;
    let endpoint = store.endpoint(team, delivery.endpoint).await?;
    let earlier = LogFilter {
        endpoint: Some(delivery.endpoint),
        status: Some(Status::Delivered),
        ..LogFilter::default()
    };
    let earlier = store.delivery_log(team, &earlier, Some(id), 1).await?;
    Ok(Found {
        before: Before {
            delivered: !earlier.is_empty(),
        },
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
    let url_before = match chosen {
        Some(attempt) => {
            let store = app.engine.store();
            let (endpoint, at) = (delivery.endpoint, attempt.started_at);
            store.url_before_change(visit.team.id, endpoint, at).await?
        }
        None => None,
    };
    let sent = sent(&found, chosen, url_before, &path);
    let template = Page {
        frame: Frame::of(&app, &visit, Tab::Deliveries, &delivery.event_type),
        event_id: codec.uuid(delivery.event).to_string(),
        event_type: delivery.event_type.clone(),
        test: delivery.test,
        endpoint: found.endpoint.as_ref().map_or_else(
            || "a deleted endpoint".to_owned(),
            |endpoint| words::in_short(&words::name_of(endpoint), words::IN_A_LIST),
        ),
        endpoint_path: found
            .endpoint
            .as_ref()
            .map(|one| format!("{base}/webhooks/{}", codec.uuid(one.id))),
        badge: Badge::of_delivery(delivery),
        made: When::of(id.created_at(), now),
        ended: delivery.ended_at().map(|at| When::of(at, now)),
        next: delivery.upcoming().map(|at| When::of(at, now)),
        attempts: delivery.attempt_count,
        told_attempts: words::counted(delivery.attempt_count.into(), "attempt", "attempts"),
        open: is_open(delivery),
        can_retry: visit.can_write
            && delivery.status() != Status::Canceled
            && found.endpoint.is_some(),
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
