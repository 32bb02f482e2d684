//! Hides how the engine finds its work: what an endpoint is owed, in the order it is due.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use model::id::{DeliveryId, EndpointId, EventId};
use model::time::Timestamp;

use crate::driver::{Query, Unit};
use crate::error::StoreError;
use crate::fresh::Wanted;
use crate::store::Store;
use crate::value::{Columns, Value};

// What is owed has a next attempt, and nothing else has: that is what the index is over.
const DUE: &str = "\
    SELECT d.id, d.event_id, d.event_type, d.attempt_count, d.schedule_start, \
           d.next_attempt_at, d.test, e.body \
    FROM deliveries d JOIN events e ON e.id = d.event_id \
    WHERE d.endpoint_id = $1 AND d.next_attempt_at <= $2 \
      AND (d.next_attempt_at, d.id) > ($3, $4) \
    ORDER BY d.next_attempt_at, d.id LIMIT $5";
// The same without what a damaged page may hold: an index has it all.
pub(crate) const DUE_POSITIONS: &str = "\
    SELECT next_attempt_at, id FROM deliveries \
    WHERE endpoint_id = $1 AND next_attempt_at <= $2 \
      AND (next_attempt_at, id) > ($3, $4) \
    ORDER BY next_attempt_at, id LIMIT $5";
pub(crate) const DUE_AT_POSITION: &str = "\
    SELECT d.id, d.event_id, d.event_type, d.attempt_count, d.schedule_start, \
           d.next_attempt_at, d.test, e.body \
    FROM deliveries d JOIN events e ON e.id = d.event_id \
    WHERE d.id = $2 AND d.next_attempt_at = $1";
const NEXT_DUE: &str = "\
    SELECT min(next_attempt_at) FROM deliveries \
    WHERE endpoint_id = $1 AND next_attempt_at > $2";
const LANES: &str = "\
    SELECT id, (SELECT min(d.next_attempt_at) FROM deliveries d \
                WHERE d.endpoint_id = endpoints.id AND d.next_attempt_at IS NOT NULL) \
    FROM endpoints WHERE deleted_at IS NULL";
const PULL_IN: &str = "\
    UPDATE deliveries SET next_attempt_at = $2 \
    WHERE id IN (SELECT id FROM deliveries \
                 WHERE endpoint_id = $1 AND next_attempt_at > $2 LIMIT $3)";
// What a deleted endpoint was owed is canceled, and its dead letters cannot be retried any more:
// neither is counted. A cross join is done in the order it is written in.
pub(crate) const COUNT_OPEN: &str = "\
    SELECT count(*) FROM endpoints p CROSS JOIN deliveries d \
    WHERE p.deleted_at IS NULL AND d.endpoint_id = p.id AND d.next_attempt_at IS NOT NULL";
pub(crate) const COUNT_DEAD: &str = "\
    SELECT count(*) FROM endpoints p CROSS JOIN deliveries d \
    WHERE p.deleted_at IS NULL AND d.endpoint_id = p.id AND d.standing = 3";

/// Rows changed in one commit where many may have to be, so that publishing goes on in between.
pub(crate) const SLICE: u32 = 2000;

/// A delivery that is due, with all it takes to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// The event's type.
    pub event_type: Arc<str>,
    /// The body to send.
    pub body: Bytes,
    /// How many attempts were made.
    pub attempt_count: u32,
    /// How many had been made when its current retry schedule began.
    pub schedule_start: u32,
    /// When it became due.
    pub due_at: Timestamp,
    /// Whether it is a test event's.
    pub test: bool,
}

/// Where a delivery stands in the order in which an endpoint's are due.
pub type DuePosition = (Timestamp, DeliveryId);

/// A slice of what is due for an endpoint, in the order of (due time, id).
#[derive(Debug, Default)]
pub struct DuePage {
    /// The deliveries.
    pub deliveries: Vec<DueDelivery>,
    /// Deliveries among them that are due and cannot be read, since the file is damaged there: they stay due.
    pub unreadable: Vec<DeliveryId>,
    /// Where the page ended for its limits: there may be more behind this position.
    pub more_after: Option<DuePosition>,
}

