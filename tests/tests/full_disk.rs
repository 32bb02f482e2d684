//! A disk that is full when events come, when outcomes are recorded, or when an older database is brought up
//! to date: a clear word, nothing lost, and it goes on once there is room.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use vk_tests::{
    Answer, Api, Service, Setup, SmallDisk, Start, eventually, eventually_within, member_removed,
    verify,
};

#[tokio::test]
async fn a_full_disk_refuses_publishers_and_recovers_by_itself() -> Result<()> {
    let disk = SmallDisk::mount(6)?;
    let mut setup = Setup::new()?;
    setup.database = disk.file("store.db");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 3 << 20])?;
    let inbox = setup.inbox().await?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&inbox.url(), &[]).await?;
    let data = json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
        "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac",
        "email": "a@example.com", "padding": "x".repeat(100_000)});
    let event = json!({"type": "team.member_removed", "data": data}).to_string();

    let mut acknowledged = Vec::new();
    // A refused commit may have carried outcomes too, and the next event alone may fit: the disk is
    // full once several events in a row are refused.
    let mut refused = 0;
    while refused < 3 {
        let reply = team.send("POST", "/v1/events", &[], event.clone()).await?;
        if reply.status == 202 {
            refused = 0;
            acknowledged.push(reply.data()["id"].as_str().unwrap().to_owned());
            ensure!(acknowledged.len() < 200, "the disk is never full");
        } else {
            refused += 1;
            assert_eq!(
                (reply.status, reply.code()),
                (503, "unavailable"),
                "{}",
                reply.json
            );
        }
    }
    let alive = service.stranger().send("GET", "/healthz", &[], "").await?;
    assert_eq!(alive.status, 200);

    std::fs::remove_file(&ballast)?;
    let recovered = eventually("publishing works again", async || {
        let reply = team
            .send("POST", "/v1/events", &[], event.clone())
            .await
            .ok()?;
        (reply.status == 202).then(|| reply.data()["id"].as_str().unwrap().to_owned())
    })
    .await;
    acknowledged.push(recovered);
    eventually_within(
        Duration::from_secs(40),
        "all acknowledged are delivered",
        async || {
            for event in &acknowledged {
                let deliveries = team.deliveries_of(event).await.ok()?;
                (deliveries.first()?["status"] == "delivered").then_some(())?;
            }
            Some(())
        },
    )
    .await;
    for arrival in inbox.arrivals() {
        verify(&arrival, &endpoint.secret).unwrap();
    }
    let arrived: std::collections::HashSet<_> = inbox
        .arrivals()
        .iter()
        .map(|arrival| arrival.header("x-vantagekit-delivery").to_owned())
        .collect();
    assert_eq!(
        arrived.len(),
        acknowledged.len(),
        "nothing refused was half-accepted"
    );
    Ok(())
}

/// How long the receiver thinks: long enough for the disk to be full before the first outcome is known.
const THINKS: Duration = Duration::from_secs(2);

/// Publishes so many events at once; their ids.
async fn publish(team: &Api, count: usize) -> Result<Vec<String>> {
    let event = json!({"type": "team.member_removed", "data": member_removed()});
    let batch = json!({"events": vec![event; count]});
    let reply = team.call("POST", "/v1/events/batch", &batch, 202).await?;
    let events = reply.data().as_array().context("a list")?.iter();
    let ids = events.map(|event| event["id"].as_str().map(str::to_owned));
    ids.collect::<Option<_>>().context("ids")
}

/// Waits until the service has said this so many times.
async fn said(service: &Service, text: &str, times: usize) {
    eventually(&format!("the service says {text:?}"), async || {
        (service.log().matches(text).count() >= times).then_some(())
    })
    .await;
}

/// Waits until all of these events are delivered; how many attempts each delivery took.
async fn delivered(team: &Api, events: &[String]) -> Result<Vec<u64>> {
    let most = Duration::from_secs(40);
    eventually_within(most, "all acknowledged are delivered", async || {
        for event in events {
            let deliveries = team.deliveries_of(event).await.ok()?;
            (deliveries.first()?["status"] == "delivered").then_some(())?;
        }
        Some(())
    })
    .await;
    let mut attempts = Vec::new();
    for event in events {
        for delivery in team.deliveries_of(event).await? {
            let delivery = team
                .delivery(delivery["id"].as_str().context("an id")?)
                .await?;
            let made = delivery["attempts"].as_array().context("a list")?;
            ensure!(delivery["attemptCount"] == made.len(), "{delivery}");
            let last = made.last().context("an attempt")?;
            ensure!(last["outcome"] == "delivered", "{delivery}");
            attempts.push(made.len() as u64);
        }
    }
    Ok(attempts)
}

