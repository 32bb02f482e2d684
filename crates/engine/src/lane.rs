//! Hides how one endpoint's deliveries are kept in order, in bounded memory, between the store
//! and the senders.
//!
//! A lane is a cache of the store: losing all of it loses nothing. It holds a bounded window of
//! due deliveries. While it keeps up, new deliveries are handed to it from memory (an *offer*).
//! Once an offer finds the window full, or a retry falls due, the lane *pulls*: it reads what is
//! due from the store, page by page, until a whole pass has missed nothing. Every way in which a
//! delivery becomes due is announced to the lane (offer, wake-up, poke), so a pass during which
//! no announcement was lost is complete.
//!
//! All of it is plain state behind one lock; `sender.rs` and `puller.rs` do what it decides.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use egress::Failure;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::time::Timestamp;
use store::{DueDelivery, DuePage, DuePosition};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::capacity::{Hold, Memory, Places};
use crate::trouble::{InTrouble, Trouble};
use concurrency::Concurrency;
pub(crate) use concurrency::Heard;
use pace::Pace;
pub(crate) use target::Target;

mod concurrency;
mod pace;
mod target;

/// How many deliveries a lane that begins to send again sends one at a time: what was held reaches
/// the receiver in its order, and a receiver that comes back from maintenance is not met by all
/// connections at once. A failure ends it early: order is lost then anyway.
const GENTLE_START: usize = 64;

/// One try of one delivery: what tells two tries of the same delivery apart.
type Try = (DeliveryId, u32);

fn try_of(delivery: &DueDelivery) -> Try {
    (delivery.id, delivery.attempt_count)
}

/// What the owner of a lane has to do after a change of its state.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Next {
    /// How many senders to start.
    pub(crate) senders: usize,
    /// Whether to start pulling.
    pub(crate) pull: bool,
    /// A wake-up to set, and the one it replaces.
    pub(crate) wake: Option<Wake>,
}

/// A wake-up to set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) at: Timestamp,
    pub(crate) instead_of: Option<Timestamp>,
}

/// When a sender may go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At once.
    Now,
    /// After so long: attempts at this endpoint are kept apart.
    After(Duration),
    /// After so long, or once another lane got through: this service itself cannot send.
    InTrouble(Duration),
    /// Not at all: there are others for what there is to do, and it has left.
    Left,
}

/// A delivery to be attempted, and where it goes.
pub(crate) struct Taken {
    pub(crate) delivery: DueDelivery,
    pub(crate) target: Arc<Target>,
    /// Tells its attempt from the others of the lane.
    pub(crate) number: u64,
}

/// How much a lane may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Attempts in flight, which is also the number of senders.
    pub(crate) in_flight: usize,
    /// Attempts in flight, and ended ones that are not yet recorded.
    pub(crate) unrecorded: usize,
    /// What waits in memory.
    pub(crate) window: Window,
    /// The same where that has to do: the endpoint is slow, or memory is short.
    pub(crate) small_window: Window,
}

/// How much may wait in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Due deliveries.
    pub(crate) deliveries: usize,
    /// Bytes of their bodies (one delivery is always kept).
    pub(crate) bytes: usize,
}

impl Bounds {
    /// The bounds of a lane with so many attempts in flight.
    pub(crate) fn with_in_flight(in_flight: usize) -> Self {
        // Recording lags behind sending by two commits (one being written, one gathered), each of which
        // takes several exchanges' time: with fewer places a lane that has a backlog waits for the disk.
        Self {
            in_flight,
            unrecorded: 16 * in_flight,
            window: Window {
                deliveries: 512,
                bytes: 512 << 10,
            },
            small_window: Window {
                deliveries: 32,
                bytes: 32 << 10,
            },
        }
    }
}

