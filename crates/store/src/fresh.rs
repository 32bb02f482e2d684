//! Hides deliveries that have no row yet. An event's row says whom it is owed to, which is all that
//! durability takes; a delivery's own row is written once, with its first outcome, instead of first
//! as owed and then again as done.
//!
//! What is fresh is known in memory only, so it is kept few: beyond [`FRESH_MAX`], rows are written
//! with their event. The log and what is due show the fresh beside the rows; whoever else reads
//! deliveries from the database has those written down first that it might miss (`write_down`):
//! nobody above can tell a fresh delivery from another. After a crash the events since the last *mark* are looked through, and
//! the rows that are missing are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use model::id::{DeliveryId, EndpointId, EventId, TeamId};
use model::time::Timestamp;

use crate::accept::{Acceptance, delivery_of};
use crate::driver::{Driver, Line, Query, Unit};
use crate::due::DueDelivery;
use crate::error::StoreError;
use crate::store::{Store, read_one};
use crate::value::{Value, damaged};

const WRITE_DOWN: &str = "\
    INSERT INTO deliveries (id, team_id, event_id, endpoint_id, event_type, standing, \
                            attempt_count, schedule_start, next_attempt_at, test) \
    VALUES ($1, $2, $3, $4, $5, 0, 0, 0, $6, $7) \
    ON CONFLICT (id) DO NOTHING";
const MARK: &str = "UPDATE meta SET value = $1 WHERE key = 'rows_from'";
const MARKED: &str = "SELECT value FROM meta WHERE key = 'rows_from'";
const UNWRITTEN: &str = "\
    SELECT id, team_id, event_type, test, owed FROM events e \
    WHERE id >= $1 AND owed IS NOT NULL \
      AND deliveries > (SELECT count(*) FROM deliveries d \
                        WHERE d.id > e.id AND d.id <= e.id + e.deliveries) \
    ORDER BY id LIMIT $2";
const EXISTS: &str = "SELECT id FROM events WHERE id = $1";

/// How many deliveries may be without a row: what a reader may have to wait for being written.
const FRESH_MAX: usize = 4096;
/// How many bytes their events' bodies may have, which are kept for when they are due.
const FRESH_BYTES: usize = 8 << 20;
/// How many events may come between two marks: about what an opening store looks through.
const MARKED_EVERY: usize = 1024;
/// Rows written in one commit, so that publishing goes on in between.
const SLICE: usize = 512;

/// What has no row yet.
pub(crate) struct Fresh {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: BTreeMap<EventId, Owed>,
    /// How many deliveries these owe.
    deliveries: usize,
    /// The bytes of these events' bodies.
    bytes: usize,
    /// Beyond every event that has its id: at first, what it was when the store was opened.
    beyond: i64,
    began: i64,
    /// How many events came since the last mark.
    unmarked: usize,
    /// Who is owed something by an event that was in doubt and turned out to be there: nobody was told yet.
    unannounced: BTreeSet<EndpointId>,
}

/// An event, and those of its deliveries that have no row.
struct Owed {
    team: TeamId,
    event_type: Arc<str>,
    test: bool,
    due_at: Timestamp,
    body: Bytes,
    /// By the deliveries' order; none where the row is written.
    endpoints: Box<[Option<EndpointId>]>,
    /// How many of them are still to be written.
    left: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Being accepted. It stays so where whoever accepts it was dropped, and nobody knows what came
    /// of it: the next opening of the store finds out.
    Accepting,
    /// Accepted, and durable.
    Durable,
    /// Its commit failed in a way that leaves open whether it happened.
    Doubtful,
}

/// A delivery that has no row.
#[derive(Clone)]
pub(crate) struct Unwritten {
    pub(crate) delivery: DeliveryId,
    pub(crate) team: TeamId,
    pub(crate) event: EventId,
    pub(crate) endpoint: EndpointId,
    pub(crate) event_type: Arc<str>,
    pub(crate) due_at: Timestamp,
    pub(crate) test: bool,
}

/// What became of events that were to be accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are durable.
    Durable,
    /// Nothing of them is.
    Nothing,
    /// Either may be.
    Unknown,
}

