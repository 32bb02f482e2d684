//! Five times what the service delivers, under a limit of 512 MB of memory: it lives and says so, what is beyond
//! its bounds is refused with 503, and all that was acknowledged is delivered in the end.
//!
//! What publishers are quicker by than receivers waits on disk, which is not bounded. What is bounded is what is
//! in memory before it is on disk: 32 MiB of the bodies of requests that are being answered, and 32 MiB of
//! events that wait for the store. So events come in bursts here, each of more than that.
//!
//! The load is closed by count: on a machine that is busy with other things it goes on for longer than it was
//! asked to, until five times has been sent of what was delivered meanwhile.
//!
//! `VK_OVERLOAD_SECONDS` says for how long (15).

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use local_receiver::Receiver;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use vk_tests::{
    Answer, Api, Arrival, MemoryLimit, Setup, Start, eventually_within, member_removed, setting,
};

const LIMIT: u64 = 512_000_000;
/// How many times as much is offered as is delivered.
const TIMES: usize = 5;
/// By how much more it is paced, so that a measurement that came out low does not matter.
const PACE: f64 = 1.1;
/// How long receivers think, and how many they are asked by at a time: a bound of 20 a second.
const THINKS: Duration = Duration::from_millis(100);
const PLACES: &str = "2";
/// How long an event is, and how many come at once: 96 MB, more than may be in memory.
const PADDING: usize = 240_000;
const BURST: usize = 400;
/// How many connections the publishers have at most: fewer than are served, so that whoever asks beside them
/// has to be answered.
const CONNECTIONS: usize = 1600;
/// How many events the first measurement sends.
const MEASURED: usize = 100;
/// How many times longer than asked it may go on, on a busy machine.
const PATIENCE: u32 = 8;

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

