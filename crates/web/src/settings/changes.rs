//! Hides what can be done to an endpoint from its pages: edit, pause, disable, a new secret, delete.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use engine::EndpointEdit;
use http::StatusCode;
use model::endpoint::{Endpoint, Subscription};
use model::id::EndpointId;

use super::add::{chosen_description, chosen_events};
use super::answer::{self, Frame, Tab, Trouble};
use super::endpoint::{Head, SettingsPage, find};
use super::form::Form;
use super::receivers::{self, Example};
use super::rooms::Rooms;
use super::session::{Change, Named, Visit};
use super::words::{self, When};
use crate::App;
use crate::endpoints::read_url;
use crate::problem::Problem;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .post("/settings/teams/{team}/webhooks/{id}/state", set_state)
        .post("/settings/teams/{team}/webhooks/{id}/rotate", rotate)
        .post("/settings/teams/{team}/webhooks/{id}/delete", delete)
}

fn path(app: &App, visit: &Visit, id: EndpointId) -> String {
    format!(
        "{}/webhooks/{}",
        visit.base(),
        app.engine.store().codec().uuid(id)
    )
}

/// Saves URL, description and events.
pub(super) async fn save(
    Change(visit): Change,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    let endpoint = find(&app, &visit, id).await?;
    match try_save(&app, &visit, &endpoint, &form).await {
        Ok(()) => Ok(answer::to(&format!(
            "{}/settings?done=saved",
            path(&app, &visit, id)
        ))),
        Err(problem @ (Problem::NotFound | Problem::Unavailable | Problem::Internal)) => {
            Err(problem.into())
        }
        Err(problem) => {
            let endpoint = find(&app, &visit, id).await?;
            let events = chosen_events(&app, &form).unwrap_or(Subscription::All);
            let page = SettingsPage::of(&app, &visit, &endpoint);
            let page = page.typed(&app, &form, &events).with(&problem);
            Ok(page.answer(problem.status()))
        }
    }
}

async fn try_save(
    app: &App,
    visit: &Visit,
    endpoint: &Endpoint,
    form: &Form,
) -> Result<(), Problem> {
    let description = chosen_description(form)?;
    let subscription = chosen_events(app, form)?;
    let url = match form.text("url") {
        same if same == endpoint.url => None,
        new => Some(read_url(app, new).await?.0),
    };
    // Only now: to look a new URL's host up takes a while, in which somebody else may save.
    let store = app.engine.store();
    let now = store.endpoint(visit.team.id, endpoint.id).await?;
    let now = now.ok_or(Problem::NotFound)?;
    let seen = form.text("seen");
    if !seen.is_empty() && seen != now.updated_at.to_string() {
        let sentence = "The endpoint was changed elsewhere since this page was loaded, so nothing \
                        was saved. Load the page again to see how it is now, or save once more to \
                        have it as it stands here.";
        return Err(Problem::Conflict(sentence.into()));
    }
    let edit = EndpointEdit {
        url,
        description: Some(description),
        subscription: Some(subscription),
        ..EndpointEdit::default()
    };
    visit
        .hand(app)
        .update_endpoint(visit.team.id, endpoint.id, edit)
        .await?;
    Ok(())
}

/// Pauses, resumes, disables or enables.
async fn set_state(
    Change(visit): Change,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    let to = form.text("to");
    let (disabled, paused) = match to {
        "pause" => (None, Some(true)),
        "resume" => (None, Some(false)),
        "disable" => (Some(true), None),
        "enable" => (Some(false), None),
        _ => {
            let sentence = "An endpoint can be paused, resumed, disabled or enabled.";
            return Err(Problem::InvalidRequest(sentence.into()).into());
        }
    };
    let edit = EndpointEdit {
        disabled,
        paused,
        ..EndpointEdit::default()
    };
    visit
        .hand(&app)
        .update_endpoint(visit.team.id, id, edit)
        .await?;
    Ok(answer::to(&format!("{}?done={to}", path(&app, &visit, id))))
}

#[derive(Template)]
#[template(path = "settings/rotated.html")]
struct Rotated {
    frame: Frame,
    head: Head,
    secret: String,
    old_until: Option<When>,
    examples: Vec<Example>,
}

/// Makes a new secret. The answer is the only page that shows it.
async fn rotate(
    Change(visit): Change,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    let overlap = match form.text("overlap") {
        "0" => Duration::ZERO,
        "3600" => Duration::from_secs(3600),
        "604800" => Duration::from_secs(604_800),
        _ => Duration::from_secs(86_400),
    };
    let rotated = visit
        .hand(&app)
        .rotate_secret(visit.team.id, id, overlap)
        .await;
    let (secret, endpoint) = match rotated.map_err(Problem::from) {
        Ok(rotated) => rotated,
        Err(Problem::Conflict(sentence)) => {
            let endpoint = find(&app, &visit, id).await?;
            let mut page = SettingsPage::of(&app, &visit, &endpoint);
            page.problem_rotating = Some(sentence);
            return Ok(page.answer(StatusCode::CONFLICT));
        }
        Err(problem) => return Err(problem.into()),
    };
    let now = app.engine.clock().now();
    let until = endpoint.secrets.previous.last().map(|(_, end)| *end);
    let template = Rotated {
        frame: Frame::of(&app, &visit, Tab::Webhooks, &words::name_of(&endpoint)),
        head: Head::of(&app, &visit, &endpoint),
        secret: secret.expose().to_owned(),
        old_until: until.filter(|end| *end > now).map(|end| When::of(end, now)),
        examples: receivers::examples(Some(secret.expose()), &app.engine.options().brand),
    };
    Ok(answer::ok(&template))
}

/// Deletes an endpoint whose name was typed.
async fn delete(
    Change(visit): Change,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    let endpoint = find(&app, &visit, id).await?;
    if words::shown(form.text("name")) != words::name_of(&endpoint) {
        let mut page = SettingsPage::of(&app, &visit, &endpoint);
        page.problem_deleting = Some(
            "What you typed is not the endpoint's name, so it was not deleted. Type the name as it \
             stands here."
                .into(),
        );
        return Ok(page.answer(StatusCode::UNPROCESSABLE_ENTITY));
    }
    visit.hand(&app).delete_endpoint(visit.team.id, id).await?;
    Ok(answer::to(&format!("{}/webhooks?deleted=1", visit.base())))
}
