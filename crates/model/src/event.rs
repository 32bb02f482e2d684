//! Hides how a publisher's bytes become an event: known type, valid data, bytes kept as they are.

mod request;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, EventType, UnknownType};
use crate::id::EventId;
use crate::json::{self, DEPTH_MAX, Unreadable};
use crate::schema::{self, Mismatch};

pub use crate::json::explain as explain_json;
pub use request::{
    BATCH_BODY_MAX, BATCH_EVENTS_MAX, BatchProblem, check_idempotency_key, parse_batch,
    parse_publication,
};

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

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's JSON pointer (RFC 6901) in the request's body; of a missing field, where it should have been.
    pub pointer: String,
    /// What was expected there, as a sentence without its full stop.
    pub expected: String,
}

/// Why a publisher's event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventProblem {
    /// Not JSON at all. The sentence gives the place, never the text that stands there.
    #[error("the body is not valid JSON: {0}")]
    InvalidJson(String),
    /// The type is not in the catalog.
    #[error(transparent)]
    UnknownType(UnknownType),
    /// JSON, but not what was expected.
    #[error("{}: {expected}", if pointer.is_empty() { "the body" } else { pointer.as_str() })]
    InvalidPayload {
        /// The JSON pointer (RFC 6901) of what is wrong in the request's body; of a missing
        /// field, where it should have been. Empty for the whole body.
        pointer: String,
        /// What was expected there, as a sentence.
        expected: String,
        /// What else is wrong in the same request, at most 20 in all.
        others: Vec<FieldError>,
    },
    /// More bytes than are taken (contract: 413).
    #[error("{what} has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// What is too large, such as `the event`.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
}

impl EventProblem {
    /// Something else was expected at `pointer`.
    fn at(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::invalid(FieldError::at(pointer.into(), expected.into()), Vec::new())
    }

    fn invalid(first: FieldError, others: Vec<FieldError>) -> Self {
        Self::InvalidPayload {
            pointer: first.pointer,
            expected: first.expected,
            others,
        }
    }
}

impl FieldError {
    /// What was expected at `pointer`. A pointer that is very long (names are a publisher's) is cut to the nearest
    /// member around it.
    fn at(mut pointer: String, mut expected: String) -> Self {
        const LONGEST: usize = 1000;
        if pointer.len() > LONGEST {
            while pointer.len() > LONGEST {
                pointer.truncate(pointer.rfind('/').unwrap_or(0));
            }
            expected = format!("somewhere inside: {expected}");
        }
        Self { pointer, expected }
    }
}

impl NewEvent {
    /// Checks `data` of an event of the named type and frames it for delivery.
    ///
    /// `data` must be an object that is valid by the type's schema. Refused beside that is what
    /// a receiver's parser might read differently than we did: a name twice in one object, a
    /// lone surrogate (`"\ud800"`), nesting beyond 100 levels. Numbers of any size and
    /// precision are accepted; those beyond a double's range count as very large doubles.
    ///
    /// # Errors
    /// See [`EventProblem`]; pointers are relative to `prefix`, such as `/data`.
    pub fn new(
        catalog: &Catalog,
        event_type: &str,
        data: &RawValue,
        prefix: &str,
    ) -> Result<Self, EventProblem> {
        let event_type = catalog
            .get(event_type)
            .ok_or_else(|| EventProblem::UnknownType(catalog.unknown(event_type)))?;
        check_data(event_type, data.get(), prefix)?;
        let body = frame(&event_type.name, data.get());
        if body.len() > EVENT_BODY_MAX {
            return Err(EventProblem::TooLarge {
                what: "the event",
                bytes: body.len(),
                max: EVENT_BODY_MAX,
            });
        }
        Ok(Self {
            event_type: event_type.name.clone(),
            body,
        })
    }

    /// The example of the named type, to be sent as a test.
    ///
    /// # Errors
    /// [`EventProblem::UnknownType`].
    pub fn example(catalog: &Catalog, event_type: &str) -> Result<Self, EventProblem> {
        let known = catalog
            .get(event_type)
            .ok_or_else(|| EventProblem::UnknownType(catalog.unknown(event_type)))?;
        Ok(Self {
            event_type: known.name.clone(),
            body: frame(&known.name, known.example.get()),
        })
    }

    /// The published bytes of `data`.
    pub fn data(&self) -> Bytes {
        data_of(&self.event_type, &self.body)
    }

    /// What tells two publications under one idempotency key apart: SHA-256 of the body, and so
    /// of the type and the bytes of `data`.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.body).into()
    }
}

