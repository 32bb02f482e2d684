//! A lane against a plain model of the store, under thousands of random interleavings: whatever
//! the order of offers, pages, records, pauses and retries by hand, every delivery ends, and no
//! try is sent twice.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use model::attempt::Reason;
use model::endpoint::{Endpoint, Secrets, Subscription};
use model::health::Health;
use model::id::EventId;

use super::pace::{SLOW, SLOW_FOR};
use super::*;

/// A small seeded generator: a failing seed replays.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Clone, Debug)]
struct Row {
    due_at: i64,
    attempt_count: u32,
    /// Which retry schedule it is on: a retry by hand begins another.
    schedule: u32,
    open: bool,
}

/// What an attempt of a quick endpoint takes.
const QUICK: Duration = Duration::from_millis(20);

/// A delivery that was just accepted.
const NEW: Row = Row {
    due_at: 0,
    attempt_count: 0,
    schedule: 0,
    open: true,
};

/// The store as the lane sees it.
#[derive(Default)]
struct Model {
    rows: BTreeMap<i64, Row>,
}

impl Model {
    fn delivery(id: i64, row: &Row, bytes: usize) -> DueDelivery {
        DueDelivery {
            id: DeliveryId(id),
            event: EventId(id),
            event_type: "link.created".into(),
            body: Bytes::from(vec![0; bytes]),
            attempt_count: row.attempt_count,
            schedule_start: row.schedule,
            due_at: Timestamp::from_millis(row.due_at),
            test: false,
        }
    }

    fn page(&self, wanted: &PageWanted, now: i64, bytes: usize) -> DuePage {
        let mut due: Vec<(i64, i64)> = self
            .rows
            .iter()
            .filter(|(_, row)| row.open && row.due_at <= now)
            .map(|(id, row)| (row.due_at, *id))
            .filter(|(due_at, id)| {
                wanted
                    .after
                    .is_none_or(|(at, after)| (*due_at, *id) > (at.as_millis(), after.0))
            })
            .collect();
        due.sort_unstable();
        let fitting = (wanted.max_bytes / bytes.max(1)).max(1).min(wanted.limit);
        let more = due.len() >= fitting;
        due.truncate(fitting);
        let deliveries = due
            .iter()
            .map(|(_, id)| Self::delivery(*id, &self.rows[id], bytes))
            .collect();
        page_of(deliveries, more)
    }

    fn next_due(&self, now: i64) -> Option<i64> {
        self.rows
            .values()
            .filter(|row| row.open && row.due_at > now)
            .map(|row| row.due_at)
            .min()
    }
}

fn page_of(deliveries: Vec<DueDelivery>, more: bool) -> DuePage {
    let last = deliveries.last().map(DueDelivery::position);
    DuePage {
        deliveries,
        more_after: last.filter(|_| more),
        ..DuePage::default()
    }
}

fn endpoint(paused: bool) -> Endpoint {
    Endpoint {
        id: EndpointId(1),
        team: TeamId(1),
        url: "https://receiver.vantagekit.com/".into(),
        description: None,
        subscription: Subscription::All,
        secrets: Secrets::new(model::endpoint::Secret::from_random(&[0; 32])),
        disabled: false,
        paused,
        health: Health::default(),
        updated_at: Timestamp::default(),
        sent_as_since: Timestamp::default(),
        last_delivery_at: None,
    }
}

fn lane(bounds: Bounds) -> Lane {
    lane_with(bounds, Memory::default())
}

fn lane_with(bounds: Bounds, memory: Memory) -> Lane {
    let policy = egress::Policy::default();
    let target = Target::new(&endpoint(false), &policy, None);
    Lane::new(
        EndpointId(1),
        TeamId(1),
        Arc::new(Places::new(1)),
        target,
        bounds,
        memory,
        Trouble::default(),
    )
}

/// The latest attempt at where the lane sends now ended.
fn ended(lane: &Lane, heard: Heard, took: Duration) {
    let target = lane.target.load_full();
    let number = lane.lock().concurrency.begun();
    lane.ended(&target, number, heard, took);
}

/// Many attempts have gone well: as many go on at once as may.
fn widen(lane: &Lane) {
    let mut state = lane.lock();
    while state.concurrency.limit() < lane.bounds.in_flight {
        let number = state.concurrency.begin(Instant::now());
        state.concurrency.after(number, Heard::Answered, QUICK);
    }
}

