//! Publishing: what is accepted, what is told, what happens at most once, and all or nothing.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::rig::{ADMIN, Answer, Rig, START, Team, link_expired};

async fn events(rig: &Rig, team: &Team) -> Vec<Value> {
    let list = rig.call("GET", "/v1/events").key(&team.key).send().await;
    list.data().as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn an_event_is_accepted_with_its_deliveries_and_sent() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "one").await;
    rig.endpoint(&team, "two").await;
    let filtered =
        json!({"url": "https://hooks.receiver.dev/three", "eventTypes": ["link.created"]});
    rig.call("POST", "/v1/webhook-endpoints")
        .key(&team.key)
        .json(&filtered)
        .send()
        .await;
    let answer = rig
        .call("POST", "/v1/events")
        .key(&team.key)
        .json(&link_expired("a"))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let data = answer.data();
    assert_eq!(
        data.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["createdAt", "deliveries", "id", "type"]
    );
    assert_eq!(
        (&data["type"], &data["deliveries"]),
        (&json!("link.expired"), &json!(2))
    );
    assert!(data["createdAt"].as_str().unwrap() >= START);
    let id = data["id"].as_str().unwrap();
    let deliveries = rig.deliveries_of(&team, id).await;
    assert_eq!(deliveries.len(), 2);
    for delivery in &deliveries {
        rig.until(&team, delivery, "delivered").await;
    }
    let received = rig.receivers.received();
    let mut paths: Vec<_> = received.iter().map(|(path, ..)| path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["one", "two"]);
    // The operator publishes for the team it names.
    let operator = rig
        .call("POST", "/v1/events")
        .key(ADMIN)
        .team("acme")
        .json(&link_expired("b"));
    assert_eq!(operator.send().await.status, StatusCode::ACCEPTED);
    assert_eq!(events(&rig, &team).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn data_is_kept_and_delivered_byte_for_byte() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "ok").await;
    let data = concat!(
        r#"{ "name":"\u00e9\/é",  "dealRoomId" : "0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10","#,
        "\n\t",
        r#""linkId":"5f4dcc3b-5aa7-4d61-8d83-27deb882cf99","expiredAt":"2026-04-01T12:00:00Z","#,
        r#""z":1.0,"a":1e2,"big":12345678901234567890123,"tiny":1.10 }"#
    );
    let body = format!(r#"{{"data":{data} , "type" : "link.expired"}}"#);
    let answer = rig
        .call("POST", "/v1/events")
        .key(&team.key)
        .raw_json(body)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let id = answer.data()["id"].as_str().unwrap().to_owned();
    let event = rig
        .call("GET", &format!("/v1/events/{id}"))
        .key(&team.key)
        .send()
        .await;
    assert!(
        event.text().contains(&format!(r#""data":{data},"#)),
        "{}",
        event.text()
    );
    let delivery = rig.deliveries_of(&team, &id).await[0].clone();
    rig.until(&team, &delivery, "delivered").await;
    let (_, headers, received) = &rig.receivers.received()[0];
    assert_eq!(
        *received,
        format!(r#"{{"type":"link.expired","data":{data}}}"#)
    );
    assert_eq!(headers["x-vantagekit-delivery"], delivery.as_str());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_an_event_is_refused_by_name_and_leaves_nothing() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "ok").await;
    let mut wrong_field = link_expired("a");
    wrong_field["data"]["linkId"] = json!(7);
    let mut missing_field = link_expired("a");
    missing_field["data"]
        .as_object_mut()
        .unwrap()
        .remove("name");
    let mut extra = link_expired("a");
    extra["id"] = json!("x");
    for (body, code, start) in [
        (
            json!({"type": "link.vanished", "data": {}}),
            "unknown_event_type",
            "unknown event type \"link.vanished\"",
        ),
        (json!({"data": {}}), "invalid_payload", "/type: "),
        (json!({"type": 5, "data": {}}), "invalid_payload", "/type: "),
        (
            json!({"type": "link.expired"}),
            "invalid_payload",
            "/data: ",
        ),
        (
            json!({"type": "link.expired", "data": []}),
            "invalid_payload",
            "/data: ",
        ),
        (wrong_field, "invalid_payload", "/data/linkId: "),
        (missing_field, "invalid_payload", "/data/name: "),
        (extra, "invalid_payload", "/id: "),
    ] {
        let answer = rig
            .call("POST", "/v1/events")
            .key(&team.key)
            .json(&body)
            .send()
            .await;
        let sentence = answer.assert_error(422, code);
        assert!(sentence.starts_with(start), "{sentence}");
        // The same in a batch, behind a good one, with its index; and the good one is not there.
        let batch = json!({"events": [link_expired("good"), body]});
        let answer = rig
            .call("POST", "/v1/events/batch")
            .key(&team.key)
            .json(&batch)
            .send()
            .await;
        let sentence = answer.assert_error(422, code);
        assert!(sentence.starts_with("/events/1"), "{sentence}");
    }
    assert_eq!(events(&rig, &team).await, [] as [Value; 0]);
    assert!(rig.receivers.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_idempotency_key_publishes_once() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let other = rig.team("other").await;
    rig.endpoint(&team, "ok").await;
    let publish = |team: &Team, key: &str, body: &Value| {
        let call = rig
            .call("POST", "/v1/events")
            .key(&team.key)
            .header("idempotency-key", key);
        call.json(body).send()
    };
    let first = publish(&team, "k-1", &link_expired("a")).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    tokio::time::advance(Duration::from_secs(3600)).await;
    rig.endpoint(&team, "late").await;
    let again = publish(&team, "k-1", &link_expired("a")).await;
    assert_eq!(
        (again.status, &again.body),
        (first.status, &first.body),
        "the same answer"
    );
    publish(&team, "k-1", &link_expired("b"))
        .await
        .assert_error(409, "conflict");
    assert_eq!(events(&rig, &team).await.len(), 1);
    // Another key, another team: nothing to do with it.
    assert_ne!(
        publish(&team, "k-2", &link_expired("a")).await.body,
        first.body
    );
    assert_eq!(
        publish(&other, "k-1", &link_expired("b")).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(events(&rig, &team).await.len(), 2);
    // After 24 hours the key is free again.
    tokio::time::advance(Duration::from_secs(23 * 3600 + 60)).await;
    let later = publish(&team, "k-1", &link_expired("b")).await;
    assert_eq!(later.status, StatusCode::ACCEPTED, "{}", later.text());
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_no_idempotency_keys() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for key in ["", "with space", &"x".repeat(256)] {
        let call = rig
            .call("POST", "/v1/events")
            .key(&team.key)
            .header("idempotency-key", key);
        let sentence = call
            .json(&link_expired("a"))
            .send()
            .await
            .assert_error(400, "invalid_request");
        assert!(sentence.contains("Idempotency-Key"), "{sentence}");
        let mut event = link_expired("a");
        event["idempotencyKey"] = json!(key);
        let batch = json!({"events": [event]});
        let answer = rig
            .call("POST", "/v1/events/batch")
            .key(&team.key)
            .json(&batch)
            .send()
            .await;
        let sentence = answer.assert_error(422, "invalid_payload");
        assert!(
            sentence.starts_with("/events/0/idempotencyKey: "),
            "{sentence}"
        );
    }
    let twice = rig.call("POST", "/v1/events").key(&team.key);
    let twice = twice
        .header("idempotency-key", "k")
        .header("idempotency-key", "l");
    let twice = twice.json(&link_expired("a")).send().await;
    twice.assert_error(400, "invalid_request");
    let unread = rig.call("POST", "/v1/events").key(&team.key);
    let unread = unread.header("idempotency-key", "").body("x".into());
    let answer = unread.send().await;
    answer.assert_error(415, "unsupported_media_type"); // the body's faults come first
    let call = rig
        .call("POST", "/v1/events/batch")
        .key(&team.key)
        .header("idempotency-key", "k");
    let batch = json!({"events": [link_expired("a")]});
    call.json(&batch)
        .send()
        .await
        .assert_error(400, "invalid_request");
    assert_eq!(events(&rig, &team).await, [] as [Value; 0]);
}

fn keyed(name: &str, key: &str) -> Value {
    let mut event = link_expired(name);
    event["idempotencyKey"] = json!(key);
    event
}

async fn batch(rig: &Rig, team: &Team, events: &[Value]) -> Answer {
    let call = rig.call("POST", "/v1/events/batch").key(&team.key);
    call.json(&json!({ "events": events })).send().await
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_answered_in_order_and_is_all_or_nothing() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "ok").await;
    let created = json!({"type": "agreement.expired", "data": {
        "dealRoomId": "0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10",
        "agreementId": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "name": "NDA", "expiredAt": "2026-04-01T12:00:00Z"}});
    let first = batch(
        &rig,
        &team,
        &[keyed("a", "k-a"), created, link_expired("c")],
    )
    .await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
    let data = first.data();
    let types: Vec<_> = data
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["link.expired", "agreement.expired", "link.expired"]);
    assert!(
        data.as_array()
            .unwrap()
            .iter()
            .all(|one| one["deliveries"] == 1)
    );
    let ids: std::collections::BTreeSet<_> = data
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(events(&rig, &team).await.len(), 3);
    // A repeated key answers as then; the rest is new.
    let second = batch(&rig, &team, &[link_expired("d"), keyed("a", "k-a")]).await;
    assert_eq!(second.data()[1], data[0]);
    assert_eq!(events(&rig, &team).await.len(), 4);
    // A key used for another event refuses the whole batch, by index.
    let refused = batch(
        &rig,
        &team,
        &[link_expired("e"), link_expired("f"), keyed("b", "k-a")],
    )
    .await;
    let sentence = refused.assert_error(409, "conflict");
    assert!(
        sentence.starts_with("/events/2/idempotencyKey: "),
        "{sentence}"
    );
    // And so does a key used twice within the batch, for different events.
    let refused = batch(&rig, &team, &[keyed("x", "k-x"), keyed("y", "k-x")]).await;
    let sentence = refused.assert_error(409, "conflict");
    assert!(
        sentence.starts_with("/events/1/idempotencyKey: "),
        "{sentence}"
    );
    assert_eq!(events(&rig, &team).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_is_not_parsed_where_others_wait() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for (good, in_place) in [(1, true), (500, false)] {
        let mut events = vec![link_expired("a"); good];
        events.push(json!({"type": "no.such", "data": {}}));
        let mut call = pin!(batch(&rig, &team, &events));
        let mut cx = Context::from_waker(Waker::noop());
        let first = call.as_mut().poll(&mut cx);
        assert_eq!(first.is_ready(), in_place, "{good}");
        if first.is_pending() {
            call.await.assert_error(422, "unknown_event_type");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_one_to_a_thousand_events() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for (events, pointer) in [
        (vec![], "/events: "),
        (vec![link_expired("a"); 1001], "/events: "),
    ] {
        let sentence = batch(&rig, &team, &events)
            .await
            .assert_error(422, "invalid_payload");
        assert!(sentence.starts_with(pointer), "{sentence}");
    }
    let full = batch(&rig, &team, &vec![link_expired("a"); 1000]).await;
    assert_eq!(full.data().as_array().unwrap().len(), 1000);
    // Each event of a batch is held to the limit of a single one.
    let large = link_expired(&"x".repeat(256 * 1024));
    let sentence = batch(&rig, &team, &[link_expired("a"), large])
        .await
        .assert_error(413, "payload_too_large");
    assert!(sentence.contains("/events/1"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn events_are_listed_newest_first_in_pages() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "ok").await;
    let mut published = Vec::new();
    for _ in 0..5 {
        published.push(rig.publish(&team).await);
    }
    published.reverse();
    let mut seen = Vec::new();
    for page in 1..=3 {
        let path = format!("/v1/events?page={page}&per_page=2");
        let answer = rig.call("GET", &path).key(&team.key).send().await;
        assert_eq!(
            answer.pagination(),
            json!({"page": page, "perPage": 2, "total": 5, "totalPages": 3})
        );
        let data = answer.data();
        for event in data.as_array().unwrap() {
            assert_eq!(
                event.as_object().unwrap().keys().collect::<Vec<_>>(),
                ["createdAt", "deliveries", "id", "test", "type"]
            );
            assert_eq!(
                (&event["deliveries"], &event["test"]),
                (&json!(1), &json!(false))
            );
            seen.push(event["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, published);
    let default = rig.call("GET", "/v1/events").key(&team.key).send().await;
    assert_eq!(
        default.pagination(),
        json!({"page": 1, "perPage": 20, "total": 5, "totalPages": 1})
    );
}

#[tokio::test(start_paused = true)]
async fn the_catalog_lists_its_21_types_with_schema_and_example() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let list = rig
        .call("GET", "/v1/event-types")
        .key(&team.key)
        .send()
        .await;
    assert_eq!(
        list.pagination(),
        json!({"page": 1, "perPage": 100, "total": 21, "totalPages": 1})
    );
    let types = list.data().as_array().unwrap().clone();
    assert_eq!(types.len(), 21);
    for one in &types {
        assert_eq!(
            one.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["category", "description", "example", "name", "schema"]
        );
        let name = one["name"].as_str().unwrap();
        let single = rig
            .call("GET", &format!("/v1/event-types/{name}"))
            .key(&team.key)
            .send()
            .await;
        assert_eq!(single.data(), *one);
        // The example is an event that can be published.
        let event = json!({"type": name, "data": one["example"]});
        let published = rig
            .call("POST", "/v1/events")
            .key(&team.key)
            .json(&event)
            .send()
            .await;
        assert_eq!(
            published.status,
            StatusCode::ACCEPTED,
            "{name}: {}",
            published.text()
        );
    }
    let second = rig
        .call("GET", "/v1/event-types?page=2&per_page=20")
        .key(&team.key)
        .send()
        .await;
    assert_eq!(second.data(), json!([types[20]]));
}
