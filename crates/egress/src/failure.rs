//! Hides what a failure is called and how it is told: a stable reason and a sentence without
//! addresses for the customer, everything else for the operator.

mod network;
mod tls;

use std::error::Error as StdError;
use std::io;

use model::attempt::Reason;

use crate::connection::{Broken, Excess};
use crate::exchange::Failure;
use crate::receiver_url::{ReceiverUrl, UrlProblem};
use crate::resolver::ResolveError;
use crate::stream::{Flood, Gauge};
use crate::vet::Blocked;

pub(crate) use network::{timed_out, unconnected};
pub(crate) use tls::unencryptable;
use tls::{late_tls_meaning, tls_error};

/// What an exchange was doing; names the timeout where the deadline comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Resolving,
    Connecting,
    Handshake,
    Exchanging,
}

fn failure(reason: Reason, detail: impl Into<String>, operator: impl Into<String>) -> Failure {
    Failure {
        reason,
        detail: detail.into(),
        operator_detail: operator.into(),
        ours: false,
        partial: None,
    }
}

/// The name has no addresses.
pub(crate) fn unresolved(url: &ReceiverUrl, error: &ResolveError) -> Failure {
    let host = url.host();
    let (reason, detail) = match error {
        ResolveError::NotFound => (
            Reason::DnsNotFound,
            format!("The host name {host} does not exist, or has no address."),
        ),
        ResolveError::Failed(_) => (
            Reason::DnsFailed,
            format!("The name servers for {host} answered with an error; check the domain's DNS."),
        ),
        ResolveError::NoSocket => return ours(Reason::DnsFailed, url, error.to_string()),
        ResolveError::Unreachable(_) => return unasked(Reason::DnsFailed, url, error),
        ResolveError::Silent => return unasked(Reason::DnsTimeout, url, error),
        ResolveError::Timeout => (
            Reason::DnsTimeout,
            format!("The name servers for {host} did not answer in time."),
        ),
    };
    failure(reason, detail, error.to_string())
}

/// This service's name servers could not be asked, or say nothing at all.
fn unasked(reason: Reason, url: &ReceiverUrl, error: &ResolveError) -> Failure {
    let detail = format!(
        "This service's own name servers cannot be reached, so {} could not be looked up; the \
         receiver is not the cause.",
        url.host()
    );
    Failure {
        ours: true,
        ..failure(reason, detail, error.to_string())
    }
}

/// A failure whose cause is this service's own machine or network.
fn ours(reason: Reason, url: &ReceiverUrl, operator: String) -> Failure {
    let detail = format!(
        "This service could not open a connection to {} because of trouble on its own machine or \
         network; the receiver is not the cause.",
        url.host()
    );
    Failure {
        ours: true,
        ..failure(reason, detail, operator)
    }
}

/// The sentence for an answer that was refused.
pub(crate) fn blocked_sentence(url: &ReceiverUrl, blocked: &Blocked) -> UrlProblem {
    UrlProblem::new(format!(
        "The host {} leads to an address that may not be reached: it {}. Use a host that has \
         public addresses only.",
        url.host(),
        blocked.rule
    ))
}

/// The answer has an address that may not be reached.
pub(crate) fn blocked(url: &ReceiverUrl, blocked: &Blocked) -> Failure {
    let operator = format!(
        "{} is {} which {}",
        url.host(),
        blocked.address,
        blocked.rule
    );
    failure(
        Reason::BlockedAddress,
        blocked_sentence(url, blocked).sentence,
        operator,
    )
}

/// The URL was accepted under a policy that is no longer in force.
pub(crate) fn unencrypted(url: &ReceiverUrl) -> Failure {
    failure(
        Reason::BlockedAddress,
        format!(
            "{} may be reached over https only; change the URL.",
            url.host()
        ),
        "an http URL, and --allow-http is off",
    )
}

/// The exchange broke off or its answer made no sense.
pub(crate) fn broken(url: &ReceiverUrl, broken: &Broken, gauge: &Gauge) -> Failure {
    let (reason, what) = match broken {
        Broken::Upgrade => (
            Reason::UnexpectedUpgrade,
            "it answered with 101 Switching Protocols, which nobody asked for".to_owned(),
        ),
        Broken::Overrun(Excess::Interim) => (
            Reason::TooManyInterim,
            "it sent more interim (1xx) answers than we read before its response".to_owned(),
        ),
        Broken::Overrun(Excess::Head) => (Reason::HeadersTooLarge, TOO_LARGE.to_owned()),
        Broken::Overrun(Excess::Framing) => (
            Reason::InvalidResponse,
            "the framing of its response's body (chunk sizes, extensions) goes on without a body"
                .to_owned(),
        ),
        Broken::Http(error) => http_meaning(error.as_ref(), gauge),
    };
    failure(reason, sentence(url, &what), format!("{broken:?}"))
}

