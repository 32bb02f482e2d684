//! A store that cannot be written for a while: nothing is lost, nothing is made up for twice.

use std::sync::Arc;
use std::time::Duration;

use model::attempt::Reason;
use model::audit::Actor;
use model::delivery::Status;
use model::event::NewEvent;
use model::key::Scopes;
use store::{AcceptError, RetryFilter, StoreError};
use vk_engine::{EndpointEdit, Publication, Refusal};

use crate::rig::{Answer, Rig, event, status, wait};

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_durable_is_refused_and_nothing_of_it_is_sent() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.faults.fail(0, usize::MAX);
    let publication = Publication {
        event: event(),
        idempotency_key: None,
    };
    let refused = rig
        .engine
        .publish(rig.team, vec![publication.clone()])
        .await;
    assert!(
        matches!(refused, Err(AcceptError::Store(StoreError::Unavailable(_)))),
        "{refused:?}"
    );
    wait(60).await;
    assert!(rig.receivers.seen().is_empty());
    rig.faults.mend();
    rig.engine
        .publish(rig.team, vec![publication])
        .await
        .unwrap();
    wait(1).await;
    assert_eq!(
        rig.receivers.seen().len(),
        1,
        "and goes on without a restart"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_for_the_store_and_its_delivery_is_not_sent_again() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.faults.fail(1, usize::MAX); // the event is accepted, its outcome is not recorded
    let id = rig.publish().await;
    wait(300).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::Pending);
    assert_eq!(rig.receivers.seen().len(), 1);
    rig.faults.mend();
    wait(5).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 1));
    assert_eq!(rig.receivers.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_many_that_fails_half_way_sends_the_half_that_was_committed() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("rejecting", &[status(400)]).await;
    for _ in 0..25 {
        let publications = vec![
            Publication {
                event: event(),
                idempotency_key: None,
            };
            100
        ];
        rig.engine.publish(rig.team, publications).await.unwrap();
    }
    wait(10).await;
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 2500));
    rig.receivers.script(
        "https://rejecting.receivers.vantagekit.com/hook",
        &[status(200)],
    );
    rig.faults.fail(1, 1);
    let all = RetryFilter::default();
    let retried = rig
        .engine
        .retry_dead_letters(rig.team, endpoint.id, all.clone())
        .await;
    assert!(
        matches!(retried, Err(Refusal::Store(StoreError::Unavailable(_)))),
        "{retried:?}"
    );
    wait(10).await;
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 500));
    rig.engine
        .retry_dead_letters(rig.team, endpoint.id, all)
        .await
        .unwrap();
    wait(10).await;
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 0));
    assert_eq!(rig.receivers.seen().len(), 5000);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_the_store_will_never_take_holds_nothing_up_and_is_attempted_again() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    // The event is accepted; its outcome is refused in its batch, and alone.
    rig.faults.refuse(1, 2);
    let id = rig.publish().await;
    wait(5).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 1));
    assert_eq!(rig.receivers.seen().len(), 2, "at least once");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_never_taken_is_attempted_again_ever_later() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.faults.refuse(1, usize::MAX); // the event is accepted, its outcome never
    let id = rig.publish().await;
    wait(12_000).await;
    let seen: Vec<_> = rig.receivers.seen().iter().map(|seen| seen.at).collect();
    let waits: Vec<_> = seen
        .windows(2)
        .map(|two| (two[1] - two[0]) / 1000)
        .collect();
    let mut expected: Vec<u128> = (0..12).map(|doublings| 1 << doublings).collect();
    expected.extend([3600, 3600]);
    assert_eq!(waits, expected);
    rig.faults.mend();
    wait(3600).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 1));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_for_a_damaged_place_is_refused_alone() {
    let rig = Rig::new().await;
    let slow = Answer::Status(200, Duration::from_secs(1));
    let endpoint = rig.endpoint("healthy", &[slow]).await;
    let ids = [
        rig.publish().await,
        rig.publish().await,
        rig.publish().await,
    ];
    rig.faults.damage(ids[1]);
    wait(60).await;
    let mut attempts = Vec::new();
    for id in ids {
        let (delivery, recorded) = rig.delivery(id).await;
        attempts.push((delivery.status(), recorded.len()));
    }
    let (delivered, open) = ((Status::Delivered, 1), (Status::Pending, 0));
    assert_eq!(attempts, [delivered, open, delivered]);
    // What came to the endpoint is recorded all the same, and it goes on.
    let (later, mut loaded) = (rig.publish().await, None);
    wait(5).await;
    assert_eq!(rig.delivery(later).await.0.status(), Status::Delivered);
    for one in rig.engine.store().load().await.unwrap().endpoints {
        loaded = loaded.or((one.id == endpoint.id).then_some(one.last_delivery_at));
    }
    assert!(loaded.flatten().is_some());
    // The second one after 1, 2, 4, 8 and 16 s: each takes another second.
    assert_eq!(rig.receivers.seen().len(), 4 + 5);
    rig.faults.mend();
    wait(60).await;
    assert_eq!(rig.delivery(ids[1]).await.0.status(), Status::Delivered);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_be_written_for_damage_outcomes_wait() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.faults.damage_all(1, usize::MAX);
    let id = rig.publish().await;
    wait(300).await;
    assert_eq!(rig.receivers.seen().len(), 1, "it is not sent again");
    rig.faults.mend();
    wait(5).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::Delivered);
    assert_eq!(rig.receivers.seen().len(), 1);
}

fn is_in_doubt<T>(answer: &Result<T, Refusal>) -> bool {
    matches!(answer, Err(Refusal::Store(StoreError::Unavailable(_))))
}

