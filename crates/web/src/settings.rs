//! The pages where a team lives with its webhooks: which there are, and in what order to read them.
//!
//! They are made here, whole, from templates that escape by default; they work without scripts, and the
//! one script makes what is shown live. Rooms, in reading order:
//!
//! - `answer`: what every page has in common: headers, frame, what is shown when something is wrong;
//! - `rooms`: the routes, and the list of them;
//! - `session`: who is here, and what lets nobody else in; `bounds`: how often; `form`: what a page sends back;
//! - `enter`: the ways in and out; `teams`: the operator's list;
//! - `webhooks`: the list of endpoints; `add`: a new one; `endpoint`: one of them; `changes`: what can be
//!   done to it; `test_event`: trying it;
//! - `log`: deliveries by any `filter`, `live`: as they happen, `recovery`: retries of many;
//!   `delivery`: one of them, `attempt` by attempt; `advice`: what to do about a failure;
//! - `catalog`, `debugger`, `keys`, `history`;
//! - `words`, `harmless`, `layout`, `chart`, `receivers`: how times, strangers' bytes, JSON, figures and code are
//!   shown;
//! - `assets`: the style and the script.

mod add;
mod advice;
mod answer;
mod assets;
mod attempt;
mod bounds;
mod catalog;
mod changes;
mod chart;
mod debugger;
mod delivery;
mod endpoint;
mod enter;
mod filter;
mod form;
mod harmless;
mod history;
mod keys;
mod layout;
mod live;
mod log;
mod receivers;
mod recovery;
mod rooms;
mod session;
mod teams;
mod test_event;
mod webhooks;
mod words;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::Method;

use crate::App;
use answer::Trouble;
use rooms::Rooms;

pub(crate) use bounds::{Bounds, PER_SESSION, PER_TEAM, Peer, WRONG_KEYS};
pub use enter::first_run_link;
pub(crate) use enter::link;
pub(crate) use live::Watchers;
pub(crate) use recovery::Recoveries;

fn rooms() -> Rooms {
    assets::rooms()
        .and(enter::rooms())
        .and(teams::rooms())
        .and(webhooks::rooms())
        .and(add::rooms())
        .and(endpoint::rooms())
        .and(changes::rooms())
        .and(test_event::rooms())
        .and(log::rooms())
        .and(live::rooms())
        .and(recovery::rooms())
        .and(delivery::rooms())
        .and(catalog::rooms())
        .and(debugger::rooms())
        .and(keys::rooms())
        .and(history::rooms())
}

pub(crate) fn routes() -> Router<App> {
    let nothing = async || Trouble::Missing;
    rooms()
        .into_router()
        .route("/settings/{*nothing}", get(nothing).post(nothing))
}

/// Every route of the settings pages: its method and its path, with the names of what varies in braces.
pub fn page_routes() -> Vec<(Method, String)> {
    rooms().into_list()
}

/// Whether a path is one of the settings pages'.
pub(crate) fn is_page(path: &str) -> bool {
    path == "/settings" || path.starts_with("/settings/")
}

/// What is answered where a form's address is looked at.
pub(crate) fn only_forms() -> Response {
    Trouble::OnlyForms.into_response()
}
