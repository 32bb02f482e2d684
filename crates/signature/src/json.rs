//! Hides how the same JSON text can be laid out and escaped in other ways, without understanding it.
//!
//! Numbers and the order of members stay as they are, as they do in what people's code commonly
//! does with a body: parse it and write it again.

use crate::failure::{JsonEscapes, JsonLayout};

/// Deeper texts are left alone: indenting them takes memory in the square of their depth.
const MAX_DEPTH: usize = 64;

/// The text in another layout; none where brackets do not match, strings do not end, or it is
/// nested very deeply. What is no JSON for other reasons comes out as some other text.
pub(crate) fn laid_out(json: &str, layout: JsonLayout) -> Option<String> {
    let mut writer = Writer {
        out: String::with_capacity(json.len() + json.len() / 4),
        layout,
        depth: 0,
    };
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest)?,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match first {
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                let empty = rest.trim_start().starts_with(['}', ']']);
                writer.open(first, empty)?;
            }
            '}' | ']' => writer.close(first)?,
            ',' => writer.comma(),
            ':' => writer.colon(),
            _ => writer.out.push_str(token),
        }
    }
    (writer.depth == 0).then_some(writer.out)
}

/// The text with its strings' characters written in another way; none where that is the same.
pub(crate) fn escaped(json: &str, escapes: JsonEscapes) -> Option<String> {
    let other = match escapes {
        JsonEscapes::AsGiven => return None,
        JsonEscapes::Plain => unescaped(json),
        JsonEscapes::Ascii => ascii(json),
    };
    (other != json).then_some(other)
}

