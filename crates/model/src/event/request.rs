//! Hides the shape of a publisher's requests: one event, or a batch of them.
//!
//! The shape is strict, as a publisher's typing error would otherwise go unnoticed: a field that
//! is not known beside `type` and `data`, or one that is there twice, is refused. Inside `data`
//! unknown fields pass (contract, "Catalog").

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{EVENT_BODY_MAX, EventProblem, NewEvent};
use crate::catalog::Catalog;
use crate::json::{self, push_segment};

/// The largest body of a batch, in bytes (contract: 413 above).
pub const BATCH_BODY_MAX: usize = 8 * 1024 * 1024;

/// How many events a batch may have.
pub const BATCH_EVENTS_MAX: usize = 1000;

/// Why a batch was not accepted, none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.place())]
pub struct BatchProblem {
    /// Which event is wrong, counted from 0; none where the batch as a whole is.
    pub index: Option<usize>,
    /// What is wrong; its pointer starts at the batch, such as `/events/3/data/name`.
    pub problem: EventProblem,
}

impl BatchProblem {
    /// Names the event where the problem's own sentence has no pointer that does.
    fn place(&self) -> String {
        use EventProblem::{InvalidJson, InvalidPayload, TooLarge, UnknownType};
        match (self.index, &self.problem) {
            (Some(index), UnknownType(_) | TooLarge { .. }) => format!("/events/{index}: "),
            (_, InvalidJson(_) | InvalidPayload { .. }) | (None, _) => String::new(),
        }
    }
}

impl From<EventProblem> for BatchProblem {
    /// A problem of the batch as a whole.
    fn from(problem: EventProblem) -> Self {
        Self {
            index: None,
            problem,
        }
    }
}

/// Reads the body of `POST /v1/events`: `{"type": …, "data": …}`, and nothing beside.
///
/// # Errors
/// See [`EventProblem`] and [`NewEvent::new`]; pointers start at the body, such as `/data/name`.
pub fn parse_publication(catalog: &Catalog, body: &[u8]) -> Result<NewEvent, EventProblem> {
    let text = text(body, "the body", EVENT_BODY_MAX)?;
    let [event_type, data] = fields(text, "", ["type", "data"])?;
    event(catalog, event_type, data, "")
}

/// Reads the body of `POST /v1/events/batch`: `{"events": [{"type", "data", "idempotencyKey"?}]}`
/// with 1 to [`BATCH_EVENTS_MAX`] events, and their idempotency keys. A key of `null` is none.
/// Whether two events share a key is not looked at here.
///
/// # Errors
/// The first problem, with the index of its event.
pub fn parse_batch(
    catalog: &Catalog,
    body: &[u8],
) -> Result<Vec<(NewEvent, Option<String>)>, BatchProblem> {
    let text = text(body, "the batch", BATCH_BODY_MAX)?;
    let [events] = fields(text, "", ["events"])?;
    let events = required(events, "/events", "an array of events")?;
    let events = elements(events.get(), "/events")?;
    let mut parsed = Vec::with_capacity(events.len());
    for (index, entry) in events.into_iter().enumerate() {
        parsed.push(
            batch_event(catalog, entry.get(), &format!("/events/{index}")).map_err(|problem| {
                BatchProblem {
                    index: Some(index),
                    problem,
                }
            })?,
        );
    }
    Ok(parsed)
}

/// Checks an idempotency key: 1 to 255 visible ASCII characters, as it also stands in a header.
///
/// # Errors
/// The sentence says which rule it breaks.
pub fn check_idempotency_key(key: &str) -> Result<(), String> {
    if !(1..=255).contains(&key.len()) {
        return Err("expected an idempotency key of 1 to 255 characters".into());
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "expected an idempotency key of visible ASCII characters, without spaces".into(),
        );
    }
    Ok(())
}

fn batch_event(
    catalog: &Catalog,
    entry: &str,
    at: &str,
) -> Result<(NewEvent, Option<String>), EventProblem> {
    let [event_type, data, key] = fields(entry, at, ["type", "data", "idempotencyKey"])?;
    let event = event(catalog, event_type, data, at)?;
    let key = match key {
        Some(key) if key.get() != "null" => {
            let at = format!("{at}/idempotencyKey");
            let key = string(key, &at)?;
            check_idempotency_key(&key).map_err(|expected| EventProblem::at(at, expected))?;
            Some(key.into_owned())
        }
        _ => None,
    };
    Ok((event, key))
}

fn event(
    catalog: &Catalog,
    event_type: Option<&RawValue>,
    data: Option<&RawValue>,
    at: &str,
) -> Result<NewEvent, EventProblem> {
    let type_at = [at, "/type"].concat();
    let event_type = required(event_type, &type_at, "the event's type")?;
    let event_type = string(event_type, &type_at)?;
    let data_at = [at, "/data"].concat();
    let data = required(data, &data_at, "the event's data")?;
    NewEvent::new(catalog, &event_type, data, &data_at)
}

