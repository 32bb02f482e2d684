//! The way of an event: accepted, due, settled, retried.

use std::sync::Arc;

use model::attempt::{Outcome, Reason};
use model::audit::Actor;
use model::delivery::{State, Status};
use model::health::Health;
use model::id::{DeliveryId, EndpointId, Id};
use model::retry::Verdict;
use store::{EndpointProgress, PageRequest, Retried, RetryFilter, Settlement};

use crate::house::{House, acceptance, at, attempt, new_team, settlement};

#[tokio::test]
async fn an_accepted_event_is_there_with_its_deliveries_after_a_crash() {
    let house = House::new().await;
    let (one, two) = (house.endpoint().await, house.endpoint().await);
    let accepted = house.publish("link.created", &[two, one], 5).await;
    assert_eq!((accepted.deliveries, accepted.replayed), (2, false));
    assert_eq!(accepted.event.created_at(), at(5));

    let house = house.reopened().await;
    let (event, deliveries) = house
        .store
        .event(house.team, accepted.event)
        .await
        .unwrap()
        .expect("it is there");
    assert_eq!(event.event_type, "link.created");
    assert_eq!(event.body, r#"{"type":"link.created","data":{"n": 1.0}}"#);
    assert_eq!((event.deliveries, event.test), (2, false));
    let places: Vec<_> = deliveries
        .iter()
        .map(|d| (d.id, d.endpoint, d.status()))
        .collect();
    assert_eq!(
        places,
        [
            (accepted.delivery(0), two, Status::Pending),
            (accepted.delivery(1), one, Status::Pending)
        ],
        "in the order of the endpoints"
    );
    assert_eq!(house.owed(one, 5).await, [(accepted.delivery(1), 0)]);
    assert_eq!(house.owed(one, 4).await, [], "not before its time");
    assert_eq!(
        house.store.lanes_with_work().await.unwrap(),
        [(one, at(5)), (two, at(5))]
    );
}

#[tokio::test]
async fn an_event_that_nobody_wants_is_kept_all_the_same() {
    let house = House::new().await;
    let accepted = house.publish("link.created", &[], 0).await;
    assert_eq!(accepted.deliveries, 0);
    let events = house
        .store
        .events(
            house.team,
            PageRequest {
                page: 1,
                per_page: 5,
            },
        )
        .await
        .unwrap();
    assert_eq!((events.total, events.rows[0].id), (1, accepted.event));
    assert_eq!(house.store.lanes_with_work().await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_is_accepted_in_order_and_events_are_listed_newest_first() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let batch = (0..25)
        .map(|_| acceptance("link.clicked", &[endpoint]))
        .collect();
    let accepted = house.store.accept(house.team, batch, at(0)).await.unwrap();
    let ids: Vec<_> = accepted.iter().map(|accepted| accepted.event).collect();
    assert!(ids.is_sorted());
    let page = |page| {
        house
            .store
            .events(house.team, PageRequest { page, per_page: 10 })
    };
    let newest_first: Vec<_> = ids.iter().rev().copied().collect();
    for (number, expected) in [
        (1, &newest_first[..10]),
        (3, &newest_first[20..]),
        (4, &[][..]),
    ] {
        let page = page(number).await.unwrap();
        assert_eq!(page.total, 25);
        assert_eq!(
            page.rows.iter().map(|event| event.id).collect::<Vec<_>>(),
            expected
        );
    }
    let other = new_team(&house.store, "other").await;
    let none = house
        .store
        .events(
            other,
            PageRequest {
                page: 1,
                per_page: 10,
            },
        )
        .await
        .unwrap();
    assert_eq!(
        (none.total, none.rows.len()),
        (0, 0),
        "another team sees none of it"
    );
}

#[tokio::test]
async fn what_is_due_comes_in_pages_by_time_by_count_and_by_bytes() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let first = house.publish("a", &[endpoint], 30).await.delivery(0);
    let second = house.publish("b", &[endpoint], 10).await.delivery(0);
    let third = house.publish("b", &[endpoint], 20).await.delivery(0);
    let order = [(at(10), second), (at(20), third), (at(30), first)];
    let due = |after, limit, bytes| house.store.due(endpoint, at(30), after, limit, bytes);
    let ids = |page: &store::DuePage| {
        page.deliveries
            .iter()
            .map(|d| (d.due_at, d.id))
            .collect::<Vec<_>>()
    };

    // Without their rows, with some of them, and with all.
    for rows_before in [0, 15, 100] {
        let written = house.store.write_down_fresh(at(rows_before)).await;
        assert!(written.unwrap().is_empty(), "nothing was in doubt");
        let all = due(None, 10, usize::MAX).await.unwrap();
        assert_eq!((ids(&all), all.more_after), (order.to_vec(), None));
        assert_eq!(
            all.deliveries[0].body, all.deliveries[1].body,
            "both are of type b"
        );
        let two = due(None, 2, usize::MAX).await.unwrap();
        assert_eq!(
            (ids(&two), two.more_after),
            (order[..2].to_vec(), Some(order[1]))
        );
        let rest = due(Some(order[1]), 2, usize::MAX).await.unwrap();
        assert_eq!((ids(&rest), rest.more_after), (order[2..].to_vec(), None));
        let small = due(None, 10, 1).await.unwrap();
        assert_eq!(
            (ids(&small), small.more_after),
            (order[..1].to_vec(), Some(order[0])),
            "at least one"
        );
        let early = house
            .store
            .due(endpoint, at(19), None, 10, usize::MAX)
            .await;
        assert_eq!(ids(&early.unwrap()), order[..1], "the others are not due");
    }
    let next = |now| house.store.next_due(endpoint, at(now));
    assert_eq!(next(0).await.unwrap(), Some(at(10)));
    assert_eq!(next(10).await.unwrap(), Some(at(20)));
    assert_eq!(next(30).await.unwrap(), None);
}

/// Who pulls and then asks when to pull again would be told of what was offered meanwhile, and so pull for
/// ever, as long as events come in.
#[tokio::test]
async fn what_was_just_accepted_is_no_reason_to_pull_again() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    house.publish("a", &[endpoint], 20).await;
    assert_eq!(house.store.next_due(endpoint, at(10)).await.unwrap(), None);
    let retried = house.publish("a", &[endpoint], 5).await.delivery(0);
    house
        .settle(settlement(retried, 1, Verdict::RetryAt(at(1005))))
        .await;
    let next = house.store.next_due(endpoint, at(10)).await.unwrap();
    assert_eq!(next, Some(at(1005)));
}