/// How many deliveries an endpoint has to take before it gets 30 at once.
const TAKEN: usize = 100;

#[tokio::test]
async fn a_disk_that_fills_while_outcomes_are_recorded_loses_none_of_them() -> Result<()> {
    let disk = SmallDisk::mount(8)?;
    let mut setup = Setup::new()?;
    setup.database = disk.file("store.db");
    let inbox = setup.inbox().await?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let secret = team.endpoint(&inbox.url(), &[]).await?.secret;
    // An endpoint that has taken so many may have all its places.
    let first = publish(&team, TAKEN).await?;
    delivered(&service.operator_of("acme"), &first).await?;
    inbox.always(Answer::status(200).after(THINKS));
    let events = publish(&team, 30).await?;
    inbox.wait_for(TAKEN + 30).await;
    disk.fill(0)?;
    said(&service, "cannot record outcomes", 1).await;
    assert!(
        service.log().contains("the disk is full"),
        "{}",
        service.log()
    );
    let stranger = service.stranger();
    let alive = stranger.send("GET", "/healthz", &[], "").await?;
    let ready = stranger.send("GET", "/readyz", &[], "").await?;
    assert_eq!((alive.status, ready.status), (200, 503));
    let event = json!({"type": "team.member_removed", "data": member_removed()}).to_string();
    let refused = team.send("POST", "/v1/events", &[], event).await?;
    assert_eq!((refused.status, refused.code()), (503, "unavailable"));
    assert_eq!(refused.headers["retry-after"], "1");
    // What is on disk can be read all the while, and says nothing that is not there yet.
    let pending = team.deliveries("status=pending").await?;
    assert_eq!(pending.len(), 30);

    disk.make_room()?;
    said(&service, "the store takes outcomes again", 1).await;
    let attempts = delivered(&service.operator_of("acme"), &events).await?;
    assert_eq!(attempts, [1; 30], "outcomes were kept, not made again");
    assert_eq!(inbox.count(), TAKEN + 30);
    let ready = stranger.send("GET", "/readyz", &[], "").await?;
    assert_eq!(ready.status, 200);
    assert!(stranger.metric("vk_webhooks_store_failures_total").await? > 0.0);

    // Killed with outcomes that could not be recorded: they are lost, the deliveries are not.
    let more = publish(&team, 10).await?;
    inbox.wait_for(TAKEN + 40).await;
    disk.fill(0)?;
    said(&service, "cannot record outcomes", 2).await;
    service.kill().await?;
    // A start waits for room.
    let make_room = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        disk.make_room()
    };
    let (service, made) = tokio::join!(setup.start(&[]), make_room);
    made?;
    let service = service?;
    for says in [
        "cannot start yet",
        "the disk is full",
        "has room",
        "the trouble has passed",
    ] {
        assert!(service.log().contains(says), "{says}: {}", service.log());
    }
    let operator = service.operator_of("acme");
    assert_eq!(delivered(&operator, &events).await?, [1; 30]);
    delivered(&operator, &more).await?;
    let arrivals = inbox.arrivals();
    assert!(
        (TAKEN + 40..=TAKEN + 50).contains(&arrivals.len()),
        "{}",
        arrivals.len()
    );
    for arrival in &arrivals {
        assert_eq!(verify(arrival, &secret), Ok(()));
    }
    let ids = arrivals
        .iter()
        .map(|one| one.header("x-vantagekit-delivery"));
    let ids: std::collections::HashSet<_> = ids.collect();
    assert_eq!(ids.len(), TAKEN + 40);
    Ok(())
}

/// The steps that made a database of the second version: one that does not seal.
const SECOND_VERSION: [&str; 2] = [
    include_str!("../../crates/store/src/sqlite/migrations/0001_start.sql"),
    include_str!("../../crates/store/src/sqlite/migrations/0002_rows_once.sql"),
];
const SECRET: &str = "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const EVENTS: i64 = 200;
/// 2026-01-01 as ids have it: their upper bits are milliseconds since 2025.
const OLD: i64 = (365 * 86_400_000) << 22;