/// An event of this number, in two parts: what is its own, and what is the same in all.
fn event(number: usize, padding: usize) -> (String, String) {
    let rest = member_removed().to_string().split_off(1);
    let own = format!(r#"{{"type":"team.member_removed","data":{{"number":{number},"#);
    let same = format!(r#""padding":"{}",{rest}}}"#, "x".repeat(padding));
    (own, same)
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
    /// How many requests were sent to their end.
    offered: usize,
    /// The numbers that were acknowledged, and how long each took.
    acknowledged: Vec<(usize, Duration)>,
    refused: Vec<usize>,
    /// Whatever else was answered.
    otherwise: Vec<String>,
}

impl Outcome {
    fn quantile(&self, of_hundred: usize) -> Duration {
        let mut took: Vec<Duration> = self.acknowledged.iter().map(|(_, took)| *took).collect();
        took.sort();
        took.get((took.len() * of_hundred / 100).min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Whoever publishes: bytes that are made once, over connections that are kept, so that offering costs the
/// machine as little as may be.
struct Publishers {
    service: SocketAddr,
    key: String,
    /// What is the same in all events.
    same: Bytes,
    idle: Mutex<Vec<TcpStream>>,
    places: Arc<Semaphore>,
    outcome: Mutex<Outcome>,
}

impl Publishers {
    /// Sends so many events at once, numbered from `first`, and does not wait for the answers.
    fn burst(self: &Arc<Self>, first: usize, requests: &mut JoinSet<()>) {
        for number in first..first + BURST {
            let publishers = Arc::clone(self);
            requests.spawn(async move {
                let _place = publishers.places.acquire().await;
                let begun = Instant::now();
                let answer = publishers.offer(number).await;
                let mut outcome = locked(&publishers.outcome);
                match answer {
                    Ok(202) => outcome.acknowledged.push((number, begun.elapsed())),
                    Ok(503) => outcome.refused.push(number),
                    Ok(other) => outcome.otherwise.push(other.to_string()),
                    Err(error) => outcome.otherwise.push(format!("{error:#}")),
                }
            });
        }
    }

    /// Sends one; the status, where a refusal is a whole one.
    async fn offer(&self, number: usize) -> Result<u16> {
        let kept = locked(&self.idle).pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => TcpStream::connect(self.service).await?,
        };
        let (own, _) = event(number, 0);
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: {}\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{own}",
            self.service,
            self.key,
            own.len() + self.same.len()
        );
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(&self.same).await?;
        locked(&self.outcome).offered += 1;
        let (head, body) = read_answer(&mut connection).await?;
        let status = head.get(9..12).context("a status")?.parse()?;
        if status == 503 {
            ensure!(head.contains("\r\nretry-after: "), "{head}");
            ensure!(body.contains(r#""code":"unavailable""#), "{body}");
        }
        locked(&self.idle).push(connection);
        Ok(status)
    }
}

/// One answer: its head, in lower case, and its body.
async fn read_answer(connection: &mut TcpStream) -> Result<(String, String)> {
    let mut answer = Vec::with_capacity(1024);
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("\r\ncontent-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next());
            if body.len() >= length.context("content-length")?.parse()? {
                return Ok((head, body.to_owned()));
            }
        }
        if connection.read_buf(&mut answer).await? == 0 {
            bail!("closed without an answer");
        }
    }
}

/// What was offered and delivered while it was.
struct Overload {
    outcome: Outcome,
    lasted: Duration,
    delivered: usize,
}

/// Offers [`TIMES`] what is delivered, for so long at least.
async fn overload(
    publishers: Arc<Publishers>,
    book: &Book,
    delivers: f64,
    least: Duration,
) -> Result<Overload> {
    let mut requests = JoinSet::new();
    let every = BURST as f64 / (delivers * TIMES as f64 * PACE);
    let mut ticks = interval(Duration::from_secs_f64(every));
    // One that is late is made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let before = book.count();
    let begun = Instant::now();
    let mut first = before;
    let (lasted, delivered) = loop {
        ticks.tick().await;
        let (lasted, delivered) = (begun.elapsed(), book.count() - before);
        let offered = locked(&publishers.outcome).offered;
        let wanted = delivers * TIMES as f64 * lasted.as_secs_f64();
        if lasted >= least && offered >= TIMES * delivered && offered as f64 >= wanted {
            break (lasted, delivered);
        }
        ensure!(
            lasted < least * PATIENCE,
            "the machine is too slow for {TIMES} times: {offered} offered, {delivered} delivered in {lasted:?}"
        );
        publishers.burst(first, &mut requests);
        first += BURST;
    };
    requests.join_all().await;
    let outcome = std::mem::take(&mut *locked(&publishers.outcome));
    Ok(Overload {
        outcome,
        lasted,
        delivered,
    })
}

/// What was seen of the service all the while.
#[derive(Clone, Default)]
struct Seen {
    /// The most memory of its own.
    memory: u64,
    /// How often it was asked whether it is alive, the longest it took to say so, and each time it did not.
    asked: usize,
    slowest: Duration,
    unanswered: Vec<String>,
}

/// Looks at the service until it is `over`.
fn watch(pid: i32, stranger: Api, over: Arc<AtomicBool>) -> JoinHandle<Result<Seen>> {
    tokio::spawn(async move {
        let mut seen = Seen::default();
        while !over.load(Ordering::Relaxed) {
            seen.memory = seen.memory.max(own_memory(pid)?);
            let begun = Instant::now();
            let alive = stranger.send("GET", "/healthz", &[], "").await;
            seen.asked += 1;
            seen.slowest = seen.slowest.max(begun.elapsed());
            match alive {
                Ok(alive) if alive.status == 200 => {}
                Ok(other) => seen.unanswered.push(other.status.to_string()),
                Err(error) => seen.unanswered.push(format!("{error:#}")),
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(seen)
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
    let least = Duration::from_secs(setting("VK_OVERLOAD_SECONDS", 15)?);
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
    let batch: Vec<String> = (0..MEASURED)
        .map(|number| event(number, 0))
        .map(|(own, same)| own + &same)
        .collect();
    let body = format!(r#"{{"events":[{}]}}"#, batch.join(","));
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

    let publishers = Publishers {
        service: service.address(),
        key: team.key().to_owned(),
        same: event(0, PADDING).1.into(),
        idle: Mutex::default(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        outcome: Mutex::default(),
    };
    let pid = service.pid()?.as_raw_nonzero().get();
    let over = Arc::<AtomicBool>::default();
    let watcher = watch(pid, service.stranger(), Arc::clone(&over));
    let Overload {
        outcome,
        lasted,
        delivered,
    } = overload(Arc::new(publishers), &book, delivers, least).await?;
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
    over.store(true, Ordering::Relaxed);
    let seen = watcher.await??;
    let (status, log) = service.terminate().await?;
    ensure!(status.success(), "{log}");

    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "figure: it delivers {delivers:.1}/s; in {:.1} s {} were offered ({:.1}/s, {:.2} times the {delivered} that \
         were delivered meanwhile), {} acknowledged, {} refused; acknowledged within {:?} (half), {:?} (99 %), {:?} \
         (all); own memory at most {} MB, with files {} MB of {} MB; /healthz answered {} times, within {:?}",
        lasted.as_secs_f64(),
        outcome.offered,
        outcome.offered as f64 / lasted.as_secs_f64(),
        outcome.offered as f64 / delivered as f64,
        outcome.acknowledged.len(),
        outcome.refused.len(),
        outcome.quantile(50),
        outcome.quantile(99),
        outcome.quantile(100),
        megabytes(seen.memory),
        megabytes(memory.peak()?),
        megabytes(LIMIT),
        seen.asked - seen.unanswered.len(),
        seen.slowest,
    );
    let otherwise = &outcome.otherwise;
    assert!(
        otherwise.is_empty(),
        "{} other answers, such as {:?}",
        otherwise.len(),
        otherwise.first()
    );
    let unanswered = &seen.unanswered;
    assert!(unanswered.is_empty(), "/healthz: {unanswered:?}");
    assert!(seen.slowest < Duration::from_secs(10), "{:?}", seen.slowest);
    assert!(lasted >= least, "{lasted:?}");
    assert!(
        outcome.offered >= TIMES * delivered
            && outcome.offered as f64 >= TIMES as f64 * delivers * least.as_secs_f64(),
        "too little was offered"
    );
    assert_eq!(
        outcome.acknowledged.len() + outcome.refused.len(),
        outcome.offered
    );
    assert!(!outcome.refused.is_empty(), "nothing was too much");
    assert!(
        outcome.acknowledged.len() > delivered,
        "little was accepted"
    );
    assert_eq!(memory.kills()?, 0);
    assert!(seen.memory < LIMIT, "{}", seen.memory);
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
