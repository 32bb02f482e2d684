//! Which URLs may receive deliveries: a table of notations, and the edges of every address range.

// What a test calls fails by panicking, too; clippy exempts only the test functions themselves.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use proptest::prelude::*;
use vk_egress::{Policy, ReceiverUrl, URL_MAX};

fn strict(text: &str) -> Result<ReceiverUrl, String> {
    ReceiverUrl::parse(text, &Policy::default()).map_err(|problem| problem.sentence)
}

/// Accepted URLs and their normal forms.
const ACCEPTED: &[(&str, &str)] = &[
    ("https://example.com", "https://example.com/"),
    ("https://example.com/", "https://example.com/"),
    ("HTTPS://EXAMPLE.com/Hook", "https://example.com/Hook"),
    ("https://example.com:443/", "https://example.com/"),
    ("https://example.com:/", "https://example.com/"),
    ("https://example.com:8443/", "https://example.com:8443/"),
    ("https://example.com:80/", "https://example.com:80/"),
    ("https://example.com:0443/", "https://example.com/"),
    ("https://example.com:65535/", "https://example.com:65535/"),
    (
        "https://hooks.eu-west-1.example.com/a/b",
        "https://hooks.eu-west-1.example.com/a/b",
    ),
    ("https://a_b.example.com/", "https://a_b.example.com/"),
    ("https://xn--bcher-kva.com/", "https://xn--bcher-kva.com/"),
    (
        "https://localhost.example.com/",
        "https://localhost.example.com/",
    ),
    (
        "https://127.0.0.1.example.com/",
        "https://127.0.0.1.example.com/",
    ),
    ("https://1e100.net/", "https://1e100.net/"),
    ("https://3com.com/", "https://3com.com/"),
    ("https://0x7f.example.com/", "https://0x7f.example.com/"),
    ("https://test.co/", "https://test.co/"),
    ("https://local.host/", "https://local.host/"),
    ("https://internal.company/", "https://internal.company/"),
    ("https://example.com/a/../b/./c", "https://example.com/b/c"),
    ("https://example.com/%2e%2e/x", "https://example.com/x"),
    ("https://example.com//x", "https://example.com//x"),
    ("https://example.com?x=y", "https://example.com/?x=y"),
    (
        "https://example.com/?url=http://127.0.0.1/",
        "https://example.com/?url=http://127.0.0.1/",
    ),
    ("https://example.com/@user", "https://example.com/@user"),
    ("https://example.com/?a@b", "https://example.com/?a@b"),
    ("https://example.com/ü", "https://example.com/%C3%BC"),
    (
        "https://example.com/%20%00%23",
        "https://example.com/%20%00%23",
    ),
    ("https://example.com/%zz", "https://example.com/%zz"),
    (
        "https://example.com/a:b;c,d=e&f+g$h!i*j'k(l)",
        "https://example.com/a:b;c,d=e&f+g$h!i*j'k(l)",
    ),
    ("https://8.8.8.8/", "https://8.8.8.8/"),
    ("https://1.1.1.1:8443/x", "https://1.1.1.1:8443/x"),
    (
        "https://[2a00:1450:4001:82a::200e]/",
        "https://[2a00:1450:4001:82a::200e]/",
    ),
    (
        "https://[2A00:1450:0:0:0:0:0:1]:8443/",
        "https://[2a00:1450::1]:8443/",
    ),
    (
        "https://[2606:4700:4700::1111]/",
        "https://[2606:4700:4700::1111]/",
    ),
    (
        "https://[2a00:1450::8.8.8.8]/",
        "https://[2a00:1450::808:808]/",
    ),
];

