//! Hides how deliveries are signed, spoilt and told: the verifier against its own signer and against any headers.

use signature::{Failure, MatchedHeader, Scheme, SigningKeys, Verifier};

use crate::choices::Choices;

/// Names of headers that mean something, in any spelling, and some that do not.
const NAMES: [&str; 10] = [
    "X-VantageKit-Signature",
    "x-vantagekit-signature-next",
    "X-VantageKit-Timestamp",
    "X-VantageKit-Event",
    "webhook-id",
    "webhook-timestamp",
    "Webhook-Signature",
    "HTTP_X_VANTAGEKIT_SIGNATURE",
    "x-hub-signature",
    "",
];

/// From here on a time is taken for milliseconds.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

type Headers = Vec<(String, Vec<u8>)>;

pub(super) fn target(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    let scheme = *choices.one_of(&[Scheme::VantageKit, Scheme::Standard]);
    match choices.flag() {
        true => signed(&mut choices, scheme),
        false => anything(&mut choices, scheme),
    }
}

/// Any headers: what is found valid bears the signature that the signer would make.
fn anything(choices: &mut Choices<'_>, scheme: Scheme) {
    let secret = String::from_utf8_lossy(choices.piece()).into_owned();
    let now = i64::from_be_bytes(choices.array());
    let mut headers = Headers::new();
    for _ in 0..choices.below(6) {
        headers.push((
            (*choices.one_of(&NAMES)).to_owned(),
            choices.piece().to_vec(),
        ));
    }
    let body = choices.rest();
    if judge(&secret, scheme, &headers, body, now).is_ok() {
        let value = |name: &str| {
            let mut all = headers.iter();
            let found =
                all.find(|(other, value)| other.eq_ignore_ascii_case(name) && !value.is_empty());
            found.map_or_else(String::new, |(_, value)| {
                String::from_utf8_lossy(value).into_owned()
            })
        };
        let keys = SigningKeys::new(&secret);
        let (time, id) = match scheme {
            Scheme::VantageKit => (value("x-vantagekit-timestamp"), String::new()),
            Scheme::Standard => (value("webhook-timestamp"), value("webhook-id")),
        };
        let seconds: i64 = time.parse().expect("a valid delivery has a time");
        let signature = match scheme {
            Scheme::VantageKit => keys.vantagekit(seconds, body).to_string(),
            Scheme::Standard => keys.standard(&id, seconds, body).to_string(),
        };
        let signature = signature.to_ascii_lowercase();
        let lower = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase();
        assert!(
            headers
                .iter()
                .any(|(_, value)| lower(value).contains(&signature))
        );
    }
}

/// The verdict, on which looking for an explanation must agree.
fn judge(
    secret: &str,
    scheme: Scheme,
    headers: &Headers,
    body: &[u8],
    now: i64,
) -> Result<MatchedHeader, Failure> {
    let verifier = Verifier::new(secret);
    let pairs = || headers.iter().map(|(name, value)| (name, value));
    let verified = verifier.verify(scheme, pairs(), body, now);
    let explained = verifier.explain(scheme, pairs(), body, now);
    match (&verified, &explained) {
        (Err(Failure::Mismatch), Err(why)) => {
            assert_ne!(*why, Failure::Mismatch, "an explanation explains");
        }
        _ => assert_eq!(verified, explained),
    }
    for failure in [verified.as_ref().err(), explained.as_ref().err()]
        .into_iter()
        .flatten()
    {
        let sentence = failure.to_string();
        assert!(
            sentence.len() > 20 && !failure.code().is_empty(),
            "{failure:?}"
        );
        let shown = |(name, value): &(String, Vec<u8>)| {
            name.contains(secret) || String::from_utf8_lossy(value).contains(secret)
        };
        // What stands in a header is shown in part; else a secret is nowhere.
        if secret.len() >= 24 && !headers.iter().any(shown) {
            assert!(!sentence.contains(secret), "the secret is told: {sentence}");
        }
    }
    verified.map(|verified| verified.matched)
}

/// What is signed is valid as it is, and not with one byte of it changed.
fn signed(choices: &mut Choices<'_>, scheme: Scheme) {
    let secret = match choices.below(4) {
        0 => String::from_utf8_lossy(choices.piece()).into_owned(),
        _ => format!("whsec_{}", String::from_utf8_lossy(choices.piece())),
    };
    let sent_at = i64::from(u32::from_be_bytes(choices.array())) * 16;
    let sent_at = sent_at.min(FIRST_MILLISECONDS - 1);
    let apart = i64::from(choices.byte()) - 128;
    let (next, place, flip) = (choices.flag(), choices.byte(), choices.byte().max(1));
    let id = format!("msg_{}", String::from_utf8_lossy(choices.piece()));
    let which = choices.below(4);
    let body = choices.rest();
    let keys = SigningKeys::new(&secret);
    let (signature, matched) = match scheme {
        Scheme::VantageKit if next => ("X-VantageKit-Signature-Next", MatchedHeader::SignatureNext),
        Scheme::VantageKit => ("X-VantageKit-Signature", MatchedHeader::Signature),
        Scheme::Standard => ("webhook-signature", MatchedHeader::Signature),
    };
    let (time, text) = match scheme {
        Scheme::VantageKit => (
            "X-VantageKit-Timestamp",
            keys.vantagekit(sent_at, body).to_string(),
        ),
        Scheme::Standard => (
            "webhook-timestamp",
            keys.standard(&id, sent_at, body).to_string(),
        ),
    };
    let mut headers: Headers = vec![
        (signature.to_owned(), text.into_bytes()),
        (time.to_owned(), sent_at.to_string().into_bytes()),
        ("webhook-id".to_owned(), id.into_bytes()),
    ];
    let now = sent_at + apart;
    assert_eq!(judge(&secret, scheme, &headers, body, now), Ok(matched));
    let late = judge(&secret, scheme, &headers, body, sent_at + 301);
    assert!(
        matches!(late, Err(Failure::TimestampTooOld { age: 301, .. })),
        "{late:?}"
    );
    let mut body = body.to_vec();
    let spoilt = match which {
        3 => &mut body,
        number => &mut headers[number].1,
    };
    // An id that is not signed may be any.
    if spoilt.is_empty() || (which == 2 && scheme == Scheme::VantageKit) {
        return;
    }
    let place = usize::from(place) % spoilt.len();
    let before = spoilt[place];
    spoilt[place] ^= flip;
    // Hex digits may be of either case.
    let same = which == 0
        && scheme == Scheme::VantageKit
        && place >= 7
        && before.eq_ignore_ascii_case(&spoilt[place]);
    let verdict = judge(&secret, scheme, &headers, &body, now);
    assert_eq!(verdict.is_ok(), same, "{headers:?}");
}
