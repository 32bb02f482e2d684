//! Hides nothing: what arrives, and what may be done with it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method};

/// A request that arrived, whole.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When it was read to its end.
    pub at: SystemTime,
}

impl Arrival {
    /// A header's value; empty where it is absent or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A response.
    Respond {
        /// How long to think first.
        after: Duration,
        /// Its status.
        status: u16,
        /// Its headers.
        headers: Vec<(&'static str, String)>,
        /// Its body.
        body: Bytes,
    },
    /// Nothing, while the connection stays open.
    Hang,
    /// The connection is closed without a word.
    Close,
    /// A 200 whose body is promised and never ends.
    StallBody,
    /// A 200 whose body breaks off.
    CutBody,
}

impl Answer {
    /// A response of this status, at once and with nothing in it.
    pub fn status(status: u16) -> Self {
        Self::Respond {
            after: Duration::ZERO,
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The same response, after a while.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Self::Respond { after, .. } = &mut self {
            *after = delay;
        }
        self
    }

    /// The same response with a header more.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Respond { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    /// The same response with this body.
    #[must_use]
    pub fn with_body(mut self, content: impl Into<Bytes>) -> Self {
        if let Self::Respond { body, .. } = &mut self {
            *body = content.into();
        }
        self
    }
}
