//! Hides whom we trust and how a handshake is made.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::transport::EgressError;

/// TLS 1.2 and 1.3 with the system's roots and `extra_roots_pem`.
///
/// Sessions are never resumed: a resumed handshake shows no certificate, so each new connection
/// verifies the receiver's certificate anew, and two endpoints can share no ticket. Connections are
/// kept alive, so a full handshake is rare.
pub(crate) fn connector(extra_roots_pem: Option<&[u8]>) -> Result<TlsConnector, EgressError> {
    let roots = roots(extra_roots_pem)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let cannot = |error: &dyn fmt::Display| EgressError(format!("TLS cannot be set up: {error}."));
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| cannot(&error))?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| cannot(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Explaining(webpki)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(extra_pem: Option<&[u8]>) -> Result<RootCertStore, EgressError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "a trust root of the system cannot be read");
    }
    let (_, unusable) = roots.add_parsable_certificates(native.certs);
    if unusable > 0 {
        warn!(
            unusable,
            "trust roots of the system were left out because they cannot be parsed"
        );
    }
    let native_count = roots.len();
    if let Some(pem) = extra_pem {
        add_pem(&mut roots, pem)?;
    }
    if native_count == 0 {
        const MISSING: &str = "The system has no trust roots: install the package \
                               \"ca-certificates\", or set SSL_CERT_FILE to a PEM file";
        if roots.is_empty() {
            return Err(EgressError(format!("{MISSING}.")));
        }
        warn!("{MISSING}. Only receivers under the extra trust roots (--ca-file) can be reached");
    }
    Ok(roots)
}

fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), EgressError> {
    let before = roots.len();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = at + 1;
        let certificate = certificate.map_err(|error| {
            EgressError(format!(
                "Certificate {number} of the extra trust roots (--ca-file) is not valid PEM: {error}."
            ))
        })?;
        roots.add(certificate).map_err(|error| {
            EgressError(format!(
                "Certificate {number} of the extra trust roots (--ca-file) cannot be used as a \
                 trust root: {error}."
            ))
        })?;
    }
    if roots.len() == before {
        return Err(EgressError(
            "The extra trust roots (--ca-file) hold no certificate; expected PEM with \
             \"-----BEGIN CERTIFICATE-----\"."
                .to_owned(),
        ));
    }
    Ok(())
}

/// How many certificates may come beside the receiver's own: as many as a path to a root may have.
///
/// The verifier tries the ways from one to another and reads all of them at each step. Some dozens,
/// well chosen, would hold a worker thread for seconds, and no deadline can interrupt it.
const INTERMEDIATES_MAX: usize = 6;

/// Why the receiver's certificate leads to none of our trust roots. Carried inside the handshake's
/// error, because only the verifier sees the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untrusted {
    /// The certificate vouches for itself.
    SelfSigned,
    /// The receiver sent its own certificate only, and no root issued it.
    Alone,
    /// The receiver sent a chain, and no root is at its end.
    UnknownAuthority,
    /// The receiver sent more certificates than are looked at.
    TooMany,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "the certificate is self-signed",
            Self::Alone => "no trust root issued the certificate, and no other was sent",
            Self::UnknownAuthority => "no trust root is at the end of the chain",
            Self::TooMany => "more certificates were sent than are looked at",
        })
    }
}

impl std::error::Error for Untrusted {}

impl From<Untrusted> for rustls::Error {
    fn from(untrusted: Untrusted) -> Self {
        CertificateError::Other(OtherError(Arc::new(untrusted))).into()
    }
}

/// The ordinary verifier. It decides alone, but is not asked about more certificates than it can
/// go through at once; where it says no for want of a trusted issuer, the error is exchanged for
/// one that tells the customer what is missing.
#[derive(Debug)]
struct Explaining(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(Untrusted::TooMany.into());
        }
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| explained(error, end_entity, intermediates))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn explained(
    error: rustls::Error,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> rustls::Error {
    let rustls::Error::InvalidCertificate(
        CertificateError::UnknownIssuer | CertificateError::Other(_),
    ) = &error
    else {
        return error;
    };
    let Ok(parsed) = webpki::EndEntityCert::try_from(end_entity) else {
        return error;
    };
    let untrusted = if parsed.issuer() == parsed.subject() {
        Untrusted::SelfSigned
    } else if error != CertificateError::UnknownIssuer.into() {
        return error;
    } else if intermediates.is_empty() {
        Untrusted::Alone
    } else {
        Untrusted::UnknownAuthority
    };
    untrusted.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_roots_that_are_no_roots_are_refused_with_what_is_wrong() {
        for (pem, part) in [
            ("", "hold no certificate"),
            ("hello", "hold no certificate"),
            (
                "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
                "not valid PEM",
            ),
            (
                "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
                "trust root",
            ),
        ] {
            let error = add_pem(&mut RootCertStore::empty(), pem.as_bytes()).unwrap_err();
            assert!(error.0.contains(part), "{pem:?}: {error}");
        }
    }
}
