//! This service's own trouble: no endpoint is blamed for it, no try is spent on it, and all goes on after it.

use std::time::Duration;

use model::attempt::Reason;
use model::audit::Actor;
use model::delivery::Status;
use model::endpoint::EndpointStatus;
use vk_engine::{EndpointEdit, EngineOptions, Publication};

use crate::rig::{Answer, Rig, event, status, wait};

/// Name servers that do not answer, and no port left.
const TROUBLES: [Answer; 2] = [
    Answer::Ours(Reason::DnsTimeout, Duration::from_secs(10)),
    Answer::Ours(Reason::ConnectionRefused, Duration::ZERO),
];

fn batch(events: usize) -> Vec<Publication> {
    let one = Publication {
        event: event(),
        idempotency_key: None,
    };
    vec![one; events]
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let text = rig.engine.metrics().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_tried_has_spent_nothing_and_goes_on_by_itself() {
    for (trouble, most_tries) in TROUBLES.into_iter().zip([12, 90]) {
        let rig = Rig::new().await;
        let endpoint = rig.endpoint("healthy", &[status(200)]).await;
        rig.receivers.trouble(Duration::from_secs(75), trouble);
        rig.engine.publish(rig.team, batch(60)).await.unwrap();
        let test = rig.engine.send_test(rig.team, endpoint.id, event());
        let test = test.await.unwrap();
        wait(74).await;
        assert_eq!(rig.receivers.seen().len(), 0);
        let tries = rig.receivers.not_made();
        assert!((3..most_tries).contains(&tries), "{tries} tries");
        assert_eq!(rig.count(Status::Pending).await, 61);
        let (delivery, attempts) = rig.delivery(test).await;
        assert_eq!((delivery.attempt_count, attempts.len()), (0, 0));
        let gauge = "vk_webhooks_endpoints_waiting_for_network ";
        assert_eq!(metric(&rig, gauge).await, 1);
        let by_reason = rig.engine.metrics().await;
        let counted = by_reason.contains("vk_webhooks_attempts_not_made_total{reason=");
        assert!(counted, "{by_reason}");

        wait(13).await; // the last try may have begun just before the end
        assert_eq!(rig.count(Status::Delivered).await, 61);
        assert_eq!(rig.receivers.seen().len(), 61);
        let (delivery, attempts) = rig.delivery(test).await;
        assert_eq!((delivery.attempt_count, attempts[0].number), (1, 1));
        let store = rig.engine.store();
        let endpoint = store
            .endpoint(rig.team, endpoint.id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(endpoint.status(), EndpointStatus::Healthy);
        assert_eq!(endpoint.health.consecutive_failures, 0);
        assert_eq!(metric(&rig, gauge).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trouble_between_two_retries_takes_none_of_them() {
    let rig = Rig::new().await;
    rig.endpoint("failing", &[status(500)]).await;
    let id = rig.publish().await;
    wait(5).await;
    let (before, _) = rig.delivery(id).await;
    assert_eq!(
        (before.status(), before.attempt_count),
        (Status::Retrying, 3)
    );
    let trouble = Answer::Ours(Reason::DnsTimeout, Duration::from_secs(5));
    rig.receivers.trouble(Duration::from_secs(600), trouble);
    wait(595).await;
    let (during, _) = rig.delivery(id).await;
    assert_eq!(
        (during.status(), during.attempt_count),
        (Status::Retrying, 3)
    );
    wait(60).await;
    let (after, attempts) = rig.delivery(id).await;
    assert_eq!((after.status(), attempts.len()), (Status::DeadLetter, 6));
}

/// Hundreds of endpoints of many teams neither add to the trouble nor go on late after it.
#[tokio::test(start_paused = true)]
async fn all_lanes_go_on_within_a_second_of_the_end_and_few_try_before() {
    let rig = Rig::new().await;
    let mut teams = Vec::new();
    for number in 0..50 {
        let team = rig.another_team().await.id;
        for endpoint in 0..10 {
            let name = format!("r{number}-{endpoint}");
            let answer = Answer::Status(200, Duration::from_millis(50));
            rig.endpoint_of(team, &name, &[answer], &[]).await;
        }
        teams.push(team);
    }
    let span = Duration::from_secs(300);
    let no_port = Answer::Ours(Reason::ConnectionRefused, Duration::ZERO);
    rig.receivers.trouble(span, no_port);
    for team in &teams {
        rig.engine.publish(*team, batch(2)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(290)).await;
    let tries = rig.receivers.not_made();
    assert!(tries < 8_000, "{tries} tries in 290 s");
    let before = rig.receivers.not_made();
    wait(9).await;
    let tries = rig.receivers.not_made() - before;
    assert!((30..200).contains(&tries), "{tries} tries in 9 s");
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    assert_eq!(rig.receivers.seen().len(), 1_000);
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_not_kept_waiting_and_a_start_takes_up_what_waits() {
    let mut rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    let [_, no_port] = TROUBLES;
    rig.receivers.trouble(Duration::from_secs(60), no_port);
    rig.engine.publish(rig.team, batch(100)).await.unwrap();
    wait(30).await;
    let asked = rig.at();
    rig.restart(Duration::from_secs(15)).await;
    assert!(rig.at() - asked < 100, "{} ms", rig.at() - asked);
    wait(40).await;
    assert_eq!(rig.count(Status::Delivered).await, 100);
    assert_eq!(rig.receivers.seen().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_an_endpoint_takes_hold_at_once_also_while_it_waits() {
    let new = crate::rig::url("elsewhere");
    let edit = |edit: fn(&mut EndpointEdit)| {
        let mut changed = EndpointEdit::default();
        edit(&mut changed);
        changed
    };
    for (edit, then) in [
        (None, Status::Canceled),
        (Some(edit(|edit| edit.paused = Some(true))), Status::Held),
        (Some(edit(|edit| edit.disabled = Some(true))), Status::Held),
    ] {
        let rig = Rig::new().await;
        let endpoint = rig.endpoint("healthy", &[status(200)]).await.id;
        let [_, no_port] = TROUBLES;
        rig.receivers.trouble(Duration::from_secs(20), no_port);
        rig.engine.publish(rig.team, batch(10)).await.unwrap();
        wait(10).await;
        let hand = rig.engine.by(Actor::Operator);
        match edit {
            None => hand.delete_endpoint(rig.team, endpoint).await.unwrap(),
            Some(edit) => {
                let changed = hand.update_endpoint(rig.team, endpoint, edit);
                drop(changed.await.unwrap());
            }
        }
        wait(1).await;
        let text = "vk_webhooks_endpoints_waiting_for_network ";
        assert_eq!(metric(&rig, text).await, 0, "{then:?}");
        wait(60).await;
        assert_eq!(rig.receivers.seen().len(), 0);
        assert_eq!(rig.count(then).await, 10);
    }
    // Elsewhere it may be another thing: that is tried at once.
    let rig = Rig::new().await;
    rig.receivers.script(new.as_str(), &[status(200)]);
    let ours = Answer::Ours(Reason::DnsTimeout, Duration::ZERO);
    let endpoint = rig.endpoint("unknown", &[ours]).await.id;
    rig.publish().await;
    wait(30).await;
    let tried = rig.receivers.seen().len();
    let moved = EndpointEdit {
        url: Some(new.clone()),
        ..EndpointEdit::default()
    };
    let hand = rig.engine.by(Actor::Operator);
    hand.update_endpoint(rig.team, endpoint, moved)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(rig.receivers.seen_at(new.as_str()).len(), 1);
    assert_eq!(rig.receivers.seen().len(), tried + 1);
}

/// Few places, and an endpoint that alone cannot be reached for a reason of ours.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_to_one_endpoint_takes_nothing_from_the_others() {
    let options = EngineOptions {
        max_in_flight: 8,
        max_in_flight_per_team: 8,
        ..EngineOptions::default()
    };
    let rig = Rig::with(options).await;
    let unresolved = Answer::Ours(Reason::DnsTimeout, Duration::from_secs(10));
    for number in 0..6 {
        rig.endpoint(&format!("silent-{number}"), &[unresolved])
            .await;
    }
    let answer = Answer::Status(200, Duration::from_millis(20));
    rig.endpoint("healthy", &[answer]).await;
    rig.engine.publish(rig.team, batch(100)).await.unwrap();
    wait(30).await;
    let url = "https://healthy.receivers.vantagekit.com/hook";
    assert_eq!(rig.receivers.seen_at(url).len(), 100);
    for published in 101..150 {
        rig.publish().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(rig.receivers.seen_at(url).len(), published);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_says_that_its_request_went_out_twice_whatever_it_came_to() {
    let rig = Rig::new().await;
    let answers = [Answer::Twice(503), Answer::Twice(200)];
    rig.endpoint("closing", &answers).await;
    let id = rig.publish().await;
    wait(10).await;
    let (_, attempts) = rig.delivery(id).await;
    let details: Vec<_> = attempts.iter().map(|one| one.detail.clone()).collect();
    let [Some(failed), Some(delivered)] = &details[..] else {
        panic!("{details:?}");
    };
    assert!(failed.starts_with("The receiver answered 503 Service Unavailable"));
    for detail in [failed, delivered] {
        assert!(detail.contains("may have seen it twice"), "{detail}");
    }
    assert_eq!(
        metric(&rig, "vk_webhooks_requests_sent_twice_total ").await,
        2
    );
}
