//! Hides how events become durable with their deliveries, once for each idempotency key.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::event::NewEvent;
use model::id::{BLOCK_MAX, DeliveryId, EndpointId, EventId, TeamId};
use model::time::Timestamp;

use crate::driver::{Commit, Line, Query, Unit};
use crate::error::{AcceptError, StoreError};
use crate::fresh::{self, Fate, Unwritten};
use crate::store::Store;

/// An expired key is taken over; a living one changes no row, which the guard notices.
const CLAIM_KEY: &str = "\
    INSERT INTO idempotency_keys (team_id, key, fingerprint, event_id, deliveries, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (team_id, key) DO UPDATE \
    SET fingerprint = excluded.fingerprint, event_id = excluded.event_id, \
        deliveries = excluded.deliveries, expires_at = excluded.expires_at \
    WHERE idempotency_keys.expires_at <= $7";
const INSERT_EVENT: &str = "\
    INSERT INTO events (id, team_id, event_type, deliveries, test, body, owed) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const FIND_KEY: &str = "\
    SELECT fingerprint, event_id, deliveries FROM idempotency_keys \
    WHERE team_id = $1 AND key = $2 AND expires_at > $3";

/// Each round finds at least one more key that another publisher had used; more rounds than this
/// mean that something else is wrong.
const ROUNDS: usize = 64;

/// What makes a publication happen at most once.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The publisher's key.
    pub key: String,
    /// A hash of what was published under it.
    pub fingerprint: [u8; 32],
    /// Until when the key is remembered.
    pub expires_at: Timestamp,
}

/// An event and whom it is owed to.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The event.
    pub event: NewEvent,
    /// The endpoints that get it; one delivery each, in this order.
    pub endpoints: Vec<EndpointId>,
    /// What makes it happen at most once.
    pub idempotency: Option<Idempotency>,
    /// When its deliveries are due: now, by the clock that retries wait by.
    pub due_at: Timestamp,
    /// Whether it is a test event.
    pub test: bool,
}

/// An event that is durable with its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id. Its deliveries have the ids that follow, in the order of their endpoints.
    pub event: EventId,
    /// How many deliveries it made.
    pub deliveries: u32,
    /// Whether the idempotency key had been used before: this is the answer from then.
    pub replayed: bool,
}

impl Accepted {
    /// The delivery to the `index`-th of the event's endpoints.
    pub fn delivery(&self, index: u32) -> DeliveryId {
        delivery_of(self.event, index)
    }
}

/// The delivery that an event's `index`-th endpoint gets: the ids after the event's are its own.
pub(crate) fn delivery_of(event: EventId, index: u32) -> DeliveryId {
    DeliveryId(event.0 + 1 + i64::from(index))
}

/// What is known of one event of a call.
#[derive(Clone, Copy)]
enum Answer {
    /// To be accepted, under this id. Its deliveries get their rows with it, or later if `fresh`.
    New { id: EventId, fresh: bool },
    /// The same as an earlier one of this call.
    SameAs(usize),
    /// Accepted by an earlier call.
    Before(Accepted),
}

impl Store {
    /// Makes events and their deliveries durable: all or none. Returns when they are on disk.
    ///
    /// It must be run to its end: where its future is dropped before, nobody learns what became of the
    /// events, and their deliveries are made only once the store is opened again.
    ///
    /// # Errors
    /// A conflict names the first event whose key was used for another; nothing was accepted then.
    pub async fn accept(
        &self,
        team: TeamId,
        events: Vec<Acceptance>,
        now: Timestamp,
    ) -> Result<Vec<Accepted>, AcceptError> {
        check(&events)?;
        let mut answers = self.number(team, &events, now);
        let numbered: Vec<EventId> = answers.iter().filter_map(Answer::fresh).collect();
        let result = self.accept_numbered(team, &events, &mut answers, now).await;
        if !numbered.is_empty() {
            let fate = match &result {
                Ok(()) => Fate::Durable,
                Err(AcceptError::Conflict { .. } | AcceptError::Store(StoreError::Overloaded)) => {
                    Fate::Nothing
                }
                Err(AcceptError::Store(_)) => Fate::Unknown,
            };
            // What turned out to have been accepted before is not under its new id.
            let still: HashSet<EventId> = answers.iter().filter_map(Answer::fresh).collect();
            let mut fresh = self.fresh().lock();
            for id in numbered {
                let fate = if still.contains(&id) {
                    fate
                } else {
                    Fate::Nothing
                };
                fresh.accepted(id, fate);
            }
        }
        result.map(|()| finish(&events, &answers))
    }

    async fn accept_numbered(
        &self,
        team: TeamId,
        events: &[Acceptance],
        answers: &mut [Answer],
        now: Timestamp,
    ) -> Result<(), AcceptError> {
        for _ in 0..ROUNDS {
            let mut unit = unit(team, events, answers, now);
            if unit.is_empty() {
                return Ok(());
            }
            fresh::add_mark(&mut unit, self.fresh());
            match self.driver().commit(Line::Publishing, unit).await? {
                Commit::Done { .. } => return Ok(()),
                Commit::Refused { .. } => self.recall(team, events, answers, now).await?,
            }
        }
        Err(StoreError::Internal("idempotency keys kept changing".into()).into())
    }

    /// Gives every event its ids, but for those that repeat another one of the call.
    fn number(&self, team: TeamId, events: &[Acceptance], now: Timestamp) -> Vec<Answer> {
        let mut first_with: HashMap<&str, usize> = HashMap::new();
        let mut answers = Vec::with_capacity(events.len());
        let mut fresh = self.fresh().lock();
        for (index, acceptance) in events.iter().enumerate() {
            if let Some(idempotency) = &acceptance.idempotency {
                let first = *first_with.entry(&idempotency.key).or_insert(index);
                if first != index {
                    answers.push(Answer::SameAs(first));
                    continue;
                }
            }
            let new_id = || EventId(self.new_block(now, 1 + acceptance.endpoints.len()));
            let (id, entered) = fresh.enter(team, acceptance, new_id);
            answers.push(Answer::New { id, fresh: entered });
        }
        answers
    }

