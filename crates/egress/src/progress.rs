//! Hides what is known of an attempt while it goes on, and what it comes to.

use std::net::SocketAddr;
use std::sync::Arc;

use model::attempt::Timings;
use tokio::time::Instant;

use crate::connection::Received;
use crate::connections::Connections;
use crate::exchange::{Exchange, Failure};
use crate::failure::{self, Phase};
use crate::receiver_url::ReceiverUrl;
use crate::stream::Gauge;
use crate::tries::Tries;

/// How far an attempt has come. It outlives the attempt, so that one cut by its deadline still says
/// what it was doing.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    pub(crate) timings: Timings,
    pub(crate) remote: Option<SocketAddr>,
    /// When the request was handed to the connection.
    pub(crate) begun: Option<Instant>,
    /// The connection's, once there is one.
    pub(crate) gauge: Option<Arc<Gauge>>,
    pub(crate) received: Received,
    /// What was tried before one connected.
    pub(crate) tries: Tries,
    pub(crate) sent_twice: bool,
}

impl Progress {
    pub(crate) fn answered(&self) -> bool {
        self.gauge.as_ref().is_some_and(|gauge| gauge.answered())
    }

    pub(crate) fn timed_out(&self, url: &ReceiverUrl) -> Failure {
        match (self.phase, self.gauge.as_deref()) {
            (Phase::Connecting, _) => failure::unconnected(url, &self.tries),
            (phase, gauge) => failure::timed_out(url, phase, gauge),
        }
    }

    /// Remembers which addresses failed.
    pub(crate) fn remember(&self, connections: &Connections, is_ok: bool) {
        if !self.tries.is_empty() {
            connections.unconnected(&self.tries);
        }
        if let (Some(remote), false) = (self.remote, is_ok) {
            connections.failed(remote);
        }
    }

    pub(crate) fn into_exchange(self, result: Result<(), Failure>) -> Exchange {
        let Self {
            mut timings,
            remote,
            begun,
            received,
            tries,
            sent_twice,
            ..
        } = self;
        if let (Some(begun), Some(first_byte)) = (begun, received.first_byte) {
            timings.first_byte_ms = Some(millis(first_byte.duration_since(begun)));
        }
        let response = received.into_response();
        let result = match result {
            Ok(()) => Ok(response.unwrap_or_default()),
            Err(mut failure) => {
                failure.partial = response;
                Err(failure)
            }
        };
        Exchange {
            remote_addr: remote.or_else(|| tries.verdict().1),
            timings,
            sent_twice,
            result,
        }
    }
}

pub(crate) fn millis_since(start: Instant) -> u32 {
    millis(start.elapsed())
}

pub(crate) fn millis(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