/// Makes a database as an older version left it: a team, an endpoint, events, of which the last is owed.
fn make_older(path: &Path, url: &str) -> Result<()> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    for step in SECOND_VERSION {
        database.execute_batch(step)?;
    }
    database.pragma_update(None, "application_id", 0x564b_5748)?;
    database.pragma_update(None, "user_version", 2)?;
    let (team, endpoint) = (OLD, OLD + 1);
    database.execute(
        "INSERT INTO teams (id, external_id, name, plan, updated_at) VALUES (?, 'acme', 'n', 'scale', 0)",
        [team],
    )?;
    database.execute(
        "INSERT INTO endpoints (id, team_id, url, secret, disabled, paused, consecutive_failures, updated_at) \
         VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
        params![endpoint, team, url, SECRET],
    )?;
    let data = member_removed();
    let body = json!({"type": "team.member_removed", "data": data, "padding": "x".repeat(4000)});
    for number in 1..=EVENTS {
        let event = OLD + 16 * number;
        database.execute(
            "INSERT INTO events (id, team_id, event_type, deliveries, test, body) \
             VALUES (?, ?, 'team.member_removed', 1, 0, ?)",
            params![event, team, body.to_string().into_bytes()],
        )?;
        let owed = number == EVENTS;
        database.execute(
            "INSERT INTO deliveries (id, team_id, event_id, endpoint_id, event_type, standing, attempt_count, \
                                     schedule_start, next_attempt_at, completed_at, test) \
             VALUES (?, ?, ?, ?, 'team.member_removed', ?, ?, 0, ?, ?, 0)",
            params![
                event + 1,
                team,
                event,
                endpoint,
                if owed { 0 } else { 2 },
                i64::from(!owed),
                owed.then_some(1),
                (!owed).then_some(1),
            ],
        )?;
    }
    database.execute(
        "UPDATE meta SET value = unhex(format('%016X', ?)) WHERE key = 'rows_from'",
        [OLD + 16 * (EVENTS + 1)],
    )?;
    Ok(())
}

/// How much room is left on the disk. Steps of the migration, and what is written before and after them, end
/// at any of these.
const ROOM: [u64; 10] = [0, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

#[tokio::test]
async fn an_older_database_on_a_full_disk_is_left_unharmed_and_taken_once_there_is_room()
-> Result<()> {
    let older = Setup::new()?;
    let inbox = older.inbox().await?;
    make_older(Path::new(&older.database), &inbox.url())?;
    let older_bytes = std::fs::read(&older.database)?;
    let disk = SmallDisk::mount(8)?;
    // Where the key is given and where it has to be made first, on the same disk.
    let key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let given = [("VK_WEBHOOKS_SECRETS_KEY", key)];
    let mut arrived = 0;
    for environment in [&given[..], &[]] {
        let (mut refusals, mut starts) = (0, 0);
        for room in ROOM {
            for file in std::fs::read_dir(disk.path())? {
                std::fs::remove_file(file?.path())?;
            }
            let mut setup = Setup::new()?;
            setup.database = disk.file("store.db");
            std::fs::write(setup.folder.path().join("ca.pem"), older.authority.pem())?;
            std::fs::write(&setup.database, &older_bytes)?;
            disk.fill(room << 10)?;
            let start = || {
                let start = Start {
                    environment,
                    ..Start::default()
                };
                setup.start_as(start, &[])
            };
            // A start without room waits, and leaves the database as it is.
            let make_room = async {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                if room == 0 {
                    ensure!(
                        std::fs::read(&setup.database)? == older_bytes,
                        "it was changed"
                    );
                }
                disk.make_room()
            };
            let (service, made) = tokio::join!(start(), make_room);
            made?;
            let service = service.with_context(|| format!("with room again, {room}"))?;
            let told = service.log();
            if told.contains("cannot start yet") {
                refusals += 1;
                let full = ["disk is full", "No space left", "has room"];
                let full = full.iter().any(|part| told.contains(part));
                ensure!(full && !told.contains("panicked"), "{room}: {told}");
            } else {
                starts += 1;
            }
            let operator = service.operator_of("acme");
            // The one that was owed is sent, signed with the secret of before.
            arrived += 1;
            let arrivals = inbox.wait_for(arrived).await;
            assert_eq!(verify(&arrivals[arrived - 1], SECRET), Ok(()));
            let events = operator.call("GET", "/v1/events?per_page=1", &Value::Null, 200);
            let total = &events.await?.json["meta"]["pagination"]["total"];
            assert_eq!(*total, EVENTS, "{room}");
            service.kill().await?;
        }
        println!("figure: {refusals} refusals and {starts} starts");
        assert!(refusals > 1 && starts > 0, "{refusals} {starts}");
    }
    Ok(())
}
