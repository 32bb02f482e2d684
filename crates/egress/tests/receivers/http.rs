//! Receivers over plain TCP: what each sends, and what the exchange must come to.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::attempt::{RESPONSE_BODY_MAX, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_egress::Connections;

use crate::peer::{
    answer_all, egress, failure, peer, post, post_with, read_request, reason, response, stay, url,
};

/// What the peer does once it has sent its text.
#[derive(Clone, Copy, Debug)]
enum Then {
    Close,
    Reset,
    Stay,
    /// Sends this over and over.
    Repeat(&'static str),
}
use Then::{Close, Repeat, Reset, Stay};

/// What the exchange must come to.
#[derive(Debug)]
enum Expect {
    /// A response with this status and this body.
    Answer(u16, String),
    /// A failure; the status of what was read, where a head was.
    Fail(Reason, Option<u16>),
}

fn answer(status: u16, body: &'static str) -> Expect {
    Expect::Answer(status, body.to_owned())
}

fn fail(reason: Reason) -> Expect {
    Expect::Fail(reason, None)
}

/// A failure inside the body of a 200.
fn fail_in_body(reason: Reason) -> Expect {
    Expect::Fail(reason, Some(200))
}

fn table() -> Vec<(String, Then, Expect)> {
    use Reason::*;
    let ok = "HTTP/1.1 200 OK\r\n";
    let headers = |n: usize| -> String { (0..n).map(|i| format!("h{i}: v\r\n")).collect() };
    let mut rows: Vec<(String, Then, Expect)> = Vec::new();
    let mut row = |text: &str, then, expect| rows.push((text.to_owned(), then, expect));

    // Nothing, or not enough.
    row("", Close, fail(ConnectionClosed));
    row("", Reset, fail(ConnectionReset));
    row("", Stay, fail(ResponseTimeout));
    row("HTTP/1.1 20", Close, fail(ConnectionClosed));
    row("HTTP/1.1 20", Stay, fail(ResponseTimeout));
    row("HTTP/1.1 200 OK\r\nfoo: b", Close, fail(ConnectionClosed));
    row("HTTP/1.1 200 OK\r\nfoo: b", Reset, fail(ConnectionReset));

    // Not HTTP/1.1.
    for text in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "<html>hello</html>\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0\u{64}\0\u{4}\0\0",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfoo\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfoo : bar\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfoo: b\0r\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfoo: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        row(text, Stay, fail(InvalidResponse));
    }

    // Any status that is one.
    for (status, text) in [
        (200, "200 OK"),
        (201, "201 Created"),
        (202, "202"),
        (206, "206 Partial"),
        (300, "300 x"),
        (301, "301 x\r\nlocation: https://elsewhere.example.com/"),
        (302, "302 x\r\nlocation: http://127.0.0.1:1/"),
        (303, "303 x"),
        (307, "307 x\r\nlocation: /a"),
        (308, "308 x\r\nlocation: //b.example.com/"),
        (400, "400 x"),
        (401, "401 x"),
        (404, "404 x"),
        (410, "410 Gone"),
        (413, "413 x"),
        (429, "429 x\r\nretry-after: 99999999"),
        (500, "500 x"),
        (502, "502 x"),
        (503, "503 x\r\nretry-after: Wed, 21 Oct 2099 07:28:00 GMT"),
        (600, "600 x"),
        (999, "999 x"),
    ] {
        let text = format!("HTTP/1.1 {text}\r\ncontent-length: 2\r\n\r\nhi");
        row(&text, Stay, answer(status, "hi"));
    }
    for status in [204, 304] {
        let text = format!("HTTP/1.1 {status} x\r\n\r\n");
        row(&text, Stay, answer(status, ""));
        row(&format!("{text}surprise"), Stay, answer(status, ""));
    }

