//! The retry schedule, the outcomes and the endpoint's health, exactly.

use std::time::Duration;

use model::attempt::{Outcome, Reason};
use model::delivery::Status;
use model::endpoint::EndpointStatus;

use crate::rig::{Answer, Rig, START, event, status, wait};

#[tokio::test(start_paused = true)]
async fn the_schedule_is_1_2_4_8_16_seconds_after_each_failure_then_the_dead_letter_queue() {
    let rig = Rig::new().await;
    let slow_failure = Answer::Status(500, Duration::from_millis(300));
    rig.endpoint("failing", &[slow_failure]).await;
    let began = rig.at();
    let id = rig.publish().await;
    wait(120).await;
    let times: Vec<u128> = rig
        .receivers
        .seen()
        .iter()
        .map(|seen| seen.at - began)
        .collect();
    assert_eq!(times, rig.schedule_of(id, 300));
    let gaps = times.windows(2).map(|two| two[1] - two[0] - 300);
    for (gap, wait) in gaps.zip([1_000, 2_000, 4_000, 8_000, 16_000]) {
        assert!((wait..=wait + wait / 4).contains(&gap), "{times:?}");
    }

    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!(delivery.status(), Status::DeadLetter);
    assert_eq!(delivery.attempt_count, 6);
    assert_eq!(
        delivery.completed_at.unwrap().since(START).as_millis() - began,
        times[5] + 300
    );
    assert_eq!(
        attempts
            .iter()
            .map(|attempt| attempt.number)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    for attempt in &attempts {
        assert_eq!(attempt.outcome, Outcome::Retry);
        assert_eq!(
            (attempt.reason, attempt.status_code),
            (Some(Reason::HttpStatus), Some(500))
        );
        assert_eq!(attempt.duration_ms, 300);
        assert_eq!(attempt.response_body.as_deref(), Some(&b"thanks"[..]));
        assert_eq!(
            attempt.response_headers,
            [("server".to_owned(), "scripted".to_owned())]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_decides_between_delivered_retry_and_dead_letter() {
    use Status::{DeadLetter, Delivered};
    let fails = |reason| Answer::Fails(reason, Duration::from_millis(5));
    // What the receiver answers, in order; how often it is asked; where the delivery ends.
    let table: Vec<(Vec<Answer>, usize, Status)> = vec![
        (vec![status(200)], 1, Delivered),
        (vec![status(204)], 1, Delivered),
        (vec![status(299)], 1, Delivered),
        (vec![status(400)], 1, DeadLetter),
        (vec![status(404)], 1, DeadLetter),
        (vec![status(410)], 1, DeadLetter),
        (vec![status(499)], 1, DeadLetter),
        (vec![status(429), status(200)], 2, Delivered),
        (vec![status(500), status(503), status(200)], 3, Delivered),
        (
            vec![status(301), status(308), status(304), status(200)],
            4,
            Delivered,
        ),
        (vec![status(600), status(999), status(200)], 3, Delivered),
        (vec![status(500), status(400)], 2, DeadLetter),
        (
            vec![
                fails(Reason::DnsFailed),
                fails(Reason::ConnectionRefused),
                status(200),
            ],
            3,
            Delivered,
        ),
        (
            vec![fails(Reason::BlockedAddress), status(200)],
            2,
            Delivered,
        ),
        (vec![fails(Reason::TlsCertificate)], 6, DeadLetter),
        (vec![Answer::Hangs, status(200)], 2, Delivered),
    ];
    for (answers, attempts, end) in table {
        let rig = Rig::new().await;
        rig.endpoint("scripted", &answers).await;
        let id = rig.publish().await;
        wait(120).await;
        assert_eq!(rig.receivers.seen().len(), attempts, "{answers:?}");
        let (delivery, recorded) = rig.delivery(id).await;
        assert_eq!(
            (delivery.status(), recorded.len()),
            (end, attempts),
            "{answers:?}"
        );
        rig.engine.stop(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_after_ten_seconds_whatever_the_receiver_does() {
    let rig = Rig::new().await;
    rig.endpoint("hanging", &[Answer::Hangs]).await;
    let began = rig.at();
    let id = rig.publish().await;
    wait(200).await;
    let times: Vec<u128> = rig
        .receivers
        .seen()
        .iter()
        .map(|seen| seen.at - began)
        .collect();
    assert_eq!(times, rig.schedule_of(id, 10_000));
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!(delivery.status(), Status::DeadLetter);
    assert!(attempts.iter().all(|attempt| attempt.duration_ms == 10_000));
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.reason == Some(Reason::ResponseTimeout))
    );
}

#[tokio::test(start_paused = true)]
async fn five_failed_attempts_in_a_row_make_an_endpoint_unhealthy_and_a_success_heals_it() {
    let rig = Rig::new().await;
    let mut answers = vec![status(500); 5];
    answers.push(status(200));
    let endpoint = rig.endpoint("flaky", &answers).await;
    let health = || async {
        let stored = rig
            .engine
            .store()
            .endpoint(rig.team, endpoint.id)
            .await
            .unwrap()
            .unwrap();
        (stored.status(), stored.health.consecutive_failures)
    };
    let began = rig.at();
    let id = rig.publish().await;
    let mut seen = Vec::new();
    for attempted in rig.schedule_of(id, 0) {
        let soon_after = began + attempted + 50 - rig.at();
        tokio::time::sleep(Duration::from_millis(soon_after as u64)).await;
        seen.push(health().await);
    }
    use EndpointStatus::{Healthy, Unhealthy};
    let expected = [
        (Healthy, 1),
        (Healthy, 2),
        (Healthy, 3),
        (Healthy, 4),
        (Unhealthy, 5),
        (Healthy, 0),
    ];
    assert_eq!(seen, expected);
    let stored = rig
        .engine
        .store()
        .endpoint(rig.team, endpoint.id)
        .await
        .unwrap()
        .unwrap();
    assert!(stored.last_delivery_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn failures_count_over_deliveries_but_test_events_count_neither_way() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("rejecting", &[status(400)]).await;
    let failures = || async {
        let stored = rig
            .engine
            .store()
            .endpoint(rig.team, endpoint.id)
            .await
            .unwrap()
            .unwrap();
        stored.health.consecutive_failures
    };
    for expected in 1..=4 {
        rig.publish().await;
        wait(1).await;
        assert_eq!(failures().await, expected);
    }
    for _ in 0..3 {
        rig.engine
            .send_test(rig.team, endpoint.id, event())
            .await
            .unwrap();
        wait(1).await;
    }
    assert_eq!(failures().await, 4, "a failed test does not count");
    rig.receivers.script(
        "https://rejecting.receivers.vantagekit.com/hook",
        &[status(200)],
    );
    rig.engine
        .send_test(rig.team, endpoint.id, event())
        .await
        .unwrap();
    wait(1).await;
    assert_eq!(failures().await, 4, "nor does a delivered one");
}

#[tokio::test(start_paused = true)]
async fn the_schedule_goes_on_where_it_was_after_a_restart() {
    let mut rig = Rig::new().await;
    rig.endpoint("failing", &[status(500)]).await;
    let began = rig.at();
    let id = rig.publish().await;
    // Restarts between attempts; without their spread they fall due at 0, 1, 3, 7, 15 and 31 s.
    for seconds in [2, 2, 5, 3] {
        wait(seconds).await;
        rig.restart(Duration::from_secs(5)).await;
    }
    wait(120).await;
    let times: Vec<u128> = rig
        .receivers
        .seen()
        .iter()
        .map(|seen| seen.at - began)
        .collect();
    assert!(rig.follows_schedule(id, &times), "{times:?}");
    assert_eq!(rig.delivery(id).await.0.status(), Status::DeadLetter);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_crash_left_unrecorded_is_made_again_under_the_same_id() {
    let mut rig = Rig::new().await;
    rig.endpoint("slow", &[Answer::Hangs, status(200)]).await;
    let id = rig.publish().await;
    wait(3).await;
    rig.restart(Duration::ZERO).await;
    wait(60).await;
    let seen = rig.receivers.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].header("x-vantagekit-delivery"),
        seen[1].header("x-vantagekit-delivery")
    );
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 1));
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_the_attempt_in_flight_end_and_starts_no_other() {
    let mut rig = Rig::new().await;
    rig.endpoint(
        "slow",
        &[Answer::Status(500, Duration::from_secs(4)), status(200)],
    )
    .await;
    let id = rig.publish().await;
    wait(1).await;
    rig.restart(Duration::from_secs(15)).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!(
        (delivery.status(), attempts.len()),
        (Status::Retrying, 1),
        "recorded before the end"
    );
    wait(60).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::Delivered);
    assert_eq!(rig.receivers.seen().len(), 2);
}
