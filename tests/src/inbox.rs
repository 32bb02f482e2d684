//! Hides a receiver that records every request and answers by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, UNIX_EPOCH};

use anyhow::Result;
use local_receiver::{Answer, Arrival, Authority, Receiver};
use rustls::ServerConfig;
use signature::{Scheme, Verifier};

use leaks::QUERY;

#[derive(Default)]
struct Pages {
    arrivals: Vec<Arrival>,
    script: VecDeque<Answer>,
    then: Option<Answer>,
    limit: Option<Limit>,
    /// Requests within the limit.
    taken: usize,
}

/// What a receiver takes: so many a second, and so many at once.
struct Limit {
    per_second: f64,
    burst: f64,
    tokens: f64,
    last: Instant,
}

impl Limit {
    fn takes(&mut self) -> bool {
        let gone = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        self.tokens = (self.tokens + gone * self.per_second).min(self.burst);
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }
}

/// A receiver: answers 200 unless its script says otherwise.
pub struct Inbox {
    pages: Arc<Mutex<Pages>>,
    receiver: Receiver,
}

impl Inbox {
    /// A new one, with a certificate of `authority`.
    pub async fn open(authority: &Authority) -> Result<Self> {
        Self::start(Some(authority.server_config(&["localhost", "127.0.0.1"])?)).await
    }

    /// A new one without TLS.
    pub async fn open_plain() -> Result<Self> {
        Self::start(None).await
    }

    async fn start(tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let pages = Arc::new(Mutex::new(Pages::default()));
        let book = Arc::clone(&pages);
        let handler = move |arrival: Arrival| {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.arrivals.push(arrival);
            if let Some(limit) = &mut book.limit
                && !limit.takes()
            {
                return std::future::ready(Answer::status(429));
            }
            book.taken += 1;
            let next = book.script.pop_front().or_else(|| book.then.clone());
            std::future::ready(next.unwrap_or_else(|| Answer::status(200)))
        };
        Ok(Self {
            pages,
            receiver: Receiver::start(0, tls, handler).await?,
        })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its URL, with a query that nobody else may be told.
    pub fn url(&self) -> String {
        self.receiver.url(&format!("/hooks?{QUERY}"))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.receiver.address().port()
    }

    /// From now on it gives these answers, one each, and then 200.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut pages = self.pages();
        pages.script = answers.into_iter().collect();
        pages.then = None;
    }

    /// From now on it always gives this answer.
    pub fn always(&self, answer: Answer) {
        let mut pages = self.pages();
        pages.script.clear();
        pages.then = Some(answer);
    }

    /// From now on it takes so many a second, and so many at once; beyond that it answers 429.
    pub fn limit(&self, per_second: u32, burst: u32) {
        self.pages().limit = Some(Limit {
            per_second: per_second.into(),
            burst: burst.into(),
            tokens: burst.into(),
            last: Instant::now(),
        });
    }

    /// How many requests it took: those beyond a limit aside.
    pub fn taken(&self) -> usize {
        self.pages().taken
    }

    /// All that arrived, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.pages().arrivals.clone()
    }

    /// How many arrived.
    pub fn count(&self) -> usize {
        self.pages().arrivals.len()
    }

    /// Waits until so many have arrived; all that arrived.
    pub async fn wait_for(&self, count: usize) -> Vec<Arrival> {
        crate::eventually(&format!("{count} requests at the receiver"), async || {
            (self.count() >= count).then(|| self.arrivals())
        })
        .await
    }
}

/// Whether both signatures of a delivery are right under this secret, by the receiver's clock at
/// its arrival.
///
/// # Errors
/// The signature crate's explanation.
pub fn verify(arrival: &Arrival, secret: &str) -> Result<(), String> {
    verify_at(arrival, secret, unix_seconds(arrival))
}

/// As [`verify`], by a clock that shows `now`, in Unix seconds.
///
/// # Errors
/// The signature crate's explanation.
pub fn verify_at(arrival: &Arrival, secret: &str, now: i64) -> Result<(), String> {
    let verifier = Verifier::new(secret);
    for scheme in [Scheme::VantageKit, Scheme::Standard] {
        verifier
            .explain(scheme, &arrival.headers, &arrival.body, now)
            .map_err(|failure| format!("{scheme:?}: {failure}"))?;
    }
    Ok(())
}

/// When a request arrived, in Unix seconds.
pub fn unix_seconds(arrival: &Arrival) -> i64 {
    let since = arrival.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().cast_signed()
}
