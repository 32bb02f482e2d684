//! What a team has: the team itself, endpoints, keys, tokens, and that no other team reaches it.

use model::audit::Actor;
use model::endpoint::{Secret, Secrets, Subscription};
use model::id::{Id, KeyId, TeamId};
use model::key::{ApiKey, KeyHash, Scope, Scopes};
use store::{EndpointChange, LimitedError, LinkHolder, PageRequest, TokenKind};

use crate::house::{House, at, new_team};

const FIRST: PageRequest = PageRequest {
    page: 1,
    per_page: 100,
};

fn key(name: u8) -> ApiKey {
    ApiKey {
        id: KeyId(0),
        team: TeamId(0),
        name: format!("key {name}"),
        shown: "01234567".into(),
        hash: KeyHash([name; 32]),
        scopes: [Scope::Read, Scope::EventsWrite]
            .into_iter()
            .collect::<Scopes>(),
        last_used_at: None,
        expires_at: Some(at(77)),
    }
}

#[tokio::test]
async fn a_team_is_made_changed_listed_and_deleted() {
    let house = House::new().await;
    let store = &house.store;
    let make = |id: Option<&str>| {
        store.by(Actor::Operator).create_team(
            id.map(Into::into),
            "Name".into(),
            "scale".into(),
            at(3),
        )
    };
    assert_eq!(
        make(Some("acme")).await.unwrap(),
        None,
        "the external id is taken"
    );
    let anonymous = make(None).await.unwrap().unwrap();
    assert_eq!(
        store.codec().parse::<TeamId>(&anonymous.external_id),
        Some(anonymous.id)
    );
    assert_eq!((anonymous.created_at, anonymous.updated_at), (at(3), at(3)));

    let changed = store
        .by(Actor::Operator)
        .update_team(anonymous.id, Some("New".into()), None, at(9))
        .await
        .unwrap();
    let changed = changed.unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.plan.as_str()),
        ("New", "scale")
    );
    assert_eq!((changed.created_at, changed.updated_at), (at(3), at(9)));
    let page = store.teams(FIRST).await.unwrap();
    let names: Vec<_> = page.rows.iter().map(|team| team.id).collect();
    assert_eq!((page.total, names), (2, vec![house.team, anonymous.id]));

    assert!(
        store
            .by(Actor::Operator)
            .delete_team(house.team, at(10))
            .await
            .unwrap()
    );
    assert!(
        !store
            .by(Actor::Operator)
            .delete_team(house.team, at(11))
            .await
            .unwrap(),
        "it is gone already"
    );
    assert_eq!(
        store
            .by(Actor::Operator)
            .update_team(house.team, None, None, at(11))
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.teams(FIRST).await.unwrap().total, 1);
    let again = make(Some("acme")).await.unwrap().unwrap();
    assert_ne!(again.id, house.team, "its external id is free again");
}

#[tokio::test]
async fn an_endpoint_is_kept_with_all_its_parts_and_changed_in_parts() {
    let house = House::new().await;
    let secrets = Secrets {
        current: Secret::from_text("new"),
        previous: vec![
            (Secret::from_text("older"), at(400)),
            (Secret::from_text("old"), at(500)),
        ],
    };
    let types = Subscription::Types(vec!["a".into(), "b".into()]);
    let made = house
        .store
        .by(Actor::Operator)
        .create_endpoint(
            house.team,
            "https://a.example/".into(),
            Some("first".into()),
            types.clone(),
            secrets.clone(),
            10,
            at(1),
        )
        .await
        .unwrap();
    let house = house.reopened().await;
    let read = house
        .store
        .endpoint(house.team, made.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read, made);
    assert_eq!(
        (read.subscription, read.secrets, read.id.created_at()),
        (types, secrets, at(1))
    );

    let change = async |change: EndpointChange| {
        house
            .store
            .by(Actor::Operator)
            .update_endpoint(house.team, made.id, change, at(2))
            .await
            .unwrap()
            .unwrap()
    };
    let mut expected = model::endpoint::Endpoint {
        updated_at: at(2),
        ..made.clone()
    };
    assert_eq!(change(EndpointChange::default()).await, expected);
    // What is sent is the same, until the URL or a secret is another.
    assert_eq!(expected.sent_as_since, made.sent_as_since);
    expected.url = "https://b.example/".into();
    expected.paused = true;
    expected.sent_as_since = at(2);
    let now = change(EndpointChange {
        url: Some("https://b.example/".into()),
        paused: Some(true),
        ..EndpointChange::default()
    });
    assert_eq!(now.await, expected);
    expected.description = None;
    expected.disabled = true;
    expected.subscription = Subscription::All;
    expected.secrets = Secrets::new(Secret::from_text("newest"));
    let now = change(EndpointChange {
        description: Some(None),
        disabled: Some(true),
        subscription: Some(Subscription::All),
        secrets: Some(expected.secrets.clone()),
        ..EndpointChange::default()
    });
    assert_eq!(now.await, expected);
    assert_eq!(house.store.load().await.unwrap().endpoints, [expected]);
}