fn ours() -> Failure {
    Failure {
        reason: Reason::DnsTimeout,
        detail: String::new(),
        operator_detail: String::new(),
        ours: true,
        partial: None,
    }
}

/// The id of the delivery that was taken.
fn id_of(taken: Option<Taken>) -> Option<i64> {
    taken.map(|taken| taken.delivery.id.0)
}

/// As long as an endpoint is slow after an attempt that took long.
fn ten_seconds_pass(lane: &Lane) {
    let pace = &mut lane.lock().pace;
    if let Pace::Slow { since } = pace {
        *since -= SLOW_FOR;
    }
}

/// The world around a lane: what is on its way between the store, the senders and the lane.
struct World {
    random: Random,
    lane: Lane,
    model: Model,
    now: i64,
    next_id: i64,
    /// Whether attempts fail and people retry, or pause and resume: each such thing has the lane
    /// look again, which would make up for what was forgotten before.
    failing: bool,
    /// Whether much is published now: a lane falls behind, and catches up.
    bursting: bool,
    pausing: bool,
    /// Whether this service itself cannot send, now and then.
    in_trouble: bool,
    bytes: usize,
    /// Senders that have not asked yet, and those that have.
    senders: VecDeque<bool>,
    in_flight: Vec<Taken>,
    /// Committed outcomes the lane has not been told of: (id, attempt count, retry at).
    to_tell: VecDeque<(i64, u32, Option<i64>)>,
    /// Committed deliveries that were not offered yet.
    to_offer: VecDeque<DueDelivery>,
    /// The puller: whether it lives, and the page it has read and not handed in, with its time.
    puller: bool,
    page: Option<(DuePage, i64)>,
    wakes: BTreeMap<i64, ()>,
    /// How often each try was sent.
    sent: HashMap<(i64, u32), u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let in_flight = 1 + random.below(8) as usize;
        let window = 1 + random.below(6) as usize;
        let holding = |deliveries| Window {
            deliveries,
            bytes: deliveries * 300,
        };
        let bounds = Bounds {
            in_flight,
            unrecorded: in_flight * 2,
            window: holding(window),
            small_window: holding(window.div_ceil(2)),
        };
        let bytes = if random.one_in(3) { window * 100 } else { 300 };
        Self {
            lane: lane(bounds),
            random,
            model: Model::default(),
            now: 1_000_000,
            next_id: 1,
            failing: seed.is_multiple_of(2),
            bursting: false,
            pausing: seed.is_multiple_of(4),
            in_trouble: false,
            bytes,
            senders: VecDeque::new(),
            in_flight: Vec::new(),
            to_tell: VecDeque::new(),
            to_offer: VecDeque::new(),
            puller: false,
            page: None,
            wakes: BTreeMap::new(),
            sent: HashMap::new(),
        }
    }

    fn follow(&mut self, next: Next) {
        for _ in 0..next.senders {
            self.senders.push_back(true);
        }
        if next.pull {
            assert!(!self.puller, "there is never more than one puller");
            self.puller = true;
        }
        if let Some(wake) = next.wake {
            self.set_wake(&wake);
        }
    }

    fn set_wake(&mut self, wake: &Wake) {
        if let Some(before) = wake.instead_of {
            self.wakes.remove(&before.as_millis());
        }
        self.wakes.insert(wake.at.as_millis(), ());
    }

    fn publish(&mut self) {
        let row = Row {
            due_at: self.now,
            attempt_count: 0,
            schedule: 0,
            open: true,
        };
        self.to_offer
            .push_back(Model::delivery(self.next_id, &row, self.bytes));
        self.model.rows.insert(self.next_id, row);
        self.next_id += 1;
    }

    fn offer(&mut self) {
        if let Some(delivery) = self.to_offer.pop_front() {
            let next = self.lane.offer(delivery);
            self.follow(next);
        }
    }

    fn sender_asks(&mut self) {
        let Some(first) = self.senders.pop_front() else {
            return;
        };
        // The waits of the lane are those of its senders' own time.
        if self.lane.turn(first) == Turn::Left {
            return;
        }
        let (taken, next) = self.lane.take(first);
        self.follow(next);
        if let Some(taken) = taken {
            assert!(taken.target.takes_deliveries());
            self.in_flight.push(taken);
        }
    }

    /// An attempt was not made, through no fault of the endpoint: the store hears nothing of it.
    fn attempt_is_not_made(&mut self, taken: Taken) {
        let Taken {
            delivery,
            target,
            number,
        } = taken;
        let next = self.lane.not_made(&target, number, delivery, &ours());
        self.follow(next);
        self.senders.push_back(false);
    }

    /// An attempt ends and its outcome is committed; its sender asks again.
    fn attempt_ends(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let index = self.random.below(self.in_flight.len() as u64) as usize;
        let taken = self.in_flight.swap_remove(index);
        if self.in_trouble && self.random.one_in(2) {
            return self.attempt_is_not_made(taken);
        }
        let Taken {
            delivery,
            target,
            number,
        } = taken;
        let sent = (delivery.id.0, delivery.attempt_count);
        *self.sent.entry(sent).or_default() += 1;
        let fails = self.failing && self.random.one_in(3);
        let gives_up = self.random.one_in(3);
        let wait = 1 + self.random.below(50) as i64;
        let row = self.model.rows.get_mut(&delivery.id.0).unwrap();
        assert_eq!(
            row.attempt_count, delivery.attempt_count,
            "a try that is not the store's next one"
        );
        row.attempt_count += 1;
        let mut retry_at = None;
        match (fails, row.schedule == delivery.schedule_start) {
            (false, _) => row.open = false,
            (true, true) if gives_up => row.open = false,
            (true, true) => {
                row.due_at = self.now + wait;
                retry_at = Some(row.due_at);
            }
            (true, false) => {} // the fresh schedule stands: it is due now
        }
        if self.random.one_in(4) {
            ten_seconds_pass(&self.lane);
        }
        let took = if self.random.one_in(8) { SLOW } else { QUICK };
        let heard = match fails {
            true => {
                [Heard::TooMuch, Heard::TimedOut, Heard::Nothing][self.random.below(3) as usize]
            }
            false => Heard::Answered,
        };
        self.lane.ended(&target, number, heard, took);
        self.to_tell
            .push_back((delivery.id.0, delivery.attempt_count, retry_at));
        self.senders.push_back(false);
    }

    /// The lane is told of a commit. A delivery's offer follows its own commit at once, so it
    /// never comes later than an exchange and another commit; if it could, a try might be sent
    /// twice, which at-least-once permits.
    fn told(&mut self) {
        while self
            .to_tell
            .front()
            .is_some_and(|(id, ..)| self.to_offer.iter().any(|offer| offer.id.0 == *id))
        {
            self.offer();
        }
        if let Some((id, attempt_count, retry_at)) = self.to_tell.pop_front() {
            let next = self.lane.recorded(
                DeliveryId(id),
                attempt_count,
                retry_at.map(Timestamp::from_millis),
            );
            self.follow(next);
        }
    }

    /// The puller's two halves, with anything in between: read a page, hand it in.
    fn puller_steps(&mut self) {
        if !self.puller {
            return;
        }
        match self.page.take() {
            None => match self.lane.page_wanted() {
                None => self.puller = false,
                Some(wanted) => {
                    self.page = Some((self.model.page(&wanted, self.now, self.bytes), self.now));
                }
            },
            Some((page, read_at)) => {
                let (next, complete) = self.lane.page_read(page);
                self.follow(next);
                if complete
                    && let Some(at) = self.model.next_due(read_at)
                    && let Some(wake) = self.lane.due_later(Timestamp::from_millis(at))
                {
                    self.set_wake(&wake);
                }
            }
        }
    }

    fn timer_fires(&mut self) {
        if let Some((&at, ())) = self.wakes.first_key_value()
            && at <= self.now
        {
            self.wakes.remove(&at);
            let next = self.lane.wake(Timestamp::from_millis(at));
            self.follow(next);
        }
    }

    /// Somebody gives a finished delivery a fresh schedule.
    fn retry_by_hand(&mut self) {
        let id = match self.in_flight.first() {
            Some(taken) if self.random.one_in(2) => taken.delivery.id.0,
            _ if self.next_id == 1 => return,
            _ => 1 + self.random.below(self.next_id as u64 - 1) as i64,
        };
        let row = self.model.rows.get_mut(&id).unwrap();
        row.open = true;
        row.due_at = self.now;
        row.schedule += 1;
        let next = self.lane.retried(DeliveryId(id));
        self.follow(next);
    }

    fn pause_or_resume(&mut self) {
        let policy = egress::Policy::default();
        let paused = !self.lane.target.load().paused;
        let next = self
            .lane
            .retarget(|before| Target::new(&endpoint(paused), &policy, Some(before)));
        self.follow(next);
    }

    fn step(&mut self, busy: bool) {
        if self.random.one_in(40) {
            self.bursting = !self.bursting;
        }
        if self.random.one_in(100) {
            self.in_trouble = !self.in_trouble && self.pausing;
        }
        match self.random.below(100) {
            0..20 if busy && self.bursting => self.publish(),
            20..25 if busy => self.publish(),
            25..40 => self.offer(),
            40..55 => self.sender_asks(),
            55..70 => self.attempt_ends(),
            70..80 => self.told(),
            80..90 => self.puller_steps(),
            90..93 => self.timer_fires(),
            93..98 => self.now += 1,
            98 if busy && self.failing && self.random.one_in(4) => self.retry_by_hand(),
            99 if busy && self.pausing && self.random.one_in(8) => self.pause_or_resume(),
            _ => {}
        }
    }

    fn open(&self) -> usize {
        self.model.rows.values().filter(|row| row.open).count()
    }
}

