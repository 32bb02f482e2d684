//! Hides how bytes become what an engine, people and accidents do to a store, each step of it done to a plain
//! program's memory too. Rooms: `plain` is that memory, `place` where the store lives and how it dies.

mod place;
mod plain;

use std::sync::Arc;

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Reason, Timings};
use model::audit::Actor;
use model::delivery::{State, Status};
use model::event::NewEvent;
use model::id::DeliveryId;
use model::retry::Verdict;
use store::{
    Acceptance, Accepted, EndpointChange, Idempotency, LogFilter, PageRequest, Retried,
    RetryFilter, Settlement,
};

use crate::choices::Choices;
use place::Place;
use plain::{Answer, Key, Offer, Plain, at};

/// How many steps are worth the time they take.
const STEPS: usize = 50;
const TYPES: [&str; 2] = ["a", "b"];

pub(super) fn target(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let mut machine = Machine {
            place: Place::new().await,
            plain: Plain::default(),
            settled: Vec::new(),
        };
        let mut choices = Choices::of(bytes);
        for _ in 0..STEPS {
            if choices.is_over() {
                break;
            }
            machine.step(&mut choices).await;
        }
        machine.compare_due().await;
        machine.compare_wholly().await;
    });
}

/// A store, and what has to be in it.
struct Machine {
    place: Place,
    plain: Plain,
    settled: Vec<Settlement>,
}