const TOO_LARGE: &str = "the head of its response is larger than we read (100 headers, 64 KiB)";

const FLOOD: &str = "it sent far more by TLS, such as session tickets, than a response takes";

fn sentence(url: &ReceiverUrl, what: &str) -> String {
    format!("No usable response from {}: {what}.", url.host())
}

fn http_meaning(error: Option<&hyper::Error>, gauge: &Gauge) -> (Reason, String) {
    let io_error = error.and_then(|error| cause::<io::Error>(error));
    if let Some(tls) = io_error.and_then(tls_error) {
        return late_tls_meaning(tls, gauge);
    }
    if io_error.is_some_and(is_flood) {
        // As of what rustls itself finds too much of.
        let reason = match gauge.in_body() {
            true => Reason::BodyIncomplete,
            false => Reason::ConnectionReset,
        };
        return (reason, FLOOD.to_owned());
    }
    if gauge.in_body() {
        return body_meaning(error, io_error);
    }
    let Some(error) = error else {
        return closed(gauge);
    };
    // A request that was never sent is "canceled", because of what happened before it.
    let before = error.source().and_then(|source| source.downcast_ref());
    let error: &hyper::Error = before.unwrap_or(error);
    if error.is_parse_too_large() {
        return (Reason::HeadersTooLarge, TOO_LARGE.to_owned());
    }
    if io_error.is_some() {
        let what = match gauge.certificate_asked() {
            true => {
                "it asked for a client certificate, which is not sent, and reset the connection before the response"
            }
            false => "the connection was reset before the response",
        };
        return (Reason::ConnectionReset, what.to_owned());
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return closed(gauge);
    }
    let what = "what it sent is not an HTTP/1.1 response".to_owned();
    (Reason::InvalidResponse, what)
}

fn closed(gauge: &Gauge) -> (Reason, String) {
    let what = match gauge.answered() {
        true => "the connection was closed in the middle of the response's head",
        false if gauge.certificate_asked() => {
            "it asked for a client certificate, which is not sent, and closed the connection before the response"
        }
        false => "the connection was closed before the response",
    };
    (Reason::ConnectionClosed, what.to_owned())
}

/// hyper reports a body that breaks its own framing as invalid input or data.
fn body_meaning(error: Option<&hyper::Error>, io: Option<&io::Error>) -> (Reason, String) {
    let malformed = io.is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        )
    });
    if malformed || error.is_some_and(hyper::Error::is_parse) {
        let what = "the body of its response is not valid HTTP/1.1".to_owned();
        return (Reason::InvalidResponse, what);
    }
    let what = "the response broke off inside its body".to_owned();
    (Reason::BodyIncomplete, what)
}

/// The first error of type `T` in the chain of causes.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn is_flood(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Flood>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    #[test]
    fn what_a_customer_reads_of_a_blocked_answer_names_the_rule_and_not_the_address() {
        let url = ReceiverUrl::parse("https://a.example.com/", &Policy::default()).unwrap();
        let refused = Blocked {
            address: "10.9.8.7".parse().unwrap(),
            rule: "belongs to a private network (RFC 1918)".to_owned(),
        };
        let failure = blocked(&url, &refused);
        assert!(failure.detail.contains("RFC 1918") && failure.detail.contains("a.example.com"));
        assert!(!failure.detail.contains("10.9.8.7"));
        assert!(failure.operator_detail.contains("10.9.8.7"));
    }

    #[test]
    fn what_this_service_lacks_is_not_blamed_on_the_receiver() {
        let url = ReceiverUrl::parse("https://a.example.com/", &Policy::default()).unwrap();
        let no_socket = unresolved(&url, &ResolveError::NoSocket);
        assert_eq!(no_socket.reason, Reason::DnsFailed);
        assert!(no_socket.ours);
        let detail = no_socket.detail;
        assert!(detail.contains("the receiver is not the cause"), "{detail}");
    }
}
