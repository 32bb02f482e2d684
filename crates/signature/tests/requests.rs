//! What JSON vectors cannot say: repeated headers, bytes that are no text, and any input at all.

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use vk_signature::{Failure, MatchedHeader, Scheme, SigningKeys, Verifier};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SENT_AT: i64 = 1_764_000_000;
const BODY: &[u8] = br#"{"type":"link.clicked","data":{}}"#;

fn signed(secret: &str) -> String {
    SigningKeys::new(secret)
        .vantagekit(SENT_AT, BODY)
        .to_string()
}

fn verify(headers: &[(&str, &[u8])]) -> Result<MatchedHeader, Failure> {
    Verifier::new(SECRET)
        .verify(Scheme::VantageKit, headers.iter().copied(), BODY, SENT_AT)
        .map(|verified| verified.matched)
}

#[test]
fn any_of_repeated_signatures_may_match_and_the_first_timestamp_counts() {
    let (right, wrong) = (signed(SECRET), signed("another"));
    let (right, wrong) = (right.as_bytes(), wrong.as_bytes());
    let time = ("X-VantageKit-Timestamp", &b"1764000000"[..]);
    let signature = "X-VantageKit-Signature";
    let repeated = [time, (signature, wrong), (signature, right)];
    assert_eq!(verify(&repeated), Ok(MatchedHeader::Signature));
    let next = [
        time,
        (signature, wrong),
        ("X-VantageKit-Signature-Next", right),
    ];
    assert_eq!(verify(&next), Ok(MatchedHeader::SignatureNext));
    let only_next = [time, ("X-VantageKit-Signature-Next", right)];
    assert_eq!(verify(&only_next), Ok(MatchedHeader::SignatureNext));
    let later = ("X-VantageKit-Timestamp", &b"1764000001"[..]);
    assert_eq!(
        verify(&[later, time, (signature, right)]),
        Err(Failure::Mismatch)
    );
}

#[test]
fn takes_a_header_map_and_bytes_that_are_no_text() {
    let mut headers = HeaderMap::new();
    headers.insert("X-VantageKit-Timestamp", HeaderValue::from(SENT_AT));
    let right = signed(SECRET).parse().unwrap();
    headers.insert("X-VantageKit-Signature", right);
    let verifier = Verifier::new(SECRET);
    let verify = |headers: &HeaderMap| verifier.verify(Scheme::VantageKit, headers, BODY, SENT_AT);
    assert!(verify(&headers).is_ok());
    let odd = HeaderValue::from_bytes(b"sha256=\xff\xfe").unwrap();
    headers.insert("X-VantageKit-Signature", odd);
    assert_eq!(verify(&headers).unwrap_err().code(), "not_hex");
}

#[test]
fn an_id_is_signed_as_its_bytes() {
    let id = "msg_\u{fffd}";
    let signature = SigningKeys::new(SECRET).standard(id, SENT_AT, BODY);
    let verify = |id: &[u8]| {
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", b"1764000000"),
            ("webhook-signature", signature.as_str().as_bytes()),
        ];
        Verifier::new(SECRET).verify(Scheme::Standard, headers, BODY, SENT_AT)
    };
    assert!(verify(id.as_bytes()).is_ok());
    // Read as text, each of these is that id.
    for other in [&b"msg_\xff"[..], b"msg_\xf2\xbf\xbd", b"msg_\xc3"] {
        assert_eq!(String::from_utf8_lossy(other), id);
        assert_eq!(verify(other), Err(Failure::Mismatch));
    }
}

#[test]
fn a_missing_header_names_the_one_that_may_be_meant() {
    let similar = |name: &str| match verify(&[(name, b"sha256=00")]) {
        Err(Failure::MissingHeader { similar, .. }) => similar,
        other => panic!("{other:?}"),
    };
    let cgi = "HTTP_X_VANTAGEKIT_SIGNATURE";
    assert_eq!(similar(cgi).as_deref(), Some(cgi));
    assert_eq!(
        similar("webhook-signature").as_deref(),
        Some("webhook-signature")
    );
    assert_eq!(similar("content-type"), None);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let time: (&str, &[u8]) = ("X-VantageKit-Timestamp", b"1764000000");
    let as_signature = verify(&[time, ("X-VantageKit-Signature", SECRET.as_bytes())]);
    let right = signed(SECRET);
    let as_time = verify(&[
        ("X-VantageKit-Timestamp", SECRET.as_bytes()),
        ("X-VantageKit-Signature", right.as_bytes()),
    ]);
    for (result, code) in [
        (as_signature, "wrong_prefix"),
        (as_time, "timestamp_not_a_number"),
    ] {
        let failure = result.unwrap_err();
        assert_eq!(failure.code(), code);
        assert!(
            !format!("{failure} {failure:?}").contains("whsec_"),
            "{failure}"
        );
    }
}

