//! Hides how events come in, singly or in batches, and how they are looked up again.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use bytes::Bytes;
use engine::Publication;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::catalog::Catalog;
use model::event::{self, data_of};
use model::id::{EventId, Id as _, IdCodec};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{AcceptError, Accepted, EventSummary};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{PathId, Publisher, TeamRead};
use crate::body::{BATCH_MAX, BODY_MAX, RawJson};
use crate::deliveries::DeliveryView;
use crate::problem::Problem;
use crate::query::{PageParameters, Paging};
use crate::render::{self, Answer, Id, List, Moment};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// In the response to a request whose idempotency key was used before: it is the response from then.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(publish, list))
        .routes(routes!(publish_batch))
        .routes(routes!(show))
}

/// An event that was accepted: it and its deliveries are durable.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PublishedEvent<'a> {
    id: Id,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "link.created")]
    event_type: &'a str,
    /// How many endpoints it is delivered to.
    #[schema(example = 2)]
    deliveries: u32,
    created_at: Moment,
}

impl<'a> PublishedEvent<'a> {
    fn of(accepted: &Accepted, event_type: &'a str, codec: &IdCodec) -> Self {
        Self {
            id: Id(codec.uuid(accepted.event)),
            event_type,
            deliveries: accepted.deliveries,
            created_at: Moment(accepted.event.created_at()),
        }
    }
}

/// An event to be published. Parsed by the model, which keeps `data` byte for byte; this is the
/// schema only.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct NewEvent {
    /// A type of the catalog.
    #[serde(rename = "type")]
    #[schema(example = "link.expired")]
    event_type: String,
    /// What happened, as the type's schema says; delivered with the very bytes sent here.
    #[schema(value_type = Object, example = json!({
        "dealRoomId": "0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10",
        "linkId": "5f4dcc3b-5aa7-4d61-8d83-27deb882cf99",
        "name": "Investors",
        "expiredAt": "2026-04-01T12:00:00Z"
    }))]
    data: serde_json::Value,
}

/// Events to be published together: all of them or none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct NewBatch {
    /// 1 to 1,000 events.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<NewBatchEvent>,
}

/// An event of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct NewBatchEvent {
    /// A type of the catalog.
    #[serde(rename = "type")]
    #[schema(example = "agreement.expired")]
    event_type: String,
    /// What happened, as the type's schema says; delivered with the very bytes sent here.
    #[schema(value_type = Object, example = json!({
        "dealRoomId": "0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10",
        "agreementId": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "name": "NDA",
        "expiredAt": "2026-04-01T12:00:00Z"
    }))]
    data: serde_json::Value,
    /// As the header `Idempotency-Key` of a single event.
    #[schema(example = "nda-7c9e6679-expired")]
    idempotency_key: Option<String>,
}

/// Publish an event. Answered once the event and its deliveries are durable.
#[utoipa::path(post, path = "/v1/events", tag = "Events", operation_id = "publishEvent", request_body = NewEvent,
    params(("Idempotency-Key" = Option<String>, Header, description = "Remembered for 24 hours: the same key with the same body gets the same answer and publishes nothing again.", example = "link-5f4dcc3b-expired")),
    responses((status = 202, description = "The event is durable and will be delivered.", body = Answer<PublishedEvent>,
            headers(("Idempotent-Replayed" = String, description = "`true` where the idempotency key was used before: this is the response from then, and nothing was published again. Absent otherwise."))),
        (status = 409, description = "The idempotency key was used for another event."))
)]
async fn publish(
    publisher: Publisher,
    State(app): State<App>,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    RawJson(body): RawJson<BODY_MAX>,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key?;
    let event = event::parse_publication(&app.catalog, &body)?;
    let event_type = event.event_type.clone();
    let publication = Publication {
        event,
        idempotency_key,
    };
    let accepted = app.engine.publish(publisher.id(), vec![publication]).await;
    let accepted = accepted.map_err(|error| refused(error, false))?;
    let accepted = accepted
        .first()
        .ok_or_else(|| Problem::internal(&"an event was lost"))?;
    let codec = app.engine.store().codec();
    let mut response = render::accepted(PublishedEvent::of(accepted, &event_type, codec));
    if accepted.replayed {
        let headers = response.headers_mut();
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What the header of that name says. A wrong one is refused only after the body was read: a client
/// that is still sending would lose the answer.
struct IdempotencyKey(Result<Option<String>, Problem>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(idempotency_key(&parts.headers)))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let wrong =
        |rule: &str| Problem::InvalidRequest(format!("The header `Idempotency-Key`: {rule}."));
    let key = value
        .to_str()
        .map_err(|_| wrong("expected printable ASCII characters"))?;
    event::check_idempotency_key(key).map_err(|rule| wrong(&rule))?;
    if values.next().is_some() {
        return Err(wrong("expected it only once"));
    }
    Ok(Some(key.to_owned()))
}

fn refused(error: AcceptError, batch: bool) -> Problem {
    match error {
        AcceptError::Conflict { index } if batch => {
            Problem::Conflict(format!("/events/{index}/idempotencyKey: {error}."))
        }
        AcceptError::Conflict { .. } => {
            Problem::Conflict(format!("Nothing was published: {error}."))
        }
        AcceptError::Store(error) => error.into(),
    }
}

/// Publish up to 1,000 events: all of them or none. An error names the event by its index.
#[utoipa::path(post, path = "/v1/events/batch", tag = "Events", operation_id = "publishEvents", request_body = NewBatch,
    responses((status = 202, description = "The events, in the order they were sent, are durable and will be delivered.", body = Answer<Vec<PublishedEvent>>),
        (status = 409, description = "An idempotency key was used for another event."))
)]
async fn publish_batch(
    publisher: Publisher,
    State(app): State<App>,
    headers: HeaderMap,
    RawJson(body): RawJson<BATCH_MAX>,
) -> Result<Response, Problem> {
    if headers.contains_key(IDEMPOTENCY_KEY) {
        // Ignored, it would promise a publisher a safety that is not there.
        return Err(Problem::InvalidRequest(
            "A batch takes an `idempotencyKey` in each event, not the header `Idempotency-Key`."
                .into(),
        ));
    }
    let events = parse_batch(&app.catalog, body).await?;
    let publications: Vec<_> = events
        .into_iter()
        .map(|(event, idempotency_key)| Publication {
            event,
            idempotency_key,
        })
        .collect();
    let types: Vec<_> = publications
        .iter()
        .map(|one| one.event.event_type.clone())
        .collect();
    let accepted = app.engine.publish(publisher.id(), publications).await;
    let accepted = accepted.map_err(|error| refused(error, true))?;
    let codec = app.engine.store().codec();
    let published: Vec<_> = accepted
        .iter()
        .zip(&types)
        .map(|(accepted, event_type)| PublishedEvent::of(accepted, event_type, codec))
        .collect();
    Ok(render::accepted(published))
}

