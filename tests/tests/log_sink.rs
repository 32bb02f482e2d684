//! Where the log goes is never a reason to stop: a reader that is gone, a full device or disk, a pipe that
//! nobody reads, nothing at all.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use vk_tests::{Bare, Setup, SmallDisk, eventually_within};

/// What a shell does with the program and its arguments.
const PLAIN: &str = r#"exec "$0" "$@""#;
const DROPPED: &str = "vk_webhooks_log_lines_dropped_total";
const DEBUG: [&str; 2] = ["--log-level", "debug"];

/// Publishing and asking work, whatever becomes of the lines about it.
async fn it_serves(service: &Bare) -> Result<()> {
    service.is_up().await;
    for _ in 0..20 {
        let reply = service.operator().get("/v1/teams").await?;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(service.stranger().get("/readyz").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_standard_error_that_takes_nothing_stops_nothing() -> Result<()> {
    for (sink, is_counted) in [
        (r#"exec "$0" "$@" 2>/dev/full"#, true),
        (r#"exec "$0" "$@" 2>/dev/null"#, false),
        (r#"exec "$0" "$@" 2>&-"#, false),
        (r#"exec "$0" "$@" 2>&- 1>&- 0>&-"#, false),
    ] {
        for with_key in [true, false] {
            let setup = Setup::new()?;
            let service =
                Bare::start(&setup.database, sink, Stdio::null(), with_key, &DEBUG).await?;
            if with_key {
                it_serves(&service).await?;
            } else {
                service.is_up().await;
            }
            let dropped = service.stranger().metric(DROPPED).await?;
            assert_eq!(dropped > 0.0, is_counted, "{sink}: {dropped}");
            assert_eq!(service.terminate().await?.code(), Some(0), "{sink}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_reader_of_the_log_that_leaves_stops_nothing() -> Result<()> {
    for lines in [0, 1, 3] {
        let setup = Setup::new()?;
        let (reader, writer) = std::io::pipe()?;
        let service = Bare::start(&setup.database, PLAIN, writer, true, &DEBUG).await?;
        let read = std::thread::spawn(move || BufReader::new(reader).lines().take(lines).count());
        assert_eq!(read.join().ok().context("the reader reads")?, lines);
        it_serves(&service).await?;
        assert!(service.stranger().metric(DROPPED).await? > 0.0);
        assert_eq!(service.terminate().await?.code(), Some(0));
    }
    Ok(())
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_holds_up_nothing_and_says_what_it_lost() -> Result<()> {
    let setup = Setup::new()?;
    let (mut reader, writer) = std::io::pipe()?;
    let options = ["--log-level", "trace"];
    let service = Bare::start(&setup.database, PLAIN, writer, true, &options).await?;
    service.is_up().await;
    let (operator, stranger) = (service.operator(), service.stranger());
    eventually_within(Duration::from_secs(90), "lines are dropped", async || {
        for _ in 0..200 {
            operator.get("/v1/teams").await.ok()?;
        }
        (stranger.metric(DROPPED).await.ok()? > 0.0).then_some(())
    })
    .await;
    assert_eq!(stranger.get("/readyz").await?.status, 200);
    // It is read again, and learns of the gap.
    let read = std::thread::spawn(move || {
        let mut log = Vec::new();
        // Whatever was read is looked at.
        let _ = reader.read_to_end(&mut log);
        String::from_utf8_lossy(&log).into_owned()
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    it_serves(&service).await?;
    assert_eq!(service.terminate().await?.code(), Some(0));
    let log = read.join().ok().context("the reader reads")?;
    assert!(log.contains("log lines were dropped"), "{}", log.len());
    assert!(log.contains("stopped"), "the end is in it");
    Ok(())
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_does_not_hold_up_the_end() -> Result<()> {
    let setup = Setup::new()?;
    let (reader, writer) = std::io::pipe()?;
    // Nearly full from the start: a pipe holds 64 KiB.
    writer.try_clone()?.write_all(&[b'x'; 65_000])?;
    let service = Bare::start(&setup.database, PLAIN, writer, true, &DEBUG).await?;
    it_serves(&service).await?;
    assert_eq!(service.terminate().await?.code(), Some(0));
    drop(reader);
    Ok(())
}

#[tokio::test]
async fn a_log_on_a_full_disk_goes_on_once_there_is_room() -> Result<()> {
    let disk = SmallDisk::mount(2)?;
    let setup = Setup::new()?;
    let path = disk.file("service.log");
    let log = OpenOptions::new().create(true).append(true).open(&path)?;
    let service = Bare::start(&setup.database, PLAIN, log, true, &DEBUG).await?;
    service.is_up().await;
    disk.fill(0)?;
    let (operator, stranger) = (service.operator(), service.stranger());
    eventually_within(Duration::from_secs(30), "lines are dropped", async || {
        operator.get("/v1/teams").await.ok()?;
        (stranger.metric(DROPPED).await.ok()? > 0.0).then_some(())
    })
    .await;
    it_serves(&service).await?;
    disk.make_room()?;
    // Also where nothing more is logged.
    eventually_within(Duration::from_secs(30), "the gap is told", async || {
        let log = std::fs::read_to_string(&path).ok()?;
        let told = log
            .lines()
            .find(|line| line.contains("log lines were dropped"))?;
        told.contains("dropped=").then_some(())
    })
    .await;
    assert_eq!(service.terminate().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_log_that_may_not_grow_any_more_stops_nothing() -> Result<()> {
    let setup = Setup::new()?;
    let path = setup.folder.file("service.log");
    let log = OpenOptions::new().create(true).append(true).open(&path)?;
    // The log is at the limit already; the database stays below it.
    log.set_len(600 * 1024)?;
    let limited = r#"ulimit -f 1024 && exec "$0" "$@""#; // 512 KiB or 1 MiB, as the shell counts
    let log_level = ["--log-level", "trace"];
    let service = Bare::start(&setup.database, limited, log, true, &log_level).await?;
    service.is_up().await;
    let (operator, stranger) = (service.operator(), service.stranger());
    eventually_within(Duration::from_secs(60), "lines are dropped", async || {
        for _ in 0..200 {
            operator.get("/v1/teams").await.ok()?;
        }
        (stranger.metric(DROPPED).await.ok()? > 0.0).then_some(())
    })
    .await;
    assert_eq!(stranger.get("/healthz").await?.status, 200);
    assert_eq!(service.terminate().await?.code(), Some(0));
    Ok(())
}
