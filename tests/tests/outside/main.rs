//! Nothing outside can trip it: log, name servers, local ports and disk go away and come back at random while events
//! are published. Nothing acknowledged is lost, no endpoint is blamed for what was ours, memory stays.
//!
//! The receivers answer 200 all the time, so that every failure of an attempt is a wrong accusation. Publishers go on
//! with an event until it is acknowledged, always under the same `Idempotency-Key`. In the end all troubles stop,
//! and everything must arrive.
//!
//! Rooms: `publishers` publish, `receivers` remember, `troubles` come and go.
//!
//! `VK_OUTSIDE_SECONDS` says for how long (40), `VK_OUTSIDE_SEED` in which order (1; with an even one the log goes
//! to a file on the disk that is full now and then, else to a pipe), `VK_OUTSIDE_RATE` how many events are published
//! in a second (500; fewer where the machine is slower), `VK_OUTSIDE_TROUBLES` what goes wrong (`log,dns,ports,disk`).

mod publishers;
mod receivers;
mod troubles;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use vk_tests::{Api, Peak, Service, Setup, Sink, SmallDisk, Space, Start, Usage, apart, setting};

use publishers::Publishers;
use receivers::Receivers;
use troubles::{Kind, Troubles, World};

/// For so long nothing may arrive in the end, while something is still owed, before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long publishers may take to be acknowledged what they are at, once nothing is wrong any more.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// By how much own memory may have grown from what it was at most in the first third to when all is at rest, in MB.
const ROOM: f64 = 32.0;
/// How long it may take to give it back.
const AT_REST: Duration = Duration::from_secs(60);

#[test]
fn log_names_ports_and_disk_go_away_and_come_back() -> Result<()> {
    apart(lived_through)
}

async fn lived_through(space: &Space) -> Result<()> {
    let seconds = setting("VK_OUTSIDE_SECONDS", 40)?;
    let seed = setting("VK_OUTSIDE_SEED", 1)?;
    let rate = setting("VK_OUTSIDE_RATE", 500)?;
    let kinds = Kind::chosen()?;
    println!("seed {seed}, {seconds} s, {rate} events a second, {kinds:?}");

    // What is published stays in the store: some 2 KB each, with room for the write-ahead log.
    let disk = SmallDisk::mount(usize::try_from(64 + seconds * rate * 3 / 1000)?)?;
    let mut setup = Setup::new()?;
    setup.database = disk.file("store.db");
    let log = match seed % 2 {
        0 => Sink::file(&disk.path().join("log"))?,
        _ => Sink::pipe()?,
    };
    let world = World::make(space, disk, log).await?;
    let receivers = Receivers::open(&setup.authority, seed).await?;

    let starter = world.log.starter();
    let under: Vec<&str> = starter.iter().map(String::as_str).collect();
    let start = Start {
        under: &under,
        ..Start::default()
    };
    // Something is always written to the log.
    let service = setup.start_as(start, &["--log-level", "debug"]).await?;
    let pid = service.pid()?;
    let team = service.team("acme").await?;
    receivers.subscribe(&team).await?;

    let publishers = Publishers::begin(service.address(), team.key(), rate);
    let troubles = Troubles::begin(world, &kinds, seed, Duration::from_secs(seconds));
    let blamed = watch(&team);
    let (warm, lasted) = first_third(&service, seconds).await?;
    sleep(Duration::from_secs(seconds).saturating_sub(lasted)).await;
    let (world, told) = troubles.end().await?;
    let published = publishers.end(LAST_WORDS).await?;
    let settled = settle(&team, &receivers, &published.acknowledged).await?;
    blamed.abort();
    let blamed = blamed.await.map_or(vec![], |blamed| blamed);
    let after = at_rest(&service, warm).await?;

    println!(
        "{told}\n{} acknowledged ({:.0}/s), {} refused and sent again, {} connections broke; settled in {settled:.1?}\n\
         {} requests of {} deliveries; own memory in the first third at most {warm:.0} MB, in the end {after:.0} MB",
        published.acknowledged.len(),
        published.acknowledged.len() as f64 / seconds as f64,
        published.refused,
        published.broken,
        receivers.requests(),
        receivers.deliveries(),
    );
    ensure!(
        blamed.is_empty(),
        "endpoints were blamed: {}",
        blamed.join("\n")
    );
    nobody_was_blamed(&service, &team).await?;
    receivers.verified()?;
    ensure!(service.pid()? == pid, "it was started anew");
    let (status, log) = service.terminate().await?;
    ensure!(
        status.success() && !log.contains("panicked"),
        "{status}: {log}"
    );
    drop(world);
    Ok(())
}

