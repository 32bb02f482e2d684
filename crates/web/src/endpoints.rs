//! Hides how a team keeps its endpoints: checked before they are kept, secrets shown once.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use egress::{Probe, ReceiverUrl};
use engine::EndpointEdit;
use model::endpoint::{Endpoint, EndpointStatus, Secret, Subscription};
use model::event::{self, NewEvent};
use model::id::{EndpointId, Id as _, IdCodec};
use model::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use store::RetryFilter;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{PathId, TeamRead, TeamWrite};
use crate::body::{self, BODY_MAX, Json, OptionalJson, RawJson, check_text, required, shortened};
use crate::problem::Problem;
use crate::query::{PageParameters, Paging};
use crate::render::{self, Answer, Id, List, Moment};

const DESCRIPTION_MAX: usize = 500;
/// How long an old secret stays in use where a rotation does not say: a day (contract).
const OVERLAP: u64 = 86_400;
/// The longest it may stay in use: a week.
const OVERLAP_MAX: f64 = 604_800.0;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
        .routes(routes!(rotate_secret))
        .routes(routes!(send_test))
        .routes(routes!(retry_dead_letters))
}

/// Where a team's deliveries go.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Endpoint)]
struct EndpointView {
    id: Id,
    /// Where deliveries go, in normal form.
    #[schema(example = "https://hooks.example.com/vantagekit")]
    url: String,
    /// For people; null where there is none.
    #[schema(required, example = "CRM")]
    description: Option<String>,
    /// Which event types it gets; `["*"]` for all, also those to come.
    #[schema(example = json!(["link.created", "link.clicked"]))]
    event_types: Vec<String>,
    /// `disabled` or `paused` while it is so, else its health.
    #[schema(schema_with = status_words)]
    status: &'static str,
    /// Failed attempts since the last success; 5 make it unhealthy.
    #[schema(example = 0)]
    consecutive_failures: u32,
    created_at: Moment,
    /// When it was last changed by hand.
    updated_at: Moment,
    /// When its latest attempt ended; null where there was none.
    #[schema(required)]
    last_delivery_at: Option<Moment>,
}

fn status_words() -> Object {
    render::words(EndpointStatus::ALL.iter().map(|status| status.as_str()))
}

impl EndpointView {
    fn of(endpoint: &Endpoint, codec: &IdCodec) -> Self {
        Self {
            id: Id(codec.uuid(endpoint.id)),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            event_types: endpoint.subscription.names(),
            status: endpoint.status().as_str(),
            consecutive_failures: endpoint.health.consecutive_failures,
            created_at: Moment(endpoint.id.created_at()),
            updated_at: Moment(endpoint.updated_at),
            last_delivery_at: endpoint.last_delivery_at.map(Moment),
        }
    }
}

/// An endpoint just made.
#[derive(Serialize, ToSchema)]
struct CreatedEndpoint {
    #[serde(flatten)]
    view: EndpointView,
    /// What its deliveries are signed with: shown now and never again.
    #[schema(example = "whsec_2vH4kqX0m3oBz1eX7mS5nq8cR9tYwUaLpD6fGjKhVbE=")]
    secret: String,
    /// What to look at, though the endpoint was accepted: such as a host name that does not
    /// resolve yet.
    warnings: Vec<String>,
}

/// An endpoint just changed.
#[derive(Serialize, ToSchema)]
struct ChangedEndpoint {
    #[serde(flatten)]
    view: EndpointView,
    /// What to look at, though the change was accepted.
    warnings: Vec<String>,
}

/// An endpoint to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewEndpoint {
    /// Where deliveries shall go: an HTTPS URL whose host can be reached publicly.
    #[schema(value_type = String, required, format = "uri", example = "https://hooks.example.com/vantagekit")]
    url: Option<String>,
    /// For people: at most 500 characters.
    #[schema(min_length = 1, max_length = 500, example = "CRM")]
    description: Option<String>,
    /// Which event types it shall get. Absent, `[]` or `["*"]`: all.
    #[schema(example = json!(["link.created", "link.clicked"]))]
    event_types: Option<Vec<String>>,
}

/// Changes of an endpoint; what is absent stays as it is, and so does what is null, except that
/// a null `description` removes it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EndpointChange {
    /// Where deliveries shall go.
    #[schema(format = "uri", example = "https://hooks.example.com/vantagekit")]
    url: Option<String>,
    /// For people: at most 500 characters; null removes it.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500, example = "CRM")]
    #[serde(default, deserialize_with = "present")]
    description: Option<Option<String>>,
    /// Which event types it shall get. `[]` or `["*"]`: all.
    #[schema(example = json!(["*"]))]
    event_types: Option<Vec<String>>,
    /// True: no new deliveries are made for it, and the unfinished ones are held. False sends
    /// what was held.
    disabled: Option<bool>,
    /// True: new deliveries are made, and held with the unfinished ones. False sends them.
    paused: Option<bool>,
}

/// Tells a null that is there from a field that is not.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

fn read_subscription(app: &App, names: Option<Vec<String>>) -> Result<Subscription, Problem> {
    let mut unknown = names
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, name)| *name != "*" && app.catalog.get(name).is_none());
    if let Some((index, name)) = unknown.next() {
        let name = shortened(name);
        return Err(Problem::UnknownEventType(format!(
            "/eventTypes/{index}: unknown event type {name:?}; GET /v1/event-types lists the known ones."
        )));
    }
    Ok(Subscription::from_names(names))
}

