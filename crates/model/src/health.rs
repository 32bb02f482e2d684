//! Hides when an endpoint counts as unhealthy: after five failed attempts in a row, until one
//! succeeds (contract, "Endpoint health").

use crate::attempt::Reason;
use crate::time::Timestamp;

/// How many failed attempts in a row make an endpoint unhealthy.
pub const UNHEALTHY_AFTER: u32 = 5;

/// What the latest attempts say about an endpoint. Attempts of test events do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Failed attempts since the last success, over all deliveries.
    pub consecutive_failures: u32,
    /// When the first of them failed.
    pub failing_since: Option<Timestamp>,
    /// Why the latest of them failed.
    pub last_reason: Option<Reason>,
}

impl Health {
    /// Whether enough attempts failed in a row.
    pub fn is_unhealthy(&self) -> bool {
        self.consecutive_failures >= UNHEALTHY_AFTER
    }

    /// The health after an attempt that ended at `now`: delivered, or failed for a reason.
    #[must_use]
    pub fn after(self, failure: Option<Reason>, now: Timestamp) -> Self {
        match failure {
            None => Self::default(),
            Some(reason) => Self {
                consecutive_failures: self.consecutive_failures.saturating_add(1),
                failing_since: self.failing_since.or(Some(now)),
                last_reason: Some(reason),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_make_an_endpoint_unhealthy_and_one_success_heals_it() {
        // One letter an attempt (f failed, . delivered); H or u: the health it leaves.
        for (attempts, health) in [
            ("ffff", "HHHH"),
            ("fffff", "HHHHu"),
            ("ffffffff.", "HHHHuuuuH"),
            ("ffff.ffff.", "HHHHHHHHHH"),
            ("fffff.fffff", "HHHHuHHHHHu"),
        ] {
            let mut state = Health::default();
            let seen: String = attempts
                .chars()
                .map(|attempt| {
                    state = state.after(
                        (attempt == 'f').then_some(Reason::HttpStatus),
                        Timestamp::default(),
                    );
                    if state.is_unhealthy() { 'u' } else { 'H' }
                })
                .collect();
            assert_eq!(seen, health, "{attempts}");
        }
    }

    #[test]
    fn it_remembers_since_when_and_why() {
        let at = Timestamp::from_millis;
        let health = Health::default()
            .after(Some(Reason::ConnectionRefused), at(10))
            .after(Some(Reason::TlsCertificate), at(20));
        assert_eq!(health.failing_since, Some(at(10)));
        assert_eq!(health.last_reason, Some(Reason::TlsCertificate));
        assert_eq!(health.after(None, at(30)), Health::default());
    }
}
