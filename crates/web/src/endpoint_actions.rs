//! Hides what a team can have done to an endpoint: a new secret, a test event, a recovery.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use model::endpoint::{Endpoint, Secret};
use model::event::{self, NewEvent};
use model::id::{EndpointId, IdCodec};
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use store::RetryFilter;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{PathId, TeamWrite};
use crate::body::{self, BODY_MAX, OptionalJson, RawJson, required};
use crate::endpoints::EndpointView;
use crate::problem::Problem;
use crate::render::{self, Answer, Id, Moment};

/// How long an old secret stays in use where a rotation does not say: a day (contract).
const OVERLAP: u64 = 86_400;
/// The longest it may stay in use: a week.
const OVERLAP_MAX: f64 = 604_800.0;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(rotate_secret))
        .routes(routes!(send_test))
        .routes(routes!(retry_dead_letters))
}

/// How to rotate a secret.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rotation {
    /// For how many seconds the old secret stays in use; 0: it is replaced at once. A day where
    /// absent.
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 604_800, example = 86400)]
    expire_old_after_seconds: Option<serde_json::Value>,
}

impl Rotation {
    fn overlap(&self) -> Result<Duration, Problem> {
        let Some(value) = &self.expire_old_after_seconds else {
            return Ok(Duration::from_secs(OVERLAP));
        };
        // A number such as 60.0 is whole too, in JSON.
        let whole = value.as_f64().filter(|number| number.fract() == 0.0);
        let seconds = whole.filter(|number| (0.0..=OVERLAP_MAX).contains(number));
        let expected = || format!("expected a whole number from 0 to {OVERLAP_MAX}");
        let seconds =
            seconds.ok_or_else(|| Problem::payload("/expireOldAfterSeconds", expected()))?;
        Ok(Duration::from_secs_f64(seconds))
    }
}

/// An endpoint with its new secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RotatedEndpoint {
    #[serde(flatten)]
    view: EndpointView,
    /// The new secret: shown now and never again.
    #[schema(example = "whsec_2vH4kqX0m3oBz1eX7mS5nq8cR9tYwUaLpD6fGjKhVbE=")]
    secret: String,
    /// Until when deliveries stay signed with the old secret too; null where they do not.
    #[schema(required)]
    old_secret_expires_at: Option<Moment>,
}

impl RotatedEndpoint {
    fn of(secret: &Secret, endpoint: &Endpoint, codec: &IdCodec) -> Self {
        let expiry = |(_, expires_at): &(Secret, Timestamp)| Moment(*expires_at);
        Self {
            view: EndpointView::of(endpoint, codec),
            secret: secret.expose().to_owned(),
            old_secret_expires_at: endpoint.secrets.previous.last().map(expiry),
        }
    }
}

/// Rotate the signing secret. Until the old one expires, deliveries are signed with both.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/rotate-secret", tag = "Webhook endpoints", operation_id = "rotateEndpointSecret",
    request_body(content = Option<Rotation>),
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint, with its new secret shown once.", body = Answer<RotatedEndpoint>),
        (status = 409, description = "Too many older secrets are still in use."))
)]
async fn rotate_secret(
    writer: TeamWrite,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap()?;
    let (secret, endpoint) = app
        .engine
        .by(writer.actor())
        .rotate_secret(writer.id(), id, overlap)
        .await?;
    let codec = app.engine.store().codec();
    Ok(render::ok(RotatedEndpoint::of(&secret, &endpoint, codec)))
}

/// A test event to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestEvent {
    /// A type of the catalog.
    #[serde(rename = "type")]
    #[schema(value_type = String, required, example = "link.created")]
    event_type: Option<String>,
    /// What to send as `data`; the type's example where absent.
    #[schema(value_type = Option<Object>)]
    data: Option<serde_json::Value>,
}

/// A test event on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SentTest {
    /// Its delivery, whose attempts tell how it went.
    delivery_id: Id,
}

/// Send a test event to an endpoint, whatever it subscribes to, through the real engine.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/test", tag = "Webhook endpoints", operation_id = "sendTestEvent", request_body = TestEvent,
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 202, description = "The test event is on its way.", body = Answer<SentTest>),
        (status = 409, description = "The endpoint is disabled."))
)]
async fn send_test(
    writer: TeamWrite,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
    RawJson(bytes): RawJson<BODY_MAX>,
) -> Result<Response, Problem> {
    let test: TestEvent = body::parse(&bytes)?;
    let event_type = required(test.event_type, "/type", "an event type, a string")?;
    let event = match test.data {
        // From the bytes, not from the value: they are delivered as they were sent.
        Some(_) => event::parse_publication(&app.catalog, &bytes)?,
        None => NewEvent::example(&app.catalog, &event_type)?,
    };
    let delivery = app.engine.send_test(writer.id(), id, event).await?;
    let delivery_id = Id(app.engine.store().codec().uuid(delivery));
    Ok(render::accepted(SentTest { delivery_id }))
}

/// Which dead letters to retry; all of the endpoint's where nothing is said.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recovery {
    /// Only `dead_letter` can be retried by range.
    #[schema(schema_with = dead_letter_only)]
    status: Option<String>,
    /// Only those made at this moment or later.
    #[schema(format = DateTime, example = "2026-04-01T12:00:00Z")]
    since: Option<String>,
    /// Only those made before this moment.
    #[schema(format = DateTime, example = "2026-04-01T13:00:00Z")]
    until: Option<String>,
    /// Only of this event type.
    #[schema(example = "link.created")]
    event_type: Option<String>,
}

fn dead_letter_only() -> Object {
    render::words_or_null(["dead_letter"])
}

impl Recovery {
    fn filter(self) -> Result<RetryFilter, Problem> {
        if self.status.is_some_and(|status| status != "dead_letter") {
            return Err(Problem::payload("/status", "expected \"dead_letter\""));
        }
        let moment = |pointer: &str, text: Option<String>| {
            let read = |text: String| Timestamp::parse_iso(&text);
            text.map(read)
                .transpose()
                .map_err(|sentence| Problem::payload(pointer, sentence))
        };
        Ok(RetryFilter {
            event_type: self.event_type,
            since: moment("/since", self.since)?,
            until: moment("/until", self.until)?,
        })
    }
}

/// What came of a recovery.
#[derive(Serialize, ToSchema)]
struct Recovered {
    /// How many deliveries have a fresh schedule.
    #[schema(example = 17)]
    retried: u64,
}

/// Retry an endpoint's dead letters of a range, each with a fresh schedule under its own id.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/retry", tag = "Webhook endpoints", operation_id = "retryDeadLetters",
    request_body(content = Option<Recovery>),
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 202, description = "So many are on their way again.", body = Answer<Recovered>))
)]
async fn retry_dead_letters(
    writer: TeamWrite,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
    OptionalJson(recovery): OptionalJson<Recovery>,
) -> Result<Response, Problem> {
    let filter = recovery.filter()?;
    let retried = app
        .engine
        .retry_dead_letters(writer.id(), id, filter)
        .await?;
    Ok(render::accepted(Recovered { retried }))
}