/// The engine's room for one endpoint.
pub(crate) struct Lane {
    pub(crate) endpoint: EndpointId,
    pub(crate) team: TeamId,
    /// The team's share of the places for attempts in flight.
    pub(crate) team_places: Arc<Places>,
    pub(crate) target: ArcSwap<Target>,
    bounds: Bounds,
    /// The house's, for what waits in its lanes.
    memory: Memory,
    /// The house's, for lanes that cannot send through no fault of their endpoints.
    trouble: Trouble,
    /// Tells that it has become slow, or is so no longer, or goes elsewhere: what waits has to look again.
    pub(crate) turned: Notify,
    state: Mutex<State>,
}

/// A delivery that waits in memory.
struct Waiting {
    delivery: DueDelivery,
    _hold: Hold,
}

struct State {
    /// Due, in memory, in the order they will be sent.
    ready: VecDeque<Waiting>,
    ready_bytes: usize,
    /// Every try in `ready`, in flight, or waiting to be recorded.
    held: HashSet<Try>,
    /// Senders alive, and those of them that have not taken a delivery yet.
    senders: usize,
    starting: usize,
    /// Some of what is due is only in the store.
    pulling: bool,
    /// A pull task is at work; there is never more than one.
    puller: bool,
    pass: Pass,
    /// When the house will wake this lane.
    wake_at: Option<Timestamp>,
    /// Deliveries that somebody gave a fresh schedule while they were in flight, or may have been on
    /// their way there.
    again: HashSet<DeliveryId>,
    pace: Pace,
    concurrency: Concurrency,
    /// While this service itself cannot send.
    trouble: Option<InTrouble>,
    /// How many more deliveries go one at a time, since the lane has just begun to send again.
    gentle: usize,
    /// Deliveries whose outcome the store refused, and how often in a row.
    refusals: HashMap<DeliveryId, u32>,
    /// Deliveries that are due and cannot be read, as far as that was told: once is enough.
    unreadable: HashSet<DeliveryId>,
}

/// One reading of the store from its oldest due delivery to its newest.
#[derive(Default)]
struct Pass {
    /// The last position read; none at the start of a pass.
    after: Option<DuePosition>,
    /// Offers since the pass began that no page has returned yet.
    late: BTreeMap<DeliveryId, Waiting>,
    /// Bytes of the bodies that ever stood in `late`: a bound on those that do.
    late_bytes: usize,
    /// Whether an announcement was lost, so that another pass is needed.
    missed: bool,
    /// The pass began anew while a page was being read, which therefore is none of its pages.
    rewound: bool,
    /// The memory that the page now being read may take.
    page: Option<Hold>,
    /// Tries recorded since the page now being read was asked for: it may still show them.
    recorded: HashSet<Try>,
}

/// The page a puller should read next.
pub(crate) struct PageWanted {
    pub(crate) after: Option<DuePosition>,
    pub(crate) limit: usize,
    pub(crate) max_bytes: usize,
}

