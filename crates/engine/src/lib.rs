//! When and how to deliver: roster, lanes, attempts, recovery.
//!
//! The engine takes published events in, makes them durable through the store and sees to it
//! that each delivery is attempted on schedule until it arrived or is given up. Memory is a cache
//! of the store: losing all of it loses nothing. Rooms, in reading order:
//!
//! - [`clock`]: where the time comes from;
//! - `house`: what the rooms share, and how all of it ends;
//! - `roster`: who is who, without asking the store;
//! - `publish`: match, commit, offer; [`Hand`] and `changes`: what is changed by hand; `to_the_end`:
//!   neither is left half done;
//! - `lane`: one endpoint's deliveries, in order and in bounded memory; `capacity`: what lanes share;
//! - `trouble`: how lanes wait while this service itself cannot send;
//! - `sender`: one attempt, `guarded` against its own panics; `meaning`: what is told of its status;
//!   `recorder`: many outcomes in one commit; `counts`: what they come to;
//! - `puller`: reading from the store what is due; `wakeups`: the one timer;
//! - `metrics`: what is counted; `pages`: what the settings pages ask for beyond the API's verbs.

mod capacity;
mod changes;
pub mod clock;
mod counts;
mod guarded;
mod hand;
mod house;
mod lane;
mod meaning;
mod metrics;
mod pages;
mod publish;
mod puller;
mod recorder;
mod roster;
mod sender;
mod to_the_end;
mod trouble;
mod wakeups;

use std::sync::Arc;
use std::time::Duration;

use egress::{Policy, ReceiverUrl, Transport};
use model::audit::Actor;
use model::brand::Brand;
use model::endpoint::Subscription;
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::key::{ApiKey, KeyHash, NewKey, OPERATOR_KEY_PREFIX};
use model::retry::RetrySchedule;
use model::team::{Plans, Team};
use store::{Accepted, Page, PageRequest, RetryFilter, Store, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clock::{Clock, SystemClock, VirtualClock};
pub use hand::Hand;

use capacity::{Memory, Places};
use counts::Counts;
use house::House;
use metrics::{Gauges, Metrics};
use sender::HeaderNames;
use to_the_end::to_the_end;
use trouble::Trouble;

/// How long an idempotency key is remembered (contract, `POST /v1/events`).
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How often the times at which keys were used are written down.
const KEY_USE_FLUSHED: Duration = Duration::from_secs(30);

/// How often deliveries are looked for that still have no row of their own, and how old those are that
/// get one then: whatever is not hanging has been attempted by that age, and got its row with that.
const ROWS_WRITTEN: Duration = Duration::from_secs(1);
const ROWLESS_AT_MOST: Duration = Duration::from_secs(2);

/// How the engine delivers.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// When to retry.
    pub schedule: RetrySchedule,
    /// How long one attempt may take, from its start to the last byte of the response.
    pub attempt_timeout: Duration,
    /// What receivers see us as.
    pub brand: Brand,
    /// The plans and their limits.
    pub plans: Plans,
    /// What may be reached: the rules that endpoints' URLs are read by.
    pub policy: Policy,
    /// Attempts in flight in all: each costs a connection, and while it resolves a name a socket.
    pub max_in_flight: usize,
    /// Attempts in flight of one team: what it can take from the others at most.
    pub max_in_flight_per_team: usize,
    /// Attempts in flight to one endpoint: how many connections a receiver sees at most.
    pub max_in_flight_per_endpoint: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            schedule: RetrySchedule::default(),
            attempt_timeout: Duration::from_secs(10),
            brand: Brand::default(),
            plans: Plans::default(),
            policy: Policy::default(),
            max_in_flight: 2048,
            max_in_flight_per_team: 512,
            max_in_flight_per_endpoint: 64,
        }
    }
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option cannot be used: the sentence says which, and why.
    #[error("{0}")]
    Options(String),
    /// The store could not be read.
    #[error("cannot read the store: {0}")]
    Store(#[from] StoreError),
}

/// Something to publish.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The event.
    pub event: NewEvent,
    /// The publisher's idempotency key.
    pub idempotency_key: Option<String>,
}

/// Why a verb was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The team has no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The plan has no webhooks.
    #[error("the team's plan has no webhooks")]
    NoWebhooks,
    /// The plan grants no more.
    #[error("the plan's limit of {0} is reached")]
    LimitReached(u32),
    /// It clashes with what is there.
    #[error("{0}")]
    Conflict(String),
    /// The machine gave no random bytes for a secret or a key.
    #[error("the system has no random bytes to make a secret of: {0}")]
    Randomness(String),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A change of an endpoint by hand; absent means unchanged.
#[derive(Clone, Debug, Default)]
pub struct EndpointEdit {
    /// The URL.
    pub url: Option<ReceiverUrl>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The subscription.
    pub subscription: Option<Subscription>,
    /// Disabled or not.
    pub disabled: Option<bool>,
    /// Paused or not.
    pub paused: Option<bool>,
}

