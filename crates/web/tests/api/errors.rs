//! The error envelope, also for what the framework itself would refuse.

use axum::body::Body;
use http::StatusCode;
use serde_json::json;

use crate::rig::{ADMIN, Rig, link_expired};

#[tokio::test(start_paused = true)]
async fn paths_and_methods_that_are_not_there() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for path in [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/events/",
        "/v1/deliveries/%ff",
        "/v1/event-types/no.such",
    ] {
        let answer = rig.call("GET", path).key(&team.key).send().await;
        answer.assert_error(404, "not_found");
    }
    rig.call("GET", "/nothing")
        .send()
        .await
        .assert_error(404, "not_found");
    for (method, path, allow) in [
        ("PUT", "/v1/events", "POST,GET,HEAD"),
        ("DELETE", "/v1/deliveries", "GET,HEAD"),
        ("POST", "/v1/event-types", "GET,HEAD"),
        ("GET", "/v1/events/batch", "POST"),
        ("OPTIONS", "/v1/events", "POST,GET,HEAD"),
        ("BREW", "/v1/events", "POST,GET,HEAD"),
    ] {
        let answer = rig.call(method, path).key(&team.key).send().await;
        answer.assert_error(405, "method_not_allowed");
        let sorted = |text: &str| {
            let mut names: Vec<_> = text.split(',').map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(
            sorted(answer.header("allow")),
            sorted(allow),
            "{method} {path}"
        );
    }
    let head = rig
        .call("HEAD", "/v1/event-types")
        .key(&team.key)
        .send()
        .await;
    assert_eq!((head.status, head.text()), (StatusCode::OK, ""));
}

/// The calls that must have a body.
const WITH_BODY: [(&str, &str); 7] = [
    ("POST", "/v1/teams"),
    ("PATCH", "/v1/teams/acme"),
    ("POST", "/v1/teams/acme/api-keys"),
    ("POST", "/v1/events"),
    ("POST", "/v1/events/batch"),
    ("POST", "/v1/webhook-endpoints"),
    ("PATCH", "/v1/webhook-endpoints/{endpoint}"),
];

/// The calls that may have one.
const WITH_OPTIONAL_BODY: [(&str, &str); 3] = [
    ("POST", "/v1/teams/acme/settings-link"),
    ("POST", "/v1/webhook-endpoints/{endpoint}/rotate-secret"),
    ("POST", "/v1/webhook-endpoints/{endpoint}/retry"),
];

#[tokio::test(start_paused = true)]
async fn bodies_that_are_not_what_they_should_be() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let all = WITH_BODY.iter().map(|call| (call, true));
    let all = all.chain(WITH_OPTIONAL_BODY.iter().map(|call| (call, false)));
    for ((method, path), required) in all {
        let path = path.replace("{endpoint}", &endpoint);
        let call = || {
            let call = rig.call(method, &path).key(ADMIN).team("acme");
            call.header("host", "localhost:8080")
        };
        for text in ["{", "{\"a\":}", "nul", "{} x", "\u{feff}\u{feff}{}", "'a'"] {
            call()
                .raw_json(text.to_owned())
                .send()
                .await
                .assert_error(400, "invalid_json");
        }
        call()
            .raw_json(&b"\"\xff\""[..])
            .send()
            .await
            .assert_error(400, "invalid_json");
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let deep = call().raw_json(deep).send().await;
        assert!(
            [400, 422].contains(&deep.status.as_u16()),
            "{}",
            deep.text()
        );
        for text in ["[]", "7", "\"a\"", "true"] {
            let answer = call().raw_json(text).send().await;
            let sentence = answer.assert_error(422, "invalid_payload");
            assert!(sentence.starts_with("the body: "), "{sentence}");
        }
        let typo = call().raw_json(r#"{"nmae": 1}"#).send().await;
        let sentence = typo.assert_error(422, "invalid_payload");
        assert!(
            sentence.starts_with("/nmae: "),
            "{method} {path}: {sentence}"
        );
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "",
        ] {
            let wrong = call()
                .header("content-type", kind)
                .body(Body::from("{}"))
                .send()
                .await;
            wrong.assert_error(415, "unsupported_media_type");
        }
        call()
            .body(Body::from("{}"))
            .send()
            .await
            .assert_error(415, "unsupported_media_type");
        let empty = call().send().await;
        if required {
            empty.assert_error(415, "unsupported_media_type");
            call()
                .raw_json("")
                .send()
                .await
                .assert_error(400, "invalid_json");
        } else {
            assert!(
                empty.status.is_success(),
                "{method} {path}: {}",
                empty.text()
            );
            for text in ["", "{}", " null "] {
                let answer = call().raw_json(text).send().await;
                assert!(
                    answer.status.is_success(),
                    "{method} {path} {text:?}: {}",
                    answer.text()
                );
            }
        }
        let charset = "application/json; charset=UTF-8";
        let with_charset = call()
            .header("content-type", charset)
            .body(Body::from("{"))
            .send()
            .await;
        with_charset.assert_error(400, "invalid_json");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_too_large() {
    const MAX: usize = 256 * 1024;
    const BATCH_MAX: usize = 8 * 1024 * 1024;
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let all = WITH_BODY.iter().chain(&WITH_OPTIONAL_BODY);
    for (method, path) in all {
        let path = path.replace("{endpoint}", &endpoint);
        let max = if path.ends_with("/batch") {
            BATCH_MAX
        } else {
            MAX
        };
        let call = || {
            rig.call(method, &path)
                .key(ADMIN)
                .team("acme")
                .header("host", "localhost")
        };
        // As large as may be: read, and found not to be JSON.
        let full = call().raw_json(" ".repeat(max)).send().await;
        full.assert_error(400, "invalid_json");
        let text = " ".repeat(max + 1);
        call()
            .raw_json(text.clone())
            .send()
            .await
            .assert_error(413, "payload_too_large");
        let declared = call().header("content-length", &(max + 1).to_string());
        declared
            .raw_json(text.clone())
            .send()
            .await
            .assert_error(413, "payload_too_large");
        // In pieces, with no declared length.
        let pieces: Vec<_> = (0..max / 1000 + 1)
            .map(|_| Ok::<_, std::io::Error>(" ".repeat(1000)))
            .collect();
        let chunked = Body::from_stream(futures_util::stream::iter(pieces));
        let chunked = call()
            .header("content-type", "application/json")
            .body(chunked)
            .send()
            .await;
        chunked.assert_error(413, "payload_too_large");
        // Hopelessly large: refused unread.
        let endless = Body::from_stream(futures_util::stream::pending::<
            Result<String, std::io::Error>,
        >());
        let endless = call()
            .header("content-length", "99999999999")
            .body(endless)
            .send()
            .await;
        endless.assert_error(413, "payload_too_large");
    }
    for (method, path) in [
        ("GET", "/v1/events"),
        ("DELETE", "/v1/deliveries"),
        ("GET", "/v1/nothing"),
    ] {
        let call = rig.call(method, path).key(&team.key);
        let large = call
            .header("content-length", &(MAX + 1).to_string())
            .send()
            .await;
        large.assert_error(413, "payload_too_large");
    }
    let broken: [Result<String, _>; 2] = [Ok("{".into()), Err(std::io::Error::other("cut"))];
    let broken = Body::from_stream(futures_util::stream::iter(broken));
    let broken = rig
        .call("POST", "/v1/events")
        .key(&team.key)
        .header("content-type", "application/json")
        .body(broken);
    broken.send().await.assert_error(400, "invalid_request");
    let list = rig.call("GET", "/v1/events").key(&team.key).send().await;
    assert_eq!(list.data(), json!([]), "nothing of it was accepted");
}

#[tokio::test(start_paused = true)]
async fn a_body_in_pieces_is_put_together() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let text = link_expired("in pieces").to_string();
    let pieces: Vec<_> = text
        .as_bytes()
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let call = rig
        .call("POST", "/v1/events")
        .key(&team.key)
        .header("content-type", "application/json");
    let answer = call.body(body).send().await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let id = answer.data()["id"].as_str().unwrap().to_owned();
    let event = rig
        .call("GET", &format!("/v1/events/{id}"))
        .key(&team.key)
        .send()
        .await;
    assert_eq!(event.data()["data"]["name"], "in pieces");
}