/// The most own memory that it has in the first third of the time, and how long that was.
async fn first_third(service: &Service, seconds: u64) -> Result<(f64, Duration)> {
    let begun = Instant::now();
    let peak = Peak::of(service)?;
    sleep(Duration::from_secs(seconds) / 3).await;
    Ok((peak.memory(), begun.elapsed()))
}

/// Looks all the time whether an endpoint is called anything but healthy; each such finding, once it is ended.
fn watch(team: &Api) -> JoinHandle<Vec<String>> {
    let team = team.clone();
    tokio::spawn(async move {
        loop {
            sleep(Duration::from_millis(500)).await;
            // Where there is no port for asking, it is asked again.
            let Ok(reply) = team.get("/v1/webhook-endpoints").await else {
                continue;
            };
            let found = blamed(reply.data());
            if !found.is_empty() {
                return found;
            }
        }
    })
}

/// The endpoints that are blamed for something.
fn blamed(endpoints: &Value) -> Vec<String> {
    let endpoints = endpoints.as_array().into_iter().flatten();
    let blamed = endpoints
        .filter(|endpoint| endpoint["status"] != "healthy" || endpoint["consecutiveFailures"] != 0);
    blamed.map(Value::to_string).collect()
}

/// Waits until nothing is owed any more and all that was acknowledged has arrived; how long that took. A slow machine
/// may take as long as it goes on.
async fn settle(team: &Api, receivers: &Receivers, acknowledged: &[u64]) -> Result<Duration> {
    let begun = Instant::now();
    let (mut arrived, mut last) = (receivers.requests(), Instant::now());
    loop {
        let missing = receivers.missing(acknowledged);
        if missing.is_empty() && team.owes_nothing().await? {
            return Ok(begun.elapsed());
        }
        let now = receivers.requests();
        if now > arrived {
            (arrived, last) = (now, Instant::now());
        }
        ensure!(
            last.elapsed() < PATIENCE,
            "nothing arrives any more: {} acknowledged events have not arrived, such as {:?}",
            missing.len(),
            missing.iter().next()
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until own memory is little more than `warm` at most, in MB; what it is.
async fn at_rest(service: &Service, warm: f64) -> Result<f64> {
    let deadline = Instant::now() + AT_REST;
    loop {
        let now = Usage::of(service).await?.memory;
        if now <= warm + ROOM {
            return Ok(now);
        }
        ensure!(
            Instant::now() < deadline,
            "own memory is {now:.0} MB, and was {warm:.0} MB at most when all was warm"
        );
        sleep(Duration::from_millis(500)).await;
    }
}

/// Every receiver answered 200 to everything: no attempt has failed through one, and nothing is a dead letter.
async fn nobody_was_blamed(service: &Service, team: &Api) -> Result<()> {
    let endpoints = team.get("/v1/webhook-endpoints").await?;
    let unhealthy = blamed(endpoints.data());
    ensure!(unhealthy.is_empty(), "in the end: {}", unhealthy.join("\n"));
    let dead = team
        .get("/v1/deliveries?status=dead_letter&per_page=1")
        .await?;
    let dead = dead.data().as_array().and_then(|dead| dead.first());
    ensure!(dead.is_none(), "a dead letter: {dead:?}");
    let metrics = service
        .stranger()
        .send("GET", "/metrics", &[], "")
        .await?
        .text;
    let attempts = |line: &&str| line.starts_with("vk_webhooks_attempts_total{");
    let failed: Vec<&str> = metrics
        .lines()
        .filter(attempts)
        .filter(|line| !line.contains("outcome=\"delivered\""))
        .collect();
    if !failed.is_empty() {
        bail!("attempts count as failed: {}", failed.join("\n"));
    }
    Ok(())
}
