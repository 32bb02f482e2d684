//! Hides the laws of what was published: nothing acknowledged is lost, and nothing is there twice or in part.

use std::collections::{HashMap, HashSet};

use model::attempt::Outcome;
use model::id::{EventId, Id as _};
use store::Accepted;

use super::Books;
use crate::ledger::{Answer, Call, Wanted, marker_of};
use crate::world::State;

pub(super) fn check(state: &State, books: &Books, wrong: &mut Vec<String>) {
    let calls = calls_by_marker(state);
    let mut found: HashMap<u64, HashSet<EventId>> = HashMap::new();
    for (id, (team, event, _)) in &books.events {
        let marker = marker_of(&event.body).unwrap_or(0);
        found.entry(marker).or_default().insert(*id);
        let Some(calls) = calls.get(&marker) else {
            wrong.push(format!("{id:?} was never published"));
            continue;
        };
        check_event(state, books, *id, *team, calls, wrong);
    }
    for call in &state.ledger.calls {
        let Answer::Accepted(accepted) = &call.answer else {
            continue;
        };
        for one in accepted {
            if !books.events.contains_key(&one.event) && !may_be_gone(state, one) {
                wrong.push(format!(
                    "{:?} was acknowledged and is lost: {:?}",
                    one.event, call.items
                ));
            }
        }
    }
    for (marker, ids) in &found {
        let Some(calls) = calls.get(marker) else {
            continue;
        };
        let acknowledged = acknowledged(state, *marker);
        let others = ids.difference(&acknowledged).count();
        let doubts = calls
            .iter()
            .filter(|(call, _)| matches!(call.answer, Answer::Doubt));
        if others > doubts.count() {
            wrong.push(format!(
                "marker {marker} is in {ids:?}, and {acknowledged:?} were acknowledged"
            ));
        }
    }
    for call in &state.ledger.calls {
        let alone = |marker: u64| calls[&marker].len() == 1;
        if !matches!(call.answer, Answer::Doubt) || !state.ledger.deletable.is_empty() {
            continue;
        }
        let own: Vec<_> = call
            .items
            .iter()
            .filter(|item| alone(item.marker))
            .collect();
        let there = own
            .iter()
            .filter(|item| found.contains_key(&item.marker))
            .count();
        if there != 0 && there != own.len() {
            wrong.push(format!(
                "{there} of {own:?} are there: not all, and not nothing"
            ));
        }
    }
}

type Calls<'s> = HashMap<u64, Vec<(&'s Call, usize)>>;

/// The calls that may have published each event, and its index in them.
fn calls_by_marker(state: &State) -> Calls<'_> {
    let mut calls: Calls<'_> = HashMap::new();
    for call in &state.ledger.calls {
        for (index, item) in call.items.iter().enumerate() {
            calls.entry(item.marker).or_default().push((call, index));
        }
    }
    calls
}

fn acknowledged(state: &State, marker: u64) -> HashSet<EventId> {
    let mut ids = HashSet::new();
    for call in &state.ledger.calls {
        if let Answer::Accepted(accepted) = &call.answer {
            let items = call.items.iter().zip(accepted);
            ids.extend(
                items
                    .filter(|(item, _)| item.marker == marker)
                    .map(|(_, one)| one.event),
            );
        }
    }
    ids
}

/// Whether an event has its deliveries: one for each endpoint that wanted it when it was published.
fn check_event(
    state: &State,
    books: &Books,
    id: EventId,
    team: usize,
    calls: &[(&Call, usize)],
    wrong: &mut Vec<String>,
) {
    let (_, event, deliveries) = &books.events[&id];
    let places: Vec<_> = deliveries
        .iter()
        .map(|delivery| state.ledger.place_of(books.deliveries[delivery].0.endpoint))
        .collect();
    // Whoever was told that they accepted it did; else it may be anybody who was not told.
    let made_it = |call: &Call, index: usize| match &call.answer {
        Answer::Accepted(accepted) => accepted[index].event == id && !accepted[index].replayed,
        _ => false,
    };
    let certain: Vec<_> = calls
        .iter()
        .filter(|(call, index)| made_it(call, *index))
        .collect();
    let candidates: Vec<_> = match certain.is_empty() {
        true => calls
            .iter()
            .filter(|(call, _)| matches!(call.answer, Answer::Doubt))
            .collect(),
        false => certain,
    };
    let fits = |(call, index): &&&(&Call, usize)| {
        let Wanted { surely, perhaps } = &call.wanted[*index];
        let all = |places: &[usize]| places.iter().all(|place| surely.contains(place));
        let there: Vec<usize> = places.iter().flatten().copied().collect();
        let made = |place: &usize| there.contains(place);
        call.team == team
            && call.test.is_some() == event.test
            && there.len() == places.len()
            && there.is_sorted_by(|a, b| a < b)
            && surely.iter().all(made)
            && (all(&there) || there.iter().all(|place| perhaps.contains(place)))
    };
    if !candidates.iter().any(|candidate| fits(&candidate)) {
        let wanted: Vec<_> = candidates
            .iter()
            .map(|(call, index)| &call.wanted[*index])
            .collect();
        wrong.push(format!(
            "{id:?} has deliveries for {places:?}, wanted by {wanted:?}"
        ));
    }
}

/// Whether retention was right to delete an event: it was old, and owed nothing.
fn may_be_gone(state: &State, event: &Accepted) -> bool {
    // What is acknowledged while events are being looked through may be old already.
    let kept_since = state.ledger.kept_since;
    let is_old = kept_since.is_some_and(|since| event.event.created_at() < since);
    if !is_old && !state.ledger.deletable.contains(&event.event) {
        return false;
    }
    let own: HashSet<_> = (0..event.deliveries)
        .map(|index| event.delivery(index))
        .collect();
    let mut its = state
        .ledger
        .known
        .iter()
        .filter(|(delivery, _)| own.contains(delivery));
    its.all(|(delivery, place)| {
        let gone = state.ledger.places[*place]
            .settings
            .iter()
            .any(|one| one.deleted);
        let requests = state
            .wire
            .requests
            .iter()
            .filter(|seen| seen.delivery == *delivery);
        let ends: Vec<_> = requests
            .filter(|seen| seen.end.is_some())
            .map(|seen| seen.reply.judged().0)
            .collect();
        gone || ends.len() >= 6 || ends.iter().any(|outcome| *outcome != Outcome::Retry)
    })
}
