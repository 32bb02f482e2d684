//! Hides how an endpoint is tried: an example of any type, edited or not, through the real engine, and what
//! came of it as it comes.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use model::endpoint::Subscription;
use model::event::{self, NewEvent};
use model::id::{DeliveryId, EndpointId};
use serde_json::value::RawValue;

use super::answer::{self, Frame, Tab, Trouble};
use super::delivery;
use super::endpoint::{Head, find};
use super::form::Form;
use super::layout::laid_out;
use super::rooms::Rooms;
use super::session::{Change, Named, Visit};
use crate::App;
use crate::problem::Problem;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/webhooks/{id}/test", show)
        .post("/settings/teams/{team}/webhooks/{id}/test", send)
}

/// The types a test event can be of, those first that the endpoint gets.
pub(super) fn type_options(app: &App, subscription: &Subscription) -> Vec<String> {
    let (mut wanted, others): (Vec<_>, Vec<_>) = names(app)
        .into_iter()
        .partition(|name| subscription.wants(name));
    wanted.extend(others);
    wanted
}

/// A type's example as people like to read it.
pub(super) fn example(app: &App, name: &str) -> Option<String> {
    let known = app.catalog.get(name)?;
    Some(laid_out(known.example.get()))
}

#[derive(Template)]
#[template(path = "settings/test_event.html")]
struct TestPage {
    frame: Frame,
    head: Head,
    types: Vec<String>,
    chosen: String,
    about: String,
    data: String,
    problem: Option<String>,
}

async fn show(
    Change(visit): Change,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let query = Form::of_query(uri.query());
    test_page(&app, &visit, id, query.text("type"), None, None).await
}

async fn test_page(
    app: &App,
    visit: &Visit,
    id: EndpointId,
    wanted: &str,
    data: Option<String>,
    problem: Option<Problem>,
) -> Result<Response, Trouble> {
    let endpoint = find(app, visit, id).await?;
    let types = type_options(app, &endpoint.subscription);
    let known = app.catalog.get(wanted);
    let known = known.or_else(|| app.catalog.get(types.first()?));
    let chosen = known.map_or_else(String::new, |known| known.name.to_string());
    let template = TestPage {
        frame: Frame::of(app, visit, Tab::Webhooks, "Send a test event"),
        head: Head::of(app, visit, &endpoint),
        about: known.map_or_else(String::new, |known| known.description.clone()),
        data: data.or_else(|| example(app, &chosen)).unwrap_or_default(),
        types,
        chosen,
        problem: problem.as_ref().map(Problem::sentence),
    };
    let status = problem.map_or(StatusCode::OK, |problem| problem.status());
    Ok(answer::page(status, &template))
}

/// Sends a test event. Where the script asks, the answer is what came of it so far and not a page.
async fn send(
    Change(visit): Change,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, Trouble> {
    let in_place = headers.contains_key("x-fragment");
    match try_send(&app, &visit, id, &form).await {
        Ok(sent) if in_place => delivery::result(&app, &visit, sent).await,
        Ok(sent) => {
            let sent = app.engine.store().codec().uuid(sent);
            Ok(answer::to(&format!("{}/deliveries/{sent}", visit.base())))
        }
        Err(Problem::NotFound) => Err(Trouble::Missing),
        Err(problem) if in_place => Ok(delivery::told(problem.status(), problem.sentence())),
        Err(problem) => {
            let data = form.again("data").to_owned();
            let data = (!data.is_empty()).then_some(data);
            test_page(&app, &visit, id, form.text("type"), data, Some(problem)).await
        }
    }
}

async fn try_send(
    app: &App,
    visit: &Visit,
    id: EndpointId,
    form: &Form,
) -> Result<DeliveryId, Problem> {
    // Browsers send the line ends of a field as CR LF, whatever was typed.
    let (name, data) = (form.text("type"), form.text("data").replace("\r\n", "\n"));
    let event = if data.is_empty() {
        NewEvent::example(&app.catalog, name)?
    } else {
        edited(app, name, &data)?
    };
    Ok(app.engine.send_test(visit.team.id, id, event).await?)
}

/// An event of edited data, held against the type's schema like a published one.
fn edited(app: &App, name: &str, data: &str) -> Result<NewEvent, Problem> {
    let data: &RawValue = serde_json::from_str(data).map_err(|error| {
        Problem::InvalidJson(format!("The example is not valid JSON any more: {error}."))
    })?;
    let name = serde_json::to_string(name).map_err(|error| Problem::internal(&error))?;
    let text = format!(r#"{{"type":{name},"data":{data}}}"#);
    Ok(event::parse_publication(&app.catalog, text.as_bytes())?)
}

/// Where the catalog sends one who wants to try a type at an endpoint.
pub(super) fn path_for(endpoint_path: &str, name: &str) -> String {
    // Names of types need no escaping.
    format!("{endpoint_path}/test?type={name}")
}

/// All types, by name.
pub(super) fn names(app: &App) -> Vec<String> {
    let types = app.catalog.types().iter();
    types.map(|known| known.name.to_string()).collect()
}
