//! A store from before links, sessions and audit entries had the name of a person keeps all of them, without one.

use model::audit::Actor;
use model::id::{AuditId, TeamId};
use model::time::Timestamp;

use super::super::*;
use super::{Folder, keyring};
use crate::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const LATER: Timestamp = Timestamp::from_millis(1_795_000_100_000);

/// A store as version 6 left it: a link, a session opened by a link, and an entry of each kind of actor.
fn of_version_6(folder: &Folder) {
    std::fs::create_dir_all(&folder.0).unwrap();
    let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    for step in &migrate::STEPS[..6] {
        raw.execute_batch(step).unwrap();
    }
    raw.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 6; \
         INSERT INTO teams VALUES (1, 'a', 'A', 'scale', 0, NULL); \
         INSERT INTO tokens VALUES ('settings_link', x'{link}', 1, {later}); \
         INSERT INTO sessions VALUES (x'{session}', 1, NULL, {later}, {later}); \
         INSERT INTO audit_log VALUES \
             (2, 1, 'operator', NULL, 'team.created', 1, '[]'), \
             (3, 1, 'api_key', 7, 'team.updated', 1, '[[\"name\",\"A\",\"B\"]]'), \
             (4, 1, 'settings_page', NULL, 'team.updated', 1, '[]');",
        migrate::APPLICATION_ID,
        link = "01".repeat(32),
        session = "02".repeat(32),
        later = LATER.as_millis(),
    ))
    .unwrap();
}

#[tokio::test]
async fn a_store_of_the_version_before_names_have_keeps_what_it_has_and_takes_names() {
    let folder = Folder::new();
    of_version_6(&folder);
    let path = folder.0.join("store.db");
    let open = || Store::open_sqlite(SqliteOptions { path: path.clone() }, keyring());
    let store = open().await.unwrap();
    let team = TeamId(1);
    let kind = TokenKind::SettingsLink;
    let somebody = LinkHolder::from(team);
    let taken = store.take_token(kind, [1; 32], NOW).await.unwrap();
    assert_eq!(taken, Some(somebody.clone()));
    let session = store.session([2; 32], NOW).await.unwrap().unwrap();
    assert_eq!(session.opener, Opener::Link(somebody));
    assert_eq!(session.expires_at, LATER);
    let key = model::id::KeyId(7);
    let before = [Actor::Session(None), Actor::Key(key), Actor::Operator];
    let log = store.audit_log(team, None, 10).await.unwrap();
    assert_eq!(log[1].changes[0].to.as_deref(), Some("B"));
    assert!(log.into_iter().map(|entry| entry.actor).eq(before.clone()));

    let jane = LinkHolder {
        team,
        name: Some("jane@acme.example".into()),
    };
    let put = store.put_token(jane.clone(), kind, [3; 32], LATER);
    put.await.unwrap();
    let hand = store.by(Actor::Session(jane.name.clone()));
    let renamed = hand.update_team(team, Some("C".into()), None, NOW).await;
    assert!(renamed.unwrap().is_some());
    store.close().await;

    // Opened again nothing is brought up to date a second time.
    let store = open().await.unwrap();
    let taken = store.take_token(kind, [3; 32], NOW).await.unwrap();
    assert_eq!(taken, Some(jane.clone()));
    let log = store.audit_log(team, None, 10).await.unwrap();
    assert!(log[0].id > AuditId(4));
    let actors = log.into_iter().map(|entry| entry.actor);
    assert!(actors.eq([Actor::Session(jane.name)].into_iter().chain(before)));
}

#[tokio::test]
async fn a_name_where_none_can_be_is_damage() {
    let folder = Folder::new();
    of_version_6(&folder);
    let raw = rusqlite::Connection::open(folder.0.join("store.db")).unwrap();
    let (seventh, now) = (migrate::STEPS[6], LATER.as_millis());
    raw.execute_batch(&format!(
        "{seventh} PRAGMA user_version = 7; \
         UPDATE audit_log SET actor_name = 'jane@acme.example' WHERE id = 3; \
         INSERT INTO sessions VALUES (x'{}', NULL, x'{}', {now}, {now}, 'jane@acme.example');",
        "04".repeat(32),
        "05".repeat(32),
    ))
    .unwrap();
    drop(raw);
    let path = folder.0.join("store.db");
    let store = Store::open_sqlite(SqliteOptions { path }, keyring());
    let store = store.await.unwrap();
    let log = store.audit_log(TeamId(1), None, 10).await.unwrap_err();
    let session = store.session([4; 32], NOW).await.unwrap_err();
    for error in [log, session] {
        let sentence = error.to_string();
        assert!(sentence.contains("what is stored is damaged"), "{sentence}");
        assert!(!sentence.contains("jane"), "{sentence}");
    }
}
