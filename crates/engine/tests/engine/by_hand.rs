//! What people do to endpoints and deliveries, and what follows at once.

use std::time::Duration;

use model::attempt::Reason;
use model::audit::Actor;
use model::delivery::Status;
use model::id::DeliveryId;
use store::RetryFilter;
use vk_engine::{EndpointEdit, Publication, Refusal};

use crate::rig::{Answer, Rig, event, status, wait};

fn paused(paused: bool) -> EndpointEdit {
    EndpointEdit {
        paused: Some(paused),
        ..EndpointEdit::default()
    }
}

fn disabled(disabled: bool) -> EndpointEdit {
    EndpointEdit {
        disabled: Some(disabled),
        ..EndpointEdit::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_endpoint_s_deliveries_are_made_held_and_sent_oldest_first_on_resuming() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("paused", &[status(200)]).await;
    rig.engine
        .by(Actor::Operator)
        .update_endpoint(rig.team, endpoint.id, paused(true))
        .await
        .unwrap();
    let mut published = Vec::new();
    for _ in 0..20 {
        published.push(
            rig.engine
                .store()
                .codec()
                .uuid(rig.publish().await)
                .to_string(),
        );
        wait(1).await;
    }
    wait(60).await;
    assert_eq!(rig.receivers.seen().len(), 0);
    assert_eq!(rig.count(Status::Held).await, 20);
    rig.engine
        .by(Actor::Operator)
        .update_endpoint(rig.team, endpoint.id, paused(false))
        .await
        .unwrap();
    wait(1).await;
    let sent: Vec<String> = rig
        .receivers
        .seen()
        .iter()
        .map(|seen| seen.header("x-vantagekit-delivery").to_owned())
        .collect();
    assert_eq!(sent, published);
    assert_eq!(rig.count(Status::Delivered).await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_endpoint_gets_nothing_new_and_its_retries_wait_until_it_is_enabled() {
    let mut rig = Rig::new().await;
    let endpoint = rig
        .endpoint("disabled", &[status(500), status(500), status(200)])
        .await;
    let id = rig.publish().await;
    tokio::time::sleep(Duration::from_millis(1500)).await; // two attempts
    rig.engine
        .by(Actor::Operator)
        .update_endpoint(rig.team, endpoint.id, disabled(true))
        .await
        .unwrap();
    let publication = Publication {
        event: event(),
        idempotency_key: None,
    };
    let accepted = rig
        .engine
        .publish(rig.team, vec![publication])
        .await
        .unwrap();
    assert_eq!(accepted[0].deliveries, 0);
    wait(60).await;
    rig.restart(Duration::from_secs(1)).await;
    wait(60).await;
    assert_eq!(rig.receivers.seen().len(), 2);
    assert_eq!(rig.delivery(id).await.0.status(), Status::Held);
    let refused = rig.engine.send_test(rig.team, endpoint.id, event()).await;
    assert!(matches!(refused, Err(Refusal::Conflict(_))), "{refused:?}");
    rig.engine
        .by(Actor::Operator)
        .update_endpoint(rig.team, endpoint.id, disabled(false))
        .await
        .unwrap();
    wait(1).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::Delivered);
}

#[tokio::test(start_paused = true)]
async fn deleting_an_endpoint_cancels_what_it_is_owed_in_mid_retry() {
    let mut rig = Rig::new().await;
    let endpoint = rig.endpoint("deleted", &[status(500)]).await;
    let id = rig.publish().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    rig.engine
        .by(Actor::Operator)
        .delete_endpoint(rig.team, endpoint.id)
        .await
        .unwrap();
    wait(60).await;
    rig.restart(Duration::from_secs(1)).await;
    wait(60).await;
    assert_eq!(rig.receivers.seen().len(), 2, "nothing is sent any more");
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Canceled, 2));
    assert!(delivery.ended_at().is_some());
    let retried = rig.engine.retry_delivery(rig.team, id).await;
    assert!(matches!(retried, Err(Refusal::Conflict(_))), "{retried:?}");
}

