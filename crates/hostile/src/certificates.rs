//! Hides how certificates are made: an authority, and leaves that are wrong in one way each.

mod chains;

use std::sync::Arc;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, NameConstraints,
    PKCS_RSA_SHA256, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::script::Twist;
use crate::weak_key::WeakKey;

/// What a receiver's certificate is for, where it is for it.
pub const NAMES: [&str; 4] = [
    "*.receivers.example.com",
    "receiver.test",
    "localhost",
    "127.0.0.1",
];

/// The name of the authority that is trusted.
const ROOT: &str = "Test Root";

/// What is wrong with a receiver's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It is too old.
    Expired,
    /// It is too young.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// Its name is where names were a generation ago, and nowhere else.
    NoName,
    /// It vouches for itself.
    SelfSigned,
    /// It is of an authority that nobody trusts.
    UnknownAuthority,
    /// Its issuer is not sent.
    Incomplete,
    /// It is for clients.
    ClientOnly,
    /// It is an authority's own.
    AnAuthoritys,
    /// It is no certificate.
    Garbage,
    /// It is not there.
    Absent,
    /// It is right, and this many others come with it.
    Accompanied(usize),
    /// It is right, and this many authorities are between it and the root.
    Deep(usize),
    /// Its issuer may not issue for its name, and says so in hundreds of rules for hundreds of names.
    Constrained,
    /// Its issuer's name is that of nine others, which name each other: there are more ways from
    /// one to another than can be tried.
    Labyrinth,
    /// Its issuer's name is the root's, and that of as many others as are looked at: every way from one
    /// to another seems to end at the root.
    Crossing,
    /// Its issuer signs with an RSA key of 1,024 bits.
    Rsa1024,
    /// Its own key is an RSA key of 1,024 bits, and its issuer is right.
    OwnRsa1024,
    /// It is right: its issuer signs with an RSA key of 2,048 bits.
    Rsa2048,
    /// Its issuer signs over SHA-1.
    Sha1,
    /// It is of X.509 version 1.
    Version1,
    /// It vouches for itself, and says that it is an authority's, as `openssl req -x509` makes them.
    SelfSignedAuthority,
    /// It vouches for itself, and is too old.
    SelfSignedExpired,
    /// The certificate of the authority between it and the root is too old.
    ExpiredIntermediate,
    /// The certificate of the authority between it and the root is too young.
    EarlyIntermediate,
    /// It is sent twice, and its issuer's is not.
    Twice,
    /// The root is sent, and what is between is not.
    RootInstead,
    /// Its issuer's is not sent, but another authority's.
    OtherIntermediate,
    /// What is sent as its issuer's has the name, and another key.
    OtherKey,
    /// The upper one of two authorities between it and the root is not sent.
    Gap,
    /// Its issuer is no authority.
    NoAuthority,
    /// One authority more is between it and the root than may be.
    TooLong,
    /// Its issuer may not issue for its name.
    Forbidden,
    /// It has an extension that must be understood, and that nobody knows.
    UnknownExtension,
    /// Its names have one label less than the host has.
    Shallow,
    /// It has an address as a DNS name, and no other name.
    AddressAsName,
}

