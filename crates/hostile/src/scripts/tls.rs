//! Hides nothing: receivers whose certificate is wrong, or whose handshake is, or who break TLS
//! off later.

use std::time::Duration;

use bytes::Bytes;
use model::attempt::Reason::{
    self, BodyIncomplete, ConnectionReset, InvalidResponse, ResponseTimeout, TlsCertificate,
    TlsHandshake, TlsTimeout,
};

use super::{DONE, OK};
use crate::certificates::Flaw;
use crate::script::{Expect, Layer, Script, Step, Twist, repeat, says, says_and, send};

pub(super) fn scripts() -> Vec<Script> {
    [certificates(), twisted(), raw(), later()].concat()
}

fn certificates() -> Vec<Script> {
    let rows = [
        (
            "cert-expired",
            "its certificate has expired",
            Flaw::Expired,
            "its certificate \"a receiver\" expired at 2020-02-03T00:00:00",
        ),
        (
            "cert-not-yet-valid",
            "its certificate is not valid yet",
            Flaw::NotYetValid,
            "not valid before 2999-02-03T00:00:00.000Z, and by our clock it is 2",
        ),
        (
            "cert-wrong-name",
            "its certificate is for other names",
            Flaw::WrongName,
            "but for other.example.com, *.elsewhere.example;",
        ),
        (
            "cert-no-name",
            "its certificate has its name as common name only",
            Flaw::NoName,
            "for no host name at all: it has no subjectAltName",
        ),
        (
            "cert-self-signed",
            "its certificate is self-signed",
            Flaw::SelfSigned,
            "its certificate \"a receiver\" is self-signed",
        ),
        (
            "cert-unknown-authority",
            "its certificate is of an authority that nobody trusts",
            Flaw::UnknownAuthority,
            "not issued by a certificate authority that we trust: its chain ends at \"Somebody Else's Root\"",
        ),
        (
            "cert-incomplete-chain",
            "its certificate comes without its issuer's",
            Flaw::Incomplete,
            "the certificate of its issuer \"Test Intermediate\" was not sent, and",
        ),
        (
            "cert-client-only",
            "its certificate is for clients",
            Flaw::ClientOnly,
            "not made for servers",
        ),
        (
            "cert-of-an-authority",
            "its certificate is an authority's own",
            Flaw::AnAuthoritys,
            "is an authority's own (basic constraints CA:TRUE)",
        ),
        (
            "cert-garbage",
            "its certificate is no certificate",
            Flaw::Garbage,
            "cannot be read",
        ),
        (
            "cert-seven-others",
            "seven certificates come beside its own",
            Flaw::Accompanied(7),
            "more certificates than we look at",
        ),
        (
            "cert-labyrinth",
            "149 certificates come beside its own, with more ways through them than can be tried",
            Flaw::Labyrinth,
            "more certificates than we look at",
        ),
        (
            "cert-crossing",
            "six certificates come beside its own, all of the root's name, with as many ways through them as can be",
            Flaw::Crossing,
            "more ways through the certificates",
        ),
        (
            "cert-deep-100",
            "a hundred authorities between its certificate and the root",
            Flaw::Deep(100),
            "more certificates than we look at",
        ),
        (
            "cert-rsa-1024",
            "its issuer signed it with an RSA key of 1,024 bits",
            Flaw::Rsa1024,
            "the authority \"Weak Intermediate\" has an RSA key of 1,024 bits",
        ),
        (
            "cert-sha-1",
            "its issuer signed it over SHA-1",
            Flaw::Sha1,
            "signed over SHA-1",
        ),
        (
            "cert-constrained",
            "its issuer may not issue for it, by 300 rules for 300 names",
            Flaw::Constrained,
            "\"Test Intermediate\" may not issue for the names",
        ),
        (
            "cert-version-1",
            "its certificate is of X.509 version 1",
            Flaw::Version1,
            "X.509 version 1",
        ),
        (
            "cert-self-signed-authority",
            "its certificate is self-signed, and an authority's (as `openssl req -x509` makes it)",
            Flaw::SelfSignedAuthority,
            "its certificate \"a receiver\" is self-signed",
        ),
        (
            "cert-self-signed-expired",
            "its certificate is self-signed, and has expired",
            Flaw::SelfSignedExpired,
            "expired at 2020-02-03T00:00:00.000Z; renew it, and see that the server loads the new one; it is also self-signed",
        ),
        (
            "cert-expired-intermediate",
            "its issuer's certificate has expired",
            Flaw::ExpiredIntermediate,
            "the intermediate certificate \"Test Intermediate\" that it sends expired at 2021-03-04T00:00:00",
        ),
        (
            "cert-early-intermediate",
            "its issuer's certificate is not valid yet",
            Flaw::EarlyIntermediate,
            "\"Test Intermediate\" that it sends is not valid before 2998-03-04T00:00:00",
        ),
        (
            "cert-twice",
            "its certificate is sent twice, and its issuer's is not",
            Flaw::Twice,
            "(its own certificate was sent twice instead)",
        ),
        (
            "cert-root-instead",
            "the root is sent, and the issuer between is not",
            Flaw::RootInstead,
            "(the root \"Test Root\" was sent instead)",
        ),
        (
            "cert-other-intermediate",
            "another authority's certificate is sent than its issuer's",
            Flaw::OtherIntermediate,
            "\"Test Intermediate\" was not sent (the certificate of \"Test Intermediate of last year\" was sent instead)",
        ),
        (
            "cert-other-key",
            "an authority is sent with its issuer's name and another key",
            Flaw::OtherKey,
            "has another key than the one that issued",
        ),
        (
            "cert-gap",
            "the upper of two authorities above it is not sent",
            Flaw::Gap,
            "which issued the intermediate certificate \"Test Lower Intermediate\", was not sent",
        ),
        (
            "cert-no-authority",
            "its issuer is no authority",
            Flaw::NoAuthority,
            "the certificate \"Test Intermediate\" that it sends as an issuer's is no authority's",
        ),
        (
            "cert-too-long",
            "one authority more is above it than may be",
            Flaw::TooLong,
            "\"Test Intermediate\" may have at most 0 other authorities",
        ),
        (
            "cert-forbidden",
            "its issuer may not issue for its name",
            Flaw::Forbidden,
            "\"Test Intermediate\" may not issue for the names",
        ),
        (
            "cert-unknown-extension",
            "its certificate has an extension that nobody knows, and that is critical",
            Flaw::UnknownExtension,
            "an extension that we do not know (1.3.6.1.4.1.99999.1)",
        ),
        (
            "cert-shallow",
            "its certificate is for names of one label less",
            Flaw::Shallow,
            "but for *.example.com; the \"*\" of a name stands for exactly one label",
        ),
    ];
    let mut scripts: Vec<Script> = rows
        .into_iter()
        .map(|(name, does, flaw, tells)| {
            let expect = Expect::fail(TlsCertificate).tells(tells);
            Script::new(name, does, says(DONE), expect).over(Layer::Tls(flaw, Twist::None))
        })
        .collect();
    let good = [
        (
            "cert-six-others",
            "six certificates come beside its own",
            Flaw::Accompanied(6),
        ),
        (
            "cert-rsa-2048",
            "its issuer signed it with an RSA key of 2,048 bits",
            Flaw::Rsa2048,
        ),
        (
            "cert-deep",
            "three authorities between its certificate and the root",
            Flaw::Deep(3),
        ),
    ];
    scripts.extend(good.into_iter().map(|(name, does, flaw)| {
        Script::new(name, does, says(DONE), Expect::answer(200, "hi"))
            .over(Layer::Tls(flaw, Twist::None))
    }));
    scripts
}

