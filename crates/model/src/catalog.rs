//! Hides where event types come from: a catalog compiled in, or one read from a file.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{self, Unreadable};
use crate::schema::{Mismatch, Schema};

/// VantageKit's event types (contract, "Catalog"), in the format of [`Catalog::from_json`].
const VANTAGEKIT: &str = include_str!("../catalog.json");

/// How long an event type's name may be, in characters.
pub const TYPE_NAME_MAX: usize = 128;

/// How large an example may be, in bytes without white space between tokens.
pub const EXAMPLE_MAX: usize = 64 * 1024;

/// One kind of event: what it is called, what it means and what its `data` looks like.
#[derive(Debug)]
pub struct EventType {
    /// Such as `deal_room.viewed`; unique in the catalog. Words of `a-z 0-9 _` joined by dots,
    /// so that it stands unescaped in a header, a path and JSON.
    pub name: Arc<str>,
    /// Such as `Deal Room`.
    pub category: String,
    /// When it happens, in a sentence.
    pub description: String,
    /// The JSON Schema (draft 2020-12) of `data`.
    pub schema: Value,
    /// An example of `data`, valid by the schema, as the bytes that a test event sends.
    pub example: Box<RawValue>,
    compiled: Schema,
}

impl EventType {
    /// Checks a value against the schema of `data`.
    pub(crate) fn check(&self, data: &Value) -> Result<(), Vec<Mismatch>> {
        self.compiled.check(data)
    }
}

/// The event types there are.
#[derive(Debug)]
pub struct Catalog {
    types: Vec<EventType>,
    by_name: HashMap<Arc<str>, usize>,
}

/// The format of a catalog file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    types: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    category: String,
    description: String,
    schema: Value,
    example: Box<RawValue>,
}

/// A name that no event type has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type {name:?}; {}GET /v1/event-types lists the known ones", did_you_mean(.near.as_deref()))]
pub struct UnknownType {
    /// The name, cut where it is longer than a type's may be.
    pub name: String,
    /// The known name that is most similar, where one is similar enough to be what was meant.
    pub near: Option<Arc<str>>,
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("did you mean {near:?}? "))
}

impl Catalog {
    /// Describes a name that [`Catalog::get`] does not find.
    pub fn unknown(&self, name: &str) -> UnknownType {
        let name = match name.char_indices().nth(TYPE_NAME_MAX) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name.to_owned(),
        };
        let wanted = name.to_ascii_lowercase().replace('-', "_");
        let likeness = |one: &EventType| strsim::normalized_damerau_levenshtein(&wanted, &one.name);
        let most = |one: &&EventType, other: &&EventType| likeness(one).total_cmp(&likeness(other));
        let near = self.types.iter().max_by(most);
        // At least three quarters of the letters: `link.click` is meant to be `link.clicked`, `x.y` is nothing.
        let near = near.filter(|near| likeness(near) >= 0.75);
        UnknownType {
            near: near.map(|near| Arc::clone(&near.name)),
            name,
        }
    }

    /// VantageKit's 21 event types.
    pub fn vantagekit() -> Self {
        Self::from_json(VANTAGEKIT).expect("the file is compiled in, and a test reads it")
    }

    /// A catalog from the text of a file in the format of `catalog.json`:
    /// `{"types": [{"name", "category", "description", "schema", "example"}]}`.
    ///
    /// A schema is one of draft 2020-12 for a type's `data`, complete in itself: nothing is
    /// fetched. `format` is checked, except of addresses (`email`, `hostname`, `uri` and their
    /// kin), where it describes only; patterns know no look-around and no back-references.
    ///
    /// # Errors
    /// The sentence names the type and what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let file: File = serde_json::from_str(text)
            .map_err(|problem| format!("the catalog is not in the expected format: {problem}"))?;
        if file.types.is_empty() {
            return Err("the catalog has no event types".into());
        }
        let mut catalog = Self {
            types: Vec::with_capacity(file.types.len()),
            by_name: HashMap::with_capacity(file.types.len()),
        };
        for entry in file.types {
            let name = entry.name.clone();
            let event_type = EventType::new(entry)
                .map_err(|problem| format!("event type {name:?}: {problem}"))?;
            let index = catalog.types.len();
            if catalog
                .by_name
                .insert(event_type.name.clone(), index)
                .is_some()
            {
                return Err(format!("event type {name:?}: the catalog has it twice"));
            }
            catalog.types.push(event_type);
        }
        Ok(catalog)
    }

    /// The types, in the catalog's order.
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// The categories, in the order in which the catalog first names them.
    pub fn categories(&self) -> Vec<&str> {
        let mut categories = Vec::new();
        for event_type in &self.types {
            if !categories.contains(&event_type.category.as_str()) {
                categories.push(&event_type.category);
            }
        }
        categories
    }

    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&EventType> {
        self.by_name.get(name).map(|index| &self.types[*index])
    }
}

