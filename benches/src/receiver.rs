//! Hides a real HTTPS receiver that does as little as one can: read a request, count it, answer it.
//!
//! It tells its port at the start, and answers each line on standard input with a line. What it
//! does with a request follows from the path: see [`Temper`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use local_receiver::Authority;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::clock::now_us;
use crate::event::due_of;
use crate::stats::Percentiles;
use crate::wire::Reader;

/// How long a slow receiver takes to answer.
pub(crate) const SLOW: Duration = Duration::from_millis(50);

/// How many requests a limited receiver takes a second, and how many of them at once.
pub(crate) const LIMIT: f64 = 50.0;
const AT_ONCE: f64 = 5.0;

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: Wed, 01 Apr 2026 12:00:00 GMT\r\n\r\n";
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n";
const FAILURE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// What is done with a request, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Count it, answer 200.
    Plain,
    /// That, and keep how long after its due moment it arrived.
    Timed,
    /// Count it, answer 200 after [`SLOW`].
    Slow,
    /// Never answer.
    Hang,
    /// Answer 503.
    Fail,
    /// Count it and answer 200 as often as [`LIMIT`] says, beyond that answer 429.
    Limited,
}

impl Temper {
    /// The path of it.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Plain => "/plain",
            Self::Timed => "/timed",
            Self::Slow => "/slow",
            Self::Hang => "/hang",
            Self::Fail => "/fail",
            Self::Limited => "/limited",
        }
    }

    fn of(first_line: &[u8]) -> Self {
        match first_line.get("POST /".len()) {
            Some(b't') => Self::Timed,
            Some(b's') => Self::Slow,
            Some(b'h') => Self::Hang,
            Some(b'f') => Self::Fail,
            Some(b'l') => Self::Limited,
            _ => Self::Plain,
        }
    }
}

/// What `receiver` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to write the certificate to trust
    #[arg(long)]
    ca_file: PathBuf,
}

/// How many requests have arrived, those that hang, fail or are too many aside.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    pub(crate) count: u64,
    /// When the last of them did.
    pub(crate) last_us: u64,
}

#[derive(Default)]
struct Tally {
    count: AtomicU64,
    last_us: AtomicU64,
    /// Requests that were too many for a limited receiver.
    refused: AtomicU64,
    /// How many more it takes now, and since when it is so; none before the first.
    left: Mutex<Option<(f64, Instant)>>,
    /// When each timed event was due, and how long after that it arrived.
    samples: Mutex<Vec<(u64, u32)>>,
}

/// Receives until standard input ends.
pub(crate) async fn run(options: Options) -> Result<()> {
    raise_open_files()?;
    let authority = Authority::new()?;
    std::fs::write(&options.ca_file, authority.pem())?;
    let acceptor = TlsAcceptor::from(authority.server_config(&["127.0.0.1"])?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let tally = Arc::new(Tally::default());
    println!("{}", listener.local_addr()?.port());
    tokio::spawn(accept(listener, acceptor, Arc::clone(&tally)));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        println!("{}", tally.answer(&line)?);
    }
    Ok(())
}

impl Tally {
    /// `count`: how many have arrived. `refused`: how many were too many. `due FROM TO`: how many timed events have arrived that were
    /// due in that span. `latencies FROM TO`: their percentiles; all samples are forgotten then.
    fn answer(&self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words[..] {
            ["count"] => serde_json::to_string(&Arrivals {
                count: self.count.load(Ordering::Relaxed),
                last_us: self.last_us.load(Ordering::Relaxed),
            })?,
            ["refused"] => self.refused.load(Ordering::Relaxed).to_string(),
            [question @ ("due" | "latencies"), from, to] => {
                let span = from.parse()?..to.parse()?;
                let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
                let within = |(due, _): &&(u64, u32)| span.contains(due);
                if question == "due" {
                    return Ok(samples.iter().filter(within).count().to_string());
                }
                let late = samples.iter().filter(within).map(|(_, late)| *late);
                let percentiles = Percentiles::of(late.collect());
                samples.clear();
                serde_json::to_string(&percentiles)?
            }
            _ => bail!("the receiver does not know {line:?}"),
        })
    }

    /// Whether a limited receiver takes one more now.
    fn takes(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (before, since) = left.unwrap_or((AT_ONCE, now));
        let gone = now.duration_since(since).as_secs_f64();
        let now_left = (before + gone * LIMIT).min(AT_ONCE);
        let takes = now_left >= 1.0;
        *left = Some((if takes { now_left - 1.0 } else { now_left }, now));
        if !takes {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }

    fn arrived(&self, timed: bool, body: &[u8]) -> Result<()> {
        let now = now_us();
        if timed {
            let due = due_of(body).context("a timed event does not say when it was due")?;
            let late = u32::try_from(now.saturating_sub(due)).unwrap_or(u32::MAX);
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples.push((due, late));
        }
        self.last_us.store(now, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A thousand endpoints hold more connections than a session may have files open by default.
fn raise_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the number of open files")
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, tally: Arc<Tally>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, tally) = (acceptor.clone(), Arc::clone(&tally));
        tokio::spawn(async move {
            // A connection that ends early shows as a delivery that is missing in the count.
            let _ = converse(stream, acceptor, &tally).await;
        });
    }
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, tally: &Tally) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut reader = Reader::default();
    while let Some(request) = reader.next(&mut stream).await? {
        let temper = Temper::of(request.first_line);
        let mut answer = OK;
        match temper {
            Temper::Plain | Temper::Slow => tally.arrived(false, request.body)?,
            Temper::Timed => tally.arrived(true, request.body)?,
            // Read on, so that the end of the connection is noticed.
            Temper::Hang => continue,
            Temper::Fail => answer = FAILURE,
            Temper::Limited if tally.takes() => tally.arrived(false, request.body)?,
            Temper::Limited => answer = TOO_MANY,
        }
        if temper == Temper::Slow {
            tokio::time::sleep(SLOW).await;
        }
        stream.write_all(answer).await?;
        stream.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_temper_is_known_by_its_path() {
        use Temper::{Fail, Hang, Limited, Plain, Slow, Timed};
        for temper in [Plain, Timed, Slow, Hang, Fail, Limited] {
            let line = format!("POST {} HTTP/1.1", temper.path());
            assert_eq!(Temper::of(line.as_bytes()), temper);
        }
    }

    #[test]
    fn a_limited_receiver_takes_a_few_at_once_and_counts_the_others() {
        let tally = Tally::default();
        let taken = (0..20).filter(|_| tally.takes()).count();
        assert!((5..8).contains(&taken), "{taken}");
        assert_eq!(tally.answer("refused").unwrap(), (20 - taken).to_string());
    }

    #[test]
    fn only_latencies_of_the_span_are_told_and_then_forgotten() {
        let tally = Tally::default();
        for (due, late) in [(10, 1000), (20, 2000), (30, 3000)] {
            tally.samples.lock().unwrap().push((due, late));
        }
        assert_eq!(tally.answer("due 15 31").unwrap(), "2");
        let told = tally.answer("latencies 15 30").unwrap();
        let told: Percentiles = serde_json::from_str(&told).unwrap();
        assert_eq!((told.count, told.p50), (1, 2.0));
        assert!(tally.samples.lock().unwrap().is_empty());
        assert!(tally.answer("sing").is_err());
    }
}
