//! Hides the store with millions of deliveries: made once in a run, used by several measurements.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::api::{Api, text};
use crate::house::House;
use crate::process::Process;
use crate::receiver::Temper;
use crate::seed::TEAMS;
use crate::stats::median;
use crate::usage::Memory;

/// The store, and how to publish into it.
pub(crate) struct Full {
    pub(crate) folder: PathBuf,
    /// Keys of its first two teams: ten endpoints, one endpoint.
    pub(crate) ten: String,
    pub(crate) one: String,
}

/// Starts with millions of deliveries in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Starts {
    /// How large the database is, in MB.
    pub(crate) size_mb: f64,
    /// From the start to the line that says where the service listens, in milliseconds: the median.
    pub(crate) median_ms: f64,
    pub(crate) worst_ms: f64,
    /// How many starts.
    pub(crate) count: usize,
    /// Memory right after the last of them.
    pub(crate) memory: Memory,
}

/// Makes the store, the keys, and one endpoint of the last team paused, so that something is held.
pub(crate) async fn make(house: &mut House, deliveries: u64) -> Result<Full> {
    let (began, folder) = (Instant::now(), house.new_store()?);
    let store = folder.join("store.db").display().to_string();
    let (url, failing) = (house.url(Temper::Plain), house.url(Temper::Fail));
    let count = deliveries.to_string();
    let arguments = ["seed", "--store", &store, "--deliveries", &count];
    let places = ["--url", &url, "--failing-url", &failing];
    Process::mode(&[&arguments[..], &places[..]].concat())?
        .ended()
        .await?;
    println!("  made in {:.0} s", began.elapsed().as_secs_f64());
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let [(ten, ..), (one, ..), (pair, ..)] = TEAMS;
    let endpoints = api.get(pair, "/v1/webhook-endpoints").await?;
    let endpoint = text(&endpoints["data"][0]["id"])?;
    api.change(pair, &endpoint, json!({"paused": true})).await?;
    let full = Full {
        folder,
        ten: api.key(ten).await?,
        one: api.key(one).await?,
    };
    drop(api);
    service.stop().await?;
    Ok(full)
}

/// Starts the service so many times.
pub(crate) async fn starts(house: &House, full: &Full, count: usize) -> Result<Starts> {
    let (mut took_ms, mut memory) = (Vec::new(), Memory::default());
    for _ in 0..count {
        let service = house.service(&full.folder).await?;
        took_ms.push(service.started_in().as_secs_f64() * 1e3);
        memory = service.idle();
        service.stop().await?;
    }
    Ok(Starts {
        size_mb: std::fs::metadata(full.folder.join("store.db"))?.len() as f64 / 1e6,
        median_ms: median(took_ms.iter().copied()),
        worst_ms: took_ms.iter().copied().fold(0.0, f64::max),
        count,
        memory,
    })
}
