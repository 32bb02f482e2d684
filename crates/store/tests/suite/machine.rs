//! Random accepting, settling (twice, stale, late), retrying and crashing, against a plain model.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::attempt::Outcome;
use model::delivery::State;
use model::id::{DeliveryId, EndpointId};
use model::retry::Verdict;
use proptest::prelude::*;
use store::{Acceptance, Retried, RetryFilter, Settlement};

use crate::house::{House, acceptance, at, settlement};

#[derive(Clone, Debug)]
enum Step {
    /// Events for these of the three endpoints.
    Accept(Vec<[bool; 3]>),
    /// An attempt of what is due first, and what came of it: 0 delivered, 1 dead letter, else retry
    /// in so many milliseconds. Recorded after a retry by hand, if the last flag is set.
    Attempt {
        endpoint: usize,
        verdict: u8,
        twice: bool,
        retried_meanwhile: bool,
    },
    /// The settlement of some earlier attempt comes again.
    Late(prop::sample::Index),
    /// A retry by hand of some delivery.
    Retry(prop::sample::Index),
    RetryDead(usize),
    Reopen,
    Wait(u8),
    /// The engine looks. Only now and then: looking writes rows that are still to be written.
    Look,
    /// Rows of what was accepted so many milliseconds ago are written.
    WriteDown(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<[bool; 3]>(), 1..4).prop_map(Step::Accept),
        8 => (0..3_usize, 0..30_u8, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
            |(endpoint, verdict, twice, retried_meanwhile)| Step::Attempt {
                endpoint, verdict, twice, retried_meanwhile
            }
        ),
        2 => any::<prop::sample::Index>().prop_map(Step::Late),
        2 => any::<prop::sample::Index>().prop_map(Step::Retry),
        1 => (0..3_usize).prop_map(Step::RetryDead),
        1 => Just(Step::Reopen),
        3 => (1..20_u8).prop_map(Step::Wait),
        2 => Just(Step::Look),
        1 => (0..20_u8).prop_map(Step::WriteDown),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    endpoint: EndpointId,
    state: State,
    attempts: u32,
    start: u32,
    due: i64,
    ended: Option<i64>,
}

/// What a plain program would keep in memory.
#[derive(Default)]
struct Model {
    now: i64,
    deliveries: BTreeMap<DeliveryId, Plain>,
    settled: Vec<Settlement>,
}

impl Model {
    fn due(&self, endpoint: EndpointId) -> Vec<(i64, DeliveryId)> {
        let mut due: Vec<_> = self
            .deliveries
            .iter()
            .filter(|(_, d)| d.endpoint == endpoint && d.state == State::Open && d.due <= self.now)
            .map(|(id, d)| (d.due, *id))
            .collect();
        due.sort_unstable();
        due
    }

    fn retry(&mut self, id: DeliveryId) {
        let now = self.now;
        let delivery = self.deliveries.get_mut(&id).expect("it was accepted");
        delivery.state = State::Open;
        (delivery.start, delivery.due, delivery.ended) = (delivery.attempts, now, None);
    }

    fn settle(&mut self, settlement: &Settlement) {
        let delivery = self
            .deliveries
            .get_mut(&settlement.delivery)
            .expect("it was accepted");
        if delivery.attempts + 1 != settlement.attempt.number {
            return;
        }
        delivery.attempts += 1;
        let ended = Some(settlement.ended_at.as_millis() - at(0).as_millis());
        match settlement.verdict {
            Verdict::Delivered => (delivery.state, delivery.ended) = (State::Delivered, ended),
            _ if at(delivery.due) != settlement.due_at => delivery.start = delivery.attempts,
            Verdict::RetryAt(when) => delivery.due = when.as_millis() - at(0).as_millis(),
            Verdict::DeadLetter => (delivery.state, delivery.ended) = (State::DeadLetter, ended),
        }
    }
}

