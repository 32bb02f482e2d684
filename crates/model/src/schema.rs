//! Hides the JSON Schema library: which rules are checked, and how a broken one is put in words.

use std::fmt::Write as _;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{Draft, JsonType, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::json::push_segment;

/// The dialect schemas are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Formats that describe a value and do not refuse any: what counts as an address differs from
/// one product to the next, and a publisher passes on what people typed. All other formats of
/// the dialect (`uuid`, `date-time`, …) are checked.
const DESCRIPTIVE_FORMATS: [&str; 8] = [
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
];

/// A compiled schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema(Validator);

/// Where and how a value breaks its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The JSON pointer (RFC 6901) from the value's root.
    pub(crate) pointer: String,
    /// What was expected there and what was found, as a sentence without its full stop.
    pub(crate) expected: String,
}

impl Schema {
    /// Compiles a schema of draft 2020-12. Nothing is fetched: a `$ref` stays inside the schema.
    /// Patterns run in linear time, so they know no look-around and no back-references.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        if let Some(dialect) = schema.get("$schema")
            && dialect.as_str().map(|uri| uri.trim_end_matches('#')) != Some(DIALECT)
        {
            return Err(format!("\"$schema\" must be {DIALECT:?}, not {dialect}"));
        }
        let mut options = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true);
        for format in DESCRIPTIVE_FORMATS {
            options = options.with_format(format, |_: &str| true);
        }
        match options.build(schema) {
            Ok(validator) => Ok(Self(validator)),
            Err(problem) => {
                let place = match problem.instance_path().as_str() {
                    "" => String::new(),
                    pointer => format!("{pointer}: "),
                };
                Err(format!("{place}{problem}"))
            }
        }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// All mismatches, at most [`MISMATCHES_MAX`]. The same value has the same ones in the same order.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Vec<Mismatch>> {
        let Err(first) = self.0.validate(value) else {
            return Ok(());
        };
        let mut mismatches = explain(&first);
        for problem in self.0.iter_errors(value).take(MISMATCHES_MAX) {
            for mismatch in explain(&problem) {
                // One for each place: the others mostly follow from it.
                if mismatches.iter().all(|one| one.pointer != mismatch.pointer) {
                    mismatches.push(mismatch);
                }
            }
        }
        mismatches.truncate(MISMATCHES_MAX);
        Err(mismatches)
    }
}

/// How many mismatches of one value are reported.
pub(crate) const MISMATCHES_MAX: usize = 20;

/// The pattern by which the catalog asks for a time in UTC.
const UTC: &str = "(Z|z|[+-]00:00)$";

/// The mismatches that one error of the library stands for: one, or one for each field that is not expected.
fn explain(problem: &ValidationError<'_>) -> Vec<Mismatch> {
    let mut pointer = problem.instance_path().as_str().to_owned();
    let found = found(problem.instance());
    let expected = match problem.kind() {
        Kind::Required { property } => {
            push_segment(&mut pointer, property.as_str().unwrap_or_default());
            "this field is required, and it is missing".into()
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let mismatch = |name: &String| {
                let mut pointer = pointer.clone();
                push_segment(&mut pointer, name);
                Mismatch {
                    pointer,
                    expected: "this field is not expected here".into(),
                }
            };
            return unexpected
                .iter()
                .take(MISMATCHES_MAX)
                .map(mismatch)
                .collect();
        }
        Kind::Type { kind } => format!("expected {}, found {found}", types(kind)),
        Kind::Format { format } => format!("expected {}, found another string", example_of(format)),
        Kind::Pattern { pattern } if pattern == UTC => {
            format!(
                "expected {} in UTC, found another string",
                example_of("date-time")
            )
        }
        Kind::Pattern { pattern } => {
            format!("expected a string that matches {pattern}, found another string")
        }
        Kind::Enum { options } => format!("expected one of {}, found {found}", shortened(options)),
        Kind::Constant { expected_value } => {
            format!("expected {}, found {found}", shortened(expected_value))
        }
        Kind::Minimum { limit } => format!("expected at least {limit}, found {found}"),
        Kind::ExclusiveMinimum { limit } => format!("expected more than {limit}, found {found}"),
        Kind::Maximum { limit } => format!("expected at most {limit}, found {found}"),
        Kind::ExclusiveMaximum { limit } => format!("expected less than {limit}, found {found}"),
        Kind::MinLength { limit } => format!("expected at least {limit} characters, found fewer"),
        Kind::MaxLength { limit } => format!("expected at most {limit} characters, found more"),
        Kind::MinItems { limit } => format!("expected at least {limit} items, found fewer"),
        Kind::MaxItems { limit } => format!("expected at most {limit} items, found more"),
        Kind::UniqueItems => "expected each item once, found one twice".into(),
        other => format!(
            "expected a value that satisfies the schema's {:?}, found {found}",
            other.keyword()
        ),
    };
    vec![Mismatch { pointer, expected }]
}

