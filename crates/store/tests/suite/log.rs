//! The delivery log: every filter against a plain list, page by page.

use std::sync::Arc;

use model::audit::Actor;
use model::delivery::{Delivery, Status};
use model::id::{DeliveryId, EndpointId};
use model::retry::Verdict;
use store::{EndpointChange, LogFilter};

use crate::house::{House, acceptance, at, new_team, settlement};

const TYPES: [&str; 3] = ["link.clicked", "link.created", "viewer.identified"];

/// Five endpoints (active, paused, disabled, deleted, idle), deliveries of all types that stand
/// everywhere, at three times.
async fn furnished() -> (House, Vec<EndpointId>) {
    let house = House::new().await;
    let mut endpoints = Vec::new();
    for _ in 0..5 {
        endpoints.push(house.endpoint().await);
    }
    let busy = &endpoints[..4];
    for (round, millis) in [1000, 2000, 3000].into_iter().enumerate() {
        for (index, name) in TYPES.iter().enumerate() {
            // One event to all, then one to each.
            let to_all = [acceptance(name, busy)];
            let to_each = busy.iter().map(|endpoint| acceptance(name, &[*endpoint]));
            let batch = to_all.into_iter().chain(to_each).collect();
            let accepted = house
                .store
                .accept(house.team, batch, at(millis))
                .await
                .unwrap();
            let ids = accepted
                .iter()
                .flat_map(|event| (0..event.deliveries).map(|index| event.delivery(index)));
            for (number, id) in ids.enumerate() {
                let verdict = match (number + index + round) % 4 {
                    0 => continue,
                    1 => Verdict::RetryAt(at(90_000)),
                    2 => Verdict::Delivered,
                    _ => Verdict::DeadLetter,
                };
                house.settle(settlement(id, 1, verdict)).await;
            }
        }
    }
    let change = async |endpoint, change| {
        house
            .store
            .by(Actor::Operator)
            .update_endpoint(house.team, endpoint, change, at(5000))
            .await
            .unwrap();
    };
    let paused = EndpointChange {
        paused: Some(true),
        ..EndpointChange::default()
    };
    let disabled = EndpointChange {
        disabled: Some(true),
        ..EndpointChange::default()
    };
    change(endpoints[1], paused).await;
    change(endpoints[2], disabled).await;
    house
        .store
        .by(Actor::Operator)
        .delete_endpoint(house.team, endpoints[3], at(5000))
        .await
        .unwrap();
    (house, endpoints)
}

