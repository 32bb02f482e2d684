//! Hides how it is found out which certificate of a chain is wrong, and what its owner is told: what,
//! which certificate, and what to do. Asked only once the verifier has said no.

use model::time::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::{Certificate, harmless, seconds};

/// How many host names of a certificate are shown.
const NAMES_MAX: usize = 5;

const FULL_CHAIN: &str = "let the server send its full chain (fullchain.pem, not cert.pem)";
const PUBLIC: &str = "use one from a public certificate authority";

/// What a receiver showed, and what it was held against.
pub(super) struct Shown<'a> {
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) others: &'a [CertificateDer<'a>],
    pub(super) name: &'a ServerName<'a>,
    /// The names of the authorities that are trusted.
    pub(super) roots: &'a [&'a [u8]],
    pub(super) now: UnixTime,
    /// Whether the operator trusts the leaf for itself, so that no authority need have issued it.
    pub(super) trusted_itself: bool,
}

/// What is wrong with the certificates that the verifier refused with `error`; `None` where the
/// error itself says it all.
pub(super) fn told(shown: &Shown<'_>, error: &CertificateError) -> Option<String> {
    let leaf = Certificate::read(shown.leaf)?;
    let others: Vec<_> = shown
        .others
        .iter()
        .map(|der| Certificate::read(der))
        .collect();
    let others: Vec<&Certificate<'_>> = others.iter().flatten().collect();
    let chain = Chain::of(&leaf, others, shown.roots);
    let told = chain.told(shown, error)?;
    let also = match leaf.is_self_issued() && !shown.trusted_itself && !told.contains("self-signed")
    {
        true => format!("; it is also self-signed: {PUBLIC}"),
        false => String::new(),
    };
    Some(told + &also)
}

/// What is wrong with the receiver's key, where the signature of the handshake does not hold.
pub(super) fn of_handshake(leaf: &CertificateDer<'_>) -> String {
    let key = Certificate::read(leaf).and_then(|leaf| leaf.unusable_key());
    match key {
        Some(key) => format!("its certificate has {key}, {}", new_key()),
        None => "it signed the handshake with another key than its certificate's; let the server load the \
                 key and the certificate that belong together"
            .to_owned(),
    }
}

fn new_key() -> &'static str {
    "which is not accepted; use a certificate with an RSA key of 2,048 bits or more, or with an ECDSA key on P-256"
}

/// The certificates from the receiver's own upwards, each issued by the next by its name.
struct Chain<'a> {
    path: Vec<&'a Certificate<'a>>,
    /// Sent, and no part of the path.
    beside: Vec<&'a Certificate<'a>>,
    /// Whether one of our roots has the name of the last one's issuer.
    reaches_root: bool,
}

impl<'a> Chain<'a> {
    fn of(
        leaf: &'a Certificate<'a>,
        mut beside: Vec<&'a Certificate<'a>>,
        roots: &[&[u8]],
    ) -> Self {
        let mut path = vec![leaf];
        let mut last = leaf;
        let reaches_root = loop {
            if roots.iter().any(|root| last.is_issued_by_root(root)) {
                break true;
            }
            if last.is_self_issued() {
                break false;
            }
            let candidates = || {
                beside
                    .iter()
                    .enumerate()
                    .filter(|(_, one)| last.names_as_issuer(one))
            };
            // Among several of the name, the one with the right key.
            let next = candidates().find(|(_, one)| !last.denies_key_of(one));
            let Some((at, _)) = next.or_else(|| candidates().next()) else {
                break false;
            };
            last = beside.remove(at);
            path.push(last);
        };
        Self {
            path,
            beside,
            reaches_root,
        }
    }

    fn leaf(&self) -> &'a Certificate<'a> {
        self.path[0]
    }

