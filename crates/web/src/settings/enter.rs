//! Hides the ways in and out: a link from the product, a key, the first run's link, and the door back out.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::Engine;
use http::{HeaderMap, Method, StatusCode, Uri};
use model::audit::Actor;
use model::id::TeamId;
use model::key::KeyHash;
use model::team::{DEFAULT_PLAN, Team, is_external_team_id};
use model::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use store::{LinkHolder, Opener, PageRequest, TokenKind};

use super::answer::{self, Frame, Trouble, with_cookies};
use super::bounds::Peer;
use super::form::{Form, KnockingForm, host};
use super::rooms::Rooms;
use super::session::{self, Visitor, Who};
use super::words::{IN_A_LIST, in_short};
use crate::App;
use crate::body::check_text;
use crate::problem::Problem;
use crate::teams::NAME_MAX;
use crate::token::{self, Token};

/// How long a link works (contract).
const LINK_LASTS: Duration = Duration::from_secs(10 * 60);
/// How long the link to the first run works: somebody is just starting the service.
const FIRST_RUN_LASTS: Duration = Duration::from_secs(24 * 3600);
/// Whose the first run's link is: no team's yet.
const NOBODY: TeamId = TeamId(0);

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/enter", enter)
        .post("/settings/enter", go_on)
        .get("/settings/sign-in", show_sign_in)
        .post("/settings/sign-in", sign_in)
        .post("/settings/sign-out", sign_out)
        .get("/settings/first-run", show_first_run)
        .post("/settings/first-run", first_run)
}

/// Makes a link into a team's settings pages; when it stops working.
pub(crate) async fn link(
    app: &App,
    holder: LinkHolder,
    headers: &HeaderMap,
) -> Result<(String, Timestamp), Problem> {
    let base = match &app.options.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", host(headers).ok_or_else(no_host)?),
    };
    let expires_at = app.engine.clock().now().after(LINK_LASTS);
    let token = Token::random()?;
    let store = app.engine.store();
    store
        .put_token(holder, TokenKind::SettingsLink, token.hash(), expires_at)
        .await?;
    Ok((
        format!("{base}/settings/enter?token={}", token.expose()),
        expires_at,
    ))
}

fn no_host() -> Problem {
    Problem::InvalidRequest(
        "The header `Host` is missing or malformed, so no link can be made.".into(),
    )
}

/// The path of a page that makes the first team, where there is no team yet; it works for a day, once.
///
/// # Errors
/// The sentence says why none could be made.
pub async fn first_run_link(engine: &Engine) -> Result<Option<String>, String> {
    let store = engine.store();
    let first = PageRequest {
        page: 1,
        per_page: 1,
    };
    let teams = store
        .teams(first)
        .await
        .map_err(|error| error.to_string())?;
    if teams.total > 0 {
        return Ok(None);
    }
    let token = Token::random().map_err(|problem| problem.sentence())?;
    let expires_at = engine.clock().now().after(FIRST_RUN_LASTS);
    store
        .put_token(NOBODY.into(), TokenKind::FirstRun, token.hash(), expires_at)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Some(format!(
        "/settings/first-run?token={}",
        token.expose()
    )))
}

