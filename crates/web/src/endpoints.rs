//! Hides how a team keeps its endpoints: checked before they are kept, secrets shown once.

use axum::extract::State;
use axum::response::Response;
use egress::{Probe, ReceiverUrl, UrlForms};
use engine::EndpointEdit;
use model::endpoint::{Endpoint, EndpointStatus, Subscription};
use model::id::{EndpointId, Id as _, IdCodec};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{PathId, TeamRead, TeamWrite};
use crate::body::{Json, check_text, required};
use crate::problem::Problem;
use crate::query::{PageParameters, Paging};
use crate::render::{self, Answer, Id, List, Moment};

pub(crate) const DESCRIPTION_MAX: usize = 500;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
}

/// Where a team's deliveries go.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Endpoint)]
pub(crate) struct EndpointView {
    id: Id,
    /// Where deliveries go, in normal form; its host in Unicode or encoded, as it was given.
    #[schema(example = "https://hooks.example.com/vantagekit")]
    url: String,
    /// The same with the host encoded (`xn--`, UTS 46): what is looked up and connected to. Absent where it is
    /// `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://xn--mnchen-3ya.example/vantagekit")]
    url_ascii: Option<String>,
    /// The same with the host in Unicode. Absent where it is `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://münchen.example/vantagekit")]
    url_unicode: Option<String>,
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
    pub(crate) fn of(endpoint: &Endpoint, codec: &IdCodec) -> Self {
        let other = |form: String| (form != endpoint.url).then_some(form);
        let (url_ascii, url_unicode) = match UrlForms::of(&endpoint.url) {
            Some(forms) => (other(forms.encoded), other(forms.unicode)),
            None => (None, None),
        };
        Self {
            id: Id(codec.uuid(endpoint.id)),
            url: endpoint.url.clone(),
            url_ascii,
            url_unicode,
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
    /// Where deliveries shall go: an HTTPS URL whose host can be reached publicly. The host may be written in
    /// Unicode; it is encoded by UTS 46.
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

pub(crate) fn read_subscription(
    app: &App,
    names: Option<Vec<String>>,
) -> Result<Subscription, Problem> {
    let mut unknown = names
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, name)| *name != "*" && app.catalog.get(name).is_none());
    if let Some((index, name)) = unknown.next() {
        return Err(Problem::UnknownEventType(format!(
            "/eventTypes/{index}: {}.",
            app.catalog.unknown(name)
        )));
    }
    Ok(Subscription::from_names(names))
}

/// Checks a URL by the rules, then by the addresses behind it; a host name that does not resolve
/// is a warning only, since it may be about to be made.
pub(crate) async fn read_url(app: &App, text: &str) -> Result<(ReceiverUrl, Vec<String>), Problem> {
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
    let made = app.engine.by(writer.actor()).create_endpoint(
        writer.id(),
        &url,
        body.description,
        subscription,
    );
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
    let endpoint = app
        .engine
        .by(writer.actor())
        .update_endpoint(writer.id(), id, edit)
        .await?;
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
    app.engine
        .by(writer.actor())
        .delete_endpoint(writer.id(), id)
        .await?;
    Ok(render::gone())
}
