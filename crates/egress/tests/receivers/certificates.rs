//! Hides how certificates are made: one authority for all tests, and leaves that are wrong in one
//! way each.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn authority_named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(authority_named(name), key).unwrap();
        Self {
            pem: issuer.pem(),
            issuer,
        }
    }
}

/// The authority that the transports under test trust.
pub(crate) fn authority() -> Authority {
    static PARTS: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    let (pem, key) = PARTS.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let bytes = key.serialize_der();
        let issuer = CertifiedIssuer::self_signed(authority_named("Test Root"), key).unwrap();
        (issuer.pem(), bytes)
    });
    let key = KeyPair::try_from(key.as_slice()).unwrap();
    let issuer = CertifiedIssuer::self_signed(authority_named("Test Root"), key).unwrap();
    Authority {
        pem: pem.clone(),
        issuer,
    }
}

/// What is to be wrong with a receiver's certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flaw {
    None,
    Expired,
    NotYetValid,
    WrongName,
    SelfSigned,
    UnknownAuthority,
    /// Issued by an intermediate that is not sent.
    Incomplete,
    ClientOnly,
    /// Nothing is wrong with it, but it comes with this many others.
    Accompanied(usize),
    /// Its issuer's name is that of nine others, which name each other: there are more ways from
    /// one to another than can be tried.
    Labyrinth,
}

/// A certificate chain and its key.
pub(crate) fn chain(flaw: Flaw) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let names: &[&str] = match flaw {
        Flaw::WrongName => &["other.example.com", "*.elsewhere.example"],
        _ => &["receiver.test", "localhost", "127.0.0.1"],
    };
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "a receiver");
    match flaw {
        Flaw::Expired => params.not_after = rcgen::date_time_ymd(2020, 2, 3),
        Flaw::NotYetValid => params.not_before = rcgen::date_time_ymd(2999, 2, 3),
        Flaw::ClientOnly => {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        }
        _ => {}
    }
    let key = KeyPair::generate().unwrap();
    let root = authority();
    let leaf = match flaw {
        Flaw::SelfSigned => vec![params.self_signed(&key).unwrap()],
        Flaw::UnknownAuthority => {
            let other = Authority::new("Somebody Else's Root");
            let leaf = params.signed_by(&key, &other.issuer).unwrap();
            return (
                vec![leaf.der().clone(), other.issuer.der().clone()],
                private(&key),
            );
        }
        Flaw::Incomplete => {
            let middle_key = KeyPair::generate().unwrap();
            let middle = Issuer::new(authority_named("Test Intermediate"), middle_key);
            vec![params.signed_by(&key, &middle).unwrap()]
        }
        Flaw::Labyrinth => {
            let crossing = || authority_named("Crossing");
            let issuer = Issuer::new(crossing(), KeyPair::generate().unwrap());
            let mut chain = vec![params.signed_by(&key, &issuer).unwrap()];
            let mut add = |params: CertificateParams| {
                let key = KeyPair::generate().unwrap();
                chain.push(params.self_signed(&key).unwrap());
            };
            (0..9).for_each(|_| add(crossing()));
            (0..140).for_each(|n| add(authority_named(&format!("Dead end {n}"))));
            chain
        }
        Flaw::Accompanied(others) => {
            let mut chain = vec![params.signed_by(&key, &root.issuer).unwrap()];
            for n in 0..others {
                let key = KeyPair::generate().unwrap();
                let other = authority_named(&format!("Company {n}"));
                chain.push(other.self_signed(&key).unwrap());
            }
            chain
        }
        _ => vec![params.signed_by(&key, &root.issuer).unwrap()],
    };
    let ders = leaf.iter().map(|certificate| certificate.der().clone());
    (ders.collect(), private(&key))
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

/// A receiver's side of TLS, changed by `adjust`.
pub(crate) fn acceptor_with(flaw: Flaw, adjust: impl FnOnce(&mut ServerConfig)) -> TlsAcceptor {
    let (chain, key) = chain(flaw);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    adjust(&mut config);
    TlsAcceptor::from(Arc::new(config))
}

/// A receiver's side of TLS.
pub(crate) fn acceptor(flaw: Flaw) -> TlsAcceptor {
    acceptor_with(flaw, |_| {})
}
