//! Hides what follows from an attempt: delivered, another try and when, or the dead-letter queue.

use std::time::Duration;

use crate::attempt::Outcome;
use crate::id::DeliveryId;
use crate::time::Timestamp;

/// A retry is due after its wait and up to this part of it more: what failed in one instant does not come
/// back in one.
const SPREAD: u32 = 4;

/// How long to wait before each retry, at least; its length is the number of retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It is tried again, not before this moment.
    RetryAt(Timestamp),
    /// It is given up, and moves to the dead-letter queue.
    DeadLetter,
}

impl Default for RetrySchedule {
    /// 1, 2, 4, 8 and 16 s (contract, "Retry schedule").
    fn default() -> Self {
        Self([1, 2, 4, 8, 16].map(Duration::from_secs).to_vec())
    }
}

impl RetrySchedule {
    /// A schedule of these waits, each at most 30 days.
    ///
    /// # Errors
    /// The sentence names the rule that is broken.
    pub fn new(waits: Vec<Duration>) -> Result<Self, String> {
        const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
        if waits.len() > 100 {
            return Err(format!(
                "a retry schedule has at most 100 retries, not {}",
                waits.len()
            ));
        }
        match waits.iter().find(|wait| **wait > LONGEST) {
            Some(wait) => Err(format!(
                "a retry waits at most 30 days, not {} s",
                wait.as_secs()
            )),
            None => Ok(Self(waits)),
        }
    }

    /// The waits, in order.
    pub fn waits(&self) -> &[Duration] {
        &self.0
    }

    /// The longest wait, with all of its spread: no delivery is due later than this from now.
    pub fn longest(&self) -> Duration {
        let longest = self.0.iter().copied().max().unwrap_or_default();
        longest + longest / SPREAD
    }

    /// How long a delivery waits after the `nth` attempt of a schedule (1 is the first) has failed: never less
    /// than the schedule says, and up to a quarter more. How much more follows from the delivery and the
    /// attempt alone, evenly over all deliveries. None where no retry is left.
    pub fn wait(&self, delivery: DeliveryId, nth: u32) -> Option<Duration> {
        let wait = *self.0.get(nth.saturating_sub(1) as usize)?;
        Some(wait + part_of(wait / SPREAD, delivery.0.cast_unsigned(), nth))
    }

    /// What follows from the `nth` attempt of a delivery's schedule (1 is the first), which came to
    /// `outcome` at `ended_at`. The wait counts from the failure.
    pub fn judge(
        &self,
        delivery: DeliveryId,
        nth: u32,
        outcome: Outcome,
        ended_at: Timestamp,
    ) -> Verdict {
        match outcome {
            Outcome::Delivered => Verdict::Delivered,
            Outcome::PermanentFailure => Verdict::DeadLetter,
            Outcome::Retry => match self.wait(delivery, nth) {
                Some(wait) => Verdict::RetryAt(ended_at.after(wait)),
                None => Verdict::DeadLetter,
            },
        }
    }
}

/// A part of a span in whole milliseconds, from nothing to all of it: the same for the same `seed` and `nth`, and
/// evenly distributed over many of them. It spreads what would otherwise come at once, and is no secret.
pub fn part_of(span: Duration, seed: u64, nth: u32) -> Duration {
    let choices = span.as_millis().saturating_add(1);
    let choices = u64::try_from(choices).unwrap_or(u64::MAX);
    // The upper half of the product of a number below 2^64 and `choices` is below `choices`.
    let part = (u128::from(mixed(seed, nth)) * u128::from(choices)) >> 64;
    Duration::from_millis(u64::try_from(part).unwrap_or(0))
}