impl Fresh {
    /// Nothing yet. Every event to come has a larger id than `last`.
    pub(crate) fn after(last: i64) -> Self {
        let began = last + 1;
        let state = State {
            beyond: began,
            began,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        Guard(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What has no row yet, held still.
pub(crate) struct Guard<'f>(MutexGuard<'f, State>);

impl Guard<'_> {
    /// Gives an event that is about to be accepted its id, and takes it in where there is room for its
    /// deliveries; whether there was. The id is made in here, so that none that is smaller is still to
    /// come: a mark relies on it.
    pub(crate) fn enter(
        &mut self,
        team: TeamId,
        acceptance: &Acceptance,
        new_id: impl FnOnce() -> EventId,
    ) -> (EventId, bool) {
        let state = &mut *self.0;
        let left = acceptance.endpoints.len();
        let id = new_id();
        state.beyond = id.0 + 1;
        state.unmarked += 1;
        let body = acceptance.event.body.clone();
        let (deliveries, bytes) = (state.deliveries + left, state.bytes + body.len());
        if left == 0 || deliveries > FRESH_MAX || bytes > FRESH_BYTES {
            return (id, false);
        }
        (state.deliveries, state.bytes) = (deliveries, bytes);
        let owed = Owed::new(
            team,
            Arc::clone(&acceptance.event.event_type),
            acceptance.test,
            acceptance.due_at,
            body,
            acceptance.endpoints.clone(),
        );
        state.events.insert(id, owed);
        (id, true)
    }

    /// Says what became of an event that was taken in.
    pub(crate) fn accepted(&mut self, event: EventId, fate: Fate) {
        match fate {
            Fate::Nothing => self.forget(event),
            Fate::Durable => self.set_phase(event, Phase::Durable),
            Fate::Unknown => self.set_phase(event, Phase::Doubtful),
        }
    }

    fn set_phase(&mut self, event: EventId, phase: Phase) {
        if let Some(owed) = self.0.events.get_mut(&event) {
            owed.phase = phase;
        }
    }

    fn forget(&mut self, event: EventId) {
        if let Some(owed) = self.0.events.remove(&event) {
            self.0.deliveries -= owed.left;
            self.0.bytes -= owed.body.len();
        }
    }

    /// What a delivery's row needs, where it has none.
    pub(crate) fn find(&self, delivery: DeliveryId) -> Option<Unwritten> {
        let (event, owed) = self.0.events.range(..EventId(delivery.0)).next_back()?;
        owed.unwritten(*event, usize::try_from(delivery.0 - event.0 - 1).ok()?)
    }

    /// These deliveries have their rows.
    pub(crate) fn written(&mut self, deliveries: impl IntoIterator<Item = DeliveryId>) {
        let State {
            events,
            deliveries: count,
            bytes,
            ..
        } = &mut *self.0;
        for delivery in deliveries {
            let Some((event, owed)) = events.range_mut(..EventId(delivery.0)).next_back() else {
                continue;
            };
            let index = usize::try_from(delivery.0 - event.0 - 1);
            let place = index.ok().and_then(|index| owed.endpoints.get_mut(index));
            if place.and_then(Option::take).is_some() {
                owed.left -= 1;
                *count -= 1;
                if owed.left == 0 {
                    let event = *event;
                    *bytes -= owed.body.len();
                    events.remove(&event);
                }
            }
        }
    }

    /// A mark to be written down, where enough events came since the last one: all deliveries of
    /// events before it have rows.
    pub(crate) fn mark(&mut self) -> Option<Value> {
        if self.0.unmarked < MARKED_EVERY {
            return None;
        }
        self.0.unmarked = 0;
        Some(self.first())
    }

    /// A mark whether or not one is due; none where nothing was ever in here.
    fn last_mark(&self) -> Option<Value> {
        (self.0.beyond > self.0.began).then(|| self.first())
    }

    fn first(&self) -> Value {
        mark_at(self.first_id())
    }

    fn first_id(&self) -> i64 {
        let first = self.0.events.first_key_value();
        first.map_or(self.0.beyond, |(event, _)| event.0)
    }

    /// Where events begin that may have a delivery without a row: still being accepted, in doubt, or yet to come.
    pub(crate) fn rows_before(&self) -> EventId {
        EventId(self.first_id())
    }

    fn announce_later(&mut self, endpoints: impl IntoIterator<Item = EndpointId>) {
        self.0.unannounced.extend(endpoints);
    }

    fn take_unannounced(&mut self) -> BTreeSet<EndpointId> {
        std::mem::take(&mut self.0.unannounced)
    }

    /// Those deliveries of durable events that are wanted.
    pub(crate) fn wanted(&self, wanted: &Wanted) -> Vec<Unwritten> {
        let mut found = Vec::new();
        for (event, owed) in self.0.events.range(wanted.events()) {
            if owed.phase == Phase::Durable && wanted.wants(owed) {
                found.extend(owed.all(*event));
            }
        }
        found
    }

    /// What is due for an endpoint at `now`, in no order.
    pub(crate) fn due(&self, endpoint: EndpointId, now: Timestamp) -> Vec<DueDelivery> {
        let events = self.0.events.iter();
        events
            .filter(|(_, owed)| owed.phase == Phase::Durable && owed.due_at <= now)
            .flat_map(|(event, owed)| {
                let places = owed.endpoints.iter().zip(0..);
                places
                    .filter(move |(place, _)| **place == Some(endpoint))
                    .map(|(_, index)| DueDelivery {
                        id: delivery_of(*event, index),
                        event: *event,
                        event_type: Arc::clone(&owed.event_type),
                        body: owed.body.clone(),
                        attempt_count: 0,
                        schedule_start: 0,
                        due_at: owed.due_at,
                        test: owed.test,
                    })
            })
            .collect()
    }

    fn doubtful(&self) -> Vec<EventId> {
        let events = self.0.events.iter();
        events
            .filter(|(_, owed)| owed.phase == Phase::Doubtful)
            .map(|(event, _)| *event)
            .collect()
    }
}

impl Owed {
    fn new(
        team: TeamId,
        event_type: Arc<str>,
        test: bool,
        due_at: Timestamp,
        body: Bytes,
        endpoints: Vec<EndpointId>,
    ) -> Self {
        Self {
            team,
            event_type,
            test,
            due_at,
            body,
            left: endpoints.len(),
            endpoints: endpoints.into_iter().map(Some).collect(),
            phase: Phase::Accepting,
        }
    }

    fn all(&self, event: EventId) -> impl Iterator<Item = Unwritten> {
        (0..self.endpoints.len()).filter_map(move |index| self.unwritten(event, index))
    }

    fn unwritten(&self, event: EventId, index: usize) -> Option<Unwritten> {
        let endpoint = (*self.endpoints.get(index)?)?;
        Some(Unwritten {
            delivery: delivery_of(event, u32::try_from(index).ok()?),
            team: self.team,
            event,
            endpoint,
            event_type: Arc::clone(&self.event_type),
            due_at: self.due_at,
            test: self.test,
        })
    }
}

/// Which fresh deliveries are to be written down.
pub(crate) enum Wanted {
    All,
    OfTeam(TeamId),
    OfEvent(EventId),
    /// Due before this moment.
    Before(Timestamp),
}

impl Wanted {
    /// The event that a delivery would be of.
    pub(crate) fn around(fresh: &Fresh, delivery: DeliveryId) -> Option<Self> {
        let found = fresh.lock().find(delivery)?;
        Some(Self::OfEvent(found.event))
    }

    fn events(&self) -> std::ops::RangeInclusive<EventId> {
        match self {
            Self::OfEvent(event) => *event..=*event,
            Self::All | Self::OfTeam(_) | Self::Before(_) => EventId(i64::MIN)..=EventId(i64::MAX),
        }
    }

    fn wants(&self, owed: &Owed) -> bool {
        match self {
            Self::OfTeam(team) => owed.team == *team,
            Self::Before(moment) => owed.due_at < *moment,
            Self::All | Self::OfEvent(_) => true,
        }
    }
}

fn mark_at(event: i64) -> Value {
    Bytes::copy_from_slice(&event.to_be_bytes()).into()
}

/// An event's column `owed`.
pub(crate) fn encode(due_at: Timestamp, endpoints: &[EndpointId]) -> Bytes {
    let mut bytes = Vec::with_capacity(8 * (1 + endpoints.len()));
    bytes.extend_from_slice(&due_at.as_millis().to_be_bytes());
    for endpoint in endpoints {
        bytes.extend_from_slice(&endpoint.0.to_be_bytes());
    }
    bytes.into()
}

fn decode(bytes: &Bytes) -> Result<(Timestamp, Vec<EndpointId>), StoreError> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|number| i64::from_be_bytes(*number));
    match (numbers.next(), rest) {
        (Some(due_at), []) => Ok((
            Timestamp::from_millis(due_at),
            numbers.map(EndpointId).collect(),
        )),
        _ => Err(damaged("what an event owes ends in the middle of a number")),
    }
}

