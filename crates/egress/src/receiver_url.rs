//! Hides how the text of a URL becomes the one form that is ever used, and every rule about it
//! that needs no name server.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use url::Url;

use crate::address;
use crate::host_name;
use crate::policy::Policy;
use crate::unicode_host::{UrlForms, decoded, has_encoded_label, is_plain_spelling};

/// The longest URL, as written and in its normal form, in bytes.
pub const URL_MAX: usize = 2048;

/// A URL that deliveries may be sent to: parsed once, and only this form is ever used.
///
/// Cheap to clone. Holding one proves that the rules were applied; what its host name resolves to
/// is looked at for every connection.
///
/// Two are equal where the same is sent to, whichever form of the host's name they were written in.
#[derive(Clone)]
pub struct ReceiverUrl(Arc<Parts>);

struct Parts {
    normal: Url,
    /// With the host in Unicode, where it was written so.
    unicode: Option<String>,
    host: Host,
    port: u16,
    encrypted: bool,
    target: Uri,
    authority: HeaderValue,
    server_name: ServerName<'static>,
}

/// The host of a [`ReceiverUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name {
        name: String,
        /// Whether the name belongs to no host on the Internet, so that it is fine only where all
        /// it resolves to is in a range that the operator has allowed.
        reserved: bool,
    },
    Address(IpAddr),
}

/// Why a URL may not receive deliveries; displays as a sentence that says which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct UrlProblem {
    /// The sentence, for the customer.
    pub sentence: String,
}

impl UrlProblem {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
        }
    }
}

impl ReceiverUrl {
    /// Parses and checks what can be checked without resolving a name.
    ///
    /// # Errors
    /// The sentence says which rule the URL breaks, and what to do about it.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, UrlProblem> {
        let written_host = check_as_written(text, policy)?;
        let normal = Url::parse(text).map_err(|error| unparsable(error, written_host))?;
        if normal.as_str().len() > URL_MAX {
            return Err(too_long());
        }
        let host = check_host(&normal, written_host, policy)?;
        let unicode = match written_host.is_ascii() {
            true => None,
            false => UrlForms::of(normal.as_str()).map(|forms| forms.unicode),
        };
        if unicode.as_ref().is_some_and(|url| url.len() > URL_MAX) {
            return Err(too_long());
        }
        let port = check_port(&normal)?;
        let no_target =
            || UrlProblem::new("The URL's path or query has a character that cannot be sent.");
        let path_and_query = &normal[url::Position::BeforePath..url::Position::AfterQuery];
        let target: Uri = path_and_query.parse().map_err(|_| no_target())?;
        let authority = &normal[url::Position::BeforeHost..url::Position::AfterPort];
        let authority = HeaderValue::from_str(authority).map_err(|_| no_target())?;
        let server_name = match &host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name { name, .. } => ServerName::try_from(name.clone())
                .map_err(|_| UrlProblem::new("The URL's host name is not a valid host name."))?,
        };
        Ok(Self(Arc::new(Parts {
            encrypted: normal.scheme() == "https",
            normal,
            unicode,
            host,
            port,
            target,
            authority,
            server_name,
        })))
    }

    /// The URL in its normal form, a host name encoded: what is sent to.
    pub fn as_str(&self) -> &str {
        self.0.normal.as_str()
    }

    /// The URL in its normal form, the host name in Unicode where it was written so: what is kept and
    /// shown. Parsed again it is the same URL.
    pub fn as_written(&self) -> &str {
        self.0.unicode.as_deref().unwrap_or(self.as_str())
    }

    /// The host as it is named in sentences: a name in each form that it has, or an address without
    /// brackets.
    pub fn host(&self) -> HostText<'_> {
        HostText(&self.0.host)
    }

    /// The port that is connected to.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub(crate) fn host_kind(&self) -> &Host {
        &self.0.host
    }

    /// Whether the exchange is under TLS (`https:`).
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.encrypted
    }

    /// The request's target in origin form (RFC 9112, section 3.2.1).
    pub(crate) fn target(&self) -> &Uri {
        &self.0.target
    }

    /// The value of `Host`.
    pub(crate) fn authority(&self) -> &HeaderValue {
        &self.0.authority
    }

    /// The name that the certificate must be valid for.
    pub(crate) fn server_name(&self) -> &ServerName<'static> {
        &self.0.server_name
    }

    /// Whether a connection made for one of the two serves the other.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        let (ours, theirs) = (&*self.0, &*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || (ours.encrypted == theirs.encrypted
                && ours.port == theirs.port
                && ours.host == theirs.host)
    }
}

