//! Hides how the OpenAPI document comes from the handlers: each says what is its own; what the
//! door and the extractors can answer for it is added here, by the same rules they follow.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response as Documented, ResponseBuilder};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, Info, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Server, Tag,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use crate::authority::TEAM_HEADER;
use crate::problem::{ErrorBody, ErrorCode, FieldErrorBody};
use crate::render::API_VERSION;
use crate::{
    App, audit, catalog, deliveries, endpoint_actions, endpoints, events, health, keys, teams,
};

/// The OpenAPI 3.1 document of the HTTP API: pretty, and the same at every call.
pub fn openapi_json() -> String {
    let text = serde_json::to_string_pretty(&document())
        .expect("a document of strings, lists and maps has a JSON form");
    text.lines().flat_map(with_empty_value).collect()
}

/// An empty query parameter counts as absent (`?cursor=` asks for the first page). The library has
/// no word for that, so it is added behind the line that makes a parameter one of the query.
fn with_empty_value(line: &str) -> [String; 2] {
    let added = match line.strip_suffix(r#""in": "query","#) {
        Some(indent) => format!("{indent}\"allowEmptyValue\": true,\n"),
        None => String::new(),
    };
    [format!("{line}\n"), added]
}

/// `GET /openapi.json`.
pub(crate) async fn serve() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(openapi_json).as_str();
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The routes that the document describes, with what their handlers say.
pub(crate) fn documented_routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(frame())
        .merge(teams::routes())
        .merge(keys::routes())
        .merge(events::routes())
        .merge(catalog::routes())
        .merge(endpoints::routes())
        .merge(endpoint_actions::routes())
        .merge(deliveries::routes())
        .merge(audit::routes())
        .merge(health::routes())
}

const TEAMS: &str = "Teams";
const API_KEYS: &str = "API keys";
const EVENT_TYPES: &str = "Event types";
const OPERATION: &str = "Operation";

const TAGS: [(&str, &str); 8] = [
    ("Events", "Publish events and look them up."),
    (
        EVENT_TYPES,
        "The catalog: which events there are and what their data looks like.",
    ),
    ("Webhook endpoints", "Where a team's deliveries go."),
    (
        "Deliveries",
        "The log: what became of each event at each endpoint.",
    ),
    (
        "Audit log",
        "Who changed which endpoint, secret, key or the team itself.",
    ),
    (
        TEAMS,
        "The operator's: the teams and the links into their settings pages.",
    ),
    (
        API_KEYS,
        "The operator's: the keys teams call this API with.",
    ),
    (OPERATION, "For whoever runs the service; no key is needed."),
];

fn frame() -> OpenApi {
    let mut info = Info::new("VantageKit Webhooks", API_VERSION);
    info.description = Some(
        "Events in, signed HTTPS deliveries out. Every answer names its kind by its status; \
         every error has a sentence for people and a code for programs."
            .into(),
    );
    let tags = TAGS.map(|(name, text)| {
        let mut tag = Tag::new(name);
        tag.description = Some(text.into());
        tag
    });
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .tags(Some(tags))
        .security(Some([
            SecurityRequirement::new("bearer", [] as [&str; 0]),
            SecurityRequirement::new("apiKey", [] as [&str; 0]),
        ]))
        .build()
}

fn document() -> OpenApi {
    let (_, mut document) = documented_routes().split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            complete(path, operation);
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    let schemas = [
        (ErrorBody::name().into_owned(), ErrorBody::schema()),
        (ErrorCode::name().into_owned(), ErrorCode::schema()),
        (
            FieldErrorBody::name().into_owned(),
            FieldErrorBody::schema(),
        ),
    ];
    components.schemas.extend(schemas);
    for (name, kind, text) in HEADERS {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        let header = HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(text))
            .build();
        components.headers.insert(name.into(), RefOr::T(header));
    }
    for error in ERRORS {
        for (name, api) in [
            (error.name.to_owned(), true),
            (open_name(error.name), false),
        ] {
            // Outside `/v1` nobody knows a key, so only what can happen there has a second form.
            if api || [400, 500, 503].contains(&error.status) {
                let mut response = ResponseBuilder::new().description(error.why).build();
                fill(&error.status.to_string(), &mut response, api);
                components.responses.insert(name, RefOr::T(response));
            }
        }
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A team's key (`vk_live_…`) or the operator's."))
        .build();
    let header =
        ApiKeyValue::with_description("X-API-Key", "The same key, in a header of its own.");
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(header)));
    document
}

/// What an operation asks and may answer beside what its handler says.
struct Traits {
    /// Under `/v1`, where everything needs a key.
    api: bool,
    /// Does something for a team that the key, or the operator's header, names.
    for_team: bool,
    body: bool,
    names_something: bool,
    store: bool,
}

