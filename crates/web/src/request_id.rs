//! Names a request: the id that its response carries in `X-Request-Id` and that the log has beside its line.
//!
//! A client, or a proxy before us, may bring the id; else one is made. It is no secret and proves nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// How long an id that the client brings may be, in bytes.
const LENGTH_MAX: usize = 128;

/// A request's id: 1 to [`LENGTH_MAX`] characters of `A-Za-z0-9-_.`, safe in a header and in a log line.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

/// Makes ids that no other process makes: a random number of this process's, and a counter.
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of a new process.
    pub(crate) fn new() -> Self {
        // Without random bytes the time tells processes apart well enough: nothing depends on it.
        let process = getrandom::u64().unwrap_or_else(|_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |since| since.as_nanos() as u64)
        });
        Self {
            process,
            next: AtomicU64::new(1),
        }
    }

    /// The id that the request brings, where it brings one that is well formed; else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> RequestId {
        if let Some(value) = headers.get(NAME)
            && is_well_formed(value.as_bytes())
        {
            return RequestId(value.clone());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}-{number:08x}", self.process);
        RequestId(HeaderValue::try_from(text).expect("hex digits and a hyphen are visible ASCII"))
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    let ordinary = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=LENGTH_MAX).contains(&id.len()) && id.iter().all(ordinary)
}

impl RequestId {
    /// The id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Writes it into the response.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(NAME, self.0.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        let of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(NAME, HeaderValue::from_bytes(value).unwrap());
            ids.of(&headers).as_str().to_owned()
        };
        let longest = "a".repeat(LENGTH_MAX);
        for kept in [
            "a",
            "0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34",
            "A_b.9",
            &longest,
        ] {
            assert_eq!(of(kept.as_bytes()), kept);
        }
        let too_long = "a".repeat(LENGTH_MAX + 1);
        for replaced in [
            &b""[..],
            b"a b",
            b"a\"b",
            b"a\xffb",
            b"<a>",
            too_long.as_bytes(),
        ] {
            let made = of(replaced);
            assert_ne!(made.as_bytes(), replaced);
            assert!(is_well_formed(made.as_bytes()), "{made}");
        }
        let (one, other) = (ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
        assert_ne!(one.as_str(), other.as_str());
    }
}
