//! Hides how one endpoint is shown: how it fares, and its settings.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use model::endpoint::{Endpoint, Subscription};
use model::id::EndpointId;
use model::tally::hour_of;
use store::LogFilter;

use super::add::Fields;
use super::answer::{self, Frame, Tab, Trouble};
use super::chart::{self, Chart};
use super::form::Form;
use super::log::{Row, rows};
use super::rooms::Rooms;
use super::session::{Named, Visit};
use super::webhooks::{DAY, events};
use super::words::{self, Badge, When, count, percent};
use crate::App;

const WEEK: i64 = 7 * DAY;
/// In the chart of a week a bar is so many hours.
const WEEK_STEP: usize = 6;
/// Deliveries on the overview.
const LATEST: u32 = 8;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/webhooks/{id}", show)
        .get(
            "/settings/teams/{team}/webhooks/{id}/settings",
            show_settings,
        )
        .post(
            "/settings/teams/{team}/webhooks/{id}/settings",
            super::changes::save,
        )
}

/// What stands at the head of all of an endpoint's pages.
pub(super) struct Head {
    pub(super) base: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) name: String,
    /// Where it is not all of the name.
    pub(super) url: Option<String>,
    pub(super) badge: Badge,
    pub(super) health: String,
    pub(super) disabled: bool,
    pub(super) paused: bool,
    pub(super) can_write: bool,
    pub(super) csrf: String,
    /// What was just done, said once.
    pub(super) done: Option<&'static str>,
}

impl Head {
    pub(super) fn of(app: &App, visit: &Visit, endpoint: &Endpoint) -> Self {
        let id = app.engine.store().codec().uuid(endpoint.id).to_string();
        let base = visit.base();
        Self {
            path: format!("{base}/webhooks/{id}"),
            base,
            id,
            name: words::name_of(endpoint),
            url: words::url_below_name(endpoint, usize::MAX),
            badge: Badge::of_endpoint(endpoint),
            health: words::health(endpoint, app.engine.clock().now()),
            disabled: endpoint.disabled,
            paused: endpoint.paused,
            can_write: visit.can_write,
            csrf: visit.csrf.clone(),
            done: None,
        }
    }

    /// With what was just done, where the query says so.
    fn done(mut self, uri: &Uri) -> Self {
        self.done = match Form::of_query(uri.query()).text("done") {
            "saved" => Some("Saved. Deliveries from now on go by the new settings."),
            "pause" => Some("Paused. Deliveries are kept and wait until you resume."),
            "resume" => Some("Resumed. What waited is being sent, oldest first."),
            "disable" => Some("Disabled. No new deliveries are made for it."),
            "enable" if self.paused => {
                Some("Enabled, and still paused: deliveries wait until you resume.")
            }
            "enable" => Some("Enabled. What waited is being sent, oldest first."),
            _ => None,
        };
        self
    }
}

/// An endpoint of the team's.
pub(super) async fn find(app: &App, visit: &Visit, id: EndpointId) -> Result<Endpoint, Trouble> {
    let found = app.engine.store().endpoint(visit.team.id, id).await?;
    found.ok_or(Trouble::Missing)
}

#[derive(Template)]
#[template(path = "settings/endpoint.html")]
struct Overview {
    frame: Frame,
    head: Head,
    events: String,
    made: When,
    last: Option<When>,
    rate: String,
    attempts: String,
    failed: String,
    dead: String,
    p50: String,
    p95: String,
    p99: String,
    charts: [Chart; 2],
    latest: Vec<Row>,
}

async fn show(
    visit: Visit,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let endpoint = find(&app, &visit, id).await?;
    let (store, now) = (app.engine.store(), app.engine.clock().now());
    let last = hour_of(now);
    // The week's bars begin with days, so that they can be told apart.
    let first = last - WEEK + 1 - (last - WEEK + 1).rem_euclid(WEEK_STEP as i64);
    let hours = store.endpoint_hours(visit.team.id, id, first).await?;
    let week = chart::by_hour(&hours, first, last);
    let day_first = last - DAY + 1;
    let day = chart::by_hour(&hours, day_first, last);
    let today = chart::sum(&day);
    let filter = LogFilter {
        endpoint: Some(id),
        ..LogFilter::default()
    };
    let latest = store
        .delivery_log(visit.team.id, &filter, None, LATEST)
        .await?;
    let latest = rows(&app, &visit, &latest, &[]).await?;
    let template = Overview {
        frame: Frame::of(&app, &visit, Tab::Webhooks, &words::name_of(&endpoint)),
        head: Head::of(&app, &visit, &endpoint).done(&uri),
        events: events(&endpoint.subscription),
        made: When::of(model::id::Id::created_at(endpoint.id), now),
        last: endpoint.last_delivery_at.map(|at| When::of(at, now)),
        rate: today
            .success_percent()
            .map_or_else(|| "–".to_owned(), percent),
        attempts: count(today.attempts()),
        failed: count(today.failed.into()),
        dead: count(today.dead_letters.into()),
        p50: chart::percentile(&today, 50),
        p95: chart::percentile(&today, 95),
        p99: chart::percentile(&today, 99),
        charts: [
            chart::chart("Last 24 hours", &day, day_first, 1),
            chart::chart("Last 7 days", &week, first, WEEK_STEP),
        ],
        latest,
    };
    Ok(answer::ok(&template))
}

#[derive(Template)]
#[template(path = "settings/endpoint_settings.html")]
pub(super) struct SettingsPage {
    frame: Frame,
    head: Head,
    fields: Fields,
    /// When what the page shows was last changed: somebody else may change it meanwhile.
    seen: String,
    /// The header that a rotation leaves with the old secret.
    signature: String,
    /// The secrets before the current one that are still in use, by when each ends.
    old_secrets: Vec<When>,
    pub(super) problem_rotating: Option<String>,
    pub(super) problem_deleting: Option<String>,
}

impl SettingsPage {
    pub(super) fn of(app: &App, visit: &Visit, endpoint: &Endpoint) -> Self {
        let description = endpoint.description.as_deref().unwrap_or_default();
        let now = app.engine.clock().now();
        let ends = endpoint.secrets.previous.iter().map(|(_, end)| *end);
        Self {
            frame: Frame::of(app, visit, Tab::Webhooks, &words::name_of(endpoint)),
            head: Head::of(app, visit, endpoint),
            fields: Fields::of(app, &endpoint.url, description, &endpoint.subscription),
            seen: endpoint.updated_at.to_string(),
            signature: format!("{}-Signature", app.engine.options().brand.header_prefix),
            old_secrets: ends
                .filter(|end| *end > now)
                .map(|end| When::of(end, now))
                .collect(),
            problem_rotating: None,
            problem_deleting: None,
        }
    }

    /// With what was typed instead of what is kept.
    pub(super) fn typed(mut self, app: &App, form: &Form, events: &Subscription) -> Self {
        self.fields = Fields::typed(app, form, events);
        self
    }

    pub(super) fn with(mut self, problem: &crate::problem::Problem) -> Self {
        self.fields = self.fields.with(problem);
        self
    }

    pub(super) fn answer(&self, status: StatusCode) -> Response {
        answer::page(status, self)
    }
}

async fn show_settings(
    visit: Visit,
    Named(id): Named<EndpointId>,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let endpoint = find(&app, &visit, id).await?;
    let mut page = SettingsPage::of(&app, &visit, &endpoint);
    page.head = page.head.done(&uri);
    Ok(page.answer(StatusCode::OK))
}
