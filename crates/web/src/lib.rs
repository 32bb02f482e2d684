//! HTTP in: the JSON API with its OpenAPI document, and the settings pages.
//!
//! [`api`] is all the binary needs; who listens and when it stops is its business. A handler
//! is extract → one verb of the engine or the store → render. Rooms, in reading order:
//!
//! - `door`: what happens to every request before and after its handler;
//! - `authority`: who asks, and the extractors without which no handler gets hold of a team;
//! - `request_id`: what a request is called;
//! - `rate`: how many requests a key and a team have left;
//! - `body` and `query`: from bytes and parameters to checked values;
//! - `problem` and `render`: the two shapes an answer has;
//! - `teams`, `keys`: what the operator keeps; `events`, `catalog`: what publishers need;
//!   `endpoints`, `endpoint_actions`: where events go; `deliveries`, `attempts`: what became of
//!   them; `audit`: who changed what;
//! - `settings`: the pages where a team lives with its webhooks; `token`: what opens them;
//! - `health`: alive, ready, metrics;
//! - `openapi`: the document that is made from all of this.

mod attempts;
mod audit;
mod authority;
mod body;
mod catalog;
mod deliveries;
mod door;
mod endpoint_actions;
mod endpoints;
mod events;
mod health;
mod keys;
mod openapi;
mod problem;
mod query;
mod rate;
mod render;
mod request_id;
mod settings;
mod teams;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::Engine;
use model::catalog::Catalog;
use model::rate::RateLimit;

pub use door::Api;
pub use openapi::openapi_json;
pub use settings::{first_run_link, page_routes};

/// How the API is served.
#[derive(Clone, Debug)]
pub struct WebOptions {
    /// How many requests one API key may make (contract: 1,000 an hour).
    pub key_limit: RateLimit,
    /// How many requests all keys of a team may make together (contract: 3,000 an hour).
    pub team_limit: RateLimit,
    /// How often the settings pages may be asked for within one session.
    pub session_limit: RateLimit,
    /// How often they may be asked for within all sessions of a team.
    pub team_pages_limit: RateLimit,
    /// How many keys that are not valid may be tried at them from one address.
    pub wrong_key_limit: RateLimit,
    /// Where people reach this service, such as `https://webhooks.example.com`, without a path
    /// and with the scheme in lower case: what links into the settings pages start with, and
    /// whether their cookies are for HTTPS only. Where there is none, a link starts with the
    /// `Host` it was asked for at (by the operator, nobody else can), over plain HTTP.
    pub public_url: Option<String>,
    /// Set once the service has been asked to stop: `/readyz` says 503 from then on.
    pub stopping: Arc<AtomicBool>,
    /// How many lines the log had to drop up to now.
    pub log_lines_dropped: fn() -> u64,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            key_limit: RateLimit::per_hour(1_000),
            team_limit: RateLimit::per_hour(3_000),
            session_limit: settings::PER_SESSION,
            team_pages_limit: settings::PER_TEAM,
            wrong_key_limit: settings::WRONG_KEYS,
            public_url: None,
            stopping: Arc::default(),
            log_lines_dropped: || 0,
        }
    }
}

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
struct App(Arc<Parts>);

struct Parts {
    engine: Engine,
    catalog: Arc<Catalog>,
    options: WebOptions,
    rates: rate::Rates,
    answers: health::Answers,
    request_ids: request_id::RequestIds,
    room: body::Room,
    watchers: settings::Watchers,
    recoveries: settings::Recoveries,
    bounds: settings::Bounds,
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The whole HTTP surface of the service.
pub fn api(engine: Engine, catalog: Arc<Catalog>, options: WebOptions) -> Api {
    let app = App(Arc::new(Parts {
        rates: rate::Rates::new(options.key_limit, options.team_limit),
        answers: health::Answers::default(),
        request_ids: request_id::RequestIds::new(),
        room: body::Room::default(),
        watchers: settings::Watchers::default(),
        recoveries: settings::Recoveries::default(),
        bounds: settings::Bounds::new(&options),
        engine,
        catalog,
        options,
    }));
    let (api, _document) = openapi::documented_routes().split_for_parts();
    let routes = api
        .merge(settings::routes())
        .route("/openapi.json", axum::routing::get(openapi::serve));
    Api::enclose(routes, app)
}
