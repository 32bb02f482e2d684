//! A publisher whose connection breaks cannot know whether its event was accepted: it sends it again
//! under the same idempotency key, and there is exactly one, which is delivered once.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_tests::{Api, OPERATOR_KEY, Random, Setup, eventually_within};

const EVENTS: u64 = 1000;
const PUBLISHERS: u64 = 20;
/// Where the moments of the cuts come from.
const SEED: u64 = 0x0C07_2026;

fn request(number: u64) -> String {
    let data = json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
        "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac", "email": "a@example.com", "number": number});
    let body = json!({"type": "team.member_removed", "data": data}).to_string();
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {OPERATOR_KEY}\r\n\
         x-vantagekit-team: acme\r\nidempotency-key: event-{number}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// When a connection is broken.
enum Cut {
    /// So many microseconds after the request was sent, whatever came of it.
    After(u64),
    /// Once the answer is there to be read, so that the event is committed; it is not read.
    Answered,
}

/// Sends it, and breaks the connection.
async fn send_and_cut(service: SocketAddr, number: u64, cut: Cut) -> Result<()> {
    let mut connection = TcpStream::connect(service).await?;
    connection.write_all(request(number).as_bytes()).await?;
    match cut {
        Cut::After(micros) => tokio::time::sleep(Duration::from_micros(micros)).await,
        Cut::Answered => {
            let mut beginning = [0; 12];
            let seen = connection.peek(&mut beginning).await?;
            ensure!(beginning[..seen].starts_with(b"HTTP/1.1 202"));
        }
    }
    // A reset, not a farewell.
    connection.set_zero_linger()?;
    Ok(())
}

/// Sends it and reads the answer: the event's id.
async fn send(service: SocketAddr, number: u64) -> Result<String> {
    let mut connection = TcpStream::connect(service).await?;
    connection.write_all(request(number).as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    ensure!(head.starts_with("HTTP/1.1 202"), "{answer}");
    let body: Value = serde_json::from_str(body)?;
    Ok(body["data"]["id"].as_str().context("an id")?.to_owned())
}

/// How many events there are.
async fn total(operator: &Api) -> Result<u64> {
    let events = operator.call("GET", "/v1/events?per_page=1", &Value::Null, 200);
    let total = &events.await?.json["meta"]["pagination"]["total"];
    total.as_u64().context("a total")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_sent_again_after_its_connection_broke_is_there_once() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    let address = service.address();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            tokio::spawn(async move {
                let mut random = Random::new(SEED + publisher);
                let mut ids = Vec::new();
                for number in (publisher..EVENTS).step_by(PUBLISHERS as usize) {
                    // Once or twice in vain: before it is read, while it is written, after it is.
                    for _ in 0..=(random.any() % 2) {
                        let after = random.any() % 12_000;
                        send_and_cut(address, number, Cut::After(after)).await?;
                    }
                    // And once when it is certain that it is kept already.
                    send_and_cut(address, number, Cut::Answered).await?;
                    ids.push(send(address, number).await?);
                }
                anyhow::Ok(ids)
            })
        })
        .collect();
    let mut ids = HashSet::new();
    for publisher in publishers {
        ids.extend(publisher.await??);
    }
    assert_eq!(ids.len() as u64, EVENTS, "two events have one id");
    let operator = service.operator_of("acme");
    assert_eq!(total(&operator).await?, EVENTS, "some are there twice");
    eventually_within(Duration::from_secs(60), "all are delivered", async || {
        let open = ["pending", "retrying"].map(|status| format!("status={status}"));
        for filter in open {
            let deliveries = operator.deliveries(&filter).await.ok()?;
            deliveries.is_empty().then_some(())?;
        }
        Some(())
    })
    .await;
    let mut arrived: HashMap<u64, usize> = HashMap::new();
    for arrival in inbox.arrivals() {
        let body: Value = serde_json::from_slice(&arrival.body)?;
        let number = body["data"]["number"].as_u64().context("a number")?;
        *arrived.entry(number).or_default() += 1;
    }
    assert_eq!(arrived.len() as u64, EVENTS, "some did not arrive");
    let twice: Vec<_> = arrived.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "delivered more than once: {twice:?}");
    Ok(())
}
