//! Hides what a failure is called and how it is told: a stable reason and a sentence without
//! addresses for the customer, everything else for the operator.

use std::error::Error as StdError;
use std::io;

use model::attempt::Reason;
use model::time::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::connection::{Broken, Excess};
use crate::exchange::Failure;
use crate::receiver_url::{ReceiverUrl, UrlProblem};
use crate::resolver::ResolveError;
use crate::shortage;
use crate::stream::{Flood, Gauge};
use crate::tls::Untrusted;
use crate::vet::Blocked;

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
        "This service is overloaded and could not open a connection to {}; the receiver is not \
         the cause.",
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

/// No address could be connected to.
pub(crate) fn unconnected(url: &ReceiverUrl, error: &io::Error) -> Failure {
    let (host, port) = (url.host(), url.port());
    let detail = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("Nothing accepts connections at {host}, port {port}.")
        }
        io::ErrorKind::TimedOut => {
            return failure(
                Reason::ConnectTimeout,
                format!("{host}, port {port}, did not accept a connection in time."),
                error.to_string(),
            );
        }
        io::ErrorKind::ConnectionReset => {
            return failure(
                Reason::ConnectionReset,
                format!("{host} reset the connection while it was being made."),
                error.to_string(),
            );
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("There is no route to {host}.")
        }
        _ if shortage::is_ours(error) => {
            return ours(Reason::ConnectionRefused, url, error.to_string());
        }
        _ => format!("No connection to {host}, port {port}, could be made."),
    };
    failure(Reason::ConnectionRefused, detail, error.to_string())
}

/// The TLS handshake failed.
pub(crate) fn unencryptable(url: &ReceiverUrl, error: &io::Error) -> Failure {
    let (reason, what) = match tls_error(error) {
        Some(tls) => tls_meaning(tls),
        None if is_flood(error) => (Reason::TlsHandshake, FLOOD.to_owned()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => (
            Reason::TlsHandshake,
            "the connection was closed during the TLS handshake".to_owned(),
        ),
        None => (
            Reason::TlsHandshake,
            "the connection was reset during the TLS handshake".to_owned(),
        ),
    };
    failure(reason, sentence(url, &what), error.to_string())
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

/// The deadline came while the exchange was in `phase`.
pub(crate) fn timed_out(url: &ReceiverUrl, phase: Phase, gauge: Option<&Gauge>) -> Failure {
    let (host, port) = (url.host(), url.port());
    let (reason, detail) = match (phase, gauge) {
        (Phase::Resolving, _) => return unresolved(url, &ResolveError::Timeout),
        (Phase::Connecting, _) => (
            Reason::ConnectTimeout,
            format!("{host}, port {port}, did not accept a connection in time."),
        ),
        (Phase::Handshake, _) => (
            Reason::TlsTimeout,
            format!("The TLS handshake with {host} did not finish in time."),
        ),
        (Phase::Exchanging, Some(gauge)) if gauge.in_body() => (
            Reason::BodyTimeout,
            format!("{host} began to answer, but its response did not end in time."),
        ),
        (Phase::Exchanging, Some(gauge)) if !gauge.sent() => (
            Reason::SendTimeout,
            format!("{host} did not read the request in time."),
        ),
        (Phase::Exchanging, _) => (
            Reason::ResponseTimeout,
            format!("{host} read the request and did not answer in time."),
        ),
    };
    failure(
        reason,
        detail,
        format!("deadline reached: {phase:?}, {gauge:?}"),
    )
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
        let what = "the connection was reset before the response";
        return (Reason::ConnectionReset, what.to_owned());
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return closed(gauge);
    }
    let what = "what it sent is not an HTTP/1.1 response".to_owned();
    (Reason::InvalidResponse, what)
}

/// A TLS error after the handshake. In TLS 1.3 a server says only then that it refuses the client,
/// so that an alert before any answer still tells of the handshake.
fn late_tls_meaning(error: &rustls::Error, gauge: &Gauge) -> (Reason, String) {
    if gauge.in_body() {
        let what = "the response broke off inside its body, by an error of TLS".to_owned();
        return (Reason::BodyIncomplete, what);
    }
    if !gauge.answered() && matches!(error, rustls::Error::AlertReceived(_)) {
        return tls_meaning(error);
    }
    let what = "the connection broke before the end of the response's head, by an error of TLS";
    (Reason::ConnectionReset, what.to_owned())
}

fn closed(gauge: &Gauge) -> (Reason, String) {
    let what = match gauge.answered() {
        true => "the connection was closed in the middle of the response's head",
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

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls_meaning(error: &rustls::Error) -> (Reason, String) {
    use rustls::Error as Tls;
    let what = match error {
        Tls::InvalidCertificate(certificate) => {
            return (Reason::TlsCertificate, certificate_meaning(certificate));
        }
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "it does not speak TLS on this port (plain HTTP, perhaps, or another protocol)"
        }
        Tls::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
        ) => "it demands a client certificate, which is not sent; check the signature instead",
        Tls::AlertReceived(AlertDescription::ProtocolVersion) | Tls::PeerIncompatible(_) => {
            "it supports neither TLS 1.2 nor TLS 1.3 with a current cipher suite"
        }
        Tls::AlertReceived(AlertDescription::NoApplicationProtocol)
        | Tls::NoApplicationProtocol => "it does not offer HTTP/1.1 (ALPN \"http/1.1\")",
        Tls::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it does not know this host name (SNI)"
        }
        Tls::AlertReceived(alert) => {
            let what = format!("it refused the TLS handshake (alert {alert:?})");
            return (Reason::TlsHandshake, what);
        }
        Tls::NoCertificatesPresented => "it sent no certificate",
        _ => "the TLS handshake failed",
    };
    (Reason::TlsHandshake, what.to_owned())
}

