//! Every statement is planned as it should be: none walks over a table, none sorts.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Timings};
use model::audit::Actor;
use model::delivery::Status;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::health::Health;
use model::id::{DeliveryId, EndpointId, EventId, KeyId, TeamId};
use model::key::{ApiKey, KeyHash, Scopes};
use model::retry::Verdict;
use model::time::Timestamp;

use super::super::*;
use super::{Folder, driver, keyring};
use crate::value::Value;
use crate::*;

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
        .by(Actor::Operator)
        .create_team(None, "n".into(), "p".into(), now)
        .await
        .unwrap()
        .unwrap()
        .id;
    store
        .by(Actor::Operator)
        .update_team(team, None, None, now)
        .await
        .unwrap();
    store.teams(page).await.unwrap();
    let secrets = || Secrets::new(Secret::from_text("s"));
    let make = || {
        store.by(Actor::Operator).create_endpoint(
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
        .by(Actor::Operator)
        .update_endpoint(team, paused, change, now)
        .await
        .unwrap();
    store.endpoints(team, page).await.unwrap();
    store.endpoint_names(team, 10).await.unwrap();
    store.names_of(team, [active]).await.unwrap();
    assert!(store.was_endpoint_of(team, active).await.unwrap());
    store.sent_as_since(team, active, now).await.unwrap();
    store.url_before_change(team, active, now).await.unwrap();
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
    let key = store
        .by(Actor::Operator)
        .create_key(team, key, 10, now)
        .await
        .unwrap()
        .id;
    store.keys(team, page).await.unwrap();
    store.touch_keys(vec![(key, now)]).await.unwrap();
    store
        .by(Actor::Operator)
        .delete_key(team, key, now)
        .await
        .unwrap();
    let before = store.audit_log(team, None, 10).await.unwrap();
    store.audit_log(team, Some(before[0].id), 10).await.unwrap();
    store.deleted_team("nobody").await.unwrap();
    store.set_operator_key(KeyHash([0; 32])).await.unwrap();
    store.operator_key().await.unwrap();
    store
        .put_token(
            team.into(),
            TokenKind::FirstRun,
            [0; 32],
            now.after(LOCK_PATIENCE),
        )
        .await
        .unwrap();
    store
        .take_token(TokenKind::FirstRun, [0; 32], now)
        .await
        .unwrap();
    use_sessions(store, now).await;
    store.ready().await.unwrap();
    store.load().await.unwrap();
    use_deliveries(store, team, [active, paused, deleted], now).await;
    store
        .by(Actor::Operator)
        .delete_endpoint(team, deleted, now)
        .await
        .unwrap();
    use_log(store, team, [active, paused, deleted]).await;
    store
        .by(Actor::Operator)
        .delete_team(team, now)
        .await
        .unwrap();
    let tomorrow = now.after(Duration::from_secs(86_400));
    while store.sweep(tomorrow, Some(tomorrow), 10).await.unwrap() > 0 {}
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
        due_at: now,
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
            due_at: now,
            verdict,
            ended_at: now,
        };
        let progress = [Some(Health::default()), None].map(|health| EndpointProgress {
            endpoint: endpoints[0],
            health,
            last_delivery_at: now,
            hours: vec![crate::EndpointHour {
                hour: 7,
                tally: model::tally::Tally::default(),
            }],
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
    for (number, filter) in [(2, RetryFilter::default()), (3, again)] {
        settle(delivery, number, Verdict::DeadLetter).await;
        let retried = store
            .retry_dead_letters(team, endpoints[0], &filter, now)
            .await;
        assert_eq!(retried.unwrap(), 1);
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
    store.latest_attempts(team, &[delivery]).await.unwrap();
    store.hours_of(team, endpoints, 0).await.unwrap();
    store.endpoint_hours(team, endpoints[0], 0).await.unwrap();
    store.hours_at(&[(endpoints[0], 7)]).await.unwrap();
    store.sweep_hours(7).await.unwrap();
    for filter in [RetryFilter::default(), typed] {
        for endpoint in [Some(endpoints[0]), None] {
            let counted = store.count_dead_letters(team, endpoint, &filter, 10);
            counted.await.unwrap();
        }
        store.with_dead_letters(team, &filter).await.unwrap();
    }
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

async fn use_sessions(store: &Store, now: Timestamp) {
    let session = crate::Session {
        opener: crate::Opener::Key(KeyHash([0; 32])),
        idle_until: now.after(LOCK_PATIENCE),
        expires_at: now.after(LOCK_PATIENCE),
    };
    store.put_session([0; 32], session).await.unwrap();
    assert!(store.session([0; 32], now).await.unwrap().is_some());
    store.touch_session([0; 32], now).await.unwrap();
    store.end_session([0; 32]).await.unwrap();
    store.sweep_sessions(now).await.unwrap();
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
    // Each of these reads all of something small; of deliveries only what metrics count, see below.
    let may_scan = [
        "FROM teams WHERE deleted_at IS NULL ORDER BY id",
        "FROM teams WHERE deleted_at IS NULL ORDER BY id LIMIT $1 OFFSET $2",
        "FROM teams WHERE deleted_at IS NULL",
        "FROM endpoints WHERE deleted_at IS NULL",
        "FROM api_keys",
        "SELECT count(*) FROM endpoints p CROSS JOIN deliveries d",
        // At most so many rows of a range of an index.
        "SELECT count(*) FROM (SELECT 1 FROM endpoints p CROSS JOIN deliveries d",
    ];
    let folder = Folder::new();
    let recorder = Arc::new(Recorder {
        driver: driver(&folder).await,
        seen: Mutex::default(),
    });
    let store = Store::with_driver(recorder.clone(), keyring())
        .await
        .unwrap();
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
async fn counts_and_positions_are_read_from_an_index_alone() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    for (sql, expected) in [
        (
            crate::due::COUNT_OPEN,
            &[
                "SCAN p USING INDEX endpoints_living",
                "SEARCH d USING COVERING INDEX deliveries_due (endpoint_id=? AND next_attempt_at>?)",
            ][..],
        ),
        (
            crate::due::COUNT_DEAD,
            &[
                "SCAN p USING INDEX endpoints_living",
                "SEARCH d USING COVERING INDEX deliveries_by_standing (endpoint_id=? AND standing=?)",
            ],
        ),
        (
            crate::due::DUE_POSITIONS,
            &[
                "SEARCH deliveries USING COVERING INDEX deliveries_due (endpoint_id=? AND next_attempt_at>? AND \
                 next_attempt_at<?)",
            ],
        ),
        (
            crate::due::DUE_AT_POSITION,
            &[
                "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
            ],
        ),
        (
            "SELECT count(*) FROM endpoints WHERE team_id = 1 AND deleted_at IS NULL",
            &["SEARCH endpoints USING INDEX endpoints_living (team_id=?)"],
        ),
    ] {
        let mut explained = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // Whatever its values are.
        let mut rows = explained.raw_query();
        let mut plan: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get(3).unwrap());
        }
        assert_eq!(plan, expected, "{sql}");
    }
    driver.close().await;
}
