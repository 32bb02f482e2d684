//! Group commit, its failures, and the plans of every statement, seen from inside the driver.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Timings};
use model::delivery::Status;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::health::Health;
use model::id::{DeliveryId, EndpointId, EventId, KeyId, TeamId};
use model::key::{ApiKey, KeyHash, Scopes};
use model::retry::Verdict;
use model::time::Timestamp;

use super::*;
use crate::driver::{Columns, Value};
use crate::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vk-sqlite-test-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is litter, not a failed test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn driver(folder: &Folder) -> SqliteDriver {
    let path = folder.0.join("store.db");
    SqliteDriver::open(SqliteOptions { path }).await.unwrap()
}

const PUT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)";
const DROP: &str = "DELETE FROM meta WHERE key = $1";

fn put(key: &str) -> Unit {
    Unit::of(PUT, [key.to_owned().into(), Bytes::new().into()])
}

async fn keys(driver: &SqliteDriver) -> Vec<String> {
    let query = Query::new(
        "SELECT key FROM meta WHERE key <> 'id_key' ORDER BY key",
        [],
    );
    let rows = driver.read(vec![query]).await.unwrap().remove(0);
    rows.decode(Columns::text).unwrap()
}

/// Submits units at the same time, so that they share a transaction.
async fn together(driver: &SqliteDriver, units: Vec<Unit>) -> Vec<Result<Commit, StoreError>> {
    let before = driver.stats().commits;
    // The runtime has one thread: the writer sees none of them before all are queued.
    let waiting: Vec<_> = units
        .into_iter()
        .map(|unit| {
            let writer = Arc::clone(&driver.writer);
            tokio::spawn(async move { writer.queue.submit(Line::Recording, unit).await })
        })
        .collect();
    let mut results = Vec::new();
    for result in waiting {
        results.push(result.await.unwrap());
    }
    assert!(
        driver.stats().commits - before <= 2,
        "they were not together"
    );
    results
}

#[tokio::test]
async fn a_commit_is_on_disk_and_both_pragmas_say_so() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let hands = driver.writer.hands.lock().unwrap();
    let raw = &hands.as_ref().unwrap().connection.raw;
    let text = |pragma: &str| {
        raw.query_row(pragma, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let number = |pragma: &str| {
        raw.query_row(pragma, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(text("PRAGMA journal_mode"), "wal");
    assert_eq!(number("PRAGMA synchronous"), 2, "FULL");
    assert_eq!(number("PRAGMA wal_autocheckpoint"), 0);
    assert_eq!(
        number("PRAGMA application_id"),
        i64::from(migrate::APPLICATION_ID)
    );
    assert_eq!(number("PRAGMA user_version"), migrate::VERSION as i64);
}

#[tokio::test]
async fn a_guarded_unit_is_undone_alone() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let mut refused = put("refused");
    refused.guard(DROP, ["no such key".into()], 1);
    let mut held = put("held");
    held.guard(DROP, ["no such key".into()], 0);
    let results = together(&driver, vec![put("a"), refused, put("b"), held]).await;
    let done = Ok(Commit::Done { affected: 1 });
    let expected = [
        done.clone(),
        Ok(Commit::Refused { statement: 1 }),
        done.clone(),
        done,
    ];
    assert_eq!(results, expected);
    assert_eq!(keys(&driver).await, ["a", "b", "held"]);
}

#[tokio::test]
async fn a_bad_unit_fails_alone() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let mut twice = put("once");
    twice.add(PUT, ["once".into(), Bytes::new().into()]);
    let mut guarded = put("guarded");
    guarded.guard("INSERT INTO meta (key) VALUES ($1)", ["no value".into()], 1);
    let nonsense = Unit::of("INSERT INTO no_such_table VALUES ($1)", [Value::Null]);
    let units = vec![put("a"), twice, guarded, nonsense, put("b")];
    let results = together(&driver, units).await;
    let fine: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, false, false, true]);
    for result in &results[1..4] {
        assert!(matches!(result, Err(StoreError::Internal(_))), "{result:?}");
    }
    assert_eq!(keys(&driver).await, ["a", "b"]);
}

