//! Hides the rules about URLs once more: as a simple reader would apply them to the text, and as a receiver
//! would see them kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use egress::{Connections, Policy, ReceiverUrl, Request, Transport, URL_MAX, UrlForms, address};
use http::HeaderMap;
use model::attempt::Reason;
use tokio::time::Instant;
use url::{Host, Url};

use crate::choices::Choices;
use crate::network::{BODY, End, Outside, Script, Seen, find};

/// Where every name leads: to a public address.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14));

/// What operators may have allowed: ranges, and plain HTTP.
const POLICIES: [(&[&str], bool); 6] = [
    (&[], false),
    (&[], true),
    (&["127.0.0.0/8"], true),
    (&["127.0.0.0/8", "::1/128"], false),
    (&["10.0.0.0/8", "fd00::/8"], false),
    (&["::ffff:192.168.0.0/112"], true),
];

static OUTSIDE: LazyLock<Vec<Mutex<Outside>>> = LazyLock::new(|| {
    let policy = |(allow, allow_http): &(&[&str], bool)| Policy {
        allow: allow.iter().map(|net| net.parse().expect(net)).collect(),
        allow_http: *allow_http,
    };
    let outside = |rules| Mutex::new(Outside::new(policy(rules)));
    POLICIES.iter().map(outside).collect()
});

pub(super) fn target(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    let outside = choices.one_of(&OUTSIDE);
    let outside = outside.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(text) = std::str::from_utf8(choices.rest()) else {
        return;
    };
    let policy = &outside.policy;
    let url = match ReceiverUrl::parse(text, policy) {
        Ok(url) => url,
        Err(problem) => {
            let sentence = problem.sentence;
            assert!(
                sentence.len() > 15 && sentence.ends_with('.'),
                "{sentence:?}"
            );
            return;
        }
    };
    let normal = check_normal_form(&url, policy);
    check_kept_form(&url, policy);
    check_as_written(text, &normal);
    let host = check_host(&normal, policy);
    check_what_is_sent(&outside, &url, &normal, &host);
}

/// The normal form is one that another parser reads alike, and that is accepted as itself.
fn check_normal_form(url: &ReceiverUrl, policy: &Policy) -> Url {
    let text = url.as_str();
    let again = ReceiverUrl::parse(text, policy).expect("an accepted URL is accepted again");
    assert!(
        again == *url && again.as_str() == text,
        "another one: {text:?}"
    );
    assert!(text.len() <= URL_MAX && text.is_ascii(), "{text:?}");
    let normal = Url::parse(text).expect("an accepted URL is one");
    assert_eq!(normal.as_str(), text);
    assert!(normal.scheme() == "https" || (normal.scheme() == "http" && policy.allow_http));
    assert!(normal.username().is_empty() && normal.password().is_none());
    assert_eq!(normal.fragment(), None);
    assert_eq!(normal.port_or_known_default(), Some(url.port()));
    // SSH, mail, and the port that is none.
    assert!(![0, 22, 25, 465, 587].contains(&url.port()));
    normal
}

/// What is kept and shown is the same URL, with the host in Unicode where it was written so.
fn check_kept_form(url: &ReceiverUrl, policy: &Policy) {
    let kept = url.as_written();
    let again = ReceiverUrl::parse(kept, policy).expect("what is kept is accepted again");
    assert!(
        again == *url && again.as_written() == kept && kept.len() <= URL_MAX,
        "another one: {kept:?}"
    );
    let forms = UrlForms::of(kept);
    let encoded = forms.as_ref().map_or(kept, |forms| &forms.encoded);
    assert_eq!(encoded, url.as_str(), "the form that is sent to");
    if let Some(forms) = &forms {
        let unicode = UrlForms::of(&forms.unicode).expect("it has the same forms");
        assert_eq!(unicode.encoded, forms.encoded);
        assert!(!forms.unicode.chars().any(char::is_control));
    }
}

/// Whoever reads the text with nothing but a few splits finds the same host and port.
fn check_as_written(text: &str, normal: &Url) {
    let (scheme, rest) = text.split_once("://").expect("it has a scheme");
    assert!(scheme.eq_ignore_ascii_case(normal.scheme()), "{text:?}");
    assert!(!text.contains(['#', '\\', ' ']), "{text:?}");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    assert!(!authority.contains('@'), "{text:?}");
    let (host, port) = match authority.rsplit_once(']') {
        Some((host, port)) => (format!("{host}]"), port),
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            (authority[..end].to_owned(), &authority[end..])
        }
    };
    let same = match normal.host().expect("it has a host") {
        Host::Domain(name) => is_same_name(&host, name),
        Host::Ipv4(address) => host == address.to_string(),
        Host::Ipv6(address) => {
            let inside = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            inside.and_then(|text| text.parse().ok()) == Some(address)
        }
    };
    assert!(same, "another host: {text:?}");
    let port = match port {
        "" | ":" => None,
        port => Some(port[1..].parse().expect("a port is a number")),
    };
    let default = if normal.scheme() == "https" { 443 } else { 80 };
    assert_eq!(
        normal.port_or_known_default(),
        Some(port.unwrap_or(default)),
        "{text:?}"
    );
}

/// Whether a name as written is this one, label by label: what is not ASCII never becomes ASCII.
fn is_same_name(written: &str, name: &str) -> bool {
    let same = |(written, label): (&str, &str)| match written.is_ascii() {
        true => written.eq_ignore_ascii_case(label),
        false => label.starts_with("xn--"),
    };
    written.split('.').count() == name.split('.').count()
        && written.split('.').zip(name.split('.')).all(same)
}

