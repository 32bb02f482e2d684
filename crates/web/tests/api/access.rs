//! Who may do what: keys, scopes, plans, the operator, and one team's things against another's.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::document::operations;
use crate::rig::{ADMIN, Rig, Team, link_expired};

const NONE: &str = "019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87";

/// The scope each call of the API table asks of a team's key; `operator` where none suffices.
const SCOPES: &[(&str, &str, &str)] = &[
    ("POST", "/v1/teams", "operator"),
    ("GET", "/v1/teams", "operator"),
    ("GET", "/v1/teams/{id}", "operator"),
    ("PATCH", "/v1/teams/{id}", "operator"),
    ("DELETE", "/v1/teams/{id}", "operator"),
    ("POST", "/v1/teams/{id}/api-keys", "operator"),
    ("GET", "/v1/teams/{id}/api-keys", "operator"),
    ("DELETE", "/v1/teams/{id}/api-keys/{keyId}", "operator"),
    ("POST", "/v1/teams/{id}/settings-link", "operator"),
    ("POST", "/v1/events", "events:write"),
    ("POST", "/v1/events/batch", "events:write"),
    ("GET", "/v1/events", "read"),
    ("GET", "/v1/events/{id}", "read"),
    ("GET", "/v1/event-types", "read"),
    ("GET", "/v1/event-types/{type}", "read"),
    ("POST", "/v1/webhook-endpoints", "webhooks:write"),
    ("GET", "/v1/webhook-endpoints", "read"),
    ("GET", "/v1/webhook-endpoints/{id}", "read"),
    ("PATCH", "/v1/webhook-endpoints/{id}", "webhooks:write"),
    ("DELETE", "/v1/webhook-endpoints/{id}", "webhooks:write"),
    (
        "POST",
        "/v1/webhook-endpoints/{id}/rotate-secret",
        "webhooks:write",
    ),
    ("POST", "/v1/webhook-endpoints/{id}/test", "webhooks:write"),
    ("POST", "/v1/webhook-endpoints/{id}/retry", "webhooks:write"),
    ("GET", "/v1/audit-log", "read"),
    ("GET", "/v1/deliveries", "read"),
    ("GET", "/v1/deliveries/{id}", "read"),
    ("POST", "/v1/deliveries/{id}/retry", "webhooks:write"),
];

fn filled(path: &str) -> String {
    path.replace("{id}", NONE)
        .replace("{keyId}", NONE)
        .replace("{type}", "link.expired")
}

#[test]
fn the_table_above_is_the_whole_api() {
    let document: Value = serde_json::from_str(&web::openapi_json()).unwrap();
    let api = operations(&document);
    let api = api.iter().filter(|(_, path, _)| path.starts_with("/v1/"));
    let mut documented: Vec<_> = api
        .map(|(method, path, _)| (method.as_str(), path.as_str()))
        .collect();
    let mut listed: Vec<_> = SCOPES
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    documented.sort_unstable();
    listed.sort_unstable();
    assert_eq!(documented, listed);
}

#[tokio::test(start_paused = true)]
async fn without_a_valid_key_every_call_is_401_before_anything_else() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let revoked = rig.key("acme", json!(["read"])).await;
    let id = rig.key_ids("acme").await.remove(1);
    let path = format!("/v1/teams/acme/api-keys/{id}");
    let gone = rig.call("DELETE", &path).key(ADMIN).send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let unknown = format!("vk_live_{}", "A".repeat(32));
    let mut calls: Vec<_> = SCOPES
        .iter()
        .map(|(method, path, _)| (*method, filled(path)))
        .collect();
    // Nor does anybody without a key learn what exists.
    calls.push(("GET", "/v1".into()));
    calls.push(("GET", "/v1/".into()));
    calls.push(("GET", "/v1/nothing".into()));
    calls.push(("PUT", "/v1/events".into()));
    for (method, path) in &calls {
        let call = || rig.call(method, path).body("{".into());
        let none = call().send().await;
        none.assert_error(401, "unauthorized");
        assert_eq!(
            none.header("www-authenticate"),
            r#"Bearer realm="webhooks""#
        );
        assert!(none.headers.get("x-ratelimit-limit").is_none());
        for key in [
            &unknown,
            &revoked,
            "",
            "x",
            &team.key[..39],
            &team.key.to_lowercase(),
        ] {
            call()
                .key(key)
                .send()
                .await
                .assert_error(401, "unauthorized");
            call()
                .header("x-api-key", key)
                .send()
                .await
                .assert_error(401, "unauthorized");
        }
        let basic = call()
            .header("authorization", &format!("Basic {}", team.key))
            .send()
            .await;
        basic.assert_error(401, "unauthorized");
    }
}

