//! Hides the envelopes of the API's answers: `data`, `meta` and, for lists, where the page stands.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use model::time::Timestamp;
use serde::Serialize;
use store::PageRequest;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use crate::problem::Problem;

/// The version of the API that every answer names.
pub(crate) const API_VERSION: &str = "2026-04-01";

/// A single resource.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer<T> {
    data: T,
    meta: Meta,
}

/// What every answer says about itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    /// The version of the API.
    #[schema(example = "2026-04-01")]
    api_version: &'static str,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<T> {
    data: Vec<T>,
    meta: ListMeta,
}

/// What a page of a list says about itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    /// The version of the API.
    #[schema(example = "2026-04-01")]
    api_version: &'static str,
    pagination: Pagination,
}

/// Where a page stands in its list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pagination {
    /// Which page this is, from 1.
    #[schema(example = 1)]
    page: u64,
    /// How many items a page has at most.
    #[schema(example = 20)]
    per_page: u32,
    /// How many items there are in all.
    #[schema(example = 1)]
    total: u64,
    /// How many pages there are.
    #[schema(example = 1)]
    total_pages: u64,
}

/// A page of a log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Log<T> {
    data: Vec<T>,
    meta: LogMeta,
}

/// What a page of a log says about itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogMeta {
    /// The version of the API.
    #[schema(example = "2026-04-01")]
    api_version: &'static str,
    pagination: CursorPagination,
}

/// Where a page stands in its log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CursorPagination {
    /// How many items a page has at most.
    #[schema(example = 20)]
    per_page: u32,
    /// What to send as `cursor` to get the page after this one; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// JSON with this status.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            // Some answers show a secret once, and all are somebody's.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            // Our own values always have a JSON form; should one not, the client is told plainly.
            Problem::internal(&error);
            (StatusCode::INTERNAL_SERVER_ERROR, "").into_response()
        }
    }
}

fn answer<T: Serialize>(status: StatusCode, data: T) -> Response {
    let meta = Meta {
        api_version: API_VERSION,
    };
    json(status, &Answer { data, meta })
}

/// 200 with a resource.
pub(crate) fn ok<T: Serialize>(data: T) -> Response {
    answer(StatusCode::OK, data)
}

/// 201 with what was made.
pub(crate) fn created<T: Serialize>(data: T) -> Response {
    answer(StatusCode::CREATED, data)
}

/// 202 with what was promised.
pub(crate) fn accepted<T: Serialize>(data: T) -> Response {
    answer(StatusCode::ACCEPTED, data)
}

/// 204: it is gone.
pub(crate) fn gone() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 200 with a page of a list.
pub(crate) fn list<T: Serialize>(data: Vec<T>, request: PageRequest, total: u64) -> Response {
    let pagination = Pagination {
        page: request.page,
        per_page: request.per_page,
        total,
        total_pages: total.div_ceil(u64::from(request.per_page)),
    };
    let meta = ListMeta {
        api_version: API_VERSION,
        pagination,
    };
    json(StatusCode::OK, &List { data, meta })
}

/// 200 with a page of a log.
pub(crate) fn log<T: Serialize>(
    data: Vec<T>,
    per_page: u32,
    next_cursor: Option<String>,
) -> Response {
    let meta = LogMeta {
        api_version: API_VERSION,
        pagination: CursorPagination {
            per_page,
            next_cursor,
        },
    };
    json(StatusCode::OK, &Log { data, meta })
}

/// A UUID, as every id but a team's is.
#[derive(ToSchema)]
#[schema(value_type = String, format = "uuid", example = "019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87")]
pub(crate) struct Id(pub(crate) uuid::Uuid);

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A moment: ISO 8601 in UTC with milliseconds.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-04-01T12:00:00.000Z")]
pub(crate) struct Moment(pub(crate) Timestamp);

/// The schema of a string that is one of these words.
pub(crate) fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}

/// The schema of a string that is one of these words, or null.
pub(crate) fn words_or_null<'a>(words: impl IntoIterator<Item = &'a str>) -> Object {
    let values: Vec<_> = words.into_iter().map(Some).chain([None]).collect();
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(values))
        .build()
}
