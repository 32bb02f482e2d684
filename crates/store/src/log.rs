//! Hides how the delivery log is read: pages by any filter, one delivery with its attempts.
//!
//! Which deliveries are on a page is said by `newest`; those that have no row yet are added to it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use model::attempt::{Attempt, Outcome, Reason, Timings};
use model::delivery::{Delivery, EndpointCondition, State, Status};
use model::id::{DeliveryId, EndpointId, EventId, TeamId, first_raw_at};
use model::time::Timestamp;

use crate::driver::Query;
use crate::error::StoreError;
use crate::fresh::{Unwritten, Wanted};
use crate::standing;
use crate::store::Store;
use crate::value::{Columns, damaged};

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

impl LogFilter {
    fn admits(&self, delivery: &Delivery) -> bool {
        let Self {
            endpoint,
            status,
            event_type,
            ..
        } = self;
        endpoint.is_none_or(|endpoint| endpoint == delivery.endpoint)
            && status.is_none_or(|status| status == delivery.status())
            && event_type
                .as_ref()
                .is_none_or(|name| *name == delivery.event_type)
    }
}

/// A team's endpoints and what each is in.
pub(crate) type Conditions = Vec<(EndpointId, EndpointCondition)>;

/// The ids a page may hold, and how many of them.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) oldest: i64,
    pub(crate) beyond: i64,
    pub(crate) limit: u32,
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
        let unwritten = self.fresh().lock().wanted(&Wanted::OfTeam(team));
        let (ids, conditions) = self.newest(team, filter, window).await?;
        let queries = ids
            .into_iter()
            .map(|id| Query::new(ONE, [id.into(), team.into()]))
            .collect();
        let mut page = Vec::with_capacity(limit as usize);
        for rows in self.driver().read(queries).await? {
            page.extend(rows.first(decode)?);
        }
        add_unwritten(&mut page, unwritten, &conditions, |delivery| {
            window.holds(delivery.id) && filter.admits(delivery)
        });
        page.truncate(limit as usize);
        Ok(page)
    }

    /// What a team's endpoints are in, which is half of their deliveries' status.
    pub(crate) async fn conditions(&self, team: TeamId) -> Result<Conditions, StoreError> {
        let rows = self.read_one(Query::new(CONDITIONS, [team.into()])).await?;
        rows.decode(|row| Ok((row.id()?, condition(row)?)))
    }

    /// An event's deliveries, newest first.
    pub(crate) async fn deliveries_of(
        &self,
        team: TeamId,
        event: EventId,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut unwritten = self.fresh().lock().wanted(&Wanted::OfEvent(event));
        unwritten.retain(|one| one.team == team);
        let query = Query::new(OF_EVENT, [event.into(), team.into()]);
        let mut deliveries = self.read_one(query).await?.decode(decode)?;
        if !unwritten.is_empty() {
            let conditions = self.conditions(team).await?;
            add_unwritten(&mut deliveries, unwritten, &conditions, |_| true);
        }
        Ok(deliveries)
    }

    /// An event has no more deliveries than a team has endpoints: all are read, then filtered.
    async fn log_of_event(
        &self,
        team: TeamId,
        event: EventId,
        filter: &LogFilter,
        window: Window,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut page = self.deliveries_of(team, event).await?;
        page.retain(|delivery| window.holds(delivery.id) && filter.admits(delivery));
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
        let unwritten = self.fresh().lock().find(delivery);
        let attempts = Query {
            max_bytes: ATTEMPTS_BYTES,
            ..Query::new(ATTEMPTS, [delivery.into(), ATTEMPTS_SHOWN.into()])
        };
        let (rows, attempts) = self
            .read_two(Query::new(ONE, [delivery.into(), team.into()]), attempts)
            .await?;
        let Some(delivery) = rows.first(decode)? else {
            let delivery = self.show_unwritten(team, unwritten).await?;
            return Ok(delivery.map(|delivery| (delivery, Vec::new())));
        };
        let mut attempts = attempts.decode(decode_attempt)?;
        attempts.reverse();
        Ok(Some((delivery, attempts)))
    }

    async fn show_unwritten(
        &self,
        team: TeamId,
        unwritten: Option<Unwritten>,
    ) -> Result<Option<Delivery>, StoreError> {
        let Some(unwritten) = unwritten.filter(|one| one.team == team) else {
            return Ok(None);
        };
        let mut found = Vec::new();
        let conditions = self.conditions(team).await?;
        add_unwritten(&mut found, vec![unwritten], &conditions, |_| true);
        Ok(found.pop())
    }

    /// One delivery, without its attempts.
    pub async fn delivery_alone(
        &self,
        team: TeamId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        let unwritten = self.fresh().lock().find(delivery);
        let query = Query::new(ONE, [delivery.into(), team.into()]);
        match self.read_one(query).await?.first(decode)? {
            None => self.show_unwritten(team, unwritten).await,
            written => Ok(written),
        }
    }
}

/// Adds deliveries to a page that had no row before it was read: those that have none in it. What got
/// its row meanwhile counts as it was read.
fn add_unwritten(
    page: &mut Vec<Delivery>,
    unwritten: Vec<Unwritten>,
    conditions: &Conditions,
    wanted: impl Fn(&Delivery) -> bool,
) {
    if unwritten.is_empty() {
        return;
    }
    let written: HashSet<DeliveryId> = page.iter().map(|delivery| delivery.id).collect();
    let conditions: HashMap<_, _> = conditions.iter().copied().collect();
    for one in unwritten {
        let Some(condition) = conditions.get(&one.endpoint) else {
            continue; // Retention took the endpoint, and all that it was owed.
        };
        let delivery = Delivery {
            id: one.delivery,
            event: one.event,
            endpoint: one.endpoint,
            event_type: one.event_type.to_string(),
            state: State::Open,
            attempt_count: 0,
            next_attempt_at: Some(one.due_at),
            completed_at: None,
            test: one.test,
            condition: *condition,
        };
        if !written.contains(&delivery.id) && wanted(&delivery) {
            page.push(delivery);
        }
    }
    page.sort_unstable_by_key(|delivery| Reverse(delivery.id));
}

/// Takes `disabled`, `paused` and `deleted_at`.
pub(crate) fn condition(row: &mut Columns) -> Result<EndpointCondition, StoreError> {
    let (disabled, paused) = (row.flag()?, row.flag()?);
    Ok(match row.maybe_time()? {
        Some(at) => EndpointCondition::Deleted(at),
        None if disabled || paused => EndpointCondition::Holding,
        None => EndpointCondition::Active,
    })
}

fn decode(row: &mut Columns) -> Result<Delivery, StoreError> {
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
