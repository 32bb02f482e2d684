//! What every response has, and what is said of a request that is not as it should be.

use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};

use crate::log;
use crate::rig::{ADMIN, Rig, link_expired};

#[tokio::test(start_paused = true)]
async fn every_response_names_its_request_and_so_does_the_log() {
    let rig = Rig::new().await;
    let mut made = Vec::new();
    for path in ["/v1/events", "/healthz", "/settings", "/nothing"] {
        let answer = rig.call("GET", path).send().await;
        made.push(answer.header("x-request-id").to_owned());
    }
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), 4, "{made:?}");
    let call = rig
        .call("GET", "/healthz")
        .header("x-request-id", "from-a-proxy.1");
    assert_eq!(call.send().await.header("x-request-id"), "from-a-proxy.1");
    let call = rig
        .call("GET", "/healthz")
        .header("x-request-id", "two words");
    assert_ne!(call.send().await.header("x-request-id"), "two words");
    let kept = log::kept();
    for id in made.iter().map(String::as_str).chain(["from-a-proxy.1"]) {
        assert!(kept.contains(&format!("request=\"{id}\"")), "{id}: {kept}");
    }
    assert!(!kept.contains("two words"), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn all_wrong_fields_of_an_event_are_listed_the_first_also_in_the_sentence() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let event =
        json!({"type": "link.expired", "data": {"linkId": 7, "name": null, "expiredAt": "today"}});
    for (path, body, prefix) in [
        ("/v1/events", event.clone(), ""),
        ("/v1/events/batch", json!({"events": [event]}), "/events/0"),
    ] {
        let answer = rig
            .call("POST", path)
            .key(&team.key)
            .json(&body)
            .send()
            .await;
        answer.assert_error(422, "invalid_payload");
        let errors = answer.json()["errors"].take();
        let mut pointers: Vec<_> = errors
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["pointer"].as_str().unwrap().to_owned())
            .collect();
        pointers.sort_unstable();
        let expected = ["dealRoomId", "expiredAt", "linkId", "name"];
        let expected = expected.map(|name| format!("{prefix}/data/{name}"));
        assert_eq!(pointers, expected, "{errors}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_of_any_length_is_accepted_and_delivered_as_it_is() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for digits in [65_534, 65_535, 65_536, 70_000, 200_000] {
        let mut body = link_expired("x").to_string();
        let number = "9".repeat(digits);
        assert!(body.contains("\"name\""), "{body}");
        body = body.replacen("\"name\"", &format!("\"n\":{number},\"name\""), 1);
        let call = rig.call("POST", "/v1/events").key(&team.key).raw_json(body);
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{digits}");
        let id = answer.data()["id"].as_str().unwrap().to_owned();
        let shown = rig.call("GET", &format!("/v1/events/{id}")).key(&team.key);
        assert!(shown.send().await.text().contains(&number), "{digits}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_under_an_idempotency_key_says_so() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for (key, replayed) in [("a", ""), ("a", "true"), ("b", ""), ("a", "true")] {
        let call = rig.call("POST", "/v1/events").key(&team.key);
        let call = call.header("idempotency-key", key).json(&link_expired("x"));
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.header("idempotent-replayed"), replayed, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_body_is_said_to_be_decides_whether_it_is_read() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let event = link_expired("x").to_string();
    for (content_type, encoding, mark, named) in [
        ("application/json; charset=utf8", "", "", None),
        ("application/json; charset=us-ascii", "identity", "", None),
        ("application/json", "", "\u{feff}", None),
        (
            "application/json; charset=iso-8859-1",
            "",
            "",
            Some("\"iso-8859-1\""),
        ),
        ("application/json", "gzip", "", Some("\"gzip\"")),
        ("text/plain", "", "", Some("application/json")),
    ] {
        let mut call = rig.call("POST", "/v1/events").key(&team.key);
        call = call.header("content-type", content_type);
        if !encoding.is_empty() {
            call = call.header("content-encoding", encoding);
        }
        let answer = call.body(Body::from(format!("{mark}{event}"))).send().await;
        match named {
            None => assert_eq!(answer.status, StatusCode::ACCEPTED, "{content_type}"),
            Some(named) => {
                let sentence = answer.assert_error(415, "unsupported_media_type");
                assert!(sentence.contains(named), "{sentence}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_named() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for (path, key, other, named) in [
        (
            "/v1/webhook-endpoint",
            team.key.as_str(),
            None,
            "no such path \"/v1/webhook-endpoint\"",
        ),
        ("/v1/teams/acne", ADMIN, None, "no team \"acne\""),
        ("/v1/events", ADMIN, Some("acne"), "no team \"acne\""),
        ("/v1/audit-log", ADMIN, Some("acne"), "no team \"acne\""),
    ] {
        let mut call = rig.call("GET", path).key(key);
        if let Some(other) = other {
            call = call.team(other);
        }
        let sentence = call.send().await.assert_error(404, "not_found");
        assert!(sentence.contains(named), "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_two_readers_could_understand_differently_is_refused() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let call = rig.call("GET", "/v1/events").key(&team.key);
    let twice = call.header("x-api-key", ADMIN).send().await;
    let sentence = twice.assert_error(400, "invalid_request");
    assert!(sentence.contains("two different API keys"), "{sentence}");
    let same = rig.call("GET", "/v1/events").key(&team.key);
    let same = same.header("x-api-key", &team.key).send().await;
    assert_eq!(same.status, StatusCode::OK);
    for path in ["/v1/events", "/settings", "/healthz"] {
        let call = rig.call("GET", path).key(&team.key);
        let hosts = call.header("host", "a.dev").header("host", "b.dev");
        hosts.send().await.assert_error(400, "invalid_request");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_json_is_explained_in_words_of_our_own() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for path in ["/v1/events", "/v1/events/batch", "/v1/webhook-endpoints"] {
        for body in ["{", "{'a':1}", "[1,]", "nul", "{\"a\":1}}", "\u{1}"] {
            let call = rig.call("POST", path).key(&team.key).raw_json(body);
            let answer = call.send().await;
            let sentence = answer.assert_error(400, "invalid_json");
            for word in ["EOF", "parsing", "expected ident", "trailing", "key must"] {
                assert!(!sentence.contains(word), "{sentence}");
            }
            assert_eq!(answer.json()["errors"], Value::Null);
        }
    }
}
