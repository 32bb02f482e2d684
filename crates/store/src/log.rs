//! Hides how a page of the delivery log is found quickly whatever it is filtered by.
//!
//! Ids grow with time, so a page is the newest ids of some ranges of an index, merged. Which ranges
//! follows from the filter ([`plan`]): a status stands for one or two ranges of each endpoint that
//! is in the matching condition, so a million rows that stand elsewhere are never walked over.

use model::attempt::{Attempt, Outcome, Reason, Timings};
use model::delivery::{Delivery, EndpointCondition, Status};
use model::id::{DeliveryId, EndpointId, EventId, TeamId, first_raw_at};
use model::time::Timestamp;

use crate::driver::Query;
use crate::error::StoreError;
use crate::fresh::Wanted;
use crate::standing::{self, DEAD, DELIVERED, TRIED, UNTRIED};
use crate::store::Store;
use crate::value::{Columns, Value, damaged};

macro_rules! delivery_columns {
    () => {
        "SELECT d.id, d.event_id, d.endpoint_id, d.event_type, d.standing, d.attempt_count, \
         d.next_attempt_at, d.completed_at, d.test, p.disabled, p.paused, p.deleted_at \
         FROM deliveries d JOIN endpoints p ON p.id = d.endpoint_id "
    };
}
const ONE: &str = concat!(delivery_columns!(), "WHERE d.id = $1 AND d.team_id = $2");
/// An event's deliveries have the ids that follow its own.
const OF_EVENT: &str = concat!(
    delivery_columns!(),
    "WHERE d.id > $1 AND d.id <= $1 + (SELECT deliveries FROM events WHERE id = $1) \
       AND d.event_id = $1 AND d.team_id = $2 ORDER BY d.id DESC"
);
const ATTEMPTS: &str = "\
    SELECT number, started_at, duration_ms, outcome, status_code, reason, detail, remote_addr, \
           dns_ms, connect_ms, tls_ms, first_byte_ms, response_headers, response_body \
    FROM attempts WHERE delivery_id = $1 ORDER BY number DESC LIMIT $2";
const CONDITIONS: &str =
    "SELECT id, disabled, paused, deleted_at FROM endpoints WHERE team_id = $1";

// The ranges. Each takes the oldest id, the first id beyond the newest, and the limit last.
const STANDING_RANGE: &str = "\
    SELECT id FROM deliveries WHERE endpoint_id = $1 AND standing = $2 AND id >= $3 AND id < $4 \
    ORDER BY id DESC LIMIT $5";
const TYPE_RANGE: &str = "\
    SELECT id FROM deliveries WHERE endpoint_id = $1 AND event_type = $2 AND id >= $3 AND id < $4 \
    ORDER BY id DESC LIMIT $5";
const DEAD_TYPE_RANGE: &str = "\
    SELECT id FROM deliveries \
    WHERE endpoint_id = $1 AND event_type = $2 AND standing = 3 AND id >= $3 AND id < $4 \
    ORDER BY id DESC LIMIT $5";
/// Walks the type's range: what is delivered is most of it.
const DELIVERED_TYPE_RANGE: &str = "\
    SELECT id FROM deliveries \
    WHERE endpoint_id = $1 AND event_type = $2 AND +standing = 2 AND id >= $3 AND id < $4 \
    ORDER BY id DESC LIMIT $5";
/// Walks the standing's range: what is owed is mostly little.
const OWED_TYPE_RANGE: &str = "\
    SELECT id FROM deliveries \
    WHERE endpoint_id = $1 AND standing = $2 AND id >= $3 AND id < $4 AND event_type || '' = $6 \
    ORDER BY id DESC LIMIT $5";

/// The attempts a delivery is shown with: retries by hand may make any number of them.
const ATTEMPTS_SHOWN: u32 = 100;
/// About how many bytes those may hold, their responses' bodies included.
const ATTEMPTS_BYTES: usize = 4 << 20;

/// What a delivery log is filtered by; absent means any.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// Only this endpoint's.
    pub endpoint: Option<EndpointId>,
    /// Only of this event.
    pub event: Option<EventId>,
    /// Only those that stand here.
    pub status: Option<Status>,
    /// Only of this type.
    pub event_type: Option<String>,
    /// Made at this moment or later.
    pub since: Option<Timestamp>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
}

