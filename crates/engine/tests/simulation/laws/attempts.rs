//! Hides the laws of attempts: their numbers have no gap, each was a request, no request was made again but
//! for those that a process died over, and where they leave a delivery.

use std::collections::HashMap;

use model::attempt::{Attempt, Outcome};
use model::delivery::{Delivery, Status};
use model::id::{DeliveryId, EventId, Id};

use super::{Books, TOLERANCE, over, requests_of};
use crate::ledger::{Retry, marker_of};
use crate::wire::Seen;
use crate::world::State;

/// The most attempts that one schedule makes.
const SCHEDULE: usize = 6;

pub(super) fn check(state: &State, books: &mut Books, wrong: &mut Vec<String>) {
    let requests = requests_of(state);
    for (delivery, seen) in &requests {
        let old = |event: &EventId| (event.0 + 1..event.0 + 16).contains(&delivery.0);
        if !books.deliveries.contains_key(delivery) && !state.ledger.deletable.iter().any(old) {
            let first = &state.wire.requests[seen[0]];
            wrong.push(format!("a request of what nobody owes: {first:?}"));
        }
    }
    let none = Vec::new();
    for (id, (delivery, attempts)) in &books.deliveries {
        let seen = requests.get(id).unwrap_or(&none);
        let body = &books.events[&delivery.event].1.body;
        if let Some(other) = seen
            .iter()
            .map(|one| &state.wire.requests[*one])
            .find(|one| {
                Some(one.marker) != marker_of(body)
                    || state.ledger.places[one.place].id != delivery.endpoint
            })
        {
            wrong.push(format!(
                "{id:?} was sent with another body or elsewhere: {other:?}"
            ));
        }
        match matched(state, delivery, attempts, seen) {
            Ok(made) => {
                books.made.insert(*id, made);
            }
            Err(law) => wrong.push(format!("{id:?}: {law}")),
        }
        if let Err(law) = ending(state, delivery, attempts) {
            wrong.push(format!("{id:?}: {law}: {attempts:?}"));
        }
    }
    retried(state, books, &requests, wrong);
}

/// Which request each attempt was.
fn matched(
    state: &State,
    delivery: &Delivery,
    attempts: &[Attempt],
    requests: &[usize],
) -> Result<Vec<usize>, String> {
    let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    if !numbers.iter().copied().eq(1..=delivery.attempt_count) {
        return Err(format!(
            "attempts {numbers:?} of {}",
            delivery.attempt_count
        ));
    }
    let mut made = Vec::with_capacity(attempts.len());
    let mut rest = requests.iter().copied().peekable();
    for attempt in attempts {
        loop {
            let Some(number) = rest.next() else {
                return Err(format!("nobody saw {attempt:?}"));
            };
            let seen = &state.wire.requests[number];
            if is(attempt, seen) {
                made.push(number);
                break;
            }
            let next = rest.peek().map(|next| &state.wire.requests[*next]);
            cut_off(state, seen, next)?;
        }
    }
    while let Some(number) = rest.next() {
        let next = rest.peek().map(|next| &state.wire.requests[*next]);
        cut_off(state, &state.wire.requests[number], next)?;
    }
    Ok(made)
}

/// Whether an attempt says what the receiver knows of a request.
fn is(attempt: &Attempt, seen: &Seen) -> bool {
    let (outcome, reason) = seen.reply.judged();
    seen.wall == attempt.started_at
        && (attempt.outcome, attempt.reason) == (outcome, reason)
        && seen
            .end
            .is_some_and(|end| end.at - seen.began == u64::from(attempt.duration_ms))
}

/// Whether a request may be in no log: the process ended before it could be recorded, and made no other.
fn cut_off(state: &State, seen: &Seen, next: Option<&Seen>) -> Result<(), String> {
    let Some((ended, cut)) = state.processes[seen.process].ended else {
        return Err(format!("the process that lives has not recorded {seen:?}"));
    };
    if !cut {
        return Err(format!(
            "the process stopped in peace without recording {seen:?}"
        ));
    }
    if next.is_some_and(|next| next.process == seen.process) {
        return Err(format!(
            "a process made {seen:?} and {next:?} without recording the first"
        ));
    }
    match seen.end {
        Some(end) if end.at + TOLERANCE < ended && !state.was_troubled(end.at, ended) => Err(
            format!("a process ended at {ended} ms without having recorded {seen:?}"),
        ),
        _ => Ok(()),
    }
}

