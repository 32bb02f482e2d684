//! Hides how a lane reads from the store what is due and not in memory.

use std::sync::Arc;
use std::time::Duration;

use model::id::DeliveryId;

use crate::house::House;
use crate::lane::Lane;

/// The first and the longest wait after the store could not be read.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Reads page after page for a lane, for as long as the lane wants one.
pub(crate) async fn pull_all(house: Arc<House>, lane: Arc<Lane>) {
    let mut wait = FIRST_WAIT;
    while let Some(page) = lane.page_wanted() {
        let now = house.clock.steady();
        let read = house
            .store
            .due(lane.endpoint, now, page.after, page.limit, page.max_bytes)
            .await;
        let complete = match read {
            Ok(page) => {
                tell_unreadable(&house, &lane, &page.unreadable);
                let (next, complete) = lane.page_read(page);
                house.follow(&lane, next);
                complete
            }
            Err(error) => {
                house.metrics.store_failed();
                tracing::warn!(%error, "cannot read what is due from the store; trying again");
                if !house.pause(wait).await {
                    return; // closing: what is due stays in the store for the next start
                }
                wait = (wait * 2).min(LONGEST_WAIT);
                continue;
            }
        };
        wait = FIRST_WAIT;
        if complete {
            set_next_wake(&house, &lane, now).await;
        }
    }
}

/// Says which deliveries are owed and cannot be sent, once of each. They stay due, so that each later pass tries
/// them again: a disk may read what it did not read before.
fn tell_unreadable(house: &House, lane: &Lane, unreadable: &[DeliveryId]) {
    let new = lane.newly_unreadable(unreadable);
    let Some(first) = new.first() else { return };
    house.metrics.store_failed();
    let codec = house.store.codec();
    tracing::error!(
        endpoint = %codec.uuid(lane.endpoint),
        deliveries = new.len(),
        first = %codec.uuid(*first),
        "deliveries are due and cannot be sent, since the database file is damaged where they or their events \
         stand; the endpoint's others go on. They stay unfinished: stop the service and restore the file from \
         a backup, or publish their events again"
    );
}

/// Wakes the lane when its first delivery that is not due yet becomes so.
async fn set_next_wake(house: &House, lane: &Arc<Lane>, now: model::time::Timestamp) {
    let mut wait = FIRST_WAIT;
    loop {
        match house.store.next_due(lane.endpoint, now).await {
            Ok(None) => return,
            Ok(Some(at)) => {
                if let Some(wake) = lane.due_later(at) {
                    house.wakeups.set(lane, &wake);
                }
                return;
            }
            Err(error) => {
                house.metrics.store_failed();
                tracing::warn!(%error, "cannot read what is due next from the store; trying again");
                if !house.pause(wait).await {
                    return;
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}
