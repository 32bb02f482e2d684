//! What attempts came to by the hour, and what the settings pages ask of the engine besides.

use std::time::Duration;

use model::audit::Actor;
use model::id::EndpointId;
use model::tally::hour_of;
use vk_engine::EndpointEdit;

use crate::rig::{Answer, Rig, event, status, url, wait};

/// Delivered, failed and given up of each hour.
async fn counted(rig: &Rig, endpoint: EndpointId) -> Vec<(i64, [u32; 3])> {
    let hours = rig.engine.store().endpoint_hours(rig.team, endpoint, 0);
    let hours = hours.await.unwrap().into_iter();
    hours
        .map(|one| {
            let tally = one.tally;
            (
                one.hour,
                [tally.delivered, tally.failed, tally.dead_letters],
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_by_the_hour_also_over_a_restart() {
    let mut rig = Rig::new().await;
    let endpoint = rig.endpoint("e", &[status(500), status(200)]).await.id;
    let first = hour_of(rig.engine.clock().now());
    rig.publish().await;
    wait(10).await;
    assert_eq!(counted(&rig, endpoint).await, [(first, [1, 1, 0])]);
    let sent = rig.engine.send_test(rig.team, endpoint, event());
    sent.await.unwrap();
    wait(10).await;
    assert_eq!(rig.receivers.seen().len(), 3, "a test event was sent");
    assert_eq!(
        counted(&rig, endpoint).await,
        [(first, [1, 1, 0])],
        "and not counted"
    );
    rig.restart(Duration::from_secs(1)).await;
    rig.receivers.script(url("e").as_str(), &[status(400)]);
    rig.publish().await;
    wait(10).await;
    assert_eq!(counted(&rig, endpoint).await, [(first, [1, 2, 1])]);
    wait(3600).await;
    rig.receivers.script(url("e").as_str(), &[status(204)]);
    rig.publish().await;
    wait(10).await;
    let expected = [(first, [1, 2, 1]), (first + 1, [1, 0, 0])];
    assert_eq!(counted(&rig, endpoint).await, expected);
    let hours = rig.engine.store().endpoint_hours(rig.team, endpoint, 0);
    let answered = hours.await.unwrap()[0].tally.latency.percentile(50);
    assert_eq!(
        answered,
        Some(0),
        "the receivers of these tests answer at once"
    );
}

/// What was counted stays, wherever the wall clock is stepped to: back into hours that were counted in
/// before, and on into hours that were counted in when the clock was ahead.
#[tokio::test(start_paused = true)]
async fn a_stepped_clock_takes_nothing_from_what_was_counted() {
    const HOUR: i64 = 3_600_000;
    let mut rig = Rig::new().await;
    let endpoint = rig.endpoint("e", &[status(200)]).await.id;
    let first = hour_of(rig.engine.clock().now());
    let mut expected = std::collections::BTreeMap::new();
    // Steps in hours, each from where the one before led to: 0, 1, 0, 720, 0, -720, 720, 721.
    for (round, step) in [0, 1, -1, 720, -720, -720, 1440, 1].into_iter().enumerate() {
        if round == 6 {
            rig.restart(Duration::from_secs(1)).await;
        }
        rig.clock.step(step * HOUR);
        rig.publish().await;
        wait(1).await;
        let hour = hour_of(rig.engine.clock().now());
        expected.entry(hour).or_insert([0; 3])[0] += 1;
        let expected: Vec<_> = expected
            .iter()
            .map(|(hour, count)| (*hour, *count))
            .collect();
        assert_eq!(counted(&rig, endpoint).await, expected, "round {round}");
    }
    assert_eq!(expected[&first], [3, 0, 0]);
    assert_eq!(expected[&(first + 720)], [2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn outcomes_recorded_together_are_counted_in_the_hour_of_each() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("e", &[status(200)]).await.id;
    let first = hour_of(rig.engine.clock().now());
    let after = |code, millis| Answer::Status(code, Duration::from_millis(millis));
    let answers = [after(200, 100), after(500, 500), after(200, 2000)];
    rig.receivers.script(url("e").as_str(), &answers);
    wait(3599).await;
    for _ in 0..3 {
        rig.publish().await;
    }
    // The store takes nothing while the hour ends: the last two outcomes, of one hour each, wait behind the
    // first and are recorded together.
    rig.faults.fail(0, usize::MAX);
    wait(3).await;
    assert_eq!(counted(&rig, endpoint).await, []);
    rig.faults.mend();
    wait(20).await;
    let counted = counted(&rig, endpoint).await;
    assert_eq!(counted, [(first, [1, 1, 0]), (first + 1, [2, 0, 0])]);
}

#[tokio::test(start_paused = true)]
async fn the_headers_of_an_attempt_are_made_again_as_they_were_sent() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("e", &[status(500), status(200)]).await;
    let rotated = rig.engine.by(Actor::Operator).rotate_secret(
        rig.team,
        endpoint.id,
        Duration::from_secs(60),
    );
    let (_, endpoint) = rotated.await.unwrap();
    let id = rig.publish().await;
    wait(10).await;
    let (delivery, attempts) = rig.delivery(id).await;
    let seen = rig.receivers.seen();
    assert_eq!((attempts.len(), seen.len()), (2, 2));
    let store = rig.engine.store();
    let (event, _) = store
        .event(rig.team, delivery.event)
        .await
        .unwrap()
        .unwrap();
    for (attempt, seen) in attempts.iter().zip(&seen) {
        let made = rig
            .engine
            .headers_of(&endpoint, &delivery, &event.body, attempt.started_at);
        assert!(made.contains_key("x-vantagekit-signature-next"), "{made:?}");
        assert_eq!(made, seen.headers);
    }
}

/// While a change is being committed attempts still begin by what was before: what is said to be sent by the new
/// settings begins after that.
#[tokio::test(start_paused = true)]
async fn a_change_of_what_is_sent_holds_from_after_it_took_hold() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("e", &[status(200)]).await;
    wait(1).await;
    let hand = || rig.engine.by(Actor::Operator);
    let edit = EndpointEdit {
        description: Some(Some("d".into())),
        ..EndpointEdit::default()
    };
    let described = hand()
        .update_endpoint(rig.team, endpoint.id, edit)
        .await
        .unwrap();
    assert!(described.updated_at > endpoint.updated_at);
    assert_eq!(described.sent_as_since, endpoint.sent_as_since);
    let rotated = hand().rotate_secret(rig.team, endpoint.id, Duration::from_secs(60));
    let (_, rotated) = rotated.await.unwrap();
    assert!(rotated.sent_as_since > rotated.updated_at);
    let stored = rig.engine.store().endpoint(rig.team, endpoint.id).await;
    assert_eq!(
        stored.unwrap().unwrap().sent_as_since,
        rotated.sent_as_since
    );
}
