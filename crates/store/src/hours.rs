//! Hides how what attempts came to is kept by the hour, so that rates and charts never walk the log.

use bytes::Bytes;
use model::id::{EndpointId, TeamId};
use model::tally::{Latency, Tally};

use crate::driver::{Query, Unit};
use crate::error::StoreError;
use crate::store::Store;
use crate::value::{Columns, damaged};

const KEEP: &str = "\
    INSERT INTO endpoint_hours (endpoint_id, hour, delivered, failed, dead_letters, latency) \
    VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (endpoint_id, hour) DO UPDATE SET delivered = excluded.delivered, \
        failed = excluded.failed, dead_letters = excluded.dead_letters, latency = excluded.latency";
const OF_ENDPOINT: &str = "\
    SELECT h.endpoint_id, h.hour, h.delivered, h.failed, h.dead_letters, h.latency \
    FROM endpoints p CROSS JOIN endpoint_hours h ON h.endpoint_id = p.id \
    WHERE p.id = $1 AND p.team_id = $2 AND h.hour >= $3 ORDER BY h.hour";
const ONE: &str = "\
    SELECT endpoint_id, hour, delivered, failed, dead_letters, latency \
    FROM endpoint_hours WHERE endpoint_id = $1 AND hour = $2";
const DELETE: &str = "DELETE FROM endpoint_hours WHERE hour < $1";

/// What the attempts at an endpoint came to within an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHour {
    /// The hour, see [`model::tally::hour_of`].
    pub hour: i64,
    /// All that was counted in it so far.
    pub tally: Tally,
}

/// Adds the write of an hour, as it is now.
pub(crate) fn add_hour(unit: &mut Unit, endpoint: EndpointId, hour: &EndpointHour) {
    let EndpointHour { hour, tally } = hour;
    unit.add(
        KEEP,
        [
            endpoint.into(),
            (*hour).into(),
            tally.delivered.into(),
            tally.failed.into(),
            tally.dead_letters.into(),
            Bytes::from(tally.latency.to_bytes()).into(),
        ],
    );
}

impl Store {
    /// The hours of some of a team's endpoints, from `since` on: of each in order.
    pub async fn hours_of(
        &self,
        team: TeamId,
        endpoints: impl IntoIterator<Item = EndpointId>,
        since: i64,
    ) -> Result<Vec<(EndpointId, EndpointHour)>, StoreError> {
        let query =
            |id: EndpointId| Query::new(OF_ENDPOINT, [id.into(), team.into(), since.into()]);
        let queries = endpoints.into_iter().map(query).collect();
        let mut hours = Vec::new();
        for rows in self.driver().read(queries).await? {
            hours.extend(rows.decode(decode)?);
        }
        Ok(hours)
    }

    /// The hours of one of a team's endpoints, from `since` on, in order.
    pub async fn endpoint_hours(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        since: i64,
    ) -> Result<Vec<EndpointHour>, StoreError> {
        let query = Query::new(OF_ENDPOINT, [endpoint.into(), team.into(), since.into()]);
        let rows = self.read_one(query).await?;
        rows.decode(|row| decode(row).map(|(_, hour)| hour))
    }

    /// These hours of these endpoints, where anything was counted in them: what counting goes on from.
    pub async fn hours_at(
        &self,
        wanted: &[(EndpointId, i64)],
    ) -> Result<Vec<(EndpointId, EndpointHour)>, StoreError> {
        let query = |(endpoint, hour): &(EndpointId, i64)| {
            Query::new(ONE, [(*endpoint).into(), (*hour).into()])
        };
        let answers = self
            .driver()
            .read(wanted.iter().map(query).collect())
            .await?;
        let mut found = Vec::with_capacity(wanted.len());
        for rows in answers {
            found.extend(rows.decode(decode)?);
        }
        Ok(found)
    }

    /// Deletes the hours before one; how many rows went.
    pub async fn sweep_hours(&self, before: i64) -> Result<u64, StoreError> {
        self.change(Unit::of(DELETE, [before.into()])).await
    }
}

fn decode(row: &mut Columns) -> Result<(EndpointId, EndpointHour), StoreError> {
    let endpoint = row.id()?;
    let hour = row.int()?;
    let tally = Tally {
        delivered: row.count()?,
        failed: row.count()?,
        dead_letters: row.count()?,
        latency: Latency::from_bytes(&row.bytes()?)
            .ok_or_else(|| damaged("the latencies of an hour are not readable"))?,
    };
    Ok((endpoint, EndpointHour { hour, tally }))
}