    // Ways to end a body.
    row(
        &format!("{ok}\r\nto the end"),
        Close,
        answer(200, "to the end"),
    );
    row("HTTP/1.0 200 OK\r\n\r\nold", Close, answer(200, "old"));
    row(
        &format!("{ok}transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        Stay,
        answer(200, "hi"),
    );
    row(
        &format!("{ok}transfer-encoding: chunked\r\n\r\n2;ext=1\r\nhi\r\n0\r\ntrailer: x\r\n\r\n"),
        Stay,
        answer(200, "hi"),
    );
    row(
        &format!("{ok}content-length: 5\r\n\r\nfirstHTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n"),
        Stay,
        answer(200, "first"),
    );
    row(
        &format!("{ok}content-length: 5\r\n\r\nfirst"),
        Reset,
        answer(200, "first"),
    );

    // Bodies that do not end, or not well.
    row(
        &format!("{ok}content-length: 5\r\n\r\nfi"),
        Close,
        fail_in_body(BodyIncomplete),
    );
    row(
        &format!("{ok}content-length: 5\r\n\r\nfi"),
        Reset,
        fail_in_body(BodyIncomplete),
    );
    row(
        &format!("{ok}content-length: 5\r\n\r\nfi"),
        Stay,
        fail_in_body(BodyTimeout),
    );
    row(
        &format!("{ok}content-length: 999999999999\r\n\r\nfi"),
        Stay,
        fail_in_body(BodyTimeout),
    );
    row(&format!("{ok}\r\nfi"), Stay, fail_in_body(BodyTimeout));
    let chunked = format!("{ok}transfer-encoding: chunked\r\n\r\n");
    row(
        &format!("{chunked}2\r\nhi\r\n"),
        Close,
        fail_in_body(BodyIncomplete),
    );
    row(
        &format!("{chunked}2\r\nhi\r\n0\r\n"),
        Close,
        fail_in_body(BodyIncomplete),
    );
    row(
        &format!("{chunked}2\r\nhi\r\n"),
        Stay,
        fail_in_body(BodyTimeout),
    );
    row(
        &format!("{chunked}xyz\r\nhi\r\n"),
        Stay,
        fail_in_body(InvalidResponse),
    );
    row(
        &format!("{chunked}-2\r\nhi\r\n"),
        Stay,
        fail_in_body(InvalidResponse),
    );
    row(
        &format!("{chunked}fffffffffffffffff\r\nhi\r\n"),
        Stay,
        fail_in_body(InvalidResponse),
    );
    row(
        &format!("{chunked}2;"),
        Repeat("extension"),
        fail_in_body(InvalidResponse),
    );
    row(
        &format!("{chunked}0\r\n"),
        Repeat("trailer: x\r\n"),
        fail_in_body(InvalidResponse),
    );
    row(&chunked, Repeat("0"), fail_in_body(InvalidResponse));
    row(
        &format!("{chunked}2"),
        Repeat(" "),
        fail_in_body(InvalidResponse),
    );
    row(
        &format!(
            "{chunked}{}0\r\n\r\n",
            "1\r\nx\r\n".repeat(RESPONSE_BODY_MAX)
        ),
        Stay,
        Expect::Answer(200, "x".repeat(RESPONSE_BODY_MAX)),
    );

    // Heads without end.
    row(&format!("{ok}{}\r\n", headers(98)), Close, answer(200, ""));
    row(&format!("{ok}{}\r\n", headers(100)), Close, answer(200, ""));
    row(
        &format!("{ok}{}\r\n", headers(101)),
        Stay,
        fail(HeadersTooLarge),
    );
    row("HTTP/1.1 200 ", Repeat("and more "), fail(HeadersTooLarge));
    row(
        &format!("{ok}big: "),
        Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        fail(HeadersTooLarge),
    );
    row(ok, Repeat("x: y\r\n"), fail(HeadersTooLarge));

    // Interim answers.
    let done = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    row(
        &format!("HTTP/1.1 100 Continue\r\n\r\n{done}"),
        Stay,
        answer(200, ""),
    );
    row(&format!("{early}{done}"), Stay, answer(200, ""));
    row(
        &format!("{}{done}", early.repeat(10)),
        Stay,
        answer(200, ""),
    );
    row(
        &format!("{}{done}", early.repeat(11)),
        Stay,
        fail(TooManyInterim),
    );
    row("", Repeat("HTTP/1.1 103 x\r\n\r\n"), fail(TooManyInterim));
    row(
        "",
        Repeat("HTTP/1.1 100 Continue\r\n\r\n"),
        fail(TooManyInterim),
    );
    row(early, Stay, fail(ResponseTimeout));
    row(
        &format!("{early}{ok}big: "),
        Repeat("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        fail(HeadersTooLarge),
    );
    let large = format!("HTTP/1.1 103 x\r\nlink: {}\r\n\r\n", "a".repeat(20 << 10));
    row(&large.repeat(5), Stay, fail(HeadersTooLarge));
    row(
        "HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        Stay,
        fail(UnexpectedUpgrade),
    );
    row("HTTP/1.1 101 x\r\n\r\n", Stay, fail(UnexpectedUpgrade));
    rows
}

async fn play(mut stream: TcpStream, text: String, then: Then) -> std::io::Result<()> {
    read_request(&mut stream).await;
    stream.write_all(text.as_bytes()).await?;
    match then {
        Close => stream.shutdown().await,
        Stay => stay(stream).await,
        Reset => {
            // What was sent must arrive before the reset does.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger()
        }
        Repeat(piece) => {
            let piece = piece.repeat(100);
            loop {
                stream.write_all(piece.as_bytes()).await?;
            }
        }
    }
}

#[tokio::test]
async fn every_receiver_comes_to_the_outcome_its_answer_deserves() {
    let egress = std::sync::Arc::new(egress(None, None));
    let mut tasks = Vec::new();
    for (text, then, expect) in table() {
        let egress = egress.clone();
        tasks.push(tokio::spawn(async move {
            let script = text.clone();
            let address = peer(move |stream, _| play(stream, script.clone(), then)).await;
            let url = url(format!("http://{address}/hook"));
            let (connections, body) = (Connections::default(), Bytes::from_static(b"{}"));
            let waits = matches!(
                expect,
                Expect::Fail(Reason::ResponseTimeout | Reason::BodyTimeout, _)
            );
            let deadline = Duration::from_millis(if waits { 500 } else { 10_000 });
            let exchange = post_with(&egress, &connections, &url, body, deadline).await;
            let shown: String = text.chars().take(120).collect();
            let context = format!("{shown:?} then {then:?}: {exchange:?}");
            assert_eq!(exchange.remote_addr, Some(address), "{context}");
            match expect {
                Expect::Answer(status, body) => {
                    let response = exchange.result.expect(&context);
                    assert_eq!(
                        (response.status, &response.body[..]),
                        (status, body.as_bytes()),
                        "{context}"
                    );
                }
                Expect::Fail(reason, status) => {
                    let failure = exchange.result.expect_err(&context);
                    assert_eq!(failure.reason, reason, "{context}");
                    assert_eq!(
                        failure.partial.map(|partial| partial.status),
                        status,
                        "{context}"
                    );
                }
            }
        }));
    }
    assert!(tasks.len() > 80);
    let mut slips = Vec::new();
    for task in tasks {
        if let Err(error) = task.await {
            slips.push(error);
        }
    }
    assert!(
        slips.is_empty(),
        "{} of the table's rows failed",
        slips.len()
    );
}

#[tokio::test]
async fn what_was_read_before_a_body_broke_off_is_kept() {
    let address = peer(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 201 x\r\nSeen: Yes\r\ncontent-length: 9\r\n\r\nhalf")
            .await
    })
    .await;
    let failed = failure(post(&egress(None, None), &url(format!("http://{address}/"))).await);
    assert_eq!(failed.reason, Reason::BodyIncomplete);
    let partial = failed.partial.unwrap();
    assert_eq!((partial.status, &partial.body[..]), (201, &b"half"[..]));
    assert_eq!(partial.headers[0], ("seen".to_owned(), "Yes".to_owned()));
}

#[tokio::test]
async fn the_request_is_what_the_contract_says_and_nothing_more() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            seen.send(read_request(&mut stream).await.unwrap()).unwrap();
            stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").await
        }
    })
    .await;
    let url = url(format!("http://{address}/a%20b/../c?d=e"));
    response(post(&egress(None, None), &url).await);
    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
    assert_eq!(lines.remove(0), "post /c?d=e http/1.1");
    lines.sort();
    let host = format!("host: {address}");
    assert_eq!(
        lines,
        [
            "content-length: 22",
            "content-type: application/json",
            &host
        ]
    );
    assert_eq!(body, "{\"type\":\"x\",\"data\":{}}");
}