/// The body as text, where it is not too large.
fn text<'b>(body: &'b [u8], what: &'static str, max: usize) -> Result<&'b str, EventProblem> {
    if body.len() > max {
        return Err(EventProblem::TooLarge {
            what,
            bytes: body.len(),
            max,
        });
    }
    if body.is_empty() {
        return Err(EventProblem::InvalidJson("it is empty".into()));
    }
    std::str::from_utf8(body).map_err(|problem| {
        let offset = problem.valid_up_to();
        EventProblem::InvalidJson(format!(
            "it is not UTF-8 from byte {offset} on (the first is 0)"
        ))
    })
}

fn required<'b>(
    field: Option<&'b RawValue>,
    at: &str,
    what: &str,
) -> Result<&'b RawValue, EventProblem> {
    field.ok_or_else(|| {
        EventProblem::at(
            at,
            format!("expected {what}: this field is required, and it is missing"),
        )
    })
}

fn string<'b>(value: &'b RawValue, at: &str) -> Result<Cow<'b, str>, EventProblem> {
    if !value.get().starts_with('"') {
        let expected = format!("expected a string, found {}", kind(value.get()));
        return Err(EventProblem::at(at, expected));
    }
    serde_json::from_str::<Text<'_>>(value.get())
        .map(|text| text.0)
        .map_err(|problem| {
            EventProblem::InvalidJson(format!("{} of {at}", json::explain(value.get(), &problem)))
        })
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// What the JSON text of a value starts as.
fn kind(text: &str) -> &'static str {
    match text.trim_start().bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't') => "true",
        Some(b'f') => "false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The members `names` of the object that `text` is. Broken JSON is told before a wrong shape.
fn fields<'b, const N: usize>(
    text: &'b str,
    at: &str,
    names: [&str; N],
) -> Result<[Option<&'b RawValue>; N], EventProblem> {
    let mut found = [None; N];
    let mut refused = None;
    parse(
        text,
        at,
        "an object",
        Fields {
            names: &names,
            found: &mut found,
            refused: &mut refused,
        },
    )?;
    match refused {
        None => Ok(found),
        Some(name) => {
            let expected = if names.contains(&name.as_str()) {
                "expected each field once, found this one twice".into()
            } else {
                let hint = match name.as_str() {
                    "idempotencyKey" => "; of a single event the key is the header Idempotency-Key",
                    _ => "",
                };
                format!(
                    "this field is not known here, only {}{hint}",
                    names.join(", ")
                )
            };
            let mut pointer = at.to_owned();
            push_segment(&mut pointer, &name);
            Err(EventProblem::at(pointer, expected))
        }
    }
}

/// The elements of the array that `text` is: 1 to [`BATCH_EVENTS_MAX`].
fn elements<'b>(text: &'b str, at: &str) -> Result<Vec<&'b RawValue>, EventProblem> {
    let mut elements = Elements {
        first: Vec::new(),
        count: 0,
    };
    parse(text, at, "an array", &mut elements)?;
    if (1..=BATCH_EVENTS_MAX).contains(&elements.count) {
        return Ok(elements.first);
    }
    let expected = format!(
        "expected 1 to {BATCH_EVENTS_MAX} events, found {}",
        elements.count
    );
    Err(EventProblem::at(at, expected))
}

/// Parses the array or object that `text` should be by `shape`.
fn parse<'b, S>(text: &'b str, at: &str, wanted: &str, shape: S) -> Result<(), EventProblem>
where
    S: DeserializeSeed<'b, Value = ()>,
{
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fits = kind(text) == wanted;
    let parsed = if fits {
        shape.deserialize(&mut deserializer)
    } else {
        IgnoredAny::deserialize(&mut deserializer).map(|_| ())
    };
    parsed
        .and_then(|()| deserializer.end())
        .map_err(|problem| EventProblem::InvalidJson(json::explain(text, &problem)))?;
    if fits {
        Ok(())
    } else {
        let expected = format!("expected {wanted}, found {}", kind(text));
        Err(EventProblem::at(at, expected))
    }
}

/// Fills `found` with the members called `names`; remembers the first that is not among them or
/// is there twice. The rest is read to its end, but not kept: it may be long.
struct Fields<'f, 'b> {
    names: &'f [&'f str],
    found: &'f mut [Option<&'b RawValue>],
    refused: &'f mut Option<String>,
}

impl<'b> DeserializeSeed<'b> for Fields<'_, 'b> {
    type Value = ();
    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for Fields<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            let place = self.names.iter().position(|known| *known == name);
            match place.map(|place| &mut self.found[place]) {
                Some(free @ None) => *free = Some(map.next_value()?),
                _ => {
                    self.refused.get_or_insert_with(|| name.into_owned());
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Counts an array's elements and keeps as many as a batch may have.
struct Elements<'b> {
    first: Vec<&'b RawValue>,
    count: usize,
}

impl<'b> DeserializeSeed<'b> for &mut Elements<'b> {
    type Value = ();
    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'b> Visitor<'b> for &mut Elements<'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(element) = seq.next_element()? {
            self.count += 1;
            if self.first.len() < BATCH_EVENTS_MAX {
                self.first.push(element);
            }
        }
        Ok(())
    }
}
