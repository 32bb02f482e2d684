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
use crate::lane::Lane;
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

/// The first and the longest wait before a delivery is attempted again whose outcome the store refused: each
/// time its receiver gets it once more.
const FIRST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

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
            if refused.contains(&delivery) {
                let hold = hold_after(lane.refused(delivery));
                let work = let_go_later(Arc::clone(&house), lane, (delivery, attempt_count), hold);
                tokio::spawn(house.watched(work));
            } else {
                let next = lane.recorded(delivery, attempt_count, retry_at);
                house.follow(&lane, next);
            }
        }
    }
}

/// How long a delivery is held whose outcome was refused so many times in a row: twice as long each time.
fn hold_after(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(31);
    FIRST_HOLD.saturating_mul(1 << doublings).min(LONGEST_HOLD)
}

/// Lets a try be made again after a while. Meanwhile it has its place in the lane, so that a store which takes
/// no outcome at all is not made up for by ever more attempts. Nothing waits for this when the house closes.
async fn let_go_later(
    house: Arc<House>,
    lane: Arc<Lane>,
    (delivery, attempt_count): (DeliveryId, u32),
    hold: Duration,
) {
    if house.pause(hold).await {
        let next = lane.let_go(delivery, attempt_count);
        house.follow(&lane, next);
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
                 attempted again, later each time this happens to it"
            );
            refused.push(delivery);
        }
    }
    if settle(house, Arc::default(), Arc::clone(&progress))
        .await?
        .is_ok()
    {
        return Some(refused);
    }
    for progress in progress.iter() {
        let one = Arc::new(vec![progress.clone()]);
        if let Err(error) = settle(house, Arc::default(), one).await? {
            house.metrics.store_failed();
            tracing::error!(
                %error,
                endpoint = %house.store.codec().uuid(progress.endpoint),
                "the store refused an endpoint's health and what its attempts came to, which are not recorded"
            );
        }
    }
    Some(refused)
}

/// Hours as they were counted so far, once the store can be read; none where the house closed meanwhile.
async fn hours_so_far(
    house: &House,
    wanted: &[(EndpointId, i64)],
) -> Option<Vec<(EndpointId, EndpointHour)>> {
    if let Ok(hours) = read_hours(house, wanted).await? {
        return Some(hours);
    }
    let mut found = Vec::new();
    for one in wanted {
        match read_hours(house, std::slice::from_ref(one)).await? {
            Ok(hours) => found.extend(hours),
            // What is damaged there must not hold up deliveries.
            Err(error) => {
                house.metrics.store_failed();
                tracing::error!(
                    %error,
                    endpoint = %house.store.codec().uuid(one.0),
                    "what was counted of an endpoint in this hour cannot be read; counting begins anew"
                );
            }
        }
    }
    Some(found)
}

/// Reads hours once the store can be read: its refusal, if it is one of these as such; none where the house
/// closed meanwhile.
async fn read_hours(
    house: &House,
    wanted: &[(EndpointId, i64)],
) -> Option<Result<Vec<(EndpointId, EndpointHour)>, StoreError>> {
    let mut wait = FIRST_WAIT;
    loop {
        match house.store.hours_at(wanted).await {
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
            read => return Some(read),
        }
    }
}

/// Settles once the store can be written: its refusal, if it is one of the batch as such; none
/// where the house closed meanwhile.
async fn settle(
    house: &House,
    settlements: Arc<Vec<Settlement>>,
    progress: Arc<Vec<EndpointProgress>>,
) -> Option<Result<(), StoreError>> {
    let mut wait = FIRST_WAIT;
    let mut failing = false;
    loop {
        let (batch, ends) = (Arc::clone(&settlements), Arc::clone(&progress));
        let Err(error) = house.store.settle(batch, ends).await else {
            if failing {
                tracing::info!("the store takes outcomes again; deliveries go on");
            }
            return Some(Ok(()));
        };
        if is_of_this_write(house, &error).await {
            return Some(Err(error));
        }
        house.metrics.store_failed();
        if !failing {
            tracing::error!(
                %error,
                outcomes = settlements.len(),
                "cannot record outcomes; deliveries wait until the store can be written again"
            );
            failing = true;
        }
        if !house.pause_hard(wait).await {
            return None;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Whether an error is of what was to be written, so that trying the same again is of no use. Where nothing
/// can be written for damage, outcomes are better kept than given up one after the other.
async fn is_of_this_write(house: &House, error: &StoreError) -> bool {
    match error {
        StoreError::Internal(_) => true,
        StoreError::Damaged => house.store.ready().await.is_ok(),
        StoreError::Overloaded | StoreError::Unavailable(_) => false,
    }
}
