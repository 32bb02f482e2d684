//! Hides where a test's store lives: a folder of its own that goes away with it, and shorthands
//! for what tests put into a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Reason, Timings};
use model::audit::Actor;
use model::endpoint::{Endpoint, Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::retry::Verdict;
use model::time::Timestamp;
use store::{Acceptance, Accepted, Keyring, Settlement, SqliteOptions, Store};

/// A moment that is `millis` after the tests' beginning.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + millis)
}

/// A new folder under the system's temporary one, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("vk-store-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("store.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is litter, not a failed test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A store with one team, and its folder.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) team: TeamId,
    pub(crate) folder: Folder,
}

pub(crate) fn keyring() -> Keyring {
    Keyring::parse(SEALING_KEY).expect("a key")
}

pub(crate) async fn open(path: PathBuf) -> Store {
    Store::open_sqlite(SqliteOptions { path }, keyring())
        .await
        .expect("the store opens")
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = Folder::new();
        let store = open(folder.database()).await;
        let team = new_team(&store, "acme").await;
        Self {
            store,
            team,
            folder,
        }
    }

    /// The same store as another process would find it after this one was dropped.
    pub(crate) async fn reopened(self) -> Self {
        let Self {
            store,
            team,
            folder,
        } = self;
        drop(store);
        let store = open(folder.database()).await;
        Self {
            store,
            team,
            folder,
        }
    }

    pub(crate) async fn endpoint(&self) -> EndpointId {
        self.endpoint_of(self.team).await.id
    }

    pub(crate) async fn endpoint_of(&self, team: TeamId) -> Endpoint {
        self.store
            .by(Actor::Operator)
            .create_endpoint(
                team,
                "https://receiver.example/hook".into(),
                None,
                Subscription::All,
                Secrets::new(Secret::from_text("whsec_secret")),
                1000,
                at(0),
            )
            .await
            .expect("an endpoint can be made")
    }

    /// One event of this type, owed to these endpoints.
    pub(crate) async fn publish(
        &self,
        event_type: &str,
        endpoints: &[EndpointId],
        millis: i64,
    ) -> Accepted {
        let events = vec![Acceptance {
            due_at: at(millis),
            ..acceptance(event_type, endpoints)
        }];
        let accepted = self.store.accept(self.team, events, at(millis)).await;
        accepted.expect("it is accepted")[0]
    }

    /// Records one attempt.
    pub(crate) async fn settle(&self, settlement: Settlement) {
        self.store
            .settle(Arc::new(vec![settlement]), Arc::default())
            .await
            .expect("it is recorded");
    }

    /// Everything an endpoint is owed at that time, as (id, attempts made).
    pub(crate) async fn owed(&self, endpoint: EndpointId, millis: i64) -> Vec<(DeliveryId, u32)> {
        let page = self
            .store
            .due(endpoint, at(millis), None, 1000, usize::MAX)
            .await
            .expect("what is due can be read");
        page.deliveries
            .iter()
            .map(|delivery| (delivery.id, delivery.attempt_count))
            .collect()
    }
}

pub(crate) async fn new_team(store: &Store, external_id: &str) -> TeamId {
    let made = store
        .by(Actor::Operator)
        .create_team(
            Some(external_id.into()),
            "A team".into(),
            "scale".into(),
            at(0),
        )
        .await;
    made.expect("a team can be made")
        .expect("its id is free")
        .id
}

pub(crate) fn acceptance(event_type: &str, endpoints: &[EndpointId]) -> Acceptance {
    Acceptance {
        event: NewEvent {
            event_type: event_type.into(),
            body: Bytes::from(format!(r#"{{"type":"{event_type}","data":{{"n": 1.0}}}}"#)),
        },
        endpoints: endpoints.to_vec(),
        idempotency: None,
        due_at: at(0),
        test: false,
    }
}

pub(crate) fn attempt(number: u32, outcome: Outcome) -> Attempt {
    let failed = outcome != Outcome::Delivered;
    Attempt {
        number,
        started_at: at(i64::from(number)),
        duration_ms: 12,
        outcome,
        status_code: Some(if failed { 503 } else { 200 }),
        reason: failed.then_some(Reason::HttpStatus),
        detail: failed.then(|| "It answered 503.".into()),
        remote_addr: Some("192.0.2.7".parse().expect("an address")),
        response_headers: vec![("x-a".into(), "é \"quoted\"".into())],
        response_body: Some(Bytes::from_static(b"\x00raw\xff")),
        timings: Timings {
            dns_ms: Some(1),
            connect_ms: None,
            tls_ms: Some(3),
            first_byte_ms: Some(4),
        },
    }
}

/// The settlement of the `number`-th attempt of a delivery that was due at the beginning.
pub(crate) fn settlement(delivery: DeliveryId, number: u32, verdict: Verdict) -> Settlement {
    let outcome = match verdict {
        Verdict::Delivered => Outcome::Delivered,
        Verdict::RetryAt(_) | Verdict::DeadLetter => Outcome::Retry,
    };
    Settlement {
        delivery,
        attempt: attempt(number, outcome),
        due_at: at(0),
        verdict,
        ended_at: at(i64::from(number) * 10),
    }
}
