//! Hides retention: what is past its time goes in small slices, so that publishing never waits long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use model::id::{EndpointId, EventId, TeamId, first_raw_at};
use model::time::Timestamp;

use crate::driver::{Query, Unit};
use crate::error::StoreError;
use crate::fresh::Wanted;
use crate::store::Store;
use crate::value::Columns;

const DELETE_KEYS: &str = "\
    DELETE FROM idempotency_keys WHERE (team_id, key) IN \
        (SELECT team_id, key FROM idempotency_keys WHERE expires_at <= $1 LIMIT $2)";
const DELETE_TOKENS: &str = "\
    DELETE FROM tokens WHERE (kind, hash) IN \
        (SELECT kind, hash FROM tokens WHERE expires_at <= $1 LIMIT $2)";

macro_rules! is_owed {
    ($event:literal, $count:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM deliveries d JOIN endpoints p ON p.id = d.endpoint_id WHERE d.id > ",
            $event, " AND d.id <= ", $event, " + ", $count,
            " AND d.standing < 2 AND p.deleted_at IS NULL)"
        )
    };
}
/// The next events in the order of their ids, and whether a delivery of theirs is still owed.
const OLD_EVENTS: &str = concat!(
    "SELECT e.id, e.deliveries, CASE WHEN ",
    is_owed!("e.id", "e.deliveries"),
    " THEN 1 ELSE 0 END FROM events e WHERE e.id > $1 AND e.id < $2 ORDER BY e.id LIMIT $3"
);
// An event goes first, unless somebody asked for a delivery of it again meanwhile; what was its
// own goes only if it went.
const DELETE_EVENT: &str = concat!(
    "DELETE FROM events WHERE id = $1 AND NOT ",
    is_owed!("$1", "$2")
);
const DELETE_DELIVERIES: &str = "\
    DELETE FROM deliveries WHERE id > $1 AND id <= $1 + $2 \
      AND NOT EXISTS (SELECT 1 FROM events WHERE id = $1)";
const DELETE_ATTEMPTS: &str = "\
    DELETE FROM attempts WHERE delivery_id > $1 AND delivery_id <= $1 + $2 \
      AND NOT EXISTS (SELECT 1 FROM events WHERE id = $1)";

// Deleted endpoints and teams that nothing refers to any more. They are looked for beside the
// writer: without retention most of the deleted are still referred to.
macro_rules! is_idle_endpoint {
    () => {
        "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.endpoint_id = endpoints.id)"
    };
}
macro_rules! is_idle_team {
    () => {
        "NOT EXISTS (SELECT 1 FROM endpoints p WHERE p.team_id = teams.id) \
         AND NOT EXISTS (SELECT 1 FROM events e WHERE e.team_id = teams.id)"
    };
}
const IDLE_ENDPOINTS: &str = concat!(
    "SELECT id FROM endpoints WHERE deleted_at < $1 AND ",
    is_idle_endpoint!(),
    " LIMIT $2"
);
const IDLE_TEAMS: &str = concat!(
    "SELECT id FROM teams WHERE deleted_at < $1 AND ",
    is_idle_team!(),
    " LIMIT $2"
);
const DELETE_ENDPOINT: &str = concat!(
    "DELETE FROM endpoints WHERE id = $1 AND ",
    is_idle_endpoint!()
);
const DELETE_TEAM: &str = concat!("DELETE FROM teams WHERE id = $1 AND ", is_idle_team!());

/// Once its team is gone.
const DELETE_AUDIT_LOG: &str = "\
    DELETE FROM audit_log WHERE team_id = $1 AND NOT EXISTS (SELECT 1 FROM teams WHERE id = $1)";

/// How long a deleted endpoint's or team's row stays at least: a publication that was under way
/// when it was deleted may still refer to it, and waits in the queue for much less.
const DELETED_KEPT: Duration = Duration::from_secs(3600);

impl Store {
    /// Deletes at most about `slice` rows of what is past its time: idempotency keys and tokens
    /// expired at `now`, and events older than `keep_since` whose deliveries are all finished,
    /// with those deliveries and attempts. Without `keep_since` events stay. Endpoints and teams
    /// that were deleted an hour ago go once nothing refers to them, with or without it. Returns
    /// how many rows went; 0 means done.
    pub async fn sweep(
        &self,
        now: Timestamp,
        keep_since: Option<Timestamp>,
        slice: u32,
    ) -> Result<u64, StoreError> {
        let slice = slice.max(1);
        // What has no row looks as if it were finished, or as if nothing referred to its endpoint.
        self.write_down(Wanted::All).await?;
        // What is just being accepted has none yet, and is old already where the clock was set on meanwhile.
        let rows_before = self.fresh().lock().rows_before();
        let mut unit = Unit::default();
        unit.add(DELETE_KEYS, [now.into(), slice.into()]);
        unit.add(DELETE_TOKENS, [now.into(), slice.into()]);
        let mut gone = self.change(unit).await?;
        if let Some(keep_since) = keep_since {
            let beyond = first_raw_at(keep_since).min(rows_before.0);
            while gone == 0 {
                match self.sweep_events(beyond, slice).await? {
                    Some(rows) => gone += rows,
                    None => break,
                }
            }
        }
        if gone == 0 {
            gone = self.sweep_deleted(now.before(DELETED_KEPT), slice).await?;
        }
        Ok(gone)
    }

    /// Deletes the rows of what was deleted before `until` and is idle; how many went.
    async fn sweep_deleted(&self, until: Timestamp, slice: u32) -> Result<u64, StoreError> {
        let values = || [until.into(), slice.into()];
        let (endpoints, teams) = self
            .read_two(
                Query::new(IDLE_ENDPOINTS, values()),
                Query::new(IDLE_TEAMS, values()),
            )
            .await?;
        let mut unit = Unit::default();
        for endpoint in endpoints.decode(Columns::id::<EndpointId>)? {
            unit.add(DELETE_ENDPOINT, [endpoint.into()]);
        }
        for team in teams.decode(Columns::id::<TeamId>)? {
            unit.add(DELETE_TEAM, [team.into()]);
            unit.add(DELETE_AUDIT_LOG, [team.into()]);
        }
        if unit.is_empty() {
            return Ok(0);
        }
        self.change(unit).await
    }

    /// Looks at the next old events and deletes those that are finished; how many rows went. None
    /// at the end, from where the next call begins anew: what was owed may be finished by then.
    async fn sweep_events(&self, beyond: i64, slice: u32) -> Result<Option<u64>, StoreError> {
        let position = self.swept().load(Ordering::Relaxed);
        let values = [position.into(), beyond.into(), slice.into()];
        let events = self
            .read_one(Query::new(OLD_EVENTS, values))
            .await?
            .decode(|row| Ok((row.id::<EventId>()?, row.count()?, row.flag()?)))?;
        if events.is_empty() {
            self.swept().store(0, Ordering::Relaxed);
            return Ok(None);
        }
        let mut unit = Unit::default();
        let (mut rows, mut last) = (0, position);
        for (event, deliveries, owed) in events {
            if rows >= u64::from(slice) {
                break;
            }
            last = event.0;
            if owed {
                continue;
            }
            // With about one attempt a delivery.
            rows += 1 + 2 * u64::from(deliveries);
            let values = || [event.into(), deliveries.into()];
            unit.add(DELETE_EVENT, values());
            unit.add(DELETE_DELIVERIES, values());
            unit.add(DELETE_ATTEMPTS, values());
        }
        let gone = if unit.is_empty() {
            0
        } else {
            self.change(unit).await?
        };
        self.swept().store(last, Ordering::Relaxed);
        Ok(Some(gone))
    }
}
