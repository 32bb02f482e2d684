//! Hides nothing of why a delivery was refused: each reason as a value, a stable code and a sentence.

use std::fmt;

use crate::sign::{HEX_PREFIX, SECRET_PREFIX};
use crate::verify::Scheme;

/// Why a delivery was refused.
///
/// [`Verifier::verify`](crate::Verifier::verify) tells everything apart but the reasons of a
/// well-formed signature that differs ([`Failure::Mismatch`]);
/// [`Verifier::explain`](crate::Verifier::explain) looks for those too. The sentence
/// (`Display`) says what happened, why, and what to do next; it never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// A header that the scheme needs is not there, or is empty.
    MissingHeader {
        /// Its name.
        header: String,
        /// A header that is there and looks as if it were meant.
        similar: Option<String>,
    },
    /// A value has spaces or line ends around it.
    WhitespaceAroundValue {
        /// The header it is in.
        header: String,
    },
    /// The header holds the value of the other scheme.
    OtherScheme {
        /// The header.
        header: String,
        /// The scheme whose value belongs there.
        expected: Scheme,
    },
    /// A signature does not start as its scheme's signatures do.
    WrongPrefix {
        /// The header it is in.
        header: String,
        /// The scheme whose value belongs there.
        expected: Scheme,
        /// What it starts with instead.
        found: String,
    },
    /// Base64 where hex digits belong.
    Base64InsteadOfHex {
        /// The header it is in.
        header: String,
    },
    /// Hex digits where base64 belongs.
    HexInsteadOfBase64 {
        /// The header it is in.
        header: String,
    },
    /// A character that is not a hex digit.
    NotHex {
        /// The header it is in.
        header: String,
        /// Which character of the value, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
    /// Text that is not base64.
    NotBase64 {
        /// The header it is in.
        header: String,
    },
    /// More or fewer characters than 32 bytes have.
    WrongLength {
        /// The header it is in.
        header: String,
        /// How many characters there should be after the prefix.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The timestamp has something other than digits in it, or too many of them.
    TimestampNotANumber {
        /// The header it is in.
        header: String,
        /// Its beginning.
        value: String,
    },
    /// The timestamp is in milliseconds where seconds belong.
    TimestampInMilliseconds {
        /// The header it is in.
        header: String,
        /// The value.
        value: String,
    },
    /// The receiver passed its own time in milliseconds where seconds belong.
    ClockInMilliseconds,
    /// The signature is right, but was made too long ago.
    TimestampTooOld {
        /// How old it is, in seconds.
        age: u64,
        /// How old it may be, in seconds.
        tolerance: u64,
    },
    /// The signature is right, but claims to be made in the future.
    TimestampInFuture {
        /// How far ahead it is, in seconds.
        ahead: u64,
        /// How far ahead it may be, in seconds.
        tolerance: u64,
    },
    /// The signature is well-formed, and is not this secret's for this body. Nobody has looked
    /// for the reason yet.
    Mismatch,
    /// The signature is right for this body with a secret that is nearly the given one.
    SecretMistake(SecretMistake),
    /// The signature is right for this secret with a body that is nearly the given one.
    BodyChanged(BodyChange),
    /// The signature was made over the body alone, without the timestamp before it.
    SignedWithoutTimestamp,
    /// The body given is empty, which no delivery's is.
    BodyEmpty,
    /// The secret or the body differs and no usual mistake explains it: an HMAC does not tell
    /// which of the two it is.
    SecretOrBodyDiffers,
}

/// How the given secret differs from the one that signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretMistake {
    /// The given one has spaces or a line end around it.
    Whitespace,
    /// The given one has quotation marks around it.
    Quotes,
    /// The given one lacks the `whsec_` it starts with.
    WithoutPrefix,
    /// The given one lacks the `=` it ends with.
    WithoutPadding,
    /// The sender keyed with the text without its `whsec_`.
    SenderDroppedPrefix,
    /// The sender keyed with the decoded base64, in the scheme that takes the whole text.
    SenderDecoded,
    /// The sender keyed with the whole text, in the scheme that takes the decoded base64.
    SenderDidNotDecode,
}