/// What a value is, in a few words: a short number as it is, of the rest only the kind.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => {
            let text = number.to_string();
            if text.len() <= 20 {
                text
            } else {
                "a number".into()
            }
        }
        Value::String(_) => "a string".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn types(kind: &TypeKind) -> String {
    let one = |kind: JsonType| match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "an integer",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "an array",
        JsonType::Object => "an object",
    };
    match kind {
        TypeKind::Single(kind) => one(*kind).into(),
        TypeKind::Multiple(kinds) => {
            let mut words: Vec<&str> = kinds.into_iter().map(one).collect();
            words.sort_by_key(|word| *word == "null"); // what is really wanted first
            words.join(" or ")
        }
    }
}

fn example_of(format: &str) -> String {
    match format {
        "uuid" => "a UUID such as 0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34".into(),
        "date-time" => "an ISO 8601 time such as 2026-04-01T12:00:00Z".into(),
        other => format!("a string of the format {other:?}"),
    }
}

/// The schema's own value as JSON, cut where it is long.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            let mut cut = text[..end].to_owned();
            let _ = write!(cut, "…");
            cut
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_pattern_of_the_catalog_is_the_one_that_is_told_in_words() {
        let catalog = include_str!("../catalog.json");
        let patterns = catalog.matches("\"pattern\"").count();
        let of_utc = catalog.matches(&format!("\"pattern\": \"{UTC}\"")).count();
        assert!(patterns > 0 && patterns == of_utc, "{patterns}, {of_utc}");
    }

    #[test]
    fn a_broken_rule_is_told_with_its_place_in_words() {
        for (schema, value, pointer, expected) in [
            (
                json!({"type": "object"}),
                json!([1]),
                "",
                "expected an object, found an array",
            ),
            (
                json!({"properties": {"a": {"type": ["null", "integer"]}}}),
                json!({"a": "x"}),
                "/a",
                "expected an integer or null, found a string",
            ),
            (
                json!({"properties": {"a": {"type": "integer"}}}),
                json!({"a": 1.5}),
                "/a",
                "expected an integer, found 1.5",
            ),
            (
                json!({"properties": {"a": {"minimum": 0}}}),
                json!({"a": -3}),
                "/a",
                "expected at least 0, found -3",
            ),
            (
                json!({"required": ["b~/"]}),
                json!({"a": 1}),
                "/b~0~1",
                "this field is required, and it is missing",
            ),
            (
                json!({"properties": {"a/b": {"items": {"enum": ["x", "y"]}}}}),
                json!({"a/b": ["x", "z"]}),
                "/a~1b/1",
                "expected one of [\"x\",\"y\"], found a string",
            ),
            (
                json!({"format": "uuid"}),
                json!("x"),
                "",
                "expected a UUID such as 0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34, found another string",
            ),
            (
                json!({"format": "date-time"}),
                json!("today"),
                "",
                "expected an ISO 8601 time such as 2026-04-01T12:00:00Z, found another string",
            ),
            (
                json!({"pattern": UTC, "format": "date-time"}),
                json!("2026-04-01T12:00:00+02:00"),
                "",
                "expected an ISO 8601 time such as 2026-04-01T12:00:00Z in UTC, found another string",
            ),
            (
                json!({"pattern": UTC, "format": "date-time"}),
                json!("today"),
                "",
                "expected an ISO 8601 time such as 2026-04-01T12:00:00Z in UTC, found another string",
            ),
            (
                json!({"pattern": "^a+$"}),
                json!("b"),
                "",
                "expected a string that matches ^a+$, found another string",
            ),
            (
                json!({"additionalProperties": false, "properties": {"a": true}}),
                json!({"a": 1, "c": 1}),
                "/c",
                "this field is not expected here",
            ),
            (
                json!({"const": 7}),
                json!(null),
                "",
                "expected 7, found null",
            ),
            (
                json!({"minLength": 2}),
                json!("a"),
                "",
                "expected at least 2 characters, found fewer",
            ),
            (
                json!({"maxItems": 0}),
                json!([1]),
                "",
                "expected at most 0 items, found more",
            ),
            (
                json!({"anyOf": [{"type": "null"}, {"type": "array"}]}),
                json!({}),
                "",
                "expected a value that satisfies the schema's \"anyOf\", found an object",
            ),
            (
                json!({"type": "string"}),
                json!(1e200),
                "",
                "expected a string, found 1e+200",
            ),
        ] {
            let checked = Schema::compile(&schema).unwrap().check(&value);
            let mismatch = Mismatch {
                pointer: pointer.into(),
                expected: expected.into(),
            };
            assert_eq!(checked, Err(vec![mismatch]), "{schema} {value}");
        }
    }

    #[test]
    fn all_mismatches_are_reported_in_the_same_order_each_time() {
        let schema = json!({"type": "object", "required": ["a", "b", "c"], "additionalProperties": false,
            "properties": {"a": true, "b": true, "c": {"type": "string"}, "d": {"type": "integer"}, "e": {"minimum": 3}}});
        let value = json!({"e": 1, "d": "x", "c": 1, "y": 0, "z": 0});
        let mismatches = Schema::compile(&schema).unwrap().check(&value).unwrap_err();
        let mut pointers: Vec<_> = mismatches.iter().map(|one| one.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/a", "/b", "/c", "/d", "/e", "/y", "/z"]);
        for _ in 0..50 {
            let again = Schema::compile(&schema).unwrap().check(&value);
            assert_eq!(again, Err(mismatches.clone()));
        }
    }

    #[test]
    fn no_more_mismatches_are_reported_than_somebody_reads() {
        let schema = json!({"items": {"type": "integer"}, "properties": {"a": true}, "additionalProperties": false});
        for value in [
            json!(vec!["x"; 1000]),
            (0..1000)
                .map(|name| (name.to_string(), json!(0)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        ] {
            let checked = Schema::compile(&schema).unwrap().check(&value);
            assert_eq!(checked.unwrap_err().len(), MISMATCHES_MAX);
        }
    }

    #[test]
    fn formats_of_addresses_only_describe_and_the_others_are_checked() {
        for (format, value, passes) in [
            ("email", "not an address", true),
            ("uri", "::", true),
            ("hostname", "a b", true),
            ("made-up", "anything", true),
            ("uuid", "0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34", true),
            ("uuid", "0198C6A2-4B1E-4F3A-9C52-6D1F0E8A7B34", true),
            ("uuid", "0198c6a24b1e7f3a9c526d1f0e8a7b34", false),
            ("uuid", "", false),
            ("date-time", "2026-04-01T12:00:00Z", true),
            ("date-time", "2026-04-01T12:00:00.123456789+00:00", true),
            ("date-time", "2026-04-01 12:00:00Z", false),
            ("date-time", "2026-04-01T12:00:00", false),
            ("date-time", "2026-02-30T12:00:00Z", false),
            ("date", "2026-04-31", false),
            ("ipv4", "1.2.3", false),
        ] {
            let schema = Schema::compile(&json!({"type": "string", "format": format})).unwrap();
            assert_eq!(
                schema.check(&json!(value)).is_ok(),
                passes,
                "{format} {value}"
            );
        }
    }

    #[test]
    fn a_wrong_schema_is_refused_and_nothing_is_fetched() {
        for (schema, part) in [
            (json!({"type": "strng"}), "/type"),
            (
                json!({"properties": {"a": {"minimum": "0"}}}),
                "/properties/a/minimum",
            ),
            (json!(7), ""),
            (
                json!({"$ref": "https://schemas.example/x.json"}),
                "https://schemas.example/x.json",
            ),
            (
                json!({"$ref": "file:///etc/hostname"}),
                "file:///etc/hostname",
            ),
            (json!({"$ref": "#/$defs/none"}), "none"),
            (
                json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
                "draft-07",
            ),
            (json!({"pattern": "("}), ""),
            (json!({"pattern": "(?=a)b"}), ""),
        ] {
            let problem = Schema::compile(&schema).unwrap_err();
            assert!(problem.contains(part), "{schema}: {problem}");
        }
        let inside = json!({"$defs": {"id": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/id"}}});
        assert!(
            Schema::compile(&inside)
                .unwrap()
                .check(&json!({"a": 1}))
                .is_err()
        );
    }
}
