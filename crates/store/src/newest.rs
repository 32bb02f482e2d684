//! Hides how the newest ids that a page of the log may show are found quickly, of however many endpoints and
//! whatever the log is filtered by.
//!
//! Ids grow with time, so a page is the newest ids of some ranges of an index, merged. Which ranges follows from the
//! filter ([`standings`]): a status stands for one or two ranges of each endpoint that is in the matching condition, so
//! a million rows that stand elsewhere are never walked over. A range of each of many endpoints is much to read, so
//! it is first asked how far back the page can reach: as many ranges as the page has rows begin after some id, so none
//! is older than that one. What is newer is little as a rule, and is read in one go; else the ranges are.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use model::delivery::{EndpointCondition, Status};
use model::id::{EndpointId, TeamId};

use crate::driver::Query;
use crate::error::StoreError;
use crate::log::{Conditions, LogFilter, Window, condition};
use crate::standing::{DEAD, DELIVERED, TRIED, UNTRIED};
use crate::store::Store;
use crate::value::{Columns, Value};

// What each endpoint is in, and the newest id of each of its ranges that is asked for.
macro_rules! head {
    ($standing:literal, $asked:literal, $type:literal) => {
        concat!(
            ", CASE WHEN ",
            $asked,
            " = 1 THEN (SELECT d.id FROM deliveries d WHERE d.endpoint_id = p.id AND d.standing = ",
            $standing,
            " AND d.id >= $2 AND d.id < $3 ",
            $type,
            " ORDER BY d.id DESC LIMIT 1) END"
        )
    };
}
macro_rules! heads {
    ($type:literal) => {
        concat!(
            "SELECT p.id, p.disabled, p.paused, p.deleted_at",
            head!("0", "$4", $type),
            head!("1", "$5", $type),
            head!("2", "$6", $type),
            head!("3", "$7", $type),
            " FROM endpoints p WHERE p.team_id = $1"
        )
    };
}
const HEADS: &str = heads!("");
const HEADS_OF_TYPE: &str = heads!("AND d.event_type = $8");

// All ids of a window, in no order.
macro_rules! near {
    ($type:literal) => {
        concat!(
            "SELECT d.id, d.endpoint_id, d.standing FROM endpoints p CROSS JOIN deliveries d \
             ON d.endpoint_id = p.id AND d.standing IN ($4, $5, $6, $7) \
             WHERE p.team_id = $1 AND d.id >= $2 AND d.id < $3 ",
            $type,
            " LIMIT $8"
        )
    };
}
const NEAR_IDS: &str = near!("");
const NEAR_IDS_OF_TYPE: &str = near!("AND d.event_type = $9");

// The ranges. Each takes the oldest id, the first id beyond the newest, and the limit last.
const STANDING_RANGE: &str = "\
    SELECT id FROM deliveries WHERE endpoint_id = $1 AND standing = $2 AND id >= $3 AND id < $4 \
    ORDER BY id DESC LIMIT $5";
const TYPE_RANGE: &str = "\
    SELECT id FROM deliveries \
    WHERE endpoint_id = $1 AND standing = $2 AND id >= $3 AND id < $4 AND event_type = $6 \
    ORDER BY id DESC LIMIT $5";
/// How many times the rows of a page are read at most before its ranges are read instead.
const NEAR: u32 = 8;

