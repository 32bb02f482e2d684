//! Hides how outcomes become durable: many in one commit, and only then are their places free.
//!
//! The one task that knows the endpoints' health: it counts attempts in the order in which it
//! records them, so the stored health is always that of the stored attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::health::Health;
use model::id::EndpointId;
use model::retry::Verdict;
use store::{EndpointProgress, Settlement, StoreError};
use tokio::sync::mpsc;

use crate::house::House;
use crate::sender::Settled;

/// The most outcomes in one commit.
const BATCH: usize = 1024;
/// How many outcomes may wait for the recorder; more make the senders wait.
pub(crate) const QUEUE: usize = 2 * BATCH;
/// The first and the longest wait after the store could not take a batch.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Records outcomes until the house has closed and none is left.
pub(crate) async fn record_all(
    house: Arc<House>,
    mut outcomes: mpsc::Receiver<Settled>,
    mut health: HashMap<EndpointId, Health>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            count = outcomes.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = house.closed.cancelled() => return,
        }
        // Deleted endpoints are forgotten here, now and then, rather than on every deletion.
        if health.len() > 2 * house.roster.lane_count() + BATCH {
            health.retain(|endpoint, _| house.roster.lane(*endpoint).is_some());
        }
        let progress = Arc::new(count_in(&house, &mut health, &batch));
        let mut settlements = Vec::with_capacity(batch.len());
        let mut done = Vec::with_capacity(batch.len());
        for settled in batch.drain(..) {
            let retry_at = match settled.settlement.verdict {
                Verdict::RetryAt(at) => Some(at),
                Verdict::Delivered | Verdict::DeadLetter => None,
            };
            done.push((
                settled.lane,
                settled.settlement.delivery,
                settled.attempt_count,
                retry_at,
                settled._open,
            ));
            settlements.push(settled.settlement);
        }
        if !record(&house, Arc::new(settlements), progress).await {
            return; // closed by force: the store still owes these deliveries
        }
        for (lane, delivery, attempt_count, retry_at, _open) in done {
            let next = lane.recorded(delivery, attempt_count, retry_at);
            house.follow(&lane, next);
        }
    }
}

/// Counts a batch in, attempt by attempt; what it leaves each endpoint with.
fn count_in(
    house: &House,
    health: &mut HashMap<EndpointId, Health>,
    batch: &[Settled],
) -> Vec<EndpointProgress> {
    let mut progress: HashMap<EndpointId, EndpointProgress> = HashMap::new();
    for settled in batch {
        let endpoint = settled.lane.endpoint;
        let ended_at = settled.settlement.ended_at;
        let entry = progress.entry(endpoint).or_insert(EndpointProgress {
            endpoint,
            health: None,
            last_delivery_at: ended_at,
        });
        entry.last_delivery_at = entry.last_delivery_at.max(ended_at);
        if settled.test {
            continue; // a test event says nothing about the endpoint's health
        }
        let before = health.get(&endpoint).copied().unwrap_or_default();
        let after = before.after(settled.settlement.attempt.reason, ended_at);
        log_change(house, endpoint, &before, &after);
        health.insert(endpoint, after);
        entry.health = Some(after);
    }
    progress.into_values().collect()
}

fn log_change(house: &House, endpoint: EndpointId, before: &Health, after: &Health) {
    let endpoint = || house.store.codec().uuid(endpoint);
    match (before.is_unhealthy(), after.is_unhealthy()) {
        (false, true) => tracing::warn!(
            endpoint = %endpoint(),
            failures = after.consecutive_failures,
            since = %after.failing_since.unwrap_or_default(),
            reason = after.last_reason.map_or("", |reason| reason.as_str()),
            "endpoint is unhealthy: its attempts keep failing; deliveries go on being attempted"
        ),
        (true, false) => tracing::info!(
            endpoint = %endpoint(),
            failures = before.consecutive_failures,
            "endpoint is healthy again: an attempt succeeded"
        ),
        _ => {}
    }
}

/// Makes a batch durable, however long the store takes to be able to. False: closed meanwhile.
async fn record(
    house: &House,
    settlements: Arc<Vec<Settlement>>,
    progress: Arc<Vec<EndpointProgress>>,
) -> bool {
    let mut wait = FIRST_WAIT;
    let mut failing = false;
    loop {
        match house
            .store
            .settle(Arc::clone(&settlements), Arc::clone(&progress))
            .await
        {
            Ok(()) => {
                if failing {
                    tracing::info!("the store takes outcomes again; deliveries go on");
                }
                return true;
            }
            Err(StoreError::Internal(error)) if settlements.len() > 1 => {
                // One outcome the store will never take must not hold up the others.
                tracing::error!(%error, "the store refused a batch of outcomes; recording them one by one");
                return record_singly(house, &settlements, &progress).await;
            }
            Err(StoreError::Internal(error)) => {
                house.metrics.store_failed();
                let delivery = settlements
                    .first()
                    .map(|one| house.store.codec().uuid(one.delivery));
                tracing::error!(%error, ?delivery, "the store refused an outcome, which is not recorded: the delivery will be attempted again");
                return true;
            }
            Err(error) => {
                house.metrics.store_failed();
                if !failing {
                    tracing::error!(%error, outcomes = settlements.len(), "cannot record outcomes; deliveries wait until the store can be written again");
                    failing = true;
                }
                if !house.pause_hard(wait).await {
                    return false;
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

async fn record_singly(
    house: &House,
    settlements: &[Settlement],
    progress: &Arc<Vec<EndpointProgress>>,
) -> bool {
    for (index, settlement) in settlements.iter().enumerate() {
        // The endpoints' progress goes with the last one: it is that of the whole batch.
        let progress = if index + 1 == settlements.len() {
            Arc::clone(progress)
        } else {
            Arc::default()
        };
        if !Box::pin(record(house, Arc::new(vec![settlement.clone()]), progress)).await {
            return false;
        }
    }
    true
}