/// Whether a delivery stands where its attempts leave it.
fn ending(state: &State, delivery: &Delivery, attempts: &[Attempt]) -> Result<(), String> {
    let status = delivery.status();
    let retries = state
        .ledger
        .retries
        .iter()
        .filter(|retry| concerns(retry, delivery, state));
    let retries = retries.count();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
    let last = outcomes.last().copied();
    if outcomes.len() > SCHEDULE * (1 + retries) {
        return Err(format!(
            "{} attempts and {retries} retries by hand",
            outcomes.len()
        ));
    }
    if matches!(status, Status::Pending | Status::Retrying) {
        return Err(format!("it is {status:?} in a world at rest"));
    }
    if retries > 0 {
        return match (status, last) {
            (Status::Delivered, Some(Outcome::Delivered)) => Ok(()),
            (Status::DeadLetter, Some(Outcome::Retry | Outcome::PermanentFailure)) => Ok(()),
            (Status::Held | Status::Canceled, _) => Ok(()),
            _ => Err(format!("it is {status:?}")),
        };
    }
    // One schedule: all but the last failed in a way that may pass.
    let before = outcomes.len().saturating_sub(1);
    if outcomes[..before]
        .iter()
        .any(|outcome| *outcome != Outcome::Retry)
    {
        return Err("it was attempted again after its end".into());
    }
    let right = match last {
        Some(Outcome::Delivered) => status == Status::Delivered,
        Some(Outcome::PermanentFailure) => status == Status::DeadLetter,
        Some(Outcome::Retry) if outcomes.len() == SCHEDULE => status == Status::DeadLetter,
        Some(Outcome::Retry) | None => matches!(status, Status::Held | Status::Canceled),
    };
    let place = state.ledger.place_of(delivery.endpoint);
    let settings = place.and_then(|place| state.ledger.places[place].settings.first());
    let settings_fit = settings.is_some_and(|one| match status {
        Status::Held => !one.deleted && (one.paused || one.disabled),
        Status::Canceled => one.deleted,
        _ => true,
    });
    if right && settings_fit {
        return Ok(());
    }
    Err(format!(
        "it is {status:?} with its endpoint set as {settings:?}"
    ))
}

/// Whether a retry by hand may have given a delivery a fresh schedule.
pub(super) fn concerns(retry: &Retry, delivery: &Delivery, state: &State) -> bool {
    match retry.delivery {
        Some(one) => one == delivery.id,
        None => state.ledger.places[retry.place].id == delivery.endpoint,
    }
}

/// Whether what was retried by hand, and answered so, was attempted after that.
fn retried(
    state: &State,
    books: &Books,
    requests: &HashMap<DeliveryId, Vec<usize>>,
    wrong: &mut Vec<String>,
) {
    for retry in &state.ledger.retries {
        let Some(done) = retry.done else { continue };
        // Of an endpoint that was deleted meanwhile there is nothing to retry.
        let place = &state.ledger.places[retry.place];
        let deleted = place.settings.iter().any(|one| one.deleted);
        let gone = |(at, _): &(u64, bool)| *at <= done + TOLERANCE;
        if deleted && place.moods.last().is_some_and(gone) {
            continue;
        }
        for (id, (delivery, _)) in &books.deliveries {
            if !concerns(retry, delivery, state) {
                continue;
            }
            let status = delivery.status();
            if matches!(status, Status::Held | Status::Canceled) {
                continue;
            }
            let its = requests.get(id).into_iter().flatten();
            let its = its.map(|number| &state.wire.requests[*number]);
            let last = its.map(|seen| over(state, seen)).max().unwrap_or_default();
            let missed = match retry.delivery {
                Some(_) => last < retry.began,
                None => {
                    let filter = &retry.filter;
                    status == Status::DeadLetter
                        && last + TOLERANCE < retry.began
                        && !state.was_troubled(last, retry.began)
                        && filter.since.is_none_or(|since| since <= id.created_at())
                        && filter
                            .event_type
                            .as_ref()
                            .is_none_or(|name| *name == delivery.event_type)
                }
            };
            if missed {
                wrong.push(format!(
                    "{id:?} is {status:?} and was not attempted after {retry:?}"
                ));
            }
        }
    }
}
