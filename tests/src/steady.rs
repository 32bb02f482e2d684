//! Hides how events are published at a steady pace to a healthy receiver, and how late they arrive.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Api, Inbox};

const TYPE: &str = "link.clicked";

/// A healthy endpoint that events are published to.
pub struct Steady {
    inbox: Inbox,
    stop: oneshot::Sender<()>,
    publisher: JoinHandle<Result<HashMap<String, SystemTime>>>,
}

/// How late events arrived, from before they were published.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// How many there were.
    pub count: usize,
    /// One half of them was no later.
    pub p50: Duration,
    /// 99 of 100 were no later.
    pub p99: Duration,
    /// None was later.
    pub max: Duration,
}

impl Steady {
    /// Makes an endpoint for `inbox` and publishes to it every so often.
    ///
    /// # Errors
    /// Where the endpoint cannot be made.
    pub async fn start(team: &Api, inbox: Inbox, every: Duration) -> Result<Self> {
        team.endpoint(&inbox.url(), &[TYPE]).await?;
        let (stop, stopped) = oneshot::channel();
        let publisher = tokio::spawn(publish(team.clone(), every, stopped));
        Ok(Self {
            inbox,
            stop,
            publisher,
        })
    }

    /// Stops; every event must have arrived, or arrive now, once only: none was tried twice.
    ///
    /// # Errors
    /// Where an event could not be published, or came twice.
    pub async fn stop(self) -> Result<Latency> {
        // Where the publisher has failed, awaiting it says why.
        let _ = self.stop.send(());
        let published = self.publisher.await??;
        let arrivals = self.inbox.wait_for(published.len()).await;
        ensure!(arrivals.len() == published.len(), "some arrived twice");
        let mut late = vec![];
        for arrival in arrivals {
            let body: Value = serde_json::from_slice(&arrival.body)?;
            let name = body["data"]["name"].as_str().unwrap_or_default();
            let at = published.get(name).context("it was published")?;
            late.push(arrival.at.duration_since(*at).unwrap_or_default());
        }
        late.sort();
        let at = |share: usize| late.get((late.len() * share / 100).min(late.len() - 1));
        let at = |share| at(share).copied().context("some were published");
        Ok(Latency {
            count: late.len(),
            p50: at(50)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }
}

/// Publishes until told to stop; when each event was about to be.
async fn publish(
    team: Api,
    every: Duration,
    mut stopped: oneshot::Receiver<()>,
) -> Result<HashMap<String, SystemTime>> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut published = HashMap::new();
    while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        ticks.tick().await;
        let name = format!("event {}", published.len());
        let id = "0198a6f0-3a5b-7c1d-9e2f-0123456789ab";
        let data = json!({"dealRoomId": id, "linkId": id, "name": name,
                          "timestamp": "2026-01-01T00:00:00Z"});
        let before = SystemTime::now();
        team.publish(TYPE, &data).await?;
        published.insert(name, before);
    }
    Ok(published)
}
