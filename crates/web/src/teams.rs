//! Hides how the operator keeps teams, and links their people into the settings pages.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use model::audit::Actor;
use model::team::{DEFAULT_PLAN, Team, is_external_team_id};
use serde::{Deserialize, Serialize};
use store::LinkHolder;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::authority::{Operator, OperatorOf};
use crate::body::{Json, OptionalJson, check_text, required};
use crate::problem::Problem;
use crate::query::{PageParameters, Paging};
use crate::render::{self, Answer, List, Moment};
use crate::settings;

pub(crate) const NAME_MAX: usize = 200;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, change, delete))
        .routes(routes!(settings_link))
}

/// A team.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Team)]
struct TeamView {
    /// The operator's own id for the team, or the UUID it was given.
    #[schema(example = "team_42")]
    id: String,
    /// For people.
    #[schema(example = "Acme")]
    name: String,
    /// The name of its plan.
    #[schema(example = "scale")]
    plan: String,
    created_at: Moment,
    updated_at: Moment,
}

impl TeamView {
    fn of(team: &Team) -> Self {
        Self {
            id: team.external_id.clone(),
            name: team.name.clone(),
            plan: team.plan.clone(),
            created_at: Moment(team.created_at),
            updated_at: Moment(team.updated_at),
        }
    }
}

/// A team to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTeam {
    /// For people: 1 to 200 characters.
    #[schema(value_type = String, required, min_length = 1, max_length = 200, example = "Acme")]
    name: Option<String>,
    /// The name of a configured plan; `scale` where absent.
    #[schema(example = "scale")]
    plan: Option<String>,
    /// Your own id for the team: 1 to 64 characters of `A-Z a-z 0-9 - _ .`. A UUID where absent.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        example = "team_42"
    )]
    id: Option<String>,
}

/// Changes of a team; what is absent or null stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TeamEdit {
    /// For people: 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200, example = "Acme Ltd")]
    name: Option<String>,
    /// The name of a configured plan.
    #[schema(example = "scale")]
    plan: Option<String>,
}

fn check_plan(app: &App, plan: &str) -> Result<(), Problem> {
    let plans = &app.engine.options().plans;
    if plans.get(plan).is_some() {
        return Ok(());
    }
    let known: Vec<_> = plans.names().collect();
    Err(Problem::payload(
        "/plan",
        format!("expected the name of a plan: {}", known.join(", ")),
    ))
}

/// Make a team.
#[utoipa::path(post, path = "/v1/teams", tag = "Teams", operation_id = "createTeam", request_body = NewTeam,
    responses((status = 201, description = "The team.", body = Answer<TeamView>),
        (status = 409, description = "The id is taken."))
)]
async fn create(
    _: Operator,
    State(app): State<App>,
    Json(body): Json<NewTeam>,
) -> Result<Response, Problem> {
    let name = required(body.name, "/name", "the team's name, a string")?;
    check_text("/name", &name, NAME_MAX)?;
    let plan = body.plan.unwrap_or_else(|| DEFAULT_PLAN.into());
    check_plan(&app, &plan)?;
    if body
        .id
        .as_deref()
        .is_some_and(|id| !is_external_team_id(id))
    {
        return Err(Problem::payload(
            "/id",
            "expected 1 to 64 characters of A-Z a-z 0-9 - _ . and not only dots",
        ));
    }
    let team = app
        .engine
        .by(Actor::Operator)
        .create_team(body.id, name, plan)
        .await?;
    Ok(render::created(TeamView::of(&team)))
}

/// List the teams, oldest first.
#[utoipa::path(get, path = "/v1/teams", tag = "Teams", operation_id = "listTeams",
    params(PageParameters),
    responses((status = 200, description = "A page of teams.", body = List<TeamView>))
)]
async fn list(
    _: Operator,
    State(app): State<App>,
    Paging(request): Paging,
) -> Result<Response, Problem> {
    let page = app.engine.store().teams(request).await?;
    let teams = page.rows.iter().map(TeamView::of).collect();
    Ok(render::list(teams, request, page.total))
}

/// Show a team.
#[utoipa::path(get, path = "/v1/teams/{id}", tag = "Teams", operation_id = "getTeam",
    params(("id" = String, Path, description = "The team's id.", example = "team_42")),
    responses((status = 200, description = "The team.", body = Answer<TeamView>))
)]
async fn show(OperatorOf(team): OperatorOf) -> Response {
    render::ok(TeamView::of(&team))
}

/// Change a team's name or plan.
#[utoipa::path(patch, path = "/v1/teams/{id}", tag = "Teams", operation_id = "updateTeam", request_body = TeamEdit,
    params(("id" = String, Path, description = "The team's id.", example = "team_42")),
    responses((status = 200, description = "The team as it is now.", body = Answer<TeamView>))
)]
async fn change(
    OperatorOf(team): OperatorOf,
    State(app): State<App>,
    Json(edit): Json<TeamEdit>,
) -> Result<Response, Problem> {
    if let Some(name) = &edit.name {
        check_text("/name", name, NAME_MAX)?;
    }
    if let Some(plan) = &edit.plan {
        check_plan(&app, plan)?;
    }
    let changed = app
        .engine
        .by(Actor::Operator)
        .update_team(team.id, edit.name, edit.plan)
        .await?;
    Ok(render::ok(TeamView::of(&changed)))
}

/// Delete a team with its keys and endpoints.
#[utoipa::path(delete, path = "/v1/teams/{id}", tag = "Teams", operation_id = "deleteTeam",
    params(("id" = String, Path, description = "The team's id.", example = "team_42")),
    responses((status = 204, description = "It is deleted."))
)]
async fn delete(OperatorOf(team): OperatorOf, State(app): State<App>) -> Result<Response, Problem> {
    app.engine.by(Actor::Operator).delete_team(team.id).await?;
    Ok(render::gone())
}

/// For whom a link is made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SettingsLinkRequest {
    /// Who the person is, for the audit log, such as an e-mail address: 1 to 200 characters. What is changed by the
    /// link is remembered under this name, which is taken as you say it.
    #[schema(min_length = 1, max_length = 200, example = "jane@acme.example")]
    actor: Option<String>,
}

/// A link into a team's settings pages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SettingsLink {
    /// Opens the pages, once.
    #[schema(example = "https://webhooks.example.com/settings/enter?token=0q3…")]
    url: String,
    /// When it stops working.
    expires_at: Moment,
}

/// Make a link into a team's settings pages: single use, for 10 minutes.
#[utoipa::path(post, path = "/v1/teams/{id}/settings-link", tag = "Teams", operation_id = "createSettingsLink",
    request_body(content = Option<SettingsLinkRequest>),
    params(("id" = String, Path, description = "The team's id.", example = "team_42")),
    responses((status = 201, description = "The link.", body = Answer<SettingsLink>))
)]
async fn settings_link(
    OperatorOf(team): OperatorOf,
    State(app): State<App>,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson<SettingsLinkRequest>,
) -> Result<Response, Problem> {
    if let Some(actor) = &body.actor {
        check_text("/actor", actor, NAME_MAX)?;
    }
    let holder = LinkHolder {
        team: team.id,
        name: body.actor.map(Arc::from),
    };
    let (url, expires_at) = settings::link(&app, holder, &headers).await?;
    let expires_at = Moment(expires_at);
    Ok(render::created(SettingsLink { url, expires_at }))
}
