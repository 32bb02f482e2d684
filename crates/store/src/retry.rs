//! Hides how deliveries get a fresh schedule by hand: one, or an endpoint's dead letters of a range.

use std::sync::atomic::{AtomicU64, Ordering};

use model::id::{DeliveryId, EndpointId, TeamId, first_raw_at};
use model::time::Timestamp;

use crate::driver::{Commit, Query, Unit};
use crate::due::SLICE;
use crate::error::StoreError;
use crate::fresh::Wanted;
use crate::store::Store;
use crate::value::{Columns, Value};

const FIND: &str = "\
    SELECT d.endpoint_id, p.deleted_at FROM deliveries d JOIN endpoints p ON p.id = d.endpoint_id \
    WHERE d.id = $1 AND d.team_id = $2";
/// Changes no row where the delivery is gone, or its endpoint was deleted.
const RETRY_ONE: &str = "\
    UPDATE deliveries SET standing = CASE WHEN attempt_count = 0 THEN 0 ELSE 1 END, \
        schedule_start = attempt_count, next_attempt_at = $3, completed_at = NULL \
    WHERE id = $1 AND team_id = $2 \
      AND EXISTS (SELECT 1 FROM endpoints p \
                  WHERE p.id = deliveries.endpoint_id AND p.deleted_at IS NULL)";

// A slice: the first ids after a position, then all up to the last of them.
const DEAD_IDS: &str = "\
    SELECT id FROM deliveries \
    WHERE endpoint_id = $1 AND standing = 3 AND id > $2 AND id < $3 \
    ORDER BY id LIMIT $4";
const DEAD_IDS_OF_TYPE: &str = "\
    SELECT id FROM deliveries \
    WHERE endpoint_id = $1 AND event_type = $5 AND standing = 3 AND id > $2 AND id < $3 \
    ORDER BY id LIMIT $4";
macro_rules! retry_dead {
    () => {
        "UPDATE deliveries SET standing = 1, schedule_start = attempt_count, \
                               next_attempt_at = $4, completed_at = NULL \
         WHERE endpoint_id = $1 AND standing = 3 AND id > $2 AND id <= $3 \
           AND EXISTS (SELECT 1 FROM endpoints p \
                       WHERE p.id = $1 AND p.team_id = $5 AND p.deleted_at IS NULL)"
    };
}
// A team's, by the endpoints that are there: those of deleted ones cannot be retried.
macro_rules! count_dead {
    ($more:literal) => {
        concat!(
            "SELECT count(*) FROM (SELECT 1 FROM endpoints p CROSS JOIN deliveries d \
                 ON d.endpoint_id = p.id \
                 WHERE p.team_id = $1 AND p.deleted_at IS NULL AND d.standing = 3 \
                   AND d.id > $2 AND d.id < $3 ",
            $more,
            " LIMIT $4)"
        )
    };
}
const COUNT_DEAD: &str = count_dead!("");
const COUNT_DEAD_OF_TYPE: &str = count_dead!("AND d.event_type = $5");
const COUNT_DEAD_OF_ENDPOINT: &str = count_dead!("AND p.id = $5");
const COUNT_DEAD_OF_BOTH: &str = count_dead!("AND d.event_type = $5 AND p.id = $6");
macro_rules! with_dead {
    ($more:literal) => {
        concat!(
            "SELECT p.id FROM endpoints p WHERE p.team_id = $1 AND p.deleted_at IS NULL \
               AND EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = p.id \
                             AND d.standing = 3 AND d.id > $2 AND d.id < $3 ",
            $more,
            ") ORDER BY p.id"
        )
    };
}
const WITH_DEAD: &str = with_dead!("");
const WITH_DEAD_OF_TYPE: &str = with_dead!("AND d.event_type = $4");
const RETRY_DEAD: &str = retry_dead!();
const RETRY_DEAD_OF_TYPE: &str = concat!(retry_dead!(), " AND event_type = $6");

/// What a range of dead letters is chosen by.
#[derive(Clone, Debug, Default)]
pub struct RetryFilter {
    /// Only of this type.
    pub event_type: Option<String>,
    /// Made at this moment or later.
    pub since: Option<Timestamp>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

impl RetryFilter {
    /// The ids it is about: those after the first and before the second.
    fn range(&self) -> (i64, i64) {
        (
            self.since.map_or(0, first_raw_at) - 1,
            self.until.map_or(i64::MAX, first_raw_at),
        )
    }
}

/// What came of a retry by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It has a fresh schedule, for this endpoint.
    Fresh(EndpointId),
    /// The team has no such delivery.
    NotFound,
    /// Its endpoint was deleted.
    EndpointDeleted,
}