async fn run(steps: Vec<Step>) {
    let mut house = House::new().await;
    let endpoints = [
        house.endpoint().await,
        house.endpoint().await,
        house.endpoint().await,
    ];
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Wait(millis) => model.now += i64::from(millis),
            Step::Reopen => house = house.reopened().await,
            Step::Accept(events) => {
                let wanted: Vec<Vec<EndpointId>> = events
                    .iter()
                    .map(|flags| {
                        endpoints
                            .iter()
                            .zip(flags)
                            .filter(|(_, flag)| **flag)
                            .map(|(e, _)| *e)
                    })
                    .map(Iterator::collect)
                    .collect();
                let batch = wanted
                    .iter()
                    .map(|endpoints| Acceptance {
                        due_at: at(model.now),
                        ..acceptance("a", endpoints)
                    })
                    .collect();
                let accepted = house
                    .store
                    .accept(house.team, batch, at(model.now))
                    .await
                    .unwrap();
                for (event, endpoints) in accepted.iter().zip(wanted) {
                    for (index, endpoint) in (0..).zip(endpoints) {
                        let plain = Plain {
                            endpoint,
                            state: State::Open,
                            attempts: 0,
                            start: 0,
                            due: model.now,
                            ended: None,
                        };
                        model.deliveries.insert(event.delivery(index), plain);
                    }
                }
            }
            Step::Attempt {
                endpoint,
                verdict,
                twice,
                retried_meanwhile,
            } => {
                let Some((_, id)) = model.due(endpoints[endpoint]).first().copied() else {
                    continue;
                };
                let taken = model.deliveries[&id].clone();
                let verdict = match verdict {
                    0..10 => Verdict::Delivered,
                    10..15 => Verdict::DeadLetter,
                    more => Verdict::RetryAt(at(model.now + i64::from(more))),
                };
                let settlement = Settlement {
                    due_at: at(taken.due),
                    ended_at: at(model.now),
                    ..settlement(id, taken.attempts + 1, verdict)
                };
                if retried_meanwhile {
                    model.retry(id);
                    house
                        .store
                        .retry_delivery(house.team, id, at(model.now))
                        .await
                        .unwrap();
                }
                for _ in 0..if twice { 2 } else { 1 } {
                    house.settle(settlement.clone()).await;
                }
                model.settle(&settlement);
                model.settled.push(settlement);
            }
            Step::Late(which) if !model.settled.is_empty() => {
                let settlement = model.settled[which.index(model.settled.len())].clone();
                house.settle(settlement).await;
            }
            Step::Retry(which) if !model.deliveries.is_empty() => {
                let index = which.index(model.deliveries.len());
                let id = *model.deliveries.keys().nth(index).expect("within the map");
                model.retry(id);
                let retried = house
                    .store
                    .retry_delivery(house.team, id, at(model.now))
                    .await;
                assert!(matches!(retried.unwrap(), Retried::Fresh(_)));
            }
            Step::RetryDead(endpoint) => {
                let dead: Vec<_> = model
                    .deliveries
                    .iter()
                    .filter(|(_, d)| {
                        d.endpoint == endpoints[endpoint] && d.state == State::DeadLetter
                    })
                    .map(|(id, _)| *id)
                    .collect();
                dead.iter().for_each(|id| model.retry(*id));
                let filter = RetryFilter::default();
                let retried = house
                    .store
                    .retry_dead_letters(house.team, endpoints[endpoint], &filter, at(model.now))
                    .await;
                assert_eq!(retried.unwrap(), dead.len() as u64);
            }
            Step::Late(_) | Step::Retry(_) => {}
            Step::Look => compare(&house, &model, endpoints).await,
            Step::WriteDown(millis) => {
                let before = at(model.now - i64::from(millis));
                house.store.write_down_fresh(before).await.unwrap();
            }
        }
    }
    compare(&house, &model, endpoints).await;
    compare_wholly(&house, &model).await;
}

/// What the engine would see.
async fn compare(house: &House, model: &Model, endpoints: [EndpointId; 3]) {
    for endpoint in endpoints {
        let page = house
            .store
            .due(endpoint, at(model.now), None, 1000, usize::MAX)
            .await
            .unwrap();
        let seen: Vec<_> = page
            .deliveries
            .iter()
            .map(|d| {
                (
                    d.due_at.as_millis() - at(0).as_millis(),
                    d.id,
                    d.attempt_count,
                    d.schedule_start,
                )
            })
            .collect();
        let expected: Vec<_> = model
            .due(endpoint)
            .into_iter()
            .map(|(due, id)| {
                let plain = &model.deliveries[&id];
                (due, id, plain.attempts, plain.start)
            })
            .collect();
        assert_eq!(seen, expected);
        let later = model
            .deliveries
            .values()
            .filter(|d| d.endpoint == endpoint && d.state == State::Open && d.due > model.now)
            .map(|d| at(d.due))
            .min();
        assert_eq!(
            house.store.next_due(endpoint, at(model.now)).await.unwrap(),
            later
        );
    }
}

/// What a customer would see.
async fn compare_wholly(house: &House, model: &Model) {
    for (id, plain) in &model.deliveries {
        let (delivery, attempts) = house
            .store
            .delivery(house.team, *id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (
                delivery.state,
                delivery.attempt_count,
                delivery.completed_at
            ),
            (plain.state, plain.attempts, plain.ended.map(at))
        );
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
    let count = |state| {
        model
            .deliveries
            .values()
            .filter(|d| d.state == state)
            .count() as u64
    };
    let expected = (count(State::Open), count(State::DeadLetter));
    assert_eq!(house.store.backlog().await.unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_a_plain_list_would(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_publishers_share_commits() {
    let house = House::new().await;
    let endpoint = house.endpoint().await;
    let before = house.store.stats();
    let mut publishers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (store, team) = (house.store.clone(), house.team);
        publishers.spawn(async move {
            store
                .accept(team, vec![acceptance("a", &[endpoint])], at(0))
                .await
                .unwrap()
        });
    }
    publishers.join_all().await;
    let after = house.store.stats();
    assert_eq!(after.units - before.units, 200);
    let commits = after.commits - before.commits;
    assert!(commits <= 60, "{commits} commits for 200 publications");
    let settlements = house
        .owed(endpoint, 0)
        .await
        .into_iter()
        .map(|(id, _)| settlement(id, 1, Verdict::Delivered))
        .collect::<Vec<_>>();
    assert_eq!(settlements.len(), 200);
    let before = house.store.stats();
    house
        .store
        .settle(Arc::new(settlements), Arc::default())
        .await
        .unwrap();
    assert_eq!(
        house.store.stats().commits - before.commits,
        1,
        "200 outcomes in one"
    );
}
