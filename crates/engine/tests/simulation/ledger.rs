//! Hides the plain model of a world: what was asked, what was answered, and what must be true after that.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use model::audit::Action;
use model::endpoint::{Endpoint, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, EventId, TeamId};
use model::time::Timestamp;
use store::{Accepted, RetryFilter};

use crate::plan::Item;

/// How an endpoint may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) subscription: Subscription,
    pub(crate) disabled: bool,
    pub(crate) paused: bool,
    pub(crate) deleted: bool,
    pub(crate) secret: String,
    /// Oldest first, with their ends.
    pub(crate) previous: Vec<(String, Timestamp)>,
}

impl Settings {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        let previous = endpoint.secrets.previous.iter();
        Self {
            url: endpoint.url.clone(),
            subscription: endpoint.subscription.clone(),
            disabled: endpoint.disabled,
            paused: endpoint.paused,
            deleted: false,
            secret: endpoint.secrets.current.expose().to_owned(),
            previous: previous
                .map(|(secret, end)| (secret.expose().to_owned(), *end))
                .collect(),
        }
    }

    /// Whether anything may be sent to it.
    pub(crate) fn sends(&self) -> bool {
        !(self.disabled || self.paused || self.deleted)
    }

    /// Whether an event of this type makes a delivery for it.
    pub(crate) fn wants(&self, event_type: &str) -> bool {
        !self.disabled && !self.deleted && self.subscription.wants(event_type)
    }
}

/// A change of an endpoint that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Pause(bool),
    Disable(bool),
    Url(String),
    Delete,
    /// Its new secret is known once it is answered.
    Rotate,
}

impl Change {
    pub(crate) fn applied_to(&self, before: &Settings) -> Settings {
        let mut after = before.clone();
        match self {
            Self::Pause(paused) => after.paused = *paused,
            Self::Disable(disabled) => after.disabled = *disabled,
            Self::Url(url) => after.url.clone_from(url),
            Self::Delete => after.deleted = true,
            Self::Rotate => {}
        }
        after
    }

    pub(crate) fn action(&self) -> Action {
        match self {
            Self::Delete => Action::EndpointDeleted,
            Self::Rotate => Action::SecretRotated,
            Self::Pause(_) | Self::Disable(_) | Self::Url(_) => Action::EndpointUpdated,
        }
    }
}

/// An endpoint.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) team: usize,
    pub(crate) id: EndpointId,
    /// How it may be set: one way, unless the answer to a change never came.
    pub(crate) settings: Vec<Settings>,
    /// Changes that are asked for and not answered.
    pub(crate) asked: Vec<Change>,
    /// From when on something may surely be sent to it, or not.
    pub(crate) moods: Vec<(u64, bool)>,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is durable.
    Accepted(Vec<Accepted>),
    /// Nothing of it was done.
    Nothing,
    /// All of it was done, or nothing: there was no answer, or one that leaves it open.
    Doubt,
}

/// A call that publishes.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) team: usize,
    pub(crate) items: Vec<Item>,
    /// A test event, for this endpoint alone.
    pub(crate) test: Option<usize>,
    pub(crate) began: u64,
    pub(crate) wall: Timestamp,
    /// Whom each event is for: surely, and perhaps.
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) surely: Vec<usize>,
    pub(crate) perhaps: Vec<usize>,
}

/// What an idempotency key is known to stand for.
#[derive(Debug)]
struct Claim {
    event: EventId,
    expires_at: Timestamp,
    /// Retention has been by after its end, on some clock.
    maybe_gone: bool,
}

/// A request for fresh schedules.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) place: usize,
    /// None: the dead letters that the filter finds.
    pub(crate) delivery: Option<DeliveryId>,
    pub(crate) filter: RetryFilter,
    pub(crate) began: u64,
    /// When it was answered, if as done.
    pub(crate) done: Option<u64>,
}

/// What is known of a world.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) teams: Vec<TeamId>,
    pub(crate) places: Vec<Place>,
    pub(crate) calls: Vec<Call>,
    pub(crate) retries: Vec<Retry>,
    claims: HashMap<(usize, String), Vec<Claim>>,
    /// Every delivery of what was acknowledged, and its endpoint.
    pub(crate) known: Vec<(DeliveryId, usize)>,
    /// Events that retention was allowed to delete.
    pub(crate) deletable: HashSet<EventId>,
    /// Events from before this moment have been looked through for such.
    pub(crate) kept_since: Option<Timestamp>,
    /// Entries that the audit log must have: of a team, and whether surely.
    pub(crate) audited: Vec<(TeamId, Action, i64, bool)>,
}

pub(crate) fn event(item: &Item) -> NewEvent {
    let (event_type, marker) = (item.event_type, item.marker);
    NewEvent {
        event_type: event_type.into(),
        body: Bytes::from(format!(
            r#"{{"type":"{event_type}","data":{{"marker":{marker}}}}}"#
        )),
    }
}