impl Store {
    /// Gives a delivery in any state a fresh schedule, due `now` by the clock that retries wait by.
    pub async fn retry_delivery(
        &self,
        team: TeamId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Retried, StoreError> {
        if let Some(its_event) = Wanted::around(self.fresh(), delivery) {
            self.write_down(its_event).await?;
        }
        let find = Query::new(FIND, [delivery.into(), team.into()]);
        let found = self
            .read_one(find)
            .await?
            .first(|row| Ok((row.id()?, row.maybe_int()?.is_some())))?;
        let endpoint = match found {
            None => return Ok(Retried::NotFound),
            Some((_, true)) => return Ok(Retried::EndpointDeleted),
            Some((endpoint, false)) => endpoint,
        };
        let mut unit = Unit::default();
        unit.guard(RETRY_ONE, [delivery.into(), team.into(), now.into()], 1);
        Ok(match self.commit(unit).await? {
            Commit::Done { .. } => Retried::Fresh(endpoint),
            // Only a living endpoint's delivery was found: it was deleted in between. (Retention
            // could have taken the delivery instead, which then is as good as gone too.)
            Commit::Refused { .. } => Retried::EndpointDeleted,
        })
    }

    /// Gives an endpoint's dead letters of a range fresh schedules, in small commits; how many.
    /// Goes through the range once by id, so none is retried twice by one call. `now` is by the
    /// clock that retries wait by.
    pub async fn retry_dead_letters(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        filter: &RetryFilter,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let unwatched = AtomicU64::default();
        self.retry_dead_letters_watched(team, endpoint, filter, now, &unwatched)
            .await
    }

    /// As [`Store::retry_dead_letters`], adding to `done` what each commit has given fresh schedules.
    pub async fn retry_dead_letters_watched(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        filter: &RetryFilter,
        now: Timestamp,
        done: &AtomicU64,
    ) -> Result<u64, StoreError> {
        if self.endpoint(team, endpoint).await?.is_none() {
            return Ok(0);
        }
        let (mut position, beyond) = filter.range();
        let mut retried = 0;
        while let Some(last) = self.slice(endpoint, filter, position, beyond).await? {
            let values: [Value; 5] = [
                endpoint.into(),
                position.into(),
                last.into(),
                now.into(),
                team.into(),
            ];
            let unit = match &filter.event_type {
                None => Unit::of(RETRY_DEAD, values),
                Some(name) => {
                    let [a, b, c, d, e] = values;
                    Unit::of(RETRY_DEAD_OF_TYPE, [a, b, c, d, e, name.clone().into()])
                }
            };
            let some = self.change(unit).await?;
            done.fetch_add(some, Ordering::Relaxed);
            retried += some;
            position = last;
        }
        Ok(retried)
    }

    /// How many dead letters of a team's endpoints, or of one of them, are in a range, counted up to `at_most`.
    pub async fn count_dead_letters(
        &self,
        team: TeamId,
        endpoint: Option<EndpointId>,
        filter: &RetryFilter,
        at_most: u32,
    ) -> Result<u64, StoreError> {
        let (after, beyond) = filter.range();
        let values = [team.into(), after.into(), beyond.into(), at_most.into()];
        let sql = match (&filter.event_type, endpoint) {
            (None, None) => COUNT_DEAD,
            (Some(_), None) => COUNT_DEAD_OF_TYPE,
            (None, Some(_)) => COUNT_DEAD_OF_ENDPOINT,
            (Some(_), Some(_)) => COUNT_DEAD_OF_BOTH,
        };
        let mut query = Query::new(sql, values);
        query
            .values
            .extend(filter.event_type.clone().map(Value::from));
        query.values.extend(endpoint.map(Value::from));
        let count = self.read_one(query).await?.first(Columns::count)?;
        Ok(count.unwrap_or(0).into())
    }

    /// Those of a team's endpoints that have dead letters in a range, oldest first.
    pub async fn with_dead_letters(
        &self,
        team: TeamId,
        filter: &RetryFilter,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let (after, beyond) = filter.range();
        let mut query = Query::new(WITH_DEAD, [team.into(), after.into(), beyond.into()]);
        if let Some(name) = &filter.event_type {
            query.sql = WITH_DEAD_OF_TYPE;
            query.values.push(name.clone().into());
        }
        self.read_one(query).await?.decode(Columns::id)
    }

    /// The last id of the next slice; none where there is nothing more.
    async fn slice(
        &self,
        endpoint: EndpointId,
        filter: &RetryFilter,
        position: i64,
        beyond: i64,
    ) -> Result<Option<i64>, StoreError> {
        let mut query = Query::new(
            DEAD_IDS,
            [
                endpoint.into(),
                position.into(),
                beyond.into(),
                SLICE.into(),
            ],
        );
        if let Some(name) = &filter.event_type {
            query.sql = DEAD_IDS_OF_TYPE;
            query.values.push(name.clone().into());
        }
        Ok(self.read_one(query).await?.decode(Columns::int)?.pop())
    }
}