impl DueDelivery {
    /// Where it stands in the order.
    pub fn position(&self) -> DuePosition {
        (self.due_at, self.id)
    }
}

impl Store {
    /// What is due for an endpoint at `now`, after a position, at most `limit` deliveries and
    /// about `max_bytes` of bodies (at least one delivery). What cannot be read since the file is damaged
    /// there is told by its id and stepped over.
    ///
    /// # Errors
    /// Where the store cannot be read now, or the index of what is due is damaged.
    pub async fn due(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        after: Option<DuePosition>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<DuePage, StoreError> {
        // Before the rows are read: what gets its row meanwhile is in both.
        let mut fresh = self.fresh().lock().due(endpoint, now);
        fresh.retain(|one| after.is_none_or(|after| after < one.position()));
        let (after_time, after_id) =
            after.map_or((i64::MIN, i64::MIN), |(time, id)| (time.as_millis(), id.0));
        let values = [
            endpoint.into(),
            now.into(),
            after_time.into(),
            after_id.into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ];
        let written = self
            .due_at_once(values.clone().into(), limit, max_bytes)
            .await;
        let mut page = match written {
            Err(StoreError::Damaged | StoreError::Internal(_)) => {
                self.due_one_by_one(values.into(), limit, max_bytes).await?
            }
            written => written?,
        };
        if let Some(end) = page.more_after {
            // What comes after these rows is not known yet, so what is fresh there has to wait.
            fresh.retain(|one| one.position() < end);
        }
        if !fresh.is_empty() {
            // A row that is damaged may be of one that is still known.
            page.unreadable
                .retain(|id| fresh.iter().all(|one| one.id != *id));
            let deliveries = &mut page.deliveries;
            let written: HashSet<DeliveryId> = deliveries.iter().map(|one| one.id).collect();
            fresh.retain(|one| !written.contains(&one.id));
            deliveries.append(&mut fresh);
            deliveries.sort_unstable_by_key(DueDelivery::position);
            if cut(deliveries, limit, max_bytes) {
                page.more_after = deliveries.last().map(DueDelivery::position);
            }
        }
        Ok(page)
    }

    /// A page of the rows that are due, in one read: one that cannot be read fails all.
    async fn due_at_once(
        &self,
        values: Vec<Value>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<DuePage, StoreError> {
        let query = Query {
            sql: DUE,
            values,
            max_bytes,
        };
        let rows = self.read_one(query).await?;
        let more = rows.cut || rows.len() >= limit;
        let mut last_type = None;
        let deliveries = rows.decode(|row| due_delivery(row, &mut last_type))?;
        let last = deliveries.last().map(DueDelivery::position);
        Ok(DuePage {
            deliveries,
            unreadable: Vec::new(),
            more_after: last.filter(|_| more),
        })
    }

    /// The same page, in a read for each row, so that one that cannot be read is missing alone. A row that moved
    /// meanwhile is missing, too: whoever moved it tells.
    async fn due_one_by_one(
        &self,
        values: Vec<Value>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<DuePage, StoreError> {
        let query = Query {
            sql: DUE_POSITIONS,
            values,
            max_bytes: usize::MAX,
        };
        let rows = self.read_one(query).await?;
        let positions: Vec<DuePosition> = rows.decode(|row| Ok((row.time()?, row.id()?)))?;
        let mut page = DuePage {
            more_after: positions
                .last()
                .copied()
                .filter(|_| positions.len() >= limit),
            ..DuePage::default()
        };
        let (mut bytes, mut last_type) = (0, None);
        for position in positions {
            let (due_at, id) = position;
            let read = self
                .read_one(Query::new(DUE_AT_POSITION, [due_at.into(), id.into()]))
                .await
                .and_then(|rows| rows.first(|row| due_delivery(row, &mut last_type)));
            match read {
                Ok(None) => {}
                Ok(Some(delivery)) => {
                    bytes += delivery.body.len();
                    page.deliveries.push(delivery);
                }
                Err(StoreError::Damaged | StoreError::Internal(_)) => page.unreadable.push(id),
                Err(error) => return Err(error),
            }
            if bytes >= max_bytes && !page.deliveries.is_empty() {
                page.more_after = Some(position);
                break;
            }
        }
        Ok(page)
    }

    /// When the first delivery after `now` becomes due for an endpoint, of those that are not fresh: a
    /// fresh one was due when it was accepted.
    pub async fn next_due(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let query = Query::new(NEXT_DUE, [endpoint.into(), now.into()]);
        let first = self.read_one(query).await?.first(Columns::maybe_time)?;
        Ok(first.flatten())
    }

    /// Every endpoint (not deleted) with unfinished deliveries, and when the first is due.
    pub async fn lanes_with_work(&self) -> Result<Vec<(EndpointId, Timestamp)>, StoreError> {
        self.write_down(Wanted::All).await?;
        let rows = self.read_one(Query::new(LANES, [])).await?;
        let lanes = rows.decode(|row| Ok((row.id()?, row.maybe_time()?)))?;
        Ok(lanes
            .into_iter()
            .filter_map(|(endpoint, first)| first.map(|first| (endpoint, first)))
            .collect())
    }

    /// Makes nothing due later than `latest`: for a clock that was set back while we were away.
    /// How many deliveries that moved.
    pub async fn pull_in_due(&self, latest: Timestamp) -> Result<u64, StoreError> {
        let mut moved = 0;
        for (endpoint, _) in self.lanes_with_work().await? {
            loop {
                let values = [endpoint.into(), latest.into(), SLICE.into()];
                if self.next_due(endpoint, latest).await?.is_none() {
                    break;
                }
                moved += self.change(Unit::of(PULL_IN, values)).await?;
            }
        }
        Ok(moved)
    }

    /// How many deliveries to endpoints that are not deleted are unfinished, and how many are dead
    /// letters: for metrics.
    pub async fn backlog(&self) -> Result<(u64, u64), StoreError> {
        // On a disk that cannot be written the count lacks a few: it is then that it is looked at.
        let written = self.write_down(Wanted::All).await;
        if let Err(error) = written {
            tracing::debug!(%error, "deliveries without rows are not in the count of the backlog");
        }
        let (open, dead) = self
            .read_two(Query::new(COUNT_OPEN, []), Query::new(COUNT_DEAD, []))
            .await?;
        let count = |rows: crate::value::Rows| {
            let count = rows.first(Columns::int)?.unwrap_or(0);
            Ok(u64::try_from(count).unwrap_or(0))
        };
        Ok((count(open)?, count(dead)?))
    }
}

/// Cuts a page to its limits; whether that took anything.
fn cut(deliveries: &mut Vec<DueDelivery>, limit: usize, max_bytes: usize) -> bool {
    let mut bytes = 0;
    let fit = deliveries.iter().take(limit).take_while(|delivery| {
        let fits = bytes < max_bytes;
        bytes += delivery.body.len();
        fits
    });
    let fit = fit.count().max(1);
    let cuts = fit < deliveries.len();
    deliveries.truncate(fit);
    cuts
}

fn due_delivery(
    row: &mut Columns,
    last_type: &mut Option<Arc<str>>,
) -> Result<DueDelivery, StoreError> {
    Ok(DueDelivery {
        id: row.id()?,
        event: row.id()?,
        event_type: shared(last_type, row.text()?),
        attempt_count: row.count()?,
        schedule_start: row.count()?,
        due_at: row.time()?,
        test: row.flag()?,
        body: row.bytes()?,
    })
}

/// `text`, shared with the row before where it is the same: a lane mostly carries few types.
fn shared(last: &mut Option<Arc<str>>, text: String) -> Arc<str> {
    match last {
        Some(last) if **last == *text => last.clone(),
        _ => last.insert(text.into()).clone(),
    }
}
