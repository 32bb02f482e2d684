//! Hides how the latest attempt of each delivery on a page of the log is found.

use model::attempt::Reason;
use model::id::{DeliveryId, TeamId};

use crate::driver::Query;
use crate::error::StoreError;
use crate::store::Store;
use crate::value::damaged;

const LATEST: &str = "\
    SELECT d.id, a.duration_ms, a.status_code, a.reason FROM deliveries d \
    JOIN attempts a ON a.delivery_id = d.id AND a.number = d.attempt_count \
    WHERE d.id = $1 AND d.team_id = $2";

/// How a delivery's latest attempt ended, in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestAttempt {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// How long it took.
    pub duration_ms: u32,
    /// The response's status, where one was read.
    pub status_code: Option<u32>,
    /// Why it failed, where it did.
    pub reason: Option<Reason>,
}

impl Store {
    /// The latest attempts of those of a team's deliveries that had any.
    pub async fn latest_attempts(
        &self,
        team: TeamId,
        deliveries: &[DeliveryId],
    ) -> Result<Vec<LatestAttempt>, StoreError> {
        let query = |id: &DeliveryId| Query::new(LATEST, [(*id).into(), team.into()]);
        let queries = deliveries.iter().map(query).collect();
        let mut latest = Vec::with_capacity(deliveries.len());
        for rows in self.driver().read(queries).await? {
            latest.extend(rows.first(|row| {
                Ok(LatestAttempt {
                    delivery: row.id()?,
                    duration_ms: row.count()?,
                    status_code: row.maybe_count()?,
                    reason: match row.maybe_text()? {
                        None => None,
                        Some(text) => Some(
                            Reason::parse(&text).ok_or_else(|| damaged("a reason is unknown"))?,
                        ),
                    },
                })
            })?);
        }
        Ok(latest)
    }
}
