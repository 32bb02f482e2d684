//! How much verbs read, and what they make of trouble between their steps.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::id::{EndpointId, TeamId};
use model::time::Timestamp;

use super::super::*;
use super::{Folder, driver};
use crate::*;

/// A driver that counts what is read.
struct Spy {
    driver: SqliteDriver,
    bytes_read: AtomicU64,
}

impl Driver for Spy {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        self.driver.commit(line, unit)
    }
    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        Box::pin(async {
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
        });
        let store = Store::with_driver(spy.clone()).await.unwrap();
        let team = store.create_team(None, "old".into(), "free".into(), NOW);
        let team = team.await.unwrap().unwrap().id;
        let secrets = Secrets::new(Secret::from_text("s"));
        let endpoint = store
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
