//! Hides how the outcomes of attempts are recorded: attempt, delivery and health in one unit, which
//! may be run twice, and which never overrules what somebody asked for meanwhile.

use std::net::IpAddr;
use std::sync::Arc;

use model::attempt::Attempt;
use model::health::Health;
use model::id::{DeliveryId, EndpointId};
use model::retry::Verdict;
use model::time::Timestamp;

use crate::driver::Unit;
use crate::error::StoreError;
use crate::fresh::Unwritten;
use crate::hours::{EndpointHour, add_hour};
use crate::standing::{self, DEAD, TRIED};
use crate::store::Store;
use crate::value::Value;

const INSERT_ATTEMPT: &str = "\
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome, status_code, \
                          reason, detail, remote_addr, dns_ms, connect_ms, tls_ms, \
                          first_byte_ms, response_headers, response_body) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
    ON CONFLICT (delivery_id, number) DO NOTHING";

// All three move a delivery on only from the attempt before: a second run changes nothing. Where
// `next_attempt_at` is no longer what it was when the delivery was taken, a failure leaves the fresh
// schedule as it is, to begin after this attempt.
const DELIVERED: &str = "\
    UPDATE deliveries SET standing = 2, attempt_count = $2, next_attempt_at = NULL, \
                          completed_at = $3 \
    WHERE id = $1 AND attempt_count = $2 - 1";
const RETRY_AT: &str = "\
    UPDATE deliveries SET standing = 1, attempt_count = $2, \
        next_attempt_at = CASE WHEN next_attempt_at = $4 THEN $3 ELSE next_attempt_at END, \
        schedule_start = CASE WHEN next_attempt_at = $4 THEN schedule_start ELSE $2 END \
    WHERE id = $1 AND attempt_count = $2 - 1";
const DEAD_LETTER: &str = "\
    UPDATE deliveries SET attempt_count = $2, \
        standing = CASE WHEN next_attempt_at = $4 THEN 3 ELSE 1 END, \
        next_attempt_at = CASE WHEN next_attempt_at = $4 THEN NULL ELSE next_attempt_at END, \
        completed_at = CASE WHEN next_attempt_at = $4 THEN $3 ELSE NULL END, \
        schedule_start = CASE WHEN next_attempt_at = $4 THEN schedule_start ELSE $2 END \
    WHERE id = $1 AND attempt_count = $2 - 1";

/// The row of a delivery that had none, with its first outcome. Where it was written down meanwhile, the
/// outcome moves it on as the three above would.
const FIRST: &str = "\
    INSERT INTO deliveries (id, team_id, event_id, endpoint_id, event_type, standing, \
                            attempt_count, schedule_start, next_attempt_at, completed_at, test) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10) \
    ON CONFLICT (id) DO UPDATE SET attempt_count = excluded.attempt_count, \
        standing = CASE WHEN excluded.standing = 2 OR deliveries.next_attempt_at = $11 \
                        THEN excluded.standing ELSE 1 END, \
        next_attempt_at = CASE WHEN excluded.standing = 2 OR deliveries.next_attempt_at = $11 \
                               THEN excluded.next_attempt_at ELSE deliveries.next_attempt_at END, \
        completed_at = CASE WHEN excluded.standing = 2 OR deliveries.next_attempt_at = $11 \
                            THEN excluded.completed_at ELSE NULL END, \
        schedule_start = CASE WHEN excluded.standing = 2 OR deliveries.next_attempt_at = $11 \
                              THEN deliveries.schedule_start ELSE excluded.attempt_count END \
    WHERE deliveries.attempt_count = excluded.attempt_count - 1";

const NOTE_HEALTH: &str = "\
    UPDATE endpoints SET consecutive_failures = $2, failing_since = $3, last_reason = $4, \
                         last_delivery_at = $5 \
    WHERE id = $1";
const NOTE_DELIVERY: &str = "UPDATE endpoints SET last_delivery_at = $2 WHERE id = $1";

/// What one attempt changed.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// The attempt, to be recorded.
    pub attempt: Attempt,
    /// When the delivery was due as it was taken: where that changed meanwhile (somebody asked for
    /// a fresh schedule) a failure's verdict gives way to the fresh schedule, which then counts
    /// from this attempt.
    pub due_at: Timestamp,
    /// What follows.
    pub verdict: Verdict,
    /// When the attempt ended: a finished delivery's `completedAt`.
    pub ended_at: Timestamp,
}

/// What attempts changed about an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointProgress {
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// Its health now; none where only test events were sent.
    pub health: Option<Health>,
    /// When its latest attempt ended.
    pub last_delivery_at: Timestamp,
    /// What the attempts of the hours in which these ended came to, these included; none where only test
    /// events were sent.
    pub hours: Vec<EndpointHour>,
}

impl Store {
    /// Records attempts with what follows from them: all or none, repeatable.
    pub async fn settle(
        &self,
        settlements: Arc<Vec<Settlement>>,
        progress: Arc<Vec<EndpointProgress>>,
    ) -> Result<(), StoreError> {
        let (unit, first_outcomes) = self.settling(&settlements, &progress)?;
        if unit.is_empty() {
            return Ok(());
        }
        self.change(unit).await?;
        if !first_outcomes.is_empty() {
            self.fresh().lock().written(first_outcomes);
        }
        Ok(())
    }

