//! A street of a thousand hostile receivers, mixed: while they do their worst a healthy neighbour
//! does not notice, and once they are gone, open files and tasks are where they were, and memory is
//! where it was after others like them.
//!
//! `VK_STREET_SECONDS` says for how long (12), `VK_STREET_SEED` in which order (1).

use std::time::Duration;

use anyhow::{Result, ensure};
use hostile::certificates::Authority;
use hostile::{Script, Street};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use vk_tests::{
    QUERY, Random, Service, Setup, Steady, Usage, eventually_within, member_removed, setting,
};

const TEAMS: usize = 100;
const ENDPOINTS_OF_A_TEAM: usize = 10;
/// How often an event is published to one of the teams: as often, some 180 attempts a second are
/// made, since most fail six times.
const EVERY: Duration = Duration::from_millis(333);

/// From how many seconds on the first round, of half as many, has filled what is kept for good.
const SETTLED: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_hostile_receivers_leave_nothing_behind() -> Result<()> {
    raise_the_limit_of_files()?;
    let seconds = setting("VK_STREET_SECONDS", 12)?;
    let seed = setting("VK_STREET_SEED", 1)?;
    let mut random = Random::new(seed);
    let setup = Setup::new()?;
    let authority = Authority::new()?;
    let roots = setup.folder.file("roots.pem");
    std::fs::write(&roots, authority.pem() + &setup.authority.pem())?;
    let street = Street::open(shuffled(&mut random), &authority, 1.0).await?;
    let name_server = street.name_server().to_string();
    let options = [
        ["--allow-cidr", "127.0.0.0/8"],
        ["--ca-file", &roots],
        ["--dns-server", &name_server],
    ];
    let options = [&["--allow-http"][..], &options.concat()].concat();
    let service = setup.start_strict(&options).await?;

    service.team("healthy").await?;
    let healthy = service.operator_of("healthy");
    let every = Duration::from_millis(100);
    let steady = Steady::start(&healthy, setup.inbox().await?, every).await?;
    sleep(Duration::from_secs(2)).await;
    let before = Usage::of(&service).await?;

    // The first round fills what is kept for good: caches, and what the allocator holds on to.
    let warm = round(&service, &street, "first", seconds / 2, &mut random).await?;
    let first = at_rest(&service, before).await?;
    let most = round(&service, &street, "second", seconds, &mut random).await?;
    let second = at_rest(&service, before).await?;
    let latency = steady.stop().await?;
    let stranger = service.stranger();
    let attempts = stranger
        .metric("vk_webhooks_attempt_duration_seconds_count")
        .await?;
    println!(
        "seed {seed}, {seconds} s, {attempts} attempts\nbefore {before:?}\nat most {warm:?}\nafter \
         {first:?}\nat most {most:?}\nafter {second:?}\nhealthy {latency:?}"
    );
    assert!(attempts > 20.0 * seconds as f64, "{attempts} attempts only");
    let grown = second.memory - first.memory;
    let room = if seconds < SETTLED { 48.0 } else { 16.0 };
    assert!(grown < room, "memory has grown by {grown} MB");
    assert!(latency.p50 < Duration::from_millis(100), "{latency:?}");
    assert!(latency.p99 < Duration::from_secs(1), "{latency:?}");
    Ok(())
}

/// Lets all receivers move in, sends them events for so long, and has them move out; the most that
/// was in use.
async fn round(
    service: &Service,
    street: &Street,
    name: &str,
    seconds: u64,
    random: &mut Random,
) -> Result<Usage> {
    move_in(service, street, name).await?;
    let mut most = Usage::of(service).await?;
    let mut ticks = interval_at(Instant::now(), EVERY);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        ticks.tick().await;
        let team = service.operator_of(&team(name, random.below(TEAMS)));
        let data = member_removed();
        team.publish("team.member_removed", &data).await?;
        let now = Usage::of(service).await?;
        most.memory = most.memory.max(now.memory);
        most.files = most.files.max(now.files);
        most.tasks = most.tasks.max(now.tasks);
    }
    move_out(service, name).await?;
    Ok(most)
}

/// Each receiver is an open file here, and each attempt that it holds on to another.
fn raise_the_limit_of_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|most| most >= 8192);
    ensure!(
        enough,
        "this test needs 8,192 open files; raise the limit (ulimit -Hn)"
    );
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
    Ok(())
}

/// As many scripts as there are endpoints, in any order. Names that are good only once cannot be
/// there twice.
fn shuffled(random: &mut Random) -> Vec<Script> {
    let mut scripts = hostile::all();
    scripts.retain(|script| script.zone.iter().all(|(_, answers)| answers.len() == 1));
    let count = TEAMS * ENDPOINTS_OF_A_TEAM;
    let mut all: Vec<Script> = scripts.into_iter().cycle().take(count).collect();
    random.shuffle(&mut all);
    all
}

fn team(round: &str, number: usize) -> String {
    format!("{round}-{number}")
}

/// Makes the teams and their endpoints.
async fn move_in(service: &Service, street: &Street, round: &str) -> Result<()> {
    let mut made = JoinSet::new();
    for (number, receivers) in street.receivers().chunks(ENDPOINTS_OF_A_TEAM).enumerate() {
        service.team(&team(round, number)).await?;
        let operator = service.operator_of(&team(round, number));
        for receiver in receivers {
            let operator = operator.clone();
            let url = format!("{}?{QUERY}", receiver.url());
            // Beside each other: some names take seconds to be given up.
            made.spawn(async move { operator.endpoint(&url, &[]).await.map(drop) });
        }
    }
    made.join_all().await.into_iter().collect()
}

async fn move_out(service: &Service, round: &str) -> Result<()> {
    for number in 0..TEAMS {
        let path = format!("/v1/teams/{}", team(round, number));
        let operator = service.operator();
        operator
            .call("DELETE", &path, &serde_json::Value::Null, 204)
            .await?;
    }
    Ok(())
}

/// What is in use once the attempts that were under way have ended.
async fn at_rest(service: &Service, before: Usage) -> Result<Usage> {
    eventually_within(
        Duration::from_secs(15),
        "files and tasks are as before",
        async || {
            let now = Usage::of(service).await.ok()?;
            (now.files <= before.files + 8 && now.tasks <= before.tasks + 8).then_some(now)
        },
    )
    .await;
    // Memory is given back a little later.
    sleep(Duration::from_secs(2)).await;
    Usage::of(service).await
}
