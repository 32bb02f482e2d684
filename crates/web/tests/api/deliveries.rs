//! The delivery log: its fields, filters, cursor, and retries by hand.

use http::StatusCode;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, Team};

async fn log(rig: &Rig, team: &Team, query: &str) -> Answer {
    rig.call("GET", &format!("/v1/deliveries?{query}"))
        .key(&team.key)
        .send()
        .await
}

fn ids(answer: &Answer) -> Vec<String> {
    let data = answer.data();
    let rows = data.as_array().unwrap();
    rows.iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_delivery_tells_every_attempt() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "fail").await;
    let event = rig.publish(&team).await;
    let id = rig.deliveries_of(&team, &event).await[0].clone();
    let mut delivery = rig.until(&team, &id, "dead_letter").await;
    let attempts = delivery["attempts"].take();
    let fields: Vec<_> = delivery.as_object().unwrap().keys().cloned().collect();
    let expected = [
        "attemptCount",
        "attempts",
        "completedAt",
        "createdAt",
        "endpointId",
        "eventId",
        "eventType",
        "id",
        "nextAttemptAt",
        "status",
        "test",
    ];
    assert_eq!(fields, expected);
    assert_eq!(delivery["eventId"], event.as_str());
    assert_eq!(delivery["endpointId"], endpoint.as_str());
    assert_eq!(delivery["eventType"], "link.expired");
    assert_eq!(delivery["nextAttemptAt"], Value::Null);
    assert!(delivery["completedAt"].is_string());
    let attempts = attempts.as_array().unwrap();
    let numbers: Vec<_> = attempts
        .iter()
        .map(|one| one["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let mut first = attempts[0].clone();
    assert!(first["startedAt"].take().is_string());
    assert!(first["durationMs"].take().is_number());
    assert!(first["detail"].take().is_string());
    assert_eq!(
        first,
        json!({
            "number": 1, "startedAt": null, "durationMs": null, "outcome": "retry",
            "statusCode": 500, "reason": "http_status", "detail": null,
            "remoteAddr": "203.0.113.7", "responseHeaders": {"x-a": "1, 2"},
            "responseBody": "\u{fffd}oops",
            "timings": {"dnsMs": 2, "connectMs": null, "tlsMs": null, "firstByteMs": 9},
        })
    );
    // As the lists show it: the same without attempts.
    delivery.as_object_mut().unwrap().remove("attempts");
    assert_eq!(log(&rig, &team, "").await.data(), json!([delivery]));
    let shown = rig
        .call("GET", &format!("/v1/events/{event}"))
        .key(&team.key)
        .send()
        .await;
    assert_eq!(shown.data()["deliveries"], json!([delivery]));
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_attempt_is_told_with_its_reason() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for (path, status, outcome, reason, code) in [
        ("ok", "delivered", "delivered", json!(null), json!(200)),
        (
            "gone",
            "dead_letter",
            "permanent_failure",
            json!("http_status"),
            json!(410),
        ),
        (
            "refuse",
            "dead_letter",
            "retry",
            json!("connection_refused"),
            json!(null),
        ),
    ] {
        let endpoint = rig.endpoint(&team, path).await;
        let event = rig.publish(&team).await;
        let query = format!("event_id={event}&endpoint_id={endpoint}");
        let id = ids(&log(&rig, &team, &query).await)[0].clone();
        let attempt = &rig.until(&team, &id, status).await["attempts"][0];
        assert_eq!(attempt["outcome"], outcome, "{path}");
        assert_eq!(
            (&attempt["reason"], &attempt["statusCode"]),
            (&reason, &code),
            "{path}"
        );
        assert_eq!(
            attempt["responseHeaders"].is_null(),
            code.is_null(),
            "{path}"
        );
        assert_eq!(attempt["responseBody"].is_null(), code.is_null(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_filtered_by_each_of_its_parameters() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let good = rig.endpoint(&team, "ok").await;
    let bad = rig.endpoint(&team, "gone").await;
    let first = rig.publish(&team).await;
    for (id, status) in rig
        .deliveries_of(&team, &first)
        .await
        .iter()
        .zip(["delivered", "dead_letter"])
    {
        rig.until(&team, id, status).await;
    }
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    let example = rig
        .call("GET", "/v1/event-types/link.created")
        .key(&team.key)
        .send()
        .await;
    let body = json!({"type": "link.created", "data": example.data()["example"]});
    let second = rig
        .call("POST", "/v1/events")
        .key(&team.key)
        .json(&body)
        .send()
        .await;
    let second = second.data()["id"].as_str().unwrap().to_owned();
    for (id, status) in rig
        .deliveries_of(&team, &second)
        .await
        .iter()
        .zip(["delivered", "dead_letter"])
    {
        rig.until(&team, id, status).await;
    }
    for (query, expected) in [
        ("", 4),
        (&format!("endpoint_id={good}"), 2),
        (&format!("event_id={first}"), 2),
        (&format!("event_id={first}&endpoint_id={bad}"), 1),
        (&format!("endpoint_id={first}"), 0),
        ("status=delivered", 2),
        ("status=dead_letter", 2),
        ("status=pending", 0),
        ("event_type=link.created", 2),
        ("event_type=link.created&status=delivered", 1),
        ("event_type=link.unknown", 0),
        ("since=2026-04-01T12:30:00Z", 2),
        ("until=2026-04-01T12:30:00Z", 2),
        (
            "since=2026-04-01T14:30:00%2B02:00&until=2027-01-01T00:00:00Z",
            2,
        ),
        ("since=2027-01-01T00:00:00Z", 0),
        ("endpoint_id=&status=&since=", 4),
    ] {
        let answer = log(&rig, &team, query).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        assert_eq!(ids(&answer).len(), expected, "{query}");
        assert_eq!(
            answer.pagination(),
            json!({"perPage": 20, "nextCursor": null}),
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_cursor_walks_the_log_newest_first_without_gap_or_repeat() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    // Three endpoints: each event makes three deliveries at the same moment.
    for path in ["ok", "b", "c"] {
        rig.endpoint(&team, path).await;
    }
    let mut expected = Vec::new();
    for _ in 0..4 {
        let event = rig.publish(&team).await;
        expected.extend(rig.deliveries_of(&team, &event).await);
    }
    let mut newest_first = expected.clone();
    newest_first.sort();
    newest_first.reverse();
    for per_page in [1, 2, 5, 6, 11, 12, 13] {
        let mut seen = Vec::new();
        let mut query = format!("per_page={per_page}");
        loop {
            let page = log(&rig, &team, &query).await;
            let rows = ids(&page);
            assert!(
                !rows.is_empty() && rows.len() <= per_page,
                "no page is empty"
            );
            seen.extend(rows);
            let pagination = page.pagination();
            assert_eq!(pagination["perPage"], per_page);
            match pagination["nextCursor"].as_str() {
                Some(cursor) => query = format!("per_page={per_page}&cursor={cursor}"),
                None => break,
            }
            // What is published meanwhile is newer than the cursor.
            assert!(seen.len() < expected.len(), "{per_page}");
        }
        let created: Vec<_> = seen
            .iter()
            .map(|id| uuid::Uuid::try_parse(id).unwrap().as_u128() >> 80)
            .collect();
        assert!(created.is_sorted_by(|a, b| a >= b), "newest first");
        seen.sort();
        seen.reverse();
        assert_eq!(seen, newest_first, "{per_page}");
    }
    for cursor in ["x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA", "%00", &expected[0]] {
        let answer = log(&rig, &team, &format!("cursor={cursor}")).await;
        let sentence = answer.assert_error(400, "invalid_request");
        assert!(sentence.contains("`cursor`"), "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_retried_by_hand_under_its_own_id() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "gone").await;
    let event = rig.publish(&team).await;
    let id = rig.deliveries_of(&team, &event).await[0].clone();
    rig.until(&team, &id, "dead_letter").await;
    let path = format!("/v1/webhook-endpoints/{endpoint}");
    let change = rig
        .call("PATCH", &path)
        .key(&team.key)
        .json(&json!({"url": "https://hooks.receiver.dev/ok"}));
    assert_eq!(change.send().await.status, StatusCode::OK);
    let retry = || {
        rig.call("POST", &format!("/v1/deliveries/{id}/retry"))
            .key(&team.key)
            .send()
    };
    let retried = retry().await;
    assert_eq!(
        (retried.status, &retried.data()["id"]),
        (StatusCode::ACCEPTED, &json!(id))
    );
    let delivered = rig.until(&team, &id, "delivered").await;
    let numbers: Vec<_> = delivered["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["number"].clone())
        .collect();
    assert_eq!(numbers, [1, 2]);
    rig.call("DELETE", &path).key(&team.key).send().await;
    retry().await.assert_error(409, "conflict");
    assert_eq!(rig.until(&team, &id, "delivered").await["attemptCount"], 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_deleted_endpoint_was_owed_is_canceled() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let path = format!("/v1/webhook-endpoints/{endpoint}");
    rig.call("PATCH", &path)
        .key(&team.key)
        .json(&json!({"paused": true}))
        .send()
        .await;
    let event = rig.publish(&team).await;
    let id = rig.deliveries_of(&team, &event).await[0].clone();
    rig.until(&team, &id, "held").await;
    rig.call("DELETE", &path).key(&team.key).send().await;
    let canceled = rig.until(&team, &id, "canceled").await;
    assert!(canceled["completedAt"].is_string() && canceled["nextAttemptAt"].is_null());
    assert_eq!(ids(&log(&rig, &team, "status=canceled").await), [id]);
    assert!(rig.receivers.received().is_empty());
}
