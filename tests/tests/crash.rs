//! Nothing acknowledged is lost, however often the service is killed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use vk_tests::{Api, Setup, eventually_within, verify};

const KILLS: u64 = 20;
const PUBLISHERS: u64 = 4;
/// Where the moments of the kills come from: the same in every run.
const SEED: u64 = 0x5EED_2026;

/// A small generator of numbers that look random (SplitMix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Publishes one after the other to whichever service is up, until told to stop.
async fn publish_on(
    up: Arc<Mutex<Option<Api>>>,
    stop: Arc<AtomicBool>,
    numbers: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<HashSet<u64>>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let api = up.lock().expect("no publisher panics").clone();
        let Some(api) = api else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let data = json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
            "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac",
            "email": "a@example.com", "number": number});
        // Whatever goes wrong while it is killed was not acknowledged.
        if api.publish("team.member_removed", &data).await.is_ok() {
            acknowledged
                .lock()
                .expect("no publisher panics")
                .insert(number);
        }
    }
}

fn number_of(body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["data"]["number"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_arrives_over_twenty_kills() -> Result<()> {
    let setup = Setup::new()?;
    let inboxes = [setup.inbox().await?, setup.inbox().await?];
    let mut service = setup.start(&[]).await?;
    let mut team = service.team("acme").await?;
    let mut secrets = Vec::new();
    for inbox in &inboxes {
        secrets.push(team.endpoint(&inbox.url(), &[]).await?.secret);
    }

    let up = Arc::new(Mutex::new(Some(team.clone())));
    let stop = Arc::new(AtomicBool::new(false));
    let (numbers, acknowledged) = (Arc::default(), Arc::<Mutex<HashSet<u64>>>::default());
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            let (up, stop) = (Arc::clone(&up), Arc::clone(&stop));
            let numbers = Arc::clone(&numbers);
            tokio::spawn(publish_on(up, stop, numbers, Arc::clone(&acknowledged)))
        })
        .collect();
    let mut random = SEED;
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(20 + next(&mut random) % 500)).await;
        service.kill().await?;
        *up.lock().expect("no publisher panics") = None;
        service = setup.start(&[]).await?;
        team = team.moved_to(service.address());
        *up.lock().expect("no publisher panics") = Some(team.clone());
    }
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await?;
    }

    let acknowledged = acknowledged.lock().expect("no publisher panics").clone();
    assert!(
        acknowledged.len() > 200,
        "too few to tell: {}",
        acknowledged.len()
    );
    for (inbox, secret) in inboxes.iter().zip(&secrets) {
        let missing = || {
            let arrived: HashSet<u64> = inbox
                .arrivals()
                .iter()
                .filter_map(|arrival| number_of(&arrival.body))
                .collect();
            acknowledged.difference(&arrived).count()
        };
        let most = Duration::from_secs(40);
        eventually_within(most, "everything acknowledged arrives", async || {
            (missing() == 0).then_some(())
        })
        .await;
        for arrival in inbox.arrivals() {
            verify(&arrival, secret).unwrap();
        }
    }
    // What arrived twice came under the same id: one event, one delivery.
    for inbox in &inboxes {
        let mut ids = std::collections::HashMap::new();
        for arrival in inbox.arrivals() {
            let id = arrival.header("x-vantagekit-delivery").to_owned();
            let number = number_of(&arrival.body);
            assert_eq!(
                *ids.entry(number).or_insert_with(|| id.clone()),
                id,
                "{number:?}"
            );
        }
    }
    Ok(())
}