fn twisted() -> Vec<Script> {
    let refused = |tells| Expect::fail(TlsHandshake).tells(tells);
    let rows = [
        (
            "cert-absent",
            "it sends no certificate",
            Flaw::Absent,
            Twist::None,
            refused("it sent no certificate"),
        ),
        (
            "tls-h2-only",
            "it offers HTTP/2 only",
            Flaw::None,
            Twist::H2Only,
            refused("HTTP/1.1"),
        ),
        (
            "cert-own-rsa-1024",
            "its own key is an RSA key of 1,024 bits (in TLS 1.2)",
            Flaw::OwnRsa1024,
            Twist::Tls12,
            Expect::fail(TlsCertificate).tells("has an RSA key of 1,024 bits"),
        ),
        (
            "tls-client-certificate-1-2",
            "it demands a client certificate, in TLS 1.2",
            Flaw::None,
            Twist::ClientCertificate12,
            refused("client certificate"),
        ),
        (
            "tls-client-certificate-1-3",
            "it demands a client certificate, in TLS 1.3",
            Flaw::None,
            Twist::ClientCertificate13,
            refused("client certificate"),
        ),
        (
            "tls-client-certificate-asked-1-2",
            "it asks for a client certificate and goes on without one, in TLS 1.2",
            Flaw::None,
            Twist::ClientCertificateAsked12,
            Expect::answer(200, "hi"),
        ),
        (
            "tls-client-certificate-asked-1-3",
            "it asks for a client certificate and goes on without one, in TLS 1.3",
            Flaw::None,
            Twist::ClientCertificateAsked13,
            Expect::answer(200, "hi"),
        ),
        (
            "tls-silent-in-handshake",
            "it falls silent in the middle of its handshake",
            Flaw::None,
            Twist::SilentAfter(100),
            Expect::fail(TlsTimeout),
        ),
        (
            "tls-1-2",
            "it speaks TLS 1.2 only",
            Flaw::None,
            Twist::Tls12,
            Expect::answer(200, "hi"),
        ),
        (
            "tls-tickets",
            "it sends ten session tickets",
            Flaw::None,
            Twist::Tickets(10),
            Expect::answer(200, "hi"),
        ),
    ];
    rows.into_iter()
        .map(|(name, does, flaw, twist, expect)| {
            Script::new(name, does, says(DONE), expect).over(Layer::Tls(flaw, twist))
        })
        .collect()
}

