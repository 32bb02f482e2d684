//! Hides nothing of why a delivery was refused: each reason as a value with a stable code.

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
