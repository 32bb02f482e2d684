//! What the settings pages keep and ask for: figures by the hour, sessions, latest attempts, counts of dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::id::EndpointId;
use model::key::KeyHash;
use model::retry::Verdict;
use model::tally::Tally;
use store::{EndpointHour, EndpointProgress, Opener, RetryFilter, Session};

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
    let found = store.hours(house.team, 8).await.unwrap();
    assert_eq!(found, [(endpoint, both[1].clone())]);
    let wanted = [7, 9, 8].map(|hour| (endpoint, hour));
    let found = store.hours_of(&wanted).await.unwrap();
    assert_eq!(found, both.clone().map(|hour| (endpoint, hour)));
    // Another team's are none of this team's.
    let other = new_team(store, "other").await;
    assert!(store.hours(other, 0).await.unwrap().is_empty());
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
    let link = session(Opener::Link(house.team));
    let key = session(Opener::Key(KeyHash([7; 32])));
    store.put_session([1; 32], link).await.unwrap();
    store.put_session([2; 32], key).await.unwrap();
    let look = async |name: u8, now| store.session([name; 32], at(now)).await.unwrap();
    assert_eq!(
        (look(1, 9).await, look(2, 9).await),
        (Some(link), Some(key))
    );
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
    assert_eq!(store.sweep_sessions(at(30)).await.unwrap(), 1);
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
        let found = store.count_dead_letters(team, endpoint, filter, most).await;
        assert_eq!(found.unwrap(), count, "{filter:?} {most}");
    }
    let other = new_team(store, "other").await;
    let none = store.count_dead_letters(other, endpoint, &all, 9).await;
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
    let left = store.count_dead_letters(team, endpoint, &all, 9).await;
    assert_eq!(left.unwrap(), 2);
}
