//! What is past its time goes, slice by slice, and nothing else.

use model::audit::Actor;
use model::id::EndpointId;
use model::retry::Verdict;
use store::{Accepted, Idempotency, LogFilter, PageRequest, Settlement, TokenKind};

use crate::house::{House, acceptance, at, new_team, settlement};

const HOUR: i64 = 3_600_000;

/// Sweeps until done; how many rows went, and the most at once.
async fn sweep(house: &House, now: i64, keep_since: Option<i64>, slice: u32) -> (u64, u64) {
    let (mut gone, mut most) = (0, 0);
    loop {
        let rows = house
            .store
            .sweep(at(now), keep_since.map(at), slice)
            .await
            .unwrap();
        if rows == 0 {
            return (gone, most);
        }
        gone += rows;
        most = most.max(rows);
    }
}

async fn finished(house: &House, endpoint: EndpointId, millis: i64) -> Accepted {
    let accepted = house.publish("a", &[endpoint], millis).await;
    house
        .settle(settlement(accepted.delivery(0), 1, Verdict::Delivered))
        .await;
    accepted
}

async fn is_there(house: &House, accepted: Accepted) -> bool {
    let event = house.store.event(house.team, accepted.event).await.unwrap();
    let delivery = house
        .store
        .delivery(house.team, accepted.delivery(0))
        .await
        .unwrap();
    assert_eq!(
        event.is_some(),
        delivery.is_some(),
        "an event goes with its deliveries"
    );
    event.is_some()
}

#[tokio::test]
async fn old_finished_events_go_and_others_stay() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let old = finished(&house, endpoint, 0).await;
    let owed = house.publish("a", &[endpoint], 1).await;
    let young = finished(&house, endpoint, 100).await;
    assert_eq!(
        sweep(&house, 200, None, 100).await,
        (0, 0),
        "without retention all is kept"
    );
    assert_eq!(
        sweep(&house, 200, Some(100), 100).await.0,
        3,
        "event, delivery, attempt"
    );
    assert!(!is_there(&house, old).await);
    assert!(is_there(&house, owed).await, "it is still owed");
    assert!(is_there(&house, young).await);
    let given_up = Settlement {
        due_at: at(1),
        ..settlement(owed.delivery(0), 1, Verdict::DeadLetter)
    };
    house.settle(given_up).await;
    assert_eq!(sweep(&house, 200, Some(100), 100).await.0, 3);
    assert!(
        !is_there(&house, owed).await,
        "once it is finished it goes too"
    );
}

#[tokio::test]
async fn it_goes_in_small_slices_past_what_is_still_owed() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    for millis in 0..30 {
        house.publish("a", &[endpoint], millis).await;
        finished(&house, endpoint, millis).await;
    }
    let (gone, most) = sweep(&house, 200, Some(100), 10).await;
    assert_eq!(gone, 90);
    assert!(most <= 12, "about ten at a time, not {most}");
    assert_eq!(house.store.backlog().await.unwrap(), (30, 0));
}

#[tokio::test]
async fn what_a_deleted_endpoint_was_owed_is_finished_and_its_row_goes_last() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let owed = house.publish("a", &[endpoint], 0).await;
    house
        .store
        .by(Actor::Operator)
        .delete_endpoint(house.team, endpoint, at(50))
        .await
        .unwrap();
    house
        .store
        .by(Actor::Operator)
        .delete_team(house.team, at(50))
        .await
        .unwrap();
    assert_eq!(
        sweep(&house, 51 + HOUR, None, 10).await,
        (0, 0),
        "its log refers to it"
    );
    assert_eq!(
        sweep(&house, 51 + HOUR, Some(100), 10).await.0,
        2 + 2 + 4,
        "and the team's row, with its entries in the audit log"
    );
    assert!(!is_there(&house, owed).await);
}

#[tokio::test]
async fn what_was_deleted_and_is_referred_to_by_nothing_goes_without_retention() {
    let house = House::new().await;
    let store = &house.store;
    let (idle, busy) = (house.endpoint().await, house.endpoint().await);
    let _living = house.endpoint().await;
    finished(&house, busy, 0).await;
    for endpoint in [idle, busy] {
        assert!(
            store
                .by(Actor::Operator)
                .delete_endpoint(house.team, endpoint, at(50))
                .await
                .unwrap()
        );
    }
    let other = new_team(store, "other").await;
    house.endpoint_of(other).await;
    assert!(
        store
            .by(Actor::Operator)
            .delete_team(other, at(50))
            .await
            .unwrap()
    );
    assert_eq!(
        sweep(&house, 50 + HOUR, None, 10).await,
        (0, 0),
        "a publication under way may still refer to it"
    );
    assert_eq!(
        sweep(&house, 51 + HOUR, None, 1).await,
        (3 + 3, 1 + 3),
        "two endpoints, and a team with its entries in the audit log"
    );
    let log = LogFilter {
        endpoint: Some(busy),
        ..LogFilter::default()
    };
    let log = store.delivery_log(house.team, &log, None, 10).await;
    assert_eq!(log.unwrap().len(), 1, "the log is whole");
    let page = PageRequest {
        page: 1,
        per_page: 1,
    };
    assert_eq!(store.endpoints(house.team, page).await.unwrap().total, 1);
    assert_eq!(store.teams(page).await.unwrap().total, 1);
}

#[tokio::test]
async fn expired_keys_and_tokens_go() {
    let house = House::new().await;
    for (number, expires) in [(0, 10), (1, 20), (2, 30)] {
        let mut event = acceptance("a", &[]);
        event.idempotency = Some(Idempotency {
            key: format!("key {number}"),
            fingerprint: [number; 32],
            expires_at: at(expires),
        });
        house
            .store
            .accept(house.team, vec![event], at(0))
            .await
            .unwrap();
        house
            .store
            .put_token(
                house.team.into(),
                TokenKind::FirstRun,
                [number; 32],
                at(expires),
            )
            .await
            .unwrap();
    }
    assert_eq!(sweep(&house, 20, None, 1).await, (4, 2));
    assert_eq!(sweep(&house, 20, None, 1).await, (0, 0));
    let last = house
        .store
        .token(TokenKind::FirstRun, [2; 32], at(20))
        .await
        .unwrap();
    assert_eq!(last, Some(house.team.into()));
    let page = PageRequest {
        page: 1,
        per_page: 1,
    };
    assert_eq!(
        house.store.events(house.team, page).await.unwrap().total,
        3,
        "events stay"
    );
}
