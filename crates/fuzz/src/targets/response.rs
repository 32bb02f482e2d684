//! Hides what a receiver may do to one exchange, and how a simple reader would take what it sends.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use egress::{Connections, Egress, Exchange, Policy, ReceiverUrl, Request, Response, Transport};
use http::HeaderMap;
use model::attempt::{Outcome, RESPONSE_BODY_MAX, Reason, judge_status};
use tokio::time::Instant;

use crate::choices::Choices;
use crate::network::{BODY, End, Outside, Script, find};

/// How long an attempt may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much may be read of an answer: 64 KiB before its body and 256 KiB of it, and at both ends what was in
/// one read.
const READ_MAX: usize = (64 + 256 + 2 * 64) * 1024;
/// How much a receiver sends at most.
const SENT_MAX: usize = 1 << 19;
/// How long a head may be for the simple reader.
const PLAIN_HEAD_MAX: usize = 4096;

static OUTSIDE: LazyLock<Mutex<Outside>> = LazyLock::new(|| {
    Mutex::new(Outside::new(Policy {
        allow: Vec::new(),
        allow_http: true,
    }))
});

pub(super) fn target(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    let script = script(&mut choices);
    let next = Script {
        sends: vec![(
            Duration::ZERO,
            Bytes::from_static(b"HTTP/1.1 202 Accepted\r\n\r\n"),
        )],
        end: End::Close,
        ..Script::default()
    };
    let outside = OUTSIDE.lock().unwrap_or_else(PoisonError::into_inner);
    let url = ReceiverUrl::parse("http://93.184.215.14/", &outside.policy).expect("it is fine");
    let connections = Connections::default();
    let scripts = [script.clone(), next];
    let ((first, took, second), seen) = outside.run(&[], scripts, async |egress| {
        let begun = Instant::now();
        let first = post(egress, &connections, &url).await;
        let took = begun.elapsed();
        // All that was to come has come, so that none of it can look like an answer to what follows.
        let last = script
            .sends
            .last()
            .map_or(Duration::ZERO, |(after, _)| *after);
        tokio::time::sleep(last).await;
        let second = post(egress, &connections, &url).await;
        // Where the connection is kept, it is looked after in the background.
        drop(connections);
        (first, took, second)
    });
    assert!(
        took <= DEADLINE + Duration::from_millis(2),
        "it took {took:?}"
    );
    assert!(seen.read <= READ_MAX, "{} bytes were read", seen.read);
    check_exchange(&first);
    check_outcome(&script, &first);
    // Two lengths of one body may hide another answer in it.
    let has = |name: &str| {
        let mut headers = first.result.iter().flat_map(|response| &response.headers);
        headers.any(|(other, _)| other == name)
    };
    let ambiguous = has("content-length") && has("transfer-encoding");
    assert!(
        !ambiguous || seen.dialed.len() == 2,
        "its connection is kept"
    );
    let second = second.result.map(|response| response.status);
    let expected = match seen.dialed.len() {
        1 => 204,
        _ => 202,
    };
    assert_eq!(
        second.ok(),
        Some(expected),
        "nothing of one answer belongs to the next"
    );
}

async fn post(egress: &Egress, connections: &Connections, url: &ReceiverUrl) -> Exchange {
    let request = Request {
        url,
        headers: &HeaderMap::new,
        body: Bytes::from_static(BODY),
        deadline: Instant::now() + DEADLINE,
    };
    egress.exchange(connections, request).await
}

/// What is sent is the bytes after the first few, which say where it is cut, how long a pause each cut makes,
/// how often its last part is repeated, and how it ends.
fn script(choices: &mut Choices<'_>) -> Script {
    let end = *choices.one_of(&[End::Close, End::Silence, End::Reset]);
    let oddity = choices.byte();
    let cuts: Vec<_> = (0..choices.below(4))
        .map(|_| (choices.byte(), choices.byte()))
        .collect();
    // Seldom: it takes longer than all else.
    let repeated = match choices.byte() {
        power @ 0..=15 => 1 << power,
        _ => 1,
    };
    let raw = Bytes::copy_from_slice(choices.rest());
    let mut places: Vec<_> = cuts
        .iter()
        .map(|(place, _)| raw.len() * usize::from(*place) / 256)
        .collect();
    places.sort_unstable();
    let (mut sends, mut after, mut from) = (Vec::new(), Duration::ZERO, 0);
    for (place, (_, pause)) in places.into_iter().zip(cuts) {
        sends.push((after, raw.slice(from..place)));
        after += Duration::from_millis(100) * u32::from(pause);
        from = place;
    }
    let last = raw.slice(from..);
    let times = repeated.min(SENT_MAX / last.len().max(1));
    sends.push((after, last.repeat(times).into()));
    Script {
        sends,
        end,
        unasked: oddity == 255,
        deaf: oddity == 254,
        second: Bytes::from_static(b"HTTP/1.1 204 No Content\r\n\r\n"),
    }
}

