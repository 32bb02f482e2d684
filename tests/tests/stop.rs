//! Asked to stop, the service ends in time and loses nothing, whatever it is doing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_tests::{
    Answer, Random, Setup, Storm, assert_arrived, assert_kept, eventually, eventually_within,
    member_removed, verify,
};

/// Where the moments of the stops come from.
const SEED: u64 = 0x5709_2026;

/// How often the service is asked to stop under load.
const STOPS: u64 = 50;
/// At how many of these, the last, attempts hang beside the others, until their time is up.
const HANGING: u64 = 3;
/// How long those take at least. An attempt in flight is let end, by the contract, at its deadline of 10 s: it began
/// as soon as the service was up, which is hardly a second before.
const GRACE_USED: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_under_load_it_ends_in_time_and_loses_nothing() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    // Long enough that each stop finds attempts in flight.
    inbox.always(Answer::status(200).after(Duration::from_millis(100)));
    let mut service = setup.start(&[]).await?;
    let mut team = service.team("acme").await?;
    let healthy = team.endpoint(&inbox.url(), &[]).await?;
    let hangs = setup.inbox().await?;
    hangs.always(Answer::Hang);
    let mut hanging = None;
    let storm = Storm::begin(&team);
    let mut random = Random::new(SEED);
    let mut slowest = Duration::ZERO;
    for stop in 0..STOPS {
        if stop == STOPS - HANGING {
            hanging = Some(team.endpoint(&hangs.url(), &[]).await?.id);
        }
        let hung = hangs.count();
        storm.progress(5).await;
        if hanging.is_some() {
            hangs.wait_for(hung + 1).await;
        }
        tokio::time::sleep(Duration::from_millis(random.any() % 200)).await;
        let asked = Instant::now();
        // Fails where it takes longer than the contract's 15 s, and a little.
        let (status, log) = service.terminate().await?;
        assert!(status.success(), "{log}");
        let took = asked.elapsed();
        slowest = slowest.max(took);
        if hanging.is_some() {
            assert!(took > GRACE_USED, "{took:?}");
        }
        storm.down();
        service = setup.start(&[]).await?;
        team = team.moved_to(service.address());
        storm.up(&team);
    }
    assert!(slowest < Duration::from_secs(15), "{slowest:?}");
    println!("figure: slowest of {STOPS} stops under load = {slowest:?}");
    let acknowledged = storm.end().await?;
    assert!(acknowledged.len() > 200, "too few: {}", acknowledged.len());
    assert_kept(&acknowledged, &service.operator_of("acme")).await?;
    assert_arrived(&acknowledged, &inbox, &healthy.secret).await;
    let operator = service.operator_of("acme");
    let hanging = hanging.context("some stops had attempts that hang")?;
    let path = format!("/v1/webhook-endpoints/{hanging}");
    operator
        .call("PATCH", &path, &json!({"paused": true}), 200)
        .await?;
    eventually_within(
        Duration::from_secs(15),
        "the last attempts that hang have ended",
        async || {
            let stranger = service.stranger();
            let in_flight = stranger.metric("vk_webhooks_attempts_in_flight").await;
            (in_flight.ok()? == 0.0).then_some(())
        },
    )
    .await;
    eventually("nothing is owed any more", async || {
        for status in ["pending", "retrying"] {
            let path = format!("/v1/deliveries?status={status}&per_page=1");
            let reply = operator.get(&path).await.ok()?;
            reply.data().as_array()?.is_empty().then_some(())?;
        }
        Some(())
    })
    .await;
    for event in acknowledged.values() {
        let deliveries = operator.deliveries_of(event).await?;
        let of_healthy: Vec<_> = deliveries
            .iter()
            .filter(|delivery| delivery["endpointId"] == healthy.id)
            .collect();
        assert_eq!(of_healthy.len(), 1, "{event}");
        assert_eq!(of_healthy[0]["status"], "delivered", "{event}");
    }
    // Those that hung at a stop were let end and are in the log, as every request is that their receiver saw.
    let hung = operator
        .deliveries(&format!("endpoint_id={hanging}"))
        .await?;
    let attempts: u64 = hung
        .iter()
        .filter_map(|delivery| delivery["attemptCount"].as_u64())
        .sum();
    let requests = hangs.count() as u64;
    assert!(
        requests <= attempts,
        "{requests} requests, {attempts} attempts"
    );
    Ok(())
}

