//! Hides how the OpenAPI document comes from the handlers: each says what is its own; what the
//! door and the extractors can answer for it is added here, by the same rules they follow.

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::ToSchema;
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
use utoipa_axum::router::OpenApiRouter;

use crate::authority::TEAM_HEADER;
use crate::problem::{ErrorBody, ErrorCode};
use crate::render::API_VERSION;
use crate::{App, catalog, deliveries, endpoints, events, health, keys, teams};

/// The OpenAPI 3.1 document of the HTTP API: pretty, and the same at every call.
pub fn openapi_json() -> String {
    let mut text = serde_json::to_string_pretty(&document())
        .expect("a document of strings, lists and maps has a JSON form");
    text.push('\n');
    text
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
        .merge(deliveries::routes())
        .merge(health::routes())
}

const TEAMS: &str = "Teams";
const API_KEYS: &str = "API keys";
const EVENT_TYPES: &str = "Event types";
const OPERATION: &str = "Operation";

const TAGS: [(&str, &str); 7] = [
    ("Events", "Publish events and look them up."),
    (EVENT_TYPES, "The catalog: which events there are and what their data looks like."),
    ("Webhook endpoints", "Where a team's deliveries go."),
    ("Deliveries", "The log: what became of each event at each endpoint."),
    (TEAMS, "The operator's: the teams and the links into their settings pages."),
    (API_KEYS, "The operator's: the keys teams call this API with."),
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
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete(path, operation);
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    let mut schemas = vec![(ErrorBody::name().into_owned(), <ErrorBody as utoipa::PartialSchema>::schema())];
    schemas.push((ErrorCode::name().into_owned(), <ErrorCode as utoipa::PartialSchema>::schema()));
    components.schemas.extend(schemas);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A team's key (`vk_live_…`) or the operator's."))
        .build();
    let header = ApiKeyValue::with_description("X-API-Key", "The same key, in a header of its own.");
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
    query: bool,
    names_something: bool,
    store: bool,
}

impl Traits {
    fn of(path: &str, operation: &Operation) -> Self {
        let tag = operation.tags.iter().flatten().next().map(String::as_str);
        let tag = tag.unwrap_or_default();
        let parameters = operation.parameters.iter().flatten();
        Self {
            api: path.starts_with("/v1/"),
            for_team: ![TEAMS, API_KEYS, EVENT_TYPES, OPERATION].contains(&tag),
            body: operation.request_body.is_some(),
            query: parameters.into_iter().any(|one| matches!(one, RefOr::T(one) if one.parameter_in == ParameterIn::Query)),
            names_something: path.contains('{'),
            store: tag != EVENT_TYPES && !["/healthz", "/metrics"].contains(&path),
        }
    }

    /// The errors, by status: what causes them here.
    fn errors(&self) -> Vec<(u16, &'static str)> {
        let all = [
            (self.api && (self.body || self.query || self.for_team), 400,
                "The body is not JSON, a query parameter or a header is wrong, or the operator named no team."),
            (self.api, 401, "There is no API key, or it is not valid."),
            (self.for_team, 402, "The team's plan has no webhooks."),
            (self.api, 403, "The key does not allow this."),
            (self.api && (self.names_something || self.for_team), 404,
                "There is no such thing, or it belongs to another team."),
            (self.api, 413, "The body is too large."),
            (self.body, 415, "The body does not say that it is JSON."),
            (self.body, 422, "The body is JSON, but not what was expected; the sentence names the place."),
            (self.api, 429, "Too many requests; `Retry-After` says when to come back."),
            (true, 500, "Something went wrong on our side."),
            (self.store, 503, "The service cannot take this now; nothing was accepted."),
        ];
        all.into_iter().filter(|(applies, ..)| *applies).map(|(_, status, why)| (status, why)).collect()
    }
}

fn complete(path: &str, operation: &mut Operation) {
    let traits = Traits::of(path, operation);
    if traits.for_team {
        operation.parameters.get_or_insert_default().push(RefOr::T(team_parameter()));
    }
    for (status, why) in traits.errors() {
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert_with(|| RefOr::T(ResponseBuilder::new().description(why).build()));
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            fill(status, response, traits.api);
        }
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
            .schema(Some(RefOr::<utoipa::openapi::Schema>::Ref(Ref::from_schema_name(ErrorBody::name()))))
            .build();
        response.content.insert("application/json".into(), RefOr::T(body));
    }
    let mut headers: Vec<(&str, Type, &str)> = Vec::new();
    if api && status != "401" {
        headers.extend([
            ("X-RateLimit-Limit", Type::Integer, "How many requests fit a window. To a team's key only, as the next two."),
            ("X-RateLimit-Remaining", Type::Integer, "How many more fit the current one."),
            ("X-RateLimit-Reset", Type::Integer, "When the next one starts, in Unix milliseconds."),
        ]);
    }
    if ["429", "503"].contains(&status) {
        headers.push(("Retry-After", Type::Integer, "After how many seconds to try again."));
    }
    if status == "401" {
        headers.push(("WWW-Authenticate", Type::String, "The scheme `Bearer`."));
    }
    for (name, kind, text) in headers {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(text)).build();
        response.headers.insert(name.into(), RefOr::T(header));
    }
}
