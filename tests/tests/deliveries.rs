//! Part A of the contract through the real binary and real TLS: what a receiver sees, and what
//! becomes of each of its answers.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use vk_tests::{
    Answer, Arrival, Endpoint, Inbox, QUERY, Service, Setup, eventually, member_removed,
    unix_seconds, verify,
};

/// A schedule that a test can wait for.
const QUICK: [&str; 2] = ["--retry-schedule", "100ms,100ms,100ms,100ms,100ms"];

struct Rig {
    _setup: Setup,
    _service: Service,
    team: vk_tests::Api,
    inbox: Inbox,
    endpoint: Endpoint,
}

async fn rig(options: &[&str]) -> Result<Rig> {
    let setup = Setup::new()?;
    let service = setup.start(options).await?;
    let team = service.team("acme").await?;
    let inbox = setup.inbox().await?;
    let endpoint = team.endpoint(&inbox.url(), &[]).await?;
    Ok(Rig {
        _setup: setup,
        _service: service,
        team,
        inbox,
        endpoint,
    })
}

impl Rig {
    async fn publish(&self) -> Result<String> {
        self.team
            .publish("team.member_removed", &member_removed())
            .await
    }

    /// The one delivery of an event, once it has this status.
    async fn settled(&self, event: &str, status: &str) -> Result<Value> {
        let what = format!("{event} is {status}");
        let id = eventually(&what, async || {
            let all = self.team.deliveries_of(event).await.ok()?;
            let found = all
                .first()
                .filter(|delivery| delivery["status"] == status)?;
            found["id"].as_str().map(str::to_owned)
        })
        .await;
        self.team.delivery(&id).await
    }

    async fn endpoint_now(&self) -> Result<Value> {
        let path = format!("/v1/webhook-endpoints/{}", self.endpoint.id);
        Ok(self.team.get(&path).await?.data().clone())
    }

