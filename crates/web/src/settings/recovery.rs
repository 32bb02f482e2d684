//! Hides how many deliveries are retried: those that were picked, or all dead letters that match a filter,
//! counted first and watched while it goes on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use engine::Refusal;
use http::{HeaderMap, Uri};
use model::id::{DeliveryId, EndpointId, TeamId};
use store::{LogFilter, RetryFilter};

use super::answer::{self, Frame, Tab, Trouble};
use super::filter::Asked;
use super::form::Form;
use super::rooms::Rooms;
use super::session::{Change, Visit};
use super::words;
use crate::App;
use crate::problem::Problem;
use crate::token::Token;

/// What is counted at most before a retry: a few milliseconds.
const COUNTED: u32 = 100_000;
/// How many may be picked at once: a few pages of the log.
const PICKED: usize = 200;
/// How many recoveries are remembered, under way or over.
const REMEMBERED: usize = 10_000;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/deliveries/retry", confirm)
        .post("/settings/teams/{team}/deliveries/retry", retry_picked)
        .post("/settings/teams/{team}/deliveries/retry-all", retry_all)
        .get("/settings/teams/{team}/recoveries/{recovery}", progress)
}

/// The recoveries that were begun here.
#[derive(Default)]
pub(crate) struct Recoveries(Mutex<VecDeque<Arc<Recovery>>>);

/// A recovery: what it is to do, and how far it is.
struct Recovery {
    name: String,
    team: TeamId,
    expected: u64,
    done: Arc<AtomicU64>,
    over: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Recoveries {
    /// Begins one, unless the team has one under way: then that one. Of each team the latest is remembered.
    fn begin(&self, recovery: &Arc<Recovery>) -> Result<(), Arc<Recovery>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = all
            .iter()
            .find(|one| one.team == recovery.team && !one.over.load(Ordering::Acquire));
        if let Some(one) = under_way {
            return Err(Arc::clone(one));
        }
        all.retain(|one| one.team != recovery.team);
        if all.len() >= REMEMBERED {
            all.pop_front();
        }
        all.push_back(Arc::clone(recovery));
        Ok(())
    }

    fn find(&self, team: TeamId, name: &str) -> Option<Arc<Recovery>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|one| one.team == team && one.name == name);
        found.map(Arc::clone)
    }
}

fn retry_filter(filter: &LogFilter) -> RetryFilter {
    RetryFilter {
        event_type: filter.event_type.clone(),
        since: filter.since,
        until: filter.until,
    }
}

/// How many dead letters of living endpoints match, counted up to `at_most`, and whether there may be more.
pub(super) async fn count(
    app: &App,
    visit: &Visit,
    filter: &LogFilter,
    at_most: u32,
) -> Result<(u64, bool), Trouble> {
    let (store, team, range) = (app.engine.store(), visit.team.id, retry_filter(filter));
    let counting = store.count_dead_letters(team, filter.endpoint, &range, at_most);
    let total = counting.await?;
    Ok((total, total >= u64::from(at_most)))
}

#[derive(Template)]
#[template(path = "settings/retry_all.html")]
struct Confirm {
    frame: Frame,
    base: String,
    asked: Asked,
    count: String,
    none: bool,
    conditions: Vec<String>,
    back: String,
}

/// Says how many would be retried, before any is.
async fn confirm(
    Change(visit): Change,
    State(app): State<App>,
    uri: Uri,
) -> Result<Response, Trouble> {
    let asked = Asked::of(&Form::of_query(uri.query()));
    let filter = asked.read(&app, &visit).await?;
    if !filter.is_recoverable() {
        return Err(Trouble::Missing);
    }
    let (number, more) = count(&app, &visit, &filter.log, COUNTED).await?;
    let template = Confirm {
        frame: Frame::of(&app, &visit, Tab::Deliveries, "Retry dead letters"),
        base: visit.base(),
        count: told(number, more),
        none: number == 0,
        conditions: conditions(&app, &visit, &asked, &filter.log).await?,
        back: asked.query(&[]),
        asked,
    };
    Ok(answer::ok(&template))
}

