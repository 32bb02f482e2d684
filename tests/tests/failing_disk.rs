//! A disk that fails to keep what it is given, or does not answer: the service ends and says why, and what was
//! acknowledged before is there at the next start.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use vk_tests::{Api, Service, Setup, Start, compile, eventually, verify};

/// A service on a disk whose syncs go wrong by will (power/sync.c).
struct Machine {
    setup: Setup,
    disk: PathBuf,
    trouble: PathBuf,
}

impl Machine {
    fn new() -> Result<Self> {
        let setup = Setup::new()?;
        let disk = compile("power/sync.c", setup.folder.path())?;
        let trouble = setup.folder.path().join("trouble");
        Ok(Self {
            setup,
            disk,
            trouble,
        })
    }

    async fn start(&self) -> Result<Service> {
        let (disk, trouble) = (
            self.disk.display().to_string(),
            self.trouble.display().to_string(),
        );
        let start = Start {
            environment: &[("LD_PRELOAD", &disk), ("SYNC_TROUBLE", &trouble)],
            ..Start::default()
        };
        self.setup.start_as(start, &[]).await
    }

    /// What becomes of every sync from now on.
    fn begin(&self, trouble: &str) -> Result<()> {
        // By a rename, so that none reads half of it.
        let new = self.trouble.with_extension("new");
        std::fs::write(&new, trouble)?;
        Ok(std::fs::rename(new, &self.trouble)?)
    }

    fn mend(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.trouble)?)
    }
}

fn member() -> serde_json::Value {
    json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab", "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac",
        "email": "member@example.com"})
}

async fn publish(team: &Api) -> Result<String> {
    team.publish("team.member_removed", &member()).await
}

/// What was acknowledged is there, is sent, and the service works.
async fn is_whole(machine: &Machine, acknowledged: &str) -> Result<()> {
    let service = machine.start().await?;
    let operator = service.operator_of("acme");
    let more = publish(&operator).await?;
    for event in [acknowledged, &more] {
        eventually("it is delivered", async || {
            let deliveries = operator.deliveries_of(event).await.ok()?;
            (deliveries.len() == 1 && deliveries[0]["status"] == "delivered").then_some(())
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn a_disk_that_fails_to_keep_what_it_is_given_ends_the_service() -> Result<()> {
    let machine = Machine::new()?;
    let inbox = machine.setup.inbox().await?;
    let service = machine.start().await?;
    let team = service.team("acme").await?;
    let secret = team.endpoint(&inbox.url(), &[]).await?.secret;
    let kept = publish(&team).await?;
    inbox.wait_for(1).await;

    machine.begin("fail")?;
    let refused = publish(&team).await;
    assert!(refused.is_err(), "it was acknowledged: {refused:?}");
    let (status, log) = service.ended().await?;
    assert_eq!(status.code(), Some(1), "{log}");
    for part in [
        "the disk failed to keep what was written to the database",
        "start the service again",
    ] {
        ensure!(log.contains(part), "{part:?} is not in: {log}");
    }
    machine.mend()?;
    is_whole(&machine, &kept).await?;
    for arrival in inbox.wait_for(2).await {
        assert_eq!(verify(&arrival, &secret), Ok(()));
    }
    Ok(())
}

#[tokio::test]
async fn asked_to_stop_on_a_disk_that_does_not_answer_it_ends_in_time_and_says_why() -> Result<()> {
    let machine = Machine::new()?;
    let inbox = machine.setup.inbox().await?;
    let service = machine.start().await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    let kept = publish(&team).await?;
    inbox.wait_for(1).await;

    machine.begin("stall")?;
    let publishing = tokio::spawn(async move { publish(&team).await });
    // Long enough for it to be at the disk.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!publishing.is_finished(), "it was answered");
    let asked = Instant::now();
    let (status, log) = service.terminate().await?;
    assert!(asked.elapsed() < Duration::from_secs(15), "{log}");
    assert_eq!(status.code(), Some(1), "{log}");
    ensure!(
        log.contains("most likely since the disk does not answer"),
        "{log}"
    );
    let refused = publishing.await?;
    assert!(refused.is_err(), "it was acknowledged: {refused:?}");
    machine.mend()?;
    is_whole(&machine, &kept).await
}
