//! A delivery's row is written once, with its first outcome; until then nobody can tell that it is not there.

use std::sync::Mutex;

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Timings};
use model::audit::Actor;
use model::delivery::State;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, EventId, TeamId};
use model::retry::Verdict;
use model::time::Timestamp;
use tokio::sync::Notify;

use super::super::*;
use super::{Folder, driver, keyring};
use crate::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_795_000_100_000);

/// What becomes of the next commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It fails and nothing is written.
    Lost,
    /// It happens, and is answered as if it had failed.
    Unanswered,
    /// It happens, and is answered once it may be.
    Late,
    /// It fails at once, since too much is queued.
    Full,
}

struct Troubled {
    driver: SqliteDriver,
    next: Mutex<Option<Trouble>>,
    /// Told once a commit that is late has happened, and once it may be answered.
    happened: Notify,
    answer: Notify,
}

impl Troubled {
    fn by(driver: SqliteDriver, next: Option<Trouble>) -> Self {
        Self {
            driver,
            next: Mutex::new(next),
            happened: Notify::new(),
            answer: Notify::new(),
        }
    }
}

impl Driver for Troubled {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            let trouble = self.next.lock().unwrap().take();
            match trouble {
                None => self.driver.commit(line, unit).await,
                Some(Trouble::Full) => Err(StoreError::Overloaded),
                Some(Trouble::Lost) => Err(StoreError::Unavailable("lost".into())),
                Some(Trouble::Late) => {
                    let done = self.driver.commit(line, unit).await;
                    self.happened.notify_one();
                    self.answer.notified().await;
                    done
                }
                Some(Trouble::Unanswered) => {
                    self.driver.commit(line, unit).await?;
                    Err(StoreError::Unavailable("unanswered".into()))
                }
            }
        })
    }
    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        self.driver.read(queries)
    }
    fn close(&self) -> Pending<'_, ()> {
        self.driver.close()
    }
    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

struct House {
    store: Store,
    driver: Arc<Troubled>,
    team: TeamId,
    endpoint: EndpointId,
    folder: Folder,
}

impl House {
    async fn new() -> Self {
        let folder = Folder::new();
        let (store, driver) = open(&folder).await;
        let team = store
            .by(Actor::Operator)
            .create_team(None, "n".into(), "p".into(), NOW);
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
            driver,
            team,
            endpoint,
            folder,
        }
    }

    /// As another process finds it after this one was killed.
    async fn killed(self) -> Self {
        drop((self.store, self.driver));
        let (store, driver) = open(&self.folder).await;
        Self {
            store,
            driver,
            ..self
        }
    }

    async fn accept(&self, count: usize) -> Result<Vec<Accepted>, AcceptError> {
        let event = Acceptance {
            event: NewEvent {
                event_type: "t".into(),
                body: Bytes::from_static(b"{}"),
            },
            endpoints: vec![self.endpoint; 2],
            idempotency: None,
            due_at: NOW,
            test: false,
        };
        self.store.accept(self.team, vec![event; count], NOW).await
    }

    fn trouble(&self, trouble: Trouble) {
        *self.driver.next.lock().unwrap() = Some(trouble);
    }

    /// How many deliveries have a row, by a look past the store.
    fn rows(&self) -> i64 {
        self.number("SELECT count(*) FROM deliveries")
    }

    /// Whether an opening store would have anything to look through.
    fn unmarked(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM events JOIN meta ON key = 'rows_from' \
             WHERE owed IS NOT NULL AND format('%016X', id) >= hex(value)",
        )
    }

    /// How many events an opening store would look at.
    fn looked_through(&self) -> i64 {
        self.number(
            "SELECT count(*) FROM events JOIN meta ON key = 'rows_from' \
             WHERE format('%016X', id) >= hex(value)",
        )
    }

    fn number(&self, sql: &str) -> i64 {
        let raw = rusqlite::Connection::open(self.folder.0.join("store.db")).unwrap();
        raw.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn settle(&self, delivery: DeliveryId, verdict: Verdict) -> Result<(), StoreError> {
        let attempt = Attempt {
            number: 1,
            started_at: NOW,
            duration_ms: 1,
            outcome: Outcome::Delivered,
            status_code: None,
            reason: None,
            detail: None,
            remote_addr: None,
            response_headers: vec![],
            response_body: None,
            timings: Timings::default(),
        };
        let settlement = Settlement {
            delivery,
            attempt,
            due_at: NOW,
            verdict,
            ended_at: LATER,
        };
        self.store
            .settle(Arc::new(vec![settlement]), Arc::default())
            .await
    }

    async fn due(&self) -> Vec<DeliveryId> {
        let page = self.store.due(self.endpoint, LATER, None, 100, usize::MAX);
        let page = page.await.unwrap();
        page.deliveries.iter().map(|one| one.id).collect()
    }
}

