//! Hides how a body is read: bounded in size, in time and by the memory of all others, said to be JSON, and checked field by
//! field with a JSON pointer to what is wrong.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::App;
use crate::problem::Problem;

/// The largest body of any call but the batch, in bytes (contract: 413 above).
pub(crate) const BODY_MAX: usize = model::event::EVENT_BODY_MAX;
/// The largest body of the batch, in bytes (contract: 413 above).
pub(crate) const BATCH_MAX: usize = model::event::BATCH_BODY_MAX;
/// How much of a body that is too large is read and dropped before the 413. A client that is
/// still sending when the connection closes would lose the answer.
pub(crate) const DRAINED_MAX: usize = 2 * BATCH_MAX;
/// How long a body may take to arrive, from its first byte to its last.
const READ_MAX: Duration = Duration::from_secs(30);

/// The body of a call that must have one, as bytes of JSON that nobody has parsed yet.
pub(crate) struct RawJson<const MAX: usize>(pub(crate) Bytes);

/// The body of a call that must have one.
pub(crate) struct Json<T>(pub(crate) T);

/// The body of a call that may have one; without, or with `null`, it is as if it were `{}`.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<const MAX: usize> FromRequest<App> for RawJson<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let says_json = says_json(request.headers());
        if asks(&request) && !is_larger(request.body(), MAX) {
            says_json?;
            return Ok(Self(read(request, app, MAX).await?));
        }
        let bytes = read(request, app, MAX).await?;
        says_json?;
        Ok(Self(bytes))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let RawJson(bytes) = RawJson::<BODY_MAX>::from_request(request, app).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<App> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let says_json = says_json(request.headers());
        let bytes = read(request, app, BODY_MAX).await?;
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        says_json?;
        match bytes.trim_ascii() {
            b"null" => parse(b"{}").map(Self),
            _ => parse(&bytes).map(Self),
        }
    }
}

/// A request's body. A client that asks before it sends (RFC 9110, section 10.1.1) learns without sending it that its
/// body is too large; any other may not read an answer before it has sent all.
async fn read(request: Request, app: &App, max: usize) -> Result<Bytes, Problem> {
    let asks = asks(&request);
    let body = request.into_body();
    if asks && is_larger(&body, max) {
        return Err(Problem::too_large(max));
    }
    let bytes = app.room.read(body, max).await?;
    Ok(match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => bytes.slice_ref(rest),
        None => bytes,
    })
}

/// U+FEFF in UTF-8. Some editors and platforms write it before a text; a parser may ignore it (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Returns true if the client waits for leave to send its body.
fn asks(request: &Request) -> bool {
    request.headers().contains_key(EXPECT)
}

/// Whether a body says so itself.
fn is_larger(body: &Body, max: usize) -> bool {
    body.size_hint().lower() > max as u64
}