/// The ids a page may hold, and how many of them.
#[derive(Clone, Copy)]
struct Window {
    oldest: i64,
    beyond: i64,
    limit: u32,
}

impl Window {
    fn of(filter: &LogFilter, before: Option<DeliveryId>, limit: u32) -> Self {
        let until = filter.until.map_or(i64::MAX, first_raw_at);
        Self {
            oldest: filter.since.map_or(0, first_raw_at),
            beyond: before.map_or(until, |before| before.0.min(until)),
            limit,
        }
    }

    fn holds(&self, id: DeliveryId) -> bool {
        (self.oldest..self.beyond).contains(&id.0)
    }
}

impl Store {
    /// Deliveries newest first, after a position; one more than `limit` is never returned.
    pub async fn delivery_log(
        &self,
        team: TeamId,
        filter: &LogFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let window = Window::of(filter, before, limit);
        if let Some(event) = filter.event {
            return self.log_of_event(team, event, filter, window).await;
        }
        self.write_down_to_read(Wanted::OfTeam(team)).await;
        let conditions = self.read_one(Query::new(CONDITIONS, [team.into()])).await?;
        let conditions = conditions.decode(|row| Ok((row.id()?, condition(row)?)))?;
        let ranges = plan(filter, &conditions, window);
        let mut ids: Vec<i64> = Vec::new();
        for rows in self.driver().read(ranges).await? {
            ids.extend(rows.decode(Columns::int)?);
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.truncate(limit as usize);
        let queries = ids
            .into_iter()
            .map(|id| Query::new(ONE, [id.into(), team.into()]))
            .collect();
        let mut page = Vec::with_capacity(limit as usize);
        for rows in self.driver().read(queries).await? {
            page.extend(rows.first(decode)?);
        }
        Ok(page)
    }

    /// An event has no more deliveries than a team has endpoints: all are read, then filtered.
    async fn log_of_event(
        &self,
        team: TeamId,
        event: EventId,
        filter: &LogFilter,
        window: Window,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.write_down_to_read(Wanted::OfEvent(event)).await;
        let mut page = self.read_one(of_event(team, event)).await?.decode(decode)?;
        page.retain(|delivery| {
            window.holds(delivery.id)
                && filter
                    .endpoint
                    .is_none_or(|endpoint| endpoint == delivery.endpoint)
                && filter
                    .status
                    .is_none_or(|status| status == delivery.status())
                && filter
                    .event_type
                    .as_ref()
                    .is_none_or(|name| *name == delivery.event_type)
        });
        page.truncate(window.limit as usize);
        Ok(page)
    }

    /// One delivery and its latest attempts, in order: at most 100, and about 4 MiB of them.
    /// `attempt_count` tells how many were made.
    pub async fn delivery(
        &self,
        team: TeamId,
        delivery: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempt>)>, StoreError> {
        self.write_down_around(delivery).await;
        let attempts = Query {
            max_bytes: ATTEMPTS_BYTES,
            ..Query::new(ATTEMPTS, [delivery.into(), ATTEMPTS_SHOWN.into()])
        };
        let (rows, attempts) = self
            .read_two(Query::new(ONE, [delivery.into(), team.into()]), attempts)
            .await?;
        let Some(delivery) = rows.first(decode)? else {
            return Ok(None);
        };
        let mut attempts = attempts.decode(decode_attempt)?;
        attempts.reverse();
        Ok(Some((delivery, attempts)))
    }

    async fn write_down_around(&self, delivery: DeliveryId) {
        if let Some(its_event) = Wanted::around(self.fresh(), delivery) {
            self.write_down_to_read(its_event).await;
        }
    }

    /// One delivery, without its attempts.
    pub async fn delivery_alone(
        &self,
        team: TeamId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.write_down_around(delivery).await;
        self.read_one(Query::new(ONE, [delivery.into(), team.into()]))
            .await?
            .first(decode)
    }
}

/// An event's deliveries, newest first.
pub(crate) fn of_event(team: TeamId, event: EventId) -> Query {
    Query::new(OF_EVENT, [event.into(), team.into()])
}

/// The ranges whose newest ids make up the page.
fn plan(
    filter: &LogFilter,
    endpoints: &[(EndpointId, EndpointCondition)],
    window: Window,
) -> Vec<Query> {
    use EndpointCondition::{Active, Deleted, Holding};
    let mut ranges = Vec::new();
    for (endpoint, condition) in endpoints {
        if filter.endpoint.is_some_and(|wanted| wanted != *endpoint) {
            continue;
        }
        let standings: &[i64] = match (filter.status, condition) {
            (None, _) => &[UNTRIED, TRIED, DELIVERED, DEAD],
            (Some(Status::Delivered), _) => &[DELIVERED],
            (Some(Status::DeadLetter), _) => &[DEAD],
            (Some(Status::Pending), Active) => &[UNTRIED],
            (Some(Status::Retrying), Active) => &[TRIED],
            (Some(Status::Held), Holding) | (Some(Status::Canceled), Deleted(_)) => {
                &[UNTRIED, TRIED]
            }
            (Some(Status::Pending | Status::Retrying | Status::Held | Status::Canceled), _) => &[],
        };
        match (&filter.event_type, filter.status) {
            (Some(name), None) => ranges.push(type_range(TYPE_RANGE, *endpoint, name, window)),
            (name, _) => ranges.extend(
                standings
                    .iter()
                    .map(|standing| range(*endpoint, *standing, name.as_deref(), window)),
            ),
        }
    }
    ranges
}

fn type_range(sql: &'static str, endpoint: EndpointId, name: &str, window: Window) -> Query {
    let Window {
        oldest,
        beyond,
        limit,
    } = window;
    let name: Value = name.to_owned().into();
    Query::new(
        sql,
        [
            endpoint.into(),
            name,
            oldest.into(),
            beyond.into(),
            limit.into(),
        ],
    )
}

fn range(endpoint: EndpointId, standing: i64, name: Option<&str>, window: Window) -> Query {
    let Window {
        oldest,
        beyond,
        limit,
    } = window;
    let mut query = match (name, standing) {
        (Some(name), DEAD) => return type_range(DEAD_TYPE_RANGE, endpoint, name, window),
        (Some(name), DELIVERED) => return type_range(DELIVERED_TYPE_RANGE, endpoint, name, window),
        (Some(_), _) => Query::new(OWED_TYPE_RANGE, []),
        (None, _) => Query::new(STANDING_RANGE, []),
    };
    query.values = vec![
        endpoint.into(),
        standing.into(),
        oldest.into(),
        beyond.into(),
        limit.into(),
    ];
    query
        .values
        .extend(name.map(|name| Value::Text(name.to_owned())));
    query
}

/// Takes `disabled`, `paused` and `deleted_at`.
fn condition(row: &mut Columns) -> Result<EndpointCondition, StoreError> {
    let (disabled, paused) = (row.flag()?, row.flag()?);
    Ok(match row.maybe_time()? {
        Some(at) => EndpointCondition::Deleted(at),
        None if disabled || paused => EndpointCondition::Holding,
        None => EndpointCondition::Active,
    })
}

pub(crate) fn decode(row: &mut Columns) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: row.id()?,
        event: row.id()?,
        endpoint: row.id()?,
        event_type: row.text()?,
        state: standing::state(row.int()?)?,
        attempt_count: row.count()?,
        next_attempt_at: row.maybe_time()?,
        completed_at: row.maybe_time()?,
        test: row.flag()?,
        condition: condition(row)?,
    })
}

fn decode_attempt(row: &mut Columns) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: row.count()?,
        started_at: row.time()?,
        duration_ms: row.count()?,
        outcome: Outcome::parse(&row.text()?).ok_or_else(|| damaged("an outcome is unknown"))?,
        status_code: row
            .maybe_int()?
            .map(|status| u16::try_from(status).map_err(|_| damaged("a status is too large")))
            .transpose()?,
        reason: row
            .maybe_text()?
            .map(|text| Reason::parse(&text).ok_or_else(|| damaged("a reason is unknown")))
            .transpose()?,
        detail: row.maybe_text()?,
        remote_addr: row
            .maybe_text()?
            .map(|text| {
                text.parse()
                    .map_err(|_| damaged("an address cannot be read"))
            })
            .transpose()?,
        timings: Timings {
            dns_ms: row.maybe_count()?,
            connect_ms: row.maybe_count()?,
            tls_ms: row.maybe_count()?,
            first_byte_ms: row.maybe_count()?,
        },
        response_headers: match row.maybe_text()? {
            None => Vec::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| damaged(&format!("response headers: {error}")))?,
        },
        response_body: row.maybe_bytes()?,
    })
}
