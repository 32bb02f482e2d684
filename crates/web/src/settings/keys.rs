//! Hides how a team's API keys are kept from the pages: made and shown once, listed, revoked.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use model::id::{Id as _, KeyId};
use model::key::{ApiKey, Scope, Scopes, TEAM_KEY_PREFIX};
use model::time::Timestamp;
use store::{Page, PageRequest};

use super::answer::{self, Frame, Tab, Trouble};
use super::form::Form;
use super::rooms::Rooms;
use super::session::{KeyKeeper, Named, Visit};
use super::words::When;
use crate::App;
use crate::body::check_text;
use crate::keys::NAME_MAX;
use crate::problem::Problem;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/keys", show)
        .post("/settings/teams/{team}/keys", make)
        .post("/settings/teams/{team}/keys/{id}/revoke", revoke)
}

struct Row {
    id: String,
    name: String,
    shown: String,
    scopes: String,
    made: When,
    used: Option<When>,
    expires: Option<When>,
    expired: bool,
}

#[derive(Template)]
#[template(path = "settings/keys.html")]
struct Keys {
    frame: Frame,
    base: String,
    rows: Vec<Row>,
    used: String,
    full: bool,
    /// A key that was just made: seen now, and never again.
    new: Option<String>,
    name: String,
    problem: Option<String>,
    revoked: bool,
}

async fn show(
    KeyKeeper(visit): KeyKeeper,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let mut page = list(&app, &visit).await?;
    page.revoked = !Form::of_query(uri.query()).text("revoked").is_empty();
    Ok(answer::ok(&page))
}

/// The team's keys: plans grant few.
pub(super) async fn all(app: &App, visit: &Visit) -> Result<Page<ApiKey>, Trouble> {
    let all = PageRequest {
        page: 1,
        per_page: 100,
    };
    Ok(app.engine.keys(visit.team.id, all).await?)
}

async fn list(app: &App, visit: &Visit) -> Result<Keys, Trouble> {
    let page = all(app, visit).await?;
    let plan = app.engine.options().plans.get(&visit.team.plan);
    let granted = plan.map_or(0, |plan| plan.api_keys);
    let now = app.engine.clock().now();
    let codec = app.engine.store().codec();
    let row = |key: &ApiKey| Row {
        id: codec.uuid(key.id).to_string(),
        name: key.name.clone(),
        shown: format!("{TEAM_KEY_PREFIX}{}…", key.shown),
        scopes: key
            .scopes
            .iter()
            .map(Scope::as_str)
            .collect::<Vec<_>>()
            .join(", "),
        made: When::of(key.id.created_at(), now),
        used: key.last_used_at.map(|at| When::of(at, now)),
        expires: key.expires_at.map(|at| When::of(at, now)),
        expired: key.expires_at.is_some_and(|at| at <= now),
    };
    Ok(Keys {
        frame: Frame::of(app, visit, Tab::Keys, "API keys"),
        base: visit.base(),
        rows: page.rows.iter().map(row).collect(),
        used: format!("used {} of {granted}", page.total),
        full: page.total >= u64::from(granted),
        new: None,
        name: String::new(),
        problem: None,
        revoked: false,
    })
}

async fn make(
    KeyKeeper(visit): KeyKeeper,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    match try_make(&app, &visit, &form).await {
        Ok(key) => {
            let mut page = list(&app, &visit).await?;
            page.new = Some(key);
            Ok(answer::page(StatusCode::CREATED, &page))
        }
        Err(problem @ (Problem::Unavailable | Problem::Internal)) => Err(problem.into()),
        Err(problem) => {
            let mut page = list(&app, &visit).await?;
            page.name = form.again("name").to_owned();
            page.problem = Some(problem.sentence());
            Ok(answer::page(problem.status(), &page))
        }
    }
}

async fn try_make(app: &App, visit: &Visit, form: &Form) -> Result<String, Problem> {
    let name = form.text("name");
    check_text("Name", name, NAME_MAX)?;
    let scopes: Option<Scopes> = form.all("scope").into_iter().map(Scope::parse).collect();
    let scopes = scopes
        .filter(|scopes| *scopes != Scopes::default())
        .ok_or_else(|| {
            Problem::InvalidRequest("Choose at least one thing that the key may do.".into())
        })?;
    let expires_at = expiry(form.text("expires"), app.engine.clock().now())?;
    let made = visit
        .hand(app)
        .create_key(visit.team.id, name.to_owned(), scopes, expires_at);
    let (key, _) = made.await?;
    Ok(key.text().to_owned())
}

/// The end of a day, in UTC; none where nothing was chosen.
fn expiry(day: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    if day.is_empty() {
        return Ok(None);
    }
    let end = Timestamp::parse_iso(&format!("{day}T23:59:59Z"));
    match end {
        Ok(end) if end > now => Ok(Some(end)),
        _ => Err(Problem::InvalidRequest(
            "The day on which the key expires must be today or later, like 2030-12-31.".into(),
        )),
    }
}

async fn revoke(
    KeyKeeper(visit): KeyKeeper,
    Named(id): Named<KeyId>,
    State(app): State<App>,
    _: Form,
) -> Result<Response, Trouble> {
    visit.hand(&app).delete_key(visit.team.id, id).await?;
    Ok(answer::to(&format!("{}/keys?revoked=1", visit.base())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_expires_with_its_day() {
        let now = Timestamp::parse_iso("2026-04-01T12:00:00Z").unwrap();
        for (day, end) in [
            ("", Some(None)),
            ("2026-04-01", Some(Some("2026-04-01T23:59:59.000Z"))),
            ("2026-03-31", None),
            ("soon", None),
        ] {
            let found = expiry(day, now).ok();
            let found = found.map(|end| end.map(|end| end.to_string()));
            assert_eq!(found, end.map(|end| end.map(str::to_owned)), "{day}");
        }
    }
}