#[test]
fn every_delivery_ends_and_no_try_is_sent_twice_whatever_the_interleaving() {
    for seed in 1..=3000 {
        let mut world = World::new(seed);
        for _ in 0..50 + world.random.below(300) {
            world.step(true);
        }
        if world.lane.target.load().paused {
            world.pause_or_resume();
        }
        let mut rounds = 0;
        while world.open() > 0 || !world.to_tell.is_empty() {
            for _ in 0..100 {
                world.step(false);
            }
            rounds += 1;
            assert!(
                rounds < 2_000,
                "seed {seed}: {} deliveries are forgotten",
                world.open()
            );
        }
        let twice: Vec<_> = world.sent.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "seed {seed}: sent twice: {twice:?}");
        let tries: HashSet<_> = world.sent.keys().collect();
        assert!(
            tries.len() as i64 >= world.next_id - 1,
            "seed {seed}: each was sent at least once"
        );
        while world.puller {
            world.puller_steps();
        }
        assert_eq!(world.lane.memory.held(), 0, "seed {seed}: nothing waits");
        assert_eq!(
            world.lane.trouble.lanes(),
            0,
            "seed {seed}: no trouble is left"
        );
    }
}

#[test]
fn a_flood_of_offers_costs_a_bounded_window() {
    let lane = lane(Bounds::with_in_flight(4));
    widen(&lane);
    for id in 0..100_000 {
        let _ = lane.offer(Model::delivery(id, &NEW, 300));
    }
    let state = lane.lock();
    assert!(state.ready.len() <= 512 && state.pass.late.len() <= 512);
    assert!(state.held.len() <= 512);
    assert_eq!(state.senders, 4, "and no more senders than places");
}

