//! Nothing acknowledged is lost, however often the service is killed.

use std::time::Duration;

use anyhow::Result;
use vk_tests::{Random, Setup, Storm, assert_arrived, assert_kept};

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
    let mut random = Random::new(SEED);
    for _ in 0..KILLS {
        storm.progress(10).await;
        tokio::time::sleep(Duration::from_millis(random.any() % 500)).await;
        service.kill().await?;
        storm.down();
        service = setup.start(&[]).await?;
        team = team.moved_to(service.address());
        storm.up(&team);
    }
    let acknowledged = storm.end().await?;
    assert!(acknowledged.len() >= 200, "too few: {}", acknowledged.len());
    assert_kept(&acknowledged, &service.operator_of("acme")).await?;
    for (inbox, secret) in inboxes.iter().zip(&secrets) {
        assert_arrived(&acknowledged, inbox, secret).await;
    }
    Ok(())
}