/// Refused URLs and a part of the sentence that must say why.
const REFUSED: &[(&str, &str)] = &[
    // Not a URL of ours.
    ("", "empty"),
    ("example.com", "begin with \"https://\""),
    ("//example.com/", "begin with"),
    ("/hook", "begin with"),
    ("https:example.com", "begin with"),
    ("https:/example.com", "begin with"),
    ("https:///example.com/", "no host"),
    ("https://", "no host"),
    ("https:///", "no host"),
    ("https://?x", "no host"),
    ("https://:443/", "no host"),
    ("http://example.com/", "must use https"),
    ("HTTP://example.com/", "must use https"),
    ("ftp://example.com/", "begin with"),
    ("ws://example.com/", "begin with"),
    ("wss://example.com/", "begin with"),
    ("file:///etc/passwd", "begin with"),
    ("gopher://example.com/", "begin with"),
    ("javascript://example.com/%0aalert(1)", "begin with"),
    ("data://example.com/x", "begin with"),
    ("unix://example.com/", "begin with"),
    ("httpss://example.com/", "begin with"),
    ("xhttps://example.com/", "begin with"),
    // User info and fragments.
    ("https://user@example.com/", "user name"),
    ("https://user:secret@example.com/", "user name"),
    ("https://@example.com/", "user name"),
    ("https://:@example.com/", "user name"),
    ("https://example.com@127.0.0.1/", "user name"),
    ("https://example.com:443@127.0.0.1/", "user name"),
    ("https://example.com%40127.0.0.1/", "encoded form"),
    ("https://example.com/#", "fragment"),
    ("https://example.com/#x", "fragment"),
    ("https://example.com#@127.0.0.1/", "fragment"),
    // What a parser would strip or bend in silence.
    (" https://example.com/", "space"),
    ("https://example.com/ ", "space"),
    ("https://example.com/a b", "space"),
    ("https://example.com/\t", "space"),
    ("https://exam\tple.com/", "space"),
    ("https://exam\nple.com/", "space"),
    ("https://exam\rple.com/", "space"),
    ("ht\ntps://example.com/", "space"),
    ("https://example.com/\u{0}", "control"),
    ("https://example.com/\u{7f}", "control"),
    ("https://example.com/\u{85}", "control"),
    ("https://example.com/\u{a0}", "space"),
    ("https://example.com/\u{2028}", "space"),
    ("https://example.com/\u{3000}", "space"),
    ("\u{feff}https://example.com/", "begin with"),
    ("https:\\\\example.com\\", "backslash"),
    ("https://example.com\\@127.0.0.1/", "backslash"),
    ("https://example.com/\\..\\x", "backslash"),
    // Spellings of IPv4 addresses; also of harmless ones.
    ("https://0x7f.1/", "unusual spelling"),
    ("https://0x7f000001/", "unusual spelling"),
    ("https://0X7F.0.0.1/", "unusual spelling"),
    ("https://0x7f.0x0.0x0.0x1/", "unusual spelling"),
    ("https://2130706433/", "unusual spelling"),
    ("https://127.1/", "unusual spelling"),
    ("https://127.0.1/", "unusual spelling"),
    ("https://127/", "unusual spelling"),
    ("https://0/", "unusual spelling"),
    ("https://0177.0.0.1/", "unusual spelling"),
    ("https://017700000001/", "unusual spelling"),
    ("https://127.0.0.01/", "unusual spelling"),
    ("https://127.000.000.001/", "unusual spelling"),
    ("https://127.0.0.0x1/", "unusual spelling"),
    ("https://127.0.0.1./", "unusual spelling"),
    ("https://00.0.0.0/", "unusual spelling"),
    ("https://0x/", "unusual spelling"),
    ("https://8.8.2056/", "unusual spelling"),
    ("https://8.526344/", "unusual spelling"),
    ("https://134744072/", "unusual spelling"),
    ("https://0x08080808/", "unusual spelling"),
    ("https://08.8.8.8/", "not a valid URL"),
    ("https://8.8.8.8./", "unusual spelling"),
    ("https://256.0.0.1/", "not a valid URL"),
    ("https://1.2.3.4.5/", "not a valid URL"),
    ("https://4294967296/", "not a valid URL"),
    ("https://127.0.0.1.0x/", "not a valid URL"),
    ("https://example.123/", "not a valid URL"),
    ("https://example.0x1/", "not a valid URL"),
    ("https://%31%32%37.0.0.1/", "encoded form"),
    ("https://127%2e0%2e0%2e1/", "encoded form"),
    ("https://１２７.0.0.1/", "unusual spelling"),
    ("https://127。0。0。1/", "unusual spelling"),
    ("https://①②⑦.0.0.1/", "unusual spelling"),
    // Plain addresses that may not be reached.
    ("https://127.0.0.1/", "loopback"),
    ("https://127.0.0.1:8443/", "loopback"),
    ("https://127.255.255.254/", "loopback"),
    ("https://0.0.0.0/", "this network"),
    ("https://10.0.0.1/", "RFC 1918"),
    ("https://172.16.0.1/", "RFC 1918"),
    ("https://192.168.0.1/", "RFC 1918"),
    ("https://100.64.0.1/", "RFC 6598"),
    ("https://169.254.169.254/", "metadata"),
    ("https://169.254.169.254/latest/meta-data/", "metadata"),
    ("https://168.63.129.16/", "metadata"),
    ("https://100.100.100.200/", "metadata"),
    ("https://192.0.0.192/", "metadata"),
    ("https://169.254.170.2/", "link-local"),
    ("https://224.0.0.1/", "multicast"),
    ("https://240.0.0.1/", "reserved"),
    ("https://255.255.255.255/", "broadcast"),
    ("https://192.0.0.9/", "IETF"),
    ("https://192.0.0.10/", "IETF"),
    ("https://192.88.99.1/", "6to4"),
    ("https://198.18.0.1/", "benchmarking"),
    // IPv6.
    ("https://[::]/", "unspecified"),
    ("https://[::1]/", "loopback"),
    ("https://[0:0:0:0:0:0:0:1]/", "loopback"),
    (
        "https://[0000:0000:0000:0000:0000:0000:0000:0001]/",
        "loopback",
    ),
    ("https://[::0.0.0.1]/", "loopback"),
    ("https://[::ffff:127.0.0.1]/", "IPv4-mapped"),
    ("https://[::ffff:7f00:1]/", "IPv4-mapped"),
    ("https://[0:0:0:0:0:ffff:127.0.0.1]/", "IPv4-mapped"),
    ("https://[::ffff:8.8.8.8]/", "IPv4-mapped"),
    ("https://[::127.0.0.1]/", "IPv4-compatible"),
    ("https://[::ffff:0:127.0.0.1]/", "IPv4-translated"),
    ("https://[64:ff9b::127.0.0.1]/", "NAT64"),
    ("https://[64:ff9b::7f00:1]/", "NAT64"),
    ("https://[64:ff9b:1::a00:1]/", "NAT64"),
    ("https://[2002:7f00:1::]/", "6to4"),
    ("https://[2002:808:808::1]/", "6to4"),
    ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "Teredo"),
    ("https://[2001:10::1]/", "IETF"),
    ("https://[2001:20::1]/", "IETF"),
    ("https://[2001:db8::1]/", "documentation"),
    ("https://[3fff::1]/", "documentation"),
    ("https://[2a00:1450::5efe:7f00:1]/", "ISATAP"),
    ("https://[2a00:1450::200:5efe:8.8.8.8]/", "ISATAP"),
    ("https://[fe80::1]/", "link-local"),
    ("https://[fe80::5efe:127.0.0.1]/", "link-local"),
    ("https://[fec0::1]/", "site-local"),
    ("https://[fc00::1]/", "RFC 4193"),
    ("https://[fd00::1]/", "RFC 4193"),
    ("https://[fd00:ec2::254]/", "metadata"),
    ("https://[fd20:ce::254]/", "metadata"),
    ("https://[ff02::1]/", "multicast"),
    ("https://[100::1]/", "discard"),
    ("https://[5f00::1]/", "segment routing"),
    ("https://[4000::1]/", "not assigned"),
    ("https://[1::1]/", "not assigned"),
    ("https://[fe80::1%25eth0]/", "not a valid URL"),
    ("https://[fe80::1%eth0]/", "not a valid URL"),
    ("https://[::1/", "not a valid URL"),
    ("https://::1/", "no host"),
    ("https://[]/", "not a valid URL"),
    ("https://[v1.x]/", "not a valid URL"),
    ("https://[::1]x/", "not a valid URL"),
    ("https://[1:2:3]/", "not a valid URL"),
    // Names.
    ("https://localhost/", "special-use"),
    ("https://LOCALHOST/", "special-use"),
    ("https://foo.localhost/", "special-use"),
    ("https://localhost./", "ends in a dot"),
    ("https://receiver.test/", "special-use"),
    ("https://a.example/", "special-use"),
    ("https://a.invalid/", "special-use"),
    ("https://printer.local/", "special-use"),
    ("https://abc.onion/", "special-use"),
    ("https://nas.home.arpa/", "special-use"),
    ("https://1.0.0.127.in-addr.arpa/", "special-use"),
    ("https://x.alt/", "special-use"),
    ("https://metadata.google.internal/", "private networks"),
    ("https://db.internal/", "private networks"),
    ("https://gitlab.corp/", "private networks"),
    ("https://box.home/", "private networks"),
    ("https://box.lan/", "private networks"),
    ("https://wiki.intranet/", "private networks"),
    ("https://vm.localdomain/", "private networks"),
    ("https://box.private/", "private networks"),
    ("https://intranet/", "private networks"),
    ("https://receiver/", "only one part"),
    ("https://kubernetes/", "only one part"),
    ("https://com/", "only one part"),
    ("https://example.com./", "ends in a dot"),
    ("https://example.com../", "ends in a dot"),
    ("https://example..com/", "two dots"),
    ("https://.example.com/", "two dots"),
    ("https://./", "dot"),
    ("https://-a.example.com/", "hyphen"),
    ("https://a-.example.com/", "hyphen"),
    ("https://a*b.example.com/", "only letters"),
    ("https://*.example.com/", "only letters"),
    ("https://a!b.example.com/", "only letters"),
    ("https://a,b.example.com/", "only letters"),
    ("https://exa%6dple.com/", "encoded form"),
    ("https://%6cocalhost/", "encoded form"),
    ("https://example%2ecom/", "encoded form"),
    ("https://a<b.example.com/", "is not allowed in host names"),
    ("https://a|b.example.com/", "is not allowed in host names"),
    ("https://a%00b.example.com/", "encoded form"),
    // Names in Unicode: what only looks like a name.
    ("https://ｅxample.com/", "spelling of \"example.com\""),
    ("https://example。com/", "spelling of \"example.com\""),
    ("https://example．com/", "spelling of \"example.com\""),
    ("https://example｡com/", "spelling of \"example.com\""),
    ("https://exam\u{ad}ple.com/", "spelling of \"example.com\""),
    ("https://\u{212a}ernel.org/", "spelling of \"kernel.org\""),
    ("https://oﬃce.com/", "spelling of \"office.com\""),
    ("https://münchen。de/", "spelling of \"münchen.de\""),
    ("https://mün\u{ad}chen.de/", "spelling of \"münchen.de\""),
    ("https://ｍünchen.de/", "spelling of \"münchen.de\""),
    ("https://m%C3%BCnchen.de/", "encoded form"),
    // Names in Unicode that are encoded as what is refused.
    ("https://ℓocalhost/", "special-use"),
    ("https://ｌｏｃａｌｈｏｓｔ/", "special-use"),
    ("https://loc\u{ad}alhost/", "special-use"),
    ("https://localhost。/", "ends in a dot"),
    ("https://münchen.localhost/", "special-use"),
    ("https://münchen.ｌｏｃａｌ/", "special-use"),
    ("https://münchen.internal/", "private networks"),
    ("https://drucker。lan/", "private networks"),
    ("https://münchen/", "only one part"),
    ("https://münchen.de./", "ends in a dot"),
    ("https://münchen..de/", "two dots"),
    ("https://mün*chen.de/", "only letters"),
    ("https://169。254。169。254/", "unusual spelling"),
    ("https://１６９.２５４.１６９.２５４/", "unusual spelling"),
    ("https://0ｘ7f.1/", "unusual spelling"),
    ("https://１/", "unusual spelling"),
    ("https://\u{ad}127.0.0.1/", "unusual spelling"),
    ("https://127.0.0.1\u{ad}/", "unusual spelling"),
    ("https://８.8.8.8/", "unusual spelling"),
    ("https://münchen.１/", "not a valid URL"),
    // Names that UTS 46 knows no encoded form of, and encoded forms of nothing.
    ("https://exam\u{200d}ple.com/", "not allowed in host names"),
    ("https://a\u{fffd}b.com/", "not allowed in host names"),
    ("https://a\u{202e}b.com/", "not allowed in host names"),
    ("https://a\u{e000}b.com/", "not allowed in host names"),
    ("https://\u{308}a.com/", "not allowed in host names"),
    ("https://aא.com/", "not allowed in host names"),
    ("https://example.com／x/", "not allowed in host names"),
    ("https://example.com：443/", "not allowed in host names"),
    ("https://user＠example.com/", "not allowed in host names"),
    ("https://example.com＃x/", "not allowed in host names"),
    ("https://example.com？x/", "not allowed in host names"),
    ("https://a℀b.com/", "not allowed in host names"),
    ("https://％31.com/", "not allowed in host names"),
    ("https://xn--/", "not the encoded form"),
    ("https://xn--a/", "not the encoded form"),
    ("https://xn--a.com/", "not the encoded form"),
    ("https://xn--zzzzzzzzzzzz.com/", "not the encoded form"),
    ("https://xn--mnchen-.com/", "not the encoded form"),
    ("https://XN--localhost-.com/", "not the encoded form"),
    ("https://xn--mnchen-3yb2é.de/", "not allowed in host names"),
    // Ports.
    ("https://example.com:0/", "bad ports"),
    ("https://example.com:22/", "bad ports"),
    ("https://example.com:25/", "bad ports"),
    ("https://example.com:53/", "bad ports"),
    ("https://example.com:587/", "bad ports"),
    ("https://example.com:2049/", "bad ports"),
    ("https://example.com:6000/", "bad ports"),
    ("https://example.com:6667/", "bad ports"),
    ("https://example.com:10080/", "bad ports"),
    ("https://8.8.8.8:25/", "bad ports"),
    ("https://example.com:65536/", "valid URL"),
    ("https://example.com:-1/", "valid URL"),
    ("https://example.com:x/", "valid URL"),
    ("https://example.com:443:443/", "valid URL"),
    ("https://example.com:4 43/", "space"),
];

