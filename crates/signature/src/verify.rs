//! Hides what makes a delivery genuine and recent: which headers count, what is compared, and how old it may be.

use std::fmt;

use subtle::ConstantTimeEq as _;

use crate::explain;
use crate::failure::Failure;
use crate::header::{self, FIRST_MILLISECONDS, Headers, SentAt};
use crate::sign::{Digest, HEX_PREFIX, Key, STANDARD_PREFIX, SigningKeys};

/// What the headers of the VantageKit scheme start with, unless configured otherwise.
pub const DEFAULT_HEADER_PREFIX: &str = "X-VantageKit";

/// How far a delivery's time may be from the receiver's, in seconds: five minutes.
pub const DEFAULT_TOLERANCE_SECONDS: u64 = 300;

/// How a delivery is signed. Every delivery carries both, made from the same secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `X-VantageKit-Signature: sha256=<hex>` over `{timestamp}.{body}`.
    VantageKit,
    /// `webhook-signature: v1,<base64>` over `{id}.{timestamp}.{body}`
    /// (<https://www.standardwebhooks.com>).
    Standard,
}

impl Scheme {
    /// What its values start with.
    pub(crate) fn value_prefix(self) -> &'static str {
        match self {
            Self::VantageKit => HEX_PREFIX,
            Self::Standard => STANDARD_PREFIX,
        }
    }
}

/// Which header held the signature that was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedHeader {
    /// `X-VantageKit-Signature` or `webhook-signature`.
    Signature,
    /// `X-VantageKit-Signature-Next`: a rotation is under way and this secret is the new one.
    SignatureNext,
}

/// What is known of a delivery that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When this attempt was sent, in Unix seconds.
    pub timestamp: i64,
    /// Where the right signature was.
    pub matched: MatchedHeader,
}

/// Verifies deliveries signed with one secret. Make it once and keep it.
#[derive(Clone)]
pub struct Verifier {
    keys: SigningKeys,
    secret: String,
    header_prefix: String,
    tolerance_seconds: u64,
}

impl Verifier {
    /// For the secret as it was shown, whole. Header prefix and tolerance are the defaults.
    pub fn new(secret: &str) -> Self {
        Self {
            keys: SigningKeys::new(secret),
            secret: secret.to_owned(),
            header_prefix: DEFAULT_HEADER_PREFIX.to_owned(),
            tolerance_seconds: DEFAULT_TOLERANCE_SECONDS,
        }
    }