#[tokio::test]
async fn a_delivery_walks_through_its_schedule_and_every_attempt_is_kept() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let id = house
        .publish("link.created", &[endpoint], 0)
        .await
        .delivery(0);
    house
        .settle(settlement(id, 1, Verdict::RetryAt(at(1000))))
        .await;
    assert_eq!(house.owed(endpoint, 999).await, []);
    assert_eq!(house.owed(endpoint, 1000).await, [(id, 1)]);
    house.settle(settlement(id, 2, Verdict::Delivered)).await;
    assert_eq!(house.owed(endpoint, 9999).await, []);

    let house = house.reopened().await;
    let (delivery, attempts) = house
        .store
        .delivery(house.team, id)
        .await
        .unwrap()
        .expect("it is there");
    assert_eq!(delivery.status(), Status::Delivered);
    assert_eq!(
        (delivery.attempt_count, delivery.completed_at),
        (2, Some(at(20)))
    );
    assert_eq!(delivery.next_attempt_at, None);
    assert_eq!(
        attempts,
        [attempt(1, Outcome::Retry), attempt(2, Outcome::Delivered)]
    );
    let alone = house.store.delivery_alone(house.team, id).await.unwrap();
    assert_eq!(alone, Some(delivery));
    let other = new_team(&house.store, "other").await;
    assert!(house.store.delivery(other, id).await.unwrap().is_none());
    assert_eq!(house.store.delivery_alone(other, id).await.unwrap(), None);
}

