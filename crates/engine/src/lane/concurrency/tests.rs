//! The rules one by one, and receivers of a known capacity, modelled.

use std::collections::BinaryHeap;

use super::*;

const QUICK: Duration = Duration::from_millis(2);

/// As many attempts as there may be, all of which come to this.
fn round(concurrency: &mut Concurrency, heard: Heard) -> usize {
    let now = Instant::now();
    let numbers: Vec<u64> = (0..concurrency.limit())
        .map(|_| concurrency.begin(now))
        .collect();
    for number in numbers {
        concurrency.after(number, heard, QUICK);
    }
    concurrency.limit()
}

#[test]
fn a_new_receiver_gets_one_at_a_time_and_twice_as_many_each_round() {
    let mut concurrency = Concurrency::new(64);
    assert_eq!(concurrency.limit(), 1);
    let rounds: Vec<_> = (0..7)
        .map(|_| round(&mut concurrency, Heard::Answered))
        .collect();
    assert_eq!(rounds, [2, 4, 8, 16, 32, 64, 64]);
}

#[test]
fn what_is_too_much_or_takes_too_long_leaves_half_down_to_one_and_grows_by_one_a_round() {
    for heard in [Heard::TooMuch, Heard::Unavailable, Heard::TimedOut] {
        let mut concurrency = Concurrency::new(64);
        while round(&mut concurrency, Heard::Answered) < 64 {}
        let rounds: Vec<_> = (0..6).map(|_| round(&mut concurrency, heard)).collect();
        assert_eq!(rounds, [32, 16, 8, 4, 2, 1], "a round is one failure");
        while round(&mut concurrency, Heard::Answered) < 8 {}
        assert_eq!(round(&mut concurrency, heard), 4);
        let rounds: Vec<_> = (0..4)
            .map(|_| round(&mut concurrency, Heard::Answered))
            .collect();
        assert_eq!(rounds, [5, 6, 7, 8]);
        assert_eq!(concurrency.wait(Instant::now()), Duration::ZERO);
    }
}