#[tokio::test(start_paused = true)]
async fn an_event_in_doubt_is_sent_also_where_its_rows_came_with_it() {
    let rig = Rig::new().await;
    let (flood, link) = (["deal_room.created"], ["link.clicked"]);
    let paused = rig
        .endpoint_of(rig.team, "paused", &[status(200)], &flood)
        .await;
    let edit = EndpointEdit {
        paused: Some(true),
        ..EndpointEdit::default()
    };
    let hand = rig.engine.by(Actor::Operator);
    hand.update_endpoint(rig.team, paused.id, edit)
        .await
        .unwrap();
    rig.endpoint_of(rig.team, "healthy", &[status(200)], &link)
        .await;
    // More than may be without a row of its own.
    let many = vec![
        Publication {
            event: event(),
            idempotency_key: None
        };
        4096
    ];
    rig.engine.publish(rig.team, many).await.unwrap();
    rig.faults.leave_unanswered(0, 1);
    let one = Publication {
        event: NewEvent {
            event_type: Arc::from(link[0]),
            ..event()
        },
        idempotency_key: None,
    };
    assert!(rig.engine.publish(rig.team, vec![one]).await.is_err());
    wait(30).await;
    assert_eq!(rig.receivers.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_by_hand_in_doubt_is_sent() {
    let rig = Rig::new().await;
    rig.endpoint("rejecting", &[status(400), status(200)]).await;
    let id = rig.publish().await;
    wait(5).await;
    rig.faults.leave_unanswered(0, 1);
    let retried = rig.engine.retry_delivery(rig.team, id).await;
    assert!(is_in_doubt(&retried), "{retried:?}");
    wait(5).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_doubt_takes_effect_as_the_store_has_it() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("healthy", &[status(200)]).await;
    let hand = || rig.engine.by(Actor::Operator);
    let paused = |paused| EndpointEdit {
        paused: Some(paused),
        ..EndpointEdit::default()
    };
    // Not answered: it is paused within seconds, without another word.
    rig.faults.leave_unanswered(0, 1);
    let answer = hand().update_endpoint(rig.team, endpoint.id, paused(true));
    assert!(is_in_doubt(&answer.await));
    wait(3).await;
    rig.publish().await;
    wait(10).await;
    assert_eq!(rig.receivers.seen().len(), 0);
    let answer = hand().update_endpoint(rig.team, endpoint.id, paused(false));
    answer.await.unwrap();
    wait(10).await;
    assert_eq!(rig.receivers.seen().len(), 1);

    // Whoever asks again at once is told that it is gone, and then it is.
    rig.faults.leave_unanswered(0, 1);
    assert!(is_in_doubt(
        &hand().delete_endpoint(rig.team, endpoint.id).await
    ));
    let again = hand().delete_endpoint(rig.team, endpoint.id).await;
    assert!(matches!(again, Err(Refusal::NotFound(_))), "{again:?}");
    rig.publish().await;
    wait(10).await;
    assert_eq!(rig.receivers.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn teams_endpoints_and_keys_in_doubt_are_known_as_the_store_has_them() {
    let rig = Rig::new().await;
    let hand = || rig.engine.by(Actor::Operator);
    rig.faults.leave_unanswered(0, 1);
    let made = hand().create_team(Some("new".into()), "New".into(), "scale".into());
    assert!(is_in_doubt(&made.await));
    wait(3).await;
    let team = rig.engine.team("new").expect("it was made").id;

    let url = crate::rig::url("new");
    rig.receivers.script(url.as_str(), &[status(200)]);
    rig.faults.leave_unanswered(0, 1);
    let all = model::endpoint::Subscription::All;
    let made = hand().create_endpoint(team, &url, None, all);
    assert!(is_in_doubt(&made.await));
    wait(3).await;
    rig.publish_to(team).await;
    wait(3).await;
    assert_eq!(rig.receivers.seen().len(), 1);

    let scopes = Scopes::default();
    let made = hand().create_key(team, "key".into(), scopes, None);
    let (new, key) = made.await.unwrap();
    assert!(rig.engine.bearer(&new.hash()).is_some());
    rig.faults.leave_unanswered(0, 1);
    assert!(is_in_doubt(&hand().delete_key(team, key.id).await));
    wait(3).await;
    assert!(rig.engine.bearer(&new.hash()).is_none(), "it was revoked");

    rig.faults.leave_unanswered(0, 1);
    assert!(is_in_doubt(&hand().delete_team(team).await));
    wait(3).await;
    assert!(rig.engine.team("new").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_fails_alone_and_its_delivery_comes_to_an_end() {
    let rig = Rig::new().await;
    rig.endpoint("trips", &[Answer::Panics]).await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.publish().await;
    wait(60).await;
    let deliveries = rig.log().await;
    let statuses: Vec<_> = deliveries.iter().map(|one| one.status()).collect();
    assert!(statuses.contains(&Status::Delivered), "{statuses:?}");
    assert!(statuses.contains(&Status::DeadLetter), "{statuses:?}");
    let dead = deliveries
        .iter()
        .find(|one| one.status() == Status::DeadLetter);
    let (_, attempts) = rig.delivery(dead.unwrap().id).await;
    assert_eq!(attempts.len(), 6, "a whole schedule");
    for attempt in &attempts {
        assert_eq!(attempt.reason, Some(Reason::InvalidResponse));
        let detail = attempt.detail.as_deref().unwrap();
        assert!(detail.contains("a bug of this service"), "{detail}");
        assert!(!detail.contains("not thought of"), "{detail}");
    }
    let metrics = rig.engine.metrics().await;
    assert!(
        metrics.contains("vk_webhooks_attempts_panicked_total 6"),
        "{metrics}"
    );
    let broken = tokio::time::timeout(Duration::from_secs(1), rig.engine.broken());
    assert!(broken.await.is_err(), "the engine goes on");
}