/// A hash of both: the finalizer of SplitMix64, of which each bit of the input changes half of the output's.
fn mixed(seed: u64, nth: u32) -> u64 {
    let steps = u64::from(nth).wrapping_add(1);
    let mut mixed = seed.wrapping_add(steps.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERY: DeliveryId = DeliveryId(116_000_000_000_000_001);

    /// Every attempt of one delivery whose attempts take `took` each, as text.
    fn walk(schedule: &RetrySchedule, took: Duration, outcomes: &[Outcome]) -> String {
        let mut now = Timestamp::from_millis(0);
        let mut lines = Vec::new();
        for nth in 1.. {
            let outcome = *outcomes.get(nth as usize - 1).unwrap_or(&Outcome::Retry);
            let ended = now.after(took);
            let verdict = schedule.judge(DELIVERY, nth, outcome, ended);
            let what = match verdict {
                Verdict::RetryAt(at) => {
                    let wait = schedule.waits()[nth as usize - 1];
                    let spread = at.since(ended).checked_sub(wait).expect("never earlier");
                    assert!(spread <= wait / 4, "{spread:?} more than {wait:?}");
                    assert_eq!(Some(at.since(ended)), schedule.wait(DELIVERY, nth));
                    format!("retry {} ms after the failure", wait.as_millis())
                }
                Verdict::Delivered => "delivered".into(),
                Verdict::DeadLetter => "dead letter".into(),
            };
            lines.push(format!("{nth}: {} -> {what}", outcome.as_str()));
            let Verdict::RetryAt(at) = verdict else { break };
            now = at;
        }
        lines.join("\n")
    }

    #[test]
    fn the_whole_schedule_of_the_contract() {
        let schedule = RetrySchedule::default();
        assert_eq!(
            walk(&schedule, Duration::from_millis(250), &[]),
            "1: retry -> retry 1000 ms after the failure\n\
             2: retry -> retry 2000 ms after the failure\n\
             3: retry -> retry 4000 ms after the failure\n\
             4: retry -> retry 8000 ms after the failure\n\
             5: retry -> retry 16000 ms after the failure\n\
             6: retry -> dead letter"
        );
        use Outcome::{Delivered, PermanentFailure, Retry};
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[Retry, Retry, Delivered]),
            "1: retry -> retry 1000 ms after the failure\n\
             2: retry -> retry 2000 ms after the failure\n\
             3: delivered -> delivered"
        );
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[Retry, PermanentFailure]),
            "1: retry -> retry 1000 ms after the failure\n\
             2: permanent_failure -> dead letter"
        );
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[PermanentFailure]),
            "1: permanent_failure -> dead letter"
        );
    }

    #[test]
    fn retries_of_one_instant_are_spread_evenly_over_a_quarter_of_their_wait() {
        let schedule = RetrySchedule::default();
        for nth in 1..=5 {
            let wait = schedule.waits()[nth as usize - 1];
            // Ids as the store gives them: in a row, an event's deliveries after it.
            let mut tenths = [0; 10];
            for id in 0..10_000 {
                let delivery = DeliveryId(116_000_000_000_000_000 + 2 * id);
                let more = schedule.wait(delivery, nth).unwrap() - wait;
                assert_eq!(Some(wait + more), schedule.wait(delivery, nth), "pure");
                tenths[(more.as_millis() * 40 / wait.as_millis()).min(9) as usize] += 1;
            }
            assert!(
                tenths.iter().all(|count| (850..1_150).contains(count)),
                "after attempt {nth}: {tenths:?}"
            );
        }
        let waits: Vec<_> = (1..=5).map(|nth| schedule.wait(DELIVERY, nth)).collect();
        let part = |nth: usize| waits[nth - 1].unwrap() * 1000 / (1 << (nth - 1));
        assert!(
            (2..=5).any(|nth| part(nth) != part(1)),
            "each retry of a delivery has a spread of its own"
        );
        assert_eq!(schedule.wait(DELIVERY, 6), None);
        assert_eq!(schedule.longest(), Duration::from_secs(20));
        assert!(schedule.wait(DELIVERY, 5).unwrap() <= schedule.longest());
    }

    #[test]
    fn a_part_is_nothing_at_least_and_all_at_most() {
        let span = Duration::from_millis(3);
        let mut seen: Vec<_> = (0..100).map(|seed| part_of(span, seed, 1)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3].map(Duration::from_millis));
        assert_eq!(part_of(Duration::ZERO, 7, 1), Duration::ZERO);
        assert!(part_of(Duration::MAX, u64::MAX, u32::MAX) <= Duration::MAX);
    }

    #[test]
    fn a_schedule_without_waits_tries_once() {
        let schedule = RetrySchedule::new(vec![]).unwrap();
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[]),
            "1: retry -> dead letter"
        );
        assert_eq!(schedule.longest(), Duration::ZERO);
    }

    #[test]
    fn absurd_schedules_are_refused() {
        assert!(RetrySchedule::new(vec![Duration::from_secs(1); 101]).is_err());
        assert!(RetrySchedule::new(vec![Duration::from_secs(31 * 24 * 3600)]).is_err());
    }
}
