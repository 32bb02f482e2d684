//! What is durable: group commit, SQL, migrations. Hides every statement and every database.
//!
//! [`Store`] is a struct of domain verbs over a [`driver::Driver`]. It holds no policy and never
//! reads a clock: what becomes of a delivery and what time it is come in as arguments.
//!
//! Whatever is a team's is shown and changed for callers of the API by verbs that take the team
//! first: another team's is to them as if it were not there. (`accept` takes the endpoints as the
//! engine found them for that team.) The other verbs ask for no team, and their callers see to it who
//! may: the operator's (`teams`, `deleted_team`, `create_team`, the operator's key), tokens (who shows one learns
//! whose it is), and what is done for all teams (`load`, `due`, `settle`, `touch_keys`, `backlog`,
//! `sweep` and their like).
//!
//! Rooms, in reading order:
//!
//! - `store`: the handle, its ids, opening and closing; `error`: the ways of saying no;
//! - the way of an event: `accept` (event and deliveries, at most once), `due` (what is to be sent),
//!   `settle` (what an attempt changed), `retry` (fresh schedules by hand); `fresh` (deliveries whose
//!   rows are still to be written);
//! - looking back: `log` (deliveries by any filter; `newest`, which those are), `events`, `latest` (how their latest
//!   attempts ended), `hours` (what attempts came to, by the hour);
//! - what a team has: `teams`, `endpoints`, `names` (what those are called), `keys`, `tokens`, `sessions`, and
//!   `load` (all of it, for the roster);
//!   `seal` (how signing secrets are kept), `audit` (who changed what by hand);
//! - `sweep`: retention;
//! - [`driver`]: the seam, writes and reads as data ([`value`]); `sqlite`: the driver for one file. Its tables,
//!   and why each index is there, are described in `sqlite/migrations/`.

mod accept;
mod audit;
pub mod driver;
mod due;
mod endpoints;
mod error;
mod events;
mod fresh;
mod hours;
mod keys;
mod latest;
mod load;
mod log;
mod names;
mod newest;
mod page;
mod retry;
mod seal;
mod sessions;
mod settle;
mod sqlite;
mod standing;
mod store;
mod sweep;
mod teams;
mod tokens;
pub mod value;

pub use accept::{Acceptance, Accepted, Idempotency};
pub use audit::Hand;
pub use due::{DueDelivery, DuePage, DuePosition};
pub use endpoints::EndpointChange;
pub use error::{AcceptError, LimitedError, OpenError, StoreError, TakeUpError, may_pass};
pub use events::EventSummary;
pub use hours::EndpointHour;
pub use latest::LatestAttempt;
pub use load::Loaded;
pub use log::LogFilter;
pub use page::{Page, PageRequest};
pub use retry::{Retried, RetryFilter};
pub use seal::Keyring;
pub use sessions::{Opener, Session};
pub use settle::{EndpointProgress, Settlement};
pub use sqlite::{Backup, SqliteDriver, SqliteOptions, Stopper, backup, holds_sealed_secrets};
pub use store::Store;
pub use tokens::{LinkHolder, TokenKind};
