//! Bad configuration, a bad store, an impatient operator: a clear word, and nothing lost or
//! half-accepted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use vk_tests::{Answer, OPERATOR_KEY, Setup, TempDir, member_removed, run};

const KEY: (&str, &str) = ("VK_WEBHOOKS_ADMIN_KEY", OPERATOR_KEY);

/// A start that has to fail with code 1 and a message with all of these parts.
async fn refused(arguments: &[&str], environment: &[(&str, &str)], parts: &[&str]) -> Result<()> {
    let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
    all.extend(arguments);
    let output = run(&all, environment).await?;
    ensure!(output.code == Some(1), "{output:?}");
    for part in parts {
        ensure!(
            output.err.contains(part),
            "{part:?} is not in: {}",
            output.err
        );
    }
    ensure!(!output.err.contains("panicked"), "{}", output.err);
    Ok(())
}

#[tokio::test]
async fn a_bad_configuration_is_refused_by_name() -> Result<()> {
    let folder = TempDir::new()?;
    let file = |name: &str, text: &str| -> Result<String> {
        std::fs::write(folder.path().join(name), text)?;
        Ok(folder.file(name))
    };
    let unknown = file("unknown.toml", "attempt_timout = \"3s\"\n")?;
    let parts = [
        "attempt_timout",
        &unknown,
        "did you mean \"attempt_timeout\"",
    ];
    refused(&["--config", &unknown], &[KEY], &parts).await?;
    let malformed = file("malformed.toml", "listen = [\n")?;
    refused(
        &["--config", &malformed],
        &[KEY],
        &[&malformed, "not valid TOML"],
    )
    .await?;
    let missing = folder.file("missing.toml");
    refused(
        &["--config", &missing],
        &[KEY],
        &[&missing, "cannot be read"],
    )
    .await?;
    let parts = [
        "attempt_timeout",
        "soon",
        "--attempt-timeout",
        "such as 10s",
    ];
    refused(&["--attempt-timeout", "soon"], &[KEY], &parts).await?;
    let variable = ("VK_WEBHOOKS_ALLOW_CIDR", "10.0.0.0/99");
    let parts = ["allow_cidr", "10.0.0.0/99", "VK_WEBHOOKS_ALLOW_CIDR"];
    refused(&[], &[KEY, variable], &parts).await?;
    let postgres = "postgres://vk:hunter2@localhost/vk";
    let parts = ["PostgreSQL is not available in this build", "sqlite:"];
    refused(&["--database-url", postgres], &[KEY], &parts).await?;
    let catalog = file("catalog.json", "{}")?;
    let url = format!("sqlite:{}", folder.file("a.db"));
    let options = ["--catalog", &catalog, "--database-url", &url];
    refused(&options, &[KEY], &["catalog", &catalog]).await?;
    let ca = file("ca.pem", "no certificate")?;
    refused(
        &["--ca-file", &ca, "--database-url", &url],
        &[KEY],
        &["certificate"],
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_operator_key_is_refused_and_not_repeated() -> Result<()> {
    for key in [
        "admin",
        "vk_admin_",
        "vk_admin_with space",
        "vk_live_0123456789abcdefghijABCDEFGHIJ01",
    ] {
        let output = run(&["serve"], &[("VK_WEBHOOKS_ADMIN_KEY", key)]).await?;
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output
                .err
                .contains("VK_WEBHOOKS_ADMIN_KEY has to be vk_admin_"),
            "{output:?}"
        );
        let repeats = output.err.contains(key);
        assert!(!repeats || "vk_admin_".contains(key), "{output:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_is_made_at_the_first_start_and_shown_only_then() -> Result<()> {
    let setup = Setup::new()?;
    let first = setup.start_with_own_key().await?;
    let said = first.log();
    let key = said
        .split_whitespace()
        .find(|word| word.starts_with("vk_admin_"))
        .expect("the key is shown")
        .to_owned();
    assert_eq!(key.len(), "vk_admin_".len() + 32);
    let bearer = format!("Bearer {key}");
    let ask = [("authorization", bearer.as_str())];
    let reply = first.stranger().send("GET", "/v1/teams", &ask, "").await?;
    assert_eq!(reply.status, 200, "{}", reply.json);
    let (status, _) = first.terminate().await?;
    assert!(status.success());

    let second = setup.start_with_own_key().await?;
    assert!(
        !second.log().contains("vk_admin_"),
        "shown twice: {}",
        second.log()
    );
    let reply = second.stranger().send("GET", "/v1/teams", &ask, "").await?;
    assert_eq!(reply.status, 200, "the key still works");
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_a_sentence_with_advice() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let address = service.address().to_string();
    let url = format!("sqlite:{}", setup.folder.file("other.db"));
    let options = ["serve", "--listen", &address, "--database-url", &url];
    let output = run(&options, &[KEY]).await?;
    assert_eq!(output.code, Some(1), "{output:?}");
    for part in [
        &address,
        "another program listens there already",
        "--listen",
    ] {
        assert!(
            output.err.contains(part),
            "{part} is not in: {}",
            output.err
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_database_or_a_newer_one_is_refused_and_left_alone() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.file("letter.db");
    let letter = "Dear database,\n".repeat(1000);
    std::fs::write(&path, &letter)?;
    let url = format!("sqlite:{path}");
    refused(&["--database-url", &url], &[KEY], &[&path]).await?;
    assert_eq!(
        std::fs::read_to_string(&path)?,
        letter,
        "it is left as it was"
    );

    let setup = Setup::new()?;
    let (status, _) = setup.start(&[]).await?.terminate().await?;
    assert!(status.success());
    // The version a migration writes: the four bytes at 60 of an SQLite file's header.
    let mut bytes = std::fs::read(&setup.database)?;
    bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
    std::fs::write(&setup.database, &bytes)?;
    let url = format!("sqlite:{}", setup.database);
    refused(
        &["--database-url", &url],
        &[KEY],
        &["newer", &setup.database],
    )
    .await?;
    assert_eq!(
        std::fs::read(&setup.database)?,
        bytes,
        "it is left as it was"
    );
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_hold_up_the_stop() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    inbox.always(Answer::Hang);
    let service = setup.start(&["--attempt-timeout", "5m"]).await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    let data = member_removed();
    team.publish("team.member_removed", &data).await?;
    inbox.wait_for(1).await;
    let asked = Instant::now();
    let (status, log) = service.terminate().await?;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    Ok(())
}