fn limit_pages(driver: &SqliteDriver, pages: i64) {
    let hands = driver.writer.hands.lock().unwrap();
    let raw = &hands.as_ref().unwrap().connection.raw;
    raw.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room_again() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    limit_pages(&driver, 1); // SQLite takes what is used already.
    let large = |key: &str| Unit::of(PUT, [key.to_owned().into(), vec![7; 100_000].into()]);
    let results = together(&driver, vec![put("small"), large("large")]).await;
    for result in results {
        let Err(StoreError::Unavailable(why)) = result else {
            panic!("{result:?}");
        };
        assert!(why.contains("the disk is full"), "{why}");
    }
    assert_eq!(
        keys(&driver).await,
        [""; 0],
        "nothing was half done, and it can be read"
    );
    assert_eq!(driver.stats().failed_commits, 1);
    limit_pages(&driver, 1_000_000);
    let results = together(&driver, vec![put("small"), large("large")]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(keys(&driver).await, ["large", "small"]);
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

#[tokio::test]
async fn many_callers_share_few_commits() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let before = driver.stats();
    let units = (0..200)
        .map(|number| put(&format!("{number:03}")))
        .collect();
    let results = together(&driver, units).await;
    assert!(results.iter().all(Result::is_ok));
    let after = driver.stats();
    assert_eq!(after.units - before.units, 200);
    assert!(after.commits - before.commits <= 2);
    assert_eq!(keys(&driver).await.len(), 200);
}

#[tokio::test]
async fn an_overfull_publishing_queue_is_counted() {
    let folder = Folder::new();
    let bounds = Bounds {
        publishing_units: 5,
        ..Bounds::default()
    };
    let path = folder.0.join("store.db");
    let driver = SqliteDriver::open_with(SqliteOptions { path }, bounds)
        .await
        .unwrap();
    let driver = Arc::new(driver);
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let driver = Arc::clone(&driver);
            let unit = put(&format!("{number:03}"));
            tokio::spawn(async move { driver.commit(Line::Publishing, unit).await })
        })
        .collect();
    let mut overloaded = 0;
    for result in waiting {
        match result.await.unwrap() {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, StoreError::Overloaded);
                overloaded += 1;
            }
        }
    }
    assert_eq!((overloaded, driver.stats().overloaded), (15, 15));
    assert_eq!(
        keys(&driver).await.len(),
        5,
        "what was refused was not done"
    );
}

#[tokio::test]
async fn the_log_is_copied_into_the_database_and_starts_over() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let log = folder.0.join("store.db-wal");
    let mut largest = 0;
    for round in 0..40 {
        // 8 MiB a round: ten times the size at which a checkpoint is due.
        let unit = Unit::of(
            "INSERT INTO meta (key, value) VALUES ('large', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [vec![round; 8 << 20].into()],
        );
        driver.commit(Line::Recording, unit).await.unwrap();
        largest = largest.max(std::fs::metadata(&log).unwrap().len());
    }
    assert!(driver.stats().checkpoints > 0);
    assert!(largest < 200 << 20, "the log grew to {} MiB", largest >> 20);
    driver.close().await;
    assert!(!log.exists());
}

/// A driver that keeps the text of every statement it is given.
struct Recorder {
    driver: SqliteDriver,
    seen: Mutex<BTreeSet<&'static str>>,
}

impl Recorder {
    fn note(&self, sql: &'static str) {
        self.seen.lock().unwrap().insert(sql);
    }
}

impl Driver for Recorder {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        unit.statements()
            .for_each(|(statement, _)| self.note(statement.sql));
        self.driver.commit(line, unit)
    }
    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        queries.iter().for_each(|query| self.note(query.sql));
        self.driver.read(queries)
    }
    fn close(&self) -> Pending<'_, ()> {
        self.driver.close()
    }
    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

