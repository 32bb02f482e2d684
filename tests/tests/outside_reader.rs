//! Another program that stays in one read of the database: it is named after a minute, and the log is made small once
//! it has gone.

use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use vk_tests::{Setup, eventually_within, member_removed};

#[tokio::test]
async fn a_reader_that_holds_the_log_open_is_named_and_the_log_made_small_when_it_has_gone()
-> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let log = format!("{}-wal", setup.database);
    let outside = Connection::open_with_flags(&setup.database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    outside.execute_batch("BEGIN; SELECT count(*) FROM events")?;
    let mut data = member_removed();
    data["padding"] = "x".repeat(200_000).into();
    let event = json!({"type": "team.member_removed", "data": data});
    for _ in 0..4 {
        let batch = json!({"events": vec![event.clone(); 20]});
        team.call("POST", "/v1/events/batch", &batch, 202).await?;
    }
    let grown = std::fs::metadata(&log)?.len();
    assert!(grown > 16_000_000, "{grown}");
    let metrics = service.stranger().get("/metrics").await?.text;
    let told = metrics
        .lines()
        .find_map(|line| line.strip_prefix("vk_webhooks_store_log_bytes "));
    assert_eq!(
        told.and_then(|bytes| bytes.parse().ok()),
        Some(grown),
        "{metrics}"
    );
    assert!(!service.log().contains("has held"), "not yet");

    let us = format!("process {})", std::process::id());
    eventually_within(Duration::from_secs(100), "it is told of", async || {
        let said = service.log();
        let line = said.lines().find(|line| line.contains("has held"))?;
        assert!(
            line.contains("WARN") && line.contains(&us) && line.contains(&log),
            "{line}"
        );
        Some(())
    })
    .await;
    outside.execute_batch("COMMIT")?;
    eventually_within(Duration::from_secs(60), "the log is small", async || {
        let size = std::fs::metadata(&log).ok()?.len();
        (size < 1_000_000).then_some(())
    })
    .await;
    team.publish("team.member_removed", &member_removed())
        .await?;
    let (status, log) = service.terminate().await?;
    assert!(status.success(), "{log}");
    assert!(log.contains("was made small again"), "{log}");
    Ok(())
}
