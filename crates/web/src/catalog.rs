//! Hides how the catalog of event types is shown.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use model::catalog::EventType;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{CatalogRead, path_parameter};
use crate::problem::Problem;
use crate::query::{PER_PAGE_MAX, Paging};
use crate::render::{self, Answer, List};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
}

/// A kind of event.
#[derive(Serialize, ToSchema)]
#[schema(as = EventType)]
struct TypeView<'a> {
    /// Its name, which `type` of an event carries.
    #[schema(example = "link.created")]
    name: &'a str,
    /// What it is about.
    #[schema(example = "Link")]
    category: &'a str,
    /// When it happens.
    #[schema(example = "A link was created.")]
    description: &'a str,
    /// The JSON Schema of `data`.
    #[schema(value_type = Object)]
    schema: &'a serde_json::Value,
    /// An example of `data`.
    #[schema(value_type = Object)]
    example: &'a RawValue,
}

impl<'a> TypeView<'a> {
    fn of(event_type: &'a EventType) -> Self {
        Self {
            name: &event_type.name,
            category: &event_type.category,
            description: &event_type.description,
            schema: &event_type.schema,
            example: &event_type.example,
        }
    }
}

/// List the event types, in the catalog's order; all of them on one page where it has at most 100.
#[utoipa::path(get, path = "/v1/event-types", tag = "Event types", operation_id = "listEventTypes",
    params(("page" = Option<u64>, Query, description = "Which page, from 1.", minimum = 1, maximum = 1_000_000_000),
        ("per_page" = Option<u32>, Query, description = "How many items a page; 100 by default, so that the usual catalog is one page.", minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page of event types.", body = List<TypeView>))
)]
async fn list(
    _: CatalogRead,
    State(app): State<App>,
    Paging(request): Paging<PER_PAGE_MAX>,
) -> Response {
    let types = app.catalog.types();
    let per_page = request.per_page as usize;
    let before = usize::try_from(request.page - 1).unwrap_or(usize::MAX);
    let page = types
        .iter()
        .skip(before.saturating_mul(per_page))
        .take(per_page);
    render::list(
        page.map(TypeView::of).collect(),
        request,
        types.len() as u64,
    )
}

struct TypeName(String);

impl FromRequestParts<App> for TypeName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        path_parameter(parts, app, "type").await.map(Self)
    }
}

/// Show an event type.
#[utoipa::path(get, path = "/v1/event-types/{type}", tag = "Event types", operation_id = "getEventType",
    params(("type" = String, Path, description = "The type's name.", example = "link.created")),
    responses((status = 200, description = "The event type.", body = Answer<TypeView>))
)]
async fn show(
    _: CatalogRead,
    TypeName(name): TypeName,
    State(app): State<App>,
) -> Result<Response, Problem> {
    let found = app.catalog.get(&name);
    let found = found.ok_or_else(|| {
        Problem::NoSuchType(format!(
            "There is no such type: {}.",
            app.catalog.unknown(&name)
        ))
    })?;
    Ok(render::ok(TypeView::of(found)))
}