    /// With other headers for the VantageKit scheme: `X-Acme` reads `X-Acme-Signature`.
    #[must_use]
    pub fn with_header_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.header_prefix);
        self
    }

    /// With another tolerance: how many seconds a delivery's time may be before or after `now`.
    #[must_use]
    pub fn with_tolerance_seconds(mut self, seconds: u64) -> Self {
        self.tolerance_seconds = seconds;
        self
    }

    /// Whether a request is genuine and recent.
    ///
    /// `headers` are the request's, in any order and case (a `http::HeaderMap` by reference, or
    /// pairs of text); `body` is the raw body; `now` is the time in Unix seconds. Costs one HMAC
    /// of the body, however wrong the request is.
    ///
    /// # Errors
    /// See [`Failure`]. A right signature that is too old or in the future is told as that; a
    /// wrong one is told as [`Failure::Mismatch`], whatever its time.
    pub fn verify<N, V>(
        &self,
        scheme: Scheme,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        now: i64,
    ) -> Result<Verified, Failure>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let headers: Vec<_> = headers.into_iter().collect();
        let headers = Headers::new(&headers);
        self.claim(scheme, &headers)
            .and_then(|claim| self.judge(&claim, body, now))
    }

    /// As [`verify`](Self::verify), and where a well-formed signature differs, looks for the
    /// mistake that explains it: a secret or a body that is nearly the right one.
    ///
    /// Costs up to some forty HMACs of the body, so it is for debugging: do not call it on every
    /// request that strangers can send.
    ///
    /// # Errors
    /// See [`Failure`]; never [`Failure::Mismatch`].
    pub fn explain<N, V>(
        &self,
        scheme: Scheme,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        now: i64,
    ) -> Result<Verified, Failure>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let headers: Vec<_> = headers.into_iter().collect();
        let headers = Headers::new(&headers);
        let claim = self.claim(scheme, &headers)?;
        self.judge(&claim, body, now)
            .map_err(|failure| match failure {
                Failure::Mismatch => explain::mismatch(
                    &claim,
                    self.key(scheme),
                    &self.secret,
                    body,
                    headers.all(&self.header("Event")).next(),
                ),
                other => other,
            })
    }

    /// Reads what the headers claim.
    fn claim<'a>(&self, scheme: Scheme, headers: &'a Headers<'_>) -> Result<Claim<'a>, Failure> {
        let (id, timestamp_header, signatures) = match scheme {
            Scheme::VantageKit => (
                &b""[..],
                self.header("Timestamp"),
                self.hex_signatures(headers)?,
            ),
            Scheme::Standard => {
                let id = headers.bytes("webhook-id")?;
                let signatures = standard_signatures(headers)?;
                (id, "webhook-timestamp".to_owned(), signatures)
            }
        };
        let sent_at = header::timestamp(&timestamp_header, headers.one(&timestamp_header)?)?;
        Ok(Claim {
            scheme,
            id,
            sent_at,
            signatures,
        })
    }

    /// The signatures of the VantageKit scheme. One that cannot be read is told only where there
    /// is none that can.
    fn hex_signatures(&self, headers: &Headers<'_>) -> Result<Vec<Signature>, Failure> {
        let mut read = Vec::new();
        for (name, place) in [
            ("Signature", MatchedHeader::Signature),
            ("Signature-Next", MatchedHeader::SignatureNext),
        ] {
            let name = self.header(name);
            let values = headers.all(&name).filter(|value| !value.is_empty());
            read.extend(values.map(|value| {
                header::hex_signature(&name, value).map(|digest| Signature { digest, place })
            }));
        }
        readable(read, || headers.missing(&self.header("Signature")))
    }

    fn judge(&self, claim: &Claim<'_>, body: &[u8], now: i64) -> Result<Verified, Failure> {
        let matched = claim
            .matched(self.key(claim.scheme), body)
            .ok_or(Failure::Mismatch)?;
        let timestamp = claim.sent_at.seconds;
        let (apart, tolerance) = (now.abs_diff(timestamp), self.tolerance_seconds);
        if apart <= tolerance {
            return Ok(Verified { timestamp, matched });
        }
        Err(if now >= FIRST_MILLISECONDS {
            Failure::ClockInMilliseconds
        } else if timestamp < now {
            Failure::TimestampTooOld {
                age: apart,
                tolerance,
            }
        } else {
            Failure::TimestampInFuture {
                ahead: apart,
                tolerance,
            }
        })
    }

    fn key(&self, scheme: Scheme) -> &Key {
        match scheme {
            Scheme::VantageKit => &self.keys.vantagekit,
            Scheme::Standard => &self.keys.standard,
        }
    }

    fn header(&self, name: &str) -> String {
        format!("{}-{name}", self.header_prefix)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("header_prefix", &self.header_prefix)
            .field("tolerance_seconds", &self.tolerance_seconds)
            .finish_non_exhaustive()
    }
}

/// What a request's headers claim: who signed what, and when.
pub(crate) struct Claim<'a> {
    pub(crate) scheme: Scheme,
    /// The message id; empty in the scheme that does not sign it.
    id: &'a [u8],
    sent_at: SentAt<'a>,
    signatures: Vec<Signature>,
}

/// A signature that could be read, and where it was.
struct Signature {
    digest: Digest,
    place: MatchedHeader,
}

impl Claim<'_> {
    /// Where the signature is that this key makes for this body; in constant time.
    pub(crate) fn matched(&self, key: &Key, body: &[u8]) -> Option<MatchedHeader> {
        let sent_at = self.sent_at.text.as_bytes();
        self.signed(&match self.scheme {
            Scheme::VantageKit => key.digest(&[sent_at, b".", body]),
            Scheme::Standard => key.digest(&[self.id, b".", sent_at, b".", body]),
        })
    }

    /// Where the signature is that equals this digest; in constant time.
    pub(crate) fn signed(&self, digest: &Digest) -> Option<MatchedHeader> {
        self.signatures.iter().fold(None, |found, signature| {
            let equal = bool::from(signature.digest.ct_eq(digest));
            found.or(equal.then_some(signature.place))
        })
    }
}

fn standard_signatures(headers: &Headers<'_>) -> Result<Vec<Signature>, Failure> {
    const NAME: &str = "webhook-signature";
    let digests = header::standard_signatures(NAME, headers.one(NAME)?)?;
    let signature = |digest| Signature {
        digest,
        place: MatchedHeader::Signature,
    };
    Ok(digests.into_iter().map(signature).collect())
}

/// The signatures that could be read; where there is none, what is wrong with the first.
fn readable(
    read: Vec<Result<Signature, Failure>>,
    none: impl FnOnce() -> Failure,
) -> Result<Vec<Signature>, Failure> {
    if read.is_empty() {
        return Err(none());
    }
    if read.iter().all(Result::is_err) {
        return read.into_iter().collect();
    }
    Ok(read.into_iter().flatten().collect())
}
