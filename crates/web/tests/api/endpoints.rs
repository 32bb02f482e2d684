//! Endpoints: kept, checked, changed, rotated, tested and recovered.

use http::StatusCode;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, Team, link_expired};

const PATH: &str = "/v1/webhook-endpoints";

async fn post(rig: &Rig, team: &Team, path: &str, body: &Value) -> Answer {
    rig.call("POST", path)
        .key(&team.key)
        .json(body)
        .send()
        .await
}

async fn patch(rig: &Rig, team: &Team, id: &str, body: &Value) -> Answer {
    let call = rig.call("PATCH", &format!("{PATH}/{id}")).key(&team.key);
    call.json(body).send().await
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_made_shown_changed_and_deleted() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let body = json!({
        "url": "https://hooks.receiver.dev/a",
        "description": "CRM",
        "eventTypes": ["link.updated", "link.created"],
    });
    let made = post(&rig, &team, PATH, &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let mut made = made.data();
    let fields = made.as_object_mut().unwrap();
    let secret = fields.remove("secret").unwrap();
    assert!(secret.as_str().unwrap().starts_with("whsec_"));
    assert_eq!(fields.remove("warnings"), Some(json!([])));
    assert_eq!(
        fields.keys().collect::<Vec<_>>(),
        [
            "consecutiveFailures",
            "createdAt",
            "description",
            "eventTypes",
            "id",
            "lastDeliveryAt",
            "status",
            "updatedAt",
            "url"
        ]
    );
    assert_eq!(
        fields["eventTypes"],
        json!(["link.created", "link.updated"])
    );
    assert_eq!(
        (&fields["status"], &fields["consecutiveFailures"]),
        (&json!("healthy"), &json!(0))
    );
    let id = made["id"].as_str().unwrap().to_owned();
    let one = format!("{PATH}/{id}");
    let show = || rig.call("GET", &one).key(&team.key).send();
    assert_eq!(show().await.data(), made);
    assert!(
        !show().await.text().contains("whsec_"),
        "a secret is shown once"
    );
    let list = rig.call("GET", PATH).key(&team.key).send().await;
    assert_eq!(list.data(), json!([made]));
    assert_eq!(
        list.pagination(),
        json!({"page": 1, "perPage": 20, "total": 1, "totalPages": 1})
    );
    for (body, field, value) in [
        (json!({"description": null}), "description", json!(null)),
        (json!({"description": "ERP"}), "description", json!("ERP")),
        (json!({}), "description", json!("ERP")),
        (json!({"eventTypes": []}), "eventTypes", json!(["*"])),
        (
            json!({"eventTypes": ["link.clicked"]}),
            "eventTypes",
            json!(["link.clicked"]),
        ),
        (
            json!({"eventTypes": null, "url": null}),
            "eventTypes",
            json!(["link.clicked"]),
        ),
        (json!({"eventTypes": ["*"]}), "eventTypes", json!(["*"])),
        (json!({"paused": true}), "status", json!("paused")),
        (json!({"disabled": true}), "status", json!("disabled")),
        (json!({"disabled": false}), "status", json!("paused")),
        (json!({"paused": false}), "status", json!("healthy")),
        (
            json!({"url": "https://hooks.receiver.dev/b"}),
            "url",
            json!("https://hooks.receiver.dev/b"),
        ),
    ] {
        let mut changed = patch(&rig, &team, &id, &body).await.data();
        assert_eq!(changed[field], value, "{body}");
        assert_eq!(
            changed.as_object_mut().unwrap().remove("warnings"),
            Some(json!([]))
        );
        assert_eq!(show().await.data(), changed);
    }
    let delete = || rig.call("DELETE", &one).key(&team.key).send();
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    delete().await.assert_error(404, "not_found");
    show().await.assert_error(404, "not_found");
    patch(&rig, &team, &id, &json!({}))
        .await
        .assert_error(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn the_default_is_every_event() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for types in [json!(null), json!([]), json!(["*"])] {
        let body = json!({"url": "https://hooks.receiver.dev/a", "eventTypes": types});
        assert_eq!(
            post(&rig, &team, PATH, &body).await.data()["eventTypes"],
            json!(["*"])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn urls_are_checked_by_the_rules_and_by_their_addresses() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let id = rig.endpoint(&team, "ok").await;
    for url in [
        "http://hooks.receiver.dev/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://user@hooks.receiver.dev/",
        "not a url",
        "",
        "https://inside.receiver.dev/",
    ] {
        let body = json!({ "url": url });
        post(&rig, &team, PATH, &body)
            .await
            .assert_error(422, "invalid_url");
        patch(&rig, &team, &id, &body)
            .await
            .assert_error(422, "invalid_url");
    }
    let warned = post(
        &rig,
        &team,
        PATH,
        &json!({"url": "https://new.receiver.dev/"}),
    )
    .await;
    assert_eq!(warned.status, StatusCode::CREATED);
    assert_eq!(
        warned.data()["warnings"],
        json!(["The name does not resolve yet."])
    );
    let warned = patch(
        &rig,
        &team,
        &id,
        &json!({"url": "https://new.receiver.dev/"}),
    )
    .await;
    assert_eq!(
        warned.data()["warnings"],
        json!(["The name does not resolve yet."])
    );
    let list = rig.call("GET", PATH).key(&team.key).send().await;
    assert_eq!(
        list.pagination()["total"],
        2,
        "what was refused is not there"
    );
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_not_as_they_should_be() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let id = rig.endpoint(&team, "ok").await;
    let url = "https://hooks.receiver.dev/a";
    for (body, code, start) in [
        (json!({}), "invalid_payload", "/url: "),
        (json!({"url": 7}), "invalid_payload", "/url: "),
        (
            json!({"url": url, "description": ""}),
            "invalid_payload",
            "/description: ",
        ),
        (
            json!({"url": url, "description": "x".repeat(501)}),
            "invalid_payload",
            "/description: ",
        ),
        (
            json!({"url": url, "eventTypes": "*"}),
            "invalid_payload",
            "/eventTypes: ",
        ),
        (
            json!({"url": url, "eventTypes": ["*", 5]}),
            "invalid_payload",
            "/eventTypes/1: ",
        ),
        (
            json!({"url": url, "eventTypes": ["link.created", "link.vanished"]}),
            "unknown_event_type",
            "/eventTypes/1: ",
        ),
        (
            json!({"url": url, "eventTypes": ["*", "link.vanished"]}),
            "unknown_event_type",
            "/eventTypes/1: ",
        ),
        (
            json!({"url": url, "event_types": []}),
            "invalid_payload",
            "/event_types: ",
        ),
    ] {
        let sentence = post(&rig, &team, PATH, &body).await.assert_error(422, code);
        assert!(sentence.starts_with(start), "{body}: {sentence}");
    }
    for (body, code, start) in [
        (json!({"paused": "yes"}), "invalid_payload", "/paused: "),
        (json!({"disabled": 1}), "invalid_payload", "/disabled: "),
        (json!({"status": "paused"}), "invalid_payload", "/status: "),
        (
            json!({"eventTypes": ["nothing"]}),
            "unknown_event_type",
            "/eventTypes/0: ",
        ),
        (
            json!({"description": "a\nb"}),
            "invalid_payload",
            "/description: ",
        ),
    ] {
        let sentence = patch(&rig, &team, &id, &body).await.assert_error(422, code);
        assert!(sentence.starts_with(start), "{body}: {sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_in_unicode_is_kept_as_written_and_shown_in_both_forms() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let forms = |endpoint: &Value| {
        ["url", "urlAscii", "urlUnicode"]
            .map(|field| endpoint.get(field).cloned().unwrap_or_default())
    };
    let (unicode, encoded) = ("https://münchen.de/ok", "https://xn--mnchen-3ya.de/ok");
    let plain = "https://hooks.receiver.dev/ok";
    let mut id = String::new();
    for (written, shown) in [
        (unicode, [json!(unicode), json!(encoded), json!(null)]),
        (encoded, [json!(encoded), json!(null), json!(unicode)]),
        (
            "https://MÜNCHEN.de:443/./ok",
            [json!(unicode), json!(encoded), json!(null)],
        ),
        (plain, [json!(plain), json!(null), json!(null)]),
    ] {
        let made = post(&rig, &team, PATH, &json!({ "url": written })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        assert_eq!(forms(&made.data()), shown);
        id = made.data()["id"].as_str().unwrap().to_owned();
        let one = rig.call("GET", &format!("{PATH}/{id}")).key(&team.key);
        assert_eq!(forms(&one.send().await.data()), shown);
    }
    let list = rig.call("GET", PATH).key(&team.key).send().await.data();
    let urls = list.as_array().unwrap().iter().map(|one| &one["url"]);
    let kept = [unicode, encoded, unicode, plain];
    assert_eq!(urls.collect::<Vec<_>>(), kept, "each is an endpoint");
    let changed = patch(&rig, &team, &id, &json!({"url": "https://пример.рф/ok"})).await;
    let expected = [
        json!("https://пример.рф/ok"),
        json!("https://xn--e1afmkfd.xn--p1ai/ok"),
        json!(null),
    ];
    assert_eq!(forms(&changed.data()), expected);
    let event = rig.publish(&team).await;
    for delivery in rig.deliveries_of(&team, &event).await {
        rig.until(&team, &delivery, "delivered").await;
    }
    for (url, part) in [
        ("https://ｌocalhost/", "special-use"),
        ("https://１２７.0.0.1/", "127.0.0.1"),
        ("https://münchen。de/", "münchen.de"),
        ("https://xn--zzzzzzzzzzzz.de/", "not the encoded form"),
        ("https://a\u{202e}b.de/", "not allowed in host names"),
    ] {
        let refused = post(&rig, &team, PATH, &json!({ "url": url })).await;
        let sentence = refused.assert_error(422, "invalid_url");
        assert!(sentence.contains(part), "{url}: {sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_grants_so_many_endpoints() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let mut first = None;
    for number in 0..10 {
        let id = rig.endpoint(&team, &number.to_string()).await;
        first.get_or_insert(id);
    }
    let body = json!({"url": "https://hooks.receiver.dev/11"});
    let sentence = post(&rig, &team, PATH, &body)
        .await
        .assert_error(409, "limit_reached");
    assert!(sentence.contains("10"), "{sentence}");
    let path = format!("{PATH}/{}", first.unwrap());
    rig.call("DELETE", &path).key(&team.key).send().await;
    assert_eq!(
        post(&rig, &team, PATH, &body).await.status,
        StatusCode::CREATED
    );
    let page = rig
        .call("GET", &format!("{PATH}?page=2&per_page=9"))
        .key(&team.key)
        .send()
        .await;
    assert_eq!(
        page.pagination(),
        json!({"page": 2, "perPage": 9, "total": 10, "totalPages": 2})
    );
    assert_eq!(
        page.data()[0]["url"],
        "https://hooks.receiver.dev/11",
        "oldest first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotation_shows_the_new_secret_and_says_how_long_the_old_one_lasts() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let id = rig.endpoint(&team, "ok").await;
    let rotate = format!("{PATH}/{id}/rotate-secret");
    let rotated = rig.call("POST", &rotate).key(&team.key).send().await;
    assert_eq!(rotated.status, StatusCode::OK);
    let rotated = rotated.data();
    assert_eq!(rotated["id"], id.as_str());
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"));
    let expires = rotated["oldSecretExpiresAt"].as_str().unwrap();
    assert!(expires.starts_with("2026-04-02T12:00:"), "a day: {expires}");
    let event = rig.publish(&team).await;
    let delivery = &rig.deliveries_of(&team, &event).await[0];
    rig.until(&team, delivery, "delivered").await;
    let (_, headers, _) = &rig.receivers.received()[0];
    assert!(
        headers.contains_key("x-vantagekit-signature-next"),
        "signed with both"
    );
    let body = json!({"expireOldAfterSeconds": 0});
    let at_once = post(&rig, &team, &rotate, &body).await.data();
    assert_eq!(at_once["oldSecretExpiresAt"], Value::Null);
    assert_ne!(at_once["secret"], rotated["secret"]);
    let week = post(
        &rig,
        &team,
        &rotate,
        &json!({"expireOldAfterSeconds": 604_800.0}),
    )
    .await;
    assert!(
        week.data()["oldSecretExpiresAt"]
            .as_str()
            .unwrap()
            .starts_with("2026-04-08T12:00:")
    );
    for seconds in [
        json!(604_801),
        json!(-1),
        json!(1.5),
        json!("60"),
        json!(5_000_000_000_u64),
    ] {
        let body = json!({ "expireOldAfterSeconds": seconds });
        let sentence = post(&rig, &team, &rotate, &body)
            .await
            .assert_error(422, "invalid_payload");
        assert!(
            sentence.starts_with("/expireOldAfterSeconds: "),
            "{sentence}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_test_event_is_sent_through_the_real_engine() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let body = json!({"url": "https://hooks.receiver.dev/t", "eventTypes": ["link.created"]});
    let id = post(&rig, &team, PATH, &body).await.data()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{PATH}/{id}/test");
    let sent = post(&rig, &team, &path, &json!({"type": "deal_room.viewed"})).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.text());
    let data = sent.data();
    assert_eq!(data.as_object().unwrap().len(), 1);
    let delivery = rig
        .until(&team, data["deliveryId"].as_str().unwrap(), "delivered")
        .await;
    assert_eq!(
        (&delivery["eventType"], &delivery["test"]),
        (&json!("deal_room.viewed"), &json!(true))
    );
    let example = rig
        .call("GET", "/v1/event-types/deal_room.viewed")
        .key(&team.key)
        .send()
        .await;
    let (_, _, received) = &rig.receivers.received()[0];
    let received: Value = serde_json::from_slice(received).unwrap();
    assert_eq!(received["data"], example.data()["example"]);
    // With data of one's own, sent as written.
    let own = r#"{"type":"link.expired","data":{"name":"x", "dealRoomId":"0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10","linkId":"5f4dcc3b-5aa7-4d61-8d83-27deb882cf99","expiredAt":"2026-04-01T12:00:00Z"}}"#;
    let sent = rig
        .call("POST", &path)
        .key(&team.key)
        .raw_json(own)
        .send()
        .await;
    rig.until(
        &team,
        sent.data()["deliveryId"].as_str().unwrap(),
        "delivered",
    )
    .await;
    assert_eq!(rig.receivers.received()[1].2, own);
    for (body, code, start) in [
        (json!({}), "invalid_payload", "/type: "),
        (
            json!({"type": "link.vanished"}),
            "unknown_event_type",
            "unknown event type",
        ),
        (
            json!({"type": "link.expired", "data": {}}),
            "invalid_payload",
            "/data/",
        ),
        (
            json!({"type": "link.expired", "url": "x"}),
            "invalid_payload",
            "/url: ",
        ),
    ] {
        let sentence = post(&rig, &team, &path, &body)
            .await
            .assert_error(422, code);
        assert!(sentence.starts_with(start), "{sentence}");
    }
    patch(&rig, &team, &id, &json!({"disabled": true})).await;
    let refused = post(&rig, &team, &path, &json!({"type": "link.created"})).await;
    refused.assert_error(409, "conflict");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_turns_unhealthy_and_its_dead_letters_are_recovered_by_range() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let id = rig.endpoint(&team, "fail").await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        let event = rig.publish(&team).await;
        deliveries.extend(rig.deliveries_of(&team, &event).await);
    }
    for delivery in &deliveries {
        let dead = rig.until(&team, delivery, "dead_letter").await;
        assert_eq!(dead["attemptCount"], 6);
    }
    let endpoint = rig
        .call("GET", &format!("{PATH}/{id}"))
        .key(&team.key)
        .send()
        .await
        .data();
    assert_eq!(
        (&endpoint["status"], &endpoint["consecutiveFailures"]),
        (&json!("unhealthy"), &json!(18))
    );
    assert!(endpoint["lastDeliveryAt"].is_string());
    let retry = format!("{PATH}/{id}/retry");
    for (body, pointer) in [
        (json!({"status": "delivered"}), "/status"),
        (json!({"since": "now"}), "/since"),
        (json!({"until": 5}), "/until"),
        (json!({"event_type": "x"}), "/event_type"),
    ] {
        let sentence = post(&rig, &team, &retry, &body)
            .await
            .assert_error(422, "invalid_payload");
        assert!(sentence.starts_with(&format!("{pointer}: ")), "{sentence}");
    }
    for body in [
        json!({"eventType": "link.created"}),
        json!({"until": "2026-04-01T12:00:00Z"}),
        json!({"since": "2027-01-01T00:00:00Z"}),
    ] {
        let none = post(&rig, &team, &retry, &body).await;
        assert_eq!(
            (none.status, none.data()),
            (StatusCode::ACCEPTED, json!({"retried": 0})),
            "{body}"
        );
    }
    patch(
        &rig,
        &team,
        &id,
        &json!({"url": "https://hooks.receiver.dev/ok"}),
    )
    .await;
    let body = json!({"status": "dead_letter", "eventType": "link.expired", "since": "2026-04-01T12:00:00Z", "until": "2027-01-01T00:00:00Z"});
    assert_eq!(
        post(&rig, &team, &retry, &body).await.data(),
        json!({"retried": 3})
    );
    for delivery in &deliveries {
        let delivered = rig.until(&team, delivery, "delivered").await;
        assert_eq!(delivered["attemptCount"], 7);
    }
    let all = rig.call("POST", &retry).key(&team.key).send().await;
    assert_eq!(all.data(), json!({"retried": 0}));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_endpoint_gets_no_new_deliveries_and_a_paused_one_holds_them() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let id = rig.endpoint(&team, "ok").await;
    patch(&rig, &team, &id, &json!({"disabled": true})).await;
    let publish = || post(&rig, &team, "/v1/events", link_expired_static());
    assert_eq!(publish().await.data()["deliveries"], 0);
    patch(
        &rig,
        &team,
        &id,
        &json!({"disabled": false, "paused": true}),
    )
    .await;
    let held = publish().await.data();
    assert_eq!(held["deliveries"], 1);
    let delivery = &rig.deliveries_of(&team, held["id"].as_str().unwrap()).await[0];
    let seen = rig.until(&team, delivery, "held").await;
    assert_eq!(seen["nextAttemptAt"], Value::Null);
    patch(&rig, &team, &id, &json!({"paused": false})).await;
    rig.until(&team, delivery, "delivered").await;
    assert_eq!(rig.receivers.received().len(), 1);
}

fn link_expired_static() -> &'static Value {
    static EVENT: std::sync::OnceLock<Value> = std::sync::OnceLock::new();
    EVENT.get_or_init(|| link_expired("a"))
}
