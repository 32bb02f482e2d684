//! Hides how a header is found and how a signature or a time is read out of its value.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::failure::Failure;
use crate::sign::{Digest, HEX_PREFIX, SECRET_PREFIX, STANDARD_PREFIX};
use crate::verify::Scheme;

/// The headers of one request, as the receiver got them.
pub(crate) struct Headers<'a>(Vec<(&'a str, &'a [u8], Cow<'a, str>)>);

impl<'a> Headers<'a> {
    /// As text, bytes that are not UTF-8 are `U+FFFD`. No time and no signature has that in it; an id may, and
    /// is therefore taken as its bytes.
    pub(crate) fn new<N, V>(headers: &'a [(N, V)]) -> Self
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let header = |(name, value): &'a (N, V)| {
            let bytes = value.as_ref();
            (name.as_ref(), bytes, String::from_utf8_lossy(bytes))
        };
        Self(headers.iter().map(header).collect())
    }

    /// Every value of the header, whatever the case of its name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(other, ..)| other.eq_ignore_ascii_case(name))
            .map(|(_, _, value)| value.as_ref())
    }

    /// The first value of the header; a header sent without any text counts as missing.
    pub(crate) fn one(&self, name: &str) -> Result<&str, Failure> {
        self.all(name)
            .find(|value| !value.is_empty())
            .ok_or_else(|| self.missing(name))
    }

    /// As [`one`](Self::one), the very bytes that were sent.
    pub(crate) fn bytes(&self, name: &str) -> Result<&'a [u8], Failure> {
        self.0
            .iter()
            .find(|(other, bytes, _)| other.eq_ignore_ascii_case(name) && !bytes.is_empty())
            .map(|(_, bytes, _)| *bytes)
            .ok_or_else(|| self.missing(name))
    }

    /// That the header is missing, with the name of one that looks as if it were meant.
    pub(crate) fn missing(&self, name: &str) -> Failure {
        let plain = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        let wanted = plain(name);
        let ending = wanted
            .rfind('-')
            .map_or("", |dash| &wanted[dash..])
            .to_owned();
        let similar = self
            .0
            .iter()
            .map(|(other, ..)| *other)
            .find(|other| !other.eq_ignore_ascii_case(name) && plain(other).ends_with(&ending));
        Failure::MissingHeader {
            header: name.to_owned(),
            similar: similar.map(shortened),
        }
    }
}

/// A number of Unix seconds, with the text it was sent as: the text is what was signed.
pub(crate) struct SentAt<'a> {
    pub(crate) text: &'a str,
    pub(crate) seconds: i64,
}

/// Times from here on (the year 5138, read as seconds) are taken for milliseconds.
pub(crate) const FIRST_MILLISECONDS: i64 = 100_000_000_000;
/// ... and up to here (the year 5138, read as milliseconds).
const LAST_MILLISECONDS: i64 = 100_000_000_000_000;

/// Reads a timestamp header: digits and nothing else.
pub(crate) fn timestamp<'a>(header: &str, value: &'a str) -> Result<SentAt<'a>, Failure> {
    without_outer_whitespace(header, value)?;
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse::<i64>().ok().filter(|_| digits);
    match number {
        None => Err(Failure::TimestampNotANumber {
            header: header.to_owned(),
            value: shortened(value),
        }),
        Some(FIRST_MILLISECONDS..LAST_MILLISECONDS) => Err(Failure::TimestampInMilliseconds {
            header: header.to_owned(),
            value: shortened(value),
        }),
        Some(seconds) => Ok(SentAt {
            text: value,
            seconds,
        }),
    }
}

/// Reads a value of the VantageKit scheme: `sha256=` and 64 hex digits of either case.
pub(crate) fn hex_signature(header: &str, value: &str) -> Result<Digest, Failure> {
    without_outer_whitespace(header, value)?;
    let Some(digits) = value.strip_prefix(HEX_PREFIX) else {
        return Err(not_the_scheme(header, value, Scheme::VantageKit));
    };
    if STANDARD.decode(digits).is_ok_and(|bytes| bytes.len() == 32) {
        return Err(Failure::Base64InsteadOfHex {
            header: header.to_owned(),
        });
    }
    if let Some((position, found)) = digits.char_indices().find(|(_, c)| !c.is_ascii_hexdigit()) {
        return Err(Failure::NotHex {
            header: header.to_owned(),
            position: HEX_PREFIX.len() + position + 1,
            found,
        });
    }
    unhex(digits).ok_or_else(|| Failure::WrongLength {
        header: header.to_owned(),
        expected: 64,
        found: digits.len(),
    })
}

/// Reads the list of the Standard Webhooks scheme. Signatures of other versions are passed over
/// as the specification asks; what is wrong with the others is told apart.
pub(crate) fn standard_signatures(header: &str, value: &str) -> Result<Vec<Digest>, Failure> {
    without_outer_whitespace(header, value)?;
    let read: Vec<_> = value
        .split(' ')
        .filter_map(|entry| entry.strip_prefix(STANDARD_PREFIX))
        .map(|text| base64_digest(header, text))
        .collect();
    if read.is_empty() {
        return Err(not_the_scheme(header, value, Scheme::Standard));
    }
    if read.iter().all(Result::is_err) {
        return read.into_iter().collect();
    }
    Ok(read.into_iter().flatten().collect())
}

fn base64_digest(header: &str, text: &str) -> Result<Digest, Failure> {
    let header = || header.to_owned();
    if unhex(text).is_some() {
        return Err(Failure::HexInsteadOfBase64 { header: header() });
    }
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| Failure::NotBase64 { header: header() })?;
    bytes.try_into().map_err(|_| Failure::WrongLength {
        header: header(),
        expected: 44,
        found: text.len(),
    })
}

/// A value that does not start as its scheme's values do: the other scheme's, or a stranger's.
fn not_the_scheme(header: &str, value: &str, expected: Scheme) -> Failure {
    let other = match expected {
        Scheme::VantageKit => Scheme::Standard,
        Scheme::Standard => Scheme::VantageKit,
    };
    if value.starts_with(other.value_prefix()) {
        return Failure::OtherScheme {
            header: header.to_owned(),
            expected,
        };
    }
    Failure::WrongPrefix {
        header: header.to_owned(),
        expected,
        found: shortened(value)
            .chars()
            .take(expected.value_prefix().len())
            .collect(),
    }
}

fn without_outer_whitespace(header: &str, value: &str) -> Result<(), Failure> {
    if value.trim() == value {
        return Ok(());
    }
    Err(Failure::WhitespaceAroundValue {
        header: header.to_owned(),
    })
}

fn unhex(digits: &str) -> Option<Digest> {
    let digits = digits.as_bytes();
    let mut digest = [0; 32];
    if digits.len() != 2 * digest.len() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|nibble| nibble as u8);
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(digest)
}

/// At most 40 characters of a stranger's text, for a sentence; none of what looks like a secret
/// that was put in the wrong place.
fn shortened(text: &str) -> String {
    if text.contains(SECRET_PREFIX) {
        return "a secret".to_owned();
    }
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
