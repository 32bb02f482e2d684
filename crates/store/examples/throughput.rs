//! How fast the store accepts and settles: `cargo run --release -p vk-store --example throughput`.
//!
//! 64 callers publish events of 300 bytes one by one, to 1 and to 10 endpoints each; a recorder
//! settles what was accepted in batches, as the engine would. Prints a line for each.

extern crate vk_store as store;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Timings};
use model::audit::Actor;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::retry::Verdict;
use model::time::Timestamp;
use store::{Acceptance, Keyring, Settlement, SqliteOptions, Store};
use tokio::sync::mpsc;

const CALLERS: usize = 64;
const FOR: Duration = Duration::from_secs(4);
const BATCH: usize = 1024;
/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

type Problem = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let folder = std::env::temp_dir().join(format!("vk-throughput-{}", std::process::id()));
    for endpoints in [1, 10] {
        measure(&folder, endpoints).await?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}

async fn measure(folder: &std::path::Path, endpoints: usize) -> Result<(), Problem> {
    let path = folder.join("store.db");
    let store = Store::open_sqlite(SqliteOptions { path }, Keyring::parse(SEALING_KEY)?).await?;
    let team = store
        .by(Actor::Operator)
        .create_team(None, "t".into(), "scale".into(), now())
        .await?
        .ok_or("no team")?
        .id;
    let mut ids = Vec::new();
    for _ in 0..endpoints {
        let secrets = Secrets::new(Secret::from_text("s"));
        let url = "https://r.example/".to_owned();
        let made = store
            .by(Actor::Operator)
            .create_endpoint(team, url, None, Subscription::All, secrets, 10, now())
            .await?;
        ids.push(made.id);
    }
    let before = store.stats();
    let started = Instant::now();
    let (sender, receiver) = mpsc::channel(64 * 1024);
    let recorder = tokio::spawn(record(store.clone(), receiver));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(publish(store.clone(), team, ids.clone(), sender.clone()));
    }
    drop(sender);
    let mut events = 0;
    while let Some(published) = callers.join_next().await {
        events += published??;
    }
    let settled = recorder.await??;
    let took = started.elapsed().as_secs_f64();
    let after = store.stats();
    println!(
        "{endpoints:2} endpoints: {:.0} events/s, {:.0} deliveries/s accepted and settled, \
         {:.0} commits/s, {:.0} units a commit, {} checkpoints, {settled} deliveries in {took:.1} s",
        f64::from(events) / took,
        settled as f64 / took,
        (after.commits - before.commits) as f64 / took,
        (after.units - before.units) as f64 / (after.commits - before.commits) as f64,
        after.checkpoints - before.checkpoints,
    );
    store.close().await;
    Ok(())
}

async fn publish(
    store: Store,
    team: TeamId,
    endpoints: Vec<EndpointId>,
    settle: mpsc::Sender<DeliveryId>,
) -> Result<u32, Problem> {
    let started = Instant::now();
    let event = NewEvent {
        event_type: "document.viewed".into(),
        body: Bytes::from(vec![b'x'; 300]),
    };
    let mut events = 0;
    while started.elapsed() < FOR {
        let acceptance = Acceptance {
            event: event.clone(),
            endpoints: endpoints.clone(),
            idempotency: None,
            due_at: now(),
            test: false,
        };
        let accepted = store.accept(team, vec![acceptance], now()).await?[0];
        for index in 0..accepted.deliveries {
            settle.send(accepted.delivery(index)).await?;
        }
        events += 1;
    }
    Ok(events)
}

async fn record(store: Store, mut due: mpsc::Receiver<DeliveryId>) -> Result<usize, Problem> {
    let mut settled = 0;
    let mut batch = Vec::with_capacity(BATCH);
    while due.recv_many(&mut batch, BATCH).await > 0 {
        let settlements = batch.drain(..).map(settlement).collect::<Vec<_>>();
        settled += settlements.len();
        store.settle(Arc::new(settlements), Arc::default()).await?;
    }
    Ok(settled)
}

fn settlement(delivery: DeliveryId) -> Settlement {
    let ended_at = now();
    Settlement {
        delivery,
        attempt: Attempt {
            number: 1,
            started_at: ended_at,
            duration_ms: 3,
            outcome: Outcome::Delivered,
            status_code: Some(200),
            reason: None,
            detail: None,
            remote_addr: Some([192, 0, 2, 7].into()),
            response_headers: vec![("content-length".into(), "2".into())],
            response_body: Some(Bytes::from_static(b"ok")),
            timings: Timings {
                first_byte_ms: Some(3),
                ..Timings::default()
            },
        },
        due_at: ended_at,
        verdict: Verdict::Delivered,
        ended_at,
    }
}