fn told(number: u64, more: bool) -> String {
    let at_least = if more { " or more" } else { "" };
    format!(
        "{}{at_least}",
        words::counted(number, "dead letter", "dead letters")
    )
}

async fn conditions(
    app: &App,
    visit: &Visit,
    asked: &Asked,
    filter: &LogFilter,
) -> Result<Vec<String>, Trouble> {
    let store = app.engine.store();
    let names = store.names_of(visit.team.id, filter.endpoint).await?;
    let mut said = vec![match (filter.endpoint, names.into_values().next()) {
        (Some(_), Some(name)) => format!("of {}", words::shown(&name)),
        (Some(_), None) => "of a deleted endpoint".to_owned(),
        (None, _) => "of all endpoints".to_owned(),
    }];
    for (what, text) in [
        ("of the type", &asked.event_type),
        ("made at or after", &asked.since),
        ("made before", &asked.until),
        ("whose id begins with", &asked.id),
    ] {
        if !text.is_empty() {
            said.push(format!("{what} {text}"));
        }
    }
    Ok(said)
}

/// Retries those that were picked.
async fn retry_picked(
    Change(visit): Change,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    let asked = Asked::of(&form);
    let codec = app.engine.store().codec();
    // All or none: a foreign id among them is as one that does not exist.
    let ids: Option<Vec<DeliveryId>> = form.all("pick").iter().map(|id| codec.parse(id)).collect();
    let ids = ids.ok_or(Trouble::Missing)?;
    if ids.is_empty() {
        let sentence = "No delivery was picked. Tick those to retry, then send again.";
        return Err(Problem::InvalidRequest(sentence.into()).into());
    }
    if ids.len() > PICKED {
        let sentence = format!("At most {PICKED} deliveries can be picked at once.");
        return Err(Problem::InvalidRequest(sentence).into());
    }
    let store = app.engine.store();
    let mut endpoints = Vec::new();
    for id in &ids {
        let found = store.delivery_alone(visit.team.id, *id).await?;
        endpoints.push(found.ok_or(Trouble::Missing)?.endpoint);
    }
    let living = store.names_of(visit.team.id, endpoints.clone()).await?;
    if !endpoints
        .iter()
        .all(|endpoint| living.contains_key(endpoint))
    {
        let sentence = "The endpoint of one of these was deleted, so there is nowhere to send it, \
                        and none was retried. Pick the others alone.";
        return Err(Problem::Conflict(sentence.into()).into());
    }
    for id in &ids {
        app.engine.retry_delivery(visit.team.id, *id).await?;
    }
    let number = ids.len().to_string();
    let query = asked.query(&[("retried", &number)]);
    Ok(answer::to(&format!("{}/deliveries?{query}", visit.base())))
}

/// Begins to retry all dead letters that match.
async fn retry_all(
    Change(visit): Change,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    let filter = Asked::of(&form).read(&app, &visit).await?;
    if !filter.is_recoverable() {
        return Err(Trouble::Missing);
    }
    let (expected, _) = count(&app, &visit, &filter.log, COUNTED).await?;
    let range = retry_filter(&filter.log);
    let endpoints = match filter.log.endpoint {
        Some(endpoint) => vec![endpoint],
        None => {
            let store = app.engine.store();
            store.with_dead_letters(visit.team.id, &range).await?
        }
    };
    let recovery = Arc::new(Recovery {
        name: Token::random()?
            .expose()
            .get(..16)
            .unwrap_or_default()
            .to_owned(),
        team: visit.team.id,
        expected,
        done: Arc::default(),
        over: AtomicBool::new(false),
        failure: Mutex::default(),
    });
    let path = |one: &Recovery| format!("{}/recoveries/{}", visit.base(), one.name);
    if let Err(under_way) = app.recoveries.begin(&recovery) {
        return Ok(answer::to(&path(&under_way)));
    }
    let path = path(&recovery);
    tokio::spawn(recover(app, recovery, endpoints, range));
    Ok(answer::to(&path))
}

