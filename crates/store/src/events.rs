//! Hides how accepted events are looked up.

use model::delivery::Delivery;
use model::event::Event;
use model::id::{EventId, TeamId};

use crate::driver::Query;
use crate::error::StoreError;
use crate::log;
use crate::page::{Page, PageRequest};
use crate::store::Store;
use crate::value::Columns;

macro_rules! columns {
    () => {
        "SELECT id, event_type, deliveries, test, body FROM events "
    };
}
/// Skips over the index alone, and reads only the rows that are shown.
const PAGE: &str = concat!(
    columns!(),
    "WHERE id IN (SELECT id FROM events WHERE team_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3) \
     ORDER BY id DESC"
);
const TOTAL: &str = "SELECT count(*) FROM events WHERE team_id = $1";
const ONE: &str = concat!(columns!(), "WHERE id = $1 AND team_id = $2");

impl Store {
    /// Events newest first.
    pub async fn events(&self, team: TeamId, page: PageRequest) -> Result<Page<Event>, StoreError> {
        let (limit, offset) = page.window();
        let rows = Query::new(PAGE, [team.into(), limit, offset]);
        self.page(rows, Query::new(TOTAL, [team.into()]), decode)
            .await
    }

    /// One event and its deliveries, in the order of their ids.
    pub async fn event(
        &self,
        team: TeamId,
        event: EventId,
    ) -> Result<Option<(Event, Vec<Delivery>)>, StoreError> {
        let (rows, deliveries) = self
            .read_two(
                Query::new(ONE, [event.into(), team.into()]),
                log::of_event(team, event),
            )
            .await?;
        let Some(event) = rows.first(decode)? else {
            return Ok(None);
        };
        let mut deliveries = deliveries.decode(log::decode)?;
        deliveries.reverse();
        Ok(Some((event, deliveries)))
    }
}

fn decode(row: &mut Columns) -> Result<Event, StoreError> {
    Ok(Event {
        id: row.id()?,
        event_type: row.text()?,
        deliveries: row.count()?,
        test: row.flag()?,
        body: row.bytes()?,
    })
}
