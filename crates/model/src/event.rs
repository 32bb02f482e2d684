//! Hides how a publisher's bytes become an event: known type, valid data, bytes kept as they are.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::Catalog;
use crate::id::EventId;

/// The largest body of one published event, in bytes (contract: 413 above).
pub const EVENT_BODY_MAX: usize = 256 * 1024;

/// An event that may be accepted: its type is known and its data is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its type's name.
    pub event_type: Arc<str>,
    /// The body every receiver gets: `{"type":"…","data":…}`, with `data` byte for byte as it
    /// was published.
    pub body: Bytes,
}

/// Why a publisher's event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventProblem {
    /// Not JSON at all.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    /// The type is not in the catalog.
    #[error("unknown event type {0:?}; GET /v1/event-types lists the known ones")]
    UnknownType(String),
    /// JSON, but not what was expected.
    #[error("{pointer}: {expected}")]
    InvalidPayload {
        /// The JSON pointer (RFC 6901) of what is wrong.
        pointer: String,
        /// What was expected there, as a sentence.
        expected: String,
    },
}

impl NewEvent {
    /// Checks `data` of an event of the named type and frames it for delivery.
    ///
    /// # Errors
    /// See [`EventProblem`]; pointers are relative to `prefix`, such as `/data`.
    pub fn new(
        _catalog: &Catalog,
        _event_type: &str,
        _data: &serde_json::value::RawValue,
        _prefix: &str,
    ) -> Result<Self, EventProblem> {
        Err(EventProblem::InvalidJson(String::new()))
    }

    /// The published bytes of `data`.
    pub fn data(&self) -> Bytes {
        data_of(&self.event_type, &self.body)
    }
}

/// The published bytes of `data` inside the body of an event of this type.
pub fn data_of(event_type: &str, body: &Bytes) -> Bytes {
    // `{"type":"` + type + `","data":` … `}`: types are plain ASCII words, so nothing is escaped.
    let start = r#"{"type":"#.len() + 1 + event_type.len() + r#"","data":"#.len();
    body.slice(start..body.len() - 1)
}

/// An event as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its type's name.
    pub event_type: String,
    /// The body every receiver gets.
    pub body: Bytes,
    /// How many deliveries it made.
    pub deliveries: u32,
    /// Whether it was made by "send test event".
    pub test: bool,
}
