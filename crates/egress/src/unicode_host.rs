//! Hides how a host name in Unicode and its encoded form (`xn--`) belong together.
//!
//! A name is encoded by UTS 46, as browsers do it (the `url` crate). Only the encoded form is vetted,
//! looked up and connected to; the Unicode form is for people. Where one is shown, the other
//! stands beside it, since two names that look alike differ in the encoded form.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use url::Host;

/// A URL whose host is a name beyond ASCII, in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlForms {
    /// With the host encoded: what is connected to.
    pub encoded: String,
    /// With the host in Unicode.
    pub unicode: String,
    /// The form of the host that the URL itself does not have.
    pub other_host: String,
}

impl UrlForms {
    /// The forms of a URL that was accepted, or of its beginning. None where the host has one form
    /// only.
    pub fn of(url: &str) -> Option<Self> {
        let start = url.find("://")? + 3;
        let rest = &url[start..];
        let host = &rest[..rest.find(['/', '?', ':']).unwrap_or(rest.len())];
        if host.is_ascii() && !has_encoded_label(host) {
            return None;
        }
        let Ok(Host::Domain(name)) = Host::parse(host) else {
            return None;
        };
        let unicode = decoded(&name)?;
        let with = |other: &str| {
            let end = start + host.len();
            [&url[..start], other, &url[end..]].concat()
        };
        Some(Self {
            encoded: with(&name),
            unicode: with(&unicode),
            other_host: if host.is_ascii() { unicode } else { name },
        })
    }
}

/// Whether a label of `host` claims to be an encoded one.
pub(crate) fn has_encoded_label(host: &str) -> bool {
    host.split('.').any(|label| {
        let start = label.get(..4);
        start.is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
    })
}

/// The Unicode form of `name`, which is encoded; `None` where it has no other form.
pub(crate) fn decoded(name: &str) -> Option<String> {
    if !has_encoded_label(name) {
        return None;
    }
    let (unicode, valid) = idna::domain_to_unicode(name);
    (valid.is_ok() && unicode != name).then_some(unicode)
}

/// Whether `written` is the name that is encoded as `name`, as people write it: each label in Unicode
/// or encoded, in any case, its accents composed or not.
///
/// UTS 46 also maps what only looks like a name to one (full-width letters, other full stops, soft
/// hyphens, ligatures); that is no plain spelling.
pub(crate) fn is_plain_spelling(written: &str, name: &str) -> bool {
    if written.is_ascii() {
        return written.eq_ignore_ascii_case(name);
    }
    let Some(unicode) = decoded(name) else {
        return false;
    };
    written.split('.').count() == name.split('.').count()
        && written
            .split('.')
            .zip(name.split('.').zip(unicode.split('.')))
            .all(|(written, (encoded, unicode))| is_plain_label(written, encoded, unicode))
}

fn is_plain_label(written: &str, encoded: &str, unicode: &str) -> bool {
    // By the single letter: a capital sigma at a word's end is `σ` in UTS 46.
    let lower: String = written.chars().flat_map(char::to_lowercase).collect();
    written.eq_ignore_ascii_case(encoded)
        || composed(written) == unicode
        || composed(&lower) == unicode
}

/// The normal form C of `text`.
fn composed(text: &str) -> Cow<'_, str> {
    const { ComposingNormalizerBorrowed::new_nfc() }.normalize(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_two_forms_where_its_host_is_beyond_ascii() {
        for (url, encoded, unicode, other_host) in [
            (
                "https://münchen.de/hook?a=b",
                "https://xn--mnchen-3ya.de/hook?a=b",
                "https://münchen.de/hook?a=b",
                "xn--mnchen-3ya.de",
            ),
            (
                "https://xn--mnchen-3ya.de:8443/xn--a",
                "https://xn--mnchen-3ya.de:8443/xn--a",
                "https://münchen.de:8443/xn--a",
                "münchen.de",
            ),
            // As the audit log keeps it.
            (
                "https://пример.рф/hook?…",
                "https://xn--e1afmkfd.xn--p1ai/hook?…",
                "https://пример.рф/hook?…",
                "xn--e1afmkfd.xn--p1ai",
            ),
            // Cyrillic letters that look like "apple".
            (
                "https://xn--80ak6aa92e.com/",
                "https://xn--80ak6aa92e.com/",
                "https://аррӏе.com/",
                "аррӏе.com",
            ),
        ] {
            let forms = UrlForms {
                encoded: encoded.into(),
                unicode: unicode.into(),
                other_host: other_host.into(),
            };
            assert_eq!(UrlForms::of(url), Some(forms), "{url}");
        }
        for url in [
            "",
            "münchen.de",
            "https://example.com/münchen.de",
            "https://axn--b.example.com/",
            "https://xn--a/",
            "https://[2a00:1450::1]/xn--mnchen-3ya.de",
            "https://8.8.8.8/",
            "https://１２７.0.0.1/",
        ] {
            assert_eq!(UrlForms::of(url), None, "{url}");
        }
    }

    #[test]
    fn a_plain_spelling_differs_by_case_and_composition_only() {
        for (written, name, plain) in [
            ("EXAMPLE.com", "example.com", true),
            ("example.org", "example.com", false),
            ("MÜNCHEN.de", "xn--mnchen-3ya.de", true),
            ("mu\u{308}nchen.de", "xn--mnchen-3ya.de", true),
            ("MU\u{308}NCHEN.de", "xn--mnchen-3ya.de", true),
            ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de", true),
            ("xn--mnchen-3ya.рф", "xn--mnchen-3ya.xn--p1ai", true),
            ("ΟΔΟΣ.gr", "xn--pxavbq.gr", true),
            ("münchen。de", "xn--mnchen-3ya.de", false),
            ("münchen.ｄｅ", "xn--mnchen-3ya.de", false),
            ("mün\u{ad}chen.de", "xn--mnchen-3ya.de", false),
            ("ｅxample.com", "example.com", false),
        ] {
            assert_eq!(is_plain_spelling(written, name), plain, "{written}");
        }
    }
}