#[test]
fn a_lane_has_one_wake_up_the_earliest() {
    let lane = lane(Bounds::with_in_flight(1));
    let at = Timestamp::from_millis;
    assert_eq!(
        lane.due_later(at(50)),
        Some(Wake {
            at: at(50),
            instead_of: None
        })
    );
    assert_eq!(lane.due_later(at(60)), None);
    assert_eq!(
        lane.due_later(at(40)),
        Some(Wake {
            at: at(40),
            instead_of: Some(at(50))
        })
    );
    let _ = lane.wake(at(40));
    assert_eq!(
        lane.due_later(at(60)),
        Some(Wake {
            at: at(60),
            instead_of: None
        })
    );
}

#[test]
fn a_pass_that_missed_an_offer_is_followed_by_another() {
    let bounds = Bounds {
        window: Window {
            deliveries: 1,
            bytes: 1000,
        },
        ..Bounds::with_in_flight(1)
    };
    let delivery = |id| Model::delivery(id, &NEW, 300);
    // How many offers come while the only page is on its way, and whether that page was enough.
    for (offers, complete) in [(0, true), (1, true), (2, false), (9, false)] {
        let lane = lane(bounds);
        assert_eq!(lane.offer(delivery(1)).senders, 1);
        assert!(
            !lane.offer(delivery(2)).pull,
            "the window is full: it will pull, when it is empty"
        );
        assert!(lane.take(true).1.pull);
        assert!(lane.page_wanted().is_some());
        for id in 0..offers {
            let _ = lane.offer(delivery(3 + id));
        }
        let page = page_of(vec![delivery(1), delivery(2)], false);
        assert_eq!(lane.page_read(page).1, complete, "{offers} offers");
    }
}