/// What holds of every exchange with a receiver that was reached.
fn check_exchange(exchange: &Exchange) {
    assert!(exchange.remote_addr.is_some());
    match &exchange.result {
        Ok(response) => check_response(response),
        Err(failure) => {
            use Reason::{
                BodyIncomplete, BodyTimeout, ConnectionClosed, ConnectionReset, HeadersTooLarge,
                InvalidResponse, ResponseTimeout, SendTimeout, TooManyInterim, UnexpectedUpgrade,
            };
            if let Some(partial) = &failure.partial {
                check_response(partial);
            }
            // A head was read where the body failed, and nowhere else.
            let expected = match failure.reason {
                BodyIncomplete | BodyTimeout => true,
                ConnectionClosed | ConnectionReset | HeadersTooLarge | ResponseTimeout
                | SendTimeout | TooManyInterim | UnexpectedUpgrade => false,
                InvalidResponse => failure.partial.is_some(),
                other => panic!("{other:?} is not the receiver's answer: {failure:?}"),
            };
            assert_eq!(failure.partial.is_some(), expected, "{failure:?}");
            let detail = &failure.detail;
            assert!(detail.ends_with('.') && detail.len() < 500, "{detail:?}");
            assert!(
                detail.bytes().all(|byte| (b' '..0x7f).contains(&byte)),
                "{detail:?}"
            );
        }
    }
}

fn check_response(response: &Response) {
    assert!(
        (200..=999).contains(&response.status),
        "{}",
        response.status
    );
    assert!(response.body.len() <= RESPONSE_BODY_MAX);
    let headers = response.headers.iter();
    let size: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    assert!(size <= 16 * 1024 && response.headers.len() <= 100);
    let lower = |name: &str| name.bytes().all(|byte| !byte.is_ascii_uppercase());
    assert!(response.headers.iter().all(|(name, _)| lower(name)));
    let (outcome, reason) = judge_status(response.status);
    assert_eq!(
        outcome == Outcome::Delivered,
        (200..300).contains(&response.status)
    );
    assert_eq!(outcome == Outcome::Delivered, reason.is_none());
}

/// What a simple reader makes of an answer whose head is plain, as most are.
struct Plain {
    status: u16,
    /// Where the body begins.
    body: usize,
    /// How long it is; as long as it comes, where that is not said.
    length: Option<usize>,
}

/// Reads a plain head: HTTP/1.1, a final status, headers of plain characters, at most one length.
fn read_plain(bytes: &[u8]) -> Option<Plain> {
    let end = find(&bytes[..bytes.len().min(PLAIN_HEAD_MAX)], b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    if head.replace("\r\n", "").contains(['\r', '\n']) {
        return None;
    }
    let mut lines = head.split("\r\n");
    let first = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let (status, words) = first.split_once(' ')?;
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let status: u16 = number(status).filter(|_| status.len() == 3)?;
    let letters = |text: &str| text.chars().all(|c| c.is_ascii_alphabetic() || c == ' ');
    // Those without a body, whatever they say of it, are another matter.
    if !(200..600).contains(&status) || [204, 205, 304].contains(&status) || !letters(words) {
        return None;
    }
    let (mut length, mut count) = (None, 0);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        count += 1;
        if name.is_empty()
            || !name.chars().all(token)
            || !value.chars().all(|c| (' '..='~').contains(&c))
            || count > 50
        {
            return None;
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" if length.is_none() && (1..=6).contains(&value.len()) => {
                length = Some(number(value)?.into());
            }
            "content-length" | "transfer-encoding" => return None,
            _ => {}
        }
    }
    Some(Plain {
        status,
        body: end + 4,
        length,
    })
}

/// Where a simple reader knows what must become of an answer, that became of it.
fn check_outcome(script: &Script, exchange: &Exchange) {
    let parts: Vec<&[u8]> = script.sends.iter().map(|(_, bytes)| &bytes[..]).collect();
    let all = parts.concat();
    if script.deaf || script.unasked {
        // Nothing counts as an answer to a request that was not read, or was not yet sent. What comes only after
        // a pause may be one.
        let mut at_once = script.sends.iter().filter(|(after, _)| after.is_zero());
        let at_once = at_once.any(|(_, bytes)| !bytes.is_empty());
        let answered = exchange.result.is_ok() && (script.deaf || at_once);
        assert!(!answered, "{exchange:?}");
        return;
    }
    let Some(plain) = read_plain(&all) else {
        return;
    };
    // When so many bytes have come.
    let arrival = |count: usize| {
        let mut sum = 0;
        let mut sends = script.sends.iter();
        let found = sends.find(|(_, bytes)| {
            sum += bytes.len();
            sum >= count
        });
        found.map(|(after, _)| *after)
    };
    let ends = script
        .sends
        .last()
        .map_or(Duration::ZERO, |(after, _)| *after);
    let kept = plain.length.unwrap_or(usize::MAX).min(RESPONSE_BODY_MAX);
    let there = &all[plain.body..];
    let whole = match (plain.length, script.end) {
        _ if there.len() >= kept => arrival(plain.body + kept),
        (None, End::Close) => Some(ends),
        _ => None,
    };
    let head = arrival(plain.body).unwrap_or(ends);
    match (whole, &exchange.result) {
        (Some(at), Ok(response)) if at < DEADLINE => {
            assert_eq!(response.status, plain.status);
            assert_eq!(
                response.body,
                there[..there.len().min(kept)],
                "another body"
            );
        }
        (Some(at), Err(failure)) if at < DEADLINE => panic!("it was complete: {failure:?}"),
        (_, Ok(_)) if whole != Some(DEADLINE) => panic!("it was not complete: {exchange:?}"),
        (_, Err(failure)) if head < DEADLINE => {
            let partial = failure.partial.as_ref().map(|partial| partial.status);
            assert_eq!(partial, Some(plain.status), "{failure:?}");
        }
        _ => {}
    }
}