#[tokio::test]
async fn the_backlog_is_what_living_endpoints_are_owed_and_were_not_given() {
    let house = House::new().await;
    let (living, deleted) = (house.endpoint().await, house.endpoint().await);
    for verdict in [None, Some(Verdict::DeadLetter), Some(Verdict::Delivered)] {
        let accepted = house.publish("a", &[living, deleted], 0).await;
        let Some(verdict) = verdict else { continue };
        for id in [accepted.delivery(0), accepted.delivery(1)] {
            house.settle(settlement(id, 1, verdict)).await;
        }
    }
    let more = house.publish("a", &[living], 0).await.delivery(0);
    house
        .settle(settlement(more, 1, Verdict::RetryAt(at(9000))))
        .await;
    assert_eq!(house.store.backlog().await.unwrap(), (3, 2));
    let gone = house
        .store
        .by(Actor::Operator)
        .delete_endpoint(house.team, deleted, at(1))
        .await;
    assert!(gone.unwrap());
    assert_eq!(house.store.backlog().await.unwrap(), (2, 1));
}

#[tokio::test]
async fn of_many_attempts_the_latest_are_shown() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    // 64 bodies of 64 KiB, with all else that is kept of an attempt, fill the 4 MiB.
    for (body, shown) in [(10, 21..=120), (64 << 10, 57..=120)] {
        let id = house
            .publish("link.created", &[endpoint], 0)
            .await
            .delivery(0);
        for number in 1..=120 {
            let mut settlement = settlement(id, number, Verdict::RetryAt(at(0)));
            settlement.attempt.response_body = Some(vec![b'x'; body].into());
            house.settle(settlement).await;
        }
        let found = house.store.delivery(house.team, id).await.unwrap();
        let (delivery, attempts) = found.unwrap();
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, shown.collect::<Vec<u32>>());
        assert_eq!(delivery.attempt_count, 120);
    }
}

#[tokio::test]
async fn an_attempt_without_an_answer_is_kept_as_it_was() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let id = house
        .publish("link.created", &[endpoint], 0)
        .await
        .delivery(0);
    let bare = model::attempt::Attempt {
        status_code: None,
        reason: Some(Reason::DnsTimeout),
        remote_addr: None,
        response_headers: vec![],
        response_body: None,
        timings: Default::default(),
        ..attempt(1, Outcome::Retry)
    };
    let settlement = Settlement {
        attempt: bare.clone(),
        ..settlement(id, 1, Verdict::DeadLetter)
    };
    house.settle(settlement).await;
    let (delivery, attempts) = house.store.delivery(house.team, id).await.unwrap().unwrap();
    assert_eq!((delivery.state, attempts), (State::DeadLetter, vec![bare]));
}

#[tokio::test]
async fn recording_twice_changes_nothing_and_a_late_outcome_rewrites_nothing() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let id = house
        .publish("link.created", &[endpoint], 0)
        .await
        .delivery(0);
    let first = settlement(id, 1, Verdict::RetryAt(at(1000)));
    house.settle(first.clone()).await;
    house.settle(settlement(id, 2, Verdict::Delivered)).await;
    let before = house.store.delivery(house.team, id).await.unwrap();
    house.settle(first).await;
    house.settle(settlement(id, 2, Verdict::DeadLetter)).await;
    assert_eq!(house.store.delivery(house.team, id).await.unwrap(), before);
}

