//! What is durable: group commit, SQL, migrations.
//!
//! SKELETON of the public surface. The rooms are to be made by whoever fills it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use model::attempt::Attempt;
use model::delivery::{Delivery, Status};
use model::endpoint::{Endpoint, Secrets, Subscription};
use model::event::{Event, NewEvent};
use model::health::Health;
use model::id::{DeliveryId, EndpointId, EventId, IdCodec, KeyId, TeamId};
use model::key::{ApiKey, KeyHash};
use model::retry::Verdict;
use model::team::Team;
use model::time::Timestamp;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Its queue is full: nothing was accepted; try again soon.
    #[error("the store's queue is full")]
    Overloaded,
    /// It cannot take the write now (disk full, I/O error, locked): nothing was accepted.
    #[error("the store cannot be used now: {0}")]
    Unavailable(String),
    /// A bug: the statement itself is wrong, or the data breaks a constraint.
    #[error("the store refused a statement: {0}")]
    Internal(String),
}

/// Why the store could not be opened: a sentence that says what happened and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// Where the store is.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file, made if absent (its folder too).
    pub path: PathBuf,
}

/// The durable half of the house. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    _inner: Arc<()>,
}

/// All that the roster holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The teams that are not deleted.
    pub teams: Vec<Team>,
    /// Their endpoints that are not deleted.
    pub endpoints: Vec<Endpoint>,
    /// Their keys.
    pub keys: Vec<ApiKey>,
}

/// A page of a list, and how many rows there are in all.
#[derive(Debug)]
pub struct Page<T> {
    /// The rows of this page.
    pub rows: Vec<T>,
    /// The rows of all pages.
    pub total: u64,
}

/// Which page of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// From 1.
    pub page: u64,
    /// Rows a page.
    pub per_page: u32,
}

/// What makes a publication happen at most once.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The publisher's key.
    pub key: String,
    /// A hash of what was published under it.
    pub fingerprint: [u8; 32],
    /// Until when the key is remembered.
    pub expires_at: Timestamp,
}

/// An event and whom it is owed to.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The event.
    pub event: NewEvent,
    /// The endpoints that get it; one delivery each, in this order.
    pub endpoints: Vec<EndpointId>,
    /// What makes it happen at most once.
    pub idempotency: Option<Idempotency>,
    /// Whether it is a test event.
    pub test: bool,
}

/// An event that is durable with its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id. Its deliveries have the ids that follow, in the order of their endpoints.
    pub event: EventId,
    /// How many deliveries it made.
    pub deliveries: u32,
    /// Whether the idempotency key had been used before: this is the answer from then.
    pub replayed: bool,
}

/// Why events were not accepted; none of them was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AcceptError {
    /// The idempotency key of the event at this index was used for another event.
    #[error("the idempotency key was used before, for another event")]
    Conflict {
        /// Which of the events.
        index: usize,
    },
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one attempt changed.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// The attempt, to be recorded.
    pub attempt: Attempt,
    /// `schedule_start` of the delivery as it was taken: where it changed meanwhile (somebody
    /// asked for a fresh schedule) a failure's verdict gives way to the fresh schedule.
    pub schedule_start: u32,
    /// What follows.
    pub verdict: Verdict,
    /// When the attempt ended: a finished delivery's `completedAt`.
    pub ended_at: Timestamp,
}

/// What attempts changed about an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointProgress {
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// Its health now; none where only test events were sent.
    pub health: Option<Health>,
    /// When its latest attempt ended.
    pub last_delivery_at: Timestamp,
}

/// A delivery that is due, with all it takes to send it.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// The event's type.
    pub event_type: Arc<str>,
    /// The body to send.
    pub body: Bytes,
    /// How many attempts were made.
    pub attempt_count: u32,
    /// How many had been made when its current retry schedule began.
    pub schedule_start: u32,
    /// When it became due.
    pub due_at: Timestamp,
    /// Whether it is a test event's.
    pub test: bool,
}

/// A slice of what is due for an endpoint, in the order of (due time, id).
#[derive(Debug, Default)]
pub struct DuePage {
    /// The deliveries.
    pub deliveries: Vec<DueDelivery>,
    /// Whether the page ended for its limits, so that there may be more behind it.
    pub more: bool,
}

/// What a delivery log is filtered by; absent means any.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// Only this endpoint's.
    pub endpoint: Option<EndpointId>,
    /// Only of this event.
    pub event: Option<EventId>,
    /// Only those that stand here.
    pub status: Option<Status>,
    /// Only of this type.
    pub event_type: Option<String>,
    /// Made at this moment or later.
    pub since: Option<Timestamp>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

