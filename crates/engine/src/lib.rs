//! When and how to deliver: roster, lanes, attempts, recovery.
//!
//! SKELETON of the public surface.

use std::sync::Arc;
use std::time::Duration;

use egress::{ReceiverUrl, Transport};
use model::brand::Brand;
use model::endpoint::{Endpoint, Secret, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, KeyId, TeamId};
use model::key::{ApiKey, KeyHash, NewKey, Scopes};
use model::retry::RetrySchedule;
use model::team::{Plans, Team};
use model::time::Timestamp;
use store::{Accepted, RetryFilter, Store, StoreError};

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: what a receiver and a log reader see.
    fn now(&self) -> Timestamp;
    /// As the wall clock when the process started, but never stepped: what retries wait by.
    fn steady(&self) -> Timestamp;
}

/// How the engine delivers.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// When to retry.
    pub schedule: RetrySchedule,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// What receivers see us as.
    pub brand: Brand,
    /// The plans and their limits.
    pub plans: Plans,
    /// Attempts in flight: in all.
    pub max_in_flight: usize,
    /// Attempts in flight: of one team.
    pub max_in_flight_per_team: usize,
    /// Attempts in flight: to one endpoint.
    pub max_in_flight_per_endpoint: usize,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    _inner: Arc<()>,
}

/// Something to publish.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The event.
    pub event: NewEvent,
    /// The publisher's idempotency key.
    pub idempotency_key: Option<String>,
}

/// Why an endpoint or key verb was refused.
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

/// Who a key belongs to. What `web` builds its `Caller` from.
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

impl Engine {
    /// Loads the roster, looks for unfinished work and starts delivering.
    pub async fn start(
        _store: Store,
        _transport: Arc<dyn Transport>,
        _clock: Arc<dyn Clock>,
        _options: EngineOptions,
    ) -> Result<Self, StoreError> {
        todo!()
    }
    /// Lets the attempts in flight end and be recorded, at most `grace`; starts no others.
    pub async fn stop(&self, _grace: Duration) {
        todo!()
    }

    /// The store, to look back in.
    pub fn store(&self) -> &Store {
        todo!()
    }
    /// The time.
    pub fn clock(&self) -> &dyn Clock {
        todo!()
    }
    /// The real or scripted transport, for probing a URL.
    pub fn transport(&self) -> &dyn Transport {
        todo!()
    }
    /// The options it runs with.
    pub fn options(&self) -> &EngineOptions {
        todo!()
    }

    /// Who bears the key of this hash; none where there is no such key, it expired, or its team
    /// is gone. Notes that the key was used.
    pub fn bearer(&self, _hash: &KeyHash) -> Option<Bearer> {
        todo!()
    }
    /// Makes this hash the operator's key (in memory; the store keeps it where it was generated).
    pub fn set_operator_key(&self, _hash: KeyHash) {
        todo!()
    }
    /// The team an operator names by its external id.
    pub fn team(&self, _external_id: &str) -> Option<Arc<Team>> {
        todo!()
    }
    /// The team inside.
    pub fn team_by_id(&self, _team: TeamId) -> Option<Arc<Team>> {
        todo!()
    }

    /// Accepts events: durable, with their deliveries, when this returns. All or none.
    pub async fn publish(
        &self,
        _team: TeamId,
        _publications: Vec<Publication>,
    ) -> Result<Vec<Accepted>, store::AcceptError> {
        todo!()
    }
    /// Sends an event to one endpoint whatever it subscribes to, as a test.
    pub async fn send_test(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _event: NewEvent,
    ) -> Result<DeliveryId, Refusal> {
        todo!()
    }
    /// A fresh schedule for a delivery, under the same id.
    pub async fn retry_delivery(
        &self,
        _team: TeamId,
        _delivery: DeliveryId,
    ) -> Result<(), Refusal> {
        todo!()
    }
    /// Fresh schedules for an endpoint's dead letters of a range; how many.
    pub async fn retry_dead_letters(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _filter: RetryFilter,
    ) -> Result<u64, Refusal> {
        todo!()
    }

    /// Makes a team. `Conflict` where the external id is taken.
    pub async fn create_team(
        &self,
        _external_id: Option<String>,
        _name: String,
        _plan: String,
    ) -> Result<Team, Refusal> {
        todo!()
    }
    /// Changes a team.
    pub async fn update_team(
        &self,
        _team: TeamId,
        _name: Option<String>,
        _plan: Option<String>,
    ) -> Result<Team, Refusal> {
        todo!()
    }
    /// Deletes a team with all it has.
    pub async fn delete_team(&self, _team: TeamId) -> Result<(), Refusal> {
        todo!()
    }

    /// Makes an endpoint with a new secret.
    pub async fn create_endpoint(
        &self,
        _team: TeamId,
        _url: &ReceiverUrl,
        _description: Option<String>,
        _subscription: Subscription,
    ) -> Result<Endpoint, Refusal> {
        todo!()
    }
    /// Changes an endpoint; when this returns no attempt starts by the old settings.
    pub async fn update_endpoint(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _edit: EndpointEdit,
    ) -> Result<Endpoint, Refusal> {
        todo!()
    }
    /// Deletes an endpoint and cancels what it was owed.
    pub async fn delete_endpoint(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
    ) -> Result<(), Refusal> {
        todo!()
    }
    /// A new secret; the old one stays in use for `expire_old_after`. Returns the new one and
    /// when the old one expires.
    pub async fn rotate_secret(
        &self,
        _team: TeamId,
        _endpoint: EndpointId,
        _expire_old_after: Duration,
    ) -> Result<(Secret, Endpoint), Refusal> {
        todo!()
    }

    /// Makes an API key.
    pub async fn create_key(
        &self,
        _team: TeamId,
        _name: String,
        _scopes: Scopes,
        _expires_at: Option<Timestamp>,
    ) -> Result<(NewKey, ApiKey), Refusal> {
        todo!()
    }
    /// Revokes an API key.
    pub async fn delete_key(&self, _team: TeamId, _key: KeyId) -> Result<(), Refusal> {
        todo!()
    }

    /// Writes the metrics in Prometheus' text format.
    pub fn metrics(&self) -> String {
        todo!()
    }
}