/// The beginning of a handshake's message (a server's hello) that claims 60 KB.
const CLAIMS_60_KB: &[u8] = b"\x16\x03\x03\x40\x00\x02\x00\xea\x60";

/// Handshakes made of bytes.
fn raw() -> Vec<Script> {
    use Step::{Close, Reset, Stay};
    let hello = |bytes: Vec<u8>, then| vec![Step::Read(5), send(bytes), then];
    let server_hello = |version: u8| {
        let mut hello = vec![0x16, 3, version, 0, 42, 2, 0, 0, 38, 3, version];
        hello.extend([7; 32]); // Its random bytes.
        hello.extend([0, 0x00, 0x2f, 0]); // No session; RSA with AES-128-CBC; no compression.
        hello
    };
    let rows: Vec<(&str, &str, Vec<Step>, &'static str)> = vec![
        (
            "tls-plain-http",
            "it speaks plain HTTP at the port of TLS",
            hello(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Close),
            "does not speak TLS",
        ),
        (
            "tls-ssh",
            "it speaks SSH at the port of TLS",
            hello(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Close),
            "does not speak TLS",
        ),
        (
            "tls-1-1-alert",
            "it speaks TLS 1.1 only, and says so by an alert",
            hello(b"\x15\x03\x02\x00\x02\x02\x46".to_vec(), Close),
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (
            "tls-1-1",
            "it answers in TLS 1.1",
            hello(server_hello(2), Stay),
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (
            "tls-ssl-3",
            "it answers in SSL 3",
            hello(server_hello(0), Stay),
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (
            "tls-refused",
            "it refuses the handshake by an alert",
            hello(b"\x15\x03\x03\x00\x02\x02\x28".to_vec(), Close),
            "no cipher, curve or key type in common",
        ),
        (
            "tls-unknown-name",
            "it does not know the name it is asked for",
            hello(b"\x15\x03\x03\x00\x02\x02\x70".to_vec(), Close),
            "SNI",
        ),
        (
            "tls-close",
            "it closes in the handshake",
            hello(vec![], Close),
            "closed during the TLS handshake",
        ),
        (
            "tls-reset",
            "it resets in the handshake",
            hello(vec![], Reset),
            "reset during the TLS handshake",
        ),
        (
            "tls-hello-retry-twice",
            "it asks for another hello twice",
            vec![Step::HelloRetries(2), Stay],
            "the TLS handshake failed",
        ),
        (
            "tls-claims-16-mb",
            "it begins a message of 16 MB, and goes on",
            vec![
                Step::Read(5),
                send(&b"\x16\x03\x03\x40\x00\x02\xff\xff\xff"[..]),
                repeat("\0\0\0\0\0\0\0\0"),
            ],
            "the TLS handshake failed",
        ),
        (
            "tls-warnings",
            "it sends warnings without end",
            vec![Step::Read(5), repeat("\u{15}\u{3}\u{3}\0\u{2}\u{1}\u{5a}")],
            "the TLS handshake failed",
        ),
        (
            "tls-cipher-changes",
            "it announces new ciphers without end",
            vec![Step::Read(5), repeat("\u{14}\u{3}\u{3}\0\u{1}\u{1}")],
            "the TLS handshake failed",
        ),
    ];
    let mut scripts: Vec<Script> = rows
        .into_iter()
        .map(|(name, does, steps, tells)| {
            let expect = Expect::fail(TlsHandshake).tells(tells);
            Script::new(name, does, steps, expect).over(Layer::Raw)
        })
        .collect();
    scripts.push(
        Script::new(
            "tls-endless-handshake",
            "a handshake that comes a byte at a time",
            vec![
                send(CLAIMS_60_KB),
                Step::Repeat(Bytes::from_static(b"\0"), Some(Duration::from_millis(400))),
            ],
            Expect::fail(TlsTimeout),
        )
        .over(Layer::Raw),
    );
    scripts.push(
        Script::new(
            "tls-hello-retry",
            "it asks for another hello, and says nothing more",
            vec![Step::HelloRetries(1), Stay],
            Expect::fail(TlsTimeout),
        )
        .over(Layer::Raw),
    );
    scripts
}

/// What goes wrong once the handshake is over is named after what it broke off.
fn later() -> Vec<Script> {
    use Step::{Alert, CorruptRecord, KeyUpdates, Padding, Request, Tickets};
    let head = format!("{OK}content-length: 9\r\n");
    let body = format!("{head}\r\nhalf");
    let tickets = [
        (
            "tls-tickets-without-end",
            "session tickets without end instead of an answer",
            vec![Request, Tickets],
            ConnectionReset,
        ),
        (
            "tls-tickets-without-end-in-body",
            "session tickets without end in the body",
            says_and(body.clone(), Tickets),
            BodyIncomplete,
        ),
    ];
    let fail = |reason: Reason| match reason {
        BodyIncomplete => Expect::fail_in_body(reason),
        _ => Expect::fail(reason),
    };
    let rows = vec![
        (
            "tls-corrupt-before-answer",
            "a corrupt record instead of an answer",
            vec![Request, CorruptRecord],
            ConnectionReset,
        ),
        (
            "tls-corrupt-in-head",
            "a corrupt record in the head",
            says_and(head.clone(), CorruptRecord),
            ConnectionReset,
        ),
        (
            "tls-corrupt-in-body",
            "a corrupt record in the body",
            says_and(body.clone(), CorruptRecord),
            BodyIncomplete,
        ),
        (
            "tls-alert-before-answer",
            "a fatal alert instead of an answer",
            vec![Request, Alert],
            TlsHandshake,
        ),
        (
            "tls-alert-in-head",
            "a fatal alert in the head",
            says_and(head, Alert),
            ConnectionReset,
        ),
        (
            "tls-alert-in-body",
            "a fatal alert in the body",
            says_and(body, Alert),
            BodyIncomplete,
        ),
        (
            "tls-key-updates",
            "changes its keys a hundred times instead of an answer",
            vec![Request, KeyUpdates(100)],
            ConnectionReset,
        ),
        (
            "tls-key-updates-few",
            "changes its keys ten times, and then nothing",
            vec![Request, KeyUpdates(10)],
            ResponseTimeout,
        ),
        (
            "tls-padding-untyped",
            "a record of nothing but padding, which does not say what it holds",
            vec![
                Request,
                Padding {
                    records: 1,
                    typed: false,
                },
            ],
            ConnectionReset,
        ),
        (
            "tls-padding",
            "a thousand records of nothing but padding instead of an answer",
            vec![
                Request,
                Padding {
                    records: 1000,
                    typed: true,
                },
            ],
            ConnectionReset,
        ),
        (
            "tls-padding-few",
            "ten records of nothing but padding, and then nothing",
            vec![
                Request,
                Padding {
                    records: 10,
                    typed: true,
                },
            ],
            ResponseTimeout,
        ),
        (
            "tls-not-http",
            "an SSH banner under TLS",
            says_and("SSH-2.0-OpenSSH_9.9\r\n", Step::Stay),
            InvalidResponse,
        ),
    ];
    let script = |(name, does, steps, reason)| Script::new(name, does, steps, fail(reason)).tls();
    let tickets = tickets.map(script).map(|mut script| {
        script.expect = script.expect.tells("session tickets");
        script
    });
    rows.into_iter().map(script).chain(tickets).collect()
}
