//! Hides how long a connection may be silent: before its first request, within the head of a request, and between
//! two requests; and which connection goes first where all places are taken.
//!
//! hyper has one timeout for all three. A proxy keeps a connection for minutes and sends its next request when it
//! likes, so the time between requests has to be longer than the proxy's own; the time for a head must not be.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

/// How long a client may take to send the head of a request, from its first byte; also how long a new connection may
/// send nothing. How long a body may take is the router's to say.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that was in use within this time is not closed to make room: its client may be about to use it.
const JUST_USED: Duration = Duration::from_secs(1);
/// The same for a connection that has sent nothing yet: its first request may be on the way.
const JUST_OPENED: Duration = Duration::from_secs(5);
/// How often it is looked again whether somebody waits for a place, while none is free.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come yet.
    New,
    /// The head of a request has begun.
    Head,
    /// A request is being answered.
    Busy,
    /// The last request is answered, and no other has begun.
    Idle,
    /// The last answer is written; what the client still sends is dropped.
    Closing,
}

/// What is known of one connection.
pub(super) struct Line {
    state: Mutex<State>,
    /// Somebody else needs its place.
    give_up: Notify,
    /// Whether a part of a request was left unread.
    unread: AtomicBool,
}

#[derive(Clone, Copy)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether it was asked to give up its place in this phase.
    asked: bool,
}

impl Line {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::New,
                since: Instant::now(),
                asked: false,
            }),
            give_up: Notify::new(),
            unread: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.state() = State {
            phase,
            since: Instant::now(),
            asked: false,
        };
    }

    /// Bytes came from the client.
    pub(super) fn bytes_came(&self) {
        let phase = self.state().phase;
        if matches!(phase, Phase::New | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// A head is complete: its request is being answered.
    pub(super) fn request_begun(&self) {
        self.enter(Phase::Busy);
    }

    /// The whole answer is given out.
    pub(super) fn answered(&self) {
        self.enter(Phase::Idle);
    }

    /// A part of the request will not be read: see [`Line::begin_closing`].
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// The last answer is written. Returns true if the client may still be sending, so that closing at once could
    /// cost it the answer: where a body was left unread, and where a head was refused within.
    pub(super) fn begin_closing(&self) -> bool {
        let sends = self.unread.load(Ordering::Relaxed) || self.state().phase == Phase::Head;
        if sends {
            self.enter(Phase::Closing);
        }
        sends
    }

    /// Returns why the connection has to be closed, once it has. Must be polled after the connection itself, in
    /// the same task: so it sees each change of the phase.
    pub(super) async fn over(&self, idle_limit: Duration) -> &'static str {
        let mut asked = pin!(self.give_up.notified());
        let mut alarm = pin!(sleep_until(Instant::now() + HEAD_TIMEOUT));
        poll_fn(|cx| {
            while asked.as_mut().poll(cx).is_ready() {
                if self.state().asked {
                    return Poll::Ready("its place was needed, and it was idle for the longest");
                }
                // It is in use again. The next time counts.
                asked.set(self.give_up.notified());
            }
            let State { phase, since, .. } = *self.state();
            let (limit, why) = match phase {
                Phase::New => (HEAD_TIMEOUT, "nothing was sent on it"),
                Phase::Head => (HEAD_TIMEOUT, "the head of a request took too long"),
                Phase::Idle => (idle_limit, "it was idle for too long"),
                Phase::Busy | Phase::Closing => return Poll::Pending,
            };
            let due = since + limit;
            // An alarm that is too early is put right when it goes off, so that a request costs no timer.
            while alarm.deadline() > due || alarm.as_mut().poll(cx).is_ready() {
                if Instant::now() >= due {
                    return Poll::Ready(why);
                }
                alarm.as_mut().reset(due);
            }
            Poll::Pending
        })
        .await
    }
}

/// All connections of a listener.
pub(super) struct Lines {
    places: Arc<Semaphore>,
    idle_limit: Duration,
    known: Mutex<BTreeMap<u64, Arc<Line>>>,
    next: AtomicU64,
    /// Whether somebody waits for a place.
    wanted: AtomicBool,
    /// Whether the service is stopping.
    stopping: Arc<AtomicBool>,
}

/// A connection's place among [`Lines`], for as long as it lives.
pub(super) struct Member {
    pub(super) line: Arc<Line>,
    number: u64,
    lines: Arc<Lines>,
    _place: OwnedSemaphorePermit,
}

impl Lines {
    /// At most `most` connections, each idle for at most `idle_limit` between two requests. Once `stopping` is set
    /// each answer says that its connection ends with it.
    pub(super) fn new(most: usize, idle_limit: Duration, stopping: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(most)),
            idle_limit,
            known: Mutex::default(),
            next: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            stopping,
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Line>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn idle_limit(&self) -> Duration {
        self.idle_limit
    }

