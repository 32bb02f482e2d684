//! Hides what is known of each endpoint's attempts: its health, and what its attempts of an hour came to.
//!
//! Attempts are counted in the order in which they are recorded, and what is counted is written in the
//! commit that records them, so what is stored is always that of the stored attempts.

use std::collections::{HashMap, HashSet};

use model::health::Health;
use model::id::EndpointId;
use model::tally::{Tally, hour_of};
use store::{EndpointHour, EndpointProgress};

use crate::house::House;
use crate::sender::Settled;

/// How many hours of an endpoint are kept: around the turn of one, outcomes come a little out of order.
const HOURS_KEPT: usize = 2;

/// What is known of all endpoints' attempts.
pub(crate) struct Counts(HashMap<EndpointId, Known>);

/// What is known of an endpoint's attempts.
#[derive(Default)]
struct Known {
    health: Health,
    /// The hours that were counted in last, the latest one last.
    hours: Vec<Counted>,
}

struct Counted {
    hour: EndpointHour,
    /// Whether it has what is not written yet.
    changed: bool,
}

impl Counts {
    /// What a start knows of the endpoints.
    pub(crate) fn of(healths: impl IntoIterator<Item = (EndpointId, Health)>) -> Self {
        let known = |health| Known {
            health,
            hours: Vec::new(),
        };
        let healths = healths.into_iter();
        Self(healths.map(|(id, health)| (id, known(health))).collect())
    }

    /// Forgets endpoints that were deleted, once they are many.
    pub(crate) fn forget_deleted(&mut self, house: &House, spare: usize) {
        if self.0.len() > 2 * house.roster.lane_count() + spare {
            self.0
                .retain(|endpoint, _| house.roster.lane(*endpoint).is_some());
        }
    }

    /// The hours of a batch that are not known: the first of an endpoint since the start, of a new hour, and
    /// those that a stepped clock comes back to, which may all have been counted in before.
    pub(crate) fn unknown_hours(&self, batch: &[Settled]) -> Vec<(EndpointId, i64)> {
        let mut unknown = HashSet::new();
        for settled in batch.iter().filter(|settled| !settled.test) {
            let (endpoint, hour) = (settled.lane.endpoint, hour_of(settled.settlement.ended_at));
            let known = self.0.get(&endpoint);
            if known.is_none_or(|known| known.position(hour).is_none()) {
                unknown.insert((endpoint, hour));
            }
        }
        unknown.into_iter().collect()
    }

    /// Takes up hours as they were counted before.
    pub(crate) fn go_on_from(&mut self, hours: Vec<(EndpointId, EndpointHour)>) {
        for (endpoint, hour) in hours {
            let known = self.0.entry(endpoint).or_default();
            known.hours.push(Counted {
                hour,
                changed: false,
            });
        }
    }

    /// Counts a batch in, attempt by attempt; what it leaves each endpoint with. Its hours are known.
    pub(crate) fn count(&mut self, house: &House, batch: &[Settled]) -> Vec<EndpointProgress> {
        let mut progress: HashMap<EndpointId, EndpointProgress> = HashMap::new();
        for settled in batch {
            let endpoint = settled.lane.endpoint;
            let ended_at = settled.settlement.ended_at;
            let entry = progress.entry(endpoint).or_insert(EndpointProgress {
                endpoint,
                health: None,
                last_delivery_at: ended_at,
                hours: Vec::new(),
            });
            entry.last_delivery_at = entry.last_delivery_at.max(ended_at);
            if settled.test {
                continue; // a test event says nothing about the endpoint's health
            }
            let known = self.0.entry(endpoint).or_default();
            let reason = settled.settlement.attempt.reason;
            let after = known.health.after(reason, ended_at);
            log_change(house, endpoint, &known.health, &after);
            known.health = after;
            entry.health = Some(after);
            let tally = known.tally(hour_of(ended_at));
            tally.count(&settled.settlement.attempt, settled.settlement.verdict);
        }
        for (endpoint, entry) in &mut progress {
            if let Some(known) = self.0.get_mut(endpoint) {
                entry.hours = known.take_changed();
            }
        }
        progress.into_values().collect()
    }
}

impl Known {
    fn position(&self, hour: i64) -> Option<usize> {
        self.hours.iter().position(|known| known.hour.hour == hour)
    }

    /// What an hour's attempts came to so far, to be changed; from now on the latest.
    fn tally(&mut self, hour: i64) -> &mut Tally {
        let found = self.position(hour).map(|at| self.hours.remove(at));
        let counted = found.unwrap_or_else(|| Counted {
            hour: EndpointHour {
                hour,
                tally: Tally::default(),
            },
            changed: true,
        });
        self.hours.push(counted);
        let latest = self.hours.len() - 1;
        self.hours[latest].changed = true;
        &mut self.hours[latest].hour.tally
    }

    /// What is to be written; then only the latest hours are kept.
    fn take_changed(&mut self) -> Vec<EndpointHour> {
        let mut changed = Vec::new();
        for known in self.hours.iter_mut().filter(|known| known.changed) {
            known.changed = false;
            changed.push(known.hour.clone());
        }
        let beyond = self.hours.len().saturating_sub(HOURS_KEPT);
        self.hours.drain(..beyond);
        changed
    }
}

fn log_change(house: &House, endpoint: EndpointId, before: &Health, after: &Health) {
    let endpoint = || house.store.codec().uuid(endpoint);
    match (before.is_unhealthy(), after.is_unhealthy()) {
        (false, true) => tracing::warn!(
            endpoint = %endpoint(),
            failures = after.consecutive_failures,
            since = %after.failing_since.unwrap_or_default(),
            reason = after.last_reason.map_or("", |reason| reason.as_str()),
            "endpoint is unhealthy: its attempts keep failing; deliveries go on being attempted"
        ),
        (true, false) => tracing::info!(
            endpoint = %endpoint(),
            failures = before.consecutive_failures,
            "endpoint is healthy again: an attempt succeeded"
        ),
        _ => {}
    }
}
