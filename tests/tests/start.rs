//! A start does nothing that it cannot finish, waits for what may pass, and ends at once on a mistake.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_tests::{Answer, Bare, Setup, eventually_within, member_removed};

const PLAIN: &str = r#"exec "$0" "$@""#;

#[tokio::test]
async fn a_start_whose_port_is_taken_makes_no_key_and_sends_nothing() -> Result<()> {
    let setup = Setup::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let inbox = setup.inbox().await?;
    let output = vk_tests::run(
        &[
            "serve",
            "--database-url",
            &format!("sqlite:{}", setup.database),
        ],
        &[("VK_WEBHOOKS_LISTEN", &address)],
    )
    .await?;
    assert_eq!(output.code, Some(1));
    assert!(
        output.err.contains("another program listens there"),
        "{}",
        output.err
    );
    assert!(!output.err.contains("vk_admin_"), "{}", output.err);
    assert!(!std::fs::exists(&setup.database)?, "no database was made");

    // Nor is what is due sent by a start that cannot serve.
    inbox.script([Answer::status(500)]);
    let service = setup.start(&["--retry-schedule", "1s,1s"]).await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    team.publish("team.member_removed", &member_removed())
        .await?;
    inbox.wait_for(1).await;
    service.kill().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = inbox.count();
    for _ in 0..2 {
        let output = vk_tests::run(
            &[
                "serve",
                "--database-url",
                &format!("sqlite:{}", setup.database),
            ],
            &[
                ("VK_WEBHOOKS_LISTEN", &address),
                ("VK_WEBHOOKS_ALLOW_CIDR", "127.0.0.1/32"),
            ],
        )
        .await?;
        assert_eq!(output.code, Some(1), "{}", output.err);
    }
    assert_eq!(inbox.count(), before);
    Ok(())
}

#[tokio::test]
async fn an_operator_s_key_that_cannot_be_shown_is_not_made() -> Result<()> {
    for sink in ["2>/dev/full", "2>/dev/null", "2>&-"] {
        let setup = Setup::new()?;
        let shell = format!("{PLAIN} {sink}");
        let unseen = Bare::start(&setup.database, &shell, Stdio::null(), false, &[]).await?;
        unseen.is_up().await;
        assert_eq!(unseen.terminate().await?.code(), Some(0));
        let service = setup.start_with_own_key().await?;
        let said = service.log();
        let key = said
            .split_whitespace()
            .find(|word| word.starts_with("vk_admin_"));
        let bearer = format!("Bearer {}", key.context("the key is shown")?);
        let ask = [("authorization", bearer.as_str())];
        let reply = service
            .stranger()
            .send("GET", "/v1/teams", &ask, "")
            .await?;
        assert_eq!(reply.status, 200, "{sink}");
    }
    Ok(())
}

#[tokio::test]
async fn a_database_in_use_is_waited_for_and_a_signal_ends_the_wait() -> Result<()> {
    let setup = Setup::new()?;
    let first = setup.start(&[]).await?;
    let log = setup.folder.file("second.log");
    let second = Bare::start(
        &setup.database,
        PLAIN,
        std::fs::File::create(&log)?,
        true,
        &[],
    )
    .await?;
    let said = async |text: &str| {
        eventually_within(Duration::from_secs(20), text, async || {
            std::fs::read_to_string(&log)
                .ok()?
                .contains(text)
                .then_some(())
        })
        .await;
    };
    said("in use by another running service").await;
    said("SIGTERM ends it; next try in 1 s").await;
    first.terminate().await?;
    second.is_up().await;
    said("the trouble has passed").await;

    let third = Bare::start(
        &setup.database,
        PLAIN,
        std::fs::File::create(&log)?,
        true,
        &[],
    )
    .await?;
    said("cannot start yet").await;
    assert_eq!(third.terminate().await?.code(), Some(0));
    said("stopped by SIGTERM before it had started").await;
    assert_eq!(second.terminate().await?.code(), Some(0));
    Ok(())
}

/// As systemd does it: the listener is descriptor 3, and stays open over restarts.
const ACTIVATED: &str = r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;

#[tokio::test]
async fn a_listener_that_is_passed_is_served_and_its_clients_wait_over_a_restart() -> Result<()> {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let setup = Setup::new()?;
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let start = async || {
            let input = Stdio::from(OwnedFd::from(listener.try_clone()?));
            let database = &setup.database;
            Bare::launch(database, ACTIVATED, input, Stdio::null(), true, &[]).await
        };
        let ask = async || -> Result<TcpStream> {
            let mut client = TcpStream::connect(address).await?;
            let request = "GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            client.write_all(request.as_bytes()).await?;
            Ok(client)
        };
        let answer = async |mut client: TcpStream| -> Result<String> {
            let mut answer = String::new();
            let read = client.read_to_string(&mut answer);
            tokio::time::timeout(Duration::from_secs(30), read).await??;
            Ok(answer)
        };
        let first = start().await?;
        let answered = answer(ask().await?).await?;
        assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
        assert_eq!(first.terminate().await?.code(), Some(0));
        let waits = ask().await?;
        let second = start().await?;
        let answered = answer(waits).await?;
        assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
        assert_eq!(second.terminate().await?.code(), Some(0));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_listener_is_refused_with_advice() -> Result<()> {
    let setup = Setup::new()?;
    for (shell, tells) in [
        (
            r#"exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#,
            "no TCP listener",
        ),
        (r#"LISTEN_FDS=2 LISTEN_PID=$$ exec "$0" "$@""#, "serves one"),
    ] {
        let log = setup.folder.file("refused.log");
        let err = std::fs::File::create(&log)?;
        let mut refused = Bare::start(&setup.database, shell, err, true, &[]).await?;
        assert_eq!(refused.ended().await?.code(), Some(1), "{shell}");
        let said = std::fs::read_to_string(&log)?;
        assert!(
            said.contains(tells) && said.contains(".socket unit"),
            "{said}"
        );
    }
    // What is meant for another process is none of ours.
    let other = r#"LISTEN_FDS=1 LISTEN_PID=1 exec "$0" "$@""#;
    let service = Bare::start(&setup.database, other, Stdio::null(), true, &[]).await?;
    service.is_up().await;
    assert_eq!(service.terminate().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_command_whose_reader_leaves_ends_well() -> Result<()> {
    for command in ["openapi", "config", "--help"] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut program = vk_tests::program(&[command])?;
        let output = program.stdout(writer).stderr(Stdio::piped()).spawn()?;
        drop(program);
        let output = output.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{command}");
    }
    Ok(())
}
