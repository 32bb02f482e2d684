//! Nothing acknowledged is lost where the power is cut: where whatever was not synced is gone, or is there
//! in part and out of order.
//!
//! `VK_POWER_CUTS` says how often (8), `VK_POWER_SEED` at which moments.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vk_tests::{
    Inbox, Random, Service, Setup, Start, Storm, TempDir, assert_arrived, assert_kept, compile,
    setting,
};

const CUTS: u64 = 8;
/// Where the moments of the cuts come from.
const SEED: u64 = 0x0FF_2026;
/// The store's files that outlive a cut. The third, `-shm`, is memory.
const FILES: [&str; 2] = ["store.db", "store.db-wal"];

/// A service on a disk whose power can be cut (power/disk.c).
struct Machine {
    setup: Setup,
    shadows: TempDir,
    disk: PathBuf,
    /// What else the disk does.
    habits: Vec<(&'static str, &'static str)>,
    /// At how many cuts something was lost that had been written.
    losses: u32,
}

impl Machine {
    fn new(habits: &[(&'static str, &'static str)]) -> Result<Self> {
        let shadows = TempDir::new()?;
        let disk = compile("power/disk.c", shadows.path())?;
        Ok(Self {
            setup: Setup::new()?,
            shadows,
            disk,
            habits: habits.to_vec(),
            losses: 0,
        })
    }

    async fn start(&self) -> Result<Service> {
        let disk = self.disk.display().to_string();
        let shadows = self.shadows.path().display().to_string();
        let mut environment = vec![("LD_PRELOAD", disk.as_str()), ("POWER_SHADOWS", &shadows)];
        environment.extend(self.habits.iter().copied());
        let start = Start {
            environment: &environment,
            ..Start::default()
        };
        self.setup.start_as(start, &[]).await
    }

    /// Whether the write-ahead log was once copied into the database, which is nearly empty before.
    fn has_copied_its_log(&self) -> Result<bool> {
        let database = self.setup.folder.path().join("store.db");
        Ok(database.metadata()?.len() > 1 << 20)
    }

    /// Ends the service, and leaves of its files what was on the disk.
    async fn cut(&mut self, service: Service) -> Result<()> {
        service.kill().await?;
        for name in FILES {
            let file = self.setup.folder.path().join(name);
            let shadow = self.shadows.path().join(name);
            let kept = std::fs::read(&shadow).unwrap_or_default();
            self.losses += u32::from(std::fs::read(&file).unwrap_or_default() != kept);
            std::fs::write(&file, kept)?;
        }
        let memory = self.setup.folder.path().join("store.db-shm");
        if memory.exists() {
            std::fs::remove_file(memory)?;
        }
        Ok(())
    }
}

/// Publishes over cuts; the acknowledged events, and the last service.
async fn live_through_cuts(
    machine: &mut Machine,
    inbox: &Inbox,
    padding: usize,
) -> Result<(HashMap<u64, String>, Service, String)> {
    let mut service = machine.start().await?;
    let mut team = service.team("acme").await?;
    let secret = team.endpoint(&inbox.url(), &[]).await?.secret;
    let storm = Storm::begin_with(&team, padding);
    let mut random = Random::new(setting("VK_POWER_SEED", SEED)?);
    let wanted = setting("VK_POWER_CUTS", CUTS)?;
    let (mut cuts_to_come, mut cuts) = (wanted, 0);
    while cuts_to_come > 0 {
        // Where the log is to be copied, what comes after that counts.
        cuts += 1;
        ensure!(
            cuts < 100 + wanted,
            "the log was never copied into the database"
        );
        if padding == 0 || machine.has_copied_its_log()? {
            cuts_to_come -= 1;
        }
        storm.progress(10).await;
        tokio::time::sleep(Duration::from_millis(random.any() % 700)).await;
        machine.cut(service).await?;
        storm.down();
        service = machine.start().await?;
        team = team.moved_to(service.address());
        storm.up(&team);
    }
    Ok((storm.end().await?, service, secret))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_arrives_over_cuts_of_the_power() -> Result<()> {
    // Long events fill the write-ahead log, so that it is copied into the database meanwhile.
    for (early, padding) in [("0", 0), ("30", 240_000)] {
        let mut machine = Machine::new(&[("POWER_EARLY", early)])?;
        let inbox = machine.setup.inbox().await?;
        let lived = live_through_cuts(&mut machine, &inbox, padding).await?;
        let (acknowledged, service, secret) = lived;
        assert!(acknowledged.len() > 50, "too few: {}", acknowledged.len());
        assert_kept(&acknowledged, &service.operator_of("acme")).await?;
        assert_arrived(&acknowledged, &inbox, &secret).await;
        assert!(machine.losses > 0, "no cut lost anything: it was no test");
    }
    Ok(())
}

/// The test above would notice: on a disk that only says that it synced, everything is lost.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_lies_everything_is_lost() -> Result<()> {
    let mut machine = Machine::new(&[("POWER_LIES", "1")])?;
    let inbox = machine.setup.inbox().await?;
    let service = machine.start().await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    machine.cut(service).await?;
    // Nothing ever reached the disk: the service starts from nothing.
    let service = machine.start().await?;
    let operator = service.operator();
    let teams = operator.call("GET", "/v1/teams", &Value::Null, 200).await?;
    assert_eq!(teams.data(), &json!([]));
    Ok(())
}
