//! Units share transactions, bad ones fail alone, and a full disk passes.

use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::super::*;
use super::{Folder, driver};
use crate::value::{Columns, Value};

const PUT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)";
const DROP: &str = "DELETE FROM meta WHERE key = $1";

pub(super) fn put(key: &str) -> Unit {
    Unit::of(PUT, [key.to_owned().into(), Bytes::new().into()])
}

pub(super) async fn keys(driver: &SqliteDriver) -> Vec<String> {
    let query = Query::new(
        "SELECT key FROM meta WHERE key NOT IN ('id_key', 'rows_from') ORDER BY key",
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
async fn the_pragmas_are_what_durability_rests_on() {
    let folder = Folder::new();
    let driver = driver(&folder).await;
    let pen = driver.writer.pen.lock().unwrap();
    let raw = &pen.as_ref().unwrap().connection.raw;
    let text = |pragma: &str| {
        raw.query_row(pragma, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let number = |pragma: &str| {
        raw.query_row(pragma, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(text("PRAGMA journal_mode"), "wal");
    assert_eq!(
        number("PRAGMA synchronous"),
        1,
        "NORMAL: `durable` syncs after each commit"
    );
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

/// Makes a table of which one row stands on a page that is damaged, on disk and in nobody's memory.
fn make_broken_table(driver: &SqliteDriver, path: &Path) {
    let pen = driver.writer.pen.lock().unwrap();
    let connection = &pen.as_ref().unwrap().connection;
    let filler = "filler of the row that will be broken";
    connection
        .raw
        .execute_batch(&format!(
            "CREATE TABLE broken (id INTEGER PRIMARY KEY, filler TEXT);
             WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 200)
             INSERT INTO broken SELECT id, printf('%.1000c', 'x') FROM ids;
             UPDATE broken SET filler = '{filler}' WHERE id = 100;"
        ))
        .unwrap();
    connection.checkpoint_wholly().unwrap();
    connection
        .raw
        .execute_batch("PRAGMA shrink_memory")
        .unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let holds = |page: &[u8]| {
        page.windows(filler.len())
            .any(|text| text == filler.as_bytes())
    };
    let page = bytes.chunks(4096).position(holds).unwrap();
    file.write_all_at(&[0xa5; 4096], page as u64 * 4096)
        .unwrap();
}

#[tokio::test]
async fn a_unit_that_needs_a_damaged_page_fails_alone() {
    const TOUCH: &str = "UPDATE broken SET filler = 'touched' WHERE id = $1";
    let folder = Folder::new();
    let driver = driver(&folder).await;
    make_broken_table(&driver, &folder.0.join("store.db"));
    let (mut broken, mut guarded) = (put("undone"), put("undone too"));
    broken.add(TOUCH, [100_i64.into()]);
    guarded.guard(TOUCH, [100_i64.into()], 1);
    let mut whole = put("b");
    whole.add(TOUCH, [1_i64.into()]);
    let results = together(&driver, vec![put("a"), broken, whole, guarded]).await;
    let done = |affected| Ok(Commit::Done { affected });
    let damaged = || Err(StoreError::Damaged);
    assert_eq!(results, [done(1), damaged(), done(2), damaged()]);
    assert_eq!(keys(&driver).await, ["a", "b"]);
    driver.close().await;
    // What was committed beside it is on disk.
    let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    let text = |sql| raw.query_row(sql, [], |row| row.get::<_, String>(0));
    let keys = "SELECT group_concat(key) FROM meta WHERE key IN ('a', 'b', 'undone', 'undone too')";
    assert_eq!(text(keys).unwrap(), "a,b");
    assert_eq!(
        text("SELECT filler FROM broken WHERE id = 1").unwrap(),
        "touched"
    );
}

fn limit_pages(driver: &SqliteDriver, pages: i64) {
    let pen = driver.writer.pen.lock().unwrap();
    let raw = &pen.as_ref().unwrap().connection.raw;
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
    let driver = SqliteDriver::open_with(SqliteOptions { path }, bounds, |sync| sync)
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
    let bounds = Bounds {
        checkpoint_pages: 100,
        ..Bounds::default()
    };
    let path = folder.0.join("store.db");
    let driver = SqliteDriver::open_with(SqliteOptions { path }, bounds, |sync| sync)
        .await
        .unwrap();
    let (mut before, mut restarts) = (0, 0);
    for round in 0..5000 {
        let unit = Unit::of(
            "INSERT INTO meta (key, value) VALUES ('large', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [vec![round as u8; 64 << 10].into()],
        );
        driver.commit(Line::Recording, unit).await.unwrap();
        let pen = driver.writer.pen.lock().unwrap();
        let (pages, _) = pen.as_ref().unwrap().connection.log_state().unwrap();
        restarts += u32::from(pages < before);
        before = pages;
        if restarts == 3 {
            break;
        }
    }
    assert_eq!(restarts, 3, "the log holds {before} pages");
    assert!(driver.stats().checkpoints >= 3);
    driver.close().await;
    assert!(!folder.0.join("store.db-wal").exists());
}