/// Adds the row of a delivery that is owed and was not tried.
pub(crate) fn add_row(unit: &mut Unit, one: &Unwritten) {
    unit.add(
        WRITE_DOWN,
        [
            one.delivery.into(),
            one.team.into(),
            one.event.into(),
            one.endpoint.into(),
            Arc::clone(&one.event_type).into(),
            one.due_at.into(),
            one.test.into(),
        ],
    );
}

/// Adds a mark to a unit that is about to be committed, where one is due.
pub(crate) fn add_mark(unit: &mut Unit, fresh: &Fresh) {
    if let Some(mark) = fresh.lock().mark() {
        unit.add(MARK, [mark]);
    }
}

impl Store {
    /// Writes the rows of all fresh deliveries that became due before a moment, so that none stays without
    /// for long: what an opening store has to look through stays short. Returns the endpoints that turned
    /// out to be owed something by an event of which that was in doubt, and so was not told to anybody.
    ///
    /// # Errors
    /// Where the store cannot be read or written; all is still there to be written, and to be told, later.
    pub async fn write_down_fresh(
        &self,
        before: Timestamp,
    ) -> Result<BTreeSet<EndpointId>, StoreError> {
        self.resolve_doubts().await?;
        self.write_down(Wanted::Before(before)).await?;
        Ok(self.fresh().lock().take_unannounced())
    }

