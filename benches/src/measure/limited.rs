//! Hides what becomes of a batch for a receiver that takes fewer a second, and says 429 beyond.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::publishing::Publishing;
use crate::api::Api;
use crate::house::House;
use crate::load::{Orders, Rhythm};
use crate::receiver::Temper;

/// Events in the one call.
pub(crate) const EVENTS: u64 = 1000;
/// How long they may take to arrive.
pub(crate) const WITHIN: Duration = Duration::from_secs(90);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limited {
    /// Events that arrived in time.
    pub(crate) arrived: u64,
    /// When the last of them did, in seconds.
    pub(crate) seconds: f64,
    /// Requests made for them, those included that were too many.
    pub(crate) requests: u64,
}

/// Publishes the batch and watches it arrive.
pub(crate) async fn measure(house: &mut House) -> Result<Limited> {
    let folder = house.new_store()?;
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let made = api.furnish("bench", 1, &house.url(Temper::Limited)).await?;
    let before = house.arrivals().await?.count;
    let refused_before: u64 = house.receiver.ask("refused").await?;
    let orders = Orders {
        address: service.address(),
        keys: vec![made.key],
        connections: 1,
        batch: usize::try_from(EVENTS)?,
        rhythm: Rhythm::Calls { calls: 1 },
    };
    let began = Instant::now();
    let mut publishing = Publishing::start(house, &service, &orders).await?;
    publishing.published().await?;
    publishing.end()?;
    let (mut arrived, mut seconds) = (0, 0.0);
    while arrived < EVENTS && began.elapsed() < WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = house.arrivals().await?.count - before;
        if now > arrived {
            (arrived, seconds) = (now, began.elapsed().as_secs_f64());
        }
    }
    let refused: u64 = house.receiver.ask("refused").await?;
    service.stop().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(Limited {
        arrived,
        seconds,
        requests: arrived + refused - refused_before,
    })
}
