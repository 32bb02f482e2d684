//! Hides how the audit log is read: who changed which endpoint, secret, key or team, newest first.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use model::audit::{Action, AuditEntry, Subject};
use model::id::{AuditId, Id as _, IdCodec};
use serde::Serialize;
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::AuditRead;
use crate::problem::Problem;
use crate::query::{self, PER_PAGE, Query};
use crate::render::{self, Id, Log, Moment};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A change by hand.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
struct EntryView {
    id: Id,
    /// When it was made.
    at: Moment,
    actor: ActorView,
    /// What was done.
    #[schema(schema_with = action_words)]
    action: &'static str,
    /// The endpoint it was done to; absent where it was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<Id>,
    /// The API key it was done to; absent where it was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<Id>,
    /// The fields it changed. Never a secret, and of a URL not its query.
    changes: Vec<ChangeView>,
}

/// Who made a change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActorView {
    #[serde(rename = "type")]
    #[schema(schema_with = actor_words)]
    kind: &'static str,
    /// The API key that was used; absent where it was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<Id>,
    /// The person at the settings pages, as your product named them in `actor` when it asked for the link; absent
    /// where it named nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "jane@acme.example")]
    name: Option<String>,
}

/// A field that was changed.
#[derive(Serialize, ToSchema)]
struct ChangeView {
    /// What the API calls it.
    #[schema(example = "url")]
    field: String,
    /// What it was; null where it had no value.
    #[schema(required, example = "https://old.example.com/hooks")]
    from: Option<String>,
    /// What it is; null where it has no value.
    #[schema(required, example = "https://new.example.com/hooks")]
    to: Option<String>,
}

fn action_words() -> Object {
    render::words(Action::ALL.iter().map(|action| action.as_str()))
}

fn actor_words() -> Object {
    render::words(["operator", "api_key", "settings_page"])
}

impl EntryView {
    fn of(entry: AuditEntry, codec: &IdCodec) -> Self {
        let (endpoint_id, key_id) = match entry.subject {
            Subject::Team(_) => (None, None),
            Subject::Endpoint(id) => (Some(Id(codec.uuid(id))), None),
            Subject::Key(id) => (None, Some(Id(codec.uuid(id)))),
        };
        let changes = entry.changes.into_iter().map(|change| ChangeView {
            field: change.field,
            from: change.from,
            to: change.to,
        });
        Self {
            id: Id(codec.uuid(entry.id)),
            at: Moment(entry.id.created_at()),
            actor: ActorView {
                kind: entry.actor.as_str(),
                key_id: entry.actor.key().map(|key| Id(codec.uuid(key))),
                name: entry.actor.name().map(|name| name.to_string()),
            },
            action: entry.action.as_str(),
            endpoint_id,
            key_id,
            changes: changes.collect(),
        }
    }
}

/// The parameters of the log, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only its schema is used")]
struct LogParameters {
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// How many items a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    per_page: Option<u32>,
}

/// What of the log is asked for.
struct LogQuery {
    before: Option<AuditId>,
    per_page: u32,
}

impl FromRequestParts<App> for LogQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query = Query::read(parts.uri.query(), &["cursor", "per_page"])?;
        Ok(Self {
            before: query.cursor(app.engine.store().codec())?,
            per_page: query.per_page(PER_PAGE)?,
        })
    }
}

/// List who changed which endpoint, secret, key or the team itself, newest first.
///
/// With the operator's key also of a team that was deleted: for an hour at least, and as long as one of its events is
/// kept, unless another team has its id by then.
#[utoipa::path(get, path = "/v1/audit-log", tag = "Audit log", operation_id = "listAuditLog",
    params(LogParameters),
    responses((status = 200, description = "A page of the audit log.", body = Log<EntryView>))
)]
async fn list(
    AuditRead(team): AuditRead,
    State(app): State<App>,
    query: LogQuery,
) -> Result<Response, Problem> {
    let store = app.engine.store();
    let codec = store.codec();
    let limit = query.per_page + 1;
    let mut entries = store.audit_log(team, query.before, limit).await?;
    let next = query::cut_page(&mut entries, query.per_page, codec, |entry| entry.id);
    let entries = entries.into_iter().map(|entry| EntryView::of(entry, codec));
    Ok(render::log(entries.collect(), query.per_page, next))
}
