//! Hides how accepted events are looked up.

use model::delivery::Delivery;
use model::event::Event;
use model::id::{EventId, TeamId};

use crate::driver::Query;
use crate::error::StoreError;
use crate::page::{Page, PageRequest};
use crate::store::Store;
use crate::value::Columns;

/// Skips over the index alone, and reads only the rows that are shown, up to their bodies.
const PAGE: &str = "\
    SELECT id, event_type, deliveries, test FROM events \
    WHERE id IN (SELECT id FROM events WHERE team_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3) \
    ORDER BY id DESC";
const TOTAL: &str = "SELECT count(*) FROM events WHERE team_id = $1";
const ONE: &str = "\
    SELECT id, event_type, deliveries, test, body FROM events WHERE id = $1 AND team_id = $2";

/// An event as a list shows it: without its body, which may be large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSummary {
    /// Its id.
    pub id: EventId,
    /// Its type's name.
    pub event_type: String,
    /// How many deliveries it made.
    pub deliveries: u32,
    /// Whether it was made by "send test event".
    pub test: bool,
}

impl Store {
    /// Events newest first.
    pub async fn events(
        &self,
        team: TeamId,
        page: PageRequest,
    ) -> Result<Page<EventSummary>, StoreError> {
        let (limit, offset) = page.window();
        let rows = Query::new(PAGE, [team.into(), limit, offset]);
        self.page(rows, Query::new(TOTAL, [team.into()]), decode_summary)
            .await
    }

    /// One event and its deliveries, in the order of their ids.
    pub async fn event(
        &self,
        team: TeamId,
        event: EventId,
    ) -> Result<Option<(Event, Vec<Delivery>)>, StoreError> {
        let mut deliveries = self.deliveries_of(team, event).await?;
        deliveries.reverse();
        let query = Query::new(ONE, [event.into(), team.into()]);
        let Some(event) = self.read_one(query).await?.first(decode)? else {
            return Ok(None);
        };
        Ok(Some((event, deliveries)))
    }
}

fn decode_summary(row: &mut Columns) -> Result<EventSummary, StoreError> {
    Ok(EventSummary {
        id: row.id()?,
        event_type: row.text()?,
        deliveries: row.count()?,
        test: row.flag()?,
    })
}

fn decode(row: &mut Columns) -> Result<Event, StoreError> {
    let EventSummary {
        id,
        event_type,
        deliveries,
        test,
    } = decode_summary(row)?;
    Ok(Event {
        id,
        event_type,
        deliveries,
        test,
        body: row.bytes()?,
    })
}