impl EventType {
    fn new(entry: Entry) -> Result<Self, String> {
        if !is_type_name(&entry.name) {
            return Err(format!(
                "a name is words of a-z, 0-9 and _ joined by dots, at most {TYPE_NAME_MAX} characters"
            ));
        }
        check_text("category", &entry.category, 100)?;
        check_text("description", &entry.description, 1000)?;
        let compiled = Schema::compile(&entry.schema)
            .map_err(|problem| format!("its schema is not valid: {problem}"))?;
        let event_type = Self {
            name: entry.name.into(),
            category: entry.category,
            description: entry.description,
            schema: entry.schema,
            example: compact(&entry.example)?,
            compiled,
        };
        event_type
            .check_example()
            .map_err(|problem| format!("its example {problem}"))?;
        Ok(event_type)
    }

    fn check_example(&self) -> Result<(), String> {
        if self.example.get().len() > EXAMPLE_MAX {
            return Err(format!("is larger than {EXAMPLE_MAX} bytes"));
        }
        let example = json::read(self.example.get()).map_err(|problem| match problem {
            Unreadable::Syntax(problem) => format!("is not valid JSON: {problem}"),
            Unreadable::Duplicate(pointer) => format!("has {pointer} twice"),
            Unreadable::TooDeep => format!("is nested deeper than {} levels", json::DEPTH_MAX),
        })?;
        if !example.is_object() {
            return Err("is not an object".into());
        }
        self.check(&example).map_err(|mismatches| {
            let say = |Mismatch { pointer, expected }: &Mismatch| match pointer.is_empty() {
                true => expected.clone(),
                false => format!("at {pointer}: {expected}"),
            };
            let said: Vec<_> = mismatches.iter().map(say).collect();
            format!("is not valid by its schema: {}", said.join("; "))
        })
    }
}

/// A file is laid out for people; what is sent is not.
fn compact(example: &RawValue) -> Result<Box<RawValue>, String> {
    RawValue::from_string(json::compact(example.get()))
        .map_err(|problem| format!("its example is not valid JSON: {problem}"))
}

fn is_type_name(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.len() <= TYPE_NAME_MAX && text.split('.').all(word)
}

