//! Who changed what by hand is remembered, with the change and without secrets, and shown to the team alone.

use std::time::Duration;

use http::StatusCode;
use model::time::Timestamp;
use serde_json::{Value, json};

use crate::rig::{ADMIN, Rig, START};

/// The entries, newest first, as "actor action field: from > to, …".
fn lines(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let entries = answer["data"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let changes = entry["changes"].as_array().unwrap().iter().map(|change| {
                let (from, to) = (text(&change["from"]), text(&change["to"]));
                format!("{}: {from} > {to}", text(&change["field"]))
            });
            let changes = changes.collect::<Vec<_>>().join(", ");
            let (actor, action) = (text(&entry["actor"]["type"]), text(&entry["action"]));
            format!("{actor} {action} {changes}")
        })
        .collect()
}

async fn log(rig: &Rig, key: &str, query: &str) -> Value {
    let call = rig.call("GET", &format!("/v1/audit-log{query}")).key(key);
    let answer = call.send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(!answer.text().contains("whsec_"), "a secret is in it");
    assert!(!answer.text().contains("hidden"), "a query is in it");
    answer.json()
}

#[tokio::test(start_paused = true)]
async fn every_change_by_hand_is_remembered_with_who_made_it() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let key = team.key.as_str();
    let send = async |method: &str, path: &str, body: Value| {
        let answer = rig.call(method, path).key(key).json(&body).send().await;
        assert!(answer.status.is_success(), "{}", answer.text());
        answer
    };
    let endpoints = "/v1/webhook-endpoints";
    let url = "https://hooks.receiver.dev/a?token=hidden";
    let types = json!(["link.created"]);
    let body = json!({"url": url, "description": "CRM", "eventTypes": types});
    let id = send("POST", endpoints, body).await.data()["id"].clone();
    let path = format!("{endpoints}/{}", id.as_str().unwrap());
    let moved = json!({"url": "https://hooks.receiver.dev/b", "description": null});
    send("PATCH", &path, moved.clone()).await;
    send("PATCH", &path, moved).await; // changes nothing
    send("PATCH", &path, json!({"paused": true})).await;
    send("POST", &format!("{path}/rotate-secret"), json!({})).await;
    // The operator for the team.
    let deleted = rig.call("DELETE", &path).key(ADMIN).team("acme");
    assert_eq!(deleted.send().await.status, StatusCode::NO_CONTENT);
    let renamed = rig.call("PATCH", "/v1/teams/acme").key(ADMIN);
    let renamed = renamed.json(&json!({"name": "Acme Ltd"})).send().await;
    assert_eq!(renamed.status, StatusCode::OK);
    let second = rig.key("acme", json!(["read"])).await;

    let answer = log(&rig, &second, "").await;
    let b = "https://hooks.receiver.dev/b";
    let a = "https://hooks.receiver.dev/a?…";
    let prefix = &second["vk_live_".len()..][..8];
    let lines = lines(&answer);
    assert!(lines[0].starts_with("operator api_key.created name: - > "));
    assert!(lines[0].contains(&format!("prefix: - > {prefix}, scopes: - > read")));
    let team_name = "operator team.updated name: ";
    assert!(lines[1].starts_with(team_name) && lines[1].ends_with(" > Acme Ltd"));
    assert_eq!(
        lines[2..7],
        [
            format!("operator webhook_endpoint.deleted url: {b} > -"),
            "api_key webhook_endpoint.secret_rotated ".to_owned(),
            "api_key webhook_endpoint.updated paused: false > true".to_owned(),
            format!("api_key webhook_endpoint.updated url: {a} > {b}, description: CRM > -"),
            format!(
                "api_key webhook_endpoint.created url: - > {a}, eventTypes: - > link.created, \
                 description: - > CRM"
            ),
        ]
    );
    assert!(lines[7].starts_with("operator api_key.created "));
    assert!(lines[8].starts_with("operator team.created name: - > "));
    assert_eq!(lines.len(), 9);
    let entries = answer["data"].as_array().unwrap();
    assert!(entries[2..7].iter().all(|entry| entry["endpointId"] == id));
    let first_key = &entries[7]["keyId"];
    assert_eq!(&entries[4]["actor"]["keyId"], first_key, "the key it was");
    assert!(entries[2]["actor"].get("keyId").is_none());
    assert_eq!(entries[8]["at"], "2026-04-01T12:00:00.000Z");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_leaves_no_entry() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let before = log(&rig, &team.key, "").await;
    let nobody = "/v1/webhook-endpoints/019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87";
    for (method, path, body) in [
        (
            "POST",
            "/v1/webhook-endpoints",
            json!({"url": "http://plain.example"}),
        ),
        ("PATCH", nobody, json!({"paused": true})),
        ("DELETE", nobody, json!({})),
        ("POST", "/v1/teams", json!({"name": "not the operator"})),
    ] {
        let call = rig.call(method, path).key(&team.key).json(&body);
        assert!(
            call.send().await.status.is_client_error(),
            "{method} {path}"
        );
    }
    assert_eq!(log(&rig, &team.key, "").await, before);
}

