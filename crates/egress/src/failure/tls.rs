//! Hides what a failure of TLS is called and how it is told.

use std::io;

use model::attempt::Reason;
use rustls::{AlertDescription, CertificateError};

use super::{FLOOD, failure, is_flood, sentence};
use crate::exchange::Failure;
use crate::receiver_url::ReceiverUrl;
use crate::stream::Gauge;
use crate::tls::{HandshakeError, TooMany};

/// What is said where the receiver asked for a certificate of ours, and then refused.
pub(super) const CLIENT_CERTIFICATE: &str = "it demands a client certificate, which is not sent; let it ask for none on \
     this path or port, and check the signature instead";

/// What we offer in a handshake, for whoever finds nothing in common with it.
const OFFER: &str = "we offer TLS 1.3, and TLS 1.2 with ECDHE (X25519, P-256, P-384) and AES-GCM or ChaCha20-Poly1305, \
     for certificates with an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key";

/// The TLS handshake failed.
pub(crate) fn unencryptable(url: &ReceiverUrl, failed: &HandshakeError, gauge: &Gauge) -> Failure {
    let error = &failed.error;
    let (reason, what) = match (tls_error(error), &failed.certificate) {
        (Some(rustls::Error::InvalidCertificate(_)), Some(certificate)) => {
            (Reason::TlsCertificate, certificate.clone())
        }
        (Some(tls), _) => tls_meaning(tls, gauge),
        (None, _) if is_flood(error) => (Reason::TlsHandshake, FLOOD.to_owned()),
        (None, _) => (Reason::TlsHandshake, broken_off(error, gauge).to_owned()),
    };
    failure(reason, sentence(url, &what), error.to_string())
}

/// The connection ended inside the handshake, without a word of TLS.
fn broken_off(error: &io::Error, gauge: &Gauge) -> &'static str {
    match (error.kind(), gauge.certificate_asked()) {
        (io::ErrorKind::UnexpectedEof, true) => {
            "it asked for a client certificate, which is not sent, and closed the connection during the TLS handshake"
        }
        (io::ErrorKind::UnexpectedEof, false) => {
            "the connection was closed during the TLS handshake"
        }
        (_, true) => {
            "it asked for a client certificate, which is not sent, and reset the connection during the TLS handshake"
        }
        (_, false) => "the connection was reset during the TLS handshake",
    }
}

/// A TLS error after the handshake. In TLS 1.3 a server says only then that it refuses the client,
/// so that an alert before any answer still tells of the handshake.
pub(super) fn late_tls_meaning(error: &rustls::Error, gauge: &Gauge) -> (Reason, String) {
    if gauge.in_body() {
        let what = "the response broke off inside its body, by an error of TLS".to_owned();
        return (Reason::BodyIncomplete, what);
    }
    if !gauge.answered() && matches!(error, rustls::Error::AlertReceived(_)) {
        return tls_meaning(error, gauge);
    }
    let what = "the connection broke before the end of the response's head, by an error of TLS";
    (Reason::ConnectionReset, what.to_owned())
}

pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn tls_meaning(error: &rustls::Error, gauge: &Gauge) -> (Reason, String) {
    use rustls::Error as Tls;
    let what = match error {
        Tls::InvalidCertificate(certificate) => {
            let what = certificate_meaning(certificate).to_owned();
            return (Reason::TlsCertificate, what);
        }
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "it does not speak TLS on this port (plain HTTP, perhaps, or another protocol)".to_owned()
        }
        Tls::AlertReceived(alert) => alert_meaning(*alert, gauge.certificate_asked()),
        Tls::PeerIncompatible(_) => format!("{NO_CURRENT_VERSION}; {OFFER}"),
        Tls::PeerMisbehaved(rustls::PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
            "it signed the handshake by an algorithm that was not offered (over SHA-1, perhaps); update the TLS \
             library of the server"
                .to_owned()
        }
        Tls::NoApplicationProtocol => NO_HTTP_1_1.to_owned(),
        Tls::NoCertificatesPresented => "it sent no certificate".to_owned(),
        _ => "the TLS handshake failed: what it sent is not as TLS has it".to_owned(),
    };
    (Reason::TlsHandshake, what)
}

const NO_CURRENT_VERSION: &str =
    "it supports neither TLS 1.2 nor TLS 1.3 with a current cipher suite";
const NO_HTTP_1_1: &str = "it does not offer HTTP/1.1 (ALPN \"http/1.1\")";

