//! What the settings pages keep and ask for: figures by the hour, sessions, latest attempts, counts of dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::audit::Actor;
use model::id::EndpointId;
use model::key::KeyHash;
use model::retry::Verdict;
use model::tally::Tally;
use store::{
    EndpointChange, EndpointHour, EndpointProgress, LinkHolder, Opener, RetryFilter, Session,
};

use crate::house::{House, at, new_team, settlement};

fn hour(hour: i64, delivered: u32, millis: u32) -> EndpointHour {
    let mut tally = Tally {
        delivered,
        failed: 1,
        dead_letters: 2,
        ..Tally::default()
    };
    tally.latency.count(millis);
    EndpointHour { hour, tally }
}

async fn keep(house: &House, endpoint: EndpointId, hour: EndpointHour) {
    let progress = EndpointProgress {
        endpoint,
        health: None,
        last_delivery_at: at(1),
        hours: vec![hour],
    };
    let settled = house.store.settle(Arc::default(), Arc::new(vec![progress]));
    settled.await.unwrap();
}

#[tokio::test]
async fn an_hour_is_what_was_written_last_however_often_and_outlives_a_restart() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    keep(&house, endpoint, hour(7, 1, 20)).await;
    for _ in 0..2 {
        keep(&house, endpoint, hour(7, 3, 300)).await;
    }
    keep(&house, endpoint, hour(8, 1, 5)).await;
    let house = house.reopened().await;
    let store = &house.store;
    let both = [hour(7, 3, 300), hour(8, 1, 5)];
    let found = store.endpoint_hours(house.team, endpoint, 7).await.unwrap();
    assert_eq!(found, both);
    let of = [endpoint];
    let found = store.hours_of(house.team, of, 8).await.unwrap();
    assert_eq!(found, [(endpoint, both[1].clone())]);
    let wanted = [7, 9, 8].map(|hour| (endpoint, hour));
    let found = store.hours_at(&wanted).await.unwrap();
    assert_eq!(found, both.clone().map(|hour| (endpoint, hour)));
    // Another team's are none of this team's.
    let other = new_team(store, "other").await;
    assert!(store.hours_of(other, of, 0).await.unwrap().is_empty());
    assert!(
        store
            .endpoint_hours(other, endpoint, 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.sweep_hours(8).await.unwrap(), 1);
    let left = store.endpoint_hours(house.team, endpoint, 0).await.unwrap();
    assert_eq!(left, both[1..]);
}

#[tokio::test]
async fn a_session_ends_by_idleness_by_age_and_by_hand() {
    let house = House::new().await;
    let store = &house.store;
    let session = |opener| Session {
        opener,
        idle_until: at(10),
        expires_at: at(30),
    };
    let jane = LinkHolder {
        team: house.team,
        name: Some("jane@acme.example".into()),
    };
    let link = session(Opener::Link(jane));
    let key = session(Opener::Key(KeyHash([7; 32])));
    let somebody = session(Opener::Link(house.team.into()));
    for (name, session) in [(1, &link), (2, &key), (4, &somebody)] {
        store
            .put_session([name; 32], session.clone())
            .await
            .unwrap();
    }
    let look = async |name: u8, now| store.session([name; 32], at(now)).await.unwrap();
    assert_eq!(
        (look(1, 9).await, look(2, 9).await),
        (Some(link), Some(key))
    );
    assert_eq!(look(4, 9).await, Some(somebody));
    assert_eq!((look(1, 10).await, look(3, 1).await), (None, None));
    store.touch_session([1; 32], at(40)).await.unwrap();
    store.touch_session([1; 32], at(20)).await.unwrap();
    assert_eq!(
        look(1, 29).await.map(|found| found.idle_until),
        Some(at(40))
    );
    assert_eq!(look(1, 30).await, None, "its age ends it all the same");
    store.end_session([1; 32]).await.unwrap();
    assert_eq!(look(1, 1).await, None);
    assert_eq!(store.sweep_sessions(at(29)).await.unwrap(), 0);
    assert_eq!(store.sweep_sessions(at(30)).await.unwrap(), 2);
    assert_eq!(look(2, 1).await, None);
}

