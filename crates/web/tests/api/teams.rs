//! What the operator keeps: teams and their API keys.

use http::StatusCode;
use serde_json::{Value, json};

use crate::rig::{ADMIN, Answer, Rig, START};

async fn post(rig: &Rig, path: &str, body: &Value) -> Answer {
    rig.call("POST", path).key(ADMIN).json(body).send().await
}

#[tokio::test(start_paused = true)]
async fn a_team_is_made_shown_changed_and_deleted() {
    let rig = Rig::new().await;
    let made = post(&rig, "/v1/teams", &json!({"name": "Acme", "id": "team_42"})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let team = made.data();
    let keys: Vec<_> = team.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["createdAt", "id", "name", "plan", "updatedAt"]);
    assert_eq!(
        (&team["id"], &team["name"], &team["plan"]),
        (&json!("team_42"), &json!("Acme"), &json!("scale"))
    );
    assert!(team["createdAt"].as_str().unwrap() >= START);
    let show = || rig.call("GET", "/v1/teams/team_42").key(ADMIN).send();
    assert_eq!(show().await.data(), team);
    let change = rig.call("PATCH", "/v1/teams/team_42").key(ADMIN);
    let changed = change
        .json(&json!({"name": "Acme Ltd", "plan": "small"}))
        .send()
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(
        (&changed.data()["name"], &changed.data()["plan"]),
        (&json!("Acme Ltd"), &json!("small"))
    );
    assert_eq!(show().await.data(), changed.data());
    let nothing = rig
        .call("PATCH", "/v1/teams/team_42")
        .key(ADMIN)
        .json(&json!({"name": null}))
        .send()
        .await;
    assert_eq!(nothing.data()["name"], "Acme Ltd", "null changes nothing");
    let taken = post(
        &rig,
        "/v1/teams",
        &json!({"name": "Other", "id": "team_42"}),
    )
    .await;
    taken.assert_error(409, "conflict");
    let delete = || rig.call("DELETE", "/v1/teams/team_42").key(ADMIN).send();
    assert_eq!(delete().await.status, StatusCode::NO_CONTENT);
    delete().await.assert_error(404, "not_found");
    show().await.assert_error(404, "not_found");
    let change = rig
        .call("PATCH", "/v1/teams/team_42")
        .key(ADMIN)
        .json(&json!({}));
    change.send().await.assert_error(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_team_without_an_id_gets_a_uuid_and_teams_are_listed() {
    let rig = Rig::new().await;
    let made = post(&rig, "/v1/teams", &json!({"name": "Acme"}))
        .await
        .data();
    let id = made["id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::try_parse(id).unwrap().get_version_num(), 7);
    rig.team("second").await;
    let list = rig
        .call("GET", "/v1/teams?per_page=1")
        .key(ADMIN)
        .send()
        .await;
    assert_eq!(
        list.pagination(),
        json!({"page": 1, "perPage": 1, "total": 2, "totalPages": 2})
    );
    assert_eq!(list.data(), json!([made]));
    let list = rig
        .call("GET", "/v1/teams?per_page=1&page=2")
        .key(ADMIN)
        .send()
        .await;
    assert_eq!(list.data()[0]["id"], "second");
}

#[tokio::test(start_paused = true)]
async fn teams_and_keys_that_are_not_as_they_should_be() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let key = |field: &str, value: Value| {
        let mut body = json!({"name": "k", "scopes": ["read"]});
        body[field] = value;
        body
    };
    let keys = "/v1/teams/acme/api-keys";
    for (path, body, pointer) in [
        ("/v1/teams", json!({}), "/name"),
        ("/v1/teams", json!({"name": null}), "/name"),
        ("/v1/teams", json!({"name": 5}), "/name"),
        ("/v1/teams", json!({"name": "  "}), "/name"),
        ("/v1/teams", json!({"name": "a\u{0}"}), "/name"),
        ("/v1/teams", json!({"name": "x".repeat(201)}), "/name"),
        ("/v1/teams", json!({"name": "a", "plan": "gold"}), "/plan"),
        ("/v1/teams", json!({"name": "a", "id": "a b"}), "/id"),
        ("/v1/teams", json!({"name": "a", "id": ".."}), "/id"),
        ("/v1/teams", json!({"name": "a", "id": ""}), "/id"),
        (keys, json!({"scopes": ["read"]}), "/name"),
        (keys, json!({"name": "k"}), "/scopes"),
        (keys, key("name", json!("")), "/name"),
        (keys, key("scopes", json!([])), "/scopes"),
        (keys, key("scopes", json!("read")), "/scopes"),
        (keys, key("scopes", json!(["read", "admin"])), "/scopes/1"),
        (keys, key("expiresAt", json!("tomorrow")), "/expiresAt"),
        (keys, key("expiresAt", json!(START)), "/expiresAt"),
        (keys, key("expiresAt", json!(1_900_000_000)), "/expiresAt"),
    ] {
        let sentence = post(&rig, path, &body)
            .await
            .assert_error(422, "invalid_payload");
        assert!(
            sentence.starts_with(&format!("{pointer}: ")),
            "{body}: {sentence}"
        );
    }
    let plans = post(&rig, "/v1/teams", &json!({"name": "a", "plan": "gold"})).await;
    assert!(
        plans.text().contains("free, scale, small"),
        "{}",
        plans.text()
    );
    for (body, pointer) in [
        (json!({"plan": "gold"}), "/plan"),
        (json!({"name": ""}), "/name"),
        (json!({"id": "x"}), "/id"),
    ] {
        let answer = rig
            .call("PATCH", "/v1/teams/acme")
            .key(ADMIN)
            .json(&body)
            .send()
            .await;
        let sentence = answer.assert_error(422, "invalid_payload");
        assert!(sentence.starts_with(&format!("{pointer}: ")), "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_shown_once_and_listed_by_its_prefix() {
    let rig = Rig::new().await;
    let team = post(&rig, "/v1/teams", &json!({"name": "a", "id": "acme"})).await;
    assert_eq!(team.status, StatusCode::CREATED);
    let path = "/v1/teams/acme/api-keys";
    let body = json!({"name": "Backend", "scopes": ["events:write", "read"], "expiresAt": "2026-05-01T00:00:00+02:00"});
    let made = post(&rig, path, &body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.data();
    let key = made["key"].as_str().unwrap();
    let random = key.strip_prefix("vk_live_").unwrap();
    assert_eq!(random.len(), 32);
    assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(made["prefix"], random[..8]);
    assert_eq!(made["scopes"], json!(["read", "events:write"]));
    assert_eq!(made["expiresAt"], "2026-04-30T22:00:00.000Z");
    let list = || rig.call("GET", path).key(ADMIN).send();
    let listed = list().await;
    assert!(
        !listed.text().contains(random),
        "the key itself is never seen again"
    );
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!(listed.data(), json!([expected]));
    assert_eq!(listed.data()[0]["lastUsedAt"], Value::Null);
    assert_eq!(listed.pagination()["total"], 1);
    rig.call("GET", "/v1/events").key(key).send().await;
    let used = list().await.data()[0]["lastUsedAt"].clone();
    assert!(used.as_str().unwrap() >= START, "{used}");
    let own = format!("{path}/{}", made["id"].as_str().unwrap());
    // Another team's key is not there.
    rig.team("other").await;
    let foreign = own.replace("acme", "other");
    let foreign = rig.call("DELETE", &foreign).key(ADMIN).send().await;
    foreign.assert_error(404, "not_found");
    assert_eq!(
        rig.call("DELETE", &own).key(ADMIN).send().await.status,
        StatusCode::NO_CONTENT
    );
    rig.call("DELETE", &own)
        .key(ADMIN)
        .send()
        .await
        .assert_error(404, "not_found");
    rig.call("GET", "/v1/events")
        .key(key)
        .send()
        .await
        .assert_error(401, "unauthorized");
    assert_eq!(list().await.data(), json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_plan_grants_so_many_keys() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let body = json!({"name": "k", "scopes": ["read"]});
    for _ in 1..5 {
        let made = post(&rig, "/v1/teams/acme/api-keys", &body).await;
        assert_eq!(made.status, StatusCode::CREATED);
    }
    let sixth = post(&rig, "/v1/teams/acme/api-keys", &body).await;
    let sentence = sixth.assert_error(409, "limit_reached");
    assert!(sentence.contains('5'), "{sentence}");
    for (method, path) in [
        ("GET", "/v1/teams/none/api-keys"),
        ("DELETE", "/v1/teams/none/api-keys/x"),
    ] {
        rig.call(method, path)
            .key(ADMIN)
            .send()
            .await
            .assert_error(404, "not_found");
    }
    post(&rig, "/v1/teams/none/api-keys", &body)
        .await
        .assert_error(404, "not_found");
}
