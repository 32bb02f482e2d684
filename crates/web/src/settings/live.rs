//! Hides how the log's first page stays true while it is looked at: its rows are sent whenever they change
//! (server-sent events), to a bounded number of watchers, until they leave or the service stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::Uri;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use model::id::TeamId;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::Trouble;
use super::filter::{Asked, Filter};
use super::form::Form;
use super::log::{LogRows, PER_PAGE, rows};
use super::rooms::Rooms;
use super::session::Visit;
use crate::App;
use crate::problem::Problem;

/// How often it is looked whether the rows changed: a few reads of an index.
const LOOKED: Duration = Duration::from_secs(1);
/// How long nothing may be said, so that nothing in between takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether the session is still open. That is no use of it: who only watches is idle.
const CHECKED: Duration = Duration::from_secs(5);
/// How long one connection lasts; the browser then comes again by itself, and is asked again who it is.
const LASTS: Duration = Duration::from_secs(10 * 60);
/// How many may watch at once. The others see the page as it was when they loaded it.
const WATCHERS: usize = 256;

/// How many of them may be of one team, so that one cannot take the places of all.
const WATCHERS_OF_A_TEAM: usize = 32;

/// Who watches now: how many of each team.
#[derive(Default)]
pub(crate) struct Watchers(Arc<Mutex<HashMap<TeamId, usize>>>);

/// A watcher's place, given back when it is dropped.
struct Place {
    watchers: Arc<Mutex<HashMap<TeamId, usize>>>,
    team: TeamId,
}

impl Watchers {
    /// A place for one more; none where all are taken.
    fn place(&self, team: TeamId) -> Option<Place> {
        let mut watching = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = watching.values().sum();
        let own = watching.get(&team).copied().unwrap_or(0);
        if all >= WATCHERS || own >= WATCHERS_OF_A_TEAM {
            return None;
        }
        watching.insert(team, own + 1);
        Some(Place {
            watchers: Arc::clone(&self.0),
            team,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut watching = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = watching.get_mut(&self.team) {
            *own -= 1;
            if *own == 0 {
                watching.remove(&self.team);
            }
        }
    }
}

pub(super) fn rooms() -> Rooms {
    Rooms::default().get("/settings/teams/{team}/deliveries/live", watch)
}

/// One who watches.
struct Watching {
    app: App,
    /// What the browser came with, to be looked at again: its session may end meanwhile.
    parts: Parts,
    visit: Visit,
    filter: Filter,
    until: Instant,
    /// What was sent last.
    sent: [u8; 32],
    spoke: Instant,
    next_look: Instant,
    /// When the session was looked at last.
    checked: Instant,
    _place: Place,
}

async fn watch(
    visit: Visit,
    State(app): State<App>,
    uri: Uri,
    parts: Parts,
) -> Result<Response, Trouble> {
    let filter = Asked::of(&Form::of_query(uri.query()));
    let filter = filter.read(&app, &visit).await?;
    let place = app.watchers.place(visit.team.id);
    let place = place.ok_or(Problem::Unavailable)?;
    let now = Instant::now();
    let watching = Watching {
        app,
        parts,
        visit,
        filter,
        until: now + LASTS,
        sent: [0; 32],
        spoke: now,
        next_look: now,
        checked: now,
        _place: place,
    };
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Body::from_stream(events(watching))).into_response())
}

fn events(watching: Watching) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(watching, |mut watching| async move {
        let engine = watching.app.engine.clone();
        tokio::select! {
            () = engine.stopping() => None,
            event = watching.next() => event.map(|event| (Ok(event), watching)),
        }
    })
}

impl Watching {
    /// The next thing to say; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // However much there was to say: it is looked no more often than that.
            tokio::time::sleep_until(self.next_look).await;
            self.next_look = Instant::now() + LOOKED;
            if Instant::now() >= self.until {
                return None;
            }
            if self.checked.elapsed() >= CHECKED {
                self.checked = Instant::now();
                if !self.visit.lasts(&self.parts.headers, &self.app).await {
                    self.until = Instant::now();
                    // Said, and the browser then does not come again by itself.
                    return Some(event("over", "You are not signed in any more."));
                }
            }
            // A log that cannot be read now is looked at again a second later.
            if let Ok(html) = self.look().await {
                let hash: [u8; 32] = Sha256::digest(html.as_bytes()).into();
                if hash != self.sent {
                    self.sent = hash;
                    self.spoke = Instant::now();
                    return Some(event("rows", &html));
                }
            }
            if self.spoke.elapsed() >= SILENCE {
                self.spoke = Instant::now();
                return Some(Bytes::from_static(b": still here\n\n"));
            }
        }
    }

    async fn look(&self) -> Result<String, Trouble> {
        let (app, visit) = (&self.app, &self.visit);
        let page = self.filter.page(app, visit, None, PER_PAGE).await?;
        let mut rows = rows(app, visit, &page, &[]).await?;
        for next in rows.iter_mut().filter_map(|row| row.next.as_mut()) {
            // The script counts down by itself: rows of which nothing else changed are not sent again for it.
            next.words.clear();
        }
        let template = LogRows {
            rows,
            can_write: visit.can_write,
        };
        let html = template.render();
        html.map_err(|error| Problem::internal(&error).into())
    }
}

/// An event: each line of its data behind a word of its own.
fn event(name: &str, data: &str) -> Bytes {
    let mut text = format!("event: {name}\n");
    for line in data.lines() {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_team_cannot_take_the_places_of_all() {
        let watchers = Watchers::default();
        let take = |team| watchers.place(TeamId(team));
        let own: Vec<_> = (0..WATCHERS_OF_A_TEAM).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none());
        let others: Vec<_> = (WATCHERS_OF_A_TEAM..WATCHERS)
            .map(|number| take(2 + number as i64).unwrap())
            .collect();
        assert!(take(2).is_none(), "all are taken");
        drop(own);
        assert!(take(1).is_some() && take(2).is_some());
        drop(others);
        assert!(
            watchers.0.lock().unwrap().is_empty(),
            "nobody is remembered"
        );
    }

    #[test]
    fn no_line_of_the_data_is_a_line_of_the_protocol() {
        let event = event("rows", "<tr>\nevent: forged\r\n\ndata");
        let expected = "event: rows\ndata: <tr>\ndata: event: forged\ndata: \ndata: data\n\n";
        assert_eq!(event, expected);
    }
}
