//! Hides how a certificate is read, for what has to be said of it. Whether it holds is decided
//! elsewhere (webpki); what is read here only explains that decision, and tells an authority's
//! certificate from a server's own.

use std::net::IpAddr;

use rustls::pki_types::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Oid;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{X509Name, X509Version};

/// How long a certificate may be to be read, in bytes. Real ones have one or two thousand.
const READ_MAX: usize = 64 * 1024;
/// How much of a name is shown, in characters.
const NAME_MAX: usize = 80;
/// Extensions that may be critical: those that webpki looks at (RFC 5280, section 4.2).
const KNOWN_EXTENSIONS: [&str; 6] = [
    "2.5.29.15", // key usage
    "2.5.29.17", // subject alternative name
    "2.5.29.19", // basic constraints
    "2.5.29.30", // name constraints
    "2.5.29.31", // CRL distribution points
    "2.5.29.37", // extended key usage
];
const OUTDATED_SIGNATURES: [(&str, &str); 5] = [
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.10040.4.3", "SHA-1"),
];
const USABLE_CURVES: [&str; 3] = [
    "1.2.840.10045.3.1.7", // P-256
    "1.3.132.0.34",        // P-384
    "1.3.132.0.35",        // P-521
];
const OTHER_CURVES: [(&str, &str); 6] = [
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
];

/// A certificate that could be read.
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Reads a certificate; `None` where it cannot be read, or is too long to be one.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        if der.len() > READ_MAX {
            return None;
        }
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self(certificate))
    }

    /// Its bytes.
    pub(crate) fn der(&self) -> &'a [u8] {
        self.0.as_raw()
    }

    /// Whose it is, as a name to show.
    pub(crate) fn subject(&self) -> String {
        shown(self.0.subject())
    }

    /// Who issued it, as a name to show.
    pub(crate) fn issuer(&self) -> String {
        shown(self.0.issuer())
    }

    /// Whether the issuer's name is its own.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.0.subject().as_raw() == self.0.issuer().as_raw()
    }

    /// Whether `issuer` has the name of its issuer.
    pub(crate) fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.0.issuer().as_raw() == issuer.0.subject().as_raw()
    }

    /// Whether its issuer has the name of this trust root. Roots keep the content of the name
    /// without its header, which has at most four bytes.
    pub(crate) fn is_issued_by_root(&self, subject: &[u8]) -> bool {
        let issuer = self.0.issuer().as_raw();
        issuer.len() <= subject.len() + 4 && !subject.is_empty() && issuer.ends_with(subject)
    }

    /// Whether it says that the key that signed it is another than `issuer` has; `false` where one
    /// of them does not say.
    pub(crate) fn denies_key_of(&self, issuer: &Self) -> bool {
        let signed_by = self.extensions().find_map(|extension| match extension {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
            _ => None,
        });
        let key = issuer.extensions().find_map(|extension| match extension {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
            _ => None,
        });
        matches!((signed_by, key), (Some(signed_by), Some(key)) if signed_by.0 != key.0)
    }

    /// From when it is valid, in seconds since 1970.
    pub(crate) fn not_before(&self) -> i64 {
        self.0.validity().not_before.timestamp()
    }

    /// Until when it is valid, in seconds since 1970.
    pub(crate) fn not_after(&self) -> i64 {
        self.0.validity().not_after.timestamp()
    }

    /// Whether it is valid at `now`: both its ends included (RFC 5280, section 4.1.2.5).
    pub(crate) fn is_valid_at(&self, now: UnixTime) -> bool {
        let now = seconds(now);
        self.not_before() <= now && now <= self.not_after()
    }

    /// Its version, from 1.
    pub(crate) fn version(&self) -> u32 {
        let X509Version(version) = self.0.version();
        version.saturating_add(1)
    }

    /// Whether it says that it is an authority's (basic constraints, CA:TRUE). One of version 1
    /// cannot say so.
    pub(crate) fn is_authority(&self) -> bool {
        self.extensions().any(|extension| {
            matches!(extension, ParsedExtension::BasicConstraints(constraints) if constraints.ca)
        })
    }

    /// How many authorities may stand between it and a server's certificate, where it says so.
    pub(crate) fn path_length(&self) -> Option<u32> {
        self.extensions().find_map(|extension| match extension {
            ParsedExtension::BasicConstraints(constraints) => constraints.path_len_constraint,
            _ => None,
        })
    }

    /// Whether it says for which names it may issue.
    pub(crate) fn constrains_names(&self) -> bool {
        self.extensions()
            .any(|extension| matches!(extension, ParsedExtension::NameConstraints(_)))
    }

    /// Whether it may be used by servers: it says so, or does not say what it is for.
    pub(crate) fn is_for_servers(&self) -> bool {
        self.extensions().all(|extension| match extension {
            ParsedExtension::ExtendedKeyUsage(usage) => usage.server_auth,
            _ => true,
        })
    }

    /// The first extension that has to be understood and is not, as an object identifier.
    pub(crate) fn unknown_critical_extension(&self) -> Option<String> {
        let critical = self.0.extensions().iter().filter(|one| one.critical);
        let mut oids = critical.map(|one| one.oid.to_id_string());
        let unknown = oids.find(|oid| !KNOWN_EXTENSIONS.contains(&oid.as_str()))?;
        Some(unknown.chars().take(NAME_MAX).collect())
    }

    /// The outdated hash that it is signed over, where it is.
    pub(crate) fn outdated_hash(&self) -> Option<&'static str> {
        let oid = self.0.signature_algorithm.algorithm.to_id_string();
        let (_, hash) = OUTDATED_SIGNATURES.iter().find(|(id, _)| *id == oid)?;
        Some(hash)
    }

    /// What is wrong with its key, as a part of a sentence: its kind or its length, where we
    /// accept no such key.
    pub(crate) fn unusable_key(&self) -> Option<String> {
        let info = self.0.public_key();
        let algorithm = info.algorithm.algorithm.to_id_string();
        match algorithm.as_str() {
            "1.2.840.10045.2.1" => {
                let curve: Option<Oid<'_>> = info.algorithm.parameters.as_ref()?.as_oid().ok();
                let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
                if USABLE_CURVES.contains(&curve.as_str()) {
                    return None;
                }
                let known = OTHER_CURVES.iter().find(|(id, _)| *id == curve);
                Some(known.map_or_else(
                    || "a key on an elliptic curve that we do not know".to_owned(),
                    |(_, name)| format!("a key on the elliptic curve {name}"),
                ))
            }
            "1.2.840.113549.1.1.1" => match info.parsed() {
                Ok(PublicKey::RSA(key)) => {
                    let bits = bits(key.modulus);
                    let shown = match bits {
                        1000.. => format!("{},{:03}", bits / 1000, bits % 1000),
                        _ => bits.to_string(),
                    };
                    (bits < 2048).then(|| format!("an RSA key of {shown} bits"))
                }
                _ => None,
            },
            "1.3.101.112" => None, // Ed25519
            "1.2.840.113549.1.1.10" => Some("a key for RSA-PSS only".to_owned()),
            "1.2.840.10040.4.1" => Some("a DSA key".to_owned()),
            "1.3.101.113" => Some("an Ed448 key".to_owned()),
            _ => Some("a key of a kind that we do not know".to_owned()),
        }
    }

    /// Whether it has any alternative name, and so says for which names it is.
    pub(crate) fn has_alternative_names(&self) -> bool {
        self.alternative_names().next().is_some()
    }

    /// Whether one of its DNS names is this very text.
    pub(crate) fn has_dns_name(&self, text: &str) -> bool {
        self.alternative_names()
            .any(|name| matches!(name, GeneralName::DNSName(name) if *name == text))
    }

    /// Whether its common name is this very text.
    pub(crate) fn has_common_name(&self, text: &str) -> bool {
        let mut names = self.0.subject().iter_common_name();
        names.any(|name| {
            name.as_str()
                .is_ok_and(|name| name.eq_ignore_ascii_case(text))
        })
    }

    fn alternative_names(&self) -> impl Iterator<Item = &GeneralName<'a>> {
        self.extensions()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
    }

    fn extensions(&self) -> impl Iterator<Item = &ParsedExtension<'a>> {
        self.0.extensions().iter().map(|one| one.parsed_extension())
    }
}