#[test]
fn accepted_urls_have_one_normal_form() {
    for (text, normal) in ACCEPTED {
        let url = strict(text).unwrap_or_else(|sentence| panic!("{text}: {sentence}"));
        assert_eq!(url.as_str(), *normal, "{text}");
        assert_eq!(
            strict(normal).as_ref(),
            Ok(&url),
            "the normal form parses to itself"
        );
    }
}

/// URLs whose hosts are names beyond ASCII: as written, as they are kept, and as they are sent to.
const IN_UNICODE: &[[&str; 3]] = &[
    [
        "https://münchen.de/hook",
        "https://münchen.de/hook",
        "https://xn--mnchen-3ya.de/hook",
    ],
    [
        "HTTPS://Hooks.MÜNCHEN.de:443/a/../ü?ö",
        "https://hooks.münchen.de/%C3%BC?%C3%B6",
        "https://hooks.xn--mnchen-3ya.de/%C3%BC?%C3%B6",
    ],
    [
        "https://mu\u{308}nchen.de:8443",
        "https://münchen.de:8443/",
        "https://xn--mnchen-3ya.de:8443/",
    ],
    [
        "https://xn--mnchen-3ya.de/",
        "https://xn--mnchen-3ya.de/",
        "https://xn--mnchen-3ya.de/",
    ],
    [
        "https://XN--mnchen-3ya.рф/",
        "https://münchen.рф/",
        "https://xn--mnchen-3ya.xn--p1ai/",
    ],
    [
        "https://пример.рф/hook",
        "https://пример.рф/hook",
        "https://xn--e1afmkfd.xn--p1ai/hook",
    ],
    [
        "https://例え.テスト/",
        "https://例え.テスト/",
        "https://xn--r8jz45g.xn--zckzah/",
    ],
    [
        "https://straße.de/",
        "https://straße.de/",
        "https://xn--strae-oqa.de/",
    ],
    [
        "https://ΒΌΛΟΣ.com/",
        "https://βόλοσ.com/",
        "https://xn--nxasmq6b.com/",
    ],
    [
        "https://βόλος.com/",
        "https://βόλος.com/",
        "https://xn--nxasmm1c.com/",
    ],
    [
        "https://אתר.קום/",
        "https://אתר.קום/",
        "https://xn--4db2cf.xn--9dbq2a/",
    ],
    [
        "https://نامه\u{200c}ای.com/",
        "https://نامه\u{200c}ای.com/",
        "https://xn--mgba3gch31f060k.com/",
    ],
    // Cyrillic letters that look like Latin ones, in whole and mixed with them.
    [
        "https://аррӏе.com/",
        "https://аррӏе.com/",
        "https://xn--80ak6aa92e.com/",
    ],
    [
        "https://pаypal.com/",
        "https://pаypal.com/",
        "https://xn--pypal-4ve.com/",
    ],
    // Digits of another script are letters of a name, and of no address.
    [
        "https://१२७.०.०.१/",
        "https://१२७.०.०.१/",
        "https://xn--e4bcp.xn--d4b.xn--d4b.xn--e4b/",
    ],
];

