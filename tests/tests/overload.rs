//! Five times what the service delivers, under a limit of 512 MB of memory: it lives, what is beyond its bounds
//! is refused with 503, and all that was acknowledged is delivered in the end.
//!
//! What publishers are quicker by than receivers waits on disk, which is not bounded. What is bounded is what is
//! in memory before it is on disk: 32 MiB of the bodies of requests that are being answered, and 32 MiB of
//! events that wait for the store. So each second's events come all at once here.
//!
//! `VK_OVERLOAD_SECONDS` says for how long (15).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use local_receiver::Receiver;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use vk_tests::{
    Answer, Api, Arrival, MemoryLimit, Setup, Start, eventually_within, member_removed,
};

const LIMIT: u64 = 512_000_000;
/// How many times as much is offered as is delivered.
const TIMES: usize = 5;
/// How long receivers think, and how many they are asked by at a time: a bound of 80 a second.
const THINKS: Duration = Duration::from_millis(100);
const PLACES: &str = "8";
/// How long an event is: a second of them together are more than may be in memory.
const PADDING: usize = 240_000;
/// How many requests the publishers have in flight at most.
const PUBLISHERS: usize = 4000;
/// How many events the first measurement sends.
const MEASURED: usize = 240;

/// What arrived, by the numbers of the events, and whether the receiver takes its time.
#[derive(Default)]
struct Book {
    arrived: Mutex<HashSet<usize>>,
    quick: AtomicBool,
}

impl Book {
    fn count(&self) -> usize {
        locked(&self.arrived).len()
    }

