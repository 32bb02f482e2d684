//! Hides how the delivery log is shown: by any filter, a page at a time, each row with where it stands.

use std::collections::HashMap;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, Uri};
use model::delivery::{Delivery, Status};
use model::endpoint::Endpoint;
use model::id::{DeliveryId, EndpointId, EventId, Id as _};
use model::time::Timestamp;
use store::{LogFilter, PageRequest};
use url::form_urlencoded;

use super::answer::{self, Frame, Tab, Trouble};
use super::form::Form;
use super::recovery;
use super::session::Visit;
use super::test_event::names;
use super::words::{self, Badge, When, millis, spaced};
use crate::App;
use crate::problem::Problem;
use crate::query::{read_cursor, write_cursor};

/// Deliveries on a page.
pub(super) const PER_PAGE: u32 = 25;
/// The most endpoints a filter offers.
const ENDPOINTS_OFFERED: u32 = 100;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/settings/teams/{team}/deliveries", get(show))
}

/// What of the log is asked for, as it was typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) endpoint: String,
    pub(super) status: String,
    pub(super) event_type: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) id: String,
}

/// What that comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) log: LogFilter,
    /// Only this delivery.
    only: Option<DeliveryId>,
    /// Only ids, of deliveries or events, that begin so.
    begins: String,
    /// Nothing can match.
    nothing: bool,
}

impl Asked {
    pub(super) fn of(form: &Form) -> Self {
        let text = |name| form.text(name).to_owned();
        Self {
            endpoint: text("endpoint"),
            status: text("status"),
            event_type: text("type"),
            since: text("since"),
            until: text("until"),
            id: text("id"),
        }
    }

    fn pairs(&self) -> [(&'static str, &str); 6] {
        [
            ("endpoint", &self.endpoint),
            ("status", &self.status),
            ("type", &self.event_type),
            ("since", &self.since),
            ("until", &self.until),
            ("id", &self.id),
        ]
    }

    pub(super) fn is_any(&self) -> bool {
        self.pairs().iter().any(|(_, value)| !value.is_empty())
    }

    /// As the query of a link, with something more in front.
    pub(super) fn query(&self, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(more);
        query.extend_pairs(self.pairs().iter().filter(|(_, value)| !value.is_empty()));
        query.finish()
    }

    /// What it comes to.
    pub(super) fn read(&self, app: &App) -> Result<Filter, Problem> {
        let codec = app.engine.store().codec();
        let mut filter = Filter::default();
        if !self.endpoint.is_empty() {
            filter.log.endpoint = codec.parse(&self.endpoint);
            filter.nothing |= filter.log.endpoint.is_none();
        }
        if !self.status.is_empty() {
            filter.log.status = Status::parse(&self.status);
            filter.nothing |= filter.log.status.is_none();
        }
        if !self.event_type.is_empty() {
            filter.log.event_type = Some(self.event_type.clone());
        }
        filter.log.since = moment(&self.since)?;
        filter.log.until = moment(&self.until)?;
        if !self.id.is_empty() {
            filter.find_id(&self.id, app)?;
        }
        Ok(filter)
    }
}

/// What a field for date and time holds: with or without seconds, in UTC.
fn moment(text: &str) -> Result<Option<Timestamp>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let whole = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    let wrong = |_| {
        Problem::InvalidRequest(format!(
            "{:?} is not a time: it is written like 2026-04-01T12:00.",
            crate::body::shortened(text)
        ))
    };
    Timestamp::parse_iso(&whole).map(Some).map_err(wrong)
}

