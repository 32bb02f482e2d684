//! A file that is damaged while it is in use: what stands there is missing, and nothing else.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use model::id::DeliveryId;
use store::{Acceptance, DuePage, StoreError};

use crate::house::{House, acceptance, at, open};

const PAGE: usize = 4096;
/// Enough that a body has pages of its own.
const LONG: usize = 5 * PAGE;

/// An event's body is this byte, many times.
fn letter(index: usize) -> u8 {
    b'a' + u8::try_from(index).unwrap()
}

/// A store with events that are due, of which these cannot be read; all their deliveries.
async fn damaged(events: usize, damaged: &[usize]) -> (House, Vec<DeliveryId>) {
    let mut house = House::new().await;
    let endpoint = house.endpoint().await;
    let mut deliveries = Vec::new();
    for index in 0..events {
        let mut one = Acceptance {
            due_at: at(i64::try_from(index).unwrap()),
            ..acceptance("a", &[endpoint])
        };
        one.event.body = Bytes::from(vec![letter(index); LONG]);
        let accepted = house.store.accept(house.team, vec![one], at(0)).await;
        deliveries.push(accepted.unwrap()[0].delivery(0));
    }
    house.store.close().await;
    let path = house.folder.database();
    // Open before it is damaged: it would be refused.
    house.store = open(path.clone()).await;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for index in damaged {
        let page = bytes
            .chunks(PAGE)
            .position(|page| page[4..].iter().all(|byte| *byte == letter(*index)));
        let at = page.expect("a body has pages of its own") * PAGE;
        file.write_all_at(&[0xa5; PAGE], at as u64).unwrap();
    }
    (house, deliveries)
}

#[tokio::test]
async fn what_is_due_is_read_past_what_is_damaged() {
    const EVENTS: usize = 6;
    let cases: [&[usize]; 6] = [&[], &[0], &[5], &[2, 3], &[0, 2, 4], &[0, 1, 2, 3, 4, 5]];
    for broken in cases {
        let (house, deliveries) = damaged(EVENTS, broken).await;
        let endpoint = house.store.lanes_with_work().await.unwrap()[0].0;
        let (unreadable, readable): (Vec<_>, Vec<_>) =
            (0..EVENTS).partition(|index| broken.contains(index));
        // Page by page, by number and by bytes.
        for (limit, max_bytes) in [
            (100, usize::MAX),
            (1, usize::MAX),
            (2, usize::MAX),
            (100, LONG),
        ] {
            let (mut read, mut missing, mut after) = (Vec::new(), Vec::new(), None);
            loop {
                let page = house
                    .store
                    .due(endpoint, at(100), after, limit, max_bytes)
                    .await;
                let DuePage {
                    deliveries,
                    unreadable,
                    more_after,
                } = page.unwrap();
                assert!(deliveries.len() + unreadable.len() <= limit);
                for one in deliveries {
                    let index = one.due_at.since(at(0)).as_millis() as usize;
                    assert!(one.body.iter().all(|byte| *byte == letter(index)));
                    read.push(one.id);
                }
                missing.extend(unreadable);
                after = more_after;
                if after.is_none() {
                    break;
                }
            }
            let ids = |indices: &[usize]| -> Vec<_> {
                indices.iter().map(|index| deliveries[*index]).collect()
            };
            assert_eq!(read, ids(&readable), "{broken:?} {limit} {max_bytes}");
            assert_eq!(missing, ids(&unreadable), "{broken:?} {limit} {max_bytes}");
        }
        // It was the damage.
        let event = house.store.event(house.team, event_of(deliveries[0])).await;
        let first = broken.contains(&0);
        assert_eq!(event.is_err(), first);
        if first {
            assert_eq!(event.err(), Some(StoreError::Damaged));
        }
    }
}

/// An event's first delivery has the id that follows its own.
fn event_of(first: DeliveryId) -> model::id::EventId {
    model::id::EventId(first.0 - 1)
}
