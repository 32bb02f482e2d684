//! What an operator relies on: bounded connections, an exit at once when asked twice, and a log
//! that gives nothing away.

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_tests::{
    Answer, Api, Inbox, OPERATOR_KEY, Service, Setup, Start, eventually, eventually_within,
    free_port, member_removed,
};

#[tokio::test]
async fn connections_are_bounded_and_those_beyond_wait_for_a_place() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&["--max-connections", "2"]).await?;
    let idle = [
        TcpStream::connect(service.address()).await?,
        TcpStream::connect(service.address()).await?,
    ];
    let stranger = service.stranger();
    let asked = tokio::spawn(async move { stranger.send("GET", "/healthz", &[], "").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished(), "a third connection was served");
    drop(idle);
    let reply = tokio::time::timeout(Duration::from_secs(5), asked).await???;
    assert_eq!(reply.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_head_of_a_request_is_bounded() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let filler = "a".repeat(40 << 10);
    let within = service
        .stranger()
        .send("GET", "/healthz", &[("x-filler", &filler)], "")
        .await?;
    assert_eq!(within.status, 200);
    let mut client = TcpStream::connect(service.address()).await?;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx-filler: {filler}{filler}");
    client.write_all(head.as_bytes()).await?;
    let mut answer = [0; 12];
    // Where the head is not refused, the service waits for its end.
    let answered = client.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), answered).await??;
    assert_eq!(&answer, b"HTTP/1.1 431");
    Ok(())
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_refused_without_sending_it() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    for (length, answer) in [(100, "HTTP/1.1 100"), (9_000_000, "HTTP/1.1 413")] {
        let mut client = TcpStream::connect(service.address()).await?;
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\
             expect: 100-continue\r\n\r\n",
            team.key()
        );
        client.write_all(head.as_bytes()).await?;
        let mut answered = [0; 12];
        let read = client.read_exact(&mut answered);
        tokio::time::timeout(Duration::from_secs(5), read).await??;
        assert_eq!(std::str::from_utf8(&answered)?, answer);
    }
    Ok(())
}

/// A huge page of which a little is touched would be in use as a whole.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn its_memory_does_not_come_in_huge_pages() -> Result<()> {
    let service = Setup::new()?.start(&[]).await?;
    let path = format!("/proc/{}/status", service.pid()?.as_raw_nonzero());
    let status = std::fs::read_to_string(path)?;
    let line = status.lines().find(|line| line.starts_with("THP_enabled:"));
    assert_eq!(line, Some("THP_enabled:\t0"), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    inbox.always(Answer::Hang);
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    team.endpoint(&inbox.url(), &[]).await?;
    team.publish("team.member_removed", &member_removed())
        .await?;
    inbox.wait_for(1).await;
    let started = Instant::now();
    kill_process(service.pid()?, Signal::INT)?;
    eventually("it says that it stops", async || {
        service
            .log()
            .contains("stopping because of SIGINT")
            .then_some(())
    })
    .await;
    let (status, log) = service.terminate().await?;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("ended at once by a second signal"), "{log}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn somebody_who_watches_the_log_does_not_hold_up_a_stop() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    service.team("acme").await?;
    let operator = service.operator();
    let link = operator
        .call("POST", "/v1/teams/acme/settings-link", &json!({}), 201)
        .await?;
    let url = link.data()["url"].as_str().unwrap().to_owned();
    let path = url.trim_start_matches(&format!("http://{}", service.address()));
    let entered = service.stranger().send("GET", path, &[], "").await?;
    let cookie = entered.headers["set-cookie"].to_str()?.split(';').next();
    let mut stream = TcpStream::connect(service.address()).await?;
    let request = format!(
        "GET /settings/teams/acme/deliveries/live HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n\r\n",
        service.address(),
        cookie.unwrap()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut first = [0; 64];
    stream.read_exact(&mut first).await?;
    assert!(first.starts_with(b"HTTP/1.1 200 OK"), "{first:?}");
    let begun = Instant::now();
    let (status, log) = service.terminate().await?;
    assert!(status.success(), "{status}: {log}");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn no_secret_no_key_and_no_query_is_in_the_log_even_at_its_chattiest() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    let options = ["--log-level", "trace", "--retry-schedule", "50ms"];
    let service = setup.start(&options).await?;
    let team = service.team("acme").await?;
    let url = format!("{}&token=q7secretq7", inbox.url());
    let endpoint = team.endpoint(&url, &[]).await?;
    let unreachable = format!("https://127.0.0.1:{}/?token=q7secretq7", free_port()?);
    team.endpoint(&unreachable, &[]).await?;
    inbox.script([Answer::status(500)]);
    let event = team
        .publish("team.member_removed", &member_removed())
        .await?;
    eventually("both came to their end", async || {
        let deliveries = team.deliveries_of(&event).await.ok()?;
        let ended = |status: &str| ["delivered", "dead_letter"].contains(&status);
        let all = deliveries
            .iter()
            .all(|one| one["status"].as_str().is_some_and(ended));
        all.then_some(())
    })
    .await;
    let path = format!("/v1/webhook-endpoints/{}/rotate-secret", endpoint.id);
    let rotated = team.call("POST", &path, &json!({}), 200).await?;
    let new = rotated.data()["secret"].as_str().unwrap().to_owned();
    let link = service
        .operator()
        .call("POST", "/v1/teams/acme/settings-link", &json!({}), 201)
        .await?;
    let link = link.data()["url"].as_str().unwrap().to_owned();
    let page = link
        .trim_start_matches(&format!("http://{}", service.address()))
        .to_owned();
    let opened = service.stranger().send("GET", &page, &[], "").await?;
    assert!(opened.status < 400, "{} {page}", opened.status);
    let token = link.rsplit('=').next().unwrap().to_owned();

    let (_, log) = service.terminate().await?;
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "it is chatty: {log}"
    );
    let key = team.key();
    for secret in [
        OPERATOR_KEY,
        key,
        &endpoint.secret,
        &new,
        "q7secretq7",
        &token,
    ] {
        assert!(
            !secret.is_empty() && !log.contains(secret),
            "{secret} is in the log"
        );
    }
    Ok(())
}