impl Lane {
    pub(crate) fn new(
        endpoint: EndpointId,
        team: TeamId,
        team_places: Arc<Places>,
        target: Target,
        bounds: Bounds,
        memory: Memory,
        trouble: Trouble,
    ) -> Self {
        Self {
            endpoint,
            team,
            team_places,
            target: ArcSwap::from_pointee(target),
            bounds,
            memory,
            trouble,
            turned: Notify::new(),
            state: Mutex::new(State::new(bounds.in_flight)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements; a panic elsewhere must not end deliveries.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a delivery that was just committed and is due.
    pub(crate) fn offer(&self, delivery: DueDelivery) -> Next {
        let mut state = self.lock();
        if !self.target.load().takes_deliveries() {
            return Next::default(); // it waits in the store until the lane is retargeted
        }
        if state.held.contains(&try_of(&delivery)) {
            return Next::default(); // a page brought it before its offer came
        }
        let window = self.window(&state);
        if state.pulling {
            state.pass.offer(self.waiting(delivery), window);
        } else if state.has_room(delivery.body.len(), window) {
            state.push(self.waiting(delivery));
        } else {
            state.pulling = true;
        }
        self.next(&mut state)
    }

    /// Points the lane elsewhere, or has it hold or send again. Under the lane's lock, as every
    /// look at the target that decides something: what is decided by the old target is over when
    /// this returns. What was held may be due now; where it is not, the pull finds that out.
    pub(crate) fn retarget(&self, change: impl FnOnce(&Target) -> Target) -> Next {
        let mut state = self.lock();
        let before = self.target.load_full();
        let after = change(&before);
        if after.takes_deliveries() && !before.takes_deliveries() {
            state.gentle = GENTLE_START;
        }
        let elsewhere = !after.has_receiver_of(&before);
        if elsewhere {
            self.set_pace(&mut state, Pace::Quick);
            state.concurrency.begin_anew();
        }
        if elsewhere || !after.takes_deliveries() {
            // What could not be sent there may be there; and nobody waits in a lane that holds.
            state.trouble = None;
        }
        self.target.store(Arc::new(after));
        self.turned.notify_waiters();
        state.pull();
        self.next(&mut state)
    }

    /// Says that there may be due deliveries in the store that nobody offered.
    pub(crate) fn poke(&self) -> Next {
        let mut state = self.lock();
        state.pull();
        self.next(&mut state)
    }

    /// As [`Lane::poke`], for one delivery that was given a fresh schedule by hand. While it is
    /// in flight a page shows it as held, so it is looked for again once it is recorded. A page that
    /// is on its way may bring it as it was before, and so into flight.
    pub(crate) fn retried(&self, delivery: DeliveryId) -> Next {
        let mut state = self.lock();
        if state.puller || state.held.iter().any(|(held, _)| *held == delivery) {
            state.again.insert(delivery);
        }
        state.pull();
        self.next(&mut state)
    }

    /// The house's timer fired for `at`.
    pub(crate) fn wake(&self, at: Timestamp) -> Next {
        let mut state = self.lock();
        if state.wake_at == Some(at) {
            state.wake_at = None;
        }
        state.pull();
        self.next(&mut state)
    }

    /// A sender asks, before it takes a place that others need, whether it is time for an attempt. `first` says
    /// that it has not taken a delivery before.
    pub(crate) fn turn(&self, first: bool) -> Turn {
        let mut state = self.lock();
        if state.senders > self.in_flight(&state) {
            state.leave(first);
            return Turn::Left;
        }
        if state.ready.is_empty() || !self.target.load().takes_deliveries() {
            return Turn::Now; // there is nothing to wait with
        }
        let now = Instant::now();
        let apart = state.concurrency.wait(now);
        let trouble = state.trouble.as_ref().map(|trouble| trouble.wait(now));
        match trouble.unwrap_or_default().max(apart) {
            Duration::ZERO => Turn::Now,
            wait if trouble.is_some() => Turn::InTrouble(wait),
            wait => Turn::After(wait),
        }
    }

    /// A sender that has capacity asks for work, and gets it. None: there is none for it, and it has left. `first`
    /// says that it has not asked before.
    pub(crate) fn take(&self, first: bool) -> (Option<Taken>, Next) {
        let mut state = self.lock();
        let target = self.target.load_full();
        if first {
            state.starting -= 1;
        }
        if !target.takes_deliveries() {
            state.forget();
        }
        let crowded = state.senders > self.in_flight(&state);
        let waiting = if !crowded && state.unrecorded() < self.bounds.unrecorded {
            state.ready.pop_front()
        } else {
            None
        };
        let taken = match waiting {
            Some(Waiting { delivery, .. }) => {
                state.ready_bytes -= delivery.body.len();
                Some(Taken {
                    delivery,
                    target,
                    number: state.concurrency.begin(Instant::now()),
                })
            }
            None => {
                state.senders -= 1;
                None
            }
        };
        let next = self.next(&mut state);
        (taken, next)
    }

    /// A sender leaves without having asked for work, since the house is closing.
    pub(crate) fn leave(&self, first: bool) {
        self.lock().leave(first);
    }

    /// Whether it is slow, so that it may hold only some of what others need, too.
    pub(crate) fn is_slow(&self) -> bool {
        self.lock().pace.is_slow()
    }

    /// An attempt at `target` ended after so long, recorded or not.
    pub(crate) fn ended(&self, target: &Target, number: u64, heard: Heard, took: Duration) {
        let mut state = self.lock();
        if self.target.load().has_receiver_of(target) {
            let pace = state.pace.after(took);
            self.set_pace(&mut state, pace);
            state.concurrency.after(number, heard, took);
            if let Some(trouble) = state.trouble.take() {
                trouble.end();
                self.turned.notify_waiters();
            }
        }
        if state.gentle > 0 {
            let goes_well = heard == Heard::Answered;
            state.gentle = if goes_well { state.gentle - 1 } else { 0 };
        }
    }

    /// An attempt at `target` was not made, through no fault of its endpoint: nothing was tried, so the delivery
    /// is what it was, and waits here in front of what is due after it.
    pub(crate) fn not_made(
        &self,
        target: &Target,
        number: u64,
        delivery: DueDelivery,
        failure: &Failure,
    ) -> Next {
        let mut state = self.lock();
        let now = self.target.load();
        if now.takes_deliveries() {
            state.put_back(self.waiting(delivery));
        } else {
            state.held.remove(&try_of(&delivery)); // it waits in the store
        }
        if now.takes_deliveries() && now.has_receiver_of(target) {
            if state.senders > 1 && state.concurrency.concerns(number) {
                state.concurrency.halve(); // there may be ports or files for fewer
            }
            let begun = state.concurrency.begun();
            match &mut state.trouble {
                Some(trouble) => trouble.goes_on(number, begun),
                None => {
                    state.trouble = Some(self.trouble.enter(self.endpoint, failure, begun));
                }
            }
        }
        let window = self.window(&state);
        if state.is_over(window) {
            state.shrink(window);
        }
        self.next(&mut state)
    }

    /// A try is recorded; the delivery is due again at `retry_at`, where it is.
    pub(crate) fn recorded(
        &self,
        delivery: DeliveryId,
        attempt_count: u32,
        retry_at: Option<Timestamp>,
    ) -> Next {
        let mut state = self.lock();
        state.held.remove(&(delivery, attempt_count));
        state.refusals.remove(&delivery);
        if state.puller {
            state.pass.recorded.insert((delivery, attempt_count));
        }
        if !state.again.is_empty() && state.again.remove(&delivery) {
            state.pull();
        }
        let mut next = self.next(&mut state);
        if let Some(at) = retry_at {
            next.wake = state.wake_before(at);
        }
        next
    }

    /// The store will not take the outcome of a try, which stays held, so that it is not made again before it is
    /// let go. How often this has come of its delivery, one time after the other.
    pub(crate) fn refused(&self, delivery: DeliveryId) -> u32 {
        let mut state = self.lock();
        let refusals = state.refusals.entry(delivery).or_default();
        *refusals = refusals.saturating_add(1);
        *refusals
    }

    /// A try that was refused may be made again.
    pub(crate) fn let_go(&self, delivery: DeliveryId, attempt_count: u32) -> Next {
        let mut state = self.lock();
        state.held.remove(&(delivery, attempt_count));
        state.again.remove(&delivery);
        state.pull();
        self.next(&mut state)
    }

    /// The page the puller should read; none when nothing is to be pulled (now): it has left.
    pub(crate) fn page_wanted(&self) -> Option<PageWanted> {
        let mut state = self.lock();
        state.pass.page = None;
        state.pass.rewound = false;
        if !self.target.load().takes_deliveries() {
            state.forget();
        }
        let window = self.window(&state);
        if !state.pulling || !state.is_low(window) {
            state.puller = false;
            return None;
        }
        if state.pass.after.is_none() {
            state.pass.restart();
        }
        state.pass.recorded.clear();
        state.pass.page = Some(self.memory.hold(window.bytes));
        Some(PageWanted {
            after: state.pass.after,
            // The first page shows what is held once more; there must be news behind it.
            limit: window.deliveries
                + if state.pass.after.is_none() {
                    state.held.len()
                } else {
                    0
                },
            max_bytes: window.bytes,
        })
    }

    /// Takes in the page that was wanted. Returns whether all that is due has been seen, so that
    /// the next due time is to be looked up.
    pub(crate) fn page_read(&self, page: DuePage) -> (Next, bool) {
        let mut state = self.lock();
        state.pass.page = None;
        if state.pass.rewound {
            return (self.next(&mut state), false);
        }
        for delivery in page.deliveries {
            state.pass.late.remove(&delivery.id);
            let known = try_of(&delivery);
            if !state.held.contains(&known) && !state.pass.recorded.contains(&known) {
                state.push(self.waiting(delivery));
            }
        }
        if page.more_after.is_some() {
            state.pass.after = page.more_after;
        } else {
            state.end_pass();
        }
        let complete = !state.pulling;
        (self.next(&mut state), complete)
    }

    /// Those of these deliveries of which it was not told yet that they cannot be read; from now on it was.
    pub(crate) fn newly_unreadable(&self, unreadable: &[DeliveryId]) -> Vec<DeliveryId> {
        let mut state = self.lock();
        let mut new = unreadable.to_vec();
        new.retain(|delivery| state.unreadable.insert(*delivery));
        new
    }

    /// The first due time in the future, as the store has it after a complete pass.
    pub(crate) fn due_later(&self, at: Timestamp) -> Option<Wake> {
        self.lock().wake_before(at)
    }

    fn next(&self, state: &mut State) -> Next {
        let mut next = Next::default();
        let places = self.bounds.unrecorded.saturating_sub(state.unrecorded());
        let wanted = state.ready.len().min(places).saturating_sub(state.starting);
        next.senders = wanted.min(self.in_flight(state).saturating_sub(state.senders));
        state.senders += next.senders;
        state.starting += next.senders;
        if state.pulling && !state.puller && state.is_low(self.window(state)) {
            state.puller = true;
            next.pull = true;
        }
        next
    }

    /// How many senders there may be.
    fn in_flight(&self, state: &State) -> usize {
        if state.gentle > 0 || state.trouble.is_some() {
            1
        } else {
            state.concurrency.limit()
        }
    }

    fn set_pace(&self, state: &mut State, pace: Pace) {
        let before = std::mem::replace(&mut state.pace, pace);
        if pace.is_slow() && !before.is_slow() {
            state.shrink(self.bounds.small_window);
        }
        if pace.is_slow() != before.is_slow() {
            self.turned.notify_waiters();
        }
    }

    /// How much may wait now.
    fn window(&self, state: &State) -> Window {
        if state.pace.is_slow() || state.trouble.is_some() || self.memory.is_short() {
            self.bounds.small_window
        } else {
            self.bounds.window
        }
    }

    fn waiting(&self, delivery: DueDelivery) -> Waiting {
        Waiting {
            _hold: self.memory.hold_delivery(delivery.body.len()),
            delivery,
        }
    }
}

impl State {
    fn new(in_flight: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            ready_bytes: 0,
            held: HashSet::new(),
            senders: 0,
            starting: 0,
            pulling: false,
            puller: false,
            pass: Pass::default(),
            wake_at: None,
            again: HashSet::new(),
            pace: Pace::default(),
            concurrency: Concurrency::new(in_flight),
            trouble: None,
            gentle: 0,
            refusals: HashMap::new(),
            unreadable: HashSet::new(),
        }
    }

    fn leave(&mut self, first: bool) {
        self.senders -= 1;
        if first {
            self.starting -= 1;
        }
    }

    fn has_room(&self, bytes: usize, window: Window) -> bool {
        self.ready.is_empty()
            || (self.ready.len() < window.deliveries && self.ready_bytes + bytes <= window.bytes)
    }

    /// Whether so little waits that a lane that pulls reads its next page.
    fn is_low(&self, window: Window) -> bool {
        self.ready.len() <= window.deliveries / 2 && self.ready_bytes <= window.bytes / 2
    }

    fn push(&mut self, waiting: Waiting) {
        if self.held.insert(try_of(&waiting.delivery)) {
            self.ready_bytes += waiting.delivery.body.len();
            self.ready.push_back(waiting);
        }
    }

    /// Has one wait again that was taken, before what comes after it.
    fn put_back(&mut self, waiting: Waiting) {
        let position = waiting.delivery.position();
        let before = |one: &Waiting| one.delivery.position() < position;
        let at = self.ready.iter().take_while(|one| before(one)).count();
        self.ready_bytes += waiting.delivery.body.len();
        self.ready.insert(at, waiting);
    }

    /// Whether more waits than may.
    fn is_over(&self, window: Window) -> bool {
        self.ready.len() > 1
            && (self.ready.len() > window.deliveries || self.ready_bytes > window.bytes)
    }

    /// Forgets one that waited and was taken out of `ready`: it is in the store.
    fn let_wait(&mut self, waiting: &Waiting) {
        self.held.remove(&try_of(&waiting.delivery));
        self.ready_bytes -= waiting.delivery.body.len();
    }

    /// Leaves no more in memory than this, the oldest, and has all the rest read again from the start: it comes
    /// before what was not read yet.
    fn shrink(&mut self, window: Window) {
        let mut shrunk = !self.pass.late.is_empty();
        self.pass.late.clear();
        while self.is_over(window)
            && let Some(last) = self.ready.pop_back()
        {
            self.let_wait(&last);
            shrunk = true;
        }
        if shrunk {
            self.pulling = true;
            self.pass.after = None;
            self.pass.rewound = self.puller;
        }
    }

    /// In flight, or ended and not yet recorded.
    fn unrecorded(&self) -> usize {
        self.held.len() - self.ready.len()
    }

    /// Begins to pull, or makes sure that what is being pulled is looked at from the start again.
    fn pull(&mut self) {
        // A page that is on its way belongs to what was being read before.
        self.pass.missed = self.pulling || self.puller;
        self.pulling = true;
    }

    /// Drops what waits in memory: it is in the store, for when the lane sends again.
    fn forget(&mut self) {
        while let Some(next) = self.ready.pop_front() {
            self.let_wait(&next);
        }
        self.pulling = false;
        self.pass.restart();
    }

    fn end_pass(&mut self) {
        let pass = std::mem::take(&mut self.pass);
        self.pulling = pass.missed;
        if !self.pulling {
            for (_, waiting) in pass.late {
                self.push(waiting);
            }
        }
    }

    fn wake_before(&mut self, at: Timestamp) -> Option<Wake> {
        if self.wake_at.is_some_and(|earlier| earlier <= at) {
            return None;
        }
        Some(Wake {
            at,
            instead_of: self.wake_at.replace(at),
        })
    }
}

impl Pass {
    /// Begins anew. What was recorded while a page is being read stays known: that page may still
    /// come in.
    fn restart(&mut self) {
        let recorded = std::mem::take(&mut self.recorded);
        *self = Self {
            recorded,
            ..Self::default()
        };
    }

    fn offer(&mut self, waiting: Waiting, window: Window) {
        let bytes = self.late_bytes + waiting.delivery.body.len();
        if self.late.len() < window.deliveries && bytes <= window.bytes {
            self.late_bytes = bytes;
            self.late.insert(waiting.delivery.id, waiting);
        } else {
            self.missed = true;
        }
    }
}

#[cfg(test)]
mod tests;