#[test]
fn a_host_in_unicode_is_kept_as_written_and_sent_to_in_its_encoded_form() {
    for [text, kept, sent_to] in IN_UNICODE {
        let url = strict(text).unwrap_or_else(|sentence| panic!("{text}: {sentence}"));
        assert_eq!([url.as_written(), url.as_str()], [*kept, *sent_to]);
        for form in [kept, sent_to] {
            let again = strict(form).unwrap();
            assert_eq!(again, url, "{form} is another form of the same URL");
            assert_eq!(again.as_written(), *form, "each form is kept");
        }
    }
}

#[test]
fn a_host_in_unicode_is_named_in_both_forms() {
    for text in ["https://münchen.de/", "https://xn--mnchen-3ya.de/"] {
        let host = strict(text).unwrap().host().to_string();
        assert_eq!(host, "münchen.de (xn--mnchen-3ya.de)");
    }
}

#[test]
fn an_operators_exceptions_open_no_look_alike_of_what_they_name() {
    let policy = Policy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        allow_http: true,
    };
    let parse = |text| ReceiverUrl::parse(text, &policy);
    for text in ["https://münchen.test/", "http://münchen:8080/"] {
        assert!(parse(text).is_ok(), "{text}");
    }
    for text in [
        "https://ℓocalhost/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://loc\u{ad}alhost/",
        "https://receiver。test/",
    ] {
        let sentence = parse(text).unwrap_err().sentence;
        assert!(sentence.contains("unusual spelling"), "{text}: {sentence}");
    }
}