async fn read(house: &House, filter: &LogFilter, per_page: u32) -> Vec<Delivery> {
    let mut all: Vec<Delivery> = Vec::new();
    loop {
        let before = all.last().map(|last| last.id);
        let page = house
            .store
            .delivery_log(house.team, filter, before, per_page)
            .await
            .unwrap();
        assert!(page.len() <= per_page as usize);
        let is_last = page.len() < per_page as usize;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

fn matches(filter: &LogFilter, delivery: &Delivery) -> bool {
    use model::id::Id;
    filter
        .endpoint
        .is_none_or(|endpoint| endpoint == delivery.endpoint)
        && filter.event.is_none_or(|event| event == delivery.event)
        && filter
            .status
            .is_none_or(|status| status == delivery.status())
        && filter
            .event_type
            .as_ref()
            .is_none_or(|name| *name == delivery.event_type)
        && filter
            .since
            .is_none_or(|since| delivery.id.created_at() >= since)
        && filter
            .until
            .is_none_or(|until| delivery.id.created_at() < until)
}

#[tokio::test]
async fn every_filter_finds_what_a_walk_over_everything_finds() {
    let (house, endpoints) = furnished().await;
    let everything = read(&house, &LogFilter::default(), 100).await;
    assert_eq!(everything.len(), 72);
    assert!(everything.is_sorted_by(|newer, older| newer.id > older.id));
    for status in Status::ALL {
        assert!(
            everything
                .iter()
                .any(|delivery| delivery.status() == *status),
            "{status:?}"
        );
    }
    let (mut filters, mut found) = (0, 0);
    let some_event = everything[40].event;
    for endpoint in [None].into_iter().chain(endpoints.into_iter().map(Some)) {
        for status in [None]
            .into_iter()
            .chain(Status::ALL.iter().copied().map(Some))
        {
            for event_type in [None, Some("link.created"), Some("no.such")] {
                for event in [None, Some(some_event)] {
                    for (since, until) in
                        [(None, None), (Some(2000), None), (Some(1000), Some(3000))]
                    {
                        let filter = LogFilter {
                            endpoint,
                            event,
                            status,
                            event_type: event_type.map(Into::into),
                            since: since.map(at),
                            until: until.map(at),
                        };
                        let expected: Vec<_> = everything
                            .iter()
                            .filter(|delivery| matches(&filter, delivery))
                            .cloned()
                            .collect();
                        assert_eq!(read(&house, &filter, 3).await, expected, "{filter:?}");
                        filters += 1;
                        found += usize::from(!expected.is_empty());
                    }
                }
            }
        }
    }
    assert_eq!(filters, 6 * 7 * 3 * 2 * 3);
    assert!(
        found > 120,
        "only {found} of the filters found anything: they prove little"
    );
}

#[tokio::test]
async fn another_teams_log_is_another_log() {
    let (house, endpoints) = furnished().await;
    let stranger = new_team(&house.store, "stranger").await;
    let some = read(&house, &LogFilter::default(), 100).await[0].clone();
    for filter in [
        LogFilter::default(),
        LogFilter {
            endpoint: Some(endpoints[0]),
            ..LogFilter::default()
        },
        LogFilter {
            event: Some(some.event),
            ..LogFilter::default()
        },
        LogFilter {
            status: Some(Status::Delivered),
            ..LogFilter::default()
        },
        LogFilter {
            event_type: Some("link.created".into()),
            ..LogFilter::default()
        },
    ] {
        let page = house
            .store
            .delivery_log(stranger, &filter, None, 10)
            .await
            .unwrap();
        assert_eq!(page, [], "{filter:?}");
    }
    assert!(
        house
            .store
            .event(stranger, some.event)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        house
            .store
            .delivery(stranger, DeliveryId(some.id.0))
            .await
            .unwrap()
            .is_none()
    );
}

/// Pages of many endpoints come out of one read of what is new, or of many ranges where one endpoint gets far more
/// than the others: whichever it is, they hold what was accepted, newest first.
#[tokio::test]
async fn pages_of_many_endpoints_hold_what_was_accepted_whoever_gets_most() {
    let house = House::new().await;
    let mut endpoints = Vec::new();
    for _ in 0..30 {
        endpoints.push(house.endpoint().await);
    }
    let mut known: Vec<(DeliveryId, usize)> = Vec::new();
    // To all in turn, then nearly all to one, then to all again, then to none but that one.
    for (part, often) in [1, 11, 1, usize::MAX].into_iter().enumerate() {
        for batch in 0..2 {
            let to = |n: usize| match (n + batch) % often {
                0 => endpoints[(n + part) % 30],
                _ => endpoints[7],
            };
            let events = (0..90).map(|n| acceptance(TYPES[n % 7 % 3], &[to(n)]));
            let now = at(((2 * part + batch) * 1000) as i64);
            let accepted = house.store.accept(house.team, events.collect(), now);
            let accepted = accepted.await.unwrap();
            let settled = accepted.iter().enumerate().filter_map(|(n, event)| {
                let verdict = match n % 9 {
                    0 => Verdict::RetryAt(at(90_000)),
                    1 => Verdict::DeadLetter,
                    2 if part == 2 => return None,
                    _ => Verdict::Delivered,
                };
                Some(settlement(event.delivery(0), 1, verdict))
            });
            let settled = Arc::new(settled.collect());
            house.store.settle(settled, Arc::default()).await.unwrap();
            known.extend(accepted.iter().map(|event| (event.delivery(0), part)));
        }
    }
    let mut newest: Vec<DeliveryId> = known.iter().map(|(id, _)| *id).collect();
    newest.sort_unstable_by_key(|id| std::cmp::Reverse(id.0));
    let everything = read(&house, &LogFilter::default(), 25).await;
    let ids = |list: &[Delivery]| list.iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(&everything), newest);
    for status in [
        None,
        Some(Status::Delivered),
        Some(Status::DeadLetter),
        Some(Status::Retrying),
        Some(Status::Pending),
    ] {
        for event_type in [None, Some(TYPES[1].to_owned())] {
            for until in [None, Some(at(3500))] {
                let filter = LogFilter {
                    status,
                    event_type: event_type.clone(),
                    until,
                    ..LogFilter::default()
                };
                let mut expected = everything.clone();
                expected.retain(|delivery| matches(&filter, delivery));
                assert!(
                    !expected.is_empty() || (until.is_some() && status == Some(Status::Pending)),
                    "{filter:?}"
                );
                for per_page in [4, 25, 100] {
                    let found = read(&house, &filter, per_page).await;
                    assert_eq!(ids(&found), ids(&expected), "{filter:?} {per_page}");
                }
            }
        }
    }
}