impl Machine {
    async fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(32) {
            0 | 1 | 16..=18 => {
                let offers = self.offers(choices);
                self.accept(offers).await;
            }
            2..=4 | 19..=24 => self.attempt(choices).await,
            5 | 25 => self.late(choices).await,
            6 | 26 => self.retry(choices).await,
            7 => self.retry_dead(choices).await,
            8 | 27 | 28 => {
                self.plain.now += match choices.byte() {
                    250.. => 3_600_000,
                    millis => i64::from(millis) + 1,
                }
            }
            9 | 29 => self.change(choices).await,
            10 | 30 => self.sweep(choices).await,
            11 => {
                let before = at(self.plain.now - i64::from(choices.byte()));
                let written = self.place.store().write_down_fresh(before).await;
                assert!(
                    written.expect("the store works").is_empty(),
                    "nothing was in doubt"
                );
            }
            12 => self.place.reopen(choices.flag()).await,
            13 => self.place.crash().await,
            14 => self.die_accepting(choices).await,
            _ => self.compare_due().await,
        }
    }

    fn offers(&self, choices: &mut Choices<'_>) -> Vec<Offer> {
        let mut offers = Vec::new();
        for _ in 0..=choices.below(4) {
            let (bits, key) = (choices.byte(), choices.byte());
            let wanted =
                |index: &usize| bits >> index & 1 == 1 && !self.plain.endpoints[*index].deleted;
            offers.push(Offer {
                endpoints: (0..3).filter(wanted).collect(),
                event_type: TYPES[usize::from(bits >> 3 & 1)],
                test: bits >> 4 & 1 == 1,
                // Few keys and contents, so that they meet.
                key: (key & 1 == 1).then(|| Key {
                    name: key >> 1 & 3,
                    content: key >> 3 & 1,
                    expires: self.plain.now + 1 + i64::from(key >> 4) * 20,
                }),
            });
        }
        offers
    }

    fn acceptances(&self, offers: &[Offer]) -> Vec<Acceptance> {
        let acceptance = |offer: &Offer| Acceptance {
            event: NewEvent {
                event_type: offer.event_type.into(),
                body: body(offer.event_type),
            },
            endpoints: offer
                .endpoints
                .iter()
                .map(|index| self.place.endpoints[*index])
                .collect(),
            idempotency: offer.key.map(|key| Idempotency {
                key: key.name.to_string(),
                fingerprint: [key.content; 32],
                expires_at: at(key.expires),
            }),
            due_at: at(self.plain.now),
            test: offer.test,
        };
        offers.iter().map(acceptance).collect()
    }

    async fn accept(&mut self, offers: Vec<Offer>) {
        let (batch, now) = (self.acceptances(&offers), at(self.plain.now));
        let accepted = self.place.store().accept(self.place.team, batch, now).await;
        match self.plain.judge(&offers) {
            Err(conflict) => assert_eq!(accepted, Err(conflict)),
            Ok(answers) => self.took(&offers, &answers, &accepted.expect("the store works")),
        }
    }

    fn took(&mut self, offers: &[Offer], answers: &[Answer], accepted: &[Accepted]) {
        assert_eq!(accepted.len(), offers.len());
        for (index, offer) in offers.iter().enumerate() {
            let Accepted {
                event,
                deliveries,
                replayed,
            } = accepted[index];
            assert_eq!(replayed, answers[index] != Answer::New);
            match answers[index] {
                Answer::New => {
                    assert_eq!(deliveries as usize, offer.endpoints.len());
                    let last = self.plain.events.last_key_value();
                    assert!(last.is_none_or(|(last, _)| *last < event), "ids grow");
                    self.plain.accept(event, offer);
                }
                Answer::SameAs(first) => assert_eq!(event, accepted[first].event),
                Answer::Before(before, count) => assert_eq!((event, deliveries), (before, count)),
            }
        }
    }

    /// The process dies somewhere in a publication, of which then all is there, or nothing.
    async fn die_accepting(&mut self, choices: &mut Choices<'_>) {
        let offers = self.offers(choices);
        let (batch, now) = (self.acceptances(&offers), at(self.plain.now));
        let (store, team) = (self.place.store().clone(), self.place.team);
        let accepting = tokio::spawn(async move { store.accept(team, batch, now).await });
        for _ in 0..choices.below(6) {
            tokio::task::yield_now().await;
        }
        let answered = accepting.is_finished();
        self.place.crash().await;
        accepting.abort();
        let page = PageRequest {
            page: 1,
            per_page: 1000,
        };
        let events = self
            .place
            .store()
            .events(team, page)
            .await
            .expect("the store works");
        let mut found: Vec<_> = events.rows.iter().map(|row| row.id).collect();
        found.retain(|id| !self.plain.events.contains_key(id));
        found.sort_unstable();
        let Ok(answers) = self.plain.judge(&offers) else {
            assert!(found.is_empty(), "a batch that clashes is not accepted");
            return;
        };
        let new = offers
            .iter()
            .zip(answers)
            .filter(|(_, answer)| *answer == Answer::New);
        let new: Vec<Offer> = new.map(|(offer, _)| offer.clone()).collect();
        assert!(
            found.is_empty() || found.len() == new.len(),
            "a batch is there in part"
        );
        assert!(
            !answered || found.len() == new.len(),
            "what was answered is lost"
        );
        for (event, offer) in found.into_iter().zip(&new) {
            self.plain.accept(event, offer);
        }
    }

    /// An attempt of what is due first, and what came of it.
    async fn attempt(&mut self, choices: &mut Choices<'_>) {
        let (endpoint, what, oddity) = (choices.below(3), choices.byte(), choices.byte());
        let Some((_, id)) = self.plain.due(endpoint).first().copied() else {
            return;
        };
        let taken = self.plain.deliveries[&id].clone();
        let now = self.plain.now;
        let verdict = match what % 4 {
            0 => Verdict::Delivered,
            1 => Verdict::DeadLetter,
            _ => Verdict::RetryAt(at(now + i64::from(what))),
        };
        let settlement = Settlement {
            delivery: id,
            attempt: attempt(taken.attempts + 1, verdict),
            due_at: at(taken.due),
            verdict,
            ended_at: at(now),
        };
        // Somebody asks for a fresh schedule meanwhile.
        if oddity & 7 == 1 {
            self.retry_one(id).await;
        }
        // The same is recorded again: nobody knew whether it had been.
        for _ in 0..=usize::from(oddity & 8 == 8) {
            self.settle(vec![settlement.clone()]).await;
        }
        self.plain.settle(&settlement);
        self.settled.push(settlement);
    }

    async fn settle(&self, settlements: Vec<Settlement>) {
        let settled = self
            .place
            .store()
            .settle(Arc::new(settlements), Arc::default())
            .await;
        settled.expect("the store works");
    }

    /// Settlements of earlier attempts come again, which changes nothing.
    async fn late(&mut self, choices: &mut Choices<'_>) {
        let some = (0..=choices.below(3)).filter_map(|_| {
            let index = choices.byte().into();
            self.settled.iter().rev().nth(index).cloned()
        });
        let some: Vec<_> = some.collect();
        self.settle(some).await;
    }

    async fn retry(&mut self, choices: &mut Choices<'_>) {
        let count = self.plain.deliveries.len();
        if let Some(index) = usize::from(choices.byte()).checked_rem(count) {
            let id = *self
                .plain
                .deliveries
                .keys()
                .nth(index)
                .expect("within the map");
            self.retry_one(id).await;
        } else {
            let store = self.place.store();
            let none = store
                .retry_delivery(self.place.team, DeliveryId(7), at(0))
                .await;
            assert_eq!(none, Ok(Retried::NotFound));
        }
    }

    async fn retry_one(&mut self, id: DeliveryId) {
        let endpoint = self.place.endpoints[self.plain.deliveries[&id].endpoint];
        let expected = match self.plain.retry(id) {
            true => Retried::Fresh(endpoint),
            false => Retried::EndpointDeleted,
        };
        let now = at(self.plain.now);
        let retried = self
            .place
            .store()
            .retry_delivery(self.place.team, id, now)
            .await;
        assert_eq!(retried, Ok(expected));
    }

    async fn retry_dead(&mut self, choices: &mut Choices<'_>) {
        let endpoint = choices.below(3);
        let event_type = [None, Some("a"), Some("b")][choices.below(3)];
        let dead = self.plain.deliveries.iter().filter(|(_, one)| {
            one.endpoint == endpoint
                && one.state == State::DeadLetter
                && event_type.is_none_or(|name| name == one.event_type)
        });
        let dead: Vec<_> = dead.map(|(id, _)| *id).collect();
        let count = dead.into_iter().filter(|id| self.plain.retry(*id)).count() as u64;
        let filter = RetryFilter {
            event_type: event_type.map(Into::into),
            ..RetryFilter::default()
        };
        let (store, team, id) = (
            self.place.store(),
            self.place.team,
            self.place.endpoints[endpoint],
        );
        let now = at(self.plain.now);
        let counted = store
            .count_dead_letters(team, Some(id), &filter, 1000)
            .await;
        assert_eq!(counted, Ok(count));
        let retried = store.retry_dead_letters(team, id, &filter, now).await;
        assert_eq!(retried, Ok(count));
    }

    /// Somebody pauses, resumes or deletes an endpoint.
    async fn change(&mut self, choices: &mut Choices<'_>) {
        let (index, what) = (choices.below(3), choices.below(5));
        let (hand, now) = (self.place.store().by(Actor::Operator), at(self.plain.now));
        let (team, id) = (self.place.team, self.place.endpoints[index]);
        let endpoint = &mut self.plain.endpoints[index];
        if what == 4 {
            let deleted = hand.delete_endpoint(team, id, now).await;
            assert_eq!(deleted, Ok(!endpoint.deleted));
            endpoint.deleted = true;
        } else {
            let change = EndpointChange {
                paused: Some(what & 1 == 1),
                ..EndpointChange::default()
            };
            let changed = hand.update_endpoint(team, id, change, now).await;
            assert_eq!(
                changed.expect("the store works").is_some(),
                !endpoint.deleted
            );
            endpoint.paused = what & 1 == 1;
        }
    }

    async fn sweep(&mut self, choices: &mut Choices<'_>) {
        let keep_since = self.plain.now - i64::from(choices.byte());
        let slice = u32::from(choices.byte());
        let now = at(self.plain.now);
        for _ in 0..10_000 {
            let gone = self
                .place
                .store()
                .sweep(now, Some(at(keep_since)), slice)
                .await;
            if gone.expect("the store works") == 0 {
                self.plain.sweep(keep_since);
                return;
            }
        }
        panic!("it sweeps without end");
    }

    /// What the engine sees.
    async fn compare_due(&self) {
        for (index, endpoint) in self.place.endpoints.iter().enumerate() {
            if self.plain.endpoints[index].deleted {
                continue; // of which it asks nothing
            }
            let (store, now) = (self.place.store(), at(self.plain.now));
            let expected = self.plain.due(index).into_iter().map(|(due, id)| {
                let one = &self.plain.deliveries[&id];
                (
                    at(due),
                    id,
                    one.attempts,
                    one.start,
                    one.event_type,
                    one.test,
                )
            });
            let expected: Vec<_> = expected.collect();
            // In pages, as the engine reads.
            let (mut seen, mut position) = (Vec::new(), None);
            loop {
                let page = store.due(*endpoint, now, position, 3, usize::MAX).await;
                let page = page.expect("the store works");
                for one in &page.deliveries {
                    assert_eq!(one.body, body(&one.event_type));
                    seen.push((
                        one.due_at,
                        one.id,
                        one.attempt_count,
                        one.schedule_start,
                        one.event_type.to_string(),
                        one.test,
                    ));
                }
                assert_eq!(page.unreadable, []);
                position = page.more_after;
                if position.is_none() {
                    break;
                }
            }
            let seen: Vec<_> = seen
                .iter()
                .map(|(due, id, attempts, start, name, test)| {
                    (*due, *id, *attempts, *start, name.as_str(), *test)
                })
                .collect();
            assert_eq!(seen, expected);
            let next = store.next_due(*endpoint, now).await;
            assert_eq!(next, Ok(self.plain.next_due(index).map(at)));
        }
    }

    /// What a customer and the operator see.
    async fn compare_wholly(&self) {
        let (store, team) = (self.place.store(), self.place.team);
        for (id, plain) in &self.plain.deliveries {
            let found = store.delivery(team, *id).await.expect("the store works");
            let (delivery, attempts) = found.expect("it is there");
            assert_eq!(
                (
                    delivery.state,
                    delivery.attempt_count,
                    delivery.completed_at,
                    delivery.status()
                ),
                (
                    plain.state,
                    plain.attempts,
                    plain.ended.map(at),
                    self.plain.status(plain)
                )
            );
            assert_eq!((delivery.event, delivery.test), (plain.event, plain.test));
            let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
            assert_eq!(
                numbers,
                (1..=plain.attempts).collect::<Vec<_>>(),
                "without a gap"
            );
            if let (State::Delivered, Some(last)) = (plain.state, attempts.last()) {
                assert_eq!(last.outcome, Outcome::Delivered);
            }
        }
        let statuses = Status::ALL.iter().copied().map(Some);
        for status in statuses.chain([None]) {
            let filter = LogFilter {
                status,
                ..LogFilter::default()
            };
            let log = store.delivery_log(team, &filter, None, 10_000).await;
            let log: Vec<_> = log
                .expect("the store works")
                .iter()
                .map(|row| row.id)
                .collect();
            let newest_first = self.plain.deliveries.iter().rev();
            let expected = newest_first
                .filter(|(_, one)| status.is_none_or(|status| status == self.plain.status(one)));
            assert_eq!(
                log,
                expected.map(|(id, _)| *id).collect::<Vec<_>>(),
                "{status:?}"
            );
        }
        let page = PageRequest {
            page: 1,
            per_page: 1000,
        };
        let events = store.events(team, page).await.expect("the store works");
        let mut events: Vec<_> = events.rows.iter().map(|row| row.id).collect();
        events.sort_unstable();
        assert_eq!(
            events,
            self.plain.events.keys().copied().collect::<Vec<_>>()
        );
        assert_eq!(store.backlog().await, Ok(self.plain.backlog()));
    }
}

fn body(event_type: &str) -> Bytes {
    format!(r#"{{"type":"{event_type}","data":{{"n": 1.0}}}}"#).into()
}

fn attempt(number: u32, verdict: Verdict) -> Attempt {
    let delivered = verdict == Verdict::Delivered;
    Attempt {
        number,
        started_at: at(0),
        duration_ms: 1,
        outcome: if delivered {
            Outcome::Delivered
        } else {
            Outcome::Retry
        },
        status_code: Some(if delivered { 200 } else { 503 }),
        reason: (!delivered).then_some(Reason::HttpStatus),
        detail: None,
        remote_addr: None,
        response_headers: Vec::new(),
        response_body: None,
        timings: Timings::default(),
    }
}