    /// Returns true while somebody waits for a place or the service is stopping: then answers should end their
    /// connections, so that clients that keep theirs busy leave as well.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) || self.stopping.load(Ordering::Acquire)
    }

    /// Waits until a place is free.
    pub(super) async fn next_free_place(&self) -> OwnedSemaphorePermit {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.expect("the semaphore is never closed")
    }

    /// Waits for a place. Where none is free and `listener` has a client that waits to be accepted, the connection that has been idle for the
    /// longest is closed.
    pub(super) async fn place(&self, listener: &impl AsFd) -> OwnedSemaphorePermit {
        let place = loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                break place;
            }
            if somebody_waits(listener) {
                self.wanted.store(true, Ordering::Relaxed);
                self.close_longest_idle();
            }
            let free = timeout(LOOK_AGAIN, Arc::clone(&self.places).acquire_owned());
            // The semaphore is never closed: an error is only that the time is over.
            if let Ok(Ok(place)) = free.await {
                break place;
            }
        };
        self.wanted.store(false, Ordering::Relaxed);
        place
    }

    /// A connection that has its place.
    pub(super) fn admit(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Member {
        let line = Arc::new(Line::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.known().insert(number, Arc::clone(&line));
        Member {
            line,
            number,
            lines: Arc::clone(self),
            _place: place,
        }
    }

    fn close_longest_idle(&self) {
        let now = Instant::now();
        let known = self.known();
        let idle_since = |line: &Arc<Line>| {
            let State {
                phase,
                since,
                asked,
            } = *line.state();
            let least = match phase {
                Phase::Idle => JUST_USED,
                Phase::New => JUST_OPENED,
                Phase::Head | Phase::Busy | Phase::Closing => return None,
            };
            (!asked && now.saturating_duration_since(since) >= least).then_some(since)
        };
        let candidates = known
            .values()
            .filter_map(|line| Some((idle_since(line)?, line)));
        if let Some((since, line)) = candidates.min_by_key(|(since, _)| *since) {
            debug!(idle = ?now.saturating_duration_since(since), "an idle connection makes room");
            line.state().asked = true;
            line.give_up.notify_one();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.lines.known().remove(&self.number);
    }
}

/// Returns true if a client waits to be accepted. Where the system cannot say, it is taken that one does.
fn somebody_waits(listener: &impl AsFd) -> bool {
    let at_once = Timespec::default();
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut asked, Some(&at_once)).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{advance, sleep};

    const SECOND: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(620);

    /// How long `line` may live from now on.
    async fn lives(line: &Line) -> (Duration, &'static str) {
        let begun = Instant::now();
        let why = line.over(LIMIT).await;
        (begun.elapsed(), why)
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_limit_counted_from_its_beginning() {
        let line = Line::new();
        advance(10 * SECOND).await;
        assert_eq!(lives(&line).await.0, 50 * SECOND, "nothing came");

        let line = Line::new();
        advance(59 * SECOND).await;
        line.bytes_came();
        advance(10 * SECOND).await;
        line.bytes_came();
        assert_eq!(lives(&line).await.0, 50 * SECOND, "from its first byte");

        line.request_begun();
        line.answered();
        advance(20 * SECOND).await;
        assert_eq!(lives(&line).await.0, 600 * SECOND, "between two requests");
        line.bytes_came();
        assert_eq!(lives(&line).await.0, HEAD_TIMEOUT, "the next head");

        line.request_begun();
        let busy = timeout(24 * 3600 * SECOND, line.over(LIMIT)).await;
        assert!(busy.is_err(), "a request takes as long as it takes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_that_changes_while_it_is_waited_for_changes_the_limit() {
        let line = Line::new();
        line.request_begun();
        line.answered();
        let begun = Instant::now();
        let changes = async {
            sleep(600 * SECOND).await;
            line.bytes_came();
            sleep(SECOND).await;
            line.request_begun();
            sleep(100 * SECOND).await;
            line.answered();
            std::future::pending::<()>().await;
        };
        let why = tokio::select! {
            biased;
            () = changes => unreachable!(),
            why = line.over(LIMIT) => why,
        };
        assert_eq!(
            (begun.elapsed(), why),
            (1321 * SECOND, "it was idle for too long")
        );
    }

    #[test]
    fn a_client_may_still_be_sending_where_a_body_or_a_head_was_left_unread() {
        for (what, sends) in [("idle", false), ("head", true), ("body", true)] {
            let line = Line::new();
            line.bytes_came();
            if what != "head" {
                line.request_begun();
                if what == "body" {
                    line.leave_unread();
                }
                line.answered();
            }
            assert_eq!(line.begin_closing(), sends, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_goes_first_and_no_other_than_idle_ones() {
        let lines = Lines::new(5, LIMIT, Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut members = Vec::new();
        for _ in 0..5 {
            let place = lines.place(&listener).await;
            members.push(lines.admit(place));
        }
        let asked = |members: &[Member]| -> Vec<bool> {
            members
                .iter()
                .map(|member| member.line.state().asked)
                .collect()
        };
        members[0].line.request_begun();
        members[1].line.bytes_came();
        for used in [3, 2] {
            advance(SECOND / 2).await;
            members[used].line.request_begun();
            members[used].line.answered();
        }
        // The last is new. Nobody waits, so nothing is closed.
        let alone = timeout(10 * SECOND, lines.place(&listener)).await;
        assert!(alone.is_err());
        assert_eq!(asked(&members), [false; 5]);
        assert!(!lines.are_wanted());

        let _client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        while !somebody_waits(&listener) {
            tokio::task::yield_now().await;
        }
        let waits = timeout(LOOK_AGAIN / 2, lines.place(&listener)).await;
        assert!(waits.is_err(), "until it has gone");
        assert_eq!(
            asked(&members),
            [false, false, false, false, true],
            "it came first"
        );
        assert!(lines.are_wanted());
        members[4].line.bytes_came();
        assert!(
            timeout(SECOND, members[4].line.over(LIMIT)).await.is_err(),
            "in use again"
        );
        let waits = timeout(LOOK_AGAIN / 2, lines.place(&listener)).await;
        assert!(waits.is_err());
        assert_eq!(
            asked(&members),
            [false, false, false, true, false],
            "idle for longer than 2"
        );
        let why = timeout(Duration::ZERO, members[3].line.over(LIMIT))
            .await
            .unwrap();
        assert!(why.contains("place was needed"), "{why}");
        members.remove(3);
        let _place = timeout(LOOK_AGAIN, lines.place(&listener)).await.unwrap();
        assert!(!lines.are_wanted());
    }
}
