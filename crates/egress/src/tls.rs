//! Hides whom we trust and how a handshake is made.

mod certificate;
mod finding;
mod roots;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stream::{Gauge, Socket};
use crate::transport::EgressError;
use certificate::Certificate;
use finding::Shown;
use roots::Trusted;

/// How many certificates may come beside the receiver's own: as many as a path to a root may have.
///
/// The verifier tries the ways from one to another and reads all of them at each step. Some dozens,
/// well chosen, would hold a worker thread for seconds, and no deadline can interrupt it.
const INTERMEDIATES_MAX: usize = 6;

/// Makes handshakes: TLS 1.2 and 1.3 with the system's roots and the operator's extra ones.
///
/// Sessions are never resumed: a resumed handshake shows no certificate, so each new connection
/// verifies the receiver's certificate anew, and two endpoints can share no ticket. Connections are
/// kept alive, so a full handshake is rare.
pub(crate) struct Tls {
    config: ClientConfig,
    trust: Arc<Trust>,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(crate) struct HandshakeError {
    pub(crate) error: io::Error,
    /// What is wrong with the receiver's certificate, in words for the customer, where it is that.
    pub(crate) certificate: Option<String>,
}

impl Tls {
    /// # Errors
    /// The trust roots cannot be used; the sentence says what to do.
    pub(crate) fn new(extra_roots_pem: Option<&[u8]>) -> Result<Self, EgressError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let cannot =
            |error: &dyn fmt::Display| EgressError(format!("TLS cannot be set up: {error}."));
        let trusted = roots::trusted(extra_roots_pem)?;
        // webpki wants at least one authority. Where there is none, single certificates are all we trust.
        let authorities = match trusted.authorities.is_empty() {
            true => None,
            false => {
                let roots = trusted.authorities.clone();
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                Some(verifier.build().map_err(|error| cannot(&error))?)
            }
        };
        let trust = Arc::new(Trust {
            authorities,
            provider: provider.clone(),
            trusted,
        });
        let said = Arc::new(OnceLock::new());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| cannot(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(&trust, &said))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config, trust })
    }

    /// Makes a handshake with `name` over `socket`. It has a configuration of its own, which notes
    /// what is wrong with the certificate, and in `gauge` whether the server asked for one of ours.
    pub(crate) async fn connect(
        &self,
        name: ServerName<'static>,
        socket: Socket,
        gauge: &Arc<Gauge>,
    ) -> Result<TlsStream<Socket>, HandshakeError> {
        let said = Arc::new(OnceLock::new());
        let mut config = self.config.clone();
        let verifier = Verifier::new(&self.trust, &said);
        config.dangerous().set_certificate_verifier(verifier);
        config.client_auth_cert_resolver = Arc::new(NoCertificate(gauge.clone()));
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(name, socket).await;
        connected.map_err(|error| HandshakeError {
            error,
            certificate: said.get().cloned(),
        })
    }
}

/// Has no certificate of ours to show, and notes that one was asked for.
#[derive(Debug)]
struct NoCertificate(Arc<Gauge>);

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.note_certificate_asked();
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The receiver sent more certificates than are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more certificates were sent than are looked at")]
pub(crate) struct TooMany;

/// Whom we trust, and by which rules.
#[derive(Debug)]
struct Trust {
    trusted: Trusted,
    /// The ordinary verifier, where there is any authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Trust {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if others.len() > INTERMEDIATES_MAX {
            return Err(CertificateError::Other(OtherError(Arc::new(TooMany))).into());
        }
        if self.trusted.pinned.iter().any(|pinned| pinned == leaf) {
            return verify_pinned(leaf, name, now);
        }
        match &self.authorities {
            Some(verifier) => verifier.verify_server_cert(leaf, others, name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    /// What is wrong with the certificates, for the customer.
    fn told(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        error: &rustls::Error,
    ) -> Option<String> {
        let rustls::Error::InvalidCertificate(error) = error else {
            return None;
        };
        let roots = &self.trusted.authorities.roots;
        let roots: Vec<&[u8]> = roots.iter().map(|root| root.subject.as_ref()).collect();
        let shown = Shown {
            leaf,
            others,
            name,
            roots: &roots,
            now,
            trusted_itself: self.trusted.pinned.iter().any(|pinned| pinned == leaf),
        };
        finding::told(&shown, error)
    }
}

/// A certificate that the operator trusts for itself: no authority need have issued it, but its
/// names, its time and its purpose hold. That the receiver has its key the handshake shows.
fn verify_pinned(
    leaf: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let certificate = Certificate::read(leaf).ok_or(CertificateError::BadEncoding)?;
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    if !certificate.is_valid_at(now) {
        return Err(match certificate.not_before() > certificate::seconds(now) {
            true => CertificateError::NotValidYetContext {
                time: now,
                not_before: time(certificate.not_before()),
            },
            false => CertificateError::ExpiredContext {
                time: now,
                not_after: time(certificate.not_after()),
            },
        }
        .into());
    }
    if !certificate.is_for_servers() {
        return Err(CertificateError::InvalidPurpose.into());
    }
    rustls::client::verify_server_name(&rustls::server::ParsedCertificate::try_from(leaf)?, name)?;
    Ok(ServerCertVerified::assertion())
}

/// Verifies the certificates of one handshake, and notes what is wrong with them.
#[derive(Debug)]
struct Verifier {
    trust: Arc<Trust>,
    said: Arc<OnceLock<String>>,
}

impl Verifier {
    fn new(trust: &Arc<Trust>, said: &Arc<OnceLock<String>>) -> Arc<Self> {
        Arc::new(Self {
            trust: trust.clone(),
            said: said.clone(),
        })
    }

    /// Notes what is wrong with the receiver's key, where a signature of the handshake does not hold.
    fn noted(
        &self,
        verified: Result<HandshakeSignatureValid, rustls::Error>,
        leaf: &CertificateDer<'_>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if verified.is_err() {
            // There is one note at most.
            let _ = self.said.set(finding::of_handshake(leaf));
        }
        verified
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let trust = &self.trust;
        let verified = trust.verify(end_entity, intermediates, server_name, ocsp_response, now);
        if let Err(error) = &verified
            && intermediates.len() <= INTERMEDIATES_MAX
            && let Some(told) = trust.told(end_entity, intermediates, server_name, now, error)
        {
            // There is one note at most.
            let _ = self.said.set(told);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms);
        self.noted(verified, cert)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        let verified = rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms);
        self.noted(verified, cert)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = &self.trust.provider;
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