    /// The first of the path, then of all, of which something is so; with what it is called.
    fn first(
        &self,
        is_so: impl Fn(&Certificate<'_>) -> bool,
    ) -> Option<(String, &'a Certificate<'a>)> {
        let all = self.path.iter().chain(&self.beside).enumerate();
        let (at, found) = { all }.find(|(_, one)| is_so(one))?;
        let name = found.subject();
        Some(match (at, found.is_self_issued()) {
            (0, _) => (format!("its certificate {name}"), found),
            (_, true) => (
                format!("the authority's certificate {name} that it sends"),
                found,
            ),
            (_, false) => (
                format!("the intermediate certificate {name} that it sends"),
                found,
            ),
        })
    }

    fn told(&self, shown: &Shown<'_>, error: &CertificateError) -> Option<String> {
        match error {
            CertificateError::ExpiredContext { not_after, .. } => {
                let wanted = seconds(*not_after);
                let (which, at) = self.first(|one| one.not_after() == wanted)?;
                Some(expired(&which, at, std::ptr::eq(at, self.leaf())))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                let wanted = seconds(*not_before);
                let (which, at) = self.first(|one| one.not_before() == wanted)?;
                Some(format!(
                    "{which} is not valid before {}, and by our clock it is {}; wait until then, or set the \
                     clock of the machine that issued it and issue it anew",
                    moment(at.not_before()),
                    moment(seconds(shown.now))
                ))
            }
            CertificateError::Expired => {
                let (which, _) = self.first(|one| one.not_after() < one.not_before())?;
                Some(format!(
                    "{which} ends before it begins to be valid; issue it anew"
                ))
            }
            CertificateError::UnknownIssuer => Some(self.untrusted()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Some(self.wrong_name(shown.name, presented))
            }
            CertificateError::BadSignature => Some(self.badly_signed()),
            CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
                let (which, _) = self.first(|one| !one.is_for_servers())?;
                Some(format!(
                    "{which} is not made for servers (extended key usage); use one made for TLS servers (serverAuth)"
                ))
            }
            CertificateError::UnhandledCriticalExtension => self.unknown_extension(),
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Some(self.unsupported_signature())
            }
            CertificateError::Other(other) => self.other(other.0.downcast_ref()?),
            _ => None,
        }
    }

    fn other(&self, error: &webpki::Error) -> Option<String> {
        use webpki::Error as Pki;
        Some(match error {
            Pki::CaUsedAsEndEntity if self.leaf().is_self_issued() => self.untrusted(),
            Pki::CaUsedAsEndEntity => format!(
                "its certificate {} is an authority's own (basic constraints CA:TRUE), which no server may \
                 serve as its own; issue one for the server, with CA:FALSE",
                self.leaf().subject()
            ),
            Pki::EndEntityUsedAsCa => {
                let mut above = self.path.iter().skip(1).chain(&self.beside);
                let issuer = above.find(|one| !one.is_authority())?;
                format!(
                    "the certificate {} that it sends as an issuer's is no authority's (it has no basic \
                     constraints CA:TRUE), so it may issue none; use a certificate issued by an authority",
                    issuer.subject()
                )
            }
            Pki::PathLenConstraintViolated => {
                let below = |at: usize| u32::try_from(at.saturating_sub(1)).unwrap_or(u32::MAX);
                let mut path = self.path.iter().enumerate().skip(1);
                let (_, narrow) = path.find(|(at, one)| {
                    one.path_length().is_some_and(|most| most < below(*at))
                })?;
                format!(
                    "the authority {} may have at most {} other authorities below it (path length), and this \
                     chain has more; use a certificate issued nearer to it",
                    narrow.subject(),
                    narrow.path_length().unwrap_or_default()
                )
            }
            Pki::NameConstraintViolation => {
                let mut path = self.path.iter().skip(1);
                let issuer = path
                    .find(|one| one.constrains_names())
                    .map_or_else(|| self.last().issuer(), |one| one.subject());
                format!(
                    "the authority {issuer} may not issue for the names of this certificate (name \
                     constraints); use a certificate from an authority that may"
                )
            }
            Pki::UnsupportedCertVersion => {
                let (which, old) = self.first(|one| one.version() < 3)?;
                format!(
                    "{which} is of X.509 version {}, and only version 3 is accepted; issue it anew with \
                     extensions (subjectAltName)",
                    old.version()
                )
            }
            Pki::UnsupportedCriticalExtension => return self.unknown_extension(),
            Pki::MaximumPathBuildCallsExceeded
            | Pki::MaximumSignatureChecksExceeded
            | Pki::MaximumNameConstraintComparisonsExceeded
            | Pki::MaximumPathDepthExceeded => {
                "there are more ways through the certificates that it sends, or more rules for names in them, \
                 than are tried; let it send its chain only"
                    .to_owned()
            }
            Pki::InvalidSerialNumber => {
                "a serial number in its chain is longer than 20 bytes or negative; issue the certificate anew"
                    .to_owned()
            }
            _ => return None,
        })
    }

    fn last(&self) -> &'a Certificate<'a> {
        self.path[self.path.len() - 1]
    }

    /// No root of ours is at the end of the path.
    fn untrusted(&self) -> String {
        let (leaf, last) = (self.leaf(), self.last());
        if leaf.is_self_issued() {
            let name = leaf.subject();
            return format!("its certificate {name} is self-signed; {PUBLIC}");
        }
        if self.reaches_root {
            return self.badly_signed();
        }
        if last.is_self_issued() {
            return format!(
                "its certificate was not issued by a certificate authority that we trust: its chain ends at {}; \
                 {PUBLIC}",
                last.subject()
            );
        }
        let issuer = last.issuer();
        let missing = match self.path.len() {
            1 => format!("the certificate of its issuer {issuer} was not sent"),
            _ => format!(
                "the certificate of {issuer}, which issued the intermediate certificate {}, was not sent",
                last.subject()
            ),
        };
        let instead = self.sent_instead();
        format!(
            "{missing}{instead}, and {issuer} is not a certificate authority that we trust; {FULL_CHAIN}, and {PUBLIC}"
        )
    }

    fn sent_instead(&self) -> String {
        let own = self.leaf().der();
        let Some(first) = self.beside.first() else {
            return String::new();
        };
        if self.beside.iter().all(|one| one.der() == own) {
            return " (its own certificate was sent twice instead)".to_owned();
        }
        let other = self.beside.iter().find(|one| one.der() != own);
        let other = other.unwrap_or(first);
        match other.is_self_issued() {
            true => format!(" (the root {} was sent instead)", other.subject()),
            false => format!(" (the certificate of {} was sent instead)", other.subject()),
        }
    }

    /// A signature in the path does not hold.
    fn badly_signed(&self) -> String {
        for link in self.path.windows(2) {
            let (child, issuer) = (link[0], link[1]);
            if let Some(key) = issuer.unusable_key() {
                return format!(
                    "its chain is not correctly signed: the authority {} has {key}, {}",
                    issuer.subject(),
                    new_key()
                );
            }
            if child.denies_key_of(issuer) {
                return format!(
                    "the intermediate certificate {} that it sends has another key than the one that issued {}; \
                     send the intermediate that came with the certificate: {FULL_CHAIN}",
                    issuer.subject(),
                    child.subject()
                );
            }
        }
        if self.leaf().is_self_issued() {
            let name = self.leaf().subject();
            return format!("its certificate {name} is self-signed; {PUBLIC}");
        }
        format!(
            "its certificate, or one of its chain, is not correctly signed by the issuer that it names ({}); \
             let the server send the chain that came with the certificate",
            self.last().issuer()
        )
    }

    fn unsupported_signature(&self) -> String {
        if let Some((which, old)) =
            self.first(|one| one.outdated_hash().is_some() && !one.is_self_issued())
        {
            return format!(
                "{which} is signed over {}, which is not accepted; have it issued anew, signed over SHA-256",
                old.outdated_hash().unwrap_or_default()
            );
        }
        let mut above = self.path.iter().skip(1);
        if let Some((issuer, key)) = above.find_map(|one| Some((one, one.unusable_key()?))) {
            return format!(
                "the authority {} has {key}, {}",
                issuer.subject(),
                new_key()
            );
        }
        format!(
            "its certificate {} is signed by an algorithm that is not accepted; have it issued anew, signed by \
             ECDSA or RSA over SHA-256",
            self.leaf().subject()
        )
    }

    fn unknown_extension(&self) -> Option<String> {
        let (which, found) = self.first(|one| one.unknown_critical_extension().is_some())?;
        Some(format!(
            "{which} has an extension that we do not know ({}) and that is marked critical; issue it without",
            found.unknown_critical_extension().unwrap_or_default()
        ))
    }

    fn wrong_name(&self, expected: &ServerName<'_>, presented: &[String]) -> String {
        let leaf = self.leaf();
        let host = expected.to_str();
        let is_address = matches!(expected, ServerName::IpAddress(_));
        let remedy =
            "serve one that has the host of the endpoint's URL among its names (subjectAltName)";
        if is_address && leaf.has_dns_name(&host) {
            return "its certificate has this address as a DNS name, where no client looks for it; it has to \
                    stand among its subjectAltName as an IP address (\"IP:\", not \"DNS:\")"
                .to_owned();
        }
        if !leaf.has_alternative_names() {
            let in_common_name = match leaf.has_common_name(&host) {
                true => " (the host stands in its common name, where clients no longer look)",
                false => "",
            };
            return format!(
                "its certificate is for no host name at all: it has no subjectAltName{in_common_name}; {remedy}"
            );
        }
        let hosts = names(presented);
        let hint = match () {
            () if is_address => "; set the URL to one of its host names",
            () if misses_by_a_label(&host, presented) => {
                "; the \"*\" of a name stands for exactly one label"
            }
            () => "",
        };
        format!("its certificate is not valid for this host name, but for {hosts}{hint}; {remedy}")
    }
}