#[tokio::test]
async fn outcomes_and_health_are_recorded_together() {
    let house = House::new().await;
    let (one, two) = (house.endpoint().await, house.endpoint().await);
    let accepted = house.publish("link.created", &[one, two], 0).await;
    let health = Health {
        consecutive_failures: 3,
        failing_since: Some(at(1)),
        last_reason: Some(Reason::TlsCertificate),
    };
    let settlements = vec![
        settlement(accepted.delivery(0), 1, Verdict::RetryAt(at(9))),
        settlement(accepted.delivery(1), 1, Verdict::Delivered),
    ];
    let progress = |endpoint, health| EndpointProgress {
        hours: Vec::new(),
        endpoint,
        health,
        last_delivery_at: at(8),
    };
    let progress = vec![progress(one, Some(health)), progress(two, None)];
    house
        .store
        .settle(Arc::new(settlements), Arc::new(progress))
        .await
        .unwrap();
    let endpoint = |id| house.store.endpoint(house.team, id);
    let (one, two) = (
        endpoint(one).await.unwrap().unwrap(),
        endpoint(two).await.unwrap().unwrap(),
    );
    assert_eq!((one.health, one.last_delivery_at), (health, Some(at(8))));
    assert_eq!(
        (two.health, two.last_delivery_at),
        (Health::default(), Some(at(8)))
    );
    assert_eq!(house.store.backlog().await.unwrap(), (1, 0));
}

/// A retry by hand while an attempt is under way.
#[tokio::test]
async fn a_fresh_schedule_asked_for_meanwhile_survives_a_failure_and_yields_to_a_success() {
    for (verdict, owed, status) in [
        (Verdict::DeadLetter, 1, Status::Retrying),
        (Verdict::RetryAt(at(99_999)), 1, Status::Retrying),
        (Verdict::Delivered, 0, Status::Delivered),
    ] {
        let house = House::new().await;
        let endpoint = house.endpoint().await;
        let id = house
            .publish("link.created", &[endpoint], 0)
            .await
            .delivery(0);
        house
            .settle(settlement(id, 1, Verdict::RetryAt(at(10))))
            .await;
        // The second attempt is under way, of a delivery that was due at 10.
        let retried = house
            .store
            .retry_delivery(house.team, id, at(20))
            .await
            .unwrap();
        assert_eq!(retried, Retried::Fresh(endpoint));
        let under_way = Settlement {
            due_at: at(10),
            ..settlement(id, 2, verdict)
        };
        house.settle(under_way).await;
        let due = house
            .store
            .due(endpoint, at(20), None, 9, 9)
            .await
            .unwrap()
            .deliveries;
        assert_eq!(due.len(), owed, "{verdict:?}");
        for delivery in due {
            assert_eq!(
                (
                    delivery.attempt_count,
                    delivery.schedule_start,
                    delivery.due_at
                ),
                (2, 2, at(20)),
                "the fresh schedule begins after the attempt that was under way"
            );
        }
        let (delivery, _) = house.store.delivery(house.team, id).await.unwrap().unwrap();
        assert_eq!(delivery.status(), status);
        assert_eq!(delivery.completed_at.is_some(), status == Status::Delivered);
    }
}

#[tokio::test]
async fn a_delivery_in_any_state_can_be_retried_by_hand() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    for verdict in [None, Some(Verdict::Delivered), Some(Verdict::DeadLetter)] {
        let id = house
            .publish("link.created", &[endpoint], 0)
            .await
            .delivery(0);
        let made = u32::from(verdict.is_some());
        if let Some(verdict) = verdict {
            house.settle(settlement(id, 1, verdict)).await;
        }
        let retried = house
            .store
            .retry_delivery(house.team, id, at(50))
            .await
            .unwrap();
        assert_eq!(retried, Retried::Fresh(endpoint));
        let (delivery, attempts) = house.store.delivery(house.team, id).await.unwrap().unwrap();
        let status = if made == 0 {
            Status::Pending
        } else {
            Status::Retrying
        };
        assert_eq!((delivery.status(), attempts.len()), (status, made as usize));
        assert_eq!(
            (delivery.next_attempt_at, delivery.completed_at),
            (Some(at(50)), None)
        );
        let due = house.store.due(endpoint, at(50), None, 1, 1).await.unwrap();
        assert_eq!(
            (due.deliveries[0].id, due.deliveries[0].schedule_start),
            (id, made)
        );
        house
            .settle(settlement(id, made + 1, Verdict::Delivered))
            .await;
    }
    let id = house
        .publish("link.created", &[endpoint], 0)
        .await
        .delivery(0);
    let other = new_team(&house.store, "other").await;
    let retry = |team, id| house.store.retry_delivery(team, id, at(60));
    assert_eq!(retry(other, id).await.unwrap(), Retried::NotFound);
    assert_eq!(
        retry(house.team, DeliveryId(1)).await.unwrap(),
        Retried::NotFound
    );
    house
        .store
        .by(Actor::Operator)
        .delete_endpoint(house.team, endpoint, at(61))
        .await
        .unwrap();
    assert_eq!(
        retry(house.team, id).await.unwrap(),
        Retried::EndpointDeleted
    );
}

