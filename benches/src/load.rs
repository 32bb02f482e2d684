//! Hides the publishers: so many connections, each with one publication under way at a time.
//!
//! It is told what to do by a line on standard input, prints what came of it, and lives on until
//! its input ends, so that what it has used can be read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clock::now_us;
use crate::event::Publication;
use crate::pace;
use crate::stats::Percentiles;
use crate::wire::Reader;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Where the service listens.
    pub(crate) address: SocketAddr,
    /// A key of each team that is published for.
    pub(crate) keys: Vec<String>,
    /// Connections that publish.
    pub(crate) connections: usize,
    /// Events in one call; 1 means that they are published singly.
    pub(crate) batch: usize,
    /// When to publish.
    pub(crate) rhythm: Rhythm,
}

/// When to publish.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Rhythm {
    /// Each connection as soon as it was answered, for so long.
    For { seconds: f64 },
    /// Each connection as soon as it was answered, until so many calls were made in all.
    Calls { calls: u64 },
    /// By a schedule that waits for nobody: so many events a second, for so long.
    Open { per_second: f64, seconds: f64 },
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Events acknowledged.
    pub(crate) events: u64,
    /// When publishing began.
    pub(crate) started_us: u64,
    /// When the last publication was acknowledged.
    pub(crate) ended_us: u64,
    /// How long publications took to be acknowledged; by a schedule, since they were due.
    pub(crate) acknowledged: Percentiles,
    /// By a schedule: how long after they were due publications were sent.
    pub(crate) sent: Percentiles,
}

/// Latencies in microseconds, as a connection notes them.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) acknowledged: Vec<u32>,
    pub(crate) sent: Vec<u32>,
}

/// Follows the orders that come in.
pub(crate) async fn run() -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let outcome = publish(serde_json::from_str(&line)?).await?;
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}

async fn publish(orders: Orders) -> Result<Outcome> {
    // All are connected before the first of them publishes.
    let mut connections = Vec::new();
    for _ in 0..orders.connections {
        connections.push(Connection::open(orders.address).await?);
    }
    let started_us = now_us();
    let publishers = match orders.rhythm {
        Rhythm::Open {
            per_second,
            seconds,
        } => pace::start(&orders, connections, started_us, per_second, seconds),
        Rhythm::For { .. } | Rhythm::Calls { .. } => closed_loop(&orders, connections, started_us),
    };
    finish(&orders, publishers, started_us).await
}

/// Every connection publishes one after the other, for its own teams by turns.
fn closed_loop(
    orders: &Orders,
    connections: Vec<Connection>,
    started_us: u64,
) -> JoinSet<Result<Notes>> {
    let (end_us, calls) = match orders.rhythm {
        Rhythm::For { seconds } => (started_us + (seconds * 1e6) as u64, u64::MAX),
        Rhythm::Calls { calls } => (u64::MAX, calls),
        Rhythm::Open { .. } => (0, 0),
    };
    let left = Arc::new(AtomicU64::new(calls));
    let mut publishers = JoinSet::new();
    for (number, mut connection) in connections.into_iter().enumerate() {
        let own = own_keys(&orders.keys, number, orders.connections);
        let publications: Vec<Publication> = own
            .map(|key| match orders.batch {
                1 => Publication::single(key),
                events => Publication::batch(key, events),
            })
            .collect();
        let left = Arc::clone(&left);
        publishers.spawn(async move {
            let mut notes = Notes::default();
            for publication in publications.iter().cycle() {
                let start = now_us();
                let one_less = |left: u64| left.checked_sub(1);
                let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
                if start >= end_us || taken.is_err() {
                    break;
                }
                connection.call(publication.bytes()).await?;
                notes.acknowledged.push(since(start));
            }
            Ok(notes)
        });
    }
    publishers
}

/// The teams a connection publishes for. Every team has a connection, and every connection a team.
fn own_keys(
    keys: &[String],
    connection: usize,
    connections: usize,
) -> impl Iterator<Item = &String> {
    let first = connection % keys.len().max(1);
    keys.iter().skip(first).step_by(connections)
}

async fn finish(
    orders: &Orders,
    mut publishers: JoinSet<Result<Notes>>,
    started_us: u64,
) -> Result<Outcome> {
    let mut all = Notes::default();
    while let Some(notes) = publishers.join_next().await {
        let notes = notes??;
        all.acknowledged.extend(notes.acknowledged);
        all.sent.extend(notes.sent);
    }
    Ok(Outcome {
        events: (all.acknowledged.len() * orders.batch) as u64,
        started_us,
        ended_us: now_us(),
        acknowledged: Percentiles::of(all.acknowledged),
        sent: Percentiles::of(all.sent),
    })
}

/// Microseconds since a moment.
pub(crate) fn since(moment_us: u64) -> u32 {
    u32::try_from(now_us().saturating_sub(moment_us)).unwrap_or(u32::MAX)
}

/// A connection to the service.
pub(crate) struct Connection {
    stream: TcpStream,
    reader: Reader,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            reader: Reader::default(),
        })
    }

    /// Sends a request and waits until it is accepted.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        let answer = self.reader.next(&mut self.stream).await?;
        let answer = answer.context("the service closed the connection")?;
        ensure!(
            answer.first_line.starts_with(b"HTTP/1.1 202"),
            "publishing was answered with {} {}",
            String::from_utf8_lossy(answer.first_line),
            String::from_utf8_lossy(answer.body)
        );
        Ok(())
    }
}
