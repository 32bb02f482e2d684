//! Hides what people do in a world, and that they do it again where they were not told what came of it.

mod changes;

use std::sync::Arc;
use std::time::Duration;

use model::audit::{Action, Actor};
use model::endpoint::Subscription;
use model::id::{EventId, Id};
use model::time::Timestamp;
use store::{AcceptError, PageRequest, RetryFilter, StoreError};
use tokio::time::sleep;
use vk_engine::{Engine, Publication, Refusal};

use crate::disk::look;
use crate::ledger::{Answer, Change, Place, Retry, Settings, event};
use crate::plan::{Act, Item, TYPES};
use crate::shared::url;
use crate::world::World;

/// How long somebody waits before they try again.
const AGAIN: Duration = Duration::from_millis(700);
const ALL: PageRequest = PageRequest {
    page: 1,
    per_page: 1000,
};

/// Does something, and notes what was answered.
pub(crate) async fn act(world: Arc<World>, engine: Engine, act: Act) {
    world.alive().await;
    let hand = By {
        world: &world,
        engine: &engine,
    };
    match act {
        Act::Publish {
            team,
            items,
            persists,
        } => hand.publish(team, items, persists).await,
        Act::Pause(place, paused) => hand.change(place, Change::Pause(paused), 0).await,
        Act::Disable(place, disabled) => hand.change(place, Change::Disable(disabled), 0).await,
        Act::Move(place, habit) => {
            let name = world.lock().wire.open(place, habit);
            let change = Change::Url(url(&name).as_str().to_owned());
            hand.change(place, change, 0).await;
        }
        Act::Delete(place) => hand.change(place, Change::Delete, 0).await,
        Act::Rotate(place, kept) => hand.change(place, Change::Rotate, kept).await,
        Act::RetryOne(which) => hand.retry_one(which).await,
        Act::RetryAll(place, since) => hand.retry_all(place, since).await,
        Act::Test(place, item) => hand.test(place, item).await,
        Act::Sweep(kept) => hand.sweep(kept).await,
    }
}

/// Makes the teams and endpoints that are missing. A process that begins knows all that there are; what was
/// not answered by the one before it is found out here.
pub(crate) async fn settle_in(world: &Arc<World>, engine: &Engine) {
    let hand = By { world, engine };
    for team in 0..world.plan.teams {
        hand.settle_team(team).await;
    }
    for place in 0..world.plan.places.len() {
        hand.settle_place(place).await;
    }
}

struct By<'w> {
    world: &'w Arc<World>,
    engine: &'w Engine,
}