#[tokio::test]
async fn plans_limit_what_is_living() {
    let house = House::new().await;
    let store = &house.store;
    let make = |limit| {
        let secrets = Secrets::new(Secret::from_text("s"));
        let url = "https://a.example/".to_owned();
        store.by(Actor::Operator).create_endpoint(
            house.team,
            url,
            None,
            Subscription::All,
            secrets,
            limit,
            at(0),
        )
    };
    let first = make(2).await.unwrap();
    make(2).await.unwrap();
    assert_eq!(make(2).await, Err(LimitedError::LimitReached(2)));
    assert!(
        store
            .by(Actor::Operator)
            .delete_endpoint(house.team, first.id, at(1))
            .await
            .unwrap()
    );
    make(2).await.unwrap();
    assert_eq!(store.endpoints(house.team, FIRST).await.unwrap().total, 2);
    assert_eq!(make(0).await, Err(LimitedError::LimitReached(0)));

    let many = (0..10_u8).map(|name| {
        store
            .by(Actor::Operator)
            .create_key(house.team, key(name), 3, at(0))
    });
    let mut made = 0;
    for attempt in many {
        match attempt.await {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error, LimitedError::LimitReached(3)),
        }
    }
    assert_eq!(made, 3);
}

#[tokio::test]
async fn creations_at_the_same_time_do_not_exceed_the_plan() {
    let house = House::new().await;
    let mut makers = tokio::task::JoinSet::new();
    for name in 0..20 {
        let (store, team) = (house.store.clone(), house.team);
        makers.spawn(async move {
            store
                .by(Actor::Operator)
                .create_key(team, key(name), 5, at(0))
                .await
                .is_ok()
        });
    }
    let made = makers
        .join_all()
        .await
        .into_iter()
        .filter(|made| *made)
        .count();
    assert_eq!(made, 5);
    assert_eq!(house.store.keys(house.team, FIRST).await.unwrap().total, 5);
}

#[tokio::test]
async fn a_key_is_kept_touched_and_deleted() {
    let house = House::new().await;
    let store = &house.store;
    let made = store
        .by(Actor::Operator)
        .create_key(house.team, key(1), 5, at(4))
        .await
        .unwrap();
    assert_eq!((made.team, made.id.created_at()), (house.team, at(4)));
    store
        .touch_keys(vec![(made.id, at(9)), (made.id, at(8))])
        .await
        .unwrap();
    let expected = ApiKey {
        last_used_at: Some(at(9)),
        ..made.clone()
    };
    assert_eq!(
        store.keys(house.team, FIRST).await.unwrap().rows,
        std::slice::from_ref(&expected)
    );
    assert_eq!(store.load().await.unwrap().keys, [expected]);
    assert_eq!(
        store
            .by(Actor::Operator)
            .delete_key(house.team, made.id, at(9))
            .await
            .unwrap(),
        Some(made.hash)
    );
    assert_eq!(
        store
            .by(Actor::Operator)
            .delete_key(house.team, made.id, at(9))
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.keys(house.team, FIRST).await.unwrap().total, 0);
}

#[tokio::test]
async fn the_operators_key_is_kept_and_replaced() {
    let house = House::new().await;
    assert_eq!(house.store.operator_key().await.unwrap(), None);
    for hash in [KeyHash([1; 32]), KeyHash([2; 32])] {
        house.store.set_operator_key(hash).await.unwrap();
        assert_eq!(house.store.operator_key().await.unwrap(), Some(hash));
    }
}

