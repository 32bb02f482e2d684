//! Signing secrets are in no file of the store, and open only with the key they were sealed with.

use std::path::Path;

use model::audit::Actor;
use model::endpoint::{Secret, Secrets, Subscription};
use model::id::{EndpointId, TeamId};
use model::time::Timestamp;

use super::super::*;
use super::Folder;
use crate::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const FIRST: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const SECOND: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

async fn open(folder: &Folder, keys: &[&str]) -> Result<Store, OpenError> {
    let path = folder.0.join("store.db");
    let keyring = Keyring::parse(&keys.join("\n")).unwrap();
    Store::open_sqlite(SqliteOptions { path }, keyring).await
}

async fn team(store: &Store) -> TeamId {
    let team = store
        .by(Actor::Operator)
        .create_team(None, "n".into(), "p".into(), NOW)
        .await;
    team.unwrap().unwrap().id
}

async fn endpoint(store: &Store, team: TeamId, secrets: &Secrets) -> EndpointId {
    let all = Subscription::All;
    let made = store.by(Actor::Operator).create_endpoint(
        team,
        "u".into(),
        None,
        all,
        secrets.clone(),
        999,
        NOW,
    );
    made.await.unwrap().id
}

fn secrets(texts: &[&str]) -> Secrets {
    let (current, previous) = texts.split_first().unwrap();
    let previous = previous.iter().map(|text| (Secret::from_text(*text), NOW));
    Secrets {
        current: Secret::from_text(*current),
        previous: previous.collect(),
    }
}

/// Whether any file of the folder holds this text.
fn anywhere(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

fn change(folder: &Folder, sql: &str) {
    let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    raw.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn no_file_holds_a_secret_and_both_ways_of_reading_give_it_back() {
    let folder = Folder::new();
    let store = open(&folder, &[FIRST]).await.unwrap();
    let team = team(&store).await;
    let given = secrets(&["whsec_current", "whsec_before", "whsec_long_before"]);
    let id = endpoint(&store, team, &given).await;
    let change = EndpointChange {
        secrets: Some(given.clone()),
        ..EndpointChange::default()
    };
    store
        .by(Actor::Operator)
        .update_endpoint(team, id, change, NOW)
        .await
        .unwrap();
    assert!(!anywhere(&folder.0, "whsec"), "while it runs");
    assert!(anywhere(&folder.0, "sealed_under"), "and it was looked for");
    store.close().await;
    assert!(!anywhere(&folder.0, "whsec"), "nor afterwards");
    drop(store);
    let store = open(&folder, &[FIRST]).await.unwrap();
    let found = store.endpoint(team, id).await.unwrap().unwrap();
    assert_eq!(found.secrets, given);
    assert_eq!(store.load().await.unwrap().endpoints[0].secrets, given);
}

#[tokio::test]
async fn a_new_key_takes_over_and_the_old_one_may_go() {
    let folder = Folder::new();
    assert_eq!(holds_sealed_secrets(&folder.0.join("store.db")), Ok(false));
    let store = open(&folder, &[FIRST]).await.unwrap();
    let team = team(&store).await;
    let given = secrets(&["whsec_a", "whsec_b"]);
    // More than one step's worth.
    for _ in 0..600 {
        endpoint(&store, team, &given).await;
    }
    store.close().await;
    drop(store);
    assert_eq!(holds_sealed_secrets(&folder.0.join("store.db")), Ok(true));

    let refused = open(&folder, &[SECOND]).await.err().unwrap().sentence;
    assert!(refused.contains("sealed with the key"), "{refused}");
    for keys in [&[SECOND, FIRST][..], &[SECOND], &[SECOND, FIRST]] {
        let store = open(&folder, keys).await.unwrap();
        let loaded = store.load().await.unwrap().endpoints;
        assert!(loaded.len() == 600 && loaded.iter().all(|one| one.secrets == given));
        store.close().await;
    }
    assert!(open(&folder, &[FIRST]).await.is_err(), "its time is over");
}

#[tokio::test]
async fn a_key_that_is_not_the_store_s_is_told_also_where_there_is_no_endpoint() {
    let folder = Folder::new();
    open(&folder, &[FIRST]).await.unwrap().close().await;
    assert!(open(&folder, &[SECOND]).await.is_err());
    assert!(open(&folder, &[FIRST]).await.is_ok());
}

#[tokio::test]
async fn a_secret_that_was_moved_or_changed_does_not_open() {
    for tampering in [
        "UPDATE endpoints SET secret = (SELECT secret FROM endpoints ORDER BY id DESC LIMIT 1)",
        "UPDATE endpoints SET secret = 'v1.00000000.AAAA' WHERE id > 2",
        "UPDATE endpoints SET secret = substr(secret, 1, length(secret) - 8) || 'AAAAAAA='",
        "UPDATE endpoints SET secret = 'whsec_chosen_by_somebody'",
        "UPDATE endpoints SET previous_secrets = '[[\"v1.x\", 3]]'",
    ] {
        let folder = Folder::new();
        let store = open(&folder, &[FIRST]).await.unwrap();
        let team = team(&store).await;
        for _ in 0..2 {
            endpoint(&store, team, &secrets(&["whsec_a"])).await;
        }
        store.close().await;
        drop(store);
        change(&folder, tampering);
        assert!(open(&folder, &[FIRST]).await.is_err(), "{tampering}");
    }
}

#[tokio::test]
async fn a_store_of_the_versions_before_is_sealed_when_it_is_opened() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    for step in &migrate::STEPS[..2] {
        change(&folder, step);
    }
    change(
        &folder,
        &format!(
            "PRAGMA application_id = {}; PRAGMA user_version = 2; \
             INSERT INTO teams VALUES (1, 'a', 'A', 'scale', 0, NULL); \
             INSERT INTO endpoints VALUES \
                 (2, 1, 'u', NULL, NULL, 'whsec_plain', '[[\"whsec_older\", 1795000000000]]', \
                  0, 0, 0, NULL, NULL, NULL, 0, NULL), \
                 (3, 1, 'u', NULL, NULL, '', NULL, 0, 0, 0, NULL, NULL, NULL, 0, 5);",
            migrate::APPLICATION_ID
        ),
    );
    assert!(anywhere(&folder.0, "whsec_plain"));
    assert_eq!(holds_sealed_secrets(&folder.0.join("store.db")), Ok(false));
    let store = open(&folder, &[FIRST]).await.unwrap();
    let found = store.endpoint(TeamId(1), EndpointId(2)).await.unwrap();
    let expected = secrets(&["whsec_plain", "whsec_older"]);
    assert_eq!(found.unwrap().secrets, expected);
    store.close().await;
    assert!(!anywhere(&folder.0, "whsec"));
}