impl Store {
    /// The newest ids that a filter lets through, and what the team's endpoints are in.
    pub(crate) async fn newest(
        &self,
        team: TeamId,
        filter: &LogFilter,
        window: Window,
    ) -> Result<(Vec<i64>, Conditions), StoreError> {
        let limit = window.limit.max(1) as usize;
        if filter.endpoint.is_some() {
            let conditions = self.conditions(team).await?;
            let ids = self.merged(filter, &conditions, window).await?;
            return Ok((ids, conditions));
        }
        let heads = self.heads(team, filter, window).await?;
        let conditions: Conditions = heads
            .iter()
            .map(|head| (head.endpoint, head.condition))
            .collect();
        let mut newest: Vec<(i64, EndpointId, i64)> =
            heads.iter().flat_map(|head| head.newest(filter)).collect();
        newest.sort_unstable_by_key(|(id, ..)| Reverse(*id));
        let Some((_, busiest, standing)) = newest.first().copied() else {
            return Ok((Vec::new(), conditions));
        };
        if newest.len() < limit {
            // Few ranges have anything at all: all of those are read.
            let some = newest.iter().map(|(_, endpoint, _)| *endpoint);
            let some: HashSet<EndpointId> = some.collect();
            let some = conditions.iter().filter(|(id, _)| some.contains(id));
            let some: Conditions = some.copied().collect();
            return Ok((self.merged(filter, &some, window).await?, conditions));
        }
        // As many ids are there, from this one on: nothing older comes onto the page. Where one endpoint gets
        // far more than the others its own ids say more.
        let mut bound = newest[limit - 1].0;
        let event_type = filter.event_type.as_deref();
        let own = range(busiest, standing, event_type, window);
        let own = self.read_one(own).await?.decode(Columns::int)?;
        if let Some(last) = own.get(limit - 1) {
            bound = bound.max(*last);
        }
        let near = Window {
            oldest: window.oldest.max(bound),
            ..window
        };
        let ids = self.near(team, filter, &conditions, near).await?;
        // Fewer: some stand elsewhere by now, or retention took them, and there may be others behind them.
        if let Some(ids) = ids.filter(|ids| ids.len() >= limit) {
            return Ok((ids, conditions));
        }
        let ids = self.merged(filter, &conditions, window).await?;
        Ok((ids, conditions))
    }

    /// The newest ids of a window that is thought to hold few: all of them are read on one view, whatever
    /// endpoint they are of. None where they are too many for that, as where one endpoint gets far more than the
    /// others.
    async fn near(
        &self,
        team: TeamId,
        filter: &LogFilter,
        conditions: &Conditions,
        window: Window,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        let most = window.limit.saturating_mul(NEAR);
        let standing = |standing| {
            Value::Int(if is_wanted(filter, standing) {
                standing
            } else {
                -1
            })
        };
        let mut query = Query::new(
            NEAR_IDS,
            [
                team.into(),
                window.oldest.into(),
                window.beyond.into(),
                standing(UNTRIED),
                standing(TRIED),
                standing(DELIVERED),
                standing(DEAD),
                most.into(),
            ],
        );
        if let Some(name) = &filter.event_type {
            query.sql = NEAR_IDS_OF_TYPE;
            query.values.push(name.clone().into());
        }
        let rows = self.read_one(query).await?;
        if rows.len() >= most as usize {
            return Ok(None);
        }
        let conditions: HashMap<_, _> = conditions.iter().copied().collect();
        let rows = rows.decode(|row| Ok((row.int()?, row.id()?, row.int()?)))?;
        let rows = rows.into_iter().filter(|(_, endpoint, standing)| {
            let condition = conditions.get(endpoint);
            condition.is_some_and(|one| standings(filter.status, *one).contains(standing))
        });
        Ok(Some(newest_of(rows.map(|(id, _, _)| id), window)))
    }

    /// The newest ids of all ranges of these endpoints that a filter is about, on one view.
    async fn merged(
        &self,
        filter: &LogFilter,
        endpoints: &Conditions,
        window: Window,
    ) -> Result<Vec<i64>, StoreError> {
        let mut ids: Vec<i64> = Vec::new();
        for rows in self.driver().read(plan(filter, endpoints, window)).await? {
            ids.extend(rows.decode(Columns::int)?);
        }
        Ok(newest_of(ids.into_iter(), window))
    }

