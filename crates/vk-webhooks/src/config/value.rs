//! Hides how the text of a setting is read.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

/// `500ms`, `10s`, `5m`, `2h`, `1d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..end].parse().ok()?;
    let unit_ms = match &text[end..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// An IP address or a host name, and a port; of several addresses of a name the first.
pub(super) fn listening_address(text: &str) -> Option<SocketAddr> {
    let (host, _) = text.rsplit_once(':')?;
    if host.is_empty() {
        return None;
    }
    text.to_socket_addrs().ok()?.next()
}

/// Scheme and authority of a URL, in lower case, without a slash at the end.
pub(super) fn origin(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let bare = uri.path() == "/" && uri.query().is_none() && !text.contains(['#', '@']);
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let authority = uri.authority()?.as_str().to_ascii_lowercase();
    let known = matches!(scheme.as_str(), "http" | "https");
    (bare && known && !authority.is_empty()).then(|| format!("{scheme}://{authority}"))
}

/// A range of addresses; a single address is a range of one.
pub(super) fn addresses(text: &str) -> Option<IpNet> {
    let range = text.parse().ok();
    range.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

pub(super) fn log_filter(text: &str) -> Option<String> {
    let sound = !text.is_empty() && EnvFilter::try_new(text).is_ok();
    // A bare word that is no level would be taken for the name of a module.
    let level = |word: &str| {
        word.contains('=')
            || ["error", "warn", "info", "debug", "trace", "off"].contains(&word.trim())
    };
    (sound && text.split(',').all(level)).then(|| text.to_owned())
}

pub(super) fn header_prefix(text: &str) -> Option<String> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let name = format!("{text}-Signature-Next");
    let sound = plain
        && (1..=64).contains(&text.len())
        && !text.ends_with('-')
        && HeaderName::try_from(name).is_ok();
    sound.then(|| text.to_owned())
}

pub(super) fn user_agent(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let sound = plain && (1..=200).contains(&text.len()) && HeaderValue::try_from(text).is_ok();
    sound.then(|| text.to_owned())
}

/// The file that a database URL names; the sentence says what is wrong with it.
pub(super) fn sqlite_path(url: &str) -> Result<PathBuf, String> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // The URL may hold a password, so it is not repeated.
        return Err(
            "PostgreSQL is not available in this build; use sqlite: and the path of a file, such \
             as sqlite:vk-webhooks.db"
                .into(),
        );
    }
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let scheme = url
            .split_once(':')
            .map_or("no scheme", |(scheme, _)| scheme);
        return Err(format!(
            "the URL has to be sqlite: and the path of a file, such as sqlite:vk-webhooks.db; it \
             has {scheme}"
        ));
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    match path {
        "" => Err("the path of the file is missing after sqlite:".into()),
        ":memory:" => Err(
            "a database in memory would lose everything at the end; name a file, such as \
             sqlite:vk-webhooks.db"
                .into(),
        ),
        path if path.contains('?') => Err(
            "the path has a question mark; parameters are not supported, nothing may follow the \
             path"
                .into(),
        ),
        path => Ok(PathBuf::from(path)),
    }
}
