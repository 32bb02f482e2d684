//! Hides how the delivery log is shown: by any filter, a page at a time, each row with where it stands.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use model::delivery::{Delivery, Status};
use model::id::{EndpointId, Id as _};

use super::answer::{self, Frame, Tab, Trouble};
use super::filter::{Asked, Filter};
use super::form::Form;
use super::recovery;
use super::rooms::Rooms;
use super::session::Visit;
use super::test_event::names;
use super::words::{self, Badge, When, millis, spaced};
use crate::App;
use crate::problem::Problem;
use crate::query::{cut_page, read_cursor};

/// Deliveries on a page.
pub(super) const PER_PAGE: u32 = 25;
/// The most endpoints a filter offers; others can be had by their id.
const ENDPOINTS_OFFERED: u32 = 200;

pub(super) fn rooms() -> Rooms {
    Rooms::default().get("/settings/teams/{team}/deliveries", show)
}

/// A delivery in a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) short: String,
    pub(super) path: String,
    pub(super) event_type: String,
    pub(super) test: bool,
    pub(super) endpoint: String,
    pub(super) badge: Badge,
    pub(super) attempts: u32,
    pub(super) next: Option<When>,
    pub(super) latency: String,
    pub(super) outcome: String,
    pub(super) made: When,
    pub(super) can_retry: bool,
}

/// Deliveries as rows. `known` are the names of endpoints as far as they were read already.
pub(super) async fn rows(
    app: &App,
    visit: &Visit,
    deliveries: &[Delivery],
    known: &[(EndpointId, String)],
) -> Result<Vec<Row>, Trouble> {
    let store = app.engine.store();
    let mut names: HashMap<_, _> = known.iter().cloned().collect();
    let concerned = deliveries.iter().map(|delivery| delivery.endpoint);
    let others = concerned.filter(|endpoint| !names.contains_key(endpoint));
    let others = store.names_of(visit.team.id, others).await?;
    names.extend(others);
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
    let latest = store.latest_attempts(visit.team.id, &ids).await?;
    let latest: HashMap<_, _> = latest.into_iter().map(|one| (one.delivery, one)).collect();
    let now = app.engine.clock().now();
    let base = visit.base();
    let row = |delivery: &Delivery| {
        let id = store.codec().uuid(delivery.id).to_string();
        let endpoint = names.get(&delivery.endpoint);
        let attempt = latest.get(&delivery.id);
        Row {
            path: format!("{base}/deliveries/{id}"),
            short: id.get(..13).unwrap_or_default().to_owned(),
            id,
            event_type: delivery.event_type.clone(),
            test: delivery.test,
            endpoint: endpoint.map_or_else(
                || "a deleted endpoint".to_owned(),
                |name| words::in_short(name, words::IN_A_LIST),
            ),
            badge: Badge::of_delivery(delivery),
            attempts: delivery.attempt_count,
            next: delivery.upcoming().map(|at| When::of(at, now)),
            latency: attempt.map_or_else(|| "–".to_owned(), |one| millis(one.duration_ms)),
            outcome: attempt.map_or_else(String::new, |one| match (one.status_code, one.reason) {
                (Some(status), _) => status.to_string(),
                (None, Some(reason)) => words::reason(reason),
                (None, None) => String::new(),
            }),
            made: When::of(delivery.id.created_at(), now),
            // What is retried goes to the endpoint as it is now, so there has to be one.
            can_retry: visit.can_write
                && delivery.status() != Status::Canceled
                && endpoint.is_some(),
        }
    };
    Ok(deliveries.iter().map(row).collect())
}

/// Something to choose in a filter.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
    pub(super) chosen: bool,
}

#[derive(Template)]
#[template(path = "settings/log.html")]
struct Log {
    frame: Frame,
    base: String,
    asked: Asked,
    endpoints: Vec<Choice>,
    statuses: Vec<Choice>,
    types: Vec<Choice>,
    rows: Vec<Row>,
    can_write: bool,
    /// The query of the next page.
    next: Option<String>,
    is_first: bool,
    /// The query of the first page.
    newest: String,
    /// Where new rows come from.
    live: Option<String>,
    /// The query of the page that retries all that match.
    recover: Option<String>,
    problem: Option<String>,
    done: Option<String>,
}