#[test]
fn large_bodies_are_bounded_by_their_bytes_also_beside_a_pass() {
    let lane = lane(Bounds::with_in_flight(1));
    for id in 0..400 {
        let _ = lane.offer(Model::delivery(id, &NEW, 256 * 1024));
    }
    let state = lane.lock();
    assert!(state.pulling);
    let late = state.pass.late.values();
    let late: usize = late.map(|late| late.delivery.body.len()).sum();
    assert!(state.ready_bytes <= 512 * 1024 && late <= 512 * 1024);
}

#[test]
fn what_was_forgotten_in_a_pause_is_read_again_whatever_page_was_on_its_way() {
    let lane = lane(Bounds::with_in_flight(1));
    let pause = |paused: bool| {
        let policy = egress::Policy::default();
        lane.retarget(|before| Target::new(&endpoint(paused), &policy, Some(before)))
    };
    assert!(lane.poke().pull);
    let first = lane.page_wanted().unwrap();
    assert_eq!(first.after, None);
    let page = |ids: std::ops::Range<i64>, more| {
        page_of(ids.map(|id| Model::delivery(id, &NEW, 300)).collect(), more)
    };
    assert_eq!(lane.page_read(page(0..512, true)).0.senders, 1);
    // The window is full; a sender looks while the endpoint is paused, and it is resumed at once.
    let _ = pause(true);
    assert!(lane.take(true).0.is_none());
    let _ = pause(false);
    let again = lane.page_wanted().unwrap();
    assert_eq!(again.after, None, "the pass begins anew");
    // Once more, with a page on its way: it must not be taken for the first of the new pass.
    assert_eq!(lane.page_read(page(0..10, true)).0.senders, 1);
    assert!(lane.page_wanted().unwrap().after.is_some());
    let _ = pause(true);
    assert!(lane.take(true).0.is_none());
    let _ = pause(false);
    assert!(
        !lane.page_read(page(600..610, false)).1,
        "another pass is needed"
    );
    assert_eq!(lane.page_wanted().unwrap().after, None);
}

#[test]
fn a_retry_by_hand_outlives_a_page_that_was_read_before_it() {
    let lane = lane(Bounds::with_in_flight(1));
    assert!(lane.poke().pull);
    let row = Row {
        attempt_count: 5,
        ..NEW
    };
    let as_it_was = || page_of(vec![Model::delivery(1, &row, 8)], false);
    lane.page_wanted().expect("it was poked");
    let _ = lane.retried(DeliveryId(1));
    let (next, complete) = lane.page_read(as_it_was());
    assert!(next.senders == 1 && !complete, "there was news meanwhile");
    let (taken, _) = lane.take(true);
    assert_eq!(taken.map(|taken| taken.delivery.attempt_count), Some(5));
    // In flight: the next pass can only show it as it is known.
    lane.page_wanted().expect("another pass");
    assert!(lane.page_read(as_it_was()).1);
    assert!(lane.page_wanted().is_none());
    // The last attempt of its old schedule failed; the fresh one is still to come.
    assert!(lane.recorded(DeliveryId(1), 5, None).pull);
}

#[test]
fn a_lane_that_sends_again_begins_with_one_at_a_time_until_it_goes_well_or_fails() {
    for failing in [false, true] {
        let lane = lane(Bounds::with_in_flight(8));
        widen(&lane);
        let policy = egress::Policy::default();
        for paused in [true, false] {
            let _ = lane.retarget(|before| Target::new(&endpoint(paused), &policy, Some(before)));
        }
        assert!(lane.page_wanted().is_some());
        let deliveries = (0..200).map(|id| Model::delivery(id, &NEW, 300)).collect();
        let page = page_of(deliveries, false);
        assert_eq!(lane.page_read(page).0.senders, 1);
        let mut first = true;
        for sent in 1..=GENTLE_START {
            let (delivery, next) = lane.take(first);
            first = false;
            let delivery = id_of(delivery).unwrap();
            assert_eq!(next.senders, 0, "one at a time: {sent}");
            let heard = if failing {
                Heard::Nothing
            } else {
                Heard::Answered
            };
            ended(&lane, heard, QUICK);
            let next = lane.recorded(DeliveryId(delivery), 0, None);
            if failing || sent == GENTLE_START {
                assert_eq!(next.senders, 7, "all at once: {sent}");
                break;
            }
            assert_eq!(next.senders, 0, "one at a time: {sent}");
        }
    }
}

