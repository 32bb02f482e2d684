//! Every case of `vectors.json`, the file that other languages are checked with, too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use vk_signature::{Failure, Scheme, SigningKeys, Verified, Verifier};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Vectors {
    #[serde(rename = "about")]
    _about: Vec<String>,
    header_prefix: String,
    tolerance_seconds: u64,
    sign: Vec<SignCase>,
    verify: Vec<VerifyCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignCase {
    name: String,
    secret: String,
    id: String,
    timestamp: i64,
    body: String,
    vantagekit: String,
    standard: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct VerifyCase {
    name: String,
    scheme: String,
    secret: String,
    headers: BTreeMap<String, String>,
    body: String,
    now: i64,
    valid: bool,
    code: Option<String>,
    header_prefix: Option<String>,
    tolerance_seconds: Option<u64>,
}

impl VerifyCase {
    fn scheme(&self) -> Scheme {
        match self.scheme.as_str() {
            "vantagekit" => Scheme::VantageKit,
            "standard" => Scheme::Standard,
            other => panic!("{}: there is no scheme {other}", self.name),
        }
    }

    fn verifier(&self) -> Verifier {
        let mut verifier = Verifier::new(&self.secret);
        if let Some(prefix) = &self.header_prefix {
            verifier = verifier.with_header_prefix(prefix);
        }
        if let Some(seconds) = self.tolerance_seconds {
            verifier = verifier.with_tolerance_seconds(seconds);
        }
        verifier
    }

    fn verify(&self) -> Result<Verified, Failure> {
        let body = self.body.as_bytes();
        self.verifier()
            .verify(self.scheme(), &self.headers, body, self.now)
    }

    fn explain(&self) -> Result<Verified, Failure> {
        let body = self.body.as_bytes();
        self.verifier()
            .explain(self.scheme(), &self.headers, body, self.now)
    }
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors.json")).expect("vectors.json is of this shape")
}

#[test]
fn the_file_states_the_defaults() {
    let vectors = vectors();
    assert_eq!(vectors.header_prefix, vk_signature::DEFAULT_HEADER_PREFIX);
    assert_eq!(
        vectors.tolerance_seconds,
        vk_signature::DEFAULT_TOLERANCE_SECONDS
    );
}

#[test]
fn signs_every_vector() {
    for case in vectors().sign {
        let keys = SigningKeys::new(&case.secret);
        let body = case.body.as_bytes();
        let (hex, standard) = (
            keys.vantagekit(case.timestamp, body),
            keys.standard(&case.id, case.timestamp, body),
        );
        assert_eq!(hex.as_str(), case.vantagekit, "{}", case.name);
        assert_eq!(standard.as_str(), case.standard, "{}", case.name);
    }
}

#[test]
fn verifies_every_vector() {
    for case in vectors().verify {
        let result = case.verify();
        assert_eq!(result.is_ok(), case.valid, "{}: {result:?}", case.name);
        assert_eq!(case.valid, case.code.is_none(), "{}", case.name);
    }
}

#[test]
fn explains_every_vector() {
    for case in vectors().verify {
        let explained = case.explain();
        let code = explained.as_ref().err().map(Failure::code);
        assert_eq!(code, case.code.as_deref(), "{}: {explained:?}", case.name);
    }
}

/// Explaining only refines a mismatch: everything else `verify` tells just the same.
#[test]
fn explaining_never_changes_the_answer() {
    for case in vectors().verify {
        match case.verify() {
            Err(Failure::Mismatch) => assert!(case.explain().is_err(), "{}", case.name),
            other => assert_eq!(other, case.explain(), "{}", case.name),
        }
    }
}

/// Sentences are for people: whole, ended, and without the secret or what is left of it.
#[test]
fn no_sentence_tells_the_secret() {
    for case in vectors().verify {
        let Err(failure) = case.explain() else {
            continue;
        };
        let (sentence, debug) = (failure.to_string(), format!("{failure:?}"));
        assert!(sentence.ends_with('.') && sentence.len() > 60, "{sentence}");
        let secret = case.secret.trim_matches([' ', '\n', '"', '\'', '=']);
        let key = secret.strip_prefix("whsec_").unwrap_or(secret);
        assert!(
            !sentence.contains(key) && !debug.contains(key),
            "{sentence}"
        );
        assert!(!format!("{:?}", case.verifier()).contains(key));
    }
}

/// The codes are a contract with other languages: each has a case, and each case a known code.
#[test]
fn every_code_has_a_case() {
    let cases = vectors().verify;
    let codes: BTreeSet<_> = cases
        .iter()
        .filter_map(|case| case.code.as_deref())
        .collect();
    let expected = BTreeSet::from([
        "base64_instead_of_hex",
        "body_byte_order_mark",
        "body_empty",
        "body_end_added",
        "body_end_removed",
        "body_line_ends",
        "body_only_data",
        "body_rewritten",
        "clock_in_milliseconds",
        "hex_instead_of_base64",
        "missing_header",
        "not_base64",
        "not_hex",
        "other_scheme",
        "secret_or_body_differs",
        "secret_quotes",
        "secret_whitespace",
        "secret_without_padding",
        "secret_without_prefix",
        "signed_with_prefix_dropped",
        "signed_with_secret_decoded",
        "signed_with_secret_not_decoded",
        "signed_without_timestamp",
        "timestamp_in_future",
        "timestamp_in_milliseconds",
        "timestamp_not_a_number",
        "timestamp_too_old",
        "whitespace_around_value",
        "wrong_length",
        "wrong_prefix",
    ]);
    assert_eq!(codes, expected);
}
