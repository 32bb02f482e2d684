//! Hides how one endpoint of a thousand that never answers is felt by the others.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::latency::{self, Latency, Schedule};
use crate::api::Api;
use crate::house::House;
use crate::receiver::Temper;

const TEAMS: u64 = 100;
const ENDPOINTS: usize = 10;
/// Events a second over all teams; each goes to the ten endpoints of its team. Few enough for two cores: a
/// thousand endpoints that get little each cost several times what ten cost that get much.
const PER_SECOND: f64 = 400.0;
/// How long before counting: the hanging endpoint then has the one attempt in flight that an endpoint has of which
/// none has gone well, and the rest of its deliveries wait. The same with none hanging, as two spans of unlike length
/// would differ anyway where the machine does not keep up.
const WARM_UP: f64 = 16.0;
/// The team whose first endpoint hangs.
const HANGING_TEAM: u64 = 0;

/// The same span, with none and with one hanging.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) none: Latency,
    pub(crate) one: Latency,
}

/// So many pairs of spans, one after the other, on one running service.
pub(crate) async fn measure(house: &mut House, pairs: usize, seconds: f64) -> Result<Vec<Pair>> {
    let folder = house.new_store()?;
    let service = house.service(&folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let (good, bad) = (house.url(Temper::Timed), house.url(Temper::Hang));
    let (mut keys, mut hanging) = (Vec::new(), None);
    for number in 0..TEAMS {
        let made = api.furnish(&team(number), ENDPOINTS, &good).await?;
        keys.push(made.key);
        hanging = hanging.or(made.endpoints.into_iter().next());
    }
    let hanging = hanging.context("there are endpoints")?;
    // Slowly first: a thousand connections are not made in the same instant.
    let slow = span(PER_SECOND / 10.0, 0.0, 3.0);
    latency::measure(house, &service, keys.clone(), slow, all).await?;
    let mut measured = Vec::new();
    for _ in 0..pairs {
        let schedule = span(PER_SECOND, WARM_UP, seconds);
        let none = latency::measure(house, &service, keys.clone(), schedule, all).await?;
        api.change(&team(HANGING_TEAM), &hanging, change(&bad))
            .await?;
        let one = latency::measure(house, &service, keys.clone(), schedule, all_but_one).await?;
        api.change(&team(HANGING_TEAM), &hanging, change(&good))
            .await?;
        measured.push(Pair { none, one });
    }
    // A stop would wait for the attempts that hang, and nobody needs this store any more.
    service.kill().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(measured)
}

fn span(per_second: f64, warm_up: f64, seconds: f64) -> Schedule {
    Schedule {
        per_second,
        warm_up,
        seconds,
    }
}

/// How many arrivals an event makes.
fn all(_: u64) -> u64 {
    ENDPOINTS as u64
}

/// The same while one endpoint hangs.
fn all_but_one(event: u64) -> u64 {
    all(event) - u64::from(event % TEAMS == HANGING_TEAM)
}

fn change(url: &str) -> Value {
    json!({"url": url})
}

fn team(number: u64) -> String {
    format!("bench-{number}")
}