    async fn patch(&self, change: Value) -> Result<Value> {
        let path = format!("/v1/webhook-endpoints/{}", self.endpoint.id);
        Ok(self
            .team
            .call("PATCH", &path, &change, 200)
            .await?
            .data()
            .clone())
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[tokio::test]
async fn every_header_both_signatures_and_the_published_bytes_arrive() -> Result<()> {
    let rig = rig(&[]).await?;
    // Order, spaces, number spellings and escapes that a re-serialisation would not survive.
    let data = r#"{ "memberId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ac",  "n": 1.50e+2, "big": 12345678901234567890123,
        "email":"\u0061@example.com","teamId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ab" }"#;
    let body = format!(r#"{{"data":{data},"type":"team.member_removed"}}"#);
    let reply = rig.team.send("POST", "/v1/events", &[], body).await?;
    assert_eq!(reply.status, 202, "{}", reply.json);
    assert_eq!(reply.data()["deliveries"], 1);

    let arrival = rig.inbox.wait_for(1).await.remove(0);
    assert_eq!(arrival.method, "POST");
    assert_eq!(arrival.path, format!("/hooks?{QUERY}"));
    assert_eq!(
        std::str::from_utf8(&arrival.body)?,
        format!(r#"{{"type":"team.member_removed","data":{data}}}"#)
    );
    assert_eq!(arrival.header("content-type"), "application/json");
    assert_eq!(arrival.header("user-agent"), "VantageKit-Webhooks/1.0");
    assert_eq!(arrival.header("x-vantagekit-event"), "team.member_removed");
    let delivery = arrival.header("x-vantagekit-delivery");
    assert!(is_uuid(delivery), "{delivery}");
    assert_eq!(arrival.header("webhook-id"), delivery);
    let sent: i64 = arrival.header("x-vantagekit-timestamp").parse()?;
    assert!((unix_seconds(&arrival) - sent).abs() <= 2, "{sent}");
    assert_eq!(arrival.header("webhook-timestamp"), sent.to_string());
    assert!(
        arrival
            .header("x-vantagekit-signature")
            .starts_with("sha256=")
    );
    assert!(arrival.header("webhook-signature").starts_with("v1,"));
    assert_eq!(arrival.header("x-vantagekit-signature-next"), "");
    verify(&arrival, &rig.endpoint.secret).unwrap();
    verify(
        &arrival,
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    )
    .unwrap_err();

    let event = reply.data()["id"].as_str().unwrap_or_default().to_owned();
    let recorded = rig.settled(&event, "delivered").await?;
    assert_eq!(recorded["id"], delivery);
    assert_eq!(recorded["attempts"][0]["statusCode"], 200);
    assert_eq!(recorded["attempts"][0]["outcome"], "delivered");
    Ok(())
}

#[tokio::test]
async fn every_type_of_the_catalog_arrives_with_its_example() -> Result<()> {
    let rig = rig(&[]).await?;
    let types = rig.team.get("/v1/event-types?per_page=100").await?;
    let types = types.data().as_array().unwrap();
    assert_eq!(types.len(), 21);
    for event_type in types {
        let name = event_type["name"].as_str().unwrap();
        rig.team.publish(name, &event_type["example"]).await?;
    }
    let arrivals = rig.inbox.wait_for(21).await;
    for event_type in types {
        let name = event_type["name"].as_str().unwrap();
        let arrival = arrivals
            .iter()
            .find(|arrival| arrival.header("x-vantagekit-event") == name)
            .unwrap_or_else(|| panic!("{name} did not arrive"));
        let body: Value = serde_json::from_slice(&arrival.body)?;
        assert_eq!(body, json!({"type": name, "data": event_type["example"]}));
        verify(arrival, &rig.endpoint.secret).unwrap();
    }
    Ok(())
}

/// The contract's schedule by the real clock. An attempt may be late by a quarter of its wait, over which
/// retries are spread, and by what a loaded machine needs, never early by more than the clocks' rounding.
#[tokio::test]
async fn the_retry_schedule_holds_for_real_and_ends_in_the_dead_letter_queue() -> Result<()> {
    const LATE: Duration = Duration::from_millis(900);
    const EARLY: Duration = Duration::from_millis(20);
    let rig = rig(&[]).await?;
    rig.inbox.always(Answer::status(503));
    let event = rig.publish().await?;
    let arrivals =
        vk_tests::eventually_within(Duration::from_secs(60), "six attempts", async || {
            (rig.inbox.count() >= 6).then(|| rig.inbox.arrivals())
        })
        .await;
    for (wait, pair) in [1, 2, 4, 8, 16]
        .map(Duration::from_secs)
        .iter()
        .zip(arrivals.windows(2))
    {
        let gap = pair[1].at.duration_since(pair[0].at)?;
        assert!(
            gap + EARLY >= *wait && gap <= *wait + *wait / 4 + LATE,
            "waited {gap:?} instead of {wait:?}"
        );
    }
    let dead = rig.settled(&event, "dead_letter").await?;
    assert_eq!(dead["attemptCount"], 6);
    assert_eq!(dead["nextAttemptAt"], Value::Null);
    assert_eq!(rig.inbox.count(), 6, "no seventh attempt");

    let id = arrivals[0].header("x-vantagekit-delivery");
    let mut timestamps = Vec::new();
    for arrival in &arrivals {
        assert_eq!(
            arrival.header("x-vantagekit-delivery"),
            id,
            "one id on every retry"
        );
        timestamps.push(arrival.header("x-vantagekit-timestamp"));
        verify(arrival, &rig.endpoint.secret).unwrap();
    }
    timestamps.dedup();
    assert_eq!(timestamps.len(), 6, "a new timestamp for every attempt");
    Ok(())
}

#[tokio::test]
async fn each_answer_has_its_outcome() -> Result<()> {
    let rig = rig(&["--retry-schedule", "50ms", "--attempt-timeout", "1s"]).await?;
    let retried = |answer: Answer, reason: &'static str| (answer, "retry", reason);
    let final_ = |status| (Answer::status(status), "permanent_failure", "http_status");
    let location = || Answer::status(302).with_header("location", "/elsewhere");
    for (answer, outcome, reason) in [
        final_(400),
        final_(401),
        final_(404),
        final_(410),
        final_(422),
        final_(499),
        retried(
            Answer::status(429).with_header("retry-after", "3600"),
            "http_status",
        ),
        retried(Answer::status(500), "http_status"),
        retried(
            Answer::status(503).with_header("retry-after", "3600"),
            "http_status",
        ),
        retried(Answer::status(599), "http_status"),
        retried(Answer::status(700), "http_status"),
        retried(location(), "redirect"),
        retried(Answer::status(304), "redirect"),
        retried(Answer::Hang, "response_timeout"),
        retried(
            Answer::status(200).after(Duration::from_secs(3)),
            "response_timeout",
        ),
        retried(Answer::StallBody, "body_timeout"),
        retried(Answer::CutBody, "body_incomplete"),
        retried(Answer::Close, "connection_closed"),
    ] {
        let told = format!("{answer:?}");
        let before = rig.inbox.count();
        rig.inbox.always(answer);
        let event = rig.publish().await?;
        let dead = rig.settled(&event, "dead_letter").await?;
        let attempts = dead["attempts"].as_array().unwrap();
        let expected = if outcome == "retry" { 2 } else { 1 };
        assert_eq!(attempts.len(), expected, "{told}: {dead}");
        assert_eq!(attempts[0]["outcome"], outcome, "{told}: {dead}");
        assert_eq!(attempts[0]["reason"], reason, "{told}: {dead}");
        assert!(attempts[0]["detail"].is_string(), "{told}: {dead}");
        let paths: Vec<String> = rig.inbox.arrivals()[before..]
            .iter()
            .map(|arrival| arrival.path.clone())
            .collect();
        assert!(
            paths.iter().all(|path| path.starts_with("/hooks?")),
            "a redirect was followed: {paths:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn any_2xx_delivers_and_a_long_answer_is_cut_not_failed() -> Result<()> {
    let rig = rig(&[]).await?;
    for status in [200, 201, 202, 204, 299] {
        rig.inbox.always(Answer::status(status));
        let event = rig.publish().await?;
        let delivered = rig.settled(&event, "delivered").await?;
        assert_eq!(delivered["attempts"][0]["statusCode"], status);
        assert_eq!(delivered["attemptCount"], 1);
    }
    rig.inbox
        .always(Answer::status(200).with_body(vec![b'x'; 1 << 20]));
    let event = rig.publish().await?;
    let delivered = rig.settled(&event, "delivered").await?;
    let kept = delivered["attempts"][0]["responseBody"].as_str().unwrap();
    assert_eq!(kept.len(), 16 * 1024);
    Ok(())
}

#[tokio::test]
async fn an_endpoint_nobody_listens_at_or_with_a_strangers_certificate_is_retried() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&["--retry-schedule", "50ms"]).await?;
    let team = service.team("acme").await?;
    let stranger = Inbox::open(&vk_tests::Authority::new()?).await?;
    let gone = setup.inbox().await?;
    let gone_url = gone.url();
    drop(gone);
    for (url, reason) in [
        (stranger.url(), "tls_certificate"),
        (gone_url, "connection_refused"),
    ] {
        let endpoint = team.endpoint(&url, &["team.member_removed"]).await?;
        let event = team
            .publish("team.member_removed", &member_removed())
            .await?;
        let dead = eventually(&format!("{reason} ends as a dead letter"), async || {
            let path = format!(
                "/v1/deliveries?endpoint_id={}&event_id={event}",
                endpoint.id
            );
            let reply = team.get(&path).await.ok()?;
            let delivery = &reply.data()[0];
            (delivery["status"] == "dead_letter").then(|| delivery["id"].clone())
        })
        .await;
        let dead = team.delivery(dead.as_str().unwrap()).await?;
        assert_eq!(dead["attempts"][0]["reason"], reason, "{dead}");
        assert_eq!(dead["attemptCount"], 2);
        let path = format!("/v1/webhook-endpoints/{}", endpoint.id);
        team.call("DELETE", &path, &Value::Null, 204).await?;
    }
    assert_eq!(stranger.count(), 0);
    Ok(())
}

#[tokio::test]
async fn five_failures_make_an_endpoint_unhealthy_and_one_success_heals_it() -> Result<()> {
    let rig = rig(&QUICK).await?;
    assert_eq!(rig.endpoint_now().await?["status"], "healthy");
    rig.inbox.script((0..4).map(|_| Answer::status(500)));
    let event = rig.publish().await?;
    rig.settled(&event, "delivered").await?;
    let four = rig.endpoint_now().await?;
    assert_eq!(four["status"], "healthy");
    assert_eq!(four["consecutiveFailures"], 0);

    rig.inbox.always(Answer::status(500));
    let event = rig.publish().await?;
    rig.settled(&event, "dead_letter").await?;
    let six = rig.endpoint_now().await?;
    assert_eq!(six["status"], "unhealthy");
    assert_eq!(six["consecutiveFailures"], 6);

    rig.inbox.always(Answer::status(200));
    let event = rig.publish().await?;
    rig.settled(&event, "delivered").await?;
    eventually("healthy again", async || {
        let endpoint = rig.endpoint_now().await.ok()?;
        (endpoint["status"] == "healthy" && endpoint["consecutiveFailures"] == 0).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn redelivery_keeps_the_id_and_starts_a_fresh_schedule() -> Result<()> {
    let rig = rig(&QUICK).await?;
    rig.inbox.always(Answer::status(400));
    let event = rig.publish().await?;
    let dead = rig.settled(&event, "dead_letter").await?;
    let id = dead["id"].as_str().unwrap();
    rig.inbox.script([Answer::status(500)]);
    let retry = format!("/v1/deliveries/{id}/retry");
    rig.team.call("POST", &retry, &Value::Null, 202).await?;
    let delivered = rig.settled(&event, "delivered").await?;
    assert_eq!(delivered["attemptCount"], 3);
    let numbers: Vec<_> = delivered["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    for arrival in rig.inbox.arrivals() {
        assert_eq!(arrival.header("x-vantagekit-delivery"), id);
    }

    // A delivered one may be sent again too, and a range of dead letters at once.
    rig.team.call("POST", &retry, &Value::Null, 202).await?;
    rig.inbox.wait_for(4).await;
    rig.inbox.always(Answer::status(404));
    let first = rig.publish().await?;
    let second = rig.publish().await?;
    rig.settled(&first, "dead_letter").await?;
    rig.settled(&second, "dead_letter").await?;
    rig.inbox.always(Answer::status(200));
    let path = format!("/v1/webhook-endpoints/{}/retry", rig.endpoint.id);
    let all = rig
        .team
        .call("POST", &path, &json!({"status": "dead_letter"}), 202)
        .await?;
    assert_eq!(all.data()["retried"], 2);
    rig.settled(&first, "delivered").await?;
    rig.settled(&second, "delivered").await?;
    Ok(())
}

#[tokio::test]
async fn a_rotation_signs_with_both_secrets_until_the_old_one_expires() -> Result<()> {
    let rig = rig(&[]).await?;
    let path = format!("/v1/webhook-endpoints/{}/rotate-secret", rig.endpoint.id);
    let overlap = json!({"expireOldAfterSeconds": 3600});
    let rotated = rig.team.call("POST", &path, &overlap, 200).await?;
    let new = rotated.data()["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, rig.endpoint.secret);
    rig.publish().await?;
    let arrival = rig.inbox.wait_for(1).await.remove(0);
    assert!(
        arrival
            .header("x-vantagekit-signature-next")
            .starts_with("sha256=")
    );
    assert_eq!(arrival.header("webhook-signature").split(' ').count(), 2);
    verify(&arrival, &rig.endpoint.secret).unwrap();
    verify(&arrival, &new).unwrap();
    // The first header is the old secret's: a receiver that knows no rotation keeps verifying.
    let mut bare = arrival.clone();
    bare.headers.remove("x-vantagekit-signature-next");
    assert!(verify(&bare, &rig.endpoint.secret).is_ok());
    assert!(verify(&bare, &new).is_err());

    let at_once = json!({"expireOldAfterSeconds": 0});
    let rotated = rig.team.call("POST", &path, &at_once, 200).await?;
    let newest = rotated.data()["secret"].as_str().unwrap().to_owned();
    rig.publish().await?;
    let arrival = rig.inbox.wait_for(2).await.remove(1);
    assert_eq!(arrival.header("x-vantagekit-signature-next"), "");
    verify(&arrival, &newest).unwrap();
    assert!(verify(&arrival, &rig.endpoint.secret).is_err());
    Ok(())
}

#[tokio::test]
async fn paused_holds_disabled_makes_none_and_deletion_cancels() -> Result<()> {
    let wait = Duration::from_secs(2);
    let rig = rig(&["--retry-schedule", "2s,30s"]).await?;
    assert_eq!(
        rig.patch(json!({"paused": true})).await?["status"],
        "paused"
    );
    let held = [rig.publish().await?, rig.publish().await?];
    for event in &held {
        rig.settled(event, "held").await?;
    }
    assert_eq!(rig.inbox.count(), 0, "nothing is sent while paused");
    assert_eq!(
        rig.patch(json!({"paused": false})).await?["status"],
        "healthy"
    );
    for event in &held {
        rig.settled(event, "delivered").await?;
    }
    rig.inbox.wait_for(2).await;

    assert_eq!(
        rig.patch(json!({"disabled": true})).await?["status"],
        "disabled"
    );
    let none = rig.publish().await?;
    assert!(
        rig.team.deliveries_of(&none).await?.is_empty(),
        "none is made while disabled"
    );
    assert_eq!(
        rig.patch(json!({"disabled": false})).await?["status"],
        "healthy"
    );

    rig.inbox.always(Answer::status(500));
    let owed = rig.publish().await?;
    rig.settled(&owed, "retrying").await?;
    rig.patch(json!({"disabled": true})).await?;
    rig.settled(&owed, "held").await?;
    tokio::time::sleep(wait + Duration::from_secs(1)).await;
    assert_eq!(rig.inbox.count(), 3, "no retry is made while disabled");
    rig.patch(json!({"disabled": false})).await?;
    let again = rig.inbox.wait_for(4).await.remove(3);
    let retrying = eventually("the second attempt is recorded", async || {
        let delivery = rig.settled(&owed, "retrying").await.ok()?;
        (delivery["attemptCount"] == 2).then_some(delivery)
    })
    .await;
    assert_eq!(again.header("x-vantagekit-delivery"), retrying["id"]);

    let path = format!("/v1/webhook-endpoints/{}", rig.endpoint.id);
    rig.team.call("DELETE", &path, &Value::Null, 204).await?;
    rig.settled(&owed, "canceled").await?;
    assert_eq!(rig.team.send("GET", &path, &[], "").await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_test_event_reaches_one_endpoint_whatever_it_subscribes_to() -> Result<()> {
    let rig = rig(&[]).await?;
    rig.patch(json!({"eventTypes": ["link.created"]})).await?;
    let path = format!("/v1/webhook-endpoints/{}/test", rig.endpoint.id);
    let sent = rig
        .team
        .call("POST", &path, &json!({"type": "agreement.signed"}), 202)
        .await?;
    let arrival: Arrival = rig.inbox.wait_for(1).await.remove(0);
    assert_eq!(arrival.header("x-vantagekit-event"), "agreement.signed");
    assert_eq!(
        arrival.header("x-vantagekit-delivery"),
        sent.data()["deliveryId"]
    );
    verify(&arrival, &rig.endpoint.secret).unwrap();
    let other = rig.publish().await?;
    assert!(
        rig.team.deliveries_of(&other).await?.is_empty(),
        "not subscribed"
    );
    Ok(())
}

#[tokio::test]
async fn without_allow_cidr_internal_addresses_are_refused_at_creation() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start_strict(&[]).await?;
    let team = service.team("acme").await?;
    for url in [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://0x7f.1/",
        "http://example.com/",
        "https://user:secret@example.com/",
    ] {
        let body = json!({"url": url}).to_string();
        let reply = team
            .send("POST", "/v1/webhook-endpoints", &[], body)
            .await?;
        assert_eq!(
            (reply.status, reply.code()),
            (422, "invalid_url"),
            "{url}: {}",
            reply.json
        );
    }
    let warned = service.log().contains("allow_cidr");
    assert!(!warned, "nothing is loosened: {}", service.log());
    Ok(())
}

#[tokio::test]
async fn what_loosens_the_rules_is_logged_as_a_warning() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup
        .start(&["--allow-http", "--dns-server", "127.0.0.1:53"])
        .await?;
    let log = service.log();
    for key in ["--allow-cidr", "--allow-http", "--ca-file", "--dns-server"] {
        let warned = log
            .lines()
            .any(|line| line.contains("WARN") && line.contains(key));
        assert!(warned, "{key} is not warned of: {log}");
    }
    Ok(())
}

/// A receiver that takes fifty a second, and says 429 beyond, gets many at once.
#[tokio::test]
async fn a_batch_that_is_too_much_at_once_arrives_at_the_receiver_s_own_pace() -> Result<()> {
    const EVENTS: usize = 200;
    let rig = rig(&[]).await?;
    rig.inbox.limit(50, 5);
    let event = json!({"type": "team.member_removed", "data": member_removed()});
    let batch = json!({"events": vec![event; EVENTS]});
    let began = Instant::now();
    rig.team
        .call("POST", "/v1/events/batch", &batch, 202)
        .await?;
    // Four seconds where the machine keeps up; most of a wave sent again and again would be dead letters by now.
    let most = Duration::from_secs(60);
    vk_tests::eventually_within(most, "all of the batch", async || {
        (rig.inbox.taken() >= EVENTS).then_some(())
    })
    .await;
    let (took, requests) = (began.elapsed(), rig.inbox.count());
    println!("{EVENTS} events took {took:?} and {requests} requests");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(requests < 2 * EVENTS, "{requests} requests");
    assert_eq!(rig.team.deliveries("status=dead_letter").await?.len(), 0);
    Ok(())
}