impl By<'_> {
    async fn settle_team(&self, team: usize) {
        let known = self.world.lock().ledger.teams.get(team).copied();
        if known.is_some() {
            return;
        }
        let name = format!("team-{team}");
        let id = loop {
            if let Some(there) = self.engine.team(&name) {
                break there.id;
            }
            let hand = self.engine.by(Actor::Operator);
            let made = hand.create_team(Some(name.clone()), name.clone(), "scale".into());
            let made = made.await;
            self.world.alive().await;
            match made {
                Ok(made) => break made.id,
                Err(error) => self.again("a team cannot be made", &error).await,
            }
        };
        let ledger = &mut self.world.lock().ledger;
        ledger.teams.push(id);
        ledger.audited.push((id, Action::TeamCreated, id.0, true));
    }

    async fn settle_place(&self, index: usize) {
        let plan = &self.world.plan.places[index];
        let known = self
            .world
            .lock()
            .ledger
            .places
            .get(index)
            .map(|place| place.id);
        let team = self.world.lock().ledger.teams[plan.team];
        if let Some(id) = known {
            return self.found_again(index, team, id);
        }
        // The first receiver of each place is opened in their order.
        let name = self.world.lock().wire.name_of(index, plan.habit);
        let url = url(&name);
        let made = loop {
            let there = look(self.world, self.engine.store().endpoints(team, ALL)).unwrap();
            if let Some(made) = there.rows.into_iter().find(|one| one.url == url.as_str()) {
                break made;
            }
            let types = plan.types.iter().map(ToString::to_string).collect();
            let subscription = Subscription::from_names(Some(types));
            let hand = self.engine.by(Actor::Operator);
            let made = hand.create_endpoint(team, &url, None, subscription).await;
            self.world.alive().await;
            match made {
                Ok(made) => break made,
                Err(error) => self.again("an endpoint cannot be made", &error).await,
            }
        };
        let state = &mut *self.world.lock();
        let mut place = Place {
            team: plan.team,
            id: made.id,
            settings: vec![Settings::of(&made)],
            asked: Vec::new(),
            moods: Vec::new(),
        };
        place.note_mood(state.now());
        state.ledger.places.push(place);
        let entry = (team, Action::EndpointCreated, made.id.0, true);
        state.ledger.audited.push(entry);
    }

    async fn again(&self, what: &str, error: &Refusal) {
        let store_s = matches!(error, Refusal::Store(StoreError::Unavailable(_)));
        if !store_s {
            self.world.violation(format_args!("{what}: {error}"));
        }
        sleep(AGAIN).await;
    }

    async fn publish(&self, team: usize, items: Vec<Item>, persists: bool) {
        let publications = items.iter().map(|item| Publication {
            event: event(item),
            idempotency_key: item.key.clone(),
        });
        let publications: Vec<_> = publications.collect();
        let keyed = items.iter().all(|item| item.key.is_some());
        loop {
            let (call, id) = {
                let state = &mut *self.world.lock();
                let when = (state.now(), state.wall());
                let call = state.ledger.call(when, team, items.clone(), None);
                (call, state.ledger.teams[team])
            };
            let answer = self.engine.publish(id, publications.clone()).await;
            self.world.alive().await;
            if self.answered(call, answer) || !(persists && keyed) {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Notes what a call was answered; whether that is final.
    fn answered(&self, call: usize, answer: Result<Vec<store::Accepted>, AcceptError>) -> bool {
        self.world.tell(&format_args!("call {call}: {answer:?}"));
        let state = &mut *self.world.lock();
        match answer {
            Ok(accepted) => {
                for wrong in state.ledger.accepted(call, &accepted) {
                    state.violation(wrong);
                }
                return true;
            }
            Err(AcceptError::Conflict { index }) => {
                if !state.ledger.conflicts(call, index) {
                    state.violation(format_args!(
                        "call {call} is refused over the key of event {index}"
                    ));
                }
                state.ledger.calls[call].answer = Answer::Nothing;
                return true;
            }
            Err(AcceptError::Store(StoreError::Overloaded)) => {
                state.ledger.calls[call].answer = Answer::Nothing;
            }
            Err(AcceptError::Store(StoreError::Unavailable(_))) => {}
            Err(AcceptError::Store(error @ (StoreError::Damaged | StoreError::Internal(_)))) => {
                state.violation(error);
            }
        }
        false
    }

    async fn retry_one(&self, which: u64) {
        let (delivery, place, team, retry) = {
            let state = &mut *self.world.lock();
            if state.ledger.known.is_empty() {
                return;
            }
            // Any of all, or one of the latest, which may well be in flight.
            let count = state.ledger.known.len() as u64;
            let which = match which % 2 {
                0 => which / 2 % count,
                _ => count - 1 - which / 2 % count.min(4),
            } as usize;
            let (delivery, place) = state.ledger.known[which];
            let team = state.ledger.teams[state.ledger.places[place].team];
            state.ledger.retries.push(Retry {
                place,
                delivery: Some(delivery),
                filter: RetryFilter::default(),
                began: state.now(),
                done: None,
            });
            (delivery, place, team, state.ledger.retries.len() - 1)
        };
        let answer = self.engine.retry_delivery(team, delivery).await;
        self.world.alive().await;
        self.world
            .tell(&format_args!("retry of {delivery:?}: {answer:?}"));
        let state = &mut *self.world.lock();
        let now = state.now();
        match answer {
            Ok(()) => state.ledger.retries[retry].done = Some(now),
            Err(Refusal::Store(StoreError::Unavailable(_))) => {}
            Err(Refusal::Conflict(_)) if state.ledger.places[place].may_be(|one| one.deleted) => {}
            // It may also go while it is being retried.
            Err(Refusal::NotFound(_) | Refusal::Conflict(_))
                if !state.ledger.deletable.is_empty() => {}
            Err(error) => state.violation(format_args!("retry of {delivery:?}: {error}")),
        }
    }

    async fn retry_all(&self, place: usize, since: Option<u64>) {
        let (team, id, filter, retry) = {
            let state = &mut *self.world.lock();
            let wall = state.wall();
            let filter = RetryFilter {
                since: since.map(|since| wall.before(Duration::from_millis(since))),
                event_type: (since.is_some_and(|since| since % 3 == 0))
                    .then(|| TYPES[0].to_owned()),
                ..RetryFilter::default()
            };
            state.ledger.retries.push(Retry {
                place,
                delivery: None,
                filter: filter.clone(),
                began: state.now(),
                done: None,
            });
            let one = &state.ledger.places[place];
            let team = state.ledger.teams[one.team];
            (team, one.id, filter, state.ledger.retries.len() - 1)
        };
        let answer = self.engine.retry_dead_letters(team, id, filter).await;
        self.world.alive().await;
        self.world
            .tell(&format_args!("retry of all of {place}: {answer:?}"));
        let state = &mut *self.world.lock();
        let now = state.now();
        match answer {
            Ok(_) => state.ledger.retries[retry].done = Some(now),
            Err(Refusal::Store(StoreError::Unavailable(_))) => {}
            Err(Refusal::NotFound(_)) if state.ledger.places[place].may_be(|one| one.deleted) => {}
            Err(error) => state.violation(format_args!("retry of all of {place}: {error}")),
        }
    }

    async fn test(&self, place: usize, item: Item) {
        let (call, team, id) = {
            let state = &mut *self.world.lock();
            let when = (state.now(), state.wall());
            let (team, id) = (
                state.ledger.places[place].team,
                state.ledger.places[place].id,
            );
            let call = state
                .ledger
                .call(when, team, vec![item.clone()], Some(place));
            (call, state.ledger.teams[team], id)
        };
        let answer = self.engine.send_test(team, id, event(&item)).await;
        self.world.alive().await;
        self.world.tell(&format_args!("test {call}: {answer:?}"));
        match answer {
            Ok(delivery) => {
                let accepted = store::Accepted {
                    event: EventId(delivery.0 - 1),
                    deliveries: 1,
                    replayed: false,
                };
                self.answered(call, Ok(vec![accepted]));
            }
            Err(Refusal::Store(error)) => {
                self.answered(call, Err(AcceptError::Store(error)));
            }
            Err(error) => {
                let state = &mut *self.world.lock();
                let place_now = &state.ledger.places[place];
                let right = match error {
                    Refusal::Conflict(_) => place_now.may_be(|one| one.disabled),
                    Refusal::NotFound(_) => place_now.may_be(|one| one.deleted),
                    _ => false,
                };
                if !right {
                    state.violation(format_args!("a test event for {place}: {error}"));
                }
                state.ledger.calls[call].answer = Answer::Nothing;
            }
        }
    }

    async fn sweep(&self, kept: Option<u64>) {
        let now = self.world.lock().wall();
        let keep_since = kept.map(|kept| now.before(Duration::from_millis(kept)));
        self.world.lock().ledger.swept(now);
        if let Some(keep_since) = keep_since {
            {
                let kept = &mut self.world.lock().ledger.kept_since;
                *kept = (*kept).max(Some(keep_since));
            }
            self.note_deletable(keep_since);
        }
        loop {
            match self.engine.store().sweep(now, keep_since, 50).await {
                Ok(0) => return,
                Ok(rows) => self.world.tell(&format_args!("{rows} rows went")),
                Err(error) => {
                    return self.world.tell(&format_args!("nothing is swept: {error}"));
                }
            }
            self.world.alive().await;
            if let Some(keep_since) = keep_since {
                self.note_deletable(keep_since);
            }
        }
    }

    /// Notes which events are old enough for retention to delete them.
    fn note_deletable(&self, keep_since: Timestamp) {
        let teams = self.world.lock().ledger.teams.clone();
        for team in teams {
            let events = look(self.world, self.engine.store().events(team, ALL)).unwrap();
            let old = events.rows.iter().map(|one| one.id);
            let old = old.filter(|event| event.created_at() < keep_since);
            self.world.lock().ledger.deletable.extend(old);
        }
    }
}