/// The mistake behind the most re-writings, told with its layout and escapes.
#[test]
fn a_rewritten_body_is_told_by_how_the_signed_one_is_written() {
    let sent = r#"{"type":"link.clicked","data":{"name": "Gr\u00fc\u00dfe", "n": 1}}"#;
    let given = r#"{"type":"link.clicked","data":{"name":"Grüße","n":1}}"#;
    let signature = SigningKeys::new(SECRET).vantagekit(SENT_AT, sent.as_bytes());
    let time = SENT_AT.to_string();
    let headers = [
        ("X-VantageKit-Timestamp", time.as_str()),
        ("X-VantageKit-Signature", signature.as_str()),
    ];
    let sentence = Verifier::new(SECRET)
        .explain(Scheme::VantageKit, headers, given.as_bytes(), SENT_AT)
        .unwrap_err()
        .to_string();
    assert_eq!(
        sentence,
        "The secret is right, but the body was parsed and written again: the signed one is the \
         same JSON with a space after each colon and comma, its characters outside ASCII written \
         as `\\u` escapes. Verify the raw bytes as they arrived, then parse them."
    );
}

/// A header value near enough to a right one to reach every branch.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        "(sha256=|v1,|v1a,|sha1=| )?[0-9a-fA-F+/= ,]{0,70}".prop_map(String::into_bytes),
        "[+-]?[0-9]{0,22}[. ]?".prop_map(String::into_bytes),
    ]
}

/// Bodies that look like JSON, with escapes, brackets and line ends in odd places.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        r#"(\{"type":"x","data":)?([\{\}\[\]",:ü🎉a1 ]|\\u[0-9a-f]{0,4}|\\|\r\n|"[a-z]*"){0,40}\}?"#
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    /// No request and no secret makes either call panic, and both give the same answer.
    #[test]
    fn any_request_is_answered(
        secret in ".{0,60}",
        values in (value(), value(), value(), value(), value(), value()),
        body in body(),
        now in any::<i64>(),
    ) {
        let headers = [
            ("x-vantagekit-signature", &values.0),
            ("x-vantagekit-signature-next", &values.1),
            ("x-vantagekit-timestamp", &values.2),
            ("webhook-id", &values.3),
            ("webhook-timestamp", &values.4),
            ("webhook-signature", &values.5),
        ];
        let verifier = Verifier::new(&secret);
        for scheme in [Scheme::VantageKit, Scheme::Standard] {
            let verified = verifier.verify(scheme, headers, &body, now);
            prop_assert!(verified.is_err(), "an HMAC was guessed");
            let explained = verifier.explain(scheme, headers, &body, now).unwrap_err();
            prop_assert_ne!(&explained, &Failure::Mismatch);
            prop_assert!(explained.to_string().ends_with('.'));
        }
    }

    /// What is signed verifies in both schemes; with any one bit of the body changed, in neither.
    #[test]
    fn what_is_signed_verifies_and_nothing_else(
        secret in ".{0,60}",
        id in "[a-zA-Z0-9_.-]{1,40}",
        timestamp in 0..100_000_000_000_i64,
        mut body in body(),
        bit in any::<proptest::sample::Index>(),
    ) {
        let keys = SigningKeys::new(&secret);
        let headers = [
            ("X-VantageKit-Signature", keys.vantagekit(timestamp, &body).to_string()),
            ("X-VantageKit-Timestamp", timestamp.to_string()),
            ("Webhook-Signature", keys.standard(&id, timestamp, &body).to_string()),
            ("Webhook-Timestamp", timestamp.to_string()),
            ("Webhook-Id", id),
        ];
        let verifier = Verifier::new(&secret);
        let both = [Scheme::VantageKit, Scheme::Standard];
        for scheme in both {
            prop_assert!(verifier.verify(scheme, headers.clone(), &body, timestamp).is_ok());
        }
        if !body.is_empty() {
            let bit = bit.index(body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            for scheme in both {
                let result = verifier.verify(scheme, headers.clone(), &body, timestamp);
                prop_assert_eq!(result, Err(Failure::Mismatch));
            }
        }
    }
}