/// More than one slice of dead letters, some of another type and from another time.
#[tokio::test]
async fn a_range_of_dead_letters_is_retried_once_each() {
    let house = House::new().await;
    let (endpoint, bystander) = (house.endpoint().await, house.endpoint().await);
    dead_letters(&house, endpoint, "link.created", 2500, 1000).await;
    dead_letters(&house, endpoint, "link.clicked", 30, 2000).await;
    dead_letters(&house, endpoint, "link.created", 40, 3000).await;
    dead_letters(&house, bystander, "link.created", 5, 1000).await;
    let retry = async |endpoint: EndpointId, filter: RetryFilter| {
        house
            .store
            .retry_dead_letters(house.team, endpoint, &filter, at(9000))
            .await
            .unwrap()
    };
    let of_type = |name: &str| Some(name.to_owned());
    let created = |since, until| RetryFilter {
        event_type: of_type("link.created"),
        since,
        until,
    };
    assert_eq!(house.store.backlog().await.unwrap(), (0, 2575));
    assert_eq!(retry(endpoint, created(Some(at(2000)), None)).await, 40);
    assert_eq!(retry(endpoint, created(None, Some(at(2000)))).await, 2500);
    assert_eq!(retry(endpoint, RetryFilter::default()).await, 30);
    assert_eq!(
        retry(endpoint, RetryFilter::default()).await,
        0,
        "none is left"
    );
    assert_eq!(
        house.store.backlog().await.unwrap(),
        (2570, 5),
        "but for the bystander's"
    );
    let other = new_team(&house.store, "other").await;
    let filter = RetryFilter::default();
    let stolen = house
        .store
        .retry_dead_letters(other, bystander, &filter, at(9000))
        .await;
    assert_eq!(stolen.unwrap(), 0, "nor does another team reach them");
    let due = house
        .store
        .due(endpoint, at(9000), None, 1, 1)
        .await
        .unwrap()
        .deliveries;
    assert_eq!(
        (due[0].attempt_count, due[0].schedule_start, due[0].due_at),
        (1, 1, at(9000))
    );
}

async fn dead_letters(house: &House, endpoint: EndpointId, name: &str, count: usize, millis: i64) {
    let batch = (0..count).map(|_| acceptance(name, &[endpoint])).collect();
    let accepted = house
        .store
        .accept(house.team, batch, at(millis))
        .await
        .unwrap();
    let dead = accepted
        .iter()
        .map(|accepted| settlement(accepted.delivery(0), 1, Verdict::DeadLetter))
        .collect();
    house
        .store
        .settle(Arc::new(dead), Arc::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_stays_due_in_a_future_that_a_clock_once_showed() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let far = house.publish("a", &[endpoint], 90_000).await.delivery(0);
    let near = house.publish("a", &[endpoint], 10).await.delivery(0);
    assert_eq!(house.store.pull_in_due(at(50)).await.unwrap(), 1);
    assert_eq!(house.owed(endpoint, 50).await, [(near, 0), (far, 0)]);
    assert_eq!(house.store.pull_in_due(at(50)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_deleted_endpoint_has_no_lane() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    house.publish("a", &[endpoint], 0).await;
    house
        .store
        .by(Actor::Operator)
        .delete_endpoint(house.team, endpoint, at(1))
        .await
        .unwrap();
    assert_eq!(house.store.lanes_with_work().await.unwrap(), []);
}
