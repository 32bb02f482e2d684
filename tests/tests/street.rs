//! A street of a thousand hostile receivers, mixed: while they do their worst a healthy neighbour does not notice,
//! and once they are gone, open files, tasks and memory are where they were before the first of them came.
//!
//! What they are held against is the service once it is warm: after a thousand harmless receivers that came, got
//! their events and went.
//!
//! `VK_STREET_SECONDS` says for how long (12), `VK_STREET_SEED` in which order (1).

use std::time::Duration;

use anyhow::{Result, ensure};
use hostile::certificates::Authority;
use hostile::{Script, Street, Takes};
use model::attempt::Outcome;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use vk_tests::{Latency, QUERY, Random, Service, Setup, Steady, Usage, member_removed, setting};

const TEAMS: usize = 100;
const ENDPOINTS_OF_A_TEAM: usize = 10;
/// How often an event is published to one of the teams: as often, some 180 attempts a second are
/// made, since most fail six times. To harmless receivers, who are sent an event once, it takes six times as many.
const EVERY: Duration = Duration::from_millis(333);
const EVERY_TO_HARMLESS: Duration = Duration::from_millis(55);

/// The rounds: what they are called, and how often an event is published in them.
const HARMLESS: (&str, Duration) = ("harmless", EVERY_TO_HARMLESS);
const HOSTILE: (&str, Duration) = ("hostile", EVERY);

/// How long after the receivers have gone all has to be as before: attempts may take 10 s, the name server closes a
/// connection that is idle for 10 s, and the allocator gives back what it holds some 20 s later.
const AT_REST: Duration = Duration::from_secs(45);

/// By how much own memory may have grown then, in MB: caches that were not full yet, and what the allocator keeps of
/// pages that are in use in part.
const ROOM: f64 = 12.0;

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
    let hostile = hostile_scripts(&mut random);
    let street = Street::open(hostile, &authority, 1.0).await?;
    // Their names are plain ones, which the other street's name server gives an address to.
    let harmless = Street::open(harmless_scripts(), &authority, 1.0).await?;
    let name_server = street.name_server().to_string();
    let options = [
        ["--allow-cidr", "127.0.0.0/8"],
        ["--ca-file", &roots],
        ["--dns-server", &name_server],
    ];
    let options = [&["--allow-http"][..], &options.concat()].concat();
    let service = setup.start_strict(&options).await?;

    // Fills what is kept for good: caches, readers of the store, and what the allocator holds on to.
    let (warm, _) = round(
        &setup,
        &service,
        &harmless,
        HARMLESS,
        seconds / 2,
        &mut random,
    )
    .await?;
    sleep(AT_REST / 3).await;
    let before = least(&service).await?;
    let (most, latency) = round(&setup, &service, &street, HOSTILE, seconds, &mut random).await?;
    let after = at_rest(&service, before).await?;
    let stranger = service.stranger();
    let attempts = stranger
        .metric("vk_webhooks_attempt_duration_seconds_count")
        .await?;
    println!(
        "seed {seed}, {seconds} s, {attempts} attempts\nat most with harmless ones {warm:?}\nbefore {before:?}\nat \
         most {most:?}\nafter {after:?}\nhealthy {latency:?}"
    );
    assert!(attempts > 20.0 * seconds as f64, "{attempts} attempts only");
    assert!(latency.p50 < Duration::from_millis(100), "{latency:?}");
    assert!(latency.p99 < Duration::from_secs(1), "{latency:?}");
    Ok(())
}

/// Lets all receivers move in beside a healthy one, sends them events for so long, and has all of them move out; the
/// most that was in use, and how late the healthy one got its events.
async fn round(
    setup: &Setup,
    service: &Service,
    street: &Street,
    (name, every): (&str, Duration),
    seconds: u64,
    random: &mut Random,
) -> Result<(Usage, Latency)> {
    let neighbour = format!("{name}-neighbour");
    service.team(&neighbour).await?;
    let steadily = Duration::from_millis(100);
    let team_of_it = service.operator_of(&neighbour);
    let steady = Steady::start(&team_of_it, setup.inbox().await?, steadily).await?;
    move_in(service, street, name).await?;
    let mut most = Usage::of(service).await?;
    let mut ticks = interval_at(Instant::now(), every);
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
    let latency = steady.stop().await?;
    let teams = (0..TEAMS).map(|number| team(name, number));
    for team in teams.chain([neighbour]) {
        let path = format!("/v1/teams/{team}");
        let operator = service.operator();
        operator.call("DELETE", &path, &Value::Null, 204).await?;
    }
    Ok((most, latency))
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

/// As many scripts as there are endpoints, in any order.
fn hostile_scripts(random: &mut Random) -> Vec<Script> {
    let scripts = hostile::all();
    let count = scripts.len();
    let mut all: Vec<Script> = scripts
        .into_iter()
        .cycle()
        .take(TEAMS * ENDPOINTS_OF_A_TEAM)
        .enumerate()
        .map(|(number, script)| match number / count {
            0 => script,
            again => of_its_own_name(script, again),
        })
        .collect();
    random.shuffle(&mut all);
    all
}

/// A name that is good only for whoever comes first cannot be two receivers'.
fn of_its_own_name(mut script: Script, again: usize) -> Script {
    if script.zone.iter().any(|(_, answers)| answers.len() > 1) {
        let name = format!("{}-{again}", script.name);
        for (label, _) in &mut script.zone {
            if *label == script.name {
                label.clone_from(&name);
            }
        }
        script.name = name;
    }
    script
}

/// As many that may be unusual, and are right: those of plain names, which answer at once.
fn harmless_scripts() -> Vec<Script> {
    let mut scripts = hostile::all();
    scripts.retain(|script| {
        script.expect.outcome == Outcome::Delivered
            && script.expect.takes == Takes::AtOnce
            && script.zone.is_empty()
    });
    let count = TEAMS * ENDPOINTS_OF_A_TEAM;
    scripts.into_iter().cycle().take(count).collect()
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

/// What is in use once the attempts that were under way have ended and memory was given back: no file and no task more
/// than before, and hardly any memory.
async fn at_rest(service: &Service, before: Usage) -> Result<Usage> {
    let deadline = Instant::now() + AT_REST;
    loop {
        let now = least(service).await?;
        let grown = now.memory - before.memory;
        if now.files <= before.files && now.tasks <= before.tasks && grown <= ROOM {
            return Ok(now);
        }
        ensure!(
            Instant::now() < deadline,
            "not within {AT_REST:?}: before {before:?}, now {now:?}"
        );
    }
}

/// The least that is in use within two seconds: the connections by which it is asked come and go.
async fn least(service: &Service) -> Result<Usage> {
    let mut least = Usage::of(service).await?;
    for _ in 0..40 {
        sleep(Duration::from_millis(50)).await;
        let now = Usage::of(service).await?;
        least.memory = least.memory.min(now.memory);
        least.files = least.files.min(now.files);
        least.tasks = least.tasks.min(now.tasks);
    }
    Ok(least)
}