/// Uses every verb once, so that every statement is seen.
async fn use_everything(store: &Store) {
    let now = Timestamp::from_millis(1_795_000_000_000);
    let page = PageRequest {
        page: 1,
        per_page: 20,
    };
    let team = store
        .create_team(None, "n".into(), "p".into(), now)
        .await
        .unwrap()
        .unwrap()
        .id;
    store.update_team(team, None, None, now).await.unwrap();
    store.teams(page).await.unwrap();
    let secrets = || Secrets::new(Secret::from_text("s"));
    let make = || {
        store.create_endpoint(
            team,
            "u".into(),
            None,
            Subscription::All,
            secrets(),
            10,
            now,
        )
    };
    let (active, paused, deleted) = (
        make().await.unwrap().id,
        make().await.unwrap().id,
        make().await.unwrap().id,
    );
    let change = EndpointChange {
        paused: Some(true),
        ..EndpointChange::default()
    };
    store
        .update_endpoint(team, paused, change, now)
        .await
        .unwrap();
    store.endpoints(team, page).await.unwrap();
    let key = ApiKey {
        id: KeyId(0),
        team,
        name: "n".into(),
        shown: "s".into(),
        hash: KeyHash([0; 32]),
        scopes: Scopes::all(),
        last_used_at: None,
        expires_at: None,
    };
    let key = store.create_key(team, key, 10, now).await.unwrap().id;
    store.keys(team, page).await.unwrap();
    store.touch_keys(vec![(key, now)]).await.unwrap();
    store.delete_key(team, key).await.unwrap();
    store.set_operator_key(KeyHash([0; 32])).await.unwrap();
    store.operator_key().await.unwrap();
    store
        .put_token(team, TokenKind::Session, [0; 32], now.after(LOCK_PATIENCE))
        .await
        .unwrap();
    store
        .take_token(TokenKind::Session, [0; 32], now)
        .await
        .unwrap();
    store.ready().await.unwrap();
    store.load().await.unwrap();
    use_deliveries(store, team, [active, paused, deleted], now).await;
    store.delete_endpoint(team, deleted, now).await.unwrap();
    use_log(store, team, [active, paused, deleted]).await;
    store.sweep(now, Some(now), 10).await.unwrap();
    store
        .sweep(now, Some(now.after(LOCK_PATIENCE)), 10)
        .await
        .unwrap();
    store
        .sweep(now, Some(now.after(LOCK_PATIENCE)), 10)
        .await
        .unwrap();
    store.delete_team(team, now).await.unwrap();
}

async fn use_deliveries(store: &Store, team: TeamId, endpoints: [EndpointId; 3], now: Timestamp) {
    let acceptance = || Acceptance {
        event: NewEvent {
            event_type: "t".into(),
            body: Bytes::from_static(b"{}"),
        },
        endpoints: endpoints.to_vec(),
        idempotency: Some(Idempotency {
            key: "k".into(),
            fingerprint: [0; 32],
            expires_at: now.after(LOCK_PATIENCE),
        }),
        test: false,
    };
    let accepted = store.accept(team, vec![acceptance()], now).await.unwrap()[0];
    assert!(store.accept(team, vec![acceptance()], now).await.unwrap()[0].replayed);
    let settle = async |delivery: DeliveryId, number, verdict| {
        let attempt = Attempt {
            number,
            started_at: now,
            duration_ms: 1,
            outcome: Outcome::Retry,
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
            schedule_start: 0,
            verdict,
            ended_at: now,
        };
        let progress = [Some(Health::default()), None].map(|health| EndpointProgress {
            endpoint: endpoints[0],
            health,
            last_delivery_at: now,
        });
        store
            .settle(Arc::new(vec![settlement]), Arc::new(progress.into()))
            .await
            .unwrap();
    };
    let delivery = accepted.delivery(0);
    settle(delivery, 1, Verdict::RetryAt(now.after(LOCK_PATIENCE))).await;
    store.due(endpoints[0], now, None, 10, 10).await.unwrap();
    store.next_due(endpoints[0], now).await.unwrap();
    assert_eq!(store.pull_in_due(now).await.unwrap(), 1);
    let again = RetryFilter {
        event_type: Some("t".into()),
        ..RetryFilter::default()
    };
    // The second time it was taken on an older schedule, and is no dead letter.
    for (number, filter, dead) in [(2, RetryFilter::default(), 1), (3, again, 0)] {
        settle(delivery, number, Verdict::DeadLetter).await;
        let retried = store
            .retry_dead_letters(team, endpoints[0], &filter, now)
            .await;
        assert_eq!(retried.unwrap(), dead);
        let fresh = store.retry_delivery(team, delivery, now).await.unwrap();
        assert_eq!(fresh, Retried::Fresh(endpoints[0]));
    }
    settle(accepted.delivery(1), 1, Verdict::DeadLetter).await;
    let all = RetryFilter::default();
    assert_eq!(
        store
            .retry_dead_letters(team, endpoints[1], &all, now)
            .await
            .unwrap(),
        1
    );
    settle(accepted.delivery(2), 1, Verdict::DeadLetter).await;
    let typed = RetryFilter {
        event_type: Some("t".into()),
        ..RetryFilter::default()
    };
    assert_eq!(
        store
            .retry_dead_letters(team, endpoints[2], &typed, now)
            .await
            .unwrap(),
        1
    );
    settle(delivery, 4, Verdict::Delivered).await;
    store.backlog().await.unwrap();
    store.event(team, accepted.event).await.unwrap().unwrap();
    store.delivery(team, delivery).await.unwrap().unwrap();
    store
        .events(
            team,
            PageRequest {
                page: 1,
                per_page: 20,
            },
        )
        .await
        .unwrap();
}

