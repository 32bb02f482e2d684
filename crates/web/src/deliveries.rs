//! Hides how the delivery log is read: its filters, its cursor, and a delivery with its attempts.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use model::delivery::{Delivery, Status};
use model::id::{DeliveryId, Id as _, IdCodec};
use serde::Serialize;
use store::LogFilter;
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::attempts::AttemptView;
use crate::authority::{PathId, TeamRead, TeamWrite};
use crate::body::OptionalJson;
use crate::problem::Problem;
use crate::query::{self, Filter, PER_PAGE, Query};
use crate::render::{self, Answer, Id, Log, Moment};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(retry))
}

/// One event owed to one endpoint.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(crate) struct DeliveryView {
    /// The same on every retry; receivers see it in `X-VantageKit-Delivery`.
    id: Id,
    event_id: Id,
    endpoint_id: Id,
    /// The event's type.
    #[schema(example = "link.created")]
    event_type: String,
    /// Where it stands.
    #[schema(schema_with = status_words)]
    status: &'static str,
    /// How many attempts were made.
    #[schema(example = 1)]
    attempt_count: u32,
    /// Whether it is a test event's.
    test: bool,
    /// When the next attempt is due; null where none will be made.
    #[schema(required)]
    next_attempt_at: Option<Moment>,
    created_at: Moment,
    /// When it came to its end; null while it is owed.
    #[schema(required)]
    completed_at: Option<Moment>,
}

fn status_words() -> Object {
    render::words(Status::ALL.iter().map(|status| status.as_str()))
}

impl DeliveryView {
    pub(crate) fn of(delivery: &Delivery, codec: &IdCodec) -> Self {
        Self {
            id: Id(codec.uuid(delivery.id)),
            event_id: Id(codec.uuid(delivery.event)),
            endpoint_id: Id(codec.uuid(delivery.endpoint)),
            event_type: delivery.event_type.clone(),
            status: delivery.status().as_str(),
            attempt_count: delivery.attempt_count,
            test: delivery.test,
            next_attempt_at: delivery.upcoming().map(Moment),
            created_at: Moment(delivery.id.created_at()),
            completed_at: delivery.ended_at().map(Moment),
        }
    }
}

/// A delivery with the latest attempts that were made of it.
#[derive(Serialize, ToSchema)]
struct DeliveryDetail {
    #[serde(flatten)]
    view: DeliveryView,
    /// The latest 100 attempts, in order; fewer where their responses are very large.
    /// `attemptCount` tells how many were made.
    #[schema(max_items = 100)]
    attempts: Vec<AttemptView>,
}

/// The parameters of the log, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only its schema is used")]
struct LogParameters {
    /// Only this endpoint's.
    #[param(format = "uuid")]
    endpoint_id: Option<String>,
    /// Only those that stand here.
    #[param(schema_with = status_words)]
    status: Option<String>,
    /// Only of this type.
    #[param(example = "link.created")]
    event_type: Option<String>,
    /// Only of this event.
    #[param(format = "uuid")]
    event_id: Option<String>,
    /// Made at this moment or later.
    #[param(format = DateTime, example = "2026-04-01T12:00:00Z")]
    since: Option<String>,
    /// Made before this moment.
    #[param(format = DateTime, example = "2026-04-01T13:00:00Z")]
    until: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// How many items a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    per_page: Option<u32>,
}

/// What of the log is asked for.
struct LogQuery {
    /// None where nothing can match.
    filter: Option<LogFilter>,
    before: Option<DeliveryId>,
    per_page: u32,
}

impl FromRequestParts<App> for LogQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Self::read(parts.uri.query(), app.engine.store().codec())
    }
}

impl LogQuery {
    fn read(query: Option<&str>, codec: &IdCodec) -> Result<Self, Problem> {
        const KNOWN: [&str; 8] = [
            "endpoint_id",
            "status",
            "event_type",
            "event_id",
            "since",
            "until",
            "cursor",
            "per_page",
        ];
        let query = Query::read(query, &KNOWN)?;
        let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        let (endpoint, event) = (
            query.id("endpoint_id", codec)?,
            query.id("event_id", codec)?,
        );
        let mut filter = LogFilter {
            endpoint: None,
            event: None,
            status: query.word("status", Status::parse, &statuses)?,
            event_type: query.text("event_type").map(Into::into),
            since: query.moment("since")?,
            until: query.moment("until")?,
        };
        let mut matches = true;
        match endpoint {
            Filter::Any => {}
            Filter::Just(id) => filter.endpoint = Some(id),
            Filter::Nothing => matches = false,
        }
        match event {
            Filter::Any => {}
            Filter::Just(id) => filter.event = Some(id),
            Filter::Nothing => matches = false,
        }
        Ok(Self {
            filter: matches.then_some(filter),
            before: query.cursor(codec)?,
            per_page: query.per_page(PER_PAGE)?,
        })
    }
}