fn check_data(event_type: &EventType, data: &str, prefix: &str) -> Result<(), EventProblem> {
    let value = json::read(data).map_err(|problem| match problem {
        Unreadable::Syntax(problem) => {
            EventProblem::InvalidJson(format!("{} of {prefix}", json::explain(data, &problem)))
        }
        Unreadable::Duplicate(pointer) => EventProblem::at(
            prefix.to_owned() + &pointer,
            "expected each name once in an object, found this one twice",
        ),
        Unreadable::TooDeep => EventProblem::at(
            prefix,
            format!("expected at most {DEPTH_MAX} levels of nested arrays and objects, found more"),
        ),
    })?;
    if !value.is_object() {
        let expected = format!("expected an object, found {}", schema::found(&value));
        return Err(EventProblem::at(prefix, expected));
    }
    event_type.check(&value).map_err(|mismatches| {
        let mut errors = mismatches
            .into_iter()
            .map(|Mismatch { pointer, expected }| {
                FieldError::at(prefix.to_owned() + &pointer, expected)
            });
        // There is one at least: the value does not match.
        let first = errors.next().unwrap_or_else(|| {
            FieldError::at(prefix.to_owned(), "expected what the schema says".into())
        });
        EventProblem::invalid(first, errors.collect())
    })
}

// The frame: types are plain ASCII words, so nothing in it is escaped.
const BEFORE_TYPE: &str = r#"{"type":""#;
const BEFORE_DATA: &str = r#"","data":"#;
const AFTER_DATA: &str = "}";

fn frame(event_type: &str, data: &str) -> Bytes {
    [BEFORE_TYPE, event_type, BEFORE_DATA, data, AFTER_DATA]
        .concat()
        .into()
}

