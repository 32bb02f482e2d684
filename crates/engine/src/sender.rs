//! Hides one attempt: capacity, a look at the endpoint, signature, exchange, verdict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use egress::{Exchange, Failure, Request, Response};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use model::attempt::{Attempt, Outcome, Reason, judge_status};
use model::brand::Brand;
use model::id::IdCodec;
use model::time::Timestamp;
use store::{DueDelivery, Settlement};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::fmt::Hyphenated;

use crate::guarded::guarded;
use crate::house::House;
use crate::lane::{Heard, Lane, Taken, Target, Turn};
use crate::meaning::status_sentence;

/// An attempt that ended and is to be recorded.
pub(crate) struct Settled {
    pub(crate) lane: Arc<Lane>,
    pub(crate) settlement: Settlement,
    pub(crate) attempt_count: u32,
    pub(crate) test: bool,
    /// Held until the attempt is recorded: the house does not close before.
    pub(crate) _open: TaskTrackerToken,
}

/// What an attempt came to.
enum Ended {
    /// It is to be recorded.
    Settled(Settled),
    /// It was not made, through no fault of the endpoint.
    NotMade(DueDelivery, Failure),
}

/// Sends what a lane has, one delivery after the other, until there is nothing to take.
pub(crate) async fn send_all(house: Arc<House>, lane: Arc<Lane>) {
    let mut first = true;
    while its_turn(&house, &lane, first).await {
        let Some(places) = places(&house, &lane).await else {
            return lane.leave(first); // the house is closing
        };
        // Before it is looked where the delivery goes: an attempt that starts after a change took hold goes by it.
        let started_at = house.clock.now();
        let (taken, next) = lane.take(first);
        first = false;
        house.follow(&lane, next);
        let Some(Taken {
            delivery,
            target,
            number,
        }) = taken
        else {
            return;
        };
        let ended = attempt(&house, &lane, delivery, &target, started_at).await;
        drop(places);
        match ended {
            Ended::Settled(settled) => {
                let attempt = &settled.settlement.attempt;
                let took = Duration::from_millis(attempt.duration_ms.into());
                lane.ended(&target, number, Heard::of(attempt), took);
                // Waits while the recorder is behind: what is in memory unrecorded stays bounded.
                if house.outcomes.send(settled).await.is_err() {
                    return; // the recorder is gone, so the house is; the store still owes the delivery
                }
            }
            Ended::NotMade(delivery, failure) => {
                house.metrics.attempt_not_made(failure.reason);
                let next = lane.not_made(&target, number, delivery, &failure);
                house.follow(&lane, next);
            }
        }
    }
}