#[tokio::test(start_paused = true)]
async fn either_header_carries_the_key() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let call = || rig.call("GET", "/v1/event-types");
    for answer in [
        call().key(&team.key).send().await,
        call()
            .header("authorization", &format!("bearer {}", team.key))
            .send()
            .await,
        call().header("x-api-key", &team.key).send().await,
    ] {
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_stops_working_when_it_expires() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let call = rig.call("POST", "/v1/teams/acme/api-keys").key(ADMIN);
    let body = json!({"name": "k", "scopes": ["read"], "expiresAt": "2026-04-01T13:00:00Z"});
    let made = call.json(&body).send().await.data();
    assert_eq!(made["expiresAt"], "2026-04-01T13:00:00.000Z");
    let key = made["key"].as_str().unwrap();
    let ask = || rig.call("GET", "/v1/events").key(key).send();
    assert_eq!(ask().await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(3600)).await;
    ask().await.assert_error(401, "unauthorized");
}

#[tokio::test(start_paused = true)]
async fn a_key_does_only_what_its_scopes_allow() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    for scope in ["read", "webhooks:write", "events:write"] {
        let key = rig.key("acme", json!([scope])).await;
        for (method, path, needed) in SCOPES {
            let answer = rig.call(method, &filled(path)).key(&key).send().await;
            if scope == *needed {
                assert_ne!(
                    answer.status,
                    StatusCode::FORBIDDEN,
                    "{scope}: {method} {path}"
                );
            } else {
                let sentence = answer.assert_error(403, "forbidden");
                assert!(sentence.contains(needed), "{sentence}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_webhooks_must_be_paid_first() {
    let rig = Rig::new().await;
    let team = rig.team_on("acme", "free").await;
    for (method, path, needed) in SCOPES {
        let answer = rig.call(method, &filled(path)).key(&team.key).send().await;
        match (*needed, *path) {
            ("operator", _) => {
                answer.assert_error(403, "forbidden");
            }
            (_, "/v1/event-types" | "/v1/event-types/{type}") => {
                assert_eq!(answer.status, StatusCode::OK);
            }
            _ => {
                answer.assert_error(402, "payment_required");
            }
        }
    }
    let change = rig.call("PATCH", "/v1/teams/acme").key(ADMIN);
    let changed = change.json(&json!({"plan": "scale"})).send().await;
    assert_eq!(changed.data()["plan"], "scale");
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
async fn the_operator_names_the_team_by_a_header() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let list = || rig.call("GET", "/v1/webhook-endpoints").key(ADMIN);
    let missing = list().send().await.assert_error(400, "invalid_request");
    assert!(missing.contains("X-VantageKit-Team"), "{missing}");
    list()
        .team("nobody")
        .send()
        .await
        .assert_error(404, "not_found");
    list().team("").send().await.assert_error(404, "not_found");
    let found = list().team("acme").send().await;
    assert_eq!(found.status, StatusCode::OK);
    assert!(
        found.headers.get("x-ratelimit-limit").is_none(),
        "the operator has no limit"
    );
    // The catalog is nobody's.
    let catalog = rig.call("GET", "/v1/event-types").key(ADMIN).send().await;
    assert_eq!(catalog.status, StatusCode::OK);
    // And everything a team's key may do, the operator may do for it.
    for (method, path, needed) in SCOPES.iter().filter(|(.., needed)| *needed != "operator") {
        let answer = rig
            .call(method, &filled(path))
            .key(ADMIN)
            .team("acme")
            .send()
            .await;
        let refused = [401, 403].contains(&answer.status.as_u16());
        assert!(!refused, "{method} {path} {needed}");
    }
}

/// A team with one of everything, and the path of each.
async fn furnished(rig: &Rig, id: &str) -> (Team, [String; 3]) {
    let team = rig.team(id).await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let event = rig.publish(&team).await;
    let delivery = rig.deliveries_of(&team, &event).await[0].clone();
    (team, [endpoint, event, delivery])
}

#[tokio::test(start_paused = true)]
async fn another_team_s_things_are_not_there_on_any_route() {
    let rig = Rig::new().await;
    let (acme, [endpoint, event, delivery]) = furnished(&rig, "acme").await;
    let (other, _) = furnished(&rig, "other").await;
    let mut walked = 0;
    for (method, path, needed) in SCOPES {
        let own = match *path {
            path if path.starts_with("/v1/webhook-endpoints/{id}") => &endpoint,
            path if path.starts_with("/v1/events/{id}") => &event,
            path if path.starts_with("/v1/deliveries/{id}") => &delivery,
            _ => continue,
        };
        walked += 1;
        let body = if path.ends_with("/test") {
            json!({"type": "link.expired"})
        } else {
            json!({})
        };
        let ask = |id: &str, key: &str| {
            let call = rig.call(method, &path.replace("{id}", id)).key(key);
            if *method == "GET" || *method == "DELETE" {
                call
            } else {
                call.json(&body)
            }
        };
        for key in [&other.key, ADMIN] {
            let foreign = ask(own, key).team("other").send().await;
            foreign.assert_error(404, "not_found");
            let nothing = ask(NONE, key).team("other").send().await;
            assert_eq!(foreign.body, nothing.body, "{method} {path} {needed}");
            let malformed = ask("7", key).team("other").send().await;
            assert_eq!(foreign.body, malformed.body, "{method} {path}");
        }
        // An id of another kind is nothing here either.
        let kinds = [&endpoint, &event, &delivery];
        for kind in kinds.into_iter().filter(|kind| *kind != own) {
            ask(kind, &acme.key)
                .send()
                .await
                .assert_error(404, "not_found");
        }
    }
    assert_eq!(walked, 9);
    // What the other team saw of it in lists: nothing.
    for path in ["/v1/webhook-endpoints", "/v1/events", "/v1/deliveries"] {
        let list = rig.call("GET", path).key(&other.key).send().await;
        assert_eq!(list.data().as_array().unwrap().len(), 1, "{path}");
        for id in [&endpoint, &event, &delivery] {
            assert!(!list.text().contains(id.as_str()), "{path}");
        }
    }
    for filter in [
        format!("endpoint_id={endpoint}"),
        format!("event_id={event}"),
    ] {
        let path = format!("/v1/deliveries?{filter}");
        let list = rig.call("GET", &path).key(&other.key).send().await;
        assert_eq!(list.data(), json!([]), "{path}");
        let list = rig.call("GET", &path).key(&acme.key).send().await;
        assert_eq!(list.data().as_array().unwrap().len(), 1, "{path}");
    }
    // And all of it is still there, unchanged.
    let still = rig.call("GET", &format!("/v1/webhook-endpoints/{endpoint}"));
    assert_eq!(
        still.key(&acme.key).send().await.data()["status"],
        "healthy"
    );
}

#[tokio::test(start_paused = true)]
async fn a_team_s_key_of_a_deleted_team_is_no_key() {
    let rig = Rig::new().await;
    let (team, _) = furnished(&rig, "acme").await;
    let gone = rig.call("DELETE", "/v1/teams/acme").key(ADMIN).send().await;
    assert_eq!((gone.status, gone.text()), (StatusCode::NO_CONTENT, ""));
    let publish = rig
        .call("POST", "/v1/events")
        .key(&team.key)
        .json(&link_expired("x"));
    publish.send().await.assert_error(401, "unauthorized");
    rig.call("GET", "/v1/teams/acme")
        .key(ADMIN)
        .send()
        .await
        .assert_error(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_team_key_cannot_act_for_another_team_by_the_operator_s_header() {
    let rig = Rig::new().await;
    let (acme, [endpoint, ..]) = furnished(&rig, "acme").await;
    furnished(&rig, "other").await;
    let list = rig
        .call("GET", "/v1/webhook-endpoints")
        .key(&acme.key)
        .team("other")
        .send()
        .await;
    let data = list.data();
    assert_eq!(data.as_array().unwrap().len(), 1);
    assert_eq!(data[0]["id"], endpoint.as_str(), "its own");
}