fn check_text(what: &str, text: &str, longest: usize) -> Result<(), String> {
    let problem: &dyn fmt::Display = if text.trim().is_empty() {
        &"is empty"
    } else if text.chars().any(char::is_control) {
        &"holds a control character"
    } else if text.chars().count() > longest {
        &format_args!("has more than {longest} characters")
    } else {
        return Ok(());
    };
    Err(format!("its {what} {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_of_ones_own_replaces_the_catalog() {
        let catalog = Catalog::from_json(
            r#"{"types": [
                {"name": "b.made", "category": "B", "description": "It was made.",
                 "schema": {"type": "object", "required": ["n"]}, "example": { "n" : 1.50 }},
                {"name": "a_2", "category": "A", "description": "Two.", "schema": true, "example": {}}
            ]}"#,
        )
        .unwrap();
        let names: Vec<&str> = catalog.types().iter().map(|known| &*known.name).collect();
        assert_eq!(names, ["b.made", "a_2"], "the file's order");
        assert_eq!(catalog.categories(), ["B", "A"]);
        assert_eq!(
            catalog.get("b.made").unwrap().example.get(),
            r#"{"n":1.50}"#
        );
        assert!(catalog.get("b").is_none() && catalog.get("deal_room.viewed").is_none());
    }

    #[test]
    fn names_need_no_escaping() {
        let longest = "a".repeat(TYPE_NAME_MAX);
        for good in ["a", "deal_room.viewed", "a.b.c", "0._", &longest] {
            assert!(is_type_name(good), "{good}");
        }
        let too_long = "a".repeat(TYPE_NAME_MAX + 1);
        for bad in [
            "", ".", "a.", ".a", "a..b", "A", "a b", "a-b", "é", "a\n", "a\"", "*", &too_long,
        ] {
            assert!(!is_type_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_type_and_the_reason() {
        let entry = |changes: Value| {
            let mut entry = json!({"name": "a.b", "category": "A", "description": "It was.",
                "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}, "example": {"n": 1}});
            for (field, value) in changes.as_object().unwrap() {
                entry[field] = value.clone();
            }
            entry
        };
        let nested = "[".repeat(101) + &"]".repeat(101);
        let nested: Value = serde_json::from_str(&nested).unwrap();
        for (changes, problem) in [
            (
                json!({"name": "A b"}),
                r#"event type "A b": a name is words of a-z"#,
            ),
            (
                json!({"category": " "}),
                r#"event type "a.b": its category is empty"#,
            ),
            (
                json!({"description": "a\nb"}),
                "its description holds a control character",
            ),
            (
                json!({"category": "x".repeat(101)}),
                "its category has more than 100 characters",
            ),
            (
                json!({"schema": {"type": "objct"}}),
                r#"event type "a.b": its schema is not valid: /type: "#,
            ),
            (
                json!({"schema": {"$ref": "https://schemas.example/x"}}),
                "its schema is not valid: ",
            ),
            (
                json!({"example": {"n": "1"}}),
                r#"event type "a.b": its example is not valid by its schema: at /n: expected an integer, found a string"#,
            ),
            (json!({"example": []}), "its example is not an object"),
            (
                json!({"example": {"x": nested}}),
                "its example is nested deeper than 100 levels",
            ),
            (
                json!({"example": {"x": "y".repeat(EXAMPLE_MAX)}}),
                "its example is larger than 65536 bytes",
            ),
            (json!({"extra": 1}), "unknown field `extra`"),
        ] {
            let text = json!({"types": [entry(changes)]}).to_string();
            let found = Catalog::from_json(&text).unwrap_err();
            assert!(found.contains(problem), "{found:?} says not {problem:?}");
        }
        for (text, problem) in [
            (
                json!({"types": [entry(json!({})), entry(json!({}))]}).to_string(),
                "\"a.b\": the catalog has it twice",
            ),
            (json!({"types": []}).to_string(), "no event types"),
            (
                r#"{"types": [{"name": "a"}]}"#.into(),
                "missing field `category` at line 1",
            ),
            ("[]".into(), "not in the expected format"),
            (String::new(), "EOF"),
        ] {
            let found = Catalog::from_json(&text).unwrap_err();
            assert!(found.contains(problem), "{found:?} says not {problem:?}");
        }
        let twice = entry(json!({}))
            .to_string()
            .replace(r#"{"n":1}"#, r#"{"n":1,"n":2}"#);
        let found = Catalog::from_json(&format!(r#"{{"types":[{twice}]}}"#)).unwrap_err();
        assert!(found.contains("its example has /n twice"), "{found}");
    }

    #[test]
    fn a_name_that_is_nearly_a_known_one_suggests_it() {
        let catalog = Catalog::vantagekit();
        for (name, near) in [
            ("link.click", Some("link.clicked")),
            ("Link.Clicked", Some("link.clicked")),
            ("deal-room.viewed", Some("deal_room.viewed")),
            ("dealroom.viewed", Some("deal_room.viewed")),
            ("documnet.viewed", Some("document.viewed")),
            ("invoice.paid", None),
            ("x.y", None),
            ("", None),
        ] {
            let unknown = catalog.unknown(name);
            assert_eq!(unknown.near.as_deref(), near, "{name}");
            let said = unknown.to_string();
            assert_eq!(said.contains("did you mean"), near.is_some(), "{said}");
        }
    }
}
