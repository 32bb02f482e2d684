//! Hides how outcomes become durable: many in one commit, and only then are their places free.
//!
//! The one task that knows the endpoints' health, and what this hour's attempts came to: it counts
//! attempts in the order in which it records them, so what is stored of both is always that of the stored
//! attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::health::Health;
use model::id::{DeliveryId, EndpointId};
use model::retry::Verdict;
use model::tally::hour_of;
use model::time::Timestamp;
use store::{EndpointHour, EndpointProgress, Settlement, StoreError};
use tokio::sync::mpsc;

use crate::house::House;
use crate::sender::Settled;

/// The most outcomes in one commit.
const BATCH: usize = 1024;
/// How many outcomes are enough for a commit, and how long fewer wait for more to join them. Recording
/// costs a commit mostly the pages it touches, hardly the outcomes in it, and nobody waits for it: a
/// retry is due by when its attempt failed, and a lane with places for fewer only waits 3 ms.
const ENOUGH: usize = 128;
const GATHERED: Duration = Duration::from_millis(3);
/// How many outcomes may wait for the recorder; more make the senders wait.
pub(crate) const QUEUE: usize = 2 * BATCH;
/// The first and the longest wait after the store could not take a batch.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What is known of an endpoint's attempts.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) health: Health,
    /// The latest hour in which any ended.
    pub(crate) hour: Option<EndpointHour>,
}

impl Known {
    fn count(&mut self, settlement: &Settlement, ended_at: Timestamp) {
        let now = hour_of(ended_at);
        let current = self.hour.take().filter(|known| {
            // Outcomes come a little out of order, and clocks are set back a little: what ended in the
            // hour before is counted in with this one, since that hour's row is no longer known here.
            known.hour == now || known.hour == now + 1
        });
        let mut current = current.unwrap_or_else(|| EndpointHour {
            hour: now,
            tally: model::tally::Tally::default(),
        });
        current.tally.count(&settlement.attempt, settlement.verdict);
        self.hour = Some(current);
    }
}

/// Records outcomes until the house has closed and none is left.
pub(crate) async fn record_all(
    house: Arc<House>,
    mut outcomes: mpsc::Receiver<Settled>,
    mut known: HashMap<EndpointId, Known>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            biased;
            count = outcomes.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = house.closed.cancelled() => return,
        }
        if batch.len() < ENOUGH && !house.closing.is_cancelled() {
            tokio::time::sleep(GATHERED).await;
            while batch.len() < BATCH
                && let Ok(settled) = outcomes.try_recv()
            {
                batch.push(settled);
            }
        }
        // Deleted endpoints are forgotten here, now and then, rather than on every deletion.
        if known.len() > 2 * house.roster.lane_count() + BATCH {
            known.retain(|endpoint, _| house.roster.lane(*endpoint).is_some());
        }
        let progress = Arc::new(count_in(&house, &mut known, &batch));
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
        let Some(refused) = record(&house, Arc::new(settlements), progress).await else {
            return; // closed by force: the store still owes these deliveries
        };
        for (lane, delivery, attempt_count, retry_at, _open) in done {
            let next = lane.recorded(delivery, attempt_count, retry_at);
            house.follow(&lane, next);
            if refused.contains(&delivery) {
                let next = lane.poke();
                house.follow(&lane, next);
            }
        }
    }
}

/// Counts a batch in, attempt by attempt; what it leaves each endpoint with.
fn count_in(
    house: &House,
    known: &mut HashMap<EndpointId, Known>,
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
            hour: None,
        });
        entry.last_delivery_at = entry.last_delivery_at.max(ended_at);
        if settled.test {
            continue; // a test event says nothing about the endpoint's health
        }
        let known = known.entry(endpoint).or_default();
        let after = known
            .health
            .after(settled.settlement.attempt.reason, ended_at);
        log_change(house, endpoint, &known.health, &after);
        known.health = after;
        known.count(&settled.settlement, ended_at);
        entry.health = Some(after);
    }
    for (endpoint, entry) in &mut progress {
        if entry.health.is_some() {
            entry.hour = known.get(endpoint).and_then(|known| known.hour.clone());
        }
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

/// Makes a batch durable, however long the store takes to be able to. Returns the deliveries whose
/// outcome it will never take; none at all where the house closed meanwhile.
async fn record(
    house: &House,
    settlements: Arc<Vec<Settlement>>,
    progress: Arc<Vec<EndpointProgress>>,
) -> Option<Vec<DeliveryId>> {
    match settle(house, Arc::clone(&settlements), Arc::clone(&progress)).await? {
        Ok(()) => return Some(Vec::new()),
        Err(error) => tracing::error!(
            %error,
            "the store refused a batch of outcomes; recording them one by one"
        ),
    }
    // One outcome the store will never take must not hold up the others.
    let mut refused = Vec::new();
    for settlement in settlements.iter() {
        let delivery = settlement.delivery;
        let one = Arc::new(vec![settlement.clone()]);
        if let Err(error) = settle(house, one, Arc::default()).await? {
            house.metrics.store_failed();
            tracing::error!(
                %error,
                delivery = %house.store.codec().uuid(delivery),
                "the store refused an outcome, which is not recorded: the delivery will be \
                 attempted again"
            );
            refused.push(delivery);
        }
    }
    if let Err(error) = settle(house, Arc::default(), progress).await? {
        house.metrics.store_failed();
        tracing::error!(%error, "the store refused the health of endpoints, which is not recorded");
    }
    Some(refused)
}

/// Settles once the store can be written: its refusal, if it is one of the batch as such; none
/// where the house closed meanwhile.
async fn settle(
    house: &House,
    settlements: Arc<Vec<Settlement>>,
    progress: Arc<Vec<EndpointProgress>>,
) -> Option<Result<(), String>> {
    let mut wait = FIRST_WAIT;
    let mut failing = false;
    loop {
        let (batch, ends) = (Arc::clone(&settlements), Arc::clone(&progress));
        match house.store.settle(batch, ends).await {
            Ok(()) => {
                if failing {
                    tracing::info!("the store takes outcomes again; deliveries go on");
                }
                return Some(Ok(()));
            }
            Err(StoreError::Internal(error)) => return Some(Err(error)),
            Err(error @ (StoreError::Overloaded | StoreError::Unavailable(_))) => {
                house.metrics.store_failed();
                if !failing {
                    tracing::error!(
                        %error,
                        outcomes = settlements.len(),
                        "cannot record outcomes; deliveries wait until the store can be written \
                         again"
                    );
                    failing = true;
                }
                if !house.pause_hard(wait).await {
                    return None;
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}