    /// The write that records all of it, and which deliveries get their row by it.
    fn settling(
        &self,
        settlements: &[Settlement],
        progress: &[EndpointProgress],
    ) -> Result<(Unit, Vec<DeliveryId>), StoreError> {
        let mut unit = Unit::with_capacity(
            2 * settlements.len() + 2 * progress.len(),
            26 * settlements.len() + 11 * progress.len(),
        );
        let mut first_outcomes = Vec::new();
        let fresh = self.fresh().lock();
        for settlement in settlements {
            match fresh.find(settlement.delivery) {
                None => add_verdict(&mut unit, settlement),
                Some(unwritten) => {
                    add_first(&mut unit, settlement, unwritten);
                    first_outcomes.push(settlement.delivery);
                }
            }
        }
        drop(fresh);
        let mut addresses = Addresses::default();
        for settlement in settlements {
            let (delivery, attempt) = (settlement.delivery, &settlement.attempt);
            add_attempt(&mut unit, delivery, attempt, &mut addresses)?;
        }
        for progress in progress {
            add_progress(&mut unit, progress);
            for hour in &progress.hours {
                add_hour(&mut unit, progress.endpoint, hour);
            }
        }
        Ok((unit, first_outcomes))
    }
}

/// The text of the address before: many attempts one after the other reach the same one, and writing
/// it out took a twelfth of all it takes to record an attempt.
#[derive(Default)]
struct Addresses(Option<(IpAddr, Arc<str>)>);

impl Addresses {
    fn text(&mut self, address: IpAddr) -> Arc<str> {
        match &self.0 {
            Some((last, text)) if *last == address => Arc::clone(text),
            _ => {
                let text: Arc<str> = address.to_string().into();
                self.0 = Some((address, Arc::clone(&text)));
                text
            }
        }
    }
}

fn add_attempt(
    unit: &mut Unit,
    delivery: DeliveryId,
    attempt: &Attempt,
    addresses: &mut Addresses,
) -> Result<(), StoreError> {
    let headers = match attempt.response_headers.as_slice() {
        [] => Value::Null,
        headers => serde_json::to_string(headers)
            .map_err(|error| StoreError::Internal(error.to_string()))?
            .into(),
    };
    let timings = &attempt.timings;
    unit.add(
        INSERT_ATTEMPT,
        [
            delivery.into(),
            attempt.number.into(),
            attempt.started_at.into(),
            attempt.duration_ms.into(),
            attempt.outcome.as_str().into(),
            attempt.status_code.map(u32::from).into(),
            attempt.reason.map(|reason| reason.as_str()).into(),
            attempt.detail.clone().into(),
            attempt
                .remote_addr
                .map(|address| addresses.text(address))
                .into(),
            timings.dns_ms.into(),
            timings.connect_ms.into(),
            timings.tls_ms.into(),
            timings.first_byte_ms.into(),
            headers,
            attempt.response_body.clone().into(),
        ],
    );
    Ok(())
}

fn add_verdict(unit: &mut Unit, settlement: &Settlement) {
    let id = settlement.delivery.into();
    let number = settlement.attempt.number.into();
    let due_at = settlement.due_at.into();
    let ended_at = settlement.ended_at.into();
    match settlement.verdict {
        Verdict::Delivered => unit.add(DELIVERED, [id, number, ended_at]),
        Verdict::RetryAt(at) => unit.add(RETRY_AT, [id, number, at.into(), due_at]),
        Verdict::DeadLetter => unit.add(DEAD_LETTER, [id, number, ended_at, due_at]),
    }
}

fn add_first(unit: &mut Unit, settlement: &Settlement, unwritten: Unwritten) {
    let ended_at = Some(settlement.ended_at);
    let (standing, next_attempt_at, completed_at) = match settlement.verdict {
        Verdict::Delivered => (standing::DELIVERED, None, ended_at),
        Verdict::RetryAt(at) => (TRIED, Some(at), None),
        Verdict::DeadLetter => (DEAD, None, ended_at),
    };
    unit.add(
        FIRST,
        [
            unwritten.delivery.into(),
            unwritten.team.into(),
            unwritten.event.into(),
            unwritten.endpoint.into(),
            unwritten.event_type.into(),
            standing.into(),
            settlement.attempt.number.into(),
            next_attempt_at.into(),
            completed_at.into(),
            unwritten.test.into(),
            settlement.due_at.into(),
        ],
    );
}

fn add_progress(unit: &mut Unit, progress: &EndpointProgress) {
    let (endpoint, at) = (progress.endpoint.into(), progress.last_delivery_at.into());
    match &progress.health {
        None => unit.add(NOTE_DELIVERY, [endpoint, at]),
        Some(health) => unit.add(
            NOTE_HEALTH,
            [
                endpoint,
                health.consecutive_failures.into(),
                health.failing_since.into(),
                health.last_reason.map(|reason| reason.as_str()).into(),
                at,
            ],
        ),
    }
}