/// How large a batch may be to be parsed where it was read. A larger one takes milliseconds, in
/// which its thread could serve nobody else.
const PARSED_IN_PLACE_MAX: usize = 64 * 1024;

async fn parse_batch(
    catalog: &Arc<Catalog>,
    body: Bytes,
) -> Result<Vec<(event::NewEvent, Option<String>)>, Problem> {
    if body.len() <= PARSED_IN_PLACE_MAX {
        return Ok(event::parse_batch(catalog, &body)?);
    }
    let catalog = Arc::clone(catalog);
    let parsed = tokio::task::spawn_blocking(move || event::parse_batch(&catalog, &body)).await;
    Ok(parsed.map_err(|error| Problem::internal(&error))??)
}

/// An event, as a list shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
struct EventView {
    id: Id,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "link.created")]
    event_type: String,
    /// Whether it was sent by "send test event".
    test: bool,
    /// How many deliveries it made.
    #[schema(example = 2)]
    deliveries: u32,
    created_at: Moment,
}

/// An event with its payload and the deliveries it made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventDetail {
    id: Id,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "link.created")]
    event_type: String,
    /// Whether it was sent by "send test event".
    test: bool,
    created_at: Moment,
    /// The published bytes of `data`.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// The deliveries it made, one an endpoint.
    deliveries: Vec<DeliveryView>,
}

/// List the events, newest first.
#[utoipa::path(get, path = "/v1/events", tag = "Events", operation_id = "listEvents",
    params(PageParameters),
    responses((status = 200, description = "A page of events.", body = List<EventView>))
)]
async fn list(
    reader: TeamRead,
    State(app): State<App>,
    Paging(request): Paging,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let page = store.events(reader.id(), request).await?;
    let view = |event: EventSummary| EventView {
        id: Id(store.codec().uuid(event.id)),
        event_type: event.event_type,
        test: event.test,
        deliveries: event.deliveries,
        created_at: Moment(event.id.created_at()),
    };
    let events = page.rows.into_iter().map(view).collect();
    Ok(render::list(events, request, page.total))
}

/// Show an event with its payload and the deliveries it made.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "Events", operation_id = "getEvent",
    params(("id" = Id, Path, description = "The event's id.")),
    responses((status = 200, description = "The event.", body = Answer<EventDetail>))
)]
async fn show(
    reader: TeamRead,
    PathId(id): PathId<EventId>,
    State(app): State<App>,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let (event, deliveries) = store
        .event(reader.id(), id)
        .await?
        .ok_or(Problem::NotFound)?;
    let data = data_of(&event.event_type, &event.body);
    let data: Box<RawValue> =
        serde_json::from_slice(&data).map_err(|error| Problem::internal(&error))?;
    let codec = store.codec();
    Ok(render::ok(EventDetail {
        id: Id(codec.uuid(event.id)),
        test: event.test,
        created_at: Moment(event.id.created_at()),
        data,
        deliveries: deliveries
            .iter()
            .map(|one| DeliveryView::of(one, codec))
            .collect(),
        event_type: event.event_type,
    }))
}