    /// Looks up which keys were used before.
    async fn recall(
        &self,
        team: TeamId,
        events: &[Acceptance],
        answers: &mut [Answer],
        now: Timestamp,
    ) -> Result<(), AcceptError> {
        let mut asked = Vec::new();
        let mut queries = Vec::new();
        for (index, acceptance) in events.iter().enumerate() {
            if let (Answer::New { .. }, Some(idempotency)) =
                (answers[index], &acceptance.idempotency)
            {
                let key = idempotency.key.clone();
                queries.push(Query::new(FIND_KEY, [team.into(), key.into(), now.into()]));
                asked.push(index);
            }
        }
        let found = self.driver().read(queries).await?;
        for (index, rows) in asked.into_iter().zip(found) {
            let before = rows.first(|row| {
                let fingerprint = row.array::<32>()?;
                Ok((
                    fingerprint,
                    Accepted {
                        event: row.id()?,
                        deliveries: row.count()?,
                        replayed: true,
                    },
                ))
            })?;
            match before {
                None => {}
                Some((known, accepted)) if fingerprint(&events[index]) == Some(&known) => {
                    answers[index] = Answer::Before(accepted);
                }
                Some(_) => return Err(AcceptError::Conflict { index }),
            }
        }
        Ok(())
    }
}

impl Answer {
    /// The new id, where the deliveries have no rows yet.
    fn fresh(&self) -> Option<EventId> {
        match self {
            Self::New { id, fresh: true } => Some(*id),
            _ => None,
        }
    }
}

/// Whether the events can be accepted at all, alone and together.
fn check(events: &[Acceptance]) -> Result<(), AcceptError> {
    let mut first_with: HashMap<&str, &Acceptance> = HashMap::new();
    for (index, acceptance) in events.iter().enumerate() {
        if acceptance.endpoints.len() >= BLOCK_MAX {
            let count = acceptance.endpoints.len();
            return Err(StoreError::Internal(format!(
                "an event for {count} endpoints; at most {} are possible",
                BLOCK_MAX - 1
            ))
            .into());
        }
        if let Some(idempotency) = &acceptance.idempotency {
            let first = first_with.entry(&idempotency.key).or_insert(acceptance);
            if fingerprint(first) != Some(&idempotency.fingerprint) {
                return Err(AcceptError::Conflict { index });
            }
        }
    }
    Ok(())
}

fn fingerprint(acceptance: &Acceptance) -> Option<&[u8; 32]> {
    acceptance
        .idempotency
        .as_ref()
        .map(|idempotency| &idempotency.fingerprint)
}

/// The write for those that are new. Keys come first: a refusal has then cost little.
fn unit(team: TeamId, events: &[Acceptance], answers: &[Answer], now: Timestamp) -> Unit {
    let new = || {
        events
            .iter()
            .zip(answers)
            .filter_map(|(acceptance, answer)| match answer {
                Answer::New { id, fresh } => Some((acceptance, *id, *fresh)),
                _ => None,
            })
    };
    let rows: usize = new()
        .map(|(acceptance, _, fresh)| if fresh { 0 } else { acceptance.endpoints.len() })
        .sum();
    let mut unit = Unit::with_capacity(2 * events.len() + rows, 14 * events.len() + 7 * rows);
    for (acceptance, id, _) in new() {
        if let Some(idempotency) = &acceptance.idempotency {
            unit.guard(
                CLAIM_KEY,
                [
                    team.into(),
                    idempotency.key.clone().into(),
                    idempotency.fingerprint.into(),
                    id.into(),
                    count(acceptance).into(),
                    idempotency.expires_at.into(),
                    now.into(),
                ],
                1,
            );
        }
    }
    for (acceptance, id, fresh) in new() {
        let event_type = &acceptance.event.event_type;
        unit.add(
            INSERT_EVENT,
            [
                id.into(),
                team.into(),
                event_type.clone().into(),
                count(acceptance).into(),
                acceptance.test.into(),
                acceptance.event.body.clone().into(),
                fresh
                    .then(|| fresh::encode(acceptance.due_at, &acceptance.endpoints))
                    .into(),
            ],
        );
        if fresh {
            continue;
        }
        for (index, endpoint) in (0..).zip(&acceptance.endpoints) {
            let owed = Unwritten {
                delivery: delivery_of(id, index),
                team,
                event: id,
                endpoint: *endpoint,
                event_type: Arc::clone(event_type),
                due_at: acceptance.due_at,
                test: acceptance.test,
            };
            fresh::add_row(&mut unit, &owed);
        }
    }
    unit
}

fn count(acceptance: &Acceptance) -> u32 {
    u32::try_from(acceptance.endpoints.len()).unwrap_or(u32::MAX)
}

fn finish(events: &[Acceptance], answers: &[Answer]) -> Vec<Accepted> {
    let new = |index: usize, id: EventId| Accepted {
        event: id,
        deliveries: count(&events[index]),
        replayed: false,
    };
    (0..answers.len())
        .map(|index| match answers[index] {
            Answer::New { id, .. } => new(index, id),
            Answer::Before(accepted) => accepted,
            Answer::SameAs(first) => Accepted {
                replayed: true,
                ..match answers[first] {
                    Answer::Before(accepted) => accepted,
                    Answer::New { id, .. } => new(first, id),
                    Answer::SameAs(_) => unreachable!("the first with a key is like no other"),
                }
            },
        })
        .collect()
}
