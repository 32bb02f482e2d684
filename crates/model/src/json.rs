//! Hides how published text becomes a value to check, and which valid JSON is still refused:
//! text that two parsers may read differently.
//!
//! An event is delivered with the very bytes that were published, so what was checked and what
//! a receiver's parser makes of the bytes must be the same thing. Therefore (RFC 8259 section 4
//! and 8.2, RFC 7493): no name twice in one object, no lone surrogate, no nesting that common
//! parsers refuse. Numbers of any size are fine: they are passed on, not computed with.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// How deep arrays and objects may be nested, the outermost being the first level. Parsers have
/// limits of their own (Ruby's is 100, serde_json's 128); an event must pass them all.
pub(crate) const DEPTH_MAX: usize = 100;

/// Why a text was not read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It is not JSON, or holds a lone surrogate.
    Syntax(serde_json::Error),
    /// An object has this member twice: its JSON pointer.
    Duplicate(String),
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// The value of a JSON text. Numbers beyond a double's range are read as large doubles.
pub(crate) fn read(text: &str) -> Result<Value, Unreadable> {
    match read_exactly(text) {
        Err(Unreadable::Syntax(problem)) => match with_numbers_in_range(text) {
            Some(tamed) => read_exactly(&tamed),
            None => Err(Unreadable::Syntax(problem)),
        },
        read => read,
    }
}

fn read_exactly(text: &str) -> Result<Value, Unreadable> {
    let mut refusal = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let reader = Reader {
        depth: 0,
        refusal: &mut refusal,
    };
    let value = reader
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|problem| match refusal {
        Some(Refusal::TooDeep) => Unreadable::TooDeep,
        Some(Refusal::Duplicate(mut path)) => {
            path.reverse();
            let mut pointer = String::new();
            for segment in &path {
                push_segment(&mut pointer, segment);
            }
            Unreadable::Duplicate(pointer)
        }
        None => Unreadable::Syntax(problem),
    })
}

/// Adds a reference token to a JSON pointer (RFC 6901 section 3).
pub(crate) fn push_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Why a text is not valid JSON and where, in words of our own: the end of a sentence. What stands there may be a
/// secret, so it is not repeated.
pub fn explain(text: &str, error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let place = format!("at line {line} column {column}");
    if error.is_eof() {
        return format!("it breaks off {place}");
    }
    // The column counts bytes from 1; an error may stand behind the last one.
    let lines = text.split_inclusive('\n');
    let start: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
    let at = (start + column.saturating_sub(1)).min(text.len());
    let (before, after) = text.as_bytes().split_at(at);
    let hint = match after.first() {
        Some(b'\'') => "names and strings stand in double quotes",
        Some(b'}' | b']') if before.trim_ascii_end().ends_with(b",") => {
            "the last member has no comma behind it"
        }
        Some(b'/' | b'#') => "JSON has no comments",
        // The library points before a control character that it has not taken yet.
        Some(byte)
            if [Some(byte), after.get(1)]
                .iter()
                .flatten()
                .any(|byte| byte.is_ascii_control()) =>
        {
            "a control character inside a string is written as \\n, \\t or \\u00XX"
        }
        Some(b'N' | b'T' | b'F' | b'u' | b'I') => {
            "the only words are true, false and null, in lower case"
        }
        _ if before[start..].contains(&b'\\') => {
            "see the escapes there: \\u takes four hexadecimal digits, and half of a surrogate pair is no character"
        }
        _ => return format!("it goes wrong {place}"),
    };
    format!("it goes wrong {place} ({hint})")
}

