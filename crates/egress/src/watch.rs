//! Hides what is done while an exchange waits for its response for longer than usual.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use crate::connections::Connections;
use crate::fate::Fate;
use crate::stream::Gauge;

/// How long a request on a kept connection may be without an answer before the system is asked whether it
/// has arrived at all. A lost packet was sent again several times by then.
const LOOK_AFTER: Duration = Duration::from_millis(3500);
/// How long a new connection may be without a response before the endpoint's idle ones are closed for it.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// The outcome of `exchange`, unless its request turns out to be lost on the way; then it is dropped.
pub(crate) async fn unless_lost<F: Future>(gauge: &Gauge, exchange: F) -> Option<F::Output> {
    let mut exchange = pin!(exchange);
    if let Ok(outcome) = tokio::time::timeout(LOOK_AFTER, exchange.as_mut()).await {
        return Some(outcome);
    }
    match gauge.fate() {
        Fate::Lost => None,
        Fate::Arrived | Fate::NotTaken => Some(exchange.await),
    }
}

/// The outcome of `exchange`, which is on a new connection, and for which the idle ones are closed where it
/// waits long.
pub(crate) async fn closing_idle_ones<F: Future>(
    connections: &Connections,
    exchange: F,
) -> F::Output {
    let mut exchange = pin!(exchange);
    if let Ok(outcome) = tokio::time::timeout(LONG_WAIT, exchange.as_mut()).await {
        return outcome;
    }
    let _waits = connections.waits_long();
    exchange.await
}