/// What an alert says in practice. An alert's own name is often another: servers that want a client
/// certificate and get none send half a dozen, so it counts more that one was `asked` for.
fn alert_meaning(alert: AlertDescription, asked: bool) -> String {
    use AlertDescription as Alert;
    let name = alert_name(alert);
    let refused = format!("it refused the TLS handshake (alert {name})");
    match alert {
        // GnuTLS says so in TLS 1.2 of the empty list of certificates.
        Alert::DecodeError if asked => format!("{CLIENT_CERTIFICATE} (alert {name})"),
        // What is wrong with the bytes, and not with what they say.
        Alert::BadRecordMac
        | Alert::DecryptionFailed
        | Alert::RecordOverflow
        | Alert::DecompressionFailure
        | Alert::DecodeError
        | Alert::DecryptError => format!(
            "{refused}: it could not read what was sent; something between may change it, or its TLS library has a \
             defect"
        ),
        Alert::CloseNotify | Alert::UserCanceled => {
            format!("it ended the TLS handshake by itself (alert {name})")
        }
        Alert::CertificateRequired | Alert::NoCertificate | Alert::BadCertificate => {
            format!("{CLIENT_CERTIFICATE} (alert {name})")
        }
        _ if asked => format!("{CLIENT_CERTIFICATE} (alert {name})"),
        Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::CertificateUnobtainable
        | Alert::UnknownCA => format!(
            "{refused}, as if a client certificate were wrong; none is sent: see what its own log says"
        ),
        Alert::ProtocolVersion => format!("{NO_CURRENT_VERSION} (alert {name}); {OFFER}"),
        Alert::HandshakeFailure | Alert::InsufficientSecurity | Alert::ExportRestriction => {
            format!(
                "it found no cipher, curve or key type in common (alert {name}), or has no certificate for this host \
             name; {OFFER}"
            )
        }
        Alert::InternalError => format!(
            "it failed inside, or has no certificate for this host name: Go and Caddy say so by this alert ({name}); \
             see that the server is set up for the host of the endpoint's URL"
        ),
        Alert::UnrecognisedName => format!(
            "it does not know this host name (SNI; alert {name}); set the server up for the host of the endpoint's URL"
        ),
        Alert::AccessDenied => format!(
            "{refused}: it does not let us in; look for a list of allowed addresses or clients"
        ),
        Alert::NoApplicationProtocol => format!("{NO_HTTP_1_1} (alert {name})"),
        Alert::IllegalParameter
        | Alert::UnexpectedMessage
        | Alert::MissingExtension
        | Alert::UnsupportedExtension => format!(
            "{refused}: its TLS library, or something between, does not take an ordinary hello; update it"
        ),
        _ => format!("{refused}; see what its own log says"),
    }
}

/// An alert as the standards and most servers' logs write it (RFC 8446, section 6).
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized_name".to_owned(),
        AlertDescription::Unknown(code) => format!("number {code}"),
        other => snake_case(&format!("{other:?}")),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// What is wrong with a certificate, where nothing more precise was found out.
fn certificate_meaning(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Other(other) if other.0.is::<TooMany>() => {
            "it sent more certificates than we look at (its own and 6 others); let it send its chain only"
        }
        CertificateError::ExpiredContext { .. } | CertificateError::Expired => {
            "its certificate has expired"
        }
        CertificateError::NotValidYetContext { .. } | CertificateError::NotValidYet => {
            "its certificate is not valid yet"
        }
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            "its certificate is not valid for this host name"
        }
        CertificateError::UnknownIssuer => {
            "its certificate was not issued by a certificate authority that we trust"
        }
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "its certificate is not made for servers"
        }
        CertificateError::Revoked => "its certificate has been revoked",
        CertificateError::BadSignature => {
            "its certificate, or the handshake, is not correctly signed"
        }
        CertificateError::BadEncoding => {
            "its certificate, or one of its chain, cannot be read; issue it anew"
        }
        _ => {
            "its certificate, or one of its chain, is not as X.509 (RFC 5280) has it; issue it anew"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_says_what_it_means_in_practice() {
        for (code, asked, part) in [
            (
                0x28,
                false,
                "no cipher, curve or key type in common (alert handshake_failure)",
            ),
            (0x28, false, "ECDHE"),
            (0x28, true, "demands a client certificate"),
            (0x2a, false, "demands a client certificate"),
            (0x2a, true, "demands a client certificate"),
            (0x2e, true, "demands a client certificate"),
            (0x2e, false, "none is sent"),
            (0x30, true, "demands a client certificate"),
            (0x31, false, "does not let us in"),
            (0x31, true, "demands a client certificate"),
            (0x32, true, "demands a client certificate"),
            (0x32, false, "could not read"),
            (0x33, true, "could not read"),
            (0x46, false, "neither TLS 1.2 nor TLS 1.3"),
            (0x47, false, "no cipher"),
            (0x50, false, "no certificate for this host name"),
            (0x50, true, "demands a client certificate"),
            (0x70, false, "does not know this host name"),
            (
                0x74,
                false,
                "demands a client certificate, which is not sent",
            ),
            (0x78, false, "HTTP/1.1"),
            (0x5a, false, "by itself (alert user_canceled"),
            (0x2f, false, "illegal_parameter"),
            (0xc8, false, "alert number 200"),
        ] {
            let said = alert_meaning(AlertDescription::from(code), asked);
            assert!(said.contains(part), "{code:#x} {asked}: {said}");
        }
        for code in 0..=u8::MAX {
            for asked in [false, true] {
                let said = alert_meaning(AlertDescription::from(code), asked);
                assert!(
                    said.contains("alert") && !said.ends_with('.'),
                    "{code}: {said}"
                );
            }
        }
    }

    #[test]
    fn an_alert_has_the_name_that_the_standards_give_it() {
        for (code, name) in [
            (0x28, "handshake_failure"),
            (0x30, "unknown_ca"),
            (0x70, "unrecognized_name"),
            (0x73, "unknown_psk_identity"),
            (0x78, "no_application_protocol"),
            (0xc8, "number 200"),
        ] {
            assert_eq!(alert_name(AlertDescription::from(code)), name);
        }
    }
}
