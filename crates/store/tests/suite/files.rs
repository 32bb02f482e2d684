//! What is SQLite's own: which files are opened, and which are refused and left alone.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use model::audit::Actor;
use store::{OpenError, SqliteOptions, Store, StoreError};

use crate::house::{Folder, House, at, keyring, open};

async fn refusal(path: PathBuf) -> String {
    match Store::open_sqlite(SqliteOptions { path }, keyring()).await {
        Ok(_) => panic!("it was opened"),
        Err(OpenError { sentence, .. }) => sentence,
    }
}

#[tokio::test]
async fn a_second_service_on_the_same_file_is_refused_until_the_first_has_closed() {
    let house = House::new().await;
    let sentence = refusal(house.folder.database()).await;
    assert!(
        sentence.contains("in use by another running service"),
        "{sentence}"
    );
    house.store.close().await;
    open(house.folder.database()).await.ready().await.unwrap();
}

#[tokio::test]
async fn after_closing_everything_is_unavailable_and_nothing_was_lost() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    house.publish("a", &[endpoint], 0).await;
    house.store.close().await;
    house.store.close().await;
    assert!(matches!(
        house.store.ready().await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        house.store.load().await,
        Err(StoreError::Unavailable(_))
    ));
    let log = house.folder.path().join("store.db-wal");
    assert!(!log.exists(), "the log was copied into the database");
    let house = house.reopened().await;
    assert_eq!(house.owed(endpoint, 0).await.len(), 1);
}

#[tokio::test]
async fn ids_stay_the_same_and_go_on_growing_over_restarts() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let first = house.publish("a", &[endpoint], 5000).await.event;
    let name = house.store.codec().uuid(first);
    let house = house.reopened().await;
    assert_eq!(house.store.codec().uuid(first), name);
    // The clock was set back while we were away.
    let second = house.publish("a", &[endpoint], 0).await.event;
    assert!(second > first);
    let elsewhere = House::new().await;
    assert_ne!(
        elsewhere.store.codec().uuid(first),
        name,
        "each store has its own key"
    );
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_as_they_were() {
    let folder = Folder::new();
    let text = folder.path().join("text");
    std::fs::write(&text, "Dear diary, this is not a database at all.").unwrap();
    let other = folder.path().join("other.db");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    drop(connection);
    for (path, expected) in [
        (text, "is not a database of this service"),
        (other, "is a database of another program"),
    ] {
        let before = std::fs::read(&path).unwrap();
        let sentence = refusal(path.clone()).await;
        assert!(sentence.contains(expected), "{sentence}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_newer_version_is_refused() {
    let house = House::new().await;
    house.store.close().await;
    let path = house.folder.database();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let sentence = refusal(path.clone()).await;
    assert!(
        sentence.contains("a newer version of this program"),
        "{sentence}"
    );
    assert!(sentence.contains("999"), "{sentence}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        before,
        "it was left as it was"
    );
}

#[tokio::test]
async fn a_damaged_file_is_refused_wherever_the_damage_is() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    for millis in 0..50 {
        house.publish("a", &[endpoint], millis).await;
    }
    house.store.close().await;
    let path = house.folder.database();
    let whole = std::fs::read(&path).unwrap();
    let page = 4096;
    let pages = whole.len() / page;
    assert!(pages > 10);
    let damaged_at = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0xa5);
        bytes
    };
    let cases = [
        ("its first bytes", damaged_at(0, 16)),
        ("the schema", damaged_at(200, page)),
        (
            "a page in the middle",
            damaged_at(pages / 2 * page, (pages / 2 + 1) * page),
        ),
        (
            "the last page",
            damaged_at((pages - 1) * page, pages * page),
        ),
        ("cut off", whole[..(pages / 2) * page].to_vec()),
    ];
    for (what, bytes) in cases {
        std::fs::write(&path, &bytes).unwrap();
        let sentence = refusal(path.clone()).await;
        assert!(sentence.contains("damaged"), "{what}: {sentence}");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes,
            "{what}: it was left as it was"
        );
    }
    std::fs::write(&path, &whole).unwrap();
    open(path).await.ready().await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for path in [
        // Not even the superuser makes files there; nor a folder inside a file.
        PathBuf::from("/proc/vk-webhooks/store.db"),
        folder.path().join("file/store.db"),
        folder.path().to_owned(),
    ] {
        let sentence = refusal(path.clone()).await;
        assert!(
            sentence.contains("cannot be opened for reading and writing"),
            "{sentence}"
        );
        assert!(sentence.contains(&path.display().to_string()), "{sentence}");
    }
}

#[tokio::test]
async fn what_holds_secrets_is_readable_by_its_owner_only() {
    let folder = Folder::new();
    let store = open(folder.path().join("new/deep/store.db")).await;
    store
        .by(Actor::Operator)
        .create_team(None, "n".into(), "p".into(), at(0))
        .await
        .unwrap();
    let files = std::fs::read_dir(folder.path().join("new/deep")).unwrap();
    let mut seen = 0;
    for file in files {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.path());
        seen += 1;
    }
    assert!(seen >= 3, "the database, its log and its lock");
}

/// Before 3.51.3 a database could be damaged where two connections began its log anew at the same moment.
#[test]
fn the_version_of_sqlite_is_one_that_keeps_a_log_whole() {
    let version = rusqlite::version_number();
    assert!(version >= 3_051_003, "{}", rusqlite::version());
    let page = include_str!("../../../../docs/operating.md");
    let named = format!("its own SQLite ({};", rusqlite::version());
    assert!(page.contains(&named), "docs/operating.md has {named:?}");
}