#[tokio::test]
async fn a_token_lasts_until_it_expires_or_is_taken_once() {
    let house = House::new().await;
    let store = &house.store;
    let jane = LinkHolder {
        team: house.team,
        name: Some("jane@acme.example".into()),
    };
    store
        .put_token(jane.clone(), TokenKind::SettingsLink, [1; 32], at(10))
        .await
        .unwrap();
    let look = |kind, now| store.token(kind, [1; 32], at(now));
    assert_eq!(
        look(TokenKind::SettingsLink, 9).await.unwrap(),
        Some(jane.clone())
    );
    assert_eq!(
        look(TokenKind::SettingsLink, 10).await.unwrap(),
        None,
        "expired"
    );
    assert_eq!(
        look(TokenKind::FirstRun, 9).await.unwrap(),
        None,
        "of another kind"
    );
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let store = store.clone();
        takers.spawn(async move {
            store
                .take_token(TokenKind::SettingsLink, [1; 32], at(9))
                .await
                .unwrap()
        });
    }
    let taken = takers.join_all().await;
    assert_eq!(
        taken.into_iter().flatten().collect::<Vec<_>>(),
        [jane],
        "by one of ten"
    );
    assert_eq!(look(TokenKind::SettingsLink, 9).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_is_remembered_with_who_made_it_and_their_name() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let actors = [
        Actor::Session(Some("jane@acme.example".into())),
        Actor::Session(Some("<b>\u{202e}".repeat(50).into())),
        Actor::Session(None),
        Actor::Key(KeyId(7)),
        Actor::Operator,
    ];
    for (number, actor) in actors.iter().enumerate() {
        let change = EndpointChange {
            description: Some(Some(number.to_string())),
            ..EndpointChange::default()
        };
        let hand = house.store.by(actor.clone());
        let changed = hand.update_endpoint(house.team, endpoint, change, at(1));
        assert!(changed.await.unwrap().is_some());
    }
    let house = house.reopened().await;
    let log = house.store.audit_log(house.team, None, 5).await.unwrap();
    let found: Vec<_> = log.into_iter().rev().map(|entry| entry.actor).collect();
    assert_eq!(found, actors);
}

#[tokio::test]
async fn a_deleted_team_takes_all_it_has_along() {
    let house = House::new().await;
    let store = &house.store;
    let endpoint = house.endpoint().await;
    store
        .by(Actor::Operator)
        .create_key(house.team, key(1), 5, at(0))
        .await
        .unwrap();
    store
        .put_token(house.team.into(), TokenKind::FirstRun, [1; 32], at(10))
        .await
        .unwrap();
    let other = new_team(store, "other").await;
    let theirs = house.endpoint_of(other).await;
    store
        .by(Actor::Operator)
        .delete_team(house.team, at(1))
        .await
        .unwrap();
    let loaded = store.load().await.unwrap();
    let teams: Vec<_> = loaded.teams.iter().map(|team| team.id).collect();
    assert_eq!(
        (teams, loaded.endpoints, loaded.keys.len()),
        (vec![other], vec![theirs], 0)
    );
    assert_eq!(store.endpoint(house.team, endpoint).await.unwrap(), None);
    assert_eq!(
        store
            .token(TokenKind::FirstRun, [1; 32], at(2))
            .await
            .unwrap(),
        None
    );
    let refused = store
        .by(Actor::Operator)
        .create_key(house.team, key(2), 5, at(2))
        .await;
    assert_eq!(
        refused,
        Err(LimitedError::LimitReached(5)),
        "nor gets it anything new"
    );
}

#[tokio::test]
async fn another_teams_things_are_as_if_they_were_not_there() {
    let house = House::new().await;
    let store = &house.store;
    let endpoint = house.endpoint().await;
    let made = store
        .by(Actor::Operator)
        .create_key(house.team, key(1), 5, at(0))
        .await
        .unwrap();
    let other = new_team(store, "other").await;
    let change = EndpointChange {
        disabled: Some(true),
        ..EndpointChange::default()
    };
    assert_eq!(
        store
            .by(Actor::Operator)
            .update_endpoint(other, endpoint, change, at(1))
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.endpoint(other, endpoint).await.unwrap(), None);
    assert!(
        !store
            .by(Actor::Operator)
            .delete_endpoint(other, endpoint, at(1))
            .await
            .unwrap()
    );
    assert_eq!(
        store
            .by(Actor::Operator)
            .delete_key(other, made.id, at(9))
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.endpoints(other, FIRST).await.unwrap().total, 0);
    let untouched = store.endpoint(house.team, endpoint).await.unwrap().unwrap();
    assert!(!untouched.disabled);
    assert_eq!(store.keys(house.team, FIRST).await.unwrap().total, 1);
}
