//! One key, one event: repeated, in batches, expired, and raced for.

use bytes::Bytes;
use store::{AcceptError, Acceptance, Accepted, Idempotency, PageRequest};

use crate::house::{House, acceptance, at, new_team};

fn keyed(key: &str, content: u8) -> Acceptance {
    Acceptance {
        idempotency: Some(Idempotency {
            key: key.into(),
            fingerprint: [content; 32],
            expires_at: at(1000),
        }),
        ..acceptance("link.created", &[])
    }
}

async fn accept(
    house: &House,
    events: Vec<Acceptance>,
    millis: i64,
) -> Result<Vec<Accepted>, AcceptError> {
    house.store.accept(house.team, events, at(millis)).await
}

async fn count(house: &House) -> u64 {
    let page = PageRequest {
        page: 1,
        per_page: 1,
    };
    house.store.events(house.team, page).await.unwrap().total
}

#[tokio::test]
async fn a_key_used_again_gets_the_first_answer_or_a_conflict() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let mut first = keyed("a", 1);
    first.endpoints = vec![endpoint];
    let original = accept(&house, vec![first], 0).await.unwrap()[0];
    assert_eq!((original.deliveries, original.replayed), (1, false));
    // The endpoints have changed since: the answer has not.
    let again = accept(&house, vec![keyed("a", 1)], 999).await.unwrap();
    let expected = Accepted {
        replayed: true,
        ..original
    };
    assert_eq!(again, [expected]);
    let conflict = accept(&house, vec![keyed("a", 2)], 999).await;
    assert_eq!(conflict, Err(AcceptError::Conflict { index: 0 }));
    assert_eq!(count(&house).await, 1);

    let other = new_team(&house.store, "other").await;
    let theirs = house
        .store
        .accept(other, vec![keyed("a", 2)], at(5))
        .await
        .unwrap();
    assert!(!theirs[0].replayed, "keys are a team's own");
}

#[tokio::test]
async fn an_expired_key_is_as_if_never_used() {
    let house = House::new().await;
    let old = accept(&house, vec![keyed("a", 1)], 0).await.unwrap();
    let mut later = keyed("a", 2);
    later.idempotency.as_mut().unwrap().expires_at = at(5000);
    let new = accept(&house, vec![later], 1000).await.unwrap();
    assert!(!new[0].replayed && new[0].event != old[0].event);
    let again = accept(&house, vec![keyed("a", 2)], 2000).await.unwrap();
    assert_eq!((again[0].event, again[0].replayed), (new[0].event, true));
}

#[tokio::test]
async fn a_batch_takes_what_is_new_and_answers_what_is_not() {
    let house = House::new().await;
    let first = accept(&house, vec![keyed("a", 1), keyed("b", 2)], 0)
        .await
        .unwrap();
    let batch = vec![
        keyed("c", 3),
        keyed("a", 1),
        acceptance("link.created", &[]),
        keyed("c", 3),
        keyed("b", 2),
    ];
    let second = accept(&house, batch, 1).await.unwrap();
    let replayed: Vec<_> = second.iter().map(|accepted| accepted.replayed).collect();
    assert_eq!(replayed, [false, true, false, true, true]);
    assert_eq!(
        (second[1].event, second[4].event),
        (first[0].event, first[1].event)
    );
    assert_eq!(
        second[3].event, second[0].event,
        "twice within one batch is once"
    );
    assert_eq!(count(&house).await, 4);
    // All of it again: nothing is new.
    let batch = vec![keyed("c", 3), keyed("a", 1)];
    let third = accept(&house, batch, 2).await.unwrap();
    assert_eq!(
        (third[0].event, third[1].event),
        (second[0].event, first[0].event)
    );
    assert_eq!(count(&house).await, 4);
}

#[tokio::test]
async fn a_conflict_anywhere_in_a_batch_accepts_none_of_it() {
    let house = House::new().await;
    accept(&house, vec![keyed("a", 1)], 0).await.unwrap();
    for (batch, index) in [
        (vec![keyed("x", 1), keyed("a", 9), keyed("y", 1)], 1),
        (vec![keyed("x", 1), keyed("y", 1), keyed("x", 2)], 2),
    ] {
        assert_eq!(
            accept(&house, batch, 1).await,
            Err(AcceptError::Conflict { index })
        );
    }
    assert_eq!(count(&house).await, 1);
    assert!(!accept(&house, vec![keyed("x", 5)], 2).await.unwrap()[0].replayed);
}

#[tokio::test]
async fn of_many_who_race_for_a_key_one_publishes() {
    let house = House::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..40_u8 {
        let (store, team) = (house.store.clone(), house.team);
        racers.spawn(async move {
            // Half of them inside a batch, between events of their own.
            let own = |name: &str| keyed(&format!("{name}{racer}"), racer);
            let (events, index) = if racer % 2 == 0 {
                (vec![keyed("raced", 7)], 0)
            } else {
                (vec![own("x"), keyed("raced", 7), own("y")], 1)
            };
            store.accept(team, events, at(0)).await.unwrap()[index]
        });
    }
    let answers = racers.join_all().await;
    let event = answers[0].event;
    assert!(answers.iter().all(|answer| answer.event == event));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert_eq!(count(&house).await, 1 + 2 * 20);
}

#[tokio::test]
async fn the_published_bytes_are_the_first_ones() {
    let house = House::new().await;
    let first = accept(&house, vec![keyed("a", 1)], 0).await.unwrap()[0].event;
    let mut again = keyed("a", 1);
    again.event.body = Bytes::from_static(b"something else");
    accept(&house, vec![again], 1).await.unwrap();
    let (event, _) = house.store.event(house.team, first).await.unwrap().unwrap();
    assert_eq!(event.body, acceptance("link.created", &[]).event.body);
}
