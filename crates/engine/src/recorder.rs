//! Hides how outcomes become durable: many in one commit, and only then are their places free.
//!
//! The one task that knows what is counted of the endpoints' attempts (`counts`).

use std::sync::Arc;
use std::time::Duration;

use model::id::{DeliveryId, EndpointId};
use model::retry::Verdict;
use store::{EndpointHour, EndpointProgress, Settlement, StoreError};
use tokio::sync::mpsc;

use crate::counts::Counts;
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

/// Records outcomes until the house has closed and none is left.
pub(crate) async fn record_all(
    house: Arc<House>,
    mut outcomes: mpsc::Receiver<Settled>,
    mut counts: Counts,
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
        counts.forget_deleted(&house, BATCH);
        let unknown = counts.unknown_hours(&batch);
        if !unknown.is_empty() {
            let Some(hours) = hours_so_far(&house, &unknown).await else {
                return; // closed by force: the store still owes these deliveries
            };
            counts.go_on_from(hours);
        }
        let progress = Arc::new(counts.count(&house, &batch));
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

/// Hours as they were counted so far, once the store can be read; none where the house closed meanwhile.
async fn hours_so_far(
    house: &House,
    wanted: &[(EndpointId, i64)],
) -> Option<Vec<(EndpointId, EndpointHour)>> {
    let mut wait = FIRST_WAIT;
    loop {
        match house.store.hours_at(wanted).await {
            Ok(hours) => return Some(hours),
            // What is damaged there must not hold up deliveries.
            Err(error @ StoreError::Internal(_)) => {
                house.metrics.store_failed();
                tracing::error!(%error, "what was counted of endpoints cannot be read; counting begins anew");
                return Some(Vec::new());
            }
            Err(error @ (StoreError::Overloaded | StoreError::Unavailable(_))) => {
                house.metrics.store_failed();
                if wait == FIRST_WAIT {
                    tracing::error!(
                        %error,
                        "cannot read what was counted of endpoints; outcomes wait until the store can \
                         be read again"
                    );
                }
                if !house.pause_hard(wait).await {
                    return None;
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
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