/// The marker in an event's body.
pub(crate) fn marker_of(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(r#""marker":"#)?;
    rest.strip_suffix("}}")?.parse().ok()
}

impl Ledger {
    pub(crate) fn place_of(&self, endpoint: EndpointId) -> Option<usize> {
        let found = |place: &Place| place.id == endpoint;
        self.places.iter().position(found)
    }

    /// Notes a call that is about to be made.
    pub(crate) fn call(
        &mut self,
        (began, wall): (u64, Timestamp),
        team: usize,
        items: Vec<Item>,
        test: Option<usize>,
    ) -> usize {
        let wanted = items.iter().map(|item| match test {
            Some(place) => Wanted {
                surely: vec![place],
                perhaps: vec![place],
            },
            None => self.wanted(team, item.event_type),
        });
        let wanted = wanted.collect();
        self.calls.push(Call {
            team,
            items,
            test,
            began,
            wall,
            wanted,
            answer: Answer::Doubt,
        });
        self.calls.len() - 1
    }

    fn wanted(&self, team: usize, event_type: &str) -> Wanted {
        let mut wanted = Wanted::default();
        for (index, place) in self.places.iter().enumerate() {
            if place.team != team {
                continue;
            }
            let wants = |settings: &Settings| settings.wants(event_type);
            if place.settings.iter().all(wants) {
                wanted.surely.push(index);
            }
            if place.settings.iter().any(wants) {
                wanted.perhaps.push(index);
            }
        }
        wanted
    }

    /// Takes in what a call was answered; what is wrong with it.
    pub(crate) fn accepted(&mut self, call: usize, accepted: &[Accepted]) -> Vec<String> {
        let mut wrong = Vec::new();
        self.calls[call].answer = Answer::Accepted(accepted.to_vec());
        let Call {
            team, wall, items, ..
        } = &self.calls[call];
        let (team, wall, items) = (*team, *wall, items.clone());
        if accepted.len() != items.len() {
            let count = accepted.len();
            wrong.push(format!("{} events, {count} answers", items.len()));
            return wrong;
        }
        for (index, (item, one)) in items.iter().zip(accepted).enumerate() {
            if let Some(key) = &item.key {
                let others = self.claims.entry((team, key.clone())).or_default();
                let living = |claim: &&Claim| wall < claim.expires_at && !claim.maybe_gone;
                if let Some(claim) = others.iter().find(living)
                    && claim.event != one.event
                {
                    let (before, now) = (claim.event, one.event);
                    wrong.push(format!("{key} stood for {before:?}, and is {now:?} now"));
                }
                if !others.iter().any(|claim| claim.event == one.event) {
                    others.push(Claim {
                        event: one.event,
                        expires_at: wall.after(vk_engine::IDEMPOTENCY_KEPT),
                        // Whoever made it is not known, nor until when it lives.
                        maybe_gone: one.replayed,
                    });
                }
            } else if one.replayed {
                wrong.push(format!("{item:?} is said to have been accepted before"));
            }
            if one.replayed {
                continue;
            }
            let Wanted { surely, perhaps } = &self.calls[call].wanted[index];
            let count = one.deliveries as usize;
            if !(surely.len()..=perhaps.len()).contains(&count) {
                wrong.push(format!("{item:?} makes {count} deliveries, not {surely:?}"));
            }
            if surely == perhaps {
                let ids = (0..).map(|index| one.delivery(index));
                self.known.extend(ids.zip(surely.iter().copied()));
            }
        }
        wrong
    }

    /// Retention is about to delete what is past its time at `now`.
    pub(crate) fn swept(&mut self, now: Timestamp) {
        for claim in self.claims.values_mut().flatten() {
            claim.maybe_gone |= claim.expires_at <= now;
        }
    }

    /// Whether a refusal over an event's key is right: another event was published under it.
    pub(crate) fn conflicts(&self, call: usize, index: usize) -> bool {
        let Call { team, items, .. } = &self.calls[call];
        let Some(item) = items.get(index) else {
            return false;
        };
        let before = self.calls[..].iter().enumerate();
        before
            .filter(|(number, one)| *number != call && one.team == *team)
            .filter(|(_, one)| !matches!(one.answer, Answer::Nothing))
            .flat_map(|(_, one)| &one.items)
            .any(|other| other.key == item.key && other.marker != item.marker)
    }

    /// The audit log has an entry of this: surely, perhaps, or not.
    pub(crate) fn note(
        &mut self,
        team: TeamId,
        action: Action,
        endpoint: EndpointId,
        entry: Option<bool>,
    ) {
        if let Some(surely) = entry {
            self.audited.push((team, action, endpoint.0, surely));
        }
    }

    /// A change of an endpoint is answered as done. `after`: how the answer says it is set.
    pub(crate) fn changed(
        &mut self,
        now: u64,
        place: usize,
        change: &Change,
        after: Vec<Settings>,
    ) {
        let place = &mut self.places[place];
        if let Some(at) = place.asked.iter().position(|one| one == change) {
            place.asked.remove(at);
        }
        place.settings = after;
        place.settings.dedup();
        place.note_mood(now);
    }
}

impl Place {
    /// Whether it may be set so by now: a change takes hold a little before it is answered.
    pub(crate) fn may_be(&self, so: impl Fn(&Settings) -> bool) -> bool {
        let settings = self.settings.iter();
        let asked = settings
            .clone()
            .flat_map(|one| self.asked.iter().map(|change| change.applied_to(one)));
        settings.cloned().chain(asked).any(|one| so(&one))
    }

    /// Notes whether something may surely be sent to it from now on.
    pub(crate) fn note_mood(&mut self, now: u64) {
        let sends = !self.settings.is_empty() && self.settings.iter().all(Settings::sends);
        if self.moods.last().is_none_or(|(_, last)| *last != sends) {
            self.moods.push((now, sends));
        }
    }
}