/// How the given body differs from the one that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyChange {
    /// The given one ends in a line end, or whitespace, that was not sent.
    EndAdded,
    /// The given one lacks the line end that was sent.
    EndRemoved,
    /// The given one has other line ends (LF for CR LF or the reverse).
    LineEnds,
    /// The given one starts with a byte order mark that was not sent.
    ByteOrderMark,
    /// The given one is only the `data` of what was sent.
    OnlyData,
    /// The given one holds the same JSON, written differently: it was parsed and written again.
    Rewritten {
        /// How the signed one's `data` is laid out.
        layout: JsonLayout,
        /// How the signed one writes characters that may be escaped.
        escapes: JsonEscapes,
    },
}

/// Where a JSON text has spaces and line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLayout {
    /// Where the given body has them.
    AsGiven,
    /// Nowhere, as `JSON.stringify` writes it.
    Compact,
    /// A space after each colon and comma, as Python's `json.dumps` writes it.
    Spaced,
    /// A line for each member, indented by so many spaces.
    Indented(u8),
}

/// How a JSON text writes the characters that may be escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonEscapes {
    /// As the given body does.
    AsGiven,
    /// As themselves.
    Plain,
    /// As `\uXXXX` where they are not ASCII, as Python's `json.dumps` does.
    Ascii,
}

impl Failure {
    /// A stable word for the kind of failure, for logs, tests and other languages.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader { .. } => "missing_header",
            Self::WhitespaceAroundValue { .. } => "whitespace_around_value",
            Self::OtherScheme { .. } => "other_scheme",
            Self::WrongPrefix { .. } => "wrong_prefix",
            Self::Base64InsteadOfHex { .. } => "base64_instead_of_hex",
            Self::HexInsteadOfBase64 { .. } => "hex_instead_of_base64",
            Self::NotHex { .. } => "not_hex",
            Self::NotBase64 { .. } => "not_base64",
            Self::WrongLength { .. } => "wrong_length",
            Self::TimestampNotANumber { .. } => "timestamp_not_a_number",
            Self::TimestampInMilliseconds { .. } => "timestamp_in_milliseconds",
            Self::ClockInMilliseconds => "clock_in_milliseconds",
            Self::TimestampTooOld { .. } => "timestamp_too_old",
            Self::TimestampInFuture { .. } => "timestamp_in_future",
            Self::Mismatch => "mismatch",
            Self::SecretMistake(mistake) => mistake.code(),
            Self::BodyChanged(change) => change.code(),
            Self::SignedWithoutTimestamp => "signed_without_timestamp",
            Self::BodyEmpty => "body_empty",
            Self::SecretOrBodyDiffers => "secret_or_body_differs",
        }
    }
}

impl SecretMistake {
    fn code(self) -> &'static str {
        match self {
            Self::Whitespace => "secret_whitespace",
            Self::Quotes => "secret_quotes",
            Self::WithoutPrefix => "secret_without_prefix",
            Self::WithoutPadding => "secret_without_padding",
            Self::SenderDroppedPrefix => "signed_with_prefix_dropped",
            Self::SenderDecoded => "signed_with_secret_decoded",
            Self::SenderDidNotDecode => "signed_with_secret_not_decoded",
        }
    }
}