#[test]
fn what_failed_otherwise_changes_nothing_and_what_was_begun_before_a_cut_says_nothing() {
    let mut concurrency = Concurrency::new(64);
    while round(&mut concurrency, Heard::Answered) < 16 {}
    assert_eq!(round(&mut concurrency, Heard::Nothing), 16);
    let old = concurrency.begin(Instant::now());
    assert_eq!(round(&mut concurrency, Heard::TooMuch), 8);
    assert!(!concurrency.concerns(old));
    for heard in [Heard::TooMuch, Heard::TimedOut, Heard::Answered] {
        concurrency.after(old, heard, QUICK);
    }
    assert_eq!(concurrency.limit(), 8);
    concurrency.begin_anew();
    assert_eq!(concurrency.limit(), 1);
    concurrency.after(old, Heard::Answered, QUICK);
    assert_eq!(concurrency.limit(), 1, "that was another receiver's");
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_that_is_too_much_is_kept_apart_ever_further_up_to_a_bound() {
    let mut concurrency = Concurrency::new(64);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let number = concurrency.begin(Instant::now());
        concurrency.after(number, Heard::TooMuch, QUICK);
        pauses.push(concurrency.wait(Instant::now()).as_millis());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    // A timeout is no word on how often.
    round(&mut concurrency, Heard::TimedOut);
    assert_eq!(concurrency.wait(Instant::now()), LONGEST);
    tokio::time::advance(Duration::from_millis(400)).await;
    assert_eq!(concurrency.wait(Instant::now()).as_millis(), 600);
    let mut answers = 0;
    while !concurrency.pause.is_zero() {
        round(&mut concurrency, Heard::Answered);
        answers += 1;
    }
    assert!((10..50).contains(&answers), "{answers}");
    while concurrency.limit() < 3 {
        round(&mut concurrency, Heard::Answered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_down_is_asked_on_schedule_one_at_a_time() {
    let mut concurrency = Concurrency::new(64);
    let begun = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        tokio::time::advance(concurrency.wait(Instant::now())).await;
        let number = concurrency.begin(Instant::now());
        concurrency.after(number, Heard::Unavailable, QUICK);
        pauses.push(concurrency.wait(Instant::now()).as_millis());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 0, 0, 0, 0, 0]);
    assert!(begun.elapsed() < Duration::from_millis(1_300));
    assert_eq!(concurrency.limit(), 1);
    // The first answer of another kind ends it, and what comes then is felt for anew.
    while round(&mut concurrency, Heard::Answered) < 4 {}
    for limit in [2, 1, 1] {
        assert_eq!(round(&mut concurrency, Heard::Unavailable), limit);
    }
    assert_eq!(concurrency.wait(Instant::now()), FIRST);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_forgotten_when_nothing_was_sent_for_a_minute() {
    let mut concurrency = Concurrency::new(64);
    for _ in 0..9 {
        round(&mut concurrency, Heard::TooMuch);
    }
    tokio::time::advance(FORGOTTEN).await;
    assert_eq!(round(&mut concurrency, Heard::Answered), 2);
    assert_eq!(round(&mut concurrency, Heard::Answered), 4);
}

#[test]
fn what_an_attempt_says_follows_from_its_reason_and_its_status() {
    use Heard::{Answered, Nothing, TimedOut, TooMuch, Unavailable};
    let heard = |reason, status_code| {
        Heard::of(&Attempt {
            number: 1,
            started_at: model::time::Timestamp::default(),
            duration_ms: 0,
            outcome: model::attempt::Outcome::Retry,
            status_code,
            reason,
            detail: None,
            remote_addr: None,
            response_headers: Vec::new(),
            response_body: None,
            timings: model::attempt::Timings::default(),
        })
    };
    for (status, said) in [
        (429, TooMuch),
        (503, Unavailable),
        (400, Answered),
        (408, Answered),
        (422, Answered),
        (500, Answered),
        (502, Answered),
        (504, Answered),
    ] {
        let reason = Some(Reason::HttpStatus);
        assert_eq!(heard(reason, Some(status)), said, "{status}");
    }
    assert_eq!(heard(None, Some(200)), Answered);
    assert_eq!(heard(Some(Reason::Redirect), Some(301)), Answered);
    for reason in Reason::ALL {
        let said = match reason {
            Reason::HttpStatus | Reason::Redirect => continue,
            timeout if timeout.as_str().ends_with("_timeout") => TimedOut,
            _ => Nothing,
        };
        // A response that broke off may have had any status.
        for status in [None, Some(200), Some(503)] {
            assert_eq!(heard(Some(*reason), status), said, "{reason:?}");
        }
    }
}

/// A receiver that takes so many a second, and some more at once after a while without any.
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    last: f64,
}

impl Bucket {
    fn takes(&mut self, at: f64) -> bool {
        self.tokens = (self.tokens + (at - self.last) * self.per_second).min(self.burst);
        self.last = at;
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }
}

/// Sends until so many were taken, all others being answered by `refusal`: the seconds that it took, and the requests.
async fn send(
    mut bucket: Bucket,
    answers_after: Duration,
    taken: u32,
    refusal: Heard,
) -> (f64, u32) {
    let mut concurrency = Concurrency::new(64);
    let began = Instant::now();
    let (mut done, mut requests) = (0, 0);
    let mut in_flight: BinaryHeap<std::cmp::Reverse<(Instant, u64, bool)>> = BinaryHeap::new();
    while done < taken {
        let now = Instant::now();
        let free = in_flight.len() < concurrency.limit();
        let wait = concurrency.wait(now);
        let ends = in_flight.peek().map(|first| first.0.0);
        if free && wait.is_zero() {
            let taken = bucket.takes(began.elapsed().as_secs_f64());
            let number = concurrency.begin(now);
            in_flight.push(std::cmp::Reverse((now + answers_after, number, taken)));
            requests += 1;
            continue;
        }
        let may = free.then(|| now + wait);
        let next = [may, ends].into_iter().flatten().min().unwrap();
        tokio::time::advance(next - now).await;
        if ends == Some(next) {
            let std::cmp::Reverse((_, number, taken)) = in_flight.pop().unwrap();
            let heard = if taken {
                done += 1;
                Heard::Answered
            } else {
                refusal
            };
            concurrency.after(number, heard, answers_after);
        }
    }
    (began.elapsed().as_secs_f64(), requests)
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_takes_is_found_out_at_little_cost_to_it() {
    for (per_second, burst, answers_after) in [
        (50.0, 1.0, 1),
        (50.0, 5.0, 1),
        (50.0, 50.0, 1),
        (50.0, 10.0, 30),
        (50.0, 10.0, 200),
        (50.0, 50.0, 1_000),
        (10.0, 1.0, 1),
        (10.0, 10.0, 100),
        (5.0, 2.0, 20),
        (2.0, 1.0, 5),
        (200.0, 20.0, 10),
        (1_000.0, 100.0, 10),
    ] {
        for refusal in [Heard::TooMuch, Heard::Unavailable] {
            let bucket = Bucket {
                per_second,
                burst,
                tokens: burst,
                last: 0.0,
            };
            let after = Duration::from_millis(answers_after);
            let (seconds, requests) = send(bucket, after, 1_000, refusal).await;
            let ideal = 1_000.0 / per_second;
            let case = format!(
                "{per_second}/s, {burst} at once, answers after {answers_after} ms, {refusal:?}"
            );
            println!("{case}: {seconds:.1} s of {ideal:.1} s, {requests} requests");
            assert!(seconds < 2.0 * ideal + 3.0, "{case}: {seconds} s");
            assert!(requests < 1_400, "{case}: {requests} requests");
        }
    }
}
