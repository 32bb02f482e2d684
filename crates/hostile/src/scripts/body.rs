//! Hides nothing: receivers whose body is strange, cut, stalled or without end. Only a complete
//! response counts, or one that we cut at our own cap.

use bytes::Bytes;
use model::attempt::RESPONSE_BODY_MAX;
use model::attempt::Reason::{BodyIncomplete, BodyTimeout, InvalidResponse};

use super::OK;
use crate::script::{Expect, Script, Step, repeat, says, says_and, send};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

pub(super) fn scripts() -> Vec<Script> {
    [
        whole(),
        cut(),
        stalled(),
        malformed(),
        endless(),
        compressed(),
    ]
    .concat()
}

fn length(length: &str, body: &str) -> String {
    format!("{OK}content-length: {length}\r\n\r\n{body}")
}

fn coded(coding: &str, body: &str) -> String {
    format!("{OK}transfer-encoding: {coding}\r\n\r\n{body}")
}

fn chunks(body: &str) -> String {
    format!("{CHUNKED}{body}")
}

const CHUNKS: &str = "2\r\nhi\r\n0\r\n\r\n";

fn whole() -> Vec<Script> {
    use Step::{Close, Reset, Stay};
    let x = || Bytes::from("x".repeat(RESPONSE_BODY_MAX));
    let long = |size: usize| length(&size.to_string(), &"x".repeat(size));
    let script = Script::new;
    let hi = || Expect::answer(200, "hi");
    let cut = || Expect::answer(200, x());
    vec![
        script(
            "body-to-the-end",
            "a body that ends with the connection",
            says_and(format!("{OK}\r\nhi"), Close),
            hi(),
        ),
        script(
            "body-to-the-end-1-0",
            "a body of HTTP/1.0 that ends with the connection",
            says_and("HTTP/1.0 200 OK\r\n\r\nhi", Close),
            hi(),
        ),
        script(
            "body-without-goodbye-1-0",
            "a body of HTTP/1.0 that ends with the connection, without close_notify",
            says_and("HTTP/1.0 200 OK\r\n\r\nhi", Step::CloseTcp),
            hi(),
        )
        .tls(),
        script(
            "body-without-goodbye",
            "a whole body, and then no close_notify",
            says_and(length("2", "hi"), Step::CloseTcp),
            hi(),
        )
        .tls(),
        script(
            "body-then-reset",
            "a whole body, and then a reset",
            says_and(length("2", "hi"), Reset),
            hi(),
        ),
        script("body-chunked", "a chunked body", says(chunks(CHUNKS)), hi()),
        script(
            "body-chunked-capital",
            "a body that is \"Chunked\"",
            says(coded("Chunked", CHUNKS)),
            hi(),
        ),
        script(
            "body-chunk-upper-case",
            "a chunk's size in upper case",
            says(chunks("A\r\n0123456789\r\n0\r\n\r\n")),
            Expect::answer(200, "0123456789"),
        ),
        script(
            "body-chunk-extension",
            "a chunk with an extension, and a trailer",
            says(chunks("2;ext=1\r\nhi\r\n0\r\ntrailer: x\r\n\r\n")),
            hi(),
        ),
        script(
            "body-chunked-and-length",
            "a chunked body with a Content-Length",
            says_and(
                format!("{OK}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{CHUNKS}"),
                Stay,
            ),
            hi(),
        ),
        script(
            "body-length-and-chunked",
            "a Content-Length longer than its chunked body",
            says_and(
                format!("{OK}transfer-encoding: chunked\r\ncontent-length: 99\r\n\r\n{CHUNKS}"),
                Stay,
            ),
            hi(),
        ),
        script(
            "body-gzip-chunked",
            "a body that is \"gzip, chunked\"",
            says(coded("gzip, chunked", CHUNKS)),
            hi(),
        ),
        script(
            "body-identity",
            "a body that is \"identity\", to the end",
            says_and(coded("identity", "hi"), Close),
            hi(),
        ),
        script(
            "body-gzip-coded",
            "a body that is \"gzip\", to the end",
            says_and(coded("gzip", "hi"), Close),
            hi(),
        ),
        script(
            "body-16-kib",
            "16 KiB",
            says(long(RESPONSE_BODY_MAX)),
            cut(),
        ),
        script(
            "body-16-kib-and-1",
            "one byte more than 16 KiB",
            says(long(RESPONSE_BODY_MAX + 1)),
            cut(),
        ),
        script("body-1-mib", "1 MiB", says(long(1 << 20)), cut()),
        script(
            "body-16-kib-in-bytes",
            "16 KiB in chunks of one byte",
            says(chunks(&format!(
                "{}0\r\n\r\n",
                "1\r\nx\r\n".repeat(RESPONSE_BODY_MAX)
            ))),
            cut(),
        ),
        script(
            "body-not-utf-8",
            "a body that is not UTF-8",
            says(&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe"[..]),
            Expect::answer(200, &b"\xff\xfe"[..]),
        ),
    ]
}

fn cut() -> Vec<Script> {
    use Step::{Close, Reset};
    let rows = vec![
        (
            "body-cut",
            "closes inside the body",
            length("5", "fi"),
            Close,
        ),
        (
            "body-cut-by-reset",
            "resets inside the body",
            length("5", "fi"),
            Reset,
        ),
        (
            "body-cut-by-reset-to-the-end",
            "resets inside a body that should end with the connection",
            format!("{OK}\r\nfi"),
            Reset,
        ),
        (
            "body-cut-chunked",
            "closes between two chunks",
            chunks("2\r\nhi\r\n"),
            Close,
        ),
        (
            "body-cut-in-chunk",
            "closes inside a chunk",
            chunks("5\r\nfi"),
            Close,
        ),
        (
            "body-cut-at-last-chunk",
            "closes before the line that ends the body",
            chunks("2\r\nhi\r\n0\r\n"),
            Close,
        ),
        (
            "body-cut-giant-chunk",
            "a chunk of 2^63 bytes, and closes",
            chunks("7fffffffffffffff\r\nhi"),
            Close,
        ),
        (
            "body-cut-giant-length",
            "a Content-Length near 2^64, and closes",
            length("18446744073709551613", "hi"),
            Close,
        ),
    ];
    rows.into_iter()
        .map(|(name, does, text, then)| {
            Script::new(
                name,
                does,
                says_and(text, then),
                Expect::fail_in_body(BodyIncomplete),
            )
        })
        .chain([Script::new(
            "body-cut-without-goodbye",
            "closes inside the body, without close_notify",
            says_and(length("5", "fi"), Step::CloseTcp),
            Expect::fail_in_body(BodyIncomplete),
        )
        .tls()])
        .collect()
}

fn stalled() -> Vec<Script> {
    let rows = vec![
        (
            "body-stalled",
            "200 and a body that stalls",
            length("5", "fi"),
        ),
        (
            "body-stalled-giant",
            "a Content-Length of 999,999,999,999 and a body that stalls",
            length("999999999999", "fi"),
        ),
        (
            "body-stalled-chunked",
            "200 and chunks that stall",
            chunks("2\r\nhi\r\n"),
        ),
        (
            "body-stalled-in-giant-chunk",
            "a chunk of 2^63 bytes that stalls",
            chunks("7fffffffffffffff\r\nhi"),
        ),
        (
            "body-stalled-to-the-end",
            "a body that should end with the connection, which stays",
            format!("{OK}\r\nfi"),
        ),
        (
            "body-stalled-gzip-coded",
            "a body that is \"gzip\", on a connection that stays",
            coded("gzip", "hi"),
        ),
        (
            "body-shorter-than-length",
            "a Content-Length of 3 and two bytes",
            length("3", "hi"),
        ),
    ];
    rows.into_iter()
        .map(|(name, does, text)| {
            let steps = says_and(text, Step::Stay);
            Script::new(name, does, steps, Expect::fail_in_body(BodyTimeout))
        })
        .collect()
}

fn malformed() -> Vec<Script> {
    let rows = vec![
        (
            "body-chunk-size-word",
            "a chunk's size that is no number",
            chunks("xyz\r\nhi\r\n"),
        ),
        (
            "body-chunk-size-negative",
            "a negative chunk's size",
            chunks("-2\r\nhi\r\n"),
        ),
        (
            "body-chunk-size-0x",
            "a chunk's size with 0x",
            chunks("0x2\r\nhi\r\n0\r\n\r\n"),
        ),
        (
            "body-chunk-size-empty",
            "an empty chunk's size",
            chunks("\r\nhi\r\n0\r\n\r\n"),
        ),
        (
            "body-chunk-size-giant",
            "a chunk's size of 17 digits",
            chunks("fffffffffffffffff\r\nhi\r\n"),
        ),
        (
            "body-chunk-bare-newline",
            "a chunk's size ended by a bare newline",
            chunks("2\nhi\r\n0\r\n\r\n"),
        ),
        (
            "body-chunk-too-long",
            "a chunk longer than it says",
            chunks("2\r\nhiXX\r\n0\r\n\r\n"),
        ),
        (
            "body-chunk-extension-newline",
            "a newline in a chunk's extension",
            chunks("2;a\nb\r\nhi\r\n0\r\n\r\n"),
        ),
        (
            "body-101-trailers",
            "101 trailers",
            chunks(&format!("2\r\nhi\r\n0\r\n{}\r\n", "t: x\r\n".repeat(101))),
        ),
    ];
    rows.into_iter()
        .map(|(name, does, text)| {
            let steps = says_and(text, Step::Stay);
            Script::new(name, does, steps, Expect::fail_in_body(InvalidResponse))
        })
        .collect()
}

fn endless() -> Vec<Script> {
    let on_and_on =
        |start: &str, piece: &str| vec![Step::Request, send(start.to_owned()), repeat(piece)];
    let framings = [
        (
            "body-endless-chunk-extension",
            "a chunk's extension without end",
            on_and_on(CHUNKED, "2;extension"),
        ),
        (
            "body-endless-trailers",
            "trailers without end",
            on_and_on(&chunks("0\r\n"), "trailer: x\r\n"),
        ),
        (
            "body-endless-zeros",
            "zeros without end before a chunk's size",
            on_and_on(CHUNKED, "0"),
        ),
        (
            "body-endless-spaces",
            "spaces without end after a chunk's size",
            on_and_on(&chunks("2"), " "),
        ),
    ];
    let bodies = [
        (
            "body-endless",
            "a body without end, to the end of the connection",
            on_and_on("HTTP/1.1 500 x\r\n\r\n", "8\r\nabcdefgh\r\n"),
        ),
        (
            "body-endless-chunked",
            "chunks without end",
            on_and_on(
                "HTTP/1.1 500 x\r\ntransfer-encoding: chunked\r\n\r\n",
                "8\r\nabcdefgh\r\n",
            ),
        ),
        (
            "body-endless-length",
            "a Content-Length of 99,999,999,999 and all of it",
            on_and_on(
                "HTTP/1.1 500 x\r\ncontent-length: 99999999999\r\n\r\n",
                "8\r\nabcdefgh\r\n",
            ),
        ),
    ];
    let framings = framings.into_iter().map(|(name, does, steps)| {
        Script::new(name, does, steps, Expect::fail_in_body(InvalidResponse))
    });
    // Cut at our cap, where a response counts.
    let bodies = bodies.into_iter().map(|(name, does, steps)| {
        let cut = Expect {
            body: None,
            ..Expect::answer(500, "")
        };
        Script::new(name, does, steps, cut)
    });
    framings.chain(bodies).collect()
}

/// It is left as it is.
fn compressed() -> Vec<Script> {
    let bomb = bomb(40_000);
    let head = format!(
        "{OK}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    );
    let kept = Bytes::copy_from_slice(&bomb[..RESPONSE_BODY_MAX]);
    vec![Script::new(
        "body-gzip-bomb",
        "10 MB of zeros in a gzip of 65 KB",
        says([head.as_bytes(), &bomb].concat()),
        Expect::answer(200, kept),
    )]
}

/// A gzip of one zero and then so many times 258 more, with the codes that deflate has from the
/// start (RFC 1951, section 3.2.6). Its checksum is left at 0.
fn bomb(repeats: usize) -> Vec<u8> {
    const START: &str = "110"; // The last block, with fixed codes.
    const ZERO: &str = "00110000";
    const AGAIN_258: &str = "1100010100000"; // Length 258, distance 1.
    const END: &str = "0000000";
    let bits = [START, ZERO].into_iter();
    let bits = bits
        .chain(std::iter::repeat_n(AGAIN_258, repeats))
        .chain([END]);
    let bits: Vec<bool> = bits.flat_map(str::chars).map(|bit| bit == '1').collect();
    let byte = |bits: &[bool]| {
        let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0, |byte: u8, (at, _)| byte | 1 << at)
    };
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    gzip.extend(bits.chunks(8).map(byte));
    gzip.extend([0; 8]);
    gzip
}