    /// Writes the rows of the fresh deliveries that are wanted, as they are when this is called.
    pub(crate) async fn write_down(&self, wanted: Wanted) -> Result<(), StoreError> {
        let found = self.fresh().lock().wanted(&wanted);
        for slice in found.chunks(SLICE) {
            let mut unit = Unit::with_capacity(slice.len(), 7 * slice.len());
            slice.iter().for_each(|one| add_row(&mut unit, one));
            self.change(unit).await?;
            let written = slice.iter().map(|one| one.delivery);
            self.fresh().lock().written(written);
        }
        Ok(())
    }

    /// Finds out what became of events whose commit failed in doubt. Their units are in no queue any
    /// more, so what the database says is final.
    async fn resolve_doubts(&self) -> Result<(), StoreError> {
        let doubtful = self.fresh().lock().doubtful();
        for event in doubtful {
            let found = self.read_one(Query::new(EXISTS, [event.into()])).await?;
            let mut fresh = self.fresh().lock();
            if found.is_empty() {
                fresh.accepted(event, Fate::Nothing);
            } else {
                fresh.accepted(event, Fate::Durable);
                let owed = fresh.wanted(&Wanted::OfEvent(event));
                fresh.announce_later(owed.into_iter().map(|one| one.endpoint));
            }
        }
        Ok(())
    }

    /// Writes all rows and a last mark: the next opening has nothing to look through.
    pub(crate) async fn write_down_all(&self) -> Result<(), StoreError> {
        self.resolve_doubts().await?;
        self.write_down(Wanted::All).await?;
        let mark = self.fresh().lock().last_mark();
        match mark {
            Some(mark) => self.change(Unit::of(MARK, [mark])).await.map(|_| ()),
            None => Ok(()),
        }
    }
}

/// Writes the rows that an earlier process left unwritten. Nothing is accepted before this. Returns the mark
/// there is then: the next events have to have larger ids, or the opening after this would not look at them.
pub(crate) async fn write_left_over(driver: &dyn Driver) -> Result<EventId, StoreError> {
    let marked = read_one(driver, Query::new(MARKED, [])).await?;
    let marked = marked.first(|row| row.array::<8>())?;
    let mut position = i64::from_be_bytes(marked.ok_or_else(|| damaged("the mark is gone"))?);
    loop {
        let limit = i64::try_from(SLICE).unwrap_or(i64::MAX);
        let query = Query::new(UNWRITTEN, [position.into(), limit.into()]);
        let events = read_one(driver, query).await?.decode(|row| {
            let (id, team): (EventId, _) = (row.id()?, row.id()?);
            let event_type: Arc<str> = row.text()?.into();
            let test = row.flag()?;
            let (due_at, endpoints) = decode(&row.bytes()?)?;
            let body = Bytes::new(); // only their rows are of interest
            Ok((
                id,
                Owed::new(team, event_type, test, due_at, body, endpoints),
            ))
        })?;
        let Some((last, _)) = events.last() else {
            return Ok(EventId(position));
        };
        position = last.0 + 1;
        let mut unit = Unit::default();
        for (event, owed) in &events {
            owed.all(*event).for_each(|one| add_row(&mut unit, &one));
        }
        unit.add(MARK, [mark_at(position)]);
        driver.commit(Line::Recording, unit).await?;
    }
}