#[tokio::test]
async fn dead_letters_are_counted_up_to_a_limit_and_their_retry_can_be_watched() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let kind = if number < 3 {
            "link.created"
        } else {
            "link.clicked"
        };
        let id = house.publish(kind, &[endpoint], number).await.delivery(0);
        house.settle(settlement(id, 1, Verdict::DeadLetter)).await;
        ids.push(id);
    }
    let (store, team) = (&house.store, house.team);
    let all = RetryFilter::default();
    let typed = RetryFilter {
        event_type: Some("link.created".into()),
        ..RetryFilter::default()
    };
    let late = RetryFilter {
        since: Some(at(3)),
        ..RetryFilter::default()
    };
    for (filter, most, count) in [(&all, 9, 5), (&all, 2, 2), (&typed, 9, 3), (&late, 9, 2)] {
        let found = store
            .count_dead_letters(team, Some(endpoint), filter, most)
            .await;
        assert_eq!(found.unwrap(), count, "{filter:?} {most}");
    }
    let other = new_team(store, "other").await;
    let none = store
        .count_dead_letters(other, Some(endpoint), &all, 9)
        .await;
    assert_eq!(none.unwrap(), 0, "another team's");
    let latest = store.latest_attempts(team, &ids).await.unwrap();
    assert_eq!(latest.len(), 5);
    assert_eq!(
        (latest[0].delivery, latest[0].duration_ms),
        (
            ids[0],
            settlement(ids[0], 1, Verdict::DeadLetter)
                .attempt
                .duration_ms
        )
    );
    assert!(store.latest_attempts(other, &ids).await.unwrap().is_empty());
    let done = AtomicU64::default();
    let retried = store
        .retry_dead_letters_watched(team, endpoint, &typed, at(9), &done)
        .await;
    assert_eq!((retried.unwrap(), done.load(Ordering::Relaxed)), (3, 3));
    let left = store
        .count_dead_letters(team, Some(endpoint), &all, 9)
        .await;
    assert_eq!(left.unwrap(), 2);
}

#[tokio::test]
async fn endpoints_are_called_by_their_descriptions_and_only_their_own_team_knows_them() {
    let house = House::new().await;
    let (store, team) = (&house.store, house.team);
    let (plain, named) = (house.endpoint().await, house.endpoint().await);
    let deleted = house.endpoint().await;
    let other = new_team(store, "other").await;
    let foreign = house.endpoint_of(other).await.id;
    let hand = || store.by(Actor::Operator);
    let change = EndpointChange {
        description: Some(Some("CRM".into())),
        ..EndpointChange::default()
    };
    hand()
        .update_endpoint(team, named, change, at(1))
        .await
        .unwrap();
    assert!(hand().delete_endpoint(team, deleted, at(1)).await.unwrap());
    let url = "https://receiver.example/hook".to_owned();
    let first = store.endpoint_names(team, 1).await.unwrap();
    assert_eq!(first, [(plain, url.clone())]);
    let both = [(plain, url), (named, "CRM".to_owned())];
    assert_eq!(store.endpoint_names(team, 9).await.unwrap(), both);
    let asked = [named, foreign, deleted, plain, named];
    let names = store.names_of(team, asked).await.unwrap();
    assert_eq!(names, both.into());
    for (endpoint, its) in [(plain, true), (deleted, true), (foreign, false)] {
        let found = store.was_endpoint_of(team, endpoint).await.unwrap();
        assert_eq!(found, its, "{endpoint:?}");
    }
}