/// Checks a URL by the rules, then by the addresses behind it; a host name that does not resolve
/// is a warning only, since it may be about to be made.
async fn read_url(app: &App, text: &str) -> Result<(ReceiverUrl, Vec<String>), Problem> {
    let url = ReceiverUrl::parse(text, &app.engine.options().policy)?;
    match app.engine.transport().probe(&url).await {
        Probe::Reachable => Ok((url, Vec::new())),
        Probe::Unresolved(sentence) => Ok((url, vec![sentence])),
        Probe::Blocked(problem) => Err(problem.into()),
    }
}

/// Make an endpoint. The answer is the only place where its signing secret is shown.
#[utoipa::path(post, path = "/v1/webhook-endpoints", tag = "Webhook endpoints", operation_id = "createEndpoint", request_body = NewEndpoint,
    responses((status = 201, description = "The endpoint, with its secret shown once.", body = Answer<CreatedEndpoint>),
        (status = 409, description = "The plan's limit of endpoints is reached."))
)]
async fn create(
    writer: TeamWrite,
    State(app): State<App>,
    Json(body): Json<NewEndpoint>,
) -> Result<Response, Problem> {
    let url = required(body.url, "/url", "the URL that deliveries go to, a string")?;
    if let Some(description) = &body.description {
        check_text("/description", description, DESCRIPTION_MAX)?;
    }
    let subscription = read_subscription(&app, body.event_types)?;
    let (url, warnings) = read_url(&app, &url).await?;
    let made = app
        .engine
        .create_endpoint(writer.id(), &url, body.description, subscription);
    let endpoint = made.await?;
    Ok(render::created(CreatedEndpoint {
        view: EndpointView::of(&endpoint, app.engine.store().codec()),
        secret: endpoint.secrets.current.expose().to_owned(),
        warnings,
    }))
}

/// List the endpoints, oldest first.
#[utoipa::path(get, path = "/v1/webhook-endpoints", tag = "Webhook endpoints", operation_id = "listEndpoints",
    params(PageParameters),
    responses((status = 200, description = "A page of endpoints.", body = List<EndpointView>))
)]
async fn list(
    reader: TeamRead,
    State(app): State<App>,
    Paging(request): Paging,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let page = store.endpoints(reader.id(), request).await?;
    let view = |endpoint| EndpointView::of(endpoint, store.codec());
    Ok(render::list(
        page.rows.iter().map(view).collect(),
        request,
        page.total,
    ))
}

/// Show an endpoint.
#[utoipa::path(get, path = "/v1/webhook-endpoints/{id}", tag = "Webhook endpoints", operation_id = "getEndpoint",
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint.", body = Answer<EndpointView>))
)]
async fn show(
    reader: TeamRead,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let endpoint = store
        .endpoint(reader.id(), id)
        .await?
        .ok_or(Problem::NotFound)?;
    Ok(render::ok(EndpointView::of(&endpoint, store.codec())))
}

/// Change an endpoint. Once this is answered no attempt starts by the old settings.
#[utoipa::path(patch, path = "/v1/webhook-endpoints/{id}", tag = "Webhook endpoints", operation_id = "updateEndpoint", request_body = EndpointChange,
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint as it is now.", body = Answer<ChangedEndpoint>))
)]
async fn change(
    writer: TeamWrite,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
    Json(change): Json<EndpointChange>,
) -> Result<Response, Problem> {
    if let Some(Some(description)) = &change.description {
        check_text("/description", description, DESCRIPTION_MAX)?;
    }
    let subscription = match change.event_types {
        Some(names) => Some(read_subscription(&app, Some(names))?),
        None => None,
    };
    let (url, warnings) = match change.url {
        Some(text) => {
            let (url, warnings) = read_url(&app, &text).await?;
            (Some(url), warnings)
        }
        None => (None, Vec::new()),
    };
    let edit = EndpointEdit {
        url,
        description: change.description,
        subscription,
        disabled: change.disabled,
        paused: change.paused,
    };
    let endpoint = app.engine.update_endpoint(writer.id(), id, edit).await?;
    Ok(render::ok(ChangedEndpoint {
        view: EndpointView::of(&endpoint, app.engine.store().codec()),
        warnings,
    }))
}

/// Delete an endpoint. What it was still owed is canceled.
#[utoipa::path(delete, path = "/v1/webhook-endpoints/{id}", tag = "Webhook endpoints", operation_id = "deleteEndpoint",
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 204, description = "It is deleted."))
)]
async fn delete(
    writer: TeamWrite,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
) -> Result<Response, Problem> {
    app.engine.delete_endpoint(writer.id(), id).await?;
    Ok(render::gone())
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
            old_secret_expires_at: endpoint.secrets.previous.as_ref().map(expiry),
        }
    }
}

/// Rotate the signing secret. Until the old one expires, deliveries are signed with both.
#[utoipa::path(post, path = "/v1/webhook-endpoints/{id}/rotate-secret", tag = "Webhook endpoints", operation_id = "rotateEndpointSecret",
    request_body(content = Option<Rotation>),
    params(("id" = Id, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "The endpoint, with its new secret shown once.", body = Answer<RotatedEndpoint>))
)]
async fn rotate_secret(
    writer: TeamWrite,
    PathId(id): PathId<EndpointId>,
    State(app): State<App>,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, Problem> {
    let overlap = rotation.overlap()?;
    let (secret, endpoint) = app.engine.rotate_secret(writer.id(), id, overlap).await?;
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
