//! Hides the search for the mistake that makes a well-formed signature differ.

use crate::failure::{BodyChange, Failure, JsonEscapes, JsonLayout, SecretMistake};
use crate::json;
use crate::sign::{Key, SECRET_PREFIX, SigningKeys, decoded};
use crate::verify::{Claim, Scheme};

/// Larger bodies (no delivery has one) are not searched for re-writings, to bound the cost.
const MAX_REWRITTEN_BYTES: usize = 1024 * 1024;

const LAYOUTS: [JsonLayout; 4] = [
    JsonLayout::Compact,
    JsonLayout::Spaced,
    JsonLayout::Indented(2),
    JsonLayout::Indented(4),
];

const ESCAPES: [JsonEscapes; 3] = [JsonEscapes::AsGiven, JsonEscapes::Plain, JsonEscapes::Ascii];

/// Why the signature is not the given secret's for the given body: the first usual mistake under
/// which it is right, else the honest answer that it cannot be told.
pub(crate) fn mismatch(
    claim: &Claim<'_>,
    key: &Key,
    secret: &str,
    body: &[u8],
    event_type: Option<&str>,
) -> Failure {
    if let Some(mistake) = secret_mistake(claim, secret, body) {
        return Failure::SecretMistake(mistake);
    }
    if claim.signed(&key.digest(&[body])).is_some() {
        return Failure::SignedWithoutTimestamp;
    }
    let is_signed = |other: &[u8]| claim.matched(key, other).is_some();
    if let Some(change) = ends_and_lines(body, is_signed)
        .or_else(|| only_data(body, event_type, is_signed))
        .or_else(|| rewritten(body, is_signed))
    {
        return Failure::BodyChanged(change);
    }
    if body.is_empty() {
        return Failure::BodyEmpty;
    }
    Failure::SecretOrBodyDiffers
}

fn secret_mistake(claim: &Claim<'_>, secret: &str, body: &[u8]) -> Option<SecretMistake> {
    let trimmed = secret.trim();
    let unquoted = trimmed.trim_matches(['"', '\'', '`']);
    let text = unquoted.strip_prefix(SECRET_PREFIX).unwrap_or(unquoted);
    let given = [
        (SecretMistake::Whitespace, trimmed.to_owned()),
        (SecretMistake::Quotes, unquoted.to_owned()),
        (
            SecretMistake::WithoutPrefix,
            format!("{SECRET_PREFIX}{text}"),
        ),
        (SecretMistake::WithoutPadding, format!("{unquoted}=")),
        (SecretMistake::WithoutPadding, format!("{unquoted}==")),
    ];
    let meant = given.into_iter().map(|(mistake, other)| {
        let keys = SigningKeys::new(&other);
        let key = match claim.scheme {
            Scheme::VantageKit => keys.vantagekit,
            Scheme::Standard => keys.standard,
        };
        (mistake, key)
    });
    meant
        .chain(sender_keys(claim.scheme, unquoted, text))
        .find(|(_, key)| claim.matched(key, body).is_some())
        .map(|(mistake, _)| mistake)
}

/// The keys a sender may have made from the right secret in the wrong way.
fn sender_keys(scheme: Scheme, secret: &str, text: &str) -> Vec<(SecretMistake, Key)> {
    match scheme {
        Scheme::VantageKit => {
            let dropped = (
                SecretMistake::SenderDroppedPrefix,
                Key::new(text.as_bytes()),
            );
            let decoded = decoded(secret).map(|key| (SecretMistake::SenderDecoded, Key::new(&key)));
            [dropped].into_iter().chain(decoded).collect()
        }
        Scheme::Standard => [secret, text]
            .map(|key| (SecretMistake::SenderDidNotDecode, Key::new(key.as_bytes())))
            .into(),
    }
}

fn ends_and_lines(body: &[u8], is_signed: impl Fn(&[u8]) -> bool) -> Option<BodyChange> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    if is_signed(body.trim_ascii_end()) {
        return Some(BodyChange::EndAdded);
    }
    if [&b"\n"[..], b"\r\n"]
        .iter()
        .any(|end| is_signed(&[body, end].concat()))
    {
        return Some(BodyChange::EndRemoved);
    }
    if body.strip_prefix(BYTE_ORDER_MARK).is_some_and(&is_signed) {
        return Some(BodyChange::ByteOrderMark);
    }
    let text = std::str::from_utf8(body).ok()?;
    let unix = text.replace("\r\n", "\n");
    let changed = is_signed(unix.as_bytes()) || is_signed(unix.replace('\n', "\r\n").as_bytes());
    changed.then_some(BodyChange::LineEnds)
}

/// The body is what the sender put under `data`, and a header tells the `type` beside it.
fn only_data(
    body: &[u8],
    event_type: Option<&str>,
    is_signed: impl Fn(&[u8]) -> bool,
) -> Option<BodyChange> {
    let head = format!(r#"{{"type":"{}","data":"#, event_type?);
    is_signed(&[head.as_bytes(), body, b"}"].concat()).then_some(BodyChange::OnlyData)
}

/// The body is the same JSON in another writing. Senders write `{"type":…,"data":…}` compactly
/// around `data` as it was published, so `data` is tried in every layout by itself, too.
fn rewritten(body: &[u8], is_signed: impl Fn(&[u8]) -> bool) -> Option<BodyChange> {
    if body.len() > MAX_REWRITTEN_BYTES {
        return None;
    }
    let given = std::str::from_utf8(body).ok()?;
    for escapes in ESCAPES {
        let other = json::escaped(given, escapes);
        if other.is_none() && escapes != JsonEscapes::AsGiven {
            continue;
        }
        let text = other.as_deref().unwrap_or(given);
        if other.is_some() && is_signed(text.as_bytes()) {
            let layout = JsonLayout::AsGiven;
            return Some(BodyChange::Rewritten { layout, escapes });
        }
        let compact = json::laid_out(text, JsonLayout::Compact)?;
        for layout in LAYOUTS {
            let whole = json::laid_out(&compact, layout)?;
            let framed = json::envelope(&compact).and_then(|(event_type, data)| {
                let data = json::laid_out(data, layout)?;
                Some(format!(r#"{{"type":{event_type},"data":{data}}}"#))
            });
            if [Some(whole), framed]
                .iter()
                .flatten()
                .any(|json| is_signed(json.as_bytes()))
            {
                return Some(BodyChange::Rewritten { layout, escapes });
            }
        }
    }
    None
}