impl Filter {
    /// Narrows it to an id, or to ids that begin so. Ids begin with their time, so their beginning is a
    /// span of time, and is found as quickly.
    fn find_id(&mut self, text: &str, app: &App) -> Result<(), Problem> {
        let codec = app.engine.store().codec();
        let text = text.to_ascii_lowercase();
        if uuid::Uuid::try_parse(&text).is_ok() {
            match (
                codec.parse::<DeliveryId>(&text),
                codec.parse::<EventId>(&text),
            ) {
                (Some(delivery), _) => self.only = Some(delivery),
                (None, Some(event)) => self.log.event = Some(event),
                (None, None) => match codec.parse::<EndpointId>(&text) {
                    Some(endpoint) => self.log.endpoint = Some(endpoint),
                    None => self.nothing = true,
                },
            }
            return Ok(());
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let shown: String = digits.chars().take(12).collect();
        let first = format!("{shown:0<12}");
        let last = format!("{shown:f<12}");
        let (Ok(first), Ok(last), true) = (
            i64::from_str_radix(&first, 16),
            i64::from_str_radix(&last, 16),
            digits.len() <= 32,
        ) else {
            return Err(Problem::InvalidRequest(
                "An id, or its beginning, has only the digits 0 to 9, the letters a to f, and \
                 hyphens."
                    .into(),
            ));
        };
        let (first, beyond) = (
            Timestamp::from_millis(first),
            Timestamp::from_millis(last + 1),
        );
        let log = &mut self.log;
        log.since = Some(log.since.map_or(first, |since| since.max(first)));
        log.until = Some(log.until.map_or(beyond, |until| until.min(beyond)));
        self.begins = digits;
        Ok(())
    }

    fn begins_so(&self, delivery: &Delivery, app: &App) -> bool {
        let codec = app.engine.store().codec();
        let begins = |uuid: uuid::Uuid| uuid.simple().to_string().starts_with(&self.begins);
        begins(codec.uuid(delivery.id)) || begins(codec.uuid(delivery.event))
    }

    /// The deliveries it lets through, newest first, after a position.
    pub(super) async fn page(
        &self,
        app: &App,
        visit: &Visit,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Trouble> {
        let (store, team) = (app.engine.store(), visit.team.id);
        if self.nothing {
            return Ok(Vec::new());
        }
        if let Some(only) = self.only {
            return Ok(store
                .delivery_alone(team, only)
                .await?
                .into_iter()
                .collect());
        }
        let mut page = store.delivery_log(team, &self.log, before, limit).await?;
        page.retain(|delivery| self.begins_so(delivery, app));
        Ok(page)
    }

    /// Whether dead letters of it can be retried together: not where it is about single deliveries, or
    /// about those that are no dead letters.
    pub(super) fn is_recoverable(&self) -> bool {
        let dead = self
            .log
            .status
            .is_none_or(|status| status == Status::DeadLetter);
        dead && self.only.is_none()
            && self.log.event.is_none()
            && !self.nothing
            && self.begins.len() <= 12
    }
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

/// Deliveries as rows.
pub(super) async fn rows(
    app: &App,
    visit: &Visit,
    deliveries: &[Delivery],
    endpoints: &[Endpoint],
) -> Result<Vec<Row>, Trouble> {
    let store = app.engine.store();
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
    let latest = store.latest_attempts(visit.team.id, &ids).await?;
    let latest: HashMap<_, _> = latest.into_iter().map(|one| (one.delivery, one)).collect();
    let now = app.engine.clock().now();
    let base = visit.base();
    let row = |delivery: &Delivery| {
        let id = store.codec().uuid(delivery.id).to_string();
        let endpoint = endpoints.iter().find(|one| one.id == delivery.endpoint);
        let attempt = latest.get(&delivery.id);
        Row {
            path: format!("{base}/deliveries/{id}"),
            short: id.get(..13).unwrap_or_default().to_owned(),
            id,
            event_type: delivery.event_type.clone(),
            test: delivery.test,
            endpoint: endpoint
                .map_or("a deleted endpoint", words::name_of)
                .to_owned(),
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
            can_retry: visit.can_write && delivery.status() != Status::Canceled,
        }
    };
    Ok(deliveries.iter().map(row).collect())
}

/// The team's endpoints, for their names.
pub(super) async fn endpoints(app: &App, visit: &Visit) -> Result<Vec<Endpoint>, Trouble> {
    let all = PageRequest {
        page: 1,
        per_page: ENDPOINTS_OFFERED,
    };
    Ok(app.engine.store().endpoints(visit.team.id, all).await?.rows)
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
    let (filter, problem) = match asked.read(&app) {
        Ok(filter) => (filter, None),
        Err(problem) => (
            Filter {
                nothing: true,
                ..Filter::default()
            },
            Some(problem),
        ),
    };
    let codec = app.engine.store().codec();
    let cursor = query.text("cursor");
    let before = read_cursor(cursor, codec);
    if before.is_none() && !cursor.is_empty() {
        return Err(Trouble::Missing);
    }
    let all = endpoints(&app, &visit).await?;
    let mut page = filter.page(&app, &visit, before, PER_PAGE + 1).await?;
    let more = page.len() > PER_PAGE as usize;
    page.truncate(PER_PAGE as usize);
    let next = page.last().filter(|_| more).map(|last| {
        let cursor = write_cursor(last.id, codec);
        asked.query(&[("cursor", &cursor)])
    });
    let base = visit.base();
    let recoverable = visit.can_write && filter.is_recoverable();
    let dead = if recoverable {
        recovery::count(&app, &visit, &filter.log, &all, 1).await?.0
    } else {
        0
    };
    let status = problem.as_ref().map_or(StatusCode::OK, Problem::status);
    let template = Log {
        frame: Frame::of(&app, &visit, Tab::Deliveries, "Deliveries"),
        endpoints: endpoint_choices(&app, &all, &asked.endpoint),
        statuses: choices(
            Status::ALL.iter().map(|one| one.as_str().to_owned()),
            &asked.status,
        ),
        types: choices(names(&app).into_iter(), &asked.event_type),
        rows: rows(&app, &visit, &page, &all).await?,
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

fn endpoint_choices(app: &App, endpoints: &[Endpoint], chosen: &str) -> Vec<Choice> {
    let codec = app.engine.store().codec();
    let choice = |endpoint: &Endpoint| {
        let value = codec.uuid(endpoint.id).to_string();
        Choice {
            label: words::name_of(endpoint).to_owned(),
            chosen: value == chosen,
            value,
        }
    };
    endpoints.iter().map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_browsers_send_it() {
        for (text, iso) in [
            ("", None),
            ("2026-04-01T12:00", Some("2026-04-01T12:00:00.000Z")),
            ("2026-04-01T12:00:07", Some("2026-04-01T12:00:07.000Z")),
            (
                "2026-04-01T12:00:07+02:00",
                Some("2026-04-01T10:00:07.000Z"),
            ),
        ] {
            let read = moment(text).unwrap().map(|moment| moment.to_string());
            assert_eq!(read.as_deref(), iso, "{text}");
        }
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn a_filter_goes_into_a_link_and_comes_back() {
        let asked = Asked {
            status: "dead_letter".into(),
            id: "01a2 &x".into(),
            ..Asked::default()
        };
        let query = asked.query(&[("cursor", "c")]);
        assert_eq!(query, "cursor=c&status=dead_letter&id=01a2+%26x");
        let again = Asked::of(&Form::of_query(Some(&query)));
        assert_eq!(again.query(&[]), asked.query(&[]));
        assert!(asked.is_any() && !Asked::default().is_any());
    }
}