/// A valid JSON text without the white space between its tokens.
pub(crate) fn compact(text: &str) -> String {
    let mut strings = Strings::default();
    text.chars()
        .filter(|character| {
            let inside = strings.holds(*character);
            inside || !matches!(character, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

/// The text with every number that is too large for a double replaced by a large double of the
/// same sign and width, so that positions stay; none where there is no such number.
fn with_numbers_in_range(text: &str) -> Option<String> {
    const LARGE: &str = "1e308"; // no number out of range is shorter
    let mut tamed = String::with_capacity(text.len());
    let mut strings = Strings::default();
    let mut changed = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let inside = strings.holds(character);
        let length = if !inside && character.is_ascii_digit() {
            let in_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            rest.find(|c| !in_number(c)).unwrap_or(rest.len())
        } else {
            character.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if length >= LARGE.len() && token.parse::<f64>().is_ok_and(f64::is_infinite) {
            // Not by a width of `format!`, which takes none above 65,535.
            tamed.push_str(LARGE);
            tamed.extend(std::iter::repeat_n(' ', length - LARGE.len()));
            changed = true;
        } else {
            tamed.push_str(token);
        }
        rest = after;
    }
    changed.then_some(tamed)
}

/// Tells string literals from the rest of a JSON text, character by character.
#[derive(Default)]
struct Strings {
    inside: bool,
    escaped: bool,
}

impl Strings {
    /// Whether the next character belongs to a string literal, quotes included.
    fn holds(&mut self, character: char) -> bool {
        let was_inside = self.inside;
        if self.escaped {
            self.escaped = false;
        } else if character == '"' {
            self.inside = !self.inside;
        } else {
            self.escaped = self.inside && character == '\\';
        }
        was_inside || self.inside
    }
}

enum Refusal {
    /// The member's path, innermost first.
    Duplicate(Vec<String>),
    TooDeep,
}

/// Reads one value; what it refuses is left in `refusal`, beside serde's own error.
struct Reader<'r> {
    depth: usize,
    refusal: &'r mut Option<Refusal>,
}

impl Reader<'_> {
    fn deeper<E: serde::de::Error>(&mut self) -> Result<Reader<'_>, E> {
        if self.depth == DEPTH_MAX {
            *self.refusal = Some(Refusal::TooDeep);
            return Err(E::custom("nested too deep"));
        }
        Ok(Reader {
            depth: self.depth + 1,
            refusal: self.refusal,
        })
    }

    /// On the way out of a failure: we came through `segment`.
    fn came_through(&mut self, segment: impl FnOnce() -> String) {
        if let Some(Refusal::Duplicate(path)) = &mut self.refusal {
            path.push(segment());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            match seq.next_element_seed(self.deeper()?) {
                Ok(Some(value)) => values.push(value),
                Ok(None) => return Ok(values.into()),
                Err(problem) => {
                    self.came_through(|| values.len().to_string());
                    return Err(problem);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match members.entry(name) {
                Entry::Occupied(twice) => {
                    *self.refusal = Some(Refusal::Duplicate(vec![twice.key().clone()]));
                    return Err(A::Error::custom("a name is there twice"));
                }
                Entry::Vacant(vacant) => match map.next_value_seed(self.deeper()?) {
                    Ok(value) => {
                        vacant.insert(value);
                    }
                    Err(problem) => {
                        self.came_through(|| vacant.key().clone());
                        return Err(problem);
                    }
                },
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_text_is_read_as_serde_json_reads_it() {
        for text in [
            "null",
            "true",
            r#""a \u00e9 \ud83d\ude00 \" \\""#,
            "[1,-2,3.5,1e3,-0,18446744073709551615,1e-999]",
            r#" {"a": [{}, [], {"b~/": null}], "": "x"} "#,
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_twice_in_an_object_is_found_at_any_depth() {
        for (text, pointer) in [
            (r#"{"a":1,"a":1}"#, "/a"),
            (r#"{"a":1,"\u0061":2}"#, "/a"),
            (r#"{"x":[0,{"y":{"~/":1,"~/":2}}]}"#, "/x/1/y/~0~1"),
            (r#"{"":1,"":2}"#, "/"),
        ] {
            match read(text) {
                Err(Unreadable::Duplicate(found)) => assert_eq!(found, pointer, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(
            read(r#"[{"a":1},{"a":1,"b":{"a":1}}]"#).is_ok(),
            "only within one object"
        );
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(&nested(DEPTH_MAX)).is_ok());
        for levels in [DEPTH_MAX + 1, 128, 10_000] {
            assert!(
                matches!(read(&nested(levels)), Err(Unreadable::TooDeep)),
                "{levels}"
            );
        }
        let objects = r#"{"a":"#.repeat(DEPTH_MAX) + "1" + &"}".repeat(DEPTH_MAX);
        assert!(read(&objects).is_ok());
    }

    #[test]
    fn numbers_of_any_size_are_read() {
        let digits = "9".repeat(400);
        let many = "9".repeat(70_000);
        let exponent = format!("1e{}", "9".repeat(70_000));
        let fraction = format!("0.{}1", "0".repeat(70_000));
        for (text, value) in [
            ("1e999", json!(1e308)),
            (" [ -1e999 , 1E+4000,2 ]", json!([-1e308, 1e308, 2])),
            (
                r#"{"1e999":"\"1e999","b":1e309}"#,
                json!({"1e999": "\"1e999", "b": 1e308}),
            ),
            (digits.as_str(), json!(1e308)),
            (many.as_str(), json!(1e308)),
            (exponent.as_str(), json!(1e308)),
            (fraction.as_str(), json!(0.0)),
            (&digits[..60], json!(1e60)),
            ("0.1e999", json!(1e308)),
        ] {
            assert_eq!(read(text).unwrap(), value, "{text:.50}");
        }
    }

    #[test]
    fn what_is_not_json_stays_refused() {
        for text in [
            "",
            "[1e999",
            "1e",
            "1e999e9",
            "01",
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            "\"\u{1}\"",
            "[1,]",
            "nul",
            "1 2",
        ] {
            assert!(matches!(read(text), Err(Unreadable::Syntax(_))), "{text:?}");
        }
        let Err(Unreadable::Syntax(problem)) = read(r#"[1e99999,"\ud800x"]"#) else {
            panic!("a lone surrogate after a large number");
        };
        assert!(
            problem.column() >= 16,
            "positions hold after a number that is out of range: {problem}"
        );
    }

    #[test]
    fn what_is_not_json_is_explained_without_the_words_of_the_parser() {
        for (text, said) in [
            ("", "it breaks off at line 1 column 0"),
            ("{\"a\":\n", "it breaks off at line 2 column 0"),
            ("{'a':1}", "double quotes"),
            ("[1,]", "no comma behind it"),
            ("{\"a\":1,\n}", "no comma behind it"),
            ("// x\n{}", "no comments"),
            ("[\"a\tb\"]", "control character"),
            ("[NaN]", "the only words"),
            ("[True]", "the only words"),
            ("[undefined]", "the only words"),
            (r#"["\ud800"]"#, "surrogate"),
            (r#"["é\ud800x"]"#, "surrogate"),
            ("{} {}", "it goes wrong at line 1 column 4"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            let explained = explain(text, &error);
            assert!(explained.contains(said), "{text:?}: {explained}");
            for word in ["EOF", "parsing", "expected", "trailing", "ident"] {
                assert!(!explained.contains(word), "{text:?}: {explained}");
            }
        }
    }

    #[test]
    fn compact_drops_white_space_between_tokens_only() {
        assert_eq!(
            compact(" {\r\n\t\"a b\" : [ 1 , \" \\\" \\\\\" ] }\n"),
            r#"{"a b":[1," \" \\"]}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_as_serde_json_does(text in "[\\[\\]{}:,\"\\\\ue0-9aE+.\\- tru]{0,40}") {
            let theirs = serde_json::from_str::<Value>(&text);
            match (read(&text), theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Err(Unreadable::Duplicate(_) | Unreadable::TooDeep), _)
                | (Err(Unreadable::Syntax(_)), Err(_)) => {}
                (Ok(_), Err(problem)) => prop_assert!(problem.to_string().contains("out of range"), "{}", problem),
                (Err(problem), Ok(_)) => prop_assert!(false, "{:?}", problem),
            }
        }
    }
}