/// Waits, without a place that others need, until the lane may make another attempt. Whether it may; if not, the
/// sender has left.
async fn its_turn(house: &House, lane: &Lane, first: bool) -> bool {
    loop {
        // Before it is looked at, so that no change after that is missed.
        let turned = lane.turned.notified();
        let (wait, in_trouble) = match lane.turn(first) {
            Turn::Now => return true,
            Turn::Left => return false,
            Turn::After(wait) => (wait, false),
            Turn::InTrouble(wait) => (wait, true),
        };
        tokio::select! {
            biased;
            // There are no places then, so that it leaves.
            () = house.closing.cancelled() => return true,
            () = turned => {}
            () = house.trouble.got_through(), if in_trouble => return true,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// A place of the team's and one of the house's, for as long as it is held.
struct Held<'a> {
    _places: [SemaphorePermit<'a>; 2],
    _shares_of_slow: Option<[SemaphorePermit<'a>; 2]>,
}

/// Waits for places; none where the house is closing.
async fn places<'a>(house: &'a House, lane: &'a Lane) -> Option<Held<'a>> {
    let (team, all) = (&lane.team_places, &house.places);
    loop {
        let turned = lane.turned.notified();
        let slow = lane.is_slow();
        let held = async {
            // The shares first: who waits for them holds no place that others could use.
            let shares = match slow {
                true => Some([team.share_of_slow().await?, all.share_of_slow().await?]),
                false => None,
            };
            Some(Held {
                _places: [team.take().await?, all.take().await?],
                _shares_of_slow: shares,
            })
        };
        // Where its endpoint turns meanwhile it waits anew, among those of its kind.
        tokio::select! {
            biased;
            held = held => return held,
            () = turned => {}
        }
    }
}

async fn attempt(
    house: &House,
    lane: &Arc<Lane>,
    delivery: DueDelivery,
    target: &Target,
    started_at: Timestamp,
) -> Ended {
    let open = house.tasks.token();
    let started = Instant::now();
    let in_flight = house.metrics.attempt_started();
    let number = delivery.attempt_count + 1;

    let exchange = match &target.url {
        Err(problem) => refused(&problem.sentence),
        Ok(url) => {
            let exchange = async {
                let signed = Signed::new(target, &delivery, started_at, house.store.codec());
                let request = Request {
                    url,
                    headers: &|| house.headers.of(&signed),
                    body: delivery.body.clone(),
                    deadline: started + house.options.attempt_timeout,
                };
                house.transport.exchange(&target.connections, request).await
            };
            guarded(exchange, || house.metrics.attempt_panicked()).await
        }
    };
    let duration = started.elapsed();
    let exchange = match exchange.result {
        Err(failure) => {
            tracing::debug!(
                endpoint = %house.store.codec().uuid(lane.endpoint),
                reason = failure.reason.as_str(),
                detail = failure.operator_detail,
                ours = failure.ours,
                "an attempt failed"
            );
            if failure.ours {
                return Ended::NotMade(delivery, failure);
            }
            Exchange {
                result: Err(failure),
                ..exchange
            }
        }
        Ok(_) => exchange,
    };
    if exchange.sent_twice {
        house.metrics.sent_twice();
    }
    let attempt = describe(number, started_at, duration.as_millis(), exchange);
    drop(in_flight);
    house
        .metrics
        .attempt_ended(attempt.outcome, attempt.reason, duration);

    let nth = number.saturating_sub(delivery.schedule_start);
    let verdict =
        house
            .options
            .schedule
            .judge(delivery.id, nth, attempt.outcome, house.clock.steady());
    Ended::Settled(Settled {
        lane: Arc::clone(lane),
        settlement: Settlement {
            delivery: delivery.id,
            attempt,
            due_at: delivery.due_at,
            verdict,
            ended_at: house.clock.now(),
        },
        attempt_count: delivery.attempt_count,
        test: delivery.test,
        _open: open,
    })
}

/// The exchange that was not made, since the rules of today refuse the endpoint's URL.
fn refused(sentence: &str) -> Exchange {
    Exchange {
        remote_addr: None,
        timings: model::attempt::Timings::default(),
        sent_twice: false,
        result: Err(Failure {
            reason: Reason::BlockedAddress,
            detail: sentence.to_owned(),
            operator_detail: sentence.to_owned(),
            ours: false,
            partial: None,
        }),
    }
}

/// What an attempt says whose request went out on two connections.
const SENT_TWICE: &str = "The connection that was kept closed before the answer came, so the request was sent again on a new \
     one: the receiver may have seen it twice, under the same delivery id.";

fn describe(number: u32, started_at: Timestamp, took_ms: u128, exchange: Exchange) -> Attempt {
    let (outcome, reason, detail, response) = match exchange.result {
        Ok(response) => {
            let (outcome, reason) = judge_status(response.status);
            let detail = reason.map(|_| status_sentence(&response));
            (outcome, reason, detail, Some(response))
        }
        Err(failure) => (
            Outcome::Retry,
            Some(failure.reason),
            Some(failure.detail),
            failure.partial,
        ),
    };
    let detail = match detail {
        detail if !exchange.sent_twice => detail,
        Some(detail) => Some(format!("{detail} {SENT_TWICE}")),
        None => Some(SENT_TWICE.to_owned()),
    };
    let had_response = response.is_some();
    let Response {
        status,
        headers,
        body,
    } = response.unwrap_or_default();
    Attempt {
        number,
        started_at,
        duration_ms: u32::try_from(took_ms).unwrap_or(u32::MAX),
        outcome,
        status_code: had_response.then_some(status),
        reason,
        detail,
        remote_addr: exchange.remote_addr.map(|addr| addr.ip()),
        response_headers: headers,
        response_body: had_response.then_some(body),
        timings: exchange.timings,
    }
}

/// The names of a delivery's headers, made once from the brand.
pub(crate) struct HeaderNames {
    signature: HeaderName,
    signature_next: HeaderName,
    timestamp: HeaderName,
    event: HeaderName,
    delivery: HeaderName,
    user_agent: HeaderValue,
}

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl HeaderNames {
    /// The names under a brand's prefix.
    ///
    /// # Errors
    /// The sentence says which part of the brand cannot stand in a header.
    pub(crate) fn new(brand: &Brand) -> Result<Self, String> {
        let name = |suffix: &str| {
            let name = format!("{}-{suffix}", brand.header_prefix);
            name.parse::<HeaderName>().map_err(|_| {
                format!("the brand's header prefix makes no valid header name: {name:?}")
            })
        };
        Ok(Self {
            signature: name("Signature")?,
            signature_next: name("Signature-Next")?,
            timestamp: name("Timestamp")?,
            event: name("Event")?,
            delivery: name("Delivery")?,
            user_agent: brand.user_agent.parse().map_err(|_| {
                format!(
                    "the brand's User-Agent is no valid header value: {:?}",
                    brand.user_agent
                )
            })?,
        })
    }

    /// All headers of one attempt (contract A, "Headers of every delivery", and B, "Also sent").
    pub(crate) fn of(&self, signed: &Signed) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(self.signature.clone(), signed.signature.clone());
        if let Some(next) = &signed.signature_next {
            headers.insert(self.signature_next.clone(), next.clone());
        }
        headers.insert(WEBHOOK_SIGNATURE, signed.standard.clone());
        headers.insert(self.timestamp.clone(), signed.timestamp.clone());
        headers.insert(self.event.clone(), signed.event.clone());
        headers.insert(self.delivery.clone(), signed.id.clone());
        headers.insert(WEBHOOK_ID, signed.id.clone());
        headers.insert(WEBHOOK_TIMESTAMP, signed.timestamp.clone());
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, self.user_agent.clone());
        headers
    }
}

/// What an attempt's headers say of it, made once for all its tries.
pub(crate) struct Signed {
    signature: HeaderValue,
    signature_next: Option<HeaderValue>,
    /// The signatures of Standard Webhooks, of all secrets in use.
    standard: HeaderValue,
    timestamp: HeaderValue,
    event: HeaderValue,
    id: HeaderValue,
}

impl Signed {
    pub(crate) fn new(
        target: &Target,
        delivery: &DueDelivery,
        now: Timestamp,
        codec: &IdCodec,
    ) -> Self {
        let seconds = now.as_seconds();
        let mut id = [0; Hyphenated::LENGTH];
        let id: &str = codec.uuid(delivery.id).hyphenated().encode_lower(&mut id);
        let body = &delivery.body;
        let timestamp = seconds.to_string();
        let mut signature = target.current.vantagekit(seconds, body);
        let mut signature_next = None;
        let standard = target.current.standard(id, seconds, body);
        let mut standard = standard.as_str().to_owned();
        for (keys, _) in target.previous.iter().filter(|(_, until)| now < *until) {
            if signature_next.is_none() {
                // While secrets are being replaced the oldest goes on signing.
                let oldest = keys.vantagekit(seconds, body);
                signature_next = Some(std::mem::replace(&mut signature, oldest));
            }
            standard.push(' ');
            standard.push_str(keys.standard(id, seconds, body).as_str());
        }
        let texts = [
            signature.as_str(),
            &standard,
            &timestamp,
            &delivery.event_type,
            id,
        ];
        let [signature, standard, timestamp, event, id] = values(texts);
        Self {
            signature,
            signature_next: signature_next.map(|next| {
                let [next] = values([next.as_str()]);
                next
            }),
            standard,
            timestamp,
            event,
            id,
        }
    }
}

/// Header values of these texts, which share one piece of memory.
fn values<const N: usize>(texts: [&str; N]) -> [HeaderValue; N] {
    let mut rest = Bytes::from(texts.concat());
    texts.map(|text| {
        HeaderValue::from_maybe_shared(rest.split_to(text.len()))
            .expect("hex, base64, UUIDs and the catalog's type names are visible ASCII")
    })
}