/// Checks that the body is said to be JSON in UTF-8 that is not compressed.
///
/// # Errors
/// Says what it is said to be instead, and what to send.
fn says_json(headers: &HeaderMap) -> Result<(), Problem> {
    let wrong = |sentence: String| Err(Problem::UnsupportedMediaType(sentence));
    for encoding in headers.get_all(CONTENT_ENCODING) {
        let encoding = encoding.to_str().unwrap_or("unknown").trim();
        if !(encoding.is_empty() || encoding.eq_ignore_ascii_case("identity")) {
            return wrong(format!(
                "The body has the content encoding {:?}, and a compressed body is not accepted: send it as it is, \
                 without `Content-Encoding`.",
                shortened(encoding)
            ));
        }
    }
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mut parts = value.unwrap_or_default().split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !essence.eq_ignore_ascii_case("application/json") {
        return wrong(
            "The body must be JSON and say so: send `Content-Type: application/json`.".into(),
        );
    }
    for parameter in parts {
        if let Some((name, charset)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("charset")
        {
            let charset = charset.trim().trim_matches('"');
            if !UTF_8.iter().any(|name| charset.eq_ignore_ascii_case(name)) {
                return wrong(format!(
                    "The body says that it is in the character set {:?}; JSON is sent in UTF-8 (RFC 8259). Encode it \
                     in UTF-8, and leave `charset` out.",
                    shortened(charset)
                ));
            }
        }
    }
    Ok(())
}

/// What clients call UTF-8, and what is part of it.
const UTF_8: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// How much memory the bodies of all requests may hold together.
pub(crate) struct Room(Arc<Semaphore>);

/// The unit in which room is given out.
const ROOM_UNIT: usize = 1024;
/// Four of the largest batches. A single event takes a unit or two.
const ROOM: usize = 32 * 1024 * 1024;

impl Default for Room {
    fn default() -> Self {
        Self::of(ROOM)
    }
}

impl Room {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / ROOM_UNIT)))
    }

    /// Makes `held` large enough for `bytes`; without waiting, because others may be stuck, too.
    fn grow(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Problem> {
        let units = bytes.div_ceil(ROOM_UNIT);
        let more = units - held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(more).map_err(|_| Problem::Unavailable)?;
        let permit = Arc::clone(&self.0)
            .try_acquire_many_owned(more)
            .map_err(|_| Problem::Unavailable)?;
        match held {
            Some(held) => held.merge(permit),
            None => *held = Some(permit),
        }
        Ok(())
    }

    /// The whole body, at most `max` bytes, whatever its declared length says. It has its room
    /// until the last copy of it is dropped.
    pub(crate) async fn read(&self, body: Body, max: usize) -> Result<Bytes, Problem> {
        let larger = is_larger(&body, max);
        let read = tokio::time::timeout(READ_MAX, self.read_all(body, max)).await;
        read.unwrap_or_else(|_| {
            Err(match larger {
                true => Problem::too_large(max),
                false => Problem::InvalidRequest(format!(
                    "The body did not arrive within {} s; send it faster, or in smaller parts.",
                    READ_MAX.as_secs()
                )),
            })
        })
    }

    /// What is refused is still read, and dropped, up to [`DRAINED_MAX`].
    async fn read_all(&self, mut body: Body, max: usize) -> Result<Bytes, Problem> {
        let mut read = Ok(Held::default());
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Problem::InvalidRequest("The body broke off before its end; send it again.".into())
            })?;
            let Ok(piece) = frame.into_data() else {
                continue; // trailers
            };
            total += piece.len();
            if total > DRAINED_MAX {
                break;
            }
            if total > max {
                read = Err(Problem::too_large(max));
            }
            if let Ok(held) = &mut read
                && let Err(problem) = self.grow(&mut held.room, total)
            {
                read = Err(problem);
            }
            if let Ok(held) = &mut read {
                held.push(piece);
            }
        }
        read.map(Held::into_bytes)
    }
}

/// What has been read of a body, and its room. A body that comes in one piece is not copied.
#[derive(Default)]
struct Held {
    first: Bytes,
    rest: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        if self.rest.is_empty() {
            self.rest.extend_from_slice(&self.first);
        }
        self.rest.extend_from_slice(&piece);
    }

    fn into_bytes(self) -> Bytes {
        if self.first.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        if self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        }
    }
}

/// Reads a value in two steps, so that what is not JSON (400) and what is not as expected (422)
/// are told apart by kind and not by wording.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
        Problem::InvalidJson(format!(
            "The body is not valid JSON: {}.",
            model::event::explain_json(&String::from_utf8_lossy(bytes), &error)
        ))
    })?;
    if !value.is_object() {
        return Err(Problem::payload("", "expected an object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        let expected = error.into_inner().to_string();
        // Serde's words for what JSON calls otherwise.
        let expected = expected
            .replace("expected a sequence", "expected an array")
            .replace("expected a map", "expected an object");
        // Both may repeat what the client sent, at any length.
        Problem::payload(shortened(&pointer), shortened(&expected))
    })
}

/// A text that may be a client's, cut where it gets too long for a sentence.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let word = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&word);
    }
    pointer
}

/// A field that must be there; `what` says what it is.
pub(crate) fn required<T>(field: Option<T>, pointer: &str, what: &str) -> Result<T, Problem> {
    field.ok_or_else(|| Problem::payload(pointer, format!("expected {what}; it is missing")))
}

