//! Hides what the service uses while it has nothing to do.

use std::time::Duration;

use anyhow::Result;

use crate::api::Api;
use crate::house::House;
use crate::receiver::Temper;
use crate::usage::Memory;

/// For how long it is watched.
const SPAN: Duration = Duration::from_secs(10);
/// How long it may settle after its start.
const SETTLE: Duration = Duration::from_secs(1);

/// Nothing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) memory: Memory,
    /// Processor time, as a share of one core.
    pub(crate) cpu: f64,
    /// How long it was watched, in seconds.
    pub(crate) seconds: f64,
}

/// Watches the service with a team and an endpoint, and nothing to deliver.
pub(crate) async fn measure(house: &mut House) -> Result<Idle> {
    let folder = house.new_store()?;
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    api.furnish("bench", 1, &house.url(Temper::Plain)).await?;
    drop(api);
    tokio::time::sleep(SETTLE).await;
    let before = service.thread_times()?;
    tokio::time::sleep(SPAN).await;
    let idle = Idle {
        memory: service.memory()?,
        cpu: service.thread_times()?.since(&before) / SPAN.as_secs_f64(),
        seconds: SPAN.as_secs_f64(),
    };
    service.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(idle)
}
