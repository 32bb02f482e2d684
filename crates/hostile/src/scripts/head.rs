//! Hides nothing: receivers whose answer has no head, or a strange one, or one without end.

use model::attempt::Reason::{HeadersTooLarge, InvalidResponse};

use super::{DONE, OK};
use crate::script::{Expect, Script, Step, repeat, says, says_and, send};

pub(super) fn scripts() -> Vec<Script> {
    [senseless(), strange(), endless()].concat()
}

/// What is not HTTP/1.1, said in one piece and then nothing.
fn senseless() -> Vec<Script> {
    let rows: Vec<(&str, &str, Vec<u8>)> = vec![
        (
            "head-ssh",
            "an SSH banner",
            b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        ),
        (
            "head-http-0-9",
            "HTTP/0.9: a page without a head",
            b"<html>hello</html>\r\n\r\n".to_vec(),
        ),
        (
            "head-version-0-9",
            "the version HTTP/0.9",
            b"HTTP/0.9 200 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-version-2",
            "the version HTTP/2.0",
            b"HTTP/2.0 200 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-http-2",
            "frames of HTTP/2",
            b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0".to_vec(),
        ),
        (
            "head-tls-alert",
            "an alert of TLS at the port of plain HTTP",
            b"\x15\x03\x03\0\x02\x02\x0a".to_vec(),
        ),
        (
            "head-status-000",
            "status 000",
            b"HTTP/1.1 000 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-status-099",
            "status 099",
            b"HTTP/1.1 099 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-status-20",
            "a status of two digits",
            b"HTTP/1.1 20 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-status-2000",
            "a status of four digits",
            b"HTTP/1.1 2000 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-status-abc",
            "a status that is no number",
            b"HTTP/1.1 abc OK\r\n\r\n".to_vec(),
        ),
        (
            "head-status-negative",
            "a negative status",
            b"HTTP/1.1 -20 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-two-spaces",
            "two spaces after the version",
            b"HTTP/1.1  200 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-tab",
            "a tab after the version",
            b"HTTP/1.1\t200 OK\r\n\r\n".to_vec(),
        ),
        (
            "head-nul-in-reason",
            "NUL in the status line",
            b"HTTP/1.1 200 O\0K\r\n\r\n".to_vec(),
        ),
        ("head-no-colon", "a header without a colon", header("foo")),
        (
            "head-space-before-colon",
            "a space before a header's colon",
            header("foo : bar"),
        ),
        (
            "head-space-first",
            "a space before the first header",
            header(" foo: bar"),
        ),
        (
            "head-nul-in-value",
            "NUL in a header's value",
            header("foo: b\0r"),
        ),
        (
            "head-nul-in-name",
            "NUL in a header's name",
            header("f\0o: bar"),
        ),
        (
            "head-cr-in-value",
            "a carriage return in a header's value",
            header("foo: b\rr"),
        ),
        (
            "head-obs-fold",
            "a header folded over two lines",
            header("foo: a\r\n b"),
        ),
        (
            "head-name-not-utf-8",
            "a header's name that is not UTF-8",
            b"HTTP/1.1 200 OK\r\nf\xff: a\r\n\r\n".to_vec(),
        ),
        (
            "head-length-negative",
            "a negative Content-Length",
            header("content-length: -1"),
        ),
        (
            "head-length-plus",
            "a Content-Length with a plus sign",
            header("content-length: +5"),
        ),
        (
            "head-length-hexadecimal",
            "a hexadecimal Content-Length",
            header("content-length: 0x5"),
        ),
        (
            "head-length-two-words",
            "a Content-Length of two numbers",
            header("content-length: 5 5"),
        ),
        (
            "head-length-empty",
            "an empty Content-Length",
            header("content-length:"),
        ),
        (
            "head-length-word",
            "a Content-Length that is no number",
            header("content-length: x"),
        ),
        (
            "head-length-full-width",
            "a Content-Length in full-width digits",
            header("content-length: \u{ff15}"),
        ),
        (
            "head-length-giant",
            "a Content-Length of 23 digits",
            header("content-length: 99999999999999999999999"),
        ),
        (
            "head-lengths-in-conflict",
            "two different Content-Lengths",
            header("content-length: 1\r\ncontent-length: 2"),
        ),
        (
            "head-lengths-in-a-list",
            "two different Content-Lengths in one header",
            header("content-length: 5, 6"),
        ),
        (
            "head-chunked-1-0",
            "a chunked body in HTTP/1.0",
            b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec(),
        ),
        (
            "head-chunked-control-byte",
            "a control byte before \"chunked\"",
            header("transfer-encoding: \u{b}chunked"),
        ),
    ];
    let mut scripts: Vec<Script> = rows
        .into_iter()
        .map(|(name, does, bytes)| {
            let steps = says_and(bytes, Step::Stay);
            Script::new(name, does, steps, Expect::fail(InvalidResponse))
        })
        .collect();
    scripts.push(
        Script::new(
            "head-http-2-tls",
            "frames of HTTP/2 under TLS",
            says_and(
                &b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0"[..],
                Step::Stay,
            ),
            Expect::fail(InvalidResponse),
        )
        .tls(),
    );
    scripts
}

fn header(line: &str) -> Vec<u8> {
    format!("{OK}{line}\r\n\r\n").into_bytes()
}

