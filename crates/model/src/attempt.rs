//! Hides nothing: the words for one HTTP try, its outcome and the reason it failed.

use std::net::IpAddr;

use bytes::Bytes;

use crate::time::Timestamp;

/// How much of a response body is read and kept, in bytes.
pub const RESPONSE_BODY_MAX: usize = 16 * 1024;

/// What one attempt came to (contract, "Outcome of an attempt").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 2xx in time.
    Delivered,
    /// It failed in a way that may pass.
    Retry,
    /// A 4xx other than 429: the receiver will not have it.
    PermanentFailure,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The stable word for it, in the API, the store and the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// The one that `text` is the word for.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;

impl Outcome {
    /// The stable word for it, in the API, the store and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::PermanentFailure => "permanent_failure",
        }
    }

    /// The one that `text` is the word for.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Delivered, Self::Retry, Self::PermanentFailure]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }
}

words! {
    /// Why an attempt failed, named after the phase that failed.
    Reason {
        /// The host name does not exist, or has no address.
        DnsNotFound = "dns_not_found",
        /// The name servers answered with an error.
        DnsFailed = "dns_failed",
        /// The name servers did not answer in time.
        DnsTimeout = "dns_timeout",
        /// The host has an address that may not be reached (SSRF rules).
        BlockedAddress = "blocked_address",
        /// Nothing listens at the address and port.
        ConnectionRefused = "connection_refused",
        /// No connection in time.
        ConnectTimeout = "connect_timeout",
        /// The receiver reset the connection.
        ConnectionReset = "connection_reset",
        /// The receiver closed the connection before it answered.
        ConnectionClosed = "connection_closed",
        /// The TLS handshake did not finish in time.
        TlsTimeout = "tls_timeout",
        /// The receiver's certificate is not valid for it.
        TlsCertificate = "tls_certificate",
        /// The TLS handshake failed otherwise.
        TlsHandshake = "tls_handshake",
        /// The receiver did not read the request in time, or the network between did not deliver it.
        SendTimeout = "send_timeout",
        /// The receiver read the request and did not answer in time.
        ResponseTimeout = "response_timeout",
        /// The response's body did not end in time.
        BodyTimeout = "body_timeout",
        /// The response broke off inside its body.
        BodyIncomplete = "body_incomplete",
        /// The response's head is larger than we read.
        HeadersTooLarge = "headers_too_large",
        /// More interim (1xx) answers than we read.
        TooManyInterim = "too_many_interim",
        /// What came back is not an HTTP/1.1 response.
        InvalidResponse = "invalid_response",
        /// The receiver answered with 101 Switching Protocols, which nobody asked for.
        UnexpectedUpgrade = "unexpected_upgrade",
        /// A 3xx: redirects are never followed.
        Redirect = "redirect",
        /// Any other status that is not 2xx.
        HttpStatus = "http_status",
    }
}

/// Where an attempt's time went, in milliseconds. A phase that was not reached, or not needed
/// because a connection was kept alive, is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resolving the host name.
    pub dns_ms: Option<u32>,
    /// Connecting to the address.
    pub connect_ms: Option<u32>,
    /// The TLS handshake.
    pub tls_ms: Option<u32>,
    /// From the request's first byte to the response's.
    pub first_byte_ms: Option<u32>,
}

/// One HTTP try of a delivery; immutable once recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first of a delivery; never repeats, also over redelivery by hand.
    pub number: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// The response's status, where one was read.
    pub status_code: Option<u16>,
    /// Why it failed, where it did.
    pub reason: Option<Reason>,
    /// A sentence for the customer; never an internal address.
    pub detail: Option<String>,
    /// The address connected to, or tried in vain.
    pub remote_addr: Option<IpAddr>,
    /// The response's headers as read: names in lower case, values lossily UTF-8; as many whole
    /// ones, in order, as fit in 16 KiB of names and values.
    pub response_headers: Vec<(String, String)>,
    /// The first [`RESPONSE_BODY_MAX`] bytes of the response's body.
    pub response_body: Option<Bytes>,
    /// Where the time went.
    pub timings: Timings,
}

/// The outcome that a complete response with this status stands for, and the reason where it is
/// a failure (contract, "Outcome of an attempt").
pub const fn judge_status(status: u16) -> (Outcome, Option<Reason>) {
    match status {
        200..=299 => (Outcome::Delivered, None),
        429 => (Outcome::Retry, Some(Reason::HttpStatus)),
        400..=499 => (Outcome::PermanentFailure, Some(Reason::HttpStatus)),
        300..=399 => (Outcome::Retry, Some(Reason::Redirect)),
        _ => (Outcome::Retry, Some(Reason::HttpStatus)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_the_outcome() {
        use Outcome::{Delivered, PermanentFailure, Retry};
        for status in 0..=1100u16 {
            let expected = match status {
                200..=299 => Delivered,
                429 => Retry,
                400..=499 => PermanentFailure,
                _ => Retry,
            };
            let (outcome, reason) = judge_status(status);
            assert_eq!(outcome, expected, "{status}");
            assert_eq!(reason.is_none(), outcome == Delivered, "{status}");
            assert_eq!(
                reason == Some(Reason::Redirect),
                (300..400).contains(&status),
                "{status}"
            );
        }
    }

    #[test]
    fn every_reason_has_its_own_word_and_is_read_back() {
        assert_eq!(Reason::ALL.len(), 21);
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
    }
}