/// A time as seconds since 1970.
pub(crate) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn bits(modulus: &[u8]) -> usize {
    let first = modulus.iter().position(|byte| *byte != 0);
    let digits = &modulus[first.unwrap_or(modulus.len())..];
    let unused = digits
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    digits.len() * 8 - unused
}

/// A name to show: the common name, else the organization, else the unit.
fn shown(name: &X509Name<'_>) -> String {
    let attributes = name
        .iter_common_name()
        .chain(name.iter_organization())
        .chain(name.iter_organizational_unit());
    let mut texts = attributes
        .filter_map(|attribute| attribute.as_str().ok())
        .map(harmless);
    let text = texts.find(|text| !text.is_empty());
    text.map_or_else(|| "(no name)".to_owned(), |text| format!("\"{text}\""))
}

/// A stranger's text as a part of a sentence for the customer: short, letters, digits and simple
/// punctuation only, and without addresses, which could be internal ones.
pub(crate) fn harmless(text: &str) -> String {
    let is_plain = |c: &char| c.is_alphanumeric() || " .,:;-_*/@()&+#'".contains(*c);
    let plain: String = text.chars().filter(is_plain).take(NAME_MAX).collect();
    let is_address = |word: &str| {
        let word = word.trim_matches(|c: char| "(),;.'".contains(c));
        let host = word.rsplit_once(':').map_or(word, |(host, _)| host);
        let host = host.split('/').next().unwrap_or(host);
        host.parse::<IpAddr>().is_ok() || word.parse::<IpAddr>().is_ok()
    };
    let words = plain.split_whitespace();
    let words = words.map(|word| {
        if is_address(word) {
            "(an address)"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_name_is_shown_short_printable_and_without_addresses() {
        for (text, shown) in [
            ("receiver.example", "receiver.example"),
            ("Let's Encrypt R3", "Let's Encrypt R3"),
            ("Käse & Söhne", "Käse & Söhne"),
            ("evil\n\u{202e}`<b>\"", "evilb"),
            ("10.0.0.7", "(an address)"),
            (
                "host (10.0.0.7:443), fd00::1",
                "host (an address) (an address)",
            ),
            ("10.0.0.0/8", "(an address)"),
            ("", ""),
        ] {
            assert_eq!(harmless(text), shown, "{text:?}");
        }
        assert_eq!(harmless(&"a".repeat(500)).len(), NAME_MAX);
    }

    #[test]
    fn the_length_of_a_key_is_counted_without_zeros_before_it() {
        for (modulus, expected) in [
            (&[][..], 0),
            (&[0, 0], 0),
            (&[0, 0x80], 8),
            (&[0x01, 0], 9),
            (&[0, 0xff, 0xff], 16),
        ] {
            assert_eq!(bits(modulus), expected, "{modulus:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        for bytes in [
            &[][..],
            b"hello",
            &[0x30, 0x03, 1, 2, 3],
            &[0x30; READ_MAX + 1],
        ] {
            assert!(Certificate::read(bytes).is_none());
        }
    }
}