/// What a range of dead letters is chosen by.
#[derive(Clone, Debug, Default)]
pub struct RetryFilter {
    /// Only of this type.
    pub event_type: Option<String>,
    /// Made at this moment or later.
    pub since: Option<Timestamp>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

/// What came of a retry by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It has a fresh schedule, for this endpoint.
    Fresh(EndpointId),
    /// The team has no such delivery.
    NotFound,
    /// Its endpoint was deleted.
    EndpointDeleted,
}

/// A change by hand; absent means unchanged.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// The URL, in normal form.
    pub url: Option<String>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The subscription.
    pub subscription: Option<Subscription>,
    /// Disabled or not.
    pub disabled: Option<bool>,
    /// Paused or not.
    pub paused: Option<bool>,
    /// The secrets after a rotation.
    pub secrets: Option<Secrets>,
}

/// A limit of the team's plan was reached.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LimitedError {
    /// The plan grants no more.
    #[error("the plan's limit of {0} is reached")]
    LimitReached(u32),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a one-time or session token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A link into the settings pages.
    SettingsLink,
    /// A session of the settings pages.
    Session,
}

impl Store {
    /// Opens the store, migrating it where it is older than this program.
    pub async fn open_sqlite(_options: SqliteOptions) -> Result<Self, OpenError> {
        todo!()
    }

    /// Ids to UUIDs and back, under this store's key.
    pub fn codec(&self) -> &IdCodec {
        todo!()
    }

    /// Ends the writer after what is queued, checkpoints and closes.
    pub async fn close(&self) {
        todo!()
    }

    /// Whether it can be read and written now (a real round trip).
    pub async fn ready(&self) -> Result<(), StoreError> {
        todo!()
    }

    // ---- the way of an event ----

    /// Makes events and their deliveries durable: all or none. Returns when they are on disk.
    pub async fn accept(
        &self,
        _team: TeamId,
        _events: Vec<Acceptance>,
        _now: Timestamp,
    ) -> Result<Vec<Accepted>, AcceptError> {
        todo!()
    }

    /// Records attempts with what follows from them: all or none, repeatable.
    pub async fn settle(
        &self,
        _settlements: Arc<Vec<Settlement>>,
        _progress: Arc<Vec<EndpointProgress>>,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// What is due for an endpoint at `now`, after a position, at most `limit` deliveries and
    /// about `max_bytes` of bodies (at least one delivery).
    pub async fn due(
        &self,
        _endpoint: EndpointId,
        _now: Timestamp,
        _after: Option<(Timestamp, DeliveryId)>,
        _limit: usize,
        _max_bytes: usize,
    ) -> Result<DuePage, StoreError> {
        todo!()
    }

    /// When the first delivery after `now` becomes due for an endpoint.
    pub async fn next_due(
        &self,
        _endpoint: EndpointId,
        _now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        todo!()
    }

    /// Every endpoint (not deleted) with unfinished deliveries, and when the first is due.
    pub async fn lanes_with_work(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        todo!()
    }

    /// Makes nothing due later than `latest`: for a clock that was set back while we were away.
    pub async fn pull_in_due(&self, _latest: Timestamp) -> Result<u64, StoreError> {
        todo!()
    }

    /// Gives a delivery in any state a fresh schedule, due now.
    pub async fn retry_delivery(
        &self,
        _team: TeamId,
        _delivery: DeliveryId,
        _now: Timestamp,
    ) -> Result<Retried, StoreError> {
        todo!()
    }

    /// Gives an endpoint's dead letters of a range fresh schedules, in small commits; how many.
    pub async fn retry_dead_letters(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _filter: &RetryFilter,
        _now: Timestamp,
    ) -> Result<u64, StoreError> {
        todo!()
    }

    // ---- looking back ----

    /// Deliveries newest first, after a position; one more than `limit` is never returned.
    pub async fn delivery_log(
        &self,
        _team: TeamId,
        _filter: &LogFilter,
        _before: Option<DeliveryId>,
        _limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        todo!()
    }

    /// One delivery and its attempts, in order.
    pub async fn delivery(
        &self,
        _team: TeamId,
        _delivery: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempt>)>, StoreError> {
        todo!()
    }

    /// Events newest first.
    pub async fn events(
        &self,
        _team: TeamId,
        _page: PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        todo!()
    }

    /// One event and its deliveries.
    pub async fn event(
        &self,
        _team: TeamId,
        _event: EventId,
    ) -> Result<Option<(Event, Vec<Delivery>)>, StoreError> {
        todo!()
    }

    // ---- what a team has ----

    /// All teams, endpoints and keys.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        todo!()
    }

