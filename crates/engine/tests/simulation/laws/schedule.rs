//! Hides the law of when attempts are made: never before their time, and not after it without an excuse.

use std::time::Duration;

use model::attempt::Attempt;
use model::delivery::Delivery;

use super::attempts::concerns;
use super::{Books, TOLERANCE, over, requests_of};
use crate::ledger::Answer;
use crate::wire::Seen;
use crate::world::{State, World};

/// How long a delivery waits at least after its first, second, … failure, in milliseconds (contract A).
const WAITS: [u64; 5] = [1_000, 2_000, 4_000, 8_000, 16_000];

/// How much longer it waits at most: a quarter.
const fn with_spread(wait: u64) -> u64 {
    wait + wait / 4
}

pub(super) fn check(world: &World, state: &State, books: &Books, wrong: &mut Vec<String>) {
    let requests = requests_of(state);
    let excuses = Excuses::of(world, state);
    for (id, made) in &books.made {
        let (delivery, attempts) = &books.deliveries[id];
        // A fresh schedule by hand may begin at any moment of another one.
        if state
            .ledger
            .retries
            .iter()
            .any(|retry| concerns(retry, delivery, state))
        {
            continue;
        }
        let its: Vec<&Seen> = match requests.get(id) {
            Some(its) => its
                .iter()
                .map(|number| &state.wire.requests[*number])
                .collect(),
            None => continue,
        };
        let made: Vec<&Seen> = made
            .iter()
            .map(|number| &state.wire.requests[*number])
            .collect();
        let found = first(state, &excuses, delivery, &its)
            .and_then(|()| retries(state, &excuses, attempts, &made, &its));
        if let Err(law) = found {
            wrong.push(format!("{id:?}: {law}: {its:?}"));
        }
    }
}

/// The first attempt of what was acknowledged is made at once.
fn first(
    state: &State,
    excuses: &Excuses,
    delivery: &Delivery,
    its: &[&Seen],
) -> Result<(), String> {
    let accepted = state.ledger.calls.iter().find(|call| match &call.answer {
        Answer::Accepted(accepted) => {
            let mut own = accepted.iter().filter(|one| !one.replayed);
            own.any(|one| one.event == delivery.event)
        }
        Answer::Nothing | Answer::Doubt => false,
    });
    match accepted {
        Some(call) => {
            let mut processes = state.processes.iter();
            let process = processes.rposition(|process| process.began <= call.began);
            let (_, latest) = due(state, process.unwrap_or(0), call.began, its[0].process);
            excuses.late(latest, its[0])
        }
        None => Ok(()),
    }
}

fn retries(
    state: &State,
    excuses: &Excuses,
    attempts: &[Attempt],
    made: &[&Seen],
    its: &[&Seen],
) -> Result<(), String> {
    for (attempt, before) in attempts.iter().zip(made) {
        let Some(wait) = WAITS.get(attempt.number as usize - 1) else {
            continue;
        };
        // Its own request, or one that a process died over.
        let next = its.iter().find(|seen| seen.began > before.began);
        let (Some(next), Some(end)) = (next, before.end) else {
            continue;
        };
        let (earliest, _) = due(state, before.process, end.at + wait, next.process);
        let spread = end.at + with_spread(*wait);
        let (_, latest) = due(state, before.process, spread, next.process);
        if next.began + 1 < earliest {
            let ms = next.began;
            return Err(format!("it was due at {earliest} ms and sent at {ms} ms"));
        }
        excuses.late(latest, next)?;
    }
    Ok(())
}

/// When what is due at `at` by the clock of one process is due in the life of another: at the earliest, and
/// at the latest. A start lets nothing wait longer than a schedule's longest wait, whatever the clock shows.
fn due(state: &State, process: usize, at: u64, other: usize) -> (u64, u64) {
    let millis = |at: u64| Duration::from_millis(at);
    let mut due = state.processes[process].steady_zero.after(millis(at));
    for later in &state.processes[process + 1..=other.max(process)] {
        let began = later.steady_zero.after(millis(later.began));
        due = due.min(began.after(millis(with_spread(WAITS[4]))));
    }
    let zero = state.processes[other].steady_zero;
    let by_clock = due.since(zero).as_millis() as u64;
    (by_clock, by_clock.max(state.processes[other].began))
}

/// When each endpoint may leave waiting what is due.
struct Excuses {
    /// By place.
    of_place: Vec<Vec<(u64, u64)>>,
}

