//! Hides how lanes wait while this service itself cannot reach the network: no socket, port or route is left, or
//! none of its name servers answers.
//!
//! Nothing was tried then, so nothing is recorded and no endpoint is blamed. A lane in trouble keeps what it could
//! not send and tries with one delivery at a time, ever less often. The more lanes there are in trouble, the less
//! often each of them tries, so that all together do not add to it; and each that gets through at last has some
//! others try at once, so that they all go on soon after the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egress::Failure;
use model::id::EndpointId;
use model::retry::part_of;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a lane waits before it tries again, at first and later on, up to a quarter less.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How far apart the tries of all lanes in trouble are at least, on the whole, once those are many.
const APART: Duration = Duration::from_millis(100);
/// How many lanes try at once when one got through.
const WOKEN: usize = 4;
/// How long the log is quiet about another trouble after it told of one.
const QUIET: Duration = Duration::from_secs(60);

/// What lanes share about this service's own trouble. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lanes: AtomicUsize,
    /// Wakes lanes one by one, those first that have waited longest.
    got_through: Notify,
    told: Mutex<Told>,
}

/// What the log was told.
#[derive(Default)]
struct Told {
    /// When it was told last that a trouble began, and whether it was told of that one's end.
    began: Option<Instant>,
    ended: bool,
}

impl Trouble {
    /// How many lanes are in trouble.
    pub(crate) fn lanes(&self) -> usize {
        self.0.lanes.load(Ordering::Relaxed)
    }

    /// Waits until a lane that got through has this one try.
    pub(crate) async fn got_through(&self) {
        self.0.got_through.notified().await;
    }

    /// A lane gets into trouble with an attempt that was not made. `begun`: how many it has begun by then.
    pub(crate) fn enter(&self, endpoint: EndpointId, failure: &Failure, begun: u64) -> InTrouble {
        if self.0.lanes.fetch_add(1, Ordering::Relaxed) == 0 {
            self.tell_begin(failure);
        }
        let mut lane = InTrouble {
            trouble: self.clone(),
            endpoint,
            begun,
            tries: 0,
            until: Instant::now(),
        };
        lane.wait_more(begun);
        lane
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // A panic while the lock was held leaves at worst a line more or less.
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_begin(&self, failure: &Failure) {
        let mut told = self.told();
        let now = Instant::now();
        if told
            .began
            .is_some_and(|began| now.duration_since(began) < QUIET)
        {
            return;
        }
        *told = Told {
            began: Some(now),
            ended: false,
        };
        tracing::warn!(
            reason = failure.reason.as_str(),
            cause = failure.operator_detail,
            "deliveries wait, since this service itself cannot reach the network now; no attempt is counted \
             against an endpoint, and they go on by themselves once it can"
        );
    }

    fn tell_end(&self) {
        let mut told = self.told();
        if let (Some(began), false) = (told.began, told.ended) {
            told.ended = true;
            tracing::info!(
                seconds = began.elapsed().as_secs(),
                "this service can reach the network again; the deliveries that waited for it go on"
            );
        }
    }
}

/// A lane in trouble, until it is dropped.
pub(crate) struct InTrouble {
    trouble: Trouble,
    endpoint: EndpointId,
    /// How many attempts the lane had begun when it began to wait: a later one is a try in the trouble.
    begun: u64,
    tries: u32,
    until: Instant,
}

impl InTrouble {
    /// How long the next try has still to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// Another attempt was not made: its number, and how many have begun by now.
    pub(crate) fn goes_on(&mut self, number: u64, begun: u64) {
        if number > self.begun {
            self.wait_more(begun);
        }
    }

    fn wait_more(&mut self, begun: u64) {
        let crowded = APART.saturating_mul(u32::try_from(self.trouble.lanes()).unwrap_or(u32::MAX));
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.tries.min(16))
            .min(LONGEST_WAIT.max(crowded));
        self.tries = self.tries.saturating_add(1);
        let less = part_of(wait / 4, self.endpoint.0.cast_unsigned(), self.tries);
        self.until = Instant::now() + (wait - less);
        self.begun = begun;
    }