/// The rows alone, as they are sent when they change.
#[derive(Template)]
#[template(path = "settings/log_rows.html")]
pub(super) struct LogRows {
    pub(super) rows: Vec<Row>,
    pub(super) can_write: bool,
}

async fn show(visit: Visit, State(app): State<App>, uri: Uri) -> Result<Response, Trouble> {
    let query = Form::of_query(uri.query());
    let asked = Asked::of(&query);
    let (filter, problem) = match asked.read(&app, &visit).await {
        Ok(filter) => (filter, None),
        Err(Trouble::Other(problem)) if problem.status().is_client_error() => {
            (Filter::nothing(), Some(problem))
        }
        Err(trouble) => return Err(trouble),
    };
    let codec = app.engine.store().codec();
    let cursor = query.text("cursor");
    let before = read_cursor(cursor, codec);
    if before.is_none() && !cursor.is_empty() {
        return Err(Trouble::Missing);
    }
    let mut page = filter.page(&app, &visit, before, PER_PAGE + 1).await?;
    let next = cut_page(&mut page, PER_PAGE, codec, |row| row.id);
    let next = next.map(|cursor| asked.query(&[("cursor", &cursor)]));
    let base = visit.base();
    let recoverable = visit.can_write && filter.is_recoverable();
    let dead = if recoverable {
        recovery::count(&app, &visit, &filter.log, 1).await?.0
    } else {
        0
    };
    let offered = offered(&app, &visit, &filter, &asked.endpoint).await?;
    let status = problem.as_ref().map_or(StatusCode::OK, Problem::status);
    let template = Log {
        frame: Frame::of(&app, &visit, Tab::Deliveries, "Deliveries"),
        rows: rows(&app, &visit, &page, &offered).await?,
        endpoints: choices_of(&app, offered, &asked.endpoint),
        statuses: choices(
            Status::ALL.iter().map(|one| one.as_str().to_owned()),
            &asked.status,
        ),
        types: choices(names(&app).into_iter(), &asked.event_type),
        can_write: visit.can_write,
        is_first: before.is_none(),
        newest: asked.query(&[]),
        live: (before.is_none() && problem.is_none())
            .then(|| format!("{base}/deliveries/live?{}", asked.query(&[]))),
        recover: (dead > 0).then(|| asked.query(&[])),
        next,
        base,
        asked,
        problem: problem.map(|problem| problem.sentence()),
        done: retried(query.text("retried")),
    };
    Ok(answer::page(status, &template))
}

fn retried(text: &str) -> Option<String> {
    let number: u64 = text.parse().ok()?;
    let what = words::counted(number, "delivery is", "deliveries are");
    Some(format!("{what} on the way again, each under its own id."))
}

fn choices(values: impl Iterator<Item = String>, chosen: &str) -> Vec<Choice> {
    let choice = |value: String| Choice {
        label: if value.contains('.') {
            value.clone()
        } else {
            spaced(&value)
        },
        chosen: value == chosen,
        value,
    };
    values.map(choice).collect()
}

/// The endpoints that the filter offers.
async fn offered(
    app: &App,
    visit: &Visit,
    filter: &Filter,
    chosen: &str,
) -> Result<Vec<(EndpointId, String)>, Trouble> {
    let (store, team) = (app.engine.store(), visit.team.id);
    let mut offered = store.endpoint_names(team, ENDPOINTS_OFFERED).await?;
    // The one that is chosen is offered whatever its place, else sending the form again would lose it.
    if let Some(wanted) = filter.log.endpoint.filter(|_| !chosen.is_empty())
        && offered.iter().all(|(id, _)| *id != wanted)
    {
        offered.extend(store.names_of(team, [wanted]).await?);
    }
    Ok(offered)
}

fn choices_of(app: &App, offered: Vec<(EndpointId, String)>, chosen: &str) -> Vec<Choice> {
    let codec = app.engine.store().codec();
    let choice = |(id, label): (EndpointId, String)| {
        let value = codec.uuid(id).to_string();
        Choice {
            label: words::in_short(&label, words::IN_A_CHOICE),
            chosen: value == chosen,
            value,
        }
    };
    offered.into_iter().map(choice).collect()
}
