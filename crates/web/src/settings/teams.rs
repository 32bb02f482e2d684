//! Hides the operator's list of teams, and where everybody else is led to instead of it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use store::PageRequest;

use super::answer::{self, Frame, Inside, Trouble};
use super::enter::{home, make_team};
use super::form::Form;
use super::rooms::Rooms;
use super::session::{Visit, Visitor};
use super::words::{When, count};
use crate::App;
use crate::problem::Problem;
use crate::query::Query;

const PER_PAGE: u32 = 50;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings", show)
        .post("/settings", make)
        .get("/settings/teams/{team}", into_team)
}

struct Row {
    name: String,
    id: String,
    plan: String,
    made: When,
}

#[derive(Template)]
#[template(path = "settings/teams.html")]
struct Teams {
    frame: Frame,
    rows: Vec<Row>,
    total: String,
    page: u64,
    pages: u64,
    name: String,
    id: String,
    problem: Option<String>,
}

async fn show(visitor: Visitor, State(app): State<App>, uri: Uri) -> Result<Response, Trouble> {
    if let Some(home) = home(&visitor) {
        return Ok(answer::to(&home));
    }
    let query = Query::read(uri.query(), &["page"])?.page(PER_PAGE)?;
    list(&app, visitor, query, &Form::default(), None).await
}

async fn list(
    app: &App,
    visitor: Visitor,
    request: PageRequest,
    form: &Form,
    problem: Option<Problem>,
) -> Result<Response, Trouble> {
    let page = app.engine.store().teams(request).await?;
    let now = app.engine.clock().now();
    let row = |team: &model::team::Team| Row {
        name: team.name.clone(),
        id: team.external_id.clone(),
        plan: team.plan.clone(),
        made: When::of(team.created_at, now),
    };
    let status = problem.as_ref().map_or(StatusCode::OK, Problem::status);
    let template = Teams {
        frame: Frame {
            inside: Some(Inside {
                csrf: visitor.csrf,
                operator: true,
                team: None,
            }),
            ..Frame::outside(app.product(), "Teams")
        },
        rows: page.rows.iter().map(row).collect(),
        total: count(page.total),
        page: request.page,
        pages: page.total.div_ceil(u64::from(PER_PAGE)).max(1),
        name: form.raw("name").to_owned(),
        id: form.raw("id").to_owned(),
        problem: problem.map(|problem| problem.sentence()),
    };
    Ok(answer::page(status, &template))
}

/// Makes a team.
async fn make(visitor: Visitor, State(app): State<App>, form: Form) -> Result<Response, Trouble> {
    if home(&visitor).is_some() {
        return Err(Trouble::Missing);
    }
    match make_team(&app, &form).await {
        Ok(made) => {
            let team = app.engine.team_by_id(made).ok_or(Trouble::Missing)?;
            Ok(answer::to(&format!(
                "/settings/teams/{}/webhooks",
                team.external_id
            )))
        }
        Err(problem) => {
            let first = PageRequest {
                page: 1,
                per_page: PER_PAGE,
            };
            list(&app, visitor, first, &form, Some(problem)).await
        }
    }
}

async fn into_team(visit: Visit) -> Response {
    answer::to(&format!("{}/webhooks", visit.base()))
}