#[test]
fn refused_urls_say_which_rule() {
    assert!(ACCEPTED.len() + REFUSED.len() >= 200);
    let mut slips = Vec::new();
    for (text, part) in REFUSED {
        match strict(text) {
            Ok(url) => slips.push(format!("{text:?} was accepted as {}", url.as_str())),
            Err(sentence) => {
                let told = sentence.starts_with("The URL") && sentence.ends_with('.');
                if !told || !sentence.contains(part) {
                    slips.push(format!("{text:?}: {sentence}"));
                }
            }
        }
    }
    assert!(slips.is_empty(), "{}", slips.join("\n"));
}

/// First and last address of each refused range, with the nearest addresses outside it that are
/// public (`-` where the neighbour is refused too).
const RANGES: &[[&str; 4]] = &[
    ["-", "0.0.0.0", "0.255.255.255", "1.0.0.0"],
    ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
    [
        "100.63.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "100.128.0.0",
    ],
    [
        "126.255.255.255",
        "127.0.0.0",
        "127.255.255.255",
        "128.0.0.0",
    ],
    [
        "168.63.129.15",
        "168.63.129.16",
        "168.63.129.16",
        "168.63.129.17",
    ],
    [
        "169.253.255.255",
        "169.254.0.0",
        "169.254.255.255",
        "169.255.0.0",
    ],
    [
        "172.15.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "172.32.0.0",
    ],
    ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
    ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"],
    [
        "192.31.195.255",
        "192.31.196.0",
        "192.31.196.255",
        "192.31.197.0",
    ],
    [
        "192.52.192.255",
        "192.52.193.0",
        "192.52.193.255",
        "192.52.194.0",
    ],
    [
        "192.88.98.255",
        "192.88.99.0",
        "192.88.99.255",
        "192.88.100.0",
    ],
    [
        "192.167.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "192.169.0.0",
    ],
    [
        "192.175.47.255",
        "192.175.48.0",
        "192.175.48.255",
        "192.175.49.0",
    ],
    [
        "198.17.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.20.0.0",
    ],
    [
        "198.51.99.255",
        "198.51.100.0",
        "198.51.100.255",
        "198.51.101.0",
    ],
    [
        "203.0.112.255",
        "203.0.113.0",
        "203.0.113.255",
        "203.0.114.0",
    ],
    ["223.255.255.255", "224.0.0.0", "239.255.255.255", "-"],
    ["-", "240.0.0.0", "255.255.255.255", "-"],
    [
        "-",
        "::",
        "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2000::",
    ],
    [
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001::",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
    ],
    [
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
    ],
    [
        "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2002::",
        "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2003::",
    ],
    [
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8000::",
        "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8001::",
    ],
    [
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff::",
        "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
    ],
    [
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "4000::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
    // Those that only the whole space outside 2000::/3 holds, by their own edges.
    ["-", "::ffff:0.0.0.0", "::ffff:255.255.255.255", "-"],
    ["-", "64:ff9b::", "64:ff9b::ffff:ffff", "-"],
    [
        "-",
        "64:ff9b:1::",
        "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
    ["-", "100::", "100::1:ffff:ffff:ffff:ffff", "-"],
    [
        "-",
        "5f00::",
        "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
    [
        "-",
        "fc00::",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
    [
        "-",
        "fe80::",
        "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
    [
        "-",
        "fec0::",
        "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
    [
        "-",
        "ff00::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "-",
    ],
];

fn https(address: &str) -> String {
    match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => format!("https://{v4}/"),
        IpAddr::V6(v6) => format!("https://[{v6}]/"),
    }
}

#[test]
fn the_edges_of_every_range_are_where_the_registries_put_them() {
    for [before, first, last, after] in RANGES {
        for refused in [first, last] {
            assert!(strict(&https(refused)).is_err(), "{refused}");
        }
        for accepted in [before, after].into_iter().filter(|text| **text != "-") {
            assert!(strict(&https(accepted)).is_ok(), "{accepted}");
        }
    }
}

#[test]
fn every_other_spelling_of_every_refused_ipv4_address_is_refused_too() {
    let v4 = RANGES.iter().flat_map(|row| &row[1..3]);
    for address in v4.filter_map(|text| text.parse::<std::net::Ipv4Addr>().ok()) {
        let bits = u32::from(address);
        let [a, b, c, d] = address.octets();
        let (high, low) = (bits >> 16, bits & 0xffff);
        for host in [
            format!("{bits}"),
            format!("{bits:#x}"),
            format!("0{bits:o}"),
            format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
            format!("{a}.{}", bits & 0x00ff_ffff),
            format!("{a}.{b}.{low}"),
            format!("[::ffff:{address}]"),
            format!("[::{address}]"),
            format!("[::ffff:0:{address}]"),
            format!("[64:ff9b::{address}]"),
            format!("[64:ff9b:1::{address}]"),
            format!("[2002:{high:x}:{low:x}::1]"),
            format!("[2001:0:{high:x}:{low:x}::]"),
            format!("[2001::{address}]"),
            format!("[2a00:1450::5efe:{address}]"),
            format!("[2a00:1450::200:5efe:{address}]"),
        ] {
            // The one spelling in four numbers that is canonical is refused for its range.
            assert!(strict(&format!("https://{host}/")).is_err(), "{host}");
        }
    }
}

#[test]
fn the_longest_url_is_2048_bytes_also_in_its_normal_form() {
    let base = "https://example.com/";
    let longest = format!("{base}{}", "a".repeat(URL_MAX - base.len()));
    assert!(strict(&longest).is_ok());
    for too_long in [format!("{longest}a"), format!("{base}{}", "ü".repeat(400))] {
        assert!(strict(&too_long).unwrap_err().contains("longer than 2048"));
    }
    let host = format!("https://{}.com/", ["a"; 130].join("."));
    assert!(strict(&host).unwrap_err().contains("253"));
    let label = format!("https://{}.com/", "a".repeat(64));
    assert!(strict(&label).unwrap_err().contains("63"));
    // The lengths of a name are those of its encoded form; the URL's is that of each form.
    let label = format!("https://{}.com/", "пример".repeat(10));
    let sentence = strict(&label).unwrap_err();
    assert!(sentence.contains("encoded form, has a part longer than 63"));
    let host = format!("https://{}.com/", ["пример"; 20].join("."));
    let sentence = strict(&host).unwrap_err();
    assert!(sentence.contains("encoded form, is longer than 253"));
    let base = "https://例例例例例例例例例例例例例例例例例例例例.com/";
    let longest = format!("{base}{}", "a".repeat(URL_MAX - base.len()));
    assert!(strict(&longest).is_ok());
    let too_long = format!("{base}{}ü", "a".repeat(URL_MAX - base.len() - 2));
    assert!(strict(&too_long).unwrap_err().contains("longer than 2048"));
}

#[test]
fn an_operators_exceptions_open_what_they_name_and_nothing_more() {
    let policy = Policy {
        allow: vec!["127.0.0.0/8".parse().unwrap(), "fd12::/16".parse().unwrap()],
        allow_http: true,
    };
    for text in [
        "https://127.0.0.1:8443/",
        "http://127.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd12::1]/",
        "https://localhost:9000/",
        "http://receiver.test/",
        "http://receiver:8080/",
        "https://example.com/",
    ] {
        assert!(ReceiverUrl::parse(text, &policy).is_ok(), "{text}");
    }
    for text in [
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[fd13::1]/",
        "https://169.254.169.254/",
        "https://127.1/",
        "https://0x7f.0.0.1/",
        "https://user@localhost/",
        "https://localhost./",
        "https://localhost:22/",
        "https://localhost/#x",
        "ftp://localhost/",
    ] {
        assert!(ReceiverUrl::parse(text, &policy).is_err(), "{text}");
    }
    let http_only = Policy {
        allow: vec![],
        allow_http: true,
    };
    assert!(ReceiverUrl::parse("http://example.com/", &http_only).is_ok());
    assert!(ReceiverUrl::parse("http://localhost/", &http_only).is_err());
    assert!(ReceiverUrl::parse("http://127.0.0.1/", &http_only).is_err());
}

proptest! {
    /// Whatever is accepted has a normal form that is accepted as the same URL, and another parser
    /// sees the same host and port in it.
    #[test]
    fn an_accepted_url_means_the_same_to_everybody(
        text in r"https?:/{1,3}[a-z0-9.\-@\[\]:%_xX~\\üÜпא１ｌ。ß\u{301}\u{ad}]{0,24}(\.com|\.org)?(:[0-9]{1,5})?([/?#][!-~ü ]{0,12})?"
    ) {
        let policy = Policy { allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], allow_http: true };
        if let Ok(url) = ReceiverUrl::parse(&text, &policy) {
            for form in [url.as_str(), url.as_written()] {
                let again = ReceiverUrl::parse(form, &policy);
                prop_assert_eq!(again.as_ref(), Ok(&url));
                let again = again.unwrap();
                prop_assert_eq!(again.as_written(), form);
            }
            let other: http::Uri = url.as_str().parse().unwrap();
            let host = other.host().unwrap().trim_matches(['[', ']']);
            let named = url.host().to_string();
            prop_assert!(named == host || named.ends_with(&format!(" ({host})")), "{named}");
            let default = if other.scheme_str() == Some("https") { 443 } else { 80 };
            prop_assert_eq!(other.port_u16().unwrap_or(default), url.port());
        }
    }

    /// No address outside the Internet's own space slips through as a literal.
    #[test]
    fn a_literal_is_accepted_exactly_where_the_classifier_says_so(bits in any::<u128>(), v4 in any::<u32>()) {
        for address in [IpAddr::V6(bits.into()), IpAddr::V4(v4.into())] {
            let accepted = strict(&https(&address.to_string())).is_ok();
            prop_assert_eq!(accepted, vk_egress::address::refusal(address).is_none());
        }
    }
}