/// The published bytes of `data` inside the body of an event of this type.
pub fn data_of(event_type: &str, body: &Bytes) -> Bytes {
    let start = BEFORE_TYPE.len() + event_type.len() + BEFORE_DATA.len();
    body.slice(start..body.len() - AFTER_DATA.len())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::vantagekit);
    const ROOM: &str = "0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34";

    fn archived(data: &str) -> Result<NewEvent, EventProblem> {
        let data = RawValue::from_string(data.into()).unwrap();
        NewEvent::new(&CATALOG, "deal_room.archived", &data, "/data")
    }

    /// Valid data, with `extra` as one more member.
    fn with(extra: &str) -> String {
        format!(r#"{{"dealRoomId":"{ROOM}","name":"N",{extra}}}"#)
    }

    #[test]
    fn the_body_is_type_and_data_with_the_published_bytes() {
        let data = format!(
            "{{ \"name\":\"\\u00e9 \\/ é\",\n\t\"z\": 1.500e0, \"dealRoomId\": \"{ROOM}\" , \"a\":[ ]}}"
        );
        let event = archived(&data).unwrap();
        assert_eq!(&*event.event_type, "deal_room.archived");
        assert_eq!(
            event.body,
            format!(r#"{{"type":"deal_room.archived","data":{data}}}"#)
        );
        assert_eq!(event.data(), data);
        assert_eq!(data_of("deal_room.archived", &event.body), data);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_pointer() {
        for (data, pointer, expected) in [
            (
                format!(r#"{{"dealRoomId":"{ROOM}"}}"#),
                "/data/name",
                "this field is required, and it is missing",
            ),
            (
                format!(r#"{{"dealRoomId":"{ROOM}","name":7}}"#),
                "/data/name",
                "expected a string, found 7",
            ),
            (
                r#"{"dealRoomId":"x","name":"N"}"#.into(),
                "/data/dealRoomId",
                "expected a UUID such as 0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34, found another string",
            ),
            ("[]".into(), "/data", "expected an object, found an array"),
            ("null".into(), "/data", "expected an object, found null"),
            (
                with(r#""a":{"~":1,"~":1}"#),
                "/data/a/~0",
                "expected each name once in an object, found this one twice",
            ),
            (
                with(r#""name":"M""#),
                "/data/name",
                "expected each name once in an object, found this one twice",
            ),
            (
                with(&format!("\"a\":{}1{}", "[".repeat(100), "]".repeat(100))),
                "/data",
                "expected at most 100 levels of nested arrays and objects, found more",
            ),
            (
                with(&format!("\"{0}\":{{\"b\":1,\"b\":1}}", "a".repeat(2000))),
                "/data",
                "somewhere inside: expected each name once in an object, found this one twice",
            ),
        ] {
            let expected = EventProblem::at(pointer, expected);
            assert_eq!(archived(&data), Err(expected), "{data:.200}");
        }
        let unknown = NewEvent::new(
            &CATALOG,
            "deal_room.",
            &RawValue::from_string("{}".into()).unwrap(),
            "/data",
        );
        assert_eq!(
            unknown.unwrap_err().to_string(),
            "unknown event type \"deal_room.\"; GET /v1/event-types lists the known ones"
        );
        assert_eq!(
            CATALOG.unknown(&"é".repeat(500)).name,
            "é".repeat(128) + "…"
        );
    }

    #[test]
    fn numbers_are_delivered_as_they_are_however_large() {
        for number in [
            "1e999",
            "-1E+999",
            &"7".repeat(60),
            &"7".repeat(400),
            "1e-999",
            "-0.0",
            "0.1000000000000000055511151231257827",
        ] {
            let data = with(&format!("\"extra\":{number}"));
            assert_eq!(archived(&data).unwrap().data(), data);
        }
        let counted = |count: &str| {
            let data = format!(
                r#"{{"dealRoomId":"{ROOM}","name":"N","version":1,"documentCount":{count}}}"#
            );
            NewEvent::new(
                &CATALOG,
                "deal_room.published",
                &RawValue::from_string(data).unwrap(),
                "/data",
            )
        };
        for integer in ["0", "-1", "3.0", "1e2", &"7".repeat(60), "1e999", "-1e999"] {
            assert!(
                counted(integer).is_ok(),
                "{integer} is an integer (JSON Schema: a number without a fraction)"
            );
        }
        for wrong in ["1.5", "\"3\"", "null", "true"] {
            assert!(counted(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_not_json_and_the_message_keeps_the_text_to_itself() {
        for text in [
            r#""secret\ud800""#,
            r#""\udc00secret""#,
            r#""\ud800\u0041secret""#,
        ] {
            let problem = archived(&with(&format!("\"a\":{text}"))).unwrap_err();
            let EventProblem::InvalidJson(sentence) = problem else {
                panic!("{problem:?}")
            };
            assert!(
                sentence.contains("line 1 column") && sentence.ends_with(" of /data"),
                "{sentence}"
            );
            assert!(!sentence.contains("secret"), "{sentence}");
        }
        assert!(archived(&with(r#""a":"\ud83d\ude00""#)).is_ok());
    }

    #[test]
    fn an_event_has_a_largest_size() {
        let filled = |length: usize| with(&format!("\"a\":\"{}\"", "x".repeat(length)));
        let frame = archived(&filled(0)).unwrap().body.len();
        assert_eq!(
            archived(&filled(EVENT_BODY_MAX - frame))
                .unwrap()
                .body
                .len(),
            EVENT_BODY_MAX
        );
        assert_eq!(
            archived(&filled(EVENT_BODY_MAX - frame + 1))
                .unwrap_err()
                .to_string(),
            "the event has 262145 bytes; at most 262144 are accepted"
        );
    }

    #[test]
    fn every_type_has_an_example_that_can_be_published_and_sent() {
        for known in CATALOG.types() {
            let sent = NewEvent::example(&CATALOG, &known.name).unwrap();
            let published = NewEvent::new(&CATALOG, &known.name, &known.example, "/data").unwrap();
            assert_eq!(sent, published);
            assert!(
                !sent.body.contains(&b'\n'),
                "examples are sent without the file's layout"
            );
        }
        assert!(NewEvent::example(&CATALOG, "none").is_err());
    }

    #[test]
    fn the_fingerprint_is_of_the_type_and_the_very_data() {
        let data = with("\"a\":1");
        let event = archived(&data).unwrap();
        assert_eq!(event.fingerprint(), archived(&data).unwrap().fingerprint());
        assert_eq!(
            event.fingerprint(),
            <[u8; 32]>::from(Sha256::digest(&event.body))
        );
        assert_ne!(
            event.fingerprint(),
            archived(&with("\"a\": 1")).unwrap().fingerprint()
        );
        let raw = RawValue::from_string(data).unwrap();
        let created = NewEvent::new(&CATALOG, "deal_room.created", &raw, "/data").unwrap();
        assert_ne!(event.fingerprint(), created.fingerprint());
    }

    proptest! {
        #[test]
        fn valid_data_is_delivered_byte_for_byte(
            name in ".{0,20}", key in "[a-z]{1,8}x", number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
            space in "[ \t\r\n]{0,3}",
        ) {
            let name = serde_json::to_string(&name).unwrap();
            let data = format!(
                "{{{space}\"name\"{space}:{name},\"{key}\":{space}[{number},{{}}{space}],\"dealRoomId\":\"{ROOM}\"{space}}}"
            );
            let event = archived(&data).unwrap();
            prop_assert_eq!(event.data(), data.as_bytes());
            let body: serde_json::Map<String, serde_json::Value> = serde_json::from_str(
                &String::from_utf8(event.body.to_vec()).unwrap().replace(&number, "0")).unwrap();
            prop_assert_eq!(body.keys().collect::<Vec<_>>(), ["data", "type"]);
        }
    }
}