impl Traits {
    fn of(path: &str, operation: &Operation) -> Self {
        let tag = operation.tags.iter().flatten().next().map(String::as_str);
        let tag = tag.unwrap_or_default();
        Self {
            api: path.starts_with("/v1/"),
            for_team: ![TEAMS, API_KEYS, EVENT_TYPES, OPERATION].contains(&tag),
            body: operation.request_body.is_some(),
            names_something: path.contains('{'),
            store: tag != EVENT_TYPES && !["/healthz", "/metrics"].contains(&path),
        }
    }

    fn may_answer(&self, status: u16) -> bool {
        match status {
            // Whatever is asked for: two keys that differ, `Host` twice.
            400 => true,
            402 => self.for_team,
            404 => self.api && (self.names_something || self.for_team),
            415 | 422 => self.body,
            500 => true,
            503 => self.store,
            _ => self.api,
        }
    }
}

/// An error that many operations share.
struct SharedError {
    status: u16,
    name: &'static str,
    why: &'static str,
}

const fn error(status: u16, name: &'static str, why: &'static str) -> SharedError {
    SharedError { status, name, why }
}

#[rustfmt::skip]
const ERRORS: [SharedError; 11] = [
    error(400, "BadRequest", "The body is not JSON, or did not arrive within 30 s, a query parameter or a header is wrong (such as two different API keys, or `Host` twice), or the operator named no team."),
    error(401, "Unauthorized", "There is no API key, or it is not valid."),
    error(402, "PaymentRequired", "The team's plan has no webhooks."),
    error(403, "Forbidden", "The key does not allow this."),
    error(404, "NotFound", "There is no such thing, or it belongs to another team."),
    error(413, "PayloadTooLarge", "The body is too large."),
    error(415, "UnsupportedMediaType", "The body does not say that it is JSON in UTF-8, or it is compressed."),
    error(422, "Unprocessable", "The body is JSON, but not what was expected; the sentence names the place."),
    error(429, "TooManyRequests", "Too many requests; `Retry-After` says when to come back. Publishing is never refused for this."),
    error(500, "InternalError", "Something went wrong on our side."),
    error(503, "Unavailable", "The service cannot take this now; nothing was accepted."),
];

/// What an error outside `/v1` is called.
fn open_name(name: &str) -> String {
    format!("{name}WithoutKey")
}

const REQUEST_ID: &str = "X-Request-Id";
const RATE_HEADERS: [&str; 3] = [
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
];

#[rustfmt::skip]
const HEADERS: [(&str, Type, &str); 6] = [
    (REQUEST_ID, Type::String, "What the request is called, also in the service's log: what the client sent as `X-Request-Id` (1 to 128 of `A-Za-z0-9-_.`), else made for it."),
    (RATE_HEADERS[0], Type::Integer, "How many requests fit a window. Only in answers to a team's key, as the two beside it."),
    (RATE_HEADERS[1], Type::Integer, "How many more requests fit the current window."),
    (RATE_HEADERS[2], Type::Integer, "When the next window starts, in Unix milliseconds."),
    ("Retry-After", Type::Integer, "After how many seconds to try again."),
    ("WWW-Authenticate", Type::String, "The scheme `Bearer`."),
];

fn complete(path: &str, operation: &mut Operation) {
    let traits = Traits::of(path, operation);
    if traits.for_team {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(RefOr::T(team_parameter()));
    }
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response {
            fill(status, response, traits.api);
        }
    }
    for error in ERRORS
        .iter()
        .filter(|error| traits.may_answer(error.status))
    {
        let name = if traits.api {
            error.name.to_owned()
        } else {
            open_name(error.name)
        };
        let shared = RefOr::Ref(Ref::from_response_name(name));
        responses.entry(error.status.to_string()).or_insert(shared);
    }
}

/// The operator's header, which a team's key does not need.
fn team_parameter() -> Parameter {
    ParameterBuilder::new()
        .name(TEAM_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The id of the team the operator acts for. Needed with the operator's key; ignored with a team's.",
        ))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

/// Adds to an answer its headers and, where it is an error, its body.
fn fill(status: &str, response: &mut Documented, api: bool) {
    if status >= "400" {
        let body = ContentBuilder::new()
            .schema(Some(RefOr::<utoipa::openapi::Schema>::Ref(
                Ref::from_schema_name(ErrorBody::name()),
            )))
            .build();
        response
            .content
            .insert("application/json".into(), RefOr::T(body));
    }
    let mut headers = vec![REQUEST_ID];
    match status {
        "401" => headers.push("WWW-Authenticate"),
        _ if api => headers.extend(RATE_HEADERS),
        _ => {}
    }
    if ["429", "503"].contains(&status) {
        headers.push("Retry-After");
    }
    for name in headers {
        let shared = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert(name.into(), RefOr::Ref(shared));
    }
}