    /// Makes a team; `external_id` none gets a UUIDv7. None where the external id is taken.
    pub async fn create_team(
        &self,
        _external_id: Option<String>,
        _name: String,
        _plan: String,
        _now: Timestamp,
    ) -> Result<Option<Team>, StoreError> {
        todo!()
    }

    /// Changes a team's name or plan. None where there is no such team.
    pub async fn update_team(
        &self,
        _team: TeamId,
        _name: Option<String>,
        _plan: Option<String>,
        _now: Timestamp,
    ) -> Result<Option<Team>, StoreError> {
        todo!()
    }

    /// Deletes a team with its keys, tokens and endpoints; its log goes with retention.
    pub async fn delete_team(&self, _team: TeamId, _now: Timestamp) -> Result<bool, StoreError> {
        todo!()
    }

    /// Teams, oldest first.
    pub async fn teams(&self, _page: PageRequest) -> Result<Page<Team>, StoreError> {
        todo!()
    }

    /// Makes an endpoint, where the team has fewer than `limit`.
    pub async fn create_endpoint(
        &self,
        _team: TeamId,
        _url: String,
        _description: Option<String>,
        _subscription: Subscription,
        _secrets: Secrets,
        _limit: u32,
        _now: Timestamp,
    ) -> Result<Endpoint, LimitedError> {
        todo!()
    }

    /// Changes an endpoint by hand. None where the team has no such endpoint.
    pub async fn update_endpoint(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _change: EndpointChange,
        _now: Timestamp,
    ) -> Result<Option<Endpoint>, StoreError> {
        todo!()
    }

    /// Deletes an endpoint: its unfinished deliveries are canceled by that.
    pub async fn delete_endpoint(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        todo!()
    }

    /// A team's endpoint.
    pub async fn endpoint(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
    ) -> Result<Option<Endpoint>, StoreError> {
        todo!()
    }

    /// A team's endpoints, oldest first.
    pub async fn endpoints(
        &self,
        _team: TeamId,
        _page: PageRequest,
    ) -> Result<Page<Endpoint>, StoreError> {
        todo!()
    }

    /// Makes a key, where the team has fewer than `limit`. The key's id is given by the store.
    pub async fn create_key(
        &self,
        _team: TeamId,
        _key: ApiKey,
        _limit: u32,
        _now: Timestamp,
    ) -> Result<ApiKey, LimitedError> {
        todo!()
    }

    /// A team's keys, oldest first.
    pub async fn keys(
        &self,
        _team: TeamId,
        _page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        todo!()
    }

    /// Deletes a key; its hash, so that the roster can forget it.
    pub async fn delete_key(
        &self,
        _team: TeamId,
        _key: KeyId,
    ) -> Result<Option<KeyHash>, StoreError> {
        todo!()
    }

    /// Notes when keys were last used.
    pub async fn touch_keys(&self, _used: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        todo!()
    }

    /// The hash of the operator's key, where one was made.
    pub async fn operator_key(&self) -> Result<Option<KeyHash>, StoreError> {
        todo!()
    }

    /// Keeps the hash of the operator's key.
    pub async fn set_operator_key(&self, _hash: KeyHash) -> Result<(), StoreError> {
        todo!()
    }

    // ---- tokens of the settings pages, by hash ----

    /// Keeps a token until it expires.
    pub async fn put_token(
        &self,
        _team: TeamId,
        _kind: TokenKind,
        _hash: [u8; 32],
        _expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Uses a token up: whose it was, where it was there and not expired.
    pub async fn take_token(
        &self,
        _kind: TokenKind,
        _hash: [u8; 32],
        _now: Timestamp,
    ) -> Result<Option<TeamId>, StoreError> {
        todo!()
    }

    /// Whose a token is, where it is there and not expired.
    pub async fn token(
        &self,
        _kind: TokenKind,
        _hash: [u8; 32],
        _now: Timestamp,
    ) -> Result<Option<TeamId>, StoreError> {
        todo!()
    }

    // ---- housekeeping ----

    /// Deletes at most about `slice` rows of what is past its time: idempotency keys and tokens
    /// expired at `now`, and events older than `keep_since` whose deliveries are all finished,
    /// with those deliveries and attempts. Returns how many rows went; 0 means done.
    pub async fn sweep(
        &self,
        _now: Timestamp,
        _keep_since: Option<Timestamp>,
        _slice: u32,
    ) -> Result<u64, StoreError> {
        todo!()
    }

    /// How many deliveries are unfinished, and how many are dead letters: for metrics.
    pub async fn backlog(&self) -> Result<(u64, u64), StoreError> {
        todo!()
    }
}