impl BodyChange {
    fn code(self) -> &'static str {
        match self {
            Self::EndAdded => "body_end_added",
            Self::EndRemoved => "body_end_removed",
            Self::LineEnds => "body_line_ends",
            Self::ByteOrderMark => "body_byte_order_mark",
            Self::OnlyData => "body_only_data",
            Self::Rewritten { .. } => "body_rewritten",
        }
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader {
                header,
                similar: None,
            } => write!(
                f,
                "The header {header} is missing or empty, so there is nothing to check. Pass on all \
                 headers as they arrived; a proxy or framework in between may drop them."
            ),
            Self::MissingHeader {
                header,
                similar: Some(similar),
            } => write!(
                f,
                "The header {header} is missing or empty, but there is {similar}. Check that the \
                 right scheme and header prefix are asked for, and that nothing renames headers."
            ),
            Self::WhitespaceAroundValue { header } => write!(
                f,
                "The value of {header} has whitespace around it, which is not part of what was \
                 sent. Copy the value without the spaces or line ends around it."
            ),
            Self::OtherScheme { header, expected } => write!(
                f,
                "{header} holds a signature of the other scheme: here it must start with `{}`. \
                 Take each value from its own header ({}).",
                expected.value_prefix(),
                expected.home()
            ),
            Self::WrongPrefix {
                header,
                expected,
                found,
            } => write!(
                f,
                "The value of {header} must start with `{}`, but starts with `{}`. Pass on the \
                 header's whole value, unchanged.",
                expected.value_prefix(),
                found.escape_debug()
            ),
            Self::Base64InsteadOfHex { header } => write!(
                f,
                "The signature in {header} is base64, but this scheme writes it in hex. Whoever \
                 signed must write the HMAC as 64 hex digits after `{HEX_PREFIX}`."
            ),
            Self::HexInsteadOfBase64 { header } => write!(
                f,
                "The signature in {header} is hex, but this scheme writes it in base64. Whoever \
                 signed must write the HMAC's 32 bytes as base64 after `v1,`."
            ),
            Self::NotHex {
                header,
                position,
                found,
            } => write!(
                f,
                "Character {position} of {header} is {found:?}, which is no hex digit. Pass on the \
                 header's whole value, unchanged."
            ),
            Self::NotBase64 { header } => write!(
                f,
                "The signature in {header} is not base64 with its padding. Pass on the header's \
                 whole value, unchanged: `+`, `/` and `=` belong to it."
            ),
            Self::WrongLength {
                header,
                expected,
                found,
            } => write!(
                f,
                "The signature in {header} has {found} characters after its prefix instead of \
                 {expected}. It was cut off, or made with another hash than SHA-256."
            ),
            Self::TimestampNotANumber { header, value } => write!(
                f,
                "{header} must be a whole number of Unix seconds, but is `{}`. Pass on the \
                 header's value, unchanged.",
                value.escape_debug()
            ),
            Self::TimestampInMilliseconds { header, value } => write!(
                f,
                "{header} is `{value}`, which is a time in milliseconds; it must be in seconds. \
                 Whoever signed must divide by 1000 before signing."
            ),
            Self::ClockInMilliseconds => write!(
                f,
                "The current time was given in milliseconds, but must be in Unix seconds. Divide \
                 it by 1000 (in JavaScript: `Math.floor(Date.now() / 1000)`)."
            ),
            Self::TimestampTooOld { age, tolerance } => write!(
                f,
                "The signature is right, but it was made {} ago and at most {} are allowed, so \
                 that nobody can send a recorded delivery again. If this delivery is fresh, set \
                 the receiver's clock; to check a recorded one, give the time it arrived.",
                Span(*age),
                Span(*tolerance)
            ),
            Self::TimestampInFuture { ahead, tolerance } => write!(
                f,
                "The signature is right, but its time is {} in the future and at most {} are \
                 allowed. The receiver's clock is slow or the sender's is fast: set them.",
                Span(*ahead),
                Span(*tolerance)
            ),
            Self::Mismatch => write!(
                f,
                "The signature is well-formed, but is not the one this secret makes for this \
                 timestamp and body. Check that the secret is this endpoint's, whole, and that the \
                 body is the raw bytes as they arrived."
            ),
            Self::SecretMistake(mistake) => mistake.fmt(f),
            Self::BodyChanged(change) => change.fmt(f),
            Self::SignedWithoutTimestamp => write!(
                f,
                "The secret is right, but the sender signed the body alone. Whoever signed must \
                 put the timestamp and a dot before the body (`timestamp.body`)."
            ),
            Self::BodyEmpty => write!(
                f,
                "The body given is empty, and no delivery's is. Something read it before, most \
                 often a body parser: verify the raw bytes first, then parse them."
            ),
            Self::SecretOrBodyDiffers => write!(
                f,
                "The secret, the timestamp or the body is not what the sender signed with; a \
                 signature cannot tell which, and no usual mistake explains it. Check that the \
                 secret is this endpoint's (and not one from before a rotation), and that the body \
                 is the raw bytes of the same request as the headers."
            ),
        }
    }
}