async fn open(folder: &Folder) -> (Store, Arc<Troubled>) {
    let driver = Arc::new(Troubled::by(driver(folder).await, None));
    let store = Store::with_driver(driver.clone(), keyring()).await.unwrap();
    (store, driver)
}

#[tokio::test]
async fn a_row_is_written_with_the_first_outcome() {
    let house = House::new().await;
    let event = house.accept(1).await.unwrap()[0];
    assert_eq!(house.rows(), 0, "the event's row is enough");
    house
        .settle(event.delivery(1), Verdict::Delivered)
        .await
        .unwrap();
    assert_eq!(house.rows(), 1);
    let (delivery, attempts) = house
        .store
        .delivery(house.team, event.delivery(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(delivery.state, State::Delivered);
    assert_eq!(
        (delivery.event, delivery.endpoint),
        (event.event, house.endpoint)
    );
    assert_eq!((attempts.len(), delivery.completed_at), (1, Some(LATER)));
}

#[tokio::test]
async fn whoever_reads_deliveries_sees_those_without_a_row() {
    let team_log = LogFilter::default();
    for reader in 0..9 {
        let house = House::new().await;
        let event = house.accept(1).await.unwrap()[0];
        let (store, team) = (&house.store, house.team);
        let seen = match reader {
            0 => house.due().await.len(),
            1 => store.lanes_with_work().await.unwrap().len() + 1,
            2 => store.backlog().await.unwrap().0 as usize,
            3 => store
                .delivery_log(team, &team_log, None, 9)
                .await
                .unwrap()
                .len(),
            4 => store
                .event(team, event.event)
                .await
                .unwrap()
                .unwrap()
                .1
                .len(),
            5 => {
                let alone = store.delivery_alone(team, event.delivery(0)).await;
                alone.unwrap().map_or(0, |_| 2)
            }
            6 => {
                let retried = store.retry_delivery(team, event.delivery(0), LATER).await;
                usize::from(retried.unwrap() == Retried::Fresh(house.endpoint)) + 1
            }
            7 => {
                let filter = LogFilter {
                    event: Some(event.event),
                    ..LogFilter::default()
                };
                store
                    .delivery_log(team, &filter, None, 9)
                    .await
                    .unwrap()
                    .len()
            }
            _ => {
                // Retention must not take for finished what has no row.
                let future = LATER.after(Duration::from_secs(1 << 20));
                while store.sweep(future, Some(future), 10).await.unwrap() > 0 {}
                house.due().await.len()
            }
        };
        assert_eq!(seen, 2, "reader {reader}");
    }
}

#[tokio::test]
async fn a_killed_process_leaves_no_delivery_without_a_row_for_the_next() {
    let house = House::new().await;
    let settled = house.accept(1).await.unwrap()[0];
    house
        .settle(settled.delivery(0), Verdict::Delivered)
        .await
        .unwrap();
    let owed = house.accept(700).await.unwrap();
    let house = house.killed().await;
    assert_eq!((house.rows(), house.unmarked()), (1402, 0));
    assert_eq!(house.due().await.len(), 100);
    let next = house.accept(1).await.unwrap()[0];
    assert!(
        next.event.0 > owed[699].delivery(1).0,
        "no id is made twice"
    );
    let (open, _) = house.store.backlog().await.unwrap();
    assert_eq!(open, 1401 + 2);
}

/// Ids were given that are not in the database: of what was not accepted in the end, and of what is past its time.
/// All the while the clock stands still.
#[tokio::test]
async fn a_delivery_gets_its_row_whatever_ids_were_given_before() {
    for swept in [true, false] {
        // An opening store begins with the millisecond after all it finds: so these ids are made by a later one
        // than those of the team and the endpoint.
        let mut house = House::new().await.killed().await;
        if swept {
            for one in house.accept(2).await.unwrap() {
                let done = house.settle(one.delivery(0), Verdict::Delivered).await;
                let both = done.and(house.settle(one.delivery(1), Verdict::Delivered).await);
                assert_eq!(both, Ok(()));
            }
            let later = NOW.after(std::time::Duration::from_secs(60));
            while house.store.sweep(later, Some(later), 100).await.unwrap() > 0 {}
            assert_eq!(house.number("SELECT count(*) FROM events"), 0);
        } else {
            house.trouble(Trouble::Lost);
            assert!(house.accept(3).await.is_err());
        }
        house.store.close().await;
        house = house.killed().await;
        let accepted = house.accept(1).await.unwrap();
        assert_eq!(
            (accepted.len(), house.rows()),
            (1, 0),
            "there is no row yet"
        );
        house = house.killed().await;
        assert_eq!(house.rows(), 2, "swept: {swept}");
        assert_eq!(house.due().await.len(), 2);
    }
}

/// An event that is not acknowledged yet is old already where the clock was set on meanwhile.
#[tokio::test]
async fn retention_takes_nothing_that_is_still_being_accepted() {
    for accepted_before in [false, true] {
        let house = House::new().await;
        if accepted_before {
            house.accept(1).await.unwrap();
        }
        house.trouble(Trouble::Late);
        let sweep = async {
            house.driver.happened.notified().await;
            let later = NOW.after(std::time::Duration::from_secs(90 * 86_400));
            while house.store.sweep(later, Some(later), 100).await.unwrap() > 0 {}
            house.driver.answer.notify_one();
        };
        let (accepted, ()) = tokio::join!(house.accept(1), sweep);
        let event = accepted.unwrap()[0].event;
        let there = house.store.event(house.team, event).await.unwrap();
        assert!(there.is_some(), "accepted before: {accepted_before}");
        let owed = if accepted_before { 4 } else { 2 };
        assert_eq!(house.due().await.len(), owed);
    }
}

#[tokio::test]
async fn beyond_a_bound_rows_are_written_with_their_event() {
    let house = House::new().await;
    house.accept(5000).await.unwrap();
    assert_eq!(house.rows(), 10_000 - 4096);
    house.accept(1).await.unwrap();
    assert_eq!(house.rows(), 10_002 - 4096);
    house.store.write_down_fresh(NOW).await.unwrap();
    assert_eq!(house.rows(), 10_002 - 4096, "those are of this moment");
    house.store.write_down_fresh(LATER).await.unwrap();
    assert_eq!(house.rows(), 10_002);
    house.accept(1).await.unwrap();
    assert_eq!(house.rows(), 10_002, "there is room again");
    // Events with their rows are passed by marks, too.
    house.accept(9000).await.unwrap();
    house.store.write_down_fresh(LATER).await.unwrap();
    house.accept(1100).await.unwrap();
    assert_eq!(house.looked_through(), 1100);
    house.store.close().await;
    assert_eq!(house.looked_through(), 0);
}

#[tokio::test]
async fn a_mark_follows_what_is_written() {
    let house = House::new().await;
    for _ in 0..4 {
        for event in house.accept(600).await.unwrap() {
            for index in 0..2 {
                house
                    .settle(event.delivery(index), Verdict::Delivered)
                    .await
                    .unwrap();
            }
        }
    }
    assert!(house.unmarked() < 1400, "{} are unmarked", house.unmarked());
    house.accept(1).await.unwrap();
    house.store.close().await;
    assert_eq!((house.rows(), house.unmarked()), (4802, 0));
}

#[tokio::test]
async fn an_outcome_that_was_not_recorded_leaves_the_delivery_as_it_was() {
    for trouble in [Trouble::Lost, Trouble::Unanswered] {
        let house = House::new().await;
        let event = house.accept(1).await.unwrap()[0];
        for _ in 0..2 {
            house.trouble(trouble);
            let failed = house.settle(event.delivery(0), Verdict::DeadLetter).await;
            assert!(failed.is_err());
        }
        house
            .settle(event.delivery(0), Verdict::DeadLetter)
            .await
            .unwrap();
        assert_eq!(house.due().await, [event.delivery(1)]);
        assert_eq!(house.store.backlog().await.unwrap(), (1, 1));
    }
}

#[tokio::test]
async fn a_first_outcome_moves_a_row_that_was_written_without_anybody_knowing() {
    for (verdict, state, due) in [
        (Verdict::Delivered, State::Delivered, 1),
        (Verdict::DeadLetter, State::DeadLetter, 1),
        (Verdict::RetryAt(LATER), State::Open, 2),
    ] {
        let house = House::new().await;
        let event = house.accept(1).await.unwrap()[0];
        house.trouble(Trouble::Unanswered);
        assert!(house.store.write_down_fresh(LATER).await.is_err());
        assert_eq!(house.rows(), 2, "they are there all the same");
        house.settle(event.delivery(0), verdict).await.unwrap();
        let shown = house
            .store
            .delivery(house.team, event.delivery(0))
            .await
            .unwrap();
        let (delivery, attempts) = shown.unwrap();
        assert_eq!((delivery.state, delivery.attempt_count), (state, 1));
        assert_eq!(attempts.len(), 1);
        assert_eq!(
            delivery.completed_at.is_some(),
            state != State::Open,
            "{verdict:?}"
        );
        assert_eq!(house.due().await.len(), due);
        assert_eq!(house.rows(), 2);
    }
}

#[tokio::test]
async fn opening_writes_only_where_a_row_is_missing() {
    for (missing, opens) in [(false, true), (true, false)] {
        let house = House::new().await;
        house.accept(1).await.unwrap();
        if !missing {
            house.store.write_down_fresh(LATER).await.unwrap();
        }
        let House {
            folder,
            store,
            driver: before,
            ..
        } = house;
        drop((store, before));
        let full = Arc::new(Troubled::by(driver(&folder).await, Some(Trouble::Lost)));
        let opened = Store::with_driver(full, keyring()).await;
        assert_eq!(opened.is_ok(), opens, "missing: {missing}");
    }
}

#[tokio::test]
async fn what_became_of_a_commit_in_doubt_is_found_out() {
    for (trouble, events) in [
        (Trouble::Unanswered, 1),
        (Trouble::Lost, 0),
        (Trouble::Full, 0),
    ] {
        let house = House::new().await;
        house.trouble(trouble);
        assert!(house.accept(1).await.is_err());
        let unannounced = house.store.write_down_fresh(LATER).await.unwrap();
        let expected: &[EndpointId] = if events == 1 { &[house.endpoint] } else { &[] };
        assert!(unannounced.iter().eq(expected), "{unannounced:?}");
        assert_eq!(house.rows(), 2 * events);
        assert_eq!(house.due().await.len() as i64, 2 * events);
        // Nothing keeps the mark back, either.
        house.accept(1100).await.unwrap();
        house.store.write_down_fresh(LATER).await.unwrap();
        house.accept(1100).await.unwrap();
        assert!(
            house.unmarked() <= 1100,
            "{} are unmarked",
            house.unmarked()
        );
    }
}

#[tokio::test]
async fn what_was_found_out_is_told_also_where_the_rows_are_written_later() {
    let house = House::new().await;
    house.trouble(Trouble::Unanswered);
    assert!(house.accept(1).await.is_err());
    house.trouble(Trouble::Lost);
    assert!(house.store.write_down_fresh(LATER).await.is_err());
    let unannounced = house.store.write_down_fresh(LATER).await.unwrap();
    assert!(unannounced.iter().eq(&[house.endpoint]), "{unannounced:?}");
    let again = house.store.write_down_fresh(LATER).await.unwrap();
    assert!(again.is_empty(), "once is enough");
}

#[tokio::test]
async fn a_repeated_publication_keeps_nothing_waiting() {
    let house = House::new().await;
    let event = |key: &str| Acceptance {
        event: NewEvent {
            event_type: "t".into(),
            body: Bytes::from_static(b"{}"),
        },
        endpoints: vec![house.endpoint],
        idempotency: Some(Idempotency {
            key: key.into(),
            fingerprint: [0; 32],
            expires_at: LATER,
        }),
        due_at: NOW,
        test: false,
    };
    let first = house.store.accept(house.team, vec![event("a")], NOW).await;
    let both = vec![event("b"), event("a"), event("b")];
    let again = house.store.accept(house.team, both, NOW).await.unwrap();
    assert_eq!(again[1].event, first.unwrap()[0].event);
    let ids: Vec<EventId> = again.iter().map(|accepted| accepted.event).collect();
    assert_eq!(ids[0], ids[2]);
    house.store.write_down_fresh(LATER).await.unwrap();
    assert_eq!((house.rows(), house.due().await.len()), (2, 2));
}

#[tokio::test]
async fn a_store_of_the_version_before_has_all_its_rows() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    raw.execute_batch(migrate::STEPS[0]).unwrap();
    raw.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 1; \
         INSERT INTO teams VALUES (1, 'a', 'A', 'scale', 0, NULL); \
         INSERT INTO endpoints VALUES \
             (2, 1, 'u', NULL, NULL, 's', NULL, 0, 0, 0, NULL, NULL, NULL, 0, NULL); \
         INSERT INTO events VALUES (3, 1, 't', 1, 0, x'7b7d'); \
         INSERT INTO deliveries VALUES (4, 1, 3, 2, 't', 0, 0, 0, 0, NULL, 0);",
        migrate::APPLICATION_ID
    ))
    .unwrap();
    drop(raw);
    let (store, driver) = open(&folder).await;
    let house = House {
        team: TeamId(1),
        endpoint: EndpointId(2),
        store,
        driver,
        folder,
    };
    assert_eq!(house.looked_through(), 0);
    assert_eq!(house.due().await, [DeliveryId(4)]);
    let filter = LogFilter {
        event_type: Some("t".into()),
        ..LogFilter::default()
    };
    let log = house
        .store
        .delivery_log(house.team, &filter, None, 10)
        .await;
    assert_eq!(log.unwrap().len(), 1);
    let next = house.accept(1).await.unwrap()[0];
    assert_eq!(house.due().await.len(), 3);
    assert!(next.event.0 > 4);
}
