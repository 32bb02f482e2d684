//! Hides the laws of what is kept beside the log: health, the hours' sums, and the audit log.

use std::collections::{HashMap, HashSet};

use model::attempt::Outcome;
use model::audit::{Action, Subject};
use model::health::Health;
use model::id::{Id, TeamId};
use model::time::Timestamp;
use vk_engine::Engine;

use super::Books;
use crate::disk::look;
use crate::wire::Seen;
use crate::world::{State, World};

pub(super) fn check(world: &World, engine: &Engine, books: &Books, wrong: &mut Vec<String>) {
    let store = engine.store();
    let (teams, places) = {
        let ledger = &world.lock().ledger;
        let places = ledger.places.iter().map(|place| (place.team, place.id));
        (ledger.teams.clone(), places.collect::<Vec<_>>())
    };
    for (place, (team, id)) in places.into_iter().enumerate() {
        let team = teams[team];
        let Some(endpoint) = look(world, store.endpoint(team, id)).unwrap() else {
            continue; // deleted: nobody is shown these any more
        };
        let hours = look(world, store.endpoint_hours(team, id, i64::MIN)).unwrap();
        let state = &*world.lock();
        let Some(recorded) = recorded(state, books, place) else {
            continue;
        };
        let health = health(&recorded);
        if endpoint.health != health {
            let law = format!(
                "endpoint {place} is {:?}, its attempts are {health:?}",
                endpoint.health
            );
            wrong.push(law);
        }
        let mut of_hours = hours.iter().fold([0; 3], |sum, one| {
            let tally = &one.tally;
            add(sum, [tally.delivered, tally.failed, tally.dead_letters])
        });
        let mut of_attempts = counted(state, books, place, &recorded);
        if state
            .ledger
            .retries
            .iter()
            .any(|retry| retry.place == place)
        {
            // Which attempts end a schedule cannot be told from them alone.
            (of_hours[2], of_attempts[2]) = (0, 0);
        }
        if of_hours != of_attempts {
            wrong.push(format!("the hours of endpoint {place} come to {of_hours:?}, its attempts to {of_attempts:?}"));
        }
    }
    for team in teams {
        let log = look(world, store.audit_log(team, None, 10_000)).unwrap();
        let mut entries: HashMap<(Action, i64), usize> = HashMap::new();
        for entry in log {
            let subject = match entry.subject {
                Subject::Team(id) => id.raw(),
                Subject::Endpoint(id) => id.raw(),
                Subject::Key(id) => id.raw(),
            };
            *entries.entry((entry.action, subject)).or_default() += 1;
        }
        audit(&world.lock(), team, &entries, wrong);
    }
}

fn add(sum: [u32; 3], more: [u32; 3]) -> [u32; 3] {
    std::array::from_fn(|at| sum[at] + more[at])
}

/// The attempts at an endpoint that count, in the order in which they ended, which is the one in which they
/// are recorded. None where retention has taken some out of the log.
fn recorded<'s>(state: &'s State, books: &Books, place: usize) -> Option<Vec<&'s Seen>> {
    let tests: HashSet<u64> = {
        let tests = state.ledger.calls.iter().filter(|call| call.test.is_some());
        tests
            .flat_map(|call| &call.items)
            .map(|item| item.marker)
            .collect()
    };
    let own = state
        .wire
        .requests
        .iter()
        .filter(|seen| seen.place == place);
    if own
        .clone()
        .any(|seen| !books.made.contains_key(&seen.delivery))
    {
        return None;
    }
    let all: HashSet<usize> = books.made.values().flatten().copied().collect();
    let numbered = state.wire.requests.iter().enumerate();
    let mut recorded: Vec<&Seen> = numbered
        .filter(|(number, seen)| {
            seen.place == place && all.contains(number) && !tests.contains(&seen.marker)
        })
        .map(|(_, seen)| seen)
        .collect();
    recorded.sort_by_key(|seen| seen.end.map(|end| end.nth));
    Some(recorded)
}

/// Contract A: failed attempts in a row, over all deliveries.
fn health(recorded: &[&Seen]) -> Health {
    let succeeded = |seen: &&&Seen| seen.reply.judged().0 == Outcome::Delivered;
    let since = recorded
        .iter()
        .rposition(|seen| succeeded(&seen))
        .map_or(0, |at| at + 1);
    let failed = &recorded[since..];
    let ended = |seen: &&Seen| seen.end.map_or(Timestamp::default(), |end| end.wall);
    Health {
        consecutive_failures: failed.len() as u32,
        failing_since: failed.first().map(ended),
        last_reason: failed.last().and_then(|seen| seen.reply.judged().1),
    }
}

/// Delivered, failed, and given up.
fn counted(state: &State, books: &Books, place: usize, recorded: &[&Seen]) -> [u32; 3] {
    let delivered = |seen: &&&Seen| seen.reply.judged().0 == Outcome::Delivered;
    let delivered = recorded.iter().filter(delivered).count() as u32;
    let id = state.ledger.places[place].id;
    let own = books
        .deliveries
        .values()
        .filter(|(delivery, _)| delivery.endpoint == id && !delivery.test);
    let mut dead = 0;
    for (_, attempts) in own {
        // The last attempt of each schedule that came to nothing.
        let mut nth = 0;
        for attempt in attempts {
            nth += 1;
            if attempt.outcome == Outcome::PermanentFailure
                || (attempt.outcome == Outcome::Retry && nth == 6)
            {
                dead += 1;
                nth = 0;
            }
        }
    }
    [delivered, recorded.len() as u32 - delivered, dead]
}

/// One entry for each change.
fn audit(
    state: &State,
    team: TeamId,
    entries: &HashMap<(Action, i64), usize>,
    wrong: &mut Vec<String>,
) {
    let mut expected: HashMap<(Action, i64), (usize, usize)> = HashMap::new();
    for (of, action, subject, surely) in &state.ledger.audited {
        if *of == team {
            let (least, most) = expected.entry((*action, *subject)).or_default();
            *least += usize::from(*surely);
            *most += 1;
        }
    }
    for what in entries
        .keys()
        .chain(expected.keys())
        .collect::<HashSet<_>>()
    {
        let found = entries.get(what).copied().unwrap_or_default();
        let (least, most) = expected.get(what).copied().unwrap_or_default();
        if !(least..=most).contains(&found) {
            wrong.push(format!(
                "the audit log has {found} of {what:?}, not {least} to {most}"
            ));
        }
    }
}
