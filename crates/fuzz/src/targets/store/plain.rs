//! Hides what a plain program would keep in memory instead of the store.

use std::collections::BTreeMap;

use model::delivery::{State, Status};
use model::id::{DeliveryId, EventId, first_raw_at};
use model::retry::Verdict;
use model::time::Timestamp;
use store::{AcceptError, Settlement};

/// A moment so many milliseconds after the beginning.
pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + millis)
}

fn millis(moment: Timestamp) -> i64 {
    moment.as_millis() - at(0).as_millis()
}

/// An event to be accepted.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// The numbers of the endpoints that it is for.
    pub(super) endpoints: Vec<usize>,
    pub(super) event_type: &'static str,
    pub(super) key: Option<Key>,
    pub(super) test: bool,
}

/// An idempotency key, what it stands for, and until when it is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: u8,
    pub(super) content: u8,
    pub(super) expires: i64,
}

/// What becomes of an offer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    New,
    /// The same as an earlier one of the batch.
    SameAs(usize),
    Before(EventId, u32),
}

#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) event: EventId,
    pub(super) endpoint: usize,
    pub(super) event_type: &'static str,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) start: u32,
    pub(super) due: i64,
    pub(super) ended: Option<i64>,
    pub(super) test: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Endpoint {
    pub(super) paused: bool,
    pub(super) deleted: bool,
}

/// All of it.
#[derive(Clone, Default)]
pub(super) struct Plain {
    pub(super) now: i64,
    pub(super) endpoints: [Endpoint; 3],
    pub(super) events: BTreeMap<EventId, Offer>,
    pub(super) deliveries: BTreeMap<DeliveryId, Delivery>,
    keys: BTreeMap<u8, (Key, EventId, u32)>,
}

impl Plain {
    /// What becomes of a batch; which of it clashes, where something does.
    pub(super) fn judge(&self, offers: &[Offer]) -> Result<Vec<Answer>, AcceptError> {
        let keys = || {
            offers
                .iter()
                .enumerate()
                .filter_map(|(index, offer)| Some((index, offer.key?)))
        };
        let first = |name: u8| keys().find(|(_, key)| key.name == name);
        for (index, key) in keys() {
            if first(key.name).is_some_and(|(_, first)| first.content != key.content) {
                return Err(AcceptError::Conflict { index });
            }
        }
        let mut answers = vec![Answer::New; offers.len()];
        for (index, key) in keys() {
            let earlier = first(key.name)
                .map(|(index, _)| index)
                .filter(|first| *first != index);
            let known = self
                .keys
                .get(&key.name)
                .filter(|(known, ..)| known.expires > self.now);
            answers[index] = match (earlier, known) {
                (Some(earlier), _) => Answer::SameAs(earlier),
                (None, Some((known, event, deliveries))) if known.content == key.content => {
                    Answer::Before(*event, *deliveries)
                }
                (None, Some(_)) => return Err(AcceptError::Conflict { index }),
                (None, None) => Answer::New,
            };
        }
        Ok(answers)
    }

    /// An offer was accepted under this id.
    pub(super) fn accept(&mut self, event: EventId, offer: &Offer) {
        for (index, endpoint) in (1..).zip(&offer.endpoints) {
            let delivery = Delivery {
                event,
                endpoint: *endpoint,
                event_type: offer.event_type,
                state: State::Open,
                attempts: 0,
                start: 0,
                due: self.now,
                ended: None,
                test: offer.test,
            };
            self.deliveries
                .insert(DeliveryId(event.0 + index), delivery);
        }
        if let Some(key) = offer.key {
            let deliveries = u32::try_from(offer.endpoints.len()).expect("there are three");
            self.keys.insert(key.name, (key, event, deliveries));
        }
        self.events.insert(event, offer.clone());
    }

    /// What is due for an endpoint, in order.
    pub(super) fn due(&self, endpoint: usize) -> Vec<(i64, DeliveryId)> {
        let open = self.open_for(endpoint);
        let mut due: Vec<_> = open.filter(|(due, _)| *due <= self.now).collect();
        due.sort_unstable();
        due
    }

    /// When the next is due that is not yet.
    pub(super) fn next_due(&self, endpoint: usize) -> Option<i64> {
        let open = self.open_for(endpoint);
        open.map(|(due, _)| due).filter(|due| *due > self.now).min()
    }

    fn open_for(&self, endpoint: usize) -> impl Iterator<Item = (i64, DeliveryId)> {
        let mine = self
            .deliveries
            .iter()
            .filter(move |(_, one)| one.endpoint == endpoint);
        let open = mine.filter(|(_, one)| one.state == State::Open);
        open.map(|(id, one)| (one.due, *id))
    }

    /// A fresh schedule by hand; whether there is still an endpoint for it.
    pub(super) fn retry(&mut self, id: DeliveryId) -> bool {
        let (now, endpoints) = (self.now, self.endpoints);
        let delivery = self.deliveries.get_mut(&id).expect("it is there");
        if endpoints[delivery.endpoint].deleted {
            return false;
        }
        delivery.state = State::Open;
        (delivery.start, delivery.due, delivery.ended) = (delivery.attempts, now, None);
        true
    }

    /// An attempt came to an end.
    pub(super) fn settle(&mut self, settlement: &Settlement) {
        let Some(delivery) = self.deliveries.get_mut(&settlement.delivery) else {
            return; // it is past its time
        };
        if delivery.attempts + 1 != settlement.attempt.number {
            return;
        }
        delivery.attempts += 1;
        let ended = Some(millis(settlement.ended_at));
        match settlement.verdict {
            Verdict::Delivered => (delivery.state, delivery.ended) = (State::Delivered, ended),
            // Somebody asked for a fresh schedule meanwhile.
            _ if at(delivery.due) != settlement.due_at => delivery.start = delivery.attempts,
            Verdict::RetryAt(when) => delivery.due = millis(when),
            Verdict::DeadLetter => (delivery.state, delivery.ended) = (State::DeadLetter, ended),
        }
    }

    /// What is past its time goes: events that are older, and of which nothing is owed.
    pub(super) fn sweep(&mut self, keep_since: i64) {
        let now = self.now;
        self.keys.retain(|_, (key, ..)| key.expires > now);
        let Self {
            events,
            deliveries,
            endpoints,
            ..
        } = self;
        let owed = |event: EventId| {
            let mut own = deliveries.values().filter(|one| one.event == event);
            own.any(|one| one.state == State::Open && !endpoints[one.endpoint].deleted)
        };
        let beyond = first_raw_at(at(keep_since));
        events.retain(|event, _| event.0 >= beyond || owed(*event));
        deliveries.retain(|_, one| events.contains_key(&one.event));
    }

    pub(super) fn status(&self, delivery: &Delivery) -> Status {
        let endpoint = self.endpoints[delivery.endpoint];
        match delivery.state {
            State::Delivered => Status::Delivered,
            State::DeadLetter => Status::DeadLetter,
            State::Open if endpoint.deleted => Status::Canceled,
            State::Open if endpoint.paused => Status::Held,
            State::Open if delivery.attempts == 0 => Status::Pending,
            State::Open => Status::Retrying,
        }
    }

    /// How many deliveries to endpoints that are there are unfinished, and how many are dead letters.
    pub(super) fn backlog(&self) -> (u64, u64) {
        let count = |state| {
            let all = self.deliveries.values();
            all.filter(|one| one.state == state && !self.endpoints[one.endpoint].deleted)
                .count() as u64
        };
        (count(State::Open), count(State::DeadLetter))
    }
}