#[tokio::test]
async fn a_long_body_is_cut_and_counts_as_complete() {
    for (length, expected) in [
        (RESPONSE_BODY_MAX - 1, RESPONSE_BODY_MAX - 1),
        (RESPONSE_BODY_MAX, RESPONSE_BODY_MAX),
        (RESPONSE_BODY_MAX + 1, RESPONSE_BODY_MAX),
        (10 * RESPONSE_BODY_MAX, RESPONSE_BODY_MAX),
    ] {
        let address = peer(move |mut stream, _| async move {
            read_request(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b'x'; length]).await?;
            stay(stream).await
        })
        .await;
        let exchange = post(&egress(None, None), &url(format!("http://{address}/"))).await;
        let response = response(exchange);
        assert_eq!(
            (response.status, response.body.len()),
            (200, expected),
            "{length}"
        );
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_however_it_is_framed() {
    for head in [
        "",
        "transfer-encoding: chunked\r\n",
        "content-length: 99999999999\r\n",
    ] {
        let address = peer(move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream
                .write_all(format!("HTTP/1.1 500 x\r\n{head}\r\n").as_bytes())
                .await?;
            loop {
                stream.write_all(b"8\r\nabcdefgh\r\n").await?;
            }
        })
        .await;
        let exchange = post(&egress(None, None), &url(format!("http://{address}/"))).await;
        let response = response(exchange);
        assert_eq!(
            (response.status, response.body.len()),
            (500, RESPONSE_BODY_MAX),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_compressed_body_is_left_as_it_is() {
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x04\0\x43\xbe\xb7\xe8\x01\0\0\0";
    let address = peer(|mut stream, _| async move {
        read_request(&mut stream).await;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            GZIP.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(GZIP).await
    })
    .await;
    let exchange = post(&egress(None, None), &url(format!("http://{address}/"))).await;
    assert_eq!(&response(exchange).body[..], GZIP);
}

#[tokio::test]
async fn header_values_are_read_lossily_and_cookies_mean_nothing() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                seen.send(request).unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nodd: \xff!\r\nalt-svc: h3=\":1\"\r\ncontent-length: 0\r\n\r\n")
                    .await?;
            }
            Ok(())
        }
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    let url = url(format!("http://{address}/"));
    for _ in 0..2 {
        let exchange = post_with(
            &egress,
            &connections,
            &url,
            Bytes::new(),
            Duration::from_secs(5),
        )
        .await;
        let response = response(exchange);
        assert!(
            response
                .headers
                .contains(&("odd".to_owned(), "\u{fffd}!".to_owned()))
        );
        let request = requests.recv().await.unwrap().to_lowercase();
        assert!(!request.contains("cookie"));
    }
}