/// A literal address is one that may be reached; a name is one.
fn check_host(normal: &Url, policy: &Policy) -> Host<String> {
    let host = normal.host().expect("it has a host").to_owned();
    let literal = match &host {
        Host::Ipv4(address) => IpAddr::V4(*address),
        Host::Ipv6(address) => IpAddr::V6(*address),
        Host::Domain(name) => {
            assert!(name.len() <= 253 && !name.ends_with('.'), "{name:?}");
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            assert!(name.chars().all(fine), "{name:?}");
            assert!(name.parse::<IpAddr>().is_err(), "{name:?}");
            assert!(!is_reserved(name) || !policy.allow.is_empty(), "{name:?}");
            return host;
        }
    };
    assert!(
        policy.allows(literal) || address::refusal(literal).is_none(),
        "{literal}"
    );
    host
}

/// Names that lead to no public host.
fn is_reserved(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    const SOME: [&str; 6] = ["localhost", "local", "internal", "arpa", "test", "lan"];
    !name.contains('.') || SOME.contains(&last)
}

/// What is looked up, connected to and named to the receiver is that host, and nothing else is.
fn check_what_is_sent(outside: &Outside, url: &ReceiverUrl, normal: &Url, host: &Host<String>) {
    let script = Script {
        end: End::Close,
        ..Script::default()
    };
    let (reason, seen) = outside.run(&[PUBLIC], [script], async |egress| {
        let request = Request {
            url,
            headers: &HeaderMap::new,
            body: Bytes::from_static(BODY),
            deadline: Instant::now() + Duration::from_secs(10),
        };
        let exchange = egress.exchange(&Connections::default(), request).await;
        exchange.result.expect_err("nobody answers").reason
    });
    let port = url.port();
    match host {
        Host::Ipv4(_) | Host::Ipv6(_) => {
            let address = match host {
                Host::Ipv6(address) => IpAddr::V6(*address),
                Host::Ipv4(address) => IpAddr::V4(*address),
                Host::Domain(_) => unreachable!("it is an address"),
            };
            assert!(seen.names.is_empty(), "{seen:?}");
            assert_eq!(seen.dialed, [SocketAddr::new(address, port)]);
        }
        Host::Domain(name) if name == "localhost" || name.ends_with(".localhost") => {
            assert!(seen.names.is_empty(), "{seen:?}");
            let loopback = [Ipv4Addr::LOCALHOST.into(), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            for address in &seen.dialed {
                let ip = address.ip();
                assert!(loopback.contains(&ip) && outside.policy.allows(ip), "{ip}");
                assert_eq!(address.port(), port);
            }
        }
        Host::Domain(name) => {
            assert_eq!(seen.names, [name.as_str()]);
            if !is_reserved(name) && reason != Reason::BlockedAddress {
                assert_eq!(seen.dialed, [SocketAddr::new(PUBLIC, port)]);
            } else {
                // A name for private use leads nowhere else.
                assert!(seen.dialed.is_empty(), "{name:?}");
                assert_eq!(reason, Reason::BlockedAddress);
                assert!(!outside.policy.allow.is_empty(), "{name:?}");
            }
        }
    }
    if !seen.dialed.is_empty() {
        match normal.scheme() {
            "https" => check_hello(&seen, host),
            _ => check_request(&seen, normal),
        }
    }
}

/// SNI names the host; an address is never named there (RFC 6066, section 3).
fn check_hello(seen: &Seen, host: &Host<String>) {
    let expected = match host {
        Host::Domain(name) => Some(name.as_bytes()),
        _ => None,
    };
    assert_eq!(server_name(&seen.written), expected, "{seen:?}");
    assert_eq!(
        find(&seen.written, b"POST"),
        None,
        "nothing is sent in clear"
    );
}

/// The name in a ClientHello (RFC 8446, section 4.1.2).
fn server_name(record: &[u8]) -> Option<&[u8]> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let mut at = 5 + 4 + 2 + 32; // record, handshake, version, random
    for size in [1, 2, 1] {
        at += size + number(record.get(at..at + size)?); // session, ciphers, compression
    }
    at += 2;
    while let Some(head) = record.get(at..at + 4) {
        let (kind, length) = (number(&head[..2]), number(&head[2..]));
        if kind == 0 {
            return record.get(at + 4 + 5..at + 4 + length);
        }
        at += 4 + length;
    }
    None
}

/// The request line and `Host` are the URL's, each once.
fn check_request(seen: &Seen, normal: &Url) {
    let end = find(&seen.written, b"\r\n\r\n").expect("a request has a head");
    let head = std::str::from_utf8(&seen.written[..end]).expect("a request is text");
    let mut lines = head.split("\r\n");
    let query = normal
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let expected = format!("POST {}{query} HTTP/1.1", normal.path());
    assert_eq!(lines.next(), Some(expected.as_str()));
    let hosts = lines.filter_map(|line| {
        let (name, value) = line
            .split_once(": ")
            .expect("a header is a name and a value");
        name.eq_ignore_ascii_case("host").then_some(value)
    });
    let port = normal
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let expected = format!("{}{port}", normal.host_str().unwrap_or_default());
    assert_eq!(hosts.collect::<Vec<_>>(), [expected]);
}
