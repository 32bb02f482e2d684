//! Hides how a failure is put to people: what happened, why, and what to do next.

use std::fmt;

use crate::failure::{BodyChange, Failure, JsonEscapes, JsonLayout, SecretMistake};
use crate::sign::{HEX_PREFIX, SECRET_PREFIX};

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
                 Pass on the value that came in this very header, or verify the other scheme.",
                expected.value_prefix()
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
                 the receiver's clock; to check a recorded one, give the time it arrived (`vk-webhooks verify --at`).",
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
                 put the timestamp and a dot before it (`timestamp.body`; in `webhook-signature`, \
                 `id.timestamp.body`)."
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