#[test]
fn a_page_of_which_nothing_can_be_read_is_stepped_over_and_told_once() {
    let lane = lane(Bounds::with_in_flight(1));
    assert!(lane.poke().pull);
    for _ in 0..2 {
        assert_eq!(lane.page_wanted().unwrap().after, None);
        let end = (Timestamp::from_millis(7), DeliveryId(2));
        let page = DuePage {
            unreadable: vec![DeliveryId(1), DeliveryId(2)],
            more_after: Some(end),
            ..DuePage::default()
        };
        let (next, complete) = lane.page_read(page);
        assert!(next.senders == 0 && !complete);
        assert_eq!(lane.page_wanted().unwrap().after, Some(end), "it goes on");
        let readable = page_of(vec![Model::delivery(3, &NEW, 8)], false);
        assert!(lane.page_read(readable).1);
        assert!(lane.page_wanted().is_none() && lane.poke().pull);
    }
    let told = |ids: [i64; 2]| lane.newly_unreadable(&ids.map(DeliveryId));
    assert_eq!(told([1, 2]), [1, 2].map(DeliveryId));
    assert_eq!(told([2, 3]), [DeliveryId(3)]);
}

#[test]
fn an_endpoint_begins_with_one_at_a_time_and_again_at_another_url() {
    let lane = lane(Bounds::with_in_flight(8));
    let mut senders = 0;
    for id in 0..300 {
        senders += lane.offer(Model::delivery(id, &NEW, 300)).senders;
    }
    assert_eq!(senders, 1);
    let (taken, next) = lane.take(true);
    assert_eq!(next.senders, 0);
    let Taken { target, number, .. } = taken.unwrap();
    lane.ended(&target, number, Heard::Answered, QUICK);
    assert_eq!(lane.take(false).1.senders, 1);
    widen(&lane);
    assert_eq!(lane.take(true).1.senders, 6);
    assert!((0..6).all(|_| lane.take(true).0.is_some()));

    let elsewhere = Endpoint {
        url: "https://other.vantagekit.com/".into(),
        ..endpoint(false)
    };
    let policy = egress::Policy::default();
    let _ = lane.retarget(|before| Target::new(&elsewhere, &policy, Some(before)));
    // What comes of attempts at the receiver before says nothing of this one.
    lane.ended(&target, 8, Heard::Answered, SLOW);
    assert!(!lane.is_slow());
    let stayed = (0..8).filter(|_| lane.turn(false) == Turn::Now);
    assert_eq!(stayed.count(), 1, "the others leave");
    assert!(lane.take(false).0.is_some());
}

