//! A machine that has no local port left for a moment is this service's own trouble: deliveries wait and go on by
//! themselves, and no endpoint is blamed.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vk_tests::{Answer, Api, Inbox, Service, Setup, apart, eventually_within, member_removed};

const RECEIVERS: usize = 3;
const EVENTS: usize = 200;
const PORTS: u16 = 16;
/// Long enough for the ports of ended connections to be free again a few times over, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each connection is used for one request and leaves its port unusable for a while.
#[test]
fn sixteen_local_ports_are_enough_for_two_hundred_events() -> Result<()> {
    apart(async |space| {
        let setup = Setup::new()?;
        let (service, team, inboxes) = with_receivers(&setup, Duration::from_millis(20)).await?;
        space.ports().only(PORTS)?;
        let events = publish(&team).await?;
        arrived(&service, &team, &inboxes, &events).await
    })
}

/// The same with none at all: the ports there are belong to connections that stay.
#[test]
fn without_any_local_port_deliveries_wait_for_one() -> Result<()> {
    apart(async |space| {
        let setup = Setup::new()?;
        let (service, team, inboxes) = with_receivers(&setup, Duration::ZERO).await?;
        space.ports().only(1)?;
        let mut held = vec![];
        for inbox in &inboxes {
            held.push(tokio::net::TcpStream::connect(("127.0.0.1", inbox.port())).await?);
        }
        // Published on the only port that is left towards the service.
        let events = publish(&team).await?;
        // Longer than the whole schedule of retries, whose tries must not be spent on this.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let early: usize = inboxes.iter().map(Inbox::count).sum();
        ensure!(early == 0, "{early} requests found a port");
        drop(held);
        space.ports().usual()?;
        arrived(&service, &team, &inboxes, &events).await
    })
}

/// A service with short waits between retries, and receivers that end each connection with their answer.
async fn with_receivers(setup: &Setup, thinks: Duration) -> Result<(Service, Api, Vec<Inbox>)> {
    let schedule = ["--retry-schedule", "500ms,500ms,500ms,500ms,500ms"];
    let service = setup.start(&schedule).await?;
    let team = service.team("acme").await?;
    let mut inboxes = vec![];
    for _ in 0..RECEIVERS {
        let inbox = setup.inbox().await?;
        inbox.always(
            Answer::status(200)
                .with_header("connection", "close")
                .after(thinks),
        );
        team.endpoint(&inbox.url(), &[]).await?;
        inboxes.push(inbox);
    }
    Ok((service, team, inboxes))
}

/// Publishes the events in one request, which needs one port.
async fn publish(team: &Api) -> Result<Vec<String>> {
    let event = json!({"type": "team.member_removed", "data": member_removed()});
    let batch = json!({"events": vec![event; EVENTS]});
    let reply = team.call("POST", "/v1/events/batch", &batch, 202).await?;
    let events = reply.data().as_array().into_iter().flatten();
    let ids = events.filter_map(|event| event["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// Waits until all has arrived everywhere, and sees that no attempt was called a failure.
async fn arrived(
    service: &Service,
    team: &Api,
    inboxes: &[Inbox],
    events: &[String],
) -> Result<()> {
    ensure!(events.len() == EVENTS, "{} events", events.len());
    eventually_within(PATIENCE, "everything arrives", async || {
        let all = |inbox: &Inbox| distinct(inbox) == EVENTS;
        inboxes.iter().all(all).then_some(())
    })
    .await;
    eventually_within(PATIENCE, "everything is recorded", async || {
        team.owes_nothing().await.ok()?.then_some(())
    })
    .await;
    for endpoint in endpoints(team).await? {
        let (status, failures) = (&endpoint["status"], &endpoint["consecutiveFailures"]);
        ensure!(status == "healthy" && failures == 0, "{endpoint}");
    }
    let deliveries = team.deliveries("").await?;
    ensure!(
        deliveries.len() == EVENTS * inboxes.len(),
        "{} deliveries",
        deliveries.len()
    );
    for delivery in deliveries {
        ensure!(delivery["status"] == "delivered", "{delivery}");
        no_attempt_failed(team, &delivery).await?;
    }
    let log = service.log();
    ensure!(!log.contains("is unhealthy"), "{log}");
    ensure!(!log.contains("connection refused"), "{log}");
    Ok(())
}

/// Each try of a delivery was at a receiver that said 200: there is one, and no other is called a failure.
async fn no_attempt_failed(team: &Api, delivery: &Value) -> Result<()> {
    if delivery["attemptCount"] == 1 {
        return Ok(());
    }
    let id = delivery["id"].as_str().unwrap_or_default();
    let delivery = team.delivery(id).await?;
    let attempts = delivery["attempts"].as_array().into_iter().flatten();
    let reasons: Vec<&Value> = attempts.map(|attempt| &attempt["reason"]).collect();
    ensure!(
        reasons.iter().all(|reason| reason.is_null()),
        "attempts failed with {reasons:?}"
    );
    Ok(())
}

async fn endpoints(team: &Api) -> Result<Vec<Value>> {
    let reply = team.get("/v1/webhook-endpoints").await?;
    Ok(reply.data().as_array().cloned().unwrap_or_default())
}

/// How many different deliveries have arrived.
fn distinct(inbox: &Inbox) -> usize {
    let arrivals = inbox.arrivals();
    let ids: HashSet<&str> = arrivals
        .iter()
        .map(|arrival| arrival.header("x-vantagekit-delivery"))
        .collect();
    ids.len()
}