#[tokio::test]
async fn nobody_listens_and_nobody_accepts() {
    let egress = egress(None, None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = post(&egress, &url(format!("http://{address}/"))).await;
    assert_eq!(reason(refused), Reason::ConnectionRefused);

    // A full backlog: the kernel drops further handshakes.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    for _ in 0..8 {
        let filler = TcpStream::connect(address);
        fillers.push(tokio::time::timeout(Duration::from_millis(20), filler).await);
    }
    let (connections, deadline) = (Connections::default(), Duration::from_millis(300));
    let url = url(format!("http://{address}/"));
    let silent = post_with(&egress, &connections, &url, Bytes::new(), deadline).await;
    assert_eq!(reason(silent), Reason::ConnectTimeout);
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_is_told_apart_from_one_that_does_not_answer() {
    let address = peer(|stream, _| stay(stream)).await;
    let egress = egress(None, None);
    let url = url(format!("http://{address}/"));
    let deadline = Duration::from_millis(400);
    for (length, expected) in [
        (0, Reason::ResponseTimeout),
        (64 << 20, Reason::SendTimeout),
    ] {
        let body = Bytes::from(vec![0; length]);
        let exchange = post_with(&egress, &Connections::default(), &url, body, deadline).await;
        assert_eq!(reason(exchange), expected, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_body_was_read_counts_also_if_the_connection_is_closed() {
    for closes in [false, true] {
        let address = peer(move |mut stream, _| async move {
            stream.read_exact(&mut [0; 5]).await?;
            stream
                .write_all(b"HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n")
                .await?;
            // Closing with bytes unread resets the connection.
            if closes { Ok(()) } else { stay(stream).await }
        })
        .await;
        let (egress, url) = (egress(None, None), url(format!("http://{address}/")));
        for length in [0, 1 << 10, 256 << 10, 16 << 20].repeat(10) {
            let (connections, body) = (Connections::default(), Bytes::from(vec![0; length]));
            let deadline = Duration::from_secs(10);
            let exchange = post_with(&egress, &connections, &url, body, deadline).await;
            assert_eq!(response(exchange).status, 413, "{length} {closes}");
        }
    }
}

#[tokio::test]
async fn one_deadline_ends_a_drip_wherever_it_drips() {
    for (whole, drip, expected) in [
        (
            "",
            "HTTP/1.1 200 OOOOOOOOOOOOOOOOOOOOOOOOOOOO",
            Reason::ResponseTimeout,
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            "header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            Reason::ResponseTimeout,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
            "bbbbbbbbbbbbbbbbbbbbbbbbbb",
            Reason::BodyTimeout,
        ),
    ] {
        let address = peer(move |mut stream, _| async move {
            stream.set_nodelay(true)?;
            read_request(&mut stream).await;
            stream.write_all(whole.as_bytes()).await?;
            for byte in drip.bytes() {
                tokio::time::sleep(Duration::from_millis(40)).await;
                stream.write_all(&[byte]).await?;
            }
            stay(stream).await
        })
        .await;
        let begun = Instant::now();
        let (connections, deadline) = (Connections::default(), Duration::from_millis(300));
        let url = url(format!("http://{address}/"));
        let exchange = post_with(
            &egress(None, None),
            &connections,
            &url,
            Bytes::new(),
            deadline,
        )
        .await;
        let took = begun.elapsed();
        assert!(exchange.timings.first_byte_ms.is_some_and(|ms| ms < 300));
        assert_eq!(reason(exchange), expected);
        assert!((300..2000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn interim_answers_now_and_then_run_out_too() {
    let address = peer(|mut stream, _| async move {
        read_request(&mut stream).await;
        loop {
            stream.write_all(b"HTTP/1.1 103 x\r\n\r\n").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let exchange = post(&egress(None, None), &url(format!("http://{address}/"))).await;
    assert_eq!(reason(exchange), Reason::TooManyInterim);
}

#[tokio::test]
async fn a_plain_url_is_refused_by_a_transport_that_does_not_allow_it() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let strict = vk_egress::EgressOptions {
        policy: vk_egress::Policy {
            allow_http: false,
            ..crate::peer::loopback()
        },
        ..crate::peer::options(None, None)
    };
    let strict = vk_egress::Egress::new(strict).unwrap();
    let exchange = post(&strict, &url(format!("http://{address}/"))).await;
    assert_eq!(reason(exchange), Reason::BlockedAddress);
}
