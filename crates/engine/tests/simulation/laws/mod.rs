//! Hides what must be true of a world that has come to rest, whatever happened to it.
//!
//! Rooms: `events` (nothing acknowledged is lost, nothing is there twice), `attempts` (their numbers, their
//! repeats, where they leave a delivery), `schedule` (when they were made), `sums` (health, hours, the audit log).

mod attempts;
mod events;
mod schedule;
mod sums;

use std::collections::HashMap;

use model::attempt::Attempt;
use model::delivery::Delivery;
use model::event::Event;
use model::id::{DeliveryId, EventId};
use store::PageRequest;
use vk_engine::Engine;

use crate::disk::look;
use crate::wire::Seen;
use crate::world::{State, World};

/// How late things may be on a good day, in milliseconds: the commits of a burst come one after the other.
const TOLERANCE: u64 = 1_500;

/// The tasks of an engine that has nothing to do: the recorder, the timer, and two that look after rows and
/// the use of keys.
const TASKS_AT_REST: u64 = 4;

/// Whether an engine has nothing left to do: no attempt, no task, no wake-up.
pub(crate) async fn at_rest(engine: &Engine) -> Result<(), String> {
    let text = engine.metrics().await;
    let metric = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse::<u64>().ok());
        value.ok_or_else(|| format!("there is no metric {name}"))
    };
    for (name, expected) in [
        ("vk_webhooks_attempts_in_flight", 0),
        ("vk_webhooks_endpoints_waiting ", 0),
        ("vk_webhooks_endpoints_waiting_for_network ", 0),
        ("vk_webhooks_store_queued", 0),
        ("vk_webhooks_tasks", TASKS_AT_REST),
    ] {
        let found = metric(name)?;
        if found != expected {
            return Err(format!("{name} is {found}"));
        }
    }
    Ok(())
}

/// What the store has.
struct Books {
    /// With the number of its team.
    events: HashMap<EventId, (usize, Event, Vec<DeliveryId>)>,
    deliveries: HashMap<DeliveryId, (Delivery, Vec<Attempt>)>,
    /// By delivery and attempt: the number of the request that it was.
    made: HashMap<DeliveryId, Vec<usize>>,
}

impl Books {
    fn read(world: &World, engine: &Engine) -> Self {
        let store = engine.store();
        let mut books = Self {
            events: HashMap::new(),
            deliveries: HashMap::new(),
            made: HashMap::new(),
        };
        let page = PageRequest {
            page: 1,
            per_page: 10_000,
        };
        let teams = world.lock().ledger.teams.clone();
        for (number, team) in teams.into_iter().enumerate() {
            for summary in look(world, store.events(team, page)).unwrap().rows {
                let found = look(world, store.event(team, summary.id)).unwrap();
                let (event, deliveries) = found.expect("it was listed");
                let ids = deliveries.iter().map(|one| one.id).collect();
                books.events.insert(summary.id, (number, event, ids));
                for delivery in deliveries {
                    let found = look(world, store.delivery(team, delivery.id)).unwrap();
                    books
                        .deliveries
                        .insert(delivery.id, found.expect("its event has it"));
                }
            }
        }
        books
    }

    /// Tells where each delivery stands, and what is recorded of each attempt.
    fn tell(&self, world: &World) {
        let mut ids: Vec<_> = self.deliveries.keys().collect();
        ids.sort();
        for id in ids {
            let (delivery, attempts) = &self.deliveries[id];
            world.tell(&format_args!("{delivery:?}"));
            for attempt in attempts {
                world.tell(&format_args!("{attempt:?}"));
            }
        }
    }
}

/// Holds a world at rest against all laws.
pub(crate) fn check(world: &World, engine: &Engine) {
    let mut books = Books::read(world, engine);
    books.tell(world);
    let mut wrong = Vec::new();
    {
        let state = &*world.lock();
        events::check(state, &books, &mut wrong);
        attempts::check(state, &mut books, &mut wrong);
        schedule::check(world, state, &books, &mut wrong);
    }
    sums::check(world, engine, &books, &mut wrong);
    for law in wrong {
        world.violation(law);
    }
}

/// The requests of each delivery, by their numbers, in their order.
fn requests_of(state: &State) -> HashMap<DeliveryId, Vec<usize>> {
    let mut requests: HashMap<DeliveryId, Vec<usize>> = HashMap::new();
    for (number, seen) in state.wire.requests.iter().enumerate() {
        requests.entry(seen.delivery).or_default().push(number);
    }
    requests
}

/// When a request was over: it was answered, or its process had ended.
fn over(state: &State, seen: &Seen) -> u64 {
    let process = state.processes[seen.process].ended;
    let end = seen.end.map(|end| end.at).or(process.map(|(at, _)| at));
    end.unwrap_or_else(|| state.now())
}
