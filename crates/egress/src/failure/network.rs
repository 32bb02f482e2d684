//! Hides what is said where a receiver was not reached, or not in time.

use model::attempt::Reason;

use super::{Phase, failure, ours, unresolved};
use crate::exchange::Failure;
use crate::fate::Fate;
use crate::receiver_url::ReceiverUrl;
use crate::resolver::ResolveError;
use crate::stream::Gauge;
use crate::tries::{Tries, Verdict};

/// No address could be connected to.
pub(crate) fn unconnected(url: &ReceiverUrl, tries: &Tries) -> Failure {
    let (host, port) = (url.host(), url.port());
    let operator = tries.to_string();
    let (reason, detail) = match tries.verdict().0 {
        Verdict::Refused => (
            Reason::ConnectionRefused,
            format!("Nothing accepts connections at {host}, port {port}."),
        ),
        Verdict::Silent => (
            Reason::ConnectTimeout,
            format!("{host}, port {port}, did not accept a connection in time."),
        ),
        Verdict::Reset => (
            Reason::ConnectionReset,
            format!("{host} reset the connection while it was being made."),
        ),
        Verdict::NoRoute => (
            Reason::ConnectionRefused,
            format!("There is no route to {host}."),
        ),
        Verdict::NoFamily { v6 } => {
            let family = if v6 { "IPv6" } else { "IPv4" };
            let detail = format!(
                "{host} has {family} addresses only, and this service has no {family} route to the \
                 Internet; give the host name an address of the other family too."
            );
            (Reason::ConnectionRefused, detail)
        }
        Verdict::Other => (
            Reason::ConnectionRefused,
            format!("No connection to {host}, port {port}, could be made."),
        ),
        Verdict::Ours(shortage) => {
            shortage.report(tries);
            return ours(Reason::ConnectionRefused, url, operator);
        }
    };
    failure(reason, detail, operator)
}

/// The deadline came while the exchange was in `phase`, after a connection was made or before one was
/// tried.
pub(crate) fn timed_out(url: &ReceiverUrl, phase: Phase, gauge: Option<&Gauge>) -> Failure {
    let host = url.host();
    let fate = gauge.map_or(Fate::Arrived, Gauge::fate_at_the_end);
    let (reason, detail) = match (phase, gauge) {
        (Phase::Resolving, _) => return unresolved(url, &ResolveError::Timeout),
        (Phase::Connecting, _) => return unconnected(url, &Tries::default()),
        (Phase::Handshake, _) if fate == Fate::Lost => (
            Reason::TlsTimeout,
            format!(
                "The TLS handshake with {host} did not finish in time: the network between did not \
                 deliver what was sent."
            ),
        ),
        (Phase::Handshake, _) => (
            Reason::TlsTimeout,
            format!("The TLS handshake with {host} did not finish in time."),
        ),
        (Phase::Exchanging, Some(gauge)) if gauge.in_body() => (
            Reason::BodyTimeout,
            format!("{host} began to answer, but its response did not end in time."),
        ),
        (Phase::Exchanging, _) if fate == Fate::Lost => (
            Reason::SendTimeout,
            format!("The network between did not deliver the request to {host} in time."),
        ),
        (Phase::Exchanging, Some(gauge)) if fate == Fate::NotTaken || !gauge.sent() => (
            Reason::SendTimeout,
            format!("{host} did not read the request in time."),
        ),
        (Phase::Exchanging, _) => (
            Reason::ResponseTimeout,
            format!("{host} read the request and did not answer in time."),
        ),
    };
    let operator = format!("deadline reached: {phase:?}, {gauge:?}");
    failure(reason, detail, operator)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::*;
    use crate::policy::Policy;

    #[test]
    fn what_this_service_lacks_is_not_blamed_on_the_receiver() {
        let url = ReceiverUrl::parse("https://a.example.com/", &Policy::default()).unwrap();
        for errno in [
            Errno::MFILE,
            Errno::ADDRNOTAVAIL,
            Errno::PERM,
            Errno::NETDOWN,
        ] {
            let mut tries = Tries::default();
            let number = tries.begin("127.0.0.1:443".parse().unwrap());
            tries.failed(number, io::Error::from(errno));
            let failure = unconnected(&url, &tries);
            assert!(failure.ours, "{failure:?}");
            assert_eq!(failure.reason, Reason::ConnectionRefused);
            let detail = failure.detail;
            assert!(detail.contains("the receiver is not the cause"), "{detail}");
            assert!(!detail.contains("127.0.0.1"), "{detail}");
            assert!(failure.operator_detail.contains("127.0.0.1:443: "));
        }
    }
}