    /// The newest id of each range of each of a team's endpoints that a filter is about.
    async fn heads(
        &self,
        team: TeamId,
        filter: &LogFilter,
        window: Window,
    ) -> Result<Vec<Head>, StoreError> {
        let asked = |standing| Value::from(is_wanted(filter, standing));
        let mut query = Query::new(
            HEADS,
            [
                team.into(),
                window.oldest.into(),
                window.beyond.into(),
                asked(UNTRIED),
                asked(TRIED),
                asked(DELIVERED),
                asked(DEAD),
            ],
        );
        if let Some(name) = &filter.event_type {
            query.sql = HEADS_OF_TYPE;
            query.values.push(name.clone().into());
        }
        self.read_one(query).await?.decode(|row| {
            Ok(Head {
                endpoint: row.id()?,
                condition: condition(row)?,
                by_standing: [
                    (UNTRIED, row.maybe_int()?),
                    (TRIED, row.maybe_int()?),
                    (DELIVERED, row.maybe_int()?),
                    (DEAD, row.maybe_int()?),
                ],
            })
        })
    }
}

/// The newest ids of an endpoint's ranges.
struct Head {
    endpoint: EndpointId,
    condition: EndpointCondition,
    by_standing: [(i64, Option<i64>); 4],
}

impl Head {
    /// Those of the ranges that a filter is about, each with its endpoint and standing.
    fn newest(&self, filter: &LogFilter) -> impl Iterator<Item = (i64, EndpointId, i64)> {
        let standings = standings(filter.status, self.condition);
        let by_standing = self.by_standing.into_iter();
        let of = by_standing.filter(move |(standing, _)| standings.contains(standing));
        of.filter_map(|(standing, id)| Some((id?, self.endpoint, standing)))
    }
}

fn newest_of(ids: impl Iterator<Item = i64>, window: Window) -> Vec<i64> {
    let mut ids: Vec<i64> = ids.collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(window.limit as usize);
    ids
}

fn is_wanted(filter: &LogFilter, standing: i64) -> bool {
    wanted(filter.status).contains(&standing)
}

/// The standings that a status may be of, whatever its endpoint is in.
fn wanted(status: Option<Status>) -> &'static [i64] {
    match status {
        None => &[UNTRIED, TRIED, DELIVERED, DEAD],
        Some(Status::Delivered) => &[DELIVERED],
        Some(Status::DeadLetter) => &[DEAD],
        Some(Status::Pending) => &[UNTRIED],
        Some(Status::Retrying) => &[TRIED],
        Some(Status::Held | Status::Canceled) => &[UNTRIED, TRIED],
    }
}

/// The standings that a status is at an endpoint in this condition.
fn standings(status: Option<Status>, condition: EndpointCondition) -> &'static [i64] {
    use EndpointCondition::{Active, Deleted, Holding};
    match (status, condition) {
        (None | Some(Status::Delivered | Status::DeadLetter), _)
        | (Some(Status::Pending | Status::Retrying), Active)
        | (Some(Status::Held), Holding)
        | (Some(Status::Canceled), Deleted(_)) => wanted(status),
        (Some(Status::Pending | Status::Retrying | Status::Held | Status::Canceled), _) => &[],
    }
}

/// The ranges whose newest ids make up the page.
fn plan(
    filter: &LogFilter,
    endpoints: &[(EndpointId, EndpointCondition)],
    window: Window,
) -> Vec<Query> {
    let mut ranges = Vec::new();
    for (endpoint, condition) in endpoints {
        if filter.endpoint.is_some_and(|wanted| wanted != *endpoint) {
            continue;
        }
        let event_type = filter.event_type.as_deref();
        ranges.extend(
            standings(filter.status, *condition)
                .iter()
                .map(|standing| range(*endpoint, *standing, event_type, window)),
        );
    }
    ranges
}

fn range(endpoint: EndpointId, standing: i64, event_type: Option<&str>, window: Window) -> Query {
    let Window {
        oldest,
        beyond,
        limit,
    } = window;
    let sql = event_type.map_or(STANDING_RANGE, |_| TYPE_RANGE);
    let mut query = Query::new(
        sql,
        [
            endpoint.into(),
            standing.into(),
            oldest.into(),
            beyond.into(),
            limit.into(),
        ],
    );
    let event_type = event_type.map(|name| Value::Text(name.to_owned()));
    query.values.extend(event_type);
    query
}