impl fmt::Display for SecretMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whitespace => write!(
                f,
                "The secret given has whitespace around it, often the line end of the file it was \
                 read from; without it the signature is right. Trim the secret."
            ),
            Self::Quotes => write!(
                f,
                "The secret given has quotation marks around it; without them the signature is \
                 right. Remove the quotation marks."
            ),
            Self::WithoutPrefix => write!(
                f,
                "The secret given lacks its beginning `{SECRET_PREFIX}`; with it the signature is \
                 right. Use the whole secret, as it was shown."
            ),
            Self::WithoutPadding => write!(
                f,
                "The secret given lacks the `=` at its end; with it the signature is right. Use \
                 the whole secret, as it was shown."
            ),
            Self::SenderDroppedPrefix => write!(
                f,
                "The signature was made with the secret without its beginning `{SECRET_PREFIX}`. \
                 In this scheme the key is the whole secret, prefix included: whoever signed must \
                 use it so."
            ),
            Self::SenderDecoded => write!(
                f,
                "The signature was made with the secret decoded from base64. In this scheme the \
                 key is the whole secret as text, prefix included; only the `webhook-signature` \
                 scheme decodes it. Whoever signed must use the text."
            ),
            Self::SenderDidNotDecode => write!(
                f,
                "The signature was made with the secret as text. In this scheme the key is the \
                 bytes that the base64 after `{SECRET_PREFIX}` stands for. Whoever signed must \
                 decode it first."
            ),
        }
    }
}

impl fmt::Display for BodyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::EndAdded => "ends in whitespace, such as a line end, that was not sent",
            Self::EndRemoved => "lacks the line end that the sent one ends in",
            Self::LineEnds => {
                "has other line ends than the sent one (LF in place of CR LF, or the reverse)"
            }
            Self::ByteOrderMark => "starts with a byte order mark that was not sent",
            Self::OnlyData => "is only the `data` part of what was sent",
            Self::Rewritten { layout, escapes } => {
                return write!(
                    f,
                    "The secret is right, but the body was parsed and written again: the signed one \
                     is the same JSON{layout}{escapes}. Verify the raw bytes as they arrived, then \
                     parse them."
                );
            }
        };
        write!(
            f,
            "The secret is right, but the body given {what}. Verify the raw bytes as they arrived, \
             before anything reads or changes them."
        )
    }
}

impl fmt::Display for JsonLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsGiven => Ok(()),
            Self::Compact => write!(f, " without spaces, `type` before `data`"),
            Self::Spaced => write!(f, " with a space after each colon and comma"),
            Self::Indented(by) => write!(f, " on several lines, indented by {by} spaces"),
        }
    }
}

impl fmt::Display for JsonEscapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsGiven => "",
            Self::Plain => ", its characters written as themselves instead of as escapes",
            Self::Ascii => ", its characters outside ASCII written as `\\u` escapes",
        })
    }
}

/// A number of seconds as people say it: exact below ten minutes, rounded down above.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "1 second"),
            seconds @ 0..600 => write!(f, "{seconds} seconds"),
            seconds @ 600..7_200 => write!(f, "{} minutes", seconds / 60),
            seconds @ 7_200..172_800 => write!(f, "{} hours", seconds / 3_600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}