    fn answer(&self, arrival: &Arrival) -> Answer {
        if let Some(number) = number_of(&arrival.body) {
            locked(&self.arrived).insert(number);
        }
        let thinks = if self.quick.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            THINKS
        };
        Answer::status(200).after(thinks)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const BEFORE_NUMBER: &[u8] = br#""data":{"number":"#;

/// An event of this number, which stands at its beginning.
fn event(number: usize, padding: &str) -> Bytes {
    let rest = member_removed().to_string().split_off(1);
    let event = format!(
        r#"{{"type":"team.member_removed","data":{{"number":{number},"padding":"{padding}",{rest}}}"#
    );
    event.into()
}

fn number_of(body: &[u8]) -> Option<usize> {
    let at = body
        .windows(BEFORE_NUMBER.len())
        .position(|some| some == BEFORE_NUMBER)?;
    let digits = body[at + BEFORE_NUMBER.len()..]
        .split(|byte| !byte.is_ascii_digit())
        .next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What became of what was offered.
#[derive(Default)]
struct Outcome {
    /// The numbers that were acknowledged, and how long each took.
    acknowledged: Vec<(usize, Duration)>,
    refused: Vec<usize>,
    /// Whatever else was answered.
    otherwise: Vec<String>,
    /// What could not even be offered: too much was in flight.
    beyond: usize,
}

impl Outcome {
    fn offered(&self) -> usize {
        self.acknowledged.len() + self.refused.len() + self.otherwise.len()
    }

    fn quantile(&self, of_hundred: usize) -> Duration {
        let mut took: Vec<Duration> = self.acknowledged.iter().map(|(_, took)| *took).collect();
        took.sort();
        took.get((took.len() * of_hundred / 100).min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

async fn offer(team: Api, number: usize, padding: Arc<str>, outcome: Arc<Mutex<Outcome>>) {
    let begun = Instant::now();
    let reply = team
        .send("POST", "/v1/events", &[], event(number, &padding))
        .await;
    let mut outcome = locked(&outcome);
    match reply {
        Ok(reply) if reply.status == 202 => outcome.acknowledged.push((number, begun.elapsed())),
        Ok(reply)
            if (reply.status, reply.code()) == (503, "unavailable")
                && reply.headers.contains_key("retry-after") =>
        {
            outcome.refused.push(number);
        }
        Ok(reply) => outcome
            .otherwise
            .push(format!("{} {}", reply.status, reply.text)),
        Err(error) => outcome.otherwise.push(format!("{error:#}")),
    }
}

/// Offers `each` events at once every second, for so many seconds, numbered from `first`.
async fn overload(team: &Api, first: usize, each: usize, seconds: u64) -> Result<Outcome> {
    let outcome = Arc::<Mutex<Outcome>>::default();
    let padding: Arc<str> = "x".repeat(PADDING).into();
    let places = Arc::new(Semaphore::new(PUBLISHERS));
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let numbers: Vec<usize> = (first..).take(each * seconds as usize).collect();
    for burst in numbers.chunks(each) {
        ticks.tick().await;
        for number in burst {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                locked(&outcome).beyond += 1;
                continue;
            };
            let request = offer(team.clone(), *number, padding.clone(), outcome.clone());
            requests.spawn(async move {
                request.await;
                drop(place);
            });
        }
    }
    requests.join_all().await;
    Ok(std::mem::take(&mut *locked(&outcome)))
}

/// Looks at the service all the while: the most memory of its own, and how long it took to say it is alive.
fn watch(pid: i32, stranger: Api) -> JoinHandle<(u64, Duration)> {
    let seen = Arc::<Mutex<(u64, Duration)>>::default();
    tokio::spawn(async move {
        loop {
            let begun = Instant::now();
            let alive = stranger.send("GET", "/healthz", &[], "").await;
            let Ok(own) = own_memory(pid) else {
                return *locked(&seen);
            };
            {
                let mut seen = locked(&seen);
                seen.0 = seen.0.max(own);
                if alive.is_ok_and(|alive| alive.status == 200) {
                    seen.1 = seen.1.max(begun.elapsed());
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    })
}

/// What a process has allocated, in bytes.
fn own_memory(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.context("RssAnon")?.split_whitespace().next();
    Ok(kib.context("a number")?.parse::<u64>()? * 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_what_is_delivered_kills_nobody_and_loses_nothing_acknowledged() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
    let seconds = match std::env::var("VK_OVERLOAD_SECONDS") {
        Ok(text) => text.parse().context("VK_OVERLOAD_SECONDS")?,
        Err(_) => 15,
    };
    let memory = MemoryLimit::new(LIMIT)?;
    let setup = Setup::new()?;
    let starter = memory.starter();
    let starter = starter.each_ref().map(String::as_str);
    let start = Start {
        under: &starter,
        ..Start::default()
    };
    let options = ["--allow-http", "--max-in-flight-per-endpoint", PLACES];
    let service = setup.start_as(start, &options).await?;
    let team = service.team("acme").await?;
    let book = Arc::<Book>::default();
    let writes = Arc::clone(&book);
    let receiver = Receiver::start(0, None, move |arrival| {
        std::future::ready(writes.answer(&arrival))
    });
    let receiver = receiver.await?;
    team.endpoint(&receiver.url("/hooks"), &[]).await?;

    // How much is delivered where there is enough to deliver.
    let batch: Vec<Bytes> = (0..MEASURED).map(|number| event(number, "")).collect();
    let batch = batch
        .iter()
        .map(|event| String::from_utf8_lossy(event))
        .collect::<Vec<_>>()
        .join(",");
    let body = format!(r#"{{"events":[{batch}]}}"#);
    let reply = team.send("POST", "/v1/events/batch", &[], body).await?;
    ensure!(reply.status == 202, "{}", reply.text);
    let begun = Instant::now();
    eventually_within(
        Duration::from_secs(60),
        "the first are delivered",
        async || (book.count() == MEASURED).then_some(()),
    )
    .await;
    let delivers = MEASURED as f64 / begun.elapsed().as_secs_f64();

    let each = (delivers * TIMES as f64) as usize;
    let pid = service.pid()?.as_raw_nonzero().get();
    let watcher = watch(pid, service.stranger());
    let outcome = overload(&team, MEASURED, each, seconds).await?;
    let meanwhile = book.count() - MEASURED;
    book.quick.store(true, Ordering::Relaxed);
    eventually_within(
        Duration::from_secs(240),
        "everything acknowledged is delivered",
        async || {
            let arrived = locked(&book.arrived);
            outcome
                .acknowledged
                .iter()
                .all(|(number, _)| arrived.contains(number))
                .then_some(())
        },
    )
    .await;
    let alive = service.stranger().send("GET", "/healthz", &[], "").await?;
    assert_eq!(alive.status, 200);
    let (status, log) = service.terminate().await?;
    ensure!(status.success(), "{log}");
    let (own, slowest) = watcher.await?;

    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "figure: it delivers {delivers:.0}/s; in {seconds} s {} were offered ({} more could not be), {} \
         acknowledged, {} refused, {meanwhile} delivered; acknowledged within {:?} (half), {:?} (99 %), {:?} \
         (all); own memory at most {} MB, with files {} MB of {} MB; /healthz within {slowest:?}",
        outcome.offered(),
        outcome.beyond,
        outcome.acknowledged.len(),
        outcome.refused.len(),
        outcome.quantile(50),
        outcome.quantile(99),
        outcome.quantile(100),
        megabytes(own),
        megabytes(memory.peak()?),
        megabytes(LIMIT),
    );
    let otherwise = &outcome.otherwise;
    assert!(
        otherwise.is_empty(),
        "{} other answers, such as {:?}",
        otherwise.len(),
        otherwise.first()
    );
    assert!(
        outcome.offered() >= (TIMES - 1) * meanwhile,
        "too little was offered"
    );
    assert!(!outcome.refused.is_empty(), "nothing was too much");
    assert!(
        outcome.acknowledged.len() > meanwhile,
        "little was accepted"
    );
    assert_eq!(memory.kills()?, 0);
    assert!(own < LIMIT, "{own}");
    let arrived = locked(&book.arrived);
    let half_accepted: Vec<_> = outcome
        .refused
        .iter()
        .filter(|number| arrived.contains(number))
        .collect();
    assert!(
        half_accepted.is_empty(),
        "refused and delivered: {half_accepted:?}"
    );
    Ok(())
}