#[tokio::test(start_paused = true)]
async fn an_edit_decides_where_the_next_attempt_goes() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("old", &[status(500)]).await;
    rig.publish().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let new = crate::rig::url("new");
    rig.receivers.script(new.as_str(), &[status(200)]);
    let edit = EndpointEdit {
        url: Some(new.clone()),
        ..EndpointEdit::default()
    };
    rig.engine
        .by(Actor::Operator)
        .update_endpoint(rig.team, endpoint.id, edit)
        .await
        .unwrap();
    wait(60).await;
    assert_eq!(rig.receivers.seen().len(), 2);
    assert_eq!(rig.receivers.seen()[1].url, new.as_str());
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_an_endpoint_while_an_attempt_hangs_holds_once_it_has_ended() {
    let new = crate::rig::url("elsewhere");
    let moved = EndpointEdit {
        url: Some(new.clone()),
        ..EndpointEdit::default()
    };
    for (edit, status_then, requests) in [
        (None, Status::Canceled, 1),
        (Some(disabled(true)), Status::Held, 1),
        (Some(paused(true)), Status::Held, 1),
        (Some(moved), Status::Delivered, 2),
    ] {
        let rig = Rig::new().await;
        rig.receivers.script(new.as_str(), &[status(200)]);
        let endpoint = rig.endpoint("hanging", &[Answer::Hangs]).await;
        let id = rig.publish().await;
        wait(3).await;
        match edit {
            None => rig
                .engine
                .by(Actor::Operator)
                .delete_endpoint(rig.team, endpoint.id)
                .await
                .unwrap(),
            Some(edit) => drop(
                rig.engine
                    .by(Actor::Operator)
                    .update_endpoint(rig.team, endpoint.id, edit)
                    .await
                    .unwrap(),
            ),
        }
        wait(60).await;
        let seen = rig.receivers.seen();
        assert_eq!(seen.len(), requests, "{status_then:?}");
        assert!(seen[1..].iter().all(|seen| seen.url == new.as_str()));
        let (delivery, attempts) = rig.delivery(id).await;
        assert_eq!(delivery.status(), status_then);
        assert_eq!(attempts.len(), requests, "the one that hung is recorded");
        assert_eq!(attempts[0].reason, Some(Reason::ResponseTimeout));
        assert_eq!(attempts[0].duration_ms, 10_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_retried_by_hand_has_a_fresh_schedule_under_the_same_id() {
    let rig = Rig::new().await;
    rig.endpoint("dead", &[status(500)]).await;
    let id = rig.publish().await;
    wait(60).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::DeadLetter);
    let began = rig.at();
    rig.engine.retry_delivery(rig.team, id).await.unwrap();
    wait(60).await;
    let seen = rig.receivers.seen();
    let times: Vec<u128> = seen[6..].iter().map(|seen| seen.at - began).collect();
    assert!(rig.follows_schedule(id, &times), "{times:?}");
    assert!(
        seen.iter()
            .all(|one| one.header("x-vantagekit-delivery")
                == seen[0].header("x-vantagekit-delivery"))
    );
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!(delivery.attempt_count, 12);
    assert_eq!(
        attempts
            .iter()
            .map(|attempt| attempt.number)
            .collect::<Vec<_>>(),
        (1..=12).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_by_hand_while_the_last_attempt_is_in_flight_is_not_lost() {
    let rig = Rig::new().await;
    rig.endpoint(
        "rejecting",
        &[Answer::Status(400, Duration::from_secs(5)), status(200)],
    )
    .await;
    let id = rig.publish().await;
    wait(2).await;
    rig.engine.retry_delivery(rig.team, id).await.unwrap();
    wait(60).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 2));
}

#[tokio::test(start_paused = true)]
async fn a_delivered_one_may_be_sent_again() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    let id = rig.publish().await;
    wait(1).await;
    rig.engine.retry_delivery(rig.team, id).await.unwrap();
    wait(1).await;
    assert_eq!(rig.receivers.seen().len(), 2);
    assert_eq!(rig.delivery(id).await.0.status(), Status::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_range_of_dead_letters_is_recovered() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("rejecting", &[status(400)]).await;
    let mut ids: Vec<DeliveryId> = Vec::new();
    for _ in 0..10 {
        ids.push(rig.publish().await);
        wait(10).await;
    }
    assert_eq!(rig.count(Status::DeadLetter).await, 10);
    rig.receivers.script(
        "https://rejecting.receivers.vantagekit.com/hook",
        &[status(200)],
    );
    let created = |index: usize| model::id::Id::created_at(ids[index]);
    let filter = RetryFilter {
        since: Some(created(3)),
        until: Some(created(7)),
        event_type: None,
    };
    assert_eq!(
        rig.engine
            .retry_dead_letters(rig.team, endpoint.id, filter)
            .await
            .unwrap(),
        4
    );
    wait(1).await;
    assert_eq!(rig.count(Status::Delivered).await, 4);
    let other_type = RetryFilter {
        event_type: Some("link.created".into()),
        ..RetryFilter::default()
    };
    assert_eq!(
        rig.engine
            .retry_dead_letters(rig.team, endpoint.id, other_type)
            .await
            .unwrap(),
        0
    );
    let all = RetryFilter::default();
    assert_eq!(
        rig.engine
            .retry_dead_letters(rig.team, endpoint.id, all)
            .await
            .unwrap(),
        6
    );
    wait(1).await;
    assert_eq!(rig.count(Status::Delivered).await, 10);
}

#[tokio::test(start_paused = true)]
async fn another_team_s_things_do_not_exist() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("mine", &[status(200)]).await;
    let id = rig.publish().await;
    wait(1).await;
    let other = rig.another_team().await.id;
    let engine = &rig.engine;
    let not_found = |result: Result<(), Refusal>| {
        assert!(matches!(result, Err(Refusal::NotFound(_))), "{result:?}")
    };
    not_found(
        engine
            .by(Actor::Operator)
            .update_endpoint(other, endpoint.id, paused(true))
            .await
            .map(drop),
    );
    not_found(
        engine
            .by(Actor::Operator)
            .delete_endpoint(other, endpoint.id)
            .await,
    );
    not_found(
        engine
            .by(Actor::Operator)
            .rotate_secret(other, endpoint.id, Duration::ZERO)
            .await
            .map(drop),
    );
    not_found(
        engine
            .send_test(other, endpoint.id, event())
            .await
            .map(drop),
    );
    not_found(engine.retry_delivery(other, id).await);
    not_found(
        engine
            .retry_dead_letters(other, endpoint.id, RetryFilter::default())
            .await
            .map(drop),
    );
    assert_eq!(rig.receivers.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_subscribed_types_are_delivered_but_a_test_of_any_type_is() {
    let rig = Rig::new().await;
    let endpoint = rig
        .endpoint_of(rig.team, "links", &[status(200)], &["link.created"])
        .await;
    let publication = Publication {
        event: event(),
        idempotency_key: None,
    };
    assert_eq!(
        rig.engine
            .publish(rig.team, vec![publication])
            .await
            .unwrap()[0]
            .deliveries,
        0
    );
    rig.engine
        .send_test(rig.team, endpoint.id, event())
        .await
        .unwrap();
    wait(1).await;
    assert_eq!(rig.receivers.seen().len(), 1);
    assert!(rig.log().await[0].test);
}

#[tokio::test(start_paused = true)]
async fn the_plan_s_limits_hold() {
    let rig = Rig::new().await;
    for number in 0..10 {
        rig.endpoint(&format!("receiver-{number}"), &[status(200)])
            .await;
    }
    let url = crate::rig::url("one-more");
    let refused = rig
        .engine
        .by(Actor::Operator)
        .create_endpoint(rig.team, &url, None, model::endpoint::Subscription::All)
        .await;
    assert!(
        matches!(refused, Err(Refusal::LimitReached(10))),
        "{refused:?}"
    );
    for number in 0..5 {
        let scopes = model::key::Scopes::all();
        rig.engine
            .by(Actor::Operator)
            .create_key(rig.team, format!("key {number}"), scopes, None)
            .await
            .unwrap();
    }
    let refused = rig
        .engine
        .by(Actor::Operator)
        .create_key(rig.team, "one more".into(), model::key::Scopes::all(), None)
        .await;
    assert!(
        matches!(refused, Err(Refusal::LimitReached(5))),
        "{refused:?}"
    );
}
