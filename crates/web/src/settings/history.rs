//! Hides how the audit log becomes a page: who changed what, in words, newest first.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::Uri;
use model::audit::{Action, Actor, AuditEntry, Subject};
use model::id::{AuditId, EndpointId, Id as _, KeyId};
use model::key::ApiKey;

use super::answer::{self, Frame, Tab, Trouble};
use super::form::Form;
use super::keys;
use super::rooms::Rooms;
use super::session::Visit;
use super::words::{IN_A_LIST, When, in_short, url_in_both_forms};
use crate::App;
use crate::query::{cut_page, read_cursor};

/// Entries a page.
const SHOWN: u32 = 25;
/// The most of a value before or after a change, as it stands in the page.
const VALUE: usize = 500;

pub(super) fn rooms() -> Rooms {
    Rooms::default().get("/settings/teams/{team}/history", show)
}

/// What an endpoint or a key is called, and where it is looked at.
struct Name {
    text: String,
    path: Option<String>,
}

struct Row {
    at: When,
    who: String,
    what: &'static str,
    name: Option<Name>,
    /// Field, before, after.
    changes: Vec<(String, Option<String>, Option<String>)>,
}

#[derive(Template)]
#[template(path = "settings/history.html")]
struct History {
    frame: Frame,
    base: String,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

async fn show(visit: Visit, State(app): State<App>, uri: Uri) -> Result<Response, Trouble> {
    let store = app.engine.store();
    let query = Form::of_query(uri.query());
    let cursor = query.text("cursor");
    let before: Option<AuditId> = read_cursor(cursor, store.codec());
    if before.is_none() && !cursor.is_empty() {
        return Err(Trouble::Missing);
    }
    let team = visit.team.id;
    let mut entries = store.audit_log(team, before, SHOWN + 1).await?;
    let next = cut_page(&mut entries, SHOWN, store.codec(), |entry| entry.id);
    let names = Names::of(&app, &visit, &entries).await?;
    let now = app.engine.clock().now();
    let row = |entry: AuditEntry| Row {
        at: When::of(entry.id.created_at(), now),
        who: names.who(&entry.actor),
        what: sentence(entry.action),
        name: names.subject(entry.subject),
        changes: entry
            .changes
            .into_iter()
            .map(|change| {
                let shown = match change.field.as_str() {
                    "url" => url_in_both_forms,
                    _ => in_short,
                };
                let value = |text: Option<String>| text.map(|text| shown(&text, VALUE));
                let (from, to) = (value(change.from), value(change.to));
                (change.field, from, to)
            })
            .collect(),
    };
    let page = History {
        frame: Frame::of(&app, &visit, Tab::History, "History"),
        base: visit.base(),
        rows: entries.into_iter().map(row).collect(),
        is_first: before.is_none(),
        next,
    };
    Ok(answer::ok(&page))
}

/// What was done, for whoever reads the page.
fn sentence(action: Action) -> &'static str {
    match action {
        Action::TeamCreated => "made the team",
        Action::TeamUpdated => "changed the team",
        Action::TeamDeleted => "deleted the team",
        Action::EndpointCreated => "added the endpoint",
        Action::EndpointUpdated => "changed the endpoint",
        Action::SecretRotated => "rotated the secret of",
        Action::EndpointDeleted => "deleted the endpoint",
        Action::KeyCreated => "made the API key",
        Action::KeyDeleted => "revoked the API key",
    }
}

/// What the team's endpoints and keys are called, as far as they are still there.
struct Names {
    base: String,
    endpoints: HashMap<EndpointId, (String, String)>,
    keys: HashMap<KeyId, String>,
}

impl Names {
    async fn of(app: &App, visit: &Visit, entries: &[AuditEntry]) -> Result<Self, Trouble> {
        let (store, team) = (app.engine.store(), visit.team.id);
        let concerned = entries.iter().filter_map(|entry| match entry.subject {
            Subject::Endpoint(id) => Some(id),
            Subject::Team(_) | Subject::Key(_) => None,
        });
        let endpoints = store.names_of(team, concerned).await?;
        let keys = keys::all(app, visit).await?;
        let endpoint = |(id, name)| (id, (store.codec().uuid(id).to_string(), name));
        let key = |key: ApiKey| (key.id, key.name);
        Ok(Self {
            base: visit.base(),
            endpoints: endpoints.into_iter().map(endpoint).collect(),
            keys: keys.rows.into_iter().map(key).collect(),
        })
    }

    fn who(&self, actor: &Actor) -> String {
        match actor {
            Actor::Operator => "The operator".to_owned(),
            Actor::Session(None) => "Somebody at these pages".to_owned(),
            // Whatever the name says, what follows it keeps it from passing for the operator or a key.
            Actor::Session(Some(name)) => format!("{}, at these pages", in_short(name, IN_A_LIST)),
            Actor::Key(key) => match self.keys.get(key) {
                Some(name) => format!("The API key {}", in_short(name, IN_A_LIST)),
                None => "An API key that is gone".to_owned(),
            },
        }
    }

    fn subject(&self, subject: Subject) -> Option<Name> {
        let (text, path) = match subject {
            Subject::Team(_) => return None,
            Subject::Endpoint(id) => match self.endpoints.get(&id) {
                Some((uuid, name)) => (
                    in_short(name, IN_A_LIST),
                    Some(format!("{}/webhooks/{uuid}", self.base)),
                ),
                None => ("a deleted endpoint".to_owned(), None),
            },
            Subject::Key(id) => match self.keys.get(&id) {
                Some(name) => (in_short(name, IN_A_LIST), None),
                None => ("a revoked key".to_owned(), None),
            },
        };
        Some(Name { text, path })
    }
}