/// Trades a link for a session. Opening it uses it up; asking only for its head, as previews of
/// links do, does not. Nor does a link that another site leads to while somebody else's session is open: that
/// could be anybody's link, so whoever is at the browser is asked first.
async fn enter(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Trouble> {
    let query = Form::of_query(uri.query());
    let hash = token::hash(query.raw("token"));
    let now = app.engine.clock().now();
    let store = app.engine.store();
    if method == Method::HEAD {
        let holder = store.token(TokenKind::SettingsLink, hash, now).await?;
        holder.ok_or(Trouble::LinkOver)?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if is_led_here(&headers)
        && let Some(who) = session::whose(&app, &headers).await?
    {
        let holder = store.token(TokenKind::SettingsLink, hash, now).await?;
        let holder = holder.ok_or(Trouble::LinkOver)?;
        if !who.is(&holder) {
            return ask(&app, &headers, query.raw("token"), &holder, &who);
        }
    }
    trade(&app, &headers, hash).await
}

/// Whether a page of another site led the browser here. Browsers say so, and no page can change what they say;
/// who types a link, or opens it out of a message, is led by nobody.
fn is_led_here(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site == "cross-site" || site == "same-site")
}

/// The page that asks before a link ends a session.
#[derive(Template)]
#[template(path = "settings/enter.html")]
struct Ask {
    frame: Frame,
    csrf: String,
    token: String,
    /// Whom the link lets in.
    then: String,
    /// Whose the open session is.
    now: String,
}

fn ask(
    app: &App,
    headers: &HeaderMap,
    token: &str,
    holder: &LinkHolder,
    who: &Who,
) -> Result<Response, Trouble> {
    let team = app.engine.team_by_id(holder.team);
    let team = team.ok_or(Trouble::LinkOver)?;
    let called = |team: &Team, name: Option<&Arc<str>>| match name {
        Some(name) => format!("{} as {}", team.name, in_short(name, IN_A_LIST)),
        None => team.name.clone(),
    };
    let template = Ask {
        frame: Frame::outside(app.product(), "Somebody else's webhooks"),
        csrf: app.jar().csrf(headers).ok_or(Trouble::SignedOut)?,
        token: token.to_owned(),
        then: called(&team, holder.name.as_ref()),
        now: match who {
            Who::Operator => "every team, as the operator".to_owned(),
            Who::Of { team, actor, .. } => called(team, actor.name()),
        },
    };
    Ok(answer::ok(&template))
}

/// Opens a link after asking.
async fn go_on(
    State(app): State<App>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Trouble> {
    trade(&app, &headers, token::hash(form.raw("token"))).await
}

/// Uses a link up.
async fn trade(app: &App, headers: &HeaderMap, hash: [u8; 32]) -> Result<Response, Trouble> {
    let (now, store) = (app.engine.clock().now(), app.engine.store());
    let holder = store.take_token(TokenKind::SettingsLink, hash, now);
    let holder = holder.await?.ok_or(Trouble::LinkOver)?;
    // The browser forgets the session it had, so nobody else shall have it either.
    session::close(app, headers).await?;
    let cookies = session::open(app, Opener::Link(holder)).await?;
    Ok(with_cookies(answer::to("/settings"), &cookies))
}

#[derive(Template)]
#[template(path = "settings/sign_in.html")]
struct SignIn {
    frame: Frame,
    csrf: String,
    problem: Option<&'static str>,
}

async fn show_sign_in(State(app): State<App>) -> Result<Response, Trouble> {
    sign_in_page(&app, StatusCode::OK, None)
}

fn sign_in_page(
    app: &App,
    status: StatusCode,
    problem: Option<&'static str>,
) -> Result<Response, Trouble> {
    let (cookies, csrf) = app.jar().knock()?;
    let template = SignIn {
        frame: Frame::outside(app.product(), "Sign in"),
        csrf,
        problem,
    };
    Ok(with_cookies(answer::page(status, &template), &cookies))
}

/// Trades a key for a session, which ends with the key.
async fn sign_in(
    State(app): State<App>,
    peer: Peer,
    KnockingForm(form): KnockingForm,
) -> Result<Response, Trouble> {
    let now = app.engine.clock().now();
    app.bounds.may_try(peer, now)?;
    let hash = KeyHash::of(form.text("key"));
    if app.engine.bearer(&hash).is_none() {
        app.bounds.tried_in_vain(peer, now);
        let sentence = "This key is not valid: it is unknown, revoked or expired. Check that you \
                        copied all of it.";
        return sign_in_page(&app, StatusCode::UNPROCESSABLE_ENTITY, Some(sentence));
    }
    let cookies = session::open(&app, Opener::Key(hash)).await?;
    Ok(with_cookies(answer::to("/settings"), &cookies))
}

/// Ends the session.
async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    _: Form,
) -> Result<Response, Trouble> {
    session::close(&app, &headers).await?;
    let cookies = app.jar().forget();
    Ok(with_cookies(answer::to("/settings/sign-in"), &cookies))
}

/// Where one goes after the ways in: to the team, or to the list of teams.
pub(super) fn home(visitor: &Visitor) -> Option<String> {
    match &visitor.who {
        Who::Operator => None,
        Who::Of { team, .. } => Some(format!("/settings/teams/{}/webhooks", team.external_id)),
    }
}

/// The page that makes a team: the first one, or one more by the operator.
#[derive(Template)]
#[template(path = "settings/first_run.html")]
struct FirstRun {
    frame: Frame,
    csrf: String,
    token: String,
    name: String,
    id: String,
    problem: Option<String>,
}

/// Whether a first run's link works: as long as there is no team, and until it has made one.
async fn check_first_run(app: &App, token: &str) -> Result<(), Trouble> {
    let now = app.engine.clock().now();
    let store = app.engine.store();
    let found = store.token(TokenKind::FirstRun, token::hash(token), now);
    let one = PageRequest {
        page: 1,
        per_page: 1,
    };
    if found.await?.is_none() || store.teams(one).await?.total > 0 {
        return Err(Trouble::LinkOver);
    }
    Ok(())
}

async fn show_first_run(State(app): State<App>, uri: Uri) -> Result<Response, Trouble> {
    let query = Form::of_query(uri.query());
    let token = query.raw("token").to_owned();
    check_first_run(&app, &token).await?;
    first_run_page(&app, StatusCode::OK, token, &Form::default(), None)
}

fn first_run_page(
    app: &App,
    status: StatusCode,
    token: String,
    form: &Form,
    problem: Option<Problem>,
) -> Result<Response, Trouble> {
    let (cookies, csrf) = app.jar().knock()?;
    let template = FirstRun {
        frame: Frame::outside(app.product(), "Your first team"),
        csrf,
        token,
        name: form.raw("name").to_owned(),
        id: form.raw("id").to_owned(),
        problem: problem.map(|problem| problem.sentence()),
    };
    Ok(with_cookies(answer::page(status, &template), &cookies))
}

/// Makes the first team, and signs its maker in to it.
async fn first_run(
    State(app): State<App>,
    KnockingForm(form): KnockingForm,
) -> Result<Response, Trouble> {
    let token = form.raw("token").to_owned();
    check_first_run(&app, &token).await?;
    let made = match make_team(&app, &form).await {
        Ok(made) => made,
        Err(problem) => {
            let status = problem.status();
            return first_run_page(&app, status, token, &form, Some(problem));
        }
    };
    let (now, store) = (app.engine.clock().now(), app.engine.store());
    let taken = store.take_token(TokenKind::FirstRun, token::hash(&token), now);
    taken.await?.ok_or(Trouble::LinkOver)?;
    let cookies = session::open(&app, Opener::Link(made.into())).await?;
    Ok(with_cookies(answer::to("/settings"), &cookies))
}

/// A team out of a form's `name` and `id`, which only the operator makes.
pub(super) async fn make_team(app: &App, form: &Form) -> Result<TeamId, Problem> {
    let (name, id) = (form.text("name"), form.text("id"));
    check_text("Name", name, NAME_MAX)?;
    if !id.is_empty() && !is_external_team_id(id) {
        return Err(Problem::payload(
            "Id",
            "expected 1 to 64 characters of A-Z a-z 0-9 - _ . and not only dots, or nothing",
        ));
    }
    let id = (!id.is_empty()).then(|| id.to_owned());
    let made = app
        .engine
        .by(Actor::Operator)
        .create_team(id, name.to_owned(), DEFAULT_PLAN.into())
        .await?;
    Ok(made.id)
}
