//! Hides what follows from an attempt: delivered, another try and when, or the dead-letter queue.

use std::time::Duration;

use crate::attempt::Outcome;
use crate::time::Timestamp;

/// How long to wait before each retry; its length is the number of retries.
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

    /// The longest wait: no delivery is due later than this from now.
    pub fn longest(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }

    /// What follows from the `nth` attempt of a schedule (1 is the first), which came to
    /// `outcome` at `ended_at`. The wait counts from the failure.
    pub fn judge(&self, nth: u32, outcome: Outcome, ended_at: Timestamp) -> Verdict {
        match outcome {
            Outcome::Delivered => Verdict::Delivered,
            Outcome::PermanentFailure => Verdict::DeadLetter,
            Outcome::Retry => match self.0.get(nth.saturating_sub(1) as usize) {
                Some(wait) => Verdict::RetryAt(ended_at.after(*wait)),
                None => Verdict::DeadLetter,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every attempt of one delivery whose attempts take `took` each, as text.
    fn walk(schedule: &RetrySchedule, took: Duration, outcomes: &[Outcome]) -> String {
        let mut now = Timestamp::from_millis(0);
        let mut lines = Vec::new();
        for nth in 1.. {
            let outcome = *outcomes.get(nth as usize - 1).unwrap_or(&Outcome::Retry);
            let ended = now.after(took);
            let verdict = schedule.judge(nth, outcome, ended);
            let what = match verdict {
                Verdict::RetryAt(at) => {
                    format!("retry {} ms after the failure", at.since(ended).as_millis())
                }
                Verdict::Delivered => "delivered".into(),
                Verdict::DeadLetter => "dead letter".into(),
            };
            lines.push(format!(
                "{nth} at {} ms: {} -> {what}",
                now.as_millis(),
                outcome.as_str()
            ));
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
            "1 at 0 ms: retry -> retry 1000 ms after the failure\n\
             2 at 1250 ms: retry -> retry 2000 ms after the failure\n\
             3 at 3500 ms: retry -> retry 4000 ms after the failure\n\
             4 at 7750 ms: retry -> retry 8000 ms after the failure\n\
             5 at 16000 ms: retry -> retry 16000 ms after the failure\n\
             6 at 32250 ms: retry -> dead letter"
        );
        use Outcome::{Delivered, PermanentFailure, Retry};
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[Retry, Retry, Delivered]),
            "1 at 0 ms: retry -> retry 1000 ms after the failure\n\
             2 at 1000 ms: retry -> retry 2000 ms after the failure\n\
             3 at 3000 ms: delivered -> delivered"
        );
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[Retry, PermanentFailure]),
            "1 at 0 ms: retry -> retry 1000 ms after the failure\n\
             2 at 1000 ms: permanent_failure -> dead letter"
        );
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[PermanentFailure]),
            "1 at 0 ms: permanent_failure -> dead letter"
        );
    }

    #[test]
    fn a_schedule_without_waits_tries_once() {
        let schedule = RetrySchedule::new(vec![]).unwrap();
        assert_eq!(
            walk(&schedule, Duration::ZERO, &[]),
            "1 at 0 ms: retry -> dead letter"
        );
        assert_eq!(schedule.longest(), Duration::ZERO);
    }

    #[test]
    fn absurd_schedules_are_refused() {
        assert!(RetrySchedule::new(vec![Duration::from_secs(1); 101]).is_err());
        assert!(RetrySchedule::new(vec![Duration::from_secs(31 * 24 * 3600)]).is_err());
    }
}