#[tokio::test(start_paused = true)]
async fn attempts_at_an_endpoint_that_says_it_is_too_much_are_kept_apart() {
    let lane = lane(Bounds::with_in_flight(8));
    for id in 0..3 {
        let _ = lane.offer(Model::delivery(id, &NEW, 300));
    }
    assert_eq!(lane.turn(true), Turn::Now);
    assert_eq!(id_of(lane.take(true).0), Some(0));
    ended(&lane, Heard::TooMuch, QUICK);
    assert_eq!(lane.turn(false), Turn::After(2 * QUICK));
    tokio::time::advance(Duration::from_millis(4)).await;
    assert_eq!(lane.turn(false), Turn::After(Duration::from_millis(36)));
    // What waits for its turn is as good as held: a pause takes hold at once.
    let policy = egress::Policy::default();
    let _ = lane.retarget(|before| Target::new(&endpoint(true), &policy, Some(before)));
    assert_eq!(lane.turn(false), Turn::Now);
    assert!(lane.take(false).0.is_none());
    assert_eq!(lane.memory.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_sent_waits_in_its_order_and_is_tried_one_at_a_time() {
    let lane = lane(Bounds::with_in_flight(4));
    widen(&lane);
    for id in 0..10 {
        let _ = lane.offer(Model::delivery(id, &NEW, 300));
    }
    let mut taken: Vec<_> = (0..4).map(|_| lane.take(true).0.unwrap()).collect();
    // They fail in another order than they began in.
    taken.swap(0, 2);
    for taken in taken {
        let next = lane.not_made(&taken.target, taken.number, taken.delivery, &ours());
        assert_eq!(next, Next::default());
    }
    assert_eq!(lane.trouble.lanes(), 1);
    let left = (0..4).filter(|_| lane.turn(false) == Turn::Left).count();
    assert_eq!(left, 3);
    let Turn::InTrouble(wait) = lane.turn(false) else {
        panic!("one waits");
    };
    assert!((75..=100).contains(&wait.as_millis()), "{wait:?}");
    let _ = lane.offer(Model::delivery(10, &NEW, 300));
    tokio::time::advance(wait).await;
    assert_eq!(lane.turn(false), Turn::Now);
    let first = lane.take(false).0.unwrap();
    assert_eq!((first.delivery.id.0, first.delivery.attempt_count), (0, 0));
    lane.ended(&first.target, first.number, Heard::Nothing, QUICK);
    assert_eq!(lane.trouble.lanes(), 0, "any result ends it");
    assert_eq!(
        lane.lock().concurrency.limit(),
        2,
        "half of what was too many"
    );
    let (second, next) = lane.take(false);
    assert_eq!((id_of(second), next.senders), (Some(1), 1));
    let rest: Vec<_> = (2..=10).map(|_| id_of(lane.take(false).0)).collect();
    assert_eq!(rest, (2..=10).map(Some).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_trouble_costs_a_small_window_and_is_over_where_the_lane_holds_or_goes_elsewhere() {
    let policy = egress::Policy::default();
    let elsewhere = Endpoint {
        url: "https://other.vantagekit.com/".into(),
        ..endpoint(false)
    };
    for after in [endpoint(true), elsewhere] {
        let lane = lane(Bounds::with_in_flight(64));
        widen(&lane);
        for id in 0..600 {
            let _ = lane.offer(Model::delivery(id, &NEW, 300));
        }
        let taken: Vec<_> = (0..64).map(|_| lane.take(true).0.unwrap()).collect();
        for taken in taken {
            let _ = lane.not_made(&taken.target, taken.number, taken.delivery, &ours());
        }
        let waiting: Vec<i64> = {
            let state = lane.lock();
            state.ready.iter().map(|one| one.delivery.id.0).collect()
        };
        assert_eq!(waiting, (0..32).collect::<Vec<_>>(), "the oldest");
        assert!(lane.memory.held() < 64 << 10);
        assert_eq!(lane.lock().unrecorded(), 0, "no place is held");
        assert_eq!(lane.trouble.lanes(), 1);
        let _ = lane.retarget(|before| Target::new(&after, &policy, Some(before)));
        assert_eq!(lane.trouble.lanes(), 0);
    }
}

#[test]
fn an_endpoint_is_slow_until_an_attempt_is_quick_long_enough_after_one_that_was_not() {
    let lane = lane(Bounds::with_in_flight(1));
    for (after_a_while, took, slow) in [
        (false, SLOW - Duration::from_millis(1), false),
        (false, SLOW, true),
        (false, QUICK, true),
        (true, SLOW, true),
        (false, QUICK, true),
        (true, QUICK, false),
        (false, QUICK, false),
    ] {
        if after_a_while {
            ten_seconds_pass(&lane);
            assert!(lane.is_slow(), "not by time alone");
        }
        ended(&lane, Heard::Answered, took);
        assert_eq!(lane.is_slow(), slow, "{took:?}");
    }
}

#[test]
fn a_slow_endpoint_keeps_little_in_memory_and_the_rest_is_read_again() {
    let lane = lane(Bounds::with_in_flight(1));
    for id in 0..600 {
        let _ = lane.offer(Model::delivery(id, &NEW, 300));
    }
    let (taken, _) = lane.take(true);
    assert_eq!(id_of(taken), Some(0));
    assert_eq!(lane.lock().ready.len(), 511);
    ended(&lane, Heard::TimedOut, SLOW);
    assert_eq!(lane.lock().ready.len(), 32);
    assert!(lane.memory.held() < 64 << 10, "{}", lane.memory.held());
    // What stays is the oldest of it; the rest is read from the store once that is low.
    let mut pulls = false;
    for id in 1..=16 {
        let (taken, next) = lane.take(false);
        assert_eq!(id_of(taken), Some(id));
        pulls |= next.pull | lane.recorded(DeliveryId(id), 0, None).pull;
    }
    assert!(pulls);
    let wanted = lane.page_wanted().expect("the rest is in the store");
    assert_eq!((wanted.after, wanted.max_bytes), (None, 32 << 10));
    assert!(wanted.limit < 64, "{}", wanted.limit);
}

#[test]
fn what_a_slow_endpoint_lets_go_in_the_middle_of_a_pass_comes_before_what_was_not_read_yet() {
    let page = |ids: std::ops::Range<i64>| {
        page_of(ids.map(|id| Model::delivery(id, &NEW, 300)).collect(), true)
    };
    let order = |lane: &Lane| -> Vec<i64> {
        let state = lane.lock();
        let ids = state.ready.iter().map(|waiting| waiting.delivery.id.0);
        ids.collect()
    };
    for on_its_way in [false, true] {
        let lane = lane(Bounds::with_in_flight(1));
        assert!(lane.poke().pull);
        assert!(lane.page_wanted().is_some());
        assert_eq!(lane.page_read(page(0..200)).0.senders, 1);
        assert!(lane.take(true).0.is_some());
        if on_its_way {
            assert!(lane.page_wanted().unwrap().after.is_some());
        }
        ended(&lane, Heard::TimedOut, SLOW);
        if on_its_way {
            assert!(!lane.page_read(page(200..400)).1);
        }
        assert_eq!(order(&lane), (1..33).collect::<Vec<_>>(), "{on_its_way}");
        for id in 1..17 {
            assert!(lane.take(false).0.is_some());
            let _ = lane.recorded(DeliveryId(id), 0, None);
        }
        let wanted = lane.page_wanted().expect("it is low");
        assert_eq!(wanted.after, None, "from the start: {on_its_way}");
        let _ = lane.page_read(page(17..60));
        assert_eq!(order(&lane), (17..60).collect::<Vec<_>>(), "{on_its_way}");
    }
}

#[test]
fn a_backlog_of_large_bodies_costs_a_bounded_window_too() {
    for (took, most) in [(QUICK, 1 << 20), (SLOW, 1 << 19)] {
        let lane = lane(Bounds::with_in_flight(1));
        ended(&lane, Heard::TimedOut, took);
        assert!(lane.poke().pull);
        let mut id = 0;
        while let Some(wanted) = lane.page_wanted() {
            let fitting = (wanted.max_bytes / (240 << 10)).max(1);
            let ids = id..id + i64::try_from(fitting).unwrap();
            id = ids.end;
            let large = ids.map(|id| Model::delivery(id, &NEW, 240 << 10));
            let _ = lane.page_read(page_of(large.collect(), true));
        }
        assert!(lane.memory.held() < most, "{}", lane.memory.held());
    }
}

#[test]
fn lanes_make_do_with_little_while_much_waits_in_the_house() {
    let memory = Memory::default();
    let bounds = Bounds::with_in_flight(1);
    let lanes: Vec<_> = (0..1000)
        .map(|_| lane_with(bounds, memory.clone()))
        .collect();
    // After a long outage every endpoint has a backlog: all of them read, and then all pages come in.
    let wanted: Vec<_> = lanes
        .iter()
        .map(|lane| {
            let _ = lane.poke();
            lane.page_wanted().expect("it was poked")
        })
        .collect();
    let asked: usize = wanted.iter().map(|wanted| wanted.max_bytes).sum();
    let most = (64 << 20) + 1000 * (32 << 10);
    assert!(asked <= most, "{asked}");
    for (lane, wanted) in lanes.iter().zip(&wanted) {
        let fitting = (wanted.max_bytes / 1024).min(wanted.limit);
        let ids = 0..i64::try_from(fitting).unwrap();
        let page = page_of(
            ids.map(|id| Model::delivery(id, &NEW, 1024)).collect(),
            true,
        );
        let _ = lane.page_read(page);
        for id in 10_000..10_600 {
            let _ = lane.offer(Model::delivery(id, &NEW, 1024));
        }
    }
    assert!(memory.is_short());
    assert!(memory.held() < 2 * most, "{}", memory.held());
    drop(lanes);
    assert_eq!(memory.held(), 0);
}