/// List the deliveries, newest first.
#[utoipa::path(get, path = "/v1/deliveries", tag = "Deliveries", operation_id = "listDeliveries",
    params(LogParameters),
    responses((status = 200, description = "A page of deliveries.", body = Log<DeliveryView>))
)]
async fn list(
    reader: TeamRead,
    State(app): State<App>,
    query: LogQuery,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let codec = store.codec();
    let mut rows = match &query.filter {
        Some(filter) => {
            let limit = query.per_page + 1;
            store
                .delivery_log(reader.id(), filter, query.before, limit)
                .await?
        }
        None => Vec::new(),
    };
    let next = query::cut_page(&mut rows, query.per_page, codec, |row| row.id);
    let deliveries = rows
        .iter()
        .map(|row| DeliveryView::of(row, codec))
        .collect();
    Ok(render::log(deliveries, query.per_page, next))
}

/// Show a delivery with its latest attempts.
#[utoipa::path(get, path = "/v1/deliveries/{id}", tag = "Deliveries", operation_id = "getDelivery",
    params(("id" = Id, Path, description = "The delivery's id.")),
    responses((status = 200, description = "The delivery.", body = Answer<DeliveryDetail>))
)]
async fn show(
    reader: TeamRead,
    PathId(id): PathId<DeliveryId>,
    State(app): State<App>,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let found = store.delivery(reader.id(), id).await?;
    let (delivery, attempts) = found.ok_or(Problem::NotFound)?;
    Ok(render::ok(DeliveryDetail {
        view: DeliveryView::of(&delivery, store.codec()),
        attempts: attempts.into_iter().map(AttemptView::of).collect(),
    }))
}

/// Nothing is asked here yet.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryRequest {}

/// Retry a delivery: a fresh schedule, under the same delivery id.
#[utoipa::path(post, path = "/v1/deliveries/{id}/retry", tag = "Deliveries", operation_id = "retryDelivery",
    request_body(content = Option<RetryRequest>),
    params(("id" = Id, Path, description = "The delivery's id.")),
    responses((status = 202, description = "The delivery is on its way again.", body = Answer<DeliveryView>),
        (status = 409, description = "Its endpoint was deleted."))
)]
async fn retry(
    writer: TeamWrite,
    PathId(id): PathId<DeliveryId>,
    State(app): State<App>,
    _body: OptionalJson<RetryRequest>,
) -> Result<Response, Problem> {
    app.engine.retry_delivery(writer.id(), id).await?;
    let store = app.engine.store();
    let found = store.delivery_alone(writer.id(), id).await?;
    let delivery = found.ok_or(Problem::NotFound)?;
    Ok(render::accepted(DeliveryView::of(&delivery, store.codec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_s_query_is_checked_and_named_when_wrong() {
        let codec = IdCodec::new(*b"0123456789abcdef");
        let foreign = "019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87";
        for (query, wrong) in [
            (
                "status=dead_letter&since=2026-04-01T00:00:00Z&until=2026-04-02T00:00:00%2B02:00",
                None,
            ),
            ("status=&cursor=&event_type=anything&per_page=100", None),
            ("status=lost", Some("status")),
            ("since=yesterday", Some("since")),
            ("until=1", Some("until")),
            ("endpoint_id=7", Some("endpoint_id")),
            ("event_id=x", Some("event_id")),
            ("cursor=garbage", Some("cursor")),
            ("per_page=101", Some("per_page")),
            ("page=2", Some("page")),
            ("endpoint=1", Some("endpoint")),
        ] {
            match (LogQuery::read(Some(query), &codec), wrong) {
                (Ok(_), None) => {}
                (Err(Problem::InvalidRequest(text)), Some(name)) => {
                    assert!(text.contains(name), "{query}: {text}");
                }
                _ => panic!("{query}"),
            }
        }
        let unknown = LogQuery::read(Some(&format!("endpoint_id={foreign}")), &codec);
        assert!(
            unknown.is_ok_and(|query| query.filter.is_none()),
            "matches nothing"
        );
    }
}