#[tokio::test(start_paused = true)]
async fn queries_that_are_wrong_are_400_and_name_the_parameter() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for path in ["/v1/events", "/v1/event-types", "/v1/webhook-endpoints"] {
        for query in [
            "page=0",
            "page=x",
            "per_page=0",
            "per_page=101",
            "offset=1",
            "page=1&page=2",
        ] {
            let call = rig.call("GET", &format!("{path}?{query}")).key(&team.key);
            let sentence = call.send().await.assert_error(400, "invalid_request");
            let name = query.split('=').next().unwrap();
            assert!(sentence.contains(name), "{sentence}");
        }
        let far = rig
            .call("GET", &format!("{path}?page=1000000000&per_page=100"))
            .key(&team.key);
        let far = far.send().await;
        assert_eq!(
            (far.status, far.data()),
            (StatusCode::OK, json!([])),
            "{path}"
        );
    }
    for path in ["/v1/teams", "/v1/teams/acme/api-keys"] {
        let call = rig.call("GET", &format!("{path}?per_page=1000")).key(ADMIN);
        call.send().await.assert_error(400, "invalid_request");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_500_that_tells_nothing() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let call = rig.call("POST", "/v1/webhook-endpoints").key(&team.key);
    let answer = call
        .json(&json!({"url": "https://panic.receiver.dev/"}))
        .send()
        .await;
    let sentence = answer.assert_error(500, "internal_error");
    assert!(!sentence.contains("panic"), "{sentence}");
    assert_eq!(
        answer.header("x-ratelimit-limit"),
        "1000",
        "on every answer to a team's key"
    );
    assert_eq!(
        rig.call("GET", "/v1/events")
            .key(&team.key)
            .send()
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_is_a_503_and_the_service_not_ready() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let ready = rig.call("GET", "/readyz").send().await;
    assert_eq!(
        (ready.status, ready.json()),
        (StatusCode::OK, json!({"status": "ok"}))
    );
    rig.engine.store().close().await;
    for answer in [
        rig.call("GET", "/readyz").send().await,
        rig.call("POST", "/v1/events")
            .key(&team.key)
            .json(&link_expired("x"))
            .send()
            .await,
    ] {
        answer.assert_error(503, "unavailable");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    }
    let alive = rig.call("GET", "/healthz").send().await;
    assert_eq!(
        (alive.status, alive.json()),
        (StatusCode::OK, json!({"status": "ok"}))
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_count_the_answers() {
    let rig = Rig::new().await;
    rig.call("GET", "/nothing").send().await;
    rig.call("GET", "/nothing").send().await;
    let metrics = rig.call("GET", "/metrics").send().await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let text = metrics.text();
    assert!(
        text.contains("vk_webhooks_http_answers_total{status=\"404\"} 2\n"),
        "{text}"
    );
    assert_eq!(text.matches("# EOF").count(), 1, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}