/// What is unusual, and HTTP/1.1 all the same.
fn strange() -> Vec<Script> {
    let with = |line: &str| format!("{OK}{line}\r\ncontent-length: 2\r\n\r\nhi").into_bytes();
    let rows: Vec<(&str, &str, Vec<u8>)> = vec![
        (
            "head-bare-newlines",
            "lines without carriage returns",
            b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi".to_vec(),
        ),
        (
            "head-empty-lines-first",
            "empty lines before the status line",
            format!("\r\n\r\n{DONE}").into_bytes(),
        ),
        (
            "head-no-reason",
            "a status line that ends with the status",
            b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
        ),
        (
            "head-tab-after-colon",
            "a tab after a header's colon",
            with("foo:\tbar"),
        ),
        (
            "head-spaces-after-value",
            "spaces after a header's value",
            with("foo: bar   "),
        ),
        (
            "head-value-not-utf-8",
            "a header's value that is not UTF-8",
            b"HTTP/1.1 200 OK\r\nodd: \xff!\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
        ),
        (
            "head-reason-not-utf-8",
            "a reason phrase that is not UTF-8",
            b"HTTP/1.1 200 \xff\xfe\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
        ),
        (
            "head-98-headers",
            "98 headers",
            format!("{OK}{}content-length: 2\r\n\r\nhi", headers(97)).into_bytes(),
        ),
        (
            "head-100-headers",
            "100 headers",
            format!("{OK}{}content-length: 2\r\n\r\nhi", headers(99)).into_bytes(),
        ),
        (
            "head-60-kib",
            "headers of 60 KiB",
            with(&format!("big: {}", "\u{fd}".repeat(30 << 10))),
        ),
        (
            "head-lengths-alike",
            "the same Content-Length twice",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
        ),
        (
            "head-lengths-alike-in-a-list",
            "the same Content-Length twice in one header",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi".to_vec(),
        ),
        (
            "head-two-responses",
            "two responses at once",
            format!("{DONE}HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        ),
        (
            "head-http-1-0",
            "HTTP/1.0",
            b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
        ),
        (
            "head-keep-alive-lie",
            "promises to keep the connection and closes it",
            with("connection: keep-alive"),
        ),
        (
            "head-close",
            "says that it closes the connection",
            with("connection: close"),
        ),
        (
            "head-set-cookie",
            "Set-Cookie",
            with("set-cookie: a=b; Max-Age=99999"),
        ),
        (
            "head-alt-svc",
            "Alt-Svc to another port, under TLS, and closes",
            with("connection: close\r\nalt-svc: http/1.1=\":1\"; ma=99999, h3=\":1\"; ma=99999"),
        ),
        (
            "head-hsts",
            "Strict-Transport-Security under TLS, and closes",
            with(
                "connection: close\r\n\
                 strict-transport-security: max-age=99999999; includeSubDomains",
            ),
        ),
        (
            "head-refresh",
            "Refresh and Link: preload to elsewhere",
            with("refresh: 0; url=http://127.0.0.1:1/\r\nlink: </a>; rel=preload"),
        ),
        (
            "head-clear-site-data",
            "Clear-Site-Data",
            with("clear-site-data: \"*\""),
        ),
        (
            "head-upgrade-h2c",
            "200 with an offer to upgrade",
            with("upgrade: h2c\r\nconnection: upgrade"),
        ),
    ];
    rows.into_iter()
        .map(|(name, does, bytes)| {
            let steps = match name {
                "head-keep-alive-lie" | "head-alt-svc" | "head-hsts" => {
                    says_and(bytes, Step::Close)
                }
                _ => says(bytes),
            };
            let script = Script::new(name, does, steps, Expect::answer(200, "hi"));
            match name {
                // Over plain HTTP they mean nothing to anybody.
                "head-alt-svc" | "head-hsts" => script.tls(),
                _ => script,
            }
        })
        .collect()
}

fn headers(count: usize) -> String {
    (0..count).map(|n| format!("h{n}: v\r\n")).collect()
}

/// Heads that go on and on.
fn endless() -> Vec<Script> {
    let on_and_on =
        |start: &str, piece: &str| vec![Step::Request, send(start.to_owned()), repeat(piece)];
    let ten_mb = format!(
        "{OK}big: {}\r\ncontent-length: 2\r\n\r\nhi",
        "a".repeat(10_000_000)
    );
    [
        (
            "head-endless-status-line",
            "a status line without end",
            on_and_on("HTTP/1.1 200 ", "and more "),
        ),
        (
            "head-endless-header",
            "a header without end",
            on_and_on(&format!("{OK}big: "), "aaaaaaaaaaaa"),
        ),
        (
            "head-endless-headers",
            "headers without end",
            on_and_on(OK, "x: y\r\n"),
        ),
        (
            "head-endless-empty-lines",
            "empty lines without end",
            on_and_on("", "\r\n"),
        ),
        (
            "head-101-headers",
            "101 headers",
            says_and(format!("{OK}{}\r\n", headers(101)), Step::Stay),
        ),
        (
            "head-10-mb-header",
            "a header of 10 MB",
            says_and(ten_mb, Step::Stay),
        ),
        (
            "head-length-2-to-the-64-minus-1",
            "a Content-Length of 2^64 - 1",
            says_and(header("content-length: 18446744073709551615"), Step::Stay),
        ),
        (
            "head-length-2-to-the-64-minus-2",
            "a Content-Length of 2^64 - 2",
            says_and(header("content-length: 18446744073709551614"), Step::Stay),
        ),
    ]
    .into_iter()
    .map(|(name, does, steps)| Script::new(name, does, steps, Expect::fail(HeadersTooLarge)))
    .collect()
}