/// Who a key belongs to.
#[derive(Clone, Debug)]
pub enum Bearer {
    /// The operator.
    Operator,
    /// A team's key.
    Team {
        /// The team.
        team: Arc<Team>,
        /// The key.
        key: Arc<ApiKey>,
    },
}

/// A new operator's key, which is worth nothing until its hash is kept in the store.
///
/// # Errors
/// Where there are no random bytes.
pub fn new_operator_key() -> Result<NewKey, Refusal> {
    changes::new_key(OPERATOR_KEY_PREFIX)
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    house: Arc<House>,
}

impl Engine {
    /// Loads the roster, looks for unfinished work and starts delivering.
    ///
    /// # Errors
    /// Where an option cannot be used, or the store cannot be read.
    pub async fn start(
        store: Store,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
    ) -> Result<Self, StartError> {
        let headers = HeaderNames::new(&options.brand).map_err(StartError::Options)?;
        let (outcomes, to_record) = mpsc::channel(recorder::QUEUE);
        let house = Arc::new(House {
            store,
            transport,
            clock,
            headers,
            roster: roster::Roster::default(),
            wakeups: wakeups::Wakeups::default(),
            places: Places::new(options.max_in_flight),
            memory: Memory::default(),
            trouble: Trouble::default(),
            outcomes,
            metrics: Metrics::new(),
            changes: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            broken: CancellationToken::new(),
            backlog: std::sync::Mutex::default(),
            options,
        });
        let engine = Self { house };
        let counts = engine.load().await?;
        let house = &engine.house;
        let recorder = recorder::record_all(Arc::clone(house), to_record, counts);
        tokio::spawn(house.watched(recorder));
        tokio::spawn(house.watched(Arc::clone(house).run_timer()));
        tokio::spawn(house.watched(engine.clone().flush_key_use_regularly()));
        tokio::spawn(house.watched(engine.clone().write_rows_regularly()));
        engine.recover().await?;
        Ok(engine)
    }

    /// Fills the roster; what is known of every endpoint's attempts, for the recorder.
    async fn load(&self) -> Result<Counts, StoreError> {
        let house = &self.house;
        let loaded = house.store.load().await?;
        for team in loaded.teams {
            house
                .roster
                .put_team(team, house.options.max_in_flight_per_team);
        }
        for key in loaded.keys {
            house.roster.put_key(key);
        }
        if let Some(hash) = house.store.operator_key().await? {
            house.roster.set_operator(hash);
        }
        for endpoint in &loaded.endpoints {
            house.admit(endpoint);
        }
        let endpoints = loaded.endpoints.iter();
        Ok(Counts::of(endpoints.map(|one| (one.id, one.health))))
    }

    /// Sets a wake-up for every endpoint with unfinished work: at once, where some is due.
    async fn recover(&self) -> Result<(), StoreError> {
        let house = &self.house;
        // A clock set back while we were away leaves retries in a future it will take long to
        // reach: none waits longer than its schedule's longest wait.
        let latest = house.clock.steady().after(house.options.schedule.longest());
        let pulled_in = house.store.pull_in_due(latest).await?;
        if pulled_in > 0 {
            tracing::warn!(
                deliveries = pulled_in,
                "deliveries were due later than any retry waits, so the clock was set back; they are due sooner now"
            );
        }
        let work = house.store.lanes_with_work().await?;
        let mut endpoints = 0_u64;
        for (endpoint, at) in work {
            let Some(lane) = house.roster.lane(endpoint) else {
                continue;
            };
            if let Some(wake) = lane.due_later(at) {
                house.wakeups.set(&lane, &wake);
                endpoints += 1;
            }
        }
        if endpoints > 0 {
            tracing::info!(
                endpoints,
                "taking up the unfinished deliveries of endpoints"
            );
        }
        Ok(())
    }

    /// Starts no other attempt, lets those in flight end and be recorded, at most `grace`.
    /// What did not end in time will be attempted again by the next start.
    pub async fn stop(&self, grace: Duration) {
        if !self.house.close(grace).await {
            tracing::warn!(
                "attempts were still in flight when the time to stop was over; they will be made again"
            );
        }
        self.flush_key_use().await;
    }

    /// Ends when a part of the engine has panicked: what it was doing is left half done in memory,
    /// and only a new start, which takes everything up from the store, is sure to mend that.
    pub async fn broken(&self) {
        self.house.broken.cancelled().await;
    }

    /// The store, to look back in.
    pub fn store(&self) -> &Store {
        &self.house.store
    }

    /// The time.
    pub fn clock(&self) -> &dyn Clock {
        &*self.house.clock
    }

    /// What reaches receivers, for probing a URL.
    pub fn transport(&self) -> &dyn Transport {
        &*self.house.transport
    }

    /// The options it runs with.
    pub fn options(&self) -> &EngineOptions {
        &self.house.options
    }

