//! How much verbs read, and what they make of trouble between their steps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use model::audit::Actor;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::id::{EndpointId, TeamId};
use model::time::Timestamp;

use super::super::*;
use super::{Folder, driver, keyring};
use crate::*;

/// A driver that counts what is read, and makes trouble where it is asked to.
struct Spy {
    driver: SqliteDriver,
    bytes_read: AtomicU64,
    /// Whether nothing can be read after the next commit.
    fails_after_commit: AtomicBool,
    failing: AtomicBool,
    /// What somebody else commits before the next commit.
    meanwhile: Mutex<Option<Unit>>,
}

impl Driver for Spy {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            let meanwhile = self.meanwhile.lock().unwrap().take();
            if let Some(other) = meanwhile {
                self.driver.commit(line, other).await?;
            }
            let result = self.driver.commit(line, unit).await;
            let fails = self.fails_after_commit.load(Ordering::Relaxed);
            self.failing.store(fails, Ordering::Relaxed);
            result
        })
    }
    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        Box::pin(async {
            if self.failing.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("it cannot be read".into()));
            }
            let answers = self.driver.read(queries).await?;
            let bytes: usize = answers.iter().map(Rows::bytes).sum();
            self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
            Ok(answers)
        })
    }
    fn close(&self) -> Pending<'_, ()> {
        self.driver.close()
    }
    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// A store with a spy in it, a team and an endpoint.
struct House {
    store: Store,
    spy: Arc<Spy>,
    team: TeamId,
    endpoint: EndpointId,
    _folder: Folder,
}

impl House {
    async fn new() -> Self {
        let folder = Folder::new();
        let spy = Arc::new(Spy {
            driver: driver(&folder).await,
            bytes_read: AtomicU64::default(),
            fails_after_commit: AtomicBool::default(),
            failing: AtomicBool::default(),
            meanwhile: Mutex::default(),
        });
        let store = Store::with_driver(spy.clone(), keyring()).await.unwrap();
        let team = store
            .by(Actor::Operator)
            .create_team(None, "old".into(), "free".into(), NOW);
        let team = team.await.unwrap().unwrap().id;
        let secrets = Secrets::new(Secret::from_text("s"));
        let endpoint = store
            .by(Actor::Operator)
            .create_endpoint(team, "u".into(), None, Subscription::All, secrets, 1, NOW)
            .await
            .unwrap()
            .id;
        Self {
            store,
            spy,
            team,
            endpoint,
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn a_list_of_events_reads_no_bodies() {
    let house = House::new().await;
    let event = Acceptance {
        event: NewEvent {
            event_type: "t".into(),
            body: Bytes::from(vec![b'x'; 256 << 10]),
        },
        endpoints: vec![house.endpoint],
        idempotency: None,
        due_at: NOW,
        test: false,
    };
    let batch = vec![event; 3];
    let accepted = house.store.accept(house.team, batch, NOW).await.unwrap();
    let before = house.spy.bytes_read.load(Ordering::Relaxed);
    let page = PageRequest {
        page: 1,
        per_page: 100,
    };
    let page = house.store.events(house.team, page).await.unwrap();
    let ids: Vec<_> = page.rows.iter().rev().map(|event| event.id).collect();
    let expected: Vec<_> = accepted.iter().map(|accepted| accepted.event).collect();
    assert_eq!(ids, expected);
    let read = house.spy.bytes_read.load(Ordering::Relaxed) - before;
    assert!(read < 1000, "{read} bytes were read");
}

fn paused() -> EndpointChange {
    EndpointChange {
        paused: Some(true),
        ..EndpointChange::default()
    }
}

#[tokio::test]
async fn a_durable_change_is_answered_where_nothing_can_be_read_after_it() {
    let later = NOW.after(Duration::from_secs(1));
    let house = House::new().await;
    let (store, spy) = (&house.store, &house.spy);
    spy.fails_after_commit.store(true, Ordering::Relaxed);
    let endpoint =
        store
            .by(Actor::Operator)
            .update_endpoint(house.team, house.endpoint, paused(), later);
    let endpoint = endpoint.await.unwrap().unwrap();
    assert!(endpoint.paused && endpoint.updated_at == later);
    spy.failing.store(false, Ordering::Relaxed);
    let team = store
        .by(Actor::Operator)
        .update_team(house.team, Some("new".into()), None, later);
    let team = team.await.unwrap().unwrap();
    spy.failing.store(false, Ordering::Relaxed);
    let kept = store.load().await.unwrap();
    assert_eq!((kept.endpoints, kept.teams), (vec![endpoint], vec![team]));
}

#[tokio::test]
async fn what_is_deleted_while_it_is_changed_is_not_there() {
    let house = House::new().await;
    let (store, spy) = (&house.store, &house.spy);
    let gone = |sql| Some(Unit::of(sql, [NOW.into()]));
    *spy.meanwhile.lock().unwrap() = gone("UPDATE endpoints SET deleted_at = $1");
    let endpoint =
        store
            .by(Actor::Operator)
            .update_endpoint(house.team, house.endpoint, paused(), NOW);
    assert_eq!(endpoint.await.unwrap(), None);
    *spy.meanwhile.lock().unwrap() = gone("UPDATE teams SET deleted_at = $1");
    let team = store
        .by(Actor::Operator)
        .update_team(house.team, Some("new".into()), None, NOW);
    assert_eq!(team.await.unwrap(), None);
}