#[tokio::test(start_paused = true)]
async fn the_log_comes_in_pages_and_is_the_team_s_alone() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let other = rig.team("other").await;
    for number in 0..5 {
        rig.endpoint(&team, &format!("/{number}")).await;
    }
    assert_eq!(
        log(&rig, &other.key, "").await["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let all = lines(&log(&rig, &team.key, "").await);
    assert_eq!(all.len(), 7);
    let (mut paged, mut query) = (Vec::new(), "?per_page=3".to_owned());
    loop {
        let page = log(&rig, &team.key, &query).await;
        paged.extend(lines(&page));
        match page["meta"]["pagination"]["nextCursor"].as_str() {
            Some(cursor) => query = format!("?per_page=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    for wrong in ["?cursor=x", "?per_page=0", "?page=1"] {
        let call = rig
            .call("GET", &format!("/v1/audit-log{wrong}"))
            .key(&team.key);
        call.send().await.assert_error(400, "invalid_request");
    }
}

#[tokio::test(start_paused = true)]
async fn who_deleted_a_team_is_told_to_the_operator_until_nothing_of_it_is_left() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.team("other").await;
    let read = |team: &str| {
        let call = rig.call("GET", "/v1/audit-log").key(ADMIN).team(team);
        call.send()
    };
    let deleted = rig.call("DELETE", "/v1/teams/acme").key(ADMIN).send().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);

    let answer = read("acme").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let told = lines(&answer.json());
    assert_eq!(told[0], "operator team.deleted ");
    assert_eq!(answer.json()["data"][0]["at"], START);
    assert_eq!(told.len(), 3, "{told:?}");
    let call = rig.call("GET", "/v1/audit-log").key(&team.key);
    call.send().await.assert_error(401, "unauthorized");
    let elsewhere = rig.call("GET", "/v1/events").key(ADMIN).team("acme");
    elsewhere.send().await.assert_error(404, "not_found");
    read("nobody").await.assert_error(404, "not_found");

    rig.team("acme").await;
    let told = lines(&read("acme").await.json());
    assert_eq!(told.len(), 2, "another team's, and only its: {told:?}");
    let deleted = rig.call("DELETE", "/v1/teams/acme").key(ADMIN).send().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let now = Timestamp::parse_iso(START).unwrap();
    let sweep = async |after| {
        let now = now.after(Duration::from_secs(after));
        while rig.engine.store().sweep(now, None, 100).await.unwrap() > 0 {}
    };
    sweep(3600).await;
    assert_eq!(read("acme").await.status, StatusCode::OK);
    sweep(3602).await;
    read("acme").await.assert_error(404, "not_found");
}
