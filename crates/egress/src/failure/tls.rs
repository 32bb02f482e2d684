//! Hides what a failure of TLS is called and how it is told.

use std::io;

use model::attempt::Reason;
use model::time::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::{FLOOD, failure, is_flood, sentence};
use crate::exchange::Failure;
use crate::receiver_url::ReceiverUrl;
use crate::stream::Gauge;
use crate::tls::Untrusted;

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

/// A TLS error after the handshake. In TLS 1.3 a server says only then that it refuses the client,
/// so that an alert before any answer still tells of the handshake.
pub(super) fn late_tls_meaning(error: &rustls::Error, gauge: &Gauge) -> (Reason, String) {
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

pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
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