fn certificate_meaning(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}", moment(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "its certificate is not valid before {}",
                moment(*not_before)
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is not valid for this host name, but for {}",
            names(presented)
        ),
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(Untrusted::SelfSigned) => "its certificate is self-signed; use one from a public \
                                            certificate authority"
                .to_owned(),
            Some(Untrusted::Alone) => "its certificate was not issued by a certificate authority \
                                       that we trust, and no intermediate certificate was sent; \
                                       let the server send its full chain"
                .to_owned(),
            Some(Untrusted::UnknownAuthority) => "its certificate was not issued by a certificate \
                                                  authority that we trust"
                .to_owned(),
            Some(Untrusted::TooMany) => "it sent more certificates than we look at (its own and \
                                         6 others); let it send its chain only"
                .to_owned(),
            None => "its certificate is not valid".to_owned(),
        },
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "its certificate is not made for servers".to_owned()
        }
        CertificateError::Revoked => "its certificate has been revoked".to_owned(),
        CertificateError::BadSignature => {
            "its certificate, or the handshake, is not correctly signed".to_owned()
        }
        CertificateError::BadEncoding => "its certificate cannot be read".to_owned(),
        _ => "its certificate is not valid".to_owned(),
    }
}

fn moment(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// The first host names of a certificate, which its owner chose: few, short and printable. Its IP
/// addresses are left out: they could be internal ones.
fn names(presented: &[String]) -> String {
    const NAMES_MAX: usize = 5;
    let hosts: Vec<&String> = presented
        .iter()
        .filter(|name| !name.starts_with("IpAddress"))
        .collect();
    if hosts.is_empty() {
        return "no host name at all".to_owned();
    }
    let mut shown: Vec<String> = hosts
        .iter()
        .take(NAMES_MAX)
        .map(|name| plain(name))
        .collect();
    if hosts.len() > NAMES_MAX {
        shown.push(format!("{} more", hosts.len() - NAMES_MAX));
    }
    shown.join(", ")
}

/// webpki writes `DnsName("example.com")`; the customer knows `example.com`.
fn plain(name: &str) -> String {
    let inner = name.split('"').nth(1).unwrap_or(name);
    inner
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(253)
        .collect()
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
        let no_files = unconnected(&url, &io::Error::from_raw_os_error(24));
        assert_eq!(no_files.reason, Reason::ConnectionRefused);
        let no_socket = unresolved(&url, &ResolveError::NoSocket);
        assert_eq!(no_socket.reason, Reason::DnsFailed);
        for failure in [no_files, no_socket] {
            let detail = failure.detail;
            assert!(detail.contains("the receiver is not the cause"), "{detail}");
        }
    }

    #[test]
    fn a_certificates_names_are_shown_few_and_printable() {
        let many: Vec<String> = (0..9)
            .map(|n| format!("DnsName(\"h{n}.example\")"))
            .collect();
        assert_eq!(
            names(&many),
            "h0.example, h1.example, h2.example, h3.example, h4.example, 4 more"
        );
        assert_eq!(
            names(&["evil\n\u{202e}.example".to_owned()]),
            "evil.example"
        );
        let address = "IpAddress(10.0.0.7)".to_owned();
        let host = "DnsName(\"a.example\")".to_owned();
        assert_eq!(names(&[address.clone(), host]), "a.example");
        assert_eq!(names(&[address]), "no host name at all");
        assert_eq!(names(&[]), "no host name at all");
    }
}