    /// The lane got through: so may others.
    pub(crate) fn end(self) {
        let trouble = self.trouble.clone();
        let shared = Arc::clone(&trouble.0);
        drop(self);
        if trouble.lanes() == 0 {
            trouble.tell_end();
        }
        for _ in 0..shared.lanes.load(Ordering::Relaxed).min(WOKEN) {
            shared.got_through.notify_one();
        }
    }
}

impl Drop for InTrouble {
    fn drop(&mut self) {
        // Nothing is said: a lane also goes when its endpoint does, or the service stops.
        self.trouble.0.lanes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use model::attempt::Reason;

    use super::*;

    fn failure() -> Failure {
        Failure {
            reason: Reason::DnsTimeout,
            detail: String::new(),
            operator_detail: String::new(),
            ours: true,
            partial: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_waits_ever_longer_up_to_a_second_and_longer_only_where_many_do() {
        let trouble = Trouble::default();
        let mut lane = trouble.enter(EndpointId(7), &failure(), 5);
        let mut waits = vec![lane.wait(Instant::now())];
        for begun in 6..12 {
            lane.goes_on(begun, begun);
            waits.push(lane.wait(Instant::now()));
        }
        for (wait, most) in waits.iter().zip([100, 200, 400, 800, 1000, 1000, 1000]) {
            let most = Duration::from_millis(most);
            assert!((most * 3 / 4..=most).contains(wait), "{waits:?}");
        }
        // What was in flight beside the try says the same, and is none.
        let before = lane.tries;
        lane.goes_on(9, 12);
        assert_eq!(lane.tries, before);

        let others: Vec<_> = (100..1_099)
            .map(|id| trouble.enter(EndpointId(id), &failure(), 1))
            .collect();
        assert_eq!(trouble.lanes(), 1_000);
        for begun in 12..30 {
            lane.goes_on(begun, begun);
        }
        let wait = lane.wait(Instant::now());
        assert!(wait >= Duration::from_secs(75), "ten tries a second in all");
        drop(others);
        assert_eq!(trouble.lanes(), 1);
        lane.end();
        assert_eq!(trouble.lanes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gets_through_has_four_others_try_and_so_on() {
        let trouble = Trouble::default();
        let mut tries = tokio::task::JoinSet::new();
        let first = trouble.enter(EndpointId(0), &failure(), 1);
        for id in 1..1_000 {
            let lane = trouble.enter(EndpointId(id), &failure(), 1);
            let trouble = trouble.clone();
            tries.spawn(async move {
                trouble.got_through().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                lane.end();
            });
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(trouble.lanes(), 1_000, "nobody tries by this alone");
        let began = Instant::now();
        first.end();
        tries.join_all().await;
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(trouble.lanes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_of_a_trouble_once_a_minute() {
        let trouble = Trouble::default();
        let told = |trouble: &Trouble| {
            trouble
                .told()
                .began
                .is_some_and(|at| at.elapsed().is_zero())
        };
        trouble.enter(EndpointId(1), &failure(), 1).end();
        assert!(told(&trouble) && trouble.told().ended);
        tokio::time::advance(Duration::from_secs(59)).await;
        trouble.enter(EndpointId(1), &failure(), 1).end();
        assert!(!told(&trouble));
        tokio::time::advance(Duration::from_secs(1)).await;
        let lane = trouble.enter(EndpointId(1), &failure(), 1);
        assert!(told(&trouble) && !trouble.told().ended);
        // An endpoint that is deleted, or a stop, says nothing about the network.
        drop(lane);
        assert!(!trouble.told().ended);
        trouble.enter(EndpointId(1), &failure(), 1).end();
        assert!(trouble.told().ended);
    }
}