/// Text for people: not blank, at most `max` characters, no control characters.
pub(crate) fn check_text(pointer: &str, text: &str, max: usize) -> Result<(), Problem> {
    let fits = !text.trim().is_empty()
        && text.chars().count() <= max
        && !text.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    Err(Problem::payload(
        pointer,
        format!("expected 1 to {max} characters, not only spaces and no control characters"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        name: String,
        scopes: Option<Vec<u8>>,
    }

    #[test]
    fn what_is_wrong_is_named_by_its_pointer() {
        for (body, expected) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("\"\u{1}\"", "invalid_json"),
            ("[]", ""),
            ("7", ""),
            ("{}", ""),
            (r#"{"name":5}"#, "/name"),
            (r#"{"name":"a","scopes":[1,"x"]}"#, "/scopes/1"),
            (r#"{"name":"a","a/b~c":1}"#, "/a~1b~0c"),
        ] {
            let found = match parse::<Sample>(body.as_bytes()).unwrap_err() {
                Problem::InvalidJson(_) => "invalid_json".to_owned(),
                Problem::InvalidPayload { pointer, .. } => pointer,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, expected, "{body}");
        }
        assert!(parse::<Sample>(br#"{"name":"a","scopes":null}"#).is_ok());
    }

    #[test]
    fn a_sentence_repeats_no_more_than_a_little_of_what_was_sent() {
        let long = "é".repeat(200_000);
        for body in [
            format!(r#"{{"name":"a","{long}":1}}"#),
            format!(r#"{{"name":"a","scopes":"{long}"}}"#),
        ] {
            let sentence = parse::<Sample>(body.as_bytes()).unwrap_err().sentence();
            assert!(sentence.chars().count() < 650, "{}", sentence.len());
        }
    }

    /// A body of pieces, which stays open after them where `ends` is false.
    fn pieces(pieces: &[usize], ends: bool) -> Body {
        use futures_util::{StreamExt, stream};
        let piece = |size: &usize| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size]));
        let sent = stream::iter(pieces.iter().map(piece).collect::<Vec<_>>());
        match ends {
            true => Body::from_stream(sent),
            false => Body::from_stream(sent.chain(stream::pending())),
        }
    }

    #[tokio::test]
    async fn a_body_holds_its_room_until_it_is_dropped() {
        let room = Room::of(8 * ROOM_UNIT);
        let one = room.read(pieces(&[ROOM_UNIT, 5 * ROOM_UNIT], true), BODY_MAX);
        let one = one.await.unwrap();
        assert_eq!(one.len(), 6 * ROOM_UNIT);
        let copy = one.clone();
        drop(one);
        for too_much in [&[2 * ROOM_UNIT + 1][..], &[ROOM_UNIT; 3]] {
            let refused = room.read(pieces(too_much, true), BODY_MAX).await;
            assert!(matches!(refused, Err(Problem::Unavailable)), "{refused:?}");
        }
        let small = room.read(pieces(&[2 * ROOM_UNIT], true), BODY_MAX).await;
        assert_eq!(small.unwrap().len(), 2 * ROOM_UNIT);
        drop(copy);
        let again = room.read(pieces(&[ROOM_UNIT; 8], true), BODY_MAX).await;
        assert_eq!(again.unwrap().len(), 8 * ROOM_UNIT);
        let large = room.read(pieces(&[ROOM_UNIT; 9], true), 4 * ROOM_UNIT);
        assert!(matches!(large.await, Err(Problem::PayloadTooLarge(_))));
        assert_eq!(room.0.available_permits(), 8, "what was refused holds none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let room = Room::default();
        let begun = tokio::time::Instant::now();
        let stuck = room.read(pieces(&[10, 10], false), BODY_MAX).await;
        assert!(
            matches!(stuck, Err(Problem::InvalidRequest(_))),
            "{stuck:?}"
        );
        assert_eq!(begun.elapsed(), READ_MAX);
        assert_eq!(room.0.available_permits(), ROOM / ROOM_UNIT);
    }

    /// A body of a known length that never comes.
    struct Withheld(u64);

    impl http_body::Body for Withheld {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(self.0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_says_it_is_too_large_is_refused_as_that_though_it_does_not_come() {
        for (length, too_large) in [(BODY_MAX, false), (BODY_MAX + 1, true)] {
            let body = Body::new(Withheld(length as u64));
            let refused = Room::default().read(body, BODY_MAX).await.unwrap_err();
            let found = matches!(refused, Problem::PayloadTooLarge(_));
            assert_eq!(found, too_large, "{length}: {refused:?}");
        }
    }

    #[test]
    fn only_json_in_utf_8_is_accepted_and_the_sentence_says_what_came_instead() {
        let json = "application/json";
        for (content_type, encoding, named) in [
            (json, None, None),
            ("Application/JSON; charset=UTF-8", None, None),
            ("application/json;charset=\"utf-8\"", None, None),
            ("application/json; charset=utf8", None, None),
            ("application/json; charset=us-ascii", Some("identity"), None),
            ("application/json; profile=x", None, None),
            ("application/json; charset=latin1", None, Some("\"latin1\"")),
            ("application/json; charset=utf-16", None, Some("\"utf-16\"")),
            ("application/jsonp", None, Some("Content-Type")),
            ("text/json", None, Some("Content-Type")),
            ("", None, Some("Content-Type")),
            (json, Some("gzip"), Some("\"gzip\"")),
            (json, Some("br"), Some("\"br\"")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            if let Some(encoding) = encoding {
                headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
            }
            match (says_json(&headers), named) {
                (Ok(()), None) => {}
                (Err(Problem::UnsupportedMediaType(said)), Some(named)) => {
                    assert!(said.contains(named), "{said}");
                }
                (found, _) => panic!("{content_type}, {encoding:?}: {found:?}"),
            }
        }
    }
}