/// With an attempt timeout longer than the time to stop, an attempt may outlast it, and so may a request of ours
/// whose body never ends.
#[tokio::test]
async fn what_outlasts_the_time_to_stop_is_cut_off_and_made_again() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    inbox.script([Answer::Hang]);
    let service = setup.start(&["--attempt-timeout", "60s"]).await?;
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&inbox.url(), &[]).await?;
    let event = team
        .publish("team.member_removed", &member_removed())
        .await?;
    inbox.wait_for(1).await;
    let mut client = TcpStream::connect(service.address()).await?;
    let key = team.key();
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    client.write_all(request.as_bytes()).await?;
    let asked = Instant::now();
    let (status, log) = service.terminate().await?;
    let took = asked.elapsed();
    assert!(status.success(), "{log}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    for says in [
        "attempts were still in flight when the time to stop was over",
        "some requests did not end in time",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    let service = setup.start(&[]).await?;
    let arrivals = inbox.wait_for(2).await;
    let operator = service.operator_of("acme");
    let delivery = eventually("the delivery is delivered", async || {
        let delivery = operator.deliveries_of(&event).await.ok()?.pop()?;
        (delivery["status"] == "delivered").then_some(delivery)
    })
    .await;
    // Nobody knows what came of the attempt that was cut off: it is not in the log.
    assert_eq!(delivery["attemptCount"], 1, "{delivery}");
    for arrival in &arrivals {
        verify(arrival, &endpoint.secret).map_err(anyhow::Error::msg)?;
        let id = arrival.headers.get("x-vantagekit-delivery");
        let id = id.context("a delivery's id")?.to_str()?;
        assert_eq!(delivery["id"], id);
    }
    assert_eq!(arrivals.len(), 2);
    Ok(())
}

/// A proxy in front learns from `/readyz` that the service stops, and meanwhile nobody is refused.
#[tokio::test]
async fn while_an_attempt_ends_everything_is_answered_and_readiness_is_not() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    inbox.script([Answer::Hang]);
    let service = setup.start(&["--attempt-timeout", "6s"]).await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    team.publish("team.member_removed", &member_removed())
        .await?;
    inbox.wait_for(1).await;
    let stranger = service.stranger();
    service.ask_to_stop()?;
    let asked = Instant::now();
    let mut accepted = Vec::new();
    while asked.elapsed() < Duration::from_secs(4) {
        let ready = stranger.send("GET", "/readyz", &[], "").await?;
        if ready.status == 503 || asked.elapsed() > Duration::from_secs(1) {
            assert_eq!((ready.status, ready.code()), (503, "unavailable"));
            assert_eq!(ready.headers["connection"], "close");
            assert_eq!(stranger.get("/healthz").await?.status, 200);
            let data = member_removed();
            accepted.push(team.publish("team.member_removed", &data).await?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(accepted.len() > 3, "{}", accepted.len());
    assert_eq!(inbox.count(), 1, "no attempt was started");
    let (status, log) = service.ended().await?;
    assert!(status.success(), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(15));
    let service = setup.start(&[]).await?;
    inbox.wait_for(1 + accepted.len()).await;
    let operator = service.operator_of("acme");
    for event in &accepted {
        eventually("what was accepted meanwhile is delivered", async || {
            let delivery = operator.deliveries_of(event).await.ok()?.pop()?;
            (delivery["status"] == "delivered").then_some(())
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn the_listener_stays_open_for_the_drain_delay() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&["--drain-delay", "3s"]).await?;
    let stranger = service.stranger();
    assert_eq!(stranger.get("/readyz").await?.status, 200);
    service.ask_to_stop()?;
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(2) {
        let alive = stranger.get("/healthz").await?;
        let stops = asked.elapsed() > Duration::from_secs(1);
        assert!(!stops || alive.headers["connection"] == "close");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ready = stranger.send("GET", "/readyz", &[], "").await?;
    assert_eq!(ready.status, 503);
    let (status, log) = service.ended().await?;
    assert!(status.success(), "{log}");
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
    Ok(())
}

/// Who has connected when the listener closes is served, and not reset.
#[tokio::test]
async fn who_waits_in_the_queue_is_served_before_the_end() -> Result<()> {
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let setup = Setup::new()?;
    let service = setup.start(&["--max-connections", "1"]).await?;
    let mut idle = TcpStream::connect(service.address()).await?;
    idle.write_all(REQUEST).await?;
    let mut beginning = [0; 12];
    idle.read_exact(&mut beginning).await?;
    assert_eq!(&beginning, b"HTTP/1.1 200");
    let mut queued = Vec::new();
    for _ in 0..8 {
        let mut client = TcpStream::connect(service.address()).await?;
        client.write_all(REQUEST).await?;
        queued.push(client);
    }
    service.ask_to_stop()?;
    for mut client in queued {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let (status, log) = service.ended().await?;
    assert!(status.success(), "{log}");
    Ok(())
}
