//! Hides whom we trust: authorities, and single certificates that the operator gave.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracing::{info, warn};

use super::certificate::Certificate;
use crate::transport::EgressError;

/// How many names of certificates a log line has.
const NAMES_MAX: usize = 5;

/// Whom we trust.
#[derive(Debug)]
pub(super) struct Trusted {
    /// Authorities: who has a certificate that leads to one of them is trusted.
    pub(super) authorities: Arc<RootCertStore>,
    /// The certificates of `--ca-file`, each trusted for itself: a receiver may serve it as its own.
    pub(super) pinned: Vec<CertificateDer<'static>>,
}

/// The system's authorities, and what is in `extra_pem`.
///
/// A certificate that does not say that it is an authority's (basic constraints, CA:TRUE) is no
/// authority: Debian's `ssl-cert`, for one, puts a certificate of the machine's own into
/// /etc/ssl/certs, and who has that machine's key could else be any receiver. One of version 1
/// cannot say so.
pub(super) fn trusted(extra_pem: Option<&[u8]>) -> Result<Trusted, EgressError> {
    let mut authorities = RootCertStore::empty();
    add_system(&mut authorities);
    let system = authorities.len();
    let mut pinned = Vec::new();
    if let Some(pem) = extra_pem {
        pinned = add_pem(&mut authorities, pem)?;
    }
    if system == 0 {
        const MISSING: &str = "The system has no trust roots: install the package \
                               \"ca-certificates\", or set SSL_CERT_FILE to a PEM file";
        if pinned.is_empty() {
            return Err(EgressError(format!("{MISSING}.")));
        }
        warn!("{MISSING}. Only receivers under the extra trust roots (--ca-file) can be reached");
    }
    Ok(Trusted {
        authorities: Arc::new(authorities),
        pinned,
    })
}

fn add_system(authorities: &mut RootCertStore) {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "a trust root of the system cannot be read");
    }
    let (certificates, others): (Vec<_>, Vec<_>) =
        native.certs.into_iter().partition(|one| is_authority(one));
    let (_, unusable) = authorities.add_parsable_certificates(certificates);
    let unreadable = others.iter().filter(|der| Certificate::read(der).is_none());
    let unreadable = unusable + unreadable.count();
    if unreadable > 0 {
        warn!(
            unusable = unreadable,
            "trust roots of the system were left out because they cannot be parsed"
        );
    }
    let left_out = subjects(&others);
    if !left_out.is_empty() {
        info!(
            certificates = left_out,
            "left out of the system's trust roots, since they are not certificates of an authority (CA:TRUE)"
        );
    }
}

fn is_authority(der: &CertificateDer<'_>) -> bool {
    Certificate::read(der).is_some_and(|certificate| certificate.is_authority())
}

/// The names of these certificates, as far as they can be read: the first of them, and how many more.
fn subjects(certificates: &[CertificateDer<'_>]) -> String {
    let read = certificates.iter().filter_map(|der| Certificate::read(der));
    let mut names: Vec<String> = read.map(|one| one.subject()).collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

/// Takes authorities into `authorities`; returns all certificates of the PEM.
fn add_pem(
    authorities: &mut RootCertStore,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, EgressError> {
    let mut pinned = Vec::new();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = at + 1;
        let certificate = certificate.map_err(|error| {
            EgressError(format!(
                "Certificate {number} of the extra trust roots (--ca-file) is not valid PEM: {error}."
            ))
        })?;
        let read = Certificate::read(&certificate).ok_or_else(|| {
            EgressError(format!(
                "Certificate {number} of the extra trust roots (--ca-file) cannot be used as a \
                 trust root: it is not an X.509 certificate."
            ))
        })?;
        let subject = read.subject();
        if read.version() < 3 {
            warn!(
                "certificate {number} of the extra trust roots (--ca-file), {subject}, is left out: it is of \
                 version {}, which cannot say whether it is an authority's; make one of version 3",
                read.version()
            );
            continue;
        }
        if read.is_authority() {
            authorities.add(certificate.clone()).map_err(|error| {
                EgressError(format!(
                    "Certificate {number} of the extra trust roots (--ca-file), {subject}, cannot be \
                     used as a trust root: {error}."
                ))
            })?;
        } else {
            info!(
                "certificate {number} of the extra trust roots (--ca-file), {subject}, is not an authority's \
                 (CA:TRUE): it is trusted for itself alone, where a receiver serves this very certificate"
            );
        }
        pinned.push(certificate);
    }
    if pinned.is_empty() {
        return Err(EgressError(
            "The extra trust roots (--ca-file) hold no certificate that can be used; expected PEM with \
             \"-----BEGIN CERTIFICATE-----\", of certificates of version 3."
                .to_owned(),
        ));
    }
    Ok(pinned)
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
