//! Asked to stop, the service ends in time and loses nothing, whatever it is doing.

use std::time::{Duration, Instant};

use anyhow::Result;
use vk_tests::{Answer, Random, Setup, Storm, assert_arrived, assert_kept, eventually};

/// Where the moments of the stops come from.
const SEED: u64 = 0x5709_2026;

/// How often the service is asked to stop under load.
const STOPS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_under_load_it_ends_in_time_and_loses_nothing() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    // Long enough that each stop finds attempts in flight.
    inbox.always(Answer::status(200).after(Duration::from_millis(100)));
    let mut service = setup.start(&[]).await?;
    let mut team = service.team("acme").await?;
    let secret = team.endpoint(&inbox.url(), &[]).await?.secret;
    let storm = Storm::begin(&team);
    let mut random = Random::new(SEED);
    let mut slowest = Duration::ZERO;
    for _ in 0..STOPS {
        storm.progress(5).await;
        tokio::time::sleep(Duration::from_millis(random.any() % 200)).await;
        let asked = Instant::now();
        // Fails where it takes longer than the contract's 15 s, and a little.
        let (status, log) = service.terminate().await?;
        assert!(status.success(), "{log}");
        slowest = slowest.max(asked.elapsed());
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
    assert_arrived(&acknowledged, &inbox, &secret).await;
    let operator = service.operator_of("acme");
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
        assert_eq!(deliveries.len(), 1, "{event}");
        assert_eq!(deliveries[0]["status"], "delivered", "{event}");
    }
    Ok(())
}
