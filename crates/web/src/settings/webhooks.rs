//! Hides how the list of a team's endpoints is put together: each with its health in words and its last day.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::Uri;
use model::endpoint::{Endpoint, Subscription};
use model::id::EndpointId;
use model::tally::hour_of;
use model::time::Timestamp;
use store::EndpointHour;
use url::form_urlencoded;

use super::answer::{self, Frame, Tab, Trouble};
use super::chart::{self, Svg};
use super::form::Form;
use super::receivers::{self, Example};
use super::rooms::Rooms;
use super::session::Visit;
use super::words::{self, Badge, When, count, counted, percent};
use crate::App;
use crate::query::Query;

/// Endpoints on a page of the list.
const PER_PAGE: u32 = 20;
/// How far back the list looks.
pub(super) const DAY: i64 = 24;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/webhooks", show)
        .post("/settings/teams/{team}/webhooks", super::add::create)
}

pub(super) struct Card {
    pub(super) path: String,
    pub(super) name: String,
    /// Where it is not all of the name.
    pub(super) url: Option<String>,
    pub(super) events: String,
    pub(super) badge: Badge,
    pub(super) health: String,
    pub(super) last: Option<When>,
    pub(super) rate: String,
    pub(super) attempts: String,
    pub(super) spark: Svg,
}

#[derive(Template)]
#[template(path = "settings/webhooks.html")]
struct List {
    frame: Frame,
    base: String,
    cards: Vec<Card>,
    used: String,
    share: u32,
    full: bool,
    can_write: bool,
    page: u64,
    pages: u64,
    examples: Vec<Example>,
    deleted: bool,
}

async fn show(visit: Visit, State(app): State<App>, uri: Uri) -> Result<Response, Trouble> {
    // As on all pages, what else a link carries is of no concern here.
    let query = Form::of_query(uri.query());
    let page = form_urlencoded::Serializer::new(String::new())
        .append_pair("page", query.text("page"))
        .finish();
    let request = Query::read(Some(&page), &["page"])?.page(PER_PAGE)?;
    let store = app.engine.store();
    let page = store.endpoints(visit.team.id, request).await?;
    let now = app.engine.clock().now();
    let first = hour_of(now) - DAY + 1;
    let shown = page.rows.iter().map(|endpoint| endpoint.id);
    let mut hours: HashMap<EndpointId, Vec<EndpointHour>> = HashMap::new();
    for (endpoint, hour) in store.hours_of(visit.team.id, shown, first).await? {
        hours.entry(endpoint).or_default().push(hour);
    }
    let base = visit.base();
    let card = |endpoint: &Endpoint| {
        let id = store.codec().uuid(endpoint.id);
        let own = hours.get(&endpoint.id).map_or(&[][..], Vec::as_slice);
        card(endpoint, format!("{base}/webhooks/{id}"), own, now)
    };
    let granted = granted(&app, &visit);
    let template = List {
        frame: Frame::of(&app, &visit, Tab::Webhooks, "Webhooks"),
        cards: page.rows.iter().map(card).collect(),
        used: format!("used {} of {}", count(page.total), count(granted.into())),
        share: u32::try_from(page.total * 100 / u64::from(granted.max(1)))
            .unwrap_or(100)
            .min(100),
        full: page.total >= u64::from(granted),
        can_write: visit.can_write,
        page: request.page,
        pages: page.total.div_ceil(u64::from(PER_PAGE)).max(1),
        examples: if page.total == 0 {
            receivers::examples(None, &app.engine.options().brand)
        } else {
            Vec::new()
        },
        deleted: !query.text("deleted").is_empty(),
        base: base.clone(),
    };
    Ok(answer::ok(&template))
}

/// How many endpoints the team's plan grants.
pub(super) fn granted(app: &App, visit: &Visit) -> u32 {
    let plan = app.engine.options().plans.get(&visit.team.plan);
    plan.map_or(0, |plan| plan.endpoints)
}

fn card(endpoint: &Endpoint, path: String, hours: &[EndpointHour], now: Timestamp) -> Card {
    let last = hour_of(now);
    let tallies = chart::by_hour(hours, last - DAY + 1, last);
    let day = chart::sum(&tallies);
    Card {
        path,
        name: words::in_short(&words::name_of(endpoint), words::IN_A_LIST),
        url: words::url_below_name(endpoint, words::IN_A_LIST),
        events: events(&endpoint.subscription),
        badge: Badge::of_endpoint(endpoint),
        health: words::health(endpoint, now),
        last: endpoint.last_delivery_at.map(|at| When::of(at, now)),
        rate: day
            .success_percent()
            .map_or_else(|| "–".to_owned(), percent),
        attempts: counted(day.attempts(), "attempt", "attempts"),
        spark: chart::sparkline(&tallies),
    }
}

/// Which events an endpoint gets, in a few words.
pub(super) fn events(subscription: &Subscription) -> String {
    match subscription {
        Subscription::All => "All events".to_owned(),
        Subscription::Types(names) if names.len() <= 3 => names.join(", "),
        Subscription::Types(names) => {
            let first = names.first().map_or("", String::as_str);
            format!("{first} and {} more types", names.len() - 1)
        }
    }
}