/// Every service of these tests is listened to; this one was made to say a secret.
#[tokio::test]
async fn a_service_that_gives_something_away_fails_its_test() -> Result<()> {
    for said in [
        "signed with whsec_planted",
        "an attempt at https://example.com/?a=b failed",
        "GET /hooks?key=q7canaryq7",
    ] {
        let setup = Setup::new()?;
        let plant = format!("echo '{said}' >&2; exec \"$0\" \"$@\"");
        let start = Start {
            under: &["sh", "-c", &plant],
            ..Start::default()
        };
        let service = setup.start_as(start, &[]).await?;
        let told = service
            .terminate()
            .await
            .err()
            .map(|error| error.to_string());
        assert!(told.is_some_and(|told| told.contains(said)), "{said}");
        let service = setup.start_as(start, &[]).await?;
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(service)));
        assert!(dropped.is_err(), "{said}");
    }
    Ok(())
}

/// The files a process has open.
fn open_files(service: &Service) -> Result<usize> {
    let pid = service.pid()?.as_raw_nonzero();
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

#[tokio::test]
async fn where_few_files_may_be_open_attempts_leave_some_to_the_door() -> Result<()> {
    let setup = Setup::new()?;
    let (hangs, works) = (setup.inbox().await?, setup.inbox().await?);
    hangs.always(Answer::Hang);
    let few = Start {
        under: &["sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\""],
        ..Start::default()
    };
    let service = setup.start_as(few, &["--attempt-timeout", "1s"]).await?;
    assert!(
        service.log().contains("open only 256 files"),
        "{}",
        service.log()
    );
    // Attempts that hang, at more endpoints than there are places.
    for number in 0..6 {
        publish_to_many(&service, &format!("team{number}"), &hangs, 5, 10).await?;
    }
    let team = service.team("works").await?;
    team.endpoint(&works.url(), &[]).await?;
    let mut most = 0;
    for number in 1..=5 {
        team.publish("team.member_removed", &member_removed())
            .await?;
        let health = service.stranger().send("GET", "/healthz", &[], "").await?;
        assert_eq!(health.status, 200);
        most = most.max(open_files(&service)?);
        works.wait_for(number).await;
    }
    assert!(most < 256, "{most} files were open");
    let (status, log) = service.terminate().await?;
    assert!(
        status.success() && !log.contains("Too many open files"),
        "{log}"
    );
    Ok(())
}

/// A team with so many endpoints at one receiver, and so many events for each of them.
async fn publish_to_many(
    service: &Service,
    name: &str,
    inbox: &Inbox,
    endpoints: usize,
    events: usize,
) -> Result<()> {
    let team = service.team(name).await?;
    for _ in 0..endpoints {
        team.endpoint(&inbox.url(), &[]).await?;
    }
    for _ in 0..events {
        let data = member_removed();
        team.publish("team.member_removed", &data).await?;
    }
    Ok(())
}

/// More clients than files, all of whom stay, beside attempts that hang for as long as attempts may.
#[tokio::test]
async fn where_few_files_may_be_open_it_outlives_more_clients_than_files() -> Result<()> {
    const CLIENTS: usize = 300;
    // As many as 256 files leave for attempts (`limits.rs`).
    const ATTEMPTS: usize = 32;
    let setup = Setup::new()?;
    let (hangs, works) = (setup.inbox().await?, setup.inbox().await?);
    hangs.always(Answer::Hang);
    let few = Start {
        under: &["sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\""],
        ..Start::default()
    };
    let service = setup.start_as(few, &[]).await?;
    let patience = Duration::from_secs(60);
    let works_team = service.team("works").await?;
    works_team.endpoint(&works.url(), &[]).await?;
    for number in 0..3 {
        publish_to_many(&service, &format!("hangs{number}"), &hangs, 10, 5).await?;
    }
    eventually_within(patience, "all places are taken", async || {
        (hangs.count() >= ATTEMPTS).then_some(())
    })
    .await;
    let mut clients = vec![];
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(service.address()).await?;
        client.write_all(b"POST /v1/events HTTP/1.1\r\n").await?;
        clients.push(client);
    }
    let publish = |team: &Api| {
        let team = team.clone();
        tokio::spawn(async move { team.publish("team.member_removed", &member_removed()).await })
    };
    let waits = publish(&works_team);
    // Those places become free at the deadline of 10 s, and are taken again: attempts go on.
    let most = eventually_within(patience, "attempts go on", async || {
        let open = open_files(&service).ok()?;
        assert!(open < 256, "{open} files are open");
        (hangs.count() >= 2 * ATTEMPTS).then_some(open)
    })
    .await;
    assert!(most > CLIENTS / 10, "{most} files: nobody was let in");
    assert!(!waits.is_finished(), "there was room at the door");
    drop(clients);
    tokio::time::timeout(patience, waits).await???;
    let more: Vec<_> = (0..20).map(|_| publish(&works_team)).collect();
    for one in more {
        tokio::time::timeout(patience, one).await???;
    }
    eventually_within(patience, "all of them arrive", async || {
        (works.count() >= 21).then_some(())
    })
    .await;
    let health = service.stranger().send("GET", "/healthz", &[], "").await?;
    assert_eq!(health.status, 200);
    let (status, log) = service.terminate().await?;
    assert!(
        status.success() && !log.contains("Too many open files"),
        "{log}"
    );
    Ok(())
}