    /// Who bears the key of this hash; none where there is no such key, it expired, or its team
    /// is gone. Notes that the key was used.
    pub fn bearer(&self, hash: &KeyHash) -> Option<Bearer> {
        let house = &self.house;
        if let Some((entry, team)) = house.roster.key(hash) {
            let now = house.clock.now();
            if entry
                .key
                .expires_at
                .is_some_and(|expires_at| expires_at <= now)
            {
                return None;
            }
            let team = team?;
            entry.note_use(now);
            return Some(Bearer::Team {
                team,
                key: Arc::clone(&entry.key),
            });
        }
        house.roster.is_operator(hash).then_some(Bearer::Operator)
    }

    /// Makes this hash the operator's key while the engine runs.
    pub fn set_operator_key(&self, hash: KeyHash) {
        self.house.roster.set_operator(hash);
    }

    /// The team an operator names by its external id.
    pub fn team(&self, external_id: &str) -> Option<Arc<Team>> {
        self.house.roster.team_named(external_id)
    }

    /// The team inside.
    pub fn team_by_id(&self, team: TeamId) -> Option<Arc<Team>> {
        self.house.roster.team(team)
    }

    /// Accepts events: durable, with their deliveries, when this returns. All or none.
    ///
    /// # Errors
    /// See [`store::AcceptError`].
    pub async fn publish(
        &self,
        team: TeamId,
        publications: Vec<Publication>,
    ) -> Result<Vec<Accepted>, store::AcceptError> {
        let work = Arc::clone(&self.house).publish(team, publications);
        self.watched_to_the_end(work).await
    }

    /// Sends an event to one endpoint whatever it subscribes to, as a test.
    ///
    /// # Errors
    /// Where the team has no such endpoint, it is disabled, or the store cannot take it.
    pub async fn send_test(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        event: NewEvent,
    ) -> Result<DeliveryId, Refusal> {
        self.watched_to_the_end(Arc::clone(&self.house).send_test(team, endpoint, event))
            .await
    }

    /// A fresh schedule for a delivery in any state, under the same id.
    ///
    /// # Errors
    /// Where the team has no such delivery, its endpoint was deleted, or the store cannot.
    pub async fn retry_delivery(&self, team: TeamId, delivery: DeliveryId) -> Result<(), Refusal> {
        self.watched_to_the_end(Arc::clone(&self.house).retry_delivery(team, delivery))
            .await
    }

    /// Fresh schedules for an endpoint's dead letters of a range; how many.
    ///
    /// # Errors
    /// Where the team has no such endpoint, or the store cannot.
    pub async fn retry_dead_letters(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        filter: RetryFilter,
    ) -> Result<u64, Refusal> {
        let work = Arc::clone(&self.house);
        let work = work.retry_dead_letters(team, endpoint, filter, Arc::default());
        self.watched_to_the_end(work).await
    }

    /// Work that goes on where its caller gives up. If it panics the engine is broken: what is durable by then
    /// may not be in memory.
    pub(crate) async fn watched_to_the_end<W>(&self, work: W) -> W::Output
    where
        W: Future<Output: Send> + Send + 'static,
    {
        to_the_end(self.house.watched(work)).await
    }

    /// The engine in somebody's hand: what they change is remembered as theirs.
    pub fn by(&self, actor: Actor) -> Hand<'_> {
        Hand {
            house: &self.house,
            actor,
        }
    }

    /// A team's keys, with when they were last used up to now.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn keys(&self, team: TeamId, page: PageRequest) -> Result<Page<ApiKey>, StoreError> {
        self.flush_key_use().await;
        self.house.store.keys(team, page).await
    }

    /// Writes the metrics in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        let house = &self.house;
        let backlog = house.backlog().await;
        let (lanes, waiting) = (house.roster.lane_count(), house.wakeups.len());
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        let gauges = Gauges {
            lanes,
            waiting,
            in_trouble: house.trouble.lanes(),
            tasks,
        };
        house.metrics.write(gauges, backlog, house.store.stats())
    }

    async fn flush_key_use_regularly(self) {
        while self.house.pause(KEY_USE_FLUSHED).await {
            self.flush_key_use().await;
        }
    }

    /// Keeps short what a start after a crash has to look through, and finds out what became of what failed
    /// in doubt.
    async fn write_rows_regularly(self) {
        let house = &self.house;
        let mut failing = false;
        while house.pause(ROWS_WRITTEN).await {
            if let Err(error) = house.resolve_change().await {
                house.metrics.store_failed();
                tracing::warn!(%error, "cannot find out whether a change by hand was made; trying again");
            }
            let before = house.clock.steady().before(ROWLESS_AT_MOST);
            match house.store.write_down_fresh(before).await {
                Ok(unannounced) => {
                    failing = false;
                    let lanes = unannounced.into_iter();
                    let lanes: Vec<_> = lanes.filter_map(|id| house.roster.lane(id)).collect();
                    house.poke_all(&lanes);
                }
                Err(error) => {
                    house.metrics.store_failed();
                    if !failing {
                        tracing::warn!(%error, "cannot write the rows of deliveries that wait; trying again");
                    }
                    failing = true;
                }
            }
        }
    }

    async fn flush_key_use(&self) {
        let used = self.house.roster.take_used_keys();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.house.store.touch_keys(used).await {
            tracing::warn!(%error, "cannot write down when API keys were last used; their next use will be");
        }
    }
}
