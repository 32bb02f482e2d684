//! Hides how the outcomes of attempts are recorded: attempt, delivery and health in one unit, which
//! may be run twice, and which never overrules what somebody asked for meanwhile.

use std::sync::Arc;

use model::attempt::Attempt;
use model::health::Health;
use model::id::{DeliveryId, EndpointId};
use model::retry::Verdict;
use model::time::Timestamp;

use crate::driver::Unit;
use crate::error::StoreError;
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
}

impl Store {
    /// Records attempts with what follows from them: all or none, repeatable.
    pub async fn settle(
        &self,
        settlements: Arc<Vec<Settlement>>,
        progress: Arc<Vec<EndpointProgress>>,
    ) -> Result<(), StoreError> {
        let mut unit = Unit::with_capacity(
            2 * settlements.len() + progress.len(),
            19 * settlements.len() + 5 * progress.len(),
        );
        for settlement in settlements.iter() {
            add_attempt(&mut unit, settlement.delivery, &settlement.attempt)?;
            add_verdict(&mut unit, settlement);
        }
        for progress in progress.iter() {
            add_progress(&mut unit, progress);
        }
        if unit.is_empty() {
            return Ok(());
        }
        self.change(unit).await.map(|_| ())
    }
}

fn add_attempt(unit: &mut Unit, delivery: DeliveryId, attempt: &Attempt) -> Result<(), StoreError> {
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
                .map(|address| address.to_string())
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