impl PartialEq for ReceiverUrl {
    fn eq(&self, other: &Self) -> bool {
        // All other parts are made from it.
        Arc::ptr_eq(&self.0, &other.0) || self.0.normal == other.0.normal
    }
}

impl Eq for ReceiverUrl {}

/// Shows the origin only: a path or query may hold a receiver's secret.
impl fmt::Debug for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ReceiverUrl({})",
            self.0.normal.origin().ascii_serialization()
        )
    }
}

/// A host as text.
#[derive(Clone, Copy, Debug)]
pub struct HostText<'a>(&'a Host);

impl fmt::Display for HostText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Host::Name { name, .. } => match decoded(name) {
                Some(unicode) => write!(f, "{unicode} ({name})"),
                None => f.write_str(name),
            },
            Host::Address(address) => address.fmt(f),
        }
    }
}

/// The rules about the text itself, which the parser would bend instead of refusing. Returns the
/// host as written.
fn check_as_written<'a>(text: &'a str, policy: &Policy) -> Result<&'a str, UrlProblem> {
    if text.is_empty() {
        return Err(UrlProblem::new("The URL is empty."));
    }
    if text.len() > URL_MAX {
        return Err(too_long());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(UrlProblem::new(
            "The URL has a space, a tab, a line break or a control character in it; remove it, or \
             write it percent-encoded.",
        ));
    }
    if text.contains('\\') {
        return Err(UrlProblem::new(
            "The URL has a backslash in it; write \"/\", or %5C where the backslash is meant.",
        ));
    }
    if text.contains('#') {
        return Err(UrlProblem::new(
            "The URL has a fragment (#...), which is never sent to a server; remove it.",
        ));
    }
    let rest = after_scheme(text, policy)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(UrlProblem::new(
            "The URL has a user name or password before \"@\"; remove it and check the signature \
             instead.",
        ));
    }
    let host = match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() {
        return Err(UrlProblem::new("The URL has no host."));
    }
    if host.contains('%') && !host.starts_with('[') {
        return Err(UrlProblem::new(
            "The URL's host is written in an encoded form; write the plain host name.",
        ));
    }
    Ok(host)
}

fn after_scheme<'a>(text: &'a str, policy: &Policy) -> Result<&'a str, UrlProblem> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(UrlProblem::new(
            "The URL must begin with \"https://\", followed by a host.",
        ));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Ok(rest);
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(UrlProblem::new("The URL must begin with \"https://\"."));
    }
    if policy.allow_http {
        return Ok(rest);
    }
    Err(UrlProblem::new(
        "The URL must use https: a delivery is never sent unencrypted.",
    ))
}

fn too_long() -> UrlProblem {
    UrlProblem::new(format!("The URL is longer than {URL_MAX} characters."))
}

/// The sentence for a text that the parser refuses.
fn unparsable(error: url::ParseError, host: &str) -> UrlProblem {
    let what = match error {
        url::ParseError::IdnaError if !host.is_ascii() => format!(
            "its host {host:?} has a character, or an order of characters, that is not allowed in \
             host names (UTS 46)"
        ),
        url::ParseError::IdnaError if has_encoded_label(host) => {
            "its host has a part that begins with \"xn--\" and is not the encoded form of a name"
                .to_owned()
        }
        url::ParseError::IdnaError => {
            format!("its host {host:?} has a character that is not allowed in host names")
        }
        error => error.to_string(),
    };
    UrlProblem::new(format!("The URL is not a valid URL: {what}."))
}

fn check_host(normal: &Url, written: &str, policy: &Policy) -> Result<Host, UrlProblem> {
    match normal.host() {
        None => Err(UrlProblem::new("The URL has no host.")),
        Some(url::Host::Ipv6(address)) => check_address(IpAddr::V6(address), policy),
        Some(url::Host::Ipv4(address)) => {
            if written != address.to_string() {
                return Err(UrlProblem::new(format!(
                    "The URL's host {written:?} is an unusual spelling of the IPv4 address \
                     {address}; write IPv4 addresses as four decimal numbers."
                )));
            }
            check_address(IpAddr::V4(address), policy)
        }
        Some(url::Host::Domain(name)) => check_name(name, written, policy),
    }
}