/// A certificate with those that are sent beside it, and what signs with its key.
pub type Chain = (Vec<CertificateDer<'static>>, Arc<dyn SigningKey>);

/// A certificate authority for receivers.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Where the system has no randomness for a key.
    pub fn new() -> Result<Self> {
        let issuer = CertifiedIssuer::self_signed(named(ROOT), KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Its certificate as PEM: what `--ca-file` wants.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The PEM of a certificate: what `--ca-file` wants where it is trusted for itself.
    pub fn pem_of(certificate: &CertificateDer<'_>) -> String {
        let base64 = BASE64.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    }

    /// A certificate with this flaw.
    ///
    /// # Errors
    /// Where the system has no randomness for a key.
    pub fn chain(&self, flaw: Flaw) -> Result<Chain> {
        if let Some(fixed) = Fixed::of(flaw) {
            return self.below_rsa(&fixed);
        }
        let params = leaf(flaw)?;
        if flaw == Flaw::OwnRsa1024 {
            let certificate = params.signed_by(&WeakKey, &self.issuer)?;
            return Ok((vec![certificate.der().clone()], Arc::new(WeakKey)));
        }
        let key = KeyPair::generate()?;
        let certificates = match flaw {
            Flaw::Absent => vec![],
            Flaw::Garbage => vec![CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])],
            Flaw::SelfSigned | Flaw::SelfSignedAuthority | Flaw::SelfSignedExpired => {
                vec![params.self_signed(&key)?.der().clone()]
            }
            Flaw::UnknownAuthority => {
                let root = named("Somebody Else's Root");
                let other = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
                vec![signed(&params, &key, &other)?, other.der().clone()]
            }
            Flaw::Incomplete => {
                let between = Issuer::new(named("Test Intermediate"), KeyPair::generate()?);
                vec![signed(&params, &key, &between)?]
            }
            Flaw::Deep(between) => {
                let names = (0..between).map(|n| named(&format!("Test Intermediate {n}")));
                self.below(names.collect(), &params, &key)?
            }
            Flaw::Constrained => {
                let mut narrow = named("Test Intermediate");
                narrow.name_constraints = Some(NameConstraints {
                    permitted_subtrees: many_names().map(GeneralSubtree::DnsName).collect(),
                    excluded_subtrees: vec![],
                });
                self.below(vec![narrow], &params, &key)?
            }
            Flaw::Labyrinth => {
                let crossing = Issuer::new(named("Crossing"), KeyPair::generate()?);
                let dead_ends = (0..140).map(|n| named(&format!("Dead end {n}")));
                let others = (0..9).map(|_| named("Crossing")).chain(dead_ends);
                with_others(signed(&params, &key, &crossing)?, others)?
            }
            Flaw::Crossing => {
                let crossing = Issuer::new(named(ROOT), KeyPair::generate()?);
                let others = (0..6).map(|_| named(ROOT));
                with_others(signed(&params, &key, &crossing)?, others)?
            }
            Flaw::Accompanied(others) => {
                let others = (0..others).map(|n| named(&format!("Company {n}")));
                with_others(signed(&params, &key, &self.issuer)?, others)?
            }
            _ => match self.chain_of_others(flaw, &params, &key)? {
                Some(certificates) => certificates,
                None => vec![signed(&params, &key, &self.issuer)?],
            },
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((certificates, signing(key)?))
    }

    /// A certificate that was signed by RSA, below an authority of ours with the key that signed it.
    fn below_rsa(&self, fixed: &Fixed) -> Result<Chain> {
        let above = named("Weak Intermediate") // as the leaf has it
            .signed_by(fixed, &self.issuer)?;
        let certificates = vec![CertificateDer::from(fixed.leaf), above.der().clone()];
        Ok((certificates, signing(PrivatePkcs8KeyDer::from(fixed.key))?))
    }

    /// A certificate below these authorities, each below the one before it.
    fn below(
        &self,
        between: Vec<CertificateParams>,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<Vec<CertificateDer<'static>>> {
        let mut line: Vec<CertifiedIssuer<'static, KeyPair>> = vec![];
        for next in between {
            let above = line.last().unwrap_or(&self.issuer);
            let next = CertifiedIssuer::signed_by(next, KeyPair::generate()?, above)?;
            line.push(next);
        }
        let above = line.last().unwrap_or(&self.issuer);
        let mut certificates = vec![signed(params, key, above)?];
        certificates.extend(line.iter().rev().map(|one| one.der().clone()));
        Ok(certificates)
    }

    /// A receiver's side of TLS.
    ///
    /// # Errors
    /// Where the system has no randomness for a key.
    pub fn acceptor(&self, flaw: Flaw, twist: Twist) -> Result<TlsAcceptor> {
        self.acceptor_with(flaw, twist, |_| {})
    }

    /// A receiver's side of TLS, changed by `adjust`.
    ///
    /// # Errors
    /// Where the system has no randomness for a key.
    pub fn acceptor_with(
        &self,
        flaw: Flaw,
        twist: Twist,
        adjust: impl FnOnce(&mut ServerConfig),
    ) -> Result<TlsAcceptor> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = match twist {
            Twist::Tls12 | Twist::ClientCertificate12 | Twist::ClientCertificateAsked12 => {
                &[&TLS12][..]
            }
            Twist::ClientCertificate13 | Twist::ClientCertificateAsked13 | Twist::Tickets(_) => {
                &[&TLS13]
            }
            _ => &[&TLS13, &TLS12],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?;
        let demands = match twist {
            Twist::ClientCertificate12 | Twist::ClientCertificate13 => Some(true),
            Twist::ClientCertificateAsked12 | Twist::ClientCertificateAsked13 => Some(false),
            _ => None,
        };
        let builder = match demands {
            None => builder.with_no_client_auth(),
            Some(demands) => {
                let mut roots = RootCertStore::empty();
                roots.add(self.issuer.der().clone())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match demands {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let (certificates, key) = self.chain(flaw)?;
        // Not checked: a certificate that is none is sent like another.
        let identity = SingleCertAndKey::from(CertifiedKey::new(certificates, key));
        let mut config = builder.with_cert_resolver(Arc::new(identity));
        if twist == Twist::H2Only {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        if let Twist::Tickets(count) = twist {
            config.send_tls13_tickets = count;
        }
        // So that records can be made that rustls does not make.
        config.enable_secret_extraction = true;
        adjust(&mut config);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn signing(key: PrivatePkcs8KeyDer<'static>) -> Result<Arc<dyn SigningKey>> {
    Ok(aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(
        key,
    ))?)
}

/// A certificate that was made once (certificates/README.md), as `rcgen` makes none.
struct Fixed {
    leaf: &'static [u8],
    key: &'static [u8],
    /// The public key of its issuer.
    issuer: &'static [u8],
}

macro_rules! fixed {
    ($name:literal) => {
        Fixed {
            leaf: include_bytes!(concat!("../certificates/", $name, ".leaf.der")),
            key: include_bytes!(concat!("../certificates/", $name, ".key.der")),
            issuer: include_bytes!(concat!("../certificates/", $name, ".issuer.der")),
        }
    };
}

impl Fixed {
    fn of(flaw: Flaw) -> Option<Self> {
        match flaw {
            Flaw::Rsa1024 => Some(fixed!("rsa-1024")),
            Flaw::Rsa2048 => Some(fixed!("rsa-2048")),
            Flaw::Sha1 => Some(fixed!("sha-1")),
            Flaw::Version1 => Some(fixed!("version-1")),
            _ => None,
        }
    }
}

/// What the authority is asked to certify.
impl PublicKeyData for Fixed {
    fn der_bytes(&self) -> &[u8] {
        self.issuer
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn leaf(flaw: Flaw) -> Result<CertificateParams> {
    let names: Vec<String> = match flaw {
        Flaw::WrongName => vec![
            "other.example.com".to_owned(),
            "*.elsewhere.example".to_owned(),
        ],
        Flaw::NoName => vec![],
        Flaw::Shallow => vec!["*.example.com".to_owned()],
        Flaw::AddressAsName => vec![],
        Flaw::Constrained => NAMES
            .map(str::to_owned)
            .into_iter()
            .chain(many_names())
            .collect(),
        _ => NAMES.map(str::to_owned).to_vec(),
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let common_name = match flaw {
        Flaw::NoName => NAMES[0],
        _ => "a receiver",
    };
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    match flaw {
        Flaw::Expired | Flaw::SelfSignedExpired => params.not_after = date_time_ymd(2020, 2, 3),
        Flaw::NotYetValid => params.not_before = date_time_ymd(2999, 2, 3),
        Flaw::ClientOnly => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Flaw::AddressAsName => {
            let name = SanType::DnsName("127.0.0.1".try_into()?);
            params.subject_alt_names.push(name);
        }
        Flaw::UnknownExtension => {
            let mut extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        }
        Flaw::AnAuthoritys | Flaw::SelfSignedAuthority => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
        }
        _ => {}
    }
    Ok(params)
}

fn many_names() -> impl Iterator<Item = String> {
    (0..300).map(|n| format!("n{n}.elsewhere.example"))
}

fn signed(
    params: &CertificateParams,
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<CertificateDer<'static>> {
    Ok(params.signed_by(key, issuer)?.der().clone())
}

/// `first`, and beside it authorities that vouch for themselves.
fn with_others(
    first: CertificateDer<'static>,
    others: impl Iterator<Item = CertificateParams>,
) -> Result<Vec<CertificateDer<'static>>> {
    let mut certificates = vec![first];
    for params in others {
        let key = KeyPair::generate()?;
        certificates.push(params.self_signed(&key)?.der().clone());
    }
    Ok(certificates)
}