async fn recover(
    app: App,
    recovery: Arc<Recovery>,
    endpoints: Vec<EndpointId>,
    filter: RetryFilter,
) {
    for endpoint in endpoints {
        let done = Arc::clone(&recovery.done);
        let team = recovery.team;
        let retrying = app
            .engine
            .retry_dead_letters_watched(team, endpoint, filter.clone(), done);
        match retrying.await {
            // An endpoint that was deleted meanwhile has nothing to be retried.
            Ok(_) | Err(Refusal::NotFound(_)) => {}
            Err(refusal) => {
                let sentence = Problem::from(refusal).sentence();
                let mut failure = recovery
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *failure = Some(sentence);
                break;
            }
        }
    }
    recovery.over.store(true, Ordering::Release);
}

#[derive(Template)]
#[template(path = "settings/recovery.html")]
struct Progress {
    frame: Frame,
    base: String,
    part: Part,
}

/// The part of it that changes while it goes on, alone.
#[derive(Template)]
#[template(path = "settings/recovery_part.html")]
struct Fragment {
    part: Part,
}

/// How far it is.
struct Part {
    path: String,
    done: String,
    expected: String,
    value: u64,
    most: u64,
    over: bool,
    failure: Option<String>,
}

async fn progress(
    visit: Visit,
    State(app): State<App>,
    axum::extract::Path((_, name)): axum::extract::Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let found = app.recoveries.find(visit.team.id, &name);
    let recovery = found.ok_or(Trouble::Missing)?;
    let over = recovery.over.load(Ordering::Acquire);
    let done = recovery.done.load(Ordering::Relaxed);
    let failure = recovery
        .failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let part = Part {
        path: format!("{}/recoveries/{name}", visit.base()),
        done: words::counted(done, "dead letter is", "dead letters are"),
        expected: words::count(recovery.expected.max(done)),
        value: done,
        most: if over {
            done.max(1)
        } else {
            recovery.expected.max(done).max(1)
        },
        over,
        failure: failure.clone(),
    };
    drop(failure);
    if headers.contains_key("x-fragment") {
        return Ok(answer::ok(&Fragment { part }));
    }
    let template = Progress {
        frame: Frame::of(&app, &visit, Tab::Deliveries, "Retrying"),
        base: visit.base(),
        part,
    };
    Ok(answer::ok(&template))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(team: i64, name: &str) -> Arc<Recovery> {
        Arc::new(Recovery {
            name: name.to_owned(),
            team: TeamId(team),
            expected: 1,
            done: Arc::default(),
            over: AtomicBool::new(false),
            failure: Mutex::default(),
        })
    }

    #[test]
    fn a_team_has_one_under_way_and_its_latest_is_remembered() {
        let all = Recoveries::default();
        let (first, second, other) = (recovery(1, "a"), recovery(1, "b"), recovery(2, "c"));
        assert!(all.begin(&first).is_ok() && all.begin(&other).is_ok());
        let under_way = all.begin(&second).err();
        assert_eq!(under_way.map(|one| one.name.clone()), Some("a".into()));
        first.over.store(true, Ordering::Release);
        assert!(all.find(TeamId(1), "a").is_some(), "its end can be read");
        assert!(all.begin(&second).is_ok());
        let found = |team, name| all.find(TeamId(team), name).is_some();
        assert_eq!(
            [found(1, "a"), found(1, "b"), found(2, "b"), found(2, "c")],
            [false, true, false, true]
        );
    }

    #[test]
    fn a_count_says_whether_it_was_counted_to_the_end() {
        for (number, more, text) in [
            (1, false, "1 dead letter"),
            (1234, false, "1,234 dead letters"),
            (100_000, true, "100,000 dead letters or more"),
        ] {
            assert_eq!(told(number, more), text);
        }
    }
}
