//! Hides the conduct of a benchmark: who is started when, and what is measured between.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::load::Outcome;
use crate::process::{Process, Service};
use crate::report::{self, Row};

/// What `run` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The service's binary, built for release
    #[arg(long)]
    service: PathBuf,
    /// The page to write
    #[arg(long)]
    report: PathBuf,
    /// How long each workload publishes
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

/// A workload: one team with so many endpoints, all at one receiver.
struct Workload {
    name: &'static str,
    endpoints: u64,
}

const WORKLOADS: [Workload; 2] = [
    Workload {
        name: "one endpoint, events published singly over 64 connections",
        endpoints: 1,
    },
    Workload {
        name: "ten endpoints an event, published singly over 64 connections",
        endpoints: 10,
    },
];

const OPERATOR_KEY: &str = "vk_admin_0123456789abcdefghijABCDEFGHIJ01";
/// How long the last deliveries may take to arrive after the last publication.
const DRAIN: Duration = Duration::from_secs(120);

/// Runs every workload and the raw limit, prints the table and writes the page.
pub(crate) async fn run(options: Options) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("vk-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = conduct(&options, &folder).await;
    // Whatever came of it, the stores are in the way.
    std::fs::remove_dir_all(&folder)?;
    let (raw, rows) = outcome?;
    let page = report::page(raw, &rows, options.seconds);
    println!("\n{page}");
    std::fs::write(&options.report, &page)
        .with_context(|| format!("cannot write {}", options.report.display()))?;
    println!("written to {}", options.report.display());
    Ok(())
}

async fn conduct(options: &Options, folder: &Path) -> Result<(f64, Vec<Row>)> {
    let ca_file = folder.join("receiver.pem").display().to_string();
    let mut receiver = Process::mode(&["receiver", "--ca-file", &ca_file])?;
    let port = receiver.line().await?;
    println!("raw limit …");
    let seconds = "5";
    let arguments = [
        "raw",
        "--port",
        &port,
        "--ca-file",
        &ca_file,
        "--seconds",
        seconds,
    ];
    let posted: f64 = Process::mode(&arguments)?.line().await?.parse()?;
    let raw = posted / 5.0;
    let mut rows = Vec::new();
    for workload in WORKLOADS {
        println!("{} …", workload.name);
        // Each has a store of its own; the certificate stays.
        let place = folder.join(workload.endpoints.to_string());
        std::fs::create_dir_all(&place)?;
        std::fs::copy(&ca_file, place.join("receiver.pem"))?;
        rows.push(measure(options, &place, &mut receiver, &port, &workload).await?);
    }
    Ok((raw, rows))
}

async fn measure(
    options: &Options,
    folder: &Path,
    receiver: &mut Process,
    port: &str,
    workload: &Workload,
) -> Result<Row> {
    let service = Service::start(&options.service, folder, OPERATOR_KEY).await?;
    let key = furnish(service.address(), port, workload.endpoints).await?;
    let (before, idle) = (receiver.count().await?, service.usage()?);
    let seconds = options.seconds.to_string();
    let started = Instant::now();
    let arguments = [
        "load",
        "--address",
        service.address(),
        "--key",
        &key,
        "--seconds",
        &seconds,
    ];
    let outcome: Outcome = serde_json::from_str(&Process::mode(&arguments)?.line().await?)?;
    let published_in = started.elapsed();
    let owed = outcome.published * workload.endpoints;
    loop {
        let arrived = receiver.count().await? - before;
        if arrived >= owed {
            break;
        }
        if started.elapsed() > published_in + DRAIN {
            bail!("only {arrived} of {owed} deliveries arrived");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = started.elapsed();
    let used = service.usage()?;
    service.stop().await?;
    Ok(Row {
        name: workload.name,
        events: outcome.published as f64 / took.as_secs_f64(),
        deliveries: owed as f64 / took.as_secs_f64(),
        behind: took - published_in,
        publish_p50_ms: outcome.p50_ms,
        publish_p99_ms: outcome.p99_ms,
        cpu_us: (used.cpu_seconds - idle.cpu_seconds) * 1e6 / owed as f64,
        peak_mib: used.peak_mib,
    })
}

/// Makes a team with its endpoints; a key to publish with.
async fn furnish(address: &str, port: &str, endpoints: u64) -> Result<String> {
    let post = |path: &'static str, body: Value| ask(address, path, body);
    post("/v1/teams", json!({"id": "bench", "name": "Bench"})).await?;
    let scopes = json!({"name": "bench", "scopes": ["events:write"]});
    let made = post("/v1/teams/bench/api-keys", scopes).await?;
    for number in 0..endpoints {
        let url = format!("https://127.0.0.1:{port}/{number}");
        post("/v1/webhook-endpoints", json!({"url": url})).await?;
    }
    let key = made["data"]["key"].as_str().context("a new key")?;
    Ok(key.to_owned())
}

async fn ask(address: &str, path: &str, body: Value) -> Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to the request that runs over it.
    tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", address)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {OPERATOR_KEY}"))
        .header("x-vantagekit-team", "bench")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    ensure!(status == 201, "{path} was answered with {status}: {text}");
    Ok(serde_json::from_slice(&body)?)
}
