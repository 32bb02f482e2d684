//! Hides a publisher: so many connections, each publishing one event after the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is published: an event of ordinary size.
pub(crate) const EVENT: &str = r#"{"type":"document.viewed","data":{"dealRoomId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ab","documentId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ac","linkId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ad","viewerEmail":"ada@example.com","pageCount":12,"duration":184,"timestamp":"2026-04-01T12:00:00.000Z"}}"#;

/// What `load` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the service listens
    #[arg(long)]
    address: SocketAddr,
    /// A team's key
    #[arg(long)]
    key: String,
    /// Connections that publish
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// For how long
    #[arg(long)]
    seconds: u64,
}

/// What came of it, as it is printed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Events acknowledged.
    pub(crate) published: u64,
    /// Half of the publications were answered within this, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 % of them were.
    pub(crate) p99_ms: f64,
}

/// Publishes and prints what came of it.
pub(crate) async fn run(options: Options) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut publishers = JoinSet::new();
    for _ in 0..options.connections {
        publishers.spawn(publish(options.address, options.key.clone(), end));
    }
    let mut took = Vec::new();
    while let Some(publisher) = publishers.join_next().await {
        took.extend(publisher??);
    }
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100);
    let ms = |share| at(share).map_or(0.0, |span| span.as_secs_f64() * 1000.0);
    let outcome = Outcome {
        published: took.len() as u64,
        p50_ms: ms(50),
        p99_ms: ms(99),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// How long each publication took.
async fn publish(address: SocketAddr, key: String, end: Instant) -> Result<Vec<Duration>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to the request that runs over it.
    tokio::spawn(connection);
    let mut took = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let request = Request::post("/v1/events")
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .header("x-api-key", &key)
            .body(Full::new(Bytes::from_static(EVENT.as_bytes())))?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == 202,
            "publishing was answered with {status}: {}",
            String::from_utf8_lossy(&body)
        );
        took.push(start.elapsed());
    }
    Ok(took)
}