/// The `type` and `data` of a compact body, whichever comes first; both as they are written.
pub(crate) fn envelope(compact: &str) -> Option<(&str, &str)> {
    let inside = compact.strip_prefix('{')?.strip_suffix('}')?;
    if let Some(rest) = inside.strip_prefix(r#""type":"#) {
        let (event_type, rest) = rest.split_at(string_length(rest)?);
        return Some((event_type, rest.strip_prefix(r#","data":"#)?));
    }
    let (data, event_type) = inside
        .strip_prefix(r#""data":"#)?
        .rsplit_once(r#","type":"#)?;
    (string_length(event_type)? == event_type.len()).then_some((event_type, data))
}

struct Writer {
    out: String,
    layout: JsonLayout,
    depth: usize,
}

impl Writer {
    fn open(&mut self, bracket: char, empty: bool) -> Option<()> {
        self.depth += 1;
        self.out.push(bracket);
        if !empty {
            self.line();
        }
        (self.depth <= MAX_DEPTH).then_some(())
    }

    fn close(&mut self, bracket: char) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        if !self.out.ends_with(['{', '[']) {
            self.line();
        }
        self.out.push(bracket);
        Some(())
    }

    fn comma(&mut self) {
        self.out.push(',');
        if self.layout == JsonLayout::Spaced {
            self.out.push(' ');
        }
        self.line();
    }

    fn colon(&mut self) {
        self.out.push(':');
        if matches!(self.layout, JsonLayout::Spaced | JsonLayout::Indented(_)) {
            self.out.push(' ');
        }
    }

    fn line(&mut self) {
        if let JsonLayout::Indented(by) = self.layout {
            self.out.push('\n');
            let spaces = self.depth * usize::from(by);
            self.out.extend(std::iter::repeat_n(' ', spaces));
        }
    }
}

/// How many bytes the string takes that the text starts with, quotation marks included.
fn string_length(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    if bytes.next()?.1 != b'"' {
        return None;
    }
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// Characters as themselves where an escape is optional: `\/`, and `\uXXXX` of all that is
/// neither a control character, a quotation mark nor a backslash.
fn unescaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (taken, plain) = match rest.as_bytes().get(1) {
            Some(b'/') => (2, Some('/')),
            Some(b'u') => unicode_escape(rest).map_or((2, None), |(taken, c)| (taken, Some(c))),
            Some(byte) if byte.is_ascii() => (2, None),
            _ => (1, None),
        };
        let (token, after) = rest.split_at(taken);
        match plain {
            Some(c) if !c.is_control() && c != '"' && c != '\\' => out.push(c),
            _ => out.push_str(token),
        }
        rest = after;
    }
    out + rest
}

/// The character of the `\uXXXX`, or pair of them, that the text starts with, and its length.
fn unicode_escape(text: &str) -> Option<(usize, char)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        hex.then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((6, c));
    }
    let pair = [first, unit(6)?];
    let decoded = char::decode_utf16(pair).next()?.ok()?;
    Some((12, decoded))
}

/// Characters outside ASCII as `\uXXXX`, in lower-case hex and surrogate pairs.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "{ \"a\":[1, {}, [ ]],\t\"b\" : \"x, y: \\\"{\" }\n";

    #[test]
    fn lays_out_as_common_writers_do() {
        let as_text = |layout| laid_out(GIVEN, layout).unwrap();
        assert_eq!(
            as_text(JsonLayout::Compact),
            r#"{"a":[1,{},[]],"b":"x, y: \"{"}"#
        );
        assert_eq!(
            as_text(JsonLayout::Spaced),
            r#"{"a": [1, {}, []], "b": "x, y: \"{"}"#
        );
        assert_eq!(
            as_text(JsonLayout::Indented(2)),
            "{\n  \"a\": [\n    1,\n    {},\n    []\n  ],\n  \"b\": \"x, y: \\\"{\"\n}"
        );
    }

    #[test]
    fn indents_as_serde_json_does() {
        let value: serde_json::Value = serde_json::from_str(GIVEN).unwrap();
        assert_eq!(
            laid_out(GIVEN, JsonLayout::Indented(2)).unwrap(),
            serde_json::to_string_pretty(&value).unwrap()
        );
        assert_eq!(
            laid_out(GIVEN, JsonLayout::Compact).unwrap(),
            serde_json::to_string(&value).unwrap()
        );
    }

    #[test]
    fn gives_up_on_what_is_not_json_or_too_deep() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        for odd in ["{", "}", "\"", "\"\\", "[\"a]", deep.as_str()] {
            for layout in [JsonLayout::Compact, JsonLayout::Indented(4)] {
                assert_eq!(laid_out(odd, layout), None, "{odd}");
            }
        }
    }

    #[test]
    fn escapes_both_ways() {
        let plain = r#"{"a":"Grüße 🎉 </b>","q":"\"\\ \n \u0007"}"#;
        let escaped_text = r#"{"a":"Gr\u00fc\u00dfe \ud83c\udf89 </b>","q":"\"\\ \n \u0007"}"#;
        assert_eq!(
            escaped(plain, JsonEscapes::Ascii).as_deref(),
            Some(escaped_text)
        );
        assert_eq!(
            escaped(escaped_text, JsonEscapes::Plain).as_deref(),
            Some(plain)
        );
        assert_eq!(escaped(plain, JsonEscapes::Plain), None);
        let half = escaped(r#""\ud83c\u0041""#, JsonEscapes::Plain);
        assert_eq!(half.as_deref(), Some(r#""\ud83cA""#), "half a pair stays");
        assert_eq!(
            escaped(r#""\u003c\/b\u003e""#, JsonEscapes::Plain).as_deref(),
            Some(r#""</b>""#)
        );
        for odd in ["\\", "\\u", "\\u12", "\\u+041", "\\ud83c", "\\ü", "\\u00fü"] {
            assert_eq!(escaped(odd, JsonEscapes::Plain), None, "{odd}");
        }
    }

    #[test]
    fn finds_type_and_data_in_either_order() {
        let parts = Some((r#""a.b""#, r#"{"type":"x"}"#));
        assert_eq!(envelope(r#"{"type":"a.b","data":{"type":"x"}}"#), parts);
        assert_eq!(envelope(r#"{"data":{"type":"x"},"type":"a.b"}"#), parts);
        for odd in [
            "",
            "{}",
            "[]",
            r#"{"type":"a.b"}"#,
            r#"{"type":1,"data":2}"#,
            r#"{"data":1,"type":"a","x":1}"#,
        ] {
            assert_eq!(envelope(odd), None, "{odd}");
        }
    }
}
