//! The OpenAPI document: committed, complete, and true to the router.

use http::StatusCode;
use serde_json::Value;

use crate::rig::Rig;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_committed_copy_is_what_the_code_says() {
    let text = web::openapi_json();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(COMMITTED, &text).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is not what the code says; to bring it up to date run\n\
         UPDATE_OPENAPI=1 cargo test -p vk-web --test api the_committed_copy"
    );
    assert_eq!(text, web::openapi_json(), "the same at every call");
}

/// Every operation of the document: method, path, and itself.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn it_is_served_and_names_every_line_of_the_contract() {
    let rig = Rig::new().await;
    let served = rig.call("GET", "/openapi.json").send().await;
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(served.header("content-type"), "application/json");
    assert_eq!(served.text(), web::openapi_json());
    let document = served.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found: Vec<_> = operations(&document)
        .into_iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    found.sort();
    let mut expected = vec![
        "POST /v1/teams",
        "GET /v1/teams",
        "GET /v1/teams/{id}",
        "PATCH /v1/teams/{id}",
        "DELETE /v1/teams/{id}",
        "POST /v1/teams/{id}/api-keys",
        "GET /v1/teams/{id}/api-keys",
        "DELETE /v1/teams/{id}/api-keys/{keyId}",
        "POST /v1/teams/{id}/settings-link",
        "POST /v1/events",
        "POST /v1/events/batch",
        "GET /v1/events",
        "GET /v1/events/{id}",
        "GET /v1/event-types",
        "GET /v1/event-types/{type}",
        "POST /v1/webhook-endpoints",
        "GET /v1/webhook-endpoints",
        "GET /v1/webhook-endpoints/{id}",
        "PATCH /v1/webhook-endpoints/{id}",
        "DELETE /v1/webhook-endpoints/{id}",
        "POST /v1/webhook-endpoints/{id}/rotate-secret",
        "POST /v1/webhook-endpoints/{id}/test",
        "POST /v1/webhook-endpoints/{id}/retry",
        "GET /v1/audit-log",
        "GET /v1/deliveries",
        "GET /v1/deliveries/{id}",
        "POST /v1/deliveries/{id}/retry",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn every_reference_leads_somewhere_and_every_call_says_what_it_answers() {
    let document: Value = serde_json::from_str(&web::openapi_json()).unwrap();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 100, "{}", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (method, path, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let has = |status: &str| responses.contains_key(status);
        assert!(has("500"), "{method} {path}");
        if path.starts_with("/v1/") {
            for status in ["401", "403", "413", "429"] {
                assert!(has(status), "{method} {path} {status}");
            }
        }
        let takes_body = operation.get("requestBody").is_some();
        assert_eq!(has("415") && has("422"), takes_body, "{method} {path}");
        let named = operation["operationId"].is_string() && operation["summary"].is_string();
        assert!(named, "{method} {path}");
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "$ref" => into.push(text.into()),
                    _ => collect_references(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}