impl Excuses {
    fn of(world: &World, state: &State) -> Self {
        let mut of_all: Vec<(u64, u64)> = state.down.clone();
        of_all.extend(&state.troubled);
        of_all.extend(&state.cut_off);
        of_all.extend(full(state, world.plan.limits.all, |_| true));
        let limits = world.plan.limits;
        let slow: Vec<_> = (0..state.ledger.places.len())
            .map(|place| slow(state, place))
            .collect();
        let held_as_slow = |seen: &Seen| {
            let mut spans = slow[seen.place].iter();
            spans.any(|(begin, end)| (*begin..=*end).contains(&seen.began))
        };
        let half_of_all = full(state, (limits.all / 2).max(1), held_as_slow);
        let places = state.ledger.places.iter().enumerate();
        let of_place = places.map(|(number, place)| {
            let team = |seen: &Seen| state.ledger.places[seen.place].team == place.team;
            let mut of_place = of_all.clone();
            of_place.extend(full(state, limits.team, team));
            // Those that are slow share half of the places.
            let half_of_team = full(state, (limits.team / 2).max(1), |seen| {
                team(seen) && held_as_slow(seen)
            });
            of_place.extend(both(&slow[number], &half_of_all));
            of_place.extend(both(&slow[number], &half_of_team));
            // It is sending: how much at once depends on what it answers. The pause between two attempts is
            // shorter than the tolerance.
            let its = state.wire.requests.iter();
            let its = its.filter(|seen| seen.place == number);
            of_place.extend(its.map(|seen| (seen.began, over(state, seen))));
            let ends = place.moods.iter().skip(1).map(|(at, _)| *at);
            let ends = ends.chain([u64::MAX]);
            let holds = place
                .moods
                .iter()
                .zip(ends)
                .filter(|((_, sends), _)| !sends);
            of_place.extend(holds.map(|((begin, _), end)| (*begin, end)));
            of_place.sort_unstable();
            of_place
        });
        Self {
            of_place: of_place.collect(),
        }
    }

    /// Whether a request came later than it was due, with nothing to excuse it.
    fn late(&self, due: u64, seen: &Seen) -> Result<(), String> {
        let mut at = due;
        for (begin, end) in &self.of_place[seen.place] {
            if *begin > at.saturating_add(TOLERANCE) {
                break;
            }
            at = at.max(*end);
        }
        if at.saturating_add(TOLERANCE) < seen.began {
            return Err(format!(
                "it was due at {due} ms, nothing kept it after {at} ms, and it was sent at {} ms",
                seen.began
            ));
        }
        Ok(())
    }
}

/// When an endpoint was slow: from an attempt that took a second until one took less, ten seconds after the last
/// that did, or until the process ended.
fn slow(state: &State, place: usize) -> Vec<(u64, u64)> {
    let its = state
        .wire
        .requests
        .iter()
        .filter(|seen| seen.place == place);
    let mut ends: Vec<_> = its
        .filter_map(|seen| seen.end.map(|end| (end.nth, end.at, seen)))
        .collect();
    ends.sort_unstable_by_key(|(nth, ..)| *nth);
    let mut spans: Vec<(u64, u64)> = Vec::new();
    let mut last = None;
    for (_, at, seen) in ends {
        let of_another = |(process, ..): &(usize, u64)| *process != seen.process;
        if last.is_some_and(|last| of_another(&last)) {
            last = None;
        }
        let end_of_process = state.processes.get(seen.process + 1);
        let end_of_process = end_of_process.map_or(u64::MAX, |next| next.began);
        match last {
            None if at - seen.began >= 1000 => {
                spans.push((at, end_of_process));
                last = Some((seen.process, at));
            }
            Some(_) if at - seen.began >= 1000 => last = Some((seen.process, at)),
            Some((_, slow)) if at >= slow + 10_000 => {
                if let Some(span) = spans.last_mut() {
                    span.1 = at;
                }
                last = None;
            }
            _ => {}
        }
    }
    spans
}

/// When it was both.
fn both(some: &[(u64, u64)], others: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let pairs = some
        .iter()
        .flat_map(|one| others.iter().map(move |other| (one, other)));
    pairs
        .map(|(one, other)| (one.0.max(other.0), one.1.min(other.1)))
        .filter(|(begin, end)| begin < end)
        .collect()
}

/// When as many requests of a kind were in flight as may be.
fn full(state: &State, limit: usize, kind: impl Fn(&Seen) -> bool) -> Vec<(u64, u64)> {
    let requests = state.wire.requests.iter().filter(|seen| kind(seen));
    let mut changes: Vec<(u64, i64)> = requests
        .flat_map(|seen| [(seen.began, 1), (over(state, seen), -1)])
        .collect();
    changes.sort_unstable();
    let (mut count, mut since, mut full) = (0, None, Vec::new());
    for (at, change) in changes {
        count += change;
        match since {
            None if count >= limit as i64 => since = Some(at),
            Some(begin) if count < limit as i64 => {
                full.push((begin, at));
                since = None;
            }
            _ => {}
        }
    }
    full
}
