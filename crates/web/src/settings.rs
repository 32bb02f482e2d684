//! The pages where a team lives with its webhooks: which there are, and in what order to read them.
//!
//! They are made here, whole, from templates that escape by default; they work without scripts, and the
//! one script makes what is shown live. Rooms, in reading order:
//!
//! - `answer`: what every page has in common: headers, frame, what is shown when something is wrong;
//! - `session`: who is here, and what lets nobody else in; `form`: what a page sends back;
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
mod session;
mod teams;
mod test_event;
mod webhooks;
mod words;

use axum::Router;
use axum::routing::get;

use crate::App;
use answer::Trouble;

pub use enter::first_run_link;
pub(crate) use enter::link;
pub(crate) use live::Watchers;
pub(crate) use recovery::Recoveries;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .merge(assets::routes())
        .merge(enter::routes())
        .merge(teams::routes())
        .merge(webhooks::routes())
        .merge(add::routes())
        .merge(endpoint::routes())
        .merge(changes::routes())
        .merge(test_event::routes())
        .merge(log::routes())
        .merge(live::routes())
        .merge(recovery::routes())
        .merge(delivery::routes())
        .merge(catalog::routes())
        .merge(debugger::routes())
        .merge(keys::routes())
        .merge(history::routes())
        .route("/settings/{*nothing}", get(nothing).post(nothing))
}

async fn nothing() -> Trouble {
    Trouble::Missing
}
