//! Rate limits: what counts, what is told, and what is never limited.

use std::time::Duration;

use model::rate::RateLimit;
use model::time::Timestamp;
use serde_json::json;
use web::WebOptions;

use crate::rig::{ADMIN, Answer, Rig, START, link_expired};

fn told(answer: &Answer) -> (&str, &str) {
    (
        answer.header("x-ratelimit-limit"),
        answer.header("x-ratelimit-remaining"),
    )
}

#[tokio::test(start_paused = true)]
async fn by_default_a_thousand_an_hour_a_key_and_three_thousand_a_team() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let other = rig.key("acme", json!(["read"])).await;
    let mut keys = vec![team.key.clone(), other];
    keys.push(rig.key("acme", json!(["read"])).await);
    keys.push(rig.key("acme", json!(["read"])).await);
    let first = rig
        .call("GET", "/v1/event-types/x")
        .key(&keys[0])
        .send()
        .await;
    assert_eq!(told(&first), ("1000", "999"));
    let reset: i64 = first.header("x-ratelimit-reset").parse().unwrap();
    let hour_later = Timestamp::parse_iso(START)
        .unwrap()
        .after(Duration::from_secs(3600));
    assert!(
        (reset - hour_later.as_millis()).abs() < 60_000,
        "{reset} is in an hour, in ms"
    );
    for key in &keys[..3] {
        let used = usize::from(key == &keys[0]);
        for _ in used..1000 {
            rig.call("GET", "/v1/event-types/x")
                .key(key)
                .send()
                .await
                .assert_error(404, "not_found");
        }
    }
    let spent = rig
        .call("GET", "/v1/event-types/x")
        .key(&keys[0])
        .send()
        .await;
    spent.assert_error(429, "rate_limit");
    let fourth = rig
        .call("GET", "/v1/event-types/x")
        .key(&keys[3])
        .send()
        .await;
    fourth.assert_error(429, "rate_limit");
    assert_eq!(told(&fourth), ("3000", "0"), "the team's limit");
}

fn limits(key: u32, team: u32) -> WebOptions {
    WebOptions {
        key_limit: RateLimit::per_hour(key),
        team_limit: RateLimit::per_hour(team),
        ..WebOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_limit_it_is_429_until_the_window_resets() {
    let rig = Rig::with(limits(3, 100)).await;
    let team = rig.team("acme").await;
    let ask = || rig.call("GET", "/v1/events").key(&team.key).send();
    for remaining in ["2", "1", "0"] {
        assert_eq!(told(&ask().await), ("3", remaining));
    }
    let refused = ask().await;
    refused.assert_error(429, "rate_limit");
    assert_eq!(told(&refused), ("3", "0"));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
    tokio::time::advance(Duration::from_secs(wait - 10)).await;
    let refused = ask().await;
    refused.assert_error(429, "rate_limit");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    tokio::time::advance(Duration::from_secs(wait)).await;
    assert_eq!(
        told(&ask().await),
        ("3", "2"),
        "who waited as told is let in"
    );
}

#[tokio::test(start_paused = true)]
async fn every_answer_to_a_team_s_key_tells_and_every_one_but_publishing_counts() {
    let rig = Rig::with(limits(6, 100)).await;
    let team = rig.team("acme").await;
    let call = |method: &str, path: &str| rig.call(method, path).key(&team.key);
    for (answer, status, remaining) in [
        (call("GET", "/v1/nothing").send().await, 404, "5"),
        (call("PUT", "/v1/events").send().await, 405, "4"),
        (call("GET", "/v1/teams").send().await, 403, "3"),
        (
            call("POST", "/v1/webhook-endpoints")
                .raw_json("{")
                .send()
                .await,
            400,
            "2",
        ),
        (
            call("GET", "/v1/events")
                .header("content-length", "9999999")
                .send()
                .await,
            413,
            "1",
        ),
        (
            call("POST", "/v1/events")
                .json(&link_expired("a"))
                .send()
                .await,
            202,
            "1",
        ),
        (
            call("POST", "/v1/events").raw_json("{").send().await,
            400,
            "1",
        ),
        (
            call("POST", "/v1/events/batch")
                .json(&json!({"events": [link_expired("b")]}))
                .send()
                .await,
            202,
            "1",
        ),
        (call("GET", "/v1/events").send().await, 200, "0"),
        (call("GET", "/v1/events").send().await, 429, "0"),
        (
            call("POST", "/v1/events")
                .json(&link_expired("c"))
                .send()
                .await,
            202,
            "0",
        ),
        (
            call("POST", "/v1/events/batch")
                .json(&json!({"events": [link_expired("d")]}))
                .send()
                .await,
            202,
            "0",
        ),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(told(&answer), ("6", remaining), "{status}");
        assert!(answer.header("x-ratelimit-reset").parse::<i64>().unwrap() > 1_700_000_000_000);
    }
    for _ in 0..20 {
        let operator = rig.call("GET", "/v1/teams").key(ADMIN).send().await;
        assert_eq!((operator.status.as_u16(), told(&operator)), (200, ("", "")));
    }
}
