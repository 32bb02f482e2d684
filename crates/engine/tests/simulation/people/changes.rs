//! Hides how an endpoint is changed by hand, and what may have come of that where nobody was told.

use std::time::Duration;

use model::audit::Actor;
use model::endpoint::Endpoint;
use model::id::{EndpointId, TeamId};
use store::StoreError;
use tokio::time::sleep;
use vk_engine::{EndpointEdit, Refusal};

use super::{AGAIN, By};
use crate::disk::look;
use crate::ledger::{Change, Settings};
use crate::wire::judge_doubted;

impl By<'_> {
    /// How an endpoint is set, by what is in the store.
    fn truth(&self, team: TeamId, endpoint: EndpointId) -> Option<Settings> {
        let read = self.engine.store().endpoint(team, endpoint);
        look(self.world, read).unwrap().as_ref().map(Settings::of)
    }

    /// A new process has found an endpoint as the one before it left it: one way in which it may be set.
    pub(super) fn found_again(&self, index: usize, team: TeamId, id: EndpointId) {
        let truth = self.truth(team, id);
        let state = &mut *self.world.lock();
        let now = state.now();
        let place = &mut state.ledger.places[index];
        let asked = std::mem::take(&mut place.asked);
        let mut possible = place.settings.clone();
        for change in &asked {
            possible.extend(
                place
                    .settings
                    .iter()
                    .map(|before| change.applied_to(before)),
            );
            state
                .ledger
                .audited
                .push((team, change.action(), id.0, false));
        }
        let rotated = asked.contains(&Change::Rotate);
        let fits = |one: &&Settings| match &truth {
            None => one.deleted,
            Some(truth) => {
                let mut truth = truth.clone();
                if rotated {
                    (truth.secret, truth.previous) = (one.secret.clone(), one.previous.clone());
                }
                truth == **one
            }
        };
        let Some(found) = possible.iter().find(fits).cloned() else {
            let law = format!("endpoint {index} is set as {truth:?}, not as one of {possible:?}");
            return state.violation(law);
        };
        place.settings = vec![truth.unwrap_or(found)];
        place.note_mood(now);
        judge_doubted(state, index);
    }

    /// Asks for a change until it is known what came of it.
    pub(super) async fn change(&self, index: usize, change: Change, kept: u64) {
        loop {
            let (team, id) = {
                let ledger = &mut self.world.lock().ledger;
                let place = &mut ledger.places[index];
                place.asked.push(change.clone());
                (ledger.teams[place.team], place.id)
            };
            let answer = self.ask(team, id, &change, kept).await;
            self.world.alive().await;
            self.world
                .tell(&format_args!("{change:?} of {index}: {answer:?}"));
            if self.changed(index, &change, answer) {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    async fn ask(
        &self,
        team: TeamId,
        id: EndpointId,
        change: &Change,
        kept: u64,
    ) -> Result<Option<Endpoint>, Refusal> {
        let hand = self.engine.by(Actor::Session(None));
        let edit = EndpointEdit::default();
        let edit = match change {
            Change::Delete => return hand.delete_endpoint(team, id).await.map(|()| None),
            Change::Rotate => {
                let rotated = hand.rotate_secret(team, id, Duration::from_millis(kept));
                return rotated.await.map(|(_, endpoint)| Some(endpoint));
            }
            Change::Pause(paused) => EndpointEdit {
                paused: Some(*paused),
                ..edit
            },
            Change::Disable(disabled) => EndpointEdit {
                disabled: Some(*disabled),
                ..edit
            },
            Change::Url(text) => {
                let parsed = egress::ReceiverUrl::parse(text, &egress::Policy::default());
                EndpointEdit {
                    url: Some(parsed.unwrap()),
                    ..edit
                }
            }
        };
        hand.update_endpoint(team, id, edit).await.map(Some)
    }

    /// Notes what a change was answered; whether that is final.
    fn changed(
        &self,
        index: usize,
        change: &Change,
        answer: Result<Option<Endpoint>, Refusal>,
    ) -> bool {
        let (team, id, before) = {
            let ledger = &self.world.lock().ledger;
            let place = &ledger.places[index];
            (ledger.teams[place.team], place.id, place.settings.clone())
        };
        let truth = self.truth(team, id);
        let state = &mut *self.world.lock();
        let now = state.now();
        let expected: Vec<_> = before.iter().map(|one| change.applied_to(one)).collect();
        let mut after = before.clone();
        // Whether the audit log has an entry of it: surely, perhaps, or not.
        let mut entry = None;
        match answer {
            Ok(endpoint) => {
                let told = endpoint.as_ref().map(Settings::of);
                entry = changes(change, &before);
                after = vec![match told {
                    None => Settings {
                        deleted: true,
                        ..before[0].clone()
                    },
                    Some(told) => {
                        if !expected.iter().any(|one| fits(change, one, &told)) {
                            state.violation(format_args!(
                                "{change:?} of {index}: {told:?}, not of {expected:?}"
                            ));
                        }
                        told
                    }
                }];
            }
            Err(Refusal::NotFound(_)) => {
                if !before.iter().any(|one| one.deleted) {
                    state.violation(format_args!(
                        "endpoint {index} is not found, and was not deleted"
                    ));
                }
                after = before.iter().filter(|one| one.deleted).cloned().collect();
                after.truncate(1);
            }
            Err(Refusal::Conflict(_)) if *change == Change::Rotate => {}
            Err(Refusal::Store(StoreError::Unavailable(_))) => {
                entry = changes(change, &before).map(|_| false);
                // What the engine goes by is what it was or what is in the store.
                let there = truth.unwrap_or(Settings {
                    deleted: true,
                    ..before[0].clone()
                });
                if !before.contains(&there) && !expected.iter().any(|one| fits(change, one, &there))
                {
                    state.violation(format_args!(
                        "{change:?} of {index} left {there:?}, of {before:?}"
                    ));
                }
                after.push(there);
                state.ledger.changed(now, index, change, after);
                judge_doubted(state, index);
                state.ledger.note(team, change.action(), id, entry);
                return false;
            }
            Err(error) => state.violation(format_args!("{change:?} of {index}: {error}")),
        }
        state.ledger.changed(now, index, change, after);
        judge_doubted(state, index);
        state.ledger.note(team, change.action(), id, entry);
        true
    }
}

/// Whether what is told is what a change must come to. Which secret is made nobody can foretell.
fn fits(change: &Change, expected: &Settings, told: &Settings) -> bool {
    let mut expected = expected.clone();
    if *change == Change::Rotate && expected.secret != told.secret {
        (expected.secret, expected.previous) = (told.secret.clone(), told.previous.clone());
    }
    expected == *told
}

/// Whether a change is one of something, and so in the audit log; none: it is not.
fn changes(change: &Change, before: &[Settings]) -> Option<bool> {
    if matches!(change, Change::Rotate | Change::Delete) {
        return Some(true);
    }
    let mut of_something = before.iter().map(|one| change.applied_to(one) != *one);
    let first = of_something.next()?;
    match (first, of_something.all(|one| one == first)) {
        (true, true) => Some(true),
        (false, true) => None,
        (_, false) => Some(false),
    }
}
