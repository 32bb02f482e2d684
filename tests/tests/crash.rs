//! Nothing acknowledged is lost, however often the service is killed.
//!
//! `VK_CRASH_KILLS` says how often (20), `VK_CRASH_SEED` at which moments.

use std::time::Duration;

use anyhow::Result;
use vk_tests::{Random, Setup, Storm, assert_arrived, assert_kept, setting};

const KILLS: u64 = 20;
/// Where the moments of the kills come from.
const SEED: u64 = 0x5EED_2026;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_arrives_over_twenty_kills() -> Result<()> {
    let kills = setting("VK_CRASH_KILLS", KILLS)?;
    let seed = setting("VK_CRASH_SEED", SEED)?;
    println!("{kills} kills, seed {seed}");
    let setup = Setup::new()?;
    let inboxes = [setup.inbox().await?, setup.inbox().await?];
    let mut service = setup.start(&[]).await?;
    let mut team = service.team("acme").await?;
    let mut secrets = Vec::new();
    for inbox in &inboxes {
        secrets.push(team.endpoint(&inbox.url(), &[]).await?.secret);
    }
    let storm = Storm::begin(&team);
    let mut random = Random::new(seed);
    for _ in 0..kills {
        storm.progress(10).await;
        tokio::time::sleep(Duration::from_millis(random.any() % 500)).await;
        service.kill().await?;
        storm.down();
        service = setup.start(&[]).await?;
        team = team.moved_to(service.address());
        storm.up(&team);
    }
    let acknowledged = storm.end().await?;
    let (count, enough) = (acknowledged.len(), 10 * kills);
    assert!(count as u64 >= enough, "too few: {count}");
    println!("{count} events were acknowledged");
    assert_kept(&acknowledged, &service.operator_of("acme")).await?;
    for (inbox, secret) in inboxes.iter().zip(&secrets) {
        assert_arrived(&acknowledged, inbox, secret).await;
    }
    Ok(())
}
