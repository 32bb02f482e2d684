//! Nothing acknowledged is lost, however often the service is killed.

use std::time::{Duration, Instant};

use anyhow::Result;
use vk_tests::{Dice, Setup, Storm, assert_arrived, assert_kept};

const KILLS: u64 = 20;
/// Where the moments of the kills come from.
const SEED: u64 = 0x5EED_2026;

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
    let storm = Storm::begin(&team);
    let mut dice = Dice(SEED);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(20 + dice.below(500))).await;
        service.kill().await?;
        storm.down();
        service = setup.start(&[]).await?;
        team = team.moved_to(service.address());
        storm.up(&team);
    }
    let acknowledged = storm.end().await?;
    assert!(acknowledged.len() > 200, "too few: {}", acknowledged.len());
    assert_kept(&acknowledged, &service.operator_of("acme")).await?;
    for (inbox, secret) in inboxes.iter().zip(&secrets) {
        assert_arrived(&acknowledged, inbox, secret).await;
    }
    Ok(())
}

/// How often the service is asked to stop under load.
const STOPS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_under_load_it_ends_in_time_and_loses_nothing() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    let mut service = setup.start(&[]).await?;
    let mut team = service.team("acme").await?;
    let secret = team.endpoint(&inbox.url(), &[]).await?.secret;
    let storm = Storm::begin(&team);
    let mut dice = Dice(SEED);
    let mut slowest = Duration::ZERO;
    for _ in 0..STOPS {
        tokio::time::sleep(Duration::from_millis(20 + dice.below(200))).await;
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
    Ok(())
}