fn expired(which: &str, certificate: &Certificate<'_>, own: bool) -> String {
    let at = moment(certificate.not_after());
    let remedy = match own {
        true => "renew it, and see that the server loads the new one",
        false => "let the server send the one that the authority issues by today",
    };
    format!("{which} expired at {at}; {remedy}")
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// The first host names of a certificate, which its owner chose: few, short and printable. IP
/// addresses are left out: they could be internal ones.
fn names(presented: &[String]) -> String {
    let hosts: Vec<String> = presented
        .iter()
        .filter_map(|name| host_name(name))
        .collect();
    if hosts.is_empty() {
        return "no host name at all".to_owned();
    }
    let mut shown = hosts[..hosts.len().min(NAMES_MAX)].to_vec();
    if hosts.len() > NAMES_MAX {
        shown.push(format!("{} more", hosts.len() - NAMES_MAX));
    }
    shown.join(", ")
}

/// webpki writes `DnsName("example.com")`; the customer knows `example.com`.
fn host_name(presented: &str) -> Option<String> {
    if presented.starts_with("IpAddress") {
        return None;
    }
    let inner = presented.split('"').nth(1).unwrap_or(presented);
    let printable = inner.chars().filter(char::is_ascii_graphic);
    let name: String = printable.filter(|c| *c != '`').take(253).collect();
    (harmless(&name) != "(an address)").then_some(name)
}

/// Whether a name with a `*` would have been right for a host with one label more or less.
fn misses_by_a_label(host: &str, presented: &[String]) -> bool {
    let names = presented.iter().filter_map(|name| host_name(name));
    let mut domains = names.filter_map(|name| name.strip_prefix("*.").map(str::to_owned));
    domains.any(|domain| {
        host == domain
            || host
                .strip_suffix(&domain)
                .is_some_and(|left| left.ends_with('.'))
    })
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
        let misplaced = "DnsName(\"10.0.0.7\")".to_owned();
        let host = "DnsName(\"a.example\")".to_owned();
        assert_eq!(
            names(&[address.clone(), misplaced.clone(), host]),
            "a.example"
        );
        assert_eq!(names(&[address, misplaced]), "no host name at all");
        assert_eq!(names(&[]), "no host name at all");
    }

    #[test]
    fn a_star_stands_for_one_label() {
        for (host, name, by_a_label) in [
            ("a.b.example", "*.example", true),
            ("example", "*.example", true),
            ("a.b.example", "*.other", false),
            ("notexample", "*.example", false),
            ("a.example", "b.example", false),
        ] {
            let presented = [format!("DnsName(\"{name}\")")];
            assert_eq!(
                misses_by_a_label(host, &presented),
                by_a_label,
                "{host} {name}"
            );
        }
    }
}
