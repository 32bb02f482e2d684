//! Hides how a publisher's body is read once more, by a reader that keeps every member's text as it stands.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use model::catalog::Catalog;
use model::event::{
    BATCH_BODY_MAX, BATCH_EVENTS_MAX, EVENT_BODY_MAX, EventProblem, NewEvent,
    check_idempotency_key, parse_batch, parse_publication,
};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::vantagekit);

/// How deep arrays and objects may be nested in an event's data.
const DEPTH_MAX: usize = 100;

pub(super) fn target(bytes: &[u8]) {
    let Some((mode, body)) = bytes.split_first() else {
        return;
    };
    match mode & 1 {
        0 => single(body),
        _ => batch(body),
    }
    // Spaces after it change nothing, up to the last one that is one too many.
    if mode >> 1 == 0x7f {
        let parse = |body: &[u8]| match mode & 1 {
            0 => parse_publication(&CATALOG, body).err(),
            _ => parse_batch(&CATALOG, body).err().map(|wrong| wrong.problem),
        };
        let max = match mode & 1 {
            0 => EVENT_BODY_MAX,
            // Its own bound takes too long to fill.
            _ => BATCH_BODY_MAX / 64,
        };
        let mut long = body.to_vec();
        long.resize(max.max(body.len()), b' ');
        let (short, padded) = (parse(body), parse(&long));
        assert_eq!(short.is_none(), padded.is_none(), "{padded:?}");
        long.push(b' ');
        let too_large = matches!(parse(&long), Some(EventProblem::TooLarge { .. }));
        assert_eq!(too_large, long.len() > EVENT_BODY_MAX && mode & 1 == 0);
    }
}

fn single(body: &[u8]) {
    match parse_publication(&CATALOG, body) {
        Ok(event) => {
            let members = Members::read(body).expect("what is accepted is an object");
            check_accepted(&event, &members, &["type", "data"]);
        }
        Err(problem) => check_refused(&problem, body),
    }
}

fn batch(body: &[u8]) {
    match parse_batch(&CATALOG, body) {
        Ok(events) => {
            assert!((1..=BATCH_EVENTS_MAX).contains(&events.len()));
            let members = Members::read(body).expect("what is accepted is an object");
            assert_eq!(members.0.len(), 1, "a member is not known");
            let list = members.one("events").expect("it has events");
            let list: Vec<&RawValue> = serde_json::from_str(list.get()).expect("an array");
            assert_eq!(list.len(), events.len());
            for (entry, (event, key)) in list.into_iter().zip(&events) {
                let members = Members::read(entry.get().as_bytes()).expect("an object");
                check_accepted(event, &members, &["type", "data", "idempotencyKey"]);
                let given = members.one("idempotencyKey").map(|raw| raw.get());
                let given = given.map(serde_json::from_str::<Option<String>>);
                assert_eq!(given.and_then(|text| text.expect("a string or null")), *key);
                assert!(
                    key.as_ref()
                        .is_none_or(|key| check_idempotency_key(key).is_ok())
                );
            }
        }
        Err(problem) => {
            let whole = problem.to_string();
            assert!(whole.len() > 10, "{whole:?}");
            check_refused(&problem.problem, body);
        }
    }
}

/// What is delivered is what was sent, and could be sent again.
fn check_accepted(event: &NewEvent, sent: &Members<'_>, known: &[&str]) {
    assert!(
        sent.0
            .iter()
            .all(|(name, _)| known.contains(&name.as_ref()))
    );
    let names: HashSet<_> = sent.0.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), sent.0.len(), "a member is there twice");
    let data = sent.one("data").expect("it has data").get();
    assert_eq!(event.data(), data.as_bytes(), "other bytes");
    let named: String = sent
        .one("type")
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .expect("it has a type");
    assert_eq!(*event.event_type, *named);
    assert!(CATALOG.get(&named).is_some(), "{named:?}");
    assert!(event.body.len() <= EVENT_BODY_MAX);
    assert!(depth(data) <= DEPTH_MAX, "{} levels", depth(data));
    let delivered = Members::read(&event.body).expect("a body is an object");
    let again = |name| delivered.one(name).map(RawValue::get);
    assert_eq!((again("data"), delivered.0.len()), (Some(data), 2));
    let again = parse_publication(&CATALOG, &event.body);
    assert_eq!(again.as_ref(), Ok(event), "it would not be accepted again");
    // Any parser reads it, but for one that refuses numbers that a double cannot hold.
    match serde_json::from_slice::<serde_json::Value>(&event.body) {
        Ok(value) => assert_eq!(value["type"], named),
        Err(error) => assert!(error.to_string().contains("out of range"), "{error}"),
    }
}

/// What is wrong is where the pointer says, or missing from there.
fn check_refused(problem: &EventProblem, body: &[u8]) {
    let sentence = problem.to_string();
    assert!(
        sentence.len() > 10 && sentence.len() < 20_000,
        "{sentence:.200?}"
    );
    match problem {
        EventProblem::InvalidJson(_) => {
            // Whoever reads it as JSON finds it broken, or with half of a character in it.
            let value = serde_json::from_slice::<serde_json::Value>(body);
            assert!(value.is_err(), "it is JSON: {sentence}");
        }
        EventProblem::UnknownType(unknown) => {
            let name = unknown.name.as_str();
            assert!(
                name.chars().count() <= 129 && CATALOG.get(name).is_none(),
                "{name:?}"
            );
        }
        EventProblem::TooLarge { bytes, max, .. } => assert!(bytes > max),
        EventProblem::InvalidPayload {
            pointer, expected, ..
        } => {
            assert!(expected.len() > 10 && pointer.len() <= 1000, "{sentence}");
            let text = std::str::from_utf8(body).expect("it was read as text");
            let mut here = vec![text];
            let tokens: Vec<_> = pointer.split('/').skip(1).collect();
            assert!(
                pointer.is_empty() || pointer.starts_with('/'),
                "{pointer:?}"
            );
            for (index, token) in tokens.iter().enumerate() {
                let name = token.replace("~1", "/").replace("~0", "~");
                let inside: Vec<&str> =
                    here.iter().flat_map(|text| children(text, &name)).collect();
                if inside.is_empty() {
                    let last = index + 1 == tokens.len();
                    assert!(
                        last && expected.contains("missing"),
                        "{pointer:?}: {sentence}"
                    );
                    return;
                }
                here = inside;
            }
            assert!(
                !expected.contains("it is missing"),
                "it is there: {sentence}"
            );
        }
    }
}

/// The texts of what is called `name` in a JSON text: a member, or several of one name, or an element.
fn children<'b>(text: &'b str, name: &str) -> Vec<&'b str> {
    if let Some(members) = Members::read(text.as_bytes()) {
        let named = members.0.into_iter().filter(|(other, _)| other == name);
        return named.map(|(_, raw)| raw.get()).collect();
    }
    let elements = serde_json::from_str::<Vec<&RawValue>>(text).unwrap_or_default();
    let index: Option<usize> = name.parse().ok();
    let element = index.and_then(|index| elements.get(index));
    element.map(|raw| raw.get()).into_iter().collect()
}

/// How many levels of arrays and objects there are in a JSON text.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => inside = !inside,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// An object's members in their order, each with its text, also where two have one name.
struct Members<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'b> Members<'b> {
    /// The members of a JSON text, where it is an object.
    fn read(text: &'b [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The only member of this name.
    fn one(&self, name: &str) -> Option<&'b RawValue> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, raw)| *raw)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[derive(Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);
