//! Hides which names are names of hosts on the Internet, and which belong to a private network or
//! to nobody.

/// What is wrong with the spelling of `name` (ASCII, lower case), as the end of a sentence that
/// begins with "the host name"; `None` where it is a well-formed name.
pub(crate) fn misspelling(name: &str) -> Option<&'static str> {
    if name.len() > 253 {
        return Some("is longer than 253 characters");
    }
    if name.ends_with('.') {
        return Some("ends in a dot; leave the dot out");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Some("has two dots in a row, or begins with one");
        }
        if label.len() > 63 {
            return Some("has a part longer than 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Some("has a part that begins or ends with a hyphen");
        }
        let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !label.bytes().all(ordinary) {
            return Some("may hold only letters, digits, hyphens and dots");
        }
    }
    None
}

/// Why `name` is not the name of a host on the Internet, as the end of a sentence that begins with
/// "the host name"; `None` where it may be one.
pub(crate) fn reserved(name: &str) -> Option<String> {
    let Some((_, top)) = name.rsplit_once('.') else {
        return match row(name) {
            Some(what) => Some(format!("is {what}")),
            None => Some("has only one part; write the full name, with its domain".to_owned()),
        };
    };
    row(top).map(|what| format!("ends in \".{top}\", {what}"))
}

fn row(top: &str) -> Option<&'static str> {
    RESERVED_TOP_LEVEL
        .iter()
        .find(|(name, _)| *name == top)
        .map(|(_, what)| *what)
}

const SPECIAL: &str = "a special-use name (IANA registry, RFC 6761)";
const PRIVATE: &str = "a name used on private networks only (RFC 6762, ICANN)";

/// Top-level names that never belong to a public host. Sources: the IANA Special-Use Domain Names
/// registry (its second-level rows are ordinary zones that anybody can resolve); RFC 6762
/// appendix G; ICANN's resolutions on `.corp`, `.home`, `.mail` (2018) and `.internal` (2024); and
/// the names routers and orchestrators make up.
const RESERVED_TOP_LEVEL: &[(&str, &str)] = &[
    ("alt", SPECIAL),
    ("arpa", SPECIAL),
    ("example", SPECIAL),
    ("invalid", SPECIAL),
    ("local", SPECIAL),
    ("localhost", SPECIAL),
    ("onion", SPECIAL),
    ("test", SPECIAL),
    ("corp", PRIVATE),
    ("home", PRIVATE),
    ("internal", PRIVATE),
    ("intranet", PRIVATE),
    ("lan", PRIVATE),
    ("localdomain", PRIVATE),
    ("mail", PRIVATE),
    ("private", PRIVATE),
    ("workgroup", PRIVATE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_no_public_host_are_told_apart_from_ordinary_ones() {
        for name in [
            "localhost",
            "foo.localhost",
            "receiver.test",
            "printer.local",
            "a.b.internal",
            "metadata.google.internal",
            "nas.home.arpa",
            "1.0.0.127.in-addr.arpa",
            "x.onion",
            "receiver",
            "gitlab.corp",
            "box.lan",
            "host.localdomain",
            "a.example",
            "a.invalid",
        ] {
            assert!(reserved(name).is_some(), "{name}");
        }
        for name in [
            "example.com",
            "hooks.example.com",
            "test.example.org",
            "local.dev",
            "x.co",
        ] {
            assert_eq!(reserved(name), None, "{name}");
        }
    }

    #[test]
    fn a_misspelt_name_is_refused_with_what_is_wrong() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = format!("{}com", "a.".repeat(126));
        for (name, part) in [
            ("example.com.", "dot"),
            ("a..com", "two dots"),
            (".com", "begins with one"),
            ("-a.com", "hyphen"),
            ("a-.com", "hyphen"),
            ("a*b.com", "only letters"),
            (long_label.as_str(), "63"),
            (long_name.as_str(), "253"),
        ] {
            assert!(
                misspelling(name).is_some_and(|what| what.contains(part)),
                "{name}"
            );
        }
        let longest = format!("{}com", "a.".repeat(125));
        assert_eq!(longest.len(), 253);
        for name in ["a_b.example.com", "xn--bcher-kva.example", longest.as_str()] {
            assert_eq!(misspelling(name), None, "{name}");
        }
    }
}
