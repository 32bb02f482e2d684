//! Hides what is counted of worlds, for whoever runs them.

use std::fmt;

use crate::ledger::Answer;
use crate::plan::Plan;
use crate::world::State;

/// What happened in one world or many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    worlds: u64,
    millis: u64,
    steps: u64,
    acknowledged: u64,
    doubts: u64,
    requests: u64,
    repeats: u64,
    pub(crate) not_made: u64,
    processes: u64,
    pub(crate) deaths: u64,
    pub(crate) commits: u64,
}

impl Figures {
    pub(crate) fn of(plan: &Plan, state: &State) -> Self {
        let mut figures = Self {
            worlds: 1,
            millis: state.now(),
            steps: plan.steps.len() as u64,
            requests: state.wire.requests.len() as u64,
            repeats: state
                .wire
                .requests
                .iter()
                .filter(|seen| seen.end.is_none())
                .count() as u64,
            not_made: state.wire.not_made,
            processes: state.processes.len() as u64,
            deaths: state.deaths,
            commits: state.disk.commits,
            ..Self::default()
        };
        for call in &state.ledger.calls {
            match &call.answer {
                Answer::Accepted(accepted) => figures.acknowledged += accepted.len() as u64,
                Answer::Doubt => figures.doubts += 1,
                Answer::Nothing => {}
            }
        }
        figures
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.worlds, other.worlds),
            (&mut self.millis, other.millis),
            (&mut self.steps, other.steps),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.doubts, other.doubts),
            (&mut self.requests, other.requests),
            (&mut self.repeats, other.repeats),
            (&mut self.not_made, other.not_made),
            (&mut self.processes, other.processes),
            (&mut self.deaths, other.deaths),
            (&mut self.commits, other.commits),
        ] {
            *sum += more;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} worlds, {} virtual hours, {} steps, {} events acknowledged, {} calls in doubt, {} \
             attempts, {} of them cut off, {} that could not be made, {} processes, {} deaths, {} commits",
            self.worlds,
            self.millis / 3_600_000,
            self.steps,
            self.acknowledged,
            self.doubts,
            self.requests,
            self.repeats,
            self.not_made,
            self.processes,
            self.deaths,
            self.commits,
        )
    }
}