#[tokio::test]
async fn dead_letters_are_counted_over_all_endpoints_that_are_there() {
    let house = House::new().await;
    let (store, team) = (&house.store, house.team);
    let (one, two) = (house.endpoint().await, house.endpoint().await);
    let (idle, deleted) = (house.endpoint().await, house.endpoint().await);
    for (number, (kind, endpoint)) in [
        ("link.created", one),
        ("link.clicked", one),
        ("link.created", two),
        ("link.created", deleted),
    ]
    .into_iter()
    .enumerate()
    {
        let published = house.publish(kind, &[endpoint], number as i64).await;
        let settled = settlement(published.delivery(0), 1, Verdict::DeadLetter);
        house.settle(settled).await;
    }
    let hand = store.by(Actor::Operator);
    assert!(hand.delete_endpoint(team, deleted, at(9)).await.unwrap());
    let created = RetryFilter {
        event_type: Some("link.created".into()),
        ..RetryFilter::default()
    };
    let late = RetryFilter {
        since: Some(at(1)),
        ..RetryFilter::default()
    };
    for (filter, endpoint, most, number) in [
        (&RetryFilter::default(), None, 9, 3),
        (&RetryFilter::default(), None, 2, 2),
        (&RetryFilter::default(), Some(one), 9, 2),
        (&RetryFilter::default(), Some(idle), 9, 0),
        (&RetryFilter::default(), Some(deleted), 9, 0),
        (&created, None, 9, 2),
        (&created, Some(one), 9, 1),
        (&late, None, 9, 2),
    ] {
        let counted = store.count_dead_letters(team, endpoint, filter, most).await;
        assert_eq!(counted.unwrap(), number, "{filter:?} {endpoint:?} {most}");
    }
    for (filter, endpoints) in [
        (&RetryFilter::default(), vec![one, two]),
        (&created, vec![one, two]),
        (&late, vec![one, two]),
    ] {
        let found = store.with_dead_letters(team, filter).await.unwrap();
        assert_eq!(found, endpoints, "{filter:?}");
    }
    let other = new_team(store, "other").await;
    let all = RetryFilter::default();
    assert!(
        store
            .with_dead_letters(other, &all)
            .await
            .unwrap()
            .is_empty()
    );
    let theirs = store.count_dead_letters(other, None, &all, 9).await;
    assert_eq!(theirs.unwrap(), 0);
}

#[tokio::test]
async fn what_is_sent_is_known_from_its_last_change_on() {
    let house = House::new().await;
    let (store, team, endpoint) = (&house.store, house.team, house.endpoint().await);
    let other = new_team(store, "other").await;
    let change = async |url: Option<&str>, millis| {
        let change = EndpointChange {
            url: url.map(str::to_owned),
            paused: Some(millis % 2 == 0),
            ..EndpointChange::default()
        };
        let hand = store.by(Actor::Operator);
        let changed = hand
            .update_endpoint(team, endpoint, change, at(millis))
            .await;
        changed.unwrap().unwrap().sent_as_since
    };
    let stored = async || {
        let found = store.endpoint(team, endpoint).await.unwrap();
        found.unwrap().sent_as_since
    };
    assert_eq!(change(None, 5).await, at(0));
    assert_eq!(
        change(Some("https://receiver.example/hook"), 6).await,
        at(0)
    );
    assert_eq!(
        change(Some("https://receiver.example/new?a=b"), 10).await,
        at(10)
    );
    assert_eq!(stored().await, at(10));
    for (whose, since, expected) in [(team, 12, 12), (team, 11, 12), (other, 13, 12)] {
        store
            .sent_as_since(whose, endpoint, at(since))
            .await
            .unwrap();
        assert_eq!(stored().await, at(expected), "{since}");
    }
    change(Some("https://receiver.example/newest"), 20).await;
    let before = async |team, millis| {
        let found = store.url_before_change(team, endpoint, at(millis)).await;
        found.unwrap()
    };
    let (first, second) = (
        "https://receiver.example/hook",
        "https://receiver.example/new?…",
    );
    for (millis, url) in [
        (0, Some(first)),
        (9, Some(first)),
        (11, Some(second)),
        (21, None),
    ] {
        assert_eq!(before(team, millis).await.as_deref(), url, "{millis}");
        assert_eq!(before(other, millis).await, None, "another team's");
    }
    let hand = store.by(Actor::Operator);
    assert!(hand.delete_endpoint(team, endpoint, at(30)).await.unwrap());
    let last = before(team, 21).await;
    assert_eq!(last.as_deref(), Some("https://receiver.example/newest"));
}