fn check_address(address: IpAddr, policy: &Policy) -> Result<Host, UrlProblem> {
    if policy.allows(address) {
        return Ok(Host::Address(address));
    }
    match address::refusal(address) {
        None => Ok(Host::Address(address)),
        Some(what) => Err(UrlProblem::new(format!(
            "The URL's address {address} may not be reached: it belongs to {what}. Use a public \
             address."
        ))),
    }
}

fn check_name(name: &str, written: &str, policy: &Policy) -> Result<Host, UrlProblem> {
    if let Some(what) = host_name::misspelling(name) {
        let form = if written.is_ascii() {
            ""
        } else {
            ", in its encoded form,"
        };
        return Err(UrlProblem::new(format!(
            "The URL's host name{form} {what}."
        )));
    }
    let reserved = host_name::reserved(name);
    if let Some(what) = reserved.as_ref().filter(|_| policy.allow.is_empty()) {
        return Err(UrlProblem::new(format!(
            "The URL's host name {what}. Use a host name that is known on the public Internet."
        )));
    }
    if !is_plain_spelling(written, name) {
        let plain = decoded(name);
        let plain = plain.as_deref().unwrap_or(name);
        return Err(UrlProblem::new(format!(
            "The URL's host is an unusual spelling of {plain:?}; write it like that, if that is \
             the host you mean."
        )));
    }
    Ok(Host::Name {
        name: name.to_owned(),
        reserved: reserved.is_some(),
    })
}

fn check_port(normal: &Url) -> Result<u16, UrlProblem> {
    let port = normal
        .port_or_known_default()
        .ok_or_else(|| UrlProblem::new("The URL has no port."))?;
    if port == 0 || BAD_PORTS.binary_search(&port).is_ok() {
        return Err(UrlProblem::new(format!(
            "The URL's port {port} belongs to another protocol than HTTP (the Fetch standard's bad \
             ports) and may not be used; serve the webhook on another port, such as 443."
        )));
    }
    Ok(port)
}

/// The Fetch standard's "bad ports", in order: ports of protocols that an HTTP request could be
/// made to speak to.
const BAD_PORTS: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bad_ports_are_in_order_so_that_they_can_be_searched() {
        assert!(BAD_PORTS.is_sorted());
        for port in BAD_PORTS {
            let url = format!("https://example.com:{port}/");
            assert!(
                ReceiverUrl::parse(&url, &Policy::default()).is_err(),
                "{port}"
            );
        }
    }

    #[test]
    fn the_request_is_derived_from_the_parsed_form() {
        for (text, target, authority, server_name) in [
            ("https://Example.COM", "/", "example.com", "example.com"),
            (
                "https://example.com:443/a/../b?c=d",
                "/b?c=d",
                "example.com",
                "example.com",
            ),
            (
                "https://example.com:8443?x",
                "/?x",
                "example.com:8443",
                "example.com",
            ),
            (
                "https://Hooks.MÜNCHEN.de:8443/ü",
                "/%C3%BC",
                "hooks.xn--mnchen-3ya.de:8443",
                "hooks.xn--mnchen-3ya.de",
            ),
            ("https://8.8.8.8:8443/", "/", "8.8.8.8:8443", "8.8.8.8"),
            (
                "https://[2A00:1450:0::1]/x",
                "/x",
                "[2a00:1450::1]",
                "2a00:1450::1",
            ),
            (
                "https://example.com/ü|{}^[x]",
                "/%C3%BC|%7B%7D^[x]",
                "example.com",
                "example.com",
            ),
        ] {
            let url = ReceiverUrl::parse(text, &Policy::default()).unwrap();
            assert_eq!(url.target().to_string(), target, "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.server_name().to_str(), server_name, "{text}");
        }
    }

    #[test]
    fn debug_output_shows_no_path_and_no_query() {
        let url = ReceiverUrl::parse("https://example.com/s3cret?k=v", &Policy::default()).unwrap();
        let shown = format!("{url:?}");
        assert!(
            shown.contains("example.com") && !shown.contains("s3cret") && !shown.contains("k=v")
        );
    }
}
