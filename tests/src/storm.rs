//! Hides publishers that go on over every restart of the service, and what must have arrived in the end.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{Api, Inbox, eventually, eventually_within, verify};

const PUBLISHERS: usize = 4;

/// Publishers at work.
pub struct Storm {
    weather: Arc<Weather>,
    publishers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Weather {
    /// The service that is up, where one is.
    up: Mutex<Option<Api>>,
    over: AtomicBool,
    numbers: AtomicU64,
    padding: String,
    acknowledged: Mutex<HashMap<u64, String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storm {
    /// Lets publishers loose on whichever service is up.
    pub fn begin(team: &Api) -> Self {
        Self::begin_with(team, 0)
    }

    /// As [`Storm::begin`], with events that are so many bytes longer.
    pub fn begin_with(team: &Api, padding: usize) -> Self {
        let weather = Arc::new(Weather {
            padding: "x".repeat(padding),
            ..Weather::default()
        });
        *locked(&weather.up) = Some(team.clone());
        let publishers = (0..PUBLISHERS)
            .map(|_| tokio::spawn(publish(Arc::clone(&weather))))
            .collect();
        Self {
            weather,
            publishers,
        }
    }

    /// Waits until so many more events were acknowledged: on a slow machine, too, there is something to lose.
    pub async fn progress(&self, more: usize) {
        let acknowledged = || locked(&self.weather.acknowledged).len();
        let wanted = acknowledged() + more;
        eventually("events are acknowledged", async || {
            (acknowledged() >= wanted).then_some(())
        })
        .await;
    }

    /// No service is up.
    pub fn down(&self) {
        *locked(&self.weather.up) = None;
    }

    /// This one is.
    pub fn up(&self, team: &Api) {
        *locked(&self.weather.up) = Some(team.clone());
    }

    /// Ends it; the numbers and ids of all events that were acknowledged.
    pub async fn end(self) -> Result<HashMap<u64, String>> {
        self.weather.over.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            publisher.await?;
        }
        let acknowledged = locked(&self.weather.acknowledged).clone();
        Ok(acknowledged)
    }
}

/// Publishes one after the other.
async fn publish(weather: Arc<Weather>) {
    while !weather.over.load(Ordering::Relaxed) {
        let api = locked(&weather.up).clone();
        let Some(api) = api else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let number = weather.numbers.fetch_add(1, Ordering::Relaxed);
        let data = json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab",
            "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac",
            "email": "a@example.com", "number": number, "padding": weather.padding});
        // Whatever goes wrong while the service dies was not acknowledged.
        if let Ok(id) = api.publish("team.member_removed", &data).await {
            locked(&weather.acknowledged).insert(number, id);
        }
    }
}

fn number_of(body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["data"]["number"].as_u64()
}

/// Sees that the service knows each of these events, also those that arrived before it died.
///
/// # Errors
/// Where it does not.
pub async fn assert_kept(events: &HashMap<u64, String>, operator: &Api) -> Result<()> {
    for id in events.values() {
        let path = format!("/v1/events/{id}");
        let kept = operator.call("GET", &path, &Value::Null, 200).await;
        kept.with_context(|| format!("the acknowledged event {id} is lost"))?;
    }
    Ok(())
}

/// Waits until all of these events have arrived, rightly signed. What arrived twice came under the same
/// id: one event, one delivery.
///
/// # Panics
/// Where it is not so within 40 s.
pub async fn assert_arrived(events: &HashMap<u64, String>, inbox: &Inbox, secret: &str) {
    let most = Duration::from_secs(40);
    eventually_within(most, "everything acknowledged arrives", async || {
        let arrivals = inbox.arrivals();
        let arrived: HashSet<u64> = arrivals
            .iter()
            .filter_map(|arrival| number_of(&arrival.body))
            .collect();
        events
            .keys()
            .all(|number| arrived.contains(number))
            .then_some(())
    })
    .await;
    let mut ids = HashMap::new();
    for arrival in inbox.arrivals() {
        assert_eq!(verify(&arrival, secret), Ok(()));
        let id = arrival.header("x-vantagekit-delivery").to_owned();
        let number = number_of(&arrival.body);
        let first = ids.entry(number).or_insert_with(|| id.clone());
        assert_eq!(*first, id, "{number:?}");
    }
}