async fn use_log(store: &Store, team: TeamId, endpoints: [EndpointId; 3]) {
    let statuses = || Status::ALL.iter().copied().map(Some).chain([None]);
    for endpoint in endpoints.into_iter().map(Some).chain([None]) {
        for status in statuses() {
            for event_type in [Some("t".to_owned()), None] {
                for event in [Some(EventId(1)), None] {
                    let filter = LogFilter {
                        endpoint,
                        event,
                        status,
                        event_type: event_type.clone(),
                        ..LogFilter::default()
                    };
                    store.delivery_log(team, &filter, None, 20).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn no_statement_walks_over_a_table_or_sorts() {
    // Each of these reads all of something small, or is only asked for by metrics, and then of an
    // index that holds just the rows in question.
    let may_scan = [
        "FROM teams WHERE deleted_at IS NULL ORDER BY id",
        "FROM teams WHERE deleted_at IS NULL ORDER BY id LIMIT $1 OFFSET $2",
        "FROM teams WHERE deleted_at IS NULL",
        "FROM endpoints WHERE deleted_at IS NULL",
        "FROM api_keys",
        "SELECT count(*) FROM deliveries WHERE",
    ];
    let folder = Folder::new();
    let recorder = Arc::new(Recorder {
        driver: driver(&folder).await,
        seen: Mutex::default(),
    });
    let store = Store::with_driver(recorder.clone()).await.unwrap();
    use_everything(&store).await;
    let seen = std::mem::take(&mut *recorder.seen.lock().unwrap());
    assert!(seen.len() > 65, "only {} statements were seen", seen.len());
    let mut bad = Vec::new();
    for sql in seen {
        let explained: &'static str = format!("EXPLAIN QUERY PLAN {sql}").leak();
        let count = (1..20)
            .rev()
            .find(|n| sql.contains(&format!("${n}")))
            .unwrap_or(0);
        let query = Query {
            values: vec![Value::Null; count],
            ..Query::new(explained, [])
        };
        let rows = recorder.driver.read(vec![query]).await.unwrap().remove(0);
        let plan = rows
            .decode(|row| {
                row.int()?;
                row.int()?;
                row.int()?;
                row.text()
            })
            .unwrap()
            .join("; ");
        // Rows named one by one, or the constant row of a scalar subquery, are no table.
        let walks = plan.replace("SCAN CONSTANT ROW", "").contains("SCAN ");
        let sorts = plan.contains("TEMP B-TREE");
        let excused = may_scan.iter().any(|end| {
            sql.trim_end().ends_with(end) || { end.starts_with("SELECT") && sql.starts_with(end) }
        });
        if sorts || (walks && !excused) {
            bad.push(format!("{sql}\n    {plan}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test]
async fn counting_uses_indexes_that_hold_only_what_is_counted() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    for (sql, index) in [
        (
            "EXPLAIN QUERY PLAN SELECT count(*) FROM deliveries WHERE next_attempt_at IS NOT NULL",
            "COVERING INDEX deliveries_due",
        ),
        (
            "EXPLAIN QUERY PLAN SELECT count(*) FROM deliveries WHERE standing = 3",
            "COVERING INDEX deliveries_dead",
        ),
        (
            "EXPLAIN QUERY PLAN SELECT count(*) FROM endpoints \
             WHERE team_id = 1 AND deleted_at IS NULL",
            "INDEX endpoints_living",
        ),
    ] {
        let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
        let plan: String = raw.query_row(sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains(index), "{sql}: {plan}");
    }
    driver.close().await;
}
