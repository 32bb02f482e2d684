//! Hides how the operator makes, lists and revokes a team's API keys; a key is seen once.

use axum::extract::State;
use axum::response::Response;
use model::audit::Actor;
use model::id::{Id as _, IdCodec, KeyId};
use model::key::{ApiKey, Scope, Scopes};
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{OperatorOf, PathId};
use crate::body::{Json, check_text, required};
use crate::problem::Problem;
use crate::query::{PageParameters, Paging};
use crate::render::{self, Answer, Id, List, Moment};

pub(crate) const NAME_MAX: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(delete))
}

/// An API key, as it can be recognised later.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
struct KeyView {
    id: Id,
    /// For people.
    #[schema(example = "Backend")]
    name: String,
    /// The first 8 characters after `vk_live_`.
    #[schema(example = "4fQ2xWb7")]
    prefix: String,
    /// What it allows.
    #[schema(schema_with = scope_list)]
    scopes: Vec<&'static str>,
    created_at: Moment,
    /// When it was last used, to about a minute; null where never.
    #[schema(required)]
    last_used_at: Option<Moment>,
    /// From when on it is refused; null where it does not expire.
    #[schema(required)]
    expires_at: Option<Moment>,
}

/// An API key just made.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    view: KeyView,
    /// The key itself: shown now and never again.
    #[schema(example = "vk_live_4fQ2xWb7nT0pLk3vYc8RsDa1GhZe6MuJ")]
    key: String,
}

fn scope_words() -> Object {
    render::words(Scope::ALL.iter().map(|scope| scope.as_str()))
}

fn scope_list() -> utoipa::openapi::schema::Array {
    utoipa::openapi::schema::ArrayBuilder::new()
        .items(scope_words())
        .min_items(Some(1))
        .build()
}

impl KeyView {
    fn of(key: &ApiKey, codec: &IdCodec) -> Self {
        Self {
            id: Id(codec.uuid(key.id)),
            name: key.name.clone(),
            prefix: key.shown.clone(),
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            created_at: Moment(key.id.created_at()),
            last_used_at: key.last_used_at.map(Moment),
            expires_at: key.expires_at.map(Moment),
        }
    }
}

/// An API key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewApiKey {
    /// For people: 1 to 100 characters.
    #[schema(value_type = String, required, min_length = 1, max_length = 100, example = "Backend")]
    name: Option<String>,
    /// What it shall allow, at least one.
    #[schema(schema_with = scope_list, required)]
    scopes: Option<Vec<String>>,
    /// From when on it shall be refused: a moment in the future. Never where absent.
    #[schema(format = DateTime, example = "2036-04-01T12:00:00Z")]
    expires_at: Option<String>,
}

fn read_scopes(names: &[String]) -> Result<Scopes, Problem> {
    let known = || {
        Scope::ALL
            .iter()
            .map(|scope| scope.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if names.is_empty() {
        let expected = format!("expected at least one of {}", known());
        return Err(Problem::payload("/scopes", expected));
    }
    let scope = |(index, name): (usize, &String)| {
        Scope::parse(name).ok_or_else(|| {
            let expected = format!("expected one of {}", known());
            Problem::payload(format!("/scopes/{index}"), expected)
        })
    };
    names.iter().enumerate().map(scope).collect()
}

fn read_expiry(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let moment =
        Timestamp::parse_iso(text).map_err(|sentence| Problem::payload("/expiresAt", sentence))?;
    if moment <= now {
        return Err(Problem::payload(
            "/expiresAt",
            "expected a moment in the future",
        ));
    }
    Ok(moment)
}

/// Make an API key. The answer is the only place where the key itself is ever seen.
#[utoipa::path(post, path = "/v1/teams/{id}/api-keys", tag = "API keys", operation_id = "createApiKey", request_body = NewApiKey,
    params(("id" = String, Path, description = "The team's id.", example = "team_42")),
    responses((status = 201, description = "The key, shown once.", body = Answer<CreatedKey>),
        (status = 409, description = "The plan's limit of API keys is reached."))
)]
async fn create(
    OperatorOf(team): OperatorOf,
    State(app): State<App>,
    Json(body): Json<NewApiKey>,
) -> Result<Response, Problem> {
    let name = required(body.name, "/name", "the key's name, a string")?;
    check_text("/name", &name, NAME_MAX)?;
    let scopes = required(body.scopes, "/scopes", "an array of scopes")?;
    let scopes = read_scopes(&scopes)?;
    let now = app.engine.clock().now();
    let expires_at = body
        .expires_at
        .map(|text| read_expiry(&text, now))
        .transpose()?;
    let (key, kept) = app
        .engine
        .by(Actor::Operator)
        .create_key(team.id, name, scopes, expires_at)
        .await?;
    Ok(render::created(CreatedKey {
        view: KeyView::of(&kept, app.engine.store().codec()),
        key: key.text().to_owned(),
    }))
}

/// List a team's API keys, oldest first.
#[utoipa::path(get, path = "/v1/teams/{id}/api-keys", tag = "API keys", operation_id = "listApiKeys",
    params(PageParameters, ("id" = String, Path, description = "The team's id.", example = "team_42")),
    responses((status = 200, description = "A page of API keys.", body = List<KeyView>))
)]
async fn list(
    OperatorOf(team): OperatorOf,
    State(app): State<App>,
    Paging(request): Paging,
) -> Result<Response, Problem> {
    let page = app.engine.keys(team.id, request).await?;
    let codec = app.engine.store().codec();
    let keys = page
        .rows
        .iter()
        .map(|key| KeyView::of(key, codec))
        .collect();
    Ok(render::list(keys, request, page.total))
}

/// Revoke an API key.
#[utoipa::path(delete, path = "/v1/teams/{id}/api-keys/{keyId}", tag = "API keys", operation_id = "deleteApiKey",
    params(("id" = String, Path, description = "The team's id.", example = "team_42"),
        ("keyId" = Id, Path, description = "The key's id.")),
    responses((status = 204, description = "It is revoked."))
)]
async fn delete(
    OperatorOf(team): OperatorOf,
    PathId(key): PathId<KeyId>,
    State(app): State<App>,
) -> Result<Response, Problem> {
    app.engine
        .by(Actor::Operator)
        .delete_key(team.id, key)
        .await?;
    Ok(render::gone())
}
